"""How sure, and why: dropout sampling, uncertainty maps, saliency and its faithfulness checks."""

from __future__ import annotations

from xai.calibration import ReliabilityDiagram, brier_score, fit_temperature, measure_reliability
from xai.conformal import (
    CoverageLaw,
    conformal_quantile,
    coverage_law,
    inner_nonconformity_score,
    joint_score,
    nonconformity_score,
    patients_needed,
    smallest_alpha,
)
from xai.doubt import DoubtfulPlace, most_doubtful
from xai.dropout import active_dropout, insert_dropout
from xai.errors import EmptyStructureError, SaliencyError, TooFewPatientsError, UncertaintyError, ZeroVarianceError
from xai.faithfulness import Infidelity, StructureOverlap, measure_infidelity, overlap_with_structure
from xai.ranking import area_under_sparsification_error, rank_correlation
from xai.saliency import grad_cam, normalise_saliency
from xai.shap import ShapValues, kernel_shap, supervoxels
from xai.surface import boundary_spread_mm, signed_distance_mm
from xai.uncertainty import expected_entropy, mutual_information, predictive_entropy
from xai.weight_randomisation import WeightRandomisation, run_weight_randomisation

__all__ = [
    "CoverageLaw",
    "DoubtfulPlace",
    "EmptyStructureError",
    "Infidelity",
    "ReliabilityDiagram",
    "SaliencyError",
    "ShapValues",
    "StructureOverlap",
    "TooFewPatientsError",
    "UncertaintyError",
    "WeightRandomisation",
    "ZeroVarianceError",
    "active_dropout",
    "area_under_sparsification_error",
    "boundary_spread_mm",
    "brier_score",
    "conformal_quantile",
    "coverage_law",
    "expected_entropy",
    "fit_temperature",
    "grad_cam",
    "inner_nonconformity_score",
    "insert_dropout",
    "joint_score",
    "kernel_shap",
    "measure_infidelity",
    "measure_reliability",
    "most_doubtful",
    "mutual_information",
    "nonconformity_score",
    "normalise_saliency",
    "overlap_with_structure",
    "patients_needed",
    "predictive_entropy",
    "rank_correlation",
    "run_weight_randomisation",
    "signed_distance_mm",
    "smallest_alpha",
    "supervoxels",
]
