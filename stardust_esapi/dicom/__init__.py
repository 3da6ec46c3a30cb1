"""All that is known of DICOM files: reading, writing and de-identifying them; nothing of ESAPI."""

import warnings

# pydicom's warnings quote the value that is not as it should be, such as a birth date, and standard
# error may be a log. For good, since what `catch_warnings` sets in one thread may end in another.
warnings.filterwarnings("ignore", module="pydicom")
