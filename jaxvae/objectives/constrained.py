"""Constraints by Lagrange multipliers: the minimum of L subject to c ≤ 0 is a saddle point of L + Σ λ c.

The multipliers are parameters beside the model's. Their gradient is the constraint itself, and they ascend it.
``optax.partition`` gives model and multipliers their own optimizers, so that the train step stays as it is.

>>> params = {"model": jnp.zeros(()), "multipliers": jnp.zeros(1)}
>>> labels = {name: name for name in params}
>>> tx = optax.partition({"model": optax.sgd(0.1), "multipliers": dual_ascent(0.1)}, labels)
>>> def loss(params):  # x² where x ≥ 1
...     return lagrangian(params["model"] ** 2, 1 - params["model"][None], params["multipliers"])
>>> state = tx.init(params)
>>> for _ in range(200):
...     updates, state = tx.update(jax.grad(loss)(params), state, params)
...     params = optax.apply_updates(params, updates)
>>> round(float(params["model"]), 3), round(float(params["multipliers"][0]), 3)
(1.0, 2.0)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike

from jaxvae.arguments import require, require_real, require_shapes
from jaxvae.objectives.axes import Axes, split_axes


def lagrangian(loss: Array, constraints: Array, multipliers: Array) -> Array:
    """Returns L + Σ λ c, to be minimized over the model and maximized over λ ≥ 0 (Kuhn & Tucker 1951).

    Args:
        loss: L, a scalar.
        constraints: c, of any shape; c ≤ 0 is feasible.
        multipliers: λ, of the same shape.

    Returns:
        A scalar, whose gradient with respect to λ is c.

    >>> float(lagrangian(jnp.array(3.0), jnp.array([0.5, -1.0]), jnp.array([2.0, 0.0])))
    4.0
    """
    require_shapes("()", loss=loss)
    require_real(constraints=constraints, multipliers=multipliers)
    shape = np.shape(constraints)
    require(np.shape(multipliers) == shape, "multipliers.shape", np.shape(multipliers), f"constraints', {shape}")
    return loss + jnp.sum(multipliers * constraints)


def lower_bound_violation(x: Array, bound: ArrayLike, event_axes: Axes = -1) -> Array:
    """Returns the maximum of bound - x over the batch for each latent; it is at most 0 if all examples have x ≥ bound.

    One multiplier bounds all examples: at the saddle point it is the sum of the multipliers that the examples would
    need. (The mean of max(0, bound - x) is never below 0, so that with it λ could only grow.)

    Args:
        x: an array of any shape, e.g. raw if raw is σ.
        bound: a scalar.
        event_axes: the axes of the latents, e.g. (1, 2, 3) for (B, H, W, C); the others are the batch's.

    Returns:
        An array of the shape of the latents' axes.

    >>> lower_bound_violation(jnp.array([[0.5, 2.0], [1.0, 3.0]]), 1.0).tolist()
    [0.5, -1.0]
    """
    require_shapes("(*B), ()", x=x, bound=bound)
    shape = np.shape(x)
    batch, _ = split_axes(shape, event_axes)
    require(all(shape[axis] != 0 for axis in batch), "x.shape", shape, "of batch axes that aren't empty")
    return jnp.max(jnp.asarray(bound, jnp.result_type(x, 1.0)) - x, axis=batch)


def reconstruction_constraint(distortion: Array, tolerance: ArrayLike, event_axes: Axes | None = None) -> Array:
    """Returns the mean distortion over the batch, minus the tolerance (Rezende & Viola 2018, arXiv:1810.00597).

    In the paper it is ‖x - g(z)‖² - κ², i.e. squared errors with the tolerance κ²; negative log-likelihoods with a
    tolerance in nats are possible as well. The loss beside it is the KL alone, and λ takes the place of 1/β.

    Args:
        distortion: ``(B,)``, summed over the event axes; or of any shape, with ``event_axes``.
        tolerance: a scalar.
        event_axes: the axes of the event, which are summed; the others are the batch's. It is required if the
            distortion has more than one axis, and is () for sequences (B, T) that are summed already.

    Returns:
        A scalar, at most 0 if the tolerance is kept.

    >>> float(reconstruction_constraint(jnp.array([1.0, 4.0]), 2.0))
    0.5
    """
    require_shapes("(*B > 0), ()", distortion=distortion, tolerance=tolerance)
    shape = np.shape(distortion)
    told = event_axes is not None or len(shape) <= 1
    require(told, "event_axes", event_axes, f"given for a distortion of shape {shape}: the axes to sum, or ()")
    _, events = split_axes(shape, () if event_axes is None else event_axes)
    return jnp.mean(jnp.sum(distortion, axis=events)) - tolerance


def dual_ascent(rate: float) -> optax.GradientTransformation:
    """Returns an optimizer that updates λ ← max(0, λ + rate c) (Arrow, Hurwicz & Uzawa 1958).

    c is the gradient of the Lagrangian with respect to λ.

    Raises:
        ValueError: for a rate that isn't above 0.
    """
    require_shapes("()", rate=rate)
    require(0 < rate < float("inf"), "rate", rate, "above 0")
    return optax.chain(optax.scale(rate), optax.keep_params_nonnegative())


class GecoState(NamedTuple):
    """The moving averages of the constraints, and the number of updates so far."""

    average: Any
    step: Array


def geco(rate: float, decay: float = 0.99, low: float = 1e-6, high: float = 1e6) -> optax.GradientTransformation:
    """Returns an optimizer that updates λ ← λ exp(rate C) (Rezende & Viola 2018, algorithm 1).

    C is the moving average of the constraint c: it is c in the first step, and decay C + (1 - decay) c in later ones. λ
    starts at 1 in the paper; a λ of 0 is set to ``low`` first.

    Args:
        rate: the step size, above 0.
        decay: the decay of the average, in [0, 1); α in the paper.
        low: the lower bound of λ, above 0, from which λ can rise again; chosen for this library.
        high: the upper bound of λ, above ``low``; chosen for this library.

    Raises:
        ValueError: for a value that isn't allowed.
    """
    require_shapes("(), (), (), ()", rate=rate, decay=decay, low=low, high=high)
    require(0 < rate < float("inf"), "rate", rate, "above 0")
    require(0 <= decay < 1, "decay", decay, "in [0, 1)")
    require(0 < low < float("inf"), "low", low, "above 0")
    require(low < high < float("inf"), "high", high, f"above low = {low} and finite")

    def init(multipliers: Any) -> GecoState:
        return GecoState(jax.tree.map(jnp.zeros_like, multipliers), jnp.zeros((), jnp.int32))

    def update(constraints: Any, state: GecoState, multipliers: Any = None) -> tuple[Any, GecoState]:
        if multipliers is None:
            raise ValueError("geco needs the multipliers: call update(gradients, state, params)")
        weight = jnp.where(state.step == 0, 0.0, decay)
        average = jax.tree.map(
            lambda old, c: (weight * old + (1 - weight) * c).astype(old.dtype), state.average, constraints
        )

        def change(multiplier: Array, constraint: Array) -> Array:
            new = jnp.maximum(multiplier, low) * jnp.exp(rate * constraint)
            return jnp.clip(new, low, high) - multiplier

        return jax.tree.map(change, multipliers, average), GecoState(average, state.step + 1)

    return optax.GradientTransformation(init, update)
