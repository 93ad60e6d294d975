"""What it costs to read a folder of many small images: the first time, and from the cache.

python -m benchmarks.image_reading --images 60000

Images of 28×28 grey pixels are drawn as PNGs into a temporary folder, in ten folders of classes; the cache is a
temporary one, too. Times are of the CPU, of all threads.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import harness
from jaxvae.data import load
from jaxvae.data.folders import list_images
from jaxvae.files import write_atomically


class Costs(NamedTuple):
    """CPU seconds of listing the files, of reading them, and of loading them from the cache."""

    listing: float
    reading: float
    cached: float


def draw(folder: Path, images: int) -> None:
    """Smooth random pictures, which compress as drawings do."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in range(10):
        (folder / str(label)).mkdir()
    for i in range(images):
        corners = Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8))
        corners.resize((28, 28)).save(folder / str(i % 10) / f"{i}.png")


def measured(images: int) -> Costs:
    """Of so many images."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        folder.mkdir()
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")
        draw(folder, images)
        ends = [time.process_time()]
        for step in (lambda: list_images(folder), lambda: load(str(folder)), lambda: load(str(folder))):
            step()
            ends.append(time.process_time())
    return Costs(*np.diff(ends).tolist())


def main() -> None:
    """Prints a row, and keeps it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, default=60_000)
    images = parser.parse_args().images
    found = measured(images)
    print(f"{images:,} images: listed {found.listing:.2f} s, read {found.reading:.2f} s, cached {found.cached:.2f} s")
    kept = {"images": images, **found._asdict()}
    write_atomically(harness.RESULTS / "image_reading.json", json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
