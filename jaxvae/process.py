"""What a command needs of its process: signals, a cache of compiled programs, a device per core."""

import contextlib
import gc
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxvae.texts import printable

STOPPED = 130
"""The exit status of a command that was stopped by a signal, as shells have it for Ctrl-C."""


_GRACE = 3.0
"""Seconds in which what is interrupted has to end by itself: a compilation doesn't hear of it."""


class _Stop:
    """Whether to stop.

    Attributes:
        asked: whether somebody asks now and then, to save what is done once a signal has come.
        heard: signals that have come.
    """

    def __init__(self) -> None:
        self.asked, self.heard = False, 0

    def __call__(self) -> bool:
        self.asked = True
        return self.heard > 0

    def note(self, number: int, frame: object) -> None:
        """Of a signal: the first one is heeded by those who ask; else it interrupts."""
        self.heard += 1
        if self.heard > 1 or not self.asked:
            raise KeyboardInterrupt
        print("stopping after saving; a second signal stops without saving", file=sys.stderr, flush=True)


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], bool]]:
    """What says whether a signal to end has come, to be heeded when everything is saved; a second one ends at once.

    So does the first, until it is asked for the first time: there is nothing yet to be saved.
    """
    stop, done = _Stop(), threading.Event()
    received, sent = os.pipe()
    os.set_blocking(sent, False)

    def watch() -> None:
        noted = False
        while os.read(received, 1):
            if stop.asked and not noted:
                noted = True
            elif not done.wait(_GRACE):
                show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
                print(f"{show_cursor}jaxvae: interrupted", file=sys.stderr, flush=True)
                os._exit(STOPPED)
        os.close(received)

    heeded = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop.note) for number in heeded}
    woken = signal.set_wakeup_fd(sent, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield stop
    finally:
        done.set()
        signal.set_wakeup_fd(woken)
        os.close(sent)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ending_after(seconds: float, error: str) -> Iterator[None]:
    """Ends the process with this error where what is done takes longer, also where that can't be interrupted."""

    def end() -> None:
        print("jaxvae: error:", printable(error), file=sys.stderr, flush=True)
        os._exit(2)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Output(io.TextIOWrapper):
    """A standard stream that never ends what writes to it: from the first error on, all is dropped.

    Attributes:
        error: the first one, or None.
    """

    error: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        self.error = self.error or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def write_on() -> None:
    """Work doesn't end where nobody reads what it says, or where that can't be written; for good.

    A letter that a stream can't write is shown as another. A stream that is closed is as one of nowhere.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number, which no file of ours then has
    streams = [stream or os.fdopen(i, "w") for i, stream in ((1, sys.stdout), (2, sys.stderr))]
    sys.stdout, sys.stderr = (
        _Output(stream.detach(), stream.encoding, "replace", line_buffering=stream.line_buffering)
        if isinstance(stream, io.TextIOWrapper)
        else stream
        for stream in streams
    )


def lost_output() -> OSError | None:
    """Why what was said on stdout wasn't written, if so, but for a reader that has had enough of it."""
    sys.stdout.flush()
    error = getattr(sys.stdout, "error", None)
    return None if isinstance(error, BrokenPipeError) else error


class _Line(logging.Formatter):
    """A record as a line that moves no cursor."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def speak_in_lines() -> None:
    """Each warning of this library becomes a line on stderr; for good.

    What orbax logs of an error that it raises, and what its tasks that are cut short by one raise themselves, where
    nobody catches it, is not shown.
    """
    with contextlib.suppress(ImportError):  # which comes with orbax
        from absl import logging as orbax_logging

        orbax_logging.set_verbosity(orbax_logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    sys.unraisablehook = _show_unraisable
    warnings.filterwarnings("ignore", "Error .* persistent compilation cache")  # which can be done without
    handler = logging.StreamHandler()
    handler.setFormatter(_Line("jaxvae: warning: %(message)s"))
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

    from jaxvae.files import user_cache  # which loads JAX, as jaxlib nearly does

    try:
        cpu = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
        features = "".join(line for line in cpu.splitlines() if line.startswith(("model name", "flags", "Features")))
    except OSError:
        features = platform.processor()
    machine = hashlib.sha256(features.encode()).hexdigest()[:12]
    root = user_cache()
    return root / "jaxvae" / f"jaxlib-{version.__version__}-{platform.machine()}-{machine}"


def use_compilation_cache() -> None:
    """Programs are compiled once per jaxlib and processor, and kept in the user's cache."""
    import jax

    with contextlib.suppress(OSError, RuntimeError):  # without a place to write, programs are compiled each time
        folder = compiled_programs()
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
