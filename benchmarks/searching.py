"""What ``jaxvae compare --search`` trains of a study's grid, and what it then says: replayed on the whole grid's table.

    python -m benchmarks.searching [DIR ...]

What a search trains next follows from the table alone, so that its cells are those of the grid, and no training is
needed to know which. Printed are how many cells it takes, the learning rates that it finds, and its verdict beside that
of the whole grid.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from jaxvae.study.grid import groups
from jaxvae.study.report.answers import verdict
from jaxvae.study.results import RESULTS, Record, cell, plain, read_results
from jaxvae.study.search import wanted
from jaxvae.study.statistics import analyze
from jaxvae.training import config_from_mapping

STUDIES = tuple(Path(__file__).parent / "results" / name for name in ("compare-digits", "compare-mnist"))


def found_by_search(records: Sequence[Record]) -> list[Record]:
    """The records of a whole grid that a search would have trained."""
    table = {cell(record["config"]): record for record in records}
    every = groups([config_from_mapping(record["config"]) for record in records])
    found: dict[str, Record] = {}
    while more := {cell(plain(c)) for group in every for c in wanted(group, found)} - found.keys():
        found |= {name: table[name] for name in more}
    return [record for name, record in table.items() if name in found]


def learning_rates(records: Sequence[Record]) -> dict[str, float | None]:
    """The best one of each variant in each setting, by their names."""
    outcomes = analyze(records)
    return {
        f"{c.variant} {outcome.setting}": c.best.learning_rate if c.best else None
        for outcome in outcomes
        for c in outcome.comparisons
    }


def main() -> None:
    """Prints what the search finds in each study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", type=Path, metavar="DIR", help="of whole studies", default=STUDIES)
    for study in parser.parse_args().studies:
        records = read_results(study / RESULTS)
        found = found_by_search(records)
        theirs, ours = learning_rates(records), learning_rates(found)
        same = sum(theirs[name] == ours[name] for name in theirs)
        print(f"{study.name}: {len(found)} of {len(records)} cells ({len(found) / len(records):.1%})")
        print(f"the same best learning rate for {same} of {len(theirs)}")
        for title, some in (("grid", records), ("search", found)):
            print(f"{title}:", *(line for answer in verdict(analyze(some)) for line in answer.lines), sep="\n  ")


if __name__ == "__main__":
    main()
