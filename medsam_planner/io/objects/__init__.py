"""DICOM objects that refer back to the study they were made from, and say in standard codes what is in them."""
