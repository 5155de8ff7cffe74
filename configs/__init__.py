"""Experiments: `stageN.py` trains up to and including stage N; see `curriculum`."""
