"""How often a study's intervals hold the true difference, in synthetic studies of which it is known.

    python -m benchmarks.coverage [--studies N] [--seeds N ...] [--out FILE]

A synthetic study has two variants, five learning rates half a decade apart, and some seeds. A variant's expected NLL is
a parabola over log10 of the learning rate; its depth, curvature and best learning rate are drawn for each study, so
that in some two learning rates are all but equal, and in most one is clear. A seed shifts all cells by a number,
those of a learning rate by another, and each by a third; validation and test images of a cell share a part of the last.
The truth is the difference between the variants' expected NLL, each at the best of the learning rates tried. The
interval is that of ``jaxvae.study.statistics.analyze``, from records as a study has them.
"""

import argparse
import datetime
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.study.intervals import LEVEL
from jaxvae.study.statistics import analyze

SEEDS = (3, 5, 10)
STUDIES = 10_000
ALLOWED = (0.94, 0.96)
"""The coverage that passes."""

RESULT = Path(__file__).parent / "results" / "coverage.json"

_DECADES = 0.5 * np.arange(5)
_VARIANTS = ("log_variance", "softplus_std")


def synthetic(rng: np.random.Generator, seeds: int) -> tuple[list[dict[str, Any]], float]:
    """The records of a study, and the true difference between its variants in nats.

    The spreads are about those of the study on the digits: 1.5 nats per decade², and 0.06 between seeds.
    """
    curvature, noise = 1.5 * math.exp(0.5 * rng.standard_normal()), 0.06 * math.exp(0.5 * rng.standard_normal())
    shared, middle = rng.uniform(0.5, 0.98), rng.uniform(0.25, 1.75)
    of_seed, of_rate = 0.05 * rng.standard_normal(seeds), 0.5 * noise * rng.standard_normal((5, seeds))
    records, bests = [], []
    for name in _VARIANTS:
        place = middle + 0.05 * rng.standard_normal()
        expected = 24 + 0.1 * rng.standard_normal() + curvature * (_DECADES - place) ** 2
        own = noise * rng.standard_normal((5, seeds))
        test = expected[:, None] + of_seed + of_rate + own
        validation = test - own + shared * own + math.sqrt(1 - shared**2) * noise * rng.standard_normal((5, seeds))
        bests.append(float(expected.min()))
        records += [
            {
                "config": {
                    "parameterization": name,
                    "constraint": "none",
                    "learning_rate": float(10 ** (_DECADES[i] - 3)),
                    "seed": seed,
                },
                "nll": float(test[i, seed]),
                "validation_nll": float(validation[i, seed]),
            }
            for i in range(5)
            for seed in range(seeds)
        ]
    return records, bests[1] - bests[0]


def coverage(studies: int, seeds: int) -> float:
    """The share of so many studies whose interval holds the truth."""
    held = 0
    for number in range(studies):
        records, truth = synthetic(np.random.default_rng([seeds, number]), seeds)
        (outcome,) = analyze(records)
        difference = outcome.comparisons[1].difference
        assert difference is not None
        held += difference.low <= truth <= difference.high
    return held / studies


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args(argv)
    found = {str(seeds): round(coverage(args.studies, seeds), 4) for seeds in args.seeds}
    command = f"python -m benchmarks.coverage --studies {args.studies} --seeds {' '.join(found)}"
    report = {"date": datetime.date.today().isoformat(), "command": command, "level": LEVEL, "coverage": found}
    print(json.dumps(report, indent=1))
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    missed = {seeds: x for seeds, x in found.items() if not ALLOWED[0] <= x <= ALLOWED[1]}
    if missed:
        sys.exit(f"coverage is out of {ALLOWED}: {missed}")


if __name__ == "__main__":
    main()
