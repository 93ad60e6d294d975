"""The ordinal likelihood: cumulative logits of ordered levels, at distances that the model learns.

With cuts c_0 < c_1 < …, it has P(level <= v) = sigmoid(c_v - loc) (McCullagh 1980, "Regression models for ordinal
data").
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae import special
from jaxvae.arguments import require, require_real
from jaxvae.likelihoods.categorical import level_of, require_levels, value_of
from jaxvae.likelihoods.family import ChannelLikelihood


@dataclasses.dataclass(frozen=True)
class Ordinal(ChannelLikelihood):
    """A distribution of ordered levels, whose outputs are locations.

    The model learns the cuts of each channel: the first cut, and the logs of the gaps between the cuts.

    Attributes:
        levels: the number of levels; level v is x = v / (levels - 1).
    """

    levels: int
    joint = True
    discrete = True

    def __post_init__(self) -> None:
        require_levels(self.levels)

    def raw_start(self, channels: int) -> dict[str, np.ndarray]:
        """Returns cuts that make all levels equally probable at a location of 0: the logits of v / levels."""
        shares = np.arange(1, self.levels) / self.levels
        cuts = np.log(shares / (1 - shares))
        start = np.concatenate([cuts[:1], np.log(np.diff(cuts))])
        return {"cuts": np.tile(start.astype(np.float32), (channels, 1))}

    def _cuts(self, raw: Any, channels: int) -> tuple[Array, Array]:
        """Returns the cuts, (C, levels - 1), and the gaps between them, (C, levels - 2)."""
        require(isinstance(raw, Mapping) and [*raw] == ["cuts"], "raw", raw, "a dict of cuts")
        require_real(cuts=raw["cuts"])
        cuts, shape = jnp.asarray(raw["cuts"]), (channels, self.levels - 1)
        require(cuts.shape == shape, "cuts.shape", cuts.shape, f"(C, {self.levels - 1})")
        gaps = special.exp(cuts[:, 1:])
        return jnp.cumsum(jnp.concatenate([cuts[:, :1], gaps], axis=-1), axis=-1), gaps

    def _log_prob(self, parts: Array, x: Array, raw: Any) -> Array:
        # log(σ(b) - σ(a)) = log σ(b) + log σ(-a) + log(1 - e^(a - b)) is a sum of logs of one sign.
        cuts, gaps = self._cuts(raw, x.shape[-1])
        level = level_of(x, self.levels)
        known = (level >= 0) & (level < self.levels)
        index = jnp.where(known, level, 0).astype(jnp.int32)
        upper, lower = (_chosen(cuts, index - i, self.levels - 1) - parts[..., 0] for i in (0, 1))
        gap = _chosen(gaps, index - 1, self.levels - 2) if self.levels > 2 else jnp.ones_like(x)
        top, bottom = index == self.levels - 1, index == 0
        below = jnp.where(top, 0, special.log_sigmoid(upper))
        above = jnp.where(bottom, 0, special.log_sigmoid(-lower))
        between = jnp.where(top | bottom, 0, special.log1mexp(jnp.where(top | bottom, 1, gap)))
        return jnp.where(known, below + above + between, jnp.nan)

    def _mean(self, parts: Array, raw: Any) -> Array:
        return jnp.mean(special.sigmoid(self._beyond(parts, raw)), axis=-1)

    def _sample(self, key: Array, parts: Array, raw: Any) -> Array:
        noise = jax.random.logistic(key, (*parts.shape[:-1], 1), parts.dtype)
        return value_of(jnp.sum(self._beyond(parts + noise, raw) > 0, axis=-1), self.levels, parts.dtype)

    def _beyond(self, loc: Array, raw: Any) -> Array:
        """Returns how far a location (..., C, 1) is above each cut, (..., C, levels - 1)."""
        cuts, _ = self._cuts(raw, loc.shape[-2])
        return loc - jnp.expand_dims(cuts, tuple(range(loc.ndim - 2)))


def _chosen(table: Array, index: Array, size: int) -> Array:
    """Returns table[c, index[..., c]], (..., C), for a table (C, size); an index out of range is clipped."""
    channels = jnp.arange(table.shape[0])
    return table[jnp.broadcast_to(channels, index.shape), jnp.clip(index, 0, size - 1)]
