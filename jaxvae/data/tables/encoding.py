"""The encoding of a file's column as numbers of a kind: words become codes, and other entries are refused."""

import datetime
import math
import re
from typing import NamedTuple

import numpy as np

from jaxvae.data.tables.columns import SKIP, Column, Kind, Place, guess_kind, is_number, number_text

_DATE = re.compile(r"\d{1,2}([/.])\d{1,2}\1(\d{2}|\d{4})")  # in either order; other dates have ISO 8601
_CODED = ("binary", "categorical", "ordinal")
_FEWEST_ROW_NUMBERS = 10
_ROW_NAMES = re.compile(r"(.*[_ .])?id|index|row", re.IGNORECASE)
_NUMBER = r"\d{1,3}(?:[.,' \u00a0]\d{3})+(?:[.,]\d+)?|\d+,\d+|\d*\.?\d+"
_FORMATTED = re.compile(rf"[$€£¥]? ?[-+−]?(?:{_NUMBER}) ?[%$€£¥]?")


class GivenColumn(NamedTuple):
    """A column as it was read.

    Attributes:
        name: of the column.
        entries: (N,): float64 with NaN for missing entries; bool; object, with strings and None; or dates.
        place: a function that names a row.
        source: the name of the table.
    """

    name: str
    entries: np.ndarray
    place: Place
    source: str

    @property
    def there(self) -> np.ndarray:
        """Which entries aren't missing."""
        x = self.entries
        return np.array([entry is not None for entry in x], bool) if x.dtype == object else ~np.isnan(x)

    def refuse(self, row: int, allowed: str) -> ValueError:
        """Makes the error for an entry that isn't allowed."""
        entry = self.entries[row]
        value = entry.item() if isinstance(entry, np.generic) else entry
        return ValueError(f"{self.place(row)}, column {self.name!r} must be {allowed}, got {value!r}")

    def require_each(self, fits: np.ndarray, allowed: str) -> None:
        """Raises ValueError for the first entry that doesn't fit."""
        if not fits.all():
            raise self.refuse(int(np.argmin(fits)), allowed)


class Encoded(NamedTuple):
    """A column, and the numbers of its entries, (N,) float64, with NaN for missing ones."""

    column: Column
    values: np.ndarray


def encode_column(given: GivenColumn, kind: Kind | None = None) -> Encoded | str:
    """Encodes the entries of a column, or returns a sentence that says why it is left out.

    Args:
        given: the column.
        kind: its declaration; None for the rules of ``columns``.

    Raises:
        ValueError: for entries that are infinite, all missing, of several types, or not of the declared kind.

    >>> encode_column(GivenColumn("size", np.array([3.0, 0.0, np.nan]), str, "x.csv")).column
    Column(name='size', kind='count', levels=(), low=0.0, high=3.0, missing=1, zeros=1)
    """
    name = given.name
    if kind == SKIP:
        return f"Column {name!r} is left out, as said."
    if given.entries.dtype.kind in "mM":
        return f"Column {name!r} is left out: it holds {'dates' if given.entries.dtype.kind == 'M' else 'durations'}."
    if given.entries.dtype == bool:
        given = given._replace(entries=given.entries.astype(np.float64))
    if not given.there.any():
        raise ValueError(f'{given.source}: column {name!r} must have an entry in some row, or be of kind "{SKIP}"')
    return _words(given, kind) if given.entries.dtype == object else _numbers(given, kind)


def require_of_kind(given: GivenColumn, kind: str) -> None:
    """Raises ValueError, with the row, if a number isn't allowed for a kind of plain numbers."""
    x = given.entries
    if kind == "count":
        given.require_each((x >= 0) & (x == np.rint(x)) | np.isnan(x), "a count: whole, and 0 or more")
    elif kind == "positive":
        given.require_each((x > 0) | np.isnan(x), "positive")
    elif kind == "binary":
        given.require_each((x == 0) | (x == 1) | np.isnan(x), "0 or 1")


def _numbers(given: GivenColumn, kind: Kind | None) -> Encoded | str:
    x = given.entries
    given.require_each(~np.isinf(x), "finite")
    there = given.there
    levels, codes = np.unique(x[there], return_inverse=True)
    whole = bool(np.all(levels == np.rint(levels)))
    if kind is None:
        if whole and _number_rows(given.name, levels, len(codes)):
            return f"Column {given.name!r} is left out: it numbers the rows."
        kind = guess_kind(float(levels[0]), float(levels[-1]), whole, levels)
    if not isinstance(kind, tuple) and kind not in _CODED:
        require_of_kind(given, kind)
        return _described(given.name, kind, (), x)
    texts = tuple(map(number_text, levels.tolist()))
    if isinstance(kind, tuple):
        words = np.full(len(x), None, object)
        words[there] = np.array(texts, object)[codes]
        return _coded(given._replace(entries=words), kind, "ordinal")
    if kind == "binary" and {*texts} <= {"0", "1"}:
        return _described(given.name, kind, (), x)
    if kind == "binary":
        given.require_each(~(x > levels[:2].max()), f"one of two values, {' and '.join(texts[:2])}")
    values = np.full(len(x), np.nan)
    values[there] = codes
    return _described(given.name, kind, texts, values)


def _number_rows(name: str, levels: np.ndarray, count: int) -> bool:
    """Returns whether whole numbers are row numbers: all distinct, and consecutive or with such a name."""
    if not len(levels) == count >= _FEWEST_ROW_NUMBERS:
        return False
    return bool(levels[-1] - levels[0] == count - 1) or _ROW_NAMES.fullmatch(name) is not None


def _described(name: str, kind: str, levels: tuple[str, ...], values: np.ndarray) -> Encoded:
    missing, zeros = int(np.isnan(values).sum()), int(np.sum(values == 0))
    return Encoded(
        Column(name, kind, levels, float(np.nanmin(values)), float(np.nanmax(values)), missing, zeros), values
    )


def _words(given: GivenColumn, kind: Kind | None) -> Encoded | str:
    name, entries, there = given.name, given.entries, given.there
    found = sorted(set(entries[there].tolist()))
    if isinstance(kind, tuple):
        return _coded(given, kind, "ordinal")
    if kind == "ordinal":
        some = ", ".join(f'"{word}"' for word in found[:3])
        raise ValueError(f"{given.source}: column {name!r} must have its levels in order, as {name} = [{some}, …]")
    if kind not in _CODED:
        _require_plain(given, found, kind)
    if kind is not None and kind not in _CODED:
        numbers = np.array([math.nan if x is None else float(x) for x in entries])
        return _numbers(given._replace(entries=numbers), kind)
    if kind is None:
        if all(map(_is_date, found)):
            return f"Column {name!r} is left out: it holds dates."
        if 2 < len(found) > there.sum() / 2:
            return (
                f"Column {name!r} is left out: {len(found):,} of {there.sum():,} texts are different, as of names; "
                'kind "categorical" keeps it.'
            )
        kind = "binary" if len(found) <= 2 else "categorical"
    if kind == "binary":
        fits = np.array([x is None or x in found[:2] for x in entries])
        given.require_each(fits, f"one of two values, {' and '.join(map(repr, found[:2]))}")
    return _coded(given, tuple(found), kind)


def _coded(given: GivenColumn, levels: tuple[str, ...], kind: str) -> Encoded:
    codes = {level: float(code) for code, level in enumerate(levels)}
    fits = np.array([x is None or x in codes for x in given.entries], bool)
    given.require_each(fits, f"one of its levels, {', '.join(levels)}")
    values = np.array([math.nan if x is None else codes[x] for x in given.entries])
    return _described(given.name, kind, levels, values)


def _require_plain(given: GivenColumn, found: list[str], kind: str | None) -> None:
    """Raises ValueError if only some words are numbers, if numbers are formatted, or if declared numbers are words."""
    there = given.there
    other = {word for word in found if not is_number(word)}
    formatted = bool(other) and all(_FORMATTED.fullmatch(word) for word in other)
    if kind is None and not other:
        allowed = f'said to be numbers or not (kind "real", "count", "categorical", "{SKIP}", …), being numbers as text'
        raise given.refuse(int(np.argmax(there)), allowed)
    if not other or (kind is None and len(other) == len(found) and not formatted):
        return
    if formatted:
        allowed = (
            "a plain number: say what separates thousands or decimals (thousands, decimal), take off signs such as %, "
            f'or say kind "categorical" or "{SKIP}"'
        )
    elif kind is None:
        allowed = (
            "a number like others, or text like others, not both: say what stands for missing entries (missing), or "
            f'kind "categorical" or "{SKIP}"'
        )
    else:
        allowed = f"a number, for kind {kind}"
    texts = [word in other for word in given.entries[there]]
    odd = formatted or kind is not None or 2 * sum(texts) <= len(texts)  # the minority
    raise given.refuse(int(np.flatnonzero(there)[texts.index(odd)]), allowed)


def _is_date(word: str) -> bool:
    try:
        datetime.datetime.fromisoformat(word)
    except ValueError:
        return _DATE.fullmatch(word) is not None
    return True
