"""Slices, panels and 3D views for reports of any kind."""
