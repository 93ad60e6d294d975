import pytest
from tables import BASE, RATES, record, runs, sides, spaced

from jaxvae.study import statistics as st
from jaxvae.study.report.answers import verdict


def answers(*tables, **options):
    return verdict(st.analyze([r for table in tables for r in table], **options))


def told(*tables, **options):
    """The lines and the details of the one setting."""
    (answer,) = answers(*tables, **options)
    assert answer.setting == ""
    return list(answer.lines), list(answer.details)


def two_rates(name, nll, worse=9.0):
    """The same at another learning rate, much worse, so that there is a choice."""
    return [*runs(name, nll), *runs(name, tuple(x + worse for x in nll), 0.1)]


def test_three_lines_where_variants_differ():
    lines, details = told(
        BASE,
        runs("log_std", spaced(18, 0.1)),
        runs("sac_log_std", spaced(23, 0.1)),
        runs("softplus_std", spaced(20, 0.5)),
    )
    # p = 1 - 0.05 / 6: t = 7.6488, half = t·0.1/√3 = 0.44, and 2.2 for softplus_std
    assert lines == [
        "It matters: log_std 2 [1.6, 2.4] nats better; sac_log_std 3 [2.6, 3.4] nats worse than log_variance; "
        "softplus_std within 2.2 nats of it.",
        "Take log_std: nothing here is better.",
        "Nothing to avoid: no run failed.",
    ]
    assert details[:2] == [
        "log_variance reaches 20.00 ± 0.00 nats.",
        "Intervals: 95 %, adjusted for 3 comparisons, over 3 seeds.",
    ]


def test_no_word_of_learning_rates_where_there_is_one():
    lines, details = told(BASE, runs("log_std", spaced(20, 0.1)), runs("direct_std", (None, 20.0, 20.0)))
    assert lines[1] == "Take log_variance: nothing here is better."
    assert lines[2] == "Avoid direct_std (1 of 3 runs failed)."
    assert not any("learning rate" in s for s in (*lines, *details))


def test_three_lines_where_no_difference_is_seen():
    lines, details = told(
        two_rates("log_variance", (20.0, 20.0, 20.0)),
        two_rates("log_std", spaced(19.7, 0.1), 0.0),
        two_rates("softplus_std", spaced(20, 0.1)),
        two_rates("direct_std", spaced(20, 3)),
    )
    # Adjusted for 3: t = 7.6488, ends 0.3 + 0.44 and 0.44; direct_std isn't among the usable.
    assert lines == [
        "No difference is seen between the 3 usable variants, each at its best learning rate: none is more than 0.74 "
        "nats from log_variance, at 95 % confidence.",
        "Safest: log_std, which stays within 1 nat of the best NLL over at least 1.0 decades of learning rate "
        "(log_variance: at least 0.1 decades).",
        "Avoid direct_std (advised against).",
    ]
    assert "Of those advised against: direct_std +0 [−13, +13] nats from it." in details
    assert (
        "Intervals: 95 %, adjusted for 3 comparisons, over 3 seeds, with the noise of choosing the learning rates."
        in (details)
    )


def test_a_difference_that_only_an_unadjusted_interval_shows_is_not_told():
    table = [*BASE, *runs("log_std", spaced(19.7, 0.1)), *runs("softplus_std", spaced(20, 0.1))]
    (outcome,) = st.analyze(table)
    log_std = next(c for c in outcome.comparisons if c.variant == "log_std")
    assert (log_std.difference.sign, log_std.adjusted.sign) == (-1, 0)  # half-widths 0.25 and 0.36
    assert verdict([outcome])[0].lines[0].startswith("No difference is seen")


def test_what_failed_how_often_and_where():
    lines, details = told(
        BASE,
        runs("log_std", spaced(20, 0.1)),
        runs("direct_std", (None, 25.0, None), 0.01, skipped=0.5, cause="gaussian"),
        runs("direct_std", (None, None, None), 0.1, skipped=0.75, cause="gradient"),
        runs("sac_log_std", (20.0, 20.1, 20.2), 0.1, skipped=0.001, cause="network"),
    )
    assert lines[-1] == "Avoid direct_std (5 of 6 runs failed, at learning rate 0.01 and 0.1)."
    assert details[-1] == (
        "Not finite at learning rates: direct_std at 0.01 and 0.1 (5 of 6 runs failed, 62.5 % of steps skipped, first "
        "in gaussian and gradient); sac_log_std at 0.1 (0 of 3 runs failed, 0.1 % of steps skipped, first in network)."
    )


def test_a_mirror_is_said_to_be_one():
    lines, details = told(BASE, runs("log_precision", (20.0, 20.0, 20.0)), runs("log_std", spaced(20, 0.1)))
    assert lines[0].startswith("No difference is seen between the 2 usable variants")
    assert "log_precision is log_variance with raw's sign turned: the same model, and so no evidence." in details
    assert "Intervals: 95 %, adjusted for 1 comparison, over 3 seeds." in details


def test_how_many_seeds_would_do():
    table = (BASE, runs("log_std", spaced(20, 0.1)))
    # By scipy.stats.nct: 9 pairs have a chance of 0.75, and 10 one of 0.80, for a difference of one deviation.
    assert "To tell 0.1 nats apart takes 10 seeds, with a chance of 80 %." in told(*table)[1]
    (answer,) = verdict(st.analyze([r for rows in table for r in rows]), resolve=1e-4)
    assert "To tell 0.0001 nats apart takes over 10,000 seeds, with a chance of 80 %." in answer.details


@pytest.mark.parametrize(
    ("chosen_by", "words"),
    [
        (
            {"chosen_by": 20.0},
            "Learning rates are chosen on the validation images, and NLL is that of the test images.",
        ),
        (
            {},
            "Learning rates are chosen on the test images, as not every run has scores of validation images: the NLLs ",
        ),
    ],
)
def test_it_is_said_by_what_learning_rates_are_chosen(chosen_by, words):
    table = [r for rate in (0.01, 0.1) for r in runs("log_variance", (20.0, 21.0), rate, **chosen_by)]
    assert any(s.startswith(words) for s in told(table)[1])


def test_one_variant():
    lines, details = told(runs("log_variance", (20.0, 21.0)))
    assert lines == [
        "It cannot be said whether the choice matters: log_variance is the only variant.",
        "Nothing to avoid: no run failed.",
    ]
    assert details == ["log_variance reaches 20.50 ± 0.50 nats."]


def test_all_failed():
    lines, details = told(runs("log_variance", (None, None)), runs("log_std", (None, 20.0)))
    assert lines == [
        "It cannot be said whether the choice matters: runs of every variant failed at every learning rate.",
        "Avoid log_variance (2 of 2 runs failed) and log_std (1 of 2 runs failed).",
    ]
    assert len(details) == 1  # where they failed


def test_the_baseline_failed():
    lines, _ = told(runs("log_variance", (None, 20.0)), runs("log_std", (20.0, 20.0)))
    assert lines[0] == (
        "It matters: runs of log_variance, the baseline, failed at every learning rate, unlike those of log_std; "
        "without it there are no differences in NLL."
    )


def test_one_seed_makes_no_claim():
    lines, details = told([record(), record("log_std", nll=1.0)])
    assert lines == [
        "It cannot be said whether the choice matters: no usable variant has two seeds in common with log_variance.",
        "Nothing to avoid: no run failed.",
    ]
    assert details == ["log_variance reaches 24.00 nats.", "No claim on log_std: below two seeds in common."]


def test_without_the_baseline_the_first_is():
    table = [*runs("log_std", (20.0, 20.0)), *runs("sac_log_std", (10.0, 10.1))]
    assert st.analyze(table)[0].baseline == "log_std"
    assert st.analyze(table, "sac_log_std")[0].baseline == "sac_log_std"
    assert "better than log_std" in told(table)[0][0]


def test_a_baseline_that_is_advised_against():
    table = [r for name in ("direct_std", "log_std", "softplus_std") for r in two_rates(name, spaced(20, 0.1))]
    table += runs("log_std", spaced(20, 0.1), 0.02)
    lines, _ = told(table, baseline="direct_std")
    assert lines[0].startswith("No difference is seen between the 2 usable variants")
    assert lines[1].startswith("Safest: log_std, which stays within")
    assert "direct_std" not in lines[1]


def test_what_is_missing_is_counted():
    _, details = told(BASE, runs("log_std", (20.1, 20.0)), runs("softplus_std", (20.0,)))
    assert "3 of 9 runs are missing; differences are over the seeds that both have." in details
    assert "No claim on softplus_std: below two seeds in common." in details
    assert "Intervals: 95 %, adjusted for 2 comparisons, over 2 seeds." in details


def test_the_safest_have_the_widest_range_and_those_at_the_grid_s_end_are_named():
    grid = {
        "log_variance": (20.5, 20.0, 25.0),
        "log_std": (20.0, 20.2, 20.4),
        "softplus_std": (20.3, 20.1, 20.05),
        "sigmoid_std": (23.0, 20.1, 23.0),
        "abs_std": (20.0, 20.0, 20.0),  # not to be recommended
    }
    lines, details = told(
        *(runs(name, (x, x), rate) for name, row in grid.items() for x, rate in zip(row, RATES, strict=True))
    )
    assert lines[1] == (
        "Safest: log_std and softplus_std, which stay within 1 nat of the best NLL over at least 2.0 decades of "
        "learning rate (log_variance: at least 1.2 decades)."
    )
    assert (
        "Best at an end of the learning rates tried, perhaps better beyond: log_std, softplus_std and abs_std."
        in details
    )


def test_none_is_the_safest_where_ranges_are_the_same_to_the_digit_that_is_told():
    """By interpolation 0.735 and 0.711 decades."""
    grid = {"log_variance": (22.0, 20.0, 24.25), "log_std": (22.0, 20.0, 24.75)}
    table = (runs(name, (x, x), rate) for name in grid for x, rate in zip(grid[name], RATES, strict=True))
    near = "stays within 1 nat of the best NLL over 0.7 decades of learning rate."
    assert told(*table)[0][1] == f"Any usable variant is as safe: each {near}"
    narrow = {rate: (20.0 + 50 * (rate != 1e-2),) * 2 for rate in RATES}
    tables = (runs(name, nll, rate) for name in ("log_variance", "log_std") for rate, nll in narrow.items())
    assert told(*tables)[0][1] == "Take log_variance: nothing here is better."


def test_each_setting_has_its_answer():
    table = runs("log_variance", (20.0,) * 3, dtype="float32") + runs("log_std", spaced(18, 0.1), dtype="float32")
    table += runs("log_variance", (20.0,) * 3, dtype="bfloat16") + runs("log_std", spaced(20, 0.1), dtype="bfloat16")
    together, *found = [(a.setting, a.lines[0][:10]) for a in answers(table)]
    assert together == ("", "Which vari")
    assert found == [("dtype = float32", "It matters"), ("dtype = bfloat16", "No differe")]


def test_a_search_says_nothing_of_the_range_of_learning_rates():
    lines, details = told(
        *(runs(name, nll) for name, nll in {"log_variance": spaced(20, 0.1), "log_std": spaced(20.2, 0.2)}.items()),
        *(runs(name, (21.0,), 0.1) for name in ("log_variance", "log_std")),
    )
    assert lines[1] == "Take log_variance: nothing here is better."
    assert any(s.startswith("Not all learning rates have all seeds, as after a search") for s in details)
    assert not any("missing" in s for s in details)


def test_an_empty_table():
    assert told([]) == (["It cannot be said whether the choice matters: the table is empty."], [])


def test_the_claim_that_all_are_the_same():
    claim = answers(sides())[-1]
    assert claim.lines == [
        "All the same eventually? The Fisher preconditioner brings the variants closer together at learning rate 0.01."
    ]
    assert claim.details == [
        "Spread of NLL over one-to-one variants, plain to Fisher, in nats: "
        "3 to 1 at 0.01 (change −2 [−2.2, −1.8], 2 variants)."
    ]


def test_the_claim_pairs_settings_alike_but_for_the_preconditioner():
    found = [a.lines[0] for a in answers(sides(dtype="float32"), sides(dtype="bfloat16"))]
    assert [s[:42] for s in found if s.startswith("All the same eventually")] == [
        "All the same eventually (dtype = float32)?",
        "All the same eventually (dtype = bfloat16)",
    ]


def test_the_claim_needs_two_variants_that_work():
    table = [r for side in ("none", "fisher") for r in runs("log_variance", (20.0, 21.0), precondition=side)]
    assert answers(table)[-1].lines[0].startswith("All the same eventually? It cannot be said")
