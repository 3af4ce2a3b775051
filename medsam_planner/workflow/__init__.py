"""From a study to a written plan: segmentation, resolving the plan request, planning, plan.json and the report."""
