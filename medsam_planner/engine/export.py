"""From a MedSAM network to a file that OpenVINO and ONNX Runtime compute: ONNX, as it is or with weights in 8 bits.

OpenVINO gets weights and activations in 8 bits with ranges from images (static), ONNX Runtime ranges that it takes from
each image itself (dynamic): of the two forms the faster one in each library, at the same distance from float32
(`python -m benchmarks.engines`). Only products with weights are quantised; attention between tokens, normalisation and
convolutions stay in float.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import require_extra

if TYPE_CHECKING:
    from torch import nn

__all__ = ["export_encoder", "quantise"]

_OPSET = 17
"""The first with layer normalisation as one operation."""


def export_encoder(encoder: nn.Module, size: int, path: Path) -> Path:
    """Write an image encoder as ONNX in float32, for one slice.

    Parameters
    ----------
    encoder : torch.nn.Module
        ``SamModel.vision_encoder``.
    size : int
        Side of its input in pixels.
    path : Path
        File to write; one that is only partly written is left to the caller.

    Raises
    ------
    MissingDependencyError
        If the extra ``onnx`` is not installed.
    """
    require_extra("onnx", "Exporting an image encoder")
    import torch

    class Embedding(torch.nn.Module):
        """The encoder with one tensor as its output."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            embedding: torch.Tensor = self.encoder(pixels).last_hidden_state
            return embedding

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes become constants, as they shall: the input has one size
        torch.onnx.export(
            Embedding().eval(),
            (torch.zeros(1, 3, size, size),),
            path,
            input_names=["pixels"],
            output_names=["embedding"],
            opset_version=_OPSET,
            dynamo=False,
        )
    return path


def quantise(source: Path, path: Path, engine: str, pixels: Iterable[NDArray[np.float32]]) -> Path:
    """Write an exported encoder with weights in 8 bits.

    Parameters
    ----------
    source : Path
        Result of :func:`export_encoder`.
    path : Path
        File to write.
    engine : str
        "openvino" or "onnx".
    pixels : iterable of (1, 3, N, N) float32
        Network inputs from which the ranges of activations are taken; needed for OpenVINO alone.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    chosen = {"nodes_to_quantize": _products_with_weights(source), "weight_type": QuantType.QInt8, "per_channel": True}
    with _without_advice(), tempfile.TemporaryDirectory(dir=path.parent, prefix=".quantise-") as folder:
        target = Path(folder) / "encoder.onnx"
        if engine == "onnx":
            quantize_dynamic(source, target, **chosen)
        else:
            quantize_static(
                source,
                target,
                _reader(pixels),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["MatMul"],
                activation_type=QuantType.QUInt8,
                **chosen,
            )
        target.replace(path)
    return path


@contextmanager
def _without_advice() -> Iterator[None]:
    """Leave out what the quantiser tells its caller by the root logger: that the graph could be tidied beforehand."""
    root = logging.getLogger()
    root.addFilter(_nothing)
    try:
        yield
    finally:
        root.removeFilter(_nothing)


def _nothing(_record: logging.LogRecord) -> bool:
    return False


def _products_with_weights(path: Path) -> list[str]:
    """Names of the matrix products of which one factor is a weight."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    constants = {one.name for one in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    return [node.name for node in graph.node if node.op_type == "MatMul" and constants.intersection(node.input)]


def _reader(pixels: Iterable[NDArray[np.float32]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """Gives one image after the other."""

        def __init__(self) -> None:
            self.images: Iterator[NDArray[np.float32]] = iter(pixels)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self.images, None)
            return None if image is None else {"pixels": image}

    return Reader()
