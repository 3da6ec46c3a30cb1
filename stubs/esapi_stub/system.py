"""What the stub needs of .NET's ``System``: exceptions under their .NET names, and dates.

Pythonnet shows a .NET exception as a Python exception whose class carries the namespace as its
module: ``type(e).__module__`` is ``System``. These classes do the same.
"""

from __future__ import annotations

import builtins
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime


class Exception(builtins.Exception):
    """``System.Exception``."""

    @property
    def Message(self) -> str:
        """What .NET's ``Message`` says."""
        return str(self.args[0]) if self.args else ""


class SystemException(Exception):
    """``System.SystemException``."""


class ApplicationException(Exception):
    """``System.ApplicationException``: what ESAPI itself refuses with."""


class InvalidOperationException(SystemException):
    """``System.InvalidOperationException``."""


class ObjectDisposedException(InvalidOperationException):
    """``System.ObjectDisposedException``."""


class ArgumentException(SystemException):
    """``System.ArgumentException``."""


class ArgumentNullException(ArgumentException):
    """``System.ArgumentNullException``."""


class ArgumentOutOfRangeException(ArgumentException):
    """``System.ArgumentOutOfRangeException``."""


class NullReferenceException(SystemException):
    """``System.NullReferenceException``."""


class AccessViolationException(SystemException):
    """``System.AccessViolationException``: what a dead ESAPI object answers with."""


class NotImplementedException(SystemException):
    """``System.NotImplementedException``: ESAPI can do this, the stub cannot."""


for _class in list(globals().values()):
    if isinstance(_class, type) and issubclass(_class, Exception):
        _class.__module__ = "System"


@dataclass(frozen=True, slots=True, order=True)
class DateTime:
    """``System.DateTime``; pythonnet does not turn it into Python's ``datetime`` either."""

    Year: int = 1
    Month: int = 1
    Day: int = 1
    Hour: int = 0
    Minute: int = 0
    Second: int = 0

    def ToString(self, format: str = "s") -> str:
        """Write the date by a .NET format of yyyy, MM, dd, HH, mm and ss, or ``s`` (ISO 8601)."""
        parts = {
            "yyyy": f"{self.Year:04}",
            "MM": f"{self.Month:02}",
            "dd": f"{self.Day:02}",
            "HH": f"{self.Hour:02}",
            "mm": f"{self.Minute:02}",
            "ss": f"{self.Second:02}",
        }
        pattern = "yyyy-MM-ddTHH:mm:ss" if format == "s" else format
        return re.sub("|".join(parts), lambda found: parts[found[0]], pattern)

    def __str__(self) -> str:
        return self.ToString()


def parse_dicom_date(date: str, time: str = "") -> DateTime | None:
    """Read DICOM DA and TM (PS3.5 6.2); None where there is no valid date."""
    digits = date.replace(".", "") + time.partition(".")[0].replace(":", "").ljust(6, "0")
    try:
        found = datetime.strptime(digits, "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return DateTime(*found.timetuple()[:6])


def now() -> DateTime:
    """The present, or what ``SOURCE_DATE_EPOCH`` says (UTC), so that tests can repeat a run."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), tz=UTC) if epoch else datetime.now().astimezone()
    return DateTime(*moment.timetuple()[:6])
