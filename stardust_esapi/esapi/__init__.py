"""The boundary to ESAPI: opening it, reading it, the one way to write to it."""
