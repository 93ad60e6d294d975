"""The last layer of an encoder, from features to a Gaussian."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jaxvae.gaussian import Gaussian
from jaxvae.natural import precondition
from jaxvae.parameterizations import Parameterization, as_parameterization, log_variance


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def project(x: Array, low: float) -> Array:
    """max(x, low), whose gradient is passed on below, except where descent would lead further out.

    So a network's output takes steps of projected gradient descent, from the nearest allowed point and back to it
    (Bertsekas 1999, section 2.3). The gradient of the maximum itself is 0 outside, so that an output there would never
    return.
    """
    return jnp.maximum(x, low)


def _project_forward(x: Array, low: float) -> tuple[Array, Array]:
    return project(x, low), x < low


def _project_backward(low: float, outside: Array, gradient: Array) -> tuple[Array]:
    return (jnp.where(outside & (gradient > 0), 0, gradient),)


project.defvjp(_project_forward, _project_backward)


class GaussianHead(nn.Module):
    """A dense layer to (loc, raw), in float32 whatever the features' dtype.

    It starts with the same means and the same σ = init_std under every parameterization, so that later differences are
    due to the parameterization alone. Raw's kernel is zero and its bias ``raw_from_std(init_std)``; the mean's bias is
    zero, and its kernel LeCun's. (With a kernel of zero, latents would carry no information at first, and many would
    never learn to: on MNIST that costs 17 nats after 8 epochs.)

    Attributes:
        latents: the number of latents L.
        parameterization: how σ arises from raw, or the name of a registered one.
        init_std: σ at the start; must lie in the parameterization's range.
        raw_min: the lower bound onto which raw is projected; see ``project``.
        preconditioned: whether gradients that flow back into (loc, raw) are divided by their Fisher metric.

    >>> q, _ = GaussianHead(4).init_with_output(jax.random.key(0), jnp.ones((3, 8)))
    >>> q.shape, float(q.std[0, 0])
    ((3, 4), 1.0)
    """

    latents: int
    parameterization: Parameterization = log_variance
    init_std: float = 1.0
    raw_min: float | None = None
    preconditioned: bool = False

    def __post_init__(self) -> None:
        self.parameterization = as_parameterization(self.parameterization)
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Array) -> Gaussian:
        """Features (..., F) to a Gaussian of shape (..., L).

        Raises:
            ValueError: at initialization, where ``init_std`` is out of the parameterization's range.
        """
        features = features.astype(jnp.float32)
        loc = nn.Dense(self.latents, kernel_init=self._loc_kernel, name="loc")
        raw = nn.Dense(self.latents, kernel_init=nn.initializers.zeros, bias_init=self._raw_bias, name="raw")
        outputs = raw(features)
        if self.raw_min is not None:
            outputs = project(outputs, self.raw_min)
        q = Gaussian(loc(features), outputs, self.parameterization)
        return precondition(q) if self.preconditioned else q

    def _loc_kernel(self, key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        mean = nn.initializers.lecun_normal()(key, shape, dtype)
        return self.parameterization.loc_from_mean(mean, self._raw_bias(key, shape, dtype))

    def _raw_bias(self, key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        del key
        with jax.ensure_compile_time_eval():  # so that a bad init_std is refused under jit, too
            raw = self.parameterization.raw_from_std(self.init_std)
        return jnp.full(shape, raw, dtype)
