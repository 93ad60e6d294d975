"""The documentation's code runs, its commands parse, and what it says of the package is what the package has."""

import ast
import dataclasses
import doctest
import importlib.util
import inspect
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest
from PIL import Image
from representatives import each

import jaxvae as jv
from jaxvae import cli, contract
from jaxvae.data import load
from jaxvae.interop.optional import load_optional
from jaxvae.study.grid import WIDTHS
from jaxvae.trained import export_programs
from jaxvae.training import config_from_mapping, make_experiment, train
from jaxvae.training.config import TrainConfig

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    return [code for language, code in BLOCK.findall(page.read_text()) if language in languages]


def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(page: Path) -> None:
    """Executes a page's Python blocks in one namespace; those with prompts are doctests."""
    names: dict[str, object] = {}
    for number, code in enumerate(blocks(page, "python")):
        where = f"{page.name}[{number}]"
        if not code.startswith(">>>"):
            exec(compile(code, where, "exec"), names)
            continue
        test = doctest.DocTestParser().get_doctest(code, names, where, str(page), 0)
        seen: list[str] = []
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(test, out=seen.append, clear_globs=False)
        assert runner.failures == 0, "".join(seen)
        names = test.globs


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with what the pages speak of: a run, images, programs."""
    path = tmp_path_factory.mktemp("place")
    images = 15 * load("digits").train.images
    np.save(path / "digits.npy", images)
    np.save(path / "images.npy", images[:50])
    (path / "new").mkdir()
    for i in range(12):
        Image.fromarray(images[i, ..., 0]).save(path / "new" / f"{i}.png")
    config = TrainConfig(dataset=str(path / "digits.npy"), latents=2, hidden=(8,), epochs=1, batch_size=80)
    run = path / "runs" / "digits-log_variance"
    assert train(make_experiment(config), run)
    export_programs(jv.load(run), path / "programs")
    return path


WITH_CODE = [page for page in PAGES if blocks(page, "python")]
LONG = ("counts", "datasets", "diffusion", "jax", "migrate", "nnx", "tables", "tutorial", "use")
"""Pages whose code trains, or compiles, for long."""


@pytest.mark.parametrize(
    "page",
    each(WITH_CODE, kept=[page for page in WITH_CODE if page.stem not in LONG]),
    ids=lambda page: page.stem,
)
def test_code_runs(page: Path, monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.chdir(place)
    # All checks take half a minute.
    monkeypatch.setattr(contract, "_CHECKS", {"monotone": contract._CHECKS["monotone"]})
    for peer in re.findall("^import (distrax)$", page.read_text(), re.MULTILINE):
        load_optional(peer, peer)  # without the warnings that it raises as it loads
    with jax.default_prng_impl("unsafe_rbg"):  # compiles faster; no page shows random numbers
        run(page)


def test_code_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\ntext\n```python\n>>> x\n2\n```\n")
    with pytest.raises(AssertionError, match="Expected:"):
        run(page)


def test_no_other_name_hides_python() -> None:
    for page in PAGES:
        assert not blocks(page, "py", "pycon", "python3"), f"{page}: not executed"


def invocations() -> list[str]:
    """Every call of `jaxvae` in a shell block, whatever stands before it; backslashes join lines."""
    found = set()
    for page in PAGES:
        for code in blocks(page, "sh", "bash"):
            code = re.sub(r"\$\w+", "0", code.replace("\\\n", " "))
            for line in re.findall(r"(?<![/\w])jaxvae [a-z][^&\n#]*", code):
                found.add((line.rstrip('"') if line.count('"') % 2 else line).strip())
    return sorted(found)


@pytest.mark.parametrize("line", invocations())
def test_command_parses(line: str) -> None:
    words = [word for word in shlex.split(line)[1:] if word != "--help"]
    args = cli.make_parser(words[0]).parse_args(words)
    if words[0] == "train":
        config_from_mapping(args.fields)
    for name, values in getattr(args, "fields", {}).items() if words[0] == "compare" else ():
        for value in values if name not in WIDTHS else (values,):
            dataclasses.replace(TrainConfig(), **{name: value})


def test_commands_are_found() -> None:
    assert len(invocations()) > 20


def test_command_line_page_has_every_command_and_field() -> None:
    page = hooks().command_line()
    for name in ("list", "train", "compare", "evaluate", "data prepare"):
        assert f"## jaxvae {name}\n" in page
    _, _, after = page.partition("## jaxvae train\n")
    train, _, rest = after.partition("\n## ")
    compare = rest.partition("jaxvae compare\n")[2].partition("\n## ")[0]
    for field in dataclasses.fields(TrainConfig):
        flag = "--" + field.name.replace("_", "-")
        assert flag in train.split(), flag
        assert flag in compare.split(), flag


def test_registry_page_has_every_name() -> None:
    assert "<!-- registry -->" in (ROOT / "docs/reference/parameterizations.md").read_text()
    rows = hooks().registry().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(jv.PARAMETERIZATIONS)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}


def test_fields_page_has_every_field() -> None:
    assert "<!-- fields -->" in (ROOT / "docs/reference/training.md").read_text()
    rows = hooks().fields().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [field.name for field in dataclasses.fields(TrainConfig)]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    numbers = [row for row in rows if "| int |" in row or "| float |" in row]
    assert all(re.search(r"\d[^|]* \|$", row) for row in numbers), "without a range"


def test_notebooks_page_has_every_notebook() -> None:
    page = hooks().notebooks()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"main/notebooks/{path.name})" in page
        shown = hooks().notebook(path)
        assert f"(notebooks/{path.stem}.md)" in page
        assert "\n![](data:image/png;base64," in shown or "\n```text\n" in shown
        assert ".ipynb)" not in shown.replace(f"main/notebooks/{path.name})", "")


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub writes them in a link."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_outside_of_the_site_lead_somewhere() -> None:
    """MkDocs checks those of the site."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "benchmarks").rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            name, _, anchor = link.partition("#")
            if "://" in link:
                continue
            target = page.parent / name if name else page
            assert target.exists(), f"{page}: {link}"
            assert not anchor or anchor in anchors(target), f"{page}: {link}"


def test_navigation_has_every_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]
    pages += [Path("notebooks", f"{path.stem}.md") for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert not [page for page in pages if not re.search(rf" {re.escape(page.as_posix())}$", navigation, re.MULTILINE)]


def formulas(text: str) -> list[str]:
    """What GitHub and the site draw: blocks of "math", and what stands between dollars outside of code."""
    found = [code for language, code in BLOCK.findall(text) if language == "math"]
    return found + re.findall(r"\${1,2}([^$]+)\${1,2}", re.sub(r"`[^`]*`", "", BLOCK.sub("", text)))


@pytest.mark.skipif(shutil.which("node") is None, reason="KaTeX needs node outside of a browser")
def test_formulas_are_drawn() -> None:
    pages = [page.read_text() for page in PAGES] + [
        hooks().notebook(path) for path in (ROOT / "notebooks").glob("*.ipynb")
    ]
    found = [formula for page in pages for formula in formulas(page)]
    assert len(found) > 100
    script = """
        const [katex, formulas] = [require(process.argv[1]), JSON.parse(require("fs").readFileSync(0))];
        for (const formula of formulas) katex.renderToString(formula, {strict: "error"});
    """
    command = ["node", "--eval", script, str(ROOT / "docs/katex/katex.min.js")]
    done = subprocess.run(command, input=json.dumps(found), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_results_link_to_what_the_site_has() -> None:
    made = {"ranges.md", "results/compare-mnist/report.md"}
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", hooks().results()):
        assert link in made or link.startswith("https://") or (ROOT / "benchmarks" / link).suffix == ".png", link


def public_modules() -> set[str]:
    """The modules that an ``__init__`` takes public names from."""
    found = set()
    for path in (ROOT / "jaxvae").rglob("__init__.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not (ROOT / f"{node.module.replace('.', '/')}").is_dir():
                found |= {node.module} if node.names[0].asname else set()  # what is exported is named "as" itself
    return found - {"jaxvae._version"}


def test_reference_covers_every_public_module() -> None:
    pages = "\n".join(page.read_text() for page in (ROOT / "docs/reference").glob("*.md"))
    shown = re.findall(r"^::: (\S+)$", pages, re.MULTILINE)
    assert len(shown) == len(set(shown))
    assert public_modules() <= set(shown)


WITHOUT_EXAMPLE = {"load", "from_bijector"}
"""They need a trained model and another library; pages have runnable examples of ``load``."""


def test_every_function_and_class_of_the_core_has_an_example() -> None:
    public = {name: inspect.unwrap(getattr(jv, name)) for name in jv.__all__}
    found = {name: x for name, x in public.items() if inspect.isfunction(x) or inspect.isclass(x)}
    assert {name for name, x in found.items() if ">>>" not in (x.__doc__ or "")} == WITHOUT_EXAMPLE


def test_citation_has_the_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (\S+)$", citation, re.MULTILINE)[1] == jv.__version__
