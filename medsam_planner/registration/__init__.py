"""Rigid registration of two series of one patient, and what its error is at a place.

:mod:`.rigid_transform` the transform; :mod:`.rigid_error` its error (spread of starts, fiducials);
:mod:`.mutual_information` the search; :mod:`.gate` what is refused; :mod:`.register` all of it; :mod:`.checkerboard`
the picture; :mod:`.transform_file` ``transform.json``.
"""
