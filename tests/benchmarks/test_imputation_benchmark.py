"""How near what is imputed comes to what was removed."""

import numpy as np
import pytest

from benchmarks.imputation import SEEDS, TABLES, by_means, by_neighbours, error, incomplete, measured

NAN = np.nan


def correlated(rows: int, columns: int) -> np.ndarray:
    """Rows that two numbers each tell most of."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 2)) @ rng.normal(size=(2, columns))
    return x + 0.3 * rng.normal(size=x.shape)


def test_neighbours_are_those_of_the_columns_in_common():
    x = np.array([[0.0, 0.0, NAN], [0.1, NAN, 1.0], [0.2, 0.2, 2.0], [9.0, 9.0, 9.0]])
    np.testing.assert_allclose(by_neighbours(x, 2)[0], [0, 0, 1.5])
    np.testing.assert_allclose(by_neighbours(x, 1)[1], [0.1, 0.0, 1])  # as far as the third row, and before it
    np.testing.assert_allclose(by_neighbours(x, 5)[0, 2], 4)
    alone = np.array([[0.0, NAN], [NAN, 1.0], [NAN, 3.0]])
    np.testing.assert_allclose(by_neighbours(alone, 1), by_means(alone))


def test_what_is_removed_is_what_is_scored():
    table = incomplete(correlated(300, 6), 0.25, seed=1)
    missing = np.isnan(table.given)
    assert abs(missing.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / missing.size)
    np.testing.assert_allclose(table.given[~missing], table.true[~missing], rtol=1e-5)
    np.testing.assert_allclose(np.nanmean(table.given, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.nanstd(table.given, axis=0), 1, rtol=1e-5)
    assert error(table.true, table) == 0
    assert error(table.true + 2 * missing, table) == pytest.approx(2)


@pytest.mark.slow
def test_a_short_training_is_better_than_means():
    """The quick stand-in for what is slow below."""
    found = measured("made", correlated(200, 6), 0.25, 0, epochs=40, hidden=(16,), latents=2, train_samples=5)
    assert found["jaxvae"] < 0.8 * found["means"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_it_is_better_than_means_and_neighbours(name):
    pytest.importorskip("sklearn")
    from sklearn.impute import KNNImputer

    from jaxvae.data.tables import load_known

    x = np.asarray(load_known(name).values, np.float64)
    found = measured(name, x, 0.5, SEEDS[0])
    assert found["jaxvae"] < found["neighbours"] < found["means"]
    table = incomplete(x, 0.5, SEEDS[0])
    peer = error(KNNImputer().fit_transform(table.given), table)
    assert peer == pytest.approx(found["neighbours"], rel=1e-2)  # which breaks ties otherwise
