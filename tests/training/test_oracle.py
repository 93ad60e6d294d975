from jaxvae.training import config_from_mapping, load_run, make_experiment, train
from jaxvae.training.config import WANTED
from jaxvae.training.oracle import gap


def run(out, **fields):
    train(make_experiment(config_from_mapping(fields)), out)
    return load_run(out)


def test_a_linear_vae_reaches_the_closed_form(tmp_path):
    found = gap(run(tmp_path, dataset="linear-gaussian", **WANTED["linear-gaussian"], parameterization="softplus_std"))
    assert found.maximum - found.reached < 1e-3
    assert found.maximum - found.reached > -4 * found.error  # in the mean, no bound exceeds the maximum
    assert found.error < 3e-4


def test_a_short_training_does_not(tmp_path):
    fields = {**WANTED["linear-gaussian"], "epochs": 2}
    found = gap(run(tmp_path, dataset="linear-gaussian", **fields))
    assert found.maximum - found.reached > 0.1


def test_other_data_have_none(tmp_path):
    assert gap(run(tmp_path, latents=1, hidden=(2,), epochs=1, batch_size=80)) is None
