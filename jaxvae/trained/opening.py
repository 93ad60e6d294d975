"""``jv.load``, which reads a trained model from a run, an export or the hub."""

from pathlib import Path

from jaxvae.trained import hub
from jaxvae.trained.exports import Exported, is_exported, read_exported
from jaxvae.trained.model import TrainedModel
from jaxvae.trained.runs import Run


def load_model(path: str | Path, *, best: bool = True, dataset: str | Path | None = None) -> TrainedModel:
    """Loads a trained model; its data are not needed.

    Args:
        path: the directory of a run of ``jaxvae train``, a folder of ``jaxvae export``, or ``hf://owner/name``.
        best: whether to load a run's best parameters on its validation split, if there is one; False for the last ones.
        dataset: the path of the data, for a run of an older version, which stored too little about them.

    Raises:
        ValueError: if there is no such model.
        ImportError: for a model from the hub, without huggingface_hub.
    """
    return open_model(path, best=best, dataset=dataset).model


def open_model(path: str | Path, *, best: bool = True, dataset: str | Path | None = None) -> Run | Exported:
    """Opens a trained model with its run or export; arguments and errors are those of ``load_model``."""
    if str(path).startswith(hub.SCHEME):
        return read_exported(hub.pull(str(path)))
    path = Path(path).expanduser()
    return read_exported(path) if is_exported(path) else Run(path, best=best, dataset=dataset)
