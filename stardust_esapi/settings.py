"""What a site can set, and where from: flags, environment, TOML file, old ``settings.ini``.

A flag beats an environment variable (``STARDUST_ENGINE=none``), which beats the TOML file, which
beats the old ``settings.ini``, which beats the defaults below. Permission to write is a flag
only: a file or a variable left behind must never make a run write. Where the audit log lies is no
matter for a variable either: nobody would see that it is diverted.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from stardust_esapi.choices import EngineName, OnExisting, OnMissing, Retrieve
from stardust_esapi.errors import UsageError
from stardust_esapi.model import IMAGE_KINDS, Kind
from stardust_esapi.names import MAX_ESAPI_ID, as_read

LARGEST_MB = 256
"""MB of what comes from outside: of a DICOM object, where structure sets of clinics stay below a
tenth of it, and of a case list, where one of 100,000 rows is 150 MB in memory."""

TOML_NAME = "stardust-esapi.toml"
INI_NAME = "settings.ini"


class When(StrEnum):
    """How a rule's words are compared with a structure's id; case is ignored."""

    STARTS_WITH = "starts-with"
    CONTAINS = "contains"
    ENDS_WITH = "ends-with"
    EQUALS = "equals"


class Then(StrEnum):
    """What a rule does."""

    SKIP = "skip"  # the structure is not copied
    REMOVE = "remove"  # the word is taken out of the id; only for ends-with and starts-with


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CaseListSettings(_Frozen):
    """How a case list is read.

    Attributes:
        rejected: Words in any column behind the mining's that mark a rejected row; case is ignored.
        sheet: The sheet of a workbook; empty for the only one that holds a list.
        largest_mb: MB that the list may have, unpacked and in memory.
    """

    rejected: tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)], ...] = (
        "abgelehnt",
        "rejected",
    )
    sheet: str = ""
    largest_mb: int = Field(LARGEST_MB, ge=1)


class Rule(_Frozen):
    """One row of the table of structure rules.

    Attributes:
        name: What the report calls the rule.
        when: How ``words`` are compared.
        words: Any of them makes the rule apply.
        then: What follows.
    """

    name: str
    when: When
    words: tuple[str, ...] = Field(min_length=1)
    then: Then = Then.SKIP

    @pydantic.model_validator(mode="after")
    def _removable(self) -> Rule:
        if self.then is Then.REMOVE and self.when not in (When.ENDS_WITH, When.STARTS_WITH):
            raise ValueError("then = 'remove' goes with 'ends-with' or 'starts-with' only")
        if not all(self.words):
            raise ValueError("an empty word would match every structure")
        return self


DEFAULT_RULES = (
    Rule(name="helper structure", when=When.STARTS_WITH, words=("z",)),
    Rule(
        name="planning structure",
        when=When.CONTAINS,
        words=("prv", "ring", "body", "haut", "saum", "couch", "help"),
    ),
    Rule(name="suffix OAR", when=When.ENDS_WITH, words=(" OAR",), then=Then.REMOVE),
)

# AddStructure takes ESAPI's own list alone (Structure.DicomType shows more). CONTROL says of all
# of them the least: a region of interest without a dosimetric meaning.
DEFAULT_TYPES = {"": "CONTROL", "BOLUS": "CONTROL", "MARKER": "CONTROL", "*": "CONTROL"}

# The reader takes every ROI whose name contains one of these for a label; of several the largest.
GTV_WORD, TARGET_WORD = "gtv", "target"
RESERVED = {GTV_WORD: "GT", TARGET_WORD: "Targ"}

ADDABLE_TYPES = frozenset(
    {
        "AVOIDANCE", "CAVITY", "CONTRAST_AGENT", "CTV", "EXTERNAL", "GTV", "IRRAD_VOLUME",
        "ORGAN", "PTV", "TREATED_VOLUME", "SUPPORT", "FIXATION", "CONTROL", "DOSE_REGION",
    }
)  # fmt: skip
"""The types that ``StructureSet.AddStructure`` takes."""


class StructureSettings(_Frozen):
    """How the prepared structure sets are created.

    Attributes:
        rules: Applied from the first to the last; the first that skips decides.
        types: Source type to the type it is added under, for types that ESAPI cannot add;
            ``*`` stands for any other.
        target_label: Id that the structure named by ``TargetID`` gets.
        gtv_label: Id that the structure named by ``GTV`` gets.
        structure_set_id: Id of the prepared structure set on the planning CT.
        structure_set_id_km: Id of the one on the contrast CT.
        reserved: Words that MedSAM2's reader finds labels by, and what stands for them in the ids
            of structures other than target and GTV.
        allow_failed: Go on when a structure other than target and GTV cannot be copied.
        volume_tolerance: Relative difference of volumes taken for equal on another grid.
    """

    rules: tuple[Rule, ...] = DEFAULT_RULES
    types: dict[str, str] = Field(default_factory=lambda: dict(DEFAULT_TYPES))
    target_label: str = Field("target+", min_length=1, max_length=MAX_ESAPI_ID)
    gtv_label: str = Field("gtv+", min_length=1, max_length=MAX_ESAPI_ID)
    structure_set_id: str = Field("zCopyFromPlan", min_length=1, max_length=MAX_ESAPI_ID)
    structure_set_id_km: str = Field("zCopyFromPlan_KM", min_length=1, max_length=MAX_ESAPI_ID)
    reserved: dict[str, str] = Field(default_factory=lambda: dict(RESERVED))
    allow_failed: bool = False
    volume_tolerance: float = Field(0.05, ge=0, lt=1)

    @pydantic.field_validator("target_label", "gtv_label")
    @classmethod
    def _readable(cls, label: str, info: pydantic.ValidationInfo) -> str:
        word, other = (GTV_WORD, "") if info.field_name == "gtv_label" else (TARGET_WORD, GTV_WORD)
        if word not in as_read(label) or (other and other in as_read(label)):
            without = f" and does not contain “{other}”" if other else ""
            raise ValueError(
                f"MedSAM2's reader finds this label by a name that contains “{word}”{without}"
            )
        return label

    @pydantic.field_validator("reserved")
    @classmethod
    def _replaced(cls, reserved: dict[str, str]) -> dict[str, str]:
        if set(reserved) != set(RESERVED):
            raise ValueError(f"it replaces the words {' and '.join(RESERVED)}, no others")
        for word, instead in reserved.items():
            # Shorter: then it comes to an end, and an id stays within its 16 characters.
            if not as_read(instead) or len(instead) >= len(word):
                raise ValueError(f"what stands for “{word}” must be shorter than it, and not empty")
            if instead != instead.strip():
                raise ValueError(f"what stands for “{word}” must not begin or end with a blank")
        return reserved

    @pydantic.field_validator("types")
    @classmethod
    def _addable(cls, types: dict[str, str]) -> dict[str, str]:
        wrong = sorted(set(types.values()) - ADDABLE_TYPES)
        if wrong:
            raise ValueError(
                f"ESAPI cannot add structures of type {', '.join(wrong)}; "
                f"it takes {', '.join(sorted(ADDABLE_TYPES))}"
            )
        return types


AeTitle = Annotated[
    str, StringConstraints(strip_whitespace=True, pattern=r"^[^\\\x00-\x1f]{1,16}$")
]
Port = Annotated[int, Field(ge=1, le=65535)]


class Peer(_Frozen):
    """A DICOM node, such as Varian's DB Daemon; also written ``AE@HOST:PORT``."""

    ae_title: AeTitle
    host: str = Field(min_length=1)
    port: Port

    @pydantic.model_validator(mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"(?P<ae_title>[^@]+)@(?P<host>.+):(?P<port>\d+)", value.strip())
        if match is None:
            raise ValueError("write a peer as AE@HOST:PORT, such as VMSDBD1@10.0.0.5:51402")
        return match.groupdict()

    def __str__(self) -> str:
        """``AE@HOST:PORT``."""
        return f"{self.ae_title}@{self.host}:{self.port}"


class Tls(_Frozen):
    """Certificates (PEM) for associations over TLS; the peer must show one that ``ca`` signed.

    Attributes:
        certificate: Our own certificate.
        key: Its private key.
        ca: The certificates that a peer's must be signed by.
    """

    certificate: Path
    key: Path
    ca: Path


class Network(_Frozen):
    """How the transfer reaches its peer.

    Attributes:
        peer: The Query/Retrieve SCP, such as the DB Daemon.
        aet: Our own AE title: we call with it, and the peer must know it as a destination.
        port: The port our storage SCP listens on; the peer must know it too.
        bind: The address it listens on; empty for all.
        retrieve: C-MOVE; or C-GET, where the peer offers it: over one connection, which Varian's
            DICOM services need for TLS.
        deliver: Empty for our own storage SCP, or ``folder:PATH`` for a File Daemon's folder.
        destination: AE title the peer moves to; empty for our own (``folder:`` needs the File
            Daemon's, such as ``VMSFD1``).
        associations: How many cases are moved at the same time, each over one association. Some
            daemons take few: ``doctor`` says how many the peer takes.
        retries: How often a transfer that failed is tried again.
        timeout: Seconds to wait for an answer, and for the rest of what has begun to arrive.
        largest_mb: MB that an instance, or another message of the peer, may have.
        tls: Certificates; None for plain associations.
    """

    peer: Peer | None = None
    aet: AeTitle = "STARDUST"
    port: Port = 11112
    bind: str = ""
    retrieve: Retrieve = Retrieve.MOVE
    deliver: str = Field("", pattern=r"^(folder:.+)?$")
    destination: AeTitle | None = None
    associations: int = Field(1, ge=1, le=16)
    retries: int = Field(3, ge=0, le=20)
    timeout: float = Field(30.0, gt=0)
    largest_mb: int = Field(LARGEST_MB, ge=1, le=2048)
    tls: Tls | None = None


class Gate(StrEnum):
    """What a case of the dataset is judged by."""

    GTV = "gtv"  # there, and not tiny
    TARGET = "target"  # there, with the GTV in it and no larger than it
    VOLUMES = "volumes"  # as large as the case list says
    SLICES = "slices"  # none missing, at even distances, one behind the other
    DUPLICATES = "duplicates"  # no image twice
    CONTOURS = "contours"  # on the slices that they were drawn for
    VALUES = "values"  # HU as a body in air has them


class Gates(_Frozen):
    """Where a case stops being good enough to train on, and an export stops to ask.

    Attributes:
        gtv_ml: Smallest volume of the GTV, ml.
        gtv_voxels: Fewest voxels of the GTV; MedSAM2's reader passes over ten and fewer.
        gtv_in_target: Smallest share of the GTV that lies in the target.
        gtv_in_image: Smallest share of the GTV that an MR shows; less of a target is a note.
        volume_difference: How far the volumes of GTV and target may differ from the case list's,
            as a share of these, …
        volume_difference_ml: … or in ml, where that is more.
        missing_slices: Most slices that gaps have room for.
        spacing_spread_mm: How far the distances of neighbouring slices may differ, mm.
        shear_mm: How far slices may be shifted against one another (gantry tilt), mm.
        duplicates: Most images that lie where another one does, or bear its UID.
        off_slice_mm: How far contours of GTV or target may lie from their slices, mm.
        lowest_hu: CT must have values as low as this: there is air around a patient.
        highest_hu: CT must have values as high as this: there is tissue.
        share_below: Largest share of voxels below -1100 HU (padding around a round field of view
            is a good fifth).
        share_above: Largest share of voxels above 4000 HU (metal).
        note_only: Gates that only leave a note; the case is converted all the same.
    """

    gtv_ml: float = Field(0.01, ge=0)
    gtv_voxels: int = Field(11, ge=1)
    gtv_in_target: float = Field(0.95, ge=0, le=1)
    gtv_in_image: float = Field(0.95, ge=0, le=1)
    volume_difference: float = Field(0.1, ge=0)
    volume_difference_ml: float = Field(0.5, ge=0)
    missing_slices: int = Field(0, ge=0)
    spacing_spread_mm: float = Field(0.1, ge=0)
    shear_mm: float = Field(0.5, ge=0)
    duplicates: int = Field(0, ge=0)
    off_slice_mm: float = Field(0.5, ge=0)
    lowest_hu: float = -300.0
    highest_hu: float = 0.0
    share_below: float = Field(0.3, ge=0, le=1)
    share_above: float = Field(0.01, ge=0, le=1)
    note_only: tuple[Gate, ...] = ()


class Format(StrEnum):
    """How a training file is written."""

    NPZ = "npz"  # as MedSAM2 trains on
    NIFTI = "nifti"
    NNUNET = "nnunet"  # nnU-Net's raw datasets
    SEG = "seg"  # DICOM Segmentation


BUTTONS = (
    "Metastase-Kopf", "Meningeom", "MetBett-Kopf", "Glomus", "Lymphom", "Lunge", "Mediastinum",
    "NNiere", "Bauchwand", "Sonstiges", "Orbita", "Pankreas", "Oesophagus", "Glio", "Astrozytom",
    "Milz", "Knochen", "BC", "Extrem", "Axilla",
)  # fmt: skip
"""What the Case-Selector's label buttons write into ``casekind``."""

REGIONS = (
    "Kopf", "Hals", "Thorax", "Abdomen", "Becken", "Wirbelsäule", "Extremität", "Extremitäten",
)  # fmt: skip
"""Body regions for ``Label2``; that the pre-filter writes ``Kopf`` is known, the others are not."""


class Dataset(_Frozen):
    """How training files are created from an export.

    Attributes:
        formats: What is written of each case; also comma-separated text.
        split: Share of patients that is for training; the rest is for testing.
        seed: Makes another split of the same patients.
        folds: How many parts the patients for training are dealt into for cross-validation; None
            for no such list, but of five for ``nnunet``.
        workers: Processes on this machine; None for as many as there are processors.
        scheduler: Address of a Dask scheduler, such as ``tcp://10.0.0.7:8786``; instead of
            processes.
        key: The file with the secret that pseudonyms are derived with; None for the one beside the
            dataset's folder.
        dicom: Whether to leave a de-identified DICOM copy too.
        dose: Whether the NPZ holds the dose of the plan too.
        words: What may stand in the dataset's files of the case list's ``Label`` and ``casekind``,
            besides the pre-filter's modalities; anything else becomes ``other``.
        regions: The same of ``Label2``, besides DICOM's body parts.
        gates: Where a case stops being good enough.
    """

    formats: tuple[Format, ...] = Field((Format.NPZ,), min_length=1)
    split: float = Field(0.8, gt=0, lt=1)
    seed: int = Field(0, ge=0)
    folds: int | None = Field(None, ge=2, le=100)
    workers: int | None = Field(None, ge=1, le=256)
    scheduler: str | None = Field(None, pattern=r"^[a-z]+://.+")
    key: Path | None = None
    dicom: bool = False
    dose: bool = False
    words: tuple[str, ...] = BUTTONS
    regions: tuple[str, ...] = REGIONS
    gates: Gates = Gates()

    @pydantic.field_validator("formats", mode="before")
    @classmethod
    def _split_formats(cls, value: object) -> object:
        if isinstance(value, str):
            value = [part.strip().lower() for part in value.split(",") if part.strip()]
        if isinstance(value, (list, tuple)):
            value = tuple(dict.fromkeys(value))
        return value

    @pydantic.model_validator(mode="after")
    def _has_the_images_of_a_segmentation(self) -> Self:
        if Format.SEG in self.formats and not self.dicom:
            raise ValueError(
                "seg refers to the images of the de-identified copy: give --dicom too, or write "
                "dicom = true"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _dose_has_a_place(self) -> Self:
        if self.dose and Format.NPZ not in self.formats:
            raise ValueError("a dose is written into the NPZ alone: add npz to the formats")
        return self


class Settings(BaseSettings):
    """Everything a run can be told, but for the case list, the output folder and ``--write``.

    Attributes:
        esapi: How ESAPI is reached: ``eclipse``, ``eclipse:FOLDER`` for the assemblies in a folder,
            ``stub:DB`` for a stub database, ``clr-stub:DB`` for the same through .NET assemblies.
        engine: ``esapi`` writes the DICOM files from ESAPI's own objects; ``qr`` has the DICOM DB
            Daemon, or any Query/Retrieve SCP, send them; ``dcmtk`` does that through DCMTK's
            programs; ``none`` prepares only, and ``export_list.csv`` names every UID for a transfer
            of your own.
        kinds: What to export of each case; a ``plan`` comes over the network alone. Also
            comma-separated text, in small letters too.
        limit: At most so many patients in a run, untried ones first; by default all.
        on_existing: When a prepared structure set is there that does not hold what would be
            created now: ``stop`` the case, ``reuse`` the set as it is, or make a ``new`` one.
        on_missing: Where a contrast CT, MR, dose or plan cannot be had as the row says: ``skip``
            leaves that kind out, with a warning; ``fail`` fails the case.
        mr_structures: Whether a structure set derived from the CT's lies beside an MR.
        fail_fast: Whether a run stops at the first failed case.
        audit: The audit log of writes to Eclipse; by default ``audit.jsonl`` of the output folder.
            No variable sets it.
        caselist: How a case list is read.
        structures: How prepared structure sets are created.
        network: How a transfer reaches its peer.
        dataset: How training files are created.
    """

    model_config = SettingsConfigDict(
        env_prefix="STARDUST_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    esapi: str = "eclipse"
    engine: EngineName = EngineName.ESAPI
    kinds: Annotated[tuple[Kind, ...], NoDecode] = IMAGE_KINDS
    limit: int | None = Field(None, ge=1)
    on_existing: OnExisting = OnExisting.STOP
    on_missing: OnMissing = OnMissing.SKIP
    mr_structures: bool = True
    fail_fast: bool = False
    audit: Path | None = None
    caselist: CaseListSettings = CaseListSettings()
    structures: StructureSettings = StructureSettings()
    network: Network = Network()
    dataset: Dataset = Dataset()

    @pydantic.field_validator("kinds", mode="before")
    @classmethod
    def _split_kinds(cls, value: object) -> object:
        if isinstance(value, str):
            value = [part.strip().upper() for part in value.split(",") if part.strip()]
        if isinstance(value, (list, tuple)):
            value = tuple(dict.fromkeys(str(part).upper() for part in value))
            if not value:
                raise ValueError("name at least one of ct, km, mr, dose, plan")
        return value


def load_settings(
    file: Path | None = None, flags: Mapping[str, object] | None = None, folder: Path = Path()
) -> Settings:
    """Bring flags, environment, files and defaults together.

    Args:
        file: A TOML file, or an old ``settings.ini``. Without one, ``stardust-esapi.toml`` and
            ``settings.ini`` are read where they lie in ``folder``.
        flags: What the command line gave; None values count as not given.
        folder: Where to look for the files of the usual names.

    Raises:
        UsageError: A file cannot be read or a value makes no sense; all problems are named.
    """
    toml, ini = _files(file, folder)
    if any(name.upper() == "STARDUST_AUDIT" for name in os.environ):
        raise UsageError(
            "STARDUST_AUDIT is set, but no variable says where the audit log lies. Unset it, and "
            f"give --audit or write audit into {TOML_NAME}."
        )
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    legacy = _read_legacy(ini) if ini else {}

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                init_settings,
                env_settings,
                TomlConfigSettingsSource(settings_cls, toml),
                InitSettingsSource(settings_cls, legacy),
            )

    where = ", ".join(str(path) for path in (toml, ini) if path) or "flags and environment"
    try:
        return Loaded(**given)  # type: ignore[arg-type]
    except pydantic.ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in e['loc']) or 'settings'}: {e['msg']}"
            for e in error.errors(include_url=False)
        )
        raise UsageError(f"The settings ({where}) do not fit: {problems}.") from None
    except (ValueError, OSError) as error:
        raise UsageError(f"The settings ({where}) cannot be read: {error}.") from None


def _files(file: Path | None, folder: Path) -> tuple[Path | None, Path | None]:
    if file is not None:
        if not file.is_file():
            raise UsageError(f"There is no settings file {file}. Check --settings.")
        return (None, file) if file.suffix.lower() == ".ini" else (file, None)
    toml, ini = folder / TOML_NAME, folder / INI_NAME
    return (toml if toml.is_file() else None), (ini if ini.is_file() else None)


def _read_legacy(path: Path) -> dict[str, Any]:
    """Read the old program's keys: EXPORT_DICOM, EXPORT_MR (true/false) and COUNTER."""
    parser = configparser.ConfigParser(
        allow_no_value=True, inline_comment_prefixes=("#", ";"), strict=False, interpolation=None
    )
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        parser.read_string(f"[settings]\n{text}")
    except (OSError, configparser.Error) as error:
        raise UsageError(f"{path} cannot be read as settings.ini: {error}.") from None
    keys = {
        key.strip().upper(): (value or "").strip()
        for section in parser.sections()
        for key, value in parser.items(section)
    }
    legacy: dict[str, Any] = {}
    if "EXPORT_DICOM" in keys and not _truth(keys["EXPORT_DICOM"], "EXPORT_DICOM", path):
        legacy["engine"] = EngineName.NONE
    if "EXPORT_MR" in keys and not _truth(keys["EXPORT_MR"], "EXPORT_MR", path):
        legacy["kinds"] = (Kind.CT, Kind.KM)
    if keys.get("COUNTER"):
        legacy["limit"] = keys["COUNTER"]
    return legacy


def _truth(value: str, key: str, path: Path) -> bool:
    match value.lower():
        case "true" | "1" | "yes":
            return True
        case "false" | "0" | "no":
            return False
        case _:
            raise UsageError(f"{path}: {key} is {value!r}; write true or false.")
