"""Mosaics hold the images' own pixels, where they belong: read back from what is rendered."""

import ml_dtypes
import numpy as np
import pytest
from matplotlib.figure import Figure
from pictures import assert_legible, render, to_the_pixel

from jaxvae import plots
from jaxvae.plots import mosaics

SEPARATOR, WHITE, VERMILION = (176, 176, 176), (255, 255, 255), (213, 94, 0)


def noise(*shape: int) -> np.ndarray:
    """Images darker than a separator."""
    return np.random.default_rng(0).uniform(0, 0.6, shape).astype(np.float32)


def as_bytes(images: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.round(images * 255), (*images.shape[:-1], 3)).astype(np.uint8)


def runs(mask: np.ndarray) -> list[slice]:
    edges = np.flatnonzero(np.diff(mask.astype(int), prepend=0, append=0))
    return [slice(*pair) for pair in edges.reshape(-1, 2).tolist()]


def blocks(figure: Figure) -> list[list[np.ndarray]]:
    """The rendered images, row by row, without what separates them."""
    pixels = render(figure)
    (panel,) = figure.axes
    box = panel.get_window_extent()
    height = len(pixels)
    pixels = pixels[round(height - box.y1) : round(height - box.y0), round(box.x0) : round(box.x1)]
    gap = (pixels == SEPARATOR).all(-1) | (pixels == WHITE).all(-1)
    bands = runs(~gap.all(1))
    return [[pixels[band, column] for column in runs(~gap[band].all(0))] for band in bands]


def shrunk(block: np.ndarray, height: int, width: int) -> np.ndarray:
    """An enlarged image in its own size; it must have been enlarged by whole numbers."""
    down, across = block.shape[0] // height, block.shape[1] // width
    small = block[::down, ::across]
    np.testing.assert_array_equal(small.repeat(down, 0).repeat(across, 1), block)
    return small


def assert_holds(figure: Figure, rows: list[np.ndarray]) -> None:
    """The figure shows these rows of images, byte by byte."""
    found = blocks(figure)
    assert [len(row) for row in found] == [len(row) for row in rows]
    for shown, row in zip(found, rows, strict=True):
        for block, image in zip(shown, row, strict=True):
            np.testing.assert_array_equal(shrunk(block, *image.shape[:2]), as_bytes(image))


def row_labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


@pytest.mark.parametrize(
    ("shape", "columns"),
    [
        ((1, 28, 28, 1), 1),
        ((10, 28, 28, 1), 4),
        ((7, 8, 8, 3), 3),
        ((100, 8, 8, 1), 10),
        ((5, 64, 64, 3), 3),
        ((16, 1, 64, 1), 2),
        ((16, 64, 1, 1), 12),
        ((1, 1, 1, 1), 1),
    ],
)
def test_grid_shows_every_pixel_in_reading_order(shape: tuple[int, ...], columns: int) -> None:
    images = noise(*shape)
    figure = plots.image_grid(images)
    assert_holds(figure, [images[start : start + columns] for start in range(0, len(images), columns)])
    assert_legible(figure)


def test_sides_are_whole_numbers_of_pixels() -> None:
    for length in range(1, 5000):
        side = mosaics._even(length)
        assert length <= side < length + 25
        assert side / 100 * 100 == side


def test_enlarged_pictures_stay_crisp() -> None:
    images = noise(4, 28, 28, 1)
    figure = plots.image_grid(images)
    figure.set_dpi(2 * figure.dpi)
    assert_holds(figure, [images[:2], images[2:]])


@to_the_pixel
def test_grid_takes_columns_and_title() -> None:
    images = noise(5, 8, 8, 1)
    figure = plots.image_grid(images, columns=4, title="Means at z ~ N(0, 1)")
    assert_holds(figure, [images[:4], images[4:]])
    assert figure.texts[0].get_text() == "Means at z ~ N(0, 1)"
    assert_holds(plots.image_grid(images, columns=9), [images])


def test_long_titles_wrap() -> None:
    figure = plots.image_grid(noise(1, 8, 8, 1), title="A title that goes on and on, " * 6)
    assert "\n" in figure.texts[0].get_text()
    assert_legible(figure)


def test_nothing_gets_too_small_to_see() -> None:
    for shape in ((900, 8, 8, 1), (300, 1, 64, 1), (100, 1, 64, 1)):
        for row in blocks(plots.image_grid(noise(*shape))):
            for block in row:
                assert min(block.shape[:2]) >= 16


def title(figure: Figure) -> str:
    return figure.texts[0].get_text().replace("\n", " ")


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_that_are_no_colours_stand_side_by_side(channels: int) -> None:
    images = noise(4, 8, 6, channels)
    figure = plots.image_grid(images, columns=2, title="Samples")
    panels = np.moveaxis(images, -1, 1)[..., None]
    assert_holds(figure, [panels[:2].reshape(-1, 8, 6, 1), panels[2:].reshape(-1, 8, 6, 1)])
    assert title(figure) == f"Samples; each image as its {channels} channels, side by side"
    assert_legible(figure)


def test_of_many_channels_the_first_are_drawn_and_it_says_so() -> None:
    images = noise(1, 8, 8, 200)
    figure = plots.image_grid(images)
    assert_holds(figure, [np.moveaxis(images[0, ..., :12], -1, 0)[..., None]])
    assert title(figure) == "Samples; each image as its first 12 of 200 channels, side by side"


def test_reconstructions_and_traversals_take_any_channels() -> None:
    originals, means = noise(2, 2, 8, 8, 2)
    rows = [np.moveaxis(x, -1, 1).reshape(-1, 8, 8, 1) for x in (originals, means)]
    assert_holds(plots.reconstructions(originals, means), rows)
    images = noise(3, 2, 8, 8, 2)
    figure = plots.traversals(images, [-1, 1], np.ones(3))
    assert_holds(figure, list(np.moveaxis(images, -1, 2).reshape(3, -1, 8, 8, 1)))
    assert_legible(figure)


@pytest.mark.parametrize("channels", [1, 3])
def test_values_out_of_0_to_1_are_drawn_on_their_own_range_and_it_says_so(channels: int) -> None:
    images = noise(3, 8, 8, channels)
    images.flat[:2] = 0, 1
    figure = plots.image_grid(6 * images - 2, columns=3)
    assert_holds(figure, [images])
    assert title(figure) == "Samples; black is −2, white 4"
    originals, means = images[:1], images[1:2]
    figure = plots.reconstructions(1e-4 * originals, 1e-4 * means - 1e-2)  # one range for both
    assert title(figure).endswith(f"; black is {means.min() * 1e-4 - 1e-2:.3g}, white 0.0001".replace("-", "−"))
    ((shown,), _) = blocks(figure)
    assert shown.min() > 240


def test_all_the_same_beyond_1_is_grey() -> None:
    figure = plots.image_grid(np.full((1, 8, 8, 1), 5, np.float32))
    assert_holds(figure, [np.full((1, 8, 8, 1), 0.5)])
    assert title(figure) == "Samples; black is 4.5, white 5.5"


def test_rounding_beyond_0_and_1_is_no_range() -> None:
    images = noise(1, 8, 8, 1)
    images.flat[:2] = -1e-6, 1 + 1e-6
    figure = plots.image_grid(images)
    assert title(figure) == "Samples"
    assert_holds(figure, [np.clip(images, 0, 1)])


def test_rows_of_numbers_are_strips_that_can_be_read() -> None:
    rows = noise(12, 1, 784, 1)
    figure = plots.reconstructions(rows, rows)
    assert_holds(figure, [x[None] for x in rows for _ in range(2)])
    assert {block.shape[0] for row in blocks(figure) for block in row} == {32}
    assert_legible(figure)


def test_the_features_of_one_pixel_are_a_row() -> None:
    for features in (2, 3, 40):
        rows = noise(2, 1, 1, features)
        figure = plots.image_grid(rows, columns=1)
        assert_holds(figure, list(rows.reshape(2, 1, 1, features, 1)))
        assert title(figure) == "Samples"


@to_the_pixel
def test_images_larger_than_a_figure_are_averaged_and_it_says_so() -> None:
    rows = noise(2, 1, 2500, 1)
    figure = plots.image_grid(rows)
    means = [np.mean(x) for row in rows for x in np.split(row.ravel(), range(3, 2500, 3))]
    assert_holds(figure, list(np.reshape(means, (2, 1, 1, 834, 1))))
    assert title(figure) == "Samples; each pixel the mean of 1 × 3"
    assert max(figure.get_size_inches()) < 12
    figure = plots.image_grid(noise(1, 1001, 700, 3))
    assert title(figure) == "Samples; each pixel the mean of 2 × 2"


@to_the_pixel
def test_lost_values_are_vermilion_on_any_range() -> None:
    image = np.full((1, 8, 8, 3), 0.5, np.float32)
    image[0, 0, 0] = -np.finfo(np.float32).max
    image[0, 0, 1] = np.finfo(np.float32).max
    image[0, 1, 1] = (0.5, np.nan, 0.5)
    image[0, 2, 2, 2] = np.inf
    ((block,),) = blocks(plots.image_grid(image))
    shown = shrunk(block, 8, 8)
    assert tuple(shown[0, 0]) == (0, 0, 0)
    assert tuple(shown[0, 1]) == WHITE
    assert tuple(shown[1, 1]) == tuple(shown[2, 2]) == VERMILION
    assert (shown == VERMILION).all(-1).sum() == 2
    lost = np.full((1, 8, 8, 1), np.nan, np.float32)
    ((block,),) = blocks(plots.image_grid(lost))
    assert (block == VERMILION).all()


@to_the_pixel
def test_low_precision_is_taken_and_integers_are_refused() -> None:
    images = noise(3, 8, 8, 1).astype(ml_dtypes.bfloat16)
    assert_holds(plots.image_grid(images, columns=3), [images.astype(np.float32)])
    assert_holds(plots.image_grid(np.zeros((1, 8, 8, 1), bool)), [np.zeros((1, 8, 8, 1))])
    with pytest.raises(ValueError, match=r"images\.dtype must be floating, not whole numbers, got 'uint8'"):
        plots.image_grid(np.zeros((1, 8, 8, 1), np.uint8))


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (8, 4), (9, 5)])
def test_reconstructions_stand_below_their_originals(count: int, columns: int) -> None:
    originals, means = noise(2, count, 28, 28, 1)
    figure = plots.reconstructions(originals, means)
    starts = range(0, count, columns)
    assert_holds(figure, [x[start : start + columns] for start in starts for x in (originals, means)])
    assert row_labels(figure) == ["original", "reconstruction"] * len(starts)
    assert_legible(figure)


def test_pairs_are_set_apart() -> None:
    figure = plots.reconstructions(*noise(2, 8, 28, 28, 1))
    steps = np.diff(figure.axes[0].get_yticks())
    assert steps[0] == steps[2] < steps[1]


@pytest.mark.parametrize(("latents", "steps", "shape"), [(3, 5, (28, 28, 1)), (1, 1, (8, 8, 3)), (12, 9, (1, 64, 1))])
def test_traversals_have_a_row_per_latent(latents: int, steps: int, shape: tuple[int, ...]) -> None:
    images = noise(latents, steps, *shape)
    figure = plots.traversals(images, np.linspace(-3, 3, steps), np.full(latents, 2.1))
    assert_holds(figure, list(images))
    assert row_labels(figure) == [f"z{i}  KL 2.1 nats" for i in range(latents)]
    assert_legible(figure)


def test_traversals_say_which_latent_and_which_value() -> None:
    figure = plots.traversals(noise(3, 5, 28, 28, 1), [-2, -0.5, -0.0, 1 / 3, 2], [12.34, 0.051, np.nan], [3, 0, 41])
    assert row_labels(figure) == ["z3  KL 12 nats", "z0  KL 0.051 nats", "z41  KL nan nats"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["-2", "-0.5", "0", "0.33", "2"]


def test_headers_thin_out_where_there_is_no_room() -> None:
    values = np.linspace(-2.75, 2.75, 40)
    figure = plots.traversals(noise(40, 40, 8, 8, 1), values, np.ones(40))
    labels = figure.axes[0].get_xticklabels()
    assert 5 < len(labels) < 40
    cells = blocks(figure)[0]
    pitch = cells[0].shape[1] + 2
    for label in labels:
        column = (label.get_position()[0] - 1.5) / pitch - 0.5 + 1 / pitch
        assert column == pytest.approx(round(column), abs=1 / pitch)
        assert label.get_text() == f"{values[round(column)]:.2g}"
    assert_legible(figure)


def test_many_latents() -> None:
    figure = plots.traversals(noise(512, 3, 8, 8, 1), [-1, 0, 1], np.ones(512))
    assert row_labels(figure)[-1] == "z511  KL 1 nats"
    labels = figure.axes[0].get_yticks()
    assert len(labels) == 512
    assert np.diff(labels).min() >= 18


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.image_grid(noise(28, 28, 1)), r"images.shape must be \(N, H, W, C\) .*, got \(28, 28, 1\)"),
        (
            lambda: plots.image_grid(noise(0, 28, 28, 1)),
            r"images.shape must be .* without a zero, got \(0, 28, 28, 1\)",
        ),
        (lambda: plots.image_grid(noise(2, 8, 8, 1), columns=0), "columns must be at least 1, got 0"),
        (lambda: plots.reconstructions(noise(2, 8, 8, 1), noise(3, 8, 8, 1)), r"means.shape must be \(2, 8, 8, 1\)"),
        (lambda: plots.traversals(noise(2, 8, 8, 1), [0], [0]), r"images.shape must be \(L, S, H, W, C\)"),
        (lambda: plots.traversals(noise(2, 3, 8, 8, 1), [0], [0, 0]), r"values.shape must be \(3,\), .*, got \(1,\)"),
        (lambda: plots.traversals(noise(2, 1, 8, 8, 1), [0], [0]), r"kl.shape must be \(2,\)"),
        (lambda: plots.traversals(noise(2, 1, 8, 8, 1), [0], [0, 0], [1]), r"latents.shape must be \(2,\)"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(call, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
