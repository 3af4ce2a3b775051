"""From a study to a reviewed plan: segmenting, resolving a plan request, planning, writing what came of it."""
