"""Results of a run as FHIR resources, from its DICOM objects and ``plan.json``."""
