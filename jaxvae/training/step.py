"""One update, and many of them in one program: pure functions of a state and a batch.

They ask for no more than a loss ``(params, batch, key) -> (scalar, metrics)``, so that Linen, NNX, Equinox or
hand-written models train alike. ``params`` and ``batch`` are any pytrees, ``metrics`` a dict of arrays.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

Metrics = Mapping[str, Array]
LossFn = Callable[[chex.ArrayTree, Any, Array], tuple[Array, Metrics]]
Step = Callable[["TrainState", Any], tuple["TrainState", Metrics]]


class TrainState(NamedTuple):
    """All that training carries from step to step; the position in the data follows from ``step``.

    Attributes:
        step: steps tried so far, int32.
        params: the model's parameters.
        opt_state: the optimizer's state.
        ema: the moving average of the parameters, or None.
        key: the PRNG key of the run; step t uses ``fold_in(key, t)``.
        skipped: updates skipped so far, because a gradient wasn't finite.
        skipped_in_row: of these, the last ones in a row.
    """

    step: Array
    params: chex.ArrayTree
    opt_state: optax.OptState
    ema: chex.ArrayTree | None
    key: Array
    skipped: Array
    skipped_in_row: Array

    @property
    def evaluated(self) -> chex.ArrayTree:
        """The parameters to evaluate: their average, where there is one."""
        return self.params if self.ema is None else self.ema


def init_state(
    params: chex.ArrayTree, tx: optax.GradientTransformation, key: Array, *, ema: bool = False
) -> TrainState:
    """The state before the first step; with ``ema``, one that averages the parameters."""
    zeros = [jnp.zeros((), jnp.int32) for _ in range(3)]  # three buffers: donated ones can't be shared
    average = jax.tree.map(jnp.copy, params) if ema else None
    return TrainState(zeros[0], params, tx.init(params), average, key, zeros[1], zeros[2])


def train_step(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    *,
    ema_decay: float | None = None,
    measure: Callable[[chex.ArrayTree], Metrics] = lambda grads: {},
) -> Step:
    """The update, not yet jitted: for use inside ``scan``, ``vmap`` or a program of one's own.

    An update whose loss or gradient's norm isn't finite is skipped: parameters, optimizer and average stay as they
    were, and the state counts it. The metrics are those of the loss with ``loss``, ``gradient_norm`` (before clipping)
    and ``skipped`` (1 or 0).

    Args:
        loss_fn: ``(params, batch, key) -> (scalar, metrics)``, pure.
        tx: an optax optimizer.
        ema_decay: d in average ← d average + (1 - d) params, for a state made with ``ema=True``.
        measure: more metrics, of the gradients.

    Returns:
        ``(state, batch) -> (state, metrics)``.
    """

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        (loss, metrics), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params, batch, key)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)

        def update(params: chex.ArrayTree, opt_state: optax.OptState, ema: chex.ArrayTree | None) -> tuple:
            updates, new_state = tx.update(grads, opt_state, params)
            # Else the two branches of a skipped update would differ, of which JAX speaks less clearly.
            chex.assert_trees_all_equal_shapes_and_dtypes(opt_state, new_state)
            params = optax.apply_updates(params, updates)
            if ema_decay is not None:
                ema = jax.tree.map(lambda average, new: ema_decay * average + (1 - ema_decay) * new, ema, params)
            return params, new_state, ema

        params, opt_state, ema = _update_if(finite, update, state.params, state.opt_state, state.ema)
        skipped = jnp.where(finite, 0, 1)
        new = TrainState(
            state.step + 1,
            params,
            opt_state,
            ema,
            state.key,
            state.skipped + skipped,
            jnp.where(finite, 0, state.skipped_in_row + 1),
        )
        return new, {**metrics, **measure(grads), "loss": loss, "gradient_norm": norm, "skipped": skipped}

    return step


def make_train_step(loss_fn: LossFn, tx: optax.GradientTransformation, *, ema_decay: float | None = None) -> Step:
    """``train_step``, jitted; the state passed in is donated, i.e. not to be used again."""
    return jax.jit(train_step(loss_fn, tx, ema_decay=ema_decay), donate_argnums=0)


def _update_if(finite: Array, update: Callable[..., tuple], *old: Any) -> tuple:
    """``update(*old)`` where finite, else ``old``."""

    def select(finite: Array, *old: Any) -> tuple:
        return jax.tree.map(lambda new, kept: jnp.where(finite, new, kept), update(*old), old)

    def branch(finite: Array, *old: Any) -> tuple:
        return jax.lax.cond(finite, update, lambda *kept: kept, *old)

    # For a select, XLA on CPU copies the optimizer's state; for a branch, a GPU makes the host wait.
    return jax.lax.platform_dependent(finite, *old, cpu=branch, default=select)


class Sums(NamedTuple):
    """Metrics added up over the steps whose update was made, and the number of these."""

    metrics: Metrics
    updates: Array

    def means(self) -> dict[str, Any]:
        """On the host: each metric's mean; NaN where no update was made."""
        metrics, count = jax.device_get((self.metrics, self.updates))
        return {name: float(value) / int(count) if count else float("nan") for name, value in metrics.items()}


def zero_sums(step: Step, state: TrainState, batch: Any) -> Sums:
    """Sums of no step yet; ``state`` and ``batch`` may be shapes."""
    shapes = jax.eval_shape(step, state, batch)[1]
    return Sums(jax.tree.map(lambda m: jnp.zeros(m.shape, m.dtype), shapes), jnp.zeros((), jnp.int32))


def summing_step(step: Step) -> Callable[[TrainState, Sums, Any], tuple[TrainState, Sums]]:
    """A step that adds its metrics to the sums, if its update is made."""

    def summed(state: TrainState, sums: Sums, batch: Any) -> tuple[TrainState, Sums]:
        state, metrics = step(state, batch)
        done = metrics["skipped"] == 0
        added = jax.tree.map(lambda s, m: s + jnp.where(done, m, 0), sums.metrics, metrics)
        return state, Sums(added, sums.updates + done)

    return summed


def make_train_loop(
    step: Step, get_batch: Callable[[Any, Array], Any], *, max_skipped: int, fused: bool = True
) -> Callable[[TrainState, Sums, Any, ArrayLike], tuple[TrainState, Sums]]:
    """Many steps on data that stay on the device.

    Args:
        step: from ``train_step``.
        get_batch: ``(data, step) -> batch``, pure.
        max_skipped: skipped updates in a row after which the loop ends.
        fused: one program for all steps, or one for each. On CPUs XLA runs convolutions inside a loop 10 to 50 times
            slower than outside, and several times slower where calls overlap, so that there each is waited for.

    Returns:
        ``(state, sums, data, stop) -> (state, sums)``, which goes on until ``state.step`` is ``stop``; one trace
        serves for all stops. State and sums passed in are donated.
    """
    summed = summing_step(step)

    def one(state: TrainState, sums: Sums, data: Any) -> tuple[TrainState, Sums]:
        return summed(state, sums, get_batch(data, state.step))

    def ahead(state: TrainState, stop: ArrayLike) -> Array:
        return (state.step < stop) & (state.skipped_in_row < max_skipped)

    def run(state: TrainState, sums: Sums, data: Any, stop: ArrayLike) -> tuple[TrainState, Sums]:
        return jax.lax.while_loop(lambda carry: ahead(carry[0], stop), lambda carry: one(*carry, data), (state, sums))

    if fused:
        return jax.jit(run, donate_argnums=(0, 1))
    jitted = jax.jit(one, donate_argnums=(0, 1))

    def run_one_by_one(state: TrainState, sums: Sums, data: Any, stop: ArrayLike) -> tuple[TrainState, Sums]:
        while ahead(state, stop):
            state, sums = jitted(state, sums, data)
        return state, sums

    return run_one_by_one
