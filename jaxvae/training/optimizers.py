"""Optimizers with warm-up, decay and clipping, and natural gradients, as parts of optax's chains."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import chex
import jax
import optax

from jaxvae.gaussian import Gaussian
from jaxvae.natural import natural_gradient
from jaxvae.transforms import require

OPTIMIZERS: Mapping[str, Callable[[optax.ScalarOrSchedule], optax.GradientTransformation]] = MappingProxyType(
    {"adam": optax.adam, "sgd": lambda learning_rate: optax.sgd(learning_rate, momentum=0.9)}
)
"""Adam (Kingma & Ba 2015), and gradient descent with momentum (Polyak 1964)."""

DECAYS = ("constant", "cosine")
"""The learning rate's course after the warm-up."""


def learning_rate_schedule(peak: float, steps: int, *, warmup_steps: int = 0, decay: str = "cosine") -> optax.Schedule:
    """The learning rate by step: linear from 0 to ``peak``, then constant, or along a half cosine to 0.

    Args:
        peak: the highest learning rate, above 0.
        steps: of the whole training.
        warmup_steps: fewer than ``steps``.
        decay: a name in ``DECAYS``.

    Raises:
        ValueError: for a value that isn't allowed.
    """
    require(0 < peak < float("inf"), "learning_rate", peak, "above 0")
    require(0 <= warmup_steps < max(steps, 1), "warmup_steps", warmup_steps, f"from 0 to below the {steps} steps")
    require(decay in DECAYS, "learning_rate_decay", decay, " or ".join(DECAYS))
    if decay == "constant":
        after: optax.Schedule = optax.constant_schedule(peak)
    else:
        after = optax.cosine_decay_schedule(peak, max(1, steps - warmup_steps))
    if warmup_steps == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup_steps), after], [warmup_steps])


def make_optimizer(
    learning_rate: optax.ScalarOrSchedule, clip_norm: float | None = None, *, optimizer: str = "adam"
) -> optax.GradientTransformation:
    """An optimizer, behind clipping of the gradient's global norm (Pascanu et al. 2013) where it is given.

    Raises:
        ValueError: for an optimizer that isn't in ``OPTIMIZERS``, or a ``clip_norm`` that isn't above 0.
    """
    require(optimizer in OPTIMIZERS, "optimizer", optimizer, " or ".join(OPTIMIZERS))
    tx = OPTIMIZERS[optimizer](learning_rate)
    if clip_norm is None:
        return tx
    require(clip_norm > 0, "clip_norm", clip_norm, "above 0")
    return optax.chain(optax.clip_by_global_norm(clip_norm), tx)


def scale_by_fisher() -> optax.GradientTransformation:
    """Each ``Gaussian`` among the parameters gets its natural gradient (Amari 1998); other parameters keep theirs.

    For variational parameters that are optimized directly; behind a network use ``precondition`` instead. It stands
    first in a chain. Its update raises ValueError without ``params``.
    """

    def update(
        updates: chex.ArrayTree, state: optax.EmptyState, params: chex.ArrayTree | None = None
    ) -> tuple[chex.ArrayTree, optax.EmptyState]:
        if params is None:
            raise ValueError("scale_by_fisher needs the parameters: call update(gradients, state, params)")

        def scale(param: object, gradient: chex.ArrayTree) -> chex.ArrayTree:
            # A Gaussian that optax.partition left to another optimizer has no leaves.
            if isinstance(param, Gaussian) and jax.tree.leaves(param):
                return natural_gradient(param, gradient)
            return gradient

        return jax.tree.map(scale, params, updates, is_leaf=lambda x: isinstance(x, Gaussian)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
