"""What the HTML pages have in common: their look, the list that is searched and sorted, and how.

A page is one file. It reads without JavaScript, asks nobody for anything, and shows pictures that
lie in a folder beside it.
"""

from __future__ import annotations

import re
from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template

_HERE = "page"


@cache
def template(room: str, name: str) -> Template:
    """A template of a room, which may extend ``base.html.j2`` and include what lies here.

    Whatever a page is given, it shows as text.

    Args:
        room: The room's folder in the package.
        name: The template's file there.
    """
    loaders = [PackageLoader("stardust_esapi", folder) for folder in (room, _HERE)]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    return environment.get_template(name)


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "case"), counted(1200, "case")
    ('1 case', '1,200 cases')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def in_general(reason: str) -> str:
    """What a reason says of cases, without what is this case's own: cases are grouped by it.

    >>> in_general("the GTV (4.71 ml) is in “CT 3”, 12 mm off. Look at it.")
    'The GTV (…) is in “…”, … mm off.'
    >>> in_general("the patient has no such plan: Plan1, Plan2")
    'The patient has no such plan.'
    """
    first = re.split(r"(?<=\.)\s|:\s", reason.strip(), maxsplit=1)[0]
    first = re.sub(r"\([^()]*\)", "(…)", re.sub(r"“[^”]*”", "“…”", first))
    first = re.sub(r"[^\s,;“”()]*\d[^\s,;“”()]*(?<!\.)", "…", first).rstrip(".:")
    return f"{first[:1].upper()}{first[1:]}" + "." * (not first.endswith("…"))
