"""The built-in synthetic benchmark: rendered people with exact labels."""
