"""Arrays for pictures are of the right shapes and things; what is wrong with a run is named."""

import numpy as np
import pytest
import trained_models

from jaxvae.trained import inspection
from jaxvae.training import CONFIG, METRICS, TrainConfig


@pytest.mark.parametrize("kind", ["flat", "conditional", "top_down"])
def test_traversals_move_one_latent_and_hold_the_others(kind):
    model, image = trained_models.model(kind), np.random.default_rng(0).random(trained_models.SHAPE)
    label = 1 if model.contract.conditional else None
    found = inspection.traversed(model, image, label, np.array([2, 0]), steps=5, reach=2.0)
    assert found.images.shape == (2, 5, *trained_models.SHAPE)
    assert found.values.tolist() == [-2, -1, 0, 1, 2]
    for row, latent in enumerate((2, 0)):
        z = np.array(model.latents(image, label))
        z[latent] = 1.0
        np.testing.assert_allclose(found.images[row, 3], model.decode(z, label).mean, rtol=1e-5)


EPOCHS = 10
STEADY = np.linspace(-100, -80, EPOCHS)


def records(**changed) -> list[dict]:
    """Of a run without a fault, but for these columns."""
    columns = {
        "epoch": np.arange(1, EPOCHS + 1).tolist(),
        "step": (16 * np.arange(1, EPOCHS + 1)).tolist(),
        "elbo": STEADY.tolist(),
        "kl": [5.0] * EPOCHS,
        "gradient_norm": [3.0] * EPOCHS,
        "skipped": [0] * EPOCHS,
        "validation_elbo": (STEADY - 2).tolist(),
        **changed,
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    # An epoch that isn't validated has no such key; None stands for NaN.
    return [{key: value for key, value in row.items() if value != "none"} for row in rows]


def changed(values, **at) -> list:
    """A column with other numbers at some epochs, counted from 0."""
    column = list(values)
    for place, value in at.items():
        column[int(place[1:])] = value
    return column


COURSES = {
    "a run without a fault": ({}, {}),
    "its KL goes to 0": ({"kl": [5.0] * 6 + [0.02] * 4}, {"vanishing KL": 0.4}),
    "its KL was never there": ({"kl": [0.02] * EPOCHS}, {}),
    "its KL comes": ({"kl": [0.02] * 4 + [5.0] * 6}, {}),
    "a few updates are skipped": ({"skipped": [0] * 8 + [4, 8]}, {"skipped updates": 0.05}),
    "an epoch without an update": (
        {"elbo": changed(STEADY, _9=None), "skipped": [0] * 9 + [16]},
        {"no finite update": 0.1, "skipped updates": 0.1},
    ),
    "a gradient explodes": ({"gradient_norm": changed([3.0] * EPOCHS, _7=400.0)}, {"exploding gradient": 0.1}),
    "a gradient isn't finite": ({"gradient_norm": changed([3.0] * EPOCHS, _7=None)}, {}),
    "it diverges": (
        {"elbo": changed(STEADY, _8=-85.0, _9=-90.0), "validation_elbo": changed(STEADY, _8=-85.0, _9=-90.0)},
        {"divergence": 0.2},
    ),
    "it overfits": ({"validation_elbo": [*STEADY[:6], -90, -91, -92, -93]}, {"overfitting": 0.4}),
    "it wavers": ({"validation_elbo": [*STEADY[:9], STEADY[8] - 0.5]}, {}),
    "no validation": ({"validation_elbo": ["none"] * EPOCHS}, {}),
    "every other epoch is validated": (
        {"validation_elbo": [*STEADY[:5], "none", -90, "none", "none", -93]},
        {"overfitting": 1 / 7},
    ),
    "a validation of NaN": ({"validation_elbo": changed(STEADY - 2, _6=None)}, {}),
}


@pytest.mark.parametrize("name", COURSES)
def test_a_course_is_named(name):
    columns, expected = COURSES[name]
    found = inspection.course(records(**columns), EPOCHS, latents=3)
    assert {f.name: f.share for f in found} == pytest.approx(expected)
    assert not any(f.latents for f in found)


def test_a_run_that_ended_early_is_unfinished():
    (found,) = inspection.course(records()[:6], EPOCHS, latents=3)
    assert (found.name, found.share) == ("unfinished", pytest.approx(0.4))
    assert inspection.course([], EPOCHS, latents=3) == []


def test_a_run_without_a_checkpoint_is_told_of_in_a_line(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CONFIG).write_text(TrainConfig(latents=2).to_json())
    with pytest.raises(ValueError, match="in epoch 1, before its first checkpoint;") as caught:
        inspection.examine(tmp_path / "run")
    lines = '{"epoch": 1, "step": 16, "elbo": null, "skipped": 9}\n'
    (tmp_path / "run" / METRICS).write_text(lines)
    with pytest.raises(
        ValueError, match="in epoch 2, before its first checkpoint, with 9 updates that were not finite; "
    ):
        inspection.examine(tmp_path / "run")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"run must be a directory with a config.json"):
        inspection.examine(tmp_path)
