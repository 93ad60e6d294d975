"""A search for each group's learning rate, instead of a full grid: it selects the cells to train next.

A group's first seed tries a learning rate in the middle and one above it. It then tries the neighbours of the best one,
until none is better, and halves the distance, down to adjacent learning rates of the grid. This finds the best one if
NLL has a single minimum over the learning rate (a compass search: Kolda, Lewis and Torczon 2003, SIAM Review 45). The
two best learning rates are trained with all other seeds, so that intervals can include the choice between them.

The next cells follow from the table alone, so that a stopped search can continue.
"""

import math
from collections.abc import Mapping, Sequence

from jaxvae.study.results import Record, cell, plain
from jaxvae.training import TrainConfig


def wanted(group: Sequence[TrainConfig], records: Mapping[str, Record]) -> list[TrainConfig]:
    """Returns the cells that a group's search needs so far, including trained ones; it is done when all are trained.

    Args:
        group: cells that differ in learning rate and seed only, all combinations of these.
        records: a table, by cell.
    """
    rates = sorted({config.learning_rate for config in group})
    seeds = list(dict.fromkeys(config.seed for config in group))
    losses: dict[int, dict[int, float]] = {}
    for config in group:
        if record := records.get(cell(plain(config))):
            losses.setdefault(rates.index(config.learning_rate), {})[seeds.index(config.seed)] = _loss(record)
    more = {(rates[place], seeds[seed]) for place, seed in next_cells(losses, len(rates), len(seeds))}
    return [c for c in group if (c.learning_rate, c.seed) in more or cell(plain(c)) in records]


def most_cells(rates: int, seeds: int) -> int:
    """Returns the largest number of a group's cells that a search trains if NLL has a single minimum.

    >>> most_cells(5, 3), most_cells(9, 3), most_cells(17, 3)
    (8, 10, 12)
    """
    return max(_cells_to(valley, rates, seeds) for valley in range(rates))


def _cells_to(valley: int, rates: int, seeds: int) -> int:
    """Returns how many cells a search trains if losses increase on both sides of one learning rate."""
    losses: dict[int, dict[int, float]] = {}
    while more := next_cells(losses, rates, seeds):
        for place, seed in more:
            losses.setdefault(place, {})[seed] = abs(place - valley)
    return sum(map(len, losses.values()))


def next_cells(losses: Mapping[int, Mapping[int, float]], rates: int, seeds: int) -> list[tuple[int, int]]:
    """Returns the pairs of a learning rate's index and a seed's index to train next; none once the search is done.

    Args:
        losses: the loss of each tried learning rate's index, by seed's index; inf for a failed run.
        rates: the number of learning rates, which ascend.
        seeds: the number of seeds.

    >>> next_cells({}, 5, 3), next_cells({2: {0: 1.0}, 3: {0: 0.5}}, 5, 3)
    ([(2, 0), (3, 0)], [(4, 0)])
    >>> next_cells({2: {0: 1.0}, 3: {0: 0.5}, 4: {0: 2.0}}, 5, 3)
    [(3, 1), (3, 2), (2, 1), (2, 2)]
    """
    failed = {place for place, some in losses.items() if math.inf in some.values()}
    first = {place: math.inf if place in failed else some[0] for place, some in losses.items() if 0 in some}
    if more := _next_places(first, rates):
        return [(place, 0) for place in more]
    best = sorted(first.keys() - failed, key=lambda place: (first[place], place))[:2]
    return [(place, seed) for place in best for seed in range(seeds) if seed not in losses[place]]


def _next_places(losses: Mapping[int, float], count: int) -> list[int]:
    """Returns the indices to try next, beside the first of the lowest losses; none once the lowest is found."""
    middle = (count - 1) // 2
    step = 1 << max(0, (count // 4).bit_length() - 1)
    if not losses:
        return [place for place in (middle, middle + step) if place < count]
    best = min(losses, key=lambda place: (losses[place], place))
    while step:
        around = (best - step, best + step) if (best - middle) % step == 0 else ()
        if more := [place for place in around if 0 <= place < count and place not in losses]:
            return more
        step //= 2
    return []


def _loss(record: Record) -> float:
    """Returns the loss by which the learning rate is chosen; inf for a failed run."""
    values = [record["nll"], record.get("validation_nll", record["nll"])]
    return math.inf if None in values else values[1]
