"""Datasets that tensorflow-datasets has prepared, or prepares here, without TensorFlow.

A prepared dataset is a folder of records. They are read once, in their order, and kept beside the records as .npy
files, which later load at once, mapped into memory.
"""

import errno
import hashlib
import io
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.arguments import require
from jaxvae.data import arrays
from jaxvae.data.catalog import SOURCES
from jaxvae.data.dataset import Dataset, assemble

_CACHE = "arrays"


def default_data_dir() -> Path:
    """Where tensorflow-datasets keeps its data: ``TFDS_DATA_DIR``, else ``~/tensorflow_datasets``."""
    path = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # a user that isn't known
        raise ValueError(f"TFDS_DATA_DIR must be a folder, got {path!r} ({error})") from None


def find_prepared(name: str, data_dir: Path) -> Path | None:
    """The folder of a dataset's newest prepared version, if there is one."""
    config = SOURCES[name].config if name in SOURCES else ""
    versions = [file.parent for file in (data_dir / name / config).glob("*/dataset_info.json")]
    numbered = [d for d in versions if all(part.isdecimal() for part in d.name.split("."))]
    return max(numbered, key=lambda d: [int(part) for part in d.name.split(".")], default=None)


def read_prepared(name: str, directory: Path) -> Dataset:
    """The dataset in a prepared folder, by way of the .npy files in it, which are made if there are none."""
    cached = (directory / _CACHE).is_dir()
    fields = arrays.read_fields(directory / _CACHE)[0] if cached else _read_records(directory, name)
    images = {key.removesuffix("_images"): x for key, x in fields.items() if key.endswith("_images")}
    labels = {key.removesuffix("_labels"): x for key, x in fields.items() if key.endswith("_labels")}
    return assemble(name, images, labels, _levels(name), class_names=_class_names(directory))


def _class_names(directory: Path) -> tuple[str, ...]:
    """As tensorflow-datasets has written them; none where it has none, or numbers alone."""
    file = directory / "label.labels.txt"
    names = tuple(file.read_text(encoding="utf-8").split("\n")) if file.exists() else ()
    names = names[:-1] if names and not names[-1] else names
    return () if names == tuple(map(str, range(len(names)))) else names


def _levels(name: str) -> int:
    return SOURCES[name].levels if name in SOURCES else 256


def ensure(name: str, source: Path | None, data_dir: Path) -> Path:
    """Prepares a dataset with tensorflow-datasets, and returns its folder; does nothing where this is done.

    Args:
        name: one of SOURCES.
        source: a folder with the published files, or None to download them.
        data_dir: where prepared datasets are.

    Raises:
        FileNotFoundError: where files are missing, or can't be downloaded.
        ValueError: where a file is not the one that tensorflow-datasets has registered.
    """
    if directory := find_prepared(name, data_dir):
        return directory
    builder = _builder(name, data_dir)
    urls = {info.filename: (url, info) for url, info in builder.url_infos.items()}
    if source is not None:
        _check_files(name, source, {file: urls[file][1].checksum for file in SOURCES[name].files})
    else:
        _check_network(name, urls[SOURCES[name].files[0]][0])
    _run(name, builder, source)
    read_prepared(name, directory := Path(builder.data_dir))
    return directory


def _check_files(name: str, source: Path, checksums: dict[str, str]) -> None:
    missing = [file for file in checksums if not (source / file).is_file()]
    if missing:
        raise FileNotFoundError(f"{name} can't be prepared from {source}: there is no {', no '.join(missing)}")
    for file, expected in checksums.items():
        with (source / file).open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        require(found == expected, f"{source / file}: sha256", found, f"{expected}, that of {name}'s {file}")


def _unavailable(name: str, reason: object) -> FileNotFoundError:
    why = str(reason).partition("\n")[0]
    return FileNotFoundError(
        f"{name} isn't prepared and can't be downloaded ({why}); put {', '.join(SOURCES[name].files)} "
        f"into a folder and run: jaxvae data prepare {name} --from FOLDER"
    )


def _check_network(name: str, url: str) -> None:
    """One quick request, since tensorflow-datasets tries for minutes."""
    import requests

    try:
        with requests.get(url, stream=True, timeout=5) as response:
            response.raise_for_status()
    except requests.HTTPError as error:
        raise _unavailable(name, error) from None
    except requests.RequestException as error:
        raise _unavailable(name, f"no connection to {url}: {type(error).__name__}") from None


def _builder(name: str, data_dir: Path) -> Any:
    """A builder of tensorflow-datasets whose raw files are read by SOURCES' reader, where its own needs TensorFlow."""
    import tensorflow_datasets as tfds  # type: ignore[import-untyped]
    from PIL import Image

    base = tfds.builder_cls(name)

    class Builder(base, skip_registration=True):  # type: ignore[call-arg, misc, valid-type]
        name = base.name
        url_infos = base.url_infos

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple]]:
            urls = {info.filename: url for url, info in self.url_infos.items()}
            files = dl_manager.download({file: urls[file] for file in SOURCES[name].files})
            splits, names = SOURCES[name].read({file: Path(path) for file, path in files.items()})
            for feature, classes in names.items():
                self.info.features[feature].names = classes
            return {split: self._generate_examples(examples) for split, examples in splits.items()}

        def _generate_examples(self, examples: Iterator[tuple]) -> Iterator[tuple]:
            for key, example in examples:
                image = example["image"]
                yield key, {**example, "image": Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)}

    return Builder(data_dir=data_dir, config=SOURCES[name].config or None, file_format="array_record")


def _run(name: str, builder: Any, source: Path | None) -> None:
    import requests
    import tensorflow_datasets as tfds

    config = tfds.download.DownloadConfig(manual_dir=source, force_checksums_validation=True, try_download_gcs=False)
    scratch = tempfile.mkdtemp() if source is not None else None  # nothing to keep of what is there already
    try:
        builder.download_and_prepare(download_dir=scratch, download_config=config)
    except (
        requests.RequestException,
        tfds.download.DownloadError,
        tfds.download.download_manager.NonMatchingChecksumError,
    ) as error:
        raise _unavailable(name, error) from None
    finally:
        if scratch:
            shutil.rmtree(scratch)


def _read_records(directory: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of the splits in a prepared folder, which are then kept in it as .npy files."""
    import tensorflow_datasets as tfds
    from PIL import Image

    info = tfds.builder_from_directory(directory).info
    missing = [s for s in ("train", "test") if s not in info.splits]
    require(not missing, f"{directory}: splits", sorted(info.splits), f"train and test, at least; no {missing}")
    shape, dtype = info.features["image"].shape, info.features["image"].np_dtype
    plain = None not in shape and shape[-1] in (1, 3) and dtype == np.uint8
    require(plain, f"{directory}: images", f"{shape} {dtype}", "uint8 of one size, of 1 or 3 channels")
    labelled = "label" in info.features and isinstance(info.features["label"], tfds.features.ClassLabel)
    fields = {}
    for split in (s for s in arrays.SPLITS if s in info.splits):
        count = info.splits[split].num_examples
        fields[f"{split}_images"] = images = np.empty((count, *shape), np.uint8)
        labels = np.empty(count, np.int32)
        for i, record in zip(range(count), _records(info, split), strict=True):
            example = info.features.deserialize_example_np(record, decoders={"image": tfds.decode.SkipDecoding()})
            image = Image.open(io.BytesIO(example["image"])).convert("L" if shape[-1] == 1 else "RGB")
            images[i] = np.asarray(image).reshape(shape)
            if labelled:
                labels[i] = example["label"]
        if labelled:
            fields[f"{split}_labels"] = labels
    fields = _compact(fields, _levels(name))
    _keep(fields, directory)
    return fields


def _compact(fields: dict[str, np.ndarray], levels: int) -> dict[str, np.ndarray]:
    """Three equal channels become one, and 0/255 becomes 0/1 where there are two levels."""
    images = {key: x for key, x in fields.items() if key.endswith("images")}
    if all(bool(np.all(x == x[..., :1])) for x in images.values()):
        images = {key: x[..., :1] for key, x in images.items()}
    if levels == 2:
        images = {key: (x > 0).astype(np.uint8) for key, x in images.items()}
    return {**fields, **images}


def _records(info: Any, split: str) -> Iterator[bytes]:
    """The records of a split in order, undecoded."""
    import tensorflow_datasets as tfds

    if info.file_format.value == "tfrecord":
        yield from itertools.chain.from_iterable(_tfrecords(Path(path)) for path in info.splits[split].filepaths)
    else:
        builder = tfds.builder_from_directory(info.data_dir)
        yield from builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)


def _tfrecords(path: Path) -> Iterator[bytes]:
    """The records of a .tfrecord file: little-endian uint64 length, its CRC (4 bytes), data, their CRC (4 bytes)."""
    with path.open("rb") as file:
        while head := file.read(12):
            length = int.from_bytes(head[:8], "little")
            yield file.read(length)
            file.read(4)


def _keep(fields: dict[str, np.ndarray], directory: Path) -> None:
    """Writes the arrays as .npy files, all or nothing; nowhere, where the folder is read-only."""
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f"{_CACHE}.", dir=directory))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        return
    try:
        for key, x in fields.items():
            np.save(scratch / f"{key}.npy", x)
        scratch.chmod(directory.stat().st_mode & 0o777)
        scratch.rename(directory / _CACHE)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # as where another process was faster
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
