import math

import numpy as np
import pytest
import scipy.stats
from tables import T_2

from jaxvae.study import intervals
from jaxvae.study.intervals import SeedScores, mean_with_interval, seeds_to_resolve, student, tuned_error


def scores(reported, chosen_by=None):
    reported = np.array(reported, float)
    return SeedScores(reported if chosen_by is None else np.array(chosen_by, float), reported)


ZERO = scores([[0.0, 0.0, 0.0]])


def error(ours, theirs):
    return tuned_error([(1, ours), (-1, theirs)])


def test_interval_of_a_mean_by_hand():
    half = T_2 * math.sqrt(42 / 18 / 3)
    assert mean_with_interval(np.array([1.0, 2, 4])) == pytest.approx((7 / 3, 7 / 3 - half, 7 / 3 + half, 3))


@pytest.mark.parametrize(("seeds", "level"), [(2, 0.5), (3, 0.95), (10, 0.99), (40, 0.95)])
def test_interval_of_a_mean_is_that_of_scipy(seeds, level):
    x = np.random.default_rng(seeds).standard_normal(seeds)
    mean, low, high, _ = mean_with_interval(x, level)
    expected = scipy.stats.ttest_1samp(x, 0).confidence_interval(level)
    assert (mean, low, high) == pytest.approx((x.mean(), expected.low, expected.high), rel=1e-12)


@pytest.mark.parametrize(("x", "mean"), [([2.0], 2.0), ([], math.nan), ([1.0, math.inf], math.nan)])
def test_no_interval_from_one_seed_or_with_a_failure(x, mean):
    found = mean_with_interval(np.array(x))
    assert found == pytest.approx((mean, math.nan, math.nan, len(x)), nan_ok=True)
    assert found.sign == 0


@pytest.mark.parametrize("level", [0, 1, 95])
def test_level_is_a_share(level):
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        student(0.0, 1.0, 3, level)


@pytest.mark.parametrize("seeds", [2, 3, 7])
def test_error_is_the_usual_one_where_the_choice_is_clear(seeds):
    rng = np.random.default_rng(0)
    ours, theirs = (rng.standard_normal((2, seeds)) + np.array([[0], [100]]) for _ in range(2))
    expected = scipy.stats.sem(ours[0] - theirs[0])
    assert error(scores(ours), scores(theirs)) == pytest.approx(expected, rel=1e-12)


def test_error_of_many_seeds_is_nearly_the_usual_one():
    x = np.random.default_rng(0).standard_normal((1, 12))
    # A covariance from 4000 draws is off by about √(1 / 4000) of the deviations' product.
    usual = scipy.stats.sem(x[0])
    assert error(scores(x), scores(np.zeros((1, 12)))) == pytest.approx(usual, rel=4 * math.sqrt(1 / 4000))


def test_error_has_what_the_choice_adds_by_enumeration():
    # Chosen by other numbers than those reported: resamples with seed 0 once or more take the first rate.
    ours = scores([[1.0, 1, 1], [5.0, 5, 5]], [[-9.0, 1, 1], [0.0, 0, 0]])
    lacking = (2 / 3) ** 3  # the share of resamples without seed 0, whose mean is 5
    # So cov(w₀, t*) = -4 · lacking, and as the other two seeds share its weight, theirs is half of that each.
    owed = lacking * np.array([-4, 2, 2])
    assert error(ours, ZERO) == pytest.approx(math.sqrt(np.sum(owed**2) * 3 / 2))


def test_error_of_a_contrast_of_four_is_that_of_its_seeds():
    rng = np.random.default_rng(0)
    x, factors = rng.standard_normal((4, 5)), (2.0, -2.0, -0.5, 0.5)
    expected = scipy.stats.sem(factors @ x)
    assert tuned_error([(f, scores([row])) for f, row in zip(factors, x, strict=True)]) == pytest.approx(expected)


def test_no_error_from_one_seed():
    assert math.isnan(error(scores([[1.0]]), scores([[0.0]])))


@pytest.mark.parametrize(("ratio", "level"), [(0.3, 0.95), (1.0, 0.95), (1.0, 0.995), (3.0, 0.95), (40.0, 0.95)])
def test_seeds_are_the_fewest_that_have_the_power(ratio, level):
    def chance(seeds):
        t = scipy.stats.t.ppf((1 + level) / 2, seeds - 1)
        tails = scipy.stats.nct(seeds - 1, ratio * math.sqrt(seeds))
        return tails.sf(t) + tails.cdf(-t)

    seeds = seeds_to_resolve(ratio * 0.1, 0.1, level)
    assert chance(seeds) >= intervals.POWER
    assert seeds == 2 or chance(seeds - 1) < intervals.POWER


def test_a_chance_is_that_of_a_simulation():
    rng = np.random.default_rng(0)
    x = 1.2 + rng.standard_normal((4000, 6))
    p = scipy.stats.ttest_1samp(x, 0, axis=1).pvalue
    chance = intervals.chance_to_resolve(1.2, 1.0, 6)
    assert np.mean(p < 0.05) == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 4000))


def test_seeds_at_the_ends():
    assert seeds_to_resolve(0.1, 0.0) == 2
    assert seeds_to_resolve(1e-6, 1.0) is None
    with pytest.raises(ValueError, match="difference must be above 0, got 0"):
        seeds_to_resolve(0.0, 1.0)
