import math

import pytest

from jaxvae.study.grid import configurations, groups
from jaxvae.study.results import cell, plain
from jaxvae.study.search import most_cells, next_cells, wanted

RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


def searched(loss, rates, seeds):
    """What is trained where this is the loss of a place and a seed."""
    losses = {}
    while more := next_cells(losses, rates, seeds):
        for place, seed in more:
            assert seed not in losses.get(place, {})
            losses.setdefault(place, {})[seed] = loss(place, seed)
    return losses


@pytest.mark.parametrize("rates", [1, 2, 3, 4, 5, 6, 9, 17, 40])
def test_it_ends_at_the_bottom_of_any_valley(rates):
    for valley in range(rates):
        losses = searched(lambda place, seed, valley=valley: (place - valley) ** 2, rates, 3)
        whole = [place for place in losses if len(losses[place]) == 3]
        assert valley in whole
        assert len(whole) == min(2, rates)
        assert all(len(losses[place]) == 1 for place in losses if place not in whole)
        assert sum(map(len, losses.values())) <= most_cells(rates, 3) <= 2 * math.log2(rates) + 7


def test_of_nine_rates_and_three_seeds_at_most_two_fifths_are_trained():
    for valley in range(9):
        assert sum(map(len, searched(lambda place, seed, v=valley: abs(place - v), 9, 3).values())) <= 0.4 * 27


def test_a_learning_rate_at_which_any_seed_fails_is_left():
    losses = searched(lambda place, seed: math.inf if place == 4 and seed == 1 else 10.0 - place, 5, 3)
    assert math.inf in losses[4].values()
    assert [len(losses[place]) for place in (2, 3)] == [3, 3]  # the next best
    failing = searched(lambda place, seed: math.inf if place > 1 else 3.0 - place, 5, 3)
    assert len(failing[1]) == 3


def test_where_all_fail_it_ends():
    losses = searched(lambda place, seed: math.inf, 5, 3)
    assert {seed for some in losses.values() for seed in some} == {0}


def test_one_learning_rate_or_seed():
    assert searched(lambda place, seed: 1.0, 1, 3) == {0: {0: 1.0, 1: 1.0, 2: 1.0}}
    assert all(list(some) == [0] for some in searched(lambda place, seed: abs(place - 3), 5, 1).values())


def test_a_group_s_cells_follow_from_its_table():
    (group,) = groups(configurations({"learning_rate": RATES[::-1], "seed": (7, 3), "parameterization": ("log_std",)}))

    def asked(records):
        return [(c.learning_rate, c.seed) for c in wanted(group, records) if cell(plain(c)) not in records]

    def record(rate, seed, loss, **scores):
        (config,) = (c for c in group if (c.learning_rate, c.seed) == (rate, seed))
        return {cell(plain(config)): {"config": plain(config), "nll": loss, **scores}}

    assert asked({}) == [(3e-2, 7), (1e-2, 7)]
    first = record(1e-2, 7, 1.0, validation_nll=3.0) | record(3e-2, 7, 2.0, validation_nll=1.0)
    assert asked(first) == [(1e-1, 7)]  # by the validation images
    failed = record(1e-2, 7, 1.0) | record(3e-2, 7, 0.5, validation_nll=None)
    assert asked(failed) == [(3e-3, 7)]
    tried = first | record(1e-1, 7, None)
    assert asked(tried) == [(3e-2, 3), (1e-2, 3)]
    assert asked(tried | record(1e-2, 3, 9.0)) == [(3e-2, 3)]
    done = tried | record(1e-2, 3, 9.0) | record(3e-2, 3, 2.0)
    assert asked(done) == []
    assert {cell(plain(c)) for c in wanted(group, done)} == {*done}
