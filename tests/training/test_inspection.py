"""Arrays for pictures: of the right shapes, and of the right things."""

import jax
import numpy as np
import pytest

from jaxvae import training
from jaxvae.training import config_from_mapping, inspection, make_experiment
from jaxvae.training.run import Run


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "conditional"])
def run(request) -> Run:
    config = config_from_mapping({"latents": 3, "hidden": (8,), "batch_size": 80, "conditional": request.param})
    experiment = make_experiment(config)
    return Run(experiment, 0, jax.jit(experiment.init)(jax.random.key(0)))


def test_samples_are_images(run):
    images = inspection.samples(run, 12, jax.random.key(1))
    assert images.shape == (12, 8, 8, 1)
    assert np.all((images >= 0) & (images <= 1))
    assert not np.array_equal(images[0], images[1])


def test_reconstructions_stand_beside_what_was_seen(run):
    split = run.experiment.scored["test"].head(5)
    seen, means = inspection.reconstructed(run, split)
    assert seen.shape == means.shape == (5, 8, 8, 1)
    assert np.array_equal(seen, split.images)  # binary ones
    assert np.all((means >= 0) & (means <= 1))


def test_traversals_move_one_latent_and_hold_the_others(run):
    split = run.experiment.scored["test"]
    found = inspection.traversed(run, split, np.array([2, 0]), steps=5, reach=2.0)
    assert found.images.shape == (2, 5, 8, 8, 1)
    assert found.values.tolist() == [-2, -1, 0, 1, 2]
    mean = training.encode(run).mean[0]
    label = split.labels[:1] if run.experiment.model.classes else None
    for row, latent in enumerate((2, 0)):
        z = mean.copy()
        z[latent] = 1.0
        wanted = run.experiment.model.apply(run.params, z[None], label, method="mean")[0]
        np.testing.assert_allclose(found.images[row, 3], wanted, rtol=1e-5)
