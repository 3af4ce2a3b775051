"""Between files and volumes: DICOM and NIfTI in, NIfTI and DICOM SEG / Parametric Map out, intensity and resampling."""

from medsam_planner.io.inspection import inspect_study
from medsam_planner.io.loading import load_volume
from medsam_planner.io.nifti import save_nifti
from medsam_planner.io.objects.parametric_map import save_parametric_map
from medsam_planner.io.objects.segmentation import save_dicom_seg

__all__ = ["inspect_study", "load_volume", "save_dicom_seg", "save_nifti", "save_parametric_map"]
