"""The directory of a run: file names, write locks, configuration, versions, metrics and reports."""

import dataclasses
import importlib.metadata
import io
import json
import logging
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxvae._version import __version__
from jaxvae.arguments import require
from jaxvae.data import DataContract, Origin, contract_from_mapping, origin_from_mapping, require_apart
from jaxvae.data.arrays import read_fields
from jaxvae.files import naming, only_writer, read_file, require_free, write_atomically
from jaxvae.interop import load_safetensors, save_safetensors
from jaxvae.texts import strict_json
from jaxvae.training.agreement import failing_together
from jaxvae.training.config import CHANGEABLE, TrainConfig, read_config
from jaxvae.training.devices import cores

CONFIG, VERSIONS, METRICS = "config.json", "versions.json", "metrics.jsonl"
CONTRACT, ORIGIN, MEAN = "contract.json", "data.json", "mean.npy"
START, CHANGES = "start.safetensors", "changes.json"
CHECKPOINTS = "checkpoints"

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_DRAWN = ("jax_enable_x64", "jax_default_prng_impl", "jax_threefry_partitionable")
"""Settings of JAX that change random numbers or dtypes; a run can't continue if one differs."""
_ROUNDED = ("jax_default_matmul_precision",)
"""Settings of JAX that change the last digits only."""


class RunDirectory:
    """The directory of a run, which need not exist yet; it knows each file's path and admits one writer at a time.

    Args:
        path: the directory.

    Attributes:
        path: the directory.
        metrics: the file with one record per epoch.
        checkpoints: the folder of checkpoints.
        tensorboard: the folder of TensorBoard's event files.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path = Path(path)
        self.metrics, self.checkpoints, self.tensorboard = path / METRICS, path / CHECKPOINTS, path / "tensorboard"
        self._config = path / CONFIG

    @property
    def holds_run(self) -> bool:
        """Whether a run has begun in the directory."""
        return self._config.exists()

    @property
    def has_checkpoint(self) -> bool:
        """Whether the run has been saved at least once."""
        return bool(self.steps)

    @property
    def steps(self) -> set[int]:
        """The steps of the run's checkpoints."""
        return {int(entry.name) for entry in self.checkpoints.glob("*") if entry.name.isdecimal()}

    def config(self) -> TrainConfig:
        """The configuration of the run; raises ValueError if there is no run."""
        require(self.holds_run, "run", str(self.path), f"a directory with a {CONFIG}")
        return read_config(self._config)

    def kept(self) -> "Kept | None":
        """What the run keeps of its data, or None for an older run, which kept nothing.

        Raises:
            ValueError: if a file is damaged.
        """
        if not (self.path / CONTRACT).exists():
            return None
        try:
            contract = read_contract(self.path / CONTRACT)
            origin = origin_from_mapping(json.loads(read_file(self.path / ORIGIN)))
            return Kept(contract, origin, np.array(read_fields(self.path / MEAN)[0]["images"]))
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{self.path} must have {CONTRACT}, {ORIGIN} and {MEAN} as written, got {error}") from None

    def records(self) -> list[dict[str, Any]]:
        """Returns one record per epoch; the list is empty before the first epoch ends."""
        return read_metrics(self.metrics)

    def report(self, name: str) -> Any:
        """Returns the report with this name, or None."""
        path = self.path / f"{name}.json"
        if not path.exists():
            return None
        try:
            return json.loads(read_file(path))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} must be JSON as written, got {error}") from None

    def write_report(self, name: str, found: Mapping[str, Any]) -> None:
        """Writes a report on the run, as JSON."""
        write_atomically(self.path / f"{name}.json", strict_json(found, indent=1) + "\n")

    @contextmanager
    def begun(
        self, config: TrainConfig, kept: "Kept", resume: bool, start: Mapping[str, np.ndarray] = MappingProxyType({})
    ) -> Iterator[Callable[[], None]]:
        """Keeps other writers out of the directory, and writes the configuration unless it is there already.

        Of several processes, the first one does it for all.

        Args:
            config: the run's.
            kept: what it keeps of its data.
            resume: whether there may be a run already; fields that may change then get the values given here.
            start: the initial parameters that aren't drawn at random.

        Yields:
            A function that raises FileNotFoundError if the directory was deleted or moved.

        Raises:
            ValueError: for a directory in use, or one with another configuration, other data or other settings of JAX;
                nothing is written then.
        """
        with ExitStack() as stack:
            claim = None
            with failing_together():
                if jax.process_index() == 0:
                    self._require_own(config, kept, resume)
                    claim = stack.enter_context(only_writer(self.path))
                    self._write_begun(config, kept, resume, start)
            yield (lambda: None) if claim is None else claim.require_held

    def _write_begun(self, config: TrainConfig, kept: "Kept", resume: bool, start: Mapping[str, np.ndarray]) -> None:
        """Writes the files that exist before the first step; the caller has locked out other writers."""
        if self._require_own(config, kept, resume):
            self._write_versions()
            write_atomically(self.path / ORIGIN, kept.origin.to_json())
            write_atomically(self.path / MEAN, _npy(kept.mean))
            write_atomically(self.path / CONTRACT, kept.contract.to_json())
            if start:
                save_safetensors(dict(start), self.path / START)
            write_atomically(self._config, config.to_json())
        elif changes := self._changed(config) | self._made_otherwise(warn=True):
            known = self.report(CHANGES.removesuffix(".json")) or []
            epoch = max((record["epoch"] for record in self.records()), default=0)
            text = json.dumps([*known, {"after_epoch": epoch, **changes}], indent=1)
            write_atomically(self.path / CHANGES, text + "\n")
            self._write_versions()
            write_atomically(self._config, config.to_json())

    def _write_versions(self) -> None:
        write_atomically(self.path / VERSIONS, json.dumps(versions(), indent=1) + "\n")

    def start(self) -> dict[str, np.ndarray]:
        """Returns the initial parameters that weren't drawn at random, by path."""
        path = self.path / START
        return load_safetensors(path) if path.exists() else {}

    def _changed(self, config: TrainConfig) -> dict[str, Any]:
        """Returns the changed fields, each with both values; raises ValueError if one must not change."""
        found, now = dataclasses.asdict(self.config()), dataclasses.asdict(config)
        done = max((record["epoch"] for record in self.records()), default=0)
        _require_changeable(found, now, self._config, done)
        return {name: [found[name], value] for name, value in now.items() if found[name] != value}

    def _made_otherwise(self, *, warn: bool = False) -> dict[str, Any]:
        """Returns the entries of ``versions`` that have changed, with both values; may raise as ``made_otherwise``."""
        return made_otherwise(self.report(VERSIONS.removesuffix(".json")) or {}, self.path / VERSIONS, warn=warn)

    def _require_own(self, config: TrainConfig, kept: "Kept", resume: bool) -> bool:
        """Whether a run begins here rather than continues; raises ValueError if neither is allowed."""
        if resume and self.holds_run:
            self._changed(config)
            self._made_otherwise()
            before = self.kept()
            require_known_split(before is not None or not kept.origin.split_by_name, self.path)
            changes = [] if before is None else before.origin.changes_to(kept.origin)
            require(not changes, "data", "; ".join(changes), f"as they were when {self.path} was started")
            return False
        require_apart(self.path, kept.origin.dataset)
        require_free(
            self.path, {VERSIONS, ORIGIN, MEAN, CONTRACT, START}, "a new or empty directory; or, to resume, a run's"
        )
        return True


def require_known_split(known: bool, path: Path) -> None:
    """Raises ValueError for an older run that doesn't know how its folder was split, if the split is needed."""
    require(known, "run", str(path), "one that knows which images it was trained on: train it again")


def read_contract(path: Path) -> DataContract:
    """Reads the contract in a JSON file; raises ValueError if there is none."""
    try:
        return contract_from_mapping(json.loads(read_file(path)))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} must be a contract as written, got {error}") from None


def _require_changeable(found: Mapping[str, Any], config: Mapping[str, Any], where: Path, done: int) -> None:
    """Raises ValueError if a field differs that must not, or if more epochs are done than the new number."""
    for name, value in config.items():
        allowed = f"{found[name]!r}, as in {where} (when resuming, only {', '.join(CHANGEABLE)} may change; for"
        allowed += " another change, start a new run from this one's weights, by --init-from)"
        require(found[name] == value or name in CHANGEABLE, name, value, allowed)
    require(config["epochs"] >= done, "epochs", config["epochs"], f"at least the {done} that are done")


class Kept(NamedTuple):
    """What a run keeps of its data, so that the model can be used without them.

    Attributes:
        contract: what data the model takes, and how.
        origin: where the data were, how they were split, and their fingerprint.
        mean: the mean image (H, W, C), at which the decoder started.
    """

    contract: DataContract
    origin: Origin
    mean: np.ndarray


def _npy(x: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, x)
    return content.getvalue()


def newest_run(folder: Path) -> Path:
    """Returns the directory of a folder's most recently saved run; raises ValueError if there is none."""
    found = [directory for path in folder.glob("*") if (directory := RunDirectory(path)).has_checkpoint]
    require(bool(found), "RUN", None, f"given: there is no run in {folder}")
    return max(found, key=lambda directory: directory.checkpoints.stat().st_mtime_ns).path


def evaluation(split: str) -> str:
    """Returns the name of the report on the scores of a split."""
    return f"evaluation-{split}"


def versions() -> dict[str, str]:
    """Returns what a run's numbers may depend on besides its configuration, such as the version of JAX."""
    device = jax.devices()[0]
    on_cores = {"cores": str(cores())} if device.platform == "cpu" else {}  # a sum has as many parts
    return {
        "jaxvae": __version__,
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
        "python": platform.python_version(),
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "processes": str(jax.process_count()),
        **on_cores,
        **{name: str(getattr(jax.config, name)) for name in (*_DRAWN, *_ROUNDED)},
    }


def made_otherwise(found: Any, where: Path, *, warn: bool = False) -> dict[str, Any]:
    """Returns the entries of ``versions`` that have changed, by name, each with the value then and now.

    Args:
        found: what ``versions`` returned then.
        where: the file that keeps it.
        warn: whether to warn that last digits may differ.

    Raises:
        ValueError: if random numbers or dtypes differ, so that a run can't continue.
    """
    require(isinstance(found, dict), str(where), found, "an object of texts")
    changes = {name: [found[name], now] for name, now in versions().items() if found.get(name, now) != now}
    for name, (then, now) in changes.items():
        require(name not in _DRAWN, name, now, f"{then!r}, as in {where}: other random numbers give other results")
    if changes and warn:
        texts = ", ".join(f"{name} is {now}, not {then}" for name, (then, now) in changes.items())
        logging.getLogger("jaxvae").warning("last digits may differ from those of an uninterrupted run: %s", texts)
    return changes


def required_versions() -> dict[str, str]:
    """Returns the versions and settings that must be the same in all processes that train as one."""
    apart = ("device", "processes", "cores")
    return {name: text for name, text in versions().items() if name not in apart}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads the records of a ``metrics.jsonl``, one per epoch; an incomplete last line is left out.

    Raises:
        ValueError: for a line that isn't a record.
    """
    whole = read_file(path).split(b"\n")[:-1] if path.exists() else []
    records = []
    for number, line in enumerate(whole, 1):
        try:
            record = json.loads(line)
            records.append({**record, "epoch": int(record["epoch"])})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}, must be an epoch's record, got {line[:40]!r}") from error
    return records


class MetricsLog:
    """Appends records to a ``metrics.jsonl`` and, on request, to TensorBoard.

    Args:
        path: the file.
        epoch: the last epoch whose record is kept; a killed run may have left later ones.
        tensorboard: the folder for TensorBoard's event files, or None.
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
    return strict_json(record) + "\n"


def _summary_writer(directory: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError("tensorboard needs the extra: pip install 'jaxvae[tensorboard]'") from error
    return SummaryWriter(str(directory))
