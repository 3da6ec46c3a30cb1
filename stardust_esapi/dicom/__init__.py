"""All that is known of DICOM files: reading, writing and de-identifying them; nothing of ESAPI."""
