"""What a training begins with that was trained before, and what of it stays as it is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import numpy as np

from jaxvae.arguments import require

_DECODERS = ("decoder", "down", "priors", "likelihood_raw")
"""What belongs to p(x, z), by the beginning of its name; what a top-down hierarchy shares with q is among it."""


class Transfer(NamedTuple):
    """What a model takes over of another's parameters.

    Attributes:
        start: the arrays, by their path.
        table: of each parameter of either, its path, its shape, and ``taken`` or why not.
    """

    start: Mapping[str, np.ndarray]
    table: tuple[tuple[str, tuple[int, ...], str], ...]


def path_name(path: Any) -> str:
    """The path of a parameter as text, such as ``params/head/loc/kernel``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def transferred(wanted: chex.ArrayTree, given: chex.ArrayTree) -> Transfer:
    """What fits of the given parameters, by path and shape, where parameters of these shapes are wanted.

    Raises:
        ValueError: where nothing does.
    """
    there = {path_name(path): np.asarray(x) for path, x in jax.tree.leaves_with_path(given)}
    shapes = {path_name(path): x.shape for path, x in jax.tree.leaves_with_path(wanted)}
    start = {name: x for name, x in there.items() if shapes.get(name) == x.shape}
    require(
        bool(start), "init-from", "parameters none of which fits", "a model with parameters of the same name and shape"
    )
    table = []
    for name, shape in shapes.items():
        found = "taken" if name in start else f"not taken: {there[name].shape}" if name in there else "not there"
        table.append((name, shape, found))
    table += [(name, x.shape, "not wanted") for name, x in there.items() if name not in shapes]
    return Transfer(start, tuple(table))


def frozen(half: str, params: chex.ArrayTree) -> Any:
    """Which parameters stay as they are when the ``encoder`` or the ``decoder`` does: a tree of booleans."""

    def stays(path: Any, x: Any) -> bool:
        names = path_name(path).split("/")
        return names[0] == "params" and names[1].startswith(_DECODERS) == (half == "decoder")

    return jax.tree.map_with_path(stays, params)
