"""What a command needs of its process: signals, a cache of compiled programs, a device per core."""

import contextlib
import gc
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """Signals to end are noted, to be heeded when everything is saved; a second one ends at once."""
    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        print("stopping; once more to stop without saving", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def speak_in_lines() -> None:
    """Each warning of this library becomes a line on stderr, and none fails for a letter it can't write; for good.

    What orbax logs of an error that it raises, and what its tasks that are cut short by one raise themselves, where
    nobody catches it, is not shown.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where a terminal lacks a letter, it shows another
    with contextlib.suppress(ImportError):  # which comes with orbax
        from absl import logging as orbax_logging

        orbax_logging.set_verbosity(orbax_logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    sys.unraisablehook = _show_unraisable
    warnings.filterwarnings("ignore", "Error .* persistent compilation cache")  # which can be done without
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("jaxvae: warning: %(message)s"))
    logger = logging.getLogger("jaxvae")
    logger.handlers, logger.propagate = [handler], False


def collect_seldom() -> None:
    """Cycles are looked for once in 50,000 new objects, not in 700; for good.

    Modules and traces are made of many that stay: to look through them all again takes a tenth of a short command.
    """
    gc.set_threshold(50_000, 20, 20)


def _show_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Shows what Python does, but for a write that is cut short and finds its event loop gone."""
    if not (isinstance(unraisable.exc_value, RuntimeError) and str(unraisable.exc_value) == "Event loop is closed"):
        sys.__unraisablehook__(unraisable)


def compiled_programs() -> Path:
    """The folder in the user's cache for this jaxlib's programs and this processor's."""
    import hashlib
    import platform

    from jaxlib import version

    try:
        cpu = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
        features = "".join(line for line in cpu.splitlines() if line.startswith(("model name", "flags", "Features")))
    except OSError:
        features = platform.processor()
    machine = hashlib.sha256(features.encode()).hexdigest()[:12]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "jaxvae" / f"jaxlib-{version.__version__}-{platform.machine()}-{machine}"


def use_compilation_cache() -> None:
    """Programs are compiled once per jaxlib and processor, and kept in the user's cache."""
    import jax

    folder = compiled_programs()
    with contextlib.suppress(OSError):  # without a place to write, programs are compiled each time
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def use_every_core() -> None:
    """One XLA device per core, where there is no accelerator; only before JAX has started."""
    import jax

    from jaxvae.training.devices import cores

    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # JAX has started
            jax.config.update("jax_num_cpu_devices", cores())
