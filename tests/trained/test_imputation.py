"""What fills missing entries, held against the closed form of a linear model; what was observed stays."""

import functools

import jax
import linear
import numpy as np
import pytest
import trained_models
from representatives import each

from jaxvae.data import DataContract, Reading
from jaxvae.trained import TrainedModel
from jaxvae.training import TrainConfig

SAMPLES, DRAWS = 20_000, 400
RNG = np.random.default_rng(0)
X = np.where(RNG.random((6, 4)) < 0.5, np.nan, linear.pixels(linear.images(6)))
X[:, 0] = np.where(np.isnan(X).all(axis=1), 0.4, X[:, 0])
MISSING = np.isnan(X)
ROWS = DataContract((1, 4, 1), None, True, likelihood="gaussian_learned", missing=True)


@functools.cache
def exact() -> TrainedModel:
    """The linear model, whose q is the prior: what it imputes is exact, as importance sampling makes it so."""
    head = {
        "loc": {"kernel": np.zeros((8, 2)), "bias": np.zeros(2)},
        "raw": {"kernel": np.zeros((8, 2)), "bias": np.zeros(2)},
    }
    params = jax.tree.map(np.float32, {"params": {**linear.params()["params"], "head": head}})
    contract = DataContract(linear.SHAPE, None, True, likelihood="gaussian_fixed", missing=True)
    return TrainedModel(TrainConfig(), contract, linear.module(missing=True), params, None, 0)


@functools.cache
def rows() -> TrainedModel:
    return trained_models.make(ROWS, likelihood="gaussian_learned", binarization="none")


def test_means_are_those_given_what_was_observed():
    filled = exact().impute(X.reshape(6, 2, 2), samples=SAMPLES)
    assert (filled.shape, filled.dtype) == ((6, 2, 2), np.float64)
    filled = filled.reshape(6, 4)
    np.testing.assert_array_equal(filled[~MISSING], X[~MISSING])
    mean, variance = linear.conditional(X)
    # A twentieth of the prior's samples counts at least, whose means vary by less than x does.
    error = np.sqrt(variance / (SAMPLES / 20))
    assert np.all(np.abs(filled - mean)[MISSING] < 4.5 * error[MISSING])
    assert np.abs(linear.BIAS - mean)[MISSING].max() > 0.05  # no column mean would do


@pytest.mark.slow
def test_draws_vary_as_what_is_missing_does():
    samples = SAMPLES // 5
    draws = exact().impute(X.reshape(6, 2, 2), samples=samples, draws=DRAWS).reshape(DRAWS, 6, 4)
    mean, variance = linear.conditional(X)
    assert np.array_equal(draws[:, ~MISSING], np.broadcast_to(X[~MISSING], (DRAWS, (~MISSING).sum())))
    error = np.sqrt(variance[MISSING] * (1 / DRAWS + 20 / samples))
    assert np.all(np.abs(draws.mean(axis=0) - mean)[MISSING] < 4.5 * error)
    ratio = draws.var(axis=0, ddof=1)[MISSING] / variance[MISSING]
    assert np.all(np.abs(ratio - 1) < 4.5 * np.sqrt(2 * (1 / DRAWS + 20 / samples)))


def test_the_evidence_is_that_of_what_was_observed():
    found = exact().score(X.reshape(6, 2, 2), samples=SAMPLES)
    truth = linear.log_evidence_of_observed(X)
    assert np.all(np.abs(found.log_evidence - truth) < 4.5 * found.error + 1e-4)
    np.testing.assert_allclose(found.elbo, found.log_likelihood - found.kl, rtol=1e-6)


@pytest.mark.slow
def test_what_fills_an_image_is_its_own_affair():
    x = np.where(RNG.random((9, 4)) < 0.4, np.nan, RNG.normal(size=(9, 4)).astype(np.float32))
    x[:, 1] = 0.5
    whole = rows().impute(x, samples=50, draws=3)
    np.testing.assert_allclose(whole[:, 4:5], rows().impute(x[4:5], samples=50, draws=3), rtol=1e-5)
    assert not np.array_equal(whole, rows().impute(x, samples=50, draws=3, key=jax.random.key(5)))
    one = np.ma.array(np.nan_to_num(x), mask=np.isnan(x))
    np.testing.assert_array_equal(rows().impute(one, samples=50, draws=3), whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", each(("conditional", "counts"), kept=("conditional",)))
def test_any_likelihood_and_label(kind):
    fields = {**trained_models.KINDS[kind], "offset": False}
    likelihood = fields.get("likelihood", "bernoulli")
    counts = kind == "counts"
    contract = DataContract(
        (4, 3, 1),
        None,
        likelihood=likelihood,
        classes=3,
        conditional=not counts,
        reading=Reading(counts=counts),
        missing=True,
    )
    model = trained_models.make(contract, **{**fields, "binarization": "none"})
    x = np.where(RNG.random((5, 4, 3)) < 0.3, np.nan, RNG.integers(0, 2, (5, 4, 3)))
    x[:, 0, 0] = 1
    draws = model.impute(x, None if counts else 2, samples=20, draws=2)
    assert draws.shape == (2, 5, 4, 3)
    assert np.array_equal(draws, np.rint(draws))
    assert np.isfinite(model.decode(model.latents(x, None if counts else 2), None if counts else 2).log_prob(x)).all()


@pytest.mark.slow
def test_the_order_of_axes_and_the_range_are_those_of_the_data():
    reading = Reading(layout="nchw", value_range=(0.0, 255.0))
    contract = DataContract((2, 3, 4), None, likelihood="gaussian_learned", reading=reading, missing=True)
    model = trained_models.make(contract, likelihood="gaussian_learned", binarization="none")
    x = RNG.uniform(0, 255, (5, 4, 2, 3)).astype(np.float32)
    x[0, 2, 1, 0] = x[3, 0, 0, 2] = np.nan
    filled = model.impute(x, samples=10)
    where = np.argwhere(filled != x)
    assert where.tolist() == [[0, 2, 1, 0], [3, 0, 0, 2]]
    assert ((filled >= 0) & (filled <= 255)).all()
    assert filled[np.isnan(x)].max() > 1
    last = model.impute(np.moveaxis(x, 1, -1), samples=10)
    np.testing.assert_array_equal(np.moveaxis(last, -1, 1), filled)


def test_misuse_is_refused():
    x = X.astype(np.float32)
    for fields, message in (
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"draws": 0}, "draws must be at least 1, or None, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            rows().impute(x, **fields)
    with pytest.raises(ValueError, match="got one of which no number is known"):
        rows().impute(np.full((1, 4), np.nan))
    with pytest.raises(
        ValueError, match="model must be one that was trained with missing entries, got 'one of images of 4x3x1"
    ):
        trained_models.model("learned").impute(np.zeros((1, 4, 3)))
