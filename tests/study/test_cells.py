import jax
import numpy as np
import pytest

from jaxvae import ranges
from jaxvae.study.cells import make_data, score, segment_epochs
from jaxvae.study.results import STD_EDGES
from jaxvae.training import TrainConfig, make_experiment
from jaxvae.training.devices import one_device


@pytest.fixture(scope="module")
def experiment():
    mesh = one_device()
    config = TrainConfig(
        hidden=(16,), latents=3, batch_size=80, samples=7, parameterization="sac_log_std", conditional=True
    )
    return make_experiment(config, mesh)


def test_what_is_scored_is_padded_to_whole_batches(experiment):
    data = make_data(experiment)
    assert data.scored.counts.shape == (3, 200)
    assert {name: int(own.sum()) for name, own in data.counts.items()} == {"test": 300, "validation": 200}
    for name, own in data.counts.items():
        np.testing.assert_array_equal(data.scored.images[own], experiment.scored[name].images)
        np.testing.assert_array_equal(data.scored.given[own][:, 0], experiment.scored[name].labels)
    np.testing.assert_array_equal(data.train["given"][:, 0], experiment.dataset.train.labels)


@pytest.mark.slow
def test_the_saturated_are_counted(experiment):
    state = jax.device_get(jax.jit(experiment.begin)(0))
    state.params["params"]["head"]["raw"]["bias"] = np.float32([-25.0, 0.0, 3.0])
    scores = jax.jit(lambda state: score(experiment, make_data(experiment), state))(state)
    np.testing.assert_allclose(scores.saturation, [1 / 3, 1 / 3, 2 / 3], rtol=1e-6)
    assert ranges.Saturation._fields == ("floor", "ceiling", "dead")
    in_bins = np.histogram(np.log10([np.exp(-20), 1.0, np.exp(2)]), STD_EDGES)[0]
    in_bins[0] += 1  # exp(-20) is below the first edge
    assert scores.std_histogram.tolist() == (300 * in_bins).tolist()


@pytest.mark.parametrize(
    ("epochs", "every", "expected"), [(150, None, 6), (150, 7, 6), (7, 3, 1), (10, 20, 10), (1, None, 1)]
)
def test_segments_divide_the_epochs(epochs, every, expected):
    assert segment_epochs(TrainConfig(epochs=epochs, evaluate_every=every)) == expected
