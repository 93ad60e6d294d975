"""Cells trained side by side against the same cells trained alone."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import AxisType
from programs import compiled

from jaxvae import training
from jaxvae.study.description import group_records
from jaxvae.study.results import STD_EDGES
from jaxvae.study.sweep import Sweep, cell_mesh
from jaxvae.trained import Run, evaluate
from jaxvae.training import TrainConfig, make_experiment, nonfinite
from jaxvae.training.devices import one_device

TINY = TrainConfig(
    hidden=(16,), latents=3, epochs=2, batch_size=80, samples=7, init_std=0.5, evaluate_every=1, conditional=True
)
RATES, SEEDS = (1e-3, 1e-2, 1e-2), (0, 0, 5)


def alone():
    return one_device()


def sweep(config, rates, seeds, width=2, mesh=None):
    return Sweep(make_experiment(config, alone()), mesh or cell_mesh(), width, rates, seeds)


def trained(config, rates, seeds, width=2, mesh=None):
    made = sweep(config, rates, seeds, width, mesh)
    *segments, found = made.train()
    assert segments == made.segments * [None]
    cells = [
        dataclasses.replace(made.experiment.config, learning_rate=rate, seed=seed)
        for rate, seed in zip(rates, seeds, strict=True)
    ]
    return group_records(cells, found, made.counts)


@pytest.fixture(scope="module")
def records():
    # Seven cells on eight devices: one device trains a copy, the last cell's, that isn't kept.
    return trained(TINY, (*RATES, *RATES, 0.1), (*SEEDS, 1, 2, 3, 4))


@pytest.mark.slow
def test_all_is_compiled_ahead_but_the_stacking_of_keys():
    made = sweep(TINY, (*RATES, *RATES, 0.1), (*SEEDS, 1, 2, 3, 4))
    with compiled() as names:
        made.compile()
    own = {"jit(begin)", "jit(orders)", "jit(run)"}  # and a head's first raw, operation by operation
    assert sorted(name for name in names if name in own) == ["jit(begin)", "jit(orders)", "jit(run)", "jit(run)"]
    with compiled() as names:
        next(made.train())
    assert len(names) <= 2, names


@pytest.mark.slow
def test_a_cell_is_the_run_of_its_configuration(records, tmp_path):
    config = dataclasses.replace(TINY, learning_rate=1e-2, seed=5)
    assert training.train(make_experiment(config, alone()), tmp_path / "run")
    run = Run(tmp_path / "run")
    expected = evaluate(run, config.samples)
    found = records[2]
    assert found["config"] == {**records[0]["config"], "learning_rate": 1e-2, "seed": 5}
    assert found["steps"] == run.model.step == 32
    # Products in another order, each off by some ulp (6e-8), over 32 steps of training.
    for name in ("elbo", "log_likelihood", "kl", "nll", "nll_standard_error"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)
    chosen_by = evaluate(run, config.samples, "validation")
    for name in ("elbo", "nll"):
        np.testing.assert_allclose(found[f"validation_{name}"], chosen_by[name], rtol=1e-5, err_msg=name)
    assert found["active_units"] == expected["active_units"]
    assert found["curve"]["step"] == [16, 32]
    np.testing.assert_allclose(found["curve"]["elbo"][-1], expected["elbo"], rtol=1e-5)
    norms = [record["gradient_norm"] for record in training.read_metrics(tmp_path / "run" / training.METRICS)]
    head, network = (found["gradient_norm"][part] for part in ("head", "network"))
    assert np.hypot(head[0], network[0]) == pytest.approx(np.mean(norms), rel=0.3)  # medians beside a mean
    posterior = run.posterior()
    counts = np.histogram(np.log10(posterior.std), STD_EDGES)[0]
    assert np.abs(np.array(found["std_histogram"]) - counts).sum() <= 2  # one may lie at an edge
    assert sum(found["std_histogram"]) == 300 * 3


@pytest.mark.slow
def test_width_and_devices_do_not_matter(records):
    one = jax.make_mesh((1,), ("cells",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    for again, expected in zip(trained(TINY, RATES, SEEDS, 3, one), records, strict=False):
        assert again["config"] == expected["config"]
        for name in ("elbo", "nll", "kl"):
            np.testing.assert_allclose(again[name], expected[name], rtol=1e-5)


@pytest.mark.slow
def test_cells_differ_by_learning_rate_and_by_seed(records):
    first, other_rate, other_seed = (record["elbo"] for record in records[:3])
    assert abs(first - other_rate) > 0.01
    assert abs(other_rate - other_seed) > 0.01


@pytest.mark.parametrize(("count", "width", "expected"), [(15, 4, (2, 16)), (17, 4, (3, 24)), (3, 4, (1, 8))])
def test_cells_are_shared_out_evenly(count, width, expected):
    made = sweep(TINY, (1e-2,) * count, range(count), width)
    assert (made._width, made._places) == expected


@pytest.mark.slow
def test_parameterizations_share_start_order_and_noise(records):
    """log_precision is log_variance mirrored: the same numbers to the last digits, if all else is the same."""
    config = dataclasses.replace(TINY, parameterization="log_precision")
    for one, other in zip(trained(config, RATES, SEEDS), records, strict=False):
        np.testing.assert_allclose(one["curve"]["elbo"], other["curve"]["elbo"], rtol=1e-5)
        np.testing.assert_allclose(one["nll"], other["nll"], rtol=1e-5)


@pytest.mark.slow
def test_what_fails_is_counted_and_named():
    config = dataclasses.replace(TINY, parameterization="direct_std", epochs=4, evaluate_every=2)
    good, bad = trained(config, (1e-4, 1.0), (0, 0))
    assert good["skipped"] == 0
    assert good["cause"] is good["first_skipped"] is None
    assert bad["skipped"] > 0
    assert bad["cause"] in nonfinite.CAUSES
    assert 0 < bad["first_skipped"] < 64
    assert bad["nll"] is None or not np.isfinite(bad["nll"])
