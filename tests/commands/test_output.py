"""What commands print for people, and for programs."""

import json
import sys
from pathlib import Path

import pytest
from command_line import PICTURES, TINY, refusal

from jaxvae.cli import main
from jaxvae.commands import output


@pytest.mark.slow
def test_a_program_reads_the_result_as_json(run, capsys, tmp_path):
    assert main(["evaluate", str(run), "--samples", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((run / "evaluation-test.json").read_text())
    assert main(["encode", str(run), "--out", "z.npz", "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"files": ["z.npz"]}
    assert err == ""
    assert main(["train", *TINY, "--epochs", "1", "--out", "other", "--quiet", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["run"], found["complete"], found["evaluation"]["images"]) == ("other", True, 300)
    assert {Path(path).name for path in found["files"]} == PICTURES
    assert err == ""


def test_names_move_no_cursor(capsys):
    text = refusal(capsys, "train", "--dataset", "\x1b[2J.npy")
    assert "\x1b" not in text
    output.print_lines(Path("\x1b[2J"))
    assert capsys.readouterr().out == "\\x1b[2J\n"


def test_answers_are_broken_at_words_on_a_terminal_alone(monkeypatch, capsys):
    text = "No difference is seen between the three usable variants, each at its best learning rate."
    monkeypatch.setenv("COLUMNS", "40")
    output.print_wrapped(text, "")
    assert capsys.readouterr().out == f"{text}\n\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    output.print_wrapped(text)
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines) == text
    assert max(map(len, lines)) <= 40
