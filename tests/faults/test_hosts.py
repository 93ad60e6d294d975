"""Two processes that train as one, of which one is killed."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from one_device import environment

from jaxvae import training
from jaxvae.cli import main
from jaxvae.process import STOPPED

EPOCHS = 30
FLAGS = ("--latents", "2", "--hidden", "8", "--epochs", str(EPOCHS), "--batch-size", "80", "--evaluate-every", "1")


def start(*more: str) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    several = ["--distributed", "--coordinator", f"localhost:{port}", "--processes", "2", "--process"]
    command = [sys.executable, "-m", "jaxvae", "train", *FLAGS, "--out", "two", *more, *several]
    return [
        subprocess.Popen(
            [*command, str(i)], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for i in range(2)
    ]


def steps() -> set[int]:
    """Of the checkpoints."""
    return {int(path.name) for path in Path("two/checkpoints").glob("*") if path.name.isdigit()}


def wait_for_a_checkpoint(process: subprocess.Popen) -> None:
    begun = steps()
    while not steps() - begun:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.slow
def test_two_processes_train_as_one_and_go_on_after_a_signal_and_a_kill(tmp_path):
    first, second = start()
    wait_for_a_checkpoint(first)
    second.send_signal(signal.SIGTERM)  # to one of them only
    ends = [process.communicate(timeout=240) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [STOPPED] * 2, ends
    saved = max(steps())

    first, second = start("--resume")
    wait_for_a_checkpoint(first)
    second.kill()
    first.kill()  # which would wait for the other
    for process in (first, second):
        process.communicate()
    assert saved < max(steps()) < EPOCHS * 16

    processes = start("--resume")
    ends = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    assert "To score it: jaxvae evaluate two" in ends[0][0]
    assert "digits" not in ends[1][0]  # the first alone speaks
    epochs = [record["epoch"] for record in training.read_metrics(Path("two/metrics.jsonl"))]
    assert epochs == list(range(1, EPOCHS + 1))

    assert main(["train", *FLAGS, "--samples", "1", "--out", "one"]) == 0
    for a, b in zip(*(jax.tree.leaves(training.load_state(Path(name)).params) for name in ("one", "two")), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)  # sums over 8 devices and over 2: float32 rounding
