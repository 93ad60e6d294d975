"""``jaxvae compare`` and ``jaxvae reproduce`` on tiny runs of the digits."""

import argparse
import re
from pathlib import Path

import pytest
from command_line import TINY, refusal

from jaxvae import study
from jaxvae.cli import main
from jaxvae.commands import studies
from jaxvae.study import presets

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
    monkeypatch.setattr(presets, "PRESETS", {"jaanli": lambda: tiny})
    assert main(["reproduce", "jaanli", "--samples", "2"]) == 0
    out = Path("runs/jaanli")
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


def test_a_task_of_a_job_trains_its_share(monkeypatch, capsys):
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    monkeypatch.setenv("JOB_COMPLETIONS", "4")
    args = argparse.Namespace(shard=None, out=Path("x"))
    assert studies._shard(args) == study.Shard(3, 4)
    assert capsys.readouterr().out == "shard 3/4, as JOB_COMPLETION_INDEX says; --shard 1/1 trains all\n"
    assert studies._shard(argparse.Namespace(shard="1/1", out=Path("x"))) == study.ALONE
    assert studies._shard(argparse.Namespace(shard=None, out=None)) == study.ALONE  # it would share with nobody


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
