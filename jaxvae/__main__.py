"""``python -m jaxvae``, and the program ``jaxvae``."""

import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an import that is cut short shows nothing

from jaxvae.cli import run

if __name__ == "__main__":
    sys.exit(run())
