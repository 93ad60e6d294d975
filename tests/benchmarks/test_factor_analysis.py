"""The benchmark beside factor analysis: the maximum is reached from below."""

import pytest

from benchmarks import factor_analysis


@pytest.mark.slow
def test_a_linear_vae_comes_near_the_maximum_and_not_above():
    pytest.importorskip("sklearn")
    row = factor_analysis.measured("wine", 2, 1000)
    assert -0.05 < row["train vae"] - row["train factor analysis"] < 0.005


def test_a_report_is_a_table_of_both_splits():
    row = {"table": "wine", "latents": 2, "epochs": 1, "cpu": 4.6}
    row |= {
        f"{split} {side}": i / 8 for i, split in enumerate(("train", "test")) for side in ("factor analysis", "vae")
    }
    (table,) = factor_analysis.tables({"rows": [row]})
    assert table.rows == [("wine, 2", "0.000", "0.000", "0.125", "0.125", "5")]
    assert len(table.heads) == len(table.rows[0])
