"""What a run leaves behind for the next one and for people: ledger, log, ready list."""
