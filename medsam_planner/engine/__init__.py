"""Promptable models: encode a slice once, decode prompts often.

``protocol``
    The interface of all models, and the values they take and return.
``zoom``
    Resampling between a slice and the square crop that a model predicts on.
``compact``, ``medsam``
    The two models; ``compact_network``, ``medsam_network`` and ``medsam_weights`` are their networks and files.
``manifest``, ``registry``, ``hub``
    The list of weights, the check and loading of those on this machine, and the download of others.
``cache``
    Embeddings, computed once.
``segmenter``
    Predictions on single slices of a volume, from voxels to probability.
``stochastic_passes``
    The same predictions under perturbations.
"""
