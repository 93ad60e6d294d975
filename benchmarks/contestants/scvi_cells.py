"""A side of ``benchmarks.single_cell``: scvi-tools' SCVI. It runs where that is installed, and needs no JAX.

python benchmarks/contestants/scvi_cells.py DATA.npz EPOCHS SAMPLES
"""

import json
import sys

import anndata
import numpy as np
import pandas as pd
import scipy.sparse
import scvi
import torch

HIDDEN, LATENTS, BATCH, RATE = 128, 10, 128, 1e-3


def table(data: np.lib.npyio.NpzFile, split: str) -> anndata.AnnData:
    """The rows of a split, sparse, as scvi-tools wants them."""
    counts = scipy.sparse.csr_matrix(data[f"{split}_images"].astype(np.float32))
    group = data[f"{split}_labels"] if f"{split}_labels" in data else np.zeros(counts.shape[0], int)
    return anndata.AnnData(counts, obs=pd.DataFrame({"group": group.astype(str)}, index=map(str, range(len(group)))))


def main(path: str, epochs: int, samples: int) -> None:
    """Trains, and prints the mean of log p(x) of the test rows in nats."""
    scvi.settings.seed = 0
    data = np.load(path)
    train, test = table(data, "train"), table(data, "test")
    scvi.model.SCVI.setup_anndata(train, batch_key="group")
    model = scvi.model.SCVI(train, n_hidden=HIDDEN, n_latent=LATENTS, n_layers=1, gene_likelihood="nb")
    model.train(
        max_epochs=epochs,
        train_size=1.0,
        batch_size=BATCH,
        accelerator="cpu",
        enable_progress_bar=False,
        plan_kwargs={"lr": RATE, "n_epochs_kl_warmup": 1},
    )
    log_evidence = model.get_marginal_ll(test, n_mc_samples=samples, n_mc_samples_per_pass=samples)
    print(json.dumps({"log_evidence": float(log_evidence), "scvi-tools": scvi.__version__, "torch": torch.__version__}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
