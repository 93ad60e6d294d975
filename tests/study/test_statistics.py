import math

import numpy as np
import pytest
from tables import RATES, T_2, point, record, runs, sides

from jaxvae.study import statistics as st


def test_points_are_ordered_by_setting_variant_and_rate():
    table = [
        record("log_std", 0.1, 1, hidden=[20, 20]),
        record("log_std", 0.1, 0, nll=None, hidden=[20, 20]),
        record("log_variance", 0.1, 0, hidden=[20, 20]),
        record("log_variance", 0.01, 0, hidden=[20, 20]),
        record("log_variance", 0.01, 0, hidden=[40]),
        record("log_std", 0.01, 0, hidden=[40]),
    ]
    found = st.points([*table, *table])  # a run counts once
    wide, narrow = (("hidden", (20, 20)),), (("hidden", (40,)),)
    assert [(p.setting, p.variant, p.learning_rate) for p in found] == [
        (wide, "log_std", 0.1),
        (wide, "log_variance", 0.01),
        (wide, "log_variance", 0.1),
        (narrow, "log_std", 0.01),
        (narrow, "log_variance", 0.01),
    ]
    first = found[0]
    assert first.seeds.tolist() == [0, 1]
    assert first.nll.tolist() == [math.inf, 24]
    assert first.elbo.tolist() == [-math.inf, -25]
    assert (first.failures, first.mean) == (1, math.inf)
    assert math.isnan(first.standard_error)


def test_mean_and_standard_error():
    assert point(1, 2, 4).mean == pytest.approx(7 / 3)
    assert point(1, 2, 4).standard_error == pytest.approx(math.sqrt(42 / 18 / 3))  # s² = (16 + 1 + 25) / 9 / 2
    assert math.isnan(point(1).standard_error)


def test_best_is_lowest_among_those_without_failure():
    assert st.best([point(3, 3), point(1, None), point(2, 3)]).mean == 2.5
    assert st.best([point(3, None), point(None, None)]) is None
    assert st.best([]) is None
    assert st.best([point(1.0), point(2.0, 2.0), point(3.0, None)]).mean == 2  # of the most seeds


def difference(ours, theirs):
    return st.tuned_contrast([(1, ours), (-1, theirs)])


def test_differences_are_of_the_seeds_that_both_have():
    a = st.points([record(seed=seed, nll=x) for seed, x in [(0, 100.0), (2, 21.0), (5, 32.0), (7, 44.0)]])
    b = st.points([record(seed=seed, nll=x) for seed, x in [(2, 20.0), (5, 30.0), (7, 40.0), (9, 0.0)]])
    assert difference(a, b) == pytest.approx((7 / 3, math.sqrt(42 / 18 / 3), 3))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((1.0,), (3.0, 4.0), (-2.0, math.nan, 1)),
        ((None, 1.0), (None, 2.0), (math.nan, math.nan, 0)),
        ((None, 1.0), (1.0, 2.0), (math.nan, math.nan, 0)),
    ],
)
def test_no_error_from_one_seed_or_with_a_failure(a, b, expected):
    assert difference([point(*a)], [point(*b)]) == pytest.approx(expected, nan_ok=True)


def test_no_difference_without_a_common_seed():
    other = st.points([record(seed=9)])
    assert difference([point(1.0, 2.0)], other) == pytest.approx((math.nan, math.nan, 0), nan_ok=True)


def test_a_rate_that_lacks_a_seed_is_not_chosen_anew():
    ours = [point(1.0, 2.0, 4.0), *st.points(runs("log_variance", (0.5, 2.1), 0.1))]
    error = math.sqrt(42 / 18 / 3)
    assert difference(ours, [point(0.0, 0.0, 0.0)]) == pytest.approx((7 / 3, error, 3))


def test_the_rate_is_chosen_by_the_validation_images_and_reported_on_the_test_images():
    table = [
        *runs("log_std", (22.0, 23.0, 25.0), 0.1, chosen_by=20.0),
        *runs("log_std", (20.0, 20.0, 20.0), 0.01, chosen_by=21.0),
        *runs("log_variance", (21.0, 21.0, 21.0), 0.01, chosen_by=20.5),
        *runs("abs_std", (19.0, 19.0, 19.0), 0.01, chosen_by=None),
    ]
    (outcome,) = st.analyze(table)
    assert outcome.validated
    log_std, _, abs_std = outcome.comparisons
    assert (log_std.best.learning_rate, log_std.difference.mean) == (0.1, pytest.approx(7 / 3))
    assert abs_std.best is None
    old = [{name: x for name, x in r.items() if name != "validation_nll"} for r in table[:1]] + table[1:]
    (outcome,) = st.analyze(old)
    assert not outcome.validated
    assert outcome.comparisons[0].best.learning_rate == 0.01


def test_doubt_about_the_rate_widens_the_interval():
    rates = {0.01: (20.0, 20.2, 20.4), 0.1: (20.4, 20.0, 20.0)}
    base = runs("log_variance", (20.0, 20.0, 20.0))

    def half(chosen):
        table = [*base, *(r for rate in chosen for r in runs("log_std", rates[rate], rate))]
        difference = st.analyze(table)[0].comparisons[1].difference
        return difference.high - difference.mean

    assert half((0.1, 0.01)) != pytest.approx(half((0.1,)))


def test_a_mirror_is_no_evidence_and_what_reaches_zero_not_usable():
    table = [
        *runs("log_precision", (20.0, 20.1, 20.2)),
        *runs("log_variance", (20.0, 20.1, 20.2)),
        *runs("softplus_std", (20.1, 20.1, 20.1)),
        *runs("direct_std", (25.0, 24.0, 23.0)),
        *runs("sigmoid_std", (None, 20.0, 20.0)),
    ]
    (outcome,) = st.analyze(table)
    mirror, baseline, softplus, direct, failed = outcome.comparisons
    assert (mirror.mirrors, mirror.difference, mirror.adjusted) == ("log_variance", None, None)
    assert (baseline.mirrors, softplus.mirrors) == ("", "")
    assert [c.usable for c in outcome.comparisons] == [True, True, True, False, False]
    assert direct.difference.mean == pytest.approx(3.9)
    assert failed.advised
    assert outcome.level == pytest.approx(1 - 0.05 / 3)  # not of the mirror
    assert outcome.deviation == pytest.approx(np.std([0.1, 0.0, -0.1], ddof=1))  # of softplus_std alone


def test_after_a_search_not_all_learning_rates_have_all_seeds():
    tried = [*runs("log_std", (20.0, 20.1), 0.01), *runs("log_variance", (20.0, 20.1), 0.01)]
    assert not st.analyze(tried)[0].uneven
    assert not st.analyze([*tried, *runs("log_std", (21.0, None), 0.1)])[0].uneven
    assert st.analyze([*tried, *runs("log_std", (21.0,), 0.1)])[0].uneven


@pytest.mark.parametrize(
    ("means", "width"),
    [
        ((20, 20, 20), (2.0, True, True)),
        ((22, 20, 24), (0.5 + 0.25, False, False)),
        ((None, 20, 20.5), (1.0, False, True)),
        ((20.5, 20, None), (1.0, True, False)),
        ((20, 25, 20.5), (0.2, True, False)),  # the second stretch isn't connected
        ((20, 21, 22), (1.0, True, False)),  # exactly 1 nat still counts
        ((20, 20.5, 21), (2.0, True, True)),
        ((21.5, 22, 23), (0.0, False, False)),
        ((None, None, None), (0.0, False, False)),
    ],
)
def test_width_is_interpolated(means, width):
    grid = [point(mean, rate=rate) for rate, mean in zip(RATES, means, strict=True)]
    assert st.robustness_width(grid[::-1], 20) == pytest.approx(width)


@pytest.mark.parametrize(("elbo", "step"), [(-40, 100), (-30, 100), (-25, 150), (-24, 160), (-10, 400), (-9, None)])
def test_steps_to(elbo, step):
    curve = {"step": [100, 200, 300, 400], "elbo": [-30, -20, None, -10]}
    assert st.steps_to(record(curve=curve), elbo) == step


def test_compare_takes_each_at_its_best_rate():
    table = [
        *runs("log_std", (22.0, 23.0, 25.0), 0.1),
        *runs("log_std", (30.0, 30.0, 30.0), 0.01),
        *runs("log_variance", (21.0, 21.0, 21.0), 0.01),
        *runs("abs_std", (None, 20.0, 20.0), 0.01),
    ]
    (outcome,) = st.analyze(table)
    log_std, log_variance, abs_std = outcome.comparisons
    assert (outcome.baseline, outcome.setting) == ("log_variance", ())
    assert log_std.best.learning_rate == 0.1
    assert [p.learning_rate for p in log_std.points] == [0.01, 0.1]
    half = T_2 * math.sqrt(42 / 18 / 3)
    assert log_std.difference == pytest.approx((7 / 3, 7 / 3 - half, 7 / 3 + half, 3))
    # Two are compared: Bonferroni at 1 - 0.05 / 2, with p = 0.9875.
    half *= 0.975 / math.sqrt(2 * 0.9875 * 0.0125) / T_2
    assert log_std.adjusted == pytest.approx((7 / 3, 7 / 3 - half, 7 / 3 + half, 3))
    assert (log_variance.difference, log_variance.width) == (None, (0, True, True))
    assert (abs_std.best, abs_std.difference, abs_std.width) == (None, None, (0, False, False))


def test_spreads_of_one_to_one_variants():
    found = st.points(sides())
    plain, fisher = ([p for p in found if ("precondition", side) in p.setting] for side in ("none", "fisher"))
    (spread,) = st.spreads(plain, fisher)
    assert spread[:2] == (0.01, ("log_variance", "softplus_std"))
    assert (spread.plain, spread.fisher) == pytest.approx((3, 1))
    half = T_2 * 0.1 / math.sqrt(3)
    assert spread.change == pytest.approx((-2, -2 - half, -2 + half, 3))


def test_spreads_have_aliases_of_one_to_one_variants_too():
    alias = {"parameterization": "dehaene_exp_linear"}
    softplus = [r["config"]["parameterization"] == "softplus_std" for r in sides()]
    table = [{**r, "config": {**r["config"], **alias}} if s else r for r, s in zip(sides(), softplus, strict=True)]
    found = st.points(table)
    (spread,) = st.spreads(*([p for p in found if ("precondition", side) in p.setting] for side in ("none", "fisher")))
    assert spread.variants == ("log_variance", "dehaene_exp_linear")


def test_spreads_allow_for_the_number_of_rates():
    table = [{**r, "config": {**r["config"], "learning_rate": rate}} for rate in (0.01, 0.1) for r in sides()]
    found = st.points(table)
    spreads = st.spreads(*([p for p in found if ("precondition", side) in p.setting] for side in ("none", "fisher")))
    half = 0.975 / math.sqrt(2 * 0.9875 * 0.0125) * 0.1 / math.sqrt(3)
    assert [s.change.high for s in spreads] == pytest.approx([-2 + half] * 2)
