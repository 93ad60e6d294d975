"""A small sweep beside its cells in turn, and in processes of their own."""

import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import sweep

PROCESSES = [
    {
        "processes": min(2, cells),
        "cache": cache,
        "cells": cells,
        "seconds_each": {"start": 2.0, "compile": seconds, "train": 0.5},
        "cells_per_second": 2 / (2.5 + seconds),
    }
    for cells, cache, seconds in ((1, "empty", 6.0), (4, "empty", 7.5), (4, "filled", 1.5))
]


@pytest.fixture(scope="module")
def one():
    return sweep.trainer(sweep.make(1))


@pytest.fixture(scope="module")
def rows(one):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "trainer", lambda experiment: one)
        patch.setattr("jaxvae.study.sweep.score", lambda experiment, data, state: state.step)  # compiled, but not timed
        return sweep.measure((8,), epochs=1, rounds=1, start=2.0, width=1)


def report(rows):
    return {"device": "cpu", "cores": 2, "rows": [*rows, *PROCESSES]}


@pytest.mark.slow
def test_a_sweep_is_measured_beside_its_cells_in_turn(rows):
    (row,) = rows
    assert row["steps"] == 10
    assert row["ratio"] == row["ratios"][0] > 0
    for side in ("sweep", "in turn"):
        (seconds,) = row["rounds"][side]
        assert row["cells_per_second"][side] == 8 / seconds
        assert row["from_prompt"][side] == 8 / (2 + row["seconds_before"][side] + seconds)
    assert row["ratio"] == row["rounds"]["in turn"][0] / row["rounds"]["sweep"][0]


@pytest.mark.slow
def test_a_process_trains_the_same_cell(one):
    answer = sweep._process(1, None, 1e-3, 3)
    assert answer["elbo"] == pytest.approx(float(one(1e-3, 3)), rel=sweep.agree())
    assert answer["elbo"] != pytest.approx(float(one(1e-3, 4)), rel=10 * sweep.agree())
    assert answer["compile"] > answer["train"] > 0
    assert answer["start"] > 0


def test_a_process_that_fails_is_reported(monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(RuntimeError, match="the process of a cell ended with 1"):
        sweep._process(1, None, 1e-3, 0)


@pytest.fixture
def off(monkeypatch, one):
    """A sweep and processes that end elsewhere than the cell in turn."""
    elbo = float(one(1e-3, 0)) * (1 + 10 * sweep.agree())
    found = SimpleNamespace(segments=SimpleNamespace(elbo=np.full((1, 1), elbo)))
    monkeypatch.setattr(sweep, "trainer", lambda experiment: one)
    monkeypatch.setattr(
        sweep, "Sweep", lambda *_: SimpleNamespace(compile=lambda: None, train=lambda: iter([None, found]))
    )
    monkeypatch.setattr(sweep, "_process", lambda *_: {"elbo": elbo, "start": 1.0, "compile": 1.0, "train": 1.0})


@pytest.mark.slow
@pytest.mark.usefixtures("off")
def test_other_work_is_noticed():
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        sweep.measure((1,), epochs=1, rounds=1, start=2.0, width=1)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        sweep.processes(epochs=1, at_once=1, count=1)


@pytest.mark.slow
def test_of_more_cells_some_are_trained_in_turn(monkeypatch, one):
    trained = []
    found = SimpleNamespace(segments=SimpleNamespace(elbo=np.full((1, 1), float(one(1e-3, 0)))))
    monkeypatch.setattr(sweep, "IN_TURN", 2)
    monkeypatch.setattr(sweep, "trainer", lambda experiment: lambda *cell: trained.append(cell) or one(*cell))
    monkeypatch.setattr(
        sweep, "Sweep", lambda *_: SimpleNamespace(compile=lambda: None, train=lambda: iter([None, found]))
    )
    monkeypatch.setattr(sweep, "time", SimpleNamespace(perf_counter=itertools.count().__next__))  # all takes a second
    two, eight = sweep.measure((2, 8), epochs=1, rounds=3, start=2.0, width=1)
    assert [len(row["ratios"]) for row in (two, eight)] == [3, 1]
    assert [seed for _, seed in trained] == [0, 1] * (1 + 3 + 1)  # the first to burn in
    assert two["rounds"] == {"sweep": [1, 1, 1], "in turn": [1, 1, 1]}
    assert eight["rounds"] == {"sweep": [1], "in turn": [4]}
    assert eight["cells_per_second"] == {"sweep": 8, "in turn": 2}


@pytest.mark.slow
def test_the_table_and_the_picture(rows, tmp_path):
    (table,) = sweep.tables(report(rows))
    assert all(len(row) == len(table.heads) for row in table.rows)
    assert "2 at once, makes 0.50 cells/s with a filled compilation cache and 0.20 with an empty one" in table.title
    assert "of the 4.0 s and 10.0 s of each, 0.50 s are training" in table.title
    sweep.draw(report([{**rows[0], "cells": n} for n in (1, 8, 64)])).savefig(tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 10_000
