"""Worked cases that need no download, and the phantoms they are on."""
