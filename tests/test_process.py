import ast
import os
import signal
import subprocess
import sys

import pytest
from one_device import environment

from jaxvae import process


def test_a_first_signal_is_noted_and_a_second_ends(capsys):
    before = signal.getsignal(signal.SIGINT)
    with process.signals() as caught:
        assert not caught
        signal.raise_signal(signal.SIGTERM)
        assert caught == [signal.SIGTERM]
        assert capsys.readouterr().err == "stopping; once more to stop without saving\n"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def told(code, **more):
    run = [sys.executable, "-c", f"import jax\nfrom jaxvae import process\n{code}"]
    return subprocess.run(run, env=environment(**more), check=True, capture_output=True, text=True).stdout.strip()


def test_every_core_is_a_device():
    cores = str(len(os.sched_getaffinity(0)))
    assert told("process.use_every_core(); print(jax.device_count())") == cores
    # Not where JAX has started, nor where the user has chosen.
    assert told("jax.devices(); process.use_every_core(); print(jax.device_count())") == "1"
    chosen = told(
        "process.use_every_core(); print(jax.device_count())", XLA_FLAGS="--xla_force_host_platform_device_count=3"
    )
    assert chosen == "3"


def test_a_command_looks_for_cycles_seldom():
    code = (
        "import gc, sys; sys.argv[1:] = ['list', '--names']; from jaxvae import cli; cli.run(); print(gc.get_stats())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    youngest, *_ = ast.literal_eval(done.stdout.splitlines()[-1])
    assert youngest["collections"] < 50  # else over 200


def test_programs_are_cached_apart_by_machine(tmp_path):
    code = "process.use_compilation_cache(); jax.jit(lambda x: x + 1)(1.0)"
    told(code, XDG_CACHE_HOME=str(tmp_path))
    (folder,) = (tmp_path / "jaxvae").iterdir()
    assert folder.name.startswith("jaxlib-")
    assert any(folder.iterdir())
    unusable = tmp_path / "file"
    unusable.touch()
    told(code, XDG_CACHE_HOME=str(unusable))  # goes on without


def test_errors_that_nobody_catches_are_shown_but_those_of_writes_cut_short():
    code = """
class Careless:
    def __init__(self, error):
        self.error = error
    def __del__(self):
        raise self.error
process.speak_in_lines()
Careless(RuntimeError("Event loop is closed"))
Careless(ValueError("Event loop is closed"))
Careless(RuntimeError("something else"))
"""
    run = [sys.executable, "-c", f"from jaxvae import process\n{code}"]
    said = subprocess.run(run, env=environment(), check=True, capture_output=True, text=True).stderr
    assert "ValueError: Event loop is closed" in said
    assert "RuntimeError: something else" in said
    assert "RuntimeError: Event loop is closed" not in said
