"""The options of an evaluation, and which cases it may use: those the weights were not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.errors import ConfigError
from medsam_planner.lab.evaluation.cases import Case, find_cases, seen_in_training, trained_on
from medsam_planner.lab.evaluation.protocols import Protocol

__all__ = ["ChosenCases", "EvaluationOptions", "choose_cases"]


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What is asked, and of which weights."""

    protocol: Protocol
    model: str = "compact"
    against: str | None = None
    """Other weights, asked for the same structures with the same first prompts."""
    corrections: int = 5
    triplanar: bool = False
    include_seen: bool = False
    """Ask also for cases the weights were trained on; they stay out of the headline."""
    only: tuple[str, ...] = ()
    """Patterns of case names."""
    most: int | None = None
    """Structures of each case."""
    per_group: int | None = None
    """Structures of each group of modality and anatomy, spread over its cases: a subset that is measured soon."""
    seed: int = 0
    worst: int = 6
    """How many of the worst structures are pictured."""


@dataclass(frozen=True, slots=True)
class ChosenCases:
    """Which cases are asked for and why others are not."""

    cases: tuple[Case, ...]
    seen: frozenset[str]
    """Names of those, among all, whose patient the weights were trained on."""
    left_out: tuple[str, ...]
    seen_by_baseline: tuple[str, ...]
    """Asked cases that the weights compared with were trained on."""
    says_what_it_saw: bool
    """Whether the weights name what they were trained on."""

    def cautions(self) -> list[str]:
        """What a reader of the figures must know, in sentences."""
        told = []
        if not self.says_what_it_saw:
            told.append("These weights do not say what they were trained on: some cases may be known to them.")
        if self.left_out:
            told.append(
                f"{len(self.left_out)} cases were left out because the weights were trained on them or on another "
                "case of the same patient."
            )
        if self.seen_by_baseline:
            told.append(
                f"The weights compared with were trained on {len(self.seen_by_baseline)} of these cases: the "
                "comparison favours them."
            )
        if self.seen and not self.left_out:
            told.append("Cases seen in training were asked for too; they stand in a row of their own.")
        return told


def choose_cases(
    root: Path, options: EvaluationOptions, model: PromptableModel, other: PromptableModel | None = None
) -> ChosenCases:
    """Leave out what the weights have seen.

    Raises
    ------
    ConfigError
        If there are no cases, or the weights were trained on all of them.
    """
    everything, chosen = find_cases(root), find_cases(root, options.only)
    names = trained_on(model)
    seen = seen_in_training(everything, names or ()) & {case.name for case in chosen}
    asked = [case for case in chosen if options.include_seen or case.name not in seen]
    if not asked:
        raise ConfigError(
            f"Expected cases that the weights '{options.model}' were not trained on; all {len(chosen)} chosen ones "
            f"were (first {chosen[0].name}). Choose others with --only, or add --include-seen to ask for them "
            "nevertheless, marked as seen."
        )
    baseline = seen_in_training(everything, (trained_on(other) or ()) if other else ())
    return ChosenCases(
        cases=tuple(asked),
        seen=seen,
        left_out=tuple(case.name for case in chosen if case not in asked),
        seen_by_baseline=tuple(case.name for case in asked if case.name in baseline),
        says_what_it_saw=names is not None,
    )
