"""The progress of a training run: a live bar on a terminal, plain lines elsewhere."""

import math
from collections.abc import Mapping
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from jaxvae.arguments import require

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

_PAUSE = 1.0  # seconds between lines
_FORMATS = {
    "elbo": "elbo {:.2f}",
    "kl": "kl {:.2f}",
    "validation_elbo": "validation_elbo {:.2f}",
    "validation_active_units": "active {:.0f}",
    "skipped": "skipped {:,.0f}",
    "examples_per_second": "{:,.0f} images/s",
}


class Progress:
    """A context in which a training run shows how far it is, on stderr if no console is given.

    On a terminal it is a live bar, with the newest values and the time left. Elsewhere it is a line of plain ASCII per
    epoch, at most one per second, the last one always; values that a record lacks are left out.

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
    >>> from rich.console import Console
    >>> with Progress(epochs=20, steps_per_epoch=100, console=Console(file=sys.stdout)) as progress:
    ...     progress.update(100, {"elbo": -25.0})
    ...     progress.epoch({"epoch": 1, "elbo": -23.414, "kl": 8.2, "examples_per_second": 45e3})
    epoch 1/20  elbo -23.41  kl 8.20  45,000 images/s
    """

    def __init__(
        self, epochs: int, steps_per_epoch: int, initial_step: int = 0, console: "Console | None" = None
    ) -> None:
        require(epochs >= 1, "epochs", epochs, "at least 1")
        require(steps_per_epoch >= 1, "steps_per_epoch", steps_per_epoch, "at least 1")
        total = epochs * steps_per_epoch
        require(0 <= initial_step <= total, "initial_step", initial_step, f"in [0, {total}]")
        self._epochs, self._steps_per_epoch, self._step = epochs, steps_per_epoch, initial_step
        self._console = console
        self._live: Live | None = None
        self._newest: dict[str, float] = {}
        self._begin: tuple[float, int] | None = None
        self._left: float | None = None
        self._waiting = ""
        self._printed = -math.inf

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.live import Live

        if self._console is None:
            self._console = Console(stderr=True)
        if self._console.is_interactive:
            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        self._print_waiting()

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows that ``step`` steps are done, and the newest values."""
        now = monotonic()
        self._step = step
        # Means are over the steps that weren't skipped: only a record knows how many were.
        self._newest |= {name: x for name, x in metrics.items() if name != "skipped"}
        if self._begin is None:
            self._begin = now, step
        time, first = self._begin
        if step > first:
            self._left = (now - time) / (step - first) * (self._epochs * self._steps_per_epoch - step)

    def epoch(self, record: Mapping[str, float]) -> None:
        """Shows the record of an epoch that has ended, ``epoch`` being its number from 1."""
        self._newest |= record
        if not self._live:
            self._waiting = f"epoch {record['epoch']:.0f}/{self._epochs}  {_summary(record)}".rstrip()
            if monotonic() - self._printed >= _PAUSE:
                self._print_waiting()

    def message(self, text: str) -> None:
        """Prints a line that stays, above the bar or between the lines."""
        if self._live:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._print_waiting()
            self._print(text)

    def _print_waiting(self) -> None:
        if self._waiting:
            self._print(self._waiting)
            self._waiting = ""
            self._printed = monotonic()

    def _print(self, text: str) -> None:
        assert self._console is not None
        # Not through rich, which would break lines at a width that no terminal has.
        print(text, file=self._console.file, flush=True)

    def _render(self) -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        epoch = max(1, math.ceil(self._step / self._steps_per_epoch))
        left = "" if self._left is None else f"{timedelta(seconds=round(self._left))} left"
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(no_wrap=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        bar.add_row(
            Text(f"epoch {epoch}/{self._epochs}"),
            ProgressBar(total=self._epochs * self._steps_per_epoch, completed=self._step),
            Text(left),
        )
        rows = Table.grid(expand=True)
        rows.add_row(bar)
        rows.add_row(Text(_summary(self._newest), style="dim", no_wrap=True, overflow="ellipsis"))
        return rows


class ShareProgress:
    """A context in which a study shows what it trains, how much is done, and the time left, on stderr.

    On a terminal it is a live bar; elsewhere a line whenever it turns to something else.

    >>> with ShareProgress() as progress:
    ...     progress.update("log_variance", 0.5)
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(None), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_interactive)
        self._task = self._bar.add_task("compiling", total=1.0)
        self._name, self._begun = "", monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, name: str, share: float) -> None:
        """Shows that ``share`` of all is done, and that ``name`` is under way."""
        self._bar.update(self._task, completed=share, description=name)
        if name != self._name and not self._console.is_interactive:
            left = f", {timedelta(seconds=round((monotonic() - self._begun) * (1 / share - 1)))} left" if share else ""
            print(f"{share:4.0%}  {name}{left}", file=self._console.file, flush=True)
        self._name = name


def _summary(metrics: Mapping[str, float]) -> str:
    """The values that there are, without a 0 of skipped steps."""
    shown = {key: metrics[key] for key in _FORMATS if key in metrics}
    return "  ".join(_FORMATS[key].format(x) for key, x in shown.items() if key != "skipped" or x != 0)
