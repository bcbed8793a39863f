"""Processed files: what came of a run, as HDF5 and NeXus, beside the raw file."""
