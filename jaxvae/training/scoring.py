"""Evaluation over a whole split; the last batch is padded, and padding does not count.

Runs and cells of a study are scored by the same pure functions of one batch and one key, ``batch_posterior`` and
``batch_evidence``: a run calls them batch by batch, a study inside its cells' program.

Shapes: N images, B in a batch, L latents, K importance samples. Everything is in nats per image.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jaxvae.data import Split, observe
from jaxvae.diagnosis import IDLE
from jaxvae.gaussian import Gaussian
from jaxvae.models import LatentModel
from jaxvae.special import expm1
from jaxvae.training.bounds import log_weights
from jaxvae.training.devices import put, shared_out

BATCH = 200
"""The number of images at a time, over all devices."""

_TEMPORARIES = 2**28  # bytes that a program may need besides its arguments and results
_CHUNK = 2**21  # decoder outputs at a time: 8 MiB in float32, and a few times that inside the decoder


class Posterior(NamedTuple):
    """The scores of each image, on the host: log p(x|z) of one sample (N,); KL (N, L); mean and σ of q(z|x) (N, L)."""

    log_likelihood: np.ndarray
    kl: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @property
    def active(self) -> np.ndarray:
        """Which latents are active, (L,)."""
        active: np.ndarray = is_active(np.var(self.mean, axis=0, dtype=np.float64))
        return active

    @property
    def order(self) -> np.ndarray:
        """The latents in the order of their mean KL, the highest first, (L,)."""
        return np.argsort(-self.kl.mean(axis=0, dtype=np.float64), kind="stable")

    def summary(self) -> dict[str, float]:
        """Returns the ELBO, its two terms, and the number of active units."""
        log_likelihood, kl = self.log_likelihood.astype(np.float64), self.kl.sum(axis=1, dtype=np.float64)
        return {
            "elbo": float(np.mean(log_likelihood - kl)),
            "log_likelihood": float(np.mean(log_likelihood)),
            "kl": float(np.mean(kl)),
            "active_units": int(self.active.sum()),
        }


class LogEvidence(NamedTuple):
    """The estimate of each image's log p(x), and its Monte Carlo standard error, both (N,), on the host."""

    value: np.ndarray
    error: np.ndarray

    def summary(self) -> dict[str, float]:
        """Returns the negative log-likelihood, its standard error over images, and that of importance sampling."""
        value, count = self.value.astype(np.float64), len(self.value)
        return {
            "nll": -float(np.mean(value)),
            "nll_standard_error": float(np.std(value, ddof=1) / math.sqrt(count)) if count > 1 else math.nan,
            "nll_monte_carlo_error": float(np.sqrt(np.sum(np.square(self.error, dtype=np.float64))) / count),
        }


class Task(NamedTuple):
    """An evaluation to make: a model with its parameters, and a split.

    ``raw`` is the likelihood's scalar if it was fitted to the training data and isn't a parameter.
    """

    model: LatentModel
    params: chex.ArrayTree
    split: Split
    levels: int | None
    mesh: Mesh
    raw: Array | None = None


class Batch(NamedTuple):
    """A batch of a split's images, or, with a leading axis, all batches; its arrays are on the host or in a program.

    Attributes:
        rows: the number of each image, (B,), uint32; its noise depends on this, so that its scores don't depend on
            other images.
        images: as stored, (B, H, W, C).
        given: the conditions of each image, (B, M), if the model has any.
        counts: which of the images count, (B,); the others fill up the last batch.
    """

    rows: Any
    images: Any
    given: Any
    counts: Any


def score_keys() -> Array:
    """Returns the keys of every evaluation: for the fit to training data, the ELBO's terms, and importance samples."""
    return jax.random.split(jax.random.key(0), 3)


def in_batches(split: Split, conditions: int, size: int = BATCH, share: slice = slice(None)) -> Iterator[Batch]:
    """Yields the split in order, in batches of one size; the last is filled up with its own first image.

    Args:
        split: the split.
        conditions: the number of the model's conditions.
        size: the batch size, B.
        share: the part of each batch to read.
    """
    given = split.given(conditions)
    for start in range(0, len(split), size):
        rows = np.arange(start, start + size)[share]
        counts = rows < len(split)
        rows = np.where(counts, rows, start)
        yield Batch(rows.astype(np.uint32), split.images[rows], None if given is None else given[rows], counts)


def posterior(task: Task, key: Array, batch_size: int = BATCH) -> Posterior:
    """Computes q(z|x), its KL, and log p(x|z) for one of its samples, for every image of the split."""
    before, after = (task.model, task.levels, task.params), (key, task.raw)
    size = most_that_fit(batch_size, lambda size: temporaries(batch_posterior, *before, _example(task, size), *after))
    return Posterior(*_joined(task, size, lambda batch: batch_posterior(*before, batch, *after)))


def gaussians(task: Task, key: Array, batch_size: int = BATCH) -> tuple[Gaussian, np.ndarray]:
    """Returns the Gaussian of each latent of each image, with its raw parameter, and its KL; both (N, L)."""
    parts = []

    def numbers(batch: Batch) -> tuple[Array, Array, Array]:
        q, kl = _batch_gaussians(task.model, task.levels, task.params, batch, key)
        parts.append(q.parameterization)
        return q.loc, q.raw, kl

    loc, raw, kl = _joined(task, batch_size, numbers)
    return Gaussian(jnp.asarray(loc), jnp.asarray(raw), parts[0]), kl


def log_evidence(task: Task, key: Array, samples: int, batch_size: int = BATCH) -> LogEvidence:
    """Estimates log p(x) ≥ E log 1/K Σ p(x, z_k)/q(z_k|x), z_k ~ q(z|x), per image (Burda et al. 2016, eq. 8).

    The K samples are drawn a chunk at a time, so that memory is bounded for any K.

    Args:
        task: the evaluation to make.
        key: a PRNG key.
        samples: the number of samples, K, at least 1.
        batch_size: images at a time, over all devices.

    Returns:
        The estimates, and their standard errors by the delta method, which are NaN for K = 1.
    """
    size, chunk = evidence_sizes(
        task.model, task.split.images.shape[1:], samples, batch_size,
        lambda size, chunk: temporaries(
            batch_weights, task.model, task.levels, chunk, task.params, _example(task, size), key, task.raw, samples, 0,
            nothing_yet(_per_batch(task, size)),
        ),
    )  # fmt: skip

    def estimate(batch: Batch) -> tuple[Array, Array]:
        return batch_evidence(task.model, task.levels, task.params, batch, key, task.raw, samples, chunk, one_by_one)

    return LogEvidence(*_joined(task, size, estimate))


def most_that_fit(size: int, needed: Callable[[int], int]) -> int:
    """Returns the largest number of items, up to ``size``, whose temporary bytes are within the limit."""
    while size > 1 and (found := needed(size)) > _TEMPORARIES:
        size = max(1, min(size // 2, size * _TEMPORARIES // found))
    return size


def temporaries(program: Any, *args: Any) -> int:
    """Returns the compiler's estimate of the bytes that a jitted function needs besides its arguments and results.

    A later call doesn't compile the function again.
    """
    found = program.lower(*args).compile().memory_analysis()
    return 0 if found is None else int(found.temp_size_in_bytes)


def evidence_sizes(
    model: LatentModel,
    image_shape: tuple[int, ...],
    samples: int,
    batch_size: int,
    needed: Callable[[int, int], int],
) -> tuple[int, int]:
    """Returns how many images, and how many importance samples of each, are evaluated at a time.

    Args:
        model: the model.
        image_shape: (H, W, C).
        samples: the number of samples, K.
        batch_size: the largest number of images.
        needed: a function from numbers of images and samples to the bytes needed.
    """
    most = samples_at_a_time(model, image_shape, samples, batch_size)
    chunk = most_that_fit(most, lambda chunk: needed(batch_size, chunk))
    return (most_that_fit(batch_size, lambda size: needed(size, 1)) if chunk == 1 else batch_size), chunk


def samples_at_a_time(model: LatentModel, image_shape: tuple[int, ...], samples: int, batch_size: int = BATCH) -> int:
    """Returns how many importance samples of a batch of images (H, W, C) to draw at a time, to bound memory."""
    height, width, channels = image_shape
    outputs = height * width * model.likelihood.output_channels(channels)
    return max(1, min(samples, _CHUNK // (batch_size * outputs)))


def mean_squared_error(task: Task, key: Array, batch_size: int = BATCH) -> float:
    """Computes the mean over images and pixels of (x - E[x|z])², z ~ q(z|x)."""
    (errors,) = _joined(
        task, batch_size, lambda batch: (_squared_error(task.model, task.levels, task.params, batch, key),)
    )
    return float(np.mean(errors, dtype=np.float64))


def _joined(task: Task, batch_size: int, one: Callable[[Batch], Sequence[Array]]) -> list[np.ndarray]:
    """Applies a function to each batch and joins the results on every host, without the padding."""
    size = _per_batch(task, batch_size)
    share = size // jax.process_count()
    mine = slice(jax.process_index() * share, (jax.process_index() + 1) * share)
    parts = []
    for batch in in_batches(task.split, len(task.model.conditions), size, mine):
        found = one(put(shared_out(task.mesh), batch))
        parts.append(multihost_utils.process_allgather(tuple(found), tiled=True))
    return [np.concatenate(column)[: len(task.split)] for column in zip(*parts, strict=True)]


def _per_batch(task: Task, batch_size: int) -> int:
    """Returns the images per batch: a multiple of the number of devices, and not many more than the split has."""
    devices = task.mesh.size
    return devices * max(1, min(batch_size, len(task.split)) // devices)


def _example(task: Task, batch_size: int) -> Batch:
    """Returns a batch of this size, as it is sent to the devices."""
    batch = next(in_batches(task.split, len(task.model.conditions), _per_batch(task, batch_size)))
    sharding = shared_out(task.mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), batch)


def seen(images: Array, levels: int | None) -> Array:
    """Returns images as a model sees them when they are scored; nothing is drawn at random."""
    return observe(jax.random.key(0), images, levels, dynamic=False)


def noise_of(
    key: Array,
    rows: Array,
    samples: int,
    latents: int,
    first: ArrayLike = 0,
    of: Callable[[Array, tuple[int, ...]], Array] = jax.random.normal,
) -> Array:
    """Draws standard normal noise (K, B, L); each number depends on its row, its place and the key only.

    Args:
        key: a PRNG key.
        rows: the images' numbers, (B,), uint32.
        samples: the number of samples, K.
        latents: the number of latents, L.
        first: the first sample's number; it may be traced.
        of: a function of a key and a shape that draws the noise; another one gives another distribution.
    """

    def draw(number: Array, row: Array) -> Array:
        return of(jax.random.fold_in(jax.random.fold_in(key, row), number), (latents,))

    numbers = first + jnp.arange(samples)
    return jax.vmap(lambda number: jax.vmap(lambda row: draw(number, row))(rows))(numbers)


@functools.partial(jax.jit, static_argnums=(0, 1))
def batch_posterior(
    model: LatentModel, levels: int | None, params: chex.ArrayTree, batch: Batch, key: Array, raw: Array | None = None
) -> Posterior:
    """Computes the ``posterior`` of one batch, on the device."""
    noise = noise_of(key, batch.rows, 1, model.latents)
    log_likelihood, kl, q = model.apply(params, seen(batch.images, levels), noise, batch.given, raw, method="terms")
    return Posterior(log_likelihood, kl, q.mean, q.std)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _batch_gaussians(
    model: LatentModel, levels: int | None, params: chex.ArrayTree, batch: Batch, key: Array
) -> tuple[Gaussian, Array]:
    noise = noise_of(key, batch.rows, 1, model.latents)
    terms = model.apply(params, seen(batch.images, levels), noise, batch.given, method="terms")
    return terms.posterior, terms.kl


@functools.partial(jax.jit, static_argnums=(0, 1))
def _squared_error(model: LatentModel, levels: int | None, params: chex.ArrayTree, batch: Batch, key: Array) -> Array:
    x = seen(batch.images, levels)
    noise = noise_of(key, batch.rows, 1, model.latents)
    z = model.apply(params, x, noise, batch.given, method="draw").latents[0]
    return jnp.mean(jnp.square(x - model.apply(params, z, batch.given, method="mean")), axis=(1, 2, 3))


Logs = tuple[Array, Array]
"""log Σ w and log Σ w² over the importance samples so far, (B,) each."""

Loop = Callable[[Callable[[Logs, Any], Logs], range, Logs], Logs]
"""A loop like ``functools.reduce``: it applies a function to the result so far and each number in turn."""


def one_by_one(function: Callable[[Logs, Any], Logs], numbers: range, start: Logs) -> Logs:
    """Loops on the host, and waits for each call, because overlapping calls slow each other down on CPUs."""
    for number in numbers:
        start = jax.block_until_ready(function(start, number))
    return start


def scanned(function: Callable[[Logs, Any], Logs], numbers: range, start: Logs) -> Logs:
    """Loops inside a program."""
    return jax.lax.scan(lambda logs, number: (function(logs, number), None), start, jnp.asarray(numbers))[0]


def batch_evidence(
    model: LatentModel,
    levels: int | None,
    params: chex.ArrayTree,
    batch: Batch,
    key: Array,
    raw: Array | None,
    samples: int,
    chunk: int,
    loop: Loop,
) -> tuple[Array, Array]:
    """Computes the ``log_evidence`` of one batch, on the device.

    Args:
        model: the model.
        levels: the number of grey levels that the model sees, or None.
        params: its parameters.
        batch: the images.
        key: a PRNG key.
        raw: the likelihood's scalar, or None.
        samples: the number of samples, K.
        chunk: the number of samples drawn at a time, from ``samples_at_a_time``.
        loop: the loop over the chunks, ``one_by_one`` or ``scanned``.
    """

    def more(logs: Logs, drawn: Any) -> Logs:
        return batch_weights(model, levels, chunk, params, batch, key, raw, samples, drawn, logs)

    return _evidence(loop(more, range(0, samples, chunk), nothing_yet(len(batch.images))), samples)


def nothing_yet(images: int) -> Logs:
    """Returns the logs before the first sample."""
    return 2 * (jnp.full(images, -jnp.inf, jnp.float32),)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def batch_weights(
    model: LatentModel,
    levels: int | None,
    chunk: int,
    params: chex.ArrayTree,
    batch: Batch,
    key: Array,
    raw: Array | None,
    samples: ArrayLike,
    drawn: ArrayLike,
    logs: Logs,
) -> Logs:
    """Returns the logs after up to ``chunk`` more samples."""
    x = seen(batch.images, levels)
    noise = noise_of(key, batch.rows, chunk, model.latents, drawn)
    log_w = log_weights(model, params, x, noise, batch.given, raw).log_weights
    log_w = jnp.where(drawn + jnp.arange(chunk)[:, None] < samples, log_w, -jnp.inf)
    new = jax.nn.logsumexp(log_w, axis=0), jax.nn.logsumexp(2 * log_w, axis=0)
    return jnp.logaddexp(logs[0], new[0]), jnp.logaddexp(logs[1], new[1])


@jax.jit
def _evidence(logs: Logs, samples: ArrayLike) -> tuple[Array, Array]:
    """Returns the estimate and its standard error."""
    log_count = jnp.log(jnp.asarray(samples, jnp.float32))
    # The relative variance of the mean weight, (K Σ w² / (Σ w)² - 1) / (K - 1).
    variance = expm1(logs[1] - 2 * logs[0] + log_count) / (samples - 1)
    return logs[0] - log_count, jnp.sqrt(jnp.maximum(variance, 0))


def is_active(variance: Any) -> Any:
    """Whether a latent is active, given the variance of its posterior mean over the data."""
    return variance > IDLE


def mean_over(x: Array, counts: Array) -> Array:
    """Returns the mean over the images that count, inside a program; both arguments are (⌈N/B⌉, B)."""
    return jnp.sum(jnp.where(counts, x, 0)) / jnp.sum(counts)
