"""Options for ambiguous data: how files and arrays become images."""

import dataclasses
import math

from jaxvae.arguments import require

SEQUENCES = "ntc"
LAYOUTS = ("auto", "nhwc", "nchw", "nhw", SEQUENCES)
"""The order of an array's axes: images, height, width, channels; or sequences, times, channels."""

MOST_LEVELS = 2**16
"""The largest number of levels, that of integers of 16 bits."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """The way in which files and arrays become images; frozen and hashable.

    Attributes:
        layout: one of ``LAYOUTS``; ``auto`` if the shape determines it.
        levels: the number of grey levels of integers; v means v / (levels - 1). None if the numbers determine it.
        value_range: the numbers that mean black and white, which become 0 and 1; () for none.
        counts: whether whole numbers are counts without an upper limit; rows (N, D) have D features.
        label: the column of a table with the classes.
        split: the column that says whether a row is for training, validation or test.
        group: the column of groups, such as patients, whose rows are kept in one split.
        stratified: whether each split gets the same share of each class.
        kinds: the kinds of columns, as ``tables.kinds_text`` writes them.
        names: the column with the names of rows.
        array: the array to read from a file with several.
        covariates: columns that are not modelled, but given to encoder and decoder.
        missing: texts that mean missing entries, besides the usual ones.
        delimiter: the separator of a line's entries.
        decimal: the decimal separator.
        thousands: the thousands separator.
        header: whether the first line has names; None if the line itself shows it.
        size: the size (H, W) to which images are resized, and cropped at the centre; () if all have one size.
        grey: whether colours become grey.
        background: the colour behind transparent pixels, by a name or as ``#rrggbb``.
        frames: whether each frame of an animation, or page of a stack, is an image.
        skip_bad: whether files that can't be read are left out.

    Raises:
        ValueError: for a value that isn't allowed.
    """

    layout: str = "auto"
    levels: int | None = None
    value_range: tuple[float, ...] = ()
    counts: bool = False
    label: str | None = None
    split: str | None = None
    group: str | None = None
    stratified: bool = False
    kinds: str | None = None
    names: str | None = None
    array: str | None = None
    covariates: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    delimiter: str | None = None
    decimal: str = "."
    thousands: str | None = None
    header: bool | None = None
    size: tuple[int, ...] = ()
    grey: bool = False
    background: str = "white"
    frames: bool = False
    skip_bad: bool = False

    def __post_init__(self) -> None:
        require(self.layout in LAYOUTS, "layout", self.layout, f"one of {', '.join(LAYOUTS)}")
        fits = self.levels is None or 2 <= self.levels <= MOST_LEVELS
        require(fits, "levels", self.levels, f"2 to {MOST_LEVELS}")
        given = self.value_range
        fits = not given or (len(given) == 2 and given[0] < given[1] and math.isfinite(given[1] - given[0]))
        require(fits, "value_range", given, "two numbers, the lower one first")
        fits = self.levels is None or not self.value_range
        require(fits, "levels", self.levels, "given without value_range, which says the same")
        fits = not self.counts or (self.levels is None and not self.value_range)
        require(fits, "counts", self.counts, "given without levels and value_range")
        fits = len(self.size) in (0, 2) and all(1 <= side <= 2**14 for side in self.size)
        require(fits, "size", self.size, f"a height and a width, from 1 to {2**14}")

    @property
    def sequences(self) -> bool:
        """Whether images are sequences (T, 1, C)."""
        return self.layout == SEQUENCES

    @property
    def noun(self) -> str:
        """The word for one of the images in messages."""
        return "sequence" if self.sequences else "image"


PLAIN = Reading()
"""The reading with all defaults."""

OF_TABLES = (
    "label",
    "split",
    "group",
    "stratified",
    "kinds",
    "names",
    "array",
    "covariates",
    "missing",
    "delimiter",
    "decimal",
    "thousands",
    "header",
)
"""The fields that apply to tables only."""


def require_untabled(reading: Reading, source: str) -> None:
    """Raises ValueError if images are read with an option that applies to tables only."""
    said = [name for name in OF_TABLES if getattr(reading, name) != getattr(PLAIN, name)]
    require(not said, "dataset", source, f"a table for {', '.join(f'--{name}' for name in said)}")
