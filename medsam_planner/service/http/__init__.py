"""REST under ``/api/v1``: routes, models and problem documents over :mod:`medsam_planner.service.core`."""
