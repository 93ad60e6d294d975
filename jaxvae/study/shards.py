"""Shards of a study: processes, on one machine or several, that each train some groups and write a table.

All shards use one directory, in which each writes its own table and holds its own lock; the study's table is all of
these together. The number of shards may change from one run to the next, as no shard trains cells that any table holds.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from jaxvae.arguments import require
from jaxvae.study.results import RESULTS, Record, merge, read_results

_Any = TypeVar("_Any")


class Shard(NamedTuple):
    """One of ``total`` shares of a study; the first has number 1."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    @property
    def table(self) -> str:
        """The file name of its table."""
        return RESULTS if self.total == 1 else f"results-{self.number}-of-{self.total}.jsonl"

    def share(self, some: Sequence[_Any], costs: Sequence[float]) -> list[_Any]:
        """Returns its share, in order; each item, the costliest first, goes to the shard with the least work."""
        loads = [0.0] * self.total
        own = set()
        for i in sorted(range(len(some)), key=lambda i: (-costs[i], i)):
            least = loads.index(min(loads))
            loads[least] += costs[i]
            if least == self.number - 1:
                own.add(i)
        return [x for i, x in enumerate(some) if i in own]


ALONE = Shard(1, 1)
"""The single shard of a study that isn't shared."""


def shard_of(text: str) -> Shard:
    """Makes a shard from the text ``I/N``.

    >>> shard_of("2/8")
    Shard(number=2, total=8)

    Raises:
        ValueError: unless 1 ≤ I ≤ N.
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    number, count = map(int, found.groups()) if found else (0, 0)
    require(1 <= number <= count, "shard", text, "I/N, from 1/N to N/N")
    return Shard(number, count)


def shard_of_job(environment: Mapping[str, str] = os.environ) -> tuple[Shard, str] | None:
    """Returns the shard of a process in a SLURM array or an indexed Kubernetes job, and the variable that names it.

    >>> shard_of_job({"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "4"})
    (Shard(number=1, total=4), 'JOB_COMPLETION_INDEX')
    """

    def number(name: str, default: str) -> int:
        text = environment.get(name, default)
        require(text.isdecimal(), name, text, "a whole number")
        return int(text)

    for index, count, first, step in (
        ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"),
        ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", "", ""),
    ):
        if index in environment and count in environment:
            place = (number(index, "") - number(first, "0")) // max(1, number(step, "1"))
            return shard_of(f"{place + 1}/{number(count, '')}"), index
    return None


def read_tables(out: Path) -> list[Record]:
    """Reads all tables in a study's directory, with the first record of each cell; may raise as ``read_results``."""
    shards = sorted(path for path in out.glob("results-*-of-*.jsonl"))
    return merge(read_results(path) for path in (out / RESULTS, *shards))
