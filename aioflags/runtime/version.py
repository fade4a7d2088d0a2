"""The version of the package, once: the build reads it here, and every request carries it."""

__version__ = "0.1.0"
