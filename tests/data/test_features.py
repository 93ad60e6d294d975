import numpy as np
import pytest

from jaxvae.data import Feature
from jaxvae.data.features import in_own_terms, kinds_of

X = np.float32([2, 8, 4, 4])


def test_units_are_those_of_the_entries_or_their_logs():
    own, logs = (Feature("a", "positive").fitted(X, logs=logs) for logs in (False, True))
    assert (own.loc, own.scale, own.logs) == (4.5, pytest.approx(np.std([2, 8, 4, 4])), False)
    assert (logs.loc, logs.scale) == pytest.approx((2 * np.log(2), np.sqrt(0.5) * np.log(2)))
    with pytest.raises(
        ValueError, match=r"column 'a' must be several values in the train split: .*skip.*got '3 in all"
    ):
        Feature("a", "real").fitted(np.full(3, 3.0), logs=False)


@pytest.mark.parametrize(
    ("feature", "fits"),
    [
        (Feature("a", "real"), [1, 1, 1, 1, 0, 0]),
        (Feature("a", "positive"), [0, 0, 1, 1, 0, 0]),
        (Feature("a", "count"), [0, 1, 0, 1, 0, 0]),
        (Feature("a", "binary"), [0, 1, 0, 0, 0, 0]),
        (Feature("a", "ordinal", ("x", "y", "z")), [0, 1, 0, 1, 0, 0]),
        (Feature("a", "binary", ("x", "y")), [0, 1, 0, 0, 0, 0]),
    ],
)
def test_entries_that_a_column_may_have(feature, fits):
    x = np.array([-1, 0, 0.5, 2, np.inf, np.nan])
    assert feature.fits(x).tolist() == [bool(f) for f in fits]


def test_rows_are_told_in_their_own_terms():
    features = Feature("a", "real"), Feature("b", "categorical", ("x", "y", "z")), Feature("c", "binary", ("n", "y"))
    told = in_own_terms(features, np.float32([[1.5, 2, 0.7], [-3, 0, 0.2]]))
    assert {name: x.tolist() for name, x in told.items()} == {"a": [1.5, -3], "b": ["z", "x"], "c": ["y", "n"]}
    assert kinds_of(features) == {"a": "real", "b": ("x", "y", "z"), "c": ("n", "y")}
