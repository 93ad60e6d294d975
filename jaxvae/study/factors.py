"""The factors that a study varies besides variants: their effects, and whether the best variant depends on them.

A *factor* is a field of the settings, with the fields that follow from it. Its *levels* are its values; the others are
compared with the first. All results are contrasts: weighted sums of NLLs, with each variant at its best learning rate,
whose coefficients add up to 0 within each data set. A contrast is computed seed by seed, as all runs of a seed share
their random numbers. It is averaged over the settings that differ in the factor only, and that exist at every level.

NLLs of different data, or of different likelihoods, belong to densities of different things, and are never added
directly. If a factor's settings have several of them, contrasts are in units of each setting's *spread*: the standard
deviation of NLL over seeds. NLLs per entry of the data wouldn't be comparable either: a table may have ten entries per
row, but an image has hundreds, most of which are similar.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxvae.data import Reading
from jaxvae.study.intervals import LEVEL, Difference, student
from jaxvae.study.statistics import Comparison, Outcome, Setting, tuned_contrast

_MEASURED = ("dataset", "binarization", "likelihood", "offset", *(field.name for field in dataclasses.fields(Reading)))
"""The fields that determine of what NLL is a density."""

Level = tuple[Any, ...]
"""The values of a factor's fields."""

_Term = tuple[float, str, Outcome]
"""A term of a contrast: a coefficient, a variant, and its setting."""


@dataclasses.dataclass(frozen=True)
class Factor:
    """The results for a factor, with intervals that allow for their number in each table (Bonferroni).

    Attributes:
        names: the fields.
        levels: the fields' values, in the table's order, without those at which the baseline doesn't work.
        baseline: the variant that the others are compared with.
        variants: the other variants that are usable at each level.
        scaled: whether contrasts are in units of the settings' spread, and not in nats.
        effects: for each level, how much higher NLL is there than at the first, averaged over all variants; empty if
            the factor changes of what NLL is a density.
        differences: for each variant and level, how much higher its NLL is than the baseline's.
        changes: for each variant and level, how much larger this difference is than at the first level.
    """

    names: tuple[str, ...]
    levels: tuple[Level, ...]
    baseline: str
    variants: tuple[str, ...]
    scaled: bool
    effects: Mapping[Level, Difference]
    differences: Mapping[tuple[str, Level], Difference]
    changes: Mapping[tuple[str, Level], Difference]

    @property
    def told(self) -> bool:
        """Whether there are intervals."""
        return any(not math.isnan(x.low) for x in self.changes.values())

    @property
    def crossing(self) -> dict[str, tuple[list[Level], list[Level]]]:
        """The variants that are better than the baseline at some levels and worse at others, with these levels.

        Then the best variant depends on the factor. This is a qualitative interaction (Gail and Simon 1985, "Testing
        for qualitative interactions between treatment effects and patient subsets", Biometrics 41). It is claimed only
        if intervals on both sides exclude 0.
        """
        sides = {
            name: tuple([x for x in self.levels if self.differences[name, x].sign == sign] for sign in (-1, 1))
            for name in self.variants
        }
        return {name: (better, worse) for name, (better, worse) in sides.items() if better and worse}


def spread(outcome: Outcome) -> float:
    """Returns the standard deviation of NLL over seeds in a setting, pooled over the usable variants, or NaN.

    Each variant is at its best learning rate. A variant that only mirrors another doesn't count.
    """
    rows = [c.best.nll for c in outcome.comparisons if c.best and c.usable and not c.mirrors]
    squares = [float(np.var(row, ddof=1)) for row in rows if len(row) > 1]
    return math.sqrt(math.fsum(squares) / len(squares)) if squares else math.nan


def find_factors(outcomes: Sequence[Outcome]) -> list[Factor]:
    """Finds the factors of a study, in the order of its fields; a study of one setting has none."""
    if len(outcomes) < 2:
        return []
    return [_factor(names, outcomes) for names in _names([outcome.setting for outcome in outcomes])]


def _names(some: Sequence[Setting]) -> list[tuple[str, ...]]:
    """Returns the fields of settings, each with those that it determines, such as a data set's number of epochs."""
    columns = {column[0][0]: [value for _, value in column] for column in zip(*some, strict=True)}
    order = list(columns)

    def follows(name: str, other: str) -> bool:
        pairs = list(zip(columns[other], columns[name], strict=True))
        return len(set(pairs)) == len(set(columns[other]))

    roots = [
        name
        for name in order
        if not any(
            follows(name, other) and (not follows(other, name) or order.index(other) < order.index(name))
            for other in order
            if other != name
        )
    ]
    found: dict[str, list[str]] = {name: [] for name in roots}
    for name in order:
        found[name if name in found else next(root for root in roots if follows(name, root))].append(name)
    return list(map(tuple, found.values()))


class _Design(NamedTuple):
    """The settings of a factor, by its level and then by their other fields, which are the same at all levels."""

    table: Mapping[Level, Mapping[Setting, Outcome]]
    weights: Mapping[Setting, float]

    def terms(self, level: Level, contrast: Mapping[str, float]) -> list[_Term]:
        """Returns a contrast of variants at one level, averaged over its settings."""
        some = self.table[level].values()
        return [
            (share * self.weights[outcome.setting] / len(some), name, outcome)
            for outcome in some
            for name, share in contrast.items()
        ]


def _factor(names: tuple[str, ...], outcomes: Sequence[Outcome]) -> Factor:
    baseline = outcomes[0].baseline
    table: dict[Level, dict[Setting, Outcome]] = {}
    for outcome in outcomes:
        level = tuple(value for name, value in outcome.setting if name in names)
        rest = tuple(field for field in outcome.setting if field[0] not in names)
        found = table.setdefault(level, {})
        if baseline in _usable(outcome):
            found[rest] = outcome
    table = {level: some for level, some in table.items() if some}
    shared = set.intersection(*({*some} for some in table.values())) if len(table) > 1 else set()
    kept = {level: {rest: some[rest] for rest in some if rest in shared} for level, some in table.items()}
    used = [outcome for some in kept.values() for outcome in some.values()]
    scaled = len({tuple(x for x in outcome.setting if x[0] in _MEASURED) for outcome in used}) > 1
    weights = {outcome.setting: _inverse(spread(outcome)) if scaled else 1.0 for outcome in used}
    design = _Design(kept, weights)
    usable = [name for name in _usable(outcomes[0]) if used and all(name in _usable(outcome) for outcome in used)]
    variants = tuple(name for name in usable if name != baseline)
    levels, others = tuple(kept), tuple(kept)[1:]
    at = {(v, x): design.terms(x, {v: 1.0, baseline: -1.0}) for v in variants for x in levels}
    changes = {(v, x): at[v, x] + _minus(at[v, levels[0]]) for v in variants for x in others}
    mean = {name: 1 / len(usable) for name in usable}
    compared = others if usable and not {*names} & {*_MEASURED} else ()
    effects = {x: design.terms(x, mean) + _minus(design.terms(levels[0], mean)) for x in compared}
    return Factor(names, levels, baseline, variants, scaled, *map(_intervals, (effects, at, changes)))


def _usable(outcome: Outcome) -> dict[str, Comparison]:
    return {c.variant: c for c in outcome.comparisons if c.usable and not c.mirrors}


def _inverse(x: float) -> float:
    return 1 / x if x > 0 else math.nan


def _minus(terms: Sequence[_Term]) -> list[_Term]:
    return [(-x, name, outcome) for x, name, outcome in terms]


def _intervals(contrasts: Mapping[Any, Sequence[_Term]]) -> dict[Any, Difference]:
    """Returns the mean of each contrast, with an interval that allows for the number of contrasts."""
    level = 1 - (1 - LEVEL) / max(1, len(contrasts))
    return {
        key: student(*tuned_contrast([(x, _usable(outcome)[name].points) for x, name, outcome in terms]), level)
        for key, terms in contrasts.items()
    }
