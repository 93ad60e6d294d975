"""The actions of the subcommands: they read, call, print and draw, but compute nothing themselves.

A command is a function of the parsed arguments. It prints lines for people, and returns a ``Reply`` for programs. It
imports slow modules inside the function. It raises ValueError, OSError or ArithmeticError with one line for the user.
"""

import argparse
import dataclasses
import io
import math
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxvae import process
from jaxvae.texts import counted, flag_words, printable

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from jaxvae.data import DataContract, Split, Unsplit
    from jaxvae.study import Estimate, Shard
    from jaxvae.study.grid import Grid
    from jaxvae.trained import Exported, Run, TrainedModel
    from jaxvae.training import Experiment, TrainConfig

_SHEET = 100  # the number of images on a sheet of samples
_DECODED = 200  # the number of latents decoded at a time
_MOST_IMAGES = 10_000  # the largest number of images on a picture

_OTHER_SIGMA = ("--parameterization",)
_CALMER = ("--learning-rate", "--clip-norm")
_FREER_LATENTS = ("--beta", "--beta-schedule linear", "--free-bits")

REMEDIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "not finite": _CALMER,
        "σ not positive": (*_OTHER_SIGMA, "--constraint projection"),
        "infinite KL": ("--learning-rate", *_OTHER_SIGMA),
        "posterior collapse": _FREER_LATENTS,
        "vanishing KL": (*_FREER_LATENTS, "--learning-rate"),
        "no finite update": _CALMER,
        "skipped updates": _CALMER,
        "divergence": ("--learning-rate", "--learning-rate-decay cosine"),
        "exploding gradient": (*_CALMER, "--warmup-steps"),
        "overfitting": ("--epochs", "--hidden"),
        "zero gradient": _OTHER_SIGMA,
        "saturated": (*_OTHER_SIGMA, "--learning-rate"),
        "at the floor": _OTHER_SIGMA,
        "at the ceiling": _OTHER_SIGMA,
        "steep": (*_CALMER, *_OTHER_SIGMA),
        "noise lost": _OTHER_SIGMA,
        "constant": ("--epochs", "--free-bits", "--latents"),
        "collapsed": _FREER_LATENTS,
        "unfinished": ("--resume",),
    }
)
"""The flags of ``jaxvae train`` that follow the advice for each state of a diagnosis."""


class Reply(NamedTuple):
    """A command's reply: a value that JSON can hold, or None; and its exit status."""

    result: Any = None
    status: int = 0


def list_parameterizations(args: argparse.Namespace) -> Reply:
    """``jaxvae list``."""
    from jaxvae.parameterizations import PARAMETERIZATIONS

    rows = [
        {"name": name, "range": str(p.std_range), "formula": p.formula, "source": p.source}
        for name, p in PARAMETERIZATIONS.items()
    ]
    if args.names:
        _say(*PARAMETERIZATIONS)
    else:
        heads = {"name": "name", "range": "range of σ", "formula": "formula in the raw number r", "source": "source"}
        shown = ("name", "range", "formula", *["source"] * args.sources)
        widths = {column: max(len(row[column]) for row in (heads, *rows)) for column in shown}
        _say(*("  ".join(f"{row[column]:{widths[column]}}" for column in shown).rstrip() for row in (heads, *rows)))
    return Reply(rows)


def explain(args: argparse.Namespace) -> Reply:
    """``jaxvae explain``."""
    from jaxvae.parameterizations import PARAMETERIZATIONS, parameterization

    chosen = {name: parameterization(name) for name in args.names or PARAMETERIZATIONS}
    process.use_compilation_cache()

    from jaxvae import plots

    figure = plots.explain(chosen)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        return Reply({"files": [_save(figure, args.out / "explain.png")]})
    except OSError as error:
        raise ValueError(
            f"--out must be a directory to write to, got {str(args.out)!r} ({error.strerror or error})"
        ) from error


def train(args: argparse.Namespace) -> Reply:
    """``jaxvae train``."""
    _join(args)  # before our handlers, as JAX would replace that of SIGTERM
    _prepare()
    import jax

    from jaxvae import training
    from jaxvae.files import claimed
    from jaxvae.progress import RunProgress
    from jaxvae.training.agreement import failing_together
    from jaxvae.training.directory import RunDirectory

    with process.signals() as stopped:
        with failing_together():
            config = _configuration(args)
            kept = RunDirectory(args.out).kept() if args.resume else None
            experiment = training.make_experiment(config, origin=None if kept is None else kept.origin)
            experiment = experiment._replace(start=_start(args, experiment))
        name = f"{Path(config.dataset).stem}-{config.parameterization}"
        alone, first = jax.process_count() == 1, jax.process_index() == 0
        with nullcontext(args.out) if args.out else claimed(Path("runs") / name) as out:
            watch: dict[str, Any] = {}
            if first:
                begun = " holds no run yet, so a new one begins" * (args.resume and not RunDirectory(out).holds_run)
                _say(*experiment.report, f"{out}{begun}")
                total = config.epochs, experiment.steps_per_epoch
                watch = {"watch": lambda step: RunProgress(*total, step, console=_console(args))}
            complete = training.train(
                experiment, out, resume=args.resume, tensorboard=args.tensorboard, stop=stopped, **watch
            )
    result = {"run": str(out), "complete": complete} if first else None
    if not complete:
        if first:
            _say(f"The run is stopped and saved. To go on: jaxvae train --resume --out {out}")
        return Reply(result, process.STOPPED)
    if alone:
        from jaxvae.trained import Run

        run = Run(out)
        score = _report(run, config.samples, "test")
        return Reply({"run": str(out), "complete": True, "evaluation": score, "files": _draw(run)})
    if first:
        _say(f"The run is complete. To score it: jaxvae evaluate {out}")
    return Reply(result)


def compare(args: argparse.Namespace) -> Reply:
    """``jaxvae compare``."""
    process.use_every_core()
    _prepare()
    from jaxvae import study
    from jaxvae.arguments import require
    from jaxvae.files import claimed
    from jaxvae.progress import StudyProgress

    require(0 < args.resolve < math.inf, "--resolve", args.resolve, "above 0")
    for name in ("baseline", "shard", "search", "on") if args.merge or args.report_only else ():
        value = getattr(args, name)
        require(not value, f"--{name}", value, "left out where nothing is trained")
    for name in ("tasks", "resources") if args.on is None else ():
        value = getattr(args, name)
        require(not value, f"--{name}", value, "given with --on")
    with process.signals() as stopped:
        out, grid, search = args.out, None, args.search
        if args.merge:
            require(out is not None, "--out", None, "given with --merge: where the merged table goes")
            others = [*(f"--{name.replace('_', '-')}" for name in args.fields), *["--quick"] * args.quick]
            require(not others, "--merge", others, "given without flags that say what to train")
            study.merge_studies(args.merge, out)
        elif args.report_only:
            begun = out is not None and study.is_study(out)
            require(begun, "--out", out and str(out), "a study's directory, with --report-only")
            grid, search = study.read_grid(out), study.read_search(out)
        else:
            shard = _shard(args)
            resumed = out is not None and study.is_study(out) and not (args.fields or args.quick)
            asked = study.extended(study.QUICK if args.quick else study.DEFAULT, args.fields)
            grid = study.read_grid(out) if resumed else asked
            search = search or (resumed and study.read_search(out))
            if args.dry_run:
                require(grid is not None, "--dry-run", str(out), "for a study that was not merged from others")
                assert grid is not None
                estimates = study.estimate(grid, out, shard, search)
                _print_estimates(estimates)
                return Reply([x._asdict() for x in estimates])
            if args.on is not None:
                require(grid is not None, "--on", str(out), "for a study that was not merged from others")
                assert grid is not None
                return _share_out(args, grid, search)
            name = f"compare-{Path(str(asked.get('dataset', ('digits',))[0])).stem}"
            with nullcontext(out) if out else claimed(Path("runs") / name) as out:
                if grid is not None:
                    with StudyProgress(_console(args)) as progress:

                        def watch(name: str, share: float, left: float | None) -> None:
                            if share == 0:
                                _say(out)
                            progress.update(name, share, left)

                        complete = study.compare(
                            grid,
                            out,
                            baseline=args.baseline,
                            shard=shard,
                            search=search,
                            watch=watch,
                            stop=stopped,
                            say=_say,
                        )
                    if stopped():
                        _say(f"The study is stopped and saved. To go on: jaxvae compare --out {out}")
                        return Reply({"study": str(out), "complete": False}, process.STOPPED)
                    if not complete:
                        _say(
                            f"Shard {shard} is done. The last shard that ends writes the report, or --report-only does."
                        )
                        return Reply({"study": str(out), "complete": False})
    if grid is None:
        command = "jaxvae compare --merge DIR ... --out DIR, of the studies that were joined"
    else:
        command = study.command(grid, search)
    answers, paths = study.write_report(
        study.read_tables(out), out, command, baseline=study.read_baseline(out), resolve=args.resolve
    )
    for answer in answers:
        _print_wrapped(*filter(None, [answer.setting]), *answer.lines, "", " ".join(answer.details), "")
    _say(*paths)
    found = [answer._asdict() for answer in answers]
    return Reply({"study": str(out), "complete": True, "answers": found, "files": [*map(str, paths)]})


def _share_out(args: argparse.Namespace, grid: "Grid", search: bool) -> Reply:
    """Trains a study by tasks on a cluster, each of which trains a shard."""
    from jaxvae import study
    from jaxvae.arguments import require

    require(args.out is not None, "--out", None, "given with --on: the directory that all machines have in common")
    require(args.shard is None, "--shard", args.shard, "left out with --on, which deals out shards itself")
    require(args.tasks is not None and args.tasks > 0, "--tasks", args.tasks, "how many, with --on: at least 1")
    out = args.out.resolve()
    study.cells_of(grid, study.read_tables(out))  # raises errors here instead of in every task
    words = [*shlex.split(study.command(grid, search))[1:], "--out", str(out), "--resolve", str(args.resolve)]
    words += [] if args.baseline is None else ["--baseline", args.baseline]
    tasks = [[*words, "--shard", f"{i}/{args.tasks}"] for i in range(1, args.tasks + 1)]
    resources = dict(map(_resource, args.resources))
    if args.on == "ray":
        study.run_on_ray(tasks, resources)
        return _written(out / "report.html")
    logs = out.with_name(f"{out.name}-logs")
    jobs = study.submit_to_slurm(tasks, logs, resources)
    _say(f"submitted {', '.join(job.job_id for job in jobs)}; what they print is in {logs}")
    _say(f"the last to be done writes the report; before that: jaxvae compare --out {args.out} --report-only")
    return Reply({"study": str(out), "complete": False, "jobs": [job.job_id for job in jobs]})


def _assignment(flag: str, text: str) -> tuple[str, str]:
    """Returns the two parts of NAME=VALUE."""
    from jaxvae.arguments import require

    name, sign, value = text.partition("=")
    require(bool(name and sign and value), flag, text, "NAME=VALUE")
    return name, value


def _resource(text: str) -> tuple[str, Any]:
    """Returns a name and its value, as a number if possible."""
    name, value = _assignment("--resources", text)
    for kind in (int, float):
        with suppress(ValueError):
            return name, kind(value)
    return name, value


def _shard(args: argparse.Namespace) -> "Shard":
    """Returns the share of a study from the flag, or else from the cluster's job of this process."""
    from jaxvae import study
    from jaxvae.arguments import require

    if args.shard is not None:
        shard = study.shard_of(args.shard)
    elif args.out is not None and (found := study.shard_of_job()):
        shard, name = found
        if shard != study.ALONE:
            _say(f"shard {shard}, as {name} says; --shard 1/1 trains all")
    else:
        return study.ALONE
    require(args.out is not None or shard == study.ALONE, "--out", None, "given with --shard: the shards' directory")
    return shard


def _print_estimates(found: Sequence["Estimate"]) -> None:
    """Prints a line per kind of data and model, and the sum."""
    for x in found:
        _say(
            f"{x.name}: {counted(x.groups, 'group')}, {counted(x.cells, 'cell')}, {x.parameters:,} parameters, "
            f"about {x.memory / 2**20:,.0f} MiB on each device"
        )
    seconds, compilation = sum(x.seconds for x in found), sum(x.compilation for x in found)
    training, programs = (timedelta(seconds=round(x)) for x in (seconds, compilation))
    cells = counted(sum(x.cells for x in found), "cell")
    _say(f"{cells}: about {training} of training; programs are compiled meanwhile, for up to {programs}")


def _print_wrapped(*paragraphs: str) -> None:
    """Prints paragraphs, wrapped at words on a terminal, otherwise as one line each."""
    for text in paragraphs:
        wide = text
        if sys.stdout.isatty():
            columns = shutil.get_terminal_size().columns
            wide = textwrap.fill(text, max(20, columns), break_long_words=False, break_on_hyphens=False)
        _say(wide)


def reproduce(args: argparse.Namespace) -> Reply:
    """``jaxvae reproduce``."""
    _prepare()
    from jaxvae.arguments import require
    from jaxvae.progress import RunProgress
    from jaxvae.study import presets, reproduction

    with process.signals() as stopped:
        if args.stages is None:
            preset = presets.PRESETS[args.name]()
        else:
            staged = presets.STAGED
            require(args.name in staged, "--stages", args.stages, f"given with {', '.join(staged)} only")
            preset = staged[args.name](args.stages)
        given = {"samples": args.samples, "data_dir": args.data_dir and str(args.data_dir)}
        fields = {name: value for name, value in given.items() if value is not None}
        todo = reproduction.jobs(preset, args.rows, args.parameterization, fields)
        out = args.out or Path("runs") / args.name

        def watch(name: str, experiment: "Experiment", step: int) -> RunProgress:
            _say(out / name)
            return RunProgress(experiment.config.epochs, experiment.steps_per_epoch, step, console=_console(args))

        lines = []
        for line in reproduction.reproduce(preset, todo, out, watch=watch, stop=stopped):
            _say(line)
            lines.append(line)
    complete, table = len(lines) == len(todo), out / reproduction.TABLE
    _say(table if complete else f"The runs are stopped and saved. To go on: the same command again, with --out {out}")
    result = {"runs": str(out), "complete": complete, "lines": lines, "files": [str(table)] * bool(lines)}
    return Reply(result, 0 if complete else process.STOPPED)


def evaluate(args: argparse.Namespace) -> Reply:
    """``jaxvae evaluate``."""
    return Reply(_report(_open_run(args), args.samples, args.split))


def encode(args: argparse.Namespace) -> Reply:
    """``jaxvae encode``."""
    import numpy as np

    from jaxvae.trained import tables

    tables.require_suffix(args.out, ".npz", ".csv", ".npy")
    run = _open(args)
    found = _inputs(args, run)
    q, latents = run.model.infer(found.images, found.labels, found.covariates, progress=not args.quiet)
    if args.out.suffix == ".npy":
        tables.write_array(args.out, np.asarray(latents))
    else:
        named = {"names": found.names} | ({} if found.labels is None else {"labels": found.labels})
        named |= tables.covariate_columns(run.model.contract.covariates, found.covariates)
        numbers = {"mean": q.mean, "log_std": q.log_std, "latents": latents}
        tables.write_table(args.out, named | {name: np.asarray(x) for name, x in numbers.items()})
    return _written(args.out)


def decode(args: argparse.Namespace) -> Reply:
    """``jaxvae decode``."""
    import numpy as np

    from jaxvae.arguments import require
    from jaxvae.trained import tables

    latents, labels, names, found = tables.read_latents(args.latents)
    pictures = args.out.suffix not in tables.ROWS
    require(not pictures or not args.out.suffix, "out", str(args.out), "a path that ends in .npy, or a directory")
    model, labels = _open(args).model, labels if args.label is None else np.full(len(latents), args.label)
    features = model.contract.features
    if features:
        tables.require_suffix(args.out, *tables.ROWS)
    else:
        allowed = "a path that ends in .npy" + ("" if model.contract.reading.sequences else ", or a directory")
        fits = args.out.suffix == ".npy" or (pictures and not model.contract.reading.sequences)
        require(fits, "out", str(args.out), allowed)
    covariates = _said_covariates(args, model.contract, len(latents), found)
    parts = [slice(start, start + _DECODED) for start in range(0, len(latents), _DECODED)]
    decoded = (model.decode(latents[part], _some(labels, part), _some(covariates, part)).mean for part in parts)
    images = np.concatenate([np.asarray(mean) for mean in decoded])
    if features:
        tables.write_rows(args.out, features, images, _beside(model, None, covariates))
    elif pictures:
        tables.write_pictures(args.out, images, names)
    else:
        tables.write_array(args.out, images)
    return _written(args.out)


def scores(args: argparse.Namespace) -> Reply:
    """``jaxvae score``."""
    from jaxvae.data.missing import observed_counts
    from jaxvae.trained import tables

    tables.require_suffix(args.out, ".csv", ".npz")
    run = _open(args)
    found = _inputs(args, run)
    beside = found.labels, found.covariates
    table = run.model.score(found.images, *beside, samples=args.samples, progress=not args.quiet)
    about = {"names": found.names} | ({} if found.labels is None else {"labels": found.labels})
    if run.model.contract.missing:
        about["observed"] = observed_counts(found.images)
    tables.write_table(args.out, {**about, **table._asdict()})
    return _written(args.out)


def impute(args: argparse.Namespace) -> Reply:
    """``jaxvae impute``."""
    import jax
    import numpy as np

    from jaxvae.arguments import require
    from jaxvae.data.missing import count_missing
    from jaxvae.files import UNFINISHED, written_together
    from jaxvae.trained import tables

    tables.require_suffix(args.out, *tables.ROWS)
    require(args.samples >= 1, "--samples", args.samples, "at least 1")
    require(args.draws is None or args.draws >= 1, "--draws", args.draws, "at least 1")
    apart = args.draws is not None and args.out.suffix == ".csv"
    outs = [args.out.with_stem(f"{args.out.stem}-{i + 1}") for i in range(args.draws)] if apart else [args.out]
    note = args.out.with_name(f".{args.out.name}{UNFINISHED}")
    for out in outs:
        require(note.is_file() or not out.exists(), "--out", str(out), "a file that doesn't exist yet")
    run = _open(args)
    found, features = _inputs(args, run), run.model.contract.features
    key, quiet = jax.random.key(args.seed), args.quiet
    beside, asked = (found.labels, found.covariates), {"draws": args.draws, "samples": args.samples}
    filled = run.model.impute(found.images, *beside, **asked, key=key, progress=not quiet)
    with written_together(note):
        for out, one in zip(outs, filled if apart else [filled], strict=True):
            if out.suffix == ".npy":
                tables.write_array(out, one)
            elif features:
                tables.write_rows(out, features, one, _beside(run.model, *beside))
            else:
                tables.write_table(out, {"names": found.names, "x": one.reshape(len(one), -1)})
    count, total = count_missing(found.images), int(np.prod(found.images.shape))
    how = "by their means" if args.draws is None else f"by {counted(args.draws, 'draw')} each"
    _say(f"{count:,} of {total:,} entries were missing, and are filled {how}", *outs)
    return Reply({"missing": count, "entries": total, "files": [*map(str, outs)]})


def sample(args: argparse.Namespace) -> Reply:
    """``jaxvae sample``."""
    _require_count("--count", args.count, _MOST_IMAGES)
    run = _open(args)
    out = _out(args, run, "samples")
    covariates = _said_covariates(args, run.model.contract, args.count)
    return Reply({"files": [_samples(run.model, args.count, args.seed, out, args.label, covariates)]})


def reconstruct(args: argparse.Namespace) -> Reply:
    """``jaxvae reconstruct``."""
    _require_count("--count", args.count, _MOST_IMAGES)
    run = _open(args)
    out = _out(args, run, "reconstructions")
    return Reply({"files": [_reconstructions(run.model, _inputs(args, run), args.count, out)]})


def traverse(args: argparse.Namespace) -> Reply:
    """``jaxvae traverse``."""
    from jaxvae.arguments import require

    _require_count("--latents", args.latents, _MOST_IMAGES)
    _require_count("--steps", args.steps, _MOST_IMAGES // args.latents)
    require(0 < args.reach < math.inf, "--reach", args.reach, "a number above 0")
    run = _open(args)
    out = _out(args, run, "traversals")
    asked = args.row, args.latents, args.steps, args.reach
    return Reply({"files": [_traversals(run.model, _inputs(args, run), *asked, out)]})


def export(args: argparse.Namespace) -> Reply:
    """``jaxvae export``."""
    from jaxvae import trained
    from jaxvae.arguments import require
    from jaxvae.trained import hub

    programs = args.format == "stablehlo"
    require(not programs or args.push_to is None, "--push-to", args.push_to, "given with --format safetensors only")
    if programs:
        trained.export_programs(_open(args).model, args.out)
    else:
        trained.export_run(_open_run(args), args.out)
    reply = _written(args.out)
    if args.push_to is not None:
        address = hub.push(args.out, args.push_to)
        _say(address)
        reply.result["address"] = address
    return reply


def diagnose(args: argparse.Namespace) -> Reply:
    """``jaxvae diagnose``."""
    process.use_compilation_cache()
    from jaxvae import plots
    from jaxvae.trained import inspection
    from jaxvae.training.directory import RunDirectory

    path = _path(args)
    found = inspection.examine(path, args.split, args.dataset)
    _say(found, *_remedies(finding.name for finding in found.findings))
    report = {"run": str(path), "split": args.split, **found.to_dict()}
    RunDirectory(path).write_report("diagnosis", report)
    return Reply({**report, "files": [_save(plots.diagnosis(found), path / "diagnosis.png")]})


def _remedies(states: Iterable[str]) -> list[str]:
    """Returns a line for each set of flags, with the states that it is for."""
    by_flags: dict[tuple[str, ...], list[str]] = {}
    for state in states:
        if state in REMEDIES:
            by_flags.setdefault(REMEDIES[state], []).append(state)
    lines = [f"  {', '.join(names)}: {', '.join(flags)}" for flags, names in by_flags.items()]
    return ["flags of jaxvae train that change this", *lines] if lines else []


def data_list(args: argparse.Namespace) -> Reply:
    """``jaxvae data list``."""
    from jaxvae import data
    from jaxvae.data.catalog import beyond_in_words

    everything = args.all
    entries = data.names(args.data_dir, everything)
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        _say(f"{entry.name:{width}}  {'ready' if entry.prepared else '-    '}  {entry.note}")
    if not everything:
        _say(f"{beyond_in_words()}: jaxvae data list --all")
    return Reply([entry._asdict() for entry in entries])


def data_inspect(args: argparse.Namespace) -> Reply:
    """``jaxvae data inspect``."""
    process.use_compilation_cache()
    import jax.numpy as jnp

    from jaxvae import data, plots, training
    from jaxvae.arguments import require
    from jaxvae.training.devices import one_device
    from jaxvae.training.modelling import column_lines

    config = training.config_from_mapping({**data.suggested(args.name), **args.fields, "dataset": args.name})
    out = args.out or Path(f"{Path(args.name).stem}-inspected.png")
    data.require_apart(out, args.name)
    experiment = training.make_experiment(config, one_device())
    dataset = experiment.dataset
    odd = [f"warning: {text}" for text in data.oddities(dataset)]
    lines = column_lines(experiment.config.likelihood, dataset) if dataset.features else []
    command = shlex.join(["jaxvae", "train", *flag_words([("dataset", args.name), *args.fields.items()])])
    _say(*experiment.report, *odd, *lines, f"to train: {command}")
    found = {"report": [*experiment.report, *odd, *lines], "train": command}
    if dataset.features:
        require(args.out is None, "--out", str(args.out), "left out for a table, of which nothing is drawn")
        return Reply({**found, "files": []})
    images = dataset.train.images
    rows = [len(images) * i // _SHEET for i in range(_SHEET)] if len(images) > _SHEET else range(len(images))
    seen = _pictured(experiment.contract, experiment.contract.seen(jnp.asarray(images[list(rows)])))
    title = f"{Path(args.name).name}: training images as the model sees them{_marked(experiment.contract)}"
    return Reply({**found, "files": [_save(plots.image_grid(seen, title=title), out)]})


def data_prepare(args: argparse.Namespace) -> Reply:
    """``jaxvae data prepare``."""
    from jaxvae import data

    place = data.prepare(args.name, args.source, args.data_dir)
    _say(place)
    try:
        described = data.describe(data.load(args.name, args.data_dir))
    except ValueError as error:  # for example if images differ in size
        described = f"prepared, but can't be trained on as it is: {error}"
    _say(described)
    return Reply({"data": str(place), "report": described})


def _prepare() -> None:
    """Prepares JAX for training."""
    import jax

    from jaxvae.arguments import require

    compiled = not jax.config.jax_disable_jit  # type: ignore[attr-defined]
    require(compiled, "JAX_DISABLE_JIT", True, "unset for training, which is one compiled program")
    process.use_compilation_cache()


def _join(args: argparse.Namespace) -> None:
    """Makes this process one of several, if requested."""
    import jax

    from jaxvae.arguments import require

    given = {"coordinator_address": args.coordinator, "num_processes": args.processes, "process_id": args.process}
    found = {name: value for name, value in given.items() if value is not None}
    require(len(found) in (0, 3), "--coordinator, --processes, --process", tuple(given.values()), "all given, or none")
    require(args.distributed or not found, "--coordinator", args.coordinator, "given with --distributed only")
    if not args.distributed:
        return
    require(args.out is not None, "--out", None, "given with --distributed: one directory for all processes")
    require(args.timeout >= 1, "--timeout", args.timeout, "at least 1 second")
    if found:
        host, _, port = args.coordinator.rpartition(":")
        number = int(port) if port.isascii() and port.isdecimal() else 0
        require(
            bool(host) and 0 < number < 2**16, "--coordinator", args.coordinator, "HOST:PORT, of a port below 65536"
        )
        require(args.processes >= 1, "--processes", args.processes, "at least 1")
        last = args.processes - 1
        require(0 <= args.process <= last, "--process", args.process, f"0 to {last}, the last of --processes")
    waited = f"not all processes have come to {args.coordinator or 'the coordinator'} within {args.timeout} seconds"
    with process.ending_after(args.timeout, f"--timeout must be long enough for all to start: {waited}"):
        # JAX waits longer than we do, because it would end without saying why.
        jax.distributed.initialize(**found, initialization_timeout=args.timeout + 60)


def _configuration(args: argparse.Namespace) -> "TrainConfig":
    """Makes the configuration from the file and the flags, which take precedence."""
    from jaxvae.arguments import require
    from jaxvae.data import suggested
    from jaxvae.training import config_from_mapping, read_config
    from jaxvae.training.directory import RunDirectory

    require(not args.resume or args.out is not None, "--out", None, "the run's directory, with --resume")
    if args.resume and RunDirectory(args.out).holds_run:
        values = dataclasses.asdict(RunDirectory(args.out).config())
    elif args.config is not None:
        values = dataclasses.asdict(read_config(args.config))
    else:
        values = {**suggested(args.fields.get("dataset", ""))}
    return config_from_mapping({**values, **args.fields})


def _start(args: argparse.Namespace, experiment: "Experiment") -> "Mapping[str, np.ndarray]":
    """Returns the initial parameters that aren't drawn at random, and prints which ones are used and which aren't."""
    import jax

    from jaxvae.arguments import require
    from jaxvae.trained import load_model
    from jaxvae.training.directory import RunDirectory
    from jaxvae.training.start import transferred

    resumed = args.resume and RunDirectory(args.out).holds_run
    if args.init_from is None:
        return RunDirectory(args.out).start() if resumed else {}
    require(not resumed, "--init-from", str(args.init_from), "given where a run begins, not where it is resumed")
    wanted = jax.eval_shape(lambda: experiment.init(jax.random.key(0)))
    found = transferred(wanted, load_model(args.init_from).params)
    if jax.process_index() == 0:
        width = max(len(name) for name, _, _ in found.table)
        _say(
            *(
                f"{name:{width}}  {'x'.join(map(str, shape)) or 'scalar':>12}  {text}"
                for name, shape, text in found.table
            ),
        )
    return found.start


def _path(args: argparse.Namespace) -> Path:
    """Returns the requested run, or else the newest one, and then prints which it is."""
    from jaxvae.training.directory import newest_run

    if args.path is not None:
        return args.path
    path = newest_run(Path("runs"))
    _note(args, f"RUN is {path}, the newest")
    return path


def _open(args: argparse.Namespace) -> "Run | Exported":
    process.use_compilation_cache()
    from jaxvae.trained import open_model

    return open_model(_path(args), dataset=args.dataset)


def _open_run(args: argparse.Namespace) -> "Run":
    process.use_compilation_cache()
    from jaxvae.trained import Run

    return Run(_path(args), dataset=args.dataset)


def _require_count(flag: str, count: int, most: int) -> None:
    """Raises ValueError unless this can be a number of images on a picture."""
    from jaxvae.arguments import require

    require(1 <= count <= most, flag, count, f"1 to {most:,}")


def _out(args: argparse.Namespace, run: "Run | Exported", name: str) -> Path:
    """Returns the path of a picture, or of a table's rows: the requested one, or one in the run's directory."""
    from jaxvae.trained import tables

    if args.out is None:
        return run.path / _shown_in(run.model, name)
    tables.require_suffix(args.out, *(tables.ROWS if run.model.contract.features else (".png", ".pdf", ".svg")))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    return args.out


def _inputs(args: argparse.Namespace, run: "Run | Exported") -> "Unsplit":
    """Returns the requested images, from new data or a split, with labels, covariates and names."""
    import numpy as np

    from jaxvae import data
    from jaxvae.arguments import require

    if args.data is not None:
        found = data.load_unsplit(args.data, run.model.contract)
        for note in found.notes:
            _note(args, note)
    else:
        splits = run.dataset.splits
        require(args.split in splits, "split", args.split, " or ".join(splits))
        found = _unsplit(splits[args.split])
    covariates = _said_covariates(args, run.model.contract, len(found.images), found.covariates)
    found = found._replace(covariates=covariates)
    require(args.label is None or args.labels is None, "--label", args.label, "given without --labels")
    if args.label is not None:
        return found._replace(labels=np.full(len(found.images), run.model.contract.label(args.label)))
    return found if args.labels is None else found._replace(labels=data.load_labels(args.labels, len(found.images)))


def _said_covariates(
    args: argparse.Namespace, contract: "DataContract", count: int, found: Any = None
) -> "np.ndarray | None":
    """Returns the covariates of all rows, (N, M), from the flag or else as found; None for a model without any."""
    from jaxvae.arguments import require
    from jaxvae.data.covariates import as_given

    if args.covariates is None:
        return as_given(contract.covariates, found, (count,))
    said = dict(_assignment("--covariates", text) for text in args.covariates)
    names = [covariate.name for covariate in contract.covariates]
    unknown = [name for name in said if name not in names]
    require(not names or not unknown, "--covariates", unknown, f"of {', '.join(names)}")
    return as_given(contract.covariates, said, (count,))


def _unsplit(split: "Split") -> "Unsplit":
    from jaxvae.data import Unsplit

    return Unsplit(split.images, split.labels, split.names, covariates=split.covariates)


def _report(run: "Run", samples: int, split: str) -> dict[str, Any]:
    """Scores a run, prints the score, writes it as JSON, and returns it."""
    from jaxvae import trained
    from jaxvae.texts import known
    from jaxvae.training.directory import evaluation

    result, noun = trained.evaluate(run, samples, split), run.model.contract.noun
    bits = f", {result['bits_per_dimension']:.4f} bits/dim" if "bits_per_dimension" in result else ""
    unit = f"nats per {noun}"
    if "observed_entries" in result:
        entries = math.prod(run.model.contract.image_shape)
        unit += f" of {result['observed_entries']:.4g} observed entries of {entries:,}"
        bits = f", {result['nll_per_observed_entry']:.4f} nats per observed entry{bits}"
    _say(
        f"{split} ELBO {result['elbo']:.3f} {unit} "
        f"(log p(x|z) {result['log_likelihood']:.3f}, KL {result['kl']:.3f}), "
        f"{result['active_units']} of {run.model.module.latents} latents active\n"
        f"{split} NLL {result['nll']:.3f} ± {known(result['nll_standard_error'], 3)} {unit} "
        f"({samples:,} importance samples, their error {known(result['nll_monte_carlo_error'], 3)}{bits})",
    )
    run.directory.write_report(evaluation(split), result)
    if not math.isfinite(result["nll"]):
        raise ArithmeticError(
            f"NLL must be finite, got {result['nll']}; jaxvae diagnose {run.path} says what is wrong with the run"
        )
    return result


def _draw(run: "Run") -> list[str]:
    """Draws all pictures of a run, and returns their paths."""
    from jaxvae import plots

    test, terms, out = run.dataset.test, run.posterior(), run.path
    files = [
        _save(plots.curves(run.directory.records()), out / "curves.png"),
        _save(plots.std_histograms(terms.std, terms.kl.mean(axis=0)), out / "std.png"),
        _reconstructions(run.model, _unsplit(test), 36, out / _shown_in(run.model, "reconstructions")),
        _samples(run.model, 100, 0, out / _shown_in(run.model, "samples"), covariates=_repeated(test, 100)),
        _traversals(run.model, _unsplit(test), 0, 10, 9, 3.0, out / _shown_in(run.model, "traversals")),
    ]
    if len(terms.order) > 1:
        pair = terms.order[:2]
        mean, std = terms.mean[:, pair], terms.std[:, pair]
        figure = plots.latent_map(mean, test.labels, std, latents=(int(pair[0]), int(pair[1])))
        files.append(_save(figure, out / "latents.png"))
    return files


def _shown_in(model: "TrainedModel", name: str) -> str:
    """Returns the name of the file that shows images as a picture, or a table's rows as text."""
    return f"{name}{'.csv' if model.contract.features else '.png'}"


def _some(x: Any, rows: Any) -> Any:
    """Returns x[rows], or None for None."""
    return None if x is None else x[rows]


def _repeated(split: "Split", count: int) -> "np.ndarray | None":
    """Returns the covariates of the first images, repeated if there are fewer than ``count``."""
    import numpy as np

    return _some(split.covariates, np.arange(count) % len(split))


def _samples(
    model: "TrainedModel",
    count: int,
    seed: int,
    out: Path,
    label: str | None = None,
    covariates: "np.ndarray | None" = None,
) -> str:
    """Writes means of sampled images, or rows drawn from p(x), with any classes and covariates."""
    import jax
    import numpy as np

    from jaxvae import plots

    contract = model.contract
    images = model.sample(jax.random.key(seed), count, label, covariates, drawn=bool(contract.features))
    if not contract.features:
        return _save(plots.image_grid(_drawn(model, images), title="Samples: E[x|z], z ~ p(z)"), out)
    numbers = None
    if contract.conditional:
        numbers = np.arange(count) % contract.classes if label is None else np.full(count, contract.label(label))
    return _write_rows(out, model, images, _beside(model, numbers, covariates))


def _drawn(model: "TrainedModel", images: Any) -> Any:
    """Returns means as pictures, clipped to [0, 1] if the data's numbers are in this range."""
    contract = model.contract
    bounded = not (contract.real or contract.counts)
    return _pictured(contract, images.clip(0, 1) if bounded else images)


def _pictured(contract: "DataContract", images: Any) -> "np.ndarray":
    """Returns images unchanged, but sequences (..., T, 1, C) as pictures (..., C, T, 1), whose rows are channels."""
    import numpy as np

    return np.moveaxis(np.asarray(images), -1, -3) if contract.reading.sequences else np.asarray(images)


def _reconstructions(model: "TrainedModel", given: "Unsplit", count: int, out: Path) -> str:
    """Writes the first images or rows with their reconstructions, E[x|z] at their encoded latents."""
    from jaxvae import plots

    images, first = given.images[:count], slice(count)
    labels, covariates = _some(given.labels, first), _some(given.covariates, first)
    means = model.reconstruct(images, labels, covariates)
    if model.contract.features:
        return _write_rows(out, model, means, _beside(model, None, covariates))
    title = f"Originals and their reconstructions{_marked(model.contract)}"
    originals = _pictured(model.contract, model.seen(images))
    return _save(plots.reconstructions(originals, _drawn(model, means), title), out)


def _marked(contract: "DataContract") -> str:
    """Returns the end of a title, which explains missing entries if there may be any."""
    return "; what is missing is red" if contract.missing else ""


def _traversals(
    model: "TrainedModel", given: "Unsplit", row: int, count: int, steps: int, reach: float, out: Path
) -> str:
    """Writes the traversals of the latents with the highest KL over all images, from one image or row."""
    import numpy as np

    from jaxvae import plots
    from jaxvae.arguments import require
    from jaxvae.trained import inspection

    rows = len(given.images)
    require(0 <= row < rows, "--row", row, f"0 to {rows - 1}")
    kl = np.asarray(model.kl(given.images, given.labels, given.covariates), np.float64).mean(axis=0)
    latents = np.argsort(-kl, kind="stable")[:count]
    label, covariates = _some(given.labels, row), _some(given.covariates, row)
    found = inspection.traversed(model, given.images[row], label, latents, steps, reach, covariates)
    if model.contract.features:
        moved = {"latent": np.repeat(latents, steps), "value": np.tile(found.values, len(latents))}
        return _write_rows(out, model, found.images, moved)
    return _save(plots.traversals(_drawn(model, found.images), found.values, kl[latents], latents.tolist()), out)


def _beside(
    model: "TrainedModel", labels: "np.ndarray | None", covariates: "np.ndarray | None"
) -> "Mapping[str, np.ndarray]":
    """Returns the columns of a table with these classes and covariates, if any, with their own names."""
    import numpy as np

    from jaxvae.data import in_own_terms

    contract = model.contract
    found = {} if covariates is None else in_own_terms(contract.covariates, covariates)
    if labels is None:
        return found
    numbered = contract.class_names and labels.dtype.kind in "iu"
    classes = np.array(contract.class_names)[labels] if numbered else labels
    return {contract.reading.label or "label": classes, **found}


def _write_rows(out: Path, model: "TrainedModel", rows: Any, more: "Mapping[str, np.ndarray]") -> str:
    """Writes rows in the table's own terms, or their numbers as .npy; prints the path and returns it."""
    from jaxvae.trained import tables

    tables.write_rows(out, model.contract.features, rows, more)
    _say(out)
    return str(out)


def _say(*lines: object) -> None:
    """Prints lines on stdout immediately, with control characters escaped."""
    print(*(printable(line) for text in lines for line in str(text).split("\n")), sep="\n", flush=True)


def _console(args: argparse.Namespace) -> "Console | None":
    """Returns the console for progress: a silent one with --quiet; None means stderr."""
    from rich.console import Console

    return Console(file=io.StringIO()) if args.quiet else None


def _note(args: argparse.Namespace, text: str) -> None:
    """Prints a line on stderr, except with --quiet."""
    if not args.quiet:
        print(printable(f"jaxvae: {text}"), file=sys.stderr)


def _written(path: Path) -> Reply:
    """Prints the path of what was written, and returns it."""
    _say(path)
    return Reply({"files": [str(path)]})


def _save(figure: Any, path: Path) -> str:
    """Writes a picture atomically, prints its path, and returns it."""
    from jaxvae.files import write_atomically

    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:])
    write_atomically(path, content.getvalue())
    _say(path)
    return str(path)
