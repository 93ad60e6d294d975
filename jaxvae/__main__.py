"""``python -m jaxvae``."""

import sys

from jaxvae.cli import run

sys.exit(run())
