"""SIGKILL, at a random moment and in the midst of a write; two benchmarks do it hundreds of times."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from one_device import environment

from benchmarks import kills

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _as_a_users(monkeypatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.slow
@pytest.mark.parametrize(("subject", "every"), [("encode", 1), ("train", 80)])
def test_killed_at_a_write_and_run_again_a_command_ends_as_if_never_killed(subject, every, tmp_path):
    out = tmp_path / "kill_points.json"
    command = [sys.executable, "-m", "benchmarks.kill_points", subject, "--every", str(every), "--terminations", "1"]
    subprocess.run([*command, "--out", str(out)], check=True, cwd=ROOT)
    (row,) = json.loads(out.read_text())
    assert row["failures"] == []
    assert row["states"] >= 3
    assert row["terminated"] == (subject == "train")


@pytest.mark.slow
def test_killed_and_resumed_a_run_ends_as_if_never_killed():
    row = kills.survive("train", kills=2, epochs=20)
    assert row["kills"] == 2
    assert row["in_a_write"] == 1
    assert row["equal"] == row["runs"] >= 1
