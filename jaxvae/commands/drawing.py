"""Pictures of a model, or rows of a table in their place."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxvae.commands.output import print_lines, save_figure

if TYPE_CHECKING:
    import numpy as np

    from jaxvae.data import DataContract, Split, Unsplit
    from jaxvae.trained import TrainedModel


def shown_in(model: "TrainedModel", name: str) -> str:
    """Returns the name of the file that shows images as a picture, or a table's rows as text."""
    return f"{name}{'.csv' if model.contract.features else '.png'}"


def some_of(x: Any, rows: Any) -> Any:
    """Returns x[rows], or None for None."""
    return None if x is None else x[rows]


def repeated_covariates(split: "Split", count: int) -> "np.ndarray | None":
    """Returns the covariates of the first images, repeated if there are fewer than ``count``."""
    import numpy as np

    return some_of(split.covariates, np.arange(count) % len(split))


def write_samples(
    model: "TrainedModel",
    count: int,
    seed: int,
    out: Path,
    label: str | None = None,
    covariates: "np.ndarray | None" = None,
) -> str:
    """Writes means of sampled images, or rows drawn from p(x), with any classes and covariates."""
    import jax
    import numpy as np

    from jaxvae import plots

    contract = model.contract
    images = model.sample(jax.random.key(seed), count, label, covariates, drawn=bool(contract.features))
    if not contract.features:
        return save_figure(plots.image_grid(_drawn(model, images), title="Samples: E[x|z], z ~ p(z)"), out)
    numbers = None
    if contract.conditional:
        numbers = np.arange(count) % contract.classes if label is None else np.full(count, contract.label(label))
    return write_drawn_rows(out, model, images, columns_beside(model, numbers, covariates))


def _drawn(model: "TrainedModel", images: Any) -> Any:
    """Returns means as pictures, clipped to [0, 1] if the data's numbers are in this range."""
    contract = model.contract
    bounded = not (contract.real or contract.counts)
    return pictured(contract, images.clip(0, 1) if bounded else images)


def pictured(contract: "DataContract", images: Any) -> "np.ndarray":
    """Returns images unchanged, but sequences (..., T, 1, C) as pictures (..., C, T, 1), whose rows are channels."""
    import numpy as np

    return np.moveaxis(np.asarray(images), -1, -3) if contract.reading.sequences else np.asarray(images)


def write_reconstructions(model: "TrainedModel", given: "Unsplit", count: int, out: Path) -> str:
    """Writes the first images or rows with their reconstructions, E[x|z] at their encoded latents."""
    from jaxvae import plots

    images, first = given.images[:count], slice(count)
    labels, covariates = some_of(given.labels, first), some_of(given.covariates, first)
    means = model.reconstruct(images, labels, covariates)
    if model.contract.features:
        return write_drawn_rows(out, model, means, columns_beside(model, None, covariates))
    title = f"Originals and their reconstructions{missing_marked(model.contract)}"
    originals = pictured(model.contract, model.seen(images))
    return save_figure(plots.reconstructions(originals, _drawn(model, means), title), out)


def missing_marked(contract: "DataContract") -> str:
    """Returns the end of a title, which explains missing entries if there may be any."""
    return "; what is missing is red" if contract.missing else ""


def write_traversals(
    model: "TrainedModel", given: "Unsplit", row: int, count: int, steps: int, reach: float, out: Path
) -> str:
    """Writes the traversals of the latents with the highest KL over all images, from one image or row."""
    import numpy as np

    from jaxvae import plots
    from jaxvae.arguments import require
    from jaxvae.trained import inspection

    rows = len(given.images)
    require(0 <= row < rows, "--row", row, f"0 to {rows - 1}")
    kl = np.asarray(model.kl(given.images, given.labels, given.covariates), np.float64).mean(axis=0)
    latents = np.argsort(-kl, kind="stable")[:count]
    label, covariates = some_of(given.labels, row), some_of(given.covariates, row)
    found = inspection.traversed(model, given.images[row], label, latents, steps, reach, covariates)
    if model.contract.features:
        moved = {"latent": np.repeat(latents, steps), "value": np.tile(found.values, len(latents))}
        return write_drawn_rows(out, model, found.images, moved)
    return save_figure(plots.traversals(_drawn(model, found.images), found.values, kl[latents], latents.tolist()), out)


def columns_beside(
    model: "TrainedModel", labels: "np.ndarray | None", covariates: "np.ndarray | None"
) -> "Mapping[str, np.ndarray]":
    """Returns the columns of a table with these classes and covariates, if any, with their own names."""
    import numpy as np

    from jaxvae.data import in_own_terms

    contract = model.contract
    found = {} if covariates is None else in_own_terms(contract.covariates, covariates)
    if labels is None:
        return found
    numbered = contract.class_names and labels.dtype.kind in "iu"
    classes = np.array(contract.class_names)[labels] if numbered else labels
    return {contract.reading.label or "label": classes, **found}


def write_drawn_rows(out: Path, model: "TrainedModel", rows: Any, more: "Mapping[str, np.ndarray]") -> str:
    """Writes rows in the table's own terms, or their numbers as .npy; prints the path and returns it."""
    from jaxvae.trained import tables

    tables.write_rows(out, model.contract.features, rows, more)
    print_lines(out)
    return str(out)
