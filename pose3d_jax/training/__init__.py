"""One training run: its state, steps, loop and files."""
