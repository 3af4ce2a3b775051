"""Evaluation of weights: structures prompted by a simulated annotator and scored against reference masks."""
