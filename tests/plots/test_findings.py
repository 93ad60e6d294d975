"""A diagnosis is drawn where its numbers are, in the colour of what is gravest."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex
from pictures import assert_legible

import jaxvae as jv
from jaxvae import plots
from jaxvae.diagnosis import finding
from jaxvae.plots.style import COLOURS, GREY


def found(latents: int, raw, p=jv.diffusers_log_variance):
    loc = np.random.default_rng(0).normal(size=(60, latents)).astype(np.float32)
    loc[:, 0] = 0
    return jv.diagnose(jv.Gaussian(loc, np.broadcast_to(np.float32(raw), loc.shape), p))


def test_each_latent_is_drawn_where_it_is():
    diagnosis = found(5, [0, -2, -40, 24, math.nan]).with_findings([finding("overfitting", (), 0.3)])
    figure = plots.diagnosis(diagnosis)
    assert_legible(figure)
    log_std, gain, nats, states = figure.axes
    order = [3, 2, 1, 0, 4]  # by falling KL
    assert [label.get_text() for label in states.get_xticklabels()] == [f"z{i}" for i in order]
    dots = log_std.collections[2]
    np.testing.assert_allclose(np.ma.filled(dots.get_offsets()[:, 1], math.nan), [10, -15, -1, 0, math.nan], atol=1e-6)
    assert [to_hex(c) for c in dots.get_facecolor()] == [
        c.lower() for c in (*2 * [COLOURS[3]], COLOURS[0], GREY, COLOURS[1])
    ]
    assert [line.get_xdata()[0] for line in gain.lines if line.get_marker() == "v"] == [0, 1]
    heights = [bar.get_y() + bar.get_height() for bar in nats.patches if bar.get_width() == pytest.approx(0.7)]
    np.testing.assert_allclose(heights, [1e4, *diagnosis.kl[[2, 1]], 1e-4, 1e-4])
    rows = [label.get_text() for label in states.get_yticklabels()]
    assert rows == [
        "healthy",
        *dict.fromkeys(name for name in (f.name for f in diagnosis.findings) if name != "overfitting"),
    ]
    cells = {(round(patch.get_x() + 0.45), rows[round(patch.get_y() + 0.4)]) for patch in states.patches}
    assert {name for column, name in cells if column == 1} == set(diagnosis.states[2])
    assert (2, "healthy") in cells
    assert figure.get_suptitle().splitlines() == [
        "diffusers_log_variance: 5 latents, 60 examples",
        "the run: overfitting",
    ]
    assert "range −15 to 10" in log_std.get_title(loc="left")


@pytest.mark.parametrize(("latents", "raw"), [(1, -1), (40, 200), (2, math.nan)])
def test_any_number_of_latents_in_any_state(latents, raw):
    figure = plots.diagnosis(found(latents, raw, jv.log_variance))
    assert_legible(figure)
    assert figure.axes[-1].get_xlabel().startswith("rank" if latents > 32 else "latents")
