import jax
import numpy as np
import pytest

from jaxvae.objectives import SCHEDULES, beta_schedule


def values(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_constant():
    assert values(beta_schedule("constant", 3.0, steps=10), range(12)) == [3.0] * 12


def test_linear_rises_over_its_share_of_the_steps():
    schedule = beta_schedule("linear", 2.0, steps=20, ramp=0.2)
    assert values(schedule, range(7)) == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert values(schedule, [19, 20, 1000]) == [2.0] * 3


def test_cyclical_starts_again():
    schedule = beta_schedule("cyclical", 4.0, steps=24, cycles=3, ramp=0.5)
    cycle = [0.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 4.0]
    assert values(schedule, range(24)) == cycle * 3


def test_cycles_that_do_not_divide_the_steps_end_early_and_none_is_added():
    schedule = beta_schedule("cyclical", 1.0, steps=10, cycles=3, ramp=0.5)  # of 4 steps each
    assert values(schedule, range(10)) == [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 0.0, 0.5]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_traced_step_gives_the_same(name):
    schedule = beta_schedule(name, 2.0, steps=16)
    steps = np.arange(16)
    np.testing.assert_allclose(jax.vmap(schedule)(steps) + 0 * steps, values(schedule, steps), rtol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_training_of_one_step_has_a_schedule(name):
    assert values(beta_schedule(name, 1.0, steps=1), [0]) == [1.0 if name == "constant" else 0.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "sinus"}, "beta_schedule must be one of constant, linear, cyclical, got 'sinus'"),
        ({"beta": -1.0}, "beta must be a number of at least 0, got -1.0"),
        ({"beta": float("nan")}, "beta must be a number of at least 0, got nan"),
        ({"beta": float("inf")}, "beta must be a number of at least 0, got inf"),
        ({"cycles": 0}, "beta_cycles must be at least 1, got 0"),
        ({"ramp": 0.0}, r"beta_ramp must be in \(0, 1\], got 0.0"),
        ({"ramp": 1.5}, r"beta_ramp must be in \(0, 1\], got 1.5"),
    ],
)
def test_refused_values(options, message):
    with pytest.raises(ValueError, match=message):
        beta_schedule(**{"name": "linear", "beta": 1.0, "steps": 8, **options})
