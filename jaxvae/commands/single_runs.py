"""The commands that train a run, score it and say what is wrong with it."""

import argparse
import dataclasses
import math
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from jaxvae import process
from jaxvae.commands.drawing import (
    repeated_covariates,
    shown_in,
    write_reconstructions,
    write_samples,
    write_traversals,
)
from jaxvae.commands.given import as_unsplit, opened_run, require_compilation, run_path
from jaxvae.commands.output import Reply, console_for, print_lines, save_figure

if TYPE_CHECKING:
    import numpy as np

    from jaxvae.trained import Run
    from jaxvae.training import Experiment, TrainConfig

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


def train(args: argparse.Namespace) -> Reply:
    """``jaxvae train``."""
    _join(args)  # before our handlers, as JAX would replace that of SIGTERM
    require_compilation()
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
                print_lines(*experiment.report, f"{out}{begun}")
                total = config.epochs, experiment.steps_per_epoch
                watch = {"watch": lambda step: RunProgress(*total, step, console=console_for(args))}
            complete = training.train(
                experiment, out, resume=args.resume, tensorboard=args.tensorboard, stop=stopped, **watch
            )
    result = {"run": str(out), "complete": complete} if first else None
    if not complete:
        if first:
            print_lines(f"The run is stopped and saved. To go on: jaxvae train --resume --out {out}")
        return Reply(result, process.STOPPED)
    if alone:
        from jaxvae.trained import Run

        run = Run(out)
        score = _report(run, config.samples, "test")
        return Reply({"run": str(out), "complete": True, "evaluation": score, "files": _draw(run)})
    if first:
        print_lines(f"The run is complete. To score it: jaxvae evaluate {out}")
    return Reply(result)


def evaluate(args: argparse.Namespace) -> Reply:
    """``jaxvae evaluate``."""
    return Reply(_report(opened_run(args), args.samples, args.split))


def diagnose(args: argparse.Namespace) -> Reply:
    """``jaxvae diagnose``."""
    process.use_compilation_cache()
    from jaxvae import plots
    from jaxvae.trained import inspection
    from jaxvae.training.directory import RunDirectory

    path = run_path(args)
    found = inspection.examine(path, args.split, args.dataset)
    print_lines(found, *_remedies(finding.name for finding in found.findings))
    report = {"run": str(path), "split": args.split, **found.to_dict()}
    RunDirectory(path).write_report("diagnosis", report)
    return Reply({**report, "files": [save_figure(plots.diagnosis(found), path / "diagnosis.png")]})


def _remedies(states: Iterable[str]) -> list[str]:
    """Returns a line for each set of flags, with the states that it is for."""
    by_flags: dict[tuple[str, ...], list[str]] = {}
    for state in states:
        if state in REMEDIES:
            by_flags.setdefault(REMEDIES[state], []).append(state)
    lines = [f"  {', '.join(names)}: {', '.join(flags)}" for flags, names in by_flags.items()]
    return ["flags of jaxvae train that change this", *lines] if lines else []


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
        print_lines(
            *(
                f"{name:{width}}  {'x'.join(map(str, shape)) or 'scalar':>12}  {text}"
                for name, shape, text in found.table
            ),
        )
    return found.start


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
    print_lines(
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
    given = repeated_covariates(test, 100)
    files = [
        save_figure(plots.curves(run.directory.records()), out / "curves.png"),
        save_figure(plots.std_histograms(terms.std, terms.kl.mean(axis=0)), out / "std.png"),
        write_reconstructions(run.model, as_unsplit(test), 36, out / shown_in(run.model, "reconstructions")),
        write_samples(run.model, 100, 0, out / shown_in(run.model, "samples"), covariates=given),
        write_traversals(run.model, as_unsplit(test), 0, 10, 9, 3.0, out / shown_in(run.model, "traversals")),
    ]
    if len(terms.order) > 1:
        pair = terms.order[:2]
        mean, std = terms.mean[:, pair], terms.std[:, pair]
        figure = plots.latent_map(mean, test.labels, std, latents=(int(pair[0]), int(pair[1])))
        files.append(save_figure(figure, out / "latents.png"))
    return files
