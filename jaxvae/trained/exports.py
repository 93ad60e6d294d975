"""Exported models: folders of weights and JSON; reading them executes no code from them."""

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.arguments import require
from jaxvae.data import Dataset
from jaxvae.files import UNFINISHED, require_unwritten, write_atomically, written_together
from jaxvae.interop import load_safetensors, safetensors_metadata, save_safetensors
from jaxvae.texts import flag_words, known
from jaxvae.trained.model import TrainedModel
from jaxvae.trained.runs import Run
from jaxvae.training import TrainConfig, read_config
from jaxvae.training.directory import CONFIG, CONTRACT, evaluation, read_contract
from jaxvae.training.experiment import model_for
from jaxvae.training.start import path_name

WEIGHTS, CARD = "model.safetensors", "README.md"


class Exported(NamedTuple):
    """A model in an exported folder.

    Attributes:
        path: the folder.
        model: the model in it.
    """

    path: Path
    model: TrainedModel

    @property
    def dataset(self) -> Dataset:
        """Raises ValueError, because an exported model has no data."""
        raise ValueError(f"--data must be given: {self.path} is an exported model, which has no data of its own")


def export_run(run: Run, out: Path) -> None:
    """Writes a run's model into a new folder: config.json, contract.json, model.safetensors and a card, README.md.

    If it is killed, it can be called again for the same folder.

    Raises:
        ValueError: for a folder in use.
    """
    require_unwritten(out, (WEIGHTS, CARD, CONTRACT, CONFIG), "a new or empty directory")
    model = run.model
    data = {"mean": model.mean, "fitted": model.fitted}
    own = {name: np.asarray(x) for name, x in data.items() if x is not None}
    tensors = {"params": _named(model.params["params"]), **({"data": own} if own else {})}
    with written_together(out / UNFINISHED):
        save_safetensors(jax.device_get(tensors), out / WEIGHTS, {"step": str(model.step)})
        write_atomically(out / CARD, model_card(run))
        write_atomically(out / CONTRACT, model.contract.to_json())
        write_atomically(out / CONFIG, model.config.to_json())


def _named(tree: Any) -> Any:
    """Returns a tree of dicts only; members of a list get their numbers as names, as in paths."""
    if isinstance(tree, list | tuple):
        tree = {str(i): x for i, x in enumerate(tree) if x is not None}
    return {name: _named(x) for name, x in tree.items()} if isinstance(tree, Mapping) else tree


def is_exported(path: Path) -> bool:
    """Returns whether ``export_run`` wrote a folder."""
    return (path / WEIGHTS).is_file()


def read_exported(path: Path) -> Exported:
    """Reads the model in a folder of ``export_run``, bit for bit.

    Raises:
        ValueError: if a file was changed, or if the weights don't fit the configuration.
    """
    config, contract = read_config(path / CONFIG), read_contract(path / CONTRACT)
    tensors, about = load_safetensors(path / WEIGHTS), safetensors_metadata(path / WEIGHTS)
    data = tensors.pop("data", {})
    mean, fitted = data.get("mean"), data.get("fitted")
    module = model_for(config, contract, mean)
    x, key = jnp.zeros((1, *contract.image_shape)), jax.random.key(0)
    wanted = jax.eval_shape(lambda: module.init(key, x, key, module.none_given(1)))
    found, asked = ({path_name(k): x for k, x in jax.tree.leaves_with_path(tree)} for tree in (tensors, wanted))
    shapes = [{name: x.shape for name, x in some.items()} for some in (asked, found)]
    require(
        shapes[0] == shapes[1], f"{path / WEIGHTS}", sorted(shapes[1].items() ^ shapes[0].items())[:1], "of config.json"
    )
    raw = None if fitted is None else jnp.asarray(fitted)
    params = jax.device_put(jax.tree.map_with_path(lambda path, _: found[path_name(path)], wanted))
    model = TrainedModel(config, contract, module, params, raw, int(about.get("step", 0)), mean)
    return Exported(path, model)


def command_of(config: TrainConfig) -> str:
    """Returns the command that trains this configuration, with only the last part of a path to data."""
    given = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    default = {field.name: field.default for field in dataclasses.fields(config)}
    said = {name: x for name, x in given.items() if x != default[name] and name not in ("data_dir", "streaming")}
    if "dataset" in said:
        said["dataset"] = Path(config.dataset).name
    return shlex.join(["jaxvae", "train", *flag_words(said.items())])


def model_card(run: Run) -> str:
    """Describes the model in Markdown: its architecture, data, training, scores and use."""
    model, versions = run.model, run.directory.report("versions") or {}
    counts = ", ".join(f"{count:,} {name}" for name, count in run.counts.items())
    return f"""---
library_name: jaxvae
tags: [vae, jax]
---

# A variational autoencoder of {Path(model.config.dataset).stem}

{type(model.module).__name__} of {model.module.latents} latents, p(x|z) {model.config.likelihood}, \
σ by `{model.config.parameterization}`, after {model.step:,} steps.

- **Data:** {counts} {model.contract.description}.{_classes(model)}
- **Command:** `{command_of(model.config)}`
- **Versions:** {", ".join(f"{name} {version}" for name, version in versions.items())}

{_scores(run)}
```python
import jaxvae as jv

model = jv.load("this folder")
q = model.encode(images)
```
"""


def _classes(model: TrainedModel) -> str:
    names = model.contract.class_names
    return f" Classes: {', '.join(names)}." if names else ""


def _scores(run: Run) -> str:
    """Returns the table of the run's evaluations, or "" if there are none."""
    rows = [row for split in ("validation", "test") for row in _score(run, split)]
    noun = "row" if run.model.contract.features else "image"
    head = [f"| split | {noun}s | ELBO | NLL, nats per {noun} | importance samples |", "|---|---:|---:|---:|---:|"]
    return "\n".join([*head, *rows]) + "\n" if rows else ""


def _score(run: Run, split: str) -> list[str]:
    """Returns the table's line for a split; none if these parameters weren't scored on it."""
    found: Any = run.directory.report(evaluation(split))
    try:
        if found is None or found["step"] != run.model.step:
            return []
        elbo, nll, error = (known(found[name], 3) for name in ("elbo", "nll", "nll_standard_error"))
        return [f"| {split} | {found['images']:,} | {elbo} | {nll} ± {error} | {found['samples']:,} |"]
    except (KeyError, TypeError, ValueError) as error:
        path = run.directory.path / f"{evaluation(split)}.json"
        raise ValueError(f"{path} must be a score as written, got {error!r}") from None
