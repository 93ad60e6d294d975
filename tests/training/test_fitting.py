"""A loop over any batches: what a bare loop does, and the history of every step."""

import itertools
from io import StringIO

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import quick
from rich.console import Console

from jaxvae import progress
from jaxvae.training import fit, fitting, init_state, make_train_step

TX = optax.sgd(0.1)
STEP = make_train_step(
    lambda params, batch, key: (jnp.sum(jnp.square(batch - params)), {"both": params, "first": params[0]}), TX
)


def start():
    return init_state(jnp.zeros(2), TX, quick.key(0))


def batches(count=None):
    """From 0 on, of which every tenth is spoilt."""
    numbers = itertools.count() if count is None else range(count)
    return (np.full(2, np.nan if i % 10 == 9 else i, np.float32) for i in numbers)


@pytest.mark.parametrize("count", [0, 1, 32, 100])
def test_it_is_as_many_steps_with_all_their_metrics(count):
    state, rows = start(), []
    for batch in batches(count):
        state, metrics = STEP(state, batch)
        rows.append(jax.device_get(metrics))
    got, history = fit(STEP, start(), batches(count), progress=False)
    assert int(got.step) == count
    np.testing.assert_array_equal(got.params, state.params)
    assert set(history) == ({"both", "first", "loss", "gradient_norm", "skipped"} if count else set())
    for name, values in history.items():
        np.testing.assert_array_equal(values, np.stack([row[name] for row in rows]))
        assert isinstance(values, np.ndarray)


def test_it_takes_no_more_batches_than_steps_and_goes_on():
    endless, state = batches(), start()
    for _ in range(2):
        state, history = fit(STEP, state, endless, steps=5, progress=False)
        assert len(history["loss"]) == 5
    assert next(endless)[0] == 10
    state, history = fit(STEP, state, batches(3), steps=50, progress=False)
    assert len(history["loss"]) == 3
    state, history = fit(STEP, state, endless, steps=0, progress=False)
    assert (history, int(state.step)) == ({}, 13)
    with pytest.raises(ValueError, match="steps must be at least 0, got -1"):
        fit(STEP, start(), endless, steps=-1)


def test_the_host_is_never_far_ahead_nor_waits_for_the_last_steps(monkeypatch):
    """By the steps whose metrics it asks to be there: always those of sixteen before."""
    asked = []
    monkeypatch.setattr(fitting.jax, "block_until_ready", asked.append)
    fit(lambda state, batch: (state, {"i": batch}), None, range(40), progress=False)
    assert asked == list(range(40 - 16))


def test_it_shows_how_far_it_is(monkeypatch):
    out, now = StringIO(), itertools.count()
    monkeypatch.setattr(fitting, "monotonic", lambda: next(now))
    monkeypatch.setattr(progress, "monotonic", lambda: next(now))
    monkeypatch.setattr(
        fitting, "StepProgress", lambda steps: progress.StepProgress(steps, Console(file=out, force_terminal=False))
    )
    fit(STEP, start(), list(batches(75)))
    lines = out.getvalue().splitlines()
    assert len(lines) > 2
    assert lines[-1].startswith("step 75/75  first ")
    assert "both" not in out.getvalue()
    assert "  skipped 7" in lines[-1]
    out.truncate(0)
    fit(STEP, start(), batches(3))
    assert "step 3  first " in out.getvalue()
