"""Planning on masks that are there already loads no model, no propagation and no torch."""

from __future__ import annotations

import subprocess
import sys

import nibabel
import numpy as np

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


COMMAND = """
import sys
from medsam_planner.cli.app import run
code = run(["plan", sys.argv[1], "--out", sys.argv[2]])
loaded = [n for n in sys.modules if n.startswith(("torch", "medsam_planner.engine", "medsam_planner.propagation"))]
assert code == 0 and not loaded, (code, loaded)
"""


def test_the_command_that_plans_on_masks_loads_no_model(tmp_path) -> None:
    _k, j, i = np.indices((30, 40, 40))
    affine = np.diag([-2.0, -2.0, 2.0, 1.0])
    hu = np.where((j - 20) ** 2 + (i - 20) ** 2 < 17**2, 40, -1000).astype(np.int16)
    vessel = ((j - 20) ** 2 + (i - 12) ** 2 < 3**2).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(hu.T, affine), tmp_path / "ct.nii.gz")
    nibabel.save(nibabel.Nifti1Image(vessel.T, affine), tmp_path / "vessel.nii.gz")
    (tmp_path / "plan.toml").write_text(
        """
        study = { path = "ct.nii.gz", modality = "CT" }
        tool = { radius_mm = 1.0 }
        target = { point_lps_mm = [40.0, 40.0, 30.0], radius_mm = 1.0 }
        entry = { skin = true }
        structures = [{ name = "vessel", role = "avoid", mask = "vessel.nii.gz" }]
        search = { candidates = 500, alternatives = 1, hit_draws = 10 }
        """
    )
    called = [sys.executable, "-c", COMMAND, str(tmp_path / "plan.toml"), str(tmp_path / "out")]
    done = subprocess.run(called, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
