import ast
import os
import signal
import subprocess
import sys
import time

import pytest
from one_device import environment
from representatives import each

from jaxvae import process


def test_a_first_signal_is_noted_and_a_second_ends(capsys):
    before = signal.getsignal(signal.SIGINT)
    with process.signals() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        assert capsys.readouterr().err == "stopping after saving; a second signal stops without saving\n"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_ends_at_once_where_nobody_has_asked():
    with process.signals(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


CLI = [sys.executable, "-m", "jaxvae"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_cannot_be_interrupted_ends_soon_after_a_signal(number):
    code = """
import ctypes
from jaxvae import process
process._GRACE = 0.2
with process.signals():
    print("waiting", flush=True)
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):  # the second time it waits for itself, and no handler of Python's is run
        ctypes.CDLL(None).pthread_mutex_lock(mutex)
"""
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "waiting\n"
    time.sleep(0.3)
    run.send_signal(number)
    _, err = run.communicate(timeout=20)
    assert (run.returncode, err) == (process.STOPPED, "jaxvae: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_ends_at_a_signal_without_a_traceback(number):
    with subprocess.Popen([*CLI, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        time.sleep(0.3)
        run.send_signal(number)
        _, err = run.communicate(timeout=20)
    assert run.returncode in (-number, 0)
    assert err == ""


def test_what_takes_too_long_ends_with_its_error():
    code = "from jaxvae import process; import time\nwith process.ending_after(0.1, 'too\\x1b late'): time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "jaxvae: error: too\\x1b late\n")


def test_output_that_cannot_be_written_is_said_and_ends_nothing():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*CLI, "list", "--names"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "jaxvae: error: standard output couldn't be written (No space left on device)\n"
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *CLI, "list", "--names"], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")  # who closes it wants none


def test_what_is_said_to_nobody_ends_no_work():
    code = """
import os, sys
from jaxvae import process
process.write_on()
there, gone = os.pipe()
os.close(there)
kept = os.dup(1)
os.dup2(gone, 1); os.dup2(gone, 2); os.close(gone)
for i in range(3):
    print("step", i, flush=True)
    print("warning", i, file=sys.stderr, flush=True)
os.write(kept, b"done" if process.lost_output() is None else b"lost")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "done"


def told(code, **more):
    run = [sys.executable, "-c", f"import jax\nfrom jaxvae import process\n{code}"]
    return subprocess.run(run, env=environment(**more), check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.slow
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


@pytest.mark.parametrize("encoding", each(("ascii", "latin-1", "cp1252"), kept=("ascii",)))
def test_a_letter_that_the_terminal_has_not_is_shown_as_another(encoding):
    """Names of σ, →, ≥ are in help, lists and errors."""
    for words in ("train", "--help"), ("list",), ("train", "--dataset", "größe-σ.npy"):
        done = subprocess.run(
            [*CLI, *words], env=environment(PYTHONIOENCODING=encoding), capture_output=True, check=False
        )
        assert done.returncode == (2 if "--dataset" in words else 0)
        assert b"Traceback" not in done.stderr
        (done.stdout + done.stderr).decode(encoding)
