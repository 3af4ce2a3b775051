"""The file of a study with readers, ``STUDY.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medsam_planner.errors import ConfigError
from medsam_planner.io.toml_tables import read_tables

__all__ = ["Hypothesis", "MasksTable", "Mode", "ReadingCase", "ReadingTable", "StudyFile", "read_study_file"]

Mode = Literal["unaided", "model", "uncertainty"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
Reader = Annotated[str, Field(pattern=r"^(oidc:)?[A-Za-z0-9][A-Za-z0-9._@+|-]{0,99}$")]
"""A user name of the service."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MasksTable(_Table):
    """Masks of readers: in each case folder ``labels_READER.nii.gz``, a second reading ``labels_READER@2.nii.gz``."""

    cases: Path
    """Folder of case folders, each with a ``meta.json`` whose ``label_names`` name the labels."""
    only: tuple[str, ...] = ()
    """Names of the cases; all without."""
    readers: tuple[Name, ...] = ()
    """All who have labels, without."""
    model: Name | None = None
    """Whose labels are the model's."""
    structures: tuple[str, ...] = ()
    """All without."""
    reference: Literal["staple", "majority"] = "staple"
    """How the reference of the other readers is made."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        _require_each_once("readers", self.readers)
        _require_each_once("only", self.only)
        if self.model is not None and self.model in self.readers:
            raise ValueError(f"the model {self.model!r} is named among the readers, too; leave it out there")
        return self


class Hypothesis(_Table):
    """Non-inferiority of the model to the readers, fixed before the masks are compared."""

    metric: Literal["dice", "surface_dice_1mm", "surface_dice_2mm", "hd95_mm", "asd_mm"] = "dice"
    margin: float = Field(gt=0)
    """In the unit of the metric."""
    spread: float | None = Field(default=None, gt=0)
    """Standard deviation of the patients' differences in a pilot; with it the number of patients is computed."""
    difference: float = 0.0
    """True difference that is expected, model minus readers, positive where the model is better."""
    power: float = Field(default=0.8, gt=0, lt=1)
    alpha: float = Field(default=0.025, gt=0, lt=0.5)


class ReadingCase(_Table):
    """One case of a reader study."""

    name: Name
    image: Path
    masks: dict[str, Path] = {}
    """The model's masks by structure, on the grid of the image."""
    plan: Path | None = None
    """Folder of a plan, with ``plan.json``."""
    uncertainty: Path | None = None
    """Map on the grid of the image, 0 to 1."""
    positive: bool | None = None
    """What is true of the case, for an area under the ROC curve."""


class ReadingTable(_Table):
    """Cases × readers × modes."""

    readers: tuple[Reader, ...] = Field(min_length=1)
    modes: tuple[Mode, ...] = Field(default=("unaided", "model", "uncertainty"), min_length=1)
    cases: tuple[ReadingCase, ...] = Field(min_length=1)
    washout_days: float = Field(default=28.0, ge=0)
    """Between two occasions on which a reader sees the same case."""
    seed: int = Field(default=0, ge=0)
    question: str = "Could you use what you see as it is?"
    scale: tuple[str, ...] = Field(
        default=("not at all", "after major changes", "after minor changes", "as it is"), min_length=2, max_length=10
    )
    """Answers, the worst first; a rating is the number of the answer, from 1."""
    acceptable: int = Field(default=3, ge=2)
    """Ratings from here on count as acceptable."""
    confidence: str | None = None
    """A question answered on 0 to 100; its answer is the score of an ROC curve."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        _require_each_once("readers", self.readers)
        _require_each_once("modes", self.modes)
        _require_each_once("cases", [case.name for case in self.cases])
        if self.acceptable > len(self.scale):
            raise ValueError(f"acceptable is {self.acceptable}, but the scale has {len(self.scale)} answers")
        for case in self.cases:
            if set(self.modes) != {"unaided"} and not case.masks and case.plan is None:
                raise ValueError(
                    f"case {case.name} has neither masks nor a plan to show in the modes with the model; name "
                    "masks or plan"
                )
            if "uncertainty" in self.modes and case.uncertainty is None:
                raise ValueError(f"case {case.name} has no uncertainty map; name one, or leave out that mode")
        return self


class StudyFile(_Table):
    """The whole file."""

    title: str = "Study with readers"
    masks: MasksTable | None = None
    hypothesis: Hypothesis | None = None
    reading: ReadingTable | None = None
    statements: dict[str, str] = {}
    """What people state for items of the check-list that no record answers, by item: ``"CLAIM 8" = "…"``."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.masks is None and self.reading is None:
            raise ValueError("a study needs the table [masks] or the table [reading]")
        return self


def read_study_file(path: Path) -> StudyFile:
    """Read a study; paths in it are relative to its folder and returned whole.

    Parameters
    ----------
    path : Path
        The file, or a folder of cases: then all its readers are compared with the default settings.

    Raises
    ------
    ConfigError
        If it cannot be read, or an entry is missing, unknown or wrong.
    """
    if path.is_dir():
        return StudyFile(title=path.resolve().name, masks=MasksTable(cases=path))
    study = read_tables(path, StudyFile, "study file")
    base = path.resolve().parent
    masks, reading = study.masks, study.reading
    if masks is not None:
        masks = masks.model_copy(update={"cases": base / masks.cases})
    if reading is not None:
        reading = reading.model_copy(update={"cases": tuple(_whole(case, base) for case in reading.cases)})
    return study.model_copy(update={"masks": masks, "reading": reading})


def _whole(case: ReadingCase, base: Path) -> ReadingCase:
    def there(path: Path) -> Path:
        place = base / path
        if not place.exists():
            raise ConfigError(f"Case {case.name}: expected {place} to be there. Correct its path in the study file.")
        return place

    changed = {
        "image": there(case.image),
        "masks": {name: there(mask) for name, mask in case.masks.items()},
        "plan": None if case.plan is None else there(case.plan),
        "uncertainty": None if case.uncertainty is None else there(case.uncertainty),
    }
    return case.model_copy(update=changed)


def _require_each_once(what: str, names: tuple[str, ...] | list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands twice among the {what}; name each once")
