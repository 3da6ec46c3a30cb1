"""UIDs for what an ESAPI version does not show the UID of."""

from __future__ import annotations

import hashlib


def derived_uid(*parts: str) -> str:
    """Derive a UID that is always the same for the same parts.

    The first 128 bits of their SHA-256 become a UUID of version 8 (RFC 9562, 5.8), and that a
    UID under ``2.25`` (PS3.5 B.2).

    Args:
        parts: What identifies the object, such as a series UID and a plane number.

    Returns:
        A UID of at most 44 characters.
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76  # version
    number = number & ~(0x3 << 62) | 0x2 << 62  # variant
    return f"2.25.{number}"
