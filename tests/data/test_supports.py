"""Numbers of which a likelihood has no density are refused by the model's contract."""

import numpy as np
import pytest

from jaxvae.data import DataContract, Reading
from jaxvae.data.supports import SUPPORTS

SHAPE = (2, 1, 1)


def contract(likelihood, levels=None, value_range=()):
    reading = Reading(value_range=value_range)
    return DataContract(SHAPE, levels, real=levels is None and not value_range, likelihood=likelihood, reading=reading)


def checked(contract, pair):
    images = np.array(pair).reshape(1, *SHAPE)
    return contract.checked(images, contract.grid(images))


@pytest.mark.parametrize(
    ("contract", "inside", "outside", "found"),
    [
        (contract("gamma"), [1e-30, 1e30], [1.5, -5.0], r"-5 under likelihood gamma \(above 0\)"),
        (contract("log_normal"), [0.5, 1.5], [0.0, 1.5], r"0 under likelihood log_normal \(above 0\)"),
        (contract("beta", 256), [1, 254], [7, 255], r"255 under likelihood beta \(between 0 and 1, both excluded\)"),
        (contract("beta", None, (0.0, 9.0)), [0.1, 8.0], [9.0, 8.0], "9 under likelihood beta"),
        (contract("von_mises"), [-np.pi, np.pi], [3.2, 1.5], r"3.2 under likelihood von_mises \(angles in radians"),
        (contract("laplace"), [-1e30, 1e30], [np.inf, 1.0], "numbers that aren't finite"),
    ],
)
def test_what_a_likelihood_has_no_density_of_is_refused(contract, inside, outside, found):
    np.testing.assert_allclose(checked(contract, inside).ravel(), inside, rtol=1e-6)
    with pytest.raises(ValueError, match=f"images must be as in training, .* got .*{found}"):
        checked(contract, outside)


def test_a_missing_number_is_not_outside():
    for support in SUPPORTS.values():
        assert support.outside(np.float32([np.nan, 0.5, 1e9])).tolist() == [False, False, support.high < 1e9]
