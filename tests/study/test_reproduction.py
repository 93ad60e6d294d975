import dataclasses
import json
import shutil
from contextlib import nullcontext

import pytest

from jaxvae.study import reproduction
from jaxvae.study.presets import Preset, PublishedRow
from jaxvae.study.reproduction import jobs, published_table, reproduce, result
from jaxvae.training import make_experiment, train
from jaxvae.training.directory import RunDirectory
from jaxvae.training.run import _Silence

FIELDS = {"latents": 2, "hidden": (4,), "epochs": 4, "batch_size": 80, "samples": 3, "learning_rate_decay": "stages"}
ROWS = {"vae": PublishedRow({}, 30.0), "vae-2": PublishedRow({"objective": "iwae", "train_samples": 2}, None)}
PRESET = Preset("nobody", "nothing", FIELDS, ROWS, "log_std")


def quiet(name, experiment, step):
    return nullcontext(_Silence())


def test_jobs_are_lines_by_parameterizations():
    assert [job.name for job in jobs(PRESET)] == ["vae-log_std", "vae-2-log_std"]
    chosen = jobs(PRESET, ["vae"], ["softplus_std", "log_variance"], {"samples": 7})
    assert [(job.name, job.config.samples) for job in chosen] == [("vae-softplus_std", 7), ("vae-log_variance", 7)]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A table of two runs, the second of which was stopped in between."""
    out = tmp_path_factory.mktemp("table")
    todo = jobs(PRESET)
    first = list(reproduce(PRESET, todo[:1], out, watch=quiet))
    asked = iter([False, True])
    assert list(reproduce(PRESET, todo[1:], out, watch=quiet, stop=lambda: next(asked))) == []
    assert not (out / todo[1].name / "reproduction.json").exists()
    return out, first + list(reproduce(PRESET, todo[1:], out, watch=quiet))


@pytest.mark.slow
def test_a_table_has_what_was_run_beside_what_was_published(done):
    out, said = done
    score = json.loads((out / "vae-log_std" / "reproduction.json").read_text())
    assert said[0].startswith(f"vae-log_std: NLL {score['nll']:.2f} ± ")
    assert said[0].endswith("(3 samples), published 30.00")
    assert said[1].endswith("(3 samples)")
    text = (out / reproduction.TABLE).read_text()
    lines = [line for line in text.splitlines() if line.startswith("| vae")]
    assert [line.split(" | ")[:3] for line in lines] == [["| vae", "`log_std`", "4"], ["| vae-2", "`log_std`", "4"]]
    assert f"{score['nll']:.2f} ± {score['nll_standard_error']:.2f} | 30.00 | " in lines[0]
    assert text == published_table(PRESET, out)


@pytest.mark.slow
def test_one_test_image_has_no_standard_error(done, tmp_path):
    shutil.copytree(done[0], tmp_path / "one")
    for path in (tmp_path / "one").glob("*/reproduction.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"nll_standard_error": None}))
    assert published_table(PRESET, tmp_path / "one").count(" ± n/a |") == 2
    job, _ = jobs(PRESET)
    assert "± n/a (3 samples)" in reproduction._line(PRESET, job, reproduction.result(tmp_path / "one" / job.name))


@pytest.mark.slow
def test_a_run_under_an_alias_is_in_the_table(done, tmp_path):
    out, _ = done
    shutil.copytree(out / "vae-log_std", tmp_path / "vae-dehaene_exp_linear")
    (line,) = [line for line in published_table(PRESET, tmp_path).splitlines() if line.startswith("| vae")]
    assert line.startswith("| vae | `dehaene_exp_linear` | 4 | ")


@pytest.mark.slow
def test_stages_end_with_a_checkpoint_and_the_last_one_counts(done):
    out, _ = done
    assert {path.name for path in (out / "vae-log_std" / "checkpoints").iterdir()} >= {str(4 * (1297 // 80))}
    assert json.loads((out / "vae-log_std" / "reproduction.json").read_text())["step"] == 4 * (1297 // 80)


@pytest.mark.slow
def test_what_is_scored_is_not_trained_again(done, monkeypatch):
    out, said = done
    monkeypatch.setattr(reproduction, "train", None)
    assert list(reproduce(PRESET, jobs(PRESET), out, watch=quiet)) == said


def test_the_last_parameters_are_scored_whatever_the_validation_says(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(reproduction, "train", lambda *args, **kwargs: True)
    monkeypatch.setattr(reproduction, "Run", lambda path, best: asked.append(best))
    monkeypatch.setattr(reproduction, "evaluate", lambda run, samples: {"nll": 1.0})
    with pytest.raises(FileNotFoundError):  # the run that wasn't made
        list(reproduce(PRESET, jobs(PRESET, ["vae"]), tmp_path, watch=quiet))
    assert asked == [False]


@pytest.mark.slow
@pytest.mark.parametrize("other", [{"epochs": 5}, {"samples": 4}, {"seed": 1}])
def test_a_score_is_taken_for_its_own_experiments_alone(done, other):
    out, _ = done
    (job,) = jobs(PRESET, ["vae"])
    assert result(out / job.name, make_experiment(job.config)).score["samples"] == 3
    assert result(out / job.name, make_experiment(dataclasses.replace(job.config, **other))) is None


@pytest.mark.slow
def test_a_score_is_that_of_its_training_samples_and_data_alone(done, tmp_path, monkeypatch):
    out, said = done
    shutil.copytree(out / "vae-log_std", tmp_path / "vae-log_std")
    (job,) = jobs(PRESET, ["vae"])
    longer = job._replace(config=dataclasses.replace(job.config, epochs=5, samples=4))
    trained = []
    monkeypatch.setattr(
        reproduction, "train", lambda *args, **more: trained.append(args[0].config.epochs) or train(*args, **more)
    )
    (line,) = reproduce(PRESET, [longer], tmp_path, watch=quiet)
    assert trained == [5]
    assert line.endswith("(4 samples), published 30.00")
    assert line != said[0]
    assert "| vae | `log_std` | 5 | " in (tmp_path / reproduction.TABLE).read_text()
    fewer = longer._replace(config=dataclasses.replace(longer.config, samples=2))
    (line,) = reproduce(PRESET, [fewer], tmp_path, watch=quiet)
    assert line.endswith("(2 samples), published 30.00")
    with pytest.raises(ValueError, match="epochs must be at least the 5 that are done"):
        list(reproduce(PRESET, [job], tmp_path, watch=quiet))
    RunDirectory(tmp_path / "vae-log_std").write_report("evaluation-test", {"nll": 0.0})  # no score of this table
    assert list(reproduce(PRESET, [fewer], tmp_path, watch=quiet)) == [line]
    path = tmp_path / "vae-log_std" / "data.json"
    path.write_text(path.read_text().replace('"test": "', '"test": "0'))  # as if the data had been others
    with pytest.raises(
        ValueError, match=r"data must be as they were when .* was started, got 'images or labels of the te"
    ):
        list(reproduce(PRESET, [longer], tmp_path, watch=quiet))


@pytest.mark.slow
@pytest.mark.parametrize("content", ["{}", "[" * 100_000, '{"nll": 1}', "\udcff"])
def test_what_is_no_score_is_refused_by_name(done, tmp_path, content):
    out, _ = done
    shutil.copytree(out / "vae-log_std", tmp_path / "vae-log_std")
    (tmp_path / "vae-log_std" / "reproduction.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"vae-log_std/reproduction.json must be "):
        list(reproduce(PRESET, jobs(PRESET, ["vae"]), tmp_path, watch=quiet))


@pytest.mark.slow
def test_a_directory_of_another_configuration_is_refused(done):
    out, _ = done
    (out / "vae-log_std" / "reproduction.json").rename(out / "kept.json")
    with pytest.raises(ValueError, match="latents must be 2, as in"):
        list(reproduce(PRESET, jobs(PRESET, ["vae"], None, {"latents": 3}), out, watch=quiet))
    (out / "kept.json").rename(out / "vae-log_std" / "reproduction.json")
