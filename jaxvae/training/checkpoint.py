"""Checkpoints of a run, written atomically in the background by orbax: the last ones and the best."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

FORMAT = 1
"""Of what a checkpoint holds; raised when that changes."""


class Checkpoints:
    """The checkpoints in a directory, by step.

    Kept are the last two, and the one with the highest score. A save that was killed leaves nothing that is read.

    Args:
        directory: made if need be, unless only read.
        writable: False to read only.
    """

    def __init__(self, directory: Path, *, writable: bool = True) -> None:
        policies = [
            checkpoint_managers.LatestN(2),
            checkpoint_managers.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
        ]
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
            best_fn=_score,
            create=writable,
            read_only=not writable,
        )
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
        """The step of the checkpoint with the highest score; the latest where none was scored."""
        return self._manager.best_step() or self.last

    def save(self, step: int, state: Any, score: float | None = None) -> None:
        """Copies the state, and writes it while training goes on.

        Args:
            step: under which it is found.
            state: a pytree of arrays.
            score: the higher the better, e.g. the ELBO on the validation split.
        """
        if step == self.last:
            return
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), format=ocp.args.JsonSave({"format": FORMAT}))
        self._manager.save(step, args=items, metrics=None if score is None else {"score": score})

    def restore(self, step: int, like: Any) -> Any:
        """The state saved at this step.

        Args:
            step: ``last`` or ``best``.
            like: a state of the same structure, for its shapes, dtypes and shardings.

        Raises:
            ValueError: for a checkpoint of another format.
        """
        items = ocp.args.Composite(format=ocp.args.JsonRestore())
        found = self._manager.restore(step, args=items)["format"]["format"]
        if found != FORMAT:
            raise ValueError(f"checkpoint format must be {FORMAT}, got {found} ({self._manager.directory})")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        return self._manager.restore(step, args=items)["state"]


def _score(metrics: Mapping[str, float]) -> float:
    score = metrics["score"]
    return -math.inf if math.isnan(score) else score
