"""Offline work on many cases: training, evaluation, calibration, model cards."""
