"""Runs in their directories: the trained model, the data, and scores."""

import dataclasses
import functools
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.arguments import require
from jaxvae.data import Dataset, Split, binarize, fingerprint, hold_out, load_again
from jaxvae.data.missing import observed_counts
from jaxvae.likelihoods import Bernoulli
from jaxvae.trained.model import TrainedModel
from jaxvae.training import Experiment, TrainConfig, make_experiment
from jaxvae.training.checkpoint import Checkpoints
from jaxvae.training.devices import data_mesh, one_device, put, replicated
from jaxvae.training.directory import RunDirectory, require_known_split, versions
from jaxvae.training.experiment import as_scored, model_for
from jaxvae.training.run import existing, read_checkpoints
from jaxvae.training.scoring import Posterior, Task, log_evidence, posterior, score_keys


class Run:
    """A run of ``training.train`` with its model and its data, which are read only if necessary.

    Args:
        path: the run's directory.
        best: whether to use the best parameters on the validation split, if there is one; False for the last ones.
        dataset: the path of the data, if they have moved; or the data themselves, if they were in memory.

    Attributes:
        directory: the run's directory with its files.
        model: the model with its parameters.

    Raises:
        ValueError: if there is no run, or no checkpoint yet; or if the data can't be read of a run of an older version,
            which stored too little about them.
    """

    def __init__(self, path: str | Path, *, best: bool = True, dataset: str | Path | Dataset | None = None) -> None:
        self.directory = directory = RunDirectory(Path(path))
        config, kept = directory.config(), directory.kept()
        self._config, self._dataset, self._split_is_known = config, dataset, True

        def read(checkpoints: Checkpoints) -> tuple[int, Any, float | None]:
            step = existing(checkpoints.best if best else checkpoints.last, directory.path)
            return step, *checkpoints.restore_model(step)

        step, params, fitted = read_checkpoints(directory, read)
        if kept is None:
            experiment = _made_again(directory.path, config, dataset)
            kept = experiment.kept
            self._split_is_known = not kept.origin.split_by_name
            raw = experiment.fitted(params)
            require_known_split(raw is None or self._split_is_known, directory.path)
        else:
            raw = None if fitted is None else jnp.float32(fitted)
        self._origin = kept.origin
        module, own = model_for(config, kept.contract, kept.mean), {"params": params["params"]}
        self.model = TrainedModel(config, kept.contract, module, own, raw, step, kept.mean)

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self.directory.path

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of images in each split."""
        return self._origin.counts

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data of the training, loaded again; it warns if a given path has other images.

        Raises:
            ValueError: if the images of a scored split have changed, or the run doesn't know which they were.
            FileNotFoundError: if the data are missing.
        """
        require_known_split(self._split_is_known, self.path)
        config, given = self._config, self._dataset
        if isinstance(given, Dataset):
            loaded = given if config.validation is None else hold_out(given, config.validation)
        else:
            columns = self.model.contract.columns
            loaded = load_again(self._origin, config.validation, given, config.reading, columns)
        shape, wanted = loaded.image_shape, self.model.contract.image_shape
        require(shape == wanted, "dataset", f"images of {shape}", f"of images {wanted}, as in training")
        names, known = loaded.class_names, self.model.contract.class_names
        same = not config.conditional or names == known
        require(same, "dataset", f"classes {', '.join(names)}", f"of classes {', '.join(known)}, as in training")
        pixels = binarize(loaded, config.binarization, seed=0)
        for name, split in pixels.splits.items():
            if name != "train" and (change := self._origin.change(name, len(split), fingerprint(split))):
                allowed = "those of the training, or others by --dataset, which says where they are"
                require(given is not None, "data", change, allowed)
                logging.getLogger("jaxvae").warning("the data aren't those of the training: %s", change)
        return loaded

    @functools.cached_property
    def scored(self) -> Mapping[str, Split]:
        """The validation split, if there is one, and the test split, as they are scored; raises as ``dataset``."""
        dataset = binarize(self.dataset, self._config.binarization, seed=0)
        splits = as_scored(dataset, self._config.binarization, 1)
        return {name: split for name, split in splits.items() if name != "train"}

    def split(self, name: str) -> Split:
        """Returns a split of ``scored``; raises ValueError if there is none of this name, and errors as ``dataset``."""
        require(name in self.scored, "split", name, " or ".join(self.scored))
        return self.scored[name]

    def task(self, name: str) -> Task:
        """Returns the evaluation of the model on a split."""
        model, mesh = self.model, data_mesh(jax.device_count())
        params = put(replicated(mesh), model.params)
        return Task(model.module, params, self.split(name), model.contract.seen_levels, mesh, model.fitted)

    def posterior(self, name: str = "test") -> Posterior:
        """q(z|x), its KL, and log p(x|z) under one sample of it, for every image of a split; raises as ``split``."""
        return posterior(self.task(name), score_keys()[1])


def _made_again(path: Path, config: TrainConfig, dataset: str | Path | Dataset | None) -> Experiment:
    """Makes the experiment again of a run of an older version, which stored too little about its data."""
    if isinstance(dataset, str | Path):
        config = dataclasses.replace(config, dataset=str(dataset))
    try:
        return make_experiment(config, one_device(), dataset=dataset if isinstance(dataset, Dataset) else None)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{path} is of an older version, which did not store what it needs of its data, and these can't be read "
            f"({error}); --dataset says where they are"
        ) from error


def evaluate(run: Run, samples: int, split: str = "test") -> dict[str, Any]:
    """Scores a run: ELBO and its terms, active units, KL per latent, importance-sampled NLL; nats per image.

    If entries may be missing, all these are of the observed ones, and the result has their mean number per image.

    The result also has the split, the numbers of images and samples, the step of the parameters, and, as ``of``, the
    configuration, a fingerprint of the scored images and labels, and the versions.

    Args:
        run: the run.
        samples: the number of importance samples, K, at least 1.
        split: ``test`` or ``validation``.

    Raises:
        ValueError: for a split that the data don't have, or no samples.
    """
    require(samples >= 1, "samples", samples, "at least 1")
    task, keys, model = run.task(split), score_keys()[1:], run.model
    terms = posterior(task, keys[0])
    result: dict[str, Any] = {
        "split": split,
        "images": len(task.split),
        "step": model.step,
        **terms.summary(),
        "samples": samples,
        "of": {
            "config": json.loads(model.config.to_json()),
            "data": fingerprint(task.split),
            "versions": versions(),
        },
    }
    result |= log_evidence(task, keys[1], samples).summary()
    likelihood, contract = model.module.likelihood, model.contract
    entries: float = math.prod(contract.image_shape)
    if contract.missing:
        entries = float(np.mean(observed_counts(task.split.images)))
        result |= {"observed_entries": entries, "nll_per_observed_entry": result["nll"] / entries}
    if likelihood.discrete and (contract.binary or not isinstance(likelihood, Bernoulli)):
        result["bits_per_dimension"] = result["nll"] / (entries * math.log(2))
    result["kl_per_latent"] = [round(float(x), 6) for x in terms.kl.mean(axis=0, dtype=np.float64)]
    return result
