import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.models import Condition
from jaxvae.models.conditions import laid_out


def test_levels_are_one_hot_and_numbers_in_units():
    given = jnp.array([[2.0, 7.0, 0.0], [0.0, 1.0, 1.0]])
    conditions = Condition(3), Condition(loc=1.0, scale=3.0), Condition(2)
    want = [[0, 0, 1, 2, 1, 0], [1, 0, 0, 0, 0, 1]]
    np.testing.assert_array_equal(laid_out(given, conditions), want)
    np.testing.assert_array_equal(laid_out(given[None], conditions), [want])
    assert laid_out(None, ()) is None


@pytest.mark.parametrize(("field", "value"), [("levels", -1), ("scale", 0.0)])
def test_what_is_no_condition_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} must be .*, got {value}"):
        Condition(**{field: value})


@pytest.mark.parametrize(("given", "count"), [(None, 1), (jnp.zeros((2, 1)), 0), (jnp.zeros((2, 1)), 2)])
def test_what_is_given_is_what_is_asked_for(given, count):
    with pytest.raises(ValueError, match=f"given must have {count} numbers of each image, one for each condition, got"):
        laid_out(given, (Condition(2),) * count)
