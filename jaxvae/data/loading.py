"""Datasets by name or path: bundled, from tensorflow-datasets, or your own."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxvae.arguments import require
from jaxvae.data import arrays, builders, catalog, digits, folders, prepared, synthetic
from jaxvae.data.catalog import SOURCES, survey
from jaxvae.data.dataset import Dataset, hold_out
from jaxvae.data.features import Feature
from jaxvae.data.options import PLAIN, Reading, require_untabled
from jaxvae.data.origins import Origin, fingerprint
from jaxvae.data.tables import KNOWN, is_table
from jaxvae.data.tabulated import load_rows
from jaxvae.texts import nearest


class Bundled(NamedTuple):
    """A dataset that needs no network: a description, a function that makes it, and suggested training options."""

    note: str
    make: Callable[[], Dataset]
    suggested: Mapping[str, Any] = MappingProxyType({})


BUNDLED: Mapping[str, Bundled] = MappingProxyType(
    {
        "digits": Bundled("1,797 handwritten digits, 8x8x1, bundled", digits.load_digits),
        synthetic.NAME: Bundled(
            "3,000 draws of a linear Gaussian model, whose best fit is known, 4x4x1, made here",
            synthetic.linear_gaussian,
            synthetic.SUGGESTED,
        ),
    }
)
"""The bundled datasets, by name."""


def load(
    name: str, data_dir: str | Path | None = None, validation: int | None = None, reading: Reading = PLAIN
) -> Dataset:
    """Loads a dataset by name or path.

    Args:
        name: ``digits``, which is bundled; ``linear-gaussian``, which is drawn at random, and whose images are not in
            [0, 1]; a name of tensorflow-datasets, which is prepared first if necessary; a name of ``tables.KNOWN``; or
            the path of a .npy or .npz file, of a table, or of a folder of images.
        data_dir: the folder of prepared datasets; by default, that of tensorflow-datasets.
        validation: the number of training images, from the end, to hold out as validation split. With None, the dataset
            keeps its own, if it has one.
        reading: how to read your own files, if that is ambiguous.

    Raises:
        ValueError: for an unknown name, data that don't fit, or a ``validation`` that leaves no training images.
        FileNotFoundError: if the data are missing and can't be downloaded; the message says how to get them.

    >>> load("digits").train.images.shape
    (1297, 8, 8, 1)
    """
    require(isinstance(name, str | Path), "dataset", name, "a known name or a path")
    dataset = _load(str(name), _directory(data_dir), reading)
    return dataset if validation is None else hold_out(dataset, validation)


def load_again(
    origin: Origin,
    validation: int | None = None,
    dataset: str | Path | None = None,
    reading: Reading = PLAIN,
    features: Sequence[Feature] = (),
) -> Dataset:
    """Loads the dataset of a run again, with the same splits, even if rows or files were added since.

    Args:
        origin: what the run keeps about the dataset.
        validation: as when the run began.
        dataset: its new name or path, if it has moved.
        reading: as when the run began.
        features: the columns that a table had when the run began, if they are known.

    Raises:
        ValueError: if rows or files of the run are missing; otherwise as ``load``.
        FileNotFoundError: as ``load``.
    """
    name, directory = str(origin.dataset if dataset is None else dataset), _directory(origin.data_dir)
    if origin.files is not None:
        path = _expanded(name, "dataset")
        require(path.is_dir(), "dataset", name, f"the folder that was {origin.dataset}; --dataset says where it is")
        return folders.load_folder(path, reading, origin.files)
    try:
        found = _load(name, directory, reading, origin.rows, features)
    except (ValueError, FileNotFoundError) as error:
        if dataset is None and Path(name).is_absolute() and not Path(name).exists():
            raise FileNotFoundError(f"the data aren't at {name} any more; --dataset says where they are now") from error
        if dataset is None and not (Path(name).exists() or _is_known(name, directory)):
            raise FileNotFoundError(f"the data, {name!r}, were in memory; give them again as dataset") from error
        raise
    return found if validation is None else hold_out(found, validation)


def origin_of(dataset: Dataset, data_dir: str | None = None) -> Origin:
    """Returns the origin of a dataset that was just loaded, from ``data_dir`` if it is a prepared one."""
    splits, name = dataset.splits, dataset.name
    known = name in BUNDLED or name in KNOWN or name in SOURCES or not Path(name).exists()
    return Origin(
        name if known else str(Path(name).absolute()),
        None if data_dir is None else str(Path(data_dir).expanduser().absolute()),
        {name: len(split) for name, split in splits.items()},
        {name: fingerprint(split) for name, split in splits.items()},
        {name: tuple(split.names.tolist()) for name, split in splits.items()} if dataset.of_files else None,
        dataset.apportioned or None,
    )


def _load(
    name: str, data_dir: Path, reading: Reading, rows: int | None = None, features: Sequence[Feature] = ()
) -> Dataset:
    if name in BUNDLED:
        require(reading == PLAIN, "dataset", name, "one of your own for flags that say how it is read")
        return BUNDLED[name].make()
    path = _expanded(name, "dataset")
    if name in KNOWN:
        return load_rows(name, reading, rows, features, known=True)
    if name not in SOURCES and path.is_dir() and (directory := prepared.prepared_at(path)):
        return prepared.read_prepared(name, directory, _sizing(name, reading))
    if path.exists() and is_table(path):
        return load_rows(path, reading, rows, features)
    if path.exists() or _is_known(name, data_dir):
        require_untabled(reading, name)
    if name not in SOURCES and path.is_dir():
        arrayed = any(path.glob("*.npy"))
        return arrays.load_arrays(path, reading, rows) if arrayed else folders.load_folder(path, reading)
    if path.suffix in (".npy", ".npz"):
        return arrays.load_arrays(path, reading, rows)
    directory = prepared.find_prepared(name, data_dir)
    if directory or builders.is_known(name):
        reading = _sizing(name, reading)
        return prepared.read_prepared(name, directory or builders.ensure(name, None, data_dir), reading)
    if path.exists():
        raise ValueError(f"{path} must be a .npy or .npz file or a folder, got a file of type {path.suffix!r}")
    raise ValueError(f"dataset must be a known name or a path that exists, got {name!r}; {_hint(name)}")


def _is_known(name: str, data_dir: Path) -> bool:
    """Returns whether a name, which isn't a path, is that of a dataset."""
    known = name in BUNDLED or name in KNOWN or builders.is_known(name)
    return known or prepared.find_prepared(name, data_dir) is not None


def _sizing(name: str, reading: Reading) -> Reading:
    """Returns the options that apply to a prepared dataset; raises ValueError if there are others."""
    found = dataclasses.replace(PLAIN, size=reading.size, grey=reading.grey)
    require(reading == found, "dataset", name, "one of your own for flags other than --size and --grey")
    return found


def _hint(name: str) -> str:
    known = [*BUNDLED, *KNOWN, *SOURCES]
    near = nearest(name, {*known, *survey()})
    asked = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{asked}known are {', '.join(known)}, and what tensorflow-datasets has"


def suggested(name: str) -> Mapping[str, Any]:
    """Returns the fields of ``TrainConfig`` for which a dataset suggests other defaults; most suggest none.

    >>> suggested("linear-gaussian")["likelihood"]
    'gaussian_learned'
    """
    return BUNDLED[name].suggested if name in BUNDLED else {}


def prepare(name: str, source: str | Path | None = None, data_dir: str | Path | None = None) -> Path:
    """Prepares a dataset of tensorflow-datasets, so that it loads quickly, and returns its folder.

    Args:
        name: a name that ``names`` lists, except the bundled ones, which needn't be prepared.
        source: a folder with the dataset's published files; None downloads them.
        data_dir: the folder of prepared datasets; by default, that of tensorflow-datasets.

    Raises:
        ValueError: for an unknown name, or if a file isn't the published one.
        FileNotFoundError: where files are missing, or can't be downloaded.
    """
    known = isinstance(name, str) and builders.is_known(name)
    require(known, "dataset", name, f"one of {', '.join(SOURCES)}, or another one of tensorflow-datasets")
    return builders.ensure(name, None if source is None else _expanded(source, "source"), _directory(data_dir))


class Entry(NamedTuple):
    """A dataset known by name, and whether it is already prepared."""

    name: str
    note: str
    prepared: bool


def names(data_dir: str | Path | None = None, everything: bool = False) -> list[Entry]:
    """Lists the datasets known by name: bundled, read here, and prepared in ``data_dir``.

    Args:
        data_dir: the folder of prepared datasets; by default, that of tensorflow-datasets.
        everything: whether to add all other datasets of images in tensorflow-datasets, each with what it needs.

    >>> names()[0]
    Entry(name='digits', note='1,797 handwritten digits, 8x8x1, bundled', prepared=True)
    """
    directory = _directory(data_dir)
    bundled = [Entry(name, x.note, True) for name, x in BUNDLED.items()]
    known = [Entry(name, f"a table: {x.note}", x.there) for name, x in KNOWN.items()]
    known += [Entry(name, x.note, prepared.find_prepared(name, directory) is not None) for name, x in SOURCES.items()]
    there = [name for name in prepared.all_prepared(directory) if name.partition("/")[0] not in SOURCES]
    beyond = catalog.beyond()
    found = [Entry(name, beyond[name].kind if name in beyond else "prepared here", True) for name in there]
    rest = [Entry(name, x.note, False) for name, x in beyond.items() if everything and name not in there]
    return [*bundled, *known, *found, *rest]


def _directory(data_dir: str | Path | None) -> Path:
    return prepared.default_data_dir() if data_dir is None else _expanded(data_dir, "data_dir")


def _expanded(path: str | Path, field: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{field} must be a path whose home is known, got {str(path)!r}") from None
