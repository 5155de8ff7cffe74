"""Start, end and flags of the command-line programs."""
