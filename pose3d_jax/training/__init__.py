"""One training run: its state, its steps, its loop, and what it keeps on disk."""
