"""Stages for spectra and diffractograms: what is fitted or integrated event by event, and maps of it."""
