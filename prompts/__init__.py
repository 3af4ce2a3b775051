"""Prompts: clicks, boxes, scribbles, masks and edits, their ordered log and files, and a simulated annotator."""

from __future__ import annotations

from prompts.annotator import first_box, next_click
from prompts.errors import GeometryError, MedsamPlannerError, OutputError, PromptError
from prompts.file import (
    PromptFile,
    Provenance,
    parse_prompt_file,
    read_prompt_file,
    render_prompt_file,
    write_prompt_file,
)
from prompts.geometry import BoxExtent, box_extent, click_index, scribble_indices
from prompts.log import Choice, Clear, Entry, PromptLog, Removal
from prompts.shapes import Box, Click, Edit, InitialMask, PositionLpsMm, Prompt, Scribble
from prompts.validation import validate, validate_file
from prompts.voxel_mask import VoxelMask

__all__ = [
    "Box",
    "BoxExtent",
    "Choice",
    "Clear",
    "Click",
    "Edit",
    "Entry",
    "GeometryError",
    "InitialMask",
    "MedsamPlannerError",
    "OutputError",
    "PositionLpsMm",
    "Prompt",
    "PromptError",
    "PromptFile",
    "PromptLog",
    "Provenance",
    "Removal",
    "Scribble",
    "VoxelMask",
    "box_extent",
    "click_index",
    "first_box",
    "next_click",
    "parse_prompt_file",
    "read_prompt_file",
    "render_prompt_file",
    "scribble_indices",
    "validate",
    "validate_file",
    "write_prompt_file",
]
