"""A study's table, with one line of JSON per cell; it is written whenever a group ends, read, and merged.

A *cell* is one training run, named by its configuration. Its *variant* is what the study compares: parameterization and
constraint. Its *setting* is everything else that differs between the cells of a table, except learning rate and seed.

A record has ``nll``, ``elbo`` and other scores of the test images. If there are validation images, it also has
``validation_nll`` and ``validation_elbo``, except in tables of older versions.
"""

import hashlib
import itertools
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.arguments import require
from jaxvae.files import read_file, write_atomically
from jaxvae.training import TrainConfig, config_from_mapping

RESULTS = "results.jsonl"

STD_EDGES = np.linspace(-6, 2, 65)
"""log10 σ at the edges of the histograms' bins; the first and the last bin also count values beyond the edges."""

Record = Mapping[str, Any]
"""The results of one cell; numbers that aren't finite are None."""

_NUMBERS = (
    *("elbo", "log_likelihood", "kl", "nll", "nll_standard_error", "nll_monte_carlo_error"),
    *("active_units", "steps", "skipped", "seconds"),
)
_VALIDATION = ("validation_nll", "validation_elbo")
"""The further scores if the validation images were scored."""
_PARTS = {
    "curve": ("step", "elbo"),
    "gradient_norm": ("head", "network"),
    "saturation": ("floor", "ceiling", "dead"),
    "versions": (),
}
_OTHERS = ("first_skipped", "cause", "gradient_snr", "std_histogram")

_DIGEST = "digest"
_FAR = 3.0  # standard errors over the images; a cell trained on two machines differs far less

_COMPARED = ("parameterization", "constraint", "learning_rate", "seed")
_FILLED = ("likelihood", "binarization", "validation", "batch_size", "likelihood_std", "streaming")
"""Fields that may follow from the data; later ones may also follow from earlier ones."""


def cell(config: Mapping[str, Any]) -> str:
    """Returns a cell's name in the table: its configuration as canonical JSON."""
    return json.dumps(config, sort_keys=True)


def variant(record: Record) -> str:
    """Returns the parameterization and, if it has a constraint, the way in which this is handled.

    >>> variant({"config": {"parameterization": "direct_std", "constraint": "projection"}})
    'direct_std + projection'
    """
    config = record["config"]
    handling = "" if config["constraint"] == "none" else f" + {config['constraint']}"
    return f"{config['parameterization']}{handling}"


def settings(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Returns for each record the fields that differ within the table, except variant, learning rate and seed.

    It leaves out a field that may follow from the data if the other fields determine it.

    >>> settings([{"config": {"seed": 0, "dtype": "float32"}}, {"config": {"seed": 1, "dtype": "bfloat16"}}])
    [{'dtype': 'float32'}, {'dtype': 'bfloat16'}]
    """
    configs = [record["config"] for record in records]
    names = [
        name
        for name in (configs[0] if configs else {})
        if name not in _COMPARED and any(config[name] != configs[0][name] for config in configs)
    ]
    told = [name for name in names if name not in _FILLED]
    for name in _FILLED:
        if name in names and not _follows(name, told, configs):
            told.append(name)
    return [{name: config[name] for name in names if name in told} for config in configs]


def _follows(name: str, others: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> bool:
    """Returns whether some fields determine another one in all configurations."""
    values: dict[str, Any] = {}
    return all(values.setdefault(cell({x: c[x] for x in others}), c[name]) == c[name] for c in configs)


def read_results(path: Path) -> list[Record]:
    """Reads the records of a table; of several records of a cell, it takes the first.

    Configuration fields that a record of an older version lacks get their defaults. An incomplete last line is left
    out.

    Raises:
        ValueError: for a line that isn't a record, or one of a configuration that isn't allowed.
    """
    whole = read_file(path).split(b"\n")[:-1] if path.exists() else []
    records = []
    for number, line in enumerate(whole, 1):
        try:
            record = json.loads(line)
            require(isinstance(record, dict), "record", record, "an object")
            _require_digest(record)
            config = plain(config_from_mapping(record["config"]))
            _require_whole(record)
            records.append({**record, "config": config})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            text = line[:40].decode(errors="backslashreplace")
            raise ValueError(f"{path}, line {number}, must be a record of a study, got {text!r} ({error})") from error
    return merge([records])


def _digest(record: Record) -> str:
    """Returns a digest of a whole record, which tells a flipped bit from another result."""
    return hashlib.blake2b(json.dumps(record).encode(), digest_size=8).hexdigest()


def _require_digest(record: dict[str, Any]) -> None:
    """Removes a record's digest, which older versions lack, and raises ValueError if it doesn't match."""
    if (written := record.pop(_DIGEST, None)) is not None:
        require(written == (now := _digest(record)), _DIGEST, written, f"{now}, that of the line: a value is another")


def _require_whole(record: Record) -> None:
    for name in (*_NUMBERS, *_PARTS, *_OTHERS):
        require(name in record, "record", sorted(record), f"one with {name}")
    for name in (*_NUMBERS, *(name for name in _VALIDATION if name in record)):
        require(_are_numbers([record[name]]), name, record[name], "a number or null")
    for name, parts in _PARTS.items():
        found = record[name]
        require(isinstance(found, dict) and {*parts} <= {*found}, name, found, f"an object with {', '.join(parts)}")
        for part in parts:
            several = found[part] if name in ("curve", "gradient_norm") else [found[part]]
            require(_are_numbers(several), f"{name}.{part}", found[part], "a number or null, or a list of them")
    for name in ("gradient_snr", "std_histogram"):
        require(_are_numbers(record[name]), name, record[name], "a list of numbers or null")
    curve, norms = record["curve"], record["gradient_norm"]
    require(len(curve["step"]) == len(curve["elbo"]), "curve", curve, "of as many steps as numbers")
    require(len(norms["head"]) == len(norms["network"]) == 3, "gradient_norm", norms, "of three numbers each")
    require(
        len(record["std_histogram"]) == len(STD_EDGES) - 1, "std_histogram", "others", f"{len(STD_EDGES) - 1} counts"
    )
    require(_are_numbers([record["first_skipped"]]), "first_skipped", record["first_skipped"], "a number or null")
    require(isinstance(record["cause"], str | None), "cause", record["cause"], "a text or null")


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(x) in (int, float, type(None)) for x in values)


def write_results(path: Path, records: Iterable[Record]) -> None:
    """Writes the whole table atomically; numbers that aren't finite become null."""
    strict = [_strict(record) for record in records]
    lines = (json.dumps({**record, _DIGEST: _digest(record)}, allow_nan=False) + "\n" for record in strict)
    write_atomically(path, "".join(lines))


def _strict(x: Any) -> Any:
    """Replaces NaN and infinity by None, as strict JSON has neither."""
    if isinstance(x, Mapping):
        return {name: _strict(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [_strict(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


def merge(tables: Iterable[Iterable[Record]]) -> list[Record]:
    """Merges tables; it takes a cell's first record, with a warning if records of a cell differ.

    Raises:
        ValueError: if records of a cell are of different data, or differ more than another order of summation explains.
    """
    found: dict[str, Record] = {}
    differing = 0
    for record in itertools.chain(*tables):
        first = found.setdefault(cell(record["config"]), record)
        _require_alike(first, record)
        differing += first["nll"] != record["nll"]
    if differing:
        text = "%d cells are in several tables with other last digits; the first of each is taken"
        logging.getLogger("jaxvae").warning(text, differing)
    return list(found.values())


def _require_alike(first: Record, other: Record) -> None:
    """Raises ValueError if two records of a cell can't come from the same training."""
    where = f"{variant(first)}, learning rate {first['config']['learning_rate']:g}, seed {first['config']['seed']}"
    data = first.get("data"), other.get("data")
    require(None in data or data[0] == data[1], "data", f"others for {where}", "the same in all tables")
    a, b = first["nll"], other["nll"]
    error = _FAR * max(first["nll_standard_error"] or 0.0, other["nll_standard_error"] or 0.0)
    near = a == b or (None not in (a, b) and abs(a - b) <= error)
    require(near, "NLL", f"{a} and {b} for {where}", "about the same in all tables")


def plain(config: TrainConfig) -> dict[str, Any]:
    """Returns a configuration as plain values, as they are in JSON."""
    values: dict[str, Any] = json.loads(config.to_json())
    return values
