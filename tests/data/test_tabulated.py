"""A table of counts is a dataset, whatever file it is in."""

import numpy as np
import pytest

from jaxvae.data import Reading, load, load_again, origin_of, report
from jaxvae.data.tables import TableReading, load_table
from jaxvae.data.tabulated import counts_of

COUNTS = np.random.default_rng(0).poisson(3, (60, 5))


def test_a_sparse_matrix_of_counts(tmp_path):
    sparse = pytest.importorskip("scipy.sparse")
    sparse.save_npz(tmp_path / "x.npz", sparse.csr_array(COUNTS))
    data = load(str(tmp_path / "x.npz"), reading=Reading(counts=True))
    assert (data.levels, data.image_shape, data.reading.counts) == (None, (1, 1, 5), True)
    assert [len(split) for split in data.splits.values()] == [48, 6, 6]
    np.testing.assert_array_equal(data.test.images[:, 0, 0], COUNTS[data.test.names])


def test_a_csv_file_of_counts_with_classes(tmp_path):
    pytest.importorskip("pandas")
    names = np.array(["ape", "bee"])[np.arange(60) % 2]
    rows = [",".join(map(str, (*row, name))) for row, name in zip(COUNTS, names, strict=True)]
    (tmp_path / "x.csv").write_text("\n".join(["a,b,c,d,e,kind", *rows]) + "\n")
    data = load(str(tmp_path / "x.csv"), reading=Reading(label="kind"))
    assert data.class_names == ("ape", "bee")
    np.testing.assert_array_equal(data.train.labels, data.train.names % 2)
    np.testing.assert_array_equal(data.train.images[:, 0, 0], COUNTS[data.train.names])


def test_other_kinds_of_columns_are_named(tmp_path):
    pytest.importorskip("pandas")
    rows = [",".join(map(str, (*row, row.sum() / 7))) for row in COUNTS]
    (tmp_path / "x.csv").write_text("\n".join(["a,b,c,d,e,share", *rows]) + "\n")
    with pytest.raises(
        ValueError, match=r"columns must be counts; if they are, say --counts, got 'share \(positive\)'"
    ):
        load(str(tmp_path / "x.csv"))
    with pytest.raises(ValueError, match="one of images for flags other than --counts and --label"):
        load(str(tmp_path / "x.csv"), reading=Reading(grey=True))


def test_rows_with_names_are_found_again(tmp_path):
    pytest.importorskip("pandas")
    rows = [",".join(map(str, (f"cell{i}", *row))) for i, row in enumerate(COUNTS)]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["cell,a,b,c,d,e", *rows]) + "\n")
    data = counts_of(load_table(path, TableReading(names="cell")), str(path), Reading(counts=True))
    assert data.test.names[0].startswith("cell")
    assert report(data)[1].endswith("splits: made here by a fixed permutation, about 80:10:10")
    origin = origin_of(data)
    assert (origin.files, origin.rows, origin.dataset) == (None, 60, str(path))
    path.write_text("\n".join(["a,b,c,d,e", *(row.partition(",")[2] for row in rows)]) + "\n")
    assert not origin.changes_to(origin_of(load_again(origin, reading=Reading(counts=True))))
    # Rows that are added change no split, and rows that are gone are missed.
    path.write_text(path.read_text() + "1,2,3,4,5\n")
    assert not origin.changes_to(origin_of(load_again(origin, reading=Reading(counts=True))))
    path.write_text("\n".join(path.read_text().splitlines()[:50]) + "\n")
    with pytest.raises(ValueError, match="number of rows must be 60 or more, as when they were split, got 49"):
        load_again(origin, reading=Reading(counts=True))
