"""The built-in synthetic benchmark: people with exact labels, rendered by this package."""
