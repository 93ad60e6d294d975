"""The columns of a table as a model sees them: the meaning of their numbers, and their units."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from jaxvae.arguments import require
from jaxvae.texts import number

_SHOWN = 8
_MEASURED = ("real", "positive")


@dataclasses.dataclass(frozen=True)
class Feature:
    """A column of a table.

    Attributes:
        name: the name of the column.
        kind: one of ``tables.LIKELIHOODS``.
        levels: the meanings of the numbers 0, 1, …; () if they are plain numbers.
        loc: the mean in the training split; 0 if the column isn't a measurement.
        scale: the standard deviation in the training split; 1 if the column isn't a measurement.
        logs: whether both are those of the logarithms.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    loc: float = 0.0
    scale: float = 1.0
    logs: bool = False

    def __post_init__(self) -> None:
        field = f"column {self.name!r}"
        require(math.isfinite(self.loc), f"{field}: loc", self.loc, "finite")
        require(0 < self.scale < math.inf, f"{field}: scale", self.scale, "positive and finite")

    @property
    def measured(self) -> bool:
        """Whether it is a measurement with units."""
        return self.kind in _MEASURED

    @property
    def allowed(self) -> str:
        """The entries that are allowed, as the end of a sentence."""
        if self.levels:
            return f"a code from 0 to {len(self.levels) - 1} ({', '.join(self.levels[:_SHOWN])})"
        allowed = {"count": "a whole number, 0 or more", "positive": "above 0", "binary": "0 or 1"}
        return allowed.get(self.kind, "finite")

    def fits(self, x: np.ndarray) -> np.ndarray:
        """Returns which entries (N,) are allowed."""
        finite = np.isfinite(x)
        if self.levels or self.kind == "binary":
            return (x == np.rint(x)) & (x >= 0) & (x < max(len(self.levels), 2))
        if self.kind == "count":
            return finite & (x == np.rint(x)) & (x >= 0)
        return finite & (x > 0) if self.kind == "positive" else finite

    def fitted(self, x: np.ndarray, *, logs: bool) -> "Feature":
        """Returns the column in the units of these training entries (N,), without missing ones, or of their logarithms.

        Raises:
            ValueError: if they are all the same.
        """
        x = x[~np.isnan(x)]
        varies = len(x) > 0 and bool(np.min(x) < np.max(x))
        allowed = 'several values in the train split: it has no unit; kind "skip" leaves it out (--kinds)'
        found = f"{number(float(x[0]))} in all rows" if len(x) else "none in any row"
        require(varies, f"column {self.name!r}", found, allowed)
        x = x.astype(np.float64)
        x = np.log(x) if logs else x
        return dataclasses.replace(self, loc=float(np.mean(x)), scale=float(np.std(x)), logs=logs)

    def told(self, x: np.ndarray) -> np.ndarray:
        """Returns entries (N,) in the table's own terms: the nearest level, if there are levels, else the numbers."""
        if not self.levels:
            return x
        codes = np.clip(np.rint(x), 0, len(self.levels) - 1).astype(int)
        return np.array(self.levels)[codes]


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...


def names_told(columns: Sequence[_Named]) -> str:
    """Returns the names of the first few columns, as text.

    >>> names_told([Feature("age", "count"), Feature("sex", "binary")])
    'age, sex'
    """
    names = [column.name for column in columns[:_SHOWN]]
    return ", ".join([*names, "…"] if len(columns) > _SHOWN else names)


def kinds_told(columns: Iterable[_Named]) -> str:
    """Says how many columns are of each kind, and which.

    >>> kinds_told([Feature("age", "count"), Feature("sex", "binary"), Feature("visits", "count")])
    '2 count (age, visits), 1 binary (sex)'
    """
    found: dict[str, list[_Named]] = {}
    for column in columns:
        found.setdefault(column.kind, []).append(column)
    return ", ".join(f"{len(some):,} {kind} ({names_told(some)})" for kind, some in found.items())


def as_covariate(name: str, kind: str, levels: tuple[str, ...]) -> Feature:
    """Makes a covariate from a column of a table, given the kind and levels that it would have if it were modelled.

    >>> as_covariate("smoker", "binary", ()).levels, as_covariate("age", "count", ()).kind
    (('0', '1'), 'real')
    """
    levels = levels or (("0", "1") if kind == "binary" else ())
    return Feature(name, "categorical" if levels else "real", levels)


def covariates_told(covariates: Iterable[Feature]) -> str:
    """Returns each covariate with its allowed values, as text.

    >>> covariates_told([Feature("batch", "categorical", ("a", "b")), Feature("age", "real")])
    'batch (a, b), age (a number)'
    """
    return ", ".join(f"{c.name} ({levels_told(c) if c.levels else 'a number'})" for c in covariates)


def levels_told(feature: Feature) -> str:
    """Returns the first few levels, as text."""
    return ", ".join([*feature.levels[:_SHOWN], *["…"] * (len(feature.levels) > _SHOWN)])


def kinds_of(features: Iterable[Feature]) -> dict[str, Any]:
    """Returns the declaration of columns with which a table is read as the one with these features was.

    Levels of any kind are declared like those of an ordinal column, so that codes stay the same.
    """
    return {f.name: f.levels if len(f.levels) > 1 else f.kind for f in features}


def in_own_terms(features: Sequence[Feature], rows: np.ndarray) -> Mapping[str, np.ndarray]:
    """Returns the columns of rows (N, C) by name, with the names of categories."""
    return {feature.name: feature.told(x) for feature, x in zip(features, rows.T, strict=True)}
