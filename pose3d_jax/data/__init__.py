"""Prepared data sets, data loading and augmentation."""
