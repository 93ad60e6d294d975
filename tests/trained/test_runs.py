"""A run in its directory: which parameters are its model's, and how they score; with and without its data."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import jaxvae as jv
from jaxvae import data, training
from jaxvae.data import Reading
from jaxvae.trained import Run, evaluate
from jaxvae.training import config_from_mapping, make_experiment
from jaxvae.training.devices import one_device
from jaxvae.training.directory import RunDirectory
from jaxvae.training.run import load_state

TINY = {"latents": 2, "hidden": (8,), "epochs": 4, "evaluate_every": 2, "batch_size": 80}


def tiny(**changes) -> training.Experiment:
    return make_experiment(config_from_mapping(TINY | changes))


def bits(tree) -> list[bytes]:
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "alone"
    assert training.train(tiny(), out)
    return out


def test_no_run_no_checkpoint_no_split_no_samples(alone, tmp_path):
    with pytest.raises(ValueError, match=r"run must be a directory with a config.json"):
        Run(tmp_path)
    (tmp_path / "config.json").write_text(config_from_mapping(TINY).to_json())
    with pytest.raises(ValueError, match="run must be a run with a checkpoint"):
        Run(tmp_path)
    run = Run(alone)
    with pytest.raises(ValueError, match="split must be validation or test, got 'train'"):
        evaluate(run, 1, "train")
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        evaluate(run, 0)


def test_the_best_checkpoint_by_validation_is_scored(alone):
    run = Run(alone)
    records = [r for r in training.read_metrics(alone / "metrics.jsonl") if "validation_elbo" in r]
    best = max(records, key=lambda r: r["validation_elbo"])
    assert run.model.step == best["step"]
    again = evaluate(run, 1, "validation")
    assert again["elbo"] == pytest.approx(best["validation_elbo"], rel=1e-6)
    assert again["active_units"] == best["validation_active_units"]


def test_a_score_bounds_itself(alone):
    score = evaluate(Run(alone), 50)
    assert score["images"] == 300
    assert score["elbo"] == pytest.approx(score["log_likelihood"] - score["kl"], rel=1e-6)
    assert score["kl"] == pytest.approx(sum(score["kl_per_latent"]), abs=1e-5)
    # The importance-sampled bound is tighter than the ELBO, whose one-sample error it far exceeds here.
    assert -score["nll"] > score["elbo"]
    assert 0 < score["nll_monte_carlo_error"] < score["nll_standard_error"]
    assert score["bits_per_dimension"] == pytest.approx(score["nll"] / (64 * np.log(2)))
    assert json.loads(json.dumps(score)) == score


@pytest.mark.slow
def test_arrays_in_memory_are_trained_on_and_given_back(tmp_path):
    images = np.random.default_rng(0).uniform(-1, 1, (60, 4, 4)).astype(np.float32)
    dataset = data.from_arrays(images, labels=["a", "b"] * 30, reading=Reading(value_range=(-1.0, 1.0)), name="mine")
    config = config_from_mapping(TINY | {"batch_size": 48, "epochs": 1})
    experiment = make_experiment(config, dataset=dataset)
    assert (experiment.config.dataset, experiment.config.value_range) == ("mine", (-1.0, 1.0))
    assert training.train(experiment, tmp_path / "run")
    run = Run(tmp_path / "run", dataset=dataset)
    assert run.model.contract.class_names == ("a", "b")
    score = evaluate(run, 2)
    assert score["images"] == 6
    seen = np.asarray(run.model.seen(images[dataset.test.names]))[..., 0]
    np.testing.assert_allclose(seen, (images[dataset.test.names] + 1) / 2, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(seen, run.scored["test"].images[..., 0])
    assert load_state(tmp_path / "run", dataset=dataset).step == run.model.step
    for read in (load_state, lambda out: Run(out).dataset):
        with pytest.raises(FileNotFoundError, match="the data, 'mine', were in memory; give them again as dataset"):
            read(tmp_path / "run")
    other = data.from_arrays(images[::-1], reading=Reading(value_range=(-1.0, 1.0)), name="mine")
    with pytest.raises(ValueError, match=r"data must be as they were when .* was started, got .*are others"):
        training.train(make_experiment(config, dataset=other), tmp_path / "run", resume=True)


@pytest.mark.slow
def test_grey_pixels_under_a_bernoulli_have_no_bits(tmp_path):
    training.train(tiny(binarization="none", epochs=1), tmp_path / "run")
    assert "bits_per_dimension" not in evaluate(Run(tmp_path / "run"), 1)


@pytest.mark.slow
def test_the_average_is_what_is_scored(tmp_path):
    experiment = tiny(ema_decay=0.9)
    training.train(experiment, tmp_path / "run")
    state = load_state(tmp_path / "run")
    run = Run(tmp_path / "run")
    assert run.model.step == int(state.step) == 64
    assert bits(run.model.params) == bits(state.ema)
    assert bits(run.model.params) != bits(state.params)


RNG = np.random.default_rng(0)
FOLDER = {**TINY, "binarization": "threshold", "epochs": 1, "evaluate_every": 1, "batch_size": 16, "conditional": True}


def draw(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (6, 5), np.uint8)).save(path)


def folder(path):
    for i in range(30):
        draw(path / "ape" / f"{i}.png")
        draw(path / "bee" / f"{i}.png")
    return path


def train_on(path, out, **changes):
    assert training.train(make_experiment(config_from_mapping(FOLDER | {"dataset": str(path)} | changes)), out)


def test_a_run_stands_without_its_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "images")
    train_on("images", tmp_path / "run")
    before = evaluate(Run("run"), 2)
    x = RNG.integers(0, 256, (3, 6, 5), np.uint8)
    latents = jv.load("run").encode(x, ["ape", "bee", "bee"]).mean
    monkeypatch.chdir("/")
    assert evaluate(Run(tmp_path / "run"), 2) == before  # from another working directory
    (tmp_path / "images").rename(tmp_path / "moved")
    model = jv.load(tmp_path / "run")
    np.testing.assert_array_equal(model.encode(x, [0, 1, 1]).mean, latents)
    assert model.sample(jax.random.key(0), 2, "bee").shape == (2, 6, 5, 1)
    assert model.contract.class_names == ("ape", "bee")
    with pytest.raises(ValueError, match=r"dataset must be the folder that was .*images; --dataset says where it is"):
        evaluate(Run(tmp_path / "run"), 2)
    assert evaluate(Run(tmp_path / "run", dataset=tmp_path / "moved"), 2) == before


@pytest.mark.slow
def test_files_that_come_later_are_no_part_of_a_run(tmp_path, caplog):
    path = folder(tmp_path / "images")
    train_on(path, tmp_path / "run", validation=7)
    before = evaluate(Run(tmp_path / "run"), 2)
    for name in ("ape/!first.png", "cow/0.png", "cow/1.png"):
        draw(path / name)
    run = Run(tmp_path / "run")
    assert evaluate(run, 2) == before
    assert len(run.split("validation")) == 7
    assert training.train(tiny_again(tmp_path / "run"), tmp_path / "run", resume=True)
    assert not caplog.records


def tiny_again(out) -> training.Experiment:
    directory = RunDirectory(out)
    return make_experiment(directory.config(), origin=directory.kept().origin)


def test_data_that_are_others_are_told_of_or_refused(tmp_path, caplog):
    path = folder(tmp_path / "images")
    train_on(path, tmp_path / "run")
    names = {name: split.names for name, split in tiny_again(tmp_path / "run").dataset.splits.items()}
    draw(path / names["test"][0])
    for use in (lambda run: evaluate(run, 2), lambda run: run.dataset):
        with pytest.raises(
            ValueError,
            match=r"data must be those of the training, or others by --dataset.*, got 'images or labels of the",
        ):
            use(Run(tmp_path / "run"))
    evaluate(Run(tmp_path / "run", dataset=path), 2)
    assert [r.getMessage() for r in caplog.records] == [
        "the data aren't those of the training: images or labels of the test split are others"
    ]
    with pytest.raises(
        ValueError, match=r"data must be as they were when .*run was started, got 'images or labels of the te"
    ):
        training.train(tiny_again(tmp_path / "run"), tmp_path / "run", resume=True)
    (path / names["train"][0]).unlink()
    with pytest.raises(
        ValueError, match=rf"images must be all files of before; 1 are missing, got 'no {names['train'][0]}'"
    ):
        evaluate(Run(tmp_path / "run"), 2)


@pytest.mark.slow
def test_rows_that_come_later_are_no_part_of_a_run(tmp_path):
    images = RNG.integers(0, 256, (40, 6, 5), np.uint8)
    np.save(tmp_path / "x.npy", images)
    train_on(tmp_path / "x.npy", tmp_path / "run", conditional=False, validation=3)
    before, names = evaluate(Run(tmp_path / "run"), 2), Run(tmp_path / "run").split("test").names
    np.save(tmp_path / "x.npy", np.concatenate([images, images]))
    assert evaluate(Run(tmp_path / "run"), 2) == before
    assert np.array_equal(Run(tmp_path / "run").split("test").images[..., 0], images[names] >= 127.5)
    np.save(tmp_path / "x.npy", images[:39])
    with pytest.raises(
        ValueError, match=r"x.npy: number of images must be 40 or more, as when they were split, got 39"
    ):
        evaluate(Run(tmp_path / "run"), 2)
    np.save(tmp_path / "x.npy", images[:, :5])
    with pytest.raises(
        ValueError, match=r"dataset must be of images \(6, 5, 1\), as in training, got 'images of \(5, 5, 1"
    ):
        evaluate(Run(tmp_path / "run"), 2)


def test_a_run_inside_its_data_is_refused_before_it_is_trained(tmp_path):
    path = folder(tmp_path / "images")
    with pytest.raises(ValueError, match=r"out must be outside of the data, .*images, got .*run"):
        train_on(path, path / "run")
    assert sorted(p.name for p in path.iterdir()) == ["ape", "bee"]


KEPT = ("contract.json", "data.json", "mean.npy")


@pytest.fixture
def old(alone, tmp_path):
    """A run of before runs kept what they need of their data."""
    shutil.copytree(alone, tmp_path / "old")
    for name in KEPT:
        (tmp_path / "old" / name).unlink()
    return tmp_path / "old"


def test_a_run_of_before_is_read_by_way_of_its_data(old, alone):
    assert evaluate(Run(old), 3) == evaluate(Run(alone), 3)
    assert jv.load(old).contract == jv.load(alone).contract


@pytest.mark.slow
def test_a_run_of_before_does_not_know_a_folders_split(tmp_path):
    train_on(folder(tmp_path / "images"), tmp_path / "run")
    for name in KEPT:
        (tmp_path / "run" / name).unlink()
    run = Run(tmp_path / "run")
    assert run.model.sample(jax.random.key(0), 2).shape == (2, 6, 5, 1)
    with pytest.raises(ValueError, match="run must be one that knows which images it was trained on: train it again"):
        evaluate(run, 1)
    with pytest.raises(ValueError, match="run must be one that knows which images it was trained on: train it again"):
        training.train(make_experiment(run.model.config), tmp_path / "run", resume=True)
    (tmp_path / "images").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"run is of an older version, .*can't be read .*; --dataset says"):
        jv.load(tmp_path / "run")
    assert jv.load(tmp_path / "run", dataset=tmp_path / "moved").contract == run.model.contract


@pytest.mark.parametrize("name", KEPT)
def test_a_damaged_file_is_named(alone, tmp_path, name):
    shutil.copytree(alone, tmp_path / "run")
    (tmp_path / "run" / name).write_text("{}")
    with pytest.raises(ValueError, match=r"run must have contract.json, data.json and mean.npy as written, got"):
        jv.load(tmp_path / "run")


@pytest.mark.slow
def test_a_best_sigma_is_kept(tmp_path):
    config = config_from_mapping({**TINY, "likelihood": "gaussian_optimal", "binarization": "none", "epochs": 2})
    experiment = make_experiment(config, one_device())
    training.train(experiment, tmp_path / "run")
    model = jv.load(tmp_path / "run")
    np.testing.assert_allclose(model.fitted, experiment.fitted(model.params), rtol=1e-5)
