"""Data whose truth is known: a linear Gaussian model with the best fit in closed form, and a noise that grows.

What comes out of these is numbers of any sign, not pixels in [0, 1]. All is drawn from raw words of NumPy's Philox and
computed in float64, so that it is the same on every machine, to the rounding of float32.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.dataset import Dataset, assemble

NAME = "linear-gaussian"
_SIDE, _SCALES, _STD = 4, (2.0, 1.5, 1.2, 1.0), 0.5
LATENTS = len(_SCALES)
SUGGESTED: Mapping[str, Any] = MappingProxyType(
    {
        "binarization": "none",
        "likelihood": "gaussian_learned",
        "likelihood_std": 1.0,
        "latents": LATENTS,
        "hidden": (),
        "init_std": 0.5,
        "batch_size": 400,  # of 2,000: an epoch that sees every image has less noise
        "epochs": 1600,
        "learning_rate": 0.05,
    }
)
"""The training under which a linear VAE reaches the best fit of these data, as fields of ``TrainConfig``."""
_TRAIN, _TEST, _TOY = range(3)  # streams of a seed


class ExactPosterior(NamedTuple):
    """p(z|x) = N(mean, covariance): a mean for each x, (N, L), and the covariance that all of them share, (L, L)."""

    mean: np.ndarray
    covariance: np.ndarray


class LinearGaussian(NamedTuple):
    """z ~ N(0, I), x = W z + μ + σ ε, ε ~ N(0, I): probabilistic PCA's model (Tipping & Bishop 1999).

    Attributes:
        mean: μ, (D,).
        weights: W, (D, L).
        variance: σ².
    """

    mean: np.ndarray
    weights: np.ndarray
    variance: float

    def log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """log p(x) = log N(x; μ, W Wᵀ + σ² I), in nats, of each row of x (N, D): an array of shape (N,)."""
        covariance = self.weights @ self.weights.T + self.variance * np.eye(len(self.mean))
        centred = x - self.mean
        distance = np.sum(centred * np.linalg.solve(covariance, centred.T).T, axis=1)
        return -0.5 * (distance + np.linalg.slogdet(2 * math.pi * covariance).logabsdet)

    def posterior(self, x: np.ndarray) -> ExactPosterior:
        """p(z|x) = N(M⁻¹ Wᵀ (x - μ), σ² M⁻¹), M = Wᵀ W + σ² I, of each row of x (N, D).

        Where W's columns are orthogonal the covariance is diagonal, so that a diagonal Gaussian can be exact.
        """
        inverse = np.linalg.inv(self.weights.T @ self.weights + self.variance * np.eye(self.weights.shape[1]))
        return ExactPosterior((x - self.mean) @ self.weights @ inverse, self.variance * inverse)


def probabilistic_pca(x: np.ndarray, latents: int) -> LinearGaussian:
    """The most likely linear Gaussian model of x, in closed form (Tipping & Bishop 1999).

    μ is the mean, σ² the mean of the D - L smallest eigenvalues of the covariance (that with 1/N), and
    W = U (Λ - σ² I)^½ of the L largest, Λ, and their eigenvectors, U: orthogonal columns, longest first. W R is as
    likely for any rotation R. No VAE with a linear decoder and one σ has a larger mean of log p(x) on x.

    Args:
        x: (N, D); computed in float64.
        latents: L, below D and N - 1.

    Raises:
        ValueError: for another shape, or a number of latents that isn't allowed.
    """
    require(x.ndim == 2, "x.shape", x.shape, "(N, D)")
    largest = min(x.shape[0] - 1, x.shape[1]) - 1
    require(1 <= latents <= largest, "latents", latents, f"1 to {largest} for x of shape {x.shape}")
    x = x.astype(np.float64)
    mean = x.mean(axis=0)
    values, vectors = np.linalg.eigh((x - mean).T @ (x - mean) / len(x))  # rising
    variance = float(values[:-latents].mean())
    kept = slice(-1, -latents - 1, -1)
    return LinearGaussian(mean, vectors[:, kept] * np.sqrt(values[kept] - variance), variance)


def true_linear_gaussian() -> LinearGaussian:
    """What ``linear_gaussian`` draws from: 16 dimensions, 4 latents, σ = 0.5.

    W's columns are Walsh functions of a 4x4 image, which are orthogonal, with lengths 2, 1.5, 1.2 and 1: far enough
    apart that 2,000 images tell them from one another, and near enough that none is much harder to learn. The
    posterior's standard deviations, 0.24 to 0.45, lie within the range of every registered parameterization.
    """
    walsh = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, -1, 1], [1, -1, 1, -1]]) / 2
    patterns = ((0, 1), (1, 0), (1, 1), (2, 2))
    columns = [s * np.outer(walsh[i], walsh[j]).ravel() for s, (i, j) in zip(_SCALES, patterns, strict=True)]
    return LinearGaussian(np.linspace(-1, 1, _SIDE**2), np.stack(columns, axis=1), _STD**2)


def linear_gaussian(train: int = 2000, test: int = 1000, seed: int = 0) -> Dataset:
    """Draws of ``true_linear_gaussian`` as images of 4x4x1 float32, of any sign: not to be binarized.

    What there is to learn is known: ``probabilistic_pca`` of the training images, with 4 latents, has the largest
    likelihood, and under it every bound of log p(x) can be exact.

    Args:
        train: the number of training images.
        test: the number of test images.
        seed: of the draws.

    Raises:
        ValueError: for a seed outside 0..2^64-1, or no images.

    >>> linear_gaussian().train.images.shape
    (2000, 4, 4, 1)
    """
    truth = true_linear_gaussian()

    def draw(count: int, stream: int) -> np.ndarray:
        bits = _bits(seed, stream)
        z, noise = _normal(bits, (count, LATENTS)), _normal(bits, (count, _SIDE**2))
        x = z @ truth.weights.T + truth.mean + _STD * noise
        return x.astype(np.float32).reshape(-1, _SIDE, _SIDE, 1)

    return assemble(NAME, {"train": draw(train, _TRAIN), "test": draw(test, _TEST)}, {}, levels=None)


class Toy(NamedTuple):
    """Points of a regression, with the truth at them: all (N,) float32.

    Attributes:
        x: the inputs.
        y: the outputs.
        mean: E[y|x].
        std: σ(x) of y.
    """

    x: np.ndarray
    y: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def heteroscedastic_toy(n: int, seed: int) -> Toy:
    """y = x sin x + 0.3 ε₁ + 0.3 x ε₂, x ~ U(0, 10), ε ~ N(0, 1) (Detlefsen et al. 2019, arXiv:1906.03260).

    So σ(x) = 0.3 √(1 + x²).

    Args:
        n: the number of points.
        seed: of the draws.

    Raises:
        ValueError: for a seed outside 0..2^64-1, or no points.
    """
    require(n >= 1, "n", n, "at least 1")
    bits = _bits(seed, _TOY)
    x, (one, two) = 10 * _uniform(bits, (n,)), _normal(bits, (2, n))
    mean = x * np.sin(x)
    columns = x, mean + 0.3 * one + 0.3 * x * two, mean, 0.3 * np.sqrt(1 + x**2)
    return Toy(*(column.astype(np.float32) for column in columns))


def _bits(seed: int, stream: int) -> np.random.Philox:
    require(0 <= seed < 2**64, "seed", seed, "at least 0 and below 2**64")
    return np.random.Philox(key=np.array([seed, stream], np.uint64))


def _uniform(bits: np.random.Philox, shape: tuple[int, ...]) -> np.ndarray:
    """(k + 1/2) / 2^52 with k uniform: neither 0 nor 1."""
    words = bits.random_raw(math.prod(shape)).reshape(shape)
    return ((words >> np.uint64(12)) + 0.5) / 2**52


def _normal(bits: np.random.Philox, shape: tuple[int, ...]) -> np.ndarray:
    """√(-2 log u) (cos 2πv, sin 2πv) of two uniform numbers are two normal ones (Box & Muller 1958)."""
    size = math.prod(shape)
    u, v = _uniform(bits, (2, -(-size // 2)))
    radius, angle = np.sqrt(-2 * np.log(u)), 2 * math.pi * v
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size].reshape(shape)
