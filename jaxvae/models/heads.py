"""The last layer of an encoder, which maps features to a Gaussian."""

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
    """Returns max(x, low); below ``low`` the gradient is passed on, unless descent would lead further out.

    A network's output therefore gets the gradient of projected gradient descent at the nearest allowed point (Bertsekas
    1999, section 2.3). The gradient of the maximum itself is 0 below ``low``, so that an output there would never
    return.
    """
    return jnp.maximum(x, low)


def _project_forward(x: Array, low: float) -> tuple[Array, Array]:
    return project(x, low), x < low


def _project_backward(low: float, outside: Array, gradient: Array) -> tuple[Array]:
    return (jnp.where(outside & (gradient > 0), 0, gradient),)


project.defvjp(_project_forward, _project_backward)


class GaussianHead(nn.Module):
    """A dense layer from features to (loc, raw), in float32 whatever the features' dtype.

    It starts with the same means and the same σ = init_std under every parameterization, so that later differences are
    due to the parameterization alone. The kernel of raw is zero, and its bias is ``raw_from_std(init_std)``. The bias
    of the mean is zero, and its kernel is LeCun's. (If that kernel were zero, latents would carry no information at
    first, and many would never learn to carry any: on MNIST that costs 17 nats after 8 epochs.)

    Attributes:
        latents: the number of latents L.
        parameterization: how σ arises from raw, or the name of a registered parameterization.
        init_std: σ at the start; it must lie in the parameterization's range.
        raw_min: the lower bound onto which raw is projected, or None; see ``project``.
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
        """Returns a Gaussian of shape (..., L) for features (..., F).

        Raises:
            ValueError: at initialization, if ``init_std`` is out of the parameterization's range.
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
