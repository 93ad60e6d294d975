"""The VAE whose every number has a closed form: a linear decoder, Gaussian pixels, and the exact posterior.

p(z) = N(0, 1), p(x|z) = N(b + W z, σ²), so that log p(x) = log N(x; b, W Wᵀ + σ²). W's columns are orthogonal, so
that the posterior's covariance (1 + WᵀW / σ²)⁻¹ is diagonal.
"""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from jaxvae.data import Split
from jaxvae.likelihoods import FixedGaussian
from jaxvae.models import VAE, GaussianHead
from jaxvae.models.networks import MLPDecoder, MLPEncoder
from jaxvae.training.scoring import Task

SHAPE, STD, BIAS = (2, 2, 1), 0.1, 0.5
W = np.array([[0.2, 0.1], [0.2, -0.1], [0.2, 0.1], [0.2, -0.1]])
VARIANCE = 1 / (1 + np.sum(np.square(W), axis=0) / STD**2)
"""Of the posterior, (L,)."""


def mesh(devices: int) -> Mesh:
    return jax.make_mesh((devices,), ("data",), devices=jax.devices()[:devices], axis_types=(AxisType.Auto,))


def images(count: int, seed: int = 0) -> Split:
    """Draws from the model, rounded to 256 grey levels."""
    rng = np.random.default_rng(seed)
    x = BIAS + rng.normal(size=(count, 2)) @ W.T + STD * rng.normal(size=(count, 4))
    return Split(np.uint8(np.clip(np.round(255 * x), 0, 255)).reshape(count, *SHAPE), None)


def pixels(split: Split) -> np.ndarray:
    """As the model sees them, (N, D)."""
    return split.images.reshape(len(split), -1) / 255


def posterior_mean(x: np.ndarray) -> np.ndarray:
    return (x - BIAS) @ W * VARIANCE / STD**2


def log_evidence(x: np.ndarray) -> np.ndarray:
    covariance = W @ W.T + STD**2 * np.eye(4)
    square = np.sum((x - BIAS) * np.linalg.solve(covariance, (x - BIAS).T).T, axis=1)
    return -(square + np.linalg.slogdet(covariance)[1] + 4 * np.log(2 * np.pi)) / 2


def log_evidence_of_observed(x: np.ndarray) -> np.ndarray:
    """log p of what isn't NaN in rows (N, D)."""
    found = []
    for row in x:
        there = ~np.isnan(row)
        covariance = (W @ W.T + STD**2 * np.eye(4))[np.ix_(there, there)]
        square = (row[there] - BIAS) @ np.linalg.solve(covariance, row[there] - BIAS)
        found.append(-(square + np.linalg.slogdet(covariance)[1] + there.sum() * np.log(2 * np.pi)) / 2)
    return np.array(found)


def conditional(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the variance of each number of rows (N, D) given those that aren't NaN, of which they are 0."""
    covariance, means, variances = W @ W.T + STD**2 * np.eye(4), x.copy(), np.zeros_like(x)
    for row, mean, variance in zip(x, means, variances, strict=True):
        there = ~np.isnan(row)
        gain = np.linalg.solve(covariance[np.ix_(there, there)], covariance[np.ix_(there, ~there)]).T
        mean[~there] = BIAS + gain @ (row[there] - BIAS)
        variance[~there] = np.diag(covariance[np.ix_(~there, ~there)] - gain @ covariance[np.ix_(there, ~there)])
    return means, variances


def module(*, missing: bool = False) -> VAE:
    likelihood, layers = FixedGaussian(STD), ((), "tanh")
    decoder, encoder = MLPDecoder(SHAPE, (BIAS,), *layers), MLPEncoder(*layers)
    return VAE(likelihood, (), decoder, encoder, GaussianHead(2), missing=missing)


def params(widen: float = 1.0, shift: float = 0.0, w: np.ndarray = W) -> dict:
    """The model's parameters; the posterior's σ is ``widen`` times, its mean ``shift`` off, what it should be."""
    kernel = W * VARIANCE / STD**2
    layers = {
        "head": {
            "loc": {"kernel": kernel, "bias": shift - BIAS * kernel.sum(axis=0)},
            "raw": {"kernel": np.zeros((4, 2)), "bias": np.log(VARIANCE * widen**2)},
        },
        "decoder": {"outputs": {"kernel": w.T, "bias": np.full(4, BIAS)}},
    }
    return {"params": jax.tree.map(np.float32, layers)}


def task(split: Split, parameters: dict | None = None, devices: int = 1) -> Task:
    return Task(module(), parameters or params(), split, 256, mesh(devices))
