"""The README's picture: where the KL by hand loses its digits, and where its gradient is NaN; beside ours.

python -m benchmarks.difference

Left: the relative error of KL(N(0, σ²) ‖ N(0, 1)) in float32 as σ nears 1, against mpmath, by log-variance; collapsed
latents and free bits live there. Right: the derivative by raw of softplus's KL, where an encoder is very sure.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from mpmath import mp, mpf

import jaxvae as jv
from benchmarks.by_hand import BY_HAND
from benchmarks.peers import Form, ours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PATH = Path(__file__).parents[1] / "docs" / "difference.png"
NEAR = 10.0 ** np.linspace(-4.5, -0.5, 161)
"""Log-variances; σ is 1 at 0."""
SURE = np.linspace(-130, 10, 281)
"""Raws of softplus."""


class Curves(NamedTuple):
    """Errors of the KL at ``NEAR``, and its derivatives at ``SURE``, by hand and ours."""

    errors: tuple[np.ndarray, np.ndarray]
    slopes: tuple[np.ndarray, np.ndarray]


def kl_of(form: Form, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The KL of mean 0 in float32, and its derivative by raw."""

    def kl(raw: jax.Array) -> jax.Array:
        return form.apply(jnp.zeros(()), raw, jnp.zeros(()))[1]

    value, slope = jax.jit(jax.vmap(jax.value_and_grad(kl)))(jnp.asarray(raw, jnp.float32))
    return np.asarray(value), np.asarray(slope)


def curves() -> Curves:
    """What the picture shows."""
    with mp.workdps(40):
        stored = [mpf(float(np.float32(v))) for v in NEAR]
        truth = np.array([float((mp.expm1(v) - v) / 2) for v in stored])
    log_variance, softplus = (
        (BY_HAND[name], ours(jv.PARAMETERIZATIONS[name])) for name in ("log_variance", "softplus_std")
    )
    errors = [np.abs(kl_of(form, NEAR)[0] / truth - 1) for form in log_variance]
    slopes = [kl_of(form, SURE)[1] for form in softplus]
    return Curves((errors[0], errors[1]), (slopes[0], slopes[1]))


def draw(found: Curves) -> "Figure":
    """Both panels."""
    from jaxvae.plots.style import COLOURS, SHADE, new_figure, quiet

    with quiet(11):
        figure = new_figure(10, 3.8)
        left, right = figure.subplots(1, 2)
        for errors, colour, name in zip(found.errors, (COLOURS[1], COLOURS[0]), ("by hand", "jaxvae"), strict=True):
            left.loglog(NEAR, np.maximum(errors, 1e-9), color=colour, label=name, linewidth=1.6)
        left.set_xlabel("log σ²: how far from collapse")
        left.set_ylabel("relative error of the KL")
        left.set_title("Near collapse: all digits lost, or none", loc="left", fontsize=12)
        left.legend(frameon=False)
        hand, here = found.slopes
        lost = SURE[~np.isfinite(hand)].max()
        right.axvspan(SURE[0], lost, color=SHADE)
        right.text((SURE[0] + lost) / 2, -0.5, "by hand: NaN", color=COLOURS[1], ha="center")
        right.plot(SURE, hand, color=COLOURS[1], linewidth=4, alpha=0.5)
        right.plot(SURE, here, color=COLOURS[0], linewidth=1.6)
        right.set_ylim(-1.3, 1)
        right.set_xlabel("raw, σ = softplus(raw)")
        right.set_ylabel("derivative of the KL by raw")
        right.set_title("Very sure: a gradient, or NaN", loc="left", fontsize=12)
    return figure


def main() -> None:
    """Draws it."""
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    draw(curves()).savefig(PATH)
    print(f"wrote {PATH}")


if __name__ == "__main__":
    main()
