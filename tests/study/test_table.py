"""The table's numbers are the records'."""

import numpy as np
import pytest
from synthetic import DEFAULT, study

from jaxvae.study.statistics import analyze
from jaxvae.study.table import BEHIND, NOTHING, make_table, target_elbo


def rows(records):
    found = make_table(analyze(records))
    return [dict(zip(found.head, row.texts, strict=True)) for row in found.rows]


def test_a_row_per_variant_with_its_means():
    records = study(DEFAULT, (0.01,))
    (outcome,) = analyze(records)
    found = rows(records)
    assert [row["variant"] for row in found] == [variant.replace("+", " + ") for variant in DEFAULT]
    mine = records[3:6]  # log_std
    nll = [r["nll"] for r in mine]
    row = found[1]
    assert row["best learning rate"] == "0.01"
    assert row["NLL ± s.e."] == f"{np.mean(nll):.2f} ± {np.std(nll, ddof=1) / 3**0.5:.2f}"
    assert row["ELBO"] == f"−{-np.mean([r['elbo'] for r in mine]):.2f}"
    assert row["active units"] == "7.3"
    assert row["gradient SNR"] == "0.17"  # the median of 0.10, 0.12 ... 0.24
    assert row["σ at floor / ceiling / dead, %"] == "0 / 1 / 0"
    assert row["seconds per run"] == "1.3"
    difference = outcome.comparisons[1].difference
    assert row["minus baseline [95\N{NO-BREAK SPACE}%]"].startswith(f"+{difference.mean:.2f} [")
    assert found[0]["minus baseline [95\N{NO-BREAK SPACE}%]"] == "baseline"
    assert [row.baseline for row in make_table([outcome]).rows] == [True] + [False] * (len(DEFAULT) - 1)


def test_skipped_steps_are_those_of_all_learning_rates():
    row = next(row for row in rows(study()) if row["variant"] == "direct_std")
    assert (row["steps skipped, %"], row["first cause"]) == ("19", "gaussian")  # 93 % at one in five


def test_steps_are_those_to_the_best_final_elbo_minus_some():
    records = study(["log_variance", "softplus_variance"], (0.01,), 1)
    for record, elbo in zip(records, ([-40, -30, -20], [-40, -30, -23]), strict=True):
        record["curve"] = {"step": [100, 200, 300], "elbo": elbo}
        record["elbo"] = elbo[-1]
    (outcome,) = analyze(records)
    assert target_elbo(outcome) == -20 - BEHIND
    assert [row["steps to target"] for row in rows(records)] == ["280", "never"]


def test_steps_say_how_many_seeds_get_there():
    records = study(["log_variance"], (0.01,), 2)
    for record, elbo in zip(records, ([-30.0, -20.0], [-30.0, -26.0]), strict=True):
        record["curve"] = {"step": [100, 200], "elbo": elbo}
        record["elbo"] = elbo[-1]
    assert rows(records)[0]["steps to target"] == "150 (1 of 2)"  # to -25: the mean of both ends, minus 2


@pytest.mark.parametrize(("rates", "said"), [((1e-3, 1e-2, 1e-1), "1.2"), ((1e-2,), "> 0.0")])
def test_tolerance_says_where_the_grid_cuts_it_off(rates, said):
    (row,) = rows(study(["log_variance"], rates))  # NLL rises by 1.5 and by 1.9 in a decade: 1/1.5 + 1/1.9 = 1.19
    assert row["decades within 1 nat"] == said


def test_failed_variants_have_no_numbers():
    row = rows(study(["log_variance", "direct_std"], fails=0))[1]
    assert row["NLL ± s.e."] == "failed"
    kept = ("variant", "NLL ± s.e.", "steps skipped, %", "first cause", "seconds per run")
    assert {text for title, text in row.items() if title not in kept} == {NOTHING}


def test_settings_have_a_column_where_there_are_several():
    found = rows(study(DEFAULT[:2], (0.01,), fields=[{"dtype": "float32"}, {"dtype": "bfloat16"}]))
    assert [(row["variant"], row["setting"]) for row in found] == [
        (variant, f"dtype = {dtype}") for dtype in ("float32", "bfloat16") for variant in DEFAULT[:2]
    ]
    assert "setting" not in rows(study(DEFAULT[:2], (0.01,)))[0]


def test_nothing_is_an_empty_table():
    assert make_table([]) == ((), ())
