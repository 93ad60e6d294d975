"""Timing, tables, and a page of results that is what its data make it."""

import sys
import time

import jax.numpy as jnp
import pytest

from benchmarks import __main__ as every
from benchmarks import harness
from benchmarks.harness import Table


def test_times_are_those_of_a_call():
    def sleepy(seconds):
        def side():
            time.sleep(seconds)
            return jnp.zeros(1)

        return side

    times = harness.in_turn({"short": sleepy(0.002), "long": sleepy(0.02)}, rounds=3, at_least=0.02)
    assert 0.002 < times["short"].low <= times["short"].median <= times["short"].high
    assert times["short"].median < 0.01  # of each of some ten calls
    assert 0.02 < times["long"].low < 0.1


def test_a_command_names_no_folder_of_a_machine(monkeypatch):
    arguments = ["--quick", "--peer", "/opt/peer/bin/python", "--out=/var/new.json", "--data", "a/b.npy"]
    monkeypatch.setattr(sys, "argv", ["made", *arguments])
    command = harness.facts("made")["command"]
    assert command == "python -m benchmarks.made --quick --peer python --out=new.json --data a/b.npy"


def test_a_report_survives_its_file(tmp_path):
    report = {"device": "cpu", "date": "2026-01-02", "rows": [{"name": "a", "us": 1.5}, {"name": "b", "us": 2}]}
    for device in ("NVIDIA H200", "cpu"):
        (tmp_path / f"kernels-{harness.slug(device)}.json").write_text(harness.as_json({**report, "device": device}))
    found = harness.reports("kernels", tmp_path)
    assert [x["device"] for x in found] == ["cpu", "NVIDIA H200"]
    assert found[0] == report


def test_a_page_is_rewritten_between_its_marks():
    page = "# Results\n\n<!-- a -->\nold\n<!-- /a -->\n\nprose\n\n<!-- b -->\n<!-- /b -->\n"
    new = every.rewritten(page, {"a": "| A |"})
    assert new == "# Results\n\n<!-- a -->\n\n| A |\n\n<!-- /a -->\n\nprose\n\n<!-- b -->\n<!-- /b -->\n"
    assert every.rewritten(new, {"a": "| A |"}) == new
    with pytest.raises(ValueError, match="<!-- c -->"):
        every.rewritten(page, {"c": ""})


def test_tables_are_as_wide_as_their_heads():
    lines = harness.markdown(Table("T", ("", "x", "y"), [("a", "1", "2")])).split("\n")
    assert {line.count("|") for line in lines[2:]} == {4}


@pytest.mark.parametrize("name", every.SCRIPTS)
def test_the_page_shows_what_was_measured(name):
    reports = harness.reports(name)
    assert reports
    page = every.PAGE.read_text()
    assert every.rewritten(page, {name: every.section(name, reports)}) == page
    for report in reports:
        assert (harness.RESULTS / f"{name}-{harness.slug(report['device'])}.png").exists()
