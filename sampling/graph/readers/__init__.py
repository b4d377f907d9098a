"""Readers of graph files: one format, one file."""
