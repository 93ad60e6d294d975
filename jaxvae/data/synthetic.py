"""Data with a known truth: a linear Gaussian model with its best fit in closed form, and a regression toy.

The results are numbers of any sign, not pixels in [0, 1]. They are drawn from raw words of NumPy's Philox and computed
in float64, so that they are the same on every machine, up to float32 rounding.
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
        "batch_size": 400,  # a divisor of 2,000, as an epoch that sees every image has less noise
        "epochs": 1600,
        "learning_rate": 0.05,
    }
)
"""The fields of ``TrainConfig`` with which a linear VAE reaches the best fit of these data."""
_TRAIN, _TEST, _TOY = range(3)  # random streams of a seed


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
        """Returns log p(x) = log N(x; μ, W Wᵀ + σ² I), in nats, for each row of x (N, D), as an array (N,)."""
        covariance = self.weights @ self.weights.T + self.variance * np.eye(len(self.mean))
        centred = x - self.mean
        distance = np.sum(centred * np.linalg.solve(covariance, centred.T).T, axis=1)
        return -0.5 * (distance + np.linalg.slogdet(2 * math.pi * covariance).logabsdet)

    def posterior(self, x: np.ndarray) -> ExactPosterior:
        """Returns p(z|x) = N(M⁻¹ Wᵀ (x - μ), σ² M⁻¹), M = Wᵀ W + σ² I, for each row of x (N, D).

        If W's columns are orthogonal, the covariance is diagonal, so that a diagonal Gaussian can be exact.
        """
        inverse = np.linalg.inv(self.weights.T @ self.weights + self.variance * np.eye(self.weights.shape[1]))
        return ExactPosterior((x - self.mean) @ self.weights @ inverse, self.variance * inverse)


def probabilistic_pca(x: np.ndarray, latents: int) -> LinearGaussian:
    """Fits the linear Gaussian model of x with the maximum likelihood, in closed form (Tipping & Bishop 1999).

    μ is the mean, and σ² is the mean of the D - L smallest eigenvalues of the covariance (with 1/N). W = U (Λ - σ² I)^½
    has orthogonal columns, the longest first, where Λ are the L largest eigenvalues and U their eigenvectors. W R has
    the same likelihood for any rotation R. No VAE with a linear decoder and one σ has a larger mean of log p(x) on x.

    Args:
        x: (N, D); computed in float64.
        latents: L, less than D and N - 1.

    Raises:
        ValueError: for another shape, or a number of latents that isn't allowed.
    """
    require(x.ndim == 2, "x.shape", x.shape, "(N, D)")
    largest = min(x.shape[0] - 1, x.shape[1]) - 1
    require(1 <= latents <= largest, "latents", latents, f"1 to {largest} for x of shape {x.shape}")
    x = x.astype(np.float64)
    mean = x.mean(axis=0)
    values, vectors = np.linalg.eigh((x - mean).T @ (x - mean) / len(x))  # ascending
    variance = float(values[:-latents].mean())
    kept = slice(-1, -latents - 1, -1)
    return LinearGaussian(mean, vectors[:, kept] * np.sqrt(values[kept] - variance), variance)


def true_linear_gaussian() -> LinearGaussian:
    """Returns the model from which ``linear_gaussian`` draws: 16 dimensions, 4 latents, σ = 0.5.

    W's columns are Walsh functions of a 4x4 image, which are orthogonal, with lengths 2, 1.5, 1.2 and 1. These differ
    enough for 2,000 images to distinguish them, but not so much that one is far harder to learn. The posterior's
    standard deviations, 0.24 to 0.45, are within the range of every registered parameterization.
    """
    walsh = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, -1, 1], [1, -1, 1, -1]]) / 2
    patterns = ((0, 1), (1, 0), (1, 1), (2, 2))
    columns = [s * np.outer(walsh[i], walsh[j]).ravel() for s, (i, j) in zip(_SCALES, patterns, strict=True)]
    return LinearGaussian(np.linspace(-1, 1, _SIDE**2), np.stack(columns, axis=1), _STD**2)


def linear_gaussian(train: int = 2000, test: int = 1000, seed: int = 0) -> Dataset:
    """Draws from ``true_linear_gaussian`` images of 4x4x1 in float32, with any sign, which can't be binarized.

    The best fit is known: ``probabilistic_pca`` of the training images, with 4 latents, has the largest likelihood, and
    for it every bound of log p(x) can be exact.

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
    """The points of a regression with the true distribution there, all (N,) float32.

    Attributes:
        x: the inputs.
        y: the outputs.
        mean: E[y|x].
        std: the standard deviation σ(x) of y.
    """

    x: np.ndarray
    y: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def heteroscedastic_toy(n: int, seed: int) -> Toy:
    """Draws y = x sin x + 0.3 ε₁ + 0.3 x ε₂, x ~ U(0, 10), ε ~ N(0, 1) (Detlefsen et al. 2019, arXiv:1906.03260).

    Therefore σ(x) = 0.3 √(1 + x²).

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
    """Draws (k + 1/2) / 2^52 with k uniform, which is never 0 or 1."""
    words = bits.random_raw(math.prod(shape)).reshape(shape)
    return ((words >> np.uint64(12)) + 0.5) / 2**52


def _normal(bits: np.random.Philox, shape: tuple[int, ...]) -> np.ndarray:
    """Draws two normal numbers, √(-2 log u) (cos 2πv, sin 2πv), from two uniform ones (Box & Muller 1958)."""
    size = math.prod(shape)
    u, v = _uniform(bits, (2, -(-size // 2)))
    radius, angle = np.sqrt(-2 * np.log(u)), 2 * math.pi * v
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size].reshape(shape)
