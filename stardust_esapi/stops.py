"""Ctrl-C and its like: they end a run between two steps, never within one that must be whole.

A signal's handler that raised anywhere could raise between the entry of a ``with`` block and its
first line, and what the block would have undone or written down stayed as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """Somebody has stopped the program: past every handler of errors, up to its end."""


class _Asked:
    """Whether a stop waits, and for how many blocks."""

    waits = False
    held = 0


def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal calls it
    """Handle a signal: raise :class:`Stopped`, at once or when nothing holds it any more."""
    _Asked.waits = True
    if not _Asked.held:
        look()


def look() -> None:
    """Raise :class:`Stopped` where one waits: for within a block that holds, between two steps."""
    if _Asked.waits:
        _Asked.waits = False
        raise Stopped


@contextmanager
def held() -> Iterator[None]:
    """Let a stop wait until the block is done, or calls :func:`look`."""
    _Asked.held += 1
    try:
        yield
    finally:
        _Asked.held -= 1
        look()
