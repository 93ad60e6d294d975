"""The command line, mostly through ``main``; through a process where the process is the point."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from command_line import MODULE, refusal
from jax.errors import JaxRuntimeError
from one_device import environment

import jaxvae as jv
from benchmarks import flags
from jaxvae import process
from jaxvae.cli import main

COMMANDS = (
    *("list", "explain", "train", "compare", "reproduce", "evaluate", "sample", "reconstruct", "traverse", "diagnose"),
    "impute",
    *("data", "data list", "data prepare", "completion"),
)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_exit_codes_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    _, _, text = capsys.readouterr().out.partition("exit codes:\n")
    assert re.findall(r"^  (\d+) ", text, re.MULTILINE) == ["0", "1", "2", str(process.STOPPED)]


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["lst"], ("COMMAND", "'lst'; did you mean list?", "`jaxvae --help`")),
        (["tran", "--epochs", "3"], ("'tran'; did you mean train?",)),
        (["zzz"], ("'zzz', not one of list, explain, train,",)),
        (["data", "lst"], ("'lst'; did you mean list?", "`jaxvae data --help`")),
        (["list", "--nam"], ("--nam; did you mean --names?", "`jaxvae list --help`")),
        (["list", "a\nb"], ("a b", "`jaxvae list --help`")),
        (["--foo", "list"], ("unrecognized arguments: --foo (see `jaxvae --help`)",)),
        (["explain", "--out"], ("--out", "expected one argument", "`jaxvae explain --help`")),
        (["encode", "--ot=z.csv"], ("--ot; did you mean --out?", "`jaxvae encode --help`")),
        (["train", "--parametrization", "x"], ("did you mean --parameterization", "`jaxvae train --help`")),
        (["train", "--lr", "1"], ("--lr; did you mean --learning-rate?",)),
        (["compare", "--epoch", "1"], ("--epoch; did you mean --epochs?", "`jaxvae compare --help`")),
    ],
)
def test_bad_usage(capsys: pytest.CaptureFixture[str], argv: list[str], named: tuple[str, ...]) -> None:
    line = refusal(capsys, *argv)
    assert all(part in line for part in named)


def test_no_command_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    bare = capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == bare
    assert "list" in bare
    assert "explain" in bare


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"jaxvae {jv.__version__}\n"


def test_help_and_refusals_load_neither_jax_nor_numpy() -> None:
    asked = [[], ["--version"], ["lst"], *([*words.split(), "--help"] for words in COMMANDS)]
    refused = [["train", "--epoch", "3"], ["compare", "--seed", "a"], ["reproduce", "iwae"]]
    code = (
        "import sys\nfrom jaxvae import process\nfrom jaxvae.cli import main\nprocess.speak_in_lines()\n"
        f"for argv in {[*asked, *refused]}:\n"
        "    try:\n        main(argv)\n    except SystemExit:\n        pass\n"
        "print('loaded:', sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *shown, loaded = done.stdout.splitlines()
    assert sum(line.startswith("usage: ") for line in shown) == 1 + len(COMMANDS)
    assert done.stderr.count("jaxvae: error: ") == 1 + len(refused)
    assert "jaxvae" in loaded
    for heavy in ("jax", "jaxlib", "numpy", "flax", "matplotlib", "rich"):
        assert repr(heavy) not in loaded


def test_flags_are_those_of_the_configuration() -> None:
    assert flags.PATH.read_text(encoding="utf-8") == flags.flags(), "to be written anew: python -m benchmarks.flags"


def test_an_error_of_jax_is_a_line_and_other_runtime_errors_are_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: Exception) -> None:
        raise error

    monkeypatch.setattr("jaxvae.commands.list_parameterizations", lambda args: fail(JaxRuntimeError("out of\nmemory")))
    assert refusal(capsys, "list") == "jaxvae: error: out of memory\n"
    monkeypatch.setattr("jaxvae.commands.list_parameterizations", lambda args: fail(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["list"])


def test_a_platform_that_is_not_there_is_a_line() -> None:
    code = "import sys; from jaxvae.cli import main; sys.exit(main(['data', 'inspect', 'digits']))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(JAX_PLATFORMS="cuda"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("jaxvae: error: ")
    assert done.stderr.count("\n") == 1


def test_training_without_compilation_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with jax.disable_jit():
        assert "JAX_DISABLE_JIT must be unset for training" in refusal(capsys, "train")


def test_as_a_module() -> None:
    done = subprocess.run([*MODULE, "explain", "log_st"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("jaxvae: error: ")
    assert done.stderr.count("\n") == 1
    assert "log_std" in done.stderr


def test_a_reader_that_leaves_early() -> None:
    with subprocess.Popen([*MODULE, "list", "--names"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
        reader.stdout.close()
        assert reader.stderr.read() == b""
    assert reader.returncode == 0
