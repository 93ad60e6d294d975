"""Tables of several kinds of columns: each modelled by what suits it, in its own units."""

import jax
import mixed
import numpy as np
import pytest
import quick

from jaxvae.data import from_arrays, from_table, load
from jaxvae.data.tables import as_table
from jaxvae.likelihoods import (
    Bernoulli,
    Beta,
    Categorical,
    Gamma,
    LogNormal,
    NegativeBinomial,
    Normal,
    Ordinal,
    StudentT,
    VonMises,
)
from jaxvae.training import TrainConfig, make_experiment, train_step
from jaxvae.training.defaults import resolved
from jaxvae.training.modelling import in_units

TINY = {"hidden": (8,), "latents": 2, "batch_size": 32, "learning_rate": 0.03, "learning_rate_decay": "constant"}
DATA = mixed.table()


def loss_of(experiment, params, rows):
    batch = {"image": rows, "beta": np.float32(1)}
    return jax.jit(experiment.loss)(params, batch, quick.key(1))[0]


def test_each_kind_has_its_likelihood_and_measurements_their_units():
    experiment = make_experiment(TrainConfig(**TINY), dataset=DATA)
    assert experiment.config.likelihood == "columns"
    depth, height, visits, sex, ward, stage = experiment.model.likelihood.groups
    assert [type(g.likelihood) for g in (depth, height, visits)] == [Normal, LogNormal, NegativeBinomial]
    assert [type(g.likelihood) for g in (sex, ward, stage)] == [Bernoulli, Categorical, Ordinal]
    assert (ward.likelihood.levels, stage.likelihood.levels, ward.coded, stage.coded) == (3, 4, True, True)
    train = DATA.train.images.reshape(len(DATA.train), -1).astype(np.float64)
    units = depth.likelihood.standard, height.likelihood.standard
    assert units[0].loc + units[0].scale == pytest.approx((train[:, 0].mean(), train[:, 0].std()), rel=1e-6)
    logs = np.log(train[:, 1])
    assert units[1].loc + units[1].scale == pytest.approx((logs.mean(), logs.std()), rel=1e-6)
    assert experiment.contract.features == in_units("columns", DATA)
    text = "\n".join(experiment.report)
    assert "columns, gaussian_learned of depth; log_normal of height; negative_binomial of visits; bernoulli of" in text
    assert "ELBO and NLL are of the columns in their own units" in text
    assert "logs of positive ones standardized, counts as log(1 + x), categories one-hot, others as they are" in text


@pytest.mark.slow
def test_in_other_units_the_loss_is_another_constant():
    """Each of two lengths in centimetres has a density log 100 nats lower, and nothing else changes."""
    metres, centimetres = (make_experiment(TrainConfig(**TINY), dataset=mixed.table(metre)) for metre in (1.0, 100.0))
    params = jax.jit(metres.init)(quick.key(0))
    a, b = (loss_of(x, params, x.dataset.train.images) for x in (metres, centimetres))
    assert float(b - a) == pytest.approx(2 * np.log(100), abs=2e-3)  # depths are rounded to 1e-3


@pytest.mark.slow
def test_training_learns_what_the_columns_share():
    experiment = make_experiment(TrainConfig(**TINY, epochs=40), dataset=DATA)
    step = jax.jit(train_step(experiment.loss, experiment.tx))
    state, batch = jax.jit(experiment.begin)(0), {"image": DATA.train.images, "beta": np.float32(1)}
    first = None
    for _ in range(100):
        state, metrics = step(state, batch)
        first = metrics["elbo"] if first is None else first
    assert int(state.skipped) == 0
    assert float(metrics["elbo"]) > float(first) + 0.5
    assert float(metrics["kl"]) > 0.3


def test_the_likelihood_may_be_said_of_columns_of_one_kind():
    x = np.random.default_rng(0).normal(3, 2, (60, 2))
    data = from_table(as_table({"a": x[:, 0], "b": np.abs(x[:, 1])}))
    (group,) = make_experiment(TrainConfig(**TINY, likelihood="student_t"), dataset=data).model.likelihood.groups
    assert isinstance(group.likelihood, StudentT)
    assert group.columns == (0, 1)
    assert resolved(TrainConfig(), from_table(as_table({"a": x[:, 0]}))).likelihood == "gaussian_learned"
    assert resolved(TrainConfig(), from_table(as_table({"a": np.abs(x[:, 0])}))).likelihood == "log_normal"


REALS = from_table(as_table({"a": np.linspace(-4, 4, 20), "b": np.linspace(0, 1, 20)}))


@pytest.mark.parametrize(
    ("data", "fields", "message"),
    [
        (DATA, {"likelihood": "student_t"}, r"auto \(columns\) for a table with a column 'visits' of kind count; --ki"),
        (DATA, {"likelihood": "multinomial"}, r"likelihood must be auto \(columns\) for .* 'depth' of kind real"),
        (DATA, {"likelihood": "gaussian_optimal"}, r"likelihood must be auto \(columns\)"),
        (DATA, {"binarization": "dynamic"}, "binarization must be none for a table, got 'dynamic'"),
        (DATA, {"offset": True}, "offset must be False for"),
        (DATA, {"batch_size": 1000}, "batch_size must be at most the 96 training rows, got 1000"),
        (REALS, {"likelihood": "log_normal"}, r"auto \(gaussian_learned\) for a table with a column 'a' of kind real"),
        (REALS, {"likelihood": "beta"}, "between 0 and 1, both excluded; .*got .-4 in column 'a' of the train split"),
        (REALS, {"likelihood": "von_mises"}, "angles in radians, from -π to π; .*got .-4 in column 'a'"),
        (from_arrays(np.eye(12)[:, :5]), {"likelihood": "ordinal"}, "another one for what isn't a table"),
        (from_arrays(np.eye(12)[:, :5]), {"likelihood": "columns"}, "another one for what isn't a table"),
    ],
)
def test_what_contradicts_the_columns_is_refused(data, fields, message):
    with pytest.raises(ValueError, match=message) as error:
        resolved(TrainConfig(**fields), data)
    assert "\n" not in str(error.value)


def test_a_measured_column_has_to_vary_in_training():
    x = np.linspace(-4, 4, 20)
    rest = np.where(np.arange(20) == REALS.test.names[0], 1.5, 2.5)
    data = from_table(as_table({"a": x, "flat": rest}))
    with pytest.raises(ValueError, match=r"column 'flat' must be several values in the train split.*'2.5 in all rows'"):
        make_experiment(TrainConfig(**TINY | {"batch_size": 8}), dataset=data)


WAVES = np.float32(2 + np.sin(np.arange(60)[:, None] + np.arange(5)))
GREY = load("digits")


@pytest.mark.parametrize(
    ("name", "data", "kind", "std"),
    [
        ("student_t", WAVES, StudentT, np.std),
        ("log_normal", WAVES, LogNormal, lambda x: np.std(np.log(x))),
        ("gamma", WAVES, Gamma, None),
        ("beta", WAVES / 4, Beta, None),
        ("von_mises", WAVES, VonMises, None),
    ],
)
def test_arrays_take_every_likelihood_of_real_numbers(name, data, kind, std):
    """The decoder starts at the mean of the data, and a scale at their standard deviation."""
    data = from_arrays(data)
    experiment = make_experiment(TrainConfig(**TINY, likelihood=name), dataset=data)
    likelihood, mean = experiment.model.likelihood, data.train.images.mean(axis=0)
    assert isinstance(likelihood, kind)
    at_mean = likelihood.mean(likelihood.outputs_at(mean), likelihood.raw_start(1))
    np.testing.assert_allclose(at_mean, mean, rtol=1e-5)
    if std is not None:
        np.testing.assert_allclose(likelihood.std, std(data.train.images), rtol=0.05)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "gamma",
            from_arrays(WAVES - 2),
            "numbers under likelihood gamma must be above 0; .*, got '0 of the train split'",
        ),
        ("log_normal", from_arrays(WAVES - 2.5), "log_normal must be above 0; .*, got '-0.5 of the train"),
        ("beta", GREY, "beta must be between 0 and 1, both excluded; .*, got '0 of the train"),
        ("von_mises", from_arrays(2 * WAVES), "von_mises must be angles in radians, from -π to π; .*, got '[4-6]"),
    ],
)
def test_numbers_of_which_a_likelihood_has_no_density_are_refused(name, data, message):
    with pytest.raises(ValueError, match=message):
        resolved(TrainConfig(likelihood=name), data)


def test_grey_levels_are_not_binarized_under_a_likelihood_of_real_numbers():
    assert resolved(TrainConfig(likelihood="laplace"), GREY).binarization == "none"
    with pytest.raises(ValueError, match="none for a likelihood of real numbers"):
        resolved(TrainConfig(likelihood="laplace", binarization="dynamic"), GREY)
