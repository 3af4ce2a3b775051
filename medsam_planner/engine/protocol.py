"""The interface of promptable models: encode a slice once, decode prompts often; or segment a volume as a whole.

Coordinates on a slice are (row, column) in pixels of the array it is given, fractional, 0 at the centre of the first
pixel. The slice of a volume across array axis `a` has the two other axes, in their order, as rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.progress import Progress
from prompts import Prompt
from prompts.masks import mask_box

__all__ = [
    "Crop",
    "Decoded",
    "ModelWithMemory",
    "PromptableModel",
    "RememberedSlice",
    "SaliencyGraph",
    "SlicePrompt",
    "VolumeModel",
    "VolumeSegmenter",
    "box_around",
]


@dataclass(frozen=True, slots=True, eq=False)
class RememberedSlice:
    """A predicted slice in a model's memory, and where it lies relative to the current slice.

    Lengths are in pixels of the current slice along its rows, or in model pixels once the prompt is in model pixels.
    """

    tokens: Any
    """Result of :meth:`ModelWithMemory.remember`; only the model reads them."""
    centre_rc: tuple[float, float]
    """Middle of the remembered crop, as :attr:`Crop.centre_rc`."""
    side: float
    """Side of that crop."""
    away: float
    """Distance between the two slices."""
    changed: Callable[[Any], Any] | None = None
    """Returns the tokens of the same slice under an :class:`~medsam_planner.engine.stochastic_passes.ImageChange`."""


@dataclass(frozen=True, slots=True, eq=False)
class SlicePrompt:
    """All prompts on one slice, in (row, column) pixels of that slice."""

    box: NDArray[np.float64] | None = None
    """(4,) first row, first column, last row, last column, or None."""
    points: NDArray[np.float64] | None = None
    """(N, 2), or None."""
    labels: NDArray[np.bool_] | None = None
    """(N,) True where the point is inside the structure."""
    mask: NDArray[np.float32] | None = None
    """(H, W) probability propagated from a neighbouring slice or from an earlier round, or None."""
    reference_slice: NDArray[np.float32] | None = None
    """(H, W) intensities of the slice that `mask` belongs to, normalised like the current slice, or None. Together with
    the mask it shows what the structure looks like."""
    padding_px: float | None = None
    """Padding of the box in model pixels where the box of a propagated mask is decoded on its own, None for the model's
    default; for a prompt that is a box alone, the padding of that box."""
    memory: tuple[RememberedSlice, ...] = ()
    """Other predicted slices, by ascending index; for a :class:`ModelWithMemory` only."""
    candidate: int | None = None
    """Number of the candidate mask to use; None leaves the choice to the model."""

    def is_empty(self) -> bool:
        """Whether it has no box, no point and no mask."""
        return self.box is None and (self.points is None or len(self.points) == 0) and self.mask is None


def box_around(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(4,) first row, first column, last row, last column of a non-empty (H, W) mask, in the order of
    :attr:`SlicePrompt.box`."""
    rows, columns = mask_box(mask)
    return np.array([rows.start, columns.start, rows.stop - 1, columns.stop - 1], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Crop:
    """The square that a model predicts on, in pixels of the slice: its centre and its side along rows and columns.

    `side_rc` differs between rows and columns on anisotropic slices, so that the crop is square in mm.
    """

    centre_rc: tuple[float, float]
    side_rc: tuple[float, float]
    size: int
    """Side in model pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Output of the decoder in model pixels."""

    logits: NDArray[np.float32]
    """(S, size, size): one deterministic map without passes, else one for each stochastic pass."""
    quality: NDArray[np.float32]
    """(S,) predicted IoU in [0, 1]."""


@dataclass(frozen=True, slots=True, eq=False)
class SaliencyGraph:
    """A differentiable path to one prediction, for Grad-CAM."""

    inputs: Any
    """(1, C, h, w) tensor, the argument of `forward`: the network's image input, or the cached embedding."""
    forward: Callable[[Any], Any]
    """(n, C, h, w) → (n, size, size) logits, with the same prompt for all."""
    layer: Any | None
    """NCHW layer that Grad-CAM reads; None where `inputs` is already the embedding."""


class PromptableModel(Protocol):
    """A model behind the engine. Implementations hold their torch module in ``network``."""

    name: str
    weights_sha256: str
    encodes_slowly: bool
    """Whether embeddings are worth keeping on disk, and computing before they are asked for."""
    size: int
    """Side of the model's input in pixels."""
    default_window: str
    """Name of the CT window that is used when the user names none (see ``medsam_planner.io.intensity``)."""
    paddings_px: tuple[float, ...]
    """Candidate paddings, in model pixels, of a propagated box; the default one first. Empty where the model uses
    none."""
    reads_reference_slice: bool
    """Whether the model reads :attr:`SlicePrompt.reference_slice`; where it does not, the slice is left out of
    prompts."""

    metadata: Mapping[str, str]
    """Metadata of the weights file, such as ``trained_on`` (JSON); empty where it has none."""

    @property
    def engine(self) -> str:
        """What computes the embeddings (:mod:`.engine_name`). Masks depend on it, as they do on the weights."""

    @property
    def tensors_sha256(self) -> str:
        """SHA-256 of the weights without the file's metadata, which may be added later."""

    @property
    def temperature(self) -> float:
        """Divisor of the logits in uncertainty maps; 1 where no temperature was fitted."""

    @property
    def network(self) -> Any:
        """The ``torch.nn.Module``."""

    def with_own_module(self) -> Self:
        """The same model under a module of its own, over the same tensors (:mod:`.shared_tensors`)."""

    @property
    def explained_part(self) -> Any:
        """The ``torch.nn.Module`` whose weights a saliency map must depend on."""

    def crops(self, prompt: SlicePrompt, shape: tuple[int, int], spacing_mm: tuple[float, float]) -> tuple[Crop, ...]:
        """Candidate crops for `prompt`, narrow to wide; the predicted IoU decides among them."""

    def encode(self, images: NDArray[np.float32]) -> Any:
        """Embed (B, size, size) crops of windowed intensities in [0, 1]; returns torch tensors, batch first."""

    def decode(
        self,
        embedding: Any,
        prompt: SlicePrompt,
        *,
        previous_logits: NDArray[np.float32] | None = None,
        samples: int = 0,
        seed: int = 0,
    ) -> Decoded:
        """Decode one prompt on one embedded crop.

        Parameters
        ----------
        embedding
            Of one crop, as :meth:`encode` returns it.
        prompt : SlicePrompt
            In model pixels.
        previous_logits : (size, size) float32, optional
            Logits of an earlier prediction on this slice.
        samples : int
            Number of passes with dropout; 0 for one deterministic prediction.
        seed : int
            Seed of the dropout. The same seed drops the same channels on every slice, so that pass t is one coherent
            structure through the volume.
        """

    def decode_each(
        self,
        embedding: Any,
        prompts: Sequence[SlicePrompt],
        previous_logits: Sequence[NDArray[np.float32] | None],
        *,
        passes: Sequence[int] | None = None,
        seed: int = 0,
    ) -> Decoded:
        """Decode several prompts, on one embedding each or all on one embedding.

        Parameters
        ----------
        embedding
            Of as many crops as there are prompts, or of one.
        prompts : sequence of SlicePrompt
            In model pixels. With `passes`, all of one kind: all with a box, or all without, and so on.
        previous_logits : sequence of (size, size) float32 or None
            Logits of an earlier prediction, one entry for each prompt.
        passes : sequence of int, optional
            Number of passes with dropout for each prompt; no two passes drop the same channels. None for deterministic
            predictions.
        seed : int
            Seed of the dropout.

        Returns
        -------
        Decoded
            One prediction for each prompt, or all passes of the first prompt, then those of the second, and so on.
        """

    def saliency_graph(
        self,
        image: NDArray[np.float32],
        embedding: Any,
        prompt: SlicePrompt,
        *,
        previous_logits: NDArray[np.float32] | None = None,
        part: Any | None = None,
    ) -> SaliencyGraph:
        """The graph from a (size, size) crop or its embedding to the logits; `part` replaces `explained_part`."""


@runtime_checkable
class ModelWithMemory(PromptableModel, Protocol):
    """A model that attends to slices it predicted before (:attr:`SlicePrompt.memory`) and offers candidate masks.

    All prompts of one call must have equally many remembered slices.
    """

    candidates: int
    """Number of candidate masks for an ambiguous prompt: a box or a single click."""

    def remember(self, embedding: Any, mask: NDArray[np.float32], *, prompted: bool) -> Any:
        """Compute the memory tokens of one predicted slice.

        Parameters
        ----------
        embedding
            Of its crop, as :meth:`PromptableModel.encode` returns it.
        mask : (size, size) float32
            Predicted probability, in model pixels of the same crop.
        prompted : bool
            Whether the user prompted the slice; otherwise its mask was propagated.
        """


class VolumeSegmenter(Protocol):
    """One study under a :class:`VolumeModel`."""

    def segment(self, prompts: Sequence[Prompt], *, progress: Progress | None = None) -> NDArray[np.bool_]:
        """The (K, J, I) mask that all prompts in their order lead to.

        Raises
        ------
        PromptError
            If the model cannot be told one of them.
        ModelServerError
            If the model runs elsewhere and cannot be reached.
        """


@runtime_checkable
class VolumeModel(Protocol):
    """A model that takes the prompts of a whole volume and gives its mask, without predictions by slice."""

    name: str
    weights_sha256: str
    """What is known of the weights, hashed."""
    default_window: str
    """Window in which a CT is shown; the model itself gets stored values."""

    @property
    def engine(self) -> str:
        """As :attr:`PromptableModel.engine`; "auto" where a server chooses."""

    @property
    def temperature(self) -> float:
        """As :attr:`PromptableModel.temperature`; 1."""

    def open_volume(self, volume: highdicom.Volume) -> VolumeSegmenter:
        """Begin to segment a study."""
