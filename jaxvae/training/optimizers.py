"""Optimizers with warm-up, decay, clipping and natural gradients, as chains of optax."""

import itertools
import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxvae.arguments import require
from jaxvae.gaussian import Gaussian
from jaxvae.natural import natural_gradient

OPTIMIZERS = ("adam", "rmsprop", "sgd")
"""Adam (Kingma & Ba 2015), RMSProp (Tieleman & Hinton 2012), and gradient descent with momentum (Polyak 1964)."""

DECAYS = ("constant", "cosine", "drops", "stages")
"""How the learning rate decays after the warm-up."""


def stage_ends(epochs: int) -> list[int]:
    """The epochs after which the stages of 1, 3, 9, … epochs end: 1, 4, 13, …, below ``epochs``.

    >>> stage_ends(121)
    [1, 4, 13, 40]
    """
    ends = ((3**n - 1) // 2 for n in itertools.count(1))
    return list(itertools.takewhile(lambda end: end < epochs, ends))


def learning_rate_schedule(
    peak: float, steps: int, *, epochs: int = 1, warmup_steps: int = 0, decay: str = "cosine"
) -> optax.Schedule:
    """Makes the learning rate's schedule: a linear rise from 0 to ``peak``, then the decay.

    The decays are: ``constant``, none; ``cosine``, half a cosine to 0; ``drops``, a factor of 10^(-1/5) at 2/5 and at
    7/10 of the steps (pythae's reproductions); ``stages``, stages of 3^i epochs, i = 0, 1, …, with a tenth of the peak
    times 10^(1 - i/7), rounded to one decimal (Burda et al. 2016, code).

    Args:
        peak: the highest learning rate, above 0.
        steps: the number of steps of the whole training.
        epochs: the number of epochs in these steps, for ``stages``.
        warmup_steps: the number of steps of the rise, fewer than ``steps``.
        decay: a name in ``DECAYS``.

    Raises:
        ValueError: for a value that isn't allowed.
    """
    require(0 < peak < float("inf"), "learning_rate", peak, "above 0")
    require(0 <= warmup_steps < max(steps, 1), "warmup_steps", warmup_steps, f"from 0 to below the {steps} steps")
    require(decay in DECAYS, "learning_rate_decay", decay, " or ".join(DECAYS))
    if decay == "constant":
        after: optax.Schedule = optax.constant_schedule(peak)
    elif decay == "cosine":
        after = optax.cosine_decay_schedule(peak, max(1, steps - warmup_steps))
    elif decay == "drops":
        after = optax.piecewise_constant_schedule(peak, {round(share * steps): 10**-0.2 for share in (0.4, 0.7)})
    else:
        ends = stage_ends(epochs)
        rates = [optax.constant_schedule(peak * round(10 ** (1 - i / 7), 1) / 10) for i in range(len(ends) + 1)]
        after = optax.join_schedules(rates, [end * (steps // epochs) for end in ends])
    if warmup_steps == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup_steps), after], [warmup_steps])


class Adam(NamedTuple):
    """The settings of Adam.

    Attributes:
        b1: the decay of the first moment.
        eps: the number that is added to the root of the second moment.
        second_moment: the initial second moment; if it is above 0, the first steps are small. The bias correction, a
            division by 1 - b2^t, applies to it, too.
        weight_decay: the decoupled decay of matrices and kernels, in units of the learning rate; that of AdamW
            (Loshchilov & Hutter 2019, arXiv:1711.05101). Biases and a likelihood's own numbers don't decay.
    """

    b1: float = 0.9
    eps: float = 1e-8
    second_moment: float = 0.0
    weight_decay: float = 0.0


def make_optimizer(
    learning_rate: optax.ScalarOrSchedule,
    clip_norm: float | None = None,
    *,
    optimizer: str = "adam",
    adam: Adam | None = None,
) -> optax.GradientTransformation:
    """Makes an optimizer, which clips the gradient's global norm (Pascanu et al. 2013) first if a norm is given.

    Raises:
        ValueError: for an optimizer that isn't in ``OPTIMIZERS``, a ``clip_norm`` that isn't above 0, or numbers for
            Adam that aren't allowed.
    """
    require(optimizer in OPTIMIZERS, "optimizer", optimizer, " or ".join(OPTIMIZERS))
    adam = adam or Adam()
    decays = adam.weight_decay != 0
    require(optimizer == "adam" or not decays, "weight_decay", adam.weight_decay, f"0 for the optimizer {optimizer}")
    if optimizer == "adam":
        require(0 <= adam.weight_decay < math.inf, "weight_decay", adam.weight_decay, "at least 0 and finite")
        decayed = [optax.add_decayed_weights(adam.weight_decay, _is_matrix)] if decays else []
        tx = optax.chain(_scale_by_adam(adam), *decayed, optax.scale_by_learning_rate(learning_rate))
    elif optimizer == "rmsprop":
        tx = optax.rmsprop(learning_rate)
    else:
        tx = optax.sgd(learning_rate, momentum=0.9)
    if clip_norm is None:
        return tx
    require(clip_norm > 0, "clip_norm", clip_norm, "above 0")
    return optax.chain(optax.clip_by_global_norm(clip_norm), tx)


def _is_matrix(params: chex.ArrayTree) -> chex.ArrayTree:
    return jax.tree.map(lambda x: jnp.ndim(x) > 1, params)


def _scale_by_adam(adam: Adam) -> optax.GradientTransformation:
    require(0 <= adam.b1 < 1, "adam_b1", adam.b1, "at least 0 and below 1")
    require(0 < adam.eps < math.inf, "adam_eps", adam.eps, "above 0")
    require(0 <= adam.second_moment < math.inf, "adam_second_moment", adam.second_moment, "at least 0")
    tx = optax.scale_by_adam(b1=adam.b1, eps=adam.eps)

    def init(params: chex.ArrayTree) -> optax.ScaleByAdamState:
        state = tx.init(params)
        return state._replace(nu=jax.tree.map(lambda nu: jnp.full_like(nu, adam.second_moment), state.nu))

    return optax.GradientTransformation(init, tx.update)


def scale_by_fisher() -> optax.GradientTransformation:
    """Makes an optax transformation to natural gradients (Amari 1998) of each ``Gaussian`` among the parameters.

    Gradients of other parameters are unchanged. It is for variational parameters that are optimized directly; if a
    network computes them, use ``precondition``. Put it first in a chain. Its update raises ValueError if it gets no
    ``params``.
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
