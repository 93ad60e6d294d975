import itertools
import math

import numpy as np
import pytest

from jaxvae.study import statistics as st

RATES = (1e-3, 1e-2, 1e-1)
T_2 = 0.95 / math.sqrt(2 * 0.975 * 0.025)  # t of 2 degrees of freedom at p: (2p - 1) / √(2p(1 - p)), here at 0.975


def record(name="log_variance", rate=1e-2, seed=0, nll=24.0, *, skipped=0.0, cause=None, curve=None, **config):
    return {
        "config": {"parameterization": name, "constraint": "none", "learning_rate": rate, "seed": seed, **config},
        "nll": nll,
        "elbo": None if nll is None else -nll - 1,
        "skipped": skipped,
        "cause": cause,
        "curve": curve,
    }


def runs(name, nll, rate=1e-2, **rest):
    """One run per seed from 0."""
    return [record(name, rate, seed, x, **rest) for seed, x in enumerate(nll)]


def point(*nll, rate=1e-2):
    return st.points(runs("log_variance", nll, rate))[0]


def told(*tables, **options):
    return st.verdict(st.compare([r for table in tables for r in table], **options))


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


def test_student_interval_by_hand():
    half = T_2 * math.sqrt(42 / 18 / 3)
    assert st.student_interval(np.array([1.0, 2, 4]), 0.95) == pytest.approx((7 / 3 - half, 7 / 3 + half))


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_bootstrap_is_the_enumeration_of_all_resamples(level):
    # The levels lie 10 standard errors of 10,000 draws from the steps of the exact distribution.
    x = np.array([0.0, 1, 5])
    means = [np.mean(draw) for draw in itertools.product(x, repeat=3)]
    exact = np.quantile(means, ((1 - level) / 2, (1 + level) / 2), method="inverted_cdf")
    assert st.bootstrap_interval(x, level) == pytest.approx(tuple(exact))


def test_interval_holds_the_bootstrap_and_student():
    x = np.exp(
        2 * np.random.default_rng(0).standard_normal(40)
    )  # skewed: the bootstrap ends later above, Student below
    bootstrap, student = st.bootstrap_interval(x, 0.95), st.student_interval(x, 0.95)
    assert student[0] < bootstrap[0] < student[1] < bootstrap[1]
    assert st.mean_with_interval(x) == (x.mean(), student[0], bootstrap[1], 40)


@pytest.mark.parametrize("seeds", [3, 10])
def test_interval_covers(seeds):
    samples = np.random.default_rng(seeds).standard_normal((1000, seeds))
    found = [st.mean_with_interval(x, 0.9, resamples=300) for x in samples]
    covered = np.mean([low <= 0 <= high for _, low, high, _ in found])
    error = math.sqrt(0.9 * 0.1 / 1000)
    # Student's is exact here; of three, the bootstrap's can add nothing, and of ten little.
    assert 0.9 - 3 * error < covered < 0.9 + 3 * error + (seeds > 3) * 0.02


@pytest.mark.parametrize("level", [0, 1, 95])
def test_level_is_a_share(level):
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        st.mean_with_interval(np.ones(3), level)


def test_paired_difference_takes_the_seeds_that_both_have():
    a = st.points([record(seed=seed, nll=x) for seed, x in [(0, 100.0), (2, 21.0), (5, 32.0), (7, 44.0)]])[0]
    b = st.points([record(seed=seed, nll=x) for seed, x in [(2, 20.0), (5, 30.0), (7, 40.0), (9, 0.0)]])[0]
    half = T_2 * math.sqrt(42 / 18 / 3)
    assert st.paired_difference(a, b) == pytest.approx((7 / 3, 7 / 3 - half, 7 / 3 + half, 3))


@pytest.mark.parametrize(
    ("a", "b", "mean", "seeds"),
    [((1.0,), (3.0, 4.0), -2.0, 1), ((None, 1.0), (None, 2.0), math.nan, 2), ((None, 1.0), (1.0, 2.0), math.nan, 2)],
)
def test_no_interval_from_one_seed_or_with_a_failure(a, b, mean, seeds):
    difference = st.paired_difference(point(*a), point(*b))
    assert difference == pytest.approx((mean, math.nan, math.nan, seeds), nan_ok=True)
    assert difference.sign == 0


def test_no_interval_without_a_common_seed():
    other = st.points([record(seed=9)])[0]
    assert st.paired_difference(point(1.0, 2.0), other) == pytest.approx((math.nan,) * 3 + (0,), nan_ok=True)


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
    (outcome,) = st.compare(table)
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


def spaced(mean, step):
    """Three seeds with this mean and this standard deviation."""
    return (mean - step, mean, mean + step)


BASE = runs("log_variance", (20.0, 20.0, 20.0))


def test_verdict_names_the_better_and_the_worse():
    sentences = told(
        BASE, runs("log_std", spaced(18, 0.1)), runs("abs_std", spaced(23, 0.1)), runs("softplus_std", spaced(20, 0.5))
    )
    assert sentences[0] == "Yes, it matters: 2 of 3 variants differ from log_variance in NLL."
    assert sentences[1] == "log_variance reaches 20.00 ± 0 nats at learning rate 0.01."
    # p = 1 - 0.05 / 6: t = 7.6488, half = t·0.1/√3 = 0.44, and 2.2 for softplus_std
    assert sentences[2] == "Better than log_variance: log_std −2 [−2.4, −1.6] nats."
    assert sentences[3] == "Worse than log_variance: abs_std +3 [+2.6, +3.4] nats."
    assert sentences[4] == "Of softplus_std: no difference from log_variance seen, up to ±2.2 nats."
    assert sentences[5] == "Intervals: 95 %, adjusted for 3 comparisons, over 3 seeds."


def test_verdict_names_no_winner_where_the_adjusted_interval_includes_zero():
    table = [*BASE, *runs("log_std", spaced(19.7, 0.1)), *runs("softplus_std", spaced(20, 0.1))]
    (outcome,) = st.compare(table)
    log_std = next(c for c in outcome.comparisons if c.variant == "log_std")
    assert (log_std.difference.sign, log_std.adjusted.sign) == (-1, 0)  # half-widths 0.25 and 0.36
    sentences = st.verdict([outcome])
    assert sentences[0] == "Not as far as this study can tell: no difference from log_variance seen, up to ±0.66 nats."
    assert not any("Better" in s or "Worse" in s for s in sentences)


def test_verdict_of_failures():
    sentences = told(
        BASE,
        runs("log_std", spaced(20, 0.1)),
        runs("direct_std", (None, 25.0, None), 0.01, skipped=0.5, cause="gaussian"),
        runs("direct_std", (None, None, None), 0.1, skipped=0.75, cause="gradient"),
        runs("abs_std", (20.0, 20.1, 20.2), 0.1, skipped=0.001, cause="network"),
    )
    assert sentences[0] == "It matters for whether training works: runs of direct_std failed at every learning rate."
    assert any(s.startswith("Of log_std and abs_std: no difference") for s in sentences)
    assert (
        "Not finite at learning rates: direct_std at 0.01 and 0.1 (5 of 6 runs failed, 62 % of steps skipped, first in "
        "gaussian and gradient); abs_std at 0.1 (0 of 3 runs failed, 0.1 % of steps skipped, first in network)."
    ) in sentences


def test_verdict_with_winner_and_failure_names_both():
    sentences = told(BASE, runs("log_std", spaced(18, 0.1)), runs("direct_std", (None, 25.0, None)))
    assert sentences[0] == "Yes, it matters: 1 of 1 variants differ from log_variance in NLL."
    assert "Runs of direct_std failed at every learning rate." in sentences


def test_verdict_of_one_variant():
    sentences = told(runs("log_variance", (20.0, 21.0)))
    assert sentences[:2] == [
        "It cannot be said whether the choice matters: log_variance is the only variant.",
        "log_variance reaches 20.50 ± 0.5 nats at learning rate 0.01.",
    ]
    assert not any("Intervals" in s for s in sentences)


def test_verdict_where_all_failed():
    sentences = told(runs("log_variance", (None, None)), runs("log_std", (None, 20.0)))
    assert (
        sentences[0] == "It cannot be said whether the choice matters: runs of every variant failed at every learning "
        "rate."
    )
    assert len(sentences) == 2  # and the failures


def test_verdict_where_the_baseline_failed():
    sentences = told(runs("log_variance", (None, 20.0)), runs("log_std", (20.0, 20.0)))
    assert (
        sentences[0] == "Yes, it matters: runs of log_variance, the baseline, failed at every learning rate, unlike "
        "those of log_std."
    )
    assert not any("Better" in s or "Worse" in s for s in sentences)


def test_verdict_of_one_seed_makes_no_claim():
    sentences = told([record(), record("log_std", nll=1.0)])
    assert (
        sentences[0] == "It cannot be said whether the choice matters: no other variant has two seeds in common with "
        "log_variance."
    )
    assert sentences[1] == "log_variance reaches 24.00 nats at learning rate 0.01."
    assert not any("Better" in s or "Worse" in s for s in sentences)


def test_verdict_without_the_baseline_takes_the_first():
    table = [*runs("log_std", (20.0, 20.0)), *runs("abs_std", (10.0, 10.1))]
    assert st.compare(table)[0].baseline == "log_std"
    assert st.compare(table, "abs_std")[0].baseline == "abs_std"
    assert any(s.startswith("Better than log_std: abs_std −") for s in told(table))


def test_verdict_counts_what_is_missing():
    sentences = told(BASE, runs("log_std", (20.1, 20.0)), runs("abs_std", (20.0,)))
    assert "3 of 9 runs are missing; differences are over the seeds that both have." in sentences
    assert "No claim on abs_std: below two seeds in common." in sentences
    assert "Intervals: 95 %, adjusted for 2 comparisons, over 2 seeds." in sentences


def test_verdict_names_the_widest_range_and_those_at_the_grid_s_end():
    grid = {
        "log_variance": (20.5, 20.0, 25.0),
        "log_std": (20.0, 20.2, 20.4),
        "abs_std": (20.3, 20.1, 20.05),
        "sigmoid_std": (23.0, 20.1, 23.0),
    }
    sentences = told(
        *(runs(name, (x, x), rate) for name, row in grid.items() for x, rate in zip(row, RATES, strict=True))
    )
    assert (
        "Within 1 nat of the best NLL over the widest range of learning rates: log_std and abs_std, at least 2.0 "
        "decades; log_variance at least 1.2 decades."
    ) in sentences
    assert "Best at an end of the learning rates tried, perhaps better beyond: log_std and abs_std." in sentences


def test_verdict_speaks_of_each_setting():
    table = runs("log_variance", (20.0,) * 3, dtype="float32") + runs("log_std", spaced(18, 0.1), dtype="float32")
    table += runs("log_variance", (20.0,) * 3, dtype="bfloat16") + runs("log_std", spaced(20, 0.1), dtype="bfloat16")
    first = [s for s in told(table) if s.startswith("With ")]
    assert [s[:35] for s in first] == ["With dtype = float32: Yes, it matte", "With dtype = bfloat16: Not as far a"]


def test_verdict_of_an_empty_table():
    assert told([]) == ["It cannot be said whether the choice matters: the table is empty."]


def sides(**rest):
    """Two one-to-one variants 3 ± 0.1 nats apart when plain, 1 with Fisher; and others that must not count."""
    return [
        *runs("log_variance", (20.0, 21.0, 22.0), precondition="none", **rest),
        *runs("softplus_std", (23.1, 24.0, 24.9), precondition="none", **rest),
        *runs("natural_exp", (None, 24.0, 24.9), precondition="none", **rest),
        *runs("log_variance", (20.0, 21.0, 22.0), precondition="fisher", **rest),
        *runs("softplus_std", (19.0, 20.0, 21.0), precondition="fisher", **rest),
        *runs("natural_exp", (90.0, 90.0, 90.0), precondition="fisher", **rest),
        *(r for side in ("none", "fisher") for r in runs("sigmoid_std", (90.0,) * 3, precondition=side, **rest)),
        *(r for side in ("none", "fisher") for r in runs("abs_std", (90.0,) * 3, precondition=side, **rest)),
        *(r for side in ("none", "fisher") for r in runs("direct_std", (90.0,) * 3, precondition=side, **rest)),
    ]


def test_spreads_of_one_to_one_variants():
    found = st.points(sides())
    plain, fisher = ([p for p in found if ("precondition", side) in p.setting] for side in ("none", "fisher"))
    (spread,) = st.spreads(plain, fisher)
    assert spread[:2] == (0.01, ("log_variance", "softplus_std"))
    assert (spread.plain, spread.fisher) == pytest.approx((3, 1))
    half = T_2 * 0.1 / math.sqrt(3)
    assert spread.change == pytest.approx((-2, -2 - half, -2 + half, 3))


def test_spreads_allow_for_the_number_of_rates():
    table = [{**r, "config": {**r["config"], "learning_rate": rate}} for rate in (0.01, 0.1) for r in sides()]
    found = st.points(table)
    spreads = st.spreads(*([p for p in found if ("precondition", side) in p.setting] for side in ("none", "fisher")))
    half = 0.975 / math.sqrt(2 * 0.9875 * 0.0125) * 0.1 / math.sqrt(3)
    assert [s.change.high for s in spreads] == pytest.approx([-2 + half] * 2)


def test_verdict_of_the_claim_that_all_are_the_same():
    assert told(sides())[-2:] == [
        "All the same eventually? The Fisher preconditioner brings the variants closer together at learning rate 0.01.",
        "Spread of NLL over one-to-one variants, plain to Fisher, in nats: "
        "3 to 1 at 0.01 (change −2 [−2.2, −1.8], 2 variants).",
    ]


def test_verdict_of_the_claim_pairs_settings_alike_but_for_the_preconditioner():
    sentences = told(sides(dtype="float32"), sides(dtype="bfloat16"))
    claims = [s for s in sentences if s.startswith("All the same eventually")]
    assert [s[:42] for s in claims] == [
        "All the same eventually (dtype = float32)?",
        "All the same eventually (dtype = bfloat16)",
    ]


def test_verdict_of_the_claim_needs_two_variants_that_work():
    table = [r for side in ("none", "fisher") for r in runs("log_variance", (20.0, 21.0), precondition=side)]
    assert told(table)[-1].startswith("All the same eventually? It cannot be said")
