"""The command line: parse, call, print. No maths here.

A subcommand is a function of the parsed arguments and a few lines in ``_parser``. It imports what is slow to
import itself, and raises ValueError or OSError with one line for the user; ``main`` reports it.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jaxvae._version import __version__


class _Parser(argparse.ArgumentParser):
    """A parser, and by inheritance its subparsers, that raises where argparse would print the usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see `{self.prog} --help`)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments, those of the process if not given.

    Returns:
        0, or 2 after reporting what was wrong in one line on stderr.
    """
    try:
        args = _parser().parse_args(argv)
        args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has had enough, as in `jaxvae list --names | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        print("jaxvae: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="jaxvae",
        description="Gaussian latent variables under every variance parameterization.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"jaxvae {__version__}")
    parser.set_defaults(run=lambda args: parser.print_help())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    text = "show every named parameterization: formula, range of σ, source"
    command = commands.add_parser("list", help=text, description=text, allow_abbrev=False)
    command.add_argument("--names", action="store_true", help="names only, one per line")
    command.set_defaults(run=_list)

    text = "draw what parameterizations make of their raw numbers"
    command = commands.add_parser("explain", help=text, description=text, allow_abbrev=False)
    command.add_argument("names", metavar="NAME", nargs="*", help="a name from `jaxvae list`; all if none is given")
    command.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("explained"),
        help="where explain.png goes (default: %(default)s)",
    )
    command.set_defaults(run=_explain)
    return parser


def _list(args: argparse.Namespace) -> None:
    from jaxvae.parameterizations import PARAMETERIZATIONS

    if args.names:
        print(*PARAMETERIZATIONS, sep="\n")
        return

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("name\n  range of σ", no_wrap=True)
    table.add_column("formula in the raw number r\nsource", overflow="fold")
    for name, p in PARAMETERIZATIONS.items():
        table.add_row(
            Text.assemble((name, "bold"), f"\n  {p.std_range}"), Text.assemble(p.formula, "\n", (p.source, "dim"))
        )
    Console(markup=False, highlight=False).print(table)


def _explain(args: argparse.Namespace) -> None:
    from jaxvae.parameterizations import PARAMETERIZATIONS, parameterization

    chosen = {name: parameterization(name) for name in args.names or PARAMETERIZATIONS}

    from jaxvae.plots import explain

    path = args.out / "explain.png"
    partial = args.out / f".explain.{os.getpid()}.png"
    figure = explain(chosen)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        try:
            figure.savefig(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(
            f"--out must be a directory to write to, got {str(args.out)!r} ({error.strerror or error})"
        ) from error
    print(path)
