"""Initial parameters from an earlier training, and which parameters stay frozen."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import numpy as np

from jaxvae.arguments import require

_DECODERS = ("decoder", "down", "priors", "likelihood_raw")
"""The first parts of names of parameters of p(x, z), including those that a top-down hierarchy shares with q."""


class Transfer(NamedTuple):
    """The parameters that a model takes from another one.

    Attributes:
        start: the arrays, by path.
        table: the path and shape of each parameter of either model, and ``taken`` or the reason why not.
    """

    start: Mapping[str, np.ndarray]
    table: tuple[tuple[str, tuple[int, ...], str], ...]


def path_name(path: Any) -> str:
    """Returns the path of a parameter as text, such as ``params/head/loc/kernel``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def transferred(wanted: chex.ArrayTree, given: chex.ArrayTree) -> Transfer:
    """Selects the given parameters whose path and shape are those of a wanted parameter.

    Raises:
        ValueError: if no parameter fits.
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
    """Returns a tree of booleans: which parameters don't change if the ``encoder`` or the ``decoder`` is frozen."""

    def stays(path: Any, x: Any) -> bool:
        names = path_name(path).split("/")
        return names[0] == "params" and names[1].startswith(_DECODERS) == (half == "decoder")

    return jax.tree.map_with_path(stays, params)
