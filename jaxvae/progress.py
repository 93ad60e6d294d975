"""How far a training run or a study is: a live bar on a terminal, plain lines elsewhere."""

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from time import monotonic
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from jaxvae.arguments import require

_PAUSE = 1.0  # seconds between lines
_LONG_PAUSE = 10.0  # where they tell of single steps
_FORMATS = {
    "elbo": "elbo {:.2f}",
    "kl": "kl {:.2f}",
    "validation_elbo": "validation_elbo {:.2f}",
    "validation_active_units": "active {:.0f}",
    "skipped": "skipped {:,.0f}",
    "examples_per_second": "{:,.0f} examples/s",
}


class _Bar(Progress):
    """A bar that has a line of values below it, where there are any."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        for task in self.tasks:
            if values := task.fields["values"]:
                yield Text(values, style="dim", no_wrap=True, overflow="ellipsis")


class _Display:
    """A context with a bar, which is drawn on a terminal only."""

    def __init__(self, name: str, total: float | None, done: int = 0, console: Console | None = None) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._live = self._console.is_interactive
        columns = (TextColumn("{task.description}", markup=False), BarColumn(None), TextColumn("{task.fields[left]}"))
        self._bar = _Bar(*columns, console=self._console, refresh_per_second=4, expand=True, disable=not self._live)
        self._task = self._bar.add_task(name, total=total, completed=done, left="", values="")
        self._total = total
        self._first: tuple[float, float] | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _show(self, name: str, done: float, seconds: float | None = None) -> str:
        """Draws how much is done, and returns the time left, "" where it isn't known yet.

        The seconds that are left are by the pace so far, where they aren't given.
        """
        now = monotonic()
        time, first = self._first = self._first or (now, done)
        if seconds is None and self._total is not None and done > first:
            seconds = (now - time) / (done - first) * (self._total - done)
        left = "" if seconds is None else f"{timedelta(seconds=round(seconds))} left"
        self._bar.update(self._task, description=name, completed=done, left=left)
        return left

    def _print(self, text: str) -> None:
        if self._live:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            # Not through rich, which would break lines at a width that no terminal has.
            print(text, file=self._console.file, flush=True)


class RunProgress(_Display):
    """A context in which a training run shows how far it is, on stderr if no console is given.

    On a terminal it is a live bar, with the newest values and the time left. Elsewhere it is a line of plain ASCII per
    epoch; of epochs that are shorter than a second not all have one, but the last one always. Values that a record
    lacks are left out.

    Steps are counted from the beginning of training, ``initial_step`` being that from which a run resumes. The time
    left is extrapolated from the steps since the first update, so that neither what was done before the resumption
    nor compilation counts.

    Args:
        epochs: of the whole training.
        steps_per_epoch: of one epoch.
        initial_step: the steps done before.
        console: where to write, as is or live according to its ``is_interactive``.

    Raises:
        ValueError: for fewer than one epoch or step, or an initial step beyond the last.

    >>> import sys
    >>> with RunProgress(epochs=20, steps_per_epoch=100, console=Console(file=sys.stdout)) as progress:
    ...     progress.update(100, {"elbo": -25.0})
    ...     progress.epoch({"epoch": 1, "elbo": -23.414, "kl": 8.2, "examples_per_second": 45e3})
    epoch 1/20  elbo -23.41  kl 8.20  45,000 examples/s
    """

    def __init__(self, epochs: int, steps_per_epoch: int, initial_step: int = 0, console: Console | None = None):
        require(epochs >= 1, "epochs", epochs, "at least 1")
        require(steps_per_epoch >= 1, "steps_per_epoch", steps_per_epoch, "at least 1")
        total = epochs * steps_per_epoch
        require(0 <= initial_step <= total, "initial_step", initial_step, f"in [0, {total}]")
        self._epochs, self._steps_per_epoch = epochs, steps_per_epoch
        super().__init__(self._name(initial_step), total, initial_step, console)
        self._newest: dict[str, float] = {}
        self._waiting = ""
        self._printed = -math.inf

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._print_waiting()

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows that ``step`` steps are done, and the newest values."""
        self._show(self._name(step), step)
        # Means are over the steps that weren't skipped: only a record knows how many were.
        self._show_values({name: x for name, x in metrics.items() if name != "skipped"})

    def epoch(self, record: Mapping[str, float]) -> None:
        """Shows the record of an epoch that has ended, ``epoch`` being its number from 1."""
        self._show_values(record)
        if not self._live:
            self._waiting = f"epoch {record['epoch']:.0f}/{self._epochs}  {_summary(record)}".rstrip()
            if monotonic() - self._printed >= _PAUSE:
                self._print_waiting()

    def message(self, text: str) -> None:
        """Prints a line that stays, above the bar or between the lines."""
        self._print_waiting()
        self._print(text)

    def _name(self, step: int) -> str:
        return f"epoch {max(1, math.ceil(step / self._steps_per_epoch))}/{self._epochs}"

    def _show_values(self, metrics: Mapping[str, float]) -> None:
        self._newest |= metrics
        self._bar.update(self._task, values=_summary(self._newest))

    def _print_waiting(self) -> None:
        if self._waiting:
            self._print(self._waiting)
            self._waiting = ""
            self._printed = monotonic()


class StudyProgress(_Display):
    """A context in which a study shows what it trains, how much is done, and the time left; on stderr by default.

    On a terminal it is a live bar; elsewhere a line whenever it turns to something else.

    >>> import sys
    >>> with StudyProgress(Console(file=sys.stdout)) as progress:
    ...     progress.update("log_variance", 0.0)
      0%  log_variance
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__("compiling", 1.0, console=console)
        self._variant = ""

    def update(self, name: str, share: float, seconds: float | None = None) -> None:
        """Shows that ``share`` of all is done, ``name`` is under way, and, where it is known, how long it will take."""
        line = f"{share:4.0%}  {name}"
        left = self._show(line, share, seconds)
        if name != self._variant and not self._live:
            self._print(", ".join(filter(None, (line, left))))
        self._variant = name


class StepProgress(_Display):
    """A context in which a loop shows how many steps are done, and the newest values; on stderr by default.

    On a terminal it is a live bar; elsewhere a line every ten seconds, and one at the end.

    Args:
        steps: to be made, or None where that isn't known.
        console: as of ``RunProgress``.
        noun: what is counted.

    >>> import sys
    >>> with StepProgress(2000, Console(file=sys.stdout)) as progress:
    ...     progress.update(64, {"loss": 3.2125, "skipped": 0})
    step 64/2,000  loss 3.212
    """

    def __init__(self, steps: int | None, console: Console | None = None, noun: str = "step") -> None:
        self._noun, self._of = noun, "" if steps is None else f"/{steps:,}"
        super().__init__(f"{noun} 0{self._of}", steps, console=console)
        self._waiting, self._printed = "", monotonic()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self._waiting:
            self._print(self._waiting)

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows that ``step`` steps are done, and the newest values."""
        name = f"{self._noun} {step:,}{self._of}"
        values = "  ".join(f"{key} {x:.4g}" for key, x in metrics.items() if key != "skipped" or x != 0)
        left = self._show(name, step)
        self._bar.update(self._task, values=values)
        if not self._live:
            self._waiting = f"{name}  {values}".rstrip()
            if monotonic() - self._printed >= _LONG_PAUSE:
                self._print(", ".join(filter(None, (self._waiting, left))))
                self._waiting, self._printed = "", monotonic()


def _summary(metrics: Mapping[str, float]) -> str:
    """The values that there are, without a 0 of skipped steps."""
    shown = {key: metrics[key] for key in _FORMATS if key in metrics}
    return "  ".join(_FORMATS[key].format(x) for key, x in shown.items() if key != "skipped" or x != 0)
