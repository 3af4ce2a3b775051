"""Planning on masks that are there already loads no model, no propagation and no torch."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
import numpy as np
import highdicom
import medsam_planner as mp
from medsam_planner.planning import PlanRequest, SearchSettings, StructureRequest, TargetRequest, Tool, ToolRequest
from medsam_planner.volumes import StudySource, StudyVolume

affine = np.diag([2.0, 2.0, 2.0, 1.0])
k, j, i = np.indices((30, 40, 40))
body = (j - 20) ** 2 + (i - 20) ** 2 < 17**2
vessel = (j - 20) ** 2 + (i - 12) ** 2 < 3**2
volume = highdicom.Volume(np.where(body, 40.0, -1000.0), affine, "PATIENT")
study = StudyVolume.from_volume(volume, StudySource(path=None, format="nifti", modality="CT"))
request = PlanRequest(
    tools=(ToolRequest(Tool(1.0), TargetRequest((30.0, 40.0, 40.0), 1.0)),),
    structures=(StructureRequest("vessel"),),
    search=SearchSettings(candidates=500, alternatives=1, hit_draws=10),
)
plan = mp.plan(request, study, {"vessel": volume.with_array(vessel)})
assert plan.feasible and plan.assessment.verdict.kind == "feasible", plan.assessment
assert plan.alternatives[0].limiting_structure == "vessel"
heavy = ("torch", "medsam_planner.engine", "medsam_planner.propagation")
loaded = [name for name in sys.modules if name.startswith(heavy)]
assert not loaded, loaded
"""


def test_a_plan_on_finished_masks_loads_no_model() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
