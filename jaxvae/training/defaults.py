"""Defaults that depend on the data, such as the likelihood; and checks that a configuration fits the data."""

import dataclasses
import json

import numpy as np

from jaxvae.arguments import require
from jaxvae.data import DataContract, Dataset
from jaxvae.data.dataset import chunks
from jaxvae.likelihoods import COMPOSITIONS, COUNTS, LIKELIHOODS, OF_LOGS, REALS
from jaxvae.texts import counted
from jaxvae.training.config import AUTO, TrainConfig
from jaxvae.training.devices import memory
from jaxvae.training.modelling import require_suiting, require_supported, suiting

_BATCH = 100
_DENSITIES = (*(name for name in LIKELIHOODS if name.startswith("gaussian")), *REALS)
"""The likelihoods for real numbers."""
_LEARNED = ("gaussian_learned", "gaussian_pixel", "student_t", "laplace", "log_normal")
"""Those with a scale that is learned."""
LIKELIHOOD_STD = 0.1
"""The default σ of a likelihood, if it doesn't follow from the data."""
_SOME = 10_000  # a standard deviation is computed from this many training images
_HARDLY_LABELS = 2**30  # bytes of weights for labels that are still allowed
_FEW = 10  # a covariate with at most this many whole numbers may be categorical


def resolved(config: TrainConfig, dataset: Dataset, devices: int = 1) -> TrainConfig:
    """Returns the configuration with values for the fields that it leaves to the data.

    The likelihood is ``bernoulli`` for one channel of at most 256 levels, and ``negative_binomial`` for counts. A table
    gets the likelihood that suits the kind of its columns, or ``columns``, a product, if they are of several kinds. All
    other data get ``gaussian_learned``, the σ-VAE of Rybkin et al. (2021, arXiv:2006.13202). Pixels are binarized
    dynamically only under ``bernoulli`` with one channel of 3 to 256 levels. The nonlinearity is ``tanh`` in dense
    layers and ``silu`` in convolutions. A batch has 100 images, or all if there are fewer. A Gaussian's learned σ
    starts at the standard deviation of the data. Batches are read from disk if the images exceed half of a device's
    memory.

    Args:
        config: the configuration as given.
        dataset: the data as loaded.
        devices: the number of devices that share a batch.

    Raises:
        ValueError: if the data and the configuration contradict each other; one line says how to resolve it.
    """
    grey = dataset.levels is not None and dataset.levels <= 256 and dataset.image_shape[-1] == 1
    name, binarization, size = config.likelihood, config.binarization, config.batch_size
    if name == AUTO:
        require(not (dataset.real and _is_picture(dataset)), "dataset", *_ranged(dataset))
        binary = grey or dataset.binary or binarization not in (AUTO, "none")
        name = "negative_binomial" if dataset.reading.counts else "bernoulli" if binary else "gaussian_learned"
        name = suiting(dataset.features) if in_columns(dataset) else name
    if binarization == AUTO:
        binarization = "dynamic" if grey and dataset.levels != 2 and name == "bernoulli" else "none"
    if size is None:
        size = min(_BATCH, len(dataset.train))
        size -= size % devices if size >= devices else 0
    std, streaming = config.likelihood_std, config.streaming
    if std is None:
        learned = name in _LEARNED
        std = 1.0 if in_columns(dataset) else _std(dataset, name in OF_LOGS) if learned else LIKELIHOOD_STD
    if streaming is None:
        streaming = dataset.train.images.nbytes > memory() // 2
    found = dataclasses.replace(
        config,
        likelihood=name,
        likelihood_std=std,
        binarization=binarization,
        activation=activation_of(config),
        batch_size=size,
        streaming=streaming,
    )
    _require_fit(found, dataset)
    return found


def in_columns(dataset: Dataset | DataContract) -> bool:
    """Whether each column has its own likelihood, as in every table except those of counts only."""
    return bool(dataset.features) and not dataset.reading.counts


def activation_of(config: TrainConfig) -> str:
    """Returns the nonlinearity of the configuration, or the architecture's default."""
    if config.activation != AUTO:
        return config.activation
    return "silu" if config.architecture == "conv" else "tanh"


def _require_fit(config: TrainConfig, dataset: Dataset) -> None:
    name, drawn, size = config.likelihood, config.binarization, config.batch_size
    if in_columns(dataset):
        require_suiting(name, dataset)
        require(drawn == "none", "binarization", drawn, "none for a table")
    else:
        of_tables = name not in (*LIKELIHOODS, *REALS)
        require(not of_tables, "likelihood", name, "another one for what isn't a table of measurements or categories")
    require_supported(name, dataset)
    allowed = "none for a likelihood of real numbers, which 0s and 1s have no density under"
    require(drawn == "none" or name not in _DENSITIES, "binarization", drawn, f"{allowed} (--likelihood {name})")
    counts = name in (*COUNTS, *COMPOSITIONS)
    if dataset.reading.counts:
        require(counts, "likelihood", name, f"one of {', '.join((*COUNTS, *COMPOSITIONS))} for counts")
        require(drawn == "none", "binarization", drawn, "none for counts")
    require(not counts or dataset.reading.counts, "likelihood", name, "another one for what isn't read as counts")
    require(counts or not config.offset or not dataset.features, "offset", True, "False for a table of other columns")
    require(counts or not config.offset, "offset", config.offset, f"False for a likelihood of no counts, {name}")
    if dataset.real:
        allowed = f"one of {', '.join(_DENSITIES)} for numbers outside of [0, 1]"
        require(name in _DENSITIES, "likelihood", name, f"{allowed}, unless --value-range says which are 0 and 1")
        require(drawn == "none", "binarization", drawn, "none for numbers outside of [0, 1]")
    images, noun = len(dataset.train), "training row" if dataset.features else "training image"
    require(size is None or size <= images, "batch_size", size, f"at most the {counted(images, noun)}")
    require(not config.conditional or dataset.classes > 0, "conditional", True, "False for data without labels")
    if config.conditional:
        weights = _weights_of(dataset.classes, config)
        text = f"False: {dataset.classes:,} classes would take {weights / 2**30:.1f} GiB of weights for their labels"
        require(weights < _HARDLY_LABELS, "conditional", True, text)
    for covariate in dataset.covariates:
        weights = _weights_of(len(covariate.levels), config)
        text = f"of fewer levels than {len(covariate.levels):,}, which would take {weights / 2**30:.1f} GiB of weights"
        require(weights < _HARDLY_LABELS, "covariates", covariate.name, text)


def _weights_of(levels: int, config: TrainConfig) -> int:
    """Returns the bytes for one-hot levels in encoder and decoder: weights, gradients and Adam's moments."""
    return 2 * levels * max(config.hidden, default=config.latents) * 16


def cautions(config: TrainConfig, dataset: Dataset) -> list[str]:
    """Returns warnings, one sentence each, about choices of a resolved configuration that can mislead."""
    found = []
    if dataset.missing and not any(np.isnan(x).any() for x in chunks(dataset.train.images)):
        found.append("No entry is missing in the train split: what the model makes of missing ones isn't trained.")
    if config.likelihood == "bernoulli" and config.binarization == "none" and not dataset.binary:
        found.append(
            "A Bernoulli likelihood of values between 0 and 1 is no distribution of them: its ELBO can't be compared. "
            "--likelihood gaussian_learned is one; --binarization dynamic makes the values 0 or 1."
        )
    if config.likelihood in _DENSITIES and dataset.binary:
        found.append(
            "A Gaussian has no greatest density for values of 0 and 1 alone, so that its ELBO means little. "
            "--likelihood bernoulli is their distribution."
        )
    for i, covariate in enumerate(dataset.covariates):
        assert dataset.train.covariates is not None
        values = np.unique(dataset.train.covariates[:, i])
        if not covariate.levels and len(values) <= _FEW and np.all(values == np.rint(values)):
            kinds = json.dumps({covariate.name: "categorical"}, ensure_ascii=False)
            found.append(
                f"The covariate {covariate.name} has {len(values)} whole numbers for values, and is given as a number. "
                f"If they stand for categories: --kinds '{kinds}'."
            )
    return found


def _std(dataset: Dataset, logs: bool) -> float:
    """Returns the standard deviation of training images as a model sees them, or of their logs, to two digits."""
    images = dataset.train.head(_SOME).images
    low, high = dataset.reading.value_range or (0, 1 if dataset.levels is None else dataset.levels - 1)
    known = images[~np.isnan(images)] if dataset.missing else images
    if logs:
        positive = known[known > low]  # what isn't is refused later
        std = float(np.std(np.log(positive - low, dtype=np.float64))) if positive.size else 1.0
    else:
        std = float(np.std(known, dtype=np.float64)) / (high - low)
    return float(f"{max(std, 1e-3):.2g}")


def _is_picture(dataset: Dataset) -> bool:
    return dataset.image_shape[0] > 1 and not dataset.reading.sequences


def _ranged(dataset: Dataset) -> tuple[str, str]:
    """Returns the range of the images' values, and the option that declares what it means."""
    low, high = dataset.extremes
    likely = (-1, 1) if -1 <= low < 0 and high <= 1 else (0, 255) if low >= 0 and high <= 255 else ("LOW", "HIGH")
    return (
        f"images of {low:g} to {high:g}",
        f"in [0, 1]; say which numbers are black and white (--value-range {likely[0]} {likely[1]}), or that they are "
        "measurements (--likelihood gaussian_learned)",
    )
