"""Intervals of differences between tuned variants, and the number of seeds that a difference needs.

Shapes: S seeds, R learning rates. All differences are in nats.
"""

import bisect
import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import nctdtr, stdtrit

from jaxvae.arguments import require

LEVEL = 0.95
"""The intervals' coverage."""

POWER = 0.8
"""The probability with which enough seeds resolve a difference."""

MOST_SEEDS = 10_000
"""The largest number of seeds that is reported as sufficient."""

_ENUMERATED = 7  # seeds up to which all resamples are used, at most 1,716; for more seeds, _DRAWN are drawn
_DRAWN = 4000


class Difference(NamedTuple):
    """A mean of paired differences in nats, its interval (NaN below two seeds), and the number of seeds."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def sign(self) -> int:
        """-1 or 1 if the whole interval lies on that side of 0; else 0, also if there is no interval."""
        return int(self.low > 0) - int(self.high < 0)


class SeedScores(NamedTuple):
    """A variant's NLL in nats by learning rate and seed, (R, S) and finite: one to choose by, and one to report."""

    chosen_by: np.ndarray
    reported: np.ndarray

    def tuned(self, weights: np.ndarray) -> np.ndarray:
        """Returns the reported mean at the chosen learning rate, for each weighting of the seeds: (N, S) to (N,)."""
        choice = np.argmin(weights @ self.chosen_by.T, axis=1)
        found: np.ndarray = np.take_along_axis(weights @ self.reported.T, choice[:, None], axis=1)[:, 0]
        return found


def mean_with_interval(x: np.ndarray, level: float = LEVEL) -> Difference:
    """Returns the mean of x, shape (S,), with Student's interval; NaN if x isn't finite."""
    mean = float(x.mean()) if len(x) and np.isfinite(x).all() else math.nan
    error = float(x.std(ddof=1)) / math.sqrt(len(x)) if len(x) > 1 and not math.isnan(mean) else math.nan
    return student(mean, error, len(x), level)


def student(mean: float, error: float, seeds: int, level: float = LEVEL) -> Difference:
    """Returns mean ± t·error, where t is the quantile of Student's distribution with S - 1 degrees of freedom.

    Args:
        mean: the mean, in nats.
        error: the standard error of the mean, or NaN.
        seeds: S.
        level: the coverage.
    """
    require(0 < level < 1, "level", level, "between 0 and 1")
    half = float(stdtrit(seeds - 1, (1 + level) / 2)) * error if seeds > 1 else math.nan
    return Difference(mean, mean - half, mean + half, seeds)


def tuned_error(terms: Sequence[tuple[float, SeedScores]]) -> float:
    """Returns the standard error of a contrast of tuned variants, by a nested bootstrap; NaN for one seed.

    A contrast t is a sum of NLLs, each times its coefficient; with 1 and -1 it is a difference of two. Seeds are
    resampled for all variants together. Each resample chooses all learning rates again, so that the error includes the
    effect of the choice. The variance of the resampled contrast t* would count this effect twice, once for the data and
    once for the resample, and would be too large. Its part that depends on each seed isn't: Σ_s cov(w_s, t*)², where
    w_s is the seed's weight in units of 1/S (Efron 2014, "Estimation and accuracy after model selection", Journal of
    the American Statistical Association 109, theorem 1). The factor S / (S - 1) corrects the bootstrap's variance,
    which is too small. If every resample makes the same choice, the error is the usual s/√S, and ``student`` gives
    Student's interval.
    """
    seeds = terms[0][1].reported.shape[1]
    if seeds < 2:
        return math.nan
    weights, chances = _resamples(seeds)
    x = np.sum([coefficient * scores.tuned(weights) for coefficient, scores in terms], axis=0)
    owed = (chances * (x - chances @ x)) @ (seeds * weights - 1)
    return math.sqrt(np.sum(owed**2) * seeds / (seeds - 1))


@functools.cache
def _resamples(seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the weights of the seeds in each resample, (N, S), and the probability of each resample, (N,)."""
    if seeds > _ENUMERATED:
        counts = np.random.default_rng(0).multinomial(seeds, np.full(seeds, 1 / seeds), _DRAWN)
        return counts / seeds, np.full(_DRAWN, 1 / _DRAWN)
    draws = itertools.combinations_with_replacement(range(seeds), seeds)
    counts = np.array([np.bincount(draw, minlength=seeds) for draw in draws])
    orders = [math.factorial(seeds) / math.prod(map(math.factorial, row)) for row in counts.tolist()]
    return counts / seeds, np.array(orders) / seeds**seeds


def chance_to_resolve(difference: float, deviation: float, seeds: int, level: float = LEVEL) -> float:
    """Returns the probability that Student's interval of these seeds excludes 0, given the true difference.

    Args:
        difference: the true difference, in nats.
        deviation: the standard deviation over seeds of the paired difference, in nats, above 0.
        seeds: S, at least 2.
        level: the interval's coverage.
    """
    t = float(stdtrit(seeds - 1, (1 + level) / 2))
    shift = difference / deviation * math.sqrt(seeds)
    return float(1 - nctdtr(seeds - 1, shift, t) + nctdtr(seeds - 1, shift, -t))


def seeds_to_resolve(difference: float, deviation: float, level: float = LEVEL) -> int | None:
    """Returns the fewest seeds that resolve a difference with probability ``POWER``; None if over ``MOST_SEEDS``.

    Args:
        difference: the true difference, in nats, above 0.
        deviation: as in ``chance_to_resolve``, or 0.
        level: the coverage of the interval that must exclude 0.
    """
    require(0 < difference < math.inf, "difference", difference, "above 0")
    if deviation == 0:
        return 2
    every = range(2, MOST_SEEDS + 1)  # the probability increases with the number of seeds
    place = bisect.bisect_left(every, POWER, key=lambda n: chance_to_resolve(difference, deviation, n, level))
    return every[place] if place < len(every) else None
