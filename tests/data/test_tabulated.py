"""A table is a dataset, whatever file it is in, and is read again as it was."""

import numpy as np
import pytest

from jaxvae.data import Reading, load, load_again, origin_of, report
from jaxvae.data.tables import TableReading, as_table, load_table
from jaxvae.data.tabulated import from_table, load_rows, load_unsplit_rows

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


MIXED = {
    "height": np.random.default_rng(1).normal(170, 9, 60).round(2),
    "visits": np.random.default_rng(2).poisson(2, 60),
    "ward": np.array(["icu", "er", "gp"])[np.arange(60) % 3],
    "site": np.array(["north", "south", "east", "west", "here"])[np.arange(60) % 5],
}


def write(path, columns):
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join([",".join(columns), *rows]) + "\n")
    return path


def test_a_mixed_table_in_its_own_units(tmp_path):
    pytest.importorskip("pandas")
    data = load(str(write(tmp_path / "x.csv", MIXED)), reading=Reading(group="site"))
    assert [(f.name, f.kind, f.levels) for f in data.features] == [
        ("height", "positive", ()),
        ("visits", "count", ()),
        ("ward", "categorical", ("er", "gp", "icu")),
    ]
    assert (data.real, data.reading.counts, data.image_shape) == (False, False, (1, 1, 3))
    ids = data.test.names
    np.testing.assert_array_equal(data.test.images[:, 0, 0, 0], np.float32(MIXED["height"][ids]))
    sites = [set(MIXED["site"][split.names]) for split in data.splits.values()]
    assert sum(map(len, sites)) == 5, "a group is in one split"
    lines = report(data)
    assert lines[0].endswith("rows of 3 columns, no labels")
    assert lines[1] == (
        "columns: 1 positive (height), 1 count (visits), 1 categorical (ward); "
        "splits: made here by groups of equal site, about 80:10:10"
    )


def test_kinds_that_are_said_hold(tmp_path):
    pytest.importorskip("pandas")
    path = str(write(tmp_path / "x.csv", MIXED))
    data = load(path, reading=Reading(kinds='{"ward": ["gp", "er", "icu"], "visits": "real", "*": "skip"}'))
    assert [(f.name, f.kind, f.levels) for f in data.features] == [
        ("visits", "real", ()),
        ("ward", "ordinal", ("gp", "er", "icu")),
    ]
    with pytest.raises(ValueError, match=r"x.csv, row 1, column 'height' must be a count"):
        load(path, reading=Reading(counts=True))
    with pytest.raises(ValueError, match="one of images for flags that say how images are read"):
        load(path, reading=Reading(grey=True))
    np.save(tmp_path / "x.npy", COUNTS)
    with pytest.raises(ValueError, match=r"dataset must be a table for --group, --stratified, got .*x.npy'"):
        load(str(tmp_path / "x.npy"), reading=Reading(group="site", stratified=True))


def test_new_rows_have_the_codes_of_training(tmp_path):
    """Whatever levels and other columns there are, in whatever order; what training didn't have is refused."""
    pytest.importorskip("pandas")
    features = load(str(write(tmp_path / "x.csv", MIXED))).features
    new = {"ward": ["icu", "icu", "gp"], "more": [1, 2, 3], **{k: MIXED[k][:3] for k in ("site", "visits", "height")}}
    found = load_unsplit_rows(write(tmp_path / "new.csv", new), Reading(), features)
    assert [column.name for column in found.columns] == ["height", "visits", "ward", "site"]
    assert found.values[:, 2].tolist() == [2, 2, 1]
    again = load_rows(tmp_path / "x.csv", Reading(), features=features[::-1])
    assert [feature.kind for feature in again.features] == ["categorical", "categorical", "count", "positive"]
    write(tmp_path / "zoo.csv", {**new, "ward": ["icu", "zoo", "gp"]})
    with pytest.raises(ValueError, match=r"row 2, column 'ward' must be one of its levels, er, gp, icu, got 'zoo'"):
        load_unsplit_rows(tmp_path / "zoo.csv", Reading(), features)
    del new["visits"]
    with pytest.raises(ValueError, match=r"columns must be all of those of the training, .*, got \"without 'visits'\""):
        load_unsplit_rows(write(tmp_path / "less.csv", new), Reading(), features)


def test_rows_that_are_added_change_no_code(tmp_path):
    pytest.importorskip("pandas")
    path = write(tmp_path / "x.csv", MIXED)
    origin = origin_of(load(str(path)))
    path.write_text(path.read_text() + "12.5,0.5,attic,far\n")
    assert not origin.changes_to(origin_of(load_again(origin)))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (1e9 + np.arange(60) / 7, "columns must be measured in another unit.*, got .'odd'."),
        ([2**25, *range(59)], r"counts must be whole numbers in 0..16777216, got 33554432"),
    ],
)
def test_what_no_model_can_have_is_refused(tmp_path, column, message):
    pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=message):
        load(str(write(tmp_path / "x.csv", {**MIXED, "odd": column})))


def test_units_are_those_of_the_entries_that_are_there(tmp_path):
    pytest.importorskip("pandas")
    odd = [1.5, *[""] * 3, *range(56)]
    data = load(str(write(tmp_path / "x.csv", {**MIXED, "odd": odd})))
    assert data.missing == 3
    names = [feature.name for feature in data.features]
    x = data.train.images[..., names.index("odd")].ravel()
    found = data.features[names.index("odd")].fitted(x, logs=False)
    known = x[~np.isnan(x)].astype(np.float64)
    assert len(known) < len(x)
    assert (found.loc, found.scale) == (np.mean(known), np.std(known))


def test_a_column_that_training_rows_do_not_have_is_named():
    columns = {"a": [1.5, 2.5] * 10, "b": [None] * 16 + [0.5] * 4, "part": ["train"] * 16 + ["test"] * 4}
    with pytest.raises(ValueError, match=r"train split must be one entry .* in each column, got .*first 'b'"):
        from_table(as_table(columns, TableReading(split="part")))


def test_rows_with_names_are_found_again(tmp_path):
    pytest.importorskip("pandas")
    rows = [",".join(map(str, (f"cell{i}", *row))) for i, row in enumerate(COUNTS)]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["cell,a,b,c,d,e", *rows]) + "\n")
    data = from_table(load_table(path, TableReading(names="cell")), str(path), Reading(counts=True))
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
