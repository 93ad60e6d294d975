"""Files of what a model says: read back as they were, refused before anything is computed."""

import csv

import numpy as np
import pytest
from cutting import cut_short
from PIL import Image

from jaxvae.data import Feature
from jaxvae.files import entries
from jaxvae.trained import tables

COLUMNS = {
    "names": np.array(["é/a,b.png", "c.png"]),
    "labels": np.array([3, 0], np.int32),
    "mean": np.array([[0.1, -1e-30], [2.0, np.nan]], np.float32),
}


def test_a_table_is_read_back(tmp_path):
    tables.write_table(tmp_path / "new" / "x.csv", COLUMNS)
    with (tmp_path / "new" / "x.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["names", "labels", "mean_0", "mean_1"],
        ["é/a,b.png", "3", "0.1", "-1e-30"],
        ["c.png", "0", "2", ""],
    ]
    tables.write_table(tmp_path / "x.npz", COLUMNS)
    z, labels, names, _ = tables.read_latents(tmp_path / "x.npz")
    np.testing.assert_array_equal(z, COLUMNS["mean"])
    assert labels.tolist() == [3, 0]
    assert names.tolist() == COLUMNS["names"].tolist()


def test_latents_alone_are_named_by_their_rows(tmp_path):
    tables.write_array(tmp_path / "z.npy", COLUMNS["mean"])
    z, labels, names, _ = tables.read_latents(tmp_path / "z.npy")
    assert z.shape == (2, 2)
    assert labels is None
    assert names.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"", "latents must be a .npy or .npz file"),
        ("x.npz", b"junk", "x.npz must be a file of latents"),
        ("x.npy", b"junk", "x.npy must be a file of latents"),
    ],
)
def test_what_holds_no_latents_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        tables.read_latents(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"gone.npz: no such file"):
        tables.read_latents(tmp_path / "gone.npz")
    np.savez(tmp_path / "other.npz", images=np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"other.npz: fields must be latents or mean, of shape \(N, L\), got \['im"):
        tables.read_latents(tmp_path / "other.npz")


def test_pictures_have_their_names(tmp_path):
    images = np.linspace(0, 1, 2 * 4 * 3 * 1).reshape(2, 4, 3, 1)
    tables.write_pictures(tmp_path / "out", images, np.array(["ape/1.jpg", "2.png"]))
    with Image.open(tmp_path / "out" / "ape" / "1.jpg.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.rint(255 * images[0, ..., 0]))
    assert (tmp_path / "out" / "2.png").exists()
    with pytest.raises(ValueError, match=r"out must be a new or empty directory, or a path that ends in .npy"):
        tables.write_pictures(tmp_path / "out", images, np.arange(2))


def test_pictures_that_were_cut_short_are_written_again(tmp_path, monkeypatch):
    images, names = np.zeros((2, 4, 3, 1)), np.array(["a/1", "2"])
    with monkeypatch.context() as patch:
        cut_short(patch, tables, 1)
        with pytest.raises(OSError, match="No space"):
            tables.write_pictures(tmp_path / "out", images, names)
    assert entries(tmp_path / "out") == {"a", ".unfinished"}
    tables.write_pictures(tmp_path / "out", images, names)
    assert entries(tmp_path / "out") == {"a", "2.png"}


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x"])
def test_pictures_stay_in_their_directory(tmp_path, name):
    with pytest.raises(ValueError, match="names must be files in the directory itself"):
        tables.write_pictures(tmp_path / "out", np.zeros((1, 2, 2, 1)), np.array([name]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "uint8"])
def test_rows_are_read_back_bit_for_bit(tmp_path, dtype):
    x = np.random.default_rng(0).normal(100, 30, size=(3, 2, 2)).astype(dtype)
    tables.write_table(tmp_path / "x.csv", {"names": np.array(["a", "b,c", "d"]), "x": x.reshape(3, 4)})
    head, *lines = csv.reader((tmp_path / "x.csv").read_text().splitlines())
    assert head == ["names", "x_0", "x_1", "x_2", "x_3"]
    assert [line[0] for line in lines] == ["a", "b,c", "d"]
    np.testing.assert_array_equal(np.array([line[1:] for line in lines]).astype(dtype), x.reshape(3, 4))


def test_files_are_of_an_allowed_type(tmp_path):
    with pytest.raises(ValueError, match=r"out must be a path that ends in .csv or .npz, got '.*x.txt'"):
        tables.require_suffix(tmp_path / "x.txt", ".csv", ".npz")
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(ValueError, match="out must be a file, not a directory"):
        tables.require_suffix(tmp_path / "x.csv", ".csv", ".npz")


def test_rows_of_a_table_are_written_in_its_terms(tmp_path):
    features = Feature("value", "real"), Feature("out", "categorical", ("a", "b", "c"))
    rows = np.float32([[1.5, 2], [-3, 0]])[:, None, None]
    tables.write_rows(tmp_path / "x.csv", features, rows, {"value": np.array([7, 8]), "rows": np.array(["p", "q"])})
    assert (tmp_path / "x.csv").read_text() == "value_,rows,value,out\n7,p,1.5,c\n8,q,-3,a\n"
    tables.write_rows(tmp_path / "x.npy", features, rows)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), rows.reshape(2, 2))
