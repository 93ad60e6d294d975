from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick

import jaxvae as jv
from jaxvae.models import Terms
from jaxvae.training import TrainConfig, make_experiment, nonfinite


def tiny(parameterization="log_variance"):
    config = TrainConfig(hidden=(4,), latents=2, batch_size=8, init_std=0.5, parameterization=parameterization)
    return make_experiment(config)


@pytest.fixture(scope="module")
def made():
    experiment = tiny()
    params = jax.device_get(jax.jit(experiment.init)(quick.key(0)))
    return experiment, params, {"image": experiment.dataset.train.head(8).images, "beta": np.float32(1)}


def explain(made, layer, bias, parameterization="log_variance"):
    """What is said where this layer's biases are these."""
    _, params, batch = made
    params = jax.tree.map(np.copy, params)
    part = params["params"]
    for name in layer.split("/"):
        part = part[name]
    part["bias"][...] = bias
    return nonfinite.postmortem(tiny(parameterization), params, batch, quick.key(1))


@pytest.mark.parametrize(
    ("layer", "bias", "first"),
    [
        ("head/loc", np.nan, "parameters"),
        ("head/raw", 200.0, "kl"),  # exp(200) overflows
        ("decoder/outputs", 3e38, "log_likelihood"),  # the sum over the pixels overflows
        ("head/raw", 0.0, "none when computed again"),
    ],
)
def test_the_first_bad_number_is_named(made, layer, bias, first):
    assert explain(made, layer, bias).startswith(
        f"the first number that is not finite is the {first}; of the latents' σ, "
    )


def test_the_ends_of_the_range_are_counted(made):
    said = explain(made, "head/raw", [-200.0, 0.0], "sac_log_std")  # clipped to -20 and 2
    shares = "50% are at their floor, 0% at their ceiling, and 50% have gradient 0 (parameterization sac_log_std)"
    assert said.endswith(shares)
    assert "0% are at their floor, 100% at their ceiling, and 0% have" in explain(made, "head/raw", 200.0)
    assert "0% are at their floor, 50% at their ceiling, and 50% have" in explain(
        made, "head/raw", [0.0, 3.0], "sac_log_std"
    )


def test_a_bad_gradient_of_a_finite_loss_is_named_by_its_parameter(made):
    experiment, params, batch = made

    def loss(params, batch, key):
        value, metrics = experiment.loss(params, batch, key)
        return value + jnp.sqrt(jnp.sum(params["params"]["decoder"]["outputs"]["bias"] * 0)), metrics

    fields = {name: getattr(experiment, name) for name in ("model", "dataset", "dynamic", "config")}
    said = nonfinite.postmortem(SimpleNamespace(loss=loss, **fields), params, batch, quick.key(1))
    assert "is the gradient of ['params']['decoder']['outputs']['bias'];" in said
    assert "\n" not in said


def test_a_bad_loss_of_finite_terms_is_named(made):
    experiment, params, batch = made
    said = nonfinite.postmortem(experiment, params, {**batch, "beta": np.float32(np.inf)}, quick.key(1))
    assert "is the loss;" in said


@pytest.mark.parametrize(
    ("where", "value", "expected"),
    [
        ("loc", np.nan, "network"),
        ("raw", np.inf, "network"),
        ("raw", 200.0, "gaussian"),  # σ² overflows
        ("kl", np.nan, "gaussian"),
        ("log_likelihood", -np.inf, "likelihood"),
        (None, None, "gradient"),
    ],
)
def test_the_cause_is_the_first_stage_that_is_not_finite(where, value, expected):
    arrays = {name: np.zeros((3, 2), np.float32) for name in ("loc", "raw", "kl")}
    arrays["log_likelihood"] = np.zeros(3, np.float32)
    if where:
        arrays[where][1:] = value
        arrays["log_likelihood"][0] = np.nan  # what comes later doesn't matter
    q = jv.Gaussian(arrays["loc"], arrays["raw"])
    terms = Terms(jnp.asarray(arrays["log_likelihood"]), jnp.asarray(arrays["kl"]), q)
    assert nonfinite.CAUSES[int(jax.jit(nonfinite.cause)(terms))] == expected
