"""The states that a posterior or its training can be in: each one's name, how grave it is, what it is, what to change.

Said here and nowhere else, for any encoder and any training loop; the numbers are those of ``criteria``.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from jaxvae.diagnosis.criteria import (
    COSTLY,
    DEAF,
    DIGITS,
    EXPLODED,
    IDLE,
    LOST,
    NEAR_END,
    STANDARD_ERRORS,
    STEEP,
)

LEVELS = ("error", "warning", "note")
"""Wrong already; will go wrong, or wastes what it could do; good to know."""


class State(NamedTuple):
    """What there is to say of a state: how grave it is, what it is, and what to change."""

    level: str
    explanation: str
    advice: str


_FREER = "take a free form (log_variance, softplus_std) or bounds that let gradients through (pets_log_variance)"
_CALMER = "lower the learning rate, clip the gradients, and see the other findings for where σ stands"
_OURS = "use jv.kl_divergence, jv.log_prob and jv.sample, which work from log σ, in float32 at least"

STATES: Mapping[str, State] = MappingProxyType(
    {
        "not finite": State(
            "error",
            "what the network gave, loc or raw, is NaN or infinite: it went wrong before the Gaussian",
            "lower the learning rate, clip the gradients, look at the data; skip such updates",
        ),
        "σ not positive": State(
            "error",
            "σ is negative, 0 or not a number: nothing in {formula} keeps it positive",
            "take a parameterization with a transform (log_variance, softplus_std), or project σ onto a lower bound",
        ),
        "infinite KL": State(
            "error",
            "the KL is beyond what is computed with: σ or mean is too large for any formula",
            "lower the learning rate, or bound σ above (nvae_log_std, pets_log_variance)",
        ),
        "gradient not finite": State(
            "error",
            "d log σ / d raw of {formula} isn't a finite number there",
            "put the transform to jv.check_parameterization, which says where and why",
        ),
        "negative KL": State(
            "error",
            f"the KL given is negative by more than {STANDARD_ERRORS:g} standard errors: "
            "its formula is wrong, or lost its digits",
            "use jv.kl_divergence, which is never negative",
        ),
        "posterior collapse": State(
            "error",
            "every latent is collapsed: the decoder does without them",
            "raise β from 0, grant free bits, or take a weaker decoder",
        ),
        "vanishing KL": State(
            "error",
            f"the KL fell below {IDLE:g} nats per latent while training: latents were in use, and were given up",
            "raise β more slowly or not so far, grant free bits, lower the learning rate",
        ),
        "no finite update": State(
            "error",
            "there are epochs in which no update was finite: training stands still",
            _CALMER,
        ),
        "skipped updates": State(
            "warning",
            "updates weren't finite, and were left out",
            _CALMER,
        ),
        "divergence": State(
            "warning",
            f"the training ELBO has lost over {100 * LOST:g} % of what it had gained",
            "lower the learning rate, or let it decay",
        ),
        "exploding gradient": State(
            "warning",
            f"an epoch's mean gradient norm is over {EXPLODED:g} times the median epoch's",
            "clip the gradients, warm the learning rate up, or lower it",
        ),
        "overfitting": State(
            "warning",
            f"since its best epoch the validation ELBO lost over {100 * LOST:g} % of what it had gained, "
            "while training's rose",
            "take the best checkpoint, train shorter, or on more data, or a smaller decoder",
        ),
        "zero gradient": State("warning", "d log σ / d raw is exactly 0: no gradient moves σ any more", _FREER),
        "saturated": State(
            "warning",
            f"σ hardly answers to raw: |d log σ / d raw| is below {DEAF:g}, "
            f"Adam needs {1 / (1e-3 * DEAF):,.0f} steps of 1e-3 per e-fold",
            _FREER + "; a learning rate that is too high gets there, too",
        ),
        "at the floor": State(
            "warning",
            f"σ is within {100 * NEAR_END:g} % of the lowest that {{formula}} can give, {{low}}",
            "lower the floor if the data want a smaller σ; if not, it is at work and keeps σ from 0",
        ),
        "at the ceiling": State(
            "warning",
            f"σ is within {100 * NEAR_END:g} % of the highest that {{formula}} can give, {{high}}",
            "raise the ceiling: well above 1, so that an unused latent can come to the prior's σ = 1",
        ),
        "steep": State(
            "warning",
            f"the KL's slope by mean or raw is above {STEEP:g} nats: few such elements outweigh all others",
            "clip the gradients, lower the learning rate, or take softplus_std, whose slope rises slowly",
        ),
        "overflow": State("warning", "σ² or mean² is above {dtype}'s largest number: a usual KL is inf or NaN", _OURS),
        "underflow": State(
            "warning",
            "σ² is below {dtype}'s smallest normal number: a usual log(σ²) is -inf, 1/σ² inf, their gradients NaN",
            _OURS,
        ),
        "exp overflow": State(
            "warning",
            "exp(raw) is above {dtype}'s largest number: a softplus or sigmoid made of it is inf, or its gradient NaN",
            _OURS,
        ),
        "noise lost": State(
            "warning",
            "σ is below the spacing of {dtype}'s numbers at the mean: samples are the mean itself",
            "draw in a wider dtype, bound σ below (sigma_vae_log_std), or keep the means near 0",
        ),
        "constant": State(
            "warning",
            f"it costs over {COSTLY:g} nats, but is nearly the same for every example: "
            f"it tells less than {IDLE:g} nats of them",
            "train on; if it stays so, grant fewer free bits, or take fewer latents",
        ),
        "collapsed": State(
            "note",
            f"q is the prior whatever the example: KL and variance of the mean below {IDLE:g}",
            "no harm if other latents are in use; to use it, lower β, raise it from 0, or grant free bits",
        ),
        "lost digits": State(
            "note",
            f"q is so near the prior that a usual KL in {{dtype}} is off by {100 / DIGITS:g} % or more, "
            "and may be negative",
            _OURS,
        ),
        "unfinished": State(
            "note",
            "training ended before its last epoch: stopped, killed, or out of finite updates",
            "resume it from its last checkpoint, or see the other findings",
        ),
    }
)
"""All states by name, the gravest first; some of them only a run shows."""


class Finding(NamedTuple):
    """A state that was found.

    Attributes:
        name: in ``STATES``.
        level: in ``LEVELS``.
        latents: the indices of those in this state; none for what is found of a run as a whole.
        share: of all latents of all examples; of a run as a whole, of its updates or epochs.
        explanation: one line.
        advice: one line.
    """

    name: str
    level: str
    latents: tuple[int, ...]
    share: float
    explanation: str
    advice: str


def finding(name: str, latents: Iterable[int], share: float, **words: str) -> Finding:
    """A finding in the words of ``STATES``, whose blanks are filled with these."""
    state = STATES[name]
    return Finding(name, state.level, tuple(latents), share, state.explanation.format(**words), state.advice)
