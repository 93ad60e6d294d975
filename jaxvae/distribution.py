"""Gaussians as arrays and as pytrees: indexing, stacking and reshaping, and maps over leaves.

All leaves of a Gaussian have the same number of batch axes. A leaf that is shared along an axis has size 1 there:
``loc`` of shape (5, 3) and ``raw`` of shape (3,) are stored as (5, 3) and (1, 3). So a result that depends on a shared
leaf alone is computed once, and a map over leading axes still finds the same axis in each leaf:
``jax.tree.map(lambda x: x[0], q)`` is right, and ``jax.vmap`` and ``jax.lax.scan`` raise an error if one leaf is shared
and another isn't. ``broadcast_to(q, q.shape)`` gives all leaves the same size.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType
from typing import Any, ClassVar, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec, Sharding
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import require, require_real, require_sizes, shown, symbolic
from jaxvae.parameterizations import Parameterization, as_parameterization
from jaxvae.serialization import make_known_to_flax

Leaf = ArrayLike | PartitionSpec | Sharding | jax.ShapeDtypeStruct | None

_STAND_INS = (NoneType, bool, PartitionSpec, Sharding, jax.ShapeDtypeStruct)
"""The types of leaves in trees that describe a Gaussian, such as ``in_axes``, shardings, masks or shapes."""


class Distribution:
    """The base class of all kinds of Gaussians: a frozen dataclass of leaves and a static parameterization.

    Indexing, ``len``, ``reshape`` and this module's functions act on the batch axes. For a ``Gaussian`` these are all
    axes; for correlated elements, all but the last, which is the event.
    """

    parameterization: Parameterization
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    _event_ranks: ClassVar[Mapping[str, int]]
    """The number of each leaf's last axes that aren't batch axes; those of the first leaf are the axes of the event."""

    def _begin(self, parameterization: Parameterization | str, **leaves: Any) -> None:
        """Sets and checks the leaves, and makes them floats of one rank; each kind's constructor calls it."""
        self._set(parameterization=as_parameterization(parameterization), **leaves)
        said = _all_stand_ins(leaves.values())
        if not said:
            require_real(**{f"{type(self).__name__}.{name}": x for name, x in leaves.items()})
            self._set(**_as_floats(leaves))
            self._check()
        leaves = self._leaves()
        if all(hasattr(x, "shape") for x in leaves.values()):
            self._set(**dict(zip(leaves, self._of_one_rank(list(leaves.values())), strict=True)))
        if not said:
            self._set(**self._without_elements()._leaves())
        make_known_to_flax(type(self))

    def _check(self) -> None:
        """Raises ValueError if the leaves' shapes don't fit together."""
        raise NotImplementedError

    @classmethod
    def tree(cls, *leaves: Any, parameterization: Parameterization | str | None = None) -> Self:
        """Returns a pytree with this distribution's structure and any leaves, one for each of its arrays.

        It is for trees that describe a distribution, such as ``in_axes=Gaussian.tree(0, 1)``, whose leaves the
        constructor would take for numbers. If a leaf is None, True, False, a PartitionSpec, a Sharding or a
        ShapeDtypeStruct, the constructor does the same.

        >>> from jaxvae import Gaussian
        >>> q = Gaussian(jnp.zeros((2, 3)), jnp.zeros((3, 2)).T)
        >>> jax.vmap(lambda q: q.std, in_axes=(Gaussian.tree(1, 1),))(q).shape
        (3, 2)
        """
        default = cls.__dataclass_fields__["parameterization"].default
        p = as_parameterization(default if parameterization is None else parameterization)
        return cls._made(p, leaves)

    @classmethod
    def _made(cls, parameterization: Parameterization, leaves: Sequence[Any]) -> Self:
        q = object.__new__(cls)
        q._set(**dict(zip(cls._event_ranks, leaves, strict=True)), parameterization=parameterization)
        return q

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _leaves(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._event_ranks}

    def tree_flatten_with_keys(self) -> tuple:
        leaves = tuple((jax.tree_util.GetAttrKey(name), x) for name, x in self._leaves().items())
        return leaves, self.parameterization

    @classmethod
    def tree_unflatten(cls, parameterization: Parameterization, leaves: Sequence[Any]) -> Self:
        # Leaves may be anything here, such as the results of a map over arrays.
        if all(hasattr(x, "shape") for x in leaves):
            leaves = cls._of_one_rank(cls._without_the_mapped_axis(leaves))
            cls._require_none_emptied(leaves)
        return cls._made(parameterization, leaves)

    @classmethod
    def _of_one_rank(cls, leaves: Sequence[Any]) -> list[Any]:
        """Gives all arrays the same number of batch axes, by leading axes of size 1."""
        ranks = cls._event_ranks.values()
        batch = max(0, *(len(x.shape) - event for x, event in zip(leaves, ranks, strict=True)))
        return [_led_by_ones(x, batch + event) for x, event in zip(leaves, ranks, strict=True)]

    @classmethod
    def _require_none_emptied(cls, leaves: Sequence[Any]) -> None:
        """Raises ValueError if a shared leaf became empty, as by ``tree.map(lambda x: x[1:], q)``."""
        shapes = [x.shape[: len(x.shape) - event] for x, event in zip(leaves, cls._event_ranks.values(), strict=True)]
        if any(0 in sizes and any(n != 0 for n in sizes) for sizes in zip(*shapes, strict=True)):
            raise ValueError(
                f"a {cls.__name__}'s leaves have shapes {', '.join(str(x.shape) for x in leaves)}: a slice of "
                "a shared leaf, whose axis is of size 1, leaves nothing of it; index the distribution itself"
            )

    def _without_elements(self) -> Self:
        """Returns this distribution; a batch axis of size 0 gets size 0 in every leaf, even in shared ones."""
        if 0 not in self._batch:
            return self
        sizes = [0 if n == 0 else None for n in self._batch]

        def emptied(x: Array, event: int) -> Array:
            batch = [n if size is None else 0 for n, size in zip(x.shape, sizes, strict=False)]
            return jnp.broadcast_to(x, (*batch, *x.shape[len(batch) :]))

        return self._map(emptied)

    @classmethod
    def _without_the_mapped_axis(cls, leaves: Sequence[Any]) -> Sequence[Any]:
        """Removes the axis of size 1 that a shared leaf keeps under ``in_axes=Gaussian(0, None)``.

        The mapped leaf has lost this axis, and is a tracer. Outside of the map, with such ``out_axes``, the shared leaf
        is the one that lacks an axis.
        """
        batch = [len(x.shape) - event for x, event in zip(leaves, cls._event_ranks.values(), strict=True)]
        extra = [n - min(batch) for n in batch]
        mapped = any(isinstance(x, jax.core.Tracer) for x, n in zip(leaves, extra, strict=True) if n == 0)
        shared = all(size == 1 for x, n in zip(leaves, extra, strict=True) for size in x.shape[:n])
        if not (any(extra) and mapped and shared):
            return leaves
        return [x.reshape(x.shape[n:]) for x, n in zip(leaves, extra, strict=True)]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        raise NotImplementedError

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of a sample."""
        return jnp.result_type(*self._leaves().values())

    @property
    def _batch(self) -> tuple[int, ...]:
        return self.shape[: len(self.shape) - self._event_rank()]

    @classmethod
    def _event_rank(cls) -> int:
        return next(iter(cls._event_ranks.values()))

    def _settled(self, *others: ArrayLike) -> Self:
        """Returns this distribution with weak leaves in the dtype to compute in with others that aren't all weak."""
        leaves = self._leaves().values()
        if all(map(special.is_weak, others)) or not any(map(special.is_weak, leaves)):
            return self
        dtype = special.compute_dtype(*leaves, *others)
        return self._map(lambda x, event: jnp.asarray(x, dtype) if special.is_weak(x) else x)

    def _computed(self) -> Self:
        """Returns this distribution in the dtype to compute in, where its slopes add up: in 16 bits, two may be inf."""
        return self._map(lambda x, event: x if special.is_weak(x) else jnp.asarray(x, special.compute_dtype(x)))

    def _map(self, function: Callable[[Array, int], Array]) -> Self:
        """Returns the Gaussian whose leaves are the function's results for each leaf and its number of event axes."""
        return self._made(self.parameterization, [function(x, self._event_ranks[n]) for n, x in self._leaves().items()])

    def __repr__(self) -> str:
        kind, p = type(self).__name__, self.parameterization.name or self.parameterization.formula
        try:
            of = f"shape={self.shape}, dtype={self.dtype}"
        except (AttributeError, TypeError, ValueError):  # leaves that aren't arrays
            of = ", ".join(f"{name}={shown(x)}" for name, x in self._leaves().items())
        return f"{kind}({of}, parameterization={p})"

    def __len__(self) -> int:
        if not self._batch:
            raise TypeError(f"a {type(self).__name__} of shape {self.shape} has no axis to count along")
        return self._batch[0]

    # With __getitem__ alone, Python would iterate over 0, 1, …; in a trace this is unrolled, which is seldom meant.
    __iter__ = None

    def __getitem__(self, index: Any) -> Self:
        """Returns the Gaussians at an index of the batch axes.

        The index may have integers, slices, None, an ellipsis, and arrays of bool or int. Shared leaves stay shared
        unless the index has arrays. An integer out of range raises IndexError.

        >>> from jaxvae import Gaussian
        >>> Gaussian(jnp.zeros((5, 3)), jnp.array([0.0, 1.0, 2.0]))[-1, 1:].raw.tolist()
        [1.0, 2.0]
        """
        full = self._batch
        wanted = _for_each_axis(index, len(full))
        basic = all(i is None or isinstance(i, slice) or _is_integer(i) for i in wanted)

        def part(x: Array, event: int) -> Array:
            if not basic:
                return jnp.broadcast_to(x, (*full, *x.shape[len(full) :]))[wanted]
            return x[_basic_index(wanted, full, x.shape[: len(full)])]

        return self._map(part)._without_elements()

    def reshape(self, *shape: int | tuple[int, ...]) -> Self:
        """Returns the same Gaussians with batch axes of another shape, in which one size may be -1.

        A leaf stays shared only if it is shared along all batch axes.
        """
        (wanted,) = shape if len(shape) == 1 and isinstance(shape[0], tuple | list) else (shape,)
        full = self._batch
        new = jax.eval_shape(lambda: jnp.zeros(full).reshape(wanted)).shape

        def reshaped(x: Array, event: int) -> Array:
            batch, rest = x.shape[: len(full)], x.shape[len(full) :]
            if all(n == 1 for n in batch):
                return x.reshape(*[1] * len(new), *rest)
            return jnp.broadcast_to(x, (*full, *rest)).reshape(*new, *rest)

        return self._map(reshaped)


D = TypeVar("D", bound=Distribution)


def broadcast_to(q: D, shape: Sequence[int]) -> D:
    """Returns the same Gaussians with each leaf in the full shape: no leaf is shared, and any map over leaves is right.

    Args:
        q: Gaussians of independent or correlated elements.
        shape: the shape of a sample of the result, with the event axis; ``q.shape`` adds no axes.

    Raises:
        ValueError: if q doesn't broadcast to the shape.

    >>> from jaxvae import Gaussian
    >>> q = Gaussian(jnp.zeros((2, 2)), jnp.array([0.0, 2.0]))
    >>> jax.vmap(lambda q: q.log_std)(broadcast_to(q, q.shape)).tolist()
    [[0.0, 1.0], [0.0, 1.0]]
    """
    _require_alike(q=q)
    require_sizes(shape=shape)
    shape = tuple(shape)
    try:
        fits = jnp.broadcast_shapes(shape, q.shape) == shape
    except ValueError:
        fits = False
    require(fits, "shape", shape, f"one that q of shape {q.shape} broadcasts to")
    batch = shape[: len(shape) - q._event_rank()]
    return q._map(lambda x, event: jnp.broadcast_to(x, (*batch, *x.shape[x.ndim - event :])))


def stack(qs: Sequence[D], axis: int = 0) -> D:
    """Joins Gaussians of one kind, shape and parameterization along a new batch axis, as ``jnp.stack`` does.

    Raises:
        ValueError: if there are no Gaussians, or if shapes or parameterizations differ.

    >>> from jaxvae import Gaussian
    >>> q = Gaussian(jnp.zeros(3), 0.0)
    >>> stack([q, q]).shape
    (2, 3)
    """
    first = _first(qs)
    _require_same_sizes(qs, range(len(first.shape)))
    axis = _batch_axis(axis, len(first._batch) + 1)

    def joined(event: int, *xs: Array) -> Array:
        return jnp.stack(jnp.broadcast_arrays(*xs), axis)

    return _joined(joined, qs)


def concatenate(qs: Sequence[D], axis: int = 0) -> D:
    """Joins Gaussians of one kind and parameterization along an existing batch axis, as ``jnp.concatenate`` does.

    Raises:
        ValueError: if there are no Gaussians, or if parameterizations differ, or shapes along another axis.

    >>> from jaxvae import Gaussian
    >>> q = Gaussian(jnp.zeros((2, 3)), 0.0)
    >>> concatenate([q, q]).shape
    (4, 3)
    """
    first = _first(qs)
    axis = _batch_axis(axis, len(first._batch))
    _require_same_sizes(qs, [i for i in range(len(first.shape)) if i != axis])

    def joined(event: int, *xs: Array) -> Array:
        shared = jnp.broadcast_shapes(*(x.shape[:axis] + x.shape[axis + 1 :] for x in xs))
        sizes = (q.shape[axis] for q in qs)
        parts = [jnp.broadcast_to(x, (*shared[:axis], n, *shared[axis:])) for x, n in zip(xs, sizes, strict=True)]
        return jnp.concatenate(parts, axis)

    return _joined(joined, qs)


def where(condition: ArrayLike, q: D, p: D) -> D:
    """Selects Gaussians of ``q`` where a condition holds, else of ``p``; both have the same kind and parameterization.

    Args:
        condition: bools that broadcast with the batch axes.
        q: Gaussians of independent or correlated elements.
        p: Gaussians whose batch axes broadcast with those of q.

    >>> from jaxvae import Gaussian
    >>> where(jnp.array([True, False]), Gaussian(1.0, 0.0), Gaussian(2.0, 0.0)).mean.tolist()
    [1.0, 2.0]
    """
    _first([q, p])

    def chosen(event: int, x: Array, y: Array) -> Array:
        return jnp.where(jnp.expand_dims(condition, tuple(range(-event, 0))), x, y)

    return _joined(chosen, [q, p])


def _joined(function: Callable[..., Array], qs: Sequence[D]) -> D:
    """Returns the Gaussian whose leaves are the function's results for the number of event axes and the qs' leaves."""
    first = qs[0]
    leaves = {name: function(event, *(getattr(q, name) for q in qs)) for name, event in first._event_ranks.items()}
    return type(first)(**leaves, parameterization=first.parameterization)  # type: ignore[call-arg]


def _first(qs: Sequence[D]) -> D:
    """Returns the first Gaussian; raises an error if there is none, or if kinds or parameterizations differ."""
    if not len(qs):
        raise ValueError("at least one Gaussian is needed, got none")
    _require_alike(**{f"[{i}]": q for i, q in enumerate(qs)})
    return qs[0]


def _require_alike(**qs: Distribution) -> None:
    first: Distribution | None = None
    for name, q in qs.items():
        if not isinstance(q, Distribution):
            raise TypeError(f"{name} must be a Gaussian, got a {type(q).__name__}")
        first = q if first is None else first
        if type(q) is not type(first):
            raise TypeError(f"Gaussians must be of one kind, got a {type(first).__name__} and a {type(q).__name__}")
        if q.parameterization != first.parameterization:
            found = " and ".join(x.parameterization.name or x.parameterization.formula for x in (first, q))
            raise ValueError(f"Gaussians must be of one parameterization, got {found}; jaxvae.convert changes it")


def _require_same_sizes(qs: Sequence[Distribution], axes: Sequence[int] | range) -> None:
    sizes = {(len(q.shape), *(q.shape[i] for i in axes if i < len(q.shape))) for q in qs}
    if len(sizes) > 1:
        raise ValueError(f"Gaussians must be of one shape but for the axis, got {', '.join(str(q.shape) for q in qs)}")


def _batch_axis(axis: int, rank: int) -> int:
    if not _is_integer(axis) or not -rank <= axis < rank:
        raise ValueError(f"axis must be one of the {rank} batch axes, got {shown(axis)}")
    return axis % rank


def _all_stand_ins(leaves: Iterable[Any]) -> bool:
    """Returns whether the leaves describe a Gaussian instead of being its numbers."""
    leaves = list(leaves)
    return any(isinstance(x, _STAND_INS) for x in leaves) and all(isinstance(x, (int, *_STAND_INS)) for x in leaves)


def _as_floats(leaves: Mapping[str, Any]) -> dict[str, Array]:
    """Makes leaves arrays of floats. A Python number takes the others' dtype; if there are no others, it stays weak."""
    strong = [x for x in leaves.values() if not special.is_weak(x)]
    dtype = _float_dtype(jnp.result_type(*strong)) if strong else None

    def converted(x: Any) -> Array:
        if not special.is_weak(x):
            return jnp.asarray(x, _float_dtype(jnp.result_type(x)))
        return jnp.asarray(x) * 1.0 if dtype is None else jnp.asarray(x, dtype)

    return {name: converted(x) for name, x in leaves.items()}


def _float_dtype(dtype: jnp.dtype) -> jnp.dtype:
    return dtype if jnp.issubdtype(dtype, jnp.floating) else special.compute_dtype(dtype)


def _led_by_ones(x: Any, rank: int) -> Any:
    ones = (1,) * (rank - len(x.shape))
    if not ones:
        return x
    if isinstance(x, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((*ones, *x.shape), x.dtype)
    return x.reshape(*ones, *x.shape)


def _is_integer(i: Any) -> bool:
    if isinstance(i, bool | np.bool_):
        return False
    if isinstance(i, int | np.integer):
        return True
    return isinstance(i, Array | np.ndarray) and i.ndim == 0 and jnp.issubdtype(i.dtype, jnp.integer)


def _for_each_axis(index: Any, rank: int) -> tuple[Any, ...]:
    """Returns the index with a slice for each axis that it leaves out, and without an ellipsis."""
    index = index if isinstance(index, tuple) else (index,)
    taken = sum(_axes_of(i) for i in index)
    if taken > rank:
        raise IndexError(f"index must be of at most {rank} batch axes, got one of {taken}")
    ellipses = [n for n, i in enumerate(index) if i is ...]
    if len(ellipses) > 1:
        raise IndexError("index must have one ellipsis at most, got more")
    at = ellipses[0] if ellipses else len(index)
    return (*index[:at], *[slice(None)] * (rank - taken), *index[at + 1 :])


def _axes_of(i: Any) -> int:
    """Returns the number of axes that an element of an index takes."""
    if i is None or i is ...:
        return 0
    if isinstance(i, Array | np.ndarray) and i.dtype == bool:
        return i.ndim
    return 0 if isinstance(i, bool | np.bool_) else 1


def _basic_index(wanted: tuple, full: tuple[int, ...], own: tuple[int, ...]) -> tuple:
    """Translates an index of the full shape into that of a leaf, whose axes may have size 1."""
    sizes = iter(zip(full, own, strict=True))
    index: list[Any] = []
    for i in wanted:
        if i is None:
            index.append(None)
            continue
        n, size = next(sizes)
        shared = size == 1 and n != 1
        if isinstance(i, slice):
            index.append(slice(None) if shared else i)
            continue
        if isinstance(i, int | np.integer) and not symbolic(n) and not -n <= i < n:
            raise IndexError(f"index {i} is out of range for an axis of size {n}")
        index.append(0 if shared else i)
    return tuple(index)
