"""Propagation: from prompted slices to a 3D mask, and its stochastic passes."""
