"""The commands that train many runs: ``jaxvae compare`` and ``jaxvae reproduce``."""

import argparse
import math
import shlex
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxvae import process
from jaxvae.commands.given import assignment, require_compilation
from jaxvae.commands.output import Reply, console_for, print_lines, print_wrapped, wrote
from jaxvae.texts import counted

if TYPE_CHECKING:
    from jaxvae.study import Estimate, Shard
    from jaxvae.study.grid import Grid
    from jaxvae.training import Experiment


def compare(args: argparse.Namespace) -> Reply:
    """``jaxvae compare``."""
    process.use_every_core()
    require_compilation()
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
                    with StudyProgress(console_for(args)) as progress:

                        def watch(name: str, share: float, left: float | None) -> None:
                            if share == 0:
                                print_lines(out)
                            progress.update(name, share, left)

                        complete = study.compare(
                            grid,
                            out,
                            baseline=args.baseline,
                            shard=shard,
                            search=search,
                            watch=watch,
                            stop=stopped,
                            say=print_lines,
                        )
                    if stopped():
                        print_lines(f"The study is stopped and saved. To go on: jaxvae compare --out {out}")
                        return Reply({"study": str(out), "complete": False}, process.STOPPED)
                    if not complete:
                        print_lines(
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
        print_wrapped(*filter(None, [answer.setting]), *answer.lines, "", " ".join(answer.details), "")
    print_lines(*paths)
    found = [answer._asdict() for answer in answers]
    return Reply({"study": str(out), "complete": True, "answers": found, "files": [*map(str, paths)]})


def reproduce(args: argparse.Namespace) -> Reply:
    """``jaxvae reproduce``."""
    require_compilation()
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
            print_lines(out / name)
            return RunProgress(experiment.config.epochs, experiment.steps_per_epoch, step, console=console_for(args))

        lines = []
        for line in reproduction.reproduce(preset, todo, out, watch=watch, stop=stopped):
            print_lines(line)
            lines.append(line)
    complete, table = len(lines) == len(todo), out / reproduction.TABLE
    print_lines(
        table if complete else f"The runs are stopped and saved. To go on: the same command again, with --out {out}"
    )
    result = {"runs": str(out), "complete": complete, "lines": lines, "files": [str(table)] * bool(lines)}
    return Reply(result, 0 if complete else process.STOPPED)


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
        return wrote(out / "report.html")
    logs = out.with_name(f"{out.name}-logs")
    jobs = study.submit_to_slurm(tasks, logs, resources)
    print_lines(f"submitted {', '.join(job.job_id for job in jobs)}; what they print is in {logs}")
    print_lines(f"the last to be done writes the report; before that: jaxvae compare --out {args.out} --report-only")
    return Reply({"study": str(out), "complete": False, "jobs": [job.job_id for job in jobs]})


def _resource(text: str) -> tuple[str, Any]:
    """Returns a name and its value, as a number if possible."""
    name, value = assignment("--resources", text)
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
            print_lines(f"shard {shard}, as {name} says; --shard 1/1 trains all")
    else:
        return study.ALONE
    require(args.out is not None or shard == study.ALONE, "--out", None, "given with --shard: the shards' directory")
    return shard


def _print_estimates(found: Sequence["Estimate"]) -> None:
    """Prints a line per kind of data and model, and the sum."""
    for x in found:
        print_lines(
            f"{x.name}: {counted(x.groups, 'group')}, {counted(x.cells, 'cell')}, {x.parameters:,} parameters, "
            f"about {x.memory / 2**20:,.0f} MiB on each device"
        )
    seconds, compilation = sum(x.seconds for x in found), sum(x.compilation for x in found)
    training, programs = (timedelta(seconds=round(x)) for x in (seconds, compilation))
    cells = counted(sum(x.cells for x in found), "cell")
    print_lines(f"{cells}: about {training} of training; programs are compiled meanwhile, for up to {programs}")
