"""The one small hierarchy of expected failures.

Every message says what went wrong, where (row, patient, series) and what to do about it. The
command line prints the message alone: an expected failure never shows a traceback.
"""


class StardustError(Exception):
    """Base of everything this program expects to go wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(as_given(message))


class UsageError(StardustError):
    """The program was called wrongly, or a setting or list cannot be read (exit code 2)."""


class NotApprovedError(StardustError):
    """This run may not write to the clinical database (exit code 3)."""


class CaseError(StardustError):
    """One case cannot go on; the run does, with the next case."""


class LocateError(CaseError):
    """The row does not lead to exactly one plan, structure set or series."""


class PrepareError(CaseError):
    """The structure set cannot be prepared as the rules ask."""


class EsapiRefusedError(CaseError):
    """Eclipse refused a call: carries the .NET exception's type name and message.

    Attributes:
        dotnet_type: Full name of the .NET exception, such as ``System.ApplicationException``.
    """

    def __init__(self, message: str, dotnet_type: str = "") -> None:
        super().__init__(message)
        self.dotnet_type = dotnet_type


class TransferError(CaseError):
    """The files of a case did not arrive whole."""


class VerifyError(CaseError):
    """Exported files are not what the manifest says."""


def in_words(error: OSError) -> str:
    """What the system refused and of which file, without a full stop."""
    where = f" ({error.filename})" if error.filename else ""
    return as_given(f"{error.strerror or error}{where}")


def as_given(text: object) -> str:
    r"""A text whose paths are written as users know them.

    >>> as_given(r"\\?\UNC\server\export, \\?\D:\export")
    '\\\\server\\export, D:\\export'

    Without what :func:`files.long_path` puts before them for Windows.
    """
    return str(text).replace("\\\\?\\UNC\\", "\\\\").replace("\\\\?\\", "")
