"""``jv.load``: a trained model from wherever it is kept."""

from pathlib import Path

from jaxvae.trained.model import TrainedModel
from jaxvae.trained.runs import Run


def load_model(path: str | Path, *, best: bool = True, dataset: str | Path | None = None) -> TrainedModel:
    """A trained model; its data aren't needed.

    Args:
        path: the directory of a run of ``jaxvae train``.
        best: False for the last parameters, rather than those that scored best on the validation split, if there is
            one.
        dataset: where the data are, for a run of before runs kept what they need of them.

    Raises:
        ValueError: where there is no such model.
    """
    return Run(path, best=best, dataset=dataset).model
