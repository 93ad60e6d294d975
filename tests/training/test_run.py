"""Whole runs on the bundled digits: what is written, stopped, resumed, refused, scored."""

import json
import shutil
from contextlib import nullcontext

import jax
import numpy as np
import pytest
from representatives import each

from jaxvae import training
from jaxvae.files import entries
from jaxvae.trained import Run
from jaxvae.training import TrainConfig, config_from_mapping, make_experiment
from jaxvae.training.devices import cores, data_mesh, one_device
from jaxvae.training.directory import RunDirectory
from jaxvae.training.run import load_state, read_checkpoints
from jaxvae.training.start import transferred

OWN = {"config.json", "versions.json", "contract.json", "data.json", "mean.npy"}
TINY = {"latents": 2, "hidden": (8,), "epochs": 4, "evaluate_every": 2, "batch_size": 80}


def tiny(**changes) -> training.Experiment:
    return make_experiment(config_from_mapping(TINY | changes))


class Watcher:
    """Asks to stop at a step."""

    def __init__(self, stop_at: int = 10**9) -> None:
        self.stop_at, self.steps, self.epochs = stop_at, [], []

    def update(self, step, metrics):
        assert np.isfinite(metrics["elbo"])
        self.steps.append(step)

    def epoch(self, record):
        self.epochs.append(record["epoch"])
        self.steps.append(record["step"])

    def stop(self):
        return bool(self.steps) and self.steps[-1] >= self.stop_at


def bits(tree) -> list[bytes]:
    raw = [jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in tree]
    return [np.asarray(x).tobytes() for x in raw]


def final(out) -> list[bytes]:
    return bits(jax.tree.leaves(load_state(out)))


def timeless(out) -> list[dict]:
    records = training.read_metrics(out / training.METRICS)
    return [{k: v for k, v in record.items() if k not in ("seconds", "examples_per_second")} for record in records]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run that nothing happened to."""
    out = tmp_path_factory.mktemp("runs") / "alone"
    watcher = Watcher()
    assert training.train(tiny(), out, watch=lambda step: nullcontext(watcher))
    assert watcher.epochs == [1, 2, 3, 4]
    return out


def test_a_run_leaves_its_files(alone):
    assert entries(alone) == OWN | {"metrics.jsonl", "checkpoints"}
    assert training.read_config(alone / "config.json") == tiny().config
    records = training.read_metrics(alone / "metrics.jsonl")
    assert [r["epoch"] for r in records] == [1, 2, 3, 4]
    assert [r["step"] for r in records] == [16, 32, 48, 64]
    assert records[-1]["elbo"] > records[0]["elbo"]
    assert records[0]["elbo"] == pytest.approx(records[0]["log_likelihood"] - records[0]["kl"], rel=1e-5)
    assert ["validation_elbo" in r for r in records] == [False, True, False, True]
    assert all(r["skipped"] == 0 and r["beta"] == 1 for r in records)


@pytest.mark.parametrize("step", each((1, 16, 48), kept=(48,)))
def test_stopped_and_resumed_as_if_never_stopped(alone, tmp_path, step, monkeypatch):
    monkeypatch.setattr("jaxvae.training.run._SEGMENT", 5)
    out, watcher = tmp_path / "run", Watcher(step)
    assert not training.train(tiny(), out, watch=lambda begun: nullcontext(watcher), stop=watcher.stop)
    stopped_at = watcher.steps[-1]
    assert step <= stopped_at < 64
    begun = []

    def watch(step):
        begun.append(step)
        return nullcontext(Watcher())

    assert training.train(tiny(), out, resume=True, watch=watch)
    assert begun == [stopped_at]
    assert final(out) == final(alone)
    assert timeless(out) == timeless(alone)


@pytest.mark.slow
def test_given_batches_are_trained_on_and_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxvae.training.run._SEGMENT", 5)
    x = tiny().dataset.train.images
    loader = [x[start : start + 80] for start in range(0, 800, 80)] + [x[:7]]
    for out, stops in (("alone", ()), ("stopped", (18,))):
        for step in stops:
            watcher = Watcher(step)
            watch = {"watch": lambda begun, watcher=watcher: nullcontext(watcher), "stop": watcher.stop}
            assert not training.train(tiny(), tmp_path / out, batches=loader, **watch)
        assert training.train(
            tiny(), tmp_path / out, batches=iter(loader[:-1] * 7) if stops else loader, resume=bool(stops)
        )
    assert final(tmp_path / "stopped") == final(tmp_path / "alone")
    records = timeless(tmp_path / "alone")
    assert timeless(tmp_path / "stopped") == records
    assert [r["step"] for r in records] == [16, 32, 48, 64]  # epochs are the data's, whatever the loader's
    assert records[-1]["elbo"] > records[0]["elbo"]


def test_resuming_what_is_not_there_begins_it(alone, tmp_path):
    assert training.train(tiny(), tmp_path / "run", resume=True)
    assert final(tmp_path / "run") == final(alone)


@pytest.mark.slow
def test_resuming_what_is_complete_changes_nothing(alone):
    before = final(alone), timeless(alone)
    assert training.train(tiny(), alone, resume=True)
    assert (final(alone), timeless(alone)) == before


@pytest.mark.slow
def test_a_finished_run_goes_on_for_more_epochs(alone, tmp_path):
    shutil.copytree(alone, tmp_path / "run")
    more = tiny(epochs=6, learning_rate=1e-4)
    assert training.train(more, tmp_path / "run", resume=True)
    assert [r["epoch"] for r in timeless(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
    assert timeless(tmp_path / "run")[:4] == timeless(alone)
    assert timeless(tmp_path / "run")[4]["learning_rate"] < 1e-4
    assert training.read_config(tmp_path / "run" / "config.json") == more.config
    changes = json.loads((tmp_path / "run" / "changes.json").read_text())
    assert changes == [{"after_epoch": 4, "epochs": [4, 6], "learning_rate": [3e-3, 1e-4]}]
    assert int(load_state(tmp_path / "run").step) == 96
    with pytest.raises(ValueError, match="epochs must be at least the 6 that are done, got 5"):
        training.train(tiny(epochs=5, learning_rate=1e-4), tmp_path / "run", resume=True)


def test_what_random_numbers_depend_on_may_not_change_and_what_rounding_does_is_said(alone, tmp_path, caplog):
    shutil.copytree(alone, tmp_path / "run")
    path = tmp_path / "run" / "versions.json"
    was = json.loads(path.read_text())
    assert was["cores"] == str(cores())
    for name, value in (("jax_threefry_partitionable", "False"), ("jax_default_prng_impl", "rbg")):
        path.write_text(json.dumps(was | {name: value}))
        with pytest.raises(ValueError, match=rf"{name} must be '{value}', as in .*: other random numbers"):
            training.train(tiny(), tmp_path / "run", resume=True)
    path.write_text(json.dumps(was | {"jaxlib": "0.0", "cores": "999"}))
    assert training.train(tiny(), tmp_path / "run", resume=True)
    assert f"jaxlib is {was['jaxlib']}, not 0.0, cores is {was['cores']}, not 999" in caplog.text
    assert json.loads(path.read_text()) == was
    (change,) = json.loads((tmp_path / "run" / "changes.json").read_text())
    assert change["cores"] == ["999", was["cores"]]


def test_a_directory_deleted_meanwhile_is_said_to_be(tmp_path):
    class Deleter(Watcher):
        def epoch(self, record):
            super().epoch(record)
            shutil.rmtree(tmp_path / "run")

    with pytest.raises(OSError, match="run"):
        training.train(tiny(evaluate_every=4), tmp_path / "run", watch=lambda step: nullcontext(Deleter()))


def test_a_checkpoint_that_rotates_away_is_read_again(alone, tmp_path, monkeypatch):
    shutil.copytree(alone, tmp_path / "run")
    checkpoints, tries = tmp_path / "run" / "checkpoints", []
    last = max(int(path.name) for path in checkpoints.iterdir())

    def read(found):
        tries.append(found.last)
        if len(tries) == 1:  # the run saves once more, and the last but one goes
            (checkpoints / str(last)).rename(checkpoints / str(last + 1))
        return found.restore_model(found.last if len(tries) > 1 else last)

    read_checkpoints(RunDirectory(tmp_path / "run"), read)
    assert tries == [last, last + 1]
    (checkpoints / str(last + 1) / "digests.json").unlink()
    with pytest.raises(ValueError, match=r"digests\.json is damaged"):
        read_checkpoints(RunDirectory(tmp_path / "run"), read)


@pytest.mark.slow
def test_a_run_begins_with_given_weights_also_after_a_kill(alone, tmp_path):
    given = load_state(alone).params
    start = transferred(jax.eval_shape(lambda: tiny().init(jax.random.key(0))), given).start
    experiment = tiny(seed=3, freeze="decoder")._replace(start=start)
    watcher = Watcher(1)
    training.train(experiment, tmp_path / "run", watch=lambda s: nullcontext(watcher), stop=watcher.stop)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    again = tiny(seed=3, freeze="decoder")._replace(start=RunDirectory(tmp_path / "run").start())
    assert training.train(again, tmp_path / "run", resume=True)
    found = load_state(tmp_path / "run").params["params"]
    assert bits(jax.tree.leaves(found["decoder"])) == bits(jax.tree.leaves(given["params"]["decoder"]))
    assert bits(jax.tree.leaves(found["head"])) != bits(jax.tree.leaves(given["params"]["head"]))


@pytest.mark.slow
def test_another_seed_is_another_run(alone, tmp_path):
    training.train(tiny(seed=1), tmp_path / "run")
    assert final(tmp_path / "run") != final(alone)


def test_directories_in_use_are_refused(alone, tmp_path):
    with pytest.raises(ValueError, match="out must be a new or empty directory"):
        training.train(tiny(), alone)
    with pytest.raises(ValueError, match=r"latents must be 2, as in .*config.json .*by --init-from\), got 3"):
        training.train(tiny(latents=3), alone, resume=True)
    (tmp_path / "mine.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(ValueError, match="out must be a new or empty directory"):
            training.train(tiny(), tmp_path, resume=resume)
    with pytest.raises(ValueError, match="out must be a directory"):
        training.train(tiny(), tmp_path / "mine.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_is_read_without_tracing_a_step(alone, monkeypatch):
    monkeypatch.setattr("jaxvae.training.experiment.Experiment.objective", None)
    assert Run(alone).model.step == 64
    assert load_state(alone).step == 64


@pytest.mark.slow
def test_the_run_stops_where_nothing_is_finite_any_more(tmp_path):
    experiment = tiny(learning_rate=1e30, max_skipped=3)
    with pytest.raises(training.NonFiniteError) as error:
        training.train(experiment, tmp_path / "run")
    message = str(error.value)
    assert "\n" not in message
    assert "3 updates in a row weren't finite" in message
    assert "the first number that is not finite is the" in message
    assert "gradient 0 (parameterization log_variance)" in message


@pytest.mark.slow
def test_streaming_resumes_too(tmp_path):
    pytest.importorskip("grain")
    for name, stop_at in (("alone", 10**9), ("stopped", 5)):
        out, watcher = tmp_path / name, Watcher(stop_at)
        training.train(tiny(streaming=True), out, watch=lambda s, w=watcher: nullcontext(w), stop=watcher.stop)
    training.train(tiny(streaming=True), tmp_path / "stopped", resume=True)
    assert final(tmp_path / "stopped") == final(tmp_path / "alone")


def test_a_config_in_a_file_is_a_run(alone, tmp_path):
    config = training.read_config(alone / "config.json")
    assert isinstance(config, TrainConfig)
    training.train(make_experiment(config), tmp_path / "again")
    assert final(tmp_path / "again") == final(alone)


@pytest.mark.slow
def test_a_run_moves_between_one_device_and_eight(alone, tmp_path):
    config = config_from_mapping(TINY)
    meshes = {"eight": data_mesh(config.batch_size), "one": one_device()}
    assert meshes["eight"].size == 8
    for name, then in (("eight", "one"), ("one", "eight")):
        watcher = Watcher(32)
        begun = make_experiment(config, meshes[name])
        assert not training.train(begun, tmp_path / name, watch=lambda s, w=watcher: nullcontext(w), stop=watcher.stop)
        assert training.train(make_experiment(config, meshes[then]), tmp_path / name, resume=True)
        for found, wanted in zip(timeless(tmp_path / name), timeless(alone), strict=True):
            assert found == pytest.approx(wanted, rel=1e-4)
        for a, b in zip(*(jax.tree.leaves(load_state(out).params) for out in (tmp_path / name, alone)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # 64 steps, whose sums are in another order
