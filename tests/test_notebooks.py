"""Every notebook runs from top to bottom, and is stored with its outputs, small and free of traces of a machine."""

import asyncio
import json
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from one_device import environment

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
COLAB = "https://colab.research.google.com/github/jaxvae/jaxvae/blob/main/notebooks/"
SECONDS = 600
MAX_BYTES = 1_000_000

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.slow
@every_notebook
def test_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A kernel of the running interpreter, whatever kernels and start-up files the user has.
    write_kernel_spec(tmp_path / "kernels" / "running")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for name, value in environment().items():  # of one device, as on Colab
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, kernel_name="running", timeout=SECONDS, resources={"metadata": {"path": str(tmp_path)}}
    )
    asyncio.run(asyncio.wait_for(client.async_execute(), SECONDS))  # raises on a cell's error
    for cell in code_cells(notebook):
        assert cell.execution_count, f"not executed:\n{cell.source}"
        assert not [output for output in cell.outputs if output.output_type == "error"], cell.source


@every_notebook
def test_is_stored_as_executed_in_order(path: Path) -> None:
    counts = [cell.execution_count for cell in code_cells(nbformat.read(path, as_version=4))]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_stores_no_error_and_no_path_of_a_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        kinds = {output.get("name", output.output_type) for output in cell.outputs}
        assert not kinds & {"error", "stderr"}, cell.source
        for output in cell.outputs:
            output.get("data", {}).pop("image/png", None)  # base64 may spell anything
    stored = json.dumps(notebook, ensure_ascii=False)
    for place in ("/home/", "/root/", "/tmp/"):
        assert place not in stored


@every_notebook
def test_colab_badge_opens_this_very_file(path: Path) -> None:
    links = nbformat.read(path, as_version=4).cells[0].source.split(COLAB)[1:]
    assert [link.split(")")[0] for link in links] == [path.name]


@every_notebook
def test_is_small(path: Path) -> None:
    assert path.stat().st_size < MAX_BYTES


@every_notebook
def test_ends_with_something_to_try(path: Path) -> None:
    assert "**Now you.**" in nbformat.read(path, as_version=4).cells[-1].source
