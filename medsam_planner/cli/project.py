"""``medsam-planner project``: an annotation project in a folder, without a server."""

from __future__ import annotations

import getpass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(help="Annotate a structure in many studies, alone or several people at once.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the project.")]
Name = Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study.")]
Who = Annotated[
    str, typer.Option(help="Who does this; by default the user of this machine.", default_factory=getpass.getuser)
]


class OrderName(StrEnum):
    """The orders, repeated here so that ``--help`` does not import them."""

    WORTH = "worth"
    DIVERSITY = "diversity"
    RANDOM = "random"
    NAME = "name"


@app.command()
def init(
    folder: Folder,
    structure: Annotated[
        list[str], typer.Option(help="Name of a structure; may be repeated. Labels are numbered in this order.")
    ],
    name: Annotated[str | None, typer.Option(help="Name of the project; by default the folder's.")] = None,
    annotator: Annotated[
        list[str] | None, typer.Option(help="Who may change the project; may be repeated. Anybody if none.")
    ] = None,
    model: Annotated[str, typer.Option(help="Weights that order the studies.")] = "compact",
) -> None:
    """Make a project: project.toml, which you may edit, and one database file."""
    from medsam_planner.cli.console import say
    from medsam_planner.lab.project.project import Project

    project = Project.init(folder, name or folder.name, structure, annotators=annotator or (), model=model)
    for one in project.settings.structures:
        say(f"{one.name}: {one.meaning} ({one.scheme} {one.code})" if one.code else f"{one.name}: no code in the table")
    say(f"Project: {project.folder / 'project.toml'}")


@app.command()
def add(
    folder: Folder,
    images: Annotated[
        list[Path], typer.Argument(help="NIfTI files (.nii.gz), folders of DICOM files, or cases with image.nii.gz.")
    ],
    who: Who,
    patient: Annotated[
        str | None,
        typer.Option(help="Pseudonym; by default each study is a patient of its own, and a case's meta.json counts."),
    ] = None,
    modality: Annotated[str | None, typer.Option(help="CT or MR, where the file does not say.")] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Refer to the images instead of copying them.")
    ] = False,
) -> None:
    """Add studies, by the hash of their voxels."""
    from medsam_planner.cli.console import say
    from medsam_planner.lab.project.import_cases import add_image
    from medsam_planner.lab.project.project import Project

    project = Project(folder)
    for image in images:
        study = add_image(project, image, who=who, patient=patient, modality=modality, copied=not reference)
        say(f"{study.name}: {study.modality}, patient {study.patient}, {study.image_sha256[:12]}…")


@app.command("list")
def list_studies(folder: Folder) -> None:
    """List the studies with their states."""
    from medsam_planner.cli.console import say
    from medsam_planner.lab.project.project import Project

    for study in Project(folder).studies():
        say(f"{study.name}  {study.state.value}  {study.modality}  patient {study.patient}")


@app.command("next")
def next_study(
    folder: Folder,
    order: Annotated[OrderName, typer.Option(help="worth: uncertainty and diversity.")] = OrderName.WORTH,
    most: Annotated[int, typer.Option(help="How many to print.", min=1)] = 5,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Print what to annotate next, the most worth first."""
    from medsam_planner.cli.console import say, watched
    from medsam_planner.lab.project.next_study import next_studies
    from medsam_planner.lab.project.ordering import Order
    from medsam_planner.lab.project.project import Project

    with watched() as progress:
        found = next_studies(Project(folder), Order(order.value), seed=seed, progress=progress)
    if not found:
        say("Every study is reviewed or excluded.")
    for one in found[:most]:
        bits = "" if one.uncertainty_bits is None else f"  uncertainty {one.uncertainty_bits:.3f} bit"
        away = "" if one.distance is None else f"  distance {one.distance:.3f}"
        say(f"{one.name}{bits}{away}")


@app.command()
def record(
    folder: Folder,
    name: Name,
    who: Who,
    structure: Annotated[str, typer.Option(help="Name of the structure.")],
    mask: Annotated[Path, typer.Option(help="FILE or FILE:SEGMENT (NIfTI, DICOM SEG or RTSTRUCT).")],
    prompts: Annotated[Path | None, typer.Option(help="prompts.json of the run that made it.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Time that it took.", min=0)] = None,
) -> None:
    """Record a mask, and the prompts and edits that led to it."""
    from medsam_planner.cli.console import say, tell_notes
    from medsam_planner.io.mask_reading import load_mask, object_notes
    from medsam_planner.lab.project.project import Project
    from prompts import read_prompt_file

    project = Project(folder)
    volume = load_mask(mask, project.image(project.study(name)), name=structure)
    given = None if prompts is None else read_prompt_file(prompts)
    study = project.record(name, structure, volume, who=who, prompts=given, seconds=seconds)
    say(f"{study.name}: {study.state.value}")
    tell_notes(object_notes(volume))


@app.command()
def review(
    folder: Folder,
    name: Name,
    who: Who,
    slices: Annotated[
        str | None,
        typer.Option(help="Reviewed slices, as 3-20,25; all by default. The others are `ignore` in exports."),
    ] = None,
) -> None:
    """Accept the masks of a study."""
    from medsam_planner.cli.console import say
    from medsam_planner.lab.project.exports import slice_numbers
    from medsam_planner.lab.project.project import Project

    study = Project(folder).review(name, who=who, slices=None if slices is None else slice_numbers(slices))
    say(f"{study.name}: {study.state.value}")


@app.command()
def exclude(folder: Folder, name: Name, who: Who, reason: Annotated[str, typer.Option(help="Why.")]) -> None:
    """Exclude a study, with a reason."""
    from medsam_planner.cli.console import say
    from medsam_planner.lab.project.project import Project

    say(f"{Project(folder).exclude(name, reason, who=who).name}: excluded")


@app.command()
def reopen(folder: Folder, name: Name, who: Who) -> None:
    """Take back a review or an exclusion."""
    from medsam_planner.cli.console import say
    from medsam_planner.lab.project.project import Project

    study = Project(folder).reopen(name, who=who)
    say(f"{study.name}: {study.state.value}")


@app.command()
def report(
    folder: Folder, out: Annotated[Path | None, typer.Option("--out", help="FILE.md; printed if none.")] = None
) -> None:
    """Write the data sheet from the records."""
    from medsam_planner.cli.console import say
    from medsam_planner.io.files import write_whole
    from medsam_planner.lab.project.project import Project
    from medsam_planner.lab.project.report import data_sheet

    text = data_sheet(Project(folder))
    if out is None:
        say(text)
    else:
        say(f"Data sheet: {write_whole(out, text)}")


class FormatName(StrEnum):
    """The formats, repeated here so that ``--help`` does not import them."""

    NNUNET = "nnunet"
    MONAI = "monai"
    BIDS = "bids"
    COCO = "coco"
    DICOM_SEG = "dicom-seg"


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", help="New folder.")],
    to: Annotated[FormatName, typer.Option(help="Format of the data set.")] = FormatName.NNUNET,
    folds: Annotated[int, typer.Option(help="Parts of the splits by patient.", min=2)] = 5,
) -> None:
    """Write the reviewed studies as a data set, with splits by patient and a data sheet."""
    from medsam_planner.cli.console import say
    from medsam_planner.lab.project.exports import export_project
    from medsam_planner.lab.project.formats import Format
    from medsam_planner.lab.project.project import Project

    exported = export_project(Project(folder), out, Format(to.value), folds=folds)
    for note in exported.notes:
        say(f"Note: {note}")
    say(f"Data set: {exported.folder} (version {exported.version[:12]})")
    if exported.command:
        say(f"Train with: {exported.command}")


@app.command("import")
def import_data_set(
    folder: Folder,
    data_set: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of the data set.")],
    who: Who,
    format_: Annotated[FormatName, typer.Option("--from", help="Format of the data set.")],
) -> None:
    """Record the masks of a data set, with where they come from; those on other voxels than the study are refused."""
    from medsam_planner.cli.console import say, watched
    from medsam_planner.lab.project.formats import Format
    from medsam_planner.lab.project.imports import import_masks
    from medsam_planner.lab.project.project import Project

    with watched() as progress:
        imported = import_masks(Project(folder), data_set, Format(format_.value), who=who, progress=progress)
    for note in imported.notes:
        say(f"Note: {note}")
    if imported.added:
        say(f"Added studies: {', '.join(imported.added)}")
    say(f"Recorded {imported.masks} masks. Review them: `medsam-planner project review`.")
