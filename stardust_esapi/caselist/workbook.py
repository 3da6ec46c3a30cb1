"""The cells of the sheet of an ``.xlsx`` workbook that holds the case list.

calamine reads a workbook some ten times as fast as openpyxl, but an error such as ``#NAME?`` and a
formula that was never calculated come out as empty texts, and damage to the file goes unnoticed: a
comment that says ``abgelehnt`` could vanish. So what it does not tell is looked for beside it.
"""

from __future__ import annotations

import io
import math
import posixpath
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from python_calamine import CalamineSheet, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from stardust_esapi.caselist.names import known_names
from stardust_esapi.errors import UsageError

# These run over 150 MB at 100,000 rows: each begins with a literal, which re finds fast.
_ERROR = re.compile(rb"""t\s*=\s*["']e["']""")
_PLACE = re.compile(rb"""\sr\s*=\s*["']([A-Z]+)([0-9]+)["']""")
_FORMULAS = (re.compile(rb"<f[\s/>]"), re.compile(rb":f[\s/>]"))
# calamine makes room for all cells up to the last; Python dies when there is none.
_FAR = re.compile(rb"""r="[A-Z]{3}[0-9]+"[^<>/]*>""")


def read_sheet(path: Path, content: bytes) -> list[Sequence[object]]:
    """All cells of the first visible sheet whose header names ``Patient-ID``, else of the first.

    Args:
        path: What messages call the workbook.
        content: The file.

    Returns:
        Row by row from the sheet's first, all as wide as the sheet. An error is NaN, a number a
        float, an empty cell an empty text.

    Raises:
        UsageError: The file is no workbook or is damaged; a sheet has more than 702 columns; the
            sheet has formulas without values.
    """
    try:
        return _read(path, content)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - every part of a workbook has errors of its own
        raise UsageError(
            f"The workbook {path} cannot be read ({type(error).__name__}); open it in Excel, "
            "correct cells that show an error, and save it again as .xlsx, or as CSV UTF-8."
        ) from None


def _read(path: Path, content: bytes) -> list[Sequence[object]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # Each part's checksum is verified as it is read.
        parts = {name.lower(): archive.read(name) for name in archive.namelist()}
    paths = _sheet_paths(parts)
    with CalamineWorkbook.from_filelike(io.BytesIO(content)) as book:
        names = [
            sheet.name
            for sheet in book.sheets_metadata
            if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible
        ]
        for name in names:
            if _FAR.search(parts[paths[name]]):
                raise UsageError(
                    f"A sheet of the workbook {path} has values beyond column ZZ; save the sheet "
                    "with the case list as a workbook of its own, without such columns."
                )
            sheet = book.get_sheet_by_name(name)
            if _is_list(sheet):
                break
        else:
            sheet = book.get_sheet_by_name(names[0])
        cells = sheet.to_python(skip_empty_area=False)
    xml = parts[paths[sheet.name]]
    _require_values(path, xml)
    for row, column in _errors(xml):
        cells[row][column] = math.nan
    return list(cells)


def _sheet_paths(parts: dict[str, bytes]) -> dict[str, str]:
    """Which part holds the sheet of each name (ECMA-376-1, 12.3.23 and 18.2.19)."""
    workbook, links = (
        ElementTree.fromstring(parts[name])  # noqa: S314 - expat limits what entities unfold to
        for name in ("xl/workbook.xml", "xl/_rels/workbook.xml.rels")
    )
    targets = {link.get("Id"): link.get("Target", "") for link in links}
    paths = {}
    for sheet in workbook.iterfind("{*}sheets/{*}sheet"):
        link = next(value for name, value in sheet.items() if name.endswith("}id"))
        path = posixpath.join("/xl", targets[link]).lstrip("/")
        paths[sheet.attrib["name"]] = path.lower()
    return paths


def _is_list(sheet: CalamineSheet) -> bool:
    for row in sheet.to_python(skip_empty_area=False, nrows=20):
        texts = [str(cell).strip() for cell in row]
        if any(texts):
            return "Patient-ID" in known_names(texts)
    return False


def _require_values(path: Path, xml: bytes) -> None:
    """Refuse a sheet with a formula that was never calculated (ECMA-376-1, 18.3.1.40).

    Nobody can tell what its cell says. One that gives an empty text is of type ``str``.
    """
    # Python takes seconds to parse 100,000 rows, so it does only where there may be a formula.
    if not any(pattern.search(xml) for pattern in _FORMULAS):
        return
    for _, element in ElementTree.iterparse(io.BytesIO(xml)):  # noqa: S314 - as above
        kind = _local(element.tag)
        if kind == "c" and element.get("t") != "str":
            texts = {_local(child.tag): child.text for child in element}
            if "f" in texts and not texts.get("v"):
                raise UsageError(
                    f"The formula in cell {element.get('r')} of the workbook {path} was never "
                    "calculated; open the workbook in Excel and save it again."
                )
        elif kind == "row":
            element.clear()


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _errors(xml: bytes) -> Iterator[tuple[int, int]]:
    """Row and column, from 0, of the cells with an error (ECMA-376-1, 18.3.1.4)."""
    for error in _ERROR.finditer(xml):
        start = xml.rfind(b"<", 0, error.start())
        tag = xml[start + 1 : xml.find(b">", start)]
        if tag.split()[0].rpartition(b":")[2] == b"c":  # else it stands in a text
            letters, row = _PLACE.findall(tag)[0]
            column = 0
            for letter in letters:
                column = column * 26 + letter - ord("A") + 1
            yield int(row) - 1, column - 1
