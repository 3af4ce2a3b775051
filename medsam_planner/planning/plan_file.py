"""Plan files: what to plan, in TOML.

::

    title = "Needle to the lesion past the vessel"

    [study]
    path = "ct/"                       # relative to the plan file

    [tool]
    radius_mm = 1.0                    # entry_error_mm, target_error_mm

    [target]
    point_lps_mm = [12.0, -30.5, 88.0] # or mask = "lesion.nii.gz", or structure = "lesion", or landmark = "AC"
    radius_mm = 2.0

    [entry]
    skin = true                        # or mask = "bone.nii.gz", or structure = "bone": its surface is entered
    centre_lps_mm = [60.0, -80.0, 90.0]
    radius_mm = 40.0

    [[structures]]
    name = "vessel"
    role = "avoid"                     # or "inside"
    mask = "run/vessel/mask.nii.gz"    # without it, the structure of that name in the prompt file; DICOM too:
                                       # "seg.dcm" (its segment of that name), "rtstruct.dcm:artery", "seg.dcm:2"
    spread = "run/vessel/boundary_spread_mm.nii.gz"
    base_margin_mm = 2.0
    spread_factor = 2.0                # or, for a margin with a stated confidence (mask and maps of one run):
                                       # calibration = "calibration.json", alpha = 0.1

    [limits]
    max_length_mm = 120
    max_entry_angle_deg = 45

    [unsegmented_bone]                 # CT: what is as dense as bone and was not segmented is avoided by default,
    avoid = false                      # unless the tool must stay inside bone; true or false decides it
    above_hu = 226                     # what reaches it counts as bone
    margin_mm = 0.0

At the top may stand ``landmarks = "landmarks.json"``, whose points targets name (``target = "landmark:AC"`` for short),
and ``registration = "register/transform.json"``, whose error widens entry and target errors.

Several tools that must keep apart, such as electrodes, come instead of ``[tool]``, ``[target]`` and ``[entry]``::

    min_tool_gap_mm = 2.0              # at the top: certified clearance between every two tools

    [[tools]]
    name = "amygdala"
    radius_mm = 0.4
    target = { point_lps_mm = [12.0, -30.5, 88.0], radius_mm = 1.5 }
    entry = { skin = true, centre_lps_mm = [60.0, -80.0, 90.0], radius_mm = 20.0 }

Reading a plan file opens no image. It checks every entry, and that the files named exist.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from medsam_planner.errors import ConfigError
from medsam_planner.io.segment_path import mask_file
from medsam_planner.io.toml_tables import read_tables
from medsam_planner.planning.plan_file_tables import EntryTable, PlanFile, TargetTable

__all__ = ["read_plan_file"]

EndTable = TypeVar("EndTable", TargetTable, EntryTable)


def read_plan_file(path: Path) -> PlanFile:
    """Read and check a plan file.

    Raises
    ------
    ConfigError
        If it cannot be read, or an entry is missing, unknown or wrong; the message names every one.
    """
    plan_file = read_tables(path, PlanFile, "plan file")
    return _with_places(plan_file, path)


def _with_places(plan_file: PlanFile, path: Path) -> PlanFile:
    """Make the paths absolute, and refuse those that lead nowhere."""
    folder = path.resolve().parent
    absent: list[str] = []

    def place(key: str, stated: Path | None) -> Path | None:
        if stated is None:
            return None
        whole = stated if stated.is_absolute() else folder / stated
        if not (mask_file(whole) if key.endswith(".mask") else whole).exists():
            absent.append(f"{key} = {whole}")
        return whole

    structures = [
        structure.model_copy(
            update={
                "mask": place(f"structures[{structure.name}].mask", structure.mask),
                "spread": place(f"structures[{structure.name}].spread", structure.spread),
                "calibration": place(f"structures[{structure.name}].calibration", structure.calibration),
            }
        )
        for structure in plan_file.structures
    ]
    study = plan_file.study and plan_file.study.model_copy(update={"path": place("study.path", plan_file.study.path)})

    def placed(key: str, table: EndTable) -> EndTable:
        return table.model_copy(update={"mask": place(f"{key}.mask", table.mask)})

    target = plan_file.target and placed("target", plan_file.target)
    entry = plan_file.entry and placed("entry", plan_file.entry)
    tools = [
        table.model_copy(
            update={
                "target": placed(f"tools[{table.name}].target", table.target),
                "entry": placed(f"tools[{table.name}].entry", table.entry),
            }
        )
        for table in plan_file.tools
    ]
    beside = {name: place(name, getattr(plan_file, name)) for name in ("landmarks", "registration")}
    if absent:
        raise ConfigError(f"{path} names files that do not exist: {'; '.join(absent)}.")
    return plan_file.model_copy(
        update={
            "structures": structures,
            "study": study,
            "target": target,
            "entry": entry,
            "tools": tools,
            **beside,
        }
    )
