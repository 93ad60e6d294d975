"""A run's directory: configuration, versions, metrics as JSON lines."""

import importlib.metadata
import json
import logging
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from jaxvae._version import __version__
from jaxvae.files import naming, write_atomically

CONFIG, VERSIONS, METRICS = "config.json", "versions.json", "metrics.jsonl"
CHECKPOINTS = "checkpoints"

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """What a run's numbers may depend on besides its configuration."""
    device = jax.devices()[0]
    return {
        "jaxvae": __version__,
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
        "python": platform.python_version(),
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "processes": str(jax.process_count()),
    }


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a ``metrics.jsonl``, one per epoch; a last line that was cut off is left out.

    Raises:
        ValueError: for a line that isn't a record.
    """
    whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    records = []
    for number, line in enumerate(whole, 1):
        try:
            record = json.loads(line)
            records.append({**record, "epoch": int(record["epoch"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}, line {number}, must be an epoch's record, got {line[:40]!r}") from error
    return records


class MetricsLog:
    """Appends records to a ``metrics.jsonl``, and to TensorBoard where asked.

    Args:
        path: the file.
        epoch: records of later epochs, left by a run that was killed, are dropped.
        tensorboard: where TensorBoard's event files go, or None.
    """

    def __init__(self, path: Path, epoch: int, tensorboard: Path | None = None) -> None:
        records = [record for record in read_metrics(path) if record["epoch"] <= epoch]
        missing = {*range(1, epoch + 1)} - {record["epoch"] for record in records}
        if missing:
            logging.getLogger("jaxvae").warning("%s lacks %d of the first %d epochs", path, len(missing), epoch)
        write_atomically(path, "".join(_line(record) for record in records))
        self._path, self._file = path, path.open("a")
        self._writer = None
        if tensorboard is not None:
            self._writer = _summary_writer(tensorboard)

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes one epoch's record."""
        with naming(self._path):
            self._file.write(_line(record))
            self._file.flush()
        if self._writer is not None:
            for name, value in record.items():
                self._writer.add_scalar(name, value, record["step"])

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with naming(self._path):
            self._file.close()
        if self._writer is not None:
            self._writer.close()


def _line(record: Mapping[str, Any]) -> str:
    """Strict JSON, which has no NaN: null stands for it."""
    finite = {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in record.items()}
    return json.dumps(finite, allow_nan=False) + "\n"


def _summary_writer(directory: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError("tensorboard needs the extra: pip install 'jaxvae[tensorboard]'") from error
    return SummaryWriter(str(directory))
