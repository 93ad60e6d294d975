"""``jaxvae list`` and ``jaxvae explain``."""

import argparse

from jaxvae import process
from jaxvae.commands.output import Reply, print_lines, save_figure


def list_parameterizations(args: argparse.Namespace) -> Reply:
    """``jaxvae list``."""
    from jaxvae.parameterizations import PARAMETERIZATIONS

    rows = [
        {"name": name, "range": str(p.std_range), "formula": p.formula, "source": p.source}
        for name, p in PARAMETERIZATIONS.items()
    ]
    if args.names:
        print_lines(*PARAMETERIZATIONS)
    else:
        heads = {"name": "name", "range": "range of σ", "formula": "formula in the raw number r", "source": "source"}
        shown = ("name", "range", "formula", *["source"] * args.sources)
        widths = {column: max(len(row[column]) for row in (heads, *rows)) for column in shown}
        lines = ("  ".join(f"{row[column]:{widths[column]}}" for column in shown) for row in (heads, *rows))
        print_lines(*(line.rstrip() for line in lines))
    return Reply(rows)


def explain(args: argparse.Namespace) -> Reply:
    """``jaxvae explain``."""
    from jaxvae.parameterizations import PARAMETERIZATIONS, parameterization

    chosen = {name: parameterization(name) for name in args.names or PARAMETERIZATIONS}
    process.use_compilation_cache()

    from jaxvae import plots

    figure = plots.explain(chosen)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        return Reply({"files": [save_figure(figure, args.out / "explain.png")]})
    except OSError as error:
        raise ValueError(
            f"--out must be a directory to write to, got {str(args.out)!r} ({error.strerror or error})"
        ) from error
