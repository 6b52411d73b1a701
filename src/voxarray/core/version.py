"""The version of this package: its one home, which the packaging reads too."""

__version__ = "0.2.0"
