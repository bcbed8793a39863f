"""Runs in files: written while they go, and read again."""
