"""The origin of a run's data: where they came from, and fingerprints that tell whether they are the same."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.dataset import Split
from jaxvae.texts import counted

_CHUNK = 2**24  # bytes hashed at a time


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where data came from, how they were split, and a fingerprint of each split.

    Attributes:
        dataset: the name, or the absolute path.
        data_dir: where prepared datasets were, or None.
        counts: the number of images of each split.
        digests: the digests of each split's images and labels.
        files: the files of each split, relative to the folder; None if the data aren't a folder.
        rows: the number of images, if they came unsplit and were split here; else None.
    """

    dataset: str
    data_dir: str | None
    counts: Mapping[str, int]
    digests: Mapping[str, str]
    files: Mapping[str, tuple[str, ...]] | None = None
    rows: int | None = None

    @property
    def split_by_name(self) -> bool:
        """Whether the images are files that were split here, by their names."""
        return self.files is not None and self.rows is not None

    def changes_to(self, now: "Origin") -> list[str]:
        """Returns a line for each split that has changed."""
        names = {**self.counts, **now.counts}
        found = (self.change(name, now.counts.get(name, 0), now.digests.get(name)) for name in names)
        return [line for line in found if line]

    def change(self, name: str, count: int, digest: str | None) -> str:
        """Says how a split with this number of images and fingerprint has changed; "" if it hasn't."""
        if count != (before := self.counts.get(name, 0)):
            return f"the {name} split has {counted(count, 'image')}, not {before:,}"
        return "" if digest == self.digests.get(name) else f"images or labels of the {name} split are others"

    def to_json(self) -> str:
        """Returns the origin as JSON, for ``origin_from_mapping``."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"


def origin_from_mapping(values: Mapping[str, Any]) -> Origin:
    """Makes an origin from plain values, such as those of a JSON file.

    Raises:
        ValueError: for a field that is missing or unknown.
    """
    fields = {field.name for field in dataclasses.fields(Origin)}
    require(set(values) == fields, "origin", sorted(values), f"of {', '.join(sorted(fields))}")
    files = values["files"]
    return Origin(**{**values, "files": files and {split: tuple(names) for split, names in files.items()}})


def require_apart(out: Path, dataset: str) -> None:
    """Raises ValueError if ``out`` is inside the data, where written files would become data themselves."""
    data = Path(dataset).expanduser()
    inside = data.is_dir() and out.resolve().is_relative_to(data.resolve())
    require(not inside, "out", str(out), f"outside of the data, {data}")


def fingerprint(split: Split) -> str:
    """Returns a digest of shape, dtype, images, labels and covariates, computed in parts."""
    found = hashlib.blake2b(digest_size=16)
    for x in (split.images, split.labels, split.covariates):
        if x is not None:
            found.update(f"{x.shape} {x.dtype}".encode())
            rows = max(1, _CHUNK // max(1, x[:1].nbytes))
            for start in range(0, len(x), rows):
                found.update(np.ascontiguousarray(x[start : start + rows]).data)
    return found.hexdigest()
