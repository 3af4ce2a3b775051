"""What every promptable model offers: encode a slice once, decode prompts often.

Coordinates on a slice are (row, column) in pixels of the array it is given, fractional, 0 at the centre of the first
pixel. The slice of a volume across array axis `a` has the two other axes, in their order, as rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Crop",
    "Decoded",
    "ModelWithMemory",
    "PromptableModel",
    "RememberedSlice",
    "SaliencyGraph",
    "SlicePrompt",
    "box_around",
]


@dataclass(frozen=True, slots=True, eq=False)
class RememberedSlice:
    """An answered slice as a model with a memory keeps it, and where it lies as seen from the asked slice.

    Lengths are in pixels of the asked slice along its rows, or in model pixels once the prompt is in model pixels.
    """

    tokens: Any
    """Of :meth:`ModelWithMemory.remember`; nobody else looks into them."""
    centre_rc: tuple[float, float]
    """Middle of the field that was remembered, as :attr:`Crop.centre_rc`."""
    side: float
    """Of that field."""
    away: float
    """Distance between the two slices."""
    changed: Callable[[Any], Any] | None = None
    """Gives the tokens of the same slice under an :class:`~medsam_planner.engine.stochastic_passes.ImageChange`."""


@dataclass(frozen=True, slots=True, eq=False)
class SlicePrompt:
    """What is asked of one slice, in (row, column) pixels of that slice."""

    box: NDArray[np.float64] | None = None
    """(4,) first row, first column, last row, last column, or None."""
    points: NDArray[np.float64] | None = None
    """(N, 2), or None."""
    labels: NDArray[np.bool_] | None = None
    """(N,) True where the point is inside the structure."""
    mask: NDArray[np.float32] | None = None
    """(H, W) probability propagated over from a neighbouring slice or an earlier round, or None."""
    reference_slice: NDArray[np.float32] | None = None
    """(H, W) intensities of the slice that `mask` was drawn on, scaled as the slice asked about is, or None: with the
    mask it shows what the structure looks like."""
    padding_px: float | None = None
    """Model pixels by which the box of a propagated mask is grown where the model asks for it by itself, None for its
    usual padding; with a box alone, by which that box is grown."""
    memory: tuple[RememberedSlice, ...] = ()
    """Other slices that were answered, in the order of their indices; for a :class:`ModelWithMemory` alone."""
    answer: int | None = None
    """Which of a model's several answers is meant; None for the one it gives by itself."""

    def is_empty(self) -> bool:
        """Whether nothing was said of the slice itself."""
        return self.box is None and (self.points is None or len(self.points) == 0) and self.mask is None


def box_around(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(4,) first row, first column, last row, last column of a non-empty (H, W) mask, as a prompt's box is given."""
    rows, columns = np.nonzero(mask)
    return np.array([rows.min(), columns.min(), rows.max(), columns.max()], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Crop:
    """The square field a model looks at, in pixels of the slice: its centre and its side along rows and columns.

    `side_rc` differs between rows and columns on anisotropic slices, so that the field is square in mm.
    """

    centre_rc: tuple[float, float]
    side_rc: tuple[float, float]
    size: int
    """Side in model pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Answer of the decoder on the model's own pixels."""

    logits: NDArray[np.float32]
    """(S, size, size): one deterministic map when `samples` was 0, else one per stochastic run."""
    quality: NDArray[np.float32]
    """(S,) predicted IoU in [0, 1]."""


@dataclass(frozen=True, slots=True, eq=False)
class SaliencyGraph:
    """A differentiable path to one answer, for Grad-CAM."""

    inputs: Any
    """(1, C, h, w) tensor that `forward` takes: the network's image input, or the cached embedding itself."""
    forward: Callable[[Any], Any]
    """(n, C, h, w) → (n, size, size) logits, the same prompt for all."""
    layer: Any | None
    """NCHW layer to explain; None where `inputs` is already the embedding."""


class PromptableModel(Protocol):
    """A model behind the engine. Implementations hold their torch module in ``network``."""

    name: str
    weights_sha256: str
    size: int
    """Side of the model's input in pixels."""
    default_window: str
    """Name of the CT window used when the person names none (see ``medsam_planner.io.intensity``)."""
    paddings_px: tuple[float, ...]
    """Candidate paddings, in model pixels, of a propagated box; the default one first. Empty where the model uses
    none."""
    reads_reference_slice: bool
    """Whether the model reads :attr:`SlicePrompt.reference_slice`; where it does not, the slice is left out of
    prompts."""

    metadata: Mapping[str, str]
    """What the weights file says of itself, such as ``trained_on`` (JSON); empty where it says nothing."""

    @property
    def tensors_sha256(self) -> str:
        """Hash of the weights alone: metadata that came later leaves it as it was."""

    @property
    def temperature(self) -> float:
        """What logits are divided by where they tell how sure the model is; 1 where none was fitted."""

    @property
    def network(self) -> Any:
        """The ``torch.nn.Module``."""

    @property
    def explained_part(self) -> Any:
        """The ``torch.nn.Module`` whose weights a saliency map must depend on."""

    def crops(self, prompt: SlicePrompt, shape: tuple[int, int], spacing_mm: tuple[float, float]) -> tuple[Crop, ...]:
        """Fields worth looking at for `prompt`; several make a ladder from which predicted quality picks."""

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
        """Answer `prompt` (in model pixels) on one embedded crop (batch of 1).

        `samples` > 0 runs that many passes with dropout active in one batch. The same `seed` drops the same channels on
        every slice, so that sample t is one coherent structure through the volume.
        """

    def decode_each(
        self,
        embedding: Any,
        prompts: Sequence[SlicePrompt],
        previous_logits: Sequence[NDArray[np.float32] | None],
        *,
        runs: Sequence[int] | None = None,
        seed: int = 0,
    ) -> Decoded:
        """Answer each of several prompts, on embeddings of as many crops or on one for all.

        Without `runs` the certain answers; else that many runs of each prompt with dropout active, one prompt's after
        the other's, of which no two drop the same. The prompts are then of one kind: all with a box, and so on.
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
        """The path from a (size, size) crop or its embedding to the answer; `part` replaces `explained_part`."""


@runtime_checkable
class ModelWithMemory(PromptableModel, Protocol):
    """A model that reads slices answered before (:attr:`SlicePrompt.memory`) and offers several answers to a prompt.

    The prompts of one call remember equally many slices.
    """

    answers: int
    """How many masks it offers where a prompt may mean several things: a box, or a lone click."""

    def remember(self, embedding: Any, mask: NDArray[np.float32], *, prompted: bool) -> Any:
        """What is kept of one answered slice.

        Parameters
        ----------
        embedding
            Of its field, as :meth:`PromptableModel.encode` gives it.
        mask : (size, size) float32
            Probability of its answer, in model pixels of the same field.
        prompted : bool
            Whether a person prompted it; else it was propagated to.
        """
