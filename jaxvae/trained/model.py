"""The trained model: one interface to encode, decode, sample and score, for all kinds of models.

Images must have the form of the training data: the model's ``contract`` says how they are converted, and others raise
an error. Arrays of any number of images are computed in batches. Traced images (``jax.jit``, ``jax.vmap``,
``jax.grad``) are computed all at once, and only their shape and dtype can be checked.
"""

import dataclasses
import functools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae.arguments import require, require_real
from jaxvae.data import DataContract
from jaxvae.data.missing import unmasked
from jaxvae.gaussian import Gaussian
from jaxvae.likelihoods import Likelihood
from jaxvae.models import LatentModel, log_prob_of_observed, log_total
from jaxvae.progress import StepProgress
from jaxvae.trained import imputation
from jaxvae.training import TrainConfig
from jaxvae.training.scoring import (
    BATCH,
    Batch,
    batch_evidence,
    batch_posterior,
    batch_weights,
    evidence_sizes,
    most_that_fit,
    nothing_yet,
    one_by_one,
    samples_at_a_time,
    scanned,
    score_keys,
    temporaries,
)

_VOTES = 101
"""The number of draws of a category, of which the most frequent one is used."""

_Beside = tuple[Any, Any]
"""Labels and covariates, as the caller gives them."""


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("outputs", "raw"), meta_fields=("likelihood", "contract", "log_size")
)
@dataclasses.dataclass(frozen=True)
class Decoded:
    """The distribution p(x|z) of images (..., H, W, C) for latents (..., L); a pytree.

    Attributes:
        outputs: the decoder's outputs, (..., H, W, C k).
        raw: the likelihood's own parameters, or None.
        likelihood: the family whose parameters the outputs are.
        contract: the forms in which x may be given.
        log_size: the log of the total, for ``mean`` and ``sample`` of counts whose mean grows with their total.
    """

    outputs: Array
    raw: Array | None
    likelihood: Likelihood
    contract: DataContract
    log_size: float | None = None

    @property
    def mean(self) -> Array:
        """E[x|z], (..., H, W, C): in [0, 1], except for real data, counts and tables, which are in their own units.

        For a category of a table, it is the most probable one.
        """
        return self.likelihood.mean(self.outputs, self.raw, self.log_size)

    def sample(self, key: Array) -> Array:
        """Draws an x for each z, (..., H, W, C)."""
        return self.likelihood.sample(key, self.outputs, self.raw, self.log_size)

    def log_prob(self, x: ArrayLike) -> Array:
        """log p(x|z) in nats of each number of x, (..., H, W, C), 0 of missing ones; x as the training data came."""
        seen = _seen(self.contract, x)
        if self.contract.missing:
            return log_prob_of_observed(self.likelihood, self.outputs, seen, self.raw)
        return self.likelihood.log_prob(
            self.outputs, seen, self.raw, None if self.log_size is None else log_total(seen)
        )


class ImageScores(NamedTuple):
    """The scores of images in nats, as NumPy arrays (N,).

    Attributes:
        elbo: log_likelihood - kl, a lower bound of log p(x).
        log_likelihood: log p(x|z), for one sample of q(z|x).
        kl: KL(q(z|x) ‖ p(z)).
        log_evidence: the estimate of log p(x) by importance sampling.
        error: its Monte Carlo standard error; NaN for one sample.
    """

    elbo: np.ndarray
    log_likelihood: np.ndarray
    kl: np.ndarray
    log_evidence: np.ndarray
    error: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model with its parameters and its data's contract, from ``jv.load``.

    Attributes:
        config: the configuration that it was trained with.
        contract: the contract of its data.
        module: the Flax module.
        params: its parameters, ``{"params": ...}``, as ``module.apply`` takes them.
        fitted: the likelihood's scalar, if it isn't a parameter but was fitted to the training data.
        step: the training step of the parameters.
        mean: the mean image of the training data, at which the decoder started; or None.
    """

    config: TrainConfig
    contract: DataContract
    module: LatentModel
    params: chex.ArrayTree
    fitted: Array | None
    step: int
    mean: np.ndarray | None = None

    def __repr__(self) -> str:
        kind, count = type(self.module).__name__, sum(x.size for x in jax.tree.leaves(self.params))
        return (
            f"TrainedModel({kind} of {self.module.latents} latents, {count:,} parameters, after {self.step:,} steps "
            f"on {Path(self.config.dataset).name}: {self.contract.description})"
        )

    def seen(self, images: ArrayLike) -> Array:
        """Returns images as the model sees them, (..., H, W, C), binarized if the model is of binary data."""
        return _seen(self.contract, images)

    def encode(
        self, images: ArrayLike, labels: Any = None, covariates: Any = None, *, progress: bool = False
    ) -> Gaussian:
        """Returns q(z|x), (..., L); in a hierarchy, that of each latent given the means of the latents above it.

        With a flow, this is the Gaussian before the flow, while ``latents`` are after it.

        Args:
            images: (..., H, W, C), in the form of the training data.
            labels: the images' classes, (...), or one for all, by number or name; for a conditional model.
            covariates: for a model with covariates, a mapping by name, such as a DataFrame, to values (...) or one
                value for all; or an array (..., M) of numbers, with codes for levels.
            progress: whether to show progress on stderr.

        Raises:
            ValueError: for images unlike the training data, or labels or covariates that are missing or unknown.
        """
        return self.infer(images, labels, covariates, progress=progress)[0]

    def latents(
        self, images: ArrayLike, labels: Any = None, covariates: Any = None, *, progress: bool = False
    ) -> Array:
        """Returns the latents (..., L) of images: their means, after any flow; arguments are those of ``encode``."""
        return self.infer(images, labels, covariates, progress=progress)[1]

    def infer(
        self, images: ArrayLike, labels: Any = None, covariates: Any = None, *, progress: bool = False
    ) -> tuple[Gaussian, Array]:
        """Returns the results of ``encode`` and ``latents``, computed together."""
        return self._mapped(self._program(_encode), images, (labels, covariates), progress)

    def decode(self, latents: ArrayLike, labels: Any = None, covariates: Any = None) -> Decoded:
        """Returns p(x|z) of latents (..., L); labels and covariates are as for ``encode``.

        Raises:
            ValueError: for another number of latents, or labels or covariates that are missing or unknown.
        """
        require_real(latents=latents)
        shape, count = np.shape(latents), self.module.latents
        require(shape[-1:] == (count,), "latents.shape", shape, f"(..., {count})")
        return self._decoded(latents, self.contract.given(labels, covariates, shape[:-1]))

    def _decoded(self, latents: ArrayLike, given: Any) -> Decoded:
        z = jnp.asarray(latents, jnp.float32)
        outputs = _decode(self.module, self.params, z, None if given is None else jnp.asarray(given))
        return Decoded(outputs, self._raw, self.module.likelihood, self.contract, self.module.log_size)

    @property
    def _raw(self) -> Any:
        learned = self.module.likelihood.raw_start(self.module.channels) is not None
        return self.params["params"]["likelihood_raw"] if learned else self.fitted

    def reconstruct(self, images: ArrayLike, labels: Any = None, covariates: Any = None) -> Array:
        """Returns E[x|z] at the ``latents`` of images, (..., H, W, C); arguments and errors are those of ``encode``."""
        return self._mapped(self._program(_reconstruct), images, (labels, covariates))

    def prior(self, key: Array, count: int) -> Array:
        """Draws latents (count, L) from p(z)."""
        require(isinstance(count, int) and count >= 1, "count", count, "at least 1")
        noise = jax.random.normal(key, (count, self.module.latents))
        return self.module.apply(self.params, noise, method="generate")

    def sample(
        self, key: Array, count: int, labels: Any = None, covariates: Any = None, *, drawn: bool = False
    ) -> Array:
        """Draws latents from p(z) and returns their E[x|z], (count, H, W, C).

        Args:
            key: a PRNG key.
            count: the number of images.
            labels: for a conditional model, (count,) or one for all, by number or name; by default, its classes in
                turn.
            covariates: as for ``encode``, (count,) or one for all.
            drawn: whether to draw x, too, instead of returning its mean.

        Raises:
            ValueError: for a count below 1, unknown labels, or covariates that are missing or unknown.
        """
        latents = self.prior(key, count)
        if labels is None and self.contract.conditional:
            labels = np.arange(count) % self.contract.classes
        decoded = self.decode(latents, labels, covariates)
        return decoded.sample(jax.random.fold_in(key, 1)) if drawn else decoded.mean

    def interpolate(
        self, start: ArrayLike, end: ArrayLike, steps: int, labels: Any = None, covariates: Any = None
    ) -> Array:
        """Returns E[x|z] on the line between the latents of two images, (steps, H, W, C), including both ends.

        Args:
            start: an image (H, W, C).
            end: another image.
            steps: the number of images, at least 2.
            labels: for a conditional model, one label for both, or two, where the second applies from the middle on.
            covariates: the covariates of both images or of each, in the same way.

        Raises:
            ValueError: as for ``encode``.
        """
        require(isinstance(steps, int) and steps >= 2, "steps", steps, "at least 2")
        images = jnp.stack([self.contract.arranged(x) for x in (start, end)])
        first, last = self.latents(images, labels, covariates)
        share = jnp.linspace(0, 1, steps)[:, None]
        given = self.contract.given(labels, covariates, (2,))
        if given is not None:
            given = given[(np.linspace(0, 1, steps) >= 0.5).astype(int)]
        return self._decoded((1 - share) * first[None] + share * last[None], given).mean

    def elbo(
        self,
        images: ArrayLike,
        labels: Any = None,
        covariates: Any = None,
        *,
        key: Array | None = None,
        progress: bool = False,
    ) -> Array:
        """Returns the ELBO of each image in nats, (...): log p(x|z) for one sample of q(z|x), minus the KL.

        Args:
            images: as for ``encode``.
            labels: as for ``encode``.
            covariates: as for ``encode``.
            key: the PRNG key of the noise; by default, a fixed one. An image's noise depends on that image only.
            progress: as for ``encode``.
        """
        log_likelihood, kl = self._terms(images, (labels, covariates), key, progress)
        return log_likelihood - jnp.sum(kl, axis=-1)

    def terms(
        self, images: ArrayLike, labels: Any = None, covariates: Any = None, *, key: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Returns the ELBO, log p(x|z) and KL of each image, (...) each; arguments are those of ``elbo``."""
        log_likelihood, kl = self._terms(images, (labels, covariates), key, False)
        return log_likelihood - jnp.sum(kl, axis=-1), log_likelihood, jnp.sum(kl, axis=-1)

    def kl(
        self,
        images: ArrayLike,
        labels: Any = None,
        covariates: Any = None,
        *,
        key: Array | None = None,
        progress: bool = False,
    ) -> Array:
        """Returns KL(q(z|x) ‖ p(z)) of each image and latent in nats, (..., L); arguments are those of ``elbo``."""
        return self._terms(images, (labels, covariates), key, progress)[1]

    def _terms(self, images: ArrayLike, beside: _Beside, key: Array | None, progress: bool) -> tuple[Array, Array]:
        key = score_keys()[1] if key is None else key
        return self._mapped(self._program(_score, key, self.fitted), images, beside, progress)

    def log_evidence(
        self,
        images: ArrayLike,
        labels: Any = None,
        covariates: Any = None,
        *,
        samples: int = 1000,
        key: Array | None = None,
        progress: bool = False,
    ) -> Array:
        """log p(x) of each image in nats, (...), from below by importance sampling (Burda et al. 2016, eq. 8).

        Args:
            images: as for ``encode``.
            labels: as for ``encode``.
            covariates: as for ``encode``.
            samples: the number of samples of q(z|x) for each image, which are drawn in chunks.
            key: as for ``elbo``.
            progress: as for ``encode``.

        Raises:
            ValueError: as for ``encode``; or for less than one sample.
        """
        return self._evidence(images, (labels, covariates), samples, key, progress)[0]

    def _evidence(
        self, images: ArrayLike, beside: _Beside, samples: int, key: Array | None, progress: bool
    ) -> tuple[Array, Array]:
        require(isinstance(samples, int) and samples >= 1, "samples", samples, "at least 1")
        key = score_keys()[2] if key is None else key

        chunks: dict[int, int] = {}

        def needed(batch: Batch, chunk: int) -> int:
            size = len(batch.images)
            seen = jax.eval_shape(functools.partial(_observed, self.contract), batch)
            more = (self.module, None, chunk, self.params, seen, key, self.fitted, samples, 0, nothing_yet(size))
            return temporaries(batch_weights, *more)

        def fit(example: Callable[[int], Batch], size: int) -> int:
            size, chunk = evidence_sizes(
                self.module, self.contract.image_shape, samples, size, lambda size, chunk: needed(example(size), chunk)
            )
            chunks[size] = chunk
            return size

        def estimate(batch: Batch) -> tuple[Array, Array]:
            size = len(batch.images)
            chunk = chunks.get(size) or samples_at_a_time(self.module, self.contract.image_shape, samples, size)
            loop = scanned if isinstance(batch.images, jax.core.Tracer) else one_by_one
            seen = _observed(self.contract, batch)
            return batch_evidence(self.module, None, self.params, seen, key, self.fitted, samples, chunk, loop)

        return self._mapped(_Program(estimate, fit), images, beside, progress)

    def impute(
        self,
        images: ArrayLike,
        labels: Any = None,
        covariates: Any = None,
        *,
        draws: int | None = None,
        samples: int = 1000,
        key: Array | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """Returns the images with their missing entries (NaN) filled; observed entries don't change in any bit.

        They are filled with E[x_missing | x_observed], or, for categories, with the most frequent of 101 draws; on
        request, with draws from p(x_missing | x_observed). Both use weighted samples of q(z|x_observed), and become
        more exact with more samples (see ``trained.imputation``).

        Args:
            images: as for ``encode``, with NaN, or masked arrays of ``numpy.ma``.
            labels: as for ``encode``.
            covariates: as for ``encode``.
            draws: the number of draws, M, each of which fills all entries; None for the mean.
            samples: the number of samples of q(z|x) for each image.
            key: as for ``elbo``.
            progress: as for ``encode``.

        Returns:
            An array of the images' shape and dtype; with ``draws``, an array (M, ...) of such images.

        Raises:
            ValueError: as for ``encode``; for less than one sample or draw; or for a model without missing entries.
            ArithmeticError: if a number to fill in isn't finite.
        """
        require(isinstance(samples, int) and samples >= 1, "samples", samples, "at least 1")
        require(draws is None or (isinstance(draws, int) and draws >= 1), "draws", draws, "at least 1, or None")
        described = f"one of {self.contract.description}"
        require(self.contract.missing, "model", described, "one that was trained with missing entries")
        key = score_keys()[2] if key is None else key
        given = unmasked(images)
        found = np.asarray(self._mapped(self._imputing(draws, samples, key), given, (labels, covariates), progress))
        found = found[..., None, :, :, :] if draws is None else found
        # The original place of each number, for any order of axes.
        places = np.ravel(self.contract.arranged(np.arange(given.size).reshape(given.shape)))
        missing, whole = np.isnan(given), np.empty((draws or 1, *given.shape), given.dtype)
        for number, one in enumerate(whole):
            values = np.empty(given.size, np.float32)
            values[places] = np.ravel(self.contract.as_given(found[..., number, :, :, :]))
            one[...] = np.where(missing, values.reshape(given.shape).astype(given.dtype), given)
        if not np.isfinite(whole).all():
            raise ArithmeticError("what fills missing entries must be finite; the model diverged, or data are far off")
        if draws is not None:
            return whole
        categories = [i for i, feature in enumerate(self.contract.features) if feature.levels]
        if np.isnan(given)[..., categories].any():
            drawn = self.impute(images, labels, covariates, draws=_VOTES, samples=samples, key=key, progress=progress)
            for i in categories:
                counts = [(drawn[..., i] == code).sum(axis=0) for code in range(len(self.contract.features[i].levels))]
                whole[0][..., i] = np.argmax(counts, axis=0)
        return whole[0]

    def _imputing(self, draws: int | None, samples: int, key: Array) -> "_Program":
        """Makes the program of ``impute``, from a batch to means (B, H, W, C) or draws (B, M, H, W, C)."""
        module, shape = self.module, self.contract.image_shape
        function = imputation.mean_with if draws is None else imputation.picked_with

        def start(size: int) -> Any:
            if draws is None:
                return imputation.no_mean(size, shape)
            return imputation.none_picked(size, draws, module.latents)

        def chunk(size: int) -> int:
            return samples_at_a_time(module, shape, samples, size)

        def needed(batch: Batch) -> int:
            size = len(batch.images)
            seen = jax.eval_shape(functools.partial(_observed, self.contract), batch)
            return temporaries(function, module, chunk(size), self.params, seen, key, samples, 0, start(size))

        def run(batch: Batch) -> Array:
            size, seen = len(batch.images), _observed(self.contract, batch)
            state = start(size)
            for drawn in range(0, samples, chunk(size)):
                more = function(module, chunk(size), self.params, seen, key, samples, drawn, state)
                state = jax.block_until_ready(more)  # as ``one_by_one``
            if draws is None:
                return state.value
            return imputation.drawn_from(module, self.params, seen, key, state, self._raw)

        return _Program(run, lambda example, size: most_that_fit(size, lambda size: needed(example(size))))

    def _program(self, function: Any, *rest: Any) -> "_Program":
        """Makes a jitted program from a function of the model, a batch and the rest."""
        first = (self.module, self.contract, self.params)

        def fit(example: Callable[[int], Batch], size: int) -> int:
            return most_that_fit(size, lambda size: temporaries(function, *first, example(size), *rest))

        return _Program(lambda batch: function(*first, batch, *rest), fit)

    def score(
        self,
        images: ArrayLike,
        labels: Any = None,
        covariates: Any = None,
        *,
        samples: int = 1000,
        key: Array | None = None,
        progress: bool = False,
    ) -> ImageScores:
        """Computes all scores of images (N, H, W, C); arguments and errors as for ``log_evidence``."""
        log_likelihood, kl = map(np.asarray, self._terms(images, (labels, covariates), key, progress))
        kl = kl.sum(axis=-1)
        value, error = map(np.asarray, self._evidence(images, (labels, covariates), samples, key, progress))
        return ImageScores(log_likelihood - kl, log_likelihood, kl, value, error)

    def _mapped(self, program: "_Program", images: ArrayLike, beside: _Beside, progress: bool = False) -> Any:
        """Applies a program to images, some at a time, and returns a tree of arrays (..., ·).

        Batches have few different sizes, and the last one is filled up, so that few programs are compiled.
        """
        x = self.contract.arranged(images)
        shape = x.shape[:-3]
        given = self.contract.given(*beside, shape)
        given = None if given is None else given.reshape(-1, given.shape[-1])
        if isinstance(x, jax.core.Tracer) or isinstance(given, jax.core.Tracer):
            found = program.run(Batch(None, jnp.reshape(x, (-1, *self.contract.image_shape)), given, None))
            return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), found)
        flat = np.asarray(x).reshape(-1, *self.contract.image_shape)
        some = None if given is None else np.asarray(given)
        count, grid = len(flat), self.contract.grid(flat)

        def batch(rows: slice, size: int) -> Batch:
            x = _filled(self.contract.checked(flat[rows], grid), size)
            return Batch(None, x, None if some is None else _filled(some[rows], size), None)

        size = program.fit(lambda size: batch(slice(1), size), min(BATCH, 1 << max(0, count - 1).bit_length()))
        whole: Any = None
        with StepProgress(count, noun="image") if progress else nullcontext() as shown:
            for start in range(0, max(count, 1), size):
                end = min(start + size, count)
                found = program.run(batch(slice(start, end), size))
                if whole is None:  # filled batch by batch, so that results need no second copy
                    whole = jax.tree.map(lambda x: np.empty((count, *x.shape[1:]), x.dtype), found)
                for to, x in zip(jax.tree.leaves(whole), jax.tree.leaves(found), strict=True):
                    to[start:end] = np.asarray(x)[: end - start]
                if shown is not None:
                    shown.update(end, {})
        return jax.tree.map(lambda x: jnp.asarray(x.reshape(*shape, *x.shape[1:])), whole)


class _Program(NamedTuple):
    """A pure function of a batch, and a function that finds a batch size that fits in memory, from examples by size."""

    run: Callable[[Batch], Any]
    fit: Callable[[Callable[[int], Batch], int], int]


def _filled(x: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([x, np.zeros((size - len(x), *x.shape[1:]), x.dtype)])


def _seen(contract: DataContract, images: ArrayLike) -> Array:
    """Returns all given images as the model sees them; it checks them unless they are traced."""
    given = contract.arranged(images)
    if not isinstance(given, jax.core.Tracer):
        given = np.asarray(given)
        given = contract.checked(given, contract.grid(given))
    return _observed(contract, Batch(None, given, None, None)).images


@functools.partial(jax.jit, static_argnums=0)
def _observed(contract: DataContract, batch: Batch) -> Batch:
    """Returns the batch as the model sees it, each image with the number that its noise depends on."""
    return batch._replace(rows=contract.content(batch.images), images=contract.seen(batch.images))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _encode(
    module: LatentModel, contract: DataContract, params: chex.ArrayTree, batch: Batch
) -> tuple[Gaussian, Array]:
    draws = module.apply(params, contract.seen(batch.images), batch.given, method="at_means")
    return draws.posterior, draws.latents[0]


@functools.partial(jax.jit, static_argnums=0)
def _decode(module: LatentModel, params: chex.ArrayTree, latents: Array, given: Array | None) -> Array:
    return module.apply(params, latents, given, method="decode")


@functools.partial(jax.jit, static_argnums=(0, 1))
def _reconstruct(module: LatentModel, contract: DataContract, params: chex.ArrayTree, batch: Batch) -> Array:
    latents = _encode(module, contract, params, batch)[1]
    return module.apply(params, latents, batch.given, method="mean")


@functools.partial(jax.jit, static_argnums=(0, 1))
def _score(
    module: LatentModel,
    contract: DataContract,
    params: chex.ArrayTree,
    batch: Batch,
    key: Array,
    fitted: Array | None,
) -> tuple[Array, Array]:
    """Returns log p(x|z) for one sample of q(z|x), (B,), and the KL of each latent, (B, L)."""
    terms = batch_posterior(module, None, params, _observed(contract, batch), key, fitted)
    return terms.log_likelihood, terms.kl
