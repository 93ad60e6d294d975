"""Adam with warm-up, decay and clipping, as a chain of optax's parts."""

import optax

from jaxvae.transforms import require

DECAYS = ("constant", "cosine")
"""The learning rate's course after the warm-up."""


def learning_rate_schedule(peak: float, steps: int, *, warmup_steps: int = 0, decay: str = "cosine") -> optax.Schedule:
    """The learning rate by step: linear from 0 to ``peak``, then constant, or along a half cosine to 0.

    Args:
        peak: the highest learning rate, above 0.
        steps: of the whole training.
        warmup_steps: fewer than ``steps``.
        decay: a name in ``DECAYS``.

    Raises:
        ValueError: for a value that isn't allowed.
    """
    require(0 < peak < float("inf"), "learning_rate", peak, "above 0")
    require(0 <= warmup_steps < max(steps, 1), "warmup_steps", warmup_steps, f"from 0 to below the {steps} steps")
    require(decay in DECAYS, "learning_rate_decay", decay, " or ".join(DECAYS))
    if decay == "constant":
        after: optax.Schedule = optax.constant_schedule(peak)
    else:
        after = optax.cosine_decay_schedule(peak, max(1, steps - warmup_steps))
    if warmup_steps == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup_steps), after], [warmup_steps])


def make_optimizer(
    learning_rate: optax.ScalarOrSchedule, clip_norm: float | None = None
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015), behind clipping of the gradient's global norm (Pascanu et al. 2013) where it is given.

    Raises:
        ValueError: for a ``clip_norm`` that isn't above 0.
    """
    if clip_norm is None:
        return optax.adam(learning_rate)
    require(clip_norm > 0, "clip_norm", clip_norm, "above 0")
    return optax.chain(optax.clip_by_global_norm(clip_norm), optax.adam(learning_rate))
