"""The columns of a table: their kinds, which are declared or guessed by rules, and the codes of their entries.

A kind that isn't declared is the first of these that fits the entries that aren't missing:

| entries | kind |
|---|---|
| dates | left out |
| words, more than half as many different ones as there are | left out: they name rows |
| words of at most two kinds, or true and false | binary |
| other words | categorical |
| ten or more whole numbers, all different, and consecutive or in a column called id, index or row | left out |
| 0 and 1, 1 and 2, or -1 and 1 | binary |
| all of 1, 2, …, K, for K from 3 to 10, and no other | ordinal: a rating has no 0, a count does |
| whole numbers, 0 or more, whose lowest is at most half of the highest | count |
| numbers above 0 | positive |
| other numbers | real |

A matrix has a single kind, by the rules for numbers: binary, count, positive or real. If a table has more than 50
columns of numbers, and all numbers are whole and at least 0, all columns are counts, including those of 0 and 1.
"""

import dataclasses
import json
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxvae.arguments import require

LIKELIHOODS: Mapping[str, str] = MappingProxyType(
    {
        "real": "gaussian_learned",
        "positive": "log_normal",
        "count": "negative_binomial",
        "binary": "bernoulli",
        "categorical": "categorical",
        "ordinal": "ordinal",
    }
)
"""The kinds of columns, and the likelihoods that suit them."""

SKIP = "skip"
"""The declaration, instead of a kind, of a column to leave out."""

REST = "*"
"""The declaration, instead of a name, for all columns that aren't named."""

Kind = str | tuple[str, ...]
"""The declaration of a column: its kind, ``SKIP``, or the levels of an ordinal column, lowest first."""

Place = Callable[[int], str]
"""A function from a row's number, from 0, to its name in messages."""

_MOST_RATINGS = 10
_STEPS = 2.0**10
_LARGEST, _SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)


@dataclasses.dataclass(frozen=True)
class Column:
    """The known properties of a column.

    Attributes:
        name: the name of the column.
        kind: one of ``LIKELIHOODS``.
        levels: the meanings of the numbers 0, 1, … of a categorical, ordinal or binary column; () if a binary column
            has 0 and 1 themselves.
        low: the lowest number; NaN if all are missing.
        high: the highest.
        missing: the number of missing entries.
        zeros: the number of entries that are 0.

    Raises:
        ValueError: for an unknown kind.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    low: float = math.nan
    high: float = math.nan
    missing: int = 0
    zeros: int = 0

    def __post_init__(self) -> None:
        require(self.kind in LIKELIHOODS, f"column {self.name!r}: kind", self.kind, f"one of {', '.join(LIKELIHOODS)}")

    @property
    def constant(self) -> bool:
        """Whether all entries that aren't missing are the same."""
        return self.low == self.high

    @property
    def blurred(self) -> bool:
        """Whether float32 has fewer than 2^10 steps for its range, misses some of its counts, or can't hold it."""
        size = max(abs(self.low), abs(self.high))
        close = 0 < self.high - self.low < _STEPS * size * 2.0**-23
        beyond = size > _LARGEST or 0 < self.low < _SMALLEST
        return close or beyond or (self.kind == "count" and size > 2**24)


def guess_kind(low: float, high: float, whole: bool, levels: np.ndarray | None = None) -> str:
    """Guesses the kind of numbers in this range, by this module's rules; without ``levels``, by those for a matrix.

    Args:
        low: the lowest number.
        high: the highest.
        whole: whether all are whole.
        levels: the distinct numbers, in ascending order.

    >>> guess_kind(0, 40, whole=True), guess_kind(0.1, 40, whole=False)
    ('count', 'positive')
    """
    if whole and low >= 0 and high <= 1:
        return "binary"
    if whole and levels is not None:
        if levels.tolist() in ([1, 2], [-1, 1]):
            return "binary"
        if low == 1 and len(levels) == high and 3 <= high <= _MOST_RATINGS:
            return "ordinal"
    far = low > high / 2 and low < high
    if whole and low >= 0 and not far:
        return "count"
    return "positive" if low > 0 else "real"


def number_text(x: float) -> str:
    """Returns a number's text as a level or a row's name; whole numbers have no decimal point."""
    return str(int(x)) if math.isfinite(x) and x == int(x) else repr(x)


def as_texts(entries: np.ndarray) -> np.ndarray:
    """Returns entries as strings, (N,); whole numbers have no decimal point."""
    return np.array([number_text(x) if isinstance(x, float) else str(x) for x in entries.tolist()])


def is_number(word: str) -> bool:
    """Returns whether Python reads this text as a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_kinds(path: str | Path) -> dict[str, Kind]:
    """Reads the declaration of columns in a TOML or JSON file: ``age = "count"``, ``size = ["small", "large"]``.

    Raises:
        ValueError: for a file in another format, or a value that isn't allowed.
        FileNotFoundError: if there is no such file.
    """
    path = Path(path)
    require(path.suffix in (".toml", ".json"), "kinds", str(path), "a .toml or .json file")
    try:
        text = path.read_text(encoding="utf-8")
        said = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:  # from either parser, or for a text that isn't UTF-8
        raise ValueError(f"{path} must be a {path.suffix} file, got what can't be read ({error})") from None
    require(isinstance(said, dict), str(path), said, 'of lines name = "kind"')
    return checked_kinds(said, str(path))


def checked_kinds(said: Mapping[str, Any], field: str = "kinds") -> dict[str, Kind]:
    """Checks the declaration of columns, and returns it with tuples instead of lists.

    Raises:
        ValueError: for an unknown kind, or levels that aren't distinct strings.
    """
    known = (*LIKELIHOODS, SKIP)
    for name, kind in said.items():
        if isinstance(kind, list | tuple):
            fits = len(kind) >= 2 and all(isinstance(x, str) for x in kind) and len({*kind}) == len(kind)
            require(fits, f"{field}: {name}", kind, "the levels of an ordinal column: different strings, lowest first")
        else:
            nested = " (a name with a dot is put in quotes)" if isinstance(kind, Mapping) else ""
            allowed = f"one of {', '.join(known)}, or a list of levels{nested}"
            require(isinstance(kind, str) and kind in known, f"{field}: {name}", kind, allowed)
    return {name: tuple(kind) if isinstance(kind, list | tuple) else kind for name, kind in said.items()}


def kinds_text(said: str) -> str:
    """Returns the declaration of columns as JSON, from a file of ``read_kinds`` or from such a file's JSON.

    Raises:
        ValueError, FileNotFoundError: as ``read_kinds``.

    >>> kinds_text('{"age":"count"}')
    '{"age": "count"}'
    """
    return json.dumps(parsed_kinds(said) if said.lstrip().startswith("{") else read_kinds(said), ensure_ascii=False)


def parsed_kinds(text: str) -> dict[str, Kind]:
    """Parses the text of ``kinds_text``; raises ValueError for another text."""
    try:
        said = json.loads(text)
    except ValueError as error:
        raise ValueError(f"kinds must be JSON, got {text!r} ({error})") from None
    require(isinstance(said, dict), "kinds", text, 'of the form {"name": "kind"}')
    return checked_kinds(said)
