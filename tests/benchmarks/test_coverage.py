"""A few hundred of the synthetic studies; the command takes ten thousand."""

import json
import math

import pytest

from benchmarks import coverage
from jaxvae.study import statistics


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 10])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds):
    studies = 600
    found = coverage.coverage(studies, seeds)
    assert abs(found - coverage.LEVEL) < 3 * math.sqrt(coverage.LEVEL * (1 - coverage.LEVEL) / studies) + 0.01


def test_intervals_that_are_too_narrow_are_found_out(monkeypatch):
    true = statistics.tuned_error
    monkeypatch.setattr(statistics, "tuned_error", lambda terms: 0.5 * true(terms))
    assert coverage.coverage(200, 10) < 0.85


def test_the_result_passes_and_is_told():
    found = json.loads((coverage.RESULT).read_text())
    assert set(found["coverage"]) == {str(seeds) for seeds in coverage.SEEDS}
    assert all(coverage.ALLOWED[0] <= x <= coverage.ALLOWED[1] for x in found["coverage"].values())
    page = coverage.RESULT.parents[1] / "RESULTS.md"
    for seeds, x in found["coverage"].items():
        assert f"| {seeds} | {100 * x:.2f} |" in page.read_text()
