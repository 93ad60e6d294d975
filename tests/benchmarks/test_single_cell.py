"""The benchmark beside scvi-tools: its data, what it costs, and what it says of a failure."""

import sys

import numpy as np
import pytest

from benchmarks import single_cell


def test_cells_are_counts_of_types_and_batches():
    fields = single_cell.by_split(single_cell.cells(rows=200, genes=30), "cells")
    counts = np.concatenate([fields[f"{split}_images"] for split in ("train", "validation", "test")])
    assert counts.shape == (200, 30)
    assert counts.min() == 0
    assert counts.var(axis=0).sum() > 2 * counts.mean(axis=0).sum()  # of Poisson's they were equal
    assert set(fields["train_labels"]) == {0, 1, 2, 3}


def test_a_process_tells_what_it_printed_and_what_it_cost():
    text, cost = single_cell.run([sys.executable, "-c", "x = bytearray(300 << 20); print(len(x))"])
    assert text == f"{300 << 20}\n"
    assert cost.memory > 300 << 20
    assert 0 < cost.cpu <= cost.seconds + 0.5


def test_a_failure_ends_it_with_its_words():
    with pytest.raises(SystemExit, match="no such side"):
        single_cell.run([sys.executable, "-c", "raise SystemExit('no such side')"])
