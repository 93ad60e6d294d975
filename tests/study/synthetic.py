"""Records as a study makes them, without training."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxvae.study.results import STD_EDGES
from jaxvae.training import TrainConfig

RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
DEFAULT = (
    "log_variance",
    "log_std",
    "log_precision",
    "softplus_std",
    "softplus_variance",
    "squareplus_std",
    "squareplus_variance",
    "sigmoid_std",
    "sigmoid_variance",
    "natural_softplus",
    "direct_std",
    "direct_std+projection",
    "direct_std+lagrange",
)


def study(
    variants: Iterable[str] = DEFAULT,
    rates: Sequence[float] = RATES,
    seeds: int = 3,
    fails: float = 0.05,
    fields: Iterable[dict[str, Any]] = ({},),
) -> list[dict[str, Any]]:
    """A record per cell; ``direct_std`` without a constraint fails at learning rates of at least ``fails``."""
    return [
        record(variant, number, rate, seed, variant == "direct_std" and rate >= fails, more)
        for more in fields
        for number, variant in enumerate(variants)
        for rate in rates
        for seed in range(seeds)
    ]


def record(variant: str, number: int, rate: float, seed: int, failed: bool, fields: dict[str, Any]) -> dict[str, Any]:
    """One cell: NLL is a parabola in log learning rate, and each variant, seed and setting has its own."""
    rng = np.random.default_rng([number, seed, len(str(fields)), round(-100 * math.log10(rate))])
    name, _, constraint = variant.partition("+")
    config = TrainConfig(
        parameterization=name, constraint=constraint or "none", learning_rate=rate, seed=seed, hidden=(128,), **fields
    )
    decades = math.log10(rate) + 2.0 - 0.05 * number
    nll = 24 + 0.15 * (number % 7) + 1.5 * decades**2 + 0.4 * max(0, decades) ** 6 + 0.05 * rng.standard_normal()
    elbo = -nll - 0.8
    steps = [100 * i for i in range(1, 21)]
    sigma = np.concatenate([-1.1 - 0.1 * (number % 5) + 0.25 * rng.standard_normal(900), np.full(500, 0.0)])
    head = 3 * 1.3 ** (number % 9)

    def score(x: float) -> float | None:
        return None if failed else round(x, 4)

    return {
        "config": json.loads(config.to_json()),
        "versions": {"jax": "1.2.3", "device": "2 x cpu"},
        "steps": 2000,
        "elbo": score(elbo),
        "log_likelihood": score(elbo + 9),
        "kl": score(9.0),
        "nll": score(nll),
        "nll_standard_error": score(0.3),
        "nll_monte_carlo_error": score(0.02),
        "active_units": 0 if failed else 7 + seed % 2,
        "curve": {"step": steps, "elbo": [score(elbo - 30 * math.exp(-step / 250)) for step in steps]},
        "skipped": 0.93 if failed else 0.004 * (number % 6 == 5) * (rate > 0.05),
        "first_skipped": 140 if failed else None,
        "cause": "gaussian" if failed else "gradient" if number % 6 == 5 and rate > 0.05 else None,
        "gradient_norm": {
            "head": [None] * 3 if failed else [head, 4 * head, None if number % 6 == 5 else 40 * head],
            "network": [None] * 3 if failed else [2.0, 7.0, 31.0],
        },
        "gradient_snr": [None if failed else 0.1 + 0.02 * i for i in range(8)],
        "std_histogram": np.histogram([] if failed else sigma, STD_EDGES)[0].tolist(),
        "saturation": {"floor": 0.0, "ceiling": 0.012 * (number % 4), "dead": 0.0},
        "seconds": 1.3,
    }
