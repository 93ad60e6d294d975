"""The commands that use a trained model: what they write, and what they refuse."""

import json
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import one_device
import pytest
from command_line import MODULE, TINY, refusal

import jaxvae as jv
from jaxvae import process
from jaxvae.cli import main
from jaxvae.files import entries


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
