"""Training of the compact model: data engine and loop.

:func:`medsam_planner.lab.model_card.train_and_describe` trains from a file, evaluates the weights and writes their
model card.
"""
