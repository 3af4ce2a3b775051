"""Exchange with a PACS: DICOMweb and DIMSE nodes of ``pacs.toml``, both behind one :class:`.node.Node`."""
