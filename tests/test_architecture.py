"""The house: imports run downwards, start-up is light, tests mirror the package."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxvae"
CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"


def floors(page: str) -> dict[str, int]:
    """The floor of each room, from the table: a row per floor, its rooms in the second column."""
    rows = re.findall(r"^\| (\d) \|(.*?)\|", page, re.MULTILINE)
    return {name: int(floor) for floor, cell in rows for name in re.findall(r"`(\w+)`", cell)}


FLOORS = floors(CONTRIBUTING.read_text())
COMMANDS = {"train", "compare", "evaluate", "sample", "explain", "diagnose", "reproduce"}
"""Functions of ``commands`` that are named for the function they run."""
PRESETS = {"dreg"}
"""Presets that are named for what they train with."""
ADAPTERS = {"build", "read"}
"""What each of ``interop``'s modules on a peer gives, to and from its distributions."""
CORE = (
    "_version",
    "arguments",
    "extras",
    "files",
    "texts",
    "polynomials",
    "special",
    "gammas",
    "clipping",
    "transforms",
    "chains",
    "parameterizations",
    "serialization",
    "distribution",
    "gaussian",
    "squashed",
    "distribution_functions",
    "natural",
    "contract",
    "ranges",
    "multivariate",
    "diagnosis",
    "interop",
    "core",
)
"""What other people's code depends on, and so needs JAX and NumPy alone."""
HEAVY = (
    "PIL",
    "chex",
    "distrax",
    "flax",
    "grain",
    "matplotlib",
    "numpyro",
    "optax",
    "orbax",
    "requests",
    "rich",
    "safetensors",
    "tensorflow",
    "tensorflow_datasets",
    "tensorflow_probability",
)
MODULES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted(module.parent for module in MODULES if module.name == "__init__.py")


def room(module: Path) -> str:
    """A file's name in FLOORS: that of its folder, for files in one."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(module: Path) -> set[str]:
    """The modules that a file imports, with those inside its functions."""
    return imported_by(ast.parse(module.read_text()), module)


def imported_by(tree: ast.AST, module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_imports_run_downwards(module):
    here = room(module)
    for name in imported(module):
        parts = name.split(".")
        if parts[0] == "jaxvae" and len(parts) > 1 and parts[1] in FLOORS and parts[1] != here:
            there = parts[1]
            assert FLOORS[there] <= FLOORS[here], f"{here} imports {there} from above"
            assert not FLOORS[there] == FLOORS[here] == 3, f"{here} imports {there}, a room of the same floor"


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) in CORE], ids=lambda m: str(m.relative_to(PACKAGE)))
def test_the_core_needs_jax_and_numpy_alone(module):
    """As it is imported: what a function loads when it is called is that function's."""
    tree = ast.parse(module.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    for name in imported_by(tree, module):
        package, *rest = name.split(".")
        if package == "jaxvae":
            assert not rest or rest[0] in CORE, f"{room(module)} imports {name} from the workshop"
        else:
            assert package in ("jax", "numpy") or package in sys.stdlib_module_names, f"{module} imports {name}"


def defined(module: Path) -> set[str]:
    """The public functions and classes at a file's top level."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = (node.name for node in ast.parse(module.read_text()).body if isinstance(node, kinds))
    return {name for name in found if not name.startswith("_")}


def exported(folder: Path) -> set[str]:
    """What a folder's ``__init__`` imports from a module, with no module among it; the package's does by ``core``."""
    public = folder / ("core.py" if folder == PACKAGE else "__init__.py")
    nodes = [x for x in ast.parse(public.read_text()).body if isinstance(x, ast.ImportFrom)]
    names = ((PACKAGE.parent / node.module.replace(".", "/"), alias) for node in nodes for alias in node.names)
    return {
        alias.asname or alias.name
        for where, alias in names
        if not (where / alias.name).is_dir() and not (where / f"{alias.name}.py").exists()
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_nothing_is_named_like_a_module_beside_it(folder):
    """Else ``from folder import name`` would give the one or the other, by what was imported before."""
    beside = [module for module in MODULES if module.parent == folder]
    modules = {module.stem for module in beside} | {inner.name for inner in FOLDERS if inner.parent == folder}
    names = exported(folder).union(*map(defined, beside))
    assert not names & modules


def test_a_name_is_defined_once():
    places: dict[str, set[str]] = {}
    for module in MODULES:
        peer = module.parent.name == "interop" and defined(module) >= ADAPTERS
        for name in defined(module) - (ADAPTERS if peer else set()):
            places.setdefault(name, set()).add(".".join(module.relative_to(PACKAGE).with_suffix("").parts))
    for names, room in ((COMMANDS, "commands."), (PRESETS, "study.presets")):
        for name in names:
            (place,) = (place for place in places[name] if place.startswith(room))
            places[name].remove(place)
    assert {name: sorted(found) for name, found in places.items() if len(found) > 1} == {}


def test_every_module_has_a_floor():
    assert {room(m) for m in MODULES} == set(FLOORS)


def test_no_import_cycles():
    graph = {room(m): {n.split(".")[1] for n in imported(m) if n.startswith("jaxvae.")} & set(FLOORS) for m in MODULES}
    done: set[str] = set()
    while len(done) < len(graph):
        ready = {name for name, needs in graph.items() if name not in done and needs - {name} <= done}
        assert ready, f"cycle among {set(graph) - done}"
        done |= ready


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_matplotlib_is_imported_in_one_place(module):
    if room(module) != "plots":
        assert not any(name.split(".")[0] == "matplotlib" for name in imported(module))


def run(code: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    ).stdout


def test_import_is_light():
    loaded = json.loads(run("import sys, json, jax, jaxvae; print(json.dumps(sorted(sys.modules)))"))
    assert "jaxvae.gaussian" in loaded
    assert not [m for m in loaded if m.split(".")[0] in HEAVY]


def test_import_makes_no_arrays():
    code = "import jaxvae, jax; from jax._src import xla_bridge; print(xla_bridge.backends_are_initialized())"
    assert run(code).strip() == "False"


def test_import_costs_at_most_150_ms_more_than_jax(tmp_path):
    # By the CPU's time, and the shortest: whatever else the machine does only adds. Sources are compiled by the first.
    code = "import time, jax, jax.numpy; t = time.process_time(); import jaxvae; print(time.process_time() - t)"
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    assert min(float(run(code, **kept)) for _ in range(4)) < 0.150


def test_no_two_modules_of_the_tests_have_one_name():
    # They are imported by their names alone, so that the second to be asked for would be the first.
    names = [path.stem for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert len(names) > 10
    assert sorted(set(names)) == sorted(names)


def test_tests_mirror_the_package():
    tests = Path(__file__).parent
    for module in MODULES:
        name = module.relative_to(PACKAGE)
        if name.stem not in ("__init__", "__main__", "_version"):
            assert (tests / name.parent / f"test_{name.name}").exists(), f"no tests for {name}"
