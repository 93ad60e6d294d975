"""The likelihood of a table with columns of several kinds: a weighted product of likelihoods, each of some columns."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae.arguments import require, require_numbers, require_real
from jaxvae.likelihoods.categorical import Categorical
from jaxvae.likelihoods.family import Likelihood
from jaxvae.likelihoods.ordinal import Ordinal


@dataclasses.dataclass(frozen=True)
class Group:
    """A group of columns with one kind of likelihood.

    Attributes:
        likelihood: the likelihood of these columns.
        columns: the columns' numbers in the table, from 0.
        weight: the factor of their log-likelihood.
        coded: whether their x are the levels 0, 1, … themselves; the likelihood then takes v / (levels - 1) for level
            v.
    """

    likelihood: Likelihood
    columns: tuple[int, ...]
    weight: float = 1.0
    coded: bool = False

    def __post_init__(self) -> None:
        require(isinstance(self.likelihood, Likelihood), "Group.likelihood", self.likelihood, "a Likelihood")
        columns = tuple(int(c) for c in self.columns)
        require(
            len(columns) > 0 and len({*columns}) == len(columns), "Group.columns", self.columns, "different numbers"
        )
        require_numbers(weight=self.weight)
        require(0 <= self.weight < math.inf, "Group.weight", self.weight, "finite and at least 0")
        levelled = isinstance(self.likelihood, Categorical | Ordinal)
        require(levelled or not self.coded, "Group.coded", self.coded, "False for a likelihood without levels")
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "weight", float(self.weight))

    @property
    def top(self) -> int:
        """The number by which x is divided: the highest level of coded columns, otherwise 1."""
        return self.likelihood.levels - 1 if isinstance(self.likelihood, Categorical | Ordinal) and self.coded else 1

    @property
    def nominal(self) -> bool:
        """Whether the columns are coded and their levels have no order."""
        return self.coded and isinstance(self.likelihood, Categorical)

    def encoder_input(self, x: Array) -> Array:
        """Returns what an encoder should see of these columns (..., c).

        Levels without order become one-hot, (..., c levels).
        """
        if self.nominal:
            missing = jnp.isnan(x)
            codes = jnp.where(missing, 0, x).astype(jnp.int32)
            hot = jnp.where(missing[..., None], jnp.nan, jax.nn.one_hot(codes, self.top + 1, dtype=x.dtype))
            return hot.reshape(*x.shape[:-1], -1)
        return self.likelihood.encoder_input(x / self.top)

    def mean(self, outputs: Array, raw: Any, log_size: ArrayLike | None) -> Array:
        """Returns E[x | outputs], (..., c); for levels without order, the most probable one."""
        if self.nominal:
            logits = outputs.reshape(*outputs.shape[:-1], len(self.columns), -1)
            return jnp.argmax(logits, axis=-1).astype(outputs.dtype)
        return self.top * self.likelihood.mean(outputs, raw, log_size)

    def sample(self, key: Array, outputs: Array, raw: Any, log_size: ArrayLike | None) -> Array:
        """Returns a draw of x, (..., c)."""
        drawn = self.likelihood.sample(key, outputs, raw, log_size)
        return jnp.round(self.top * drawn) if self.coded else drawn


@dataclasses.dataclass(frozen=True)
class Columns(Likelihood):
    """The product of the groups' likelihoods; its outputs are those of the first group, then of the second, and so on.

    ``raw`` is a tuple with an entry for each group. If a weight differs from 1, ``log_prob`` isn't the log of a
    density. An encoder sees the groups' inputs side by side. ``mean`` has the most probable level of coded columns
    without order.

    Attributes:
        groups: the groups; each column of x, from 0 to C - 1, belongs to one of them.

    >>> from jaxvae.likelihoods import Bernoulli, Poisson
    >>> table = Columns((Group(Poisson(), (0, 2)), Group(Bernoulli(), (1,))))
    >>> np.round(np.float64(table.log_prob(jnp.zeros((1, 3)), jnp.asarray([[1.0, 0.0, 0.0]]))), 4).tolist()
    [[-1.0, -0.6931, -1.0]]
    """

    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))
        require(all(isinstance(g, Group) for g in self.groups), "Columns.groups", self.groups, "a tuple of Group")
        columns = sorted(c for g in self.groups for c in g.columns)
        require(columns == [*range(self.channels)], "Columns.groups", columns, "each column from 0 to C - 1 once")

    @property
    def channels(self) -> int:
        """C, the number of columns."""
        return sum(len(g.columns) for g in self.groups)

    @property
    def discrete(self) -> bool:  # type: ignore[override]
        """Whether the likelihood of each group is discrete."""
        return all(g.likelihood.discrete for g in self.groups)

    @property
    def sized(self) -> bool:  # type: ignore[override]
        """Whether the likelihood of any group is sized."""
        return any(g.likelihood.sized for g in self.groups)

    @property
    def separable(self) -> bool:  # type: ignore[override]
        """Whether the likelihood of each group is separable."""
        return all(g.likelihood.separable for g in self.groups)

    def raw_start(self, channels: int) -> tuple[Any, ...] | None:
        self._require(channels)
        found = tuple(g.likelihood.raw_start(len(g.columns)) for g in self.groups)
        return None if all(start is None for start in found) else found

    def encoder_input(self, x: Array) -> Array:
        self._require(x.shape[-1])
        return jnp.concatenate([g.encoder_input(x[..., np.asarray(g.columns)]) for g in self.groups], axis=-1)

    def output_channels(self, channels: int) -> int:
        self._require(channels)
        return sum(self._sizes)

    def output_bias(self, channels: int) -> np.ndarray:
        self._require(channels)
        return np.concatenate([g.likelihood.output_bias(len(g.columns)) for g in self.groups])

    def outputs_at(self, mean: ArrayLike) -> np.ndarray:
        require_real(mean=mean)
        mean = np.asarray(mean)
        self._require(mean.shape[-1] if mean.ndim else 0)
        starts = [g.likelihood.outputs_at(mean[..., list(g.columns)] / g.top) for g in self.groups]
        return np.concatenate(starts, axis=-1)

    def log_prob(self, outputs: ArrayLike, x: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        require_real(x=x)
        x = jnp.asarray(x)
        self._require(x.shape[-1] if x.ndim else 0)

        def scored(group: Group, own: Array, learned: Any, size: ArrayLike | None) -> Array:
            log_prob = group.likelihood.log_prob(own, x[..., np.asarray(group.columns)] / group.top, learned, size)
            return log_prob if group.weight == 1 else group.weight * log_prob

        return self._together(scored, outputs, raw, log_size)

    def mean(self, outputs: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        return self._together(lambda g, *given: g.mean(*given), outputs, raw, log_size)

    def sample(self, key: Array, outputs: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        keys = dict(zip(self.groups, jax.random.split(key, len(self.groups)), strict=True))
        return self._together(lambda g, *given: g.sample(keys[g], *given), outputs, raw, log_size)

    @property
    def _sizes(self) -> Sequence[int]:
        return [g.likelihood.output_channels(len(g.columns)) for g in self.groups]

    def _require(self, channels: int) -> None:
        require(channels == self.channels, "channels", channels, f"{self.channels}, the columns of the groups")

    def _together(
        self, function: Callable[..., Array], outputs: ArrayLike, raw: Any, log_size: ArrayLike | None
    ) -> Array:
        """Applies a function to each group's outputs, raw and log-size; returns (..., C), in the columns' order."""
        require_real(outputs=outputs)
        outputs = jnp.asarray(outputs)
        fits = outputs.ndim > 0 and outputs.shape[-1] == sum(self._sizes)
        require(fits, "outputs.shape", outputs.shape, f"(..., {sum(self._sizes)})")
        if log_size is not None:
            require(self.sized, "log_size", log_size, "None, as no group has a size")
            require(np.shape(log_size)[-1:] in ((), (1,)), "log_size.shape", np.shape(log_size), "(..., 1)")
        raws = [None] * len(self.groups) if raw is None else raw
        given = isinstance(raws, tuple | list) and len(raws) == len(self.groups)
        require(given, "raw", raw, f"a tuple of {len(self.groups)}, one for each group")
        parts = jnp.split(outputs, np.cumsum(self._sizes)[:-1], axis=-1)
        sizes = [log_size if g.likelihood.sized else None for g in self.groups]
        found = [function(*each) for each in zip(self.groups, parts, raws, sizes, strict=True)]
        dtype, shape = jnp.result_type(*found), jnp.broadcast_shapes(*(x.shape[:-1] for x in found))
        whole = jnp.concatenate([jnp.broadcast_to(x, (*shape, x.shape[-1])).astype(dtype) for x in found], axis=-1)
        order = np.argsort(list(_columns(self.groups)))
        return whole[..., order]


def _columns(groups: Iterable[Group]) -> Iterable[int]:
    return (c for g in groups for c in g.columns)
