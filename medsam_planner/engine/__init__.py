"""Promptable models: encode a slice once, decode prompts often.

``protocol``
    What every model offers, and the values it takes and gives.
``zoom``
    Between a slice and the square field a model looks at.
``compact``, ``medsam``
    The two models; ``compact_network``, ``medsam_network`` and ``medsam_weights`` are their networks and files.
``manifest``, ``registry``, ``hub``
    Which weights there are, which are here and whole, and fetching those that are not.
``cache``
    Embeddings that were computed once.
``segmenter``
    One prompted slice of a volume, from voxels to probability.
"""
