"""SIGKILL, at a random moment and in the midst of a write; ``benchmarks.kills`` does it hundreds of times."""

import pytest
from one_device import environment

from benchmarks import kills


@pytest.mark.slow
def test_killed_and_resumed_a_run_ends_as_if_never_killed(monkeypatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    row = kills.survive("train", kills=2, epochs=20)
    assert row["kills"] == 2
    assert row["in_a_write"] == 1
    assert row["equal"] == row["runs"] >= 1
