import dataclasses
import itertools
from types import SimpleNamespace

import jax
import pytest

from jaxvae.study import width
from jaxvae.study.sweep import cell_mesh
from jaxvae.training import TrainConfig, make_experiment
from jaxvae.training.devices import one_device


@pytest.fixture(scope="module")
def experiment():
    mesh = one_device()
    return make_experiment(TrainConfig(hidden=(4,), latents=2, batch_size=8), mesh)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "most", "expected"),
    [
        ({2: 2.0, 8: 7.0}, 8, 8),  # faster per cell
        ({2: 2.0, 8: 7.7}, 8, 2),  # by less than 5 %
        ({2: 2.0, 8: 4.0, 32: 17.0}, 100, 8),
        ({2: 2.0, 5: 2.0}, 5, 5),
        ({}, 2, 2),  # no other
        ({}, 1, 1),
    ],
)
def test_it_grows_as_long_as_that_pays(experiment, monkeypatch, seconds, most, expected):
    monkeypatch.setattr(width, "_SHORT", 0)
    monkeypatch.setattr(width, "step_cost", lambda experiment, mesh, state, width: seconds.pop(width))
    assert width.measured_width(experiment, cell_mesh(), most) == expected
    assert not seconds  # no more were tried


def test_little_work_is_not_measured(experiment, monkeypatch):
    monkeypatch.setattr(width, "step_cost", None)
    monkeypatch.setattr(width, "_SHORT", 0)
    # 1,297 images in batches of 8 are 162 steps an epoch.
    short = make_experiment(dataclasses.replace(experiment.config, epochs=1), experiment.mesh)
    assert width.measured_width(short, cell_mesh(), 8) == 2
    with pytest.raises(TypeError):
        width.measured_width(short, cell_mesh(), 13)


def test_on_a_cpu_a_minute_s_work_is_not_measured(experiment, monkeypatch):
    monkeypatch.setattr(width, "step_cost", None)
    steps = 100 * experiment.config.epochs * experiment.steps_per_epoch
    assert width.measured_width(experiment, cell_mesh(), 100) == 2
    # Forward and back, some 64-4-4 and 2-4-64 matmuls of 8 images, and elementwise work.
    flops = width.step_flops(experiment)
    assert 6 * 8 * (64 * 4 + 4 * 4 + 2 * 4 + 4 * 64) < flops < 50 * 8 * 4 * 64
    monkeypatch.setattr(width, "_SHORT", 0.99 * steps * flops / width._SLOW)
    with pytest.raises(TypeError):
        width.measured_width(experiment, cell_mesh(), 100)


@pytest.mark.slow
def test_a_step_is_timed_by_the_shortest_call(experiment, monkeypatch):
    monkeypatch.setattr(width, "_SECONDS", 0.3)
    # It begins; then for each call: is there time left, before, after.
    ticks = itertools.accumulate([0.0, *(0.0, 0.0, 0.1), *(0.0, 0.0, 0.05), *(0.0, 0.0, 0.2), 0.0])
    monkeypatch.setattr(width, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    state = jax.jit(experiment.begin)(0)
    assert width.step_cost(experiment, cell_mesh(), state, 1) == pytest.approx(0.05 / 16)
