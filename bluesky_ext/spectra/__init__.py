"""Spectra and diffraction images turned into numbers: arrays in, arrays out."""
