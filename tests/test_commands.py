"""The commands on a tiny run of the digits: what they write and print; signals and processes where these matter."""

import argparse
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import mixed
import numpy as np
import one_device
import pytest
from matplotlib.image import imread
from representatives import each

import jaxvae as jv
from jaxvae import cli, commands, plots, process, study, trained, training
from jaxvae.cli import main
from jaxvae.diagnosis import STATES
from jaxvae.files import entries
from jaxvae.process import STOPPED
from jaxvae.study import presets
from jaxvae.trained import exports

TINY = ("--latents", "3", "--hidden", "8", "--epochs", "2", "--batch-size", "80", "--samples", "2")
PICTURES = {"curves.png", "reconstructions.png", "samples.png", "traversals.png", "std.png", "latents.png"}
MODULE = (sys.executable, "-m", "jaxvae")


@pytest.fixture(autouse=True)
def _own_place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, "use_compilation_cache", lambda: None)  # a setting for the whole process


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's directory, and what was printed."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "use_compilation_cache", lambda: None)
        assert main(["train", "--out", str(out), *TINY]) == 0
    return out


def refusal(capsys, *argv: str) -> str:
    """The one line with which these arguments are refused."""
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith("jaxvae: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


@pytest.mark.slow
def test_the_score_of_one_image_has_no_standard_error(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "one")
    alone = trained.Run(tmp_path / "one")
    vars(alone)["scored"] = {"test": alone.scored["test"].head(1)}
    commands._report(alone, 1, "test")
    line = capsys.readouterr().out.splitlines()[1]
    assert re.fullmatch(
        r"test NLL \d+\.\d{3} ± n/a nats per image \(1 importance samples, their error n/a, [\d.]+ bits/dim\)", line
    )
    score = json.loads((tmp_path / "one" / "evaluation-test.json").read_text())
    assert score["images"] == 1
    assert (score["nll_standard_error"], score["nll_monte_carlo_error"]) == (None, None)
    assert "± n/a" in exports._scores(alone)


def test_train_leaves_config_metrics_checkpoints_score_and_pictures(run):
    assert entries(run) == PICTURES | {
        "config.json",
        "versions.json",
        "contract.json",
        "data.json",
        "mean.npy",
        "metrics.jsonl",
        "checkpoints",
        "evaluation-test.json",
    }
    for picture in PICTURES:
        assert imread(run / picture).std() > 0.01  # something is drawn
    assert json.loads((run / "config.json").read_text())["hidden"] == [8]


def test_evaluate_prints_and_keeps_the_score(run, capsys):
    assert main(["evaluate", str(run), "--samples", "3", "--split", "validation"]) == 0
    out = capsys.readouterr().out
    score = json.loads((run / "evaluation-validation.json").read_text())
    assert score["samples"] == 3
    assert score["images"] == 200
    assert f"validation ELBO {score['elbo']:.3f} nats per image" in out
    assert f"validation NLL {score['nll']:.3f} ± {score['nll_standard_error']:.3f}" in out
    assert f"{score['active_units']} of 3 latents active" in out
    assert f"{score['bits_per_dimension']:.4f} bits/dim" in out


@pytest.fixture(scope="module")
def holed(tmp_path_factory):
    """A run on rows some of whose entries are missing, and these rows."""
    out, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    x = rng.normal(size=(40, 5)).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    x[:, 0] = np.abs(x[:, 1:2]).sum(axis=1)
    x[np.isnan(x[:, 0]), 0] = 0.25
    np.save(out / "x.npy", x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "use_compilation_cache", lambda: None)
        small = [*TINY[:-4], "--batch-size", "16", "--samples", "2"]
        flags = ["--objective", "iwae", "--train-samples", "2"]
        assert main(["train", "--dataset", str(out / "x.npy"), "--out", str(out / "run"), *small, *flags]) == 0
    return out / "run", x


@pytest.mark.slow
def test_what_is_missing_is_said_and_filled(holed, capsys):
    run, x = holed
    np.save("x.npy", x)
    missing, data = np.isnan(x), [str(run), "--data", "x.npy", "--samples", "9"]
    found = f"{missing.sum()} of 200 entries were missing, and are filled by"
    assert main(["impute", *data, "--out", "full.npy"]) == 0
    assert main(["impute", *data, "--draws", "2", "--out", "new/full.csv"]) == 0
    means, draws = f"{found} their means", f"{found} 2 draws each"
    assert capsys.readouterr().out.splitlines() == [
        *(means, "full.npy"),
        *(draws, "new/full-1.csv", "new/full-2.csv"),
    ]
    filled = np.load("full.npy")
    assert (filled.dtype, filled.shape) == (x.dtype, x.shape)
    assert filled[~missing].tobytes() == x[~missing].tobytes()
    for number in (1, 2):
        drawn = np.loadtxt(f"new/full-{number}.csv", np.float32, delimiter=",", skiprows=1, usecols=range(1, 6))
        assert drawn[~missing].tobytes() == x[~missing].tobytes()
        assert (drawn[missing] != filled[missing]).all()
    Path("new/full-2.csv").unlink()
    Path("new/.full.csv.unfinished").touch()  # as if killed after the first file
    assert main(["impute", *data, "--draws", "2", "--out", "new/full.csv"]) == 0
    assert entries(Path("new")) == {"full-1.csv", "full-2.csv"}


@pytest.mark.slow
def test_scores_are_of_what_was_observed(holed, capsys):
    run, x = holed
    assert main(["evaluate", str(run), "--samples", "2"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    score = json.loads((run / "evaluation-test.json").read_text())
    entries, nats = score["observed_entries"], score["nll_per_observed_entry"]
    assert score["nll"] == pytest.approx(entries * nats)
    assert 3 < entries < 5
    assert f"nats per image of {entries:.4g} observed entries of 5 (2 importance samples, " in line
    assert f"{nats:.4f} nats per observed entry" in line
    np.save("x.npy", x)
    assert main(["score", str(run), "--data", "x.npy", "--samples", "1", "--out", "scores.csv"]) == 0
    assert (
        np.loadtxt("scores.csv", str, delimiter=",")[1:, 1].astype(int).tolist() == (~np.isnan(x)).sum(axis=1).tolist()
    )
    assert main(["reconstruct", str(run), "--data", "x.npy", "--count", "4"]) == 0


def test_data_with_missing_entries_are_inspected(capsys):
    x = np.random.default_rng(0).random((20, 6, 6))
    np.savez("x.npz", x=x, mask=x < 0.1)
    assert main(["data", "inspect", "x.npz"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith(f"missing: {(x < 0.1).sum()} of 720 entries (")
    assert "0 where they are missing, and which these are" in lines[3]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "full.txt"], "out must be a path that ends in .csv or .npy, got 'full.txt'"),
        (["--out", "there.npy"], "--out must be a file that doesn't exist yet, got 'there.npy'"),
        (["--out", "there.csv", "--draws", "3"], "--out must be a file that doesn't exist yet, got 'there-2.csv'"),
        (["--out", "full.npy", "--draws", "0"], "--draws must be at least 1, got 0"),
        (["--out", "full.npy", "--samples", "0"], "--samples must be at least 1, got 0"),
        (
            ["--out", "full.npy"],
            "model must be one that was trained with missing entries, got 'one of images of 8x8x1",
        ),
    ],
)
def test_what_cannot_be_filled_is_refused(run, capsys, flags, message):
    for name in ("there.npy", "there-2.csv"):
        Path(name).write_text("before")
    assert message in refusal(capsys, "impute", str(run), *flags)
    assert entries(Path()) == {"there.npy", "there-2.csv"}
    assert Path("there.npy").read_text() == "before"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--likelihood", "gaussian_optimal"], "likelihood must be one whose terms depend on one entry each"),
        (["--likelihood", "multinomial"], "likelihood must be one whose terms"),
        (["--likelihood", "poisson", "--offset"], "offset must be False where entries are missing"),
        (["--likelihood", "categorical"], "levels must be"),
        (["--binarization", "dynamic"], "binarization must be none where entries are missing, got 'dynamic'"),
    ],
)
def test_what_cannot_do_with_missing_entries_is_refused(capsys, flags, message):
    x = np.where(np.random.default_rng(0).random((20, 4)) < 0.2, np.nan, 1)
    x[:, 0] = np.arange(20) % 2
    x[0] = 1
    np.save("x.npy", x)
    assert message in refusal(capsys, "train", "--dataset", "x.npy", "--out", "run", *flags)


@pytest.mark.slow
def test_a_program_reads_the_result_as_json(run, capsys, tmp_path):
    assert main(["evaluate", str(run), "--samples", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((run / "evaluation-test.json").read_text())
    assert main(["encode", str(run), "--out", "z.npz", "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"files": ["z.npz"]}
    assert err == ""
    assert main(["train", *TINY, "--epochs", "1", "--out", "other", "--quiet", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["run"], found["complete"], found["evaluation"]["images"]) == ("other", True, 300)
    assert {Path(path).name for path in found["files"]} == PICTURES
    assert err == ""


@pytest.mark.slow
def test_the_drawing_commands_draw_anew(run, capsys):
    for command, flags in (
        ("sample", ["--count", "4", "--seed", "3"]),
        ("reconstruct", ["--count", "2"]),
        ("traverse", ["--latents", "2", "--steps", "3", "--reach", "1"]),
    ):
        assert main([command, str(run), *flags]) == 0
        (path,) = capsys.readouterr().out.split()
        assert imread(path).std() > 0.01


def test_what_is_encoded_is_decoded_and_scored(run, capsys):
    np.save("x.npy", np.random.default_rng(0).integers(0, 17, (5, 8, 8), np.uint8))
    data = [str(run), "--data", "x.npy"]
    assert main(["encode", *data, "--out", "z.npz"]) == 0
    assert main(["encode", *data, "--out", "z.csv"]) == 0
    assert main(["decode", str(run), "--latents", "z.npz", "--out", "images"]) == 0
    assert main(["decode", str(run), "--latents", "z.npz", "--out", "images.npy"]) == 0
    assert main(["score", *data, "--samples", "1", "--out", "deep/scores.csv"]) == 0
    assert capsys.readouterr().out.split() == ["z.npz", "z.csv", "images", "images.npy", "deep/scores.csv"]
    model, images = jv.load(run), np.load("x.npy")
    with np.load("z.npz") as found:
        np.testing.assert_allclose(found["mean"], model.encode(images).mean, rtol=1e-5)
        np.testing.assert_allclose(np.load("images.npy"), model.decode(found["latents"]).mean, rtol=1e-5)
    assert entries(Path("images")) == {f"{i}.png" for i in range(5)}
    rows = [line.split(",") for line in Path("deep/scores.csv").read_text().splitlines()]
    assert rows[0] == ["names", "elbo", "log_likelihood", "kl", "log_evidence", "error"]
    np.testing.assert_allclose([float(row[1]) for row in rows[1:]], model.elbo(images), rtol=1e-5)
    assert [row[-1] for row in rows[1:]] == [""] * 5  # of one sample there is no error


def memory_of(child: subprocess.Popen) -> int:
    """The most bytes that a process holds at a time until it ends, without the pages of mapped files."""
    most = 0
    while child.poll() is None:
        held = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{child.pid}/status").read_text())
        most = max(most, int(held[1]) if held else 0)
        time.sleep(0.05)
    return 1024 * most


@pytest.mark.slow
def test_data_are_encoded_and_scored_in_less_memory_than_they_take():
    np.save("few.npy", np.random.default_rng(0).integers(0, 256, (40, 256, 256), np.uint8))
    tiny = ("--latents", "2", "--hidden", "8", "--epochs", "1", "--quiet", "--out", "run")
    subprocess.run([*MODULE, "train", "--dataset", "few.npy", *tiny], env=one_device.environment(), check=True)
    many = np.lib.format.open_memmap("many.npy", "w+", np.uint8, (24_000, 256, 256))  # takes no space on the disk
    many[-1] = np.load("few.npy")[0]
    del many
    for words in (["encode", "--out", "many.npz"], ["score", "--samples", "1", "--out", "many.csv"]):
        command = [*MODULE, words[0], "run", "--data", "many.npy", *words[1:], "--quiet"]
        with subprocess.Popen(command, env=one_device.environment()) as child:
            assert memory_of(child) < 1e9  # of 1.6e9
        assert child.returncode == 0
    with np.load("many.npz") as found:
        assert found["mean"].shape == (24_000, 2)
        assert not np.array_equal(found["mean"][0], found["mean"][-1])
    assert len(Path("many.csv").read_text().splitlines()) == 24_001


@pytest.mark.slow
def test_runs_begun_at_the_same_time_have_their_own_directories(tmp_path):
    begun = [
        subprocess.Popen(
            [*MODULE, "train", *TINY],
            env=one_device.environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for run in begun:
        _, err = run.communicate()
        assert run.returncode == 0, err
    assert entries(tmp_path / "runs") == {"digits-log_variance", "digits-log_variance-2", "digits-log_variance-3"}
    for path in (tmp_path / "runs").iterdir():
        assert {"config.json", "metrics.jsonl", "checkpoints"} <= entries(path)


def test_a_split_is_written_with_its_rows_and_labels(run):
    assert main(["encode", str(run), "--split", "validation", "--out", "z.csv"]) == 0
    rows = [line.split(",") for line in Path("z.csv").read_text().splitlines()]
    assert [row[0] for row in rows[1:]] == [str(i) for i in range(200)]
    assert {row[1] for row in rows[1:]} == {str(i) for i in range(10)}


@pytest.mark.slow
def test_a_run_begins_with_anothers_weights(run, capsys):
    argv = ["train", "--init-from", str(run), "--freeze", "encoder", *TINY, "--epochs", "1", "--latents", "4"]
    assert main([*argv, "--out", "new"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"params/encoder/MLP_0/Dense_0/kernel +64x8  taken\n", out)
    assert re.search(r"params/head/loc/kernel +8x4  not taken: \(8, 3\)\n", out)
    old, new = (jv.load(path).params["params"]["encoder"]["MLP_0"]["Dense_0"]["kernel"] for path in (run, "new"))
    np.testing.assert_array_equal(old, new)
    assert "--init-from must be given where a run begins" in refusal(capsys, *argv, "--out", "new", "--resume")


def test_the_newest_run_is_taken_where_none_is_given(run, capsys, tmp_path):
    assert "RUN must be given: there is no run in runs" in refusal(capsys, "sample")
    shutil.copytree(run, "runs/a")
    shutil.copytree(run, "runs/b")
    os.utime("runs/a/checkpoints")
    assert main(["sample", "--count", "4", "--out", "new/four.png"]) == 0
    out, err = capsys.readouterr()
    assert out == "new/four.png\n"
    assert err == "jaxvae: RUN is runs/a, the newest\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["encode", "--out", "z.txt"], "out must be a path that ends in .npz or .csv or .npy, got 'z.txt'"),
        (["score", "--out", "z.npy"], "out must be a path that ends in .csv or .npz"),
        (["sample", "--out", "x.jpg"], "out must be a path that ends in .png or .pdf or .svg"),
        (["encode", "--data", "gone.npy", "--out", "z.npz"], "gone.npy: no such file or folder"),
        (["encode", "--split", "tset", "--out", "z.npz"], "split must be train or validation or test, got 'tset'"),
        (["decode", "--latents", "z.txt", "--out", "x.npy"], "latents must be a .npy or .npz file, got 'z.txt'"),
        (["traverse", "--row", "300"], "--row must be 0 to 299, got 300"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run, capsys, argv, words, tmp_path):
    assert words in refusal(capsys, argv[0], str(run), *argv[1:])
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_diagnose_names_what_is_broken_and_draws_it(capsys):
    # A σ without a transform at far too high a learning rate: it is negative after the first update, and stays so.
    fields = {"latents": 3, "hidden": (8,), "epochs": 1, "batch_size": 80, "max_skipped": 100}
    config = training.TrainConfig(**fields, parameterization="direct_std", learning_rate=1.0)
    assert training.train(training.make_experiment(config), Path("broken"))
    assert main(["diagnose", "broken", "--split", "validation"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("direct_std in float32, 3 latents, 200 examples: KL ")
    assert "σ not positive: z" in out
    assert "skipped updates: the run, 93.8 %" in out
    assert "  σ not positive: --parameterization, --constraint projection\n" in out
    assert "  skipped updates: --learning-rate, --clip-norm\n" in out
    found = json.loads(Path("broken/diagnosis.json").read_text())
    assert not found["healthy"]
    assert found["findings"][0]["name"] == "σ not positive"
    assert out.splitlines()[-1] == str(Path("broken/diagnosis.png"))
    assert imread("broken/diagnosis.png").std() > 0.01


@pytest.mark.parametrize("state", commands.REMEDIES)
def test_a_remedy_is_for_a_state_and_of_flags_that_train_takes(state):
    assert state in STATES
    fields = {field.name: field for field in dataclasses.fields(training.TrainConfig)}
    for remedy in commands.REMEDIES[state]:
        flag, *value = remedy.split()
        if flag == "--resume":
            continue
        field = fields[flag.removeprefix("--").replace("-", "_")]
        assert flag == "--" + field.name.replace("_", "-")
        assert not value or value[0] in field.metadata["choices"]


def test_states_of_the_same_remedy_share_a_line():
    assert commands._remedies(["not finite", "unfinished", "skipped updates", "negative KL"]) == [
        "flags of jaxvae train that change this",
        "  not finite, skipped updates: --learning-rate, --clip-norm",
        "  unfinished: --resume",
    ]
    assert commands._remedies(["negative KL"]) == []


@pytest.mark.slow
def test_its_own_config_trains_the_same_run_again(run, tmp_path, capsys):
    assert main(["train", "--config", str(run / "config.json"), "--resume", "--out", str(tmp_path / "again")]) == 0
    assert "again holds no run yet, so a new one begins" in capsys.readouterr().out
    states = [training.load_state(out) for out in (run, tmp_path / "again")]
    leaves = [jax.tree.leaves(state.params) for state in states]
    assert all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))


@pytest.mark.slow
def test_without_out_runs_are_numbered(tmp_path, capsys):
    for _ in range(2):
        assert main(["train", *TINY, "--epochs", "1"]) == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["digits-log_variance", "digits-log_variance-2"]


@pytest.mark.slow
def test_conditional_bfloat16_conv_on_own_images(tmp_path, capsys):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (120, 6, 5, 3), np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=np.arange(120) % 4)
    flags = ["--dataset", "mine.npz", "--architecture", "conv", "--hidden", "4", "4", "--latents", "2", "--conditional"]
    flags += ["--dtype", "bfloat16", "--binarization", "none", "--likelihood", "discretized_logistic", "--epochs", "1"]
    assert main(["train", *flags, "--batch-size", "16", "--samples", "2", "--out", "own"]) == 0
    out = capsys.readouterr().out
    assert "96 train, 12 validation, 12 test images of 6x5x3, 256 grey levels, 4 classes" in out
    bits = float(re.search(r"([\d.]+) bits/dim", out).group(1))
    assert 7 < bits < 12  # 8 is what noise costs


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--latents", "0"], "latents must be at least 1, got 0"),
        (["--latents", "many"], "argument --latents: invalid int value: 'many'"),
        (["--latnets", "3"], "unrecognized arguments: --latnets"),
        (["--parameterization", "log_varience"], "nearest: log_variance"),
        (["--dataset", "mnits"], "did you mean mnist"),
        (["--dataset", "nowhere.npy"], "nowhere.npy"),
        (["--conditional", "maybe"], "must be true or false, got 'maybe'"),
        (["--config", "none.json"], "none.json"),
        (["--resume"], "--out must be the run's directory, with --resume"),
        (["--batch-size", "2000"], "batch_size must be at most the 1,297 training images, got 2000"),
        (["--batch-size", "81"], "batch_size must be a multiple of the 8 devices, got 81"),
        (["--binarization", "sometimes"], "binarization must be one of auto, none, dynamic, threshold, fixed"),
        (
            ["--init-std", "2", "--parameterization", "sigmoid_std", "--batch-size", "80"],
            "std must be in (0, 1) for sigmoid_std, got 2.0",
        ),
        (["--processes", "2"], "all given, or none"),
    ],
)
def test_train_refuses_in_one_line_and_writes_nothing(capsys, tmp_path, flags, words):
    assert words in refusal(capsys, "train", *flags)
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").rglob("*.json"))


def test_a_run_that_is_none_is_refused(capsys, tmp_path):
    for command in ("evaluate", "sample", "reconstruct", "traverse", "diagnose"):
        assert "run must be a directory with a config.json" in refusal(capsys, command, str(tmp_path))


def test_data_list_and_prepare(capsys, tmp_path):
    assert main(["data", "list", "--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("digits")
    assert any(line.startswith("mnist ") for line in lines)
    (tmp_path / "raw").mkdir()
    message = refusal(
        capsys, "data", "prepare", "mnist", "--from", str(tmp_path / "raw"), "--data-dir", str(tmp_path / "data")
    )
    assert "train-images-idx3-ubyte.gz" in message


@pytest.mark.slow
def test_train_says_first_what_is_made_of_the_data(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 3), np.uint8)
    np.savez("photos.npz", x_train=images[:20], y_train=np.array(["cat", "dog"] * 10), x_val=images[20:])
    assert main(["train", "--dataset", "photos.npz", "--out", "run", *TINY[:6], "--epochs", "1", "--samples", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == [
        "photos.npz: 20 train, 10 test images of 4x4x3, 256 grey levels, 2 classes",
        "numbers: 0 to 255; splits: as given",
        "classes: cat, dog",
        "There is no test split: the validation split is taken for it.",
        "the model sees them as they are, divided by 255, in batches of 16",
        "p(x|z): gaussian_learned; σ of q(z|x): log_variance",
    ]
    config = json.loads(Path("run/config.json").read_text())
    assert (config["likelihood"], config["binarization"], config["batch_size"]) == ("gaussian_learned", "none", 16)


def test_data_are_inspected_without_training(tmp_path, capsys):
    images = np.random.default_rng(0).uniform(-1, 1, (30, 3, 6, 4))
    np.save("x.npy", np.concatenate([images[:10], images]))
    flags = ["--layout", "nchw", "--value-range", "-1", "1", "--likelihood", "bernoulli"]
    assert main(["data", "inspect", "x.npy", *flags]) == 0
    out = capsys.readouterr().out
    assert "x.npy: 32 train, 4 validation, 4 test images of 6x4x3, continuous, no labels" in out
    assert "splits: made here by a fixed permutation" in out
    assert "as they are, scaled from [-1, 1] to [0, 1], in batches of 32" in out
    assert "warning: A Bernoulli likelihood of values between 0 and 1" in out
    assert "warning: There are only 32 training images" in out
    assert "in the train split, too." in out
    assert imread("x-inspected.png").std() > 0.01
    assert entries(tmp_path) == {"x.npy", "x-inspected.png"}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["sample", "--count", "1000000000000"], "--count must be 1 to 10,000, got 1000000000000"),
        (["sample", "--count", "-1"], "--count must be 1 to 10,000, got -1"),
        (["reconstruct", "--count", "-1"], "--count must be 1 to 10,000, got -1"),
        (["traverse", "--steps", "100000000"], "--steps must be 1 to 1,000, got 100000000"),
        (["traverse", "--reach", "nan"], "--reach must be a number above 0, got nan"),
    ],
)
def test_pictures_of_any_number_of_images_are_refused(capsys, argv, words):
    assert words in refusal(capsys, argv[0], "no-run", *argv[1:])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--coordinator", "abc"], "--coordinator must be HOST:PORT, of a port below 65536, got 'abc'"),
        (["--coordinator", "localhost:99999"], "--coordinator must be HOST:PORT, of a port below 65536"),
        (["--coordinator", "localhost:1234", "--timeout", "0"], "--timeout must be at least 1 second, got 0"),
    ],
)
def test_hosts_that_cannot_meet_are_refused(capsys, flags, words):
    several = ["--distributed", "--processes", "2", "--process", "0", "--out", "x"]
    assert words in refusal(capsys, "train", *several, *flags)
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--hidden", "100000", "100000"], "GiB, got ((100000, 100000), 16)"),
        (["--latents", "2147483647"], "hidden, latents must be of a model for the "),
    ],
)
def test_a_model_that_memory_does_not_hold_is_refused(capsys, flags, words):
    assert words in refusal(capsys, "train", *flags)
    assert not Path("runs").exists()


def test_pipes_are_not_waited_for(capsys):
    os.mkfifo("pipe.npy")
    for argv in (["train", "--config", "pipe.npy"], ["train", "--dataset", "pipe.npy"]):
        assert "path must be a file or a folder, got 'pipe.npy'" in refusal(capsys, *argv)
    os.mkdir("study")
    os.mkfifo("study/results.jsonl")
    assert "path must be a file or a folder, got 'study/results.jsonl'" in refusal(capsys, "compare", "--out", "study")


def test_a_score_that_is_not_finite_is_an_error(run, capsys, monkeypatch):
    found = {**json.loads((run / "evaluation-test.json").read_text()), "nll": float("nan")}
    monkeypatch.setattr("jaxvae.trained.evaluate", lambda *_: found)
    shutil.copytree(run, "run")
    assert "NLL must be finite, got nan; jaxvae diagnose run says" in refusal(capsys, "evaluate", "run")
    assert json.loads(Path("run/evaluation-test.json").read_text())["nll"] is None


def test_names_move_no_cursor(capsys):
    text = refusal(capsys, "train", "--dataset", "\x1b[2J.npy")
    assert "\x1b" not in text
    commands._say(Path("\x1b[2J"))
    assert capsys.readouterr().out == "\\x1b[2J\n"


def test_help_names_every_field(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    for name in training.TrainConfig.__dataclass_fields__:
        assert f"--{name.replace('_', '-')} " in out


@pytest.mark.parametrize("number", each((signal.SIGINT, signal.SIGTERM), kept=(signal.SIGINT,)))
def test_a_signal_saves_and_ends_and_the_run_goes_on(tmp_path, capsys, number):
    flags = [*TINY, "--epochs", "3000", "--out", "run"]
    process = subprocess.Popen(
        [*MODULE, "train", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=one_device.environment(),
    )
    while not (tmp_path / "run" / "metrics.jsonl").exists() or not (tmp_path / "run/metrics.jsonl").read_text():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    assert "no other process writes to, got 'run'" in refusal(capsys, "train", "--resume", *flags)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == STOPPED, err
    assert "The run is stopped and saved. To go on: jaxvae train --resume --out run" in out
    assert "Traceback" not in err
    step = int(training.load_state(tmp_path / "run").step)
    assert 0 < step < 3000 * 16
    epochs = [record["epoch"] for record in training.read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert epochs == list(range(1, step // 16 + 1))


STUDY = (*TINY, "--learning-rate", "0.001", "0.01", "--seed", "0", "1", "--parameterization", "log_variance")


def test_compare_trains_and_reports_and_goes_on(tmp_path, capsys):
    assert main(["compare", *STUDY]) == 0
    out, err = capsys.readouterr()
    path = tmp_path / "runs" / "compare-digits"
    assert "log_variance is the only variant" in out
    assert str((path / "report.html").relative_to(tmp_path)) in out
    assert "0%  log_variance" in err
    files = {"results.jsonl", "study.json", "report.html", "report.md", "learning_rates.png", "transforms.png"}
    assert files <= {p.name for p in path.iterdir()}
    records = study.read_results(path / study.RESULTS)
    assert [(r["config"]["learning_rate"], r["config"]["seed"]) for r in records] == [
        (rate, seed) for rate in (0.001, 0.01) for seed in (0, 1)
    ]
    assert {r["config"]["hidden"][0] for r in records} == {8}

    (path / "report.html").unlink()
    before = (path / study.RESULTS).read_bytes()
    assert main(["compare", "--out", str(path)]) == 0  # drawn anew, nothing trained
    assert (path / "report.html").exists()
    assert (path / study.RESULTS).read_bytes() == before
    (path / "report.html").unlink()
    assert main(["compare", "--out", str(path), "--report-only", "--resolve", "2.5"]) == 0
    assert (path / "report.html").exists()
    assert (path / study.RESULTS).read_bytes() == before
    capsys.readouterr()
    assert main(["compare", "--out", str(path), "--dry-run"]) == 0  # nothing is left to do
    assert (
        capsys.readouterr().out == "0 cells: about 0:00:00 of training; programs are compiled meanwhile, for up "
        "to 0:00:00\n"
    )
    command = re.search(r"jaxvae compare --parameterization.*", (path / "report.md").read_text())
    assert "--learning-rate 0.001 0.01" in command[0]

    assert main(["compare", "--merge", str(path), str(path), "--out", "both"]) == 0
    assert (tmp_path / "both" / study.RESULTS).read_bytes() == before
    assert main(["compare", "--out", "both"]) == 0
    assert (tmp_path / "both" / study.RESULTS).read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--learning-rate", "0"], "learning_rate must be above 0, got 0.0"),
        (["--learning-rate", "0.1", "0.1"], "learning_rate must be each value once"),
        (["--parameterization", "log_varience"], "nearest: log_variance"),
        (["--init-std", "2"], "std must be in (0, 1) for sigmoid_std, got 2.0"),
        (["--merge", "nowhere"], "--out must be given with --merge: where the merged table goes, got None"),
        (
            ["--merge", "nowhere", "--out", "x"],
            "merge must be a study's directory, with a results.jsonl, got 'nowhere'",
        ),
        (["--resolve", "0"], "--resolve must be above 0, got 0.0"),
        (["--shard", "1/2"], "--out must be given with --shard: the shards' directory, got None"),
        (["--shard", "3/2", "--out", "x"], "shard must be I/N, from 1/N to N/N, got '3/2'"),
        (["--report-only", "--out", "x", "--search"], "--search must be left out where nothing is trained"),
        (["--report-only"], "--out must be a study's directory, with --report-only, got None"),
        (["--report-only", "--out", "x", "--shard", "1/2"], "--shard must be left out where nothing is trained"),
        (["--tasks", "2"], "--tasks must be given with --on, got 2"),
        (["--on", "ray"], "--out must be given with --on: the directory that all machines have in common, got None"),
        (["--on", "ray", "--out", "x"], "--tasks must be how many, with --on: at least 1, got None"),
        (["--on", "ray", "--out", "x", "--tasks", "2", "--shard", "1/2"], "--shard must be left out with --on"),
        (["--on", "ray", "--out", "x", "--tasks", "2", "--resources", "a"], "--resources must be NAME=VALUE, got 'a'"),
        (["--baseline", "log_varience"], "baseline must be one of log_variance, log_std, softplus_std, "),
        (
            ["--merge", "a", "--out", "x", "--quick"],
            "--merge must be given without flags that say what to train, got ['--quick']",
        ),
        (
            ["--merge", "a", "--out", "x", "--seed", "1"],
            "--merge must be given without flags that say what to train, got ['--seed']",
        ),
        (["--batch-size", "5000"], "batch_size must be at most the 1,297 training images, got 5000"),
        (["--dataset", "mnits"], "did you mean mnist"),
        (["--seed", "one"], "invalid int value: 'one'"),
    ],
)
def test_compare_refuses_in_one_line_and_writes_nothing(capsys, tmp_path, flags, words):
    assert words in refusal(capsys, "compare", *flags)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_reproduce_trains_scores_and_tabulates(capsys, monkeypatch, tmp_path):
    fields = {"latents": 2, "hidden": (4,), "epochs": 1, "batch_size": 80, "samples": 3}
    tiny = presets.Preset("nobody", "nothing", fields, {"vae": presets.PublishedRow({}, 30.0)}, "log_std")
    monkeypatch.setattr(presets, "PRESETS", {"tiny": lambda: tiny})
    assert main(["reproduce", "tiny", "--samples", "2"]) == 0
    out = Path("runs/tiny")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(out / "vae-log_std")
    assert re.fullmatch(r"vae-log_std: NLL \d+\.\d\d ± \d\.\d\d \(2 samples\), published 30\.00", lines[1])
    assert lines[2] == str(out / "reproduction.md")
    assert "| vae | `log_std` | 1 |" in (out / "reproduction.md").read_text()


def test_reproduce_refuses_in_one_line(capsys):
    assert "TABLE: invalid choice: 'x'" in refusal(capsys, "reproduce", "x")
    assert "rows must be one of vae-1, " in refusal(capsys, "reproduce", "iwae-1l", "--rows", "vae-2")
    assert "stages must be from 1 to 8, got 0" in refusal(capsys, "reproduce", "iwae-1l", "--stages", "0")
    assert "'log_varianc'" in refusal(capsys, "reproduce", "iwae-1l", "--parameterization", "log_varianc")
    assert "--stages must be given with iwae-1l, iwae-2l, dreg only" in refusal(
        capsys, "reproduce", "jaanli", "--stages", "5"
    )
    assert not Path("runs").exists()


def test_a_dataset_may_want_other_defaults():
    args = cli.make_parser("train").parse_args(["train", "--dataset", "linear-gaussian", "--epochs", "7"])
    config = commands._configuration(args)
    assert (config.hidden, config.likelihood, config.epochs) == ((), "gaussian_learned", 7)


def test_answers_are_broken_at_words_on_a_terminal_alone(monkeypatch, capsys):
    text = "No difference is seen between the three usable variants, each at its best learning rate."
    monkeypatch.setenv("COLUMNS", "40")
    commands._print_wrapped(text, "")
    assert capsys.readouterr().out == f"{text}\n\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    commands._print_wrapped(text)
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines) == text
    assert max(map(len, lines)) <= 40


def test_a_task_of_a_job_trains_its_share(monkeypatch, capsys):
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    monkeypatch.setenv("JOB_COMPLETIONS", "4")
    args = argparse.Namespace(shard=None, out=Path("x"))
    assert commands._shard(args) == study.Shard(3, 4)
    assert capsys.readouterr().out == "shard 3/4, as JOB_COMPLETION_INDEX says; --shard 1/1 trains all\n"
    assert commands._shard(argparse.Namespace(shard="1/1", out=Path("x"))) == study.ALONE
    assert commands._shard(argparse.Namespace(shard=None, out=None)) == study.ALONE  # it would share with nobody


def test_a_study_is_shared_out_as_the_commands_of_its_shards(monkeypatch, tmp_path, capsys):
    given = []
    monkeypatch.setattr(study, "run_on_ray", lambda *found: given.extend(found))
    flags = ["--seed", "0", "1", "--search", "--resources", "num_gpus=0.5", "name=a"]
    assert main(["compare", "--on", "ray", "--tasks", "2", "--out", "x", "--baseline", "log_std", *flags]) == 0
    tasks, resources = given
    assert resources == {"num_gpus": 0.5, "name": "a"}
    words = ["compare", "--seed", "0", "1", "--search", "--out", str(tmp_path / "x"), "--resolve", "0.1"]
    assert tasks == [[*words, "--baseline", "log_std", "--shard", f"{i}/2"] for i in (1, 2)]
    assert capsys.readouterr().out == f"{tmp_path / 'x' / 'report.html'}\n"


def test_data_list_counts_what_else_there_is_or_lists_it(tmp_path, capsys):
    assert main(["data", "list", "--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"of tensorflow-datasets [\d.]+, \d+ more by name: \d+ are prepared at their first use, \d+ from files "
        r"that are downloaded by hand, and \d+ need TensorFlow or another package: jaxvae data list --all",
        lines[-1],
    )
    count, *parts = map(int, re.findall(r"(?<![\d.])\d+(?![\d.])", lines[-1]))
    assert count == sum(parts) > 100
    commands.data_list(argparse.Namespace(data_dir=tmp_path, all=True))
    everything = capsys.readouterr().out.splitlines()
    assert len(everything) == len(lines) - 1 + count
    assert any(re.fullmatch(r"dmlab +-      images of 360x480x3; its builder needs TensorFlow", x) for x in everything)


@pytest.mark.slow
def test_a_table_is_trained_on_and_drawn_from_in_its_own_terms(tmp_path, capsys):
    pytest.importorskip("pandas")
    columns = mixed.columns()
    Path("people.csv").write_text(mixed.as_csv(columns))
    Path("kinds.toml").write_text('stage = "count"\n')
    said = ("--label", "group", "--stratified", "--kinds", "kinds.toml")
    assert main(["train", "--dataset", "people.csv", *said, "--conditional", "--out", "run", *TINY]) == 0
    Path("kinds.toml").unlink()  # what it said is kept
    told = capsys.readouterr().out
    assert (
        "p(x|z): columns, gaussian_learned of depth; log_normal of height; negative_binomial of visits, stage; " in told
    )
    assert re.search(r"test NLL .* nats per row", told)
    assert entries(Path("run")) >= {"samples.csv", "reconstructions.csv", "traversals.csv", "curves.png", "std.png"}

    assert main(["sample", "run", "--count", "4", "--out", "drawn.csv"]) == 0
    head, *rows = [line.split(",") for line in Path("drawn.csv").read_text().splitlines()]
    assert head == ["group", "depth", "height", "visits", "sex", "ward", "stage"]
    assert [row[0] for row in rows] == ["high", "low", "high", "low"]
    assert {row[4] for row in rows} <= {"f", "m"}
    assert {row[5] for row in rows} <= {"er", "gp", "icu"}
    assert all(row[3].isdecimal() and row[6].isdecimal() and float(row[2]) > 0 for row in rows)

    # New rows, with their columns in another order, are seen as those of training are.
    new = {name: columns[name][:5] for name in reversed(columns)}
    Path("new.csv").write_text(mixed.as_csv(new))
    assert main(["reconstruct", "run", "--data", "new.csv", "--out", "found.npy"]) == 0
    model = jv.load("run")
    rows = np.stack([np.asarray(columns[name][:5], float) for name in ("depth", "height", "visits")], axis=1)
    codes = [[("f", "m").index(x) for x in new["sex"]], [("er", "gp", "icu").index(x) for x in new["ward"]]]
    given = np.concatenate([rows, np.transpose(codes), new["stage"][:, None]], axis=1)
    again = model.reconstruct(given, new["group"]).reshape(5, 6)
    np.testing.assert_allclose(np.load("found.npy"), again, rtol=1e-6)

    assert main(["evaluate", "run", "--samples", "2"]) == 0
    assert main(["encode", "run", "--data", "new.csv", "--out", "z.npz"]) == 0
    assert main(["decode", "run", "--latents", "z.npz", "--out", "decoded.csv"]) == 0
    assert len(Path("decoded.csv").read_text().splitlines()) == 6
    new["height"][2] = -1
    Path("bad.csv").write_text(mixed.as_csv(new))
    capsys.readouterr()
    assert "bad.csv, row 3, column 'height' must be positive, got -1.0" in refusal(
        capsys, "score", "run", "--data", "bad.csv", "--out", "s.csv"
    )
    with pytest.raises(ValueError, match=r"got -1 in column 'height', which must be above 0"):
        model.encode(np.where(np.arange(6) == 1, -1, given), new["group"])
    assert "ends in .csv or .npy, got 'x.png'" in refusal(capsys, "sample", "run", "--out", "x.png")


def test_a_table_is_inspected(tmp_path, capsys):
    pytest.importorskip("pandas")
    Path("people.csv").write_text(mixed.as_csv(mixed.columns()))
    assert main(["data", "inspect", "people.csv", "--label", "group"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "people.csv: 96 train, 12 validation, 12 test rows of 6 columns, 2 classes"
    assert "  ward    categorical  categorical        er, gp, icu" in lines
    assert any(line.startswith("  depth   real         gaussian_learned   -") for line in lines)
    assert lines[-1] == "to train: jaxvae train --dataset people.csv --label group"
    assert entries(tmp_path) == {"people.csv"}
    assert "--out must be left out for a table" in refusal(capsys, "data", "inspect", "people.csv", "--out", "x.png")


@pytest.mark.slow
def test_sequences_train_and_are_drawn_with_a_row_for_each_channel(capsys, monkeypatch):
    rng, drawn = np.random.default_rng(0), []
    np.savez("x.npz", x=rng.normal(size=(30, 7, 2)), lengths=rng.integers(3, 8, 30))
    draw = plots.reconstructions
    monkeypatch.setattr(plots, "reconstructions", lambda *x: drawn.append(x) or draw(*x))
    flags = ["--architecture", "recurrent", "--hidden", "4", "--latents", "2", "--epochs", "1", "--samples", "2"]
    assert main(["train", "--dataset", "x.npz", *flags, "--out", "run"]) == 0
    out = capsys.readouterr().out
    assert "sequences of 7x2, continuous" in out
    assert "nats per sequence of" in out
    originals, means, _ = drawn[0]
    assert originals.shape == means.shape == (3, 2, 7, 1)
    ended = np.isnan(originals[..., 0])
    assert (ended[:, 0] == ended[:, 1]).all()
    assert (ended[..., 1:] >= ended[..., :-1]).all()
    np.save("z.npy", np.zeros((1, 2), np.float32))
    assert "must be a path that ends in .npy, got 'new'" in refusal(
        capsys, "decode", "run", "--latents", "z.npy", "--out", "new"
    )
