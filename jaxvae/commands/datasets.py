"""``jaxvae data``: the commands that list, inspect and prepare datasets."""

import argparse
import shlex
from pathlib import Path

from jaxvae import process
from jaxvae.commands.drawing import missing_marked, pictured
from jaxvae.commands.output import Reply, print_lines, save_figure
from jaxvae.texts import flag_words

_SHEET = 100  # the number of images on a sheet of samples


def data_list(args: argparse.Namespace) -> Reply:
    """``jaxvae data list``."""
    from jaxvae import data
    from jaxvae.data.catalog import beyond_in_words

    everything = args.all
    entries = data.names(args.data_dir, everything)
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        print_lines(f"{entry.name:{width}}  {'ready' if entry.prepared else '-    '}  {entry.note}")
    if not everything:
        print_lines(f"{beyond_in_words()}: jaxvae data list --all")
    return Reply([entry._asdict() for entry in entries])


def data_inspect(args: argparse.Namespace) -> Reply:
    """``jaxvae data inspect``."""
    process.use_compilation_cache()
    import jax.numpy as jnp

    from jaxvae import data, plots, training
    from jaxvae.arguments import require
    from jaxvae.training.devices import one_device
    from jaxvae.training.modelling import column_lines

    config = training.config_from_mapping({**data.suggested(args.name), **args.fields, "dataset": args.name})
    out = args.out or Path(f"{Path(args.name).stem}-inspected.png")
    data.require_apart(out, args.name)
    experiment = training.make_experiment(config, one_device())
    dataset = experiment.dataset
    odd = [f"warning: {text}" for text in data.oddities(dataset)]
    lines = column_lines(experiment.config.likelihood, dataset) if dataset.features else []
    command = shlex.join(["jaxvae", "train", *flag_words([("dataset", args.name), *args.fields.items()])])
    print_lines(*experiment.report, *odd, *lines, f"to train: {command}")
    found = {"report": [*experiment.report, *odd, *lines], "train": command}
    if dataset.features:
        require(args.out is None, "--out", str(args.out), "left out for a table, of which nothing is drawn")
        return Reply({**found, "files": []})
    images = dataset.train.images
    rows = [len(images) * i // _SHEET for i in range(_SHEET)] if len(images) > _SHEET else range(len(images))
    seen = pictured(experiment.contract, experiment.contract.seen(jnp.asarray(images[list(rows)])))
    title = f"{Path(args.name).name}: training images as the model sees them{missing_marked(experiment.contract)}"
    return Reply({**found, "files": [save_figure(plots.image_grid(seen, title=title), out)]})


def data_prepare(args: argparse.Namespace) -> Reply:
    """``jaxvae data prepare``."""
    from jaxvae import data

    place = data.prepare(args.name, args.source, args.data_dir)
    print_lines(place)
    try:
        described = data.describe(data.load(args.name, args.data_dir))
    except ValueError as error:  # for example if images differ in size
        described = f"prepared, but can't be trained on as it is: {error}"
    print_lines(described)
    return Reply({"data": str(place), "report": described})
