"""The flags of a tiny run, and what a refusal looks like."""

import sys

from jaxvae.cli import main

TINY = ("--latents", "3", "--hidden", "8", "--epochs", "2", "--batch-size", "80", "--samples", "2")
PICTURES = {"curves.png", "reconstructions.png", "samples.png", "traversals.png", "std.png", "latents.png"}
MODULE = (sys.executable, "-m", "jaxvae")


def refusal(capsys, *argv: str) -> str:
    """The one line with which these arguments are refused."""
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith("jaxvae: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    return err
