"""The embedded benchmark: synthetic people with exact labels, rendered by this package."""
