"""Bad input, and good: what the properties of this folder are drawn from, here and, by thousands, in a benchmark."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SAME = settings(derandomize=True, database=None, deadline=None, suppress_health_check=tuple(HealthCheck))
"""The same inputs each time."""


class Property(NamedTuple):
    """A test, what its arguments are drawn from, how often in the tests, and its share of a benchmark."""

    test: Callable[..., None]
    drawn: tuple[st.SearchStrategy[Any], ...]
    examples: int
    share: int

    def drawn_often(self, examples: int) -> Callable[[], None]:
        """The test, to be called."""
        return settings(SAME, max_examples=examples)(given(*self.drawn)(self.test))


PROPERTIES: list[Property] = []
"""All that are defined so far."""


def fuzz(
    *drawn: st.SearchStrategy[Any], examples: int = 15, share: int = 10
) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Draws a test's arguments, and remembers it."""

    def decorate(test: Callable[..., None]) -> Callable[[], None]:
        PROPERTIES.append(Property(test, drawn, examples, share))
        return PROPERTIES[-1].drawn_often(examples)

    return decorate


REAL = ("bool", "int8", "uint8", "int32", "float16", "bfloat16", "float32", "float64")
"""Dtypes that are computed with."""

SIZES = st.sampled_from((0, 1, 2, 3))
HUGE = st.sampled_from((0, 1, 2, 3, 10**6, 2**31 - 1))
"""For shapes that are only thought of."""

JUNK = st.sampled_from(
    (
        "abc",
        "float32",
        "",
        b"ab",
        None,
        1j,
        [],
        [1.0, 2.0],
        {},
        10**400,
        -(10**400),
        np.float32,
        object(),
        np.ones(2, complex),
        np.array([None, None]),
        np.array(["a", "b"]),
        np.zeros(2, "M8[s]"),
        np.zeros(2, [("a", "f4")]),
        np.ones(2, ">f4"),
        np.ones(2, np.longdouble),
        np.ma.masked_array([1.0, 2.0], [False, True]),
    )
)
"""No array of real numbers."""

SPECIAL = (0.0, -0.0, 1e-45, -1e-38, 0.5, 1.0, -1.0, 3.0, 88.0, -104.0, 200.0, -200.0, 1e10, 3e38)
BEYOND = (float("nan"), float("inf"), float("-inf"))

NUMBERS = st.one_of(
    st.sampled_from((*SPECIAL, *BEYOND, 0, 1, -1, True, 2**31, -(2**63), 2**70, 10**400)), st.integers(), st.floats()
)


def vectors(count: int, values: tuple[float, ...] = SPECIAL) -> st.SearchStrategy[np.ndarray]:
    """Of float32."""
    return st.lists(st.sampled_from(values), min_size=count, max_size=count).map(lambda x: np.array(x, np.float32))


def names(axes: str) -> list[list[str]]:
    """The letters of each array of ``(*B), (*B, L), ()``."""
    return [re.findall(r"\*?[A-Z]", part) for part in re.findall(r"\(.*?\)", axes)]


def _cuts(letters: list[str], shape: tuple[int, ...]) -> Iterator[list[tuple[int, ...]]]:
    """All ways to give one size to each letter, and any number to a letter with a star."""
    if not letters and not shape:
        yield []
    for n in range(len(shape) + 1) if letters and "*" in letters[0] else (1,) if letters and shape else ():
        for rest in _cuts(letters[1:], shape[n:]):
            yield [shape[:n], *rest]


def assigned(axes: str, shapes: list[tuple[int, ...]]) -> dict[str, tuple[int, ...]] | None:
    """What the letters stand for where arrays of these shapes have these axes; None where they don't."""
    found: list[dict[str, tuple[int, ...]]] = [{}]
    for letters, shape in zip(names(axes), shapes, strict=True):
        new = [dict(zip(letters, cut, strict=True)) for cut in _cuts(letters, shape)]
        found = [old | more for old in found for more in new if all(old.get(x, n) == n for x, n in more.items())]
    least = re.findall(r"(\*?[A-Z]) > (\d)", axes)
    return next((x for x in found if all(n > int(low) for letter, low in least for n in x[letter])), None)


@st.composite
def abstract(draw: Any, axes: str) -> list[jax.ShapeDtypeStruct]:
    """Arrays that may have these axes, or not."""
    wanted = names(axes)
    letters = sorted({letter for part in wanted for letter in part})
    ranks = {letter: draw(st.integers(0, 2)) if "*" in letter else 1 for letter in letters}
    sizes = {letter: tuple(draw(HUGE) for _ in range(ranks[letter])) for letter in letters}
    shapes = [tuple(n for letter in part for n in sizes[letter]) for part in wanted]
    dtypes = [jnp.dtype(draw(st.sampled_from(REAL))) for _ in wanted]
    if draw(st.booleans()):
        i = draw(st.integers(0, len(wanted) - 1))
        change = draw(st.sampled_from(("more", "fewer", "size", "complex")))
        if change == "complex":
            dtypes[i] = jnp.dtype("complex64")
        elif change == "more" or not shapes[i]:
            shapes[i] = (*shapes[i], 2)
        elif change == "fewer":
            shapes[i] = shapes[i][1:]
        else:
            shapes[i] = (shapes[i][0] + 1, *shapes[i][1:])
    return [jax.ShapeDtypeStruct(*x) for x in zip(shapes, map(_canonical, dtypes), strict=True)]


def _canonical(dtype: np.dtype) -> np.dtype:
    return jnp.dtype(jax.dtypes.canonicalize_dtype(dtype))


def refusal(call: Callable[[], Any], *arguments: str) -> Exception | None:
    """The error, where it is one that's allowed, with an argument in its message."""
    caught: Exception | None = None
    try:
        call()
    except (ValueError, TypeError) as error:
        caught = error
    text = str(caught)
    if caught is not None:
        assert any(name in text for name in arguments), f"names none of {arguments}: {type(caught).__name__}: {text}"
        assert "\n" not in text, text
    return caught


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from((2**31, 2**70, 10**400, -1, 0, 1.5, "", "~no-one/x", "\x00", "größe", "\ud800", "none")),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def broken(draw: Any, originals: tuple[bytes, ...]) -> bytes:
    """One of these, with some bytes changed, perhaps cut off, perhaps doubled."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 6))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    end = draw(st.integers(0, 2 * len(content)))
    return bytes((content + content)[: max(end, len(content))] if end > len(content) else content[:end])
