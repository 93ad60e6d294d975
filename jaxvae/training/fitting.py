"""A training loop over any iterable of batches, for your own step."""

import itertools
import operator
from collections import deque
from collections.abc import Iterable
from contextlib import nullcontext
from time import monotonic
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.arguments import require
from jaxvae.progress import StepProgress
from jaxvae.training.step import Metrics, Step, TrainState

_AHEAD = 16  # steps that the host may be ahead, so that the device never waits
_TOGETHER = 32  # steps whose metrics are stacked on the device: one number takes as long to transfer as many
_PAUSE = 0.25  # seconds between looks at the metrics


def fit(
    step: Step, state: TrainState, batches: Iterable[Any], *, steps: int | None = None, progress: bool = True
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """Trains with one step per batch, and shows progress on stderr.

    It can be called again with the state that it returns, e.g. after each evaluation; an iterator then continues where
    it was. The host does not wait for a step's metrics, but fetches them while later steps run.

    Args:
        step: from ``make_train_step``.
        state: from ``init_state``; it is donated, so you can't use it again.
        batches: any iterable of batches that the loss takes.
        steps: the largest number of steps, each of which takes one batch; necessary if the iterable never ends.
        progress: whether to show progress.

    Returns:
        The state after the last step, and each of the step's metrics, one value per step: (steps, ...).

    Raises:
        ValueError: for a negative number of steps.

    >>> import optax
    >>> from jaxvae.training import init_state, make_train_step
    >>> def loss(params, batch, key):
    ...     return jnp.mean(jnp.square(batch - params)), {}
    >>> tx = optax.sgd(0.5)
    >>> step, state = make_train_step(loss, tx), init_state(jnp.zeros(()), tx, jax.random.key(0))
    >>> state, history = fit(step, state, itertools.repeat(jnp.ones(4)), steps=3, progress=False)
    >>> history["loss"].tolist(), int(state.step)
    ([1.0, 0.0, 0.0], 3)
    """
    require(steps is None or steps >= 0, "steps", steps, "at least 0")
    total = steps or operator.length_hint(batches) or None
    with StepProgress(total) if progress and jax.process_index() == 0 else nullcontext() as display:
        history, ahead, shown = _History(), deque[Metrics](), monotonic()
        for batch in batches if steps is None else itertools.islice(batches, steps):
            state, metrics = step(state, batch)
            history.append(metrics)
            ahead.append(metrics)
            if len(ahead) > _AHEAD:
                done = ahead.popleft()
                jax.block_until_ready(next(iter(done.values()), None))  # then the whole step is done
                if display is not None and monotonic() - shown > _PAUSE:
                    display.update(history.steps - _AHEAD, history.newest(done))
                    shown = monotonic()
        whole = history.whole()
        if display is not None and ahead:
            display.update(history.steps, history.newest(ahead[-1]))
    return state, whole


class _History:
    """The metrics of all steps so far; the last ones, and a stack of those before, are still on the device.

    Attributes:
        steps: the number of steps.
    """

    def __init__(self) -> None:
        self.steps, self._skipped = 0, 0
        self._rows: list[Metrics] = []
        self._stack: Metrics | None = None
        self._parts: list[Metrics] = []

    def append(self, metrics: Metrics) -> None:
        self._rows.append(metrics)
        self.steps += 1
        if len(self._rows) == _TOGETHER:
            self._fetch()
            self._rows, self._stack = [], _stacked(self._rows)

    def newest(self, metrics: Metrics) -> dict[str, float]:
        """Returns what progress shows: the scalar metrics, and how many of the fetched steps skipped their update."""
        return {**{name: float(x) for name, x in metrics.items() if np.ndim(x) == 0}, "skipped": self._skipped}

    def whole(self) -> dict[str, np.ndarray]:
        """Returns the metrics of all steps on the host, after the last step."""
        self._fetch()
        if self._rows:
            self._keep(jax.tree.map(lambda *values: np.stack(values), *jax.device_get(self._rows)))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *self._parts) if self._parts else {}

    def _fetch(self) -> None:
        if self._stack is not None:
            self._keep(jax.device_get(self._stack))

    def _keep(self, part: Metrics) -> None:
        self._parts.append(part)
        self._skipped += int(np.sum(part.get("skipped", 0)))


@jax.jit
def _stacked(rows: list[Metrics]) -> Metrics:
    stacked: Metrics = jax.tree.map(lambda *values: jnp.stack(values), *rows)
    return stacked
