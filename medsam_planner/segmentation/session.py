"""A study that is being segmented: the one place that knows the order of the stages.

prompts → slice masks → 3D mask → stochastic passes → uncertainty → saliency → result
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.engine.cache import EmbeddingCache
from medsam_planner.engine.embedding_files import default_bytes, default_folder
from medsam_planner.engine.engine_name import AUTO
from medsam_planner.engine.protocol import PromptableModel, VolumeModel, VolumeSegmenter
from medsam_planner.engine.registry import open_model
from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.errors import PromptError, SaliencyError, StudyError
from medsam_planner.geometry import slice_across, zeros_by_slice
from medsam_planner.io.intensity import normalisation_for
from medsam_planner.progress import Progress
from medsam_planner.propagation.front import StopRules
from medsam_planner.propagation.methods import propagation_version
from medsam_planner.propagation.sampling import sample_passes
from medsam_planner.propagation.sources import UncertaintySource, check_planes, source_named
from medsam_planner.propagation.structure import CandidateMasks, PropagatedStructure, StructureTracker
from medsam_planner.propagation.volume_tracker import VolumeTracker
from medsam_planner.provenance import SegmentationProvenance, versions
from medsam_planner.segmentation.limits import check_samples, check_seed
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.segmentation.uncertainty_maps import is_predicted_in, uncertainty_maps
from medsam_planner.volumes import array_sha256, source_of, volume_like, volume_sha256
from prompts import Edit, InitialMask, Prompt, PromptLog, VoxelMask, validate
from prompts.names import require_different

if TYPE_CHECKING:
    from medsam_planner.segmentation.surface_explanation import WhyHere

__all__ = ["Session"]

DEFAULT_STRUCTURE = "structure"
_CACHE_BYTES = 1_000_000_000


class Session:
    """Few-click segmentation of one study.

    Parameters
    ----------
    volume : highdicom.Volume
        The study, usually from :func:`medsam_planner.load_volume`.
    model : str, Path, PromptableModel or VolumeModel
        ``"compact"``, ``"medsam-vit-b"``, a path to weights, ``"nninteractive:URL"`` for a server of the nnInteractive
        protocol, or a loaded model. Weights named by a string or a path are read once per process
        (:func:`~medsam_planner.engine.registry.load_model`).
    seed : int
        Seed of the stochastic passes, from 0 to 2**62 - 1. The same study, prompts, weights and seed give the same
        bytes.
    window : str or (centre, width), optional
        CT window; by default the model's own. MR is scaled between the 0.5 and 99.5 percentiles unless a window is
        given.
    rules : StopRules, optional
        Limits at which propagation ends.
    cache : EmbeddingCache, optional
        Keeps the embeddings. Several sessions may share one, on different studies and models too; by default a session
        has its own of 1 GB in memory, and those of a slow encoder are kept on disk for all
        (:mod:`~medsam_planner.engine.embedding_files`).
    engine : str
        What computes MedSAM's image encoder, where `model` is a name or a path: "auto", "torch", "openvino:int8", …
        (:mod:`~medsam_planner.engine.engine_name`).

    Raises
    ------
    PromptError
        If the seed is out of range.
    WeightsError
        If the weights are absent, damaged or unknown, or the engine has no intact export of them.
    StudyError
        If a window is given for a model on a server, which gets stored values.
    ModelServerError
        If that server cannot be reached, refuses, or is full.
    """

    def __init__(
        self,
        volume: highdicom.Volume,
        model: str | Path | PromptableModel | VolumeModel = "compact",
        *,
        seed: int = 0,
        window: str | tuple[float, float] | None = None,
        rules: StopRules | None = None,
        cache: EmbeddingCache | None = None,
        engine: str = AUTO,
    ) -> None:
        check_seed(seed)
        self.volume = volume
        self.model = open_model(model, engine=engine) if isinstance(model, str | Path) else model
        if isinstance(self.model, VolumeModel) and window is not None:
            raise StudyError(f"The model {self.model.name} gets stored values: leave the window out.")
        self.seed = seed
        self._window_text = None if window is None else str(window)
        self.normalisation = normalisation_for(volume, window, self.model.default_window)
        self.rules = rules or StopRules()
        self._cache = _own_cache() if cache is None else cache
        self._segmenter: SliceSegmenter | VolumeSegmenter
        if isinstance(self.model, VolumeModel):
            self._segmenter = self.model.open_volume(volume)
            self._study_sha256 = volume_sha256(volume)
        else:
            self._segmenter = SliceSegmenter(volume, self.model, self.normalisation, self._cache)
            self._study_sha256 = self._segmenter.study_sha256
        self._logs: dict[str, PromptLog] = {}
        self._trackers: dict[str, StructureTracker | VolumeTracker] = {}

    @property
    def study_sha256(self) -> str:
        """SHA-256 of the study's voxels and affine."""
        return self._study_sha256

    @property
    def held_bytes(self) -> int:
        """Memory of the embeddings that are kept for the next prompt; the study itself is not counted."""
        return self._cache.held_bytes

    @property
    def logs(self) -> dict[str, PromptLog]:
        """Prompt logs by structure, in the order the structures were begun."""
        return dict(self._logs)

    def log(self, structure: str = DEFAULT_STRUCTURE) -> PromptLog:
        """The log of one structure; a new one where there is none yet."""
        if structure not in self._logs:
            require_different([*self._logs, structure])
            self._logs[structure] = PromptLog(structure)
        return self._logs[structure]

    def restore(self, log: PromptLog) -> None:
        """Replace the log of a structure by one that was read from a file.

        Raises
        ------
        PromptError
            If a prompt does not lie in this study, or another structure has nearly the same name.
        """
        for prompt in log.prompts:
            validate(prompt, self.volume.affine, self.volume.spatial_shape)
        require_different([*self._logs, log.structure])
        self._logs[log.structure] = log

    def add(self, prompt: Prompt, *, structure: str = DEFAULT_STRUCTURE) -> None:
        """Append a prompt to the log of a structure.

        Raises
        ------
        PromptError
            If it does not lie in the study.
        GeometryError
            If it is a mask or an edit on other voxels.
        """
        validate(prompt, self.volume.affine, self.volume.spatial_shape)
        self.log(structure).add(prompt)

    def begin_from(self, mask: highdicom.Volume, *, structure: str = DEFAULT_STRUCTURE) -> None:
        """Begin a structure from a given mask, in place of all prompts before it; a step of the log.

        Without further prompts, :meth:`segment` returns this mask. A later prompt predicts its slice anew from it, and
        leaves the other slices as they are. A prompt on a slice beyond the mask continues the structure there.

        Parameters
        ----------
        mask : highdicom.Volume
            Voxels above 0 belong to the structure. On the study's voxels, in any order of the array axes.
        structure : str
            Name of the structure.

        Raises
        ------
        PromptError
            If the mask is empty.
        GeometryError
            If its voxels are not those of the study.
        """
        self.add(InitialMask(VoxelMask.from_array(np.asarray(mask.array) > 0, mask.affine)), structure=structure)

    def edit(
        self,
        painted: NDArray[np.bool_],
        *,
        positive: bool = True,
        first_index: tuple[int, int, int] = (0, 0, 0),
        structure: str = DEFAULT_STRUCTURE,
    ) -> None:
        """Set or clear voxels by hand, as with a brush or an eraser; one step of the log.

        Every slice that is touched keeps what is there with these voxels set or cleared, until it is prompted again;
        slices that are propagated follow from it. Calibrated margins then no longer apply.

        Parameters
        ----------
        painted : (k, j, i) bool
            The painted voxels, on the study's grid or a part of it.
        positive : bool
            True to set them, False to clear them.
        first_index : (3,) int
            Voxel of the study at which `painted` begins.
        structure : str
            Name of the structure.

        Raises
        ------
        PromptError
            If no voxel is painted, or some lie outside the study.
        GeometryError
            If `painted` is not a 3D bool array.
        """
        mask = VoxelMask.from_array(painted, self.volume.affine, first_index=first_index)
        self.add(Edit(mask, positive=positive), structure=structure)

    def remove(self, prompt: int, *, structure: str = DEFAULT_STRUCTURE) -> None:
        """Remove one earlier prompt of a structure; a step of the log, which undo takes back.

        Parameters
        ----------
        prompt : int
            Its number in ``log(structure).prompts``, counted from the first as 0.
        structure : str
            Name of the structure.

        Raises
        ------
        PromptError
            If there is no such prompt.
        """
        self.log(structure).remove(prompt)

    def forget(self, structure: str = DEFAULT_STRUCTURE) -> None:
        """Free the memory of what was computed for a structure; its prompts stay, and lead to the same mask again."""
        self._trackers.pop(structure, None)

    def undo(self, *, structure: str = DEFAULT_STRUCTURE) -> None:
        """Take back the last step of a structure."""
        self.log(structure).undo()

    def redo(self, *, structure: str = DEFAULT_STRUCTURE) -> None:
        """Bring back the last undone step of a structure."""
        self.log(structure).redo()

    def preview(
        self, *, structure: str = DEFAULT_STRUCTURE, progress: Progress | None = None
    ) -> dict[int, dict[int, SlicePrediction]]:
        """Predictions on the prompted slices only, by array axis and slice index; empty without prompts.

        Parameters
        ----------
        structure : str
            Name of the structure.
        progress : Progress, optional
            Told the prompts, and the slices where a prompt needs the propagation before it; may cancel.

        Raises
        ------
        PromptError
            If no prompt says where the structure is.
        """
        prompts = self.log(structure).prompts
        if not prompts:
            return {}
        by_axis = self._tracker(structure).anchors(prompts, progress=progress)
        return {axis: {index: anchor.prediction for index, anchor in found.items()} for axis, found in by_axis.items()}

    def prefetch(
        self, *, structure: str = DEFAULT_STRUCTURE, reach: int = 20, progress: Progress | None = None
    ) -> None:
        """Compute what the slices around the prompted ones will need, the nearest first, while nobody waits.

        For a model with a slow encoder; nothing is to be done for others. The masks are the same with and without. The
        work belongs into the thread that computes, as torch's numbers of threads are the process's own; `progress` ends
        it between two slices, as when a prompt comes, and what was computed is kept.

        Parameters
        ----------
        structure : str
            Name of the structure.
        reach : int
            How many slices to either side.
        progress : Progress, optional
            Told the slices; may cancel.

        Raises
        ------
        OperationCancelledError
            If it was cancelled.
        """
        if isinstance(self._segmenter, SliceSegmenter) and self._segmenter.model.encodes_slowly:
            for axis, found in self.preview(structure=structure).items():
                for index, one in found.items():
                    self._segmenter.encode_outward(axis, index, one.prompt, reach=reach, progress=progress)

    def candidate_masks(
        self, *, structure: str = DEFAULT_STRUCTURE, progress: Progress | None = None
    ) -> CandidateMasks:
        """Every candidate prediction for the last prompt, best first.

        A box or a single click can mean a ring, its disc or one of its parts. For a correction, and for a model without
        candidates, there is one prediction.

        Raises
        ------
        PromptError
            If no prompt says where the structure is, or the last prompt is neither a box nor a click.
        """
        return self._tracker(structure).candidate_masks(self.log(structure).prompts, progress=progress)

    def choose(self, candidate: int, *, structure: str = DEFAULT_STRUCTURE) -> None:
        """Choose one of :meth:`candidate_masks`; a step of the log, which undo takes back and prompt files keep.

        Later corrections apply to the chosen prediction.

        Parameters
        ----------
        candidate : int
            Its number, counted from the best as 0.
        structure : str
            Name of the structure.

        Raises
        ------
        PromptError
            If there is no such candidate.
        """
        count = len(self.candidate_masks(structure=structure).predictions)
        if not 0 <= candidate < count:
            raise PromptError(f"Expected a choice from 0 to {count - 1} among {count} candidates, got {candidate}.")
        self.log(structure).choose(candidate)

    def segment(
        self,
        *,
        structure: str = DEFAULT_STRUCTURE,
        samples: int = 16,
        uncertainty: str = "dropout",
        saliency: bool = False,
        triplanar: bool = False,
        progress: Progress | None = None,
    ) -> SegmentationResult:
        """Segment one structure in 3D.

        Parameters
        ----------
        structure : str
            Name of the structure.
        samples : int
            Number of stochastic passes for the uncertainty; 0 for none, else 2 to 1000.
        uncertainty : str
            What the passes differ in: "dropout", "jitter" (of the prompts), "augment" (flips and intensities of the
            image), "triplanar" (weights of the planes; needs `triplanar`), or several at once, as
            "dropout+jitter".
        saliency : bool
            Whether to compute the Grad-CAM volume and measure its faithfulness.
        triplanar : bool
            Whether to propagate across the other two planes too, and fuse.
        progress : Progress, optional
            Told the slices; may cancel.

        Returns
        -------
        SegmentationResult
            Its mask may be empty, which is not an error. Maps that were not requested are None, and so is the saliency
            where the model predicted no slice. Stochastic passes keep the slices whose mask was given.

        Raises
        ------
        PromptError
            If no prompt says where the structure is, the number of passes is out of range, or the source of uncertainty
            is unknown or needs propagation across three planes.
        ZeroVarianceError
            If all stochastic passes are equal.
        """
        check_samples(samples)
        source = source_named(uncertainty)
        if samples:
            check_planes(source, triplanar=triplanar)
        tracker = self._tracker(structure)
        if samples and isinstance(tracker, VolumeTracker):
            tracker.require_source(source)
        if saliency:
            self._require_slices()
        prompts = self.log(structure).prompts
        propagated = tracker.run(prompts, triplanar=triplanar, progress=progress)
        mask = _inside(propagated)
        maps: dict[str, Any] = {}
        if samples:
            maps |= self._uncertainty(tracker, prompts, propagated, source, samples, progress)
        if saliency and mask.any() and not propagated.is_given:
            maps |= self._saliency(propagated, mask, progress)
        return SegmentationResult(
            structure=structure,
            mask=volume_like(self.volume, mask),
            probability=volume_like(self.volume, propagated.probability),
            trace=propagated.by_axis[propagated.axis].trace,
            log=self.log(structure).copy(),
            provenance=self._provenance(
                structure, mask, samples=samples, uncertainty=source.name, saliency=saliency, triplanar=triplanar
            ),
            **maps,
        )

    def why_here(
        self,
        position_lps_mm: ArrayLike,
        *,
        structure: str = DEFAULT_STRUCTURE,
        triplanar: bool = False,
        progress: Progress | None = None,
    ) -> WhyHere:
        """Explain why the surface of a structure lies where it does, at the surface point nearest to a position.

        Parameters
        ----------
        position_lps_mm : (3,) float
            In patient space; for example the point of a trajectory with the smallest clearance.
        structure : str
            Name of the structure.
        triplanar : bool
            As in :meth:`segment`.
        progress : Progress, optional
            Told the stages; may cancel.

        Raises
        ------
        PromptError
            If no prompt says where the structure is.
        SaliencyError
            If the mask is empty or no slice of it was predicted by the model.
        """
        from medsam_planner.segmentation.surface_explanation import explain_here

        slices = self._require_slices()
        propagated = self._tracker(structure).run(self.log(structure).prompts, triplanar=triplanar, progress=progress)
        return explain_here(
            slices,
            propagated,
            propagated.probability > 0.5,
            position_lps_mm,
            structure=structure,
            seed=self.seed,
            progress=progress,
        )

    def _tracker(self, structure: str) -> StructureTracker | VolumeTracker:
        if structure not in self._trackers:
            segmenter = self._segmenter
            self._trackers[structure] = (
                StructureTracker(segmenter, self.rules)
                if isinstance(segmenter, SliceSegmenter)
                else VolumeTracker(segmenter, self.volume)
            )
        return self._trackers[structure]

    def _require_slices(self) -> SliceSegmenter:
        """The model on slices, which only a model on this machine has."""
        if not isinstance(self._segmenter, SliceSegmenter):
            raise SaliencyError(
                f"The model {self.model.name} gives masks only, so nothing can explain them. Ask without saliency."
            )
        return self._segmenter

    def _uncertainty(
        self,
        tracker: StructureTracker | VolumeTracker,
        prompts: Sequence[Prompt],
        propagated: PropagatedStructure,
        source: UncertaintySource,
        samples: int,
        progress: Progress | None,
    ) -> dict[str, Any]:
        """Stochastic passes and their maps."""
        if isinstance(tracker, VolumeTracker):
            sampled = tracker.sample(prompts, propagated, source, samples=samples, seed=self.seed, progress=progress)
            may_be_equal = True  # masks without probabilities often are, where the surface is clear
        else:
            sampled = sample_passes(
                tracker.segmenter, propagated, source, samples=samples, seed=self.seed, progress=progress
            )
            may_be_equal = not is_predicted_in(propagated, sampled.band.box)
        return uncertainty_maps(
            self.volume,
            sampled,
            axis=propagated.axis,
            temperature=self.model.temperature,
            may_be_equal=may_be_equal,
        )

    def _saliency(self, propagated: PropagatedStructure, mask: np.ndarray, progress: Progress | None) -> dict[str, Any]:
        from medsam_planner.segmentation.saliency import explain

        volume, faithfulness = explain(self._require_slices(), propagated, mask, seed=self.seed, progress=progress)
        return {"saliency": volume_like(self.volume, volume), "faithfulness": faithfulness}

    def _provenance(
        self, structure: str, mask: np.ndarray, *, samples: int, uncertainty: str, saliency: bool, triplanar: bool
    ) -> SegmentationProvenance:
        source = source_of(self.volume)
        return SegmentationProvenance(
            structure=structure,
            image_sha256=self.study_sha256,
            mask_sha256=array_sha256(mask),
            window=self._window_text,
            model=self.model.name,
            weights_sha256=self.model.weights_sha256,
            engine=self.model.engine,
            normalisation=asdict(self.normalisation),
            temperature=self.model.temperature,
            seed=self.seed,
            rules=self.rules.as_json(),
            propagation=propagation_version(self.model),
            samples=samples,
            uncertainty=uncertainty,
            saliency=saliency,
            triplanar=triplanar,
            modality=source.modality if source else None,
            modality_is_inferred=source.modality_is_inferred if source else None,
            operations=list(source.operations) if source else [],
            versions=versions(),
        )


def _own_cache() -> EmbeddingCache:
    return EmbeddingCache(_CACHE_BYTES, default_folder(), max_folder_bytes=default_bytes())


def _inside(propagated: PropagatedStructure) -> NDArray[np.bool_]:
    """(K, J, I) voxels with a probability above one half; slices without any take no memory."""
    mask = zeros_by_slice(propagated.probability.shape, propagated.axis, bool)
    for index in range(mask.shape[propagated.axis]):
        section = slice_across(propagated.probability, propagated.axis, index) > 0.5
        if section.any():
            slice_across(mask, propagated.axis, index)[...] = section
    return mask
