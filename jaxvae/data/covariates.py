"""Covariates: numbers that encoder and decoder are given with each image or row, and do not model.

A covariate is a feature of kind ``categorical`` or ``real``. Arrays (..., M) have one number per covariate: the code of
a level, or the number itself, in its own units.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.arguments import require
from jaxvae.data.features import Feature, covariates_told, levels_told
from jaxvae.data.tables.columns import as_texts
from jaxvae.texts import number

_SHOWN = 8


def fitted_covariates(covariates: Sequence[Feature], train: np.ndarray | None, name: str) -> tuple[Feature, ...]:
    """Returns the covariates in the units of the training split.

    Args:
        covariates: the covariates as they are loaded.
        train: their values in the training split, (N, M).
        name: the name of the data.

    Raises:
        ValueError: for a constant covariate, or a level that no training row has, because a model can't learn their
            effect.
    """
    found = []
    for i, covariate in enumerate(covariates):
        assert train is not None  # ``Dataset`` checks this
        x, field = train[:, i].astype(np.float64), f"{name}: covariate {covariate.name!r}"
        if covariate.levels:
            counts = np.bincount(x.astype(int), minlength=len(covariate.levels))
            unseen = [level for level, count in zip(covariate.levels, counts, strict=True) if not count]
            require(not unseen, f"{field}: levels", unseen[:_SHOWN], "of some rows of the train split, to be learned")
        lowest = covariate.levels[int(x[0])] if covariate.levels else number(float(x[0]))
        varies = np.min(x) < np.max(x)
        require(bool(varies), field, f"{lowest} in all rows of the train split", "of several values there")
        found.append(covariate if covariate.levels else covariate.fitted(x, logs=False))
    return tuple(found)


def as_given(covariates: Sequence[Feature], given: Any, batch: tuple[int, ...]) -> Any:
    """Returns covariates as an array, (*batch, M) float32, or None if the model has none.

    Args:
        covariates: the model's covariates.
        given: a mapping by name, such as a DataFrame, whose values are arrays (*batch) or single values for all images,
            with levels by name; or an array (*batch, M), or (M,) for all images.
        batch: the leading axes of images or latents.

    Raises:
        ValueError: if covariates are missing or the model has none; for an unknown covariate, or one whose shape isn't
            ``batch``.
    """
    if not covariates:
        require(given is None, "covariates", given, "left out: the model was trained without any")
        return None
    told = covariates_told(covariates)
    require(given is not None, "covariates", None, f"given, as the model was trained with {told}")
    if hasattr(given, "keys"):
        lacking = [c.name for c in covariates if c.name not in given]
        require(not lacking, "covariates", sorted(map(str, given.keys())), f"all of {told}")
        columns = [_column(c, given[c.name], batch) for c in covariates]
        library = jnp if any(isinstance(x, jax.Array) for x in columns) else np
        return library.stack(columns, axis=-1)
    return _checked(covariates, given, batch)


def _column(covariate: Feature, given: Any, batch: tuple[int, ...]) -> Any:
    """Returns the numbers (*batch) of one covariate."""
    field = f"covariate {covariate.name!r}"
    if isinstance(given, jax.core.Tracer):
        return jnp.broadcast_to(given.astype(jnp.float32), batch)
    found = np.asarray(given)
    require(found.shape in ((), batch), f"{field}: shape", found.shape, f"{batch}, one for each, or one for all")
    if covariate.levels:
        codes = {level: code for code, level in enumerate(covariate.levels)}
        entries = found.astype(np.float64) if found.dtype == bool else found
        texts = as_texts(entries.ravel()).tolist()
        unknown = [x for x in texts if x not in codes]
        require(not unknown, field, unknown[:1], f"one of {levels_told(covariate)}")
        numbers = np.reshape([codes[x] for x in texts], found.shape)
    else:
        try:
            numbers = found.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"{field} must be a number, got {given!r}") from None
        require(bool(np.isfinite(numbers).all()), field, "one that isn't finite", "a finite number")
    return np.broadcast_to(numbers.astype(np.float32), batch)


def _checked(covariates: Sequence[Feature], given: Any, batch: tuple[int, ...]) -> Any:
    """Checks an array of covariates, and returns it as (*batch, M)."""
    count = len(covariates)
    shape = np.shape(given)
    fits = shape in ((count,), (*batch, count))
    require(fits, "covariates.shape", shape, f"{(*batch, count)}, or ({count},) for all; or a mapping of names")
    if isinstance(given, jax.core.Tracer):
        return jnp.broadcast_to(given.astype(jnp.float32), (*batch, count))
    found = np.asarray(given)
    require(found.dtype.kind in "biuf", "covariates.dtype", str(found.dtype), "of numbers; names are for a mapping")
    for i, covariate in enumerate(covariates):
        x = found[..., i].ravel()
        odd = x[~covariate.fits(x)].tolist()
        require(not odd, f"covariate {covariate.name!r}", odd[:1], covariate.allowed)
    return np.broadcast_to(found.astype(np.float32), (*batch, count))
