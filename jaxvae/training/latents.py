"""How a configuration's encoder makes σ: its parameterization, matched if need be, and its bound."""

from typing import NamedTuple

from jaxvae.chains import HardClip
from jaxvae.parameterizations import Parameterization, behind, log_variance, parameterization, with_gain
from jaxvae.training.config import TrainConfig

STD_MIN = 1e-4
"""The lower bound on σ of a constraint: that of ``projected_std``."""


class EncoderStd(NamedTuple):
    """The parameterization of the encoder's σ, and its bound.

    Attributes:
        parameterization: the named one, as matched; under a Lagrangian, the loss sees σ clipped at the bound, as there
            is none beyond it.
        raw_min: the bound that raw is projected on, or None.
        multiplied: the bound that a Lagrange multiplier keeps raw above, or None.
    """

    parameterization: Parameterization
    raw_min: float | None = None
    multiplied: float | None = None


def make_encoder_std(config: TrainConfig) -> EncoderStd:
    """The parameterization and the bound that a configuration names.

    Raises:
        ValueError: where ``init_std`` is out of the parameterization's range.
    """
    p = parameterization(config.parameterization)
    if config.match == "gain":
        p = with_gain(p, config.init_std, float(log_variance.log_std_gain(0.0)))
    if config.constraint == "none":
        return EncoderStd(p)
    bound = float(p.raw_from_std(STD_MIN))
    if config.constraint == "projection":
        return EncoderStd(p, raw_min=bound)
    return EncoderStd(behind(HardClip(low=bound), p), multiplied=bound)
