"""The structures of a session as JSON, as ``viewer/structure_list.js`` shows them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from medsam_planner.io.objects.structure_codes import structure_codes
from medsam_planner.service.prompt_list import listed_prompts
from medsam_planner.service.structure import Structure
from medsam_planner.service.workbench import Workbench
from ui import wording

__all__ = ["list_document"]


def list_document(workbench: Workbench) -> dict[str, Any]:
    """The list of structures, and the prompts of the active one; without structures where no study is open.

    Parameters
    ----------
    workbench : Workbench
    """
    now = workbench.snapshot
    last = now.deleted[-1] if now.deleted else None
    return {
        "token": workbench.token,
        "version": now.version,
        "active": now.active,
        "structures": [_structure(one) for one in now.structures.values()],
        "deleted": None if last is None else {"n": last.n, "name": last.name},
        "prompts": [asdict(one) for one in listed_prompts(now)],
    }


def _structure(one: Structure) -> dict[str, Any]:
    coded = structure_codes(one.listed.anatomy or one.name)
    side = "" if coded.modifier is None else f", {coded.modifier.meaning.lower()}"
    meaning = f"{coded.type.meaning}{side} ({coded.type.scheme_designator} {coded.type.value})"
    size = "" if one.extent_mm is None else " × ".join(f"{length:.0f}" for length in one.extent_mm) + " mm"
    return {
        "name": one.name,
        "colour": one.colour,
        "role": one.role.value,
        "hidden": one.listed.is_hidden,
        "state": one.condition,
        "told": wording.CONDITIONS[one.condition],
        "volume": "" if one.volume_ml is None else f"{one.volume_ml:.2f} ml",
        "size": size,
        "anatomy": one.listed.anatomy or "",
        "coded": meaning if coded.is_known else wording.NOT_CODED,
    }
