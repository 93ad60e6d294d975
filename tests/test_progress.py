"""Progress on a terminal and elsewhere, with a clock that tells what the test says."""

import re
from io import StringIO

import pytest
from rich.console import Console

from jaxvae import progress as module
from jaxvae.progress import RunProgress, StepProgress, StudyProgress

RECORD = {
    "elbo": -23.414,
    "log_likelihood": -15.2,
    "kl": 8.2,
    "skipped": 0,
    "examples_per_second": 45000.4,
    "validation_elbo": -24.02,
    "validation_active_units": 12,
}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def terminal(width: int = 80) -> Console:
    return Console(file=StringIO(), force_terminal=True, width=width, legacy_windows=False)


def pipe() -> Console:
    return Console(file=StringIO(), force_terminal=False, width=40)


def written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")


def last_frame(console: Console) -> tuple[str, str]:
    """What the terminal shows in the end: the bar's line, and that of the values."""
    bar, values = [line for line in plain(written(console)).split("\n") if line.strip()][-2:]
    return bar, values.rstrip()


def test_a_line_per_epoch(clock: Clock) -> None:
    console = pipe()
    with RunProgress(200, 10, console=console) as progress:
        for epoch in (1, 2):
            clock.now += 60
            progress.update(10 * epoch, {"elbo": -99.0})
            progress.epoch({"epoch": epoch, **RECORD, "elbo": -23.414 / epoch})
        progress.epoch({"epoch": 3, "elbo": float("nan"), "skipped": 1200})
    assert written(console).splitlines() == [
        "epoch 1/200  elbo -23.41  kl 8.20  validation_elbo -24.02  active 12  45,000 examples/s",
        "epoch 2/200  elbo -11.71  kl 8.20  validation_elbo -24.02  active 12  45,000 examples/s",
        "epoch 3/200  elbo nan  skipped 1,200",
    ]


def test_at_most_a_line_per_second_and_always_the_last(clock: Clock) -> None:
    console = pipe()
    with RunProgress(100, 10, console=console) as progress:
        for epoch in range(1, 101):
            progress.epoch({"epoch": epoch})
            clock.now += 0.03125
    printed = [line.split("/")[0] for line in written(console).splitlines()]
    assert printed == [f"epoch {epoch}" for epoch in (1, 33, 65, 97, 100)]


def test_lines_are_plain_ascii_even_if_colours_are_forced(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = Console(file=StringIO(), force_interactive=False)
    with RunProgress(2, 10, console=console) as progress:
        progress.epoch({"epoch": 1, **RECORD})
        progress.message("saved [bold]best[/bold]")
    assert written(console).isascii()
    assert "\x1b" not in written(console)


def test_messages_stand_between_their_epochs(clock: Clock) -> None:
    console = pipe()
    with RunProgress(9, 10, console=console) as progress:
        for epoch in (1, 2):
            progress.epoch({"epoch": epoch})
        progress.message("saved [best] to " + 50 * "x")
        progress.epoch({"epoch": 3})
    assert written(console).splitlines() == ["epoch 1/9", "epoch 2/9", "saved [best] to " + 50 * "x", "epoch 3/9"]


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_live_bar(clock: Clock, width: int) -> None:
    console = terminal(width)
    with RunProgress(20, 10, console=console) as progress:
        progress.update(5, {"elbo": -30.0})
        clock.now += 10
        progress.epoch({"epoch": 1, **RECORD, "skipped": 3})
        progress.update(15, {"elbo": -25.006, "kl": 7.5, "skipped": 0.0})
    bar, values = last_frame(console)
    # 10 steps in 10 seconds, 185 to go.
    assert re.fullmatch(r"epoch 2/20 ━+[╸╺]?━+ 0:03:05 left", bar)
    assert len(bar) == width
    expected = "elbo -25.01  kl 7.50  validation_elbo -24.02  active 12  skipped 3  45,000 examples/s"
    assert values == (expected if width > 80 else expected[: width - 1] + "…")


def test_the_time_left_counts_from_the_resumption(clock: Clock) -> None:
    console = terminal()
    with RunProgress(100, 10, initial_step=900, console=console) as progress:
        clock.now += 500  # compiling
        progress.update(910, {})
        for step in (920, 930):
            clock.now += 30
            progress.update(step, {"elbo": -3.0})
    # 20 steps in 60 seconds, 70 to go.
    assert last_frame(console)[0].endswith(" 0:03:30 left")
    assert last_frame(console)[0].startswith("epoch 93/100")


def test_no_time_is_told_before_it_is_known(clock: Clock) -> None:
    console = terminal()
    with RunProgress(2, 10, console=console) as progress:
        progress.update(10, {"elbo": -3.0})
    assert "left" not in plain(written(console))
    assert last_frame(console)[0].startswith("epoch 1/2 ")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interruption_gives_the_terminal_back(clock: Clock, error: type[BaseException]) -> None:
    console = terminal()
    with pytest.raises(error), RunProgress(2, 10, console=console) as progress:  # noqa: PT012
        progress.update(3, {"elbo": -3.0})
        raise error
    assert written(console).count("\x1b[?25l") == written(console).count("\x1b[?25h") == 1
    assert last_frame(console)[1] == "elbo -3.00"
    before = written(console)
    console.print("free")
    assert written(console) == before + "free\n"


def test_an_interruption_keeps_the_last_line(clock: Clock) -> None:
    console = pipe()
    with pytest.raises(KeyboardInterrupt), RunProgress(9, 10, console=console) as progress:  # noqa: PT012
        for epoch in (1, 2, 3):
            progress.epoch({"epoch": epoch})
        raise KeyboardInterrupt
    assert written(console).splitlines() == ["epoch 1/9", "epoch 3/9"]


def test_messages_stay_above_the_bar(clock: Clock) -> None:
    console = terminal(60)
    with RunProgress(2, 10, console=console) as progress:
        progress.update(3, {"elbo": -3.0})
        progress.message("saved [bold]best[/bold] " + 50 * "x")
    lines = plain(written(console)).split("\n")
    assert "saved [bold]best[/bold] " + 50 * "x" in lines
    assert last_frame(console) == (lines[-3], "elbo -3.00")


def test_stderr_by_default(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress(2, 10) as progress:
        progress.epoch({"epoch": 2, "elbo": -1.0})
    assert capsys.readouterr() == ("", "epoch 2/2  elbo -1.00\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 10), "epochs must be at least 1, got 0"),
        ((10, 0), "steps_per_epoch must be at least 1, got 0"),
        ((10, 10, 101), r"initial_step must be in \[0, 100\], got 101"),
        ((10, 10, -1), r"initial_step must be in \[0, 100\], got -1"),
    ],
)
def test_bad_arguments_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunProgress(*arguments)


def test_a_study_has_a_line_per_variant(clock: Clock) -> None:
    console = pipe()
    with StudyProgress(console) as progress:
        clock.now += 500  # compiling
        for name, share in (("log_std", 0.0), ("log_std", 0.1), ("direct_std + projection", 0.2), ("exp", 0.5)):
            progress.update(name, share)
            clock.now += 30
        progress.update("square", 0.75, 7.4)
    # A fifth in 60 seconds, four to go; a half in 90.
    assert written(console).splitlines() == [
        "  0%  log_std",
        " 20%  direct_std + projection, 0:04:00 left",
        " 50%  exp, 0:01:30 left",
        " 75%  square, 0:00:07 left",
    ]


def test_the_live_bar_of_a_study(clock: Clock) -> None:
    console = terminal(60)
    with StudyProgress(console) as progress:
        assert "compiling" in written(console)
        progress.update("[log_std]", 0.0)
        clock.now += 30
        progress.update("[log_std]", 0.5)
    frame = plain(written(console)).rstrip().split("\n")[-1]
    assert re.fullmatch(r" 50%  \[log_std\] ━+[╸╺]?━+ 0:00:30 left", frame)
    assert len(frame) == 60


def test_single_steps_are_told_of_every_ten_seconds_and_at_the_end(clock: Clock) -> None:
    console = pipe()
    with StepProgress(4000, console) as progress:
        for step in range(1, 26):
            clock.now += 1
            progress.update(step, {"loss": 1 / step, "skipped": step > 20})
    assert written(console).splitlines() == [
        "step 10/4,000  loss 0.1, 1:06:30 left",
        "step 20/4,000  loss 0.05, 1:06:20 left",
        "step 25/4,000  loss 0.04  skipped 1",
    ]


def test_steps_without_an_end_have_no_time_left(clock: Clock) -> None:
    console = terminal()
    with StepProgress(None, console) as progress:
        for step in (64, 128):
            clock.now += 1
            progress.update(step, {"loss": 2.0})
    shown = plain(written(console))
    assert "step 128 " in shown
    assert "loss 2" in shown
    assert "left" not in shown
