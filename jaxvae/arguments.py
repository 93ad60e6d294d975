"""Checks of the arguments of functions: arrays must hold real numbers, and their shapes must fit.

The checks use only static properties, so they run at trace time and cost nothing at run time. Error messages name the
argument.
"""

import dataclasses
import functools
import inspect
import math
import numbers
import re
import types
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.typing import ArrayLike

_REAL = (np.floating, np.integer, np.bool_)
_ARRAYS = (jax.Array, np.ndarray, np.generic)
_LONGEST = 1000

STATIC = "apply learned or traced bounds to raw itself, with jv.soft_clip, jv.log_floor or your own arithmetic"
"""The advice in an error message if a parameterization, which is static, gets an array."""

_LARGEST = int(np.finfo(np.float64).max)


def shown(value: object) -> str:
    """Returns a value's ``repr`` in one line, cut off if it is very long.

    >>> shown(np.eye(2))
    'array([[1., 0.], [0., 1.]])'
    """
    try:
        text = re.sub(r"\s*\n\s*", " ", repr(value))
    except ValueError:  # raised for an integer with more than 4,300 digits
        return f"one of type {type(value).__name__}"
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def require(condition: bool, field: str, value: object, allowed: str) -> None:
    """Raises ValueError unless the condition holds; the message names the field, its value and what is allowed."""
    if not condition:
        raise ValueError(f"{field} must be {allowed}, got {shown(value)}")


def require_real(**arrays: ArrayLike) -> None:
    """Raises an error if an argument isn't a real number or an array of real numbers.

    Otherwise, complex numbers would silently lose their imaginary part, and masked arrays their mask.

    Raises:
        TypeError: if an argument is anything else.
        ValueError: if a Python integer is out of the range of floats.

    >>> require_real(x=1j)
    Traceback (most recent call last):
    TypeError: x must be an array of real numbers, got a complex
    """
    for name, x in arrays.items():
        if isinstance(x, int) and not -_LARGEST <= x <= _LARGEST:
            raise ValueError(f"{name} must be within the range of floats, got an integer of {x.bit_length()} bits")
        if not _is_real(x):
            kind = f"dtype {x.dtype}" if isinstance(x, _ARRAYS) else f"a {type(x).__name__}"
            raise TypeError(f"{name} must be an array of real numbers, got {kind}")


def _is_real(x: object) -> bool:
    if isinstance(x, np.ma.MaskedArray):
        return False
    if not isinstance(x, _ARRAYS):
        return isinstance(x, int | float) or hasattr(x, "__jax_array__")
    if not any(jnp.issubdtype(x.dtype, kind) for kind in _REAL):
        return False
    return isinstance(x, jax.Array) or (x.dtype.isnative and x.dtype != np.longdouble)  # JAX lacks the others


def require_broadcast(**shapes: tuple[int, ...]) -> None:
    """Raises ValueError if shapes don't broadcast by NumPy's rules.

    >>> require_broadcast(q=(2, 3), x=(4,))
    Traceback (most recent call last):
    ValueError: shapes must broadcast, got q (2, 3), x (4,)
    """
    try:
        jnp.broadcast_shapes(*shapes.values())
    except ValueError:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes must broadcast, got {found}") from None


def require_shapes(axes: str, **arrays: ArrayLike) -> None:
    """Raises an error if arrays aren't of real numbers, or don't have these axes.

    Args:
        axes: the axes of each array, written as in a docstring. The same letter means the same size, and ``K > 0``
            means an axis that isn't empty. ``*B`` means any number of axes; each array may have one such group that no
            earlier array has.
        arrays: the arrays, by the names of the arguments.

    Raises:
        TypeError: if an argument isn't an array of real numbers.
        ValueError: if an array has another shape.

    >>> require_shapes("(*B), (*B, L)", log_likelihood=np.zeros(3), kl=np.zeros((2, 5)))
    Traceback (most recent call last):
    ValueError: kl must be of shape (*B, L) with *B = (3,), got (2, 5)
    """
    require_real(**arrays)
    sizes: dict[str, tuple[int, ...]] = {}
    for wanted, (name, x) in zip(re.findall(r"\(.*?\)", axes), arrays.items(), strict=True):
        letters, shape = dict(re.findall(r"(\*?[A-Z])( > 0)?", wanted)), np.shape(x)
        known = {letter: sizes[letter] for letter in letters if letter in sizes}
        ranks = {letter: len(known.get(letter, () if "*" in letter else (1,))) for letter in letters}
        spare = max(0, len(shape) - sum(ranks.values()))
        ranks |= {letter: spare for letter in letters if "*" in letter and letter not in known}
        fits, rest = sum(ranks.values()) == len(shape), shape
        for letter, some in letters.items():
            found, rest = rest[: ranks[letter]], rest[ranks[letter] :]
            fits = fits and sizes.setdefault(letter, found) == found and not (some and 0 in found)
        if not fits:
            told = ", ".join(f"{letter} = {n if '*' in letter else n[0]}" for letter, n in known.items())
            raise ValueError(f"{name} must be of shape {wanted}{f' with {told}' if told else ''}, got {shape}")


def symbolic(size: Any) -> bool:
    """Returns whether ``jax.export`` leaves a size open: then it isn't a number, and only some comparisons work."""
    return export.is_symbolic_dim(size)


def require_numbers(**values: object) -> None:
    """Raises an error if a value isn't a single real number of Python or NumPy, which is hashable and static.

    Raises:
        TypeError: if a value is anything else.
        ValueError: if an integer is out of the range of floats.

    >>> require_numbers(**{"Softplus.beta": "1"})
    Traceback (most recent call last):
    TypeError: Softplus.beta must be a number, got '1'
    """
    for name, x in values.items():
        if not isinstance(x, numbers.Real):
            raise TypeError(f"{name} must be a number, got {shown(x)}")
        require_real(**{name: x})  # type: ignore[arg-type]


def holds_tracer(x: Any, depth: int = 8) -> bool:
    """Returns whether an object contains a traced array in its attributes, elements, arguments or closures."""
    if isinstance(x, jax.core.Tracer):
        return True
    return depth > 0 and any(holds_tracer(part, depth - 1) for part in _parts(x))


def _parts(x: Any) -> Iterable[Any]:
    if isinstance(x, (type, types.ModuleType, *_ARRAYS)):
        return ()
    if isinstance(x, tuple | list):
        return x
    if isinstance(x, dict):
        return x.values()
    if isinstance(x, types.MethodType):
        return x.__self__, x.__func__
    if isinstance(x, functools.partial):
        return x.func, *x.args, *x.keywords.values()
    if isinstance(x, types.FunctionType):
        return inspect.getclosurevars(x).nonlocals.values()
    fields = [getattr(x, field.name, None) for field in dataclasses.fields(x)] if dataclasses.is_dataclass(x) else []
    return *fields, *getattr(x, "__dict__", {}).values()


def make_floats(x: Any) -> None:
    """Makes every field of a frozen dataclass a float; to be called in its ``__post_init__``.

    Raises:
        TypeError: if a field isn't a real number; JAX arrays, traced or not, don't count as numbers.
        ValueError: if a field is finite, but out of the range of float32.
    """
    largest = float(np.finfo(np.float32).max)
    for field in dataclasses.fields(x):
        value, name = getattr(x, field.name), f"{type(x).__name__}.{field.name}"
        if isinstance(value, jax.Array):
            raise TypeError(f"{name} must be a number, got {shown(value)}: {STATIC}")
        require_numbers(**{name: value})
        if largest < abs(float(value)) < math.inf:
            raise ValueError(f"{name} must be within the range of float32, got {shown(value)}")
        object.__setattr__(x, field.name, float(value))


def require_sizes(**shapes: object) -> None:
    """Raises TypeError if a shape isn't a tuple or list of sizes, and ValueError if a size is negative.

    >>> require_sizes(shape=5)
    Traceback (most recent call last):
    TypeError: shape must be a tuple of sizes, got 5
    """
    for name, shape in shapes.items():
        known = isinstance(shape, tuple | list) and [n for n in shape if not symbolic(n)]
        if known is False or not all(isinstance(n, int | np.integer) for n in known):
            raise TypeError(f"{name} must be a tuple of sizes, got {shown(shape)}")
        if any(n < 0 for n in known):
            raise ValueError(f"{name} must be a tuple of sizes of at least 0, got {shown(shape)}")
