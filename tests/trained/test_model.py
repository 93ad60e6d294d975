"""One interface over every kind of model: what is given, what comes back, what is refused."""

import jax
import jax.numpy as jnp
import linear
import numpy as np
import pytest
import trained_models
from representatives import each

import jaxvae as jv
from jaxvae.data import DataContract
from jaxvae.likelihoods import FixedGaussian
from jaxvae.models import VAE, GaussianHead
from jaxvae.models.networks import MLPDecoder, MLPEncoder
from jaxvae.trained import TrainedModel
from jaxvae.training import TrainConfig

IMAGES = np.random.default_rng(0).integers(0, 17, (5, *trained_models.SHAPE), np.uint8)
LABELS = np.array([0, 2, 1, 1, 0])
KEY = jax.random.key(3)


def given(model: TrainedModel) -> tuple:
    return (IMAGES, LABELS) if model.contract.conditional else (IMAGES,)


@pytest.fixture(params=each(trained_models.KINDS, trained_models.KEPT))
def model(request) -> TrainedModel:
    return trained_models.model(request.param)


def test_images_go_to_latents_and_back(model):
    count, q = model.module.latents, model.encode(*given(model))
    assert isinstance(q, jv.Gaussian)
    assert q.shape == (5, count)
    z = model.latents(*given(model))
    labels = given(model)[1:]
    decoded = model.decode(z, *labels)
    assert decoded.mean.shape == decoded.sample(KEY).shape == decoded.log_prob(IMAGES).shape == IMAGES.shape
    np.testing.assert_allclose(model.reconstruct(*given(model)), decoded.mean, rtol=1e-5, atol=1e-6)
    if model.module.__class__.__name__ == "VAE" and model.module.flow is None:
        np.testing.assert_allclose(z, q.mean, rtol=1e-6)


def test_samples_and_interpolations_are_images(model):
    images = model.sample(KEY, 4)
    assert images.shape == (4, *trained_models.SHAPE)
    assert not np.array_equal(images[0], images[1])
    label = LABELS[:1] if model.contract.conditional else None
    label = None if label is None else int(label[0])
    line = model.interpolate(IMAGES[0], IMAGES[1], 3, label)
    ends = model.reconstruct(IMAGES[:2], label)
    np.testing.assert_allclose(line[::2], ends, rtol=1e-5, atol=1e-6)
    between = model.latents(IMAGES[:2], label).mean(axis=0)
    np.testing.assert_allclose(line[1], model.decode(between, label).mean, rtol=1e-5, atol=1e-6)


def test_scores_are_of_each_image_and_bound_each_other(model):
    scores = model.score(*given(model), samples=300)
    assert all(x.shape == (5,) for x in scores)
    np.testing.assert_allclose(scores.elbo, model.elbo(*given(model)), rtol=1e-5)
    np.testing.assert_allclose(scores.elbo, scores.log_likelihood - scores.kl, rtol=1e-5)
    np.testing.assert_allclose(scores.log_evidence, model.log_evidence(*given(model), samples=300), rtol=1e-5)
    elbos = np.mean([model.elbo(*given(model), key=jax.random.key(seed)) for seed in range(40)], axis=0)
    assert np.all(scores.log_evidence > elbos - 3 * scores.error)


def test_the_company_of_an_image_does_not_matter(model):
    one = [x[3:4] for x in given(model)]
    for method, rest in (("encode", {}), ("elbo", {}), ("log_evidence", {"samples": 3})):
        alone = jax.tree.leaves(getattr(model, method)(*one, **rest))[0][0]
        among = jax.tree.leaves(getattr(model, method)(*given(model), **rest))[0][3]
        np.testing.assert_allclose(alone, among, rtol=2e-5, atol=1e-5)


def test_more_images_than_a_batch_and_none(monkeypatch):
    model = trained_models.model("flat")
    whole = model.encode(IMAGES).mean
    monkeypatch.setattr("jaxvae.trained.model.BATCH", 2)
    np.testing.assert_allclose(model.encode(IMAGES).mean, whole, rtol=1e-5)
    assert model.encode(IMAGES[:0]).shape == (0, 3)
    assert model.elbo(IMAGES[:0]).shape == (0,)
    assert model.encode(IMAGES.reshape(5, 1, 4, 3)).shape == (5, 1, 3)
    assert model.encode(IMAGES[0]).shape == (3,)


def test_progress_is_shown(capsys):
    trained_models.model("flat").encode(IMAGES, progress=True)
    assert capsys.readouterr().err == "image 5/5\n"


def test_few_programs_are_compiled(monkeypatch):
    traced, one = [], jnp.uint32(1)
    monkeypatch.setattr(DataContract, "content", lambda self, x: traced.append(len(x)) or jnp.full(len(x), one))
    model = trained_models.make(DataContract(trained_models.SHAPE, 16))  # as no other test's
    for count in (1, 2, 3, 4, 3, 5, 7, 8, 6):
        model.elbo(np.resize(IMAGES // 2, (count, *trained_models.SHAPE)))
    assert traced == [1, 2, 4, 8]


@pytest.mark.parametrize("kind", each(("flat", "optimal", "levels"), kept=("flat",)))
def test_images_come_as_the_training_data_did(kind):
    model = trained_models.model(kind)
    wanted = model.encode(IMAGES).mean
    for same in (IMAGES.astype(np.int64), IMAGES.astype(np.float32), IMAGES / 16, IMAGES[..., 0], IMAGES.tolist()):
        np.testing.assert_allclose(model.encode(same).mean, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.elbo(IMAGES), model.elbo(np.float32(IMAGES / 16)), rtol=1e-5)
    np.testing.assert_allclose(model.elbo(IMAGES), model.elbo(jnp.asarray(IMAGES)), rtol=1e-5)


def test_zeros_and_ones_are_given_as_booleans():
    model, bits = trained_models.model("flat"), IMAGES > 8
    np.testing.assert_array_equal(model.seen(bits), bits)
    np.testing.assert_array_equal(model.encode(bits).mean, model.encode(bits.astype(float)).mean)
    with pytest.raises(ValueError, match="got integers that are all 0 or 1; as booleans or floats"):
        model.encode(bits.astype(np.uint8))


MISFITS = {
    "shape": (np.zeros((5, 3, 4, 1), np.uint8), "got an array of shape"),
    "range": (np.full((1, *trained_models.SHAPE), 17), "got 17 to 17"),
    "sign": (-IMAGES.astype(float), "got -1. to"),
    "fraction": (IMAGES * 0.9, "neither in \\[0, 1\\] nor a whole number"),
    "inf": (np.full(trained_models.SHAPE, np.inf), "numbers that aren't finite"),
    "nan": (np.full(trained_models.SHAPE, np.nan), "numbers that are missing .NaN.; the training had none such"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_cannot_be_data_is_refused_and_says_what_they_were(name):
    images, message = MISFITS[name]
    wanted = (
        r"images must be as in training, images of 4x3x1, integers in 0..16 or floats in .0, 1., binarized .dynamic."
    )
    with pytest.raises(ValueError, match=f"{wanted}, .*{message}") as error:
        trained_models.model("flat").elbo(images)
    assert "\n" not in str(error.value)
    with pytest.raises(TypeError, match="images must be numbers"):
        trained_models.model("flat").encode(np.full(trained_models.SHAPE, "x"))


def test_labels_are_asked_for_by_number_or_name():
    model = trained_models.model("conditional")
    with pytest.raises(
        ValueError, match="labels must be given, 0 to 2 or ape, bee, cow: the model is conditional, got"
    ):
        model.encode(IMAGES)
    with pytest.raises(ValueError, match=r"labels must be given, .* got \[0, 1, 2, 3, 4\]"):
        model.encode(IMAGES, np.arange(5))
    with pytest.raises(ValueError, match=r"labels.shape must be \(5,\), one for each, or one for all, got \(2,\)"):
        model.encode(IMAGES, [0, 1])
    with pytest.raises(ValueError, match="label must be 0 to 2 or ape or bee or cow, got 'dog'"):
        model.sample(KEY, 2, "dog")
    by_name = model.encode(IMAGES, ["ape", "cow", "bee", "bee", "ape"])
    np.testing.assert_array_equal(by_name.mean, model.encode(IMAGES, LABELS).mean)
    assert not np.allclose(model.encode(IMAGES, 1).mean, by_name.mean)
    np.testing.assert_array_equal(model.sample(KEY, 3), model.sample(KEY, 3, [0, 1, 2]))
    np.testing.assert_array_equal(model.sample(KEY, 3, "cow"), model.sample(KEY, 3, 2))
    assert not np.allclose(model.sample(KEY, 3, "cow"), model.sample(KEY, 3, 0))


def test_functions_are_pure_and_can_be_transformed(model):
    x, labels = jnp.asarray(IMAGES / (1 if model.contract.counts else 16), jnp.float32), given(model)[1:]
    q = model.encode(x, *labels)
    mapped = jax.vmap(model.encode)(x, *map(jnp.asarray, labels))
    np.testing.assert_allclose(mapped.mean, q.mean, rtol=2e-5, atol=1e-5)
    slope = jax.grad(lambda x: model.encode(x, *labels).mean.sum())(x)
    assert np.any(slope != 0)
    assert np.all(np.isfinite(slope))
    z = model.latents(x, *labels)
    assert np.any(jax.grad(lambda z: model.decode(z, *labels).mean.sum())(z) != 0)
    np.testing.assert_allclose(jax.jit(model.elbo)(x, *labels), model.elbo(x, *labels), rtol=2e-5, atol=1e-5)
    assert jax.tree.leaves(jax.jit(model.decode)(z, *labels))[0].shape[0] == 5


def test_latents_and_counts_are_checked():
    model = trained_models.model("flat")
    with pytest.raises(ValueError, match=r"latents.shape must be \(..., 3\), got \(2, 4\)"):
        model.decode(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        model.log_evidence(IMAGES, samples=0)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        model.sample(KEY, 0)
    with pytest.raises(ValueError, match="steps must be at least 2, got 1"):
        model.interpolate(IMAGES[0], IMAGES[1], 1)


def test_scores_are_the_closed_forms():
    split = linear.images(40)
    module = VAE(
        FixedGaussian(linear.STD),
        (),
        MLPDecoder(linear.SHAPE, (linear.BIAS,), (), "tanh"),
        MLPEncoder((), "tanh"),
        GaussianHead(2),
    )
    contract = DataContract(linear.SHAPE, 256, likelihood="gaussian_fixed")
    model = TrainedModel(TrainConfig(), contract, module, linear.params(), None, 0)
    truth = linear.log_evidence(linear.pixels(split))
    # Under the exact posterior every importance weight is p(x).
    np.testing.assert_allclose(model.log_evidence(split.images, samples=2), truth, rtol=1e-4, atol=1e-3)
    q = model.encode(split.images)
    np.testing.assert_allclose(q.mean, linear.posterior_mean(linear.pixels(split)), rtol=1e-3, atol=1e-4)
    key = jax.random.split(jax.random.key(0), 200)
    elbos = np.array([model.elbo(split.images, key=k) for k in key])
    error = elbos.std(axis=0) / np.sqrt(len(key))
    assert np.all(np.abs(elbos.mean(axis=0) - truth) < 5 * error + 1e-3)


def test_it_says_what_it_is():
    assert repr(trained_models.model("top_down")).startswith("TrainedModel(TopDownVAE of 5 latents, ")
