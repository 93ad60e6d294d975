"""Whether a VAE under every parameterization reaches the likelihood that probabilistic PCA has in closed form.

    python -m benchmarks.linear_gaussian [--quick] [--out FILE]

What ``jaxvae train --dataset linear-gaussian --parameterization NAME`` prints in the end, for every name; with
``--constraint projection`` where the name by itself allows a σ of 0 or less.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import harness
from jaxvae import PARAMETERIZATIONS
from jaxvae.data import synthetic
from jaxvae.training import config_from_mapping, load_run, make_experiment, train
from jaxvae.training.config import UNCONSTRAINED, WANTED
from jaxvae.training.oracle import gap

BAR = 1e-3
"""Nats."""


def measured(name: str) -> harness.Report:
    """The row of a parameterization."""
    constraint = "projection" if name in UNCONSTRAINED else "none"
    chosen = {"dataset": synthetic.NAME, "parameterization": name, "constraint": constraint}
    config = config_from_mapping({**WANTED[synthetic.NAME], **chosen})
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        experiment = make_experiment(config)
        train(experiment, Path(directory))
        found = gap(load_run(Path(directory)))
    assert found is not None
    seconds = round(time.perf_counter() - began, 1)
    return {"name": name, **found._asdict(), "gap": found.maximum - found.reached, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints, and writes the report; exits with 1 where a gap is above the bar."""
    args = harness.parser("linear_gaussian", __doc__, "two parameterizations").parse_args(argv)
    names = list(PARAMETERIZATIONS)[:2] if args.quick else list(PARAMETERIZATIONS)
    rows = []
    for name in names:
        rows.append(measured(name))
        print("{name:24} gap {gap:.1e} ± {error:.1e} nats, {seconds:.0f} s".format(**rows[-1]), flush=True)
    report = {**harness.facts("linear_gaussian"), "rows": rows}
    out = args.out or harness.RESULTS / "linear_gaussian.json"
    out.write_text(harness.as_json(report))
    if max(row["gap"] for row in rows) > BAR:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
