"""What is left to the data follows from them, and what contradicts them is refused with what resolves it."""

import numpy as np
import pytest

from jaxvae.data import Reading, from_arrays, load
from jaxvae.training import TrainConfig
from jaxvae.training.defaults import cautions, resolved

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 6, 6), np.uint8)


def data(images, **reading):
    return from_arrays(images, reading=Reading(**reading))


DATA = {
    "grey": data(GREY),
    "binary": data(GREY > 100),
    "digits": load("digits"),
    "rows": data(np.where(GREY.max() == GREY, 255, GREY).reshape(20, 36)),
    "colour": data(RNG.integers(0, 256, (20, 6, 6, 3), np.uint8)),
    "two channels": data(RNG.integers(0, 256, (20, 6, 6, 2), np.uint8)),
    "wide": data(GREY.astype(np.uint16) * 257),
    "fractions": data(RNG.random((20, 6, 6))),
    "colour fractions": data(RNG.random((20, 6, 6, 3))),
    "signed": data(RNG.uniform(-1, 1, (20, 6, 6)), value_range=(-1.0, 1.0)),
    "table": data(RNG.normal(size=(20, 5))),
    "real pictures": data(RNG.normal(size=(20, 6, 6))),
    "holes in 0 and 1": from_arrays(GREY > 100, mask=GREY < 30),
    "holes in grey": from_arrays(GREY, mask=GREY < 30),
    "holes in rows": from_arrays(np.where(GREY < 30, np.nan, GREY / 8 - 20).reshape(20, 36)),
}


@pytest.mark.parametrize(
    ("name", "likelihood", "binarization"),
    [
        ("grey", "bernoulli", "dynamic"),
        ("digits", "bernoulli", "dynamic"),
        ("rows", "bernoulli", "dynamic"),
        ("binary", "bernoulli", "none"),
        ("colour", "gaussian_learned", "none"),
        ("two channels", "gaussian_learned", "none"),
        ("wide", "gaussian_learned", "none"),
        ("fractions", "gaussian_learned", "none"),
        ("colour fractions", "gaussian_learned", "none"),
        ("signed", "gaussian_learned", "none"),
        ("table", "gaussian_learned", "none"),
        ("holes in 0 and 1", "bernoulli", "none"),
        ("holes in grey", "gaussian_learned", "none"),
        ("holes in rows", "gaussian_learned", "none"),
    ],
)
def test_defaults_follow_the_data(name, likelihood, binarization):
    found = resolved(TrainConfig(), DATA[name])
    assert (found.likelihood, found.binarization) == (likelihood, binarization)
    assert not cautions(found, DATA[name])
    assert resolved(found, DATA[name]) == found


@pytest.mark.parametrize("name", ["grey", "colour", "wide", "fractions", "binary"])
@pytest.mark.parametrize("likelihood", ["gaussian_fixed", "gaussian_learned", "continuous_bernoulli"])
def test_other_likelihoods_see_data_as_they_are(name, likelihood):
    assert resolved(TrainConfig(likelihood=likelihood), DATA[name]).binarization == "none"


@pytest.mark.parametrize(("fields", "activation"), [({}, "tanh"), ({"architecture": "conv"}, "silu")])
def test_the_nonlinearity_follows_the_architecture(fields, activation):
    assert resolved(TrainConfig(**fields), DATA["grey"]).activation == activation
    assert resolved(TrainConfig(activation="relu", **fields), DATA["grey"]).activation == "relu"


def test_asking_for_binary_pixels_asks_for_their_likelihood():
    found = resolved(TrainConfig(binarization="dynamic"), DATA["colour"])
    assert (found.likelihood, found.binarization) == ("bernoulli", "dynamic")


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("grey", {"likelihood": "gaussian_learned", "binarization": "dynamic"}, "binarization must be none for a"),
        ("grey", {"likelihood": "gaussian_optimal", "binarization": "fixed"}, "binarization must be none for a"),
        ("table", {"likelihood": "bernoulli"}, "likelihood must be one of gaussian_fixed, .*outside of .0, 1."),
        ("table", {"likelihood": "continuous_bernoulli"}, "unless --value-range says which are 0 and 1"),
        ("table", {"binarization": "dynamic"}, "likelihood must be one of gaussian_fixed"),
        ("table", {"likelihood": "gaussian_learned", "binarization": "fixed"}, "binarization must be none"),
        ("real pictures", {}, r"dataset must be in \[0, 1\]; say which .*--value-range LOW HIGH.* measurements"),
        ("grey", {"batch_size": 17}, "batch_size must be at most the 16 training images, got 17"),
        ("grey", {"conditional": True}, "conditional must be False for data without labels"),
    ],
)
def test_contradictions_are_refused_with_what_resolves_them(name, fields, message):
    with pytest.raises(ValueError, match=message):
        resolved(TrainConfig(**fields), DATA[name])


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(-1, 1, "--value-range -1 1"), (0, 255, "--value-range 0 255"), (-7, 3, "--value-range LOW HIGH")],
)
def test_the_range_that_is_likely_meant_is_named(low, high, said):
    images = RNG.uniform(low, high, (20, 6, 6))
    with pytest.raises(ValueError, match=rf"\({said}\)"):
        resolved(TrainConfig(), data(images))
    assert resolved(TrainConfig(likelihood="gaussian_learned"), data(images)).binarization == "none"


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("colour", {"likelihood": "bernoulli"}, "no distribution of them"),
        ("fractions", {"likelihood": "bernoulli"}, "no distribution of them"),
        ("grey", {"binarization": "none", "likelihood": "bernoulli"}, "no distribution of them"),
        ("binary", {"likelihood": "gaussian_learned"}, "no greatest density"),
        ("holes in 0 and 1", {"likelihood": "gaussian_learned"}, "no greatest density"),
        ("holes in grey", {"likelihood": "bernoulli"}, "no distribution of them"),
    ],
)
def test_known_practice_is_cautioned_against(name, fields, said):
    (found,) = cautions(resolved(TrainConfig(**fields), DATA[name]), DATA[name])
    assert said in found


def test_what_no_training_shows_is_cautioned_against():
    x = RNG.normal(size=(20, 5))
    some = from_arrays({"train": x, "test": x}, mask={"test": x > 1})
    assert cautions(resolved(TrainConfig(), some), some) == [
        "No entry is missing in the train split: what the model makes of missing ones isn't trained."
    ]


@pytest.mark.parametrize(("images", "devices", "size"), [(20, 1, 16), (20, 3, 15), (200, 1, 100), (200, 8, 96)])
def test_a_batch_fits(images, devices, size):
    some = data(RNG.integers(0, 256, (images, 6, 6), np.uint8))
    assert resolved(TrainConfig(), some, devices).batch_size == size


def test_classes_by_the_million_are_refused_with_what_they_would_take():
    labels = np.arange(20) * 100_000
    some = from_arrays(GREY, labels=labels)
    assert not resolved(TrainConfig(), some).conditional
    with pytest.raises(
        ValueError, match=r"conditional must be False: 1,900,001 classes would take 11.3 GiB of weights"
    ):
        resolved(TrainConfig(conditional=True), some)


def test_images_that_exceed_half_of_memory_are_streamed(monkeypatch):
    from jaxvae.training import defaults

    size = DATA["grey"].train.images.nbytes
    for memory, streaming in ((2 * size - 2, True), (2 * size, False)):
        monkeypatch.setattr(defaults, "memory", lambda found=memory: found)
        assert resolved(TrainConfig(), DATA["grey"]).streaming is streaming
        assert resolved(TrainConfig(streaming=False), DATA["grey"]).streaming is False


@pytest.mark.parametrize(
    ("name", "likelihood", "std"),
    [
        ("colour", "gaussian_learned", 0.3),
        ("signed", "gaussian_pixel", 0.29),
        ("colour", "gaussian_fixed", 0.1),
        ("holes in rows", "gaussian_learned", 8.0),
    ],
)
def test_a_learned_std_starts_at_the_data_s(name, likelihood, std):
    # The uniform distribution's on [0, 1] is 0.289.
    assert resolved(TrainConfig(likelihood=likelihood), DATA[name]).likelihood_std == std
    assert resolved(TrainConfig(likelihood=likelihood, likelihood_std=0.2), DATA[name]).likelihood_std == 0.2
