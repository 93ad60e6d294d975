"""Gradient estimators of the bounds with less noise, which use only the path through z to q's parameters.

A sample z = mean + σ ε carries the gradient of q's parameters twice: through z (the path), and through log q(z|x)
itself (the score). The mean of the score is 0, or the score can be turned into a gradient through z. All functions here
are built on ``stop_parameters``, which leaves the path only. Shapes are ``(*B, *L)`` for q, ``(K, *B, *L)`` for z and
``(K, *B)`` for log-weights, where ``*B`` is any number of batch axes and ``*L`` any number of latent axes. The unit is
nats.

In the train step of a model with one layer of latents, the loss is computed as follows:

    z, tap = tapped(sample(key, q, (K,)))
    log_joint = log_likelihood(z) + log_prob(prior, z).sum(-1)
    loss = -jnp.mean(stl(log_joint, q, z))                          # one of
    loss = -jnp.mean(dreg(path_log_weights(log_joint, q, z), tap))  # these
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae.arguments import require, require_real, require_shapes
from jaxvae.gaussian import Gaussian, log_prob, standard_log_prob
from jaxvae.objectives.axes import sum_events
from jaxvae.objectives.importance import iwae, sampled_elbo
from jaxvae.special import compute_dtype

Latents = TypeVar("Latents")
Parameters = TypeVar("Parameters")


def stop_parameters(q: Parameters) -> Parameters:
    """Returns the same Gaussian, or all parameters of a model, as a constant.

    In the gradient of ``log_prob(stop_parameters(q), z)``, only the path through z is left.

    >>> q = Gaussian(1.0, 0.0)
    >>> jax.grad(lambda q: log_prob(stop_parameters(q), q.mean + 2 * q.std))(q).loc.tolist()
    -2.0
    >>> jax.grad(lambda q: log_prob(q, q.mean + 2 * q.std))(q).loc.tolist()
    0.0
    """
    return jax.tree.map(jax.lax.stop_gradient, q)


def sampled_kl(q: Gaussian, z: Array, p: Gaussian | None = None) -> Array:
    """Returns log q(z) - log p(z) elementwise, a Monte Carlo estimate of KL(q ‖ p) for z drawn from q.

    It is unbiased, and not always above 0. With ``stop_parameters(q)`` for q, its gradient is that of the path only.

    Args:
        q: Gaussians of any shape, e.g. (B, L).
        z: samples of q, e.g. (K, B, L).
        p: Gaussians that broadcast with q; by default, the standard normal.

    Returns:
        An array of the broadcast shape, float32 or float64.
    """
    log_prior = standard_log_prob(z) if p is None else log_prob(p, z)
    return jnp.subtract(*jnp.broadcast_arrays(log_prob(q, z), log_prior))


def path_log_weights(log_joint: Array, q: Gaussian, z: Array) -> Array:
    """Returns log p(x, z) - Σ log q(z|x), with q's parameters stopped.

    Args:
        log_joint: log p(x, z), ``(K, *B)``.
        q: q(z|x), ``(*B, *L)``.
        z: samples of q, ``(K, *B, *L)``.

    Returns:
        Log-weights of shape ``(K, *B)``.
    """
    require_shapes("(K > 0, *B), (K, *B, *L)", log_joint=log_joint, z=z)
    log_posterior = log_prob(stop_parameters(q), z)
    total = sum_events(log_posterior, log_joint.ndim)
    fits = log_posterior.ndim == z.ndim and total.shape == log_joint.shape
    require(fits, "q.shape", q.shape, f"one that broadcasts to z's, {z.shape}")
    return log_joint - total


def stl(log_joint: Array, q: Gaussian, z: Array) -> Array:
    """Returns the ELBO with the gradient of the path only, a method called sticking the landing.

    It is from Roeder et al. 2017, arXiv:1703.09194. The gradient is unbiased, because the score's mean is 0. At the
    exact posterior log w doesn't depend on z, and the gradient of q's parameters is 0 for every sample. Far from it,
    the score may have balanced some of the path's noise. (For IWAE's terms, the same gradient would be biased: see
    ``dreg``.)

    Args:
        log_joint: log p(x, z), ``(K, *B)``.
        q: q(z|x), ``(*B, *L)``.
        z: samples of q, ``(K, *B, *L)``.

    Returns:
        An array of shape ``(*B)``.
    """
    return sampled_elbo(path_log_weights(log_joint, q, z))


def tapped(z: Latents, batch_ndim: int = 1) -> tuple[Latents, Array]:
    """Returns the same z, and a tap, through which ``dreg`` weights the gradient that flows back through z.

    Use this z for the log-weights only, because every gradient that flows back through it is weighted. Only reverse
    mode is possible: ``jax.jvp`` raises TypeError.

    Args:
        z: an array ``(K, *B, *L)``, or a tree of such arrays.
        batch_ndim: the number of batch axes, which all leaves share; 0 inside ``vmap``, 2 for (K, B, T, L).

    Returns:
        z, and the tap: zeros of shape ``(K, *B)``. The tap's gradient is the weight minus 1, so that an unused tap does
            nothing.
    """
    leaves = jax.tree.leaves(z)
    require(len(leaves) > 0, "z", z, "an array, or a tree of arrays")
    require(isinstance(batch_ndim, int) and batch_ndim >= 0, "batch_ndim", batch_ndim, "an integer of at least 0")
    for leaf in leaves:
        require_real(z=leaf)
        first, own = (np.shape(x)[: 1 + batch_ndim] for x in (leaves[0], leaf))
        allowed = f"K and batch_ndim = {batch_ndim} batch axes, the same in all of z, and then the latents'"
        require(own == first and len(first) == 1 + batch_ndim, "z.shape", np.shape(leaf), allowed)
    # The zeros are made from z, so that they are placed on devices as z is.
    return _tapped(z, jnp.zeros_like(sum_events(leaves[0], 1 + batch_ndim), compute_dtype(*leaves)))


@jax.custom_vjp
def _tapped(z: Latents, zeros: Array) -> tuple[Latents, Array]:
    return z, zeros


def _tapped_forward(z: Latents, zeros: Array) -> tuple[tuple[Latents, Array], None]:
    return (z, zeros), None


def _tapped_backward(_: None, cotangents: tuple[Latents, Array]) -> tuple[Latents, Array]:
    by_z, excess = cotangents
    weight = 1 + excess

    def weighed(x: Array) -> Array:
        return (x * weight.reshape(weight.shape + (1,) * (x.ndim - weight.ndim))).astype(x.dtype)

    return jax.tree.map(weighed, by_z), jnp.zeros_like(excess)


_tapped.defvjp(_tapped_forward, _tapped_backward)


def dreg(log_weights: Array, tap: Array) -> Array:
    """Returns the bound of IWAE, with the doubly reparameterized gradient (Tucker et al. 2019, arXiv:1810.04152).

    With w̃ = w / Σ w, the gradient for p's parameters θ is Σ w̃ ∂log w/∂θ, as for plain IWAE. For q's parameters φ it
    is Σ w̃² (∂log w/∂z) (∂z/∂φ), which is unbiased, and 0 at the exact posterior. The second factor w̃ is applied where
    the gradient leaves the tapped z, so that the decoder is run and differentiated once.

    The log-weights may depend on φ through the tapped z only: take log q with stopped parameters
    (``path_log_weights``). A hierarchical q(z₂|x) q(z₁|z₂, x) needs its networks twice. First, samples are drawn with
    φ, each z_l from the untapped ones above. Then all of them are tapped together. Last, log q of the tapped samples is
    computed with φ stopped, but the z that it is conditioned on is not stopped. This is unbiased, too. Bauer & Mnih
    2021 (arXiv:2101.11046) also treat the scores of p's parameters and those of lower layers; that isn't possible with
    a weight at z.

    Args:
        log_weights: ``(K, *B)``.
        tap: the tap from ``tapped``, ``(K, *B)``.

    Returns:
        The values of ``iwae``, ``(*B)``.

    >>> from jaxvae.gaussian import reparameterize
    >>> def bound(loc):
    ...     q = Gaussian(loc, jnp.zeros((1, 1)))
    ...     z, tap = tapped(reparameterize(q, jnp.array([[[-1.0]], [[1.0]]])))
    ...     return dreg(path_log_weights(log_prob(Gaussian(0.0, 0.0), z).sum(-1), q, z), tap).sum()
    >>> float(jax.grad(bound)(jnp.zeros((1, 1)))[0, 0])  # q is the posterior
    0.0
    """
    require_shapes("(K > 0, *B), (*T)", log_weights=log_weights, tap=tap)
    allowed = f"log_weights', {np.shape(log_weights)}, as tapped makes it by its batch_ndim"
    require(np.shape(tap) == np.shape(log_weights), "tap.shape", np.shape(tap), allowed)
    return _dreg(log_weights, tap)


@jax.custom_vjp
def _dreg(log_weights: Array, tap: Array) -> Array:
    del tap
    return iwae(log_weights)


def _dreg_forward(log_weights: Array, tap: Array) -> tuple[Array, tuple[Array, Array]]:
    return _dreg(log_weights, tap), (jax.nn.softmax(log_weights, axis=0), tap)


def _dreg_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    weight, tap = residuals
    return weight * cotangent[None], (weight - 1).astype(tap.dtype)


_dreg.defvjp(_dreg_forward, _dreg_backward)
