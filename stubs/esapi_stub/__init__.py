"""A Python object model that behaves like Varian's ESAPI, filled from DICOM files."""
