"""Texts for readers: numbers, formulas and choices, each written in one way."""

import difflib
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def number(x: float) -> str:
    """Returns a short text for a constant in a formula."""
    if math.isinf(x):
        return "∞" if x > 0 else "-∞"
    return "ln 2" if x == math.log(2) else f"{x:.4g}"


def scaled(factor: float, text: str) -> str:
    """Returns the text of a product, in which a factor of 1 is left out."""
    return text if factor == 1 else f"{number(factor)}·{text}"


def call(function: str, argument: str) -> str:
    """Returns the text of a function call, without brackets around the whole argument."""
    depths = itertools.accumulate({"(": 1, ")": -1}.get(c, 0) for c in argument)
    enclosed = argument.startswith("(") and list(depths).index(0) == len(argument) - 1
    return f"{function}({argument[1:-1] if enclosed else argument})"


def minus(text: str) -> str:
    """Returns a number's text with a true minus sign."""
    return text.replace("-", "−")


def short_exponent(text: str) -> str:
    """Returns a number's text without the zero that Python puts before small exponents.

    >>> short_exponent(f"{0.00001:g}")
    '1e-5'
    """
    return text.replace("e-0", "e-")


def signed(x: float) -> str:
    """Returns the text of a difference in nats, always with its sign.

    >>> signed(-0.125), signed(12.34), signed(0.001)
    ('−0.12', '+12.3', '0.00')
    """
    text = f"{x:+.{2 if abs(x) < 9.995 else 1}f}"
    return text[1:] if float(text) == 0 else minus(text)


def interval(low: float, high: float) -> str:
    """Returns the text of an interval for a difference, in nats.

    >>> interval(-0.125, 0.5)
    '[−0.12, +0.50]'
    """
    return f"[{signed(low)}, {signed(high)}]"


def with_error(x: float, error: float) -> str:
    """Returns the text of a number with its standard error, which is left out if it is NaN.

    >>> with_error(24.126, 0.031), with_error(24.126, math.nan)
    ('24.13 ± 0.03', '24.13')
    """
    return f"{x:.2f} ± {error:.2f}" if error >= 0 else f"{x:.2f}"


def known(x: float | None, digits: int) -> str:
    """Returns a number with this many decimal places, or "n/a" if it is None or NaN.

    >>> known(0.125, 3), known(math.nan, 3), known(None, 3)
    ('0.125', 'n/a', 'n/a')
    """
    return "n/a" if x is None or math.isnan(x) else f"{x:.{digits}f}"


def percent(share: float) -> str:
    """Returns a share in percent for a table, with enough digits to tell it from 0.

    >>> [percent(x) for x in (0, 0.0004, 0.123, 1)]
    ['0', '0.04', '12', '100']
    """
    return f"{100 * share:.0f}" if share >= 0.095 or share == 0 else f"{100 * share:.1g}"


def percentage(share: float, least: float = 0.0) -> str:
    """Returns a share in percent for a sentence, to three digits, or that it is below ``least``.

    >>> percentage(0.12345), percentage(0.0004, least=0.001)
    ('12.3 %', 'below 0.1 %')
    """
    return f"below {100 * least:g} %" if share < least else f"{100 * share:.3g} %"


def printable(text: str) -> str:
    r"""Returns a text for a terminal, in which characters that could move its cursor or change colours are escaped.

    >>> print(printable(chr(27) + "[2Jσ"))
    \x1b[2Jσ
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(count: int, noun: str, nouns: str = "") -> str:
    """Returns a count with its noun; ``nouns`` is the plural, if that isn't the noun with an s.

    >>> counted(1, "run"), counted(3000, "run"), counted(2, "class", "classes")
    ('1 run', '3,000 runs', '2 classes')
    """
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def assignments(fields: Iterable[tuple[str, Any]]) -> str:
    """Returns a text that says which values fields have.

    >>> assignments([("dtype", "bfloat16"), ("latents", 8)])
    'dtype = bfloat16, latents = 8'
    """
    return ", ".join(f"{name} = {value}" for name, value in fields)


def flag_words(fields: Iterable[tuple[str, Any]]) -> list[str]:
    """Returns the words of a command line that gives a configuration's fields these values.

    >>> flag_words([("batch_size", 10), ("size", (8, 8)), ("grey", True)])
    ['--batch-size', '10', '--size', '8', '8', '--grey', 'true']
    """
    words = []
    for name, value in fields:
        values = value if isinstance(value, tuple) else (str(value).lower() if isinstance(value, bool) else value,)
        words += ["--" + name.replace("_", "-"), *map(str, values)]
    return words


def listed(names: Sequence[str]) -> str:
    """Returns names joined by commas and "and", for a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def rough(x: float, sign: str = "") -> str:
    """Returns a number for a sentence, with two digits or all before the point; ``sign`` "+" always shows its sign.

    >>> rough(0.1234), rough(-123.4), rough(3, "+")
    ('0.12', '−123', '+3')
    """
    return minus(f"{x:{sign}.{'0f' if abs(x) >= 10 else '2g'}}")


def nearest(word: object, names: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Returns names that a misspelt word may stand for: those with its letters as initials, else up to three similar.

    Args:
        word: what was written.
        names: what it may be.
        cutoff: the least similarity, from 0 to 1, as in ``difflib``.

    >>> nearest("--epoch", ["--epochs", "--ema-decay"]), nearest("--lr", ["--learning-rate", "--label"])
    (['--epochs'], ['--learning-rate'])
    """
    known = list(names)
    initials = [name for name in known if "".join(re.findall(r"(?<![a-z0-9])[a-z0-9]", name)) == str(word).strip("-")]
    return initials or difflib.get_close_matches(str(word), known, n=3, cutoff=cutoff)


def strict_json(value: Any, indent: int | None = None) -> str:
    """Returns a value as strict JSON, which has no NaN and no infinity: null replaces them.

    >>> strict_json({"nll": math.nan, "of": (1, 2.5)})
    '{"nll": null, "of": [1, 2.5]}'
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
