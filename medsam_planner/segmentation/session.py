"""A study being segmented: the only place that knows the order of the stages.

prompts → slice masks → 3D mask → stochastic runs → uncertainty → saliency → result
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.engine.cache import EmbeddingCache
from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.engine.registry import load_model
from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.errors import PromptError
from medsam_planner.geometry import slice_across, spacing_mm, zeros_by_slice
from medsam_planner.io.intensity import normalisation_for
from medsam_planner.progress import Progress
from medsam_planner.propagation.limits import check_samples, check_seed
from medsam_planner.propagation.methods import propagation_version
from medsam_planner.propagation.sampling import sample_runs
from medsam_planner.propagation.sources import UncertaintySource, source_named
from medsam_planner.propagation.structure import Alternatives, StructurePasses, StructureTracker
from medsam_planner.propagation.walk import StopRules
from medsam_planner.provenance import versions
from medsam_planner.segmentation.result import MaskSamples, SegmentationResult
from medsam_planner.volumes import BoxedArray, array_sha256, source_of, volume_like
from prompts import Prompt, PromptLog, validate
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
    model : str, Path or PromptableModel
        ``"compact"``, ``"medsam-vit-b"``, a path to weights, or a model that was loaded before.
    seed : int
        Of the stochastic runs, from 0 to 2**62 - 1. Same study, prompts, weights and seed give the same bytes.
    window : str or (centre, width), optional
        CT window; by default the model's own. MR is scaled between the 0.5 and 99.5 percentiles unless a window is
        given.
    rules : StopRules, optional
        When propagation stops.
    cache_folder : path, optional
        Keeps embeddings across sessions.

    Raises
    ------
    PromptError
        If the seed is none that every generator takes.
    WeightsError
        If the weights are absent, damaged or unknown.
    """

    def __init__(
        self,
        volume: highdicom.Volume,
        model: str | Path | PromptableModel = "compact",
        *,
        seed: int = 0,
        window: str | tuple[float, float] | None = None,
        rules: StopRules | None = None,
        cache_folder: Path | None = None,
    ) -> None:
        check_seed(seed)
        self.volume = volume
        self.model = load_model(model) if isinstance(model, str | Path) else model
        self.seed = seed
        self._window_text = None if window is None else str(window)
        self.normalisation = normalisation_for(volume, window, self.model.default_window)
        self.rules = rules or StopRules()
        self._segmenter = SliceSegmenter(
            volume, self.model, self.normalisation, EmbeddingCache(_CACHE_BYTES, folder=cache_folder)
        )
        self._logs: dict[str, PromptLog] = {}
        self._trackers: dict[str, StructureTracker] = {}

    @property
    def _temperature(self) -> float:
        """What logits are divided by where they tell how sure the model is; the weights state it."""
        return self.model.temperature

    @property
    def study_sha256(self) -> str:
        """Of the study's voxels and affine."""
        return self._segmenter.study_sha256

    @property
    def logs(self) -> dict[str, PromptLog]:
        """Prompt logs by structure, in the order the structures were begun."""
        return dict(self._logs)

    def log(self, structure: str = DEFAULT_STRUCTURE) -> PromptLog:
        """The log of one structure, begun when it is asked for."""
        if structure not in self._logs:
            require_different([*self._logs, structure])
            self._logs[structure] = PromptLog(structure)
        return self._logs[structure]

    def restore(self, log: PromptLog) -> None:
        """Take over a log read from a file, in place of the one of that structure.

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
        """Append a prompt.

        Raises
        ------
        PromptError
            If it does not lie in the study.
        """
        validate(prompt, self.volume.affine, self.volume.spatial_shape)
        self.log(structure).add(prompt)

    def undo(self, *, structure: str = DEFAULT_STRUCTURE) -> None:
        """Take back the last step of a structure."""
        self.log(structure).undo()

    def redo(self, *, structure: str = DEFAULT_STRUCTURE) -> None:
        """Bring back the last undone step of a structure."""
        self.log(structure).redo()

    def preview(self, *, structure: str = DEFAULT_STRUCTURE) -> dict[int, dict[int, SlicePrediction]]:
        """Answers on the prompted slices alone, by array axis and slice index; empty without prompts."""
        prompts = self.log(structure).prompts
        if not prompts:
            return {}
        by_axis = self._tracker(structure).anchors(prompts)
        return {axis: {index: anchor.prediction for index, anchor in found.items()} for axis, found in by_axis.items()}

    def alternatives(self, *, structure: str = DEFAULT_STRUCTURE) -> Alternatives:
        """Every answer the model offers to the last prompt, best first.

        A box can mean a ring, its disc or one of its parts, and so can a lone click. To a correction, and by a model
        that gives one answer, there is one.

        Raises
        ------
        PromptError
            If nothing says where the structure is, or the last prompt is a scribble.
        """
        return self._tracker(structure).alternatives(self.log(structure).prompts)

    def choose(self, answer: int, *, structure: str = DEFAULT_STRUCTURE) -> None:
        """Take one of :meth:`alternatives`; a step of the log, which undo takes back and prompt files keep.

        What is corrected next is the chosen answer.

        Parameters
        ----------
        answer : int
            Its number, counted from the best as 0.
        structure : str

        Raises
        ------
        PromptError
            If there is no such answer.
        """
        count = len(self.alternatives(structure=structure).answers)
        if not 0 <= answer < count:
            raise PromptError(f"Expected a choice from 0 to {count - 1} among {count} answers, got {answer}.")
        self.log(structure).choose(answer)

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
        samples : int
            Stochastic runs for the uncertainty; 0 for none, else 2 to 1000.
        uncertainty : str
            What they differ in: "dropout", "jitter" (of the prompts), "augment" (flips and intensities of the image),
            "triplanar" (weights of the passes, which must be several), or several of them at once, as "dropout+jitter".
        saliency : bool
            Whether to compute the Grad-CAM volume and its faithfulness figures.
        triplanar : bool
            Whether to add passes across the other two planes and fuse.
        progress : Progress, optional

        Returns
        -------
        SegmentationResult
            Its mask may be empty: "nothing here" is an answer. Maps that were not asked for are None.

        Raises
        ------
        PromptError
            If nothing says where the structure is, the runs are too few or too many, or the uncertainty has no such
            source.
        ZeroVarianceError
            If the stochastic runs are all the same.
        """
        check_samples(samples)
        source = source_named(uncertainty)
        tracker = self._tracker(structure)
        passes = tracker.run(self.log(structure).prompts, triplanar=triplanar, progress=progress)
        mask = _inside(passes)
        maps: dict[str, Any] = {}
        if samples:
            maps |= self._uncertainty(passes, source, samples, progress)
        if saliency and mask.any():
            maps |= self._saliency(passes, mask, progress)
        return SegmentationResult(
            structure=structure,
            mask=volume_like(self.volume, mask),
            probability=volume_like(self.volume, passes.probability),
            trace=passes.passes[passes.axis].trace,
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
        """Why the surface of a structure lies where it does, at its place nearest to a position.

        Parameters
        ----------
        position_lps_mm : (3,) float
            For instance the tightest place of a plan.
        structure : str
        triplanar : bool
            As the structure was segmented.
        progress : Progress, optional

        Raises
        ------
        PromptError
            If nothing says where the structure is.
        SaliencyError
            If its mask is empty or the model did not decide any slice of it.
        """
        from medsam_planner.segmentation.surface_explanation import explain_here

        passes = self._tracker(structure).run(self.log(structure).prompts, triplanar=triplanar, progress=progress)
        return explain_here(
            self._segmenter,
            passes,
            passes.probability > 0.5,
            position_lps_mm,
            structure=structure,
            seed=self.seed,
            progress=progress,
        )

    def _tracker(self, structure: str) -> StructureTracker:
        if structure not in self._trackers:
            self._trackers[structure] = StructureTracker(self._segmenter, self.rules)
        return self._trackers[structure]

    def _uncertainty(
        self, passes: StructurePasses, source: UncertaintySource, samples: int, progress: Progress | None
    ) -> dict[str, Any]:
        from xai.dropout import require_variance
        from xai.uncertainty import boundary_spread_mm

        runs = sample_runs(self._segmenter, passes, source, samples=samples, seed=self.seed, progress=progress)
        require_variance(runs.logits)
        entropy, disagreement = runs.entropy_bits(self._temperature)
        masks, box = runs.masks(), runs.band.box
        maps: dict[str, Any] = {
            "uncertainty": self._on_grid(entropy, box, passes.axis),
            "mutual_information": self._on_grid(disagreement, box, passes.axis),
            "mask_samples": MaskSamples(
                BoxedArray(tuple(part.start for part in box), masks, tuple(self.volume.spatial_shape)), self.volume
            ),
        }
        occupied = masks[masks.any(axis=(1, 2, 3))]
        if len(occupied) >= 2:
            spread = boundary_spread_mm(occupied, spacing_mm(self.volume.affine))
            maps["boundary_spread_mm"] = self._on_grid(spread, box, passes.axis)
        return maps

    def _saliency(self, passes: StructurePasses, mask: np.ndarray, progress: Progress | None) -> dict[str, Any]:
        from medsam_planner.segmentation.saliency import explain

        volume, faithfulness = explain(self._segmenter, passes, mask, seed=self.seed, progress=progress)
        return {"saliency": volume_like(self.volume, volume), "faithfulness": faithfulness}

    def _on_grid(self, values: np.ndarray, box: tuple[slice, slice, slice], axis: int) -> highdicom.Volume:
        whole = zeros_by_slice(self.volume.spatial_shape, axis, np.float32)
        whole[box] = values
        return volume_like(self.volume, whole)

    def _provenance(self, structure: str, mask: np.ndarray, **options: Any) -> dict[str, Any]:
        source = source_of(self.volume)
        return {
            "structure": structure,
            "image_sha256": self._segmenter.study_sha256,
            "mask_sha256": array_sha256(mask),
            "window": self._window_text,
            "model": self.model.name,
            "weights_sha256": self.model.weights_sha256,
            "normalisation": asdict(self.normalisation),
            "temperature": self._temperature,
            "seed": self.seed,
            "rules": asdict(self.rules),
            "propagation": propagation_version(self.model),
            **options,
            "study": str(source.path) if source else None,
            "modality": source.modality if source else None,
            "modality_is_inferred": source.modality_is_inferred if source else None,
            "operations": list(source.operations) if source else [],
            "versions": versions(),
        }


def _inside(passes: StructurePasses) -> NDArray[np.bool_]:
    """(K, J, I) voxels more likely inside than not; slices without any take no memory."""
    mask = zeros_by_slice(passes.probability.shape, passes.axis, bool)
    for index in range(mask.shape[passes.axis]):
        section = slice_across(passes.probability, passes.axis, index) > 0.5
        if section.any():
            slice_across(mask, passes.axis, index)[...] = section
    return mask
