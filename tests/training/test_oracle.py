from jaxvae.training import config_from_mapping, load_run, make_experiment, train
from jaxvae.training.config import WANTED
from jaxvae.training.devices import one_device
from jaxvae.training.oracle import gap


def found(out, **fields):
    train(make_experiment(config_from_mapping(fields), one_device()), out)
    return gap(load_run(out))


def test_a_linear_vae_reaches_the_closed_form(tmp_path):
    """To 1e-3 nats after all 1,600 epochs: that takes a benchmark."""
    fields = {**WANTED["linear-gaussian"], "epochs": 300, "evaluate_every": 300}
    maximum, reached, error = found(tmp_path, dataset="linear-gaussian", **fields)
    assert error < 1e-3
    assert -4 * error < maximum - reached < 1e-2  # no bound exceeds the maximum


def test_a_short_training_does_not(tmp_path):
    maximum, reached, error = found(tmp_path, dataset="linear-gaussian", **WANTED["linear-gaussian"] | {"epochs": 2})
    assert maximum - reached > 0.1 > 10 * error


def test_other_data_have_none(tmp_path):
    assert found(tmp_path, latents=1, hidden=(2,), epochs=1, batch_size=80) is None
