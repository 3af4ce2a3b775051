"""A client of the service: prompt, segment and plan on another machine. It needs no torch and no model here."""

from __future__ import annotations

from medsam_planner.client.client import Client
from medsam_planner.client.session import RemoteSession
from medsam_planner.client.values import JobValue, StructureValue, StudyValue

__all__ = ["Client", "JobValue", "RemoteSession", "StructureValue", "StudyValue"]
