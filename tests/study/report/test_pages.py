"""What a page holds is all there, as itself, in both forms."""

import html
import re
import xml.etree.ElementTree as ElementTree

from jaxvae.study.report.answers import Answer
from jaxvae.study.report.pages import Page, Picture, Section, as_html, as_markdown
from jaxvae.study.table import Row, Table

NASTY = """<script src="http://x">alert('1')</script> a|b & *c* [d](http://e) `f` _g_"""
PNG = b"\x89PNG not really"
SVG = '<svg aria-label="drawn"></svg>'
PAGE = Page(
    f"title {NASTY}",
    "today",
    [Answer("", ["First.", NASTY], ["Beneath."]), Answer(f"setting {NASTY}", ["Only."], [])],
    [
        Section(
            f"section {NASTY}",
            f"how {NASTY}",
            [Picture("a.png", NASTY, "", PNG, SVG), Picture("b.png", "b", NASTY, PNG, SVG)],
        )
    ],
    Section("numbers", "below"),
    Table(("variant", "NLL"), (Row(("log_variance", "1"), True), Row((NASTY, "2"), False))),
    {"varied": NASTY},
    f"jaxvae compare {NASTY}\n--more",
    [f"note {NASTY}"],
)


def test_html_says_it_all_and_nothing_of_it_is_markup():
    text = as_html(PAGE)
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    assert "alert" not in script[1]
    # Well-formed, but for the declaration, the script and the void element.
    body = re.sub(r"<(meta)([^>]*)>", r"<\1\2/>", text.replace(script[0], "").removeprefix("<!DOCTYPE html>\n"))
    root = ElementTree.fromstring(body)
    assert root.findtext("./body/main/h1") == f"title {NASTY}"
    assert [row.findtext("th") for row in root.iter("tr")] == ["variant", "log_variance", NASTY]
    assert [image.get("aria-label") for image in root.iter("svg")] == ["drawn", "drawn"]
    assert [caption.text for caption in root.iter("figcaption")] == [NASTY]
    assert root.findtext("./body/main/pre/code") == PAGE.command
    assert [root.findtext(f".//{tag}") for tag in ("dt", "dd")] == ["varied", NASTY]
    assert [item.text for item in root.findall("./body/main/ul/li")] == [f"note {NASTY}"]
    answers = [part for part in root.iter("div") if part.get("class") == "answer"]
    assert [[item.text for item in answer.iter("li")] for answer in answers] == [["First.", NASTY], ["Only."]]
    assert [answer.findtext("p") for answer in answers] == ["Beneath.", None]
    assert [answer.findtext("h2") for answer in answers] == [None, f"setting {NASTY}"]


def test_contents_lead_to_every_section():
    text = as_html(PAGE)
    links = re.findall(r'<a href="#([^"]*)">', text)
    assert links == re.findall(r'<h2 id="([^"]*)">', text)
    assert len(set(links)) == len(links) == 4


def test_html_aligns_numbers_and_marks_the_baseline():
    text = as_html(PAGE)
    assert '<th scope="col" class="word">variant</th><th scope="col">NLL</th>' in text
    assert '<tr class="baseline"><th scope="row" class="word">log_variance</th><td>1</td></tr>' in text


def unescaped(text: str) -> str:
    return re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", text)


def test_markdown_says_it_all_and_nothing_of_it_is_markup():
    text = as_markdown(PAGE)
    assert text.startswith("# title ")
    assert unescaped(text).count(NASTY) == 11
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    for mark in ("<script", "](http", "*c*", "`f`", "_g_", "|b"):
        assert not re.search(r"(?<!\\)" + re.escape(mark), prose)
    assert re.findall(r"(?<!\\)\]\(([^)]*)\)", prose) == ["a.png", "b.png"]
    table = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("| ")]
    assert [len(row) for row in table] == [2] * 4
    assert [cell.strip() for cell in table[1]] == ["---", "---:"]
    assert table[2][0].strip() == "**log_variance**"


def test_a_page_without_rows_has_no_table():
    bare = PAGE._replace(table=Table((), ()))
    assert "<table" not in as_html(bare)
    assert not re.search(r"^\|", as_markdown(bare), re.MULTILINE)
    assert html.escape(NASTY) in as_html(bare)
