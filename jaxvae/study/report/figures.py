"""The figures of a study's outcomes: what they show of each variant, from which runs, and in which panel."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxvae import plots
from jaxvae.chains import Chain
from jaxvae.parameterizations import NaturalParameterization, find
from jaxvae.study.results import STD_EDGES
from jaxvae.study.statistics import Comparison, Outcome
from jaxvae.study.table import first_cause
from jaxvae.texts import assignments, interval, signed
from jaxvae.transforms import Abs, Exp, ExpLinear, HalfBounded, Identity, Sigmoid, Softplus, Square, Squareplus

DRAWN = 4
"""The number of settings that have figures; the table has all settings."""

_TRANSFORMS = {
    Exp: "exp",
    Softplus: "softplus",
    Squareplus: "squareplus",
    ExpLinear: "exp-linear",
    Sigmoid: "sigmoid",
    Square: "square",
    Abs: "abs",
    Identity: "identity",
}
_QUANTITIES = ("std", "variance", "precision", "natural")
_FAMILIES = {
    Exp: "exponential",
    Softplus: "softplus",
    Squareplus: "squareplus, exp-linear",
    ExpLinear: "squareplus, exp-linear",
    Sigmoid: "bounded above",
    HalfBounded: "bounded above",
    Square: "square, abs",
    Abs: "square, abs",
    Identity: "identity",
}
_CAUSES = {
    "network": ("N", "first in the network"),
    "gaussian": ("σ", "first in σ, sample or KL"),
    "likelihood": ("L", "first in log p(x|z)"),
    "gradient": ("∇", "first in the gradient"),
}
_TOGETHER = 6  # lines in a panel, besides the baseline's


class Drawing(NamedTuple):
    """A figure: its kind, its setting ("" if it shows all, or if there is only one), and the matplotlib figure."""

    kind: str
    setting: str
    figure: Any


def drawings(outcomes: Sequence[Outcome]) -> Iterator[Drawing]:
    """Yields all figures that have something to show, kind by kind, for the first few settings."""
    shown = outcomes[:DRAWN]
    if not shown:
        return
    draw: Mapping[str, Callable[[Outcome], Any]] = {
        "transforms": _transforms,
        "learning_rates": lambda o: plots.nll_by_learning_rate(*_panels(o, _nll_line)),
        "gradients": lambda o: plots.gradient_ranges([_norms(c) for c in o.comparisons], o.baseline),
        "std": lambda o: plots.std_comparison([_histogram(c) for c in o.comparisons], STD_EDGES, o.baseline),
        "curves": lambda o: plots.elbo_by_step(*_panels(o, _elbo_line)),
    }
    for kind, of_outcome in draw.items():
        for outcome in shown:
            if kind == "learning_rates" and len(outcome.learning_rates) == 1:
                continue
            yield Drawing(kind, assignments(outcome.setting), of_outcome(outcome))
        if kind == "learning_rates" and any(_trouble(outcome) for outcome in shown):
            yield Drawing("skipped", "", _skipped(shown))


def _trouble(outcome: Outcome) -> bool:
    """Returns whether a step was skipped or a run failed."""
    return any(point.failures or point.skipped.any() for c in outcome.comparisons for point in c.points)


def place(comparison: Comparison) -> tuple[str, str]:
    """Returns a variant's row (transform) and column (quantity) in the map; special ones have a row of their name."""
    config = comparison.points[0].records[0]["config"]
    p = find(config["parameterization"])
    if p is None:
        return comparison.variant, "other"
    column = "natural" if isinstance(p, NaturalParameterization) else p.quantity
    kind = type(p.transform)
    if kind not in _TRANSFORMS or p.transform != kind():
        return comparison.variant, column
    return comparison.variant.replace(config["parameterization"], _TRANSFORMS[kind]), column


def _transforms(outcome: Outcome) -> Any:
    fields: dict[tuple[str, str], plots.Field] = {}
    for comparison in outcome.comparisons:
        row, column = place(comparison)
        if (row, column) in fields:  # the same transform under two names
            row = comparison.variant
        fields[row, column] = _field(comparison, outcome.baseline)
    usual = list(_TRANSFORMS.values())
    rows = sorted(
        dict.fromkeys(row for row, _ in fields),
        key=lambda row: usual.index(row.split(" + ")[0]) if row.split(" + ")[0] in usual else len(usual),
    )
    columns = [name for name in (*_QUANTITIES, "other") if name in {column for _, column in fields}]
    return plots.transform_map(rows, columns, fields)


def _field(comparison: Comparison, baseline: str) -> plots.Field:
    if comparison.best is None:
        return plots.Field("failed", math.nan, failed=True)
    if comparison.variant == baseline:
        return plots.Field(f"{comparison.best.mean:.2f} nats\nbaseline", 0.0)
    if comparison.mirrors:
        return plots.Field(f"{comparison.best.mean:.2f} nats\nmirror", math.nan)
    if comparison.difference is None:
        return plots.Field(f"{comparison.best.mean:.2f} nats\n(no baseline)", math.nan)
    mean, low, high, _ = comparison.difference
    ends = "no interval" if math.isnan(low) else interval(low, high)
    sure = bool(comparison.adjusted and comparison.adjusted.sign)
    return plots.Field(f"{signed(mean)}\n{ends}", mean, sure)


def _panels(
    outcome: Outcome, line: Callable[[Comparison], plots.Line]
) -> tuple[dict[str, list[plots.Line]], plots.Line]:
    """Returns the lines by family of transforms, and the baseline's; a large family has panels of similar size."""
    families: dict[str, list[plots.Line]] = {}
    for comparison in outcome.comparisons:
        if comparison.variant == outcome.baseline:
            baseline = line(comparison)
        else:
            families.setdefault(_family(comparison), []).append(line(comparison))
    panels = {}
    for family, lines in families.items():
        parts = np.array_split(np.arange(len(lines)), math.ceil(len(lines) / _TOGETHER))
        for number, part in enumerate(parts, 1):
            panels[f"{family} ({number})" if len(parts) > 1 else family] = [lines[i] for i in part]
    return panels or {"": []}, baseline


def _family(comparison: Comparison) -> str:
    p = find(comparison.points[0].records[0]["config"]["parameterization"])
    if p is None:
        return "others"
    core = p.transform.transform if isinstance(p.transform, Chain) else p.transform
    bounded = isinstance(core, Exp) and p.transform.range != core.range
    return f"{_FAMILIES.get(type(core), 'others')}{', in bounds' if bounded else ''}"


def _nll_line(comparison: Comparison) -> plots.Line:
    some = comparison.points
    return plots.Line(
        comparison.variant,
        np.array([point.learning_rate for point in some]),
        np.array([point.mean for point in some]),
        np.array([point.standard_error for point in some]),
    )


def _elbo_line(comparison: Comparison) -> plots.Line:
    nothing = np.zeros(0)
    if comparison.best is None:
        return plots.Line(comparison.variant, nothing, nothing, nothing)
    curves = [record["curve"] for record in comparison.best.records]
    elbo = np.array([curve["elbo"] for curve in curves], float).mean(axis=0)  # None becomes NaN
    return plots.Line(comparison.variant, np.array(curves[0]["step"]), elbo, np.full(len(elbo), math.nan))


def _norms(comparison: Comparison) -> plots.Norms:
    def summary(part: str) -> np.ndarray:
        if comparison.best is None:
            return np.full(3, math.nan)
        found = np.array([record["gradient_norm"][part] for record in comparison.best.records], float)  # (S, 3)
        found = np.where(np.isnan(found), math.inf, found)
        return np.array([*np.median(found[:, :2], axis=0), found[:, 2].max()])

    return plots.Norms(comparison.variant, summary("head"), summary("network"))


def _histogram(comparison: Comparison) -> plots.Histogram:
    records: Sequence[Any] = comparison.best.records if comparison.best else ()
    counts = sum((np.array(record["std_histogram"]) for record in records), np.zeros(len(STD_EDGES) - 1))
    return plots.Histogram(comparison.variant, counts)


def _skipped(outcomes: Sequence[Outcome]) -> Any:
    names = list(dict.fromkeys(c.variant for outcome in outcomes for c in outcome.comparisons))
    settings = {}
    for outcome in outcomes:
        some = [point for c in outcome.comparisons for point in c.points]
        rates = sorted({point.learning_rate for point in some})
        shares = np.full((len(names), len(rates)), math.nan)
        failed = np.zeros(shares.shape, bool)
        letters = [[""] * len(rates) for _ in names]
        for point in some:
            r, c = names.index(point.variant), rates.index(point.learning_rate)
            shares[r, c], failed[r, c] = point.skipped.mean(), point.failures > 0
            letters[r][c] = _CAUSES[cause][0] if (cause := first_cause([point])) in _CAUSES else ""
        settings[assignments(outcome.setting)] = plots.Skipped(rates, shares, letters, failed)
    return plots.skipped_map(names, settings, dict(_CAUSES.values()), outcomes[0].baseline)
