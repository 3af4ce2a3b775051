"""How sure, and why: dropout sampling, uncertainty maps, saliency and its faithfulness checks."""
