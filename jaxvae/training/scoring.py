"""Evaluation over a whole split: exact, as the last batch is padded and what was padded is cut off again.

Shapes: N images, B in a batch, L latents, K importance samples. Everything is in nats per image.
"""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from jaxvae.data import Split, observe
from jaxvae.diagnosis import IDLE
from jaxvae.gaussian import Gaussian
from jaxvae.models import LatentModel
from jaxvae.special import expm1
from jaxvae.training.bounds import log_weights
from jaxvae.training.devices import put, shared_out

_CHUNK = 2**21  # decoder outputs in flight at a time: 8 MiB in float32, and a few times that inside


class Posterior(NamedTuple):
    """Per image, on the host: log p(x|z) of one sample (N,); KL (N, L); mean and σ of q(z|x) (N, L)."""

    log_likelihood: np.ndarray
    kl: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @property
    def active(self) -> np.ndarray:
        """Which latents are active, (L,)."""
        return np.var(self.mean, axis=0, dtype=np.float64) > IDLE

    @property
    def order(self) -> np.ndarray:
        """The latents by their mean KL, the highest first, (L,)."""
        return np.argsort(-self.kl.mean(axis=0, dtype=np.float64), kind="stable")

    def summary(self) -> dict[str, float]:
        """ELBO, its two terms, and the number of active units."""
        log_likelihood, kl = self.log_likelihood.astype(np.float64), self.kl.sum(axis=1, dtype=np.float64)
        return {
            "elbo": float(np.mean(log_likelihood - kl)),
            "log_likelihood": float(np.mean(log_likelihood)),
            "kl": float(np.mean(kl)),
            "active_units": int(self.active.sum()),
        }


class LogEvidence(NamedTuple):
    """Per image, on the host: the estimate of log p(x), and its Monte Carlo standard error, both (N,)."""

    value: np.ndarray
    error: np.ndarray

    def summary(self) -> dict[str, float]:
        """The negative log-likelihood, with the standard error over images, and that of the importance sampling."""
        value, count = self.value.astype(np.float64), len(self.value)
        return {
            "nll": -float(np.mean(value)),
            "nll_standard_error": float(np.std(value, ddof=1) / math.sqrt(count)) if count > 1 else math.nan,
            "nll_monte_carlo_error": float(np.sqrt(np.sum(np.square(self.error, dtype=np.float64))) / count),
        }


class Task(NamedTuple):
    """What is evaluated: a model with its parameters, on a split of so many grey levels.

    ``raw`` stands in for the likelihood's scalar where that isn't a parameter but fitted to the training data.
    """

    model: LatentModel
    params: chex.ArrayTree
    split: Split
    levels: int | None
    mesh: Mesh
    raw: Array | None = None


def score_keys() -> Array:
    """The keys of every evaluation: of a fit to the training data, of the terms, of the importance samples."""
    return jax.random.split(jax.random.key(0), 3)


def posterior(task: Task, key: Array, batch_size: int = 200) -> Posterior:
    """q(z|x), its KL, and log p(x|z) under one sample of it, for every image of the split."""
    parts = [
        batch_posterior(task.model, task.levels, task.params, batch, jax.random.fold_in(key, i), task.raw)
        for i, batch in enumerate(_batches(task, batch_size))
    ]
    return Posterior(*_joined(parts, len(task.split)))


def gaussians(task: Task, key: Array, batch_size: int = 200) -> tuple[Gaussian, np.ndarray]:
    """What each latent of each image is drawn from, with raw as it is, and its KL; both (N, L)."""
    parts = [
        _batch_gaussians(task.model, task.levels, task.params, batch, jax.random.fold_in(key, i))
        for i, batch in enumerate(_batches(task, batch_size))
    ]
    loc, raw, kl = _joined([(q.loc, q.raw, kl) for q, kl in parts], len(task.split))
    return Gaussian(jnp.asarray(loc), jnp.asarray(raw), parts[0][0].parameterization), kl


def log_evidence(task: Task, key: Array, samples: int, batch_size: int = 200) -> LogEvidence:
    """log p(x) ≥ E log 1/K Σ p(x, z_k)/q(z_k|x), z_k ~ q(z|x), for every image (Burda et al. 2016, eq. 8).

    The K samples are drawn a chunk at a time, so that memory is bounded for any K.

    Args:
        task: what is evaluated.
        key: a PRNG key.
        samples: K, at least 1.
        batch_size: images at a time, over all devices.

    Returns:
        The estimates, and by the delta method their standard errors, NaN for K = 1.
    """
    chunk = samples_at_a_time(task.model, task.split, samples, batch_size)
    parts = []
    for i, batch in enumerate(_batches(task, batch_size)):
        batch_key = jax.random.fold_in(key, i)
        logs = None
        for drawn in range(0, samples, chunk):
            logs = batch_weights(
                task.model, task.levels, chunk, task.params, batch, batch_key, task.raw, samples, drawn, logs
            )
            jax.block_until_ready(logs)  # on CPUs, overlapping calls slow each other down
        parts.append(evidence(logs, samples))
    return LogEvidence(*_joined(parts, len(task.split)))


def samples_at_a_time(model: LatentModel, split: Split, samples: int, batch_size: int) -> int:
    """Of the importance samples of a batch, so that memory is bounded."""
    height, width, channels = split.images.shape[1:]
    outputs = height * width * model.likelihood.output_channels(channels)
    return max(1, min(samples, _CHUNK // (batch_size * outputs)))


def mean_squared_error(task: Task, key: Array, batch_size: int = 200) -> float:
    """The mean over images and pixels of (x - E[x|z])², z ~ q(z|x)."""
    parts = [
        (_squared_error(task.model, task.levels, task.params, batch, jax.random.fold_in(key, i)),)
        for i, batch in enumerate(_batches(task, batch_size))
    ]
    return float(np.mean(_joined(parts, len(task.split))[0], dtype=np.float64))


def _batches(task: Task, batch_size: int) -> Iterator[dict[str, Array]]:
    """The split in order, in batches of one size; the last is filled up with its own first image."""
    devices = task.mesh.size
    size = devices * max(1, min(batch_size, len(task.split)) // devices)
    share = size // jax.process_count()
    mine = slice(jax.process_index() * share, (jax.process_index() + 1) * share)
    for start in range(0, len(task.split), size):
        rows = np.arange(start, start + size)
        rows = np.where(rows < len(task.split), rows, start)[mine]
        batch = {"image": task.split.images[rows]}
        if task.model.classes:
            assert task.split.labels is not None
            batch["label"] = task.split.labels[rows]
        yield put(shared_out(task.mesh), batch)


def _joined(parts: list, count: int) -> list[np.ndarray]:
    """The batches' results one behind the other, on every host, without what was padded."""
    gathered = [multihost_utils.process_allgather(part, tiled=True) for part in parts]
    return [np.concatenate(column)[:count] for column in zip(*gathered, strict=True)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def batch_posterior(
    model: LatentModel,
    levels: int | None,
    params: chex.ArrayTree,
    batch: dict[str, Array],
    key: Array,
    raw: Array | None,
) -> Posterior:
    """``posterior`` of one batch, on the device; also for use in other programs, as are the next two."""
    x = observe(key, batch["image"], levels, dynamic=False)
    log_likelihood, kl, q = model.apply(params, x, key, batch.get("label"), raw)
    return Posterior(log_likelihood, kl, q.mean, q.std)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _batch_gaussians(
    model: LatentModel, levels: int | None, params: chex.ArrayTree, batch: dict[str, Array], key: Array
) -> tuple[Gaussian, Array]:
    x = observe(key, batch["image"], levels, dynamic=False)
    terms = model.apply(params, x, key, batch.get("label"))
    return terms.posterior, terms.kl


@functools.partial(jax.jit, static_argnums=(0, 1))
def _squared_error(
    model: LatentModel, levels: int | None, params: chex.ArrayTree, batch: dict[str, Array], key: Array
) -> Array:
    x = observe(key, batch["image"], levels, dynamic=False)
    label = batch.get("label")
    noise = jax.random.normal(key, (1, len(x), model.latents))
    z = model.apply(params, x, noise, label, method="draw").latents[0]
    return jnp.mean(jnp.square(x - model.apply(params, z, label, method="mean")), axis=(1, 2, 3))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def batch_weights(
    model: LatentModel,
    levels: int | None,
    chunk: int,
    params: chex.ArrayTree,
    batch: dict[str, Array],
    key: Array,
    raw: Array | None,
    samples: Array,
    drawn: Array,
    logs: tuple[Array, Array] | None,
) -> tuple[Array, Array]:
    """log Σ w and log Σ w² (B,) after up to ``chunk`` more samples."""
    x = observe(key, batch["image"], levels, dynamic=False)
    label = batch.get("label")
    noise = jax.random.normal(jax.random.fold_in(key, drawn), (chunk, len(x), model.latents))
    log_w = log_weights(model, params, x, noise, label, raw).log_weights
    log_w = jnp.where(drawn + jnp.arange(chunk)[:, None] < samples, log_w, -jnp.inf)
    new = jax.nn.logsumexp(log_w, axis=0), jax.nn.logsumexp(2 * log_w, axis=0)
    return new if logs is None else (jnp.logaddexp(logs[0], new[0]), jnp.logaddexp(logs[1], new[1]))


@jax.jit
def evidence(logs: tuple[Array, Array], samples: Array) -> tuple[Array, Array]:
    """The estimate and its standard error."""
    log_count = jnp.log(samples.astype(jnp.float32))
    # The relative variance of the mean weight, (K Σ w² / (Σ w)² - 1) / (K - 1).
    variance = expm1(logs[1] - 2 * logs[0] + log_count) / (samples - 1)
    return logs[0] - log_count, jnp.sqrt(jnp.maximum(variance, 0))
