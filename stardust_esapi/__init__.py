"""Prepare accepted radiotherapy cases inside Eclipse and export them, verified complete."""

__version__ = "0.1.0"
