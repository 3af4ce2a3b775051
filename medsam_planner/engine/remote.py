"""A server of the nnInteractive protocol as a model: it gets the image once and every prompt in its order.

The server's mask depends on the prompts and on what it remembers of them, so a log is said to it from the beginning,
or from where two logs part. It knows array axes and their spacing, and no patient.
"""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.engine_name import AUTO
from medsam_planner.engine.remote_address import PREFIX
from medsam_planner.errors import ModelServerError, PromptError
from medsam_planner.geometry import acquisition_axis, spacing_mm
from medsam_planner.progress import Progress, track
from prompts import Box, Click, Edit, InitialMask, Prompt, Scribble
from prompts.affine import nearest_index
from prompts.geometry import box_extent, click_index, scribble_indices

__all__ = ["RemoteModel", "RemoteVolume"]


class RemoteModel:
    """A model behind the address of a server. Its key is read from ``NN_INTERACTIVE_API_KEY``.

    Parameters
    ----------
    address : str
        For example ``"http://127.0.0.1:1527"``.

    Raises
    ------
    ModelServerError
        If the server does not answer, refuses, or has no place.
    """

    default_window = "soft-tissue"
    engine = AUTO
    """Its server chooses."""
    temperature = 1.0

    def __init__(self, address: str) -> None:
        self.address = address
        self.name = f"{PREFIX}{address}"
        client = self.connect()
        client.close()
        told = {
            "interactions": client.supported_interactions,
            "licence": client.license,
            "version": client.INFERENCE_SESSION_VERSION,
            "thickness": client.preferred_scribble_thickness,
        }
        self.weights_sha256 = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()

    def open_volume(self, volume: highdicom.Volume) -> RemoteVolume:
        """Begin to segment a study. A place on the server is taken with the first prompt."""
        return RemoteVolume(self, volume)

    def connect(self) -> Any:
        """A client that holds a place on the server.

        Raises
        ------
        ModelServerError
        """
        from nnInteractive.inference.remote import nnInteractiveRemoteInferenceSession

        try:
            with self.telling():
                return nnInteractiveRemoteInferenceSession(self.address)
        except (KeyError, json.JSONDecodeError) as error:
            raise ModelServerError(
                f"What answers at {self.address} does not speak the nnInteractive protocol. Check the address: that of "
                "medsam-planner serve ends in /nninteractive."
            ) from error

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Tell errors of the connection as ours."""
        import httpx
        from nnInteractive.inference.remote import ServerAtCapacityError, SessionExpiredError

        try:
            yield
        except SessionExpiredError as error:
            raise ModelServerError(
                f"The server {self.address} has ended the session: {error}. Ask again; the prompts are then said to it "
                "anew."
            ) from error
        except ServerAtCapacityError as error:
            raise ModelServerError(f"The server {self.address} has no place left: {error}. Try again later.") from error
        except httpx.HTTPStatusError as error:
            raise ModelServerError(f"The server {self.address} refuses: {_detail(error.response)}") from error
        except httpx.HTTPError as error:
            raise ModelServerError(
                f"The server {self.address} does not answer: {error}. Check that it runs and that its address is right."
            ) from error


class RemoteVolume:
    """A study on the server.

    Parameters
    ----------
    model : RemoteModel
    volume : highdicom.Volume
    """

    def __init__(self, model: RemoteModel, volume: highdicom.Volume) -> None:
        self._model = model
        self._volume = volume
        self._affine = volume.affine
        self._shape = tuple(int(size) for size in volume.spatial_shape)
        self._client: Any = None
        self._buffer = np.zeros(self._shape, dtype=np.uint8)
        self._said: list[Prompt] = []
        """What the server has been told and remembers."""

    def segment(self, prompts: Sequence[Prompt], *, progress: Progress | None = None) -> NDArray[np.bool_]:
        """The mask of the prompts in their order; only what differs from the last call is said anew.

        Parameters
        ----------
        prompts : sequence of Prompt
        progress : Progress, optional
            Told the prompts; may cancel between two.

        Returns
        -------
        (K, J, I) bool

        Raises
        ------
        PromptError
            If the server cannot be told one of them.
        ModelServerError
            If it does not answer, refuses, is full, or has ended the session.
        """
        for prompt in prompts:
            self._require_sayable(prompt)
        try:
            with self._model.telling():
                client = self._connected()
                common = sum(1 for _ in takewhile(_are_equal, zip(self._said, prompts, strict=False)))
                if common == len(self._said) - 1 and client.supports_undo and client.undo():
                    self._said.pop()
                if common < len(self._said):
                    client.reset_interactions()
                    self._said = []
                for prompt in track(prompts[len(self._said) :], "prompts on the server", progress):
                    self._say(client, prompt)
                    self._said.append(prompt)
                client._predict()  # what took too long for an answer; nothing elsewhere
        except ModelServerError:
            self._disconnect()
            raise
        return self._within_boxes(prompts)

    def _connected(self) -> Any:
        if self._client is None:
            client = self._model.connect()
            # The client's own thread keeps it alive, so nobody else would give the place back.
            self._finalizer = weakref.finalize(self, client.close)
            client.set_image(np.asarray(self._volume.array)[None], {"spacing": spacing_mm(self._affine).tolist()})
            client.set_target_buffer(self._buffer)
            self._buffer[:] = 0
            self._client, self._said = client, []
        return self._client

    def _disconnect(self) -> None:
        if self._client is not None:
            self._finalizer()
        self._client, self._said = None, []

    def _require_sayable(self, prompt: Prompt) -> None:
        if isinstance(prompt, Click | Box) and prompt.candidate:
            raise PromptError(
                "Expected prompts without a choice of candidates: this model gives one mask. Undo the choice."
            )

    def _say(self, client: Any, prompt: Prompt) -> None:
        match prompt:
            case Click():
                index = nearest_index(click_index(prompt, self._affine)).tolist()
                client.add_point_interaction(index, prompt.positive)
            case Box():
                client.add_bbox_interaction(self._sides(client, prompt), True)
            case Scribble():
                self._say_stroke(client, prompt)
            case InitialMask() | Edit():
                # The server is told what is there with these voxels set or cleared.
                mask = self._buffer != 0 if isinstance(prompt, Edit) else np.zeros(self._shape, dtype=bool)
                (k, j, i), painted = prompt.mask.on_grid(self._affine, self._shape)
                part = mask[k : k + painted.shape[0], j : j + painted.shape[1], i : i + painted.shape[2]]
                part[painted] = isinstance(prompt, InitialMask) or prompt.positive
                if not client.supports_initial_label:
                    raise PromptError(f"The server {self._model.address} takes no masks, so neither edits. Undo them.")
                client.add_initial_seg_interaction(mask.astype(np.uint8), run_prediction=False)

    def _sides(self, client: Any, box: Box) -> list[list[int]]:
        """Half-open; the middle slice of a 3D box where the server takes boxes on one slice only."""
        extent = box_extent(box, self._affine, self._shape)
        sides = [[int(a), int(b) + 1] for a, b in zip(extent.low_index, extent.high_index, strict=True)]
        if extent.axis is None and not client.supported_interactions.get("bbox3d"):
            axis = acquisition_axis(self._affine)
            middle = sum(sides[axis]) // 2
            sides[axis] = [middle, middle + 1]
        return sides

    def _within_boxes(self, prompts: Sequence[Prompt]) -> NDArray[np.bool_]:
        """The mask, on the slices that its 3D boxes allow."""
        mask = self._buffer != 0
        boxes = [box_extent(one, self._affine, self._shape) for one in prompts if isinstance(one, Box)]
        solid = [one for one in boxes if one.axis is None]
        if solid and not self._client.supported_interactions.get("bbox3d"):
            axis = acquisition_axis(self._affine)
            across = np.moveaxis(mask, axis, 0)
            across[: min(int(one.low_index[axis]) for one in solid)] = False
            across[max(int(one.high_index[axis]) for one in solid) + 1 :] = False
        return mask

    def _say_stroke(self, client: Any, scribble: Scribble) -> None:
        """Draw a line as thick as the server wants strokes, in the plane it lies in."""
        voxels = scribble_indices(scribble, self._affine, self._shape)
        across = int(np.argmin(np.ptp(voxels, axis=0)))
        reach = [
            0 if axis == across else int(wide) // 2 for axis, wide in enumerate(client.preferred_scribble_thickness)
        ]
        low = np.maximum(voxels.min(axis=0) - reach, 0)
        high = np.minimum(voxels.max(axis=0) + 1 + reach, self._shape)
        stroke = np.zeros(high - low, dtype=np.uint8)
        for voxel in voxels - low:
            stroke[tuple(slice(max(at - far, 0), at + far + 1) for at, far in zip(voxel, reach, strict=True))] = 1
        bounds = [[int(a), int(b)] for a, b in zip(low, high, strict=True)]
        client.add_scribble_interaction(stroke, scribble.positive, interaction_bbox=bounds)


def _are_equal(pair: tuple[Prompt, Prompt]) -> bool:
    return pair[0] == pair[1]


def _detail(response: Any) -> str:
    if response.status_code == 401:
        return "the key is missing or wrong. Set the environment variable NN_INTERACTIVE_API_KEY to the server's token."
    try:
        told = response.json().get("detail")
    except (ValueError, AttributeError):
        told = None
    return f"{told} ({response.status_code})" if isinstance(told, str) else f"it answers with {response.status_code}."
