"""Segmentation of a study: the session, its results, and explanations of its surfaces."""
