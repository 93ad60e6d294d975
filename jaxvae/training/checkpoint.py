"""Checkpoints of a run, written atomically in the background by orbax: the last ones and the best."""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from jaxvae.transforms import require

FORMAT = 1
"""Of what a checkpoint holds; raised when that changes."""

_UNSCORED = -sys.float_info.max  # below all others, and a number in JSON


class Checkpoints:
    """The checkpoints in a directory, by step.

    Kept are the last two, and, where they are scored, the best one. A save that was killed leaves nothing that is
    read.

    Args:
        directory: made if need be, unless only read.
        scored: whether each save comes with a score.
        writable: False to read only.
    """

    def __init__(self, directory: Path, *, scored: bool, writable: bool = True) -> None:
        policies: list[checkpoint_managers.PreservationPolicy] = [checkpoint_managers.LatestN(2)]
        if scored:
            policies.append(checkpoint_managers.BestN(get_metric_fn=_score, n=1))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
            best_fn=_score if scored else None,
            create=writable,
        )
        self._scored = scored
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options, item_names=("state", "format"))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.close()  # waits for the save under way

    @property
    def last(self) -> int | None:
        """The step of the latest checkpoint."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """The step of the checkpoint with the highest score; the latest where they aren't scored."""
        return self._manager.best_step() if self._scored else self.last

    def save(self, step: int, state: Any, score: float | None = None) -> None:
        """Copies the state, and writes it while training goes on.

        Args:
            step: under which it is found; nothing is done where it is already there.
            state: a pytree of arrays.
            score: the higher the better, e.g. the ELBO on the validation split; none for a save in between.
        """
        if step == self.last:
            return
        own = jax.tree.map(jnp.copy, state)  # the state itself is about to be donated
        items = ocp.args.Composite(state=ocp.args.StandardSave(own), format=ocp.args.JsonSave({"format": FORMAT}))
        metrics = {"score": _UNSCORED if score is None else score} if self._scored else None
        self._manager.save(step, args=items, metrics=metrics)

    def restore(self, step: int, like: Any) -> Any:
        """The state saved at this step.

        Args:
            step: ``last`` or ``best``.
            like: shapes, dtypes and shardings, in a state's structure.

        Raises:
            ValueError: for a checkpoint of another format.
        """
        items = ocp.args.Composite(format=ocp.args.JsonRestore())
        found = self._manager.restore(step, args=items)["format"]["format"]
        require(found == FORMAT, "checkpoint format", found, f"{FORMAT} ({self._manager.directory / str(step)})")
        items = ocp.args.Composite(state=ocp.args.StandardRestore(like))
        return self._manager.restore(step, args=items)["state"]


def _score(metrics: Mapping[str, float]) -> float:
    return metrics["score"] if math.isfinite(metrics["score"]) else _UNSCORED
