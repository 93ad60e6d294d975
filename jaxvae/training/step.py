"""Train steps, and loops of many steps in one program, as pure functions of a state and a batch.

They only need a loss ``(params, batch, key) -> (scalar, metrics)``, so that Linen, NNX, Equinox and hand-written models
are trained in the same way. ``params`` and ``batch`` are any pytrees, ``metrics`` a dict of arrays. A model may have
arrays that change without being trained, such as the statistics of batch normalization; it has a loss
``(params, model_state, batch, key) -> (scalar, metrics, model_state)``.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import chex
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from jaxvae.training.checks import require_alike, require_arrays, require_trainable

Metrics = Mapping[str, Array]
LossFn = (
    Callable[[chex.ArrayTree, Any, Array], tuple[Array, Metrics]]
    | Callable[[chex.ArrayTree, chex.ArrayTree, Any, Array], tuple[Array, Metrics, chex.ArrayTree]]
)
Step = Callable[["TrainState", Any], tuple["TrainState", Metrics]]
P = ParamSpec("P")
R = TypeVar("R")


class TrainState(NamedTuple):
    """The state of training between two steps; the position in the data follows from ``step``.

    Attributes:
        step: the number of steps so far, with skipped updates, int32.
        params: the model's parameters.
        opt_state: the optimizer's state.
        ema: the moving average of the parameters, or None.
        key: the PRNG key of the run; step t uses ``fold_in(key, t)``.
        skipped: the number of updates skipped so far because a gradient wasn't finite.
        skipped_in_row: the number of updates skipped in a row, up to the last step.
        model_state: the arrays that the loss takes and returns besides the parameters, or None.
    """

    step: Array
    params: chex.ArrayTree
    opt_state: optax.OptState
    ema: chex.ArrayTree | None
    key: Array
    skipped: Array
    skipped_in_row: Array
    model_state: chex.ArrayTree | None = None

    @property
    def evaluated(self) -> chex.ArrayTree:
        """The parameters to evaluate: their average, if there is one."""
        return self.params if self.ema is None else self.ema


def init_state(
    params: chex.ArrayTree,
    tx: optax.GradientTransformation,
    key: Array,
    *,
    ema: bool = False,
    model_state: chex.ArrayTree | None = None,
) -> TrainState:
    """Makes the state before the first step from copies, because a step donates a state's arrays.

    Args:
        params: the arrays of floats to train.
        tx: an optax optimizer.
        key: a PRNG key.
        ema: whether to average the parameters.
        model_state: arrays that aren't trained, if the loss takes and returns such arrays.

    Raises:
        TypeError: for a parameter that isn't an array of floats, or a model state with leaves that aren't arrays.
        ValueError: for Linen's or NNX's batch statistics among the parameters.
    """
    require_trainable(params)
    require_arrays(model_state=model_state)
    zero = jnp.zeros((), jnp.int32)
    state = TrainState(zero, params, tx.init(params), params if ema else None, key, zero, zero, model_state)
    return jax.tree.map(jnp.copy, state)


def train_step(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    *,
    ema_decay: float | None = None,
    measure: Callable[[chex.ArrayTree], Metrics] = lambda grads: {},
) -> Step:
    """Makes a train step that isn't jitted, for use inside ``scan``, ``vmap`` or your own program.

    An update is skipped if the loss or the gradient's norm isn't finite, or a number of the model state would no longer
    be finite. Then parameters, optimizer, average and model state don't change, and the state counts it. The metrics
    are those of the loss, and ``loss``, ``gradient_norm`` (before clipping) and ``skipped`` (1 or 0).

    An optimizer that needs more than gradients gets it: the loss (``value``), the gradient (``grad``), and the loss as
    a function of the parameters, with this step's batch and key (``value_fn``; Sophia's ``obj_fn`` is the same, and
    SAM's ``grad_fn`` is its gradient).

    Args:
        loss_fn: ``(params, batch, key) -> (scalar, metrics)``, pure; for a state made with a ``model_state``,
            ``(params, model_state, batch, key) -> (scalar, metrics, model_state)``.
        tx: an optax optimizer.
        ema_decay: d in average ← d average + (1 - d) params, for a state made with ``ema=True``.
        measure: a function from the gradients to more metrics.

    Returns:
        ``(state, batch) -> (state, metrics)``.
    """
    call: Callable[..., Any] = loss_fn  # with or without a model state

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)

        def evaluate(params: chex.ArrayTree) -> tuple[Array, tuple[Metrics, chex.ArrayTree | None]]:
            if state.model_state is None:
                loss, metrics = call(params, batch, key)
                return loss, (metrics, None)
            given = jax.tree.map(lambda x: x, state.model_state)  # NNX's loss may write to it, in this trace only
            loss, metrics, model_state = call(params, given, batch, key)
            return loss, (metrics, model_state)

        (loss, (metrics, model_state)), grads = jax.value_and_grad(evaluate, has_aux=True)(state.params)
        require_alike("the model_state that the loss returns", model_state, state.model_state)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm) & _stays_finite(state.model_state, model_state)

        def update(
            params: chex.ArrayTree, opt_state: optax.OptState, ema: chex.ArrayTree | None, _: chex.ArrayTree | None
        ) -> tuple:
            updates, new_state = tx.update(grads, opt_state, params, **_asked_for(tx, evaluate, loss, grads))
            # Otherwise the branches of a skipped update differ, and JAX's message is less clear.
            require_alike("the optimizer's new state", new_state, opt_state)
            new = optax.apply_updates(params, updates)
            require_alike("the updated params", new, params)
            if ema_decay is not None:
                ema = jax.tree.map(lambda average, x: ema_decay * average + (1 - ema_decay) * x, ema, new)
            return new, new_state, ema, model_state

        old = state.params, state.opt_state, state.ema, state.model_state
        params, opt_state, ema, model_state = _update_if(finite, update, *old)
        skipped = jnp.where(finite, 0, 1)
        new = TrainState(
            state.step + 1,
            params,
            opt_state,
            ema,
            state.key,
            state.skipped + skipped,
            jnp.where(finite, 0, state.skipped_in_row + 1),
            model_state,
        )
        return new, {**metrics, **measure(grads), "loss": loss, "gradient_norm": norm, "skipped": skipped}

    return step


def make_train_step(loss_fn: LossFn, tx: optax.GradientTransformation, *, ema_decay: float | None = None) -> Step:
    """Makes a jitted ``train_step``, which donates the state: you can't use a state again after passing it.

    The step raises ValueError for a state that was passed to a step before. Like any jitted function it has ``lower``,
    for compilation ahead of time.
    """
    return _refusing_donated(jax.jit(train_step(loss_fn, tx, ema_decay=ema_decay), donate_argnums=0))


def _refusing_donated(run: Callable[Concatenate[TrainState, P], R]) -> Callable[Concatenate[TrainState, P], R]:
    """Makes ``run`` say clearly that a state was donated before; this costs nothing if it wasn't."""

    @functools.wraps(run)
    def checked(state: TrainState, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return run(state, *args, **kwargs)
        except (RuntimeError, ValueError) as error:
            if "deleted" in str(error) and any(x.is_deleted() for x in jax.tree.leaves(state) if _is_concrete(x)):
                raise ValueError(
                    "state must be one that no step has had, got one whose arrays a step took over: "
                    "continue with the state that it returned, or pass a copy, jax.tree.map(jnp.copy, state)"
                ) from None
            raise

    if isinstance(run, jax.stages.Wrapped):
        vars(checked)["lower"] = run.lower
    return checked


def _is_concrete(x: object) -> bool:
    return isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer)


def _update_if(finite: Array, update: Callable[..., tuple], *old: Any) -> tuple:
    """Returns ``update(*old)`` if finite, else ``old``."""

    def select(finite: Array, *old: Any) -> tuple:
        return jax.tree.map(lambda new, kept: jnp.where(finite, new, kept), update(*old), old)

    def branch(finite: Array, *old: Any) -> tuple:
        return jax.lax.cond(finite, update, lambda *kept: kept, *old)

    # With a select, XLA on CPU copies the optimizer's state; with a branch, a GPU makes the host wait.
    return jax.lax.platform_dependent(finite, *old, cpu=branch, default=select)


def _stays_finite(old: chex.ArrayTree, new: chex.ArrayTree) -> Array:
    """Returns whether every number that was finite still is; running extremes may begin as infinite."""
    pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    kept = [jnp.all(jnp.isfinite(y) | ~jnp.isfinite(x)) for x, y in pairs if jnp.issubdtype(y.dtype, jnp.inexact)]
    return functools.reduce(jnp.logical_and, kept, jnp.array(True))


def _asked_for(
    tx: optax.GradientTransformation,
    evaluate: Callable[[chex.ArrayTree], tuple[Array, Any]],
    loss: Array,
    grads: chex.ArrayTree,
) -> dict[str, Any]:
    """Returns the further arguments that an optimizer's update takes, by their names in optax."""

    # A line search passes all its arguments on to value_fn, which must accept them.
    def value_fn(params: chex.ArrayTree, obj_fn: object = None, grad_fn: object = None) -> Array:
        return evaluate(params)[0]

    def grad_fn(params: chex.ArrayTree, _: int) -> chex.ArrayTree:
        return jax.grad(value_fn)(params)

    offered = {"value": loss, "grad": grads, "value_fn": value_fn, "obj_fn": value_fn, "grad_fn": grad_fn}
    parameters = inspect.signature(tx.update).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return offered
    return {name: x for name, x in offered.items() if name in parameters}


class Sums(NamedTuple):
    """The sums of metrics over the steps whose update wasn't skipped, and the number of these steps."""

    metrics: Metrics
    updates: Array

    def means(self) -> dict[str, Any]:
        """Returns each metric's mean on the host, NaN if every update was skipped."""
        metrics, count = jax.device_get((self.metrics, self.updates))
        return {name: float(value) / int(count) if count else float("nan") for name, value in metrics.items()}


def zero_sums(metrics: Mapping[str, Any]) -> Sums:
    """Makes empty sums from a step's metrics or their shapes, such as ``jax.eval_shape(step, state, batch)[1]``."""
    return Sums(jax.tree.map(lambda m: jnp.zeros(m.shape, m.dtype), dict(metrics)), jnp.zeros((), jnp.int32))


def summing_step(step: Step) -> Callable[[TrainState, Sums, Any], tuple[TrainState, Sums]]:
    """Makes a step that adds its metrics to the sums, unless its update is skipped."""

    def summed(state: TrainState, sums: Sums, batch: Any) -> tuple[TrainState, Sums]:
        state, metrics = step(state, batch)
        done = metrics["skipped"] == 0
        added = jax.tree.map(lambda s, m: s + jnp.where(done, m, 0).astype(s.dtype), sums.metrics, metrics)
        return state, Sums(added, sums.updates + done)

    return summed


def make_train_loop(
    step: Step, get_batch: Callable[[Any, Array], Any], *, max_skipped: int, fused: bool = True
) -> Callable[[TrainState, Sums, Any, ArrayLike], tuple[TrainState, Sums]]:
    """Makes a loop of many steps on data that stay on the device.

    Args:
        step: from ``train_step``.
        get_batch: ``(data, step) -> batch``, pure.
        max_skipped: the number of skipped updates in a row after which the loop ends.
        fused: whether one program runs all steps, or each step is a call. On CPUs, XLA runs convolutions 10 to 50 times
            slower inside a loop than outside, and several times slower if calls overlap; so the host waits for each
            call there.

    Returns:
        ``(state, sums, data, stop) -> (state, sums)``, which runs until ``state.step`` is ``stop``. Another ``stop``
        needs no new trace. It donates the state and the sums.
    """
    summed = summing_step(step)

    def one(state: TrainState, sums: Sums, data: Any) -> tuple[TrainState, Sums]:
        return summed(state, sums, get_batch(data, state.step))

    def ahead(state: TrainState, stop: ArrayLike) -> Array:
        return (state.step < stop) & (state.skipped_in_row < max_skipped)

    def run(state: TrainState, sums: Sums, data: Any, stop: ArrayLike) -> tuple[TrainState, Sums]:
        return jax.lax.while_loop(lambda carry: ahead(carry[0], stop), lambda carry: one(*carry, data), (state, sums))

    if fused:
        return _refusing_donated(jax.jit(run, donate_argnums=(0, 1)))
    jitted = jax.jit(one, donate_argnums=(0, 1))

    def run_one_by_one(state: TrainState, sums: Sums, data: Any, stop: ArrayLike) -> tuple[TrainState, Sums]:
        while ahead(state, stop):
            state, sums = jitted(state, sums, data)
        return state, sums

    return _refusing_donated(run_one_by_one)
