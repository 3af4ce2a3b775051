"""What an evaluation keeps of each structure, as frozen values that are read from and written to its JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from medsam_planner.errors import ConfigError
from medsam_planner.lab.evaluation.protocols import InteractionScores, InteractionStep
from medsam_planner.lab.evaluation.scores import EndScores, MaskScores
from prompts import Box, Click

__all__ = ["DropoutRecord", "StructureRecord"]

_KEYS = {
    "metrics": "figures",
    "interaction": "answer",
    "against_metrics": "against_figures",
    "against_interaction": "against_answer",
    "is_trained_on": "seen",
}
"""Keys in the files that differ from the names of the fields."""
_PROMPTS: dict[str, type[Box] | type[Click]] = {"box": Box, "click": Click}


@dataclass(frozen=True, slots=True)
class StructureRecord:
    """One structure under the weights that are evaluated, and under those compared with."""

    key: str
    """``case/label``"""
    files_sha256: str
    """Hash of the image and the labels."""
    case: str
    patient: str
    modality: str
    anatomy: str
    group: str
    """Modality and anatomy."""
    label: int
    structure: str
    """Name of the label."""
    volume_ml: float
    """Volume of the reference."""
    size: str
    """Size class, with its bounds."""
    spacing_mm: tuple[float, ...]
    axis: int
    """The slices are counted across this axis."""
    slice_index: int
    """The prompted slice."""
    first_prompts: tuple[Box | Click, ...]
    ellipse_slice_dice: float | None
    """Dice of the ellipse inscribed in the box; None without a box."""
    failure: str | None
    """Why there is no mask."""
    metrics: dict[str, float | None]
    """By name (:data:`~medsam_planner.lab.evaluation.metrics.METRICS`); None where one does not exist."""
    interaction: InteractionScores
    against_failure: str | None = None
    against_metrics: dict[str, float | None] | None = None
    """None where no other weights are compared."""
    against_interaction: InteractionScores | None = None
    is_trained_on: bool = False
    """Whether the weights were trained on this patient."""

    def metric(self, name: str) -> float:
        """A metric that exists.

        Raises
        ------
        ConfigError
            If it does not.
        """
        value = self.metrics.get(name)
        if value is None:
            raise ConfigError(f"Expected the metric {name!r} of {self.key}, found none.")
        return value

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values under the keys of the files."""
        values = {_KEYS.get(name, name): value for name, value in asdict(self).items()}
        return values | {
            "first_prompts": [
                {"kind": type(prompt).__name__.lower(), **_prompt_as_json(prompt)} for prompt in self.first_prompts
            ],
            "answer": _interaction_as_json(self.interaction),
            "against_answer": (
                None if self.against_interaction is None else _interaction_as_json(self.against_interaction)
            ),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> StructureRecord:
        """The opposite of :meth:`as_json`.

        Raises
        ------
        ConfigError
            If a key is missing or unknown.
        """
        try:
            values = {
                name: document[_KEYS.get(name, name)] for name in _names(cls) if _KEYS.get(name, name) in document
            }
            return cls(
                **values
                | {
                    "spacing_mm": tuple(document["spacing_mm"]),
                    "first_prompts": tuple(_prompt(one) for one in document["first_prompts"]),
                    "interaction": _interaction(document["answer"]),
                    "against_interaction": _interaction(document.get("against_answer")),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"Expected the record of a structure as an evaluation writes it, got {error!r}."
            ) from error


@dataclass(frozen=True, slots=True)
class DropoutRecord:
    """Metrics of MC dropout on one structure."""

    key: str
    """``case/label``"""
    files_sha256: str
    patient: str
    modality: str
    size: str
    metrics: dict[str, float | None] | None
    """None where the structure could not be segmented, or has no surface."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values under the keys of the files."""
        return {_KEYS.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> DropoutRecord:
        """The opposite of :meth:`as_json`.

        Raises
        ------
        ConfigError
            If a key is missing.
        """
        try:
            return cls(**{name: document[_KEYS.get(name, name)] for name in _names(cls)})
        except KeyError as error:
            raise ConfigError(
                f"Expected the record of a structure as an evaluation writes it, got {error!r}."
            ) from error


def _names(kind: type) -> list[str]:
    return [entry.name for entry in fields(kind)]


def _prompt_as_json(prompt: Box | Click) -> dict[str, Any]:
    return {"answer" if name == "candidate" else name: value for name, value in asdict(prompt).items()}


def _interaction_as_json(interaction: InteractionScores) -> dict[str, Any]:
    steps = [
        asdict(step) | {"click": None if step.click is None else _prompt_as_json(step.click)}
        for step in interaction.steps
    ]
    return asdict(interaction) | {"steps": steps}


def _prompt(document: Mapping[str, Any]) -> Box | Click:
    values = dict(document)
    return _PROMPTS[values.pop("kind")](candidate=values.pop("answer"), **values)


def _click(document: Mapping[str, Any]) -> Click:
    return Click(document["position_lps_mm"], document["positive"], candidate=document["answer"])


def _interaction(document: Mapping[str, Any] | None) -> InteractionScores | None:
    if document is None:
        return None
    slice_scores = document["slice_scores"]
    return InteractionScores(
        slice_scores=None if slice_scores is None else MaskScores(**slice_scores),
        first_answer_s=document["first_answer_s"],
        steps=tuple(
            InteractionStep(
                click=None if step["click"] is None else _click(step["click"]),
                scores=MaskScores(**step["scores"]),
                ends=EndScores(**step["ends"]),
                seconds=step["seconds"],
            )
            for step in document["steps"]
        ),
        failure=document["failure"],
    )
