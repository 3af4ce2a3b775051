"""Named points of a patient: their file, their refinement, sets for regions, and planes and angles from them."""
