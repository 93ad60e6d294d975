"""Files of a model's results for each image or latent: .npz, .npy, .csv, or a folder of pictures."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jaxvae.arguments import require
from jaxvae.data import Feature, in_own_terms
from jaxvae.files import UNFINISHED, read_file, require_unwritten, write_atomically, written_together

_COVARIATE = "covariate_"  # the prefix of covariates' columns, whose names are arbitrary


def require_suffix(out: Path, *allowed: str) -> None:
    """Raises ValueError, before anything is computed, if a file to write isn't of an allowed type."""
    require(out.suffix in allowed, "out", str(out), f"a path that ends in {' or '.join(allowed)}")
    require(not out.is_dir(), "out", str(out), "a file, not a directory")


def write_table(out: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Writes columns (N,) or (N, L) as .npz, or as .csv with a column for each number, which is empty for NaN."""
    if out.suffix == ".npz":
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **columns)
        return _write(out, content.getvalue())
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(name for key, x in columns.items() for name in _names(key, x))
    for row in zip(*columns.values(), strict=True):
        table.writerow(_cell(value) for part in row for value in np.atleast_1d(part))
    return _write(out, text.getvalue().encode(errors="surrogateescape"))


def _names(key: str, x: np.ndarray) -> Iterable[str]:
    return [key] if x.ndim == 1 else [f"{key}_{i}" for i in range(x.shape[1])]


def _cell(value: Any) -> Any:
    """Returns an entry with as many digits as are needed to read it back bit for bit."""
    if not isinstance(value, np.floating):
        return value
    return str(value).removesuffix(".0") if np.isfinite(value) else ""


def write_rows(
    out: Path, features: Sequence[Feature], rows: np.ndarray, more: Mapping[str, np.ndarray] = MappingProxyType({})
) -> None:
    """Writes rows (N, 1, 1, C) of a table: as numbers in .npy, or in the table's own terms with column names.

    Args:
        out: a .csv or .npy file.
        features: the columns.
        rows: their numbers.
        more: further columns (N,) that come first, with names that the others don't have; not for a .npy file.
    """
    flat = np.asarray(rows).reshape(-1, len(features))
    if out.suffix == ".npy":
        return write_array(out, flat)
    own = in_own_terms(features, flat)
    return write_table(out, {**{f"{name}_" if name in own else name: x for name, x in more.items()}, **own})


ROWS = (".csv", ".npy")
"""The types of files that ``write_rows`` writes."""


def write_array(out: Path, x: np.ndarray) -> None:
    """Writes an array as .npy."""
    content = io.BytesIO()
    np.save(content, x)
    _write(out, content.getvalue())


def _write(out: Path, content: bytes) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, content)


def write_pictures(out: Path, images: np.ndarray, names: np.ndarray) -> None:
    """Writes images (N, H, W, C) in [0, 1] as .png files in a new or empty directory, with their names.

    If it is killed, it can be called again for the same directory.

    Raises:
        ValueError: for a directory in use, images without 1 or 3 channels, or names that lead out of the directory.
    """
    from PIL import Image

    require(images.shape[-1] in (1, 3), "channels", images.shape[-1], "1 or 3, for pictures; or write .npy")
    files = [str(name) if str(name).endswith(".png") else f"{name}.png" for name in names]
    for file in files:
        path = PurePosixPath(file)
        require(not path.is_absolute() and ".." not in path.parts, "names", file, "files in the directory itself")
    require(len(set(files)) == len(files), "names", "some twice", "another for each")
    folders = {PurePosixPath(file).parts[0] for file in files}
    require_unwritten(out, folders, "a new or empty directory, or a path that ends in .npy")
    with written_together(out / UNFINISHED):
        for file, image in zip(files, images, strict=True):
            pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
            content = io.BytesIO()
            Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(content, format="png")
            _write(out / file, content.getvalue())


def covariate_columns(covariates: Sequence[Feature], rows: np.ndarray | None) -> dict[str, np.ndarray]:
    """Returns covariates (N, M) in their own terms, as columns whose names ``read_latents`` recognizes."""
    return {} if rows is None else {_COVARIATE + name: x for name, x in in_own_terms(covariates, rows).items()}


class Latents(NamedTuple):
    """The content of a file of latents.

    Attributes:
        latents: (N, L).
        labels: (N,), or None.
        names: (N,).
        covariates: (N,) each, by name, or None.
    """

    latents: np.ndarray
    labels: np.ndarray | None
    names: np.ndarray
    covariates: dict[str, np.ndarray] | None


def read_latents(path: Path) -> Latents:
    """Reads the latents in a .npy file, or in a .npz file that ``write_table`` wrote.

    Raises:
        ValueError: for another file.
        FileNotFoundError: if there is no such file.
    """
    require(path.suffix in (".npy", ".npz"), "latents", str(path), "a .npy or .npz file")
    fields: dict[str, np.ndarray] = {}
    try:
        content = io.BytesIO(read_file(path))  # np.load would leave a broken file open
        if path.suffix == ".npy":
            z = np.load(content, allow_pickle=False)
        else:
            with np.load(content, allow_pickle=False) as found:
                fields = {name: found[name] for name in found.files}
            z = fields.get("latents", fields.get("mean"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except Exception as error:  # zip, zlib and the header's parser raise different errors
        raise ValueError(f"{path} must be a file of latents, got what can't be read ({error})") from None
    fits = z is not None and z.ndim == 2 and z.dtype.kind in "iuf"
    require(fits, f"{path}: fields", sorted(fields) if fields else None, "latents or mean, of shape (N, L)")
    assert z is not None
    covariates = {name.removeprefix(_COVARIATE): x for name, x in fields.items() if name.startswith(_COVARIATE)}
    return Latents(z, fields.get("labels"), fields.get("names", np.arange(len(z))), covariates or None)
