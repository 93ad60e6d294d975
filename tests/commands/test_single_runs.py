"""``jaxvae train``, ``evaluate`` and ``diagnose`` on a tiny run of the digits, with signals where these matter."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import one_device
import pytest
from command_line import MODULE, PICTURES, TINY, refusal
from matplotlib.image import imread
from representatives import each

import jaxvae as jv
from jaxvae import cli, trained, training
from jaxvae.cli import main
from jaxvae.commands import single_runs
from jaxvae.diagnosis import STATES
from jaxvae.files import entries
from jaxvae.process import STOPPED
from jaxvae.trained import exports


@pytest.mark.slow
def test_the_score_of_one_image_has_no_standard_error(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "one")
    alone = trained.Run(tmp_path / "one")
    vars(alone)["scored"] = {"test": alone.scored["test"].head(1)}
    single_runs._report(alone, 1, "test")
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
    shutil.copytree(run, "run")
    assert main(["evaluate", "run", "--samples", "3", "--split", "validation"]) == 0
    out = capsys.readouterr().out
    score = json.loads(Path("run/evaluation-validation.json").read_text())
    assert score["samples"] == 3
    assert score["images"] == 200
    assert f"validation ELBO {score['elbo']:.3f} nats per image" in out
    assert f"validation NLL {score['nll']:.3f} ± {score['nll_standard_error']:.3f}" in out
    assert f"{score['active_units']} of 3 latents active" in out
    assert f"{score['bits_per_dimension']:.4f} bits/dim" in out


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


@pytest.mark.parametrize("state", single_runs.REMEDIES)
def test_a_remedy_is_for_a_state_and_of_flags_that_train_takes(state):
    assert state in STATES
    fields = {field.name: field for field in dataclasses.fields(training.TrainConfig)}
    for remedy in single_runs.REMEDIES[state]:
        flag, *value = remedy.split()
        if flag == "--resume":
            continue
        field = fields[flag.removeprefix("--").replace("-", "_")]
        assert flag == "--" + field.name.replace("_", "-")
        assert not value or value[0] in field.metadata["choices"]


def test_states_of_the_same_remedy_share_a_line():
    assert single_runs._remedies(["not finite", "unfinished", "skipped updates", "negative KL"]) == [
        "flags of jaxvae train that change this",
        "  not finite, skipped updates: --learning-rate, --clip-norm",
        "  unfinished: --resume",
    ]
    assert single_runs._remedies(["negative KL"]) == []


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


def test_a_score_that_is_not_finite_is_an_error(run, capsys, monkeypatch):
    found = {**json.loads((run / "evaluation-test.json").read_text()), "nll": float("nan")}
    monkeypatch.setattr("jaxvae.trained.evaluate", lambda *_: found)
    shutil.copytree(run, "run")
    assert "NLL must be finite, got nan; jaxvae diagnose run says" in refusal(capsys, "evaluate", "run")
    assert json.loads(Path("run/evaluation-test.json").read_text())["nll"] is None


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


def test_a_dataset_may_want_other_defaults():
    args = cli.make_parser("train").parse_args(["train", "--dataset", "linear-gaussian", "--epochs", "7"])
    config = single_runs._configuration(args)
    assert (config.hidden, config.likelihood, config.epochs) == ((), "gaussian_learned", 7)
