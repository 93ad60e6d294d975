import re

import numpy as np
import pytest
from scipy import sparse

from jaxvae.data.tables import extents

RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c", "d", "e")


def matrix():
    x = RNG.integers(-2, 3, (50, 5)).astype(np.float64)
    x[:, 1] = RNG.normal(size=50)
    x[:, 2] = np.abs(x[:, 1]) + 1  # no zero anywhere
    x[:, 3] = 0
    x[3, 0] = x[4, 1] = np.nan
    return x


@pytest.mark.parametrize("chunk", [7, 2**22])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_extents_are_those_of_each_column(monkeypatch, form, chunk):
    monkeypatch.setattr(extents, "_CHUNK", chunk)
    x = matrix()
    found = extents.extents_of(form(x), NAMES, str)
    np.testing.assert_array_equal(found.low, np.nanmin(x, axis=0))
    np.testing.assert_array_equal(found.high, np.nanmax(x, axis=0))
    np.testing.assert_array_equal(found.whole, [True, False, False, True, True])
    np.testing.assert_array_equal(found.missing, np.isnan(x).sum(axis=0))
    np.testing.assert_array_equal(found.zeros, (x == 0).sum(axis=0))


@pytest.mark.parametrize("chunk", [7, 2**22])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_an_infinite_entry_is_told_by_row_and_column(monkeypatch, form, chunk):
    monkeypatch.setattr(extents, "_CHUNK", chunk)
    x = matrix()
    x[31, 4] = -np.inf
    with pytest.raises(ValueError, match=re.escape("31, column 'e' must be finite, got -inf")):
        extents.extents_of(form(x), NAMES, str)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_a_column_without_entries_has_no_bounds(form):
    x = np.full((3, 5), np.nan)
    found = extents.extents_of(form(x), NAMES, str)
    assert np.all(found.missing == 3)
    assert np.all(np.isinf(found.low))
