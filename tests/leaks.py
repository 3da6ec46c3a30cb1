"""Whether values that must not get out stand anywhere in files, in any form."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pydicom
from PIL import Image


def forms(value: str) -> Iterator[bytes]:
    """How a value could be written down: character sets and escapes; in lower case."""
    for text in {
        value,
        json.dumps(value)[1:-1],
        html.escape(value),
        quote(value, safe=""),
        quote(value),
        value.replace("^", " "),
        value.replace("^", ", "),
    }:
        for encoding in ("utf-8", "latin-1", "utf-16-le", "utf-16-be", "utf-32-le"):
            try:
                yield text.encode(encoding).lower()
                yield text.lower().encode(encoding).lower()
            except UnicodeEncodeError:
                continue
    if len(value) > 8:
        yield value.encode().hex().encode()
        # Three starts of the same text, without the letters that its ends share.
        for skip in range(3):
            yield base64.b64encode(b"\0" * skip + value.encode())[4:-4].lower()


def layers(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """A file's bytes, and what it holds when it is unpacked."""
    yield name, data
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield f"{name}, comment", archive.comment
            for member in archive.namelist():
                yield from layers(f"{name}/{member}", archive.read(member))
    elif data.startswith(b"\x1f\x8b"):
        yield from layers(f"{name}, unpacked", gzip.decompress(data))
    elif data.startswith(b"\x89PNG"):
        picture = Image.open(io.BytesIO(data))
        picture.load()
        yield f"{name}, texts", repr(picture.info).encode()
        yield f"{name}, pixels", picture.tobytes()
    elif data[128:132] == b"DICM":
        yield f"{name}, as text", str(pydicom.dcmread(io.BytesIO(data))).encode()
    elif b"base64," in data:
        for part in data.split(b"base64,")[1:]:
            text = part[: next((at for at, byte in enumerate(part) if byte in b"\"')& "), None)]
            yield from layers(f"{name}, embedded", base64.b64decode(text))


def leaks(root: Path, values: dict[str, str]) -> list[str]:
    """Where any of the values stands below a folder: in a path, or in a layer of a file."""
    wanted = {form: where for value, where in values.items() for form in forms(value)}
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        looked = [("the path of " + name, name.encode())]
        if path.is_file():
            looked += layers(name, path.read_bytes())
        for where, data in looked:
            lower = data.decode("utf-8", "surrogateescape").lower()
            # Bytes as they are for other character sets, text for letters such as Ä.
            haystack = (data.lower(), lower.encode("utf-8", "surrogateescape"))
            found += [
                f"{what} in {where}: {form!r}"
                for form, what in wanted.items()
                if form in haystack[0] or form in haystack[1]
            ]
    return found
