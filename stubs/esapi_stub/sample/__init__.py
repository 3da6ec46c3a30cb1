"""DICOM patients that fill the stub database: for the demo, the tests and laptops.

Everything is deterministic: the same call writes the same bytes. No patient is a person: one is
the anonymised data set of dicompyler-core (see ``data/``), the others are phantoms.
"""

from esapi_stub.sample.cohort import write_sample
from esapi_stub.sample.dicom import Grid, PatientUids
from esapi_stub.sample.phantom import (
    Box,
    Empty,
    Phantom,
    PhantomContrast,
    PhantomDose,
    PhantomMr,
    PhantomStructure,
    Point,
    Sphere,
    default_structures,
    write_phantom,
)
from esapi_stub.sample.real import write_real_patient

__all__ = [
    "Box",
    "Empty",
    "Grid",
    "PatientUids",
    "Phantom",
    "PhantomContrast",
    "PhantomDose",
    "PhantomMr",
    "PhantomStructure",
    "Point",
    "Sphere",
    "default_structures",
    "write_phantom",
    "write_real_patient",
    "write_sample",
]
