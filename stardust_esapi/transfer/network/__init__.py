"""Move series over the network: from a Query/Retrieve SCP such as the DICOM DB Daemon."""
