"""Benchmarks: measurements, mostly as ratios to a named baseline in the same process; ``make bench`` runs them all."""
