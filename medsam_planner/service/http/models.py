"""What travels as JSON. Unknown entries are refused; positions are LPS mm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from medsam_planner.service.core.accounts import LONGEST_PASSWORD
from medsam_planner.service.core.actors import USER_NAME
from medsam_planner.service.core.work_state import Condition
from medsam_planner.workflow.export_archive import Content
from medsam_planner.workflow.study_reading import ReadingOptions

__all__ = [
    "AnatomyAnswer",
    "ClaimRequest",
    "DeletedAnswer",
    "EventId",
    "ExportRequest",
    "HeldAnswer",
    "InfoAnswer",
    "JobAnswer",
    "JobBegun",
    "LoginAnswer",
    "LoginRequest",
    "Model",
    "Numbered",
    "PathRequest",
    "ProgressAnswer",
    "PromptRequest",
    "ReadingRequest",
    "RightsAnswer",
    "RightsRequest",
    "SegmentRequest",
    "SessionAnswer",
    "SessionRequest",
    "SessionSummary",
    "StrictRequest",
    "StructureAnswer",
    "StudyAnswer",
    "UndoRequest",
    "WhoAnswer",
]

EventId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""Chosen by the client: the same one again changes nothing and gives the first answer."""
UserName = Annotated[str, Field(pattern=USER_NAME)]
GrantedRole = Literal["viewer", "annotator", "planner"]


class Model(BaseModel):
    """What travels: unknown entries are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StrictRequest(Model):
    """What a client sends: unknown entries and other types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ReadingRequest(StrictRequest):
    """How a study is read; also the fields of a form, beside its file."""

    series: str | None = None
    volume: Annotated[int, Field(ge=1)] | None = None
    """Of several in the series."""
    resample_tilt: bool = False
    modality: Literal["CT", "MR"] | None = None
    """Where the files do not say."""

    @property
    def reading(self) -> ReadingOptions:
        """It, as the service takes it."""
        return ReadingOptions(self.series, self.volume, self.resample_tilt, self.modality)


class PathRequest(ReadingRequest):
    """A study within the folders that the server may read."""

    path: str


class LoginRequest(StrictRequest):
    """A user of this server."""

    name: Annotated[str, Field(max_length=200)]
    password: Annotated[str, Field(max_length=LONGEST_PASSWORD)]


class RightsRequest(RootModel[dict[UserName, GrantedRole]]):
    """By user, the role on a study."""

    model_config = ConfigDict(frozen=True, strict=True)


class SessionRequest(StrictRequest):
    """A session to begin."""

    study: str
    model: str | None = None


class ClaimRequest(StrictRequest):
    """A session to hold."""

    take_over: bool = False


class PromptRequest(StrictRequest):
    """A prompt as in a prompt file."""

    structure: str
    prompt: dict[str, Any]
    event_id: EventId | None = None


class UndoRequest(StrictRequest):
    """The last step of a structure."""

    structure: str
    event_id: EventId | None = None


class SegmentRequest(StrictRequest):
    """A structure to segment in 3D from its present prompts."""

    structure: str
    samples: int = 16
    uncertainty: str = "dropout"
    saliency: bool = False
    triplanar: bool = False
    event_id: EventId | None = None


class ExportRequest(Model):
    """An archive to write of the results of a session."""

    contents: Annotated[list[Annotated[Content, Field(strict=False)]], Field(min_length=1, max_length=len(Content))]
    ignores_unreviewed: bool = False
    event_id: EventId | None = None


class InfoAnswer(Model):
    """The server."""

    version: str
    models: list[str]
    model: str
    sessions_held: int
    max_sessions: int
    idle_s: float
    loaded_bytes: int
    unreadable_sessions: int
    notice: str


class StudyAnswer(Model):
    """A study."""

    id: str
    name: str
    modality: str | None
    shape: list[int]
    affine_lps_mm: list[list[float]]
    sha256: str


class WhoAnswer(Model):
    """Who you are, and the most you may do."""

    name: str
    role: str


class LoginAnswer(WhoAnswer):
    """Send the token as ``Authorization: Bearer TOKEN``."""

    token: str
    expires_at: str


class RightsAnswer(Model):
    """Who may do what on a study."""

    owner: str
    grants: Mapping[str, str]


class HeldAnswer(Model):
    """A session and the lease that lets its client act: send it as the header ``Lease``."""

    id: str
    lease: str


class StructureAnswer(Model):
    """A structure."""

    name: str
    state: Condition
    role: str
    colour: str
    hidden: bool
    anatomy: str | None
    """What it is coded as, as a name of ``GET anatomy``; null goes by its name."""
    prompts: list[dict[str, Any]]
    numbers: list[int]
    """By prompt: number of the change that it was."""
    can_undo: bool
    can_redo: bool
    result: dict[str, Any] | None


class ProgressAnswer(Model):
    """How far a job is."""

    stage: str
    done: int
    total: int


class JobAnswer(Model):
    """A job."""

    id: str
    session: str
    task: str
    structure: str | None
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: ProgressAnswer
    result: dict[str, Any] | None
    problem: dict[str, Any] | None


class SessionSummary(Model):
    """One line of the list of sessions."""

    id: str
    study: str
    name: str
    changed_at: str
    is_held: bool
    structures: list[str]


class AnatomyAnswer(Model):
    """A name by which a structure can be coded, in SNOMED CT unless the table says otherwise."""

    name: str
    code: str
    meaning: str


class DeletedAnswer(Model):
    """A structure that can be restored, by the number of the change that deleted it."""

    n: int
    name: str


class SessionAnswer(Model):
    """A session."""

    id: str
    study: str
    model: str
    seed: int
    n: int
    changed_at: str
    is_held: bool
    read_only_because: str | None
    structures: list[StructureAnswer]
    deleted: list[DeletedAnswer]
    jobs: list[JobAnswer]


class Numbered(Model):
    """Number of an acknowledged change: it is on the server's disk."""

    n: int


class JobBegun(Model):
    """Identifier of a job."""

    job: str
