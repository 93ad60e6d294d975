"""Checks of a train step's pytrees when it is traced; they cost nothing at run time."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

_ELSEWHERE = (
    "pass what isn't trained to init_state as model_state, or directly to the loss "
    "(eqx.partition(model, eqx.is_inexact_array), nnx.split(model, nnx.Param, ...))"
)


def require_trainable(params: chex.ArrayTree) -> None:
    """Raises an error if a parameter can't be trained by gradients.

    Raises:
        TypeError: for a leaf that is neither an array of floats nor a float.
        ValueError: for the batch statistics of Linen or NNX, which are floats but aren't trained.

    >>> require_trainable({"w": 1.0, "steps": np.int32(3)})
    Traceback (most recent call last):
    TypeError: params['steps'] must be an array of floats, got dtype int32; pass what isn't trained to init_state as \
model_state, or directly to the loss (eqx.partition(model, eqx.is_inexact_array), nnx.split(model, nnx.Param, ...))
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not (_is_array(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating)):
            name = f"params{jax.tree_util.keystr(path)}"
            raise TypeError(f"{name} must be an array of floats, got {_kind(leaf)}; {_ELSEWHERE}")
    nodes = jax.tree.leaves(params, is_leaf=_is_batch_stat)
    if (isinstance(params, Mapping) and "batch_stats" in params) or any(map(_is_batch_stat, nodes)):
        raise ValueError(f"params must be trained parameters only, got batch statistics among them; {_ELSEWHERE}")


def require_arrays(**trees: Any) -> None:
    """Raises TypeError if a tree has a leaf that is neither an array nor a number, and names the argument."""
    for name, tree in trees.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if not _is_array(leaf):
                raise TypeError(f"{name}{jax.tree_util.keystr(path)} must be an array, got {_kind(leaf)}")


def require_alike(name: str, new: Any, old: Any) -> None:
    """Raises ValueError if a tree differs in structure, shapes or dtypes from the one that it replaces.

    >>> require_alike("model_state", {"mean": np.zeros(3)}, {"mean": np.zeros(2)})
    Traceback (most recent call last):
    ValueError: model_state['mean'] must be like the one it replaces, float32[2], got float32[3]
    """
    wanted, found = (
        {jax.tree_util.keystr(path): _shaped(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (old, new)
    )
    for path in {**wanted, **found}:
        if wanted.get(path) != found.get(path):
            like, got = wanted.get(path, "which had none"), found.get(path, "none")
            raise ValueError(f"{name}{path} must be like the one it replaces, {like}, got {got}")
    structure, like = jax.tree.structure(new), jax.tree.structure(old)
    if not structure == like:
        raise ValueError(f"{name} must be like the one it replaces, {like}, got {structure}")


def _is_batch_stat(node: object) -> bool:
    return type(node).__name__ == "BatchStat"  # of flax.nnx, which takes a second to import


def _is_array(leaf: object) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | float | int)


def _kind(leaf: object) -> str:
    return (
        f"dtype {leaf.dtype}" if isinstance(leaf, jax.Array | np.ndarray | np.generic) else f"a {type(leaf).__name__}"
    )


def _shaped(x: Any) -> str:
    return f"{jnp.result_type(x)}[{','.join(map(str, np.shape(x)))}]"
