"""What commands are given: runs, images, labels and covariates, by flags or from files."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxvae import process
from jaxvae.commands.output import note

if TYPE_CHECKING:
    import numpy as np

    from jaxvae.data import DataContract, Split, Unsplit
    from jaxvae.trained import Exported, Run


def require_compilation() -> None:
    """Raises ValueError if programs aren't to be compiled; otherwise they are kept on disk from now on."""
    import jax

    from jaxvae.arguments import require

    compiled = not jax.config.jax_disable_jit  # type: ignore[attr-defined]
    require(compiled, "JAX_DISABLE_JIT", True, "unset for training, which is one compiled program")
    process.use_compilation_cache()


def run_path(args: argparse.Namespace) -> Path:
    """Returns the requested run, or else the newest one, and then prints which it is."""
    from jaxvae.training.directory import newest_run

    if args.path is not None:
        return args.path
    path = newest_run(Path("runs"))
    note(args, f"RUN is {path}, the newest")
    return path


def opened(args: argparse.Namespace) -> "Run | Exported":
    """Opens the requested run or export, or else the newest run."""
    process.use_compilation_cache()
    from jaxvae.trained import open_model

    return open_model(run_path(args), dataset=args.dataset)


def opened_run(args: argparse.Namespace) -> "Run":
    """Opens the requested run, or else the newest one."""
    process.use_compilation_cache()
    from jaxvae.trained import Run

    return Run(run_path(args), dataset=args.dataset)


def assignment(flag: str, text: str) -> tuple[str, str]:
    """Returns the two parts of NAME=VALUE."""
    from jaxvae.arguments import require

    name, sign, value = text.partition("=")
    require(bool(name and sign and value), flag, text, "NAME=VALUE")
    return name, value


def given_images(args: argparse.Namespace, run: "Run | Exported") -> "Unsplit":
    """Returns the requested images, from new data or a split, with labels, covariates and names."""
    import numpy as np

    from jaxvae import data
    from jaxvae.arguments import require

    if args.data is not None:
        found = data.load_unsplit(args.data, run.model.contract)
        for line in found.notes:
            note(args, line)
    else:
        splits = run.dataset.splits
        require(args.split in splits, "split", args.split, " or ".join(splits))
        found = as_unsplit(splits[args.split])
    covariates = given_covariates(args, run.model.contract, len(found.images), found.covariates)
    found = found._replace(covariates=covariates)
    require(args.label is None or args.labels is None, "--label", args.label, "given without --labels")
    if args.label is not None:
        return found._replace(labels=np.full(len(found.images), run.model.contract.label(args.label)))
    return found if args.labels is None else found._replace(labels=data.load_labels(args.labels, len(found.images)))


def given_covariates(
    args: argparse.Namespace, contract: "DataContract", count: int, found: Any = None
) -> "np.ndarray | None":
    """Returns the covariates of all rows, (N, M), from the flag or else as found; None for a model without any."""
    from jaxvae.arguments import require
    from jaxvae.data.covariates import as_given

    if args.covariates is None:
        return as_given(contract.covariates, found, (count,))
    said = dict(assignment("--covariates", text) for text in args.covariates)
    names = [covariate.name for covariate in contract.covariates]
    unknown = [name for name in said if name not in names]
    require(not names or not unknown, "--covariates", unknown, f"of {', '.join(names)}")
    return as_given(contract.covariates, said, (count,))


def as_unsplit(split: "Split") -> "Unsplit":
    """Returns a split as data without splits."""
    from jaxvae.data import Unsplit

    return Unsplit(split.images, split.labels, split.names, covariates=split.covariates)
