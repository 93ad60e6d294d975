"""Parameterization × data set × network × learning rate × seed: does which is best depend on anything?

    python -m benchmarks.many [--out DIR] [--dry-run] [--on slurm|ray ...]

The commands ``jaxvae compare`` of one study, one after the other into one directory: data sets with epochs of their own
that make about 1,500 steps each, and for images a convolutional network beside the MLP. What is there already isn't
trained again, so that it may be stopped, or run by parts (``--only``). More flags are passed on to each command; those
that say what is trained make another study.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxvae import data

OUT = Path(__file__).parent / "results" / "compare-many"
IMAGES = 5000
"""The first ones of MNIST that are trained on, so that an epoch is short."""

SHARED = (
    "--parameterization log_variance log_std softplus_std softplus_variance squareplus_std natural_softplus "
    "--constraint none --learning-rate 0.001 0.003 0.01 0.03 --seed 0 1 2 --samples 100"
)
DATA = {"digits": "--epochs 150", "mnist": "--epochs 40", "reuters": "--epochs 750 --likelihood multinomial"}
"""What is each data set's own: epochs of 1,500 steps of batches of 128, and a likelihood of counts without gammas."""
NETWORKS = {"mlp": "--architecture mlp --hidden 128", "conv": "--architecture conv --hidden 16 32"}


def commands(out: Path, mnist: Path) -> Iterator[tuple[str, list[str]]]:
    """The name and the words of each command, after ``jaxvae``."""
    for dataset, own in DATA.items():
        source = str(mnist) if dataset == "mnist" else dataset
        for network, flags in NETWORKS.items():
            if dataset != "reuters" or network == "mlp":  # a row of counts isn't an image
                words = f"compare {SHARED} {own} {flags}"
                yield f"{dataset}-{network}", [*words.split(), "--dataset", source, "--out", str(out)]


def write_subset(path: Path) -> None:
    """The first images of MNIST, as a file that a study reads; its test images all."""
    if not path.exists():
        whole = data.load("mnist")
        path.parent.mkdir(parents=True, exist_ok=True)
        train = whole.train.head(IMAGES)
        np.savez_compressed(
            path, train_images=np.asarray(train.images), test_images=np.asarray(whole.test.images[:IMAGES])
        )


def main() -> None:
    """Runs the commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--mnist", type=Path, default=Path("runs/mnist.npz"), help="where MNIST's first images go")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="such as digits-mlp mnist-conv")
    options, more = parser.parse_known_args()
    if not options.only or any(name.startswith("mnist") for name in options.only):
        write_subset(options.mnist)
    for name, words in commands(options.out, options.mnist):
        if not options.only or name in options.only:
            print(shlex.join(["jaxvae", *words, *more]), flush=True)
            subprocess.run([sys.executable, "-m", "jaxvae", *words, *more], check=True)


if __name__ == "__main__":
    main()
