"""The setup of a command's process: signals, a cache of compiled programs, a device per core."""

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
"""The exit status of a command that a signal stopped, which shells use for Ctrl-C."""


_GRACE = 3.0
"""Seconds for an interrupted process to end by itself; afterwards it is ended, as a compilation ignores signals."""


class _Stop:
    """A function that says whether to stop, because a signal has come.

    Attributes:
        asked: whether somebody has called it; callers do so regularly, to save their work after a signal.
        heard: the number of signals so far.
    """

    def __init__(self) -> None:
        self.asked, self.heard = False, 0

    def __call__(self) -> bool:
        self.asked = True
        return self.heard > 0

    def note(self, number: int, frame: object) -> None:
        """Notes a signal: the first one is heeded if somebody asks for it, otherwise it interrupts."""
        self.heard += 1
        if self.heard > 1 or not self.asked:
            raise KeyboardInterrupt
        print("stopping after saving; a second signal stops without saving", file=sys.stderr, flush=True)


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether a signal to end has come; a second signal ends the process immediately.

    The caller saves its work after the first signal and then ends. Before the function's first call, the first signal
    also ends the process immediately, as there is nothing to save yet.
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
    """Ends the process with this error if the code inside takes longer, even if it can't be interrupted."""

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
    """A standard stream that never raises errors when it is written to; after the first error, it drops everything.

    Attributes:
        error: the first error, or None.
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
    """Lets the process continue, from now on, if nobody reads its output or if this can't be written.

    A character that a stream can't encode is replaced. A closed stream is replaced by the null device.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number, so that no file of ours gets it
    streams = [stream or os.fdopen(i, "w") for i, stream in ((1, sys.stdout), (2, sys.stderr))]
    sys.stdout, sys.stderr = (
        _Output(stream.detach(), stream.encoding, "replace", line_buffering=stream.line_buffering)
        if isinstance(stream, io.TextIOWrapper)
        else stream
        for stream in streams
    )


def lost_output() -> OSError | None:
    """Returns why output on stdout wasn't written, or None; a reader that closed its pipe is no reason."""
    sys.stdout.flush()
    error = getattr(sys.stdout, "error", None)
    return None if isinstance(error, BrokenPipeError) else error


class _Line(logging.Formatter):
    """A formatter of records as lines without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def speak_in_lines() -> None:
    """Makes each warning of this library a line on stderr, from now on.

    It hides orbax's log of errors that it also raises, and the uncaught errors of its tasks that such an error cancels.
    """
    with contextlib.suppress(ImportError):  # absl comes with orbax
        from absl import logging as orbax_logging

        orbax_logging.set_verbosity(orbax_logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    sys.unraisablehook = _show_unraisable
    warnings.filterwarnings("ignore", "Error .* persistent compilation cache")  # the cache isn't necessary
    handler = logging.StreamHandler()
    handler.setFormatter(_Line("jaxvae: warning: %(message)s"))
    logger = logging.getLogger("jaxvae")
    logger.handlers, logger.propagate = [handler], False


def collect_seldom() -> None:
    """Collects cycles after 50,000 new objects instead of 700, from now on.

    Modules and traces consist of many lasting objects; searching them again and again takes a tenth of a short command.
    """
    gc.set_threshold(50_000, 20, 20)


def _show_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Shows what Python shows, except for an interrupted write whose event loop is closed."""
    if not (isinstance(unraisable.exc_value, RuntimeError) and str(unraisable.exc_value) == "Event loop is closed"):
        sys.__unraisablehook__(unraisable)


def compiled_programs() -> Path:
    """Returns the folder in the user's cache for programs of this jaxlib and this processor."""
    import hashlib
    import platform

    from jaxlib import version

    from jaxvae.files import user_cache  # it loads JAX, as jaxlib nearly does

    try:
        cpu = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
        features = "".join(line for line in cpu.splitlines() if line.startswith(("model name", "flags", "Features")))
    except OSError:
        features = platform.processor()
    machine = hashlib.sha256(features.encode()).hexdigest()[:12]
    root = user_cache()
    return root / "jaxvae" / f"jaxlib-{version.__version__}-{platform.machine()}-{machine}"


def use_compilation_cache() -> None:
    """Makes JAX compile programs once per jaxlib and processor, and keep them in the user's cache."""
    import jax

    with contextlib.suppress(OSError, RuntimeError):  # without a writable place, programs are compiled each time
        folder = compiled_programs()
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def use_every_core() -> None:
    """Makes each core an XLA device if there is no accelerator; it must be called before JAX has started."""
    import jax

    from jaxvae.training.devices import cores

    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # JAX has started
            jax.config.update("jax_num_cpu_devices", cores())
