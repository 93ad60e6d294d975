"""How the columns of a table are modelled: the likelihood of each, and its units."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from jaxvae.arguments import require
from jaxvae.data import Dataset, Feature, names_told
from jaxvae.data.dataset import chunks
from jaxvae.data.missing import count_missing
from jaxvae.data.observation import unit_scaled
from jaxvae.data.supports import SUPPORTS
from jaxvae.data.tables import LIKELIHOODS as SUITING
from jaxvae.likelihoods import OF_LOGS, Columns, Group, Standard, column_likelihood
from jaxvae.parameterizations import Parameterization
from jaxvae.texts import counted

COLUMNS = "columns"
"""The likelihood of a table that is a product: each column has the likelihood that suits its kind."""

_KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys(("gaussian_fixed", "gaussian_learned", "gaussian_pixel"), ("real", "positive")),
        **dict.fromkeys(("student_t", "laplace", "beta", "von_mises"), ("real", "positive")),
        **dict.fromkeys(OF_LOGS, ("positive",)),
        "bernoulli": ("binary",),
        "categorical": ("categorical", "ordinal", "binary"),
        "ordinal": ("ordinal",),
    }
)
"""The kinds of columns that each likelihood allows; a table of counts has no other kind."""

_LISTED, _LEVELS = 40, 6  # how many columns, and levels of one, are listed


def suiting(features: Sequence[Feature]) -> str:
    """Returns the likelihood that suits a table's kind of columns, or ``COLUMNS`` if they are of several kinds."""
    kinds = {feature.kind for feature in features}
    return SUITING[kinds.pop()] if len(kinds) == 1 else COLUMNS


def require_suiting(name: str, dataset: Dataset) -> None:
    """Raises ValueError if a table that isn't of counts only has columns that the likelihood doesn't suit."""
    kinds = _KINDS.get(name, () if name != COLUMNS else tuple(SUITING))
    odd = next((f for f in dataset.features if f.kind not in kinds), None)
    own = suiting(dataset.features)
    allowed = (
        f"auto ({own}) for a table with a column {odd and odd.name!r} of kind {odd and odd.kind}; --kinds says others"
    )
    require(odd is None, "likelihood", name, allowed)


def require_supported(name: str, dataset: Dataset) -> None:
    """Raises ValueError if the likelihood has no density of a number of the data, in the units that it gets."""
    if name not in SUPPORTS:
        return
    for split, x in dataset.splits.items():
        for chunk in chunks(x.images):
            numbers = chunk / np.float32(dataset.levels - 1) if dataset.levels else chunk
            outside = SUPPORTS[name].outside(unit_scaled(numbers, dataset.reading.value_range))
            if outside.any():
                first = tuple(np.argwhere(outside)[0].tolist())
                column = f" in column {dataset.features[first[-1]].name!r}" if dataset.features else ""
                found = f"{chunk[first]:g}{column} of the {split} split"
                allowed = f"{SUPPORTS[name].told}; --likelihood auto takes all"
                require(False, f"numbers under likelihood {name}", found, allowed)


def likelihood_of(name: str, feature: Feature) -> str:
    """Returns the likelihood of a column, given that of its table."""
    return SUITING[feature.kind] if name == COLUMNS else name


def in_units(name: str, dataset: Dataset) -> tuple[Feature, ...]:
    """Returns the columns with units from the training split, in which a model sees measurements.

    Raises:
        ValueError: for a measured column that is constant in the training split.
    """
    rows = dataset.train.images.reshape(len(dataset.train), -1)
    return tuple(
        feature.fitted(x, logs=likelihood_of(name, feature) in OF_LOGS) if feature.measured else feature
        for feature, x in zip(dataset.features, rows.T, strict=True)
    )


def columns_likelihood(
    name: str, features: Sequence[Feature], parameterization: Parameterization, std: float
) -> Columns:
    """Returns the product of the likelihoods of a table's columns; columns with the same likelihood form a group.

    Args:
        name: ``COLUMNS``, or the likelihood of all columns.
        features: the columns, in their units.
        parameterization: how raw outputs become scales.
        std: the scales' initial or fixed value, in the columns' units.
    """
    found: dict[tuple[str, int | None], list[int]] = {}
    for i, feature in enumerate(features):
        own = likelihood_of(name, feature)
        levels = max(len(feature.levels), 2) if own in ("categorical", "ordinal") else None
        found.setdefault((own, levels), []).append(i)
    groups = []
    for (own, levels), some in found.items():
        measured = all(features[i].measured for i in some) and own not in ("beta", "von_mises")
        units = [(features[i].loc, features[i].scale) for i in some] if measured else []
        standard = Standard(*map(tuple, zip(*units, strict=True))) if units else Standard()
        kind = column_likelihood(own, levels, standard, parameterization, std)
        groups.append(Group(kind, tuple(some), coded=levels is not None))
    return Columns(tuple(groups))


def modelled(features: Sequence[Feature]) -> str:
    """Describes which likelihood each column has under ``COLUMNS``.

    >>> modelled([Feature("age", "count"), Feature("sex", "binary")])
    'negative_binomial of age; bernoulli of sex'
    """
    found: dict[str, list[Feature]] = {}
    for feature in features:
        found.setdefault(SUITING[feature.kind], []).append(feature)
    return "; ".join(f"{own} of {names_told(some)}" for own, some in found.items())


def seen_as(features: Sequence[Feature]) -> str:
    """Describes how an encoder sees columns.

    >>> seen_as([Feature("age", "count"), Feature("sex", "binary")])
    'counts as log(1 + x), others as they are'
    """
    kinds = {feature.kind for feature in features}
    logs = {feature.logs for feature in features if feature.measured}
    found = [
        *["measurements standardized"] * (False in logs),
        *["logs of positive ones standardized"] * (True in logs),
        *["counts as log(1 + x)"] * ("count" in kinds),
        *["categories one-hot"] * ("categorical" in kinds),
    ]
    return ", ".join([*found, *["others as they are"] * bool(kinds & {"binary", "ordinal"})])


def column_lines(name: str, dataset: Dataset) -> list[str]:
    """Returns a line for each of the first columns and covariates: kind, likelihood, and range or training levels."""
    features, train = dataset.features[:_LISTED], dataset.train
    width = max(len(feature.name) for feature in (*features, *dataset.covariates))
    rows = train.images.reshape(len(train), -1)
    lines = [_line(f, likelihood_of(name, f), x, width) for f, x in zip(features, rows.T, strict=False)]
    more = len(dataset.features) - len(features)
    lines += [f"  and {counted(more, 'column')} more"] * (more > 0)
    if train.covariates is not None:
        pairs = zip(dataset.covariates, train.covariates.T, strict=True)
        lines += [_line(covariate, "(covariate)", x, width) for covariate, x in pairs]
    return lines


def _line(feature: Feature, likelihood: str, x: np.ndarray, width: int) -> str:
    told = ", ".join(feature.levels[:_LEVELS]) + ", …" * (len(feature.levels) > _LEVELS)
    told = told or f"{np.nanmin(x):g} to {np.nanmax(x):g}"
    missing = count_missing(x)
    told += f", {missing:,} missing" if missing else ""
    return f"  {feature.name:{width}}  {feature.kind:11}  {likelihood:17}  {told}"
