"""Where a command prints: what cannot be shown, or nobody reads any more, ends no run."""

from __future__ import annotations

import os
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO, cast


def unfailing(stream: TextIO | None) -> TextIO:
    """Standard output or error, to which writing never fails.

    Letters that its encoding lacks are written as escapes, such as those outside a console's code
    page. What a closed pipe or a full disk does not take is lost. Where there is no stream at all,
    as in a program with a window, nothing is written.
    """
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if isinstance(stream, _Unfailing):
        return stream
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return cast(TextIO, _Unfailing(stream))


class _Unfailing:
    """A text stream that passes everything on, and keeps what goes wrong to itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()
