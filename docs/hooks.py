"""Pages and tables that no file in docs/ has: results, notebooks, the command line, the registry, the configuration.

Each is made from its one source when the site is built, so that none can be out of date.
"""

import contextlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REPORT = "results/compare-mnist/report.md"
REGISTRY, FIELDS = "<!-- registry -->", "<!-- fields -->"
COLAB = "https://colab.research.google.com/github/jaxvae/jaxvae/blob/main/notebooks/"

SCRIPTS = """This page has what `--help` says of each command.

For scripts, `--json` prints the result as JSON, and `--quiet` nothing but warnings and errors. Commands that read a run
take the newest one in `runs` where none is named, and say which on stderr. A misspelt command or flag is answered with
the nearest ones. `eval "$(jaxvae completion bash)"` makes bash complete commands, flags and their values; zsh and fish
are known, too."""


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that are made, and the pictures that they show."""
    from mkdocs.structure.files import File

    pages = {"results.md": results(), "notebooks.md": notebooks(), "reference/cli.md": command_line()}
    pages[REPORT] = (BENCHMARKS / REPORT).read_text()
    pages |= {f"notebooks/{path.stem}.md": notebook(path) for path in NOTEBOOKS}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    for path in sorted((BENCHMARKS / "results").rglob("*.png")):
        name = path.relative_to(BENCHMARKS).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts the tables where a page asks for them."""
    for mark, table in ((REGISTRY, registry), (FIELDS, fields)):
        markdown = markdown.replace(mark, table()) if mark in markdown else markdown
    return markdown


def results() -> str:
    """benchmarks/RESULTS.md, its links as seen from the site's root."""
    return (BENCHMARKS / "RESULTS.md").read_text().replace("](../docs/", "](")


def notebooks() -> str:
    """A list of the notebooks: title, first paragraph, links."""
    lines = ["# Notebooks", "", "Each runs from top to bottom on a CPU, and is stored with its outputs.", ""]
    for path in NOTEBOOKS:
        first = "".join(json.loads(path.read_text())["cells"][0]["source"])
        title, *paragraphs = (part for part in re.split(r"\n\s*\n", first) if not part.startswith("[!["))
        lines += [f"## {title.lstrip('# ')}", "", *paragraphs[:1], ""]
        lines += [f"[Read](notebooks/{path.stem}.md) · [open in Colab]({COLAB}{path.name})", ""]
    return "\n".join(lines)


def notebook(path: Path) -> str:
    """A notebook as a page, with its outputs; its pictures are part of it."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            source = re.sub(r"\[!\[([^]]*)\]\([^)]*\)\]", r"[\1]", source)  # a badge is a picture from elsewhere
            parts.append(re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", source))
        elif source:
            parts.append(f"```python\n{source}\n```")
            parts += [_output(output) for output in cell["outputs"]]
    return "\n\n".join(parts) + "\n"


def _output(output: Any) -> str:
    """An output of a cell, in the best of the forms that it has."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        return f"![](data:image/png;base64,{''.join(data['image/png']).replace(chr(10), '')})"
    if "text/markdown" in data:
        return "".join(data["text/markdown"])
    return f"```text\n{''.join(data['text/plain']).rstrip()}\n```"


def command_line() -> str:
    """The help of every command."""
    lines = ["# The command line", "", SCRIPTS, "", *_fenced(help_of())]
    for words in commands():
        lines += ["", f"## jaxvae {' '.join(words)}", "", *_fenced(help_of(*words))]
    return "\n".join(lines) + "\n"


def commands() -> list[tuple[str, ...]]:
    """All commands, and commands of commands, as the help names them."""
    found = []
    for name in _listed(help_of()):
        nested = _listed(help_of(name))
        found += [(name, other) for other in nested] or [(name,)]
    return found


def _listed(text: str) -> list[str]:
    """The commands under the heading "commands:"."""
    _, _, block = text.partition("\ncommands:\n")
    return re.findall(r"^    ([a-z]\S*)", block.split("\n\n")[0], re.MULTILINE)


def help_of(*words: str) -> str:
    """The help of one command, 100 columns wide."""
    from jaxvae.cli import main

    out, before = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            main([*words, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return out.getvalue()


def registry() -> str:
    """Every named parameterization, as `jaxvae list --sources` shows it."""
    from jaxvae.parameterizations import PARAMETERIZATIONS

    rows = [f"| `{n}` | `{p.formula}` | {p.std_range} | {p.source} |" for n, p in PARAMETERIZATIONS.items()]
    rows = [row.replace("|r|", r"\|r\|") for row in rows]
    return "\n".join(["| name | formula in the raw number r | range of σ | source |", "|---|---|---|---|", *rows])


def fields() -> str:
    """Every field of the configuration, as `jaxvae train --help` tells it, with what it may be."""
    found = json.loads((ROOT / "jaxvae/flags.json").read_text(encoding="utf-8"))["fields"]
    rows = []
    for name, field in found.items():
        meaning = field["help"].removesuffix(f": {field['range']}")
        rows.append(f"| `{name}` | {meaning} | {field['type']} | {field['default'] or 'none'} | {field['range']} |")
    rows = [row.replace("|x", r"\|x").replace("|z", r"\|z") for row in rows]
    return "\n".join(["| field | meaning | type | default | range |", "|---|---|---|---|---|", *rows])


def _fenced(text: str) -> list[str]:
    return ["```text", text.rstrip(), "```"]
