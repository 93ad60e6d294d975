"""A run in its directory: which parameters are its model's, and how they score; with and without its data."""

import json

import jax
import numpy as np
import pytest

from jaxvae import training
from jaxvae.trained import Run, evaluate
from jaxvae.training import config_from_mapping, make_experiment
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


def test_grey_pixels_under_a_bernoulli_have_no_bits(tmp_path):
    training.train(tiny(binarization="none", epochs=1), tmp_path / "run")
    assert "bits_per_dimension" not in evaluate(Run(tmp_path / "run"), 1)


def test_the_average_is_what_is_scored(tmp_path):
    experiment = tiny(ema_decay=0.9)
    training.train(experiment, tmp_path / "run")
    state = load_state(tmp_path / "run")
    run = Run(tmp_path / "run")
    assert run.model.step == int(state.step) == 64
    assert bits(run.model.params) == bits(state.ema)
    assert bits(run.model.params) != bits(state.params)
