"""Recordings of what ESAPI answers, without anything of the patient, and their comparison."""
