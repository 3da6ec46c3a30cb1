"""The record that a physicist signs: what is approved, what it changes, by which rules."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from stardust_esapi.approval.assembly import Assembly
from stardust_esapi.approval.evidence import Evidence
from stardust_esapi.approval.site import Site
from stardust_esapi.errors import UsageError
from stardust_esapi.settings import StructureSettings, load_settings

TEMPLATE = "record.md.j2"


@dataclass(frozen=True)
class Rules:
    """The rules of the structures, and where they come from.

    Attributes:
        structures: The rules.
        source: Name of the settings file; empty for the built-in rules.
        sha256: Of the settings file, in hex; empty for the built-in rules.
    """

    structures: StructureSettings
    source: str
    sha256: str


def read_rules(settings: Path | None) -> Rules:
    """Read the rules of a settings file, or the built-in ones.

    Raises:
        UsageError: The file is missing or makes no sense.
    """
    if settings is None:
        return Rules(StructureSettings(), "", "")
    loaded = load_settings(settings)
    digest = hashlib.sha256(settings.read_bytes()).hexdigest()
    return Rules(loaded.structures, settings.name, digest)


def render_record(
    template: Path,
    site: Site,
    launchers: list[Assembly],
    esapi: list[Assembly],
    rules: Rules,
    evidence: Evidence | None,
) -> str:
    """Fill the record.

    Args:
        template: ``record.md.j2``.
        site: What the launchers let Python load.
        launchers: The four launchers.
        esapi: The assemblies that they were compiled against.
        rules: How structure sets are prepared.
        evidence: What the tests proved; None where nobody gave a report.

    Raises:
        UsageError: The template is missing or broken.
    """
    # Markdown, not HTML: what could break a table is dealt with by `cell`.
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    try:
        return environment.get_template(template.name).render(
            site=site,
            manifest=site.manifest,
            launchers=launchers,
            esapi=esapi,
            rules=rules,
            evidence=evidence,
        )
    except TemplateError as error:
        raise UsageError(f"The record cannot be created from {template}: {error}.") from None


def _cell(text: object) -> str:
    """Text as a cell of a Markdown table shows it, letter by letter."""
    shown = " ".join(str(text).splitlines()).replace("|", "\\|")
    if not shown.strip():
        return "(empty)"
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"
