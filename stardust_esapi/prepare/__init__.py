"""Make the structure set that MedSAM2 trains on: rules decide, a plan says, one call writes."""
