"""The table of a report: a row per variant and setting, all numbers as text."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxvae.study.intervals import LEVEL
from jaxvae.study.results import Record
from jaxvae.study.statistics import NEAR, Comparison, Outcome, Point, Width, steps_to
from jaxvae.texts import assignments, interval, minus, percent, percentage, signed, with_error

BEHIND = 2.0
"""Nats below the best final ELBO; the table has the first step at which a run reaches that level."""

NOTHING = "–"
WORDS = ("variant", "setting", "first cause")
"""The columns of words; all others are numbers."""


class Row(NamedTuple):
    """The texts of a row, and whether it is the baseline's."""

    texts: tuple[str, ...]
    baseline: bool


class Table(NamedTuple):
    """Column titles, and rows."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]


def make_table(outcomes: Sequence[Outcome]) -> Table:
    """Makes the table of all outcomes, setting by setting, with a column of settings only if there are several."""
    several = len(outcomes) > 1
    rows = []
    for outcome in outcomes:
        target = target_elbo(outcome)
        for comparison in outcome.comparisons:
            own = comparison.variant == outcome.baseline
            setting = {"setting": assignments(outcome.setting)} if several else {}
            row = {"variant": comparison.variant, **setting, **_numbers(comparison, target)}
            if own and comparison.best:
                row[_DIFFERENCE] = "baseline"
            rows.append((row, own))
    return Table(tuple(rows[0][0]) if rows else (), tuple(Row(tuple(row.values()), own) for row, own in rows))


_DIFFERENCE = f"minus baseline [{percentage(LEVEL)}]".replace(" %", "\N{NO-BREAK SPACE}%")


def _numbers(comparison: Comparison, target: float) -> dict[str, str]:
    """Returns a variant's numbers at its best learning rate; skipped steps and their cause are over all rates."""
    best = comparison.best
    records = best.records if best else ()

    def mean(value: Callable[[Record], float | None], form: Callable[[float], str]) -> str:
        numbers = [math.nan if (x := value(record)) is None else x for record in records]
        average = math.fsum(numbers) / len(numbers) if numbers else math.nan
        return form(average) if math.isfinite(average) else NOTHING

    def saturated(end: str) -> str:
        return mean(lambda record: record["saturation"][end], percent)

    skipped = np.concatenate([point.skipped for point in comparison.points])
    return {
        "best learning rate": f"{best.learning_rate:g}" if best else NOTHING,
        "NLL ± s.e.": with_error(best.mean, best.standard_error) if best else "failed",
        _DIFFERENCE: _difference(comparison),
        "ELBO": mean(lambda record: record["elbo"], lambda x: minus(f"{x:.2f}")),
        f"decades within {NEAR:g} nat": _width(comparison.width) if best else NOTHING,
        "steps to target": _steps(records, target),
        "steps skipped, %": percent(float(skipped.mean())),
        "first cause": first_cause(comparison.points) or NOTHING,
        "active units": mean(lambda record: record["active_units"], lambda x: f"{x:.1f}"),
        "gradient SNR": mean(lambda record: _median(record["gradient_snr"]), lambda x: f"{x:.2f}"),
        "σ at floor / ceiling / dead, %": " / ".join(map(saturated, ("floor", "ceiling", "dead"))) if best else NOTHING,
        "seconds per run": _mean_seconds(comparison),
    }


def target_elbo(outcome: Outcome) -> float:
    """Returns the test ELBO up to which steps are counted: slightly below the best final one of any variant, or NaN."""
    ends = [c.best.elbo.mean() for c in outcome.comparisons if c.best]
    finite = [float(x) for x in ends if math.isfinite(x)]
    return max(finite) - BEHIND if finite else math.nan


def first_cause(some: Sequence[Point]) -> str:
    """Returns where the first non-finite number of most runs arose; "" if all numbers were finite."""
    causes = Counter(record["cause"] for point in some for record in point.records if record["cause"])
    return causes.most_common(1)[0][0] if causes else ""


def _difference(comparison: Comparison) -> str:
    if comparison.difference is None:
        return NOTHING
    mean, low, high, _ = comparison.difference
    return signed(mean) if math.isnan(low) else f"{signed(mean)} {interval(low, high)}"


def _width(width: Width) -> str:
    return f"{'> ' if width.open_low or width.open_high else ''}{width.decades:.1f}"


def _steps(records: Sequence[Record], target: float) -> str:
    """Returns the mean over the seeds that reach the target, and their number if not all do."""
    found = [steps_to(record, target) for record in records] if math.isfinite(target) else []
    reached = [step for step in found if step is not None]
    if not reached:
        return "never" if found else NOTHING
    return (
        f"{sum(reached) / len(reached):.0f}{f' ({len(reached)} of {len(found)})' if len(reached) < len(found) else ''}"
    )


def _median(values: Iterable[float | None]) -> float:
    """Returns the median of the finite values, or NaN if there are none."""
    finite = [value for value in values if value is not None]
    return float(np.median(finite)) if finite else math.nan


def _mean_seconds(comparison: Comparison) -> str:
    seconds = [record["seconds"] for point in comparison.points for record in point.records]
    return f"{sum(seconds) / len(seconds):.2g}" if max(seconds) < 100 else f"{sum(seconds) / len(seconds):.0f}"
