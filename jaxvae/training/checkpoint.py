"""Checkpoints of a run: orbax writes the last ones and the best, atomically and in the background."""

import hashlib
import json
import logging
import math
import sys
from collections import namedtuple
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint import checkpoint_managers

from jaxvae.arguments import require
from jaxvae.files import synchronize, write_atomically
from jaxvae.training.config import CHANGEABLE, TrainConfig
from jaxvae.training.step import TrainState

FORMAT = 2
"""The version of a checkpoint's content; it is raised when that content changes."""

DAMAGED = "damaged"
"""The directory for damaged checkpoints, beside that of the others."""

_DIGESTS = "digests.json"
_UNSCORED = -sys.float_info.max  # below all scores, and a number in JSON


class Checkpoints:
    """The checkpoints in a directory, by step.

    The last two are kept, and the best one if checkpoints are scored. If a save is killed, its files are never read.
    Each checkpoint holds the SHA-256 of its files. A damaged checkpoint is moved away with a warning, and the run
    continues from the one before; commands that only read refuse it.

    Args:
        directory: the directory, which is made if necessary, unless it is only read.
        config: the run's configuration as in JSON; checkpoints of another configuration are refused.
        scored: whether each save comes with a score.
        writable: whether checkpoints may be written; False to only read.

    Raises:
        ValueError: for a checkpoint of another format; for a damaged one, unless writable.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any], *, scored: bool, writable: bool = True) -> None:
        self._directory, self._config, self._scored = directory.absolute(), dict(config), scored
        self._saving = -1
        self._check(writable)
        policies: list[checkpoint_managers.PreservationPolicy] = [checkpoint_managers.LatestN(2)]
        if scored:
            policies.append(checkpoint_managers.BestN(get_metric_fn=_score, n=1))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
            best_fn=_score if scored else None,
            create=writable,
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._add_digests),
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options, item_names=("state", "format"))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.close()  # waits for the current save

    def wait(self) -> None:
        """Waits until all checkpoints are on the disk."""
        self._manager.wait_until_finished()

    @property
    def last(self) -> int | None:
        """The step of the latest checkpoint, or None."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """The step of the checkpoint with the highest score, or of the latest if they have no scores."""
        return self._manager.best_step() if self._scored else self.last

    def save(self, step: int, state: Any, score: float | None = None, fitted: float | None = None) -> None:
        """Copies the state and writes it in the background.

        Args:
            step: the state's step; if it is saved already, nothing is done.
            state: a pytree of arrays.
            score: a number that is better if higher, such as the ELBO on the validation split; None for a save in
                between.
            fitted: the likelihood's scalar, if it is fitted to the data.
        """
        if step == self.last:
            return
        self.wait()
        self._saving = step
        own = jax.tree.map(jnp.copy, _stored(state))  # because the next step donates the state
        about = {"format": FORMAT, "config": self._config, "fitted": fitted}
        items = ocp.args.Composite(state=ocp.args.StandardSave(own), format=ocp.args.JsonSave(about))
        metrics = {"score": _UNSCORED if score is None else score} if self._scored else None
        self._manager.save(step, args=items, metrics=metrics)

    def restore(self, step: int, like: Any) -> Any:
        """Returns the state saved at this step.

        Args:
            step: from ``last`` or ``best``.
            like: the shapes, dtypes and shardings of the state, in its structure.

        Raises:
            ValueError: for a checkpoint of another configuration.
        """
        self._about(step)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(_stored(like)))
        return _loaded(self._manager.restore(step, args=items)["state"])

    def restore_model(self, step: int) -> tuple[Any, float | None]:
        """Returns the parameters to evaluate at this step, on one device, and the likelihood's fitted scalar.

        Raises:
            ValueError: for a checkpoint of another configuration.
        """
        fitted, folder = self._about(step).get("fitted"), epath.Path(self._directory / str(step) / "state")
        reader = ocp.PyTreeCheckpointHandler()
        saved = reader.metadata(folder).tree["state"]
        name = "params" if saved["ema"] is None else "ema"
        here = SingleDeviceSharding(jax.local_devices()[0])
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), saved[name])
        wanted = {"state": {name: like}}
        how = ocp.args.PyTreeRestore(
            wanted, restore_args=ocp.checkpoint_utils.construct_restore_args(wanted), partial_restore=True
        )
        return reader.restore(folder, args=how)["state"][name], fitted

    def _about(self, step: int) -> dict[str, Any]:
        """Returns the notes on the state saved at this step; raises ValueError for another configuration."""
        items = ocp.args.Composite(format=ocp.args.JsonRestore())
        about: dict[str, Any] = self._manager.restore(step, args=items)["format"]
        for name, value in {**_defaults(self._config), **about["config"]}.items():
            found = self._config.get(name)
            require(
                found == value or name in CHANGEABLE, name, found, f"{value!r}, as in {self._directory / str(step)}"
            )
        return about

    def _check(self, writable: bool) -> None:
        """Checks all checkpoints before anything reads them."""
        if jax.process_index() == 0 and self._directory.exists():
            for path in self._directory.iterdir():
                if path.name.isdigit() and (reason := _damage(path)) and path.exists():  # a run may delete it
                    message = f"checkpoint must be as it was written, got {str(path)!r}: {reason}"
                    if not writable:
                        raise ValueError(f"{message}; with --resume, the run continues from the previous checkpoint")
                    logging.getLogger("jaxvae").warning("%s; moved to damaged/", message)
                    _put_aside(path, self._directory.with_name(DAMAGED))
        multihost_utils.sync_global_devices("checkpoints are checked")

    def _add_digests(self) -> None:
        """Adds the digests when all files are written, just before the checkpoint gets its name."""
        if jax.process_index() == 0:
            final = epath.Path(self._directory / str(self._saving))
            # On file systems that can rename, orbax writes here until the checkpoint is complete.
            path = Path(ocp.path.atomicity.AtomicRenameTemporaryPath.from_final(final).get())
            for written in path.glob("*/**/*"):
                synchronize(written)
            write_atomically(path / _DIGESTS, json.dumps(_digests(path), indent=1) + "\n")


_Stateless = namedtuple("_Stateless", ("step", "params", "opt_state", "ema", "key", "skipped", "skipped_in_row"))
"""A train state without a model state, as it is stored, so that older checkpoints can still be read."""


def _stored(tree: Any) -> Any:
    return _replaced(TrainState, lambda x: _Stateless(*x[:-1]) if x.model_state is None else x, tree)


def _loaded(tree: Any) -> Any:
    return _replaced(_Stateless, lambda x: TrainState(*x), tree)


def _replaced(kind: type, change: Callable[[Any], Any], tree: Any) -> Any:
    return jax.tree.map(lambda x: change(x) if isinstance(x, kind) else x, tree, is_leaf=lambda x: isinstance(x, kind))


def _score(metrics: Mapping[str, float]) -> float:
    return metrics["score"] if math.isfinite(metrics["score"]) else _UNSCORED


def _digests(checkpoint: Path) -> dict[str, str]:
    """Returns the SHA-256 of all files in a checkpoint's folders; the files beside them are orbax's own notes."""
    found = {}
    for path in sorted(checkpoint.glob("*/**/*")):
        if path.is_file():
            with path.open("rb") as file:
                found[str(path.relative_to(checkpoint))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _damage(checkpoint: Path) -> str | None:
    """Returns what is wrong with a checkpoint, or None; raises ValueError for another format."""
    wanted, found = _json(checkpoint / _DIGESTS), _digests(checkpoint)
    about = _json(checkpoint / "format" / "metadata")
    if isinstance(about, dict) and wanted in (None, found):  # older formats have no digests
        require(about.get("format") == FORMAT, "checkpoint format", about.get("format"), f"{FORMAT} ({checkpoint})")
    if wanted == found:
        return None
    wanted = wanted if isinstance(wanted, dict) else {}
    differing = {name for name in wanted if wanted[name] != found.get(name)}  # added files are no damage
    if wanted and not differing:
        return None
    return f"{min(differing) if wanted else _DIGESTS} is damaged"


def _defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns defaults for the fields that a checkpoint of an older version may lack."""
    known = json.loads(TrainConfig().to_json())
    return {name: known[name] for name in config if name in known}


def _json(path: Path) -> Any:
    """Returns the content of a JSON file, or None if it can't be read."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def _put_aside(path: Path, aside: Path) -> None:
    aside.mkdir(exist_ok=True)
    taken = sum(1 for other in aside.iterdir() if other.name.split("-")[0] == path.name)
    path.replace(aside / (f"{path.name}-{taken + 1}" if taken else path.name))
