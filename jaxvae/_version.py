"""The version, in a file of its own, which setup.cfg can read without importing JAX."""

__version__ = "0.1.0"
