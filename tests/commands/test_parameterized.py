"""``jaxvae list`` and ``jaxvae explain``."""

import json
import re
from pathlib import Path

import pytest
from command_line import refusal
from matplotlib.figure import Figure
from matplotlib.image import imread

import jaxvae as jv
from jaxvae.cli import main


def test_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--names"]) == 0
    assert capsys.readouterr().out.splitlines() == list(jv.PARAMETERIZATIONS)


@pytest.mark.parametrize("flags", [(), ("--sources",)])
def test_list_has_a_row_for_each(capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]) -> None:
    assert main(["list", *flags]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert re.split("  +", head)[:3] == ["name", "range of σ", "formula in the raw number r"]
    expected = [[name, str(p.std_range), p.formula, p.source] for name, p in jv.PARAMETERIZATIONS.items()]
    assert [re.split("  +", row) for row in rows] == [row[: 3 + len(flags)] for row in expected]


def test_json_is_all_that_stdout_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(jv.PARAMETERIZATIONS)
    assert rows[0]["formula"] == jv.log_variance.formula


def test_quiet_says_nothing_and_does_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "log_std", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert Path("explained/explain.png").exists()
    assert "no_such" in refusal(capsys, "explain", "no_such", "--quiet", "--json")


def test_explain(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["explain", "log_std", "softplus_std", "log_std", "--out", "deep/er"]) == 0
    path = Path("deep/er/explain.png")
    assert capsys.readouterr().out == f"{path}\n"
    assert [p.name for p in path.parent.iterdir()] == ["explain.png"]
    image = imread(path)
    assert image.shape[:2] == (1000, 1600)
    assert image[..., :3].std() > 0.05


def test_explain_draws_all_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr("jaxvae.plots.explain", lambda chosen: drawn.append(chosen) or Figure())
    assert main(["explain"]) == 0
    assert drawn == [dict(jv.PARAMETERIZATIONS)]
    assert Path("explained/explain.png").exists()


def test_unknown_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = refusal(capsys, "explain", "log_std", "log_varianc")
    assert "'log_varianc'" in line
    assert "log_variance" in line.replace("'log_varianc'", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["file", "file/below", "taken"])
def test_unwritable_out(capsys: pytest.CaptureFixture[str], tmp_path: Path, out: str) -> None:
    Path("file").write_text("mine")
    Path("taken/explain.png").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    line = refusal(capsys, "explain", "log_std", "--out", out)
    assert "--out" in line
    assert repr(out) in line
    assert sorted(tmp_path.rglob("*")) == before
    assert Path("file").read_text() == "mine"


def test_nothing_half_written(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    Path("explain.png").write_text("old")
    assert "No space left on device" in refusal(capsys, "explain", "log_std", "--out", ".")
    assert [p.name for p in Path().iterdir()] == ["explain.png"]
    assert Path("explain.png").read_bytes() == b"old"
