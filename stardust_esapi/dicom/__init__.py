"""Write DICOM files from plain records: image series, structure sets, registrations.

Nothing here knows of ESAPI. The same records give the same bytes.
"""

from stardust_esapi.dicom.source import (
    Device,
    ImageSeries,
    PatientIdentity,
    ReferencedSeries,
    RegistrationSource,
    Roi,
    StructureSetSource,
    StudyFacts,
)
from stardust_esapi.dicom.uids import derived_uid
from stardust_esapi.dicom.write_images import write_image_series
from stardust_esapi.dicom.write_registration import write_registration
from stardust_esapi.dicom.write_structure_set import write_structure_set

__all__ = [
    "Device",
    "ImageSeries",
    "PatientIdentity",
    "ReferencedSeries",
    "RegistrationSource",
    "Roi",
    "StructureSetSource",
    "StudyFacts",
    "derived_uid",
    "write_image_series",
    "write_registration",
    "write_structure_set",
]
