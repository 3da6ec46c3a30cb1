"""From exported DICOM to the files that MedSAM2 trains on.

Reads an output folder of ``export`` and nothing else: no ESAPI, no network. One case is converted
by one function in one process; the rest is who does it, where, and what became of it.
"""
