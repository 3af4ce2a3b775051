"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.segmentation.limits import LARGEST_SEED, MOST_SAMPLES

__all__ = [
    "BeginFrom",
    "ClipOutliers",
    "CorrectBiasField",
    "Engine",
    "Host",
    "Identified",
    "KeepDays",
    "KeepWorksDays",
    "MaxSessions",
    "Modality",
    "Model",
    "OidcFile",
    "Out",
    "Paths",
    "Port",
    "ProjectFolder",
    "ResampleTilt",
    "RtStruct",
    "Saliency",
    "Samples",
    "Seed",
    "SegEncoding",
    "Series",
    "ServerData",
    "TlsCertificate",
    "TlsKey",
    "Triplanar",
    "TrustedProxy",
    "Uncertainty",
    "Volume",
    "Window",
    "Workers",
]

BeginFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--begin-from",
        help="FILE or FILE:SEGMENT (NIfTI, DICOM SEG or RTSTRUCT): the structure begins from this mask, before its "
        "prompts; may be repeated.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results; created when absent.")]
Host = Annotated[str, typer.Option(help="Address to listen on; by default for this machine only.")]
Port = Annotated[int, typer.Option(help="Port; 0 picks a free one.", min=0, max=65535)]
MaxSessions = Annotated[int, typer.Option(help="Most sessions that clients may hold at once.", min=1)]
ServerData = Annotated[Path, typer.Option("--data", help="Folder for studies, sessions and results.")]
Model = Annotated[str, typer.Option(help="compact, medsam-vit-b, a path to weights, or nninteractive:URL of a server.")]
Engine = Annotated[
    str,
    typer.Option(
        help="What computes MedSAM's image encoder: auto (the fastest that `weights optimise` verified here, else "
        "torch), torch, torch:bf16, openvino:int8, onnx:int8, …"
    ),
]
Samples = Annotated[
    int, typer.Option(help="Number of stochastic passes for the uncertainty; 0 for none.", min=0, max=MOST_SAMPLES)
]
Uncertainty = Annotated[
    str,
    typer.Option(
        help="What the stochastic passes vary: dropout, jitter, augment, triplanar (only with --triplanar), or "
        "several: dropout+jitter."
    ),
]
Seed = Annotated[
    int, typer.Option(help="Seed of the stochastic passes. The planner's is in the plan file.", min=0, max=LARGEST_SEED)
]
Saliency = Annotated[bool, typer.Option(help="Compute the Grad-CAM volume too; more than doubles the time.")]
Triplanar = Annotated[
    bool,
    typer.Option("--triplanar", help="Also propagate across the other two planes, and fuse the three masks."),
]
Series = Annotated[str | None, typer.Option(help="Series to read: its number in `inspect`, its UID or description.")]
Volume = Annotated[
    int | None,
    typer.Option(help="Volume to read, where a series holds several: its number in `inspect`.", min=1),
]
Modality = Annotated[str | None, typer.Option(help="CT or MR, where the files do not say.")]
ResampleTilt = Annotated[bool, typer.Option("--resample-tilt", help="Straighten a stack with gantry tilt.")]
Window = Annotated[
    str | None, typer.Option(help="CT window: soft-tissue, lung, brain, bone, full, or CENTRE,WIDTH in HU.")
]
ClipOutliers = Annotated[bool, typer.Option("--clip-outliers", help="Clip metal, padding and spikes to tissue values.")]
CorrectBiasField = Annotated[bool, typer.Option("--correct-bias-field", help="Even out an MR's coil shading (N4).")]
OidcFile = Annotated[Path | None, typer.Option(help="TOML file that names an OpenID Connect provider for the login.")]
TlsCertificate = Annotated[Path | None, typer.Option("--tls-cert", help="Certificate chain (PEM), for TLS.")]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", help="Private key (PEM) of the certificate.")]
TrustedProxy = Annotated[
    str | None, typer.Option(help="Address of the proxy with TLS in front, whose forwarded headers are believed.")
]
Identified = Annotated[
    bool | None,
    typer.Option(
        "--identified/--deidentified",
        help="Whether reports and pages name patient, ID, accession and date; by default unless the study's files say "
        "that it was de-identified.",
        show_default=False,
    ),
]
KeepDays = Annotated[
    float, typer.Option(help="Days to keep unused uploads, replaced results and files that can be made again.", min=0)
]
KeepWorksDays = Annotated[
    float | None, typer.Option(help="Days to keep sessions without a change; by default for ever.", min=0)
]
ProjectFolder = Annotated[
    Path | None,
    typer.Option("--project", help="Annotation project (`medsam-planner project init`) that clients work on together."),
]
Workers = Annotated[int, typer.Option(help="Processes that work at the same time.", min=1, max=64)]
SegEncoding = Annotated[
    str,
    typer.Option(
        help="How seg.dcm stores segments: auto, labelmap or binary; auto is a label map unless structures overlap.",
    ),
]
RtStruct = Annotated[
    bool, typer.Option("--rtstruct", help="Write contours too, as an RT Structure Set (rtstruct.dcm).")
]
Paths = Annotated[
    bool,
    typer.Option(
        "--paths/--no-paths",
        help="Whether results may say where the inputs lie. A folder's name can be a patient's.",
    ),
]
