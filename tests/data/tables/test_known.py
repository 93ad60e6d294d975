import re

import numpy as np
import pytest

from jaxvae.data.tables import KNOWN, load_known
from jaxvae.data.tables.apportioning import rows_by_split


def known(name, package):
    pytest.importorskip(package)
    table = load_known(name)
    assert table.notes[-1] == f"Licence: {KNOWN[name].licence}."
    return table


def test_randhie():
    table = known("randhie", "statsmodels")
    assert table.values.shape == (20190, 10)
    assert [column.kind for column in table.columns].count("binary") == 4
    visits = table.values[:, 0]
    assert (table.columns[0].name, table.columns[0].kind) == ("mdvis", "count")
    assert (int(visits.sum()), int(visits.max())) == (57752, 77)


def test_reuters():
    table = known("reuters", "lda")
    assert table.sparse
    assert table.values.shape == (395, 4258)
    assert {column.kind for column in table.columns} == {"count"}
    assert int(table.values.sum()) == 84010
    assert len(table.names) == 395


@pytest.mark.parametrize(("name", "shape", "classes"), [("breast_cancer", (569, 30), 2), ("wine", (178, 13), 3)])
def test_measurements_of_scikit_learn(name, shape, classes):
    table = known(name, "sklearn")
    assert table.values.shape == shape
    assert len(np.unique(table.labels)) == classes
    assert list(rows_by_split(table.splits)) == ["train", "validation", "test"]


def test_japanese_vowels():
    table = known("japanese_vowels", "sktime")
    values = table.values.reshape(640, 29, 12)
    there = ~np.isnan(values)
    lengths = there[:, :, 0].sum(axis=1)
    assert (lengths.min(), lengths.max()) == (7, 29)
    np.testing.assert_array_equal(there, np.broadcast_to(np.arange(29)[:, None] < lengths[:, None, None], values.shape))
    assert {name: len(rows) for name, rows in table.rows.items()} == {"train": 270, "test": 370}
    assert len(np.unique(table.labels)) == 9
    assert table.columns[13].name == "c2 t2"


def test_an_unknown_name_is_told():
    with pytest.raises(ValueError, match=f"^table must be one of {', '.join(KNOWN)}, got 'iris'$"):
        load_known("iris")


def test_what_is_missing_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, package in (
        ("randhie", "statsmodels"),
        ("reuters", "lda"),
        ("wine", "sklearn"),
        ("japanese_vowels", "sktime"),
    ):
        message = f'{name} needs {package}, which comes with: pip install "jaxvae[datasets]"'
        with pytest.raises(ImportError, match=re.escape(message)):
            load_known(name)
