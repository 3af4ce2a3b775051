"""The order in which the studies of a project are worth annotating."""

from __future__ import annotations

import numpy as np

from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.engine.registry import load_model
from medsam_planner.lab.project.ordering import Order, Ranked, ranked
from medsam_planner.lab.project.project import Project
from medsam_planner.lab.project.records import State
from medsam_planner.lab.project.worth import band_uncertainty_bits, box_like, study_features
from medsam_planner.progress import Progress, track

__all__ = ["next_studies"]


def next_studies(
    project: Project,
    order: Order = Order.WORTH,
    *,
    model: PromptableModel | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Ranked]:
    """Studies that are neither reviewed nor excluded, the one to annotate next first.

    A study without prompts is asked for its uncertainty with a box where the first structure lies in reviewed studies.
    That is a guess, good where studies show the same part of the body; without reviewed studies diversity decides.

    Parameters
    ----------
    project : Project
    order : Order
    model : PromptableModel, optional
        The project's own if None.
    seed : int
        Of the random order and the stochastic passes.
    progress : Progress, optional
        Told the studies; may cancel.

    Raises
    ------
    WeightsError
        If the project's model cannot be loaded.
    """
    open_studies = project.studies(State.NEW, State.PROMPTED, State.CORRECTED)
    done = project.studies(State.REVIEWED)
    names, finished = [one.name for one in open_studies], [one.name for one in done]
    if order in (Order.NAME, Order.RANDOM):
        return ranked(names, finished, order, seed=seed)
    model = model or load_model(project.settings.model)
    first = project.settings.names[0]
    masks = [np.asarray(mask.array, dtype=bool) for one in done if (mask := project.masks(one.name).get(first))]
    features, uncertainty = {}, {}
    for study in track([*open_studies, *done], "looking at studies", progress):
        volume = project.image(study)
        features[study.name] = study_features(volume, model)
        if order is not Order.WORTH or study.state is State.REVIEWED:
            continue
        own = project.masks(study.name).get(first)
        box = box_like(masks if own is None else [np.asarray(own.array, dtype=bool)], volume)
        bits = None if box is None else band_uncertainty_bits(volume, model, [box], seed=seed)
        if bits is not None:
            uncertainty[study.name] = bits
    return ranked(names, finished, order, features=features, uncertainty=uncertainty, seed=seed)
