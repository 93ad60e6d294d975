"""What commands are given: a run, a split, files."""

import os
import shutil
from pathlib import Path

import pytest
from command_line import refusal

from jaxvae.cli import main


def test_a_split_is_written_with_its_rows_and_labels(run):
    assert main(["encode", str(run), "--split", "validation", "--out", "z.csv"]) == 0
    rows = [line.split(",") for line in Path("z.csv").read_text().splitlines()]
    assert [row[0] for row in rows[1:]] == [str(i) for i in range(200)]
    assert {row[1] for row in rows[1:]} == {str(i) for i in range(10)}


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


def test_a_run_that_is_none_is_refused(capsys, tmp_path):
    for command in ("evaluate", "sample", "reconstruct", "traverse", "diagnose"):
        assert "run must be a directory with a config.json" in refusal(capsys, command, str(tmp_path))


def test_pipes_are_not_waited_for(capsys):
    os.mkfifo("pipe.npy")
    for argv in (["train", "--config", "pipe.npy"], ["train", "--dataset", "pipe.npy"]):
        assert "path must be a file or a folder, got 'pipe.npy'" in refusal(capsys, *argv)
    os.mkdir("study")
    os.mkfifo("study/results.jsonl")
    assert "path must be a file or a folder, got 'study/results.jsonl'" in refusal(capsys, "compare", "--out", "study")
