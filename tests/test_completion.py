"""The scripts, in those of the shells that are here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxvae.cli import main
from jaxvae.completion import SCRIPTS

TRIES = {
    "bash": 'COMP_WORDS=(jaxvae train --learning-rate-); COMP_CWORD=2; _jaxvae; echo "${COMPREPLY[@]}"',
    "zsh": 'COMP_WORDS=(jaxvae train --learning-rate-); COMP_CWORD=2; _jaxvae; echo "${COMPREPLY[@]}"',
    "fish": "complete -C 'jaxvae train --learning-rate-'",
}


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_shell_completes(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    (tmp_path / "jaxvae").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jaxvae "$@"\n')
    (tmp_path / "jaxvae").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    argv = [shell, *(["-f"] if shell == "zsh" else []), "-c", script + TRIES[shell]]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "--learning-rate-decay\n", done.stderr
