"""What a peer's distribution answers, beside what the library does."""

import jax
import numpy as np

import jaxvae as jv

LOC = np.float32([[0.5, -1.0, 2.0], [0.0, 1e-4, 300.0]])
RAW = np.float32([-2.0, 0.6, -240.0])
"""σ of the last is e^-120: no float32, so that only what goes by log σ is right."""
X = LOC + np.float32([[0.1, -0.2, 0.0], [1.0, 3.0, 0.0]])
NEAR = np.float32([1e-4, -1e-4, 1e-5])
"""Within 1e-4 of σ = 1: a difference of logs or of variances keeps no digit of the KL."""

STANDARD = jv.Gaussian(np.float32(0), np.float32(1), jv.direct_std)


def gaussian() -> jv.Gaussian:
    return jv.Gaussian(LOC, RAW)


def near() -> jv.Gaussian:
    return jv.Gaussian(np.zeros(3, np.float32), NEAR)


def same(got, want) -> None:
    jax.tree.map(np.testing.assert_array_equal, got, want)


def close(got, want) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), got, want)


NARROW, BESIDE = jv.Gaussian(np.float32(0), np.float32(-120), jv.softplus_std), np.float32([-1, 0, 1])
"""σ is e^-120, for which the peers' own distribution functions are NaN at the mean."""
TAILS = {"cdf": [0, 0.5, 1], "log_cdf": [-np.inf, np.log(0.5), 0]}
"""What they are at the points beside, and at the mean."""
