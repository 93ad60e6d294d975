"""A table of several kinds of columns with missing entries: trained on, and filled by codes and numbers that fit."""

import jax
import mixed
import numpy as np
import pytest
import quick

from jaxvae.data import from_table
from jaxvae.data.tables import as_table
from jaxvae.trained import TrainedModel
from jaxvae.training import TrainConfig, make_experiment, train_step
from jaxvae.training.devices import one_device

pytestmark = pytest.mark.slow

FIELDS = {"hidden": (16,), "latents": 1, "batch_size": 32, "learning_rate": 0.03}


@pytest.fixture(scope="module")
def filled():
    """Rows (N, C) with holes, what fills them, and the true ones; and the features."""
    columns = mixed.columns()
    del columns["group"]
    whole = from_table(as_table(columns), "people")
    rng = np.random.default_rng(1)
    rows = np.concatenate([split.images[:, 0, 0] for split in whole.splits.values()])
    holes = {
        name: [None if hole else x for x, hole in zip(column.tolist(), rng.random(len(column)) < 0.2, strict=True)]
        for name, column in columns.items()
    }
    data = from_table(as_table(holes), "people")
    experiment = make_experiment(TrainConfig(**FIELDS), one_device(), dataset=data)
    step, images = jax.jit(train_step(experiment.loss, experiment.tx)), data.train.images
    state = experiment.begin(0)
    for i in range(200):
        some = np.arange(32 * i, 32 * i + 32) % len(images)
        state, _ = step(state, {"image": images[some], "beta": np.float32(1)})
    assert state.skipped == 0
    model = TrainedModel(experiment.config, experiment.contract, experiment.model, state.params, None, 200)
    given = np.concatenate([split.images[:, 0, 0] for split in data.splits.values()])
    return given, model.impute(given, samples=200, key=quick.key(0)), rows, data.features


def test_what_was_observed_stays_and_categories_are_filled_by_categories(filled):
    given, full, _, features = filled
    missing = np.isnan(given)
    assert 0.15 < missing.mean() < 0.25
    assert full[~missing].tobytes() == given[~missing].tobytes()
    for i, feature in enumerate(features):
        if feature.levels:
            assert np.isin(full[:, i], range(len(feature.levels))).all(), feature.name


def test_what_is_filled_in_is_nearer_than_means_and_the_most_frequent(filled):
    given, full, rows, features = filled
    missing = np.isnan(given)
    for i, feature in enumerate(features):
        holes, known = missing[:, i], given[~missing[:, i], i]
        if feature.name in ("depth", "visits"):
            error, naive = (np.mean((x - rows[holes, i]) ** 2) for x in (full[holes, i], known.mean()))
            assert error < 0.8 * naive, feature.name
        elif feature.name in ("ward", "stage"):
            values, counts = np.unique(known, return_counts=True)
            right = np.mean(full[holes, i] == rows[holes, i])
            assert right > np.mean(rows[holes, i] == values[np.argmax(counts)]) + 0.1, feature.name
