"""The states that a posterior or its training can be in: their names, how serious they are, and what to change.

All their descriptions are here and nowhere else. The advice is about code, for any encoder and any training loop; the
numbers are those of ``criteria``.
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
"""The levels: an error is already wrong; a warning will go wrong, or wastes a latent; a note is good to know."""


class State(NamedTuple):
    """The description of a state: how serious it is, what it is, and what to change."""

    level: str
    explanation: str
    advice: str


_FREER = (
    "use a parameterization without bounds (jv.log_variance, jv.softplus_std), or one whose bounds let gradients "
    "through (jv.pets_log_variance)"
)
_CLIPPED = "clip the gradients (optax.clip_by_global_norm)"
_CALMER = f"lower the learning rate, {_CLIPPED}, and see the other findings for where σ stands"
_OURS = "use jv.kl_divergence, jv.log_prob and jv.sample, which compute with log σ in float32 or float64"
_RAISED = "raise β from 0 (jv.objectives.beta_schedule) or use free bits (jv.objectives.free_bits)"

STATES: Mapping[str, State] = MappingProxyType(
    {
        "not finite": State(
            "error",
            "the network's output, loc or raw, is NaN or infinite: the fault lies in the network, not in the Gaussian",
            f"lower the learning rate, {_CLIPPED}, look at the data, and skip such updates (optax.apply_if_finite)",
        ),
        "σ not positive": State(
            "error",
            "σ is negative, 0 or not a number: nothing in {formula} keeps it positive",
            "use a parameterization that keeps σ positive (jv.log_variance, jv.softplus_std, jv.projected_std)",
        ),
        "infinite KL": State(
            "error",
            "the KL is above the largest number of the dtype, because σ or the mean is very large",
            "lower the learning rate, or bound σ above (jv.nvae_log_std, jv.pets_log_variance)",
        ),
        "gradient not finite": State(
            "error",
            "d log σ / d raw of {formula} isn't a finite number there",
            "run jv.check_parameterization on it, which says where and why",
        ),
        "negative KL": State(
            "error",
            f"the KL given is negative by more than {STANDARD_ERRORS:g} standard errors: "
            "its formula is wrong, or loses digits",
            "use jv.kl_divergence, which is never negative",
        ),
        "posterior collapse": State(
            "error",
            "every latent is collapsed: the decoder ignores them",
            f"{_RAISED}, or use a weaker decoder",
        ),
        "vanishing KL": State(
            "error",
            f"the KL fell below {IDLE:g} nats per latent during training: latents were in use, and then collapsed",
            f"{_RAISED}; raise β more slowly, or to a lower value; or lower the learning rate",
        ),
        "no finite update": State(
            "error",
            "there are epochs in which no update was finite: nothing is learned there",
            _CALMER,
        ),
        "skipped updates": State(
            "warning",
            "some updates were not finite, and were skipped",
            _CALMER,
        ),
        "divergence": State(
            "warning",
            f"the training ELBO has lost over {100 * LOST:g} % of what it had gained",
            "lower the learning rate, or decay it (optax.cosine_decay_schedule)",
        ),
        "exploding gradient": State(
            "warning",
            f"an epoch's mean gradient norm is over {EXPLODED:g} times the median epoch's",
            f"{_CLIPPED}, or use warmup (optax.linear_schedule) or a lower learning rate",
        ),
        "overfitting": State(
            "warning",
            f"since its best epoch the validation ELBO lost over {100 * LOST:g} % of what it had gained, "
            "while training's rose",
            "use the best checkpoint, train for fewer epochs or on more data, or use a smaller decoder",
        ),
        "zero gradient": State("warning", "d log σ / d raw is exactly 0: no gradient moves σ", _FREER),
        "saturated": State(
            "warning",
            f"σ hardly depends on raw: |d log σ / d raw| is below {DEAF:g}, so that Adam with learning rate 1e-3 "
            f"takes {1 / (1e-3 * DEAF):,.0f} steps to change σ by a factor of e",
            f"{_FREER}; or lower the learning rate, which may have led there",
        ),
        "at the floor": State(
            "warning",
            f"σ is within {100 * NEAR_END:g} % of the lowest that {{formula}} can give, {{low}}",
            "lower the floor if the data need a smaller σ; otherwise the floor does its work: it keeps σ from 0",
        ),
        "at the ceiling": State(
            "warning",
            f"σ is within {100 * NEAR_END:g} % of the highest that {{formula}} can give, {{high}}",
            "raise the ceiling well above 1, so that an unused latent can reach the prior's σ = 1",
        ),
        "steep": State(
            "warning",
            f"the derivative of the KL by mean or raw is above {STEEP:g} nats: a few such elements outweigh all others",
            f"{_CLIPPED}, lower the learning rate, or use jv.softplus_std, under which it grows slowly",
        ),
        "overflow": State(
            "warning", "σ² or mean² is above the largest number of {dtype}: a KL written by hand is inf or NaN", _OURS
        ),
        "underflow": State(
            "warning",
            "σ² is below the smallest normal number of {dtype}: by hand, log(σ²) is -inf, 1/σ² is inf, "
            "and their gradients are NaN",
            _OURS,
        ),
        "exp overflow": State(
            "warning",
            "exp(raw) is above the largest number of {dtype}: a softplus or sigmoid computed from it is inf, "
            "or its gradient is NaN",
            _OURS,
        ),
        "noise lost": State(
            "warning",
            "σ is below the spacing of {dtype} numbers at the mean: each sample is the mean itself",
            "sample in a wider dtype, bound σ below (jv.sigma_vae_log_std), or keep the means near 0",
        ),
        "constant": State(
            "warning",
            f"q has a KL above {COSTLY:g} nats, but is nearly the same for every example: "
            f"it carries less than {IDLE:g} nats of information about them",
            "train for longer; if this does not help, use fewer free bits or fewer latents",
        ),
        "collapsed": State(
            "note",
            f"q is the prior for every example: its KL and the variance of its mean are below {IDLE:g}",
            f"this does no harm if other latents are in use; to use it, lower β, or {_RAISED}",
        ),
        "lost digits": State(
            "note",
            f"q is so near the prior that a KL written by hand in {{dtype}} is off by {100 / DIGITS:g} % or more, "
            "and may be negative",
            _OURS,
        ),
        "unfinished": State(
            "note",
            "training ended before its last epoch: it was stopped or killed, or its updates were no longer finite",
            "resume it from its last checkpoint, or see the other findings",
        ),
    }
)
"""All states by name, with the most serious first; some of them are found only in a run."""


class Finding(NamedTuple):
    """A state that was found.

    Attributes:
        name: the state's name in ``STATES``.
        level: one of ``LEVELS``.
        latents: the indices of the latents in this state; empty if the finding is about a run as a whole.
        share: the share of all latents of all examples, or of the updates or epochs of a run as a whole.
        explanation: what the state is, in one line.
        advice: what to change, in one line.
    """

    name: str
    level: str
    latents: tuple[int, ...]
    share: float
    explanation: str
    advice: str


def finding(name: str, latents: Iterable[int], share: float, **words: str) -> Finding:
    """Returns a finding with the description in ``STATES``, whose placeholders are filled with these words."""
    state = STATES[name]
    return Finding(name, state.level, tuple(latents), share, state.explanation.format(**words), state.advice)
