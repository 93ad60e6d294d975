"""A whole study: the cells that its table lacks are trained, group by group, and added to it."""

import dataclasses
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxvae.arguments import require
from jaxvae.data import Dataset, fingerprint, report, require_apart
from jaxvae.files import only_writer, read_file, require_free, write_atomically
from jaxvae.study.description import group_records
from jaxvae.study.grid import Grid, configurations, groups
from jaxvae.study.results import RESULTS, Record, cell, merge, plain, read_results, variant, write_results
from jaxvae.study.sweep import Sweep, cell_mesh
from jaxvae.study.width import measured_width
from jaxvae.training import Experiment, TrainConfig, make_experiment
from jaxvae.training.defaults import resolved
from jaxvae.training.devices import one_device
from jaxvae.training.directory import made_otherwise
from jaxvae.training.experiment import load_data

STUDY = "study.json"

_COMPILERS = 2  # threads: half of the work is Python's, of which only one runs at a time


def compare(
    grid: Grid,
    out: Path,
    *,
    watch: Callable[[str, float], None] = lambda name, share: None,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
) -> bool:
    """Trains what the table in a directory lacks of these cells, and adds it.

    The table grows by a group at a time, whole or not at all, so that a study that was killed goes on where it stopped,
    and ends with the same table.

    Args:
        grid: the study's fields and their values.
        out: a directory that is new or empty, or a study's.
        watch: called now and then, with what is being trained, and the share that is done of all that was lacking.
        stop: asked now and then; once it answers True, the study ends.
        say: called with what the data were taken for, and what is made of them, a line at a time.

    Returns:
        Whether the table is complete; False when the study was stopped.

    Raises:
        ValueError: for a grid that isn't allowed, data that are missing or don't fit, or a directory in use by
            something else; before anything is written.
    """
    loaded: dict[_Source, Dataset] = {}
    cells, records = _cells(grid, loaded), read_results(out / RESULTS)
    digests = {
        source: {name: fingerprint(split) for name, split in data.splits.items()} for source, data in loaded.items()
    }
    _require_as_then(cells, records, digests, out / RESULTS)
    kinds = _experiments(_waiting(cells, records))
    for line in dict.fromkeys(line for kind in kinds for line in (*report(kind.dataset), *kind.report)):
        say(line)
    for name in dict.fromkeys(config.dataset for config in cells):
        require_apart(out, name)
    _require_own(out)
    with only_writer(out):
        return _compare(grid, cells, digests, out, watch, stop)


_Source = tuple[Any, ...]
"""What of a configuration says which data are loaded."""


def _source(config: TrainConfig) -> _Source:
    return config.dataset, config.data_dir, config.validation, config.reading


def _cells(grid: Grid, loaded: dict[_Source, Dataset]) -> list[TrainConfig]:
    """All cells, with a value for what they leave to the data, each of which is put into ``loaded`` once."""
    found = []
    for config in configurations(grid):
        source = _source(config)
        if source not in loaded:
            loaded[source] = load_data(config)
        found.append(resolved(config, loaded[source]))
    return list(dict.fromkeys(found))


def _require_as_then(
    cells: Sequence[TrainConfig], records: Sequence[Record], digests: Mapping[_Source, Mapping[str, str]], where: Path
) -> None:
    """Raises where the cells that a table has were made of other data, or with other random numbers.

    Warns where their last digits may be others for what they were made with.
    """
    known = {cell(record["config"]): record for record in records}
    before: dict[str, Any] = {}
    for config in cells:
        if record := known.get(cell(plain(config))):
            now, then = digests[_source(config)], record.get("data", {})
            changed = [name for name in then if then[name] != now.get(name)]
            text = f"as they were when {where} was begun"
            require(not changed, "data", f"images or labels of the {', '.join(changed)} split are others", text)
            before |= record["versions"]
    made_otherwise(before, where, warn=True)


def _waiting(cells: Sequence[TrainConfig], records: Sequence[Record]) -> list[list[TrainConfig]]:
    """The groups of cells that a table lacks."""
    known = {cell(record["config"]) for record in records}
    return groups(config for config in cells if cell(plain(config)) not in known)


def _compare(
    grid: Grid,
    cells: Sequence[TrainConfig],
    digests: Mapping[_Source, Mapping[str, str]],
    out: Path,
    watch: Callable[[str, float], None],
    stop: Callable[[], bool],
) -> bool:
    _prepare(out, grid)
    records = read_results(out / RESULTS)
    waiting = _waiting(cells, records)
    costs = [len(group) * group[0].epochs for group in waiting]
    done = 0
    for group, cost, sweep in zip(waiting, costs, _compiled_ahead(waiting, out), strict=True):
        name = variant({"config": plain(group[0])})
        watch(name, done / sum(costs))
        for segment, found in enumerate(sweep.train(), 1):
            if found is not None:
                data = digests[_source(group[0])]
                records += [{**record, "data": data} for record in group_records(group, found, sweep.counts)]
                write_results(out / RESULTS, records)
            elif stop():
                return False
            watch(name, (done + cost * min(1, segment / sweep.segments)) / sum(costs))
        done += cost
    return True


def _experiments(waiting: Sequence[Sequence[TrainConfig]]) -> list[Experiment]:
    """One of each kind of data and model, so that what doesn't fit is refused."""
    same: dict[str, Any] = {
        "parameterization": "log_variance",
        "constraint": "none",
        "init_std": 1.0,
        "learning_rate": 1.0,
        "seed": 0,
    }
    kinds = dict.fromkeys(dataclasses.replace(group[0], **same) for group in waiting)
    return [make_experiment(config, one_device()) for config in kinds]


def _compiled_ahead(waiting: Sequence[Sequence[TrainConfig]], out: Path) -> Iterator[Sweep]:
    """The groups' programs, each compiled while others run."""
    mesh, alone = cell_mesh(), one_device()
    widths = [_width(out, group[0], alone, mesh, -(-len(group) // mesh.size)) for group in waiting]

    def compiled(group: Sequence[TrainConfig], width: int) -> Sweep:
        rates, seeds = zip(*((config.learning_rate, config.seed) for config in group), strict=True)
        sweep = Sweep(make_experiment(group[0], alone), mesh, width, rates, seeds)
        sweep.compile()
        return sweep

    with ThreadPoolExecutor(_COMPILERS) as pool:
        ahead: deque[Future[Sweep]] = deque()
        for group, width in zip(waiting, widths, strict=True):
            ahead.append(pool.submit(compiled, group, width))
            if len(ahead) > _COMPILERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def is_study(out: Path) -> bool:
    """Whether a directory is that of a study."""
    return (out / STUDY).exists()


def read_grid(out: Path) -> Grid | None:
    """What the study in a directory was last asked for; None for one put together of others."""
    grid = _read_study(out)["grid"]
    return grid and {name: tuple(tuple(x) if isinstance(x, list) else x for x in grid[name]) for name in grid}


def merge_studies(sources: Sequence[Path], out: Path) -> None:
    """Puts the tables of several studies into one, in a directory that is new or empty, or a study's.

    Raises:
        ValueError: for a source without a table, tables that don't fit, or a directory in use by something else.
    """
    for source in sources:
        require((source / RESULTS).exists(), "merge", str(source), f"a study's directory, with a {RESULTS}")
    tables = [read_results(source / RESULTS) for source in sources]
    _require_own(out)
    with only_writer(out):
        _prepare(out, None)
        write_results(out / RESULTS, merge([read_results(out / RESULTS), *tables]))


def _require_own(out: Path) -> None:
    """Raises where a directory is in use by something else."""
    if not is_study(out):
        require_free(out, (), "a new or empty directory, or that of a study")


def _prepare(out: Path, grid: Grid | None) -> None:
    """Begins a study in a directory, or notes there what is asked for now."""
    _require_own(out)
    study = _read_study(out) if is_study(out) else {"widths": {}}
    _write_study(out, {**study, "grid": grid and dict(grid)})


def _read_study(out: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_file(out / STUDY))
        grid, widths = found["grid"], found["widths"]
        lists = grid is None or all(isinstance(values, list) for values in grid.values())
        require(
            lists and isinstance(widths, dict), "grid and widths", (grid, widths), "objects, of lists and of numbers"
        )
        for width in widths.values():
            require(type(width) is int and width >= 1, "widths", width, "of whole numbers above 0")
        return {"grid": grid, "widths": widths}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{out / STUDY} must be a study's, got {error!r}") from error


def _write_study(out: Path, study: dict[str, Any]) -> None:
    write_atomically(out / STUDY, json.dumps(study, indent=1) + "\n")


def _width(out: Path, config: TrainConfig, alone: Mesh, mesh: Mesh, most: int) -> int:
    """Cells in lockstep on each device, as measured when the study first had a group of these shapes.

    Results depend on it in their last digits, so that a study keeps it.
    """
    data = (config.dataset, config.batch_size, config.dtype, config.train_samples)
    layers = (config.architecture, config.hidden, config.latents, config.upper_latents, config.flow_steps)
    name = " ".join(str(x) for x in (mesh.size, "x", jax.devices()[0].device_kind, *data, *layers))
    study = _read_study(out)
    if name not in study["widths"]:
        study["widths"][name] = measured_width(make_experiment(config, alone), mesh, most)
        _write_study(out, study)
    return int(study["widths"][name])
