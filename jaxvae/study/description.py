"""The records of a group's cells in the table, from the group's results."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxvae.study.cells import Scores, Segment
from jaxvae.study.results import Record, plain
from jaxvae.study.sweep import Trained
from jaxvae.training import TrainConfig, nonfinite
from jaxvae.training.directory import versions
from jaxvae.training.scoring import LogEvidence

_DIGITS = 7  # the digits of a float32


def group_records(group: Sequence[TrainConfig], found: Trained, counts: Mapping[str, np.ndarray]) -> list[Record]:
    """Makes the records of a group's cells.

    Args:
        group: the cells' configurations.
        found: from ``Sweep.train``.
        counts: for each split, which scored images belong to it; ``validation`` may be missing.
    """
    shared = {"seconds": round(found.seconds / len(group), 4), "versions": versions()}
    return [
        {**_describe(config, jax.tree.map(operator.itemgetter(i), found[:2]), counts), **shared}
        for i, config in enumerate(group)
    ]


def _describe(config: TrainConfig, found: tuple[Segment, Scores], counts: Mapping[str, np.ndarray]) -> Record:
    segments, scores = found
    steps = segments.steps
    skipped = np.flatnonzero(steps.cause)
    total = len(steps.cause)
    evidence = {
        name: LogEvidence(scores.log_evidence[own], scores.error[own]).summary() for name, own in counts.items()
    }
    every = total // len(segments.elbo)
    with np.errstate(divide="ignore", invalid="ignore"):  # a gradient may be 0
        snr = np.abs(segments.gradient_mean[-1]) / segments.gradient_std[-1]
    numbers = {
        "elbo": scores.log_likelihood - scores.kl,
        "log_likelihood": scores.log_likelihood,
        "kl": scores.kl,
        **evidence["test"],
    }
    if "validation" in evidence:
        numbers |= {"validation_elbo": scores.validation_elbo, "validation_nll": evidence["validation"]["nll"]}
    return {
        "config": plain(config),
        "steps": total,
        **{name: _rounded(x) for name, x in numbers.items()},
        "active_units": int(scores.active_units),
        "curve": {"step": list(range(every, total + 1, every)), "elbo": [_rounded(x) for x in segments.elbo]},
        "skipped": len(skipped) / total,
        "first_skipped": int(skipped[0]) if len(skipped) else None,
        "cause": nonfinite.CAUSES[steps.cause[skipped[0]] - 1] if len(skipped) else None,
        "gradient_norm": {"head": _spread(steps.head), "network": _spread(steps.network)},
        "gradient_snr": [_rounded(x) for x in snr],
        "std_histogram": [int(x) for x in scores.std_histogram],
        "saturation": dict(zip(("floor", "ceiling", "dead"), map(_rounded, scores.saturation), strict=True)),
    }


def _spread(norms: np.ndarray) -> list[float]:
    """Returns the median, the 99th percentile and the maximum over the steps, which may not be finite."""
    return [_rounded(x) for x in (*np.quantile(norms, (0.5, 0.99), method="nearest"), np.max(norms))]


def _rounded(x: Any) -> float:
    """Rounds to the digits of a float32."""
    return float(f"{float(x):.{_DIGITS}g}")
