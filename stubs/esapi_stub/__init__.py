"""A Python object model that behaves like Varian's ESAPI, filled from DICOM files.

For tests, demos and laptops: nothing here reaches a clinic.
:func:`esapi_stub.api.application.open_application` stands for
``Application.CreateApplication``; :mod:`esapi_stub.build` makes a database, and
:func:`esapi_stub.database.configure` says how it refuses.
"""
