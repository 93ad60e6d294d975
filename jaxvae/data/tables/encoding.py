"""From what a column of a file holds to numbers of a kind: words become codes, and what doesn't fit is refused."""

import datetime
import math
import re
from typing import NamedTuple

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.tables.columns import SKIP, Column, Kind, Place, guess_kind, is_number, number_text

_CODED = ("binary", "categorical", "ordinal")
_FEWEST_ROW_NUMBERS = 10
_ROW_NAMES = re.compile(r"(.*[_ .])?id|index|row", re.IGNORECASE)
_NUMBER = r"\d{1,3}(?:[.,' \u00a0]\d{3})+(?:[.,]\d+)?|\d+,\d+|\d*\.?\d+"
_FORMATTED = re.compile(rf"[$€£¥]? ?[-+−]?(?:{_NUMBER}) ?[%$€£¥]?")


class Encoded(NamedTuple):
    """A column, and the numbers of its entries: (N,) float64, NaN where one is missing."""

    column: Column
    values: np.ndarray


def encode_column(name: str, entries: np.ndarray, kind: Kind | None, place: Place) -> Encoded | str:
    """The column of these entries, or, in a sentence, why it is left out.

    Args:
        name: of the column.
        entries: (N,): float64, NaN where missing; bool; object, of strings and None; or dates.
        kind: what is said of it; None for the rules of ``columns``.
        place: names a row.

    Raises:
        ValueError: for entries that are infinite, all missing, of several types, or not of the kind that is said.

    >>> encode_column("size", np.array([3.0, 0.0, np.nan]), None, str).column
    Column(name='size', kind='count', levels=(), low=0.0, high=3.0, missing=1, zeros=1)
    """
    if kind == SKIP:
        return f"Column {name!r} is left out, as said."
    if entries.dtype.kind in "mM":
        return f"Column {name!r} is left out: it holds dates."
    if entries.dtype == bool:
        entries = entries.astype(np.float64)
    there = _there(entries)
    require(bool(there.any()), f"column {name!r}", "none in any row", f'some entry, or left out by {name} = "{SKIP}"')
    if entries.dtype == object:
        return _words(name, entries, there, kind, place)
    _require_each(np.isfinite(entries) | ~there, entries, name, place, "finite")
    if kind is None:
        found = entries[there]
        if _numbers_rows(name, found):
            return f"Column {name!r} is left out: it numbers the rows."
        kind = _guess(found)
    if isinstance(kind, tuple) or kind in _CODED:
        return _numbers_coded(name, entries, there, kind, place)
    require_kind(name, entries, kind, place)
    return Encoded(_described(name, kind, (), entries), entries)


def _there(entries: np.ndarray) -> np.ndarray:
    return np.array([x is not None for x in entries], bool) if entries.dtype == object else ~np.isnan(entries)


def _guess(x: np.ndarray) -> str:
    return guess_kind(float(x.min()), float(x.max()), bool(np.all(x == np.rint(x))), np.unique(x))


def _numbers_rows(name: str, x: np.ndarray) -> bool:
    if len(x) < _FEWEST_ROW_NUMBERS or not np.all(x == np.rint(x)):
        return False
    rising = np.sort(x)
    steps = np.diff(rising)
    return bool(np.all(steps == 1)) or (bool(np.all(steps > 0)) and _ROW_NAMES.fullmatch(name) is not None)


def require_kind(name: str, x: np.ndarray, kind: str, place: Place) -> None:
    """Raises ValueError, with the row, where a number isn't of a kind that takes numbers as they are."""
    if kind == "count":
        _require_each(~(x < 0) & ~(x != np.rint(x)) | np.isnan(x), x, name, place, "a count: whole, and 0 or more")
    elif kind == "positive":
        _require_each(~(x <= 0), x, name, place, "positive")
    elif kind == "binary":
        _require_each((x == 0) | (x == 1) | np.isnan(x), x, name, place, "0 or 1")


def _require_each(fits: np.ndarray, entries: np.ndarray, name: str, place: Place, allowed: str) -> None:
    if not fits.all():
        row = int(np.argmin(fits))
        value = entries[row].item() if isinstance(entries[row], np.generic) else entries[row]
        raise ValueError(f"{place(row)}, column {name!r} must be {allowed}, got {value!r}")


def _described(name: str, kind: str, levels: tuple[str, ...], values: np.ndarray) -> Column:
    missing, zeros = int(np.isnan(values).sum()), int(np.sum(values == 0))
    return Column(name, kind, levels, float(np.nanmin(values)), float(np.nanmax(values)), missing, zeros)


def _numbers_coded(name: str, x: np.ndarray, there: np.ndarray, kind: Kind, place: Place) -> Encoded:
    """Numbers that stand for levels: said by their texts, or those that occur, rising."""
    levels, codes = np.unique(x[there], return_inverse=True)
    texts = tuple(number_text(level) for level in levels.tolist())
    values = np.full(len(x), np.nan)
    values[there] = codes
    if isinstance(kind, tuple):
        words = np.full(len(x), None, object)
        words[there] = np.array(texts, object)[codes]
        return _coded(name, words, there, kind, "ordinal", place)
    if kind == "binary":
        if set(texts) <= {"0", "1"}:
            return Encoded(_described(name, kind, (), x), x)
        _require_each(~(values > 1), x, name, place, f"one of two values, {' and '.join(texts[:2])}")
    return Encoded(_described(name, kind, texts, values), values)


def _words(name: str, entries: np.ndarray, there: np.ndarray, kind: Kind | None, place: Place) -> Encoded | str:
    found = sorted(set(entries[there].tolist()))
    if isinstance(kind, tuple):
        return _coded(name, entries, there, kind, "ordinal", place)
    if kind == "ordinal":
        some = ", ".join(f'"{word}"' for word in found[:3])
        raise ValueError(f"column {name!r} must be told the order of its levels, as {name} = [{some}, …], lowest first")
    if kind not in _CODED:
        _require_plain(name, entries, there, found, kind, place)
    if kind is not None and kind not in _CODED:
        return encode_column(name, np.array([math.nan if x is None else float(x) for x in entries]), kind, place)
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
        _require_each(fits, entries, name, place, f"one of two values, {' and '.join(map(repr, found[:2]))}")
    return _coded(name, entries, there, tuple(found), kind, place)


def _require_plain(
    name: str, entries: np.ndarray, there: np.ndarray, found: list[str], kind: str | None, place: Place
) -> None:
    """Raises ValueError where words are numbers in part, or written for a reader, or no numbers but said to be."""
    numbers = {word for word in found if is_number(word)}
    other = {*found} - numbers
    formatted = bool(other) and all(_FORMATTED.fullmatch(word) for word in other)
    if not other or (kind is None and not numbers and not formatted):
        return
    if formatted:
        allowed = (
            "a plain number: what separates thousands or decimals is to be said (thousands, decimal), signs such as % "
            f'are to be taken off; or of kind "categorical" or "{SKIP}"'
        )
    elif kind is None:
        allowed = (
            "a number like others, or text like others, but not both: say what stands for missing entries (missing), "
            f'or kind "categorical" or "{SKIP}"'
        )
    else:
        allowed = f"a number, for kind {kind}"
    texts = [word in other for word in entries[there]]
    odd = formatted or kind is not None or 2 * sum(texts) <= len(texts)  # the fewer ones
    row = int(np.flatnonzero(there)[texts.index(odd)])
    raise ValueError(f"{place(row)}, column {name!r} must be {allowed}; got {entries[row]!r}")


def _coded(
    name: str, words: np.ndarray, there: np.ndarray, levels: tuple[str, ...], kind: str, place: Place
) -> Encoded:
    codes = {level: float(code) for code, level in enumerate(levels)}
    fits = np.array([x is None or x in codes for x in words], bool)
    _require_each(fits, words, name, place, f"one of its levels, {', '.join(levels)}")
    values = np.array([math.nan if x is None else codes[x] for x in words])
    return Encoded(_described(name, kind, levels, values), values)


def _is_date(word: str) -> bool:
    try:
        datetime.datetime.fromisoformat(word)
    except ValueError:
        return False
    return True
