"""The few calls that change a patient's record, and who makes them.

In a launcher that is ``RecordWriter`` (``approval/launchers/RecordWriter.cs``), part of the file
that Eclipse approves: what calls ESAPI to write is then that file, and not pythonnet. Where Python
itself is the host, :class:`TwinWriter` stands in for it. Only
:mod:`stardust_esapi.esapi.write_gate` gets either.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from stardust_esapi.esapi import host

if TYPE_CHECKING:
    from VMS.TPS.Common.Model import API

_BEGUN = "Modifications of this patient have begun already, and are not saved."
_NOT_BEGUN = "Modifications have not begun: nothing can be changed or saved."
_FOREIGN = "This {} was not made in this run, and is not changed."


class RecordWriter(Protocol):
    """What can be done to a record; the names are those of the C# class.

    All but ``CanModify`` refuse with ``System.InvalidOperationException`` what was not begun here,
    or not made here in this run; and ESAPI refuses as it does. What was made is known by the very
    object that was returned, not by its id.
    """

    def CanModify(self, patient: API.Patient, /) -> bool:  # noqa: N802
        """Whether Eclipse lets this script and user write (``Patient.CanModifyData``)."""

    def HasBegun(self, patient: API.Patient, /) -> bool:  # noqa: N802
        """Whether the record is open for writing here, and not saved since."""

    def Begin(self, patient: API.Patient, /) -> None:  # noqa: N802
        """Open the record for writing (``Patient.BeginModifications``)."""

    def CreateStructureSet(self, image: API.Image, /) -> API.StructureSet:  # noqa: N802
        """Make an empty set on an image or its copy (``Image.CreateNewStructureSet``)."""

    def NameStructureSet(self, structure_set: API.StructureSet, new_id: str, /) -> None:  # noqa: N802
        """Give a set that was made here its id (``StructureSet.Id``)."""

    def AddStructure(  # noqa: N802
        self, structure_set: API.StructureSet, dicom_type: str, new_id: str, /
    ) -> API.Structure:
        """Add an empty structure to a set that was made here (``StructureSet.AddStructure``)."""

    def CopyShape(  # noqa: N802
        self, structure: API.Structure, source: API.Structure, high_resolution: bool, /
    ) -> None:
        """Give a structure that was added here the shape of another.

        Its colour too, from ESAPI 16.1 on. ``high_resolution``: convert it first.
        """

    def RemoveStructure(self, structure: API.Structure, /) -> None:  # noqa: N802
        """Remove a structure that was added here (``StructureSet.RemoveStructure``)."""

    def RemoveStructureSet(self, structure_set: API.StructureSet, /) -> None:  # noqa: N802
        """Remove a set that was made here (``StructureSet.Delete``)."""

    def Save(self, application: API.Application, /) -> None:  # noqa: N802
        """Save what was written (``Application.SaveModifications``); not in a plug-in."""


class TwinWriter:
    """``RecordWriter.cs`` once more, for the stub and for ``python.exe``.

    Args:
        refusal: What to raise: the backend's ``System.InvalidOperationException``.

    Raises:
        ValueError: This Python runs in a launcher, which has the real one or must not write.
    """

    def __init__(self, refusal: Callable[[str], Exception]) -> None:
        if host.current().is_launcher:
            raise ValueError("in a launcher, RecordWriter.cs alone writes")
        self._refusal = refusal
        self._patient: API.Patient | None = None
        self._sets: list[API.StructureSet] = []
        self._structures: list[tuple[API.Structure, API.StructureSet]] = []

    def CanModify(self, patient: API.Patient, /) -> bool:  # noqa: N802
        """Whether the script may write."""
        return patient.CanModifyData()

    def HasBegun(self, patient: API.Patient, /) -> bool:  # noqa: N802
        """Whether the record is open."""
        return patient is self._patient

    def Begin(self, patient: API.Patient, /) -> None:  # noqa: N802
        """Open the record."""
        if self.HasBegun(patient):
            raise self._refusal(_BEGUN)
        patient.BeginModifications()
        self._patient = patient

    def CreateStructureSet(self, image: API.Image, /) -> API.StructureSet:  # noqa: N802
        """Make a set."""
        self._require_begun()
        created = image.CreateNewStructureSet()
        self._sets.append(created)
        return created

    def NameStructureSet(self, structure_set: API.StructureSet, new_id: str, /) -> None:  # noqa: N802
        """Name a set."""
        self._require_set(structure_set)
        structure_set.Id = new_id

    def AddStructure(  # noqa: N802
        self, structure_set: API.StructureSet, dicom_type: str, new_id: str, /
    ) -> API.Structure:
        """Add a structure."""
        self._require_set(structure_set)
        added = structure_set.AddStructure(dicom_type, new_id)
        self._structures.append((added, structure_set))
        return added

    def CopyShape(  # noqa: N802
        self, structure: API.Structure, source: API.Structure, high_resolution: bool, /
    ) -> None:
        """Copy a shape."""
        self._set_of(structure)
        if high_resolution:
            structure.ConvertToHighResolution()
        structure.SegmentVolume = source.SegmentVolume
        with suppress(TypeError):  # pythonnet's, of a property without a setter: before 16.1
            structure.Color = source.Color

    def RemoveStructure(self, structure: API.Structure, /) -> None:  # noqa: N802
        """Remove a structure."""
        self._set_of(structure).RemoveStructure(structure)
        self._structures = [own for own in self._structures if own[0] is not structure]

    def RemoveStructureSet(self, structure_set: API.StructureSet, /) -> None:  # noqa: N802
        """Remove a set."""
        self._require_set(structure_set)
        structure_set.Delete()
        self._structures = [own for own in self._structures if own[1] is not structure_set]
        self._sets = [own for own in self._sets if own is not structure_set]

    def Save(self, application: API.Application, /) -> None:  # noqa: N802
        """Save."""
        self._require_begun()
        application.SaveModifications()
        self._patient = None

    def _require_begun(self) -> None:
        if self._patient is None:
            raise self._refusal(_NOT_BEGUN)

    def _require_set(self, structure_set: API.StructureSet) -> None:
        self._require_begun()
        if not any(own is structure_set for own in self._sets):
            raise self._refusal(_FOREIGN.format("structure set"))

    def _set_of(self, structure: API.Structure) -> API.StructureSet:
        self._require_begun()
        for own, structure_set in self._structures:
            if own is structure:
                return structure_set
        raise self._refusal(_FOREIGN.format("structure"))
