from tables import BASE, RATES, record, runs, sides, spaced

from jaxvae.study import statistics as st
from jaxvae.study.report.answers import verdict


def told(*tables, **options):
    return verdict(st.analyze([r for table in tables for r in table], **options))


def test_verdict_names_the_better_and_the_worse():
    sentences = told(
        BASE, runs("log_std", spaced(18, 0.1)), runs("abs_std", spaced(23, 0.1)), runs("softplus_std", spaced(20, 0.5))
    )
    assert sentences[0] == "Yes, it matters: 2 of 3 variants differ from log_variance in NLL."
    assert sentences[1] == "log_variance reaches 20.00 ± 0.00 nats at learning rate 0.01."
    # p = 1 - 0.05 / 6: t = 7.6488, half = t·0.1/√3 = 0.44, and 2.2 for softplus_std
    assert sentences[2] == "Better than log_variance: log_std −2 [−2.4, −1.6] nats."
    assert sentences[3] == "Worse than log_variance: abs_std +3 [+2.6, +3.4] nats."
    assert sentences[4] == "Of softplus_std: no difference from log_variance seen, up to ±2.2 nats."
    assert sentences[5] == "Intervals: 95 %, adjusted for 3 comparisons, over 3 seeds."


def test_verdict_names_no_winner_where_the_adjusted_interval_includes_zero():
    table = [*BASE, *runs("log_std", spaced(19.7, 0.1)), *runs("softplus_std", spaced(20, 0.1))]
    (outcome,) = st.analyze(table)
    log_std = next(c for c in outcome.comparisons if c.variant == "log_std")
    assert (log_std.difference.sign, log_std.adjusted.sign) == (-1, 0)  # half-widths 0.25 and 0.36
    sentences = verdict([outcome])
    assert sentences[0] == (
        "Not as far as this study can tell, each at its best learning rate: "
        "no difference from log_variance seen, up to ±0.66 nats."
    )
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
        "Not finite at learning rates: direct_std at 0.01 and 0.1 (5 of 6 runs failed, 62.5 % of steps skipped, first "
        "in gaussian and gradient); abs_std at 0.1 (0 of 3 runs failed, 0.1 % of steps skipped, first in network)."
    ) in sentences


def test_verdict_with_winner_and_failure_names_both():
    sentences = told(BASE, runs("log_std", spaced(18, 0.1)), runs("direct_std", (None, 25.0, None)))
    assert sentences[0] == "Yes, it matters: 1 of 1 variants differ from log_variance in NLL."
    assert "Runs of direct_std failed at every learning rate." in sentences


def test_verdict_of_one_variant():
    sentences = told(runs("log_variance", (20.0, 21.0)))
    assert sentences[:2] == [
        "It cannot be said whether the choice matters: log_variance is the only variant.",
        "log_variance reaches 20.50 ± 0.50 nats at learning rate 0.01.",
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
    assert st.analyze(table)[0].baseline == "log_std"
    assert st.analyze(table, "abs_std")[0].baseline == "abs_std"
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


def test_verdict_names_no_widest_range_where_none_is_seen():
    """By interpolation 0.735, 0.711 and 0.583 decades: the first two are the same to the digit that is told."""
    grid = {"log_variance": (22.0, 20.0, 24.25), "log_std": (22.0, 20.0, 24.75), "abs_std": (23.0, 20.0, 24.0)}

    def widest(*names):
        table = (runs(name, (x, x), rate) for name in names for x, rate in zip(grid[name], RATES, strict=True))
        return [s for s in told(*table) if s.startswith("Within ")]

    most = "Within 1 nat of the best NLL over the widest range of learning rates:"
    assert widest(*grid) == [f"{most} log_variance and log_std, 0.7 decades."]
    narrow = {rate: (20.0 + 50 * (rate != 1e-2),) * 2 for rate in RATES}
    tables = (runs(name, nll, rate) for name in ("log_variance", "log_std") for rate, nll in narrow.items())
    assert not any(s.startswith("Within ") for s in told(*tables))


def test_verdict_speaks_of_each_setting():
    table = runs("log_variance", (20.0,) * 3, dtype="float32") + runs("log_std", spaced(18, 0.1), dtype="float32")
    table += runs("log_variance", (20.0,) * 3, dtype="bfloat16") + runs("log_std", spaced(20, 0.1), dtype="bfloat16")
    first = [s for s in told(table) if s.startswith("With ")]
    assert [s[:35] for s in first] == ["With dtype = float32: Yes, it matte", "With dtype = bfloat16: Not as far a"]


def test_verdict_of_an_empty_table():
    assert told([]) == ["It cannot be said whether the choice matters: the table is empty."]


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
