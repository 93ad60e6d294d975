"""The entry point of ``python -m jaxvae`` and of the program ``jaxvae``."""

import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupted import shows no traceback

from jaxvae.cli import run

if __name__ == "__main__":
    sys.exit(run())
