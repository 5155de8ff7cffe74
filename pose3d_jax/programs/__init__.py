"""What the command-line programs share: how they start, end, and read their flags."""
