"""Case lists as the real programs leave them: made with the calls of pandas and csv that they use.

The mining writes text cells. The pre-filter and the Case-Selector read them with
``pandas.read_excel``, which makes numbers of ids and NaN of empty cells. The Case-Selector appends
``list(row)`` with ``csv.writer``: the accept button two columns more, the label button three, under
a header that the first button wrote. It refines what ``pandas.read_csv`` reads, into a file of its
own, and converts with ``to_excel``. People save under other forms, and add lines of their own.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from support import MINING_COLUMNS

WHEN = "2026-01-05 10:20:30"
TAIL = ["Comment", "AcceptedDate", "casekind", "RefinementDate"]

Tail = tuple[str, str | None]
"""What the person enters in the Case-Selector: a comment, and the label button's casekind."""


def read_excel(path: Path) -> pd.DataFrame:
    """Read a workbook as the programs do, by their version's default."""
    return pd.read_excel(path, engine="openpyxl")


def to_excel(path: Path) -> Path:
    """Convert a list as the Case-Selector's button does."""
    book = path.with_suffix(".xlsx")
    pd.read_csv(path, delimiter=";", encoding="utf-8").to_excel(book, index=False)
    return book


def prefiltered(read: pd.DataFrame) -> pd.DataFrame:
    """What the pre-filter adds; a label None becomes NaN when it is read again."""

    def label(row: pd.Series) -> str:
        has = [k for k in ("KM", "MR") if isinstance(row[f"{k}_Series_Comment"], str)]
        return "+".join({"KM": "KMct", "MR": "MR"}[k] for k in has) or "None"

    return read.assign(
        Label=[label(row) for _, row in read.iterrows()],
        Label2="Kopf",
        PTV_Percentage_Larger=228.25,
        PTV_Radius=67.95,
        GTV_Radius=45.71,
        Radius_Difference_mm=22.24,
    )


def select(path: Path, frame: pd.DataFrame, tails: Iterable[Tail]) -> Path:
    """Append rows one after the other; the header is written by the button that comes first."""
    for (_, row), (comment, kind) in zip(frame.iterrows(), tails, strict=True):
        is_new = not path.exists()
        more = [] if kind is None else [kind]
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=";")
            if is_new:
                writer.writerow([*frame.columns, *TAIL[: 2 + len(more)]])
            writer.writerow([*row, comment, WHEN, *more])
    return path


def refine(path: Path, tails: Iterable[Tail]) -> Path:
    """Comment and casekind are written in place; a date is appended, named once in the header."""
    frame = pd.read_csv(path, delimiter=";", encoding="utf-8")
    frame = frame[~frame["Comment"].astype(str).str.contains("abgelehnt", case=False, na=False)]
    refined = path.with_name(f"{path.stem}_refine.csv")
    names = list(frame.columns)
    with refined.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow([*names, *(name for name in TAIL[2:] if name not in names)])
        for (_, row), (comment, kind) in zip(frame.iterrows(), tails, strict=True):
            values = list(row)
            values[names.index("Comment")] = comment
            if "casekind" not in names:
                values.append(kind or "")
            elif kind is not None:
                values[names.index("casekind")] = kind
            writer.writerow([*values, WHEN])
    return refined


def write_forms(folder: Path, rows: Sequence[Mapping[str, str]]) -> dict[str, Path]:
    """Write the same accepted cases in every form, and a rejected one more where there can be one.

    Args:
        folder: Made if missing.
        rows: Accepted rows as the mining has them, by column.

    Returns:
        The files by what they show.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = [[row.get(column, "") for column in MINING_COLUMNS] for row in rows]
    mined = pd.DataFrame(values, columns=MINING_COLUMNS, dtype=object)
    forms = {"mined": folder / "mined.xlsx", "filtered": folder / "filtered.xlsx"}
    mined.replace("", None).to_excel(forms["mined"], index=False)
    read = read_excel(forms["mined"])
    prefiltered(read).to_excel(forms["filtered"], index=False)
    comments = ["", "unscharf; KM fehlt", "2024-01-01"]
    kinds = ["BC", "Glio", "Lunge"]
    numbers = range(len(rows))
    accept: list[Tail] = [(comments[n % 3], None) for n in numbers]
    label: list[Tail] = [(comments[n % 3], kinds[n % 3]) for n in numbers]
    again: list[Tail] = [("besser", kinds[n % 3]) if n % 2 else ("", None) for n in numbers]
    pressed = {
        "accept": accept,
        "label": label,
        "accept then label": [*accept[:1], *label[1:]],
        "label then accept": [*label[:1], *accept[1:]],
    }
    for name in ("mined", "filtered"):
        frame = read_excel(forms[name])
        # At the end the first row is rejected once more.
        shown = pd.concat([frame, frame[:1]])
        for buttons, tails in pressed.items():
            path = folder / f"{name} {buttons}.csv"
            forms[f"{name}, {buttons}"] = select(
                path, shown, [*tails, ("abgelehnt - zu alt", None)]
            )
        forms[f"{name}, to Excel"] = to_excel(forms[f"{name}, label"])
        once = refine(forms[f"{name}, accept"], again)
        forms |= {f"{name}, refined": once, f"{name}, refined twice": refine(once, again)}
        forms[f"{name}, refined label"] = refine(forms[f"{name}, label"], again)
    body = forms["mined, label"].read_text("utf-8")
    texts = {
        "sep.csv": "sep=;\n" + body,
        "title.csv": "Accepted cases, January" + ";" * 29 + "\n\n" + body,
        "tabs.tsv": body.replace(";", "\t"),
        "pipes.txt": body.replace(";", "|"),
    }
    for name, text in texts.items():
        forms[name] = folder / name
        forms[name].write_text(text, "utf-8")
    forms["unicode.txt"] = folder / "unicode.txt"
    forms["unicode.txt"].write_bytes(texts["tabs.tsv"].encode("utf-16"))
    forms["two sheets.xlsx"] = folder / "two sheets.xlsx"
    with pd.ExcelWriter(forms["two sheets.xlsx"]) as book:
        pd.DataFrame({"Patient-ID": ["notes of my own"]}).to_excel(book, sheet_name="Notes")
        read_excel(forms["filtered"]).to_excel(book, sheet_name="Cases", index=False, startrow=3)
    return forms
