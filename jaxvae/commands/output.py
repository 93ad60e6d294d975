"""What commands print, write and reply."""

import argparse
import io
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxvae.texts import printable

if TYPE_CHECKING:
    from rich.console import Console


class Reply(NamedTuple):
    """A command's reply: a value that JSON can hold, or None; and its exit status."""

    result: Any = None
    status: int = 0


def print_lines(*lines: object) -> None:
    """Prints lines on stdout immediately, with control characters escaped."""
    print(*(printable(line) for text in lines for line in str(text).split("\n")), sep="\n", flush=True)


def print_wrapped(*paragraphs: str) -> None:
    """Prints paragraphs, wrapped at words on a terminal, otherwise as one line each."""
    for text in paragraphs:
        wide = text
        if sys.stdout.isatty():
            columns = shutil.get_terminal_size().columns
            wide = textwrap.fill(text, max(20, columns), break_long_words=False, break_on_hyphens=False)
        print_lines(wide)


def note(args: argparse.Namespace, text: str) -> None:
    """Prints a line on stderr, except with --quiet."""
    if not args.quiet:
        print(printable(f"jaxvae: {text}"), file=sys.stderr)


def console_for(args: argparse.Namespace) -> "Console | None":
    """Returns the console for progress: a silent one with --quiet; None means stderr."""
    from rich.console import Console

    return Console(file=io.StringIO()) if args.quiet else None


def wrote(path: Path) -> Reply:
    """Prints the path of what was written, and returns it."""
    print_lines(path)
    return Reply({"files": [str(path)]})


def save_figure(figure: Any, path: Path) -> str:
    """Writes a picture atomically, prints its path, and returns it."""
    from jaxvae.files import write_atomically

    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:])
    write_atomically(path, content.getvalue())
    print_lines(path)
    return str(path)
