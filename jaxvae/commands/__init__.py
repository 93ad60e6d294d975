"""The actions of the subcommands: they read, call, print and draw, but compute nothing themselves.

A command is a function of the parsed arguments. It prints lines for people, and returns a ``Reply`` for programs. It
imports slow modules inside the function. It raises ValueError, OSError or ArithmeticError with one line for the user.
"""

from jaxvae.commands.datasets import data_inspect, data_list, data_prepare
from jaxvae.commands.models import decode, encode, export, impute, reconstruct, sample, scores, traverse
from jaxvae.commands.output import Reply
from jaxvae.commands.parameterized import explain, list_parameterizations
from jaxvae.commands.single_runs import diagnose, evaluate, train
from jaxvae.commands.studies import compare, reproduce

__all__ = [
    "Reply",
    "compare",
    "data_inspect",
    "data_list",
    "data_prepare",
    "decode",
    "diagnose",
    "encode",
    "evaluate",
    "explain",
    "export",
    "impute",
    "list_parameterizations",
    "reconstruct",
    "reproduce",
    "sample",
    "scores",
    "train",
    "traverse",
]
