"""The statistics of a study's table: points, paired differences with intervals, tolerance of learning rates.

A *point* holds the seeds of one variant at one learning rate in one setting. NLL is in nats per image, and inf if a run
failed. Differences are a variant's NLL minus the baseline's, so that positive is worse. Variants share data order and
noise for each seed, so differences are computed seed by seed.

A learning rate is chosen by the NLL of the validation images, and the NLL of the test images is reported. If any record
of a setting has no validation scores, it is chosen by the test images.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxvae.study.intervals import LEVEL, Difference, SeedScores, mean_with_interval, student, tuned_error
from jaxvae.study.results import Record, settings, variant
from jaxvae.study.variants import is_mirror, is_one_to_one, may_vanish

BASELINE = "log_variance"
"""The default variant with which others are compared."""

NEAR = 1.0
"""Nats above the setting's best mean NLL within which a learning rate still works."""

Setting = tuple[tuple[str, Any], ...]
"""Everything else that differs within the table, as (name, value) pairs; () if nothing does."""


@dataclasses.dataclass(frozen=True)
class Point:
    """The seeds of one variant at one learning rate in one setting: one record per seed, by ascending seed."""

    variant: str
    setting: Setting
    learning_rate: float
    records: tuple[Record, ...]
    validated: bool = False
    """Whether the learning rate is chosen by the validation images, as in all points of the setting."""

    @property
    def seeds(self) -> np.ndarray:
        """The seeds, (S,), ascending."""
        return np.array([record["config"]["seed"] for record in self.records])

    @property
    def nll(self) -> np.ndarray:
        """The NLL of each seed, (S,), inf if the run failed."""
        return _finite_or(math.inf, (record["nll"] for record in self.records))

    @property
    def chosen_by(self) -> np.ndarray:
        """The NLL by which the learning rate is chosen, (S,), inf if the run failed."""
        if not self.validated:
            return self.nll
        return _finite_or(math.inf, (record["validation_nll"] for record in self.records))

    @property
    def elbo(self) -> np.ndarray:
        """The ELBO of each seed, (S,), -inf if it isn't finite."""
        return _finite_or(-math.inf, (record["elbo"] for record in self.records))

    @property
    def skipped(self) -> np.ndarray:
        """The share of steps whose update wasn't finite, (S,)."""
        return np.array([record["skipped"] for record in self.records], float)

    @property
    def failures(self) -> int:
        """The number of seeds that failed."""
        return int(np.isinf(self.nll + self.chosen_by).sum())

    @property
    def mean(self) -> float:
        """The mean NLL; inf if any seed failed."""
        return float(self.nll.mean())

    @property
    def standard_error(self) -> float:
        """The standard error of the mean NLL, over seeds; NaN for one seed, or if any failed."""
        if len(self.records) < 2 or self.failures:
            return math.nan
        return float(self.nll.std(ddof=1)) / math.sqrt(len(self.records))


class Width(NamedTuple):
    """The decades of learning rate that a variant tolerates, and whether the grid ends before they do."""

    decades: float
    open_low: bool
    open_high: bool


class Comparison(NamedTuple):
    """The results of one variant in one setting.

    Attributes:
        points: one per learning rate, ascending.
        best: the point with the lowest NLL by which the learning rate is chosen; None if every point has a failure.
        difference: the difference of best from the baseline's best, with the interval at ``LEVEL``; None if either is
            missing, for the baseline itself, and for a mirror.
        adjusted: the same with an interval that allows for the number of variants compared (Bonferroni).
        width: the learning rates within ``NEAR`` of the setting's best mean NLL.
        advised: whether the variant can be advised before training, because its σ can't reach 0.
        mirrors: the variant that it equals by symmetry, so that it is no further evidence; "" for none.
    """

    variant: str
    setting: Setting
    points: tuple[Point, ...]
    best: Point | None
    difference: Difference | None
    adjusted: Difference | None
    width: Width
    advised: bool = True
    mirrors: str = ""

    @property
    def usable(self) -> bool:
        """Whether the variant can be recommended: it is advised, and works at some learning rate."""
        return self.advised and self.best is not None


class Outcome(NamedTuple):
    """The results of one setting.

    Attributes:
        setting: the setting.
        baseline: the variant that the others are compared with.
        comparisons: every variant, in the table's order.
        level: the coverage of the adjusted intervals.
        deviation: the standard deviation over seeds of a usable variant's paired difference, pooled over these
            variants. It includes the choice of the learning rate. It is NaN if there is no such difference.
    """

    setting: Setting
    baseline: str
    comparisons: tuple[Comparison, ...]
    level: float
    deviation: float

    @property
    def validated(self) -> bool:
        """Whether learning rates are chosen by the validation images."""
        return all(point.validated for comparison in self.comparisons for point in comparison.points)

    @property
    def uneven(self) -> bool:
        """Whether some learning rates have fewer seeds than their variant's best one, as after a search."""
        return any(len(p.records) < len(c.best.records) for c in self.comparisons if c.best for p in c.points)

    @property
    def learning_rates(self) -> list[float]:
        """All learning rates that were tried, ascending."""
        return sorted({point.learning_rate for comparison in self.comparisons for point in comparison.points})


class Spread(NamedTuple):
    """The distance between variants at one learning rate, without and with the Fisher preconditioner, in nats."""

    learning_rate: float
    variants: tuple[str, ...]
    plain: float
    fisher: float
    change: Difference


def _finite_or(substitute: float, values: Iterable[float | None]) -> np.ndarray:
    return np.array([substitute if value is None else value for value in values], float)


def points(records: Sequence[Record]) -> list[Point]:
    """Returns the table's points: settings and variants in the order of first appearance, learning rates ascending."""
    found: dict[tuple[Setting, str, float], dict[int, Record]] = {}
    for record, fields in zip(records, settings(records), strict=True):
        setting = tuple((name, tuple(x) if isinstance(x, list) else x) for name, x in fields.items())
        key = (setting, variant(record), record["config"]["learning_rate"])
        found.setdefault(key, {}).setdefault(record["config"]["seed"], record)
    order = [list(dict.fromkeys(key[axis] for key in found)) for axis in (0, 1)]
    keys = sorted(found, key=lambda key: (order[0].index(key[0]), order[1].index(key[1]), key[2]))
    by_test = {key[0] for key, some in found.items() if any("validation_nll" not in x for x in some.values())}
    return [
        Point(name, setting, rate, tuple(found[setting, name, rate][seed] for seed in seeds), setting not in by_test)
        for setting, name, rate in keys
        for seeds in [sorted(found[setting, name, rate])]
    ]


def best(candidates: Sequence[Point]) -> Point | None:
    """Returns the point with the lowest mean NLL by which it is chosen; None if every point has a failure.

    It considers only points with the most seeds, as means over fewer seeds aren't comparable.
    """
    working = [point for point in candidates if not point.failures]
    most = max((len(point.records) for point in working), default=0)
    whole = (point for point in working if len(point.records) == most)
    return min(whole, key=lambda point: float(point.chosen_by.mean()), default=None)


def _on_shared_seeds(some: Sequence[Point]) -> np.ndarray:
    """Returns the NLL, (points, seeds), of the seeds that every point has."""
    return _of_seeds(some, sorted(set.intersection(*({*point.seeds.tolist()} for point in some)))).reported


def _of_seeds(some: Sequence[Point], seeds: Sequence[int]) -> SeedScores:
    """Returns the NLL of those points that have all of these seeds."""
    rows = [[point.seeds.tolist().index(seed) for seed in seeds] for point in some]
    return SeedScores(
        np.array([point.chosen_by[row] for point, row in zip(some, rows, strict=True)]),
        np.array([point.nll[row] for point, row in zip(some, rows, strict=True)]),
    )


def tuned_contrast(terms: Sequence[tuple[float, Sequence[Point]]]) -> tuple[float, float, int]:
    """Returns a weighted sum of the NLLs of variants, each at its best learning rate.

    With the coefficients 1 and -1, it is the difference between two variants.

    Args:
        terms: a coefficient for each variant, and the variant's points in one setting.

    Returns:
        The mean contrast over those seeds that all best points have, in nats times the coefficients; its standard
        error, which includes the choice of the learning rates (``intervals.tuned_error``); and the number of seeds. The
        numbers are NaN if a variant has no best point or too few seeds.
    """
    tops = [best(some) for _, some in terms]
    if any(top is None for top in tops):
        return math.nan, math.nan, 0
    seeds = sorted(set.intersection(*({*top.seeds.tolist()} for top in tops if top)))
    if not seeds:
        return math.nan, math.nan, 0
    # A learning rate without some of these seeds can't be chosen in a resample.
    sides = [[p for p in some if not p.failures and {*seeds} <= {*p.seeds.tolist()}] for _, some in terms]
    coefficients = [coefficient for coefficient, _ in terms]
    error = tuned_error([(x, _of_seeds(side, seeds)) for x, side in zip(coefficients, sides, strict=True)])
    means = [_of_seeds([top], seeds).reported.mean() for top in tops if top]
    return math.fsum(x * mean for x, mean in zip(coefficients, means, strict=True)), error, len(seeds)


def robustness_width(some: Sequence[Point], reference: float, tolerance: float = NEAR) -> Width:
    """Returns the decades of learning rate around a variant's best in which its mean NLL is within ``tolerance``.

    Mean NLL is interpolated linearly over log10 of the learning rate; next to a failure the range ends at the last grid
    point that works.

    Args:
        some: one variant's points in one setting.
        reference: the mean NLL from which the tolerance counts, in nats: the setting's best over all variants.
        tolerance: the tolerance, in nats.
    """
    grid = sorted(some, key=lambda point: point.learning_rate)
    top = best(grid)
    if top is None or top.mean - reference > tolerance:
        return Width(0.0, False, False)
    middle = grid.index(top)
    low, open_low = _reach(grid[middle::-1], reference + tolerance)
    high, open_high = _reach(grid[middle:], reference + tolerance)
    return Width(high - low, open_low, open_high)


def _reach(outwards: Sequence[Point], limit: float) -> tuple[float, bool]:
    """Returns the log10 learning rate at which mean NLL first exceeds the limit, and whether the grid ends before."""
    for near, far in itertools.pairwise(outwards):
        if far.mean > limit:
            start, stop = math.log10(near.learning_rate), math.log10(far.learning_rate)
            return start + (limit - near.mean) / (far.mean - near.mean) * (stop - start), False
    return math.log10(outwards[-1].learning_rate), True


def steps_to(record: Record, elbo: float) -> int | None:
    """Returns the first step at which a run's test ELBO reaches ``elbo``, interpolated linearly between records."""
    steps, values = record["curve"]["step"], _finite_or(-math.inf, record["curve"]["elbo"])
    reached = np.flatnonzero(values >= elbo)
    if not len(reached):
        return None
    i = int(reached[0])
    if i == 0 or math.isinf(values[i - 1]):
        return int(steps[i])
    share = (elbo - values[i - 1]) / (values[i] - values[i - 1])
    return round(steps[i - 1] + share * (steps[i] - steps[i - 1]))


def analyze(records: Sequence[Record], baseline: str = BASELINE) -> list[Outcome]:
    """Compares every variant with the baseline, each at its own best learning rate; one outcome per setting.

    In a setting without the baseline, the first variant replaces it; the best variant would make the others look worse
    than they are.
    """
    table: dict[Setting, dict[str, list[Point]]] = {}
    for point in points(records):
        table.setdefault(point.setting, {}).setdefault(point.variant, []).append(point)
    return [_outcome(setting, by_variant, baseline) for setting, by_variant in table.items()]


def _outcome(setting: Setting, by_variant: Mapping[str, Sequence[Point]], baseline: str) -> Outcome:
    baseline = baseline if baseline in by_variant else next(iter(by_variant))
    tops = {name: best(some) for name, some in by_variant.items()}
    reference = min((top.mean for top in tops.values() if top), default=math.inf)
    mirrors = _mirrors(list(by_variant), baseline)
    judged = [name for name in by_variant if name != baseline and not mirrors[name]]
    level = 1 - (1 - LEVEL) / max(1, len(judged))
    found = {name: tuned_contrast([(1, by_variant[name]), (-1, by_variant[baseline])]) for name in judged}

    def compared(name: str, level: float) -> Difference | None:
        return student(*found[name], level) if name in found and tops[name] and tops[baseline] else None

    comparisons = tuple(
        Comparison(
            name,
            setting,
            tuple(some),
            tops[name],
            compared(name, LEVEL),
            compared(name, level),
            robustness_width(some, reference),
            not may_vanish(some[0].records[0]["config"]["parameterization"]),
            mirrors[name],
        )
        for name, some in by_variant.items()
    )
    errors = [found[c.variant][1:] for c in comparisons if c.usable and c.variant in found]
    variances = [error**2 * seeds for error, seeds in errors if not math.isnan(error)]
    deviation = math.sqrt(float(np.mean(variances))) if variances else math.nan
    return Outcome(setting, baseline, comparisons, level, deviation)


def _mirrors(names: Sequence[str], baseline: str) -> dict[str, str]:
    """Returns for each variant the one that it mirrors: the baseline, or one before it."""
    found: dict[str, str] = {}
    for name in (baseline, *(name for name in names if name != baseline)):
        found[name] = next((other for other in found if is_mirror(name, other)), "")
    return found


def spreads(plain: Sequence[Point], fisher: Sequence[Point]) -> list[Spread]:
    """Returns the distances between variants with plain gradients and with the Fisher preconditioner.

    They test the claim that "all are the same eventually". Natural-gradient flow is the same in all coordinates of one
    family (Amari 1998, Neural Computation 10). Therefore only variants count that are coordinates of the same
    Gaussians: smooth one-to-one maps onto every σ > 0. This excludes variants with bounds (another family), with folds
    (square, abs), or with a constraint to handle. Variants that failed at a learning rate, with or without the
    preconditioner, are left out there. The spread is the highest minus the lowest NLL of a seed, averaged over seeds.
    Noise alone makes it positive, so its change is what counts (negative: Fisher brings variants closer). The interval
    of the change allows for the number of learning rates (Bonferroni).
    """
    tables = {}
    for rate in sorted({point.learning_rate for point in plain}):
        sides = [
            {
                point.variant: point
                for point in side
                if point.learning_rate == rate and not point.failures and is_one_to_one(point.variant)
            }
            for side in (plain, fisher)
        ]
        names = [name for name in sides[0] if name in sides[1]]
        nll = _on_shared_seeds([side[name] for side in sides for name in names]) if len(names) > 1 else np.empty((0, 0))
        if nll.size:
            tables[rate] = names, np.ptp(nll.reshape(2, len(names), -1), axis=1)  # (2, S)
    level = 1 - (1 - LEVEL) / max(1, len(tables))
    found = []
    for rate, (names, table) in tables.items():
        change = mean_with_interval(table[1] - table[0], level)
        found.append(Spread(rate, tuple(names), float(table[0].mean()), float(table[1].mean()), change))
    return found
