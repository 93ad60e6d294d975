"""A batch that shifts each column, and an age: a model that is given them doesn't have them in its latents."""

import dataclasses
from contextlib import nullcontext

import jax
import numpy as np
import pytest

import jaxvae as jv
from jaxvae import study, training
from jaxvae.cli import main
from jaxvae.data import from_table
from jaxvae.data.tables import TableReading, as_table
from jaxvae.trained import Run, evaluate, export_run
from jaxvae.training import TrainConfig
from jaxvae.training.batches import IterableFeed

SHIFT = np.array([3.0, -3.0, 2.0])
CONFIG = TrainConfig(
    latents=1, hidden=(), epochs=30, batch_size=64, learning_rate=3e-2, evaluate_every=30, samples=2, conditional=True
)


def data(covariates=("batch", "age")):
    rng = np.random.default_rng(0)
    code, age, u = rng.integers(0, 2, 400), rng.uniform(20, 80, 400), rng.normal(size=(400, 1))
    rows = u * [1.0, 0.5, -1.0] + code[:, None] * SHIFT + (age[:, None] - 50) / 15 + 0.3 * rng.normal(size=(400, 3))
    columns = {**dict(zip("xyz", rows.T, strict=True)), "batch": np.array(["a", "b"])[code], "age": age}
    columns |= {"class": np.array(["u", "v"])[(u[:, 0] > 0).astype(int)]}
    kinds = {"age": "skip", "batch": "skip"} if not covariates else {}
    return from_table(as_table(columns, TableReading(label="class", covariates=covariates, kinds=kinds)))


@pytest.fixture(scope="module")
def given():
    return data()


@pytest.fixture(scope="module")
def run(given, tmp_path_factory):
    out = tmp_path_factory.mktemp("covariates") / "run"
    training.train(training.make_experiment(CONFIG, dataset=given), out)
    return Run(out, dataset=given)


def by_batch(model, split, code, **beside):
    """The share of the first latent's variance that lies between the batches."""
    z = np.asarray(model.latents(split.images, split.labels, **beside))[:, 0]
    return np.corrcoef(z, code)[0, 1] ** 2


@pytest.mark.slow
def test_latents_do_not_tell_the_batch(run, given, tmp_path):
    blind = data(())
    training.train(training.make_experiment(CONFIG, dataset=blind), tmp_path / "blind")
    code = given.test.covariates[:, 0]
    assert by_batch(Run(tmp_path / "blind", dataset=blind).model, blind.test, code) > 0.5
    assert by_batch(run.model, given.test, code, covariates=given.test.covariates) < 0.1


@pytest.mark.slow
def test_another_batch_moves_the_mean(run):
    z = np.zeros((1, 1), np.float32)
    a, b = (np.ravel(run.model.decode(z, "u", {"batch": x, "age": 50}).mean) for x in "ab")
    np.testing.assert_allclose(b - a, SHIFT, atol=0.4)
    young, old = (np.ravel(run.model.decode(z, "u", {"batch": "a", "age": x}).mean) for x in (35, 65))
    np.testing.assert_allclose(old - young, 2, atol=0.4)


def test_an_exported_model_has_its_covariates(run, given, tmp_path):
    export_run(run, tmp_path / "exported")
    model, split = jv.load(tmp_path / "exported"), given.test
    named = {"batch": np.array(["a", "b"])[split.covariates[:, 0].astype(int)], "age": split.covariates[:, 1]}
    want = run.model.latents(split.images, split.labels, split.covariates)
    np.testing.assert_array_equal(model.latents(split.images, split.labels, named), want)
    assert model.contract == run.model.contract
    assert "with batch (a, b), age (a number)" in repr(model)
    drawn = model.sample(jax.random.key(0), 4, "u", {"batch": "b", "age": 50})
    assert drawn.shape == (4, 1, 1, 3)


def test_without_covariates_it_says_which(run, given):
    with pytest.raises(
        ValueError, match=r"covariates must be given, as the model was trained with batch \(a, b\), age"
    ):
        run.model.encode(given.test.images, given.test.labels)
    with pytest.raises(ValueError, match="labels must be given"):
        run.model.encode(given.test.images, covariates=given.test.covariates)
    experiment = training.make_experiment(CONFIG, dataset=given)
    with pytest.raises(ValueError, match="covariates must be left out for batches, which have none"):
        IterableFeed(experiment, lambda state, batch: (state, {}), [])


@pytest.fixture
def file(given, tmp_path):
    """The training rows as a file, with their class and covariates by name."""
    split, lines = given.train, ["x,y,z,batch,age,class"]
    for row, (code, age), label in zip(split.images[:, 0, 0], split.covariates, split.labels, strict=True):
        lines.append(",".join(map(str, (*row, "ab"[int(code)], age, "uv"[label]))))
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "rows.csv"


class Epochs:
    """Asks to stop after so many."""

    def __init__(self, stop_at: int) -> None:
        self.stop_at, self.done = stop_at, 0

    def update(self, step, metrics):
        pass

    def epoch(self, record):
        self.done = record["epoch"]

    def stop(self):
        return self.done >= self.stop_at


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
def test_stopped_and_resumed_as_if_never_stopped(given, tmp_path, streaming):
    if streaming:
        pytest.importorskip("grain")

    def parameters(name, *stops):
        for resume, stop_at in enumerate(stops):
            epochs = Epochs(stop_at)
            experiment = training.make_experiment(
                dataclasses.replace(CONFIG, epochs=4, streaming=streaming), dataset=given
            )
            training.train(
                experiment,
                tmp_path / name,
                resume=bool(resume),
                watch=lambda _, w=epochs: nullcontext(w),
                stop=epochs.stop,
            )
            assert (epochs.done < 4) == (stop_at < 4)
        return jax.tree.leaves(jv.load(tmp_path / name).params)

    for stopped, alone in zip(parameters("stopped", 2, 9), parameters("alone", 9), strict=True):
        np.testing.assert_array_equal(stopped, alone)


@pytest.mark.slow
def test_a_study_is_given_them(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [
        "--dataset",
        str(file),
        "--covariates",
        "batch",
        "age",
        "--label",
        "class",
        "--latents",
        "1",
        "--seed",
        "3",
    ]
    flags += [
        "--init-std",
        "0.5",
        "--hidden",
        "8",
        "--epochs",
        "20",
        "--learning-rate",
        "0.03",
        "--batch-size",
        "32",
        "--samples",
        "5",
    ]
    names = "log_variance", "softplus_std"
    assert main(["compare", *flags, "--parameterization", *names, "--out", "study"]) == 0
    records = {r["config"]["parameterization"]: r for r in study.read_results(tmp_path / "study" / study.RESULTS)}
    assert {*records} == {*names}
    for name in names:
        assert main(["train", *flags, "--parameterization", name, "--out", name]) == 0
        run = Run(tmp_path / name)
        assert [c.name for c in run.model.contract.covariates] == ["batch", "age"]
        # Products in another order, over a hundred and sixty steps of training.
        assert records[name]["nll"] == pytest.approx(evaluate(run, 5)["nll"], rel=1e-3)
