import re
import xml.etree.ElementTree as ElementTree

import pytest
from matplotlib.figure import Figure

from jaxvae import plots


@pytest.fixture(scope="module")
def drawn():
    figure = Figure(figsize=(4, 3))
    panel = figure.subplots()
    panel.plot([1, 2, 3], [3, 1, 2], "o-", color=plots.style.COLOURS[1], label="a <line>")
    panel.axhline(2, color=plots.style.GREY)
    panel.set_title("σ & more")
    panel.legend()
    return plots.svg(figure, "first", 'what "it" shows'), plots.svg(figure, "second", "again")


def test_letters_are_text_and_it_is_well_formed(drawn):
    root = ElementTree.fromstring(drawn[0].replace("<svg ", '<svg xmlns="x" ', 1))
    texts = ["".join(x.itertext()) for x in root.iter() if x.tag.endswith("text")]
    assert {"σ & more", "a <line>"} <= set(texts)
    assert root.get("aria-label") == 'what "it" shows'
    assert root.get("width") is None  # as wide as what it stands in


def test_black_and_grey_are_the_page_s_and_colours_stay(drawn):
    assert "#000000" not in drawn[0]
    assert plots.style.GREY not in drawn[0]
    assert {"currentColor", "var(--faint)", plots.style.COLOURS[1].lower()} <= {
        *re.findall(r"currentColor|var\(--faint\)|#[0-9a-f]{6}", drawn[0])
    }


def test_ids_are_each_figure_s_own_and_all_are_used(drawn):
    ids = [set(re.findall(r' id="([^"]*)"', text)) for text in drawn]
    assert ids[0]
    assert not ids[0] & ids[1]
    for own, text in zip(ids, drawn, strict=True):
        assert own == set(re.findall(r'(?:href="|url\()#([^")]*)', text))
