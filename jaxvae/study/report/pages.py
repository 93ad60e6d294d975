"""A report as one self-contained HTML file, and as Markdown next to its figures."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from string import Template
from typing import NamedTuple

from jaxvae.plots.style import COLOURS
from jaxvae.study.report.answers import Answer
from jaxvae.study.table import WORDS, Table


class Picture(NamedTuple):
    """A figure: its PNG file's name, its description, the caption above it ("" for none), and both its forms."""

    file: str
    text: str
    caption: str
    png: bytes
    svg: str


class Section(NamedTuple):
    """A section: a title, a line on how to read the figures, and the figures."""

    title: str
    text: str
    pictures: Sequence[Picture] = ()


class Page(NamedTuple):
    """The content of a report, in order; ``origin`` has its date and version, ``facts`` say how the study was run."""

    title: str
    origin: str
    answers: Sequence[Answer]
    sections: Sequence[Section]
    numbers: Section
    table: Table
    facts: Mapping[str, str]
    command: str
    notes: Sequence[str]


_STYLE = Template("""
:root { color-scheme: light dark; --ink: #1b1b1b; --faint: #5b5b5b; --page: #fff; --line: #dcdcdc; --band: #f3f6f8;
  --mark: $mark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --faint: #a8a8a8; --page: #16181a; --line: #3a3d40;
  --band: #212528; --mark: $mark_on_dark; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem clamp(1rem, 4vw, 4rem) 4rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0 0; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 0.25rem; }
p, ul, dl { max-width: 52rem; margin: 0.5rem 0; }
a, button { color: inherit; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; padding: 0; max-width: none; list-style: none; }
.answer { border-left: 4px solid var(--mark); background: var(--band); padding: 0.75rem 1rem; margin: 0.75rem 0; }
.answer h2 { font-size: 1rem; margin: 0; }
.answer ul { padding-left: 1.2rem; }
.answer li { font-weight: bold; }
.how, .origin, figcaption { color: var(--faint); font-size: 0.92rem; }
.figures { display: grid; gap: 1.25rem; margin-top: 0.75rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 34rem), 1fr)); }
figure { margin: 0; min-width: 0; }
.scroll { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 34rem; max-width: 60rem; height: auto; }
svg text { font-family: system-ui, sans-serif !important; }
svg text:not([style*="fill:"]) { fill: currentColor; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.84rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
th, td { padding: 0.35rem 0.4rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
thead th { white-space: normal; vertical-align: bottom; line-height: 1.25; border-bottom: 2px solid var(--faint); }
th button { font: inherit; text-align: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
th[aria-sort="ascending"] button::after { content: " ▲"; }
th[aria-sort="descending"] button::after { content: " ▼"; }
.word { text-align: left; }
tbody th { font-weight: normal; }
th:first-child { position: sticky; left: 0; background: var(--page); }
.baseline th, .baseline td { background: var(--band); font-weight: bold; }
dt { font-weight: bold; margin-top: 0.5rem; }
dd { margin: 0; }
pre { background: var(--band); padding: 0.75rem 1rem; overflow-x: auto; border-radius: 6px; white-space: pre-wrap; }
@media print { nav, label { display: none; } .scroll { overflow: visible; } svg { min-width: 0; }
  figure, tr, .answer { break-inside: avoid; } table { font-size: 0.5rem; } }
""").substitute(mark=COLOURS[0].lower(), mark_on_dark=COLOURS[5].lower())

_SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const number = text => parseFloat(text.replace("\u2212", "-").replace(/^[^0-9+-]+/, ""));
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1, words = head.classList.contains("word");
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
      const keyed = [...body.rows].map(row => {
        const text = row.cells[column].textContent;
        return [words ? text : number(text), row];
      });
      const missing = key => !words && isNaN(key);
      keyed.sort(([a], [b]) => missing(a) - missing(b) || (missing(a) ? 0 : turn * (a < b ? -1 : a > b ? 1 : 0)));
      body.append(...keyed.map(([, row]) => row));
    });
  });
  const label = document.createElement("label"), filter = document.createElement("input");
  filter.type = "search";
  label.append("Rows with ", filter);
  table.parentNode.before(label);
  filter.addEventListener("input", () => {
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(filter.value.toLowerCase());
  });
}
"""


def as_html(page: Page) -> str:
    """Returns one HTML file with figures, style and script; it needs no network, and says the same without script."""
    e = html.escape
    facts = "".join(f"<dt>{e(name)}</dt><dd>{e(text)}</dd>\n" for name, text in page.facts.items())
    notes = "".join(f"<li>{e(note)}</li>\n" for note in page.notes)
    command = f"<pre><code>{e(page.command)}</code></pre>\n"
    sections = [(section.title, _html_section(section)) for section in page.sections]
    sections += [
        (page.numbers.title, _html_section(page.numbers) + _html_table(page.table)),
        ("How it was run", f"<dl>\n{facts}</dl>\n<p>The command that repeats it:</p>\n{command}"),
        ("How to read it", f"<ul>\n{notes}</ul>\n"),
    ]
    contents = "".join(f'<li><a href="#section-{i}">{e(title)}</a></li>\n' for i, (title, _) in enumerate(sections))
    parts = "".join(f'<h2 id="section-{i}">{e(title)}</h2>\n{text}' for i, (title, text) in enumerate(sections))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{e(page.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{e(page.title)}</h1>\n<p class="origin">{e(page.origin)}</p>\n{"".join(map(_html_answer, page.answers))}'
        f'<nav aria-label="Contents">\n<ul>\n{contents}</ul>\n</nav>\n{parts}</main>\n'
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _html_answer(answer: Answer) -> str:
    e = html.escape
    setting = f"<h2>{e(answer.setting)}</h2>\n" if answer.setting else ""
    lines = "".join(f"<li>{e(line)}</li>\n" for line in answer.lines)
    details = f'<p class="how">{e(" ".join(answer.details))}</p>\n' if answer.details else ""
    return f'<div class="answer">\n{setting}<ul>\n{lines}</ul>\n{details}</div>\n'


def _html_section(section: Section) -> str:
    e = html.escape
    figures = "".join(
        f"<figure>{f'<figcaption>{e(picture.caption)}</figcaption>' if picture.caption else ''}"
        f'<div class="scroll" tabindex="0">{picture.svg}</div></figure>\n'
        for picture in section.pictures
    )
    shown = f'<div class="figures">\n{figures}</div>\n' if figures else ""
    return f'<p class="how">{e(section.text)}</p>\n{shown}'


def _html_table(table: Table) -> str:
    if not table.rows:
        return ""

    def row(texts: Iterable[str], head: bool) -> str:
        found = []
        for i, (title, text) in enumerate(zip(table.head, texts, strict=True)):
            tag = "th" if head or i == 0 else "td"
            scope = "" if tag == "td" else ' scope="col"' if head else ' scope="row"'
            kind = ' class="word"' if title in WORDS else ""
            found.append(f"<{tag}{scope}{kind}>{html.escape(text)}</{tag}>")
        return "".join(found)

    marks = {True: ' class="baseline"', False: ""}
    body = "".join(f"<tr{marks[r.baseline]}>{row(r.texts, False)}</tr>\n" for r in table.rows)
    head = f"<thead><tr>{row(table.head, True)}</tr></thead>"
    scroll = '<div class="scroll" tabindex="0" role="region" aria-label="All numbers">'
    return f"{scroll}\n<table>\n{head}\n<tbody>\n{body}</tbody>\n</table>\n</div>\n"


def as_markdown(page: Page) -> str:
    """Returns the report as Markdown, with links to the figures' files."""
    m = _markdown
    blocks = [f"# {m(page.title)}", m(page.origin)]
    for answer in page.answers:
        blocks += [f"**{m(answer.setting)}**"] * bool(answer.setting)
        blocks.append("\n".join(f"- **{m(line)}**" for line in answer.lines))
        blocks += [m(" ".join(answer.details))] * bool(answer.details)
    for section in (*page.sections, page.numbers):
        blocks += [f"## {m(section.title)}", m(section.text)]
        for picture in section.pictures:
            blocks += [m(picture.caption)] * bool(picture.caption) + [f"![{m(picture.text)}]({picture.file})"]
    if page.table.rows:
        rule = ["---" if title in WORDS else "---:" for title in page.table.head]
        rows = [
            page.table.head,
            *([f"**{x}**" if r.baseline and x else x for x in map(m, r.texts)] for r in page.table.rows),
        ]
        lines = [" | ".join(texts) for texts in (map(m, rows[0]), rule, *rows[1:])]
        blocks.append("\n".join(f"| {line} |" for line in lines))
    blocks += ["## How it was run", "\n".join(f"- **{m(name)}**: {m(text)}" for name, text in page.facts.items())]
    blocks += ["The command that repeats it:", "\n".join(f"    {line}" for line in page.command.splitlines())]
    blocks += ["## How to read it", "\n".join(f"- {m(note)}" for note in page.notes)]
    return "\n\n".join(blocks) + "\n"


def _markdown(text: str) -> str:
    r"""Escapes a text, so that Markdown and HTML show it literally.

    >>> print(_markdown("a|b <i> log_std"))
    a\|b \<i\> log_std
    """
    # Underscores within words need no escape, which keeps them legible.
    return re.sub(r"([\\`*<>|]|\](?=\()|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
