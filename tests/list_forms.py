"""Case lists as the real programs leave them: made with pandas and csv, as those make them.

The mining writes text cells. The pre-filter and the Case-Selector read them with
``pandas.read_excel``, which makes numbers of ids and NaN of empty cells. The Case-Selector appends
``list(row)`` with ``csv.writer``: the accept button two columns more, the label button three, under
a header that the first button wrote. Refinement reads that with ``pandas.read_csv`` and appends to
a file of its own. People convert, save under other forms, and add lines of their own.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from support import MINING_COLUMNS

KINDS = ("BC", "Glio", "Lunge")
WHEN = "2026-01-05 10:20:30"
TWO, THREE = ["Comment", "AcceptedDate"], ["Comment", "AcceptedDate", "casekind"]


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
    forms = {"mined": folder / "mined.xlsx"}
    mined.replace("", None).to_excel(forms["mined"], index=False)
    read = pd.read_excel(forms["mined"], engine="openpyxl")
    forms["filtered"] = folder / "filtered.xlsx"
    filtered = _filtered(read)
    filtered.to_excel(forms["filtered"], index=False)
    for name, frame in (("mined", read), ("filtered", filtered)):
        buttons = {
            "accept": itertools.repeat("accept"),
            "label": itertools.repeat("label"),
            "accept then label": itertools.chain(["accept"], itertools.repeat("label")),
            "label then accept": itertools.chain(["label"], itertools.repeat("accept")),
        }
        for pressed, sequence in buttons.items():
            path = folder / f"{name} {pressed}.csv"
            _select(frame, path, sequence)
            forms[f"{name}, {pressed}"] = path
        labelled = forms[f"{name}, label"]
        forms[f"{name}, to Excel"] = labelled.with_suffix(".xlsx")
        pd.read_csv(labelled, delimiter=";").to_excel(labelled.with_suffix(".xlsx"), index=False)
        once = _refine(forms[f"{name}, accept"], folder / f"{name}_refine.csv")
        forms |= {f"{name}, refined": once}
        forms[f"{name}, refined twice"] = _refine(once, folder / f"{name}_refine_refine.csv")
        forms[f"{name}, refined label"] = _refine(labelled, folder / f"{name} label_refine.csv")
    body = forms["mined, label"].read_text("utf-8")
    texts = {
        "sep.csv": "sep=;\n" + body,
        "title.csv": "Accepted cases, January" + ";" * 29 + "\n\n" + body,
        "tabs.tsv": body.replace(";", "\t"),
        "pipes.txt": body.replace(";", "|"),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
        forms[name] = folder / name
    forms["unicode.txt"] = folder / "unicode.txt"
    forms["unicode.txt"].write_bytes(texts["tabs.tsv"].encode("utf-16"))
    forms["two sheets.xlsx"] = folder / "two sheets.xlsx"
    with pd.ExcelWriter(forms["two sheets.xlsx"]) as book:
        pd.DataFrame({"Patient-ID": ["notes of my own"]}).to_excel(book, sheet_name="Notes")
        filtered.to_excel(book, sheet_name="Cases", index=False, startrow=3)
    return forms


def _filtered(read: pd.DataFrame) -> pd.DataFrame:
    """What the pre-filter adds; a label None becomes NaN when it is read again."""

    def label(row: pd.Series) -> str:
        has = [k for k in ("KM", "MR") if isinstance(row[f"{k}_Series_Comment"], str)]
        return "+".join({"KM": "KMct", "MR": "KMmr"}[k] for k in has) or "None"

    return read.assign(
        Label=[label(row) for _, row in read.iterrows()],
        Label2="Kopf",
        PTV_Percentage_Larger=228.25,
        PTV_Radius=67.95,
        GTV_Radius=45.71,
        Radius_Difference_mm=22.24,
    )


def _select(frame: pd.DataFrame, path: Path, buttons: Iterable[str]) -> None:
    """Accept or label every row, then reject the first one once more."""
    pressed = list(itertools.islice(buttons, len(frame)))
    comments = ["", "unscharf; KM fehlt", "2024-01-01"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow([*frame.columns, *(THREE if pressed[0] == "label" else TWO)])
        for number, button in enumerate(pressed):
            kind = [KINDS[number % 3]] if button == "label" else []
            writer.writerow([*frame.iloc[number], comments[number % 3], WHEN, *kind])
        writer.writerow([*frame.iloc[0], "abgelehnt - zu alt", WHEN])


def _refine(path: Path, refined: Path) -> Path:
    """Go through a list once more: every other row gets a kind, all a new comment."""
    frame = pd.read_csv(path, delimiter=";", encoding="utf-8")
    frame = frame[~frame["Comment"].str.contains("abgelehnt", case=False, na=False)]
    columns = list(frame.columns)
    with refined.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=";")
        added = [name for name in ("casekind", "RefinementDate") if name not in columns]
        writer.writerow([*columns, *added])
        for number, (_, row) in enumerate(frame.iterrows()):
            values = list(row)
            values[columns.index("Comment")] = "" if number % 2 else "besser"
            label = KINDS[number % 3] if number % 2 else ""
            if "casekind" not in columns:
                values.append(label)
            elif label:
                values[columns.index("casekind")] = label
            writer.writerow([*values, WHEN])  # a date more, whether the header names it or not
    return refined
