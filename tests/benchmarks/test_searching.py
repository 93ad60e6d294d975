import sys

import pytest
import synthetic

from benchmarks import searching
from jaxvae.study.results import read_results


def test_a_replay_finds_what_the_grid_has():
    records = synthetic.study(["log_variance", "log_std"], (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1), 3)
    found = searching.found_by_search(records)
    assert all(record in records for record in found)
    assert searching.learning_rates(found) == searching.learning_rates(records)
    assert len(found) < len(records) / 2


@pytest.mark.slow
def test_the_digits_verdict_takes_a_third_of_the_cells(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["searching"])
    searching.main()
    out = capsys.readouterr().out
    assert "compare-digits: 54 of 162 cells (33.3%)\nthe same best learning rate for 6 of 6\n" in out
    grid, search = ([x.strip() for x in out.split(f"{title}:\n")[1].splitlines()] for title in ("grid", "search"))
    assert grid[0].startswith("No difference is seen between the 5 usable variants")
    assert search[0].startswith("No difference is seen between the 5 usable variants")
    assert grid[2].startswith("Avoid direct_std (")
    assert search[2].startswith("Avoid direct_std (")


@pytest.mark.slow
def test_tables_are_whole():
    assert len(read_results(searching.STUDIES[0] / "results.jsonl")) == 6 * 9 * 3
