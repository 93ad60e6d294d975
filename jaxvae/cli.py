"""The command line: its commands and flags; ``commands`` has their actions.

Each field of ``TrainConfig`` becomes a flag of ``jaxvae train`` through ``flags.json``, which ``python -m
benchmarks.flags`` writes, so that help and errors needn't import JAX.
"""

import argparse
import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxvae import commands, process
from jaxvae._version import __version__
from jaxvae.completion import SCRIPTS
from jaxvae.parsing import Parser
from jaxvae.texts import printable, strict_json

EXIT_CODES = f"""exit codes:
  0    done
  1    a mistake of jaxvae itself, with a traceback: please report it
  2    refused or failed, with one line on stderr that says why; existing files are unharmed
  {process.STOPPED}  stopped by Ctrl-C or SIGTERM; a run or a study is saved, and can be resumed
"""


def run() -> int:
    """Runs ``main`` in a process that does nothing else."""
    process.write_on()
    process.collect_seldom()
    process.speak_in_lines()
    status = main()
    if error := process.lost_output():
        print(f"jaxvae: error: standard output couldn't be written ({error.strerror})", file=sys.stderr)
        return status or 2
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments; by default, those of the process.

    Returns:
        0; 130 if the command was stopped; or 2 after an error, which one line on stderr reports.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        args = make_parser(argv[0] if argv else "").parse_args(argv)
        with _nowhere() if args.quiet or args.json else contextlib.nullcontext():
            reply: commands.Reply = args.run(args)
        if args.json and reply.result is not None:
            print(strict_json(reply.result, indent=1))
    except KeyboardInterrupt:
        print("jaxvae: interrupted", file=sys.stderr)
        return process.STOPPED
    except (ValueError, OSError, ArithmeticError, ImportError, MemoryError, RuntimeError, AssertionError) as error:
        if isinstance(error, RuntimeError | AssertionError) and not _is_of_jax(error):
            raise
        text = " ".join(str(error).split()) or f"{type(error).__name__} of JAX; are there devices of JAX_PLATFORMS?"
        print("jaxvae: error:", printable(text), file=sys.stderr)
        return 2
    return reply.status


@contextlib.contextmanager
def _nowhere() -> Iterator[None]:
    """Discards everything that is printed on stdout inside this context."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _is_of_jax(error: Exception) -> bool:
    """Returns whether an error is about a device, a program or a platform, and not a mistake in this library."""
    import jax
    from jax.errors import JaxRuntimeError

    try:
        jax.devices()
    except (RuntimeError, AssertionError):
        return True
    return isinstance(error, JaxRuntimeError)


def make_parser(chosen: str) -> Parser:
    """Makes the parser of all commands; commands with many flags get them only if they are chosen."""
    parser = Parser(
        prog="jaxvae",
        description="Variational autoencoders in JAX, and studies of how to parameterize their Gaussians.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"jaxvae {__version__}")
    parser.set_defaults(run=_help(parser), quiet=False, json=False)
    add = parser.add_subparsers(title="commands", metavar="COMMAND")

    command = _add(add, "list", commands.list_parameterizations, "show every named parameterization")
    command.add_argument("--names", action="store_true", help="names only, one per line")
    command.add_argument("--sources", action="store_true", help="also the paper or code that each is from")

    command = _add(add, "explain", commands.explain, "draw σ and its gradient over the raw number")
    command.add_argument("names", metavar="NAME", nargs="*", help="a name from `jaxvae list`; all if none is given")
    command.known["names"] = _flags()["fields"]["parameterization"]["choices"]
    _flag(command, "--out", Path("explained"), "the directory of explain.png", "DIR")

    command = _add(add, "train", commands.train, "train a VAE, score it and draw it")
    if chosen == "train":
        _add_train_options(command)

    command = _add(add, "compare", commands.compare, "train parameterizations side by side: which one, and why")
    if chosen == "compare":
        _add_compare_options(command)

    command = _add(add, "reproduce", commands.reproduce, "train and score the models of a published table")
    if chosen == "reproduce":
        _add_reproduce_options(command)

    command = _add_run_command(add, "evaluate", commands.evaluate, "score a run on a whole split")
    _flag(command, "--samples", 1000, "importance samples per image")
    _flag(command, "--split", "test", "test or validation")

    command = _add_run_command(add, "encode", commands.encode, "encode images, and write the latents")
    _add_inputs(command)
    text = "a .npz or .csv file of names, labels, mean, log σ and latents, or a .npy file of latents"
    command.add_argument("--out", metavar="FILE", type=Path, required=True, help=text)

    command = _add_run_command(add, "decode", commands.decode, "decode latents, and write the images")
    text = "a .npz file from `jaxvae encode`, or a .npy file (N, L)"
    command.add_argument("--latents", metavar="FILE", type=Path, required=True, help=text)
    command.add_argument(
        "--label", metavar="CLASS", help="the class of all images, for a conditional model: its number or name"
    )
    _add_covariates(command)
    text = "a new directory for pictures, or a .npy file; for a table, a .csv or .npy file"
    command.add_argument("--out", metavar="PATH", type=Path, required=True, help=text)

    command = _add_run_command(add, "score", commands.scores, "write each image's ELBO, its terms, and log p(x)")
    _add_inputs(command)
    _flag(command, "--samples", 1000, "importance samples per image")
    command.add_argument("--out", metavar="FILE", type=Path, required=True, help="a .csv or .npz file")

    command = _add_run_command(add, "impute", commands.impute, "fill missing entries, given those observed")
    _add_inputs(command)
    text = "write this many draws instead of the mean: a .npy file (M, N, ...), or a .csv file for each, FILE-1.csv, …"
    command.add_argument("--draws", metavar="M", type=int, help=text)
    _flag(command, "--samples", 1000, "importance samples per image")
    _flag(command, "--seed", 0, "the seed of all noise")
    text = "a new file: .npy in the data's shape, or .csv of names and numbers"
    command.add_argument("--out", metavar="FILE", type=Path, required=True, help=text)

    command = _add_run_command(add, "sample", commands.sample, "draw images sampled from a run's prior")
    _flag(command, "--count", 100, "how many")
    _flag(command, "--seed", 0, "the seed of the latents")
    text = "the class of all images, for a conditional model: its number or name (default: all in turn)"
    command.add_argument("--label", metavar="CLASS", help=text)
    _add_covariates(command)
    _add_picture(command)

    command = _add_run_command(add, "reconstruct", commands.reconstruct, "draw reconstructions of images")
    _add_inputs(command)
    _flag(command, "--count", 36, "how many")
    _add_picture(command)

    command = _add_run_command(add, "traverse", commands.traverse, "draw an image as each latent varies")
    _add_inputs(command)
    _flag(command, "--row", 0, "which image")
    _flag(command, "--latents", 10, "how many latents, those with the highest KL first")
    _flag(command, "--steps", 9, "how many values of each latent")
    _flag(command, "--reach", 3.0, "the largest value, in σ of the prior")
    _add_picture(command)

    command = _add_run_command(
        add, "export", commands.export, "write a run's model to a folder that needs nothing else"
    )
    command.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new directory")
    text = "safetensors, for jv.load; or stablehlo, for JAX without jaxvae (default: safetensors)"
    command.add_argument("--format", choices=("safetensors", "stablehlo"), default="safetensors", help=text)
    command.add_argument("--push-to", metavar="OWNER/NAME", help="also upload it to the Hugging Face hub")

    command = _add_run_command(add, "diagnose", commands.diagnose, "say what is wrong with a run's latents")
    _flag(command, "--split", "test", "test or validation")

    text = "print a script with which a shell completes commands, flags and their values"
    command = _add(add, "completion", _complete, text)
    command.epilog = (
        'In ~/.bashrc: eval "$(jaxvae completion bash)"; in ~/.zshrc: eval "$(jaxvae completion zsh)"; in '
        "~/.config/fish/config.fish: jaxvae completion fish | source"
    )
    command.add_argument("shell", metavar="SHELL", choices=[*SCRIPTS], help=", ".join(SCRIPTS))
    command.add_argument("words", nargs="*", help=argparse.SUPPRESS)

    text = "list and prepare datasets"
    nested = add.add_parser("data", help=text, description=_sentence(text))
    nested.set_defaults(run=_help(nested))
    add = nested.add_subparsers(title="commands", metavar="COMMAND")
    command = _add(add, "list", commands.data_list, "show the known datasets")
    command.add_argument(
        "--all", action="store_true", help="also those that need more than a download, and what they need"
    )
    _add_data_dir(command)
    command = _add(add, "inspect", commands.data_inspect, "show how data are read, with a picture, before training")
    command.add_argument("name", metavar="DATASET", help="as --dataset of `jaxvae train`")
    command.add_argument("--out", metavar="FILE", type=Path, help="the picture (default: in this directory)")
    command.set_defaults(fields={})
    if chosen == "data":
        _add_fields(command, {}, without=("dataset",))
    command = _add(add, "prepare", commands.data_prepare, "prepare a dataset of tensorflow-datasets")
    command.add_argument("name", metavar="NAME", help="a name from `jaxvae data list`")
    command.add_argument(
        "--from", dest="source", metavar="DIR", type=Path, help="where the raw files are (default: downloaded)"
    )
    _add_data_dir(command)
    return parser


def _complete(args: argparse.Namespace) -> commands.Reply:
    """``jaxvae completion``: prints a shell's script, or the completions that it requests."""
    if not args.words:
        print(SCRIPTS[args.shell])
        return commands.Reply({"script": SCRIPTS[args.shell]})
    found = make_parser(args.words[0]).candidates(args.words)
    print(*found, sep="\n")
    return commands.Reply(found)


_Command = Callable[[argparse.Namespace], commands.Reply]


def _help(parser: argparse.ArgumentParser) -> _Command:
    def run(args: argparse.Namespace) -> commands.Reply:
        parser.print_help()
        return commands.Reply()

    return run


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _add(add: Any, name: str, run: _Command, text: str) -> Parser:
    command: Parser = add.add_parser(name, help=text, description=_sentence(text))
    command.set_defaults(run=run)
    command.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")
    command.add_argument("--json", action="store_true", help="print the result as JSON instead of lines")
    return command


def _add_run_command(add: Any, name: str, run: _Command, text: str) -> Parser:
    command = _add(add, name, run, text)
    text = "the directory of a run of `jaxvae train` (default: the newest in runs)"
    command.add_argument("path", metavar="RUN", type=Path, nargs="?", help=text)
    text = "the run's data, if they have moved"
    command.add_argument("--dataset", metavar="PATH", help=text)
    return command


def _add_inputs(command: argparse.ArgumentParser) -> None:
    """Adds the flags that choose images."""
    text = "new data: a .npy or .npz file, a table, an image, or a folder of images (default: the run's own)"
    command.add_argument("--data", metavar="PATH", type=Path, help=text)
    _flag(command, "--split", "test", "the split of the run's own images: train, validation or test")
    command.add_argument("--labels", metavar="FILE", type=Path, help="a .npy file of labels, for a conditional model")
    command.add_argument("--label", metavar="CLASS", help="the class of all images: its number or name")
    _add_covariates(command)


def _add_covariates(command: argparse.ArgumentParser) -> None:
    text = "the covariates of all images or rows, for a model with such: batch=a age=50 (default: those of the data)"
    command.add_argument("--covariates", metavar="NAME=VALUE", nargs="+", help=text)


def _add_picture(command: argparse.ArgumentParser) -> None:
    text = "a .png, .pdf or .svg file; for a table, a .csv or .npy file of rows (default: in the run's directory)"
    command.add_argument("--out", metavar="FILE", type=Path, help=text)


def _flag(command: argparse.ArgumentParser, name: str, default: Any, text: str, metavar: str | None = None) -> None:
    command.add_argument(
        name, default=default, type=type(default), metavar=metavar, help=f"{text} (default: {default})"
    )


def _add_data_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data-dir", metavar="DIR", type=Path, help="where tensorflow-datasets keeps its data")


class _Field(argparse.Action):
    """Collects the fields of the configuration that are given."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        namespace.fields = {**namespace.fields, self.dest: tuple(values) if isinstance(values, list) else values}


def _add_train_options(command: Parser) -> None:
    command.set_defaults(fields={})
    command.add_argument("--out", metavar="DIR", type=Path, help="the run's directory (default: a new one in runs)")
    command.add_argument("--resume", action="store_true", help="resume the run in --out; start it, if there is none")
    text = "start from the weights of a run or an exported model, where names and shapes match"
    command.add_argument("--init-from", metavar="RUN", help=text)
    command.add_argument(
        "--config", metavar="FILE", type=Path, help="a JSON file of the fields below, such as a run's config.json"
    )
    command.add_argument(
        "--tensorboard", action="store_true", help="also write TensorBoard's files (needs the extra tensorboard)"
    )
    command.add_argument(
        "--distributed",
        action="store_true",
        help="this process is one of several; outside clusters that JAX knows, with the next three flags",
    )
    command.add_argument("--coordinator", metavar="HOST:PORT", help="the address of the first process")
    command.add_argument("--processes", metavar="N", type=int, help="the number of processes")
    command.add_argument("--process", metavar="I", type=int, help="the index of this process, from 0")
    _flag(command, "--timeout", 300, "how long to wait for all processes to start", "SECONDS")
    _add_fields(command, {})


def _add_compare_options(command: Parser) -> None:
    command.epilog = (
        "Every field takes one or more values, and all combinations are trained, several at a time on each device; on "
        "CPUs, each core is made a device, before JAX starts. --hidden, --upper-hidden, --upper-latents, --size and "
        "--value-range have one value, of several numbers; and --precondition fisher also trains the plain runs. "
        "Cells that a table already holds are not trained again. Some defaults differ from those of jaxvae train, so "
        "that 180 runs take minutes (--latents, --hidden, --epochs, --batch-size), or that every σ is in the range of "
        "each parameterization (--init-std: that of a sigmoid ends at 1)."
    )
    command.set_defaults(fields={})
    text = (
        "the directory of table, report and figures (default: a new one in runs); cells that are there are not repeated"
    )
    command.add_argument("--out", metavar="DIR", type=Path, help=text)
    command.add_argument("--quick", action="store_true", help="a small study of about a minute")
    text = "the variant that others are compared with, recorded before training (default: log_variance, or the first)"
    command.add_argument("--baseline", metavar="VARIANT", help=text)
    text = "report how many seeds would resolve a difference of this many nats"
    _flag(command, "--resolve", 0.1, text)
    text = "try neighbouring learning rates by the first seed until none is better; the two best have the other seeds"
    command.add_argument("--search", action="store_true", help=text)
    command.add_argument("--dry-run", action="store_true", help="train nothing, estimate how long it takes")
    text = (
        "train share I of N; all shares have the same --out (default: from the SLURM array or the indexed "
        "Kubernetes job that this process is a task of)"
    )
    command.add_argument("--shard", metavar="I/N", help=text)
    text = "divide the study among the machines of a cluster, which share the directory --out"
    command.add_argument("--on", choices=["slurm", "ray"], help=text)
    command.add_argument("--tasks", metavar="N", type=int, help="the number of tasks, with --on")
    text = "what each task is given: submitit's parameters (timeout_min=60 gpus_per_node=1) or Ray's (num_gpus=1)"
    command.add_argument("--resources", metavar="NAME=VALUE", nargs="+", default=[], help=text)
    command.add_argument(
        "--report-only", action="store_true", help="train nothing, write the report of the cells so far"
    )
    command.add_argument("--merge", metavar="DIR", type=Path, nargs="+", help="train nothing, merge these studies")
    _add_fields(command, _flags()["study"], nargs="+")


def _add_reproduce_options(command: Parser) -> None:
    tables, stages = _flags()["tables"], _flags()["stages"]
    command.epilog = (
        "A row that was stopped or killed is resumed, and one that is scored is not trained again. Several "
        "processes may share a directory, each with --rows or --parameterization of its own."
    )
    command.add_argument("name", metavar="TABLE", choices=tables, help=", ".join(tables))
    command.add_argument("--out", metavar="DIR", type=Path, help="the directory of the runs (default: runs/TABLE)")
    text = f"how many of the {stages} stages of IWAE's training, of 1, 3, 9, … epochs (default: all)"
    command.add_argument("--stages", metavar="N", type=int, help=text)
    command.add_argument("--rows", metavar="ROW", nargs="+", help="only these rows, such as vae-1 iwae-5")
    text = "names from `jaxvae list` (default: that of the source)"
    command.add_argument("--parameterization", metavar="NAME", nargs="+", help=text)
    command.known["parameterization"] = _flags()["fields"]["parameterization"]["choices"]
    command.add_argument(
        "--samples", metavar="N", type=int, help="importance samples per image (default: the source's)"
    )
    _add_data_dir(command)


@functools.cache
def _flags() -> dict[str, Any]:
    """Reads ``flags.json``: the configuration's fields, a study's values of them, the tables and their stages."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("flags.json").read_text(encoding="utf-8"))
    return found


def _add_fields(command: Parser, defaults: Mapping[str, str], without: Sequence[str] = (), **several: Any) -> None:
    """Adds a flag per field of the configuration.

    Args:
        command: the command that takes the flags.
        defaults: the defaults that differ from the configuration's.
        without: the fields that aren't flags here.
        several: how argparse takes several values.
    """
    group = command.add_argument_group("configuration")
    fields = {name: field for name, field in _flags()["fields"].items() if name not in without}
    for name, field in fields.items():
        default = defaults.get(name, field["default"])
        text = field["help"] + (f" (default: {default})" if default else "")
        command.known[name] = field.get("choices", ())
        group.add_argument(
            "--" + name.replace("_", "-"),
            action=_Field,
            dest=name,
            default=argparse.SUPPRESS,
            help=text.replace("%", "%%"),
            **{**_PARSING[field["type"]], **several},
        )


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"must be true or false, got {text!r}")
    return text.lower() == "true"


_PARSING: Mapping[str, Mapping[str, Any]] = {
    "bool": {"nargs": "?", "const": True, "type": _boolean, "metavar": "true|false"},
    "int": {"type": int, "metavar": "N"},
    "float": {"type": float, "metavar": "X"},
    "str": {"type": str, "metavar": "NAME"},
    "tuple of str": {"nargs": "+", "type": str, "metavar": "TEXT"},
    "tuple of int": {"nargs": "+", "type": int, "metavar": "N"},
    "tuple of float": {"nargs": "+", "type": float, "metavar": "X"},
}
"""How argparse reads a field, by its type."""
