"""A whole study: it trains the cells that its table lacks, group by group, and adds them to the table."""

import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxvae.arguments import require
from jaxvae.data import fingerprint, require_apart
from jaxvae.files import LOCK, holding, only_writer, read_file, require_free, write_atomically
from jaxvae.study.description import group_records
from jaxvae.study.grid import Grid, groups
from jaxvae.study.pace import Pace
from jaxvae.study.planning import (
    Estimate,
    Loaded,
    Source,
    cells_of,
    costs,
    dealt,
    estimates,
    experiment_of,
    experiments_of,
    lacking,
    source_of,
)
from jaxvae.study.results import RESULTS, Record, cell, merge, plain, read_results, variant, write_results
from jaxvae.study.search import most_cells, wanted
from jaxvae.study.shards import ALONE, Shard, read_tables
from jaxvae.study.statistics import BASELINE
from jaxvae.study.sweep import Sweep, cell_mesh
from jaxvae.study.width import measured_width
from jaxvae.training import TrainConfig
from jaxvae.training.directory import made_otherwise

STUDY = "study.json"

_PATIENCE = 600.0  # seconds that another shard may take to measure a width
_HANDOVER = 60.0  # seconds after which a lost process loses its lock
_COMPILERS = 2  # threads; half of the work is Python's, which runs one thread at a time


def compare(
    grid: Grid,
    out: Path,
    *,
    baseline: str | None = None,
    shard: Shard = ALONE,
    search: bool = False,
    watch: Callable[[str, float, float | None], None] = lambda name, share, left: None,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
) -> bool:
    """Trains those of these cells that the table in a directory lacks, and adds them to it.

    The table grows by one whole group at a time, so that a killed study continues where it stopped and ends with the
    same table.

    Args:
        grid: the study's fields and their values.
        out: a new or empty directory, or that of a study.
        baseline: the variant that the others will be compared with, which is noted before anything is trained. If it
            isn't given and none is noted, it is ``statistics.BASELINE``, or else the first variant.
        shard: the share of the groups to train here; other processes may train others in the same directory.
        search: whether to search for each group's learning rate instead of training all cells (``search.wanted``).
        watch: a function that is called regularly with the name of what is being trained, the share that is done of all
            that was lacking, and the seconds left, or None if they aren't known yet.
        stop: a function that is called regularly; once it returns True, the study ends.
        say: a function that is called with each line on how the data were read and how they are modelled.

    Returns:
        Whether the table is complete; False if the study was stopped, or if other shards have more to do.

    Raises:
        ValueError: for a grid that isn't allowed, data that are missing or don't fit, a baseline that isn't in the grid
            or isn't the one noted, or a directory in use by something else; nothing is written then.
    """
    known = read_tables(out)
    cells, loaded = cells_of(grid, known)
    variants = list(dict.fromkeys(variant({"config": vars(config)}) for config in cells))
    require(baseline is None or baseline in variants, "baseline", baseline, f"one of {', '.join(variants)}")
    digests = {
        source: {name: fingerprint(split) for name, split in data.splits.items()} for source, data in loaded.items()
    }
    _require_as_then(cells, known, digests, out / RESULTS)
    waiting = lacking(dealt(cells, loaded, shard), known)
    for line in dict.fromkeys(line for kind in experiments_of(waiting, loaded) for line in kind.report):
        say(line)
    for name in dict.fromkeys(config.dataset for config in cells):
        require_apart(out, name)
    asked = {"grid": dict(grid), "baseline": baseline, "search": search}
    first = BASELINE if BASELINE in variants else variants[0]
    if shard == ALONE:
        _require_own(out)
        with only_writer(out):
            _prepare(out, asked, first)
            return _compare(cells, loaded, digests, out, shard, search, watch, stop)
    if not (out / LOCK).exists():  # another shard may be about to begin the study
        _require_own(out)
    with holding(out, f"{LOCK}-{shard.number}-of-{shard.total}", _HANDOVER):
        with holding(out, LOCK, _PATIENCE):
            _prepare(out, asked, first)
        return _compare(cells, loaded, digests, out, shard, search, watch, stop)


def _require_as_then(
    cells: Sequence[TrainConfig], records: Sequence[Record], digests: Mapping[Source, Mapping[str, str]], where: Path
) -> None:
    """Raises ValueError if the cells in a table were made with other data or other random numbers.

    It warns if other versions or hardware may have changed their last digits.
    """
    known = {cell(record["config"]): record for record in records}
    before: dict[str, Any] = {}
    for config in cells:
        if record := known.get(cell(plain(config))):
            now, then = digests[source_of(config)], record.get("data", {})
            changed = [name for name in then if then[name] != now.get(name)]
            text = f"as they were when {where} was started"
            require(not changed, "data", f"images or labels of the {', '.join(changed)} split are others", text)
            before |= record["versions"]
    made_otherwise(before, where, warn=True)


def _compare(
    cells: Sequence[TrainConfig],
    loaded: Loaded,
    digests: Mapping[Source, Mapping[str, str]],
    out: Path,
    shard: Shard,
    search: bool,
    watch: Callable[[str, float, float | None], None],
    stop: Callable[[], bool],
) -> bool:
    own = read_results(out / shard.table)
    mine = dealt(cells, loaded, shard)
    waiting = lacking(_asked_for(mine, out, search), read_tables(out))
    total, done = sum(costs(_at_most(mine) if search else waiting, loaded)), 0.0
    pace, spent = Pace(len(waiting), _COMPILERS), 0.0
    while waiting:
        ends = np.cumsum([done, *costs(waiting, loaded)])
        total, done = max(total, ends[-1]), ends[-1]
        shares = itertools.pairwise((ends / total).tolist())
        sweeps = _compiled_ahead(waiting, loaded, out, shard, pace)
        for group, (start, end), sweep in zip(waiting, shares, sweeps, strict=True):
            name = variant({"config": plain(group[0])})
            watch(name, start, pace.left(start, spent))
            before = time.monotonic() - spent
            for segment, found in enumerate(sweep.train(), 1):
                if found is not None:
                    data = digests[source_of(group[0])]
                    own += [{**record, "data": data} for record in group_records(group, found, sweep.counts)]
                    write_results(out / shard.table, own)
                elif stop():
                    return False
                share, spent = start + (end - start) * min(1, segment / sweep.segments), time.monotonic() - before
                watch(name, share, pace.left(share, spent))
        waiting = lacking(_asked_for(mine, out, search), read_tables(out))
        pace.more(len(waiting))
    return _joined(cells, out, shard, search)


def _asked_for(some: Sequence[list[TrainConfig]], out: Path, search: bool) -> Sequence[list[TrainConfig]]:
    """Returns the cells of groups that are to be trained, as far as they are known yet."""
    if not search:
        return some
    records = {cell(record["config"]): record for record in read_tables(out)}
    return [wanted(group, records) for group in some]


def _at_most(some: Sequence[list[TrainConfig]]) -> list[list[TrainConfig]]:
    """Returns as many cells of each group as a search trains at most."""
    sizes = [[len({getattr(c, name) for c in group}) for name in ("learning_rate", "seed")] for group in some]
    return [group[: most_cells(*size)] for group, size in zip(some, sizes, strict=True)]


def _joined(cells: Sequence[TrainConfig], out: Path, shard: Shard, search: bool) -> bool:
    """Returns whether all cells are trained; if so, it joins all shards' tables into one, in the cells' order."""
    found = {cell(record["config"]): record for record in read_tables(out)}
    if lacking(_asked_for(groups(cells), out, search), [*found.values()]):
        return False
    with nullcontext() if shard == ALONE else holding(out, LOCK, _PATIENCE):
        if len(read_results(out / RESULTS)) < len(found):
            names = [cell(plain(config)) for group in groups(cells) for config in group]
            first = [found.pop(name) for name in names if name in found]
            write_results(out / RESULTS, [*first, *found.values()])
    return True


def _compiled_ahead(
    waiting: Sequence[Sequence[TrainConfig]], loaded: Loaded, out: Path, shard: Shard, pace: Pace
) -> Iterator[Sweep]:
    """Yields the groups' programs, each compiled while others run."""
    mesh = cell_mesh()
    with nullcontext() if shard == ALONE else holding(out, LOCK, _PATIENCE):
        widths = [_width(out, group[0], loaded, mesh, -(-len(group) // mesh.size)) for group in waiting]

    def compiled(group: Sequence[TrainConfig], width: int) -> Sweep:
        rates, seeds = zip(*((config.learning_rate, config.seed) for config in group), strict=True)
        began = time.monotonic()
        sweep = Sweep(experiment_of(group[0], loaded), mesh, width, rates, seeds)
        sweep.compile()
        pace.compiled(time.monotonic() - began)
        return sweep

    with ThreadPoolExecutor(_COMPILERS) as pool:
        ahead: deque[Future[Sweep]] = deque()
        for group, width in zip(waiting, widths, strict=True):
            ahead.append(pool.submit(compiled, group, width))
            if len(ahead) > _COMPILERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def estimate(grid: Grid, out: Path | None, shard: Shard = ALONE, search: bool = False) -> list[Estimate]:
    """Estimates the cost of training those of these cells that the table in a directory, if any, lacks.

    It writes nothing. For a search, it is the highest cost of a search from its beginning.
    """
    known = read_tables(out) if out else []
    cells, loaded = cells_of(grid, known)
    mine = dealt(cells, loaded, shard)
    return estimates(lacking(_at_most(mine) if search else mine, known), loaded, cell_mesh())


def is_study(out: Path) -> bool:
    """Returns whether a directory is that of a study."""
    return (out / STUDY).exists()


def read_grid(out: Path) -> Grid | None:
    """Returns the last grid of the study in a directory; None if it was merged from others."""
    grid = _read_study(out)["grid"]
    return grid and {name: tuple(tuple(x) if isinstance(x, list) else x for x in grid[name]) for name in grid}


def read_search(out: Path) -> bool:
    """Returns whether the study in a directory was last asked to search for learning rates."""
    return bool(_read_study(out)["search"])


def read_baseline(out: Path) -> str:
    """Returns the variant that the others of the study in a directory are compared with."""
    return str(_read_study(out)["baseline"])


def merge_studies(sources: Sequence[Path], out: Path) -> None:
    """Merges the tables of several studies into one, in a new or empty directory, or that of a study.

    Raises:
        ValueError: for a source without a table, tables that don't fit, or a directory in use by something else.
    """
    for source in sources:
        require(bool(read_tables(source)), "merge", str(source), f"a study's directory, with a {RESULTS}")
    tables = [read_tables(source) for source in sources]
    baselines = {read_baseline(source) for source in sources if is_study(source)}
    _require_own(out)
    with only_writer(out):
        _prepare(
            out, {"grid": None, "baseline": None, "search": False}, baselines.pop() if len(baselines) == 1 else BASELINE
        )
        write_results(out / RESULTS, merge([read_tables(out), *tables]))


def _require_own(out: Path) -> None:
    """Raises ValueError if a directory is in use by something else."""
    if not is_study(out):
        require_free(out, (), "a new or empty directory, or that of a study")


def _prepare(out: Path, asked: Mapping[str, Any], first: str) -> None:
    """Begins a study in a directory, or notes there what is asked for now; a noted baseline is kept."""
    _require_own(out)
    study = _read_study(out) if is_study(out) else {"widths": {}, "baseline": asked["baseline"] or first}
    noted = study["baseline"]
    require(asked["baseline"] in (None, noted), "baseline", asked["baseline"], f"{noted}, noted when the study began")
    _write_study(out, {**study, "grid": asked["grid"], "search": asked["search"]})


def _read_study(out: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_file(out / STUDY))
        grid, widths = found["grid"], found["widths"]
        baseline, search = found.get("baseline", BASELINE), found.get("search", False)
        lists = grid is None or all(isinstance(values, list) for values in grid.values())
        require(
            lists and isinstance(widths, dict), "grid and widths", (grid, widths), "objects, of lists and of numbers"
        )
        for width in widths.values():
            require(type(width) is int and width >= 1, "widths", width, "of whole numbers above 0")
        require(isinstance(baseline, str), "baseline", baseline, "a variant's name")
        require(isinstance(search, bool), "search", search, "true or false")
        return {"grid": grid, "widths": widths, "baseline": baseline, "search": search}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{out / STUDY} must be a study's, got {error!r}") from error


def _write_study(out: Path, study: dict[str, Any]) -> None:
    write_atomically(out / STUDY, json.dumps(study, indent=1) + "\n")


def _width(out: Path, config: TrainConfig, loaded: Loaded, mesh: Mesh, most: int) -> int:
    """Returns the number of cells in lockstep on each device, measured for the study's first group of these shapes.

    The last digits of results depend on it, so that a study keeps it.
    """
    data = (config.dataset, config.batch_size, config.dtype, config.train_samples)
    layers = (config.architecture, config.hidden, config.latents, config.upper_latents, config.flow_steps)
    name = " ".join(str(x) for x in (mesh.size, "x", jax.devices()[0].device_kind, *data, *layers))
    study = _read_study(out)
    if name not in study["widths"]:
        study["widths"][name] = measured_width(experiment_of(config, loaded), mesh, most)
        _write_study(out, study)
    return int(study["widths"][name])
