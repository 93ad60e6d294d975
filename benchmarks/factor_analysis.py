"""A linear VAE with a σ for each column, beside scikit-learn's factor analysis: the same model, fitted by EM there.

    python -m benchmarks.factor_analysis [--quick] [--out FILE.json]

The tables are wine (178 x 13) and breast cancer (569 x 30), in their own units. The linear VAE is ``jaxvae train
--dataset NAME --likelihood gaussian_learned``, with no hidden layers, all steps in one program; its maximum likelihood
is that of factor analysis. Log-likelihoods are those of the rows trained on, and of held-out ones; nats per row. It
takes scikit-learn (``jaxvae[datasets]``).
"""

import time
from collections.abc import Sequence

import numpy as np

from benchmarks import harness
from benchmarks.harness import Report, Table
from benchmarks.linear_gaussian import trained
from jaxvae.data import load
from jaxvae.training import config_from_mapping, make_experiment
from jaxvae.training.devices import one_device
from jaxvae.training.scoring import log_evidence, score_keys

CASES = (("wine", 2), ("breast_cancer", 2))
EPOCHS = 1000
TRAINING = {"likelihood": "gaussian_learned", "hidden": (), "batch_size": 64, "learning_rate": 1e-2}
_SAMPLES = 500


def measured(name: str, latents: int, epochs: int) -> Report:
    """The row of a table and a number of latents: mean log p(x) by factor analysis, and by the VAE."""
    from sklearn.decomposition import FactorAnalysis

    fields = {**TRAINING, "dataset": name, "latents": latents, "epochs": epochs}
    experiment = make_experiment(config_from_mapping(fields), one_device())
    splits = {split: x.images.reshape(len(x), -1).astype(np.float64) for split, x in load(name).splits.items()}
    loc, scale = splits["train"].mean(axis=0), splits["train"].std(axis=0)
    constant = float(np.log(scale).sum())
    fitted = FactorAnalysis(latents, tol=1e-8, max_iter=100_000).fit((splits["train"] - loc) / scale)
    began = time.process_time()
    state = trained(experiment)
    row: Report = {"table": name, "latents": latents, "epochs": epochs, "cpu": round(time.process_time() - began, 1)}
    for split in ("train", "test"):
        task = experiment.task(state.evaluated, experiment.dataset.splits[split], experiment.fitted(state.evaluated))
        found = log_evidence(task, score_keys()[1], samples=_SAMPLES).value
        row |= {
            f"{split} factor analysis": float(fitted.score((splits[split] - loc) / scale)) - constant,
            f"{split} vae": float(np.mean(found, dtype=np.float64)),
        }
    return row


def tables(report: Report) -> list[Table]:
    """One: a row for each table and number of latents."""
    heads = ("table, latents", *(f"{split}: {side}" for split in ("train", "test") for side in ("FA", "VAE")), "CPU s")
    kept = [f"{split} {side}" for split in ("train", "test") for side in ("factor analysis", "vae")]
    rows = [
        (f"{row['table']}, {row['latents']}", *(f"{row[key]:.3f}" for key in kept), f"{row['cpu']:.0f}")
        for row in report["rows"]
    ]
    return [Table("log p(x) of factor analysis and of a linear VAE, nats per row", heads, rows)]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints, and writes the report."""
    args = harness.parser("factor_analysis", __doc__, "wine, 50 epochs").parse_args(argv)
    cases = CASES[:1] if args.quick else CASES
    rows = [measured(name, latents, 50 if args.quick else EPOCHS) for name, latents in cases]
    report = {**harness.facts("factor_analysis"), "rows": rows}
    out = args.out or harness.RESULTS / "factor_analysis.json"
    out.write_text(harness.as_json(report))
    harness.show(tables(report))
    print(out)


if __name__ == "__main__":
    main()
