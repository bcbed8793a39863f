"""Analyses as servers: documents from 0MQ, a pipeline by name, settings from a file."""

from bluesky_ext.server.pipeline import Pipeline, Site

__all__ = ["Pipeline", "Site"]
