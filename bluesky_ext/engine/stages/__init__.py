"""Stages: maps and reduces, put together and subscribed to each other."""
