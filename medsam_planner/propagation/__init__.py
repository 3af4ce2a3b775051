"""From prompted slices to a 3D mask."""
