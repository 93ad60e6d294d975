"""Disks that are full, directories that can't be written, clocks that go backwards, two writers."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from one_device import environment

from benchmarks import kills
from jaxvae.cli import main
from jaxvae.files import entries, only_writer

FLAGS = ("--latents", "2", "--hidden", "8", "--epochs", "2", "--batch-size", "80", "--samples", "1")


SMALL_FILES = ("sh", "-c", 'ulimit -f 16 && exec "$@"', "sh")  # of 512 bytes: how a quota or a full disk looks


def refusal(*argv: str, wrapper: tuple[str, ...] = ()) -> str:
    """What a command that is refused says, which is to be one line."""
    command = [*wrapper, sys.executable, "-m", "jaxvae", *argv]
    end = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert end.returncode == 2, end.stderr
    lines = [line for line in end.stderr.splitlines() if not line.startswith("epoch ")]
    assert len(lines) == 1, end.stderr
    assert lines[0].startswith("jaxvae: error: ")
    return lines[0]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What a run that nothing happened to ends with."""
    out = tmp_path_factory.mktemp("disks") / "alone"
    assert main(["train", *FLAGS, "--out", str(out)]) == 0
    return kills.result("train", out)


@pytest.mark.slow
def test_a_full_disk_is_said_and_the_run_goes_on_once_there_is_room(alone, tmp_path):
    message = refusal("train", *FLAGS, "--out", "run", wrapper=SMALL_FILES)
    assert "run/checkpoints/" in message
    assert "File too large" in message
    assert main(["train", *FLAGS, "--resume", "--out", "run"]) == 0
    assert kills.result("train", Path("run")) == alone


@pytest.mark.slow
def test_a_directory_that_cannot_be_written_is_said(tmp_path):
    Path("closed").mkdir(mode=0o555)
    wrapper = ()
    if os.geteuid() == 0:  # who may write everywhere, unless it can't
        if not shutil.which("setpriv"):
            pytest.skip("root may write everywhere, and there is no setpriv to stop it")
        wrapper = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    message = refusal("train", *FLAGS, "--out", "closed/run", wrapper=wrapper)
    assert message == "jaxvae: error: out must be a directory to write to, got 'closed/run' (Permission denied)"


@pytest.mark.slow
def test_a_clock_that_goes_backwards_changes_nothing(alone, monkeypatch, tmp_path):
    now = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    assert main(["train", *FLAGS, "--out", "run"]) == 0
    for path in Path("run/checkpoints").iterdir():
        os.utime(path, (4e9, 4e9))
    shutil.rmtree("run/checkpoints/32")  # as if killed before the end
    assert main(["train", "--resume", "--out", "run"]) == 0
    assert kills.result("train", Path("run")) == alone


@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_second_writer_is_kept_out(command, capsys, tmp_path):
    with only_writer(Path("run")):
        assert main([command, *FLAGS, "--out", "run"]) == 2
    assert capsys.readouterr().err == (
        "jaxvae: error: out must be a directory that no other process writes to, got 'run', which one does\n"
    )
    assert entries(Path("run")) == set()


@pytest.mark.slow
def test_whatever_call_the_disk_fails_at_a_command_ends_in_one_line(tmp_path):
    out = tmp_path / "failing_disks.json"
    command = [sys.executable, "-m", "benchmarks.failing_disks", "decode", "--ways", "full", "vanished"]
    subprocess.run([*command, "--out", str(out)], check=True, cwd=Path(__file__).parents[2], env=environment())
    full, vanished = json.loads(out.read_text())
    assert full["failures"] == vanished["failures"] == []
    assert full["ends"] == {"one line": full["runs"]}
    assert full["runs"] >= 3
    assert vanished["runs"] >= 3
    assert set(vanished["ends"]) <= {"one line", "complete"}
