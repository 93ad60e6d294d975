"""The commands that use a trained model."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvae.commands.drawing import (
    columns_beside,
    shown_in,
    some_of,
    write_reconstructions,
    write_samples,
    write_traversals,
)
from jaxvae.commands.given import given_covariates, given_images, opened, opened_run
from jaxvae.commands.output import Reply, print_lines, wrote
from jaxvae.texts import counted

if TYPE_CHECKING:
    from jaxvae.trained import Exported, Run

_DECODED = 200  # the number of latents decoded at a time
_MOST_IMAGES = 10_000  # the largest number of images on a picture


def encode(args: argparse.Namespace) -> Reply:
    """``jaxvae encode``."""
    import numpy as np

    from jaxvae.trained import tables

    tables.require_suffix(args.out, ".npz", ".csv", ".npy")
    run = opened(args)
    found = given_images(args, run)
    q, latents = run.model.infer(found.images, found.labels, found.covariates, progress=not args.quiet)
    if args.out.suffix == ".npy":
        tables.write_array(args.out, np.asarray(latents))
    else:
        named = {"names": found.names} | ({} if found.labels is None else {"labels": found.labels})
        named |= tables.covariate_columns(run.model.contract.covariates, found.covariates)
        numbers = {"mean": q.mean, "log_std": q.log_std, "latents": latents}
        tables.write_table(args.out, named | {name: np.asarray(x) for name, x in numbers.items()})
    return wrote(args.out)


def decode(args: argparse.Namespace) -> Reply:
    """``jaxvae decode``."""
    import numpy as np

    from jaxvae.arguments import require
    from jaxvae.trained import tables

    latents, labels, names, found = tables.read_latents(args.latents)
    pictures = args.out.suffix not in tables.ROWS
    require(not pictures or not args.out.suffix, "out", str(args.out), "a path that ends in .npy, or a directory")
    model, labels = opened(args).model, labels if args.label is None else np.full(len(latents), args.label)
    features = model.contract.features
    if features:
        tables.require_suffix(args.out, *tables.ROWS)
    else:
        allowed = "a path that ends in .npy" + ("" if model.contract.reading.sequences else ", or a directory")
        fits = args.out.suffix == ".npy" or (pictures and not model.contract.reading.sequences)
        require(fits, "out", str(args.out), allowed)
    covariates = given_covariates(args, model.contract, len(latents), found)
    parts = [slice(start, start + _DECODED) for start in range(0, len(latents), _DECODED)]
    decoded = (model.decode(latents[part], some_of(labels, part), some_of(covariates, part)).mean for part in parts)
    images = np.concatenate([np.asarray(mean) for mean in decoded])
    if features:
        tables.write_rows(args.out, features, images, columns_beside(model, None, covariates))
    elif pictures:
        tables.write_pictures(args.out, images, names)
    else:
        tables.write_array(args.out, images)
    return wrote(args.out)


def scores(args: argparse.Namespace) -> Reply:
    """``jaxvae score``."""
    from jaxvae.data.missing import observed_counts
    from jaxvae.trained import tables

    tables.require_suffix(args.out, ".csv", ".npz")
    run = opened(args)
    found = given_images(args, run)
    beside = found.labels, found.covariates
    table = run.model.score(found.images, *beside, samples=args.samples, progress=not args.quiet)
    about = {"names": found.names} | ({} if found.labels is None else {"labels": found.labels})
    if run.model.contract.missing:
        about["observed"] = observed_counts(found.images)
    tables.write_table(args.out, {**about, **table._asdict()})
    return wrote(args.out)


def impute(args: argparse.Namespace) -> Reply:
    """``jaxvae impute``."""
    import jax
    import numpy as np

    from jaxvae.arguments import require
    from jaxvae.data.missing import count_missing
    from jaxvae.files import UNFINISHED, written_together
    from jaxvae.trained import tables

    tables.require_suffix(args.out, *tables.ROWS)
    require(args.samples >= 1, "--samples", args.samples, "at least 1")
    require(args.draws is None or args.draws >= 1, "--draws", args.draws, "at least 1")
    apart = args.draws is not None and args.out.suffix == ".csv"
    outs = [args.out.with_stem(f"{args.out.stem}-{i + 1}") for i in range(args.draws)] if apart else [args.out]
    note = args.out.with_name(f".{args.out.name}{UNFINISHED}")
    for out in outs:
        require(note.is_file() or not out.exists(), "--out", str(out), "a file that doesn't exist yet")
    run = opened(args)
    found, features = given_images(args, run), run.model.contract.features
    key, quiet = jax.random.key(args.seed), args.quiet
    beside, asked = (found.labels, found.covariates), {"draws": args.draws, "samples": args.samples}
    filled = run.model.impute(found.images, *beside, **asked, key=key, progress=not quiet)
    with written_together(note):
        for out, one in zip(outs, filled if apart else [filled], strict=True):
            if out.suffix == ".npy":
                tables.write_array(out, one)
            elif features:
                tables.write_rows(out, features, one, columns_beside(run.model, *beside))
            else:
                tables.write_table(out, {"names": found.names, "x": one.reshape(len(one), -1)})
    count, total = count_missing(found.images), int(np.prod(found.images.shape))
    how = "by their means" if args.draws is None else f"by {counted(args.draws, 'draw')} each"
    print_lines(f"{count:,} of {total:,} entries were missing, and are filled {how}", *outs)
    return Reply({"missing": count, "entries": total, "files": [*map(str, outs)]})


def sample(args: argparse.Namespace) -> Reply:
    """``jaxvae sample``."""
    _require_count("--count", args.count, _MOST_IMAGES)
    run = opened(args)
    out = _out(args, run, "samples")
    covariates = given_covariates(args, run.model.contract, args.count)
    return Reply({"files": [write_samples(run.model, args.count, args.seed, out, args.label, covariates)]})


def reconstruct(args: argparse.Namespace) -> Reply:
    """``jaxvae reconstruct``."""
    _require_count("--count", args.count, _MOST_IMAGES)
    run = opened(args)
    out = _out(args, run, "reconstructions")
    return Reply({"files": [write_reconstructions(run.model, given_images(args, run), args.count, out)]})


def traverse(args: argparse.Namespace) -> Reply:
    """``jaxvae traverse``."""
    from jaxvae.arguments import require

    _require_count("--latents", args.latents, _MOST_IMAGES)
    _require_count("--steps", args.steps, _MOST_IMAGES // args.latents)
    require(0 < args.reach < math.inf, "--reach", args.reach, "a number above 0")
    run = opened(args)
    out = _out(args, run, "traversals")
    asked = args.row, args.latents, args.steps, args.reach
    return Reply({"files": [write_traversals(run.model, given_images(args, run), *asked, out)]})


def export(args: argparse.Namespace) -> Reply:
    """``jaxvae export``."""
    from jaxvae import trained
    from jaxvae.arguments import require
    from jaxvae.trained import hub

    programs = args.format == "stablehlo"
    require(not programs or args.push_to is None, "--push-to", args.push_to, "given with --format safetensors only")
    if programs:
        trained.export_programs(opened(args).model, args.out)
    else:
        trained.export_run(opened_run(args), args.out)
    reply = wrote(args.out)
    if args.push_to is not None:
        address = hub.push(args.out, args.push_to)
        print_lines(address)
        reply.result["address"] = address
    return reply


def _out(args: argparse.Namespace, run: "Run | Exported", name: str) -> Path:
    """Returns the path of a picture, or of a table's rows: the requested one, or one in the run's directory."""
    from jaxvae.trained import tables

    if args.out is None:
        return run.path / shown_in(run.model, name)
    tables.require_suffix(args.out, *(tables.ROWS if run.model.contract.features else (".png", ".pdf", ".svg")))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    return args.out


def _require_count(flag: str, count: int, most: int) -> None:
    """Raises ValueError unless this can be a number of images on a picture."""
    from jaxvae.arguments import require

    require(1 <= count <= most, flag, count, f"1 to {most:,}")
