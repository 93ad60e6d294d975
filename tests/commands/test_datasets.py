"""``jaxvae data``: what it lists, inspects and prepares."""

import argparse
import re
from pathlib import Path

import mixed
import numpy as np
import pytest
from command_line import refusal
from matplotlib.image import imread

from jaxvae.cli import main
from jaxvae.commands import datasets
from jaxvae.files import entries


def test_data_with_missing_entries_are_inspected(capsys):
    x = np.random.default_rng(0).random((20, 6, 6))
    np.savez("x.npz", x=x, mask=x < 0.1)
    assert main(["data", "inspect", "x.npz"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith(f"missing: {(x < 0.1).sum()} of 720 entries (")
    assert "0 where they are missing, and which these are" in lines[3]


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
    datasets.data_list(argparse.Namespace(data_dir=tmp_path, all=True))
    everything = capsys.readouterr().out.splitlines()
    assert len(everything) == len(lines) - 1 + count
    assert any(re.fullmatch(r"dmlab +-      images of 360x480x3; its builder needs TensorFlow", x) for x in everything)


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
