"""De-identify DICOM files after PS3.15: the Basic Application Level Confidentiality Profile with options.

What the profile says of each attribute is taken from a kept table; what it does not name is decided by the kind of
value. A text that nothing vouches for is cut down to words of DICOM's own vocabulary, so that an identifier does not
survive by standing in an unexpected place.
"""

from medsam_planner.deidentification.folder import deidentify
from medsam_planner.deidentification.pixels import Region
from medsam_planner.deidentification.profile import Dates, Profile
from medsam_planner.deidentification.pseudonyms import Pseudonyms
from medsam_planner.deidentification.report import Deidentified

__all__ = ["Dates", "Deidentified", "Profile", "Pseudonyms", "Region", "deidentify"]
