"""Image encoders: the same network computed by torch, OpenVINO or ONNX Runtime.

Only the encoder is exchanged. Prompts and masks are computed by torch, where dropout and gradients are. Saliency needs
no encoder: its graph begins at the embedding.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.engine_name import REFERENCE, EngineName
from medsam_planner.engine.threads import compute_threads
from medsam_planner.errors import WeightsError, require_extra

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Encoder", "OnnxEncoder", "OpenVinoEncoder", "TorchEncoder", "computes_bf16", "exported_encoder"]


class Encoder(Protocol):
    """Embeds the images of one network."""

    name: EngineName

    def embed(self, pixels: NDArray[np.float32], network: Any) -> NDArray[np.float32]:
        """Embed (B, 3, N, N) pixels; (B, C, n, n). `network` is the torch encoder with the same weights."""


class TorchEncoder:
    """The network itself.

    Parameters
    ----------
    precision : {"fp32", "bf16"}
        bf16 only where the processor computes it natively.

    Raises
    ------
    WeightsError
        If bf16 is asked for and the processor does not compute it.
    """

    def __init__(self, precision: str = "fp32") -> None:
        self.name = EngineName("torch", precision)
        if precision == "bf16" and not computes_bf16():
            raise WeightsError(
                f"Expected a processor with bfloat16 instructions for the engine {self.name}; this one has none, and "
                f"would be slower than with {REFERENCE}. Use --engine {REFERENCE}."
            )

    def embed(self, pixels: NDArray[np.float32], network: nn.Module) -> NDArray[np.float32]:
        """See :class:`Encoder`."""
        import torch

        is_reduced = self.name.precision == "bf16"
        # A copy in torch's aligned memory: on numpy's, kernels may round differently from run to run.
        images = torch.from_numpy(pixels).clone()
        with (
            compute_threads(processors()),
            torch.no_grad(),
            torch.autocast("cpu", torch.bfloat16) if is_reduced else nullcontext(),
        ):
            found: NDArray[np.float32] = network(images).last_hidden_state.float().numpy()
            return found


class OpenVinoEncoder:
    """An export under OpenVINO. What 8 bits leave in float is float32, with which masks are nearer to torch's than with
    bfloat16.

    Raises
    ------
    MissingDependencyError
        If the extra ``openvino`` is not installed.
    WeightsError
        If OpenVINO cannot read the file.
    """

    def __init__(self, path: Path, name: EngineName) -> None:
        require_extra("openvino", f"The engine {name}")
        import openvino

        self.name = name
        hints = {
            "INFERENCE_PRECISION_HINT": "bf16" if name.precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": processors(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self._compiled: Any = openvino.Core().compile_model(path, "CPU", hints)
        except RuntimeError as error:
            raise WeightsError(_unreadable(path, name, error)) from error

    def embed(self, pixels: NDArray[np.float32], network: Any) -> NDArray[np.float32]:
        """See :class:`Encoder`. Each call has a request of its own, so threads may share the encoder."""
        request = self._compiled.create_infer_request()
        found = []
        for one in pixels:
            request.infer({0: np.ascontiguousarray(one[None])})
            found.append(request.get_output_tensor(0).data.copy())
        return np.concatenate(found)


class OnnxEncoder:
    """An export under ONNX Runtime, on the processor.

    Raises
    ------
    MissingDependencyError
        If the extra ``onnx`` is not installed.
    WeightsError
        If ONNX Runtime cannot read the file.
    """

    def __init__(self, path: Path, name: EngineName) -> None:
        require_extra("onnx", f"The engine {name}")
        import onnxruntime

        self.name = name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = processors()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no base of their own but Exception
            raise WeightsError(_unreadable(path, name, error)) from error

    def embed(self, pixels: NDArray[np.float32], network: Any) -> NDArray[np.float32]:
        """See :class:`Encoder`."""
        return np.concatenate(
            [self._session.run(None, {"pixels": np.ascontiguousarray(one[None])})[0] for one in pixels]
        )


def exported_encoder(path: Path, name: EngineName) -> Encoder:
    """The encoder of an exported file.

    Raises
    ------
    MissingDependencyError, WeightsError
        As the classes.
    """
    kind = OpenVinoEncoder if name.engine == "openvino" else OnnxEncoder
    return kind(path, name)


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def computes_bf16() -> bool:
    """Whether the processor has instructions for bfloat16 (AVX-512 BF16 or AMX), so that it is faster than float32."""
    import torch

    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(asked()) if asked is not None else False


def _unreadable(path: Path, name: EngineName, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return (
        f"{path} cannot be run by the engine {name} of this machine ({reason}). Make it anew with `medsam-planner "
        f"weights optimise`, or use --engine {REFERENCE}."
    )
