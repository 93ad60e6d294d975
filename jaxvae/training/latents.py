"""The encoder's σ under a configuration: its parameterization, matched on request, and its bound."""

from typing import NamedTuple

from jaxvae.chains import HardClip
from jaxvae.parameterizations import Parameterization, behind, log_variance, parameterization, with_gain
from jaxvae.training.config import TrainConfig

STD_MIN = 1e-4
"""The lower bound that a constraint puts on σ; ``projected_std`` has the same."""


class EncoderStd(NamedTuple):
    """The parameterization of the encoder's σ, and its bound.

    Attributes:
        parameterization: the named one, as matched; under a Lagrangian, the loss sees σ clipped at the bound, because
            no valid σ lies beyond it.
        raw_min: the lower bound onto which raw is projected, or None.
        multiplied: the lower bound that a Lagrange multiplier enforces on raw, or None.
    """

    parameterization: Parameterization
    raw_min: float | None = None
    multiplied: float | None = None


def make_encoder_std(config: TrainConfig) -> EncoderStd:
    """Returns the parameterization and the bound that a configuration names.

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
