"""Prepared data sets, and the way from their records to a batch for the network."""
