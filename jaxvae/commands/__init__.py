"""The actions of the subcommands: they read, call, print and draw, but compute nothing themselves.

A command is a function of the parsed arguments. It prints lines for people, and returns a ``Reply`` for programs. It
imports slow modules inside the function. It raises ValueError, OSError or ArithmeticError with one line for the user.
"""

from jaxvae.commands.datasets import data_inspect as data_inspect
from jaxvae.commands.datasets import data_list as data_list
from jaxvae.commands.datasets import data_prepare as data_prepare
from jaxvae.commands.models import decode as decode
from jaxvae.commands.models import encode as encode
from jaxvae.commands.models import export as export
from jaxvae.commands.models import impute as impute
from jaxvae.commands.models import reconstruct as reconstruct
from jaxvae.commands.models import sample as sample
from jaxvae.commands.models import scores as scores
from jaxvae.commands.models import traverse as traverse
from jaxvae.commands.output import Reply as Reply
from jaxvae.commands.parameterized import explain as explain
from jaxvae.commands.parameterized import list_parameterizations as list_parameterizations
from jaxvae.commands.single_runs import diagnose as diagnose
from jaxvae.commands.single_runs import evaluate as evaluate
from jaxvae.commands.single_runs import train as train
from jaxvae.commands.studies import compare as compare
from jaxvae.commands.studies import reproduce as reproduce
