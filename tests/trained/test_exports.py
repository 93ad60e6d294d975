"""A folder that stands for itself: what is read back is what was written, bit for bit."""

import json

import jax
import numpy as np
import pytest
import trained_models
from cutting import cut_short
from representatives import each

import jaxvae as jv
from jaxvae import training
from jaxvae.cli import main
from jaxvae.files import entries
from jaxvae.trained import Run, export_run, exports
from jaxvae.trained.exports import command_of, model_card
from jaxvae.training import TrainConfig, config_from_mapping, make_experiment
from jaxvae.training.directory import RunDirectory

FIELDS = {"latents": 3, "hidden": (8,), "upper_hidden": (8,), "epochs": 1, "batch_size": 80}


class Untrained:
    """A run of a model that wasn't trained."""

    def __init__(self, model, path) -> None:
        self.model, self.directory, self.counts = model, RunDirectory(path), {"train": 1297, "test": 300}


@pytest.mark.parametrize("kind", each(trained_models.KINDS, trained_models.KEPT))
def test_a_model_is_read_back_bit_for_bit(kind, tmp_path):
    model = trained_models.model(kind)
    export_run(Untrained(model, tmp_path), tmp_path / "out")
    again = jv.load(tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "config.json",
        "contract.json",
        "model.safetensors",
        "README.md",
    }
    assert (again.config, again.contract, again.module, again.step) == (model.config, model.contract, model.module, 7)
    for a, b in zip(*(jax.tree.leaves((m.params, m.fitted)) for m in (model, again)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        assert a.dtype == b.dtype


@pytest.mark.parametrize("done", range(1, 4))
def test_an_export_that_was_cut_short_is_no_model_and_is_written_again(done, tmp_path, monkeypatch):
    run = Untrained(trained_models.model("flat"), tmp_path)
    with monkeypatch.context() as patch:
        cut_short(patch, exports, done - 1)  # the weights are written by another module
        with pytest.raises(OSError, match="No space"):
            export_run(run, tmp_path / "out")
    with pytest.raises((ValueError, OSError), match=r"config.json|contract.json"):
        jv.load(tmp_path / "out")
    export_run(run, tmp_path / "out")
    assert entries(tmp_path / "out") == {"config.json", "contract.json", "model.safetensors", "README.md"}
    with pytest.raises(ValueError, match="out must be a new or empty directory"):
        export_run(run, tmp_path / "out")


@pytest.mark.slow
def test_a_run_is_exported_with_what_it_was_trained_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    training.train(make_experiment(config_from_mapping(FIELDS)), tmp_path / "run")
    run = Run("run")
    run.directory.write_report(
        "evaluation-test",
        {"images": 300, "step": run.model.step, "elbo": -30.5, "nll": 29.5, "nll_standard_error": None, "samples": 9},
    )
    assert main(["export", "run", "--out", "out"]) == 0
    assert capsys.readouterr().out == "out\n"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "1,297 train, 200 validation, 300 test images of 8x8x1, integers in 0..16" in card
    command = "--latents 3 --upper-hidden 8 --likelihood bernoulli --likelihood-std 0.1 --hidden 8"
    assert f"`jaxvae train --binarization dynamic {command}" in card
    assert "| test | 300 | -30.500 | 29.500 ± n/a | 9 |" in card
    images = make_experiment(run.model.config).dataset.test.images[:3]
    np.testing.assert_array_equal(jv.load("out").encode(images).mean, run.model.encode(images).mean)
    assert jv.load("out").module == run.model.module  # with the mean image that its decoder starts at
    assert main(["export", "run", "--out", "out"]) == 2
    assert main(["sample", "out", "--count", "1", "--out", "x.png"]) == 0
    assert main(["encode", "out", "--out", "z.npz"]) == 2
    assert "--data must be given: out is an exported model" in capsys.readouterr().err


def test_a_command_says_what_was_chosen(tmp_path):
    config = TrainConfig(dataset="/home/me/my images", conditional=True, hidden=(3, 4), clip_norm=1.0, data_dir="/x")
    assert command_of(config) == "jaxvae train --dataset 'my images' --conditional true --hidden 3 4 --clip-norm 1.0"
    card = model_card(Untrained(trained_models.model("conditional"), tmp_path))
    assert "Classes: ape, bee, cow." in card


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("contract.json", "[]", "contract.json must be a contract as written"),
        ("config.json", "[]", "config must be a JSON object"),
        ("model.safetensors", "junk", "model.safetensors must be a safetensors file"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, message):
    export_run(Untrained(trained_models.model("flat"), tmp_path), tmp_path / "out")
    (tmp_path / "out" / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        jv.load(tmp_path / "out")


def test_weights_of_another_configuration_are_refused(tmp_path):
    export_run(Untrained(trained_models.model("flat"), tmp_path), tmp_path / "out")
    path = tmp_path / "out" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "latents": 4}))
    with pytest.raises(ValueError, match=r"model.safetensors must be of config.json, got \[\("):
        jv.load(tmp_path / "out")
