"""What may be said of how data are read."""

import pytest

from jaxvae.data.options import Reading


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("layout", "chw", "layout must be one of auto, nhwc, nchw, nhw, ntc, got 'chw'"),
        ("levels", 1, "levels must be 2 to 65536, got 1"),
        ("levels", 65537, "levels must be 2 to 65536, got 65537"),
        ("value_range", (1.0,), "value_range must be two numbers, the lower one first"),
        ("value_range", (1.0, 1.0), "value_range must be two numbers, the lower one first"),
        ("value_range", (0.0, float("inf")), "value_range must be two numbers, the lower one first"),
        ("value_range", (0.0, float("nan")), "value_range must be two numbers, the lower one first"),
        ("size", (28,), "size must be a height and a width, from 1 to 16384"),
        ("size", (0, 28), "size must be a height and a width, from 1 to 16384"),
    ],
)
def test_what_makes_no_sense_is_refused(field, value, text):
    with pytest.raises(ValueError, match=text):
        Reading(**{field: value})


def test_levels_and_a_range_would_say_it_twice():
    with pytest.raises(ValueError, match="levels must be given without value_range"):
        Reading(levels=256, value_range=(0.0, 255.0))
