"""Predictions of a split beside its labels: protocols, scores, tables and charts."""
