"""How near imputed entries come to the true ones, beside column means and nearest neighbours, on two real tables.

    python -m benchmarks.imputation [--quick] [--out FILE]

Entries of scikit-learn's breast cancer (569 x 30) and wine (178 x 13) are removed at random; what is left is
standardized, a model is trained on it by MIWAE's bound, and fills it. The error is the root of the mean square over
what was removed, in units of each column's standard deviation. It takes scikit-learn (``jaxvae[datasets]``).
"""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from benchmarks import harness
from benchmarks.linear_gaussian import trained
from jaxvae.data import from_arrays
from jaxvae.data.tables import load_known
from jaxvae.trained import TrainedModel
from jaxvae.training import config_from_mapping, make_experiment
from jaxvae.training.devices import one_device

TABLES = ("breast_cancer", "wine")
SHARES = (0.2, 0.5)
"""Of the entries, which are removed."""

SEEDS = (0, 1)
"""Of what is removed, and of the training."""

NEIGHBOURS = 5
FIELDS: Mapping[str, Any] = MappingProxyType(
    {
        "likelihood": "gaussian_learned",
        "objective": "iwae",
        "train_samples": 20,
        "latents": 8,
        "hidden": (64,),
        "epochs": 400,
        "batch_size": 64,
        "learning_rate": 3e-3,
    }
)
"""The training, the same for both tables."""


class Table(NamedTuple):
    """Standardized numbers (N, D): all of them, and with NaN where they were removed."""

    true: np.ndarray
    given: np.ndarray


def incomplete(x: np.ndarray, share: float, seed: int) -> Table:
    """Removes a share of the entries at random, and standardizes by what is left; no row or column loses all."""
    rng = np.random.default_rng(seed)
    while True:
        removed = rng.random(x.shape) < share
        if not (removed.all(axis=0).any() or removed.all(axis=1).any()):
            break
    given = np.where(removed, np.nan, x)
    mean, std = np.nanmean(given, axis=0), np.nanstd(given, axis=0)
    return Table((x - mean[None]) / std[None], ((given - mean[None]) / std[None]).astype(np.float32))


def error(filled: np.ndarray, table: Table) -> float:
    """The root of the mean squared error over what was removed."""
    missing = np.isnan(table.given)
    return float(np.sqrt(np.mean(np.square(filled[missing] - table.true[missing]))))


def by_means(given: np.ndarray) -> np.ndarray:
    """Filled by the columns' means."""
    return np.where(np.isnan(given), np.nanmean(given, axis=0)[None], given)


def by_neighbours(given: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Filled by the mean of the nearest rows that have the entry (Troyanskaya et al. 2001), as scikit-learn does.

    The square of a distance is the mean over the columns that both rows have, times their number. Without a row that
    has both the entry and a column in common, it is the column's mean.
    """
    there = ~np.isnan(given)
    x, observed = np.where(there, given, 0).astype(np.float64), there.astype(np.float64)
    common = observed @ observed.T
    square = np.square(x) @ observed.T
    distance = np.maximum(square + square.T - 2 * x @ x.T, 0)
    distance = np.where(common > 0, distance / np.maximum(common, 1), np.inf)
    filled = by_means(given).astype(np.float64)
    for row, column in np.argwhere(~there):
        near = np.where(there[:, column], distance[row], np.inf)
        order = np.argsort(near, kind="stable")[:neighbours]
        order = order[np.isfinite(near[order])]
        if len(order):
            filled[row, column] = x[order, column].mean()
    return filled


def model_of(given: np.ndarray, seed: int, **fields: Any) -> TrainedModel:
    """A model trained on all rows, with what is missing in them."""
    data = from_arrays({"train": given, "test": given})
    experiment = make_experiment(config_from_mapping({**FIELDS, **fields, "seed": seed}), one_device(), dataset=data)
    state = trained(experiment)
    return TrainedModel(
        experiment.config, experiment.contract, experiment.model, state.evaluated, None, int(state.step)
    )


def measured(name: str, x: np.ndarray, share: float, seed: int, **fields: Any) -> harness.Report:
    """The row of a table."""
    table = incomplete(x, share, seed)
    began = time.perf_counter()
    ours = model_of(table.given, seed, **fields).impute(table.given)
    return {
        "table": name,
        "removed": share,
        "seed": seed,
        "means": error(by_means(table.given), table),
        "neighbours": error(by_neighbours(table.given), table),
        "jaxvae": error(ours, table),
        "seconds": round(time.perf_counter() - began, 1),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints, and writes the report; exits with 1 where a mean over seeds isn't the best of the three."""
    args = harness.parser("imputation", __doc__, "one mask of each table").parse_args(argv)
    rows = []
    for name in TABLES:
        x = np.asarray(load_known(name).values, np.float64)
        for share in SHARES:
            for seed in SEEDS[:1] if args.quick else SEEDS:
                rows.append(measured(name, x, share, seed))
                print(
                    "{table:14} {removed:.0%} removed, seed {seed}: means {means:.3f}, neighbours {neighbours:.3f}, "
                    "jaxvae {jaxvae:.3f}, {seconds:.0f} s".format(**rows[-1]),
                    flush=True,
                )
    report = {**harness.facts("imputation"), "fields": dict(FIELDS), "rows": rows}
    out = args.out or harness.RESULTS / "imputation.json"
    out.write_text(harness.as_json(report))
    if not all(_best(rows, name, share) for name in TABLES for share in SHARES):
        raise SystemExit(1)


def _best(rows: Sequence[harness.Report], name: str, share: float) -> bool:
    some = [row for row in rows if (row["table"], row["removed"]) == (name, share)]
    ours, means, neighbours = (np.mean([row[key] for row in some]) for key in ("jaxvae", "means", "neighbours"))
    return bool(ours < min(means, neighbours))


if __name__ == "__main__":
    main()
