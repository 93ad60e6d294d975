"""``python -m jaxvae``, and the program ``jaxvae``."""

import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)  # until ``run`` knows better: an import that is cut short is no error

from jaxvae.cli import run  # noqa: E402

if __name__ == "__main__":
    sys.exit(run())
