"""A report stands alone, links resolve, a browser shows it, and there is one for any table."""

import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic import DEFAULT, RATES, record, study

from jaxvae.study.report import writing
from jaxvae.study.report.figures import DRAWN
from jaxvae.study.report.writing import write_report

COMMAND = "jaxvae compare --dataset <mine> & more"
FIELDS = [{"dtype": "float32"}, {"dtype": "bfloat16"}]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Reader(HTMLParser):
    """What a report holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [
            value or "" for name, value in attributes if name in ("src", "href", "xlink:href", "srcset", "data")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """The report of a study in two settings."""
    out = tmp_path_factory.mktemp("report")
    write_report(study(DEFAULT[:7], RATES[2:], 2, fields=FIELDS), out, COMMAND)
    return out


def test_html_stands_alone_and_has_a_row_per_variant_and_setting(out):
    read = Reader((out / "report.html").read_text())
    assert len(list(out.glob("*.png"))) == read.tags.count("svg") == 5 * 2 + 1
    assert all(reference.startswith("#") for reference in read.references)
    assert not {"img", "link", "iframe", "object"} & set(read.tags)
    assert (out / "report.html").stat().st_size < 1_000_000
    assert "url(" not in read.text  # of style sheet and script
    assert "@import" not in read.text
    assert read.tags.count("tr") == 1 + 7 * 2
    assert COMMAND in read.text


def test_markdown_links_resolve_and_it_says_the_same(out):
    text = (out / "report.md").read_text()
    links = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    assert sorted(links) == sorted(path.name for path in out.glob("*.png"))
    assert f"    {COMMAND}\n" in text
    page = Reader((out / "report.html").read_text())
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        assert heading in page.text
    assert len(re.findall(r"^\| ", text, re.MULTILINE)) == 2 + 7 * 2


def test_the_answer_comes_first_setting_by_setting(out):
    text = (out / "report.md").read_text()
    blocks = text.split("\n\n")
    assert blocks[2].startswith("- **Which variant is best is not seen to depend on the number format")
    assert [blocks[4], blocks[7]] == ["**dtype = float32**", "**dtype = bfloat16**"]
    assert blocks[5].count("\n- **") == blocks[8].count("\n- **") == 2  # three lines


def test_only_the_report_is_left_and_it_is_named(tmp_path):
    (tmp_path / "report.html").write_text("an older one")
    paths = write_report(study(["log_variance"], (0.01,), 1), tmp_path, COMMAND).paths
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert paths[0].name == "report.html"
    assert "an older one" not in paths[0].read_text()


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    def full(number: int) -> None:
        raise OSError("no space left")

    (tmp_path / "report.html").write_text("an older one")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_report([], tmp_path, COMMAND)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "an older one"


def test_the_claim_that_all_are_the_same_has_its_own_paragraph():
    sides = [{"precondition": "none"}, {"precondition": "fisher"}]
    table = study(DEFAULT[:3], (0.01,), fields=sides)
    answers = writing.verdict(writing.analyze(table))
    assert len(answers) == 4
    assert answers[3].lines[0].startswith("All the same eventually?")


def test_facts_are_what_differs_from_the_defaults():
    records = study(["log_variance"], (0.01, 0.1), 2, fields=[{"latents": 3, "samples": 7}])
    facts = writing._facts(records)
    assert facts["The same in all runs, other than by default"] == "latents = 3, hidden = (128), samples = 7"
    assert facts["Varied"].endswith("learning_rate: 0.01, 0.1; seed: 0, 1")
    assert facts["Runs"] == "4, of which 0 failed"
    assert facts["Importance samples per test image"] == "7"
    assert "jax " in facts["Trained with"]


CASES = {
    "nothing": [],
    "one variant, rate and seed": study(["log_std"], (0.01,), 1),
    "one seed": study(DEFAULT[:4], RATES[:2], 1),
    "all failed": study(["direct_std"], RATES[:2], 2, fails=0),
    "baseline failed": [record("log_variance", 0, 0.01, 0, True, {}), record("log_std", 1, 0.01, 0, False, {})],
    "incomplete": study(DEFAULT[:4])[:-17],
}


@pytest.mark.parametrize("records", CASES.values(), ids=CASES)
def test_any_table_has_a_report(records, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "NARROW_DPI", 30)  # quicker
    paths = write_report(json.loads(json.dumps(records)), tmp_path / "new", COMMAND).paths
    read = Reader(paths[0].read_text())
    variants = {r["config"]["parameterization"] for r in records}
    assert read.tags.count("tr") == (1 + len(variants) if records else 0)
    assert read.tags.count("svg") == len(paths) - 2
    assert not re.search(r"\b(nan|inf|None)\b", read.text)


@pytest.mark.slow
def test_many_settings_are_said_not_to_be_drawn(monkeypatch):
    monkeypatch.setattr(writing, "NARROW_DPI", 30)  # quicker
    records = study(DEFAULT[:2], (0.01,), 1, fields=[{"latents": n} for n in range(2, 4 + DRAWN)])
    page = writing.make_page(records, writing.analyze(records), COMMAND)
    assert f"Drawn are the first {DRAWN} of {DRAWN + 2} settings" in page.sections[0].text
    assert len(page.sections[0].pictures) == DRAWN
    assert len(page.table.rows) == 2 * (DRAWN + 2)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it_without_scrolling_the_page_sideways(out, tmp_path, width):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("needs Chromium or Chrome")
    if sys.platform != "linux":
        pytest.skip("knows how to start a browser on Linux only")
    # In a frame of this width, as windows have a least one; the script tells what the browser made of the report.
    probe = """<script>addEventListener("load", () => {
      const page = document.querySelector("iframe").contentDocument, table = page.querySelector("table");
      const drawn = image => image.querySelector("path") && image.getBoundingClientRect().height > 50;
      const nll = () => [...table.tBodies[0].rows].map(row => parseFloat(row.cells[3].textContent) || 1e9);
      table.tHead.querySelectorAll("button")[3].click();
      const sorted = nll().every((x, i, all) => i === 0 || all[i - 1] <= x);
      const filter = page.querySelector("input");
      filter.value = "log_std";
      filter.dispatchEvent(new Event("input"));
      document.title = JSON.stringify({
        drawn: [...page.querySelectorAll("svg")].filter(drawn).length, rows: table.rows.length, sorted,
        filtered: [...table.tBodies[0].rows].filter(row => !row.hidden).length,
        right: getComputedStyle(table.rows[1].cells[4]).textAlign,
        overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth})})</script>"""
    frame = f'<iframe width="{width}" height="800" srcdoc="{html.escape((out / "report.html").read_text())}"></iframe>'
    page = tmp_path / "probe.html"
    page.write_text(f'<!DOCTYPE html><meta charset="utf-8"><title></title>{frame}{probe}')
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,900"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom"]
    shown = subprocess.run([browser, *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(re.search("<title>(.*)</title>", shown.stdout)[1])
    assert found == {"drawn": 11, "rows": 15, "sorted": True, "filtered": 2, "right": "right", "overflow": 0}
