"""Inspection of a run: decoded images as latents vary, and a diagnosis.

Images are (..., H, W, C) in [0, 1]. A diagnosis examines the posterior and the metrics of training.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jaxvae.arguments import require
from jaxvae.diagnosis import Diagnosis, Finding, diagnose, finding
from jaxvae.diagnosis.criteria import EXPLODED, IDLE, LOST
from jaxvae.texts import counted
from jaxvae.trained.model import TrainedModel
from jaxvae.trained.runs import Run
from jaxvae.training.directory import RunDirectory
from jaxvae.training.scoring import gaussians, score_keys


class Traversals(NamedTuple):
    """Images (L, S, H, W, C) as each of L latents takes the values (S,), while the others stay at one image's mean."""

    images: np.ndarray
    values: np.ndarray


def traversed(
    model: TrainedModel,
    image: ArrayLike,
    label: Any,
    latents: np.ndarray,
    steps: int = 9,
    reach: float = 3.0,
    covariates: Any = None,
) -> Traversals:
    """Decodes an image as each of these latents varies between -reach and reach.

    Args:
        model: the model.
        image: (H, W, C), as ``model.encode`` takes it.
        label: its class, for a conditional model; else None.
        latents: the indices of the latents, (L,).
        steps: the number of values, S.
        reach: the largest value, in units of the prior's σ.
        covariates: the image's covariates, for a model with covariates.
    """
    values = np.linspace(-reach, reach, steps, dtype=np.float32)
    z = np.tile(np.asarray(model.latents(image, label, covariates)), (len(latents), steps, 1))
    z[np.arange(len(latents))[:, None], np.arange(steps), latents[:, None]] = values
    return Traversals(np.asarray(model.decode(z, label, covariates).mean), values)


def examine(out: Path, split: str = "test", dataset: str | None = None) -> Diagnosis:
    """Diagnoses the run in a directory, from q(z|x) of a split with its last parameters, and from its metrics.

    Over- and underflow are judged for the dtype of its network.

    Args:
        out: the directory.
        split: ``test`` or ``validation``.
        dataset: the path of the data, if they have moved.

    Raises:
        ValueError: if there is no run, no checkpoint, or no such split.
    """
    directory = RunDirectory(out)
    records = directory.records()
    if directory.holds_run:
        require(directory.has_checkpoint, "run", str(out), f"one with a checkpoint; {_end(records)}")
    run = Run(out, best=False, dataset=dataset)
    q, kl = gaussians(run.task(split), score_keys()[1])
    # Only a sampled KL has negative terms; then only its mean is meaningful.
    kl = np.broadcast_to(np.maximum(kl.mean(axis=0), 0), kl.shape) if (kl < 0).any() else kl
    found = diagnose(q, kl=kl, dtype=run.model.config.dtype)
    return found.with_findings(course(records, run.model.config.epochs, run.model.module.latents))


def course(records: Sequence[Mapping[str, Any]], epochs: int, latents: int) -> list[Finding]:
    """Returns the findings in a run's metrics.

    Args:
        records: the records of ``metrics.jsonl``.
        epochs: the planned number of epochs.
        latents: the number of latents, L.
    """
    if not records:
        return []
    last = records[-1]
    shares = {
        "no finite update": np.mean([record["elbo"] is None for record in records]),
        "skipped updates": last["skipped"] / last["step"],
        "unfinished": max(0.0, 1 - last["epoch"] / epochs),
        "vanishing KL": _vanished(_series(records, "kl")[1], IDLE * latents),
        "exploding gradient": _exploded(_series(records, "gradient_norm")[1]),
        "divergence": _lost(_series(records, "elbo")[1]),
        "overfitting": _overfitted(records),
    }
    return [finding(name, (), float(share)) for name, share in shares.items() if share > 0]


def _series(records: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the epochs in which this key has a number, and these numbers."""
    pairs = [(record["epoch"], record[key]) for record in records if record.get(key) is not None]
    epochs, values = np.asarray(pairs, float).reshape(-1, 2).T
    return epochs, values


def _vanished(kl: np.ndarray, idle: float) -> float:
    """Returns the share of epochs with an idle KL, if the last one is idle but not all are."""
    return float(np.mean(kl < idle)) if len(kl) and kl[-1] < idle < kl.max() else 0.0


def _exploded(norms: np.ndarray) -> float:
    """Returns the share of epochs with an exploding gradient."""
    return float(np.mean(norms > EXPLODED * np.median(norms))) if len(norms) else 0.0


def _lost(elbo: np.ndarray) -> float:
    """Returns the share of epochs since the best, if the last one has lost too much of the gain up to then."""
    if not len(elbo):
        return 0.0
    best = int(np.argmax(elbo))
    gone = elbo[best] - elbo[-1] > LOST * (elbo[best] - elbo[0])
    return (len(elbo) - 1 - best) / len(elbo) if gone else 0.0


def _overfitted(records: Sequence[Mapping[str, Any]]) -> float:
    """Returns ``_lost`` of the validation ELBO, if the training ELBO rose in the same epochs."""
    scored = [record for record in records if record["elbo"] is not None]
    epochs, validation = _series(scored, "validation_elbo")
    if not len(epochs):
        return 0.0
    training = dict(zip(*_series(scored, "elbo"), strict=True))
    rose = training[epochs[-1]] > training[epochs[int(np.argmax(validation))]]
    return _lost(validation) if rose else 0.0


def _end(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns a sentence on how a run without a checkpoint ended."""
    done = records[-1]["epoch"] if records else 0
    skipped = records[-1]["skipped"] if records else 0
    lost = f", with {counted(skipped, 'update')} that were not finite" if skipped else ""
    return (
        f"this run ended in epoch {done + 1}, before its first checkpoint{lost}; where updates are not finite, train "
        "with a lower learning rate"
    )
