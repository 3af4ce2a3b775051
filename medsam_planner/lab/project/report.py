"""The data sheet of a project, Markdown, from its records (after Gebru et al. 2021, arXiv 1803.09010)."""

from __future__ import annotations

from collections import Counter
from statistics import median

from medsam_planner.lab.model_card.markdown_tables import markdown_table
from medsam_planner.lab.project.project import Project
from medsam_planner.lab.project.records import Event, State, Study

__all__ = ["data_sheet"]


def data_sheet(project: Project) -> str:
    """What is in a project: structures, studies by state, who did what in which time, what was excluded and why."""
    studies, events = project.studies(), project.events()
    patients = {one.patient for one in studies}
    states = Counter(one.state for one in studies)
    lines = [
        f"# {project.settings.name}",
        "",
        "Research use only. Written from the records of the project.",
        "",
        f"{len(studies)} studies of {len(patients)} patients: "
        + (", ".join(f"{states[state]} {state.value}" for state in State if states[state]) or "none yet")
        + ".",
        "",
        "## Structures",
        "",
        markdown_table(
            ["label", "structure", "code", "reviewed studies"],
            [
                [
                    str(number),
                    one.name,
                    f"{one.code} ({one.scheme}) {one.meaning}" if one.code else "not in the table",
                    str(states[State.REVIEWED]),
                ]
                for number, one in enumerate(project.settings.structures, start=1)
            ],
        ),
        "",
        "## Who",
        "",
        markdown_table(
            ["annotator", "masks recorded", "studies reviewed", "median minutes for a mask"], _people(events)
        ),
        "",
        "## Studies",
        "",
        markdown_table(
            ["study", "patient", "modality", "state", "prompts and edits", "image"],
            [
                [
                    one.name,
                    one.patient,
                    one.modality,
                    one.state.value,
                    str(sum(len(project.prompts(one.name, name)) for name in project.settings.names)),
                    f"`{one.image_sha256[:12]}…`" + ("" if one.is_copied else ", referred to"),
                ]
                for one in studies
            ],
        ),
        "",
        "## Imported",
        "",
        *_imported(events),
        "",
        "## Excluded",
        "",
        *_excluded(studies, events),
        "",
        "## What the records do not say",
        "",
        "- The licence of the images, and whether their patients agreed: state it where the data set is handed on.",
        "- How well annotators agree: no study is annotated twice without the other's mask in sight.",
        "- Time is what annotators or programs stated; where none was stated, the table says so.",
        "",
    ]
    return "\n".join(lines)


def _people(events: list[Event]) -> list[list[str]]:
    rows = []
    for who in sorted({event.who for event in events}):
        own = [event for event in events if event.who == who]
        recorded = [event for event in own if event.kind == "recorded"]
        seconds = [event.content["seconds"] for event in recorded if event.content.get("seconds") is not None]
        minutes = f"{median(seconds) / 60:.1f} (of {len(seconds)})" if seconds else "not stated"
        rows.append([who, str(len(recorded)), str(sum(event.kind == "reviewed" for event in own)), minutes])
    return rows


def _imported(events: list[Event]) -> list[str]:
    counted = Counter(
        f"{event.content['source']['format']} data set {event.content['source']['data_set']}"
        for event in events
        if event.content.get("source")
    )
    return [f"- {count} masks from {source}" for source, count in sorted(counted.items())] or ["None."]


def _excluded(studies: list[Study], events: list[Event]) -> list[str]:
    reasons = {event.study: event.content["reason"] for event in events if event.kind == "excluded"}
    found = [f"- {one.name}: {reasons[one.name]}" for one in studies if one.state is State.EXCLUDED]
    return found or ["None."]
