"""From a probability volume to a closed surface, checked, smoothed, decimated and exported."""

from medsam_planner.mesh.check import SurfaceCheck, check_surface, require_closed
from medsam_planner.mesh.colour import Colormap, colour_by, rgb_from_values, value_range
from medsam_planner.mesh.decimation import decimate, surface_deviation_mm
from medsam_planner.mesh.export import ColouredSurface, WorldFrame, write_scene, write_surface
from medsam_planner.mesh.smoothing import smooth_taubin
from medsam_planner.mesh.surface import surface_from_probability
from medsam_planner.mesh.triangles import Surface

__all__ = [
    "Colormap",
    "ColouredSurface",
    "Surface",
    "SurfaceCheck",
    "WorldFrame",
    "check_surface",
    "colour_by",
    "decimate",
    "require_closed",
    "rgb_from_values",
    "smooth_taubin",
    "surface_deviation_mm",
    "surface_from_probability",
    "value_range",
    "write_scene",
    "write_surface",
]
