"""Move the data of one series at a time, and bring it under its final name."""
