"""What a study's table says: points, paired differences with intervals, tolerance of learning rates.

A *point* holds the seeds of one variant at one learning rate in one setting. NLL is in nats per image, and inf where a
run failed; differences are a variant's NLL minus the baseline's, so that positive is worse. Seeds share data order and
noise between variants, so that differences are taken seed by seed.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from jaxvae.arguments import require
from jaxvae.parameterizations import find
from jaxvae.study.results import Record, settings, variant

LEVEL = 0.95
"""The intervals' coverage."""

NEAR = 1.0
"""Nats above the setting's best mean NLL within which a learning rate still works."""

Setting = tuple[tuple[str, Any], ...]
"""What else differs within the table: (name, value) pairs; () where nothing does."""


@dataclasses.dataclass(frozen=True)
class Point:
    """The seeds of one variant at one learning rate in one setting: one record per seed, by ascending seed."""

    variant: str
    setting: Setting
    learning_rate: float
    records: tuple[Record, ...]

    @property
    def seeds(self) -> np.ndarray:
        """(S,), ascending."""
        return np.array([record["config"]["seed"] for record in self.records])

    @property
    def nll(self) -> np.ndarray:
        """(S,), inf where the run failed."""
        return _finite_or(math.inf, (record["nll"] for record in self.records))

    @property
    def elbo(self) -> np.ndarray:
        """(S,), -inf where it isn't finite."""
        return _finite_or(-math.inf, (record["elbo"] for record in self.records))

    @property
    def skipped(self) -> np.ndarray:
        """(S,), the share of steps whose update wasn't finite."""
        return np.array([record["skipped"] for record in self.records], float)

    @property
    def failures(self) -> int:
        """The number of seeds that failed."""
        return int(np.isinf(self.nll).sum())

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


class Difference(NamedTuple):
    """A mean of paired differences in nats, its interval (NaN below two seeds), and the number of seeds."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def sign(self) -> int:
        """-1 or 1 where the whole interval lies on that side of 0; else 0, as where there is no interval."""
        return int(self.low > 0) - int(self.high < 0)


class Width(NamedTuple):
    """Decades of learning rate that a variant tolerates, and whether an end of the grid cuts them off."""

    decades: float
    open_low: bool
    open_high: bool


class Comparison(NamedTuple):
    """One variant in one setting.

    Attributes:
        points: one per learning rate, ascending.
        best: the point of lowest mean NLL; None where none is without a failure.
        difference: of best from the baseline's best, with the interval at ``LEVEL``; None without either, and for the
            baseline itself.
        adjusted: the same with an interval that allows for the number of variants compared (Bonferroni).
        width: the learning rates within ``NEAR`` of the setting's best mean NLL.
    """

    variant: str
    setting: Setting
    points: tuple[Point, ...]
    best: Point | None
    difference: Difference | None
    adjusted: Difference | None
    width: Width


class Outcome(NamedTuple):
    """One setting: who is the baseline, and every variant, in the table's order."""

    setting: Setting
    baseline: str
    comparisons: tuple[Comparison, ...]


class Spread(NamedTuple):
    """How far variants lie apart at one learning rate, without and with the Fisher preconditioner, in nats."""

    learning_rate: float
    variants: tuple[str, ...]
    plain: float
    fisher: float
    change: Difference


def _finite_or(substitute: float, values: Iterable[float | None]) -> np.ndarray:
    return np.array([substitute if value is None else value for value in values], float)


def points(records: Sequence[Record]) -> list[Point]:
    """The table's points: settings and variants in the order in which they first come, learning rates ascending."""
    found: dict[tuple[Setting, str, float], dict[int, Record]] = {}
    for record, fields in zip(records, settings(records), strict=True):
        setting = tuple((name, tuple(x) if isinstance(x, list) else x) for name, x in fields.items())
        key = (setting, variant(record), record["config"]["learning_rate"])
        found.setdefault(key, {}).setdefault(record["config"]["seed"], record)
    order = [list(dict.fromkeys(key[axis] for key in found)) for axis in (0, 1)]
    keys = sorted(found, key=lambda key: (order[0].index(key[0]), order[1].index(key[1]), key[2]))
    return [Point(key[1], key[0], key[2], tuple(found[key][seed] for seed in sorted(found[key]))) for key in keys]


def best(candidates: Sequence[Point]) -> Point | None:
    """The point of lowest mean NLL; None where every one has a failure."""
    lowest = min(candidates, key=lambda point: point.mean, default=None)
    return lowest if lowest and not lowest.failures else None


def bootstrap_interval(x: np.ndarray, level: float, resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean of x, shape (S,) (Efron & Tibshirani 1993, §13.3)."""
    means = np.random.default_rng(seed).choice(x, (resamples, len(x))).mean(1)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def student_interval(x: np.ndarray, level: float) -> tuple[float, float]:
    """Student's interval of the mean of x, shape (S,): mean ± t s/√S with S - 1 degrees of freedom."""
    half = float(stdtrit(len(x) - 1, (1 + level) / 2) * x.std(ddof=1)) / math.sqrt(len(x))
    return float(x.mean()) - half, float(x.mean()) + half


def mean_with_interval(x: np.ndarray, level: float = LEVEL, resamples: int = 10_000, seed: int = 0) -> Difference:
    """The mean of x, shape (S,), with the smallest interval that holds both the bootstrap's and Student's.

    Of few numbers the bootstrap's is too narrow (Hesterberg 2015, The American Statistician 69): that of three cannot
    leave their range, which covers the centre of a symmetric distribution in 75 % of cases. Student's covers it for
    small samples that are near normal, the bootstrap for large ones that aren't; hence the wider on either side.
    """
    require(0 < level < 1, "level", level, "between 0 and 1")
    mean = float(x.mean()) if len(x) and np.isfinite(x).all() else math.nan
    if len(x) < 2 or math.isnan(mean):
        return Difference(mean, math.nan, math.nan, len(x))
    low, high = zip(bootstrap_interval(x, level, resamples, seed), student_interval(x, level), strict=True)
    return Difference(mean, min(low), max(high), len(x))


def _on_shared_seeds(some: Sequence[Point]) -> np.ndarray:
    """NLL (points, seeds) of the seeds that every point has."""
    tables = [dict(zip(point.seeds.tolist(), point.nll.tolist(), strict=True)) for point in some]
    seeds = sorted(set.intersection(*map(set, tables)))
    return np.array([[table[seed] for seed in seeds] for table in tables])


def paired_difference(
    point: Point, baseline: Point, *, level: float = LEVEL, resamples: int = 10_000, seed: int = 0
) -> Difference:
    """NLL minus the baseline's on the seeds that both have, in nats; NaN where one of them failed."""
    nll, reference = _on_shared_seeds((point, baseline))
    with np.errstate(invalid="ignore"):  # inf - inf
        return mean_with_interval(nll - reference, level, resamples, seed)


def robustness_width(some: Sequence[Point], reference: float, tolerance: float = NEAR) -> Width:
    """The decades of learning rate around a variant's best in which its mean NLL is within ``tolerance``.

    Mean NLL is interpolated linearly over log10 of the learning rate; next to a failure the range ends at the last grid
    point that works.

    Args:
        some: one variant's points in one setting.
        reference: the mean NLL to be near to, in nats: the setting's best over all variants.
        tolerance: nats.
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
    """The log10 learning rate at which mean NLL first exceeds the limit, and whether the grid ends before."""
    for near, far in itertools.pairwise(outwards):
        if far.mean > limit:
            start, stop = math.log10(near.learning_rate), math.log10(far.learning_rate)
            return start + (limit - near.mean) / (far.mean - near.mean) * (stop - start), False
    return math.log10(outwards[-1].learning_rate), True


def steps_to(record: Record, elbo: float) -> int | None:
    """The first step at which a run's test ELBO has reached ``elbo``, between records of it by linear interpolation."""
    steps, values = record["curve"]["step"], _finite_or(-math.inf, record["curve"]["elbo"])
    reached = np.flatnonzero(values >= elbo)
    if not len(reached):
        return None
    i = int(reached[0])
    if i == 0 or math.isinf(values[i - 1]):
        return int(steps[i])
    share = (elbo - values[i - 1]) / (values[i] - values[i - 1])
    return round(steps[i - 1] + share * (steps[i] - steps[i - 1]))


def analyze(records: Sequence[Record], baseline: str = "log_variance") -> list[Outcome]:
    """Every variant against the baseline, each at its own best learning rate; one outcome per setting.

    A setting without the baseline takes its first variant in its stead: to take the best one would make the others look
    worse than they are. The best learning rates are chosen on the seeds that are then compared; the small optimism that
    comes of this is shared by all variants, and larger for those whose results vary more.
    """
    table: dict[Setting, dict[str, list[Point]]] = {}
    for point in points(records):
        table.setdefault(point.setting, {}).setdefault(point.variant, []).append(point)
    return [_outcome(setting, by_variant, baseline) for setting, by_variant in table.items()]


def _outcome(setting: Setting, by_variant: Mapping[str, Sequence[Point]], baseline: str) -> Outcome:
    baseline = baseline if baseline in by_variant else next(iter(by_variant))
    tops = {name: best(some) for name, some in by_variant.items()}
    reference = min((top.mean for top in tops.values() if top), default=math.inf)
    adjusted = 1 - (1 - LEVEL) / max(1, len(tops) - 1)

    def against_baseline(name: str, level: float) -> Difference | None:
        top, base = tops[name], tops[baseline]
        return paired_difference(top, base, level=level) if top and base and name != baseline else None

    return Outcome(
        setting,
        baseline,
        tuple(
            Comparison(
                name,
                setting,
                tuple(some),
                tops[name],
                against_baseline(name, LEVEL),
                against_baseline(name, adjusted),
                robustness_width(some, reference),
            )
            for name, some in by_variant.items()
        ),
    )


def spreads(plain: Sequence[Point], fisher: Sequence[Point]) -> list[Spread]:
    """Whether "all are the same eventually": how far variants lie apart, plain and with the Fisher preconditioner.

    Natural-gradient flow is the same in all coordinates of one family (Amari 1998, Neural Computation 10). So the
    variants that count are coordinates of the same Gaussians: smooth one-to-one maps onto every σ > 0. That leaves out
    what has bounds (another family), is folded (square, abs), or needs its constraint handled. Those that failed at a
    learning rate on either side are left out there. The spread is highest minus lowest NLL of a seed, then averaged
    over seeds; noise alone makes it positive, so that what counts is its change (negative: Fisher brings them closer),
    whose interval allows for the number of learning rates (Bonferroni).
    """
    tables = {}
    for rate in sorted({point.learning_rate for point in plain}):
        sides = [
            {
                point.variant: point
                for point in side
                if point.learning_rate == rate and not point.failures and _one_to_one(point.variant)
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


def _one_to_one(name: str) -> bool:
    p = find(name)
    return p is not None and p.transform.range == (0, math.inf, False)
