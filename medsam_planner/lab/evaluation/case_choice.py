"""The options of an evaluation, and which cases it may use: those the weights were not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medsam_planner.engine.engine_name import AUTO
from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.errors import ConfigError
from medsam_planner.lab.evaluation.cases import Case, cases_trained_on, find_cases, trained_on
from medsam_planner.lab.evaluation.protocols import Protocol

__all__ = ["ChosenCases", "EvaluationOptions", "choose_cases"]


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What is evaluated, and how."""

    protocol: Protocol
    model: str = "compact"
    engine: str = AUTO
    """What computes the embeddings of `model`."""
    against: str | None = None
    """Other weights to compare with, on the same structures with the same first prompts."""
    corrections: int = 5
    triplanar: bool = False
    include_trained_on: bool = False
    """Whether cases the weights were trained on are evaluated too, in a row of their own."""
    only: tuple[str, ...] = ()
    """Patterns of case names."""
    most: int | None = None
    """At most so many structures of each case."""
    per_group: int | None = None
    """At most so many structures of each modality and anatomy, spread over its cases: a quick subset."""
    seed: int = 0
    worst: int = 6
    """How many of the worst structures are pictured on the page."""


@dataclass(frozen=True, slots=True)
class ChosenCases:
    """Which cases are evaluated, and why others are not."""

    cases: tuple[Case, ...]
    trained_on: frozenset[str]
    """Names of the chosen cases, evaluated or left out, whose patient the weights were trained on."""
    left_out: tuple[str, ...]
    """Names of the cases left out because the weights were trained on them."""
    baseline_trained_on: tuple[str, ...]
    """Names of the evaluated cases that the compared weights were trained on."""
    names_training_data: bool
    """Whether the weights' metadata name their training data."""

    def cautions(self) -> list[str]:
        """Sentences that a reader of the metrics must know."""
        cautions = []
        if not self.names_training_data:
            cautions.append(
                "The metadata of these weights do not name their training data: they may have been trained on some of "
                "the cases."
            )
        if self.left_out:
            cautions.append(
                f"{len(self.left_out)} cases were left out because the weights were trained on them or on another "
                "case of the same patient."
            )
        if self.baseline_trained_on:
            cautions.append(
                f"The compared weights were trained on {len(self.baseline_trained_on)} of these cases: the comparison "
                "favours them."
            )
        if self.trained_on and not self.left_out:
            cautions.append("Cases the weights were trained on were evaluated too; they are in a row of their own.")
        return cautions


def choose_cases(
    root: Path, options: EvaluationOptions, model: PromptableModel, other: PromptableModel | None = None
) -> ChosenCases:
    """Choose the cases to evaluate; without those the weights were trained on, unless `options` include them.

    Parameters
    ----------
    root : Path
        Folder of cases.
    options : EvaluationOptions
        What is evaluated, and how.
    model : PromptableModel
        Its metadata name the training data.
    other : PromptableModel, optional
        The model compared with.

    Raises
    ------
    ConfigError
        If there are no cases, or the weights were trained on all of them.
    """
    everything, chosen = find_cases(root), find_cases(root, options.only)
    names = trained_on(model)
    known = cases_trained_on(everything, names or ()) & {case.name for case in chosen}
    evaluated = [case for case in chosen if options.include_trained_on or case.name not in known]
    if not evaluated:
        raise ConfigError(
            f"The weights '{options.model}' were trained on all {len(chosen)} chosen cases (first {chosen[0].name}). "
            "Choose others with --only, or evaluate these with --include-seen, in a "
            "row of their own."
        )
    baseline = cases_trained_on(everything, (trained_on(other) or ()) if other else ())
    return ChosenCases(
        cases=tuple(evaluated),
        trained_on=known,
        left_out=tuple(case.name for case in chosen if case not in evaluated),
        baseline_trained_on=tuple(case.name for case in evaluated if case.name in baseline),
        names_training_data=names is not None,
    )
