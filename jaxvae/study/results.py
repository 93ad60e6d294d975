"""A study's table: a JSON line per cell, written as groups of cells end, read back and merged.

A *cell* is one training run, named by its configuration. Its *variant* is what the study compares: parameterization and
constraint. Its *setting* is what else differs between the cells of a table, besides learning rate and seed.

A record has ``nll``, ``elbo`` and others of the test images; and ``validation_nll`` and ``validation_elbo`` where there
are validation images, but not in tables of older versions.
"""

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.arguments import require
from jaxvae.files import write_atomically
from jaxvae.training import TrainConfig, config_from_mapping

RESULTS = "results.jsonl"

STD_EDGES = np.linspace(-6, 2, 65)
"""log10 σ at the edges of the histograms' bins; the first and the last bin hold what lies beyond, too."""

Record = Mapping[str, Any]
"""What is known of one cell; numbers that aren't finite are None."""

_NUMBERS = (
    *("elbo", "log_likelihood", "kl", "nll", "nll_standard_error", "nll_monte_carlo_error"),
    *("active_units", "steps", "skipped", "seconds"),
)
_VALIDATION = ("validation_nll", "validation_elbo")
"""Where the validation images were scored, too."""
_PARTS = {
    "curve": ("step", "elbo"),
    "gradient_norm": ("head", "network"),
    "saturation": ("floor", "ceiling", "dead"),
    "versions": (),
}
_OTHERS = ("first_skipped", "cause", "gradient_snr", "std_histogram")

_COMPARED = ("parameterization", "constraint", "learning_rate", "seed")


def cell(config: Mapping[str, Any]) -> str:
    """A cell's name in the table: its configuration as canonical JSON."""
    return json.dumps(config, sort_keys=True)


def variant(record: Record) -> str:
    """The parameterization, and how its constraint is handled where it has one.

    >>> variant({"config": {"parameterization": "direct_std", "constraint": "projection"}})
    'direct_std + projection'
    """
    config = record["config"]
    handling = "" if config["constraint"] == "none" else f" + {config['constraint']}"
    return f"{config['parameterization']}{handling}"


def settings(records: Sequence[Record]) -> list[dict[str, Any]]:
    """For each record, the fields of its configuration that differ within the table, but for those compared.

    >>> settings([{"config": {"seed": 0, "dtype": "float32"}}, {"config": {"seed": 1, "dtype": "bfloat16"}}])
    [{'dtype': 'float32'}, {'dtype': 'bfloat16'}]
    """
    configs = [record["config"] for record in records]
    names = [
        name
        for name in (configs[0] if configs else {})
        if name not in _COMPARED and any(config[name] != configs[0][name] for config in configs)
    ]
    return [{name: config[name] for name in names} for config in configs]


def read_results(path: Path) -> list[Record]:
    """The records of a table, the first of each cell.

    Fields of the configuration that a record of an older version lacks have their defaults; a last line that was cut
    off is left out.

    Raises:
        ValueError: for a line that isn't a record, or one of a configuration that isn't allowed.
    """
    whole = path.read_text().split("\n")[:-1] if path.exists() else []
    records = []
    for number, line in enumerate(whole, 1):
        try:
            record = json.loads(line)
            config = plain(config_from_mapping(record["config"]))
            _require_whole(record)
            records.append({**record, "config": config})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(
                f"{path}, line {number}, must be a record of a study, got {line[:40]!r} ({error})"
            ) from error
    return merge([records])


def _require_whole(record: Record) -> None:
    for name in (*_NUMBERS, *_PARTS, *_OTHERS):
        require(name in record, "record", sorted(record), f"one with {name}")
    for name in (*_NUMBERS, *(name for name in _VALIDATION if name in record)):
        require(isinstance(record[name], int | float | None), name, record[name], "a number or null")
    for name, parts in _PARTS.items():
        found = record[name]
        require(isinstance(found, dict) and {*parts} <= {*found}, name, found, f"an object with {', '.join(parts)}")


def write_results(path: Path, records: Iterable[Record]) -> None:
    """The whole table, or the file as it was; numbers that aren't finite become null."""
    write_atomically(path, "".join(json.dumps(_strict(record), allow_nan=False) + "\n" for record in records))


def _strict(x: Any) -> Any:
    """Strict JSON has no NaN and no infinity."""
    if isinstance(x, Mapping):
        return {name: _strict(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [_strict(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


def merge(tables: Iterable[Iterable[Record]]) -> list[Record]:
    """All tables in one; of a cell in several, the first record."""
    found: dict[str, Record] = {}
    for record in itertools.chain(*tables):
        found.setdefault(cell(record["config"]), record)
    return list(found.values())


def plain(config: TrainConfig) -> dict[str, Any]:
    """A configuration as JSON would have it."""
    values: dict[str, Any] = json.loads(config.to_json())
    return values
