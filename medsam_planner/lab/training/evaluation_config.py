"""The table ``[evaluation]`` of a training file: how the weights are measured once they are there."""

from __future__ import annotations

from dataclasses import dataclass

from medsam_planner.errors import ConfigError

__all__ = ["PROTOCOLS", "EvaluationConfig"]

PROTOCOLS = ("box", "click", "cvpr25", "survey", "slices")
"""As ``medsam-planner evaluate`` names them."""


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """What is measured, on the cases of the data folder that training did not see.

    Where there are none, procedural volumes take their place that training never draws.
    """

    protocols: tuple[str, ...] = ("box", "slices")
    """Of ``box``, ``click``, ``cvpr25``, ``survey`` and ``slices``; an empty list measures nothing."""
    most: int | None = None
    """Structures of each case; None for all."""
    corrections: int = 5
    seed: int = 0
    """Draws boxes, clicks, procedural cases, and which half of the patients the temperature is fitted on."""
    dropout_runs: int = 16
    """Stochastic runs of every structure; 0 leaves out the dropout's figures and its temperature."""
    procedural_cases: int = 8

    def check(self, where: str) -> None:
        """Refuse what cannot be done.

        Raises
        ------
        ConfigError
            Naming `where` and the entry.
        """
        unknown = [name for name in self.protocols if name not in PROTOCOLS]
        if unknown or len(set(self.protocols)) < len(self.protocols):
            raise ConfigError(
                f"{where}: expected evaluation.protocols to name some of {', '.join(PROTOCOLS)}, each once; "
                f"got {', '.join(self.protocols)}."
            )
        if self.corrections < 0 or self.seed < 0 or (self.most is not None and self.most < 1):
            raise ConfigError(
                f"{where}: expected evaluation.corrections and evaluation.seed of at least 0 and evaluation.most of at "
                f"least 1, got {self.corrections}, {self.seed} and {self.most}."
            )
        if self.dropout_runs < 0 or self.dropout_runs == 1 or self.procedural_cases < 2:
            raise ConfigError(
                f"{where}: expected evaluation.dropout_runs of 0 or at least 2 (a variance needs two) and "
                f"evaluation.procedural_cases of at least 2, got {self.dropout_runs} and {self.procedural_cases}."
            )
