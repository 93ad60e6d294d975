"""SIGKILL, at a random moment and in the midst of a write; ``benchmarks.kills`` does it hundreds of times."""

import pytest
from one_device import environment

from benchmarks import kill_points, kills


@pytest.fixture(autouse=True)
def _as_a_users(monkeypatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.slow
@pytest.mark.parametrize("call", [3, 25])  # among the first files; in the midst of a checkpoint
def test_killed_at_a_write_and_resumed_a_run_ends_as_if_never_killed(call):
    row = kill_points.survive("train", epochs=2, first=call, most=1)
    assert (row["kills"], row["equal"]) == (1, 1)


@pytest.mark.slow
def test_killed_and_resumed_a_run_ends_as_if_never_killed():
    row = kills.survive("train", kills=2, epochs=20)
    assert row["kills"] == 2
    assert row["in_a_write"] == 1
    assert row["equal"] == row["runs"] >= 1
