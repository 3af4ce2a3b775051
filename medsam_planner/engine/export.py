"""From a MedSAM network to a file that OpenVINO and ONNX Runtime compute: ONNX, as it is or with weights in 8 bits.

OpenVINO gets weights and activations in 8 bits with ranges from images (static), ONNX Runtime ranges that it takes from
each image itself (dynamic): of the two forms the faster one in each library, at the same distance from float32
(`python -m benchmarks.engines`). Only products with weights are quantised; attention between tokens, normalisation and
convolutions stay in float, and so does what a product gives.

The static ranges are measured by torch and put into the graph here. ONNX Runtime's own static quantiser keeps every
activation of the float network at once: 13 GB for MedSAM's input, and it quantises results too.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import WeightsError, require_extra

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["activation_ranges", "export_encoder", "quantise_activations", "quantise_weights"]

_OPSET = 17
"""The first with layer normalisation as one operation."""
_ROOT = "encoder"


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
            self.add_module(_ROOT, encoder)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            embedding: torch.Tensor = encoder(pixels).last_hidden_state
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


def activation_ranges(encoder: nn.Module, pixels: Iterable[NDArray[np.float32]]) -> dict[str, tuple[float, float]]:
    """Smallest and largest input of every linear layer, by its name in the encoder.

    Parameters
    ----------
    encoder : torch.nn.Module
        ``SamModel.vision_encoder``.
    pixels : iterable of (1, 3, N, N) float32
        Network inputs.
    """
    import torch

    ranges: dict[str, tuple[float, float]] = {}

    def watch(name: str) -> Any:
        def note(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            low, high = (float(value) for value in torch.aminmax(inputs[0]))
            known = ranges.get(name, (0.0, 0.0))  # zero is among the numbers that 8 bits must hold exactly
            ranges[name] = min(known[0], low), max(known[1], high)

        return note

    hooks = [
        module.register_forward_pre_hook(watch(name))
        for name, module in encoder.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    try:
        with torch.no_grad():
            for image in pixels:
                encoder(torch.from_numpy(image))
    finally:
        for hook in hooks:
            hook.remove()
    return ranges


def quantise_activations(source: Path, path: Path, ranges: Mapping[str, tuple[float, float]]) -> Path:
    """Write an exported encoder whose linear layers take 8-bit inputs and weights, for OpenVINO.

    Parameters
    ----------
    source : Path
        Result of :func:`export_encoder`.
    path : Path
        File to write.
    ranges : mapping of str to (low, high)
        Result of :func:`activation_ranges`.

    Raises
    ------
    WeightsError
        If a linear layer of the network is not found in the export.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(source)
    graph = model.graph
    weights = {one.name: one for one in graph.initializer}
    nodes, missing = [], set(ranges)
    for node in graph.node:
        name = _layer_of(node.name)
        if node.op_type == "MatMul" and name in ranges and node.input[1] in weights:
            missing.discard(name)
            low, high = ranges[name]
            step = np.float32(max(high - low, 1e-8) / 255)
            zero = np.uint8(np.clip(np.rint(-low / step), 0, 255))
            values, steps = _in_8_bits(numpy_helper.to_array(weights[node.input[1]]))
            stem = f"quantised.{name}"
            constants = {
                "step": step,
                "zero": zero,
                "weight": values,
                "steps": steps,
                "zeros": np.zeros_like(steps, np.int8),
            }
            for part, value in constants.items():
                graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{stem}.{part}"))
            scale = [f"{stem}.step", f"{stem}.zero"]
            nodes += [
                helper.make_node("QuantizeLinear", [node.input[0], *scale], [f"{stem}.input"]),
                helper.make_node("DequantizeLinear", [f"{stem}.input", *scale], [f"{stem}.input.float"]),
                helper.make_node(
                    "DequantizeLinear",
                    [f"{stem}.weight", f"{stem}.steps", f"{stem}.zeros"],
                    [f"{stem}.weight.float"],
                    axis=1,
                ),
            ]
            graph.initializer.remove(weights.pop(node.input[1]))
            node.input[:] = [f"{stem}.input.float", f"{stem}.weight.float"]
        nodes.append(node)
    if missing:
        raise WeightsError(
            f"Expected every linear layer in the export, {len(missing)} are not found (first {min(missing)}): this "
            "torch exports them under other names. Use --engine onnx, or --precision bf16."
        )
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)
    return path


def quantise_weights(source: Path, path: Path) -> Path:
    """Write an exported encoder with 8-bit weights, whose inputs are quantised as they come, for ONNX Runtime."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(source).graph
    constants = {one.name for one in graph.initializer}
    chosen = [one.name for one in graph.node if one.op_type == "MatMul" and constants.intersection(one.input)]
    with _without_advice(), tempfile.TemporaryDirectory(dir=path.parent, prefix=".quantise-") as folder:
        target = Path(folder) / "encoder.onnx"
        quantize_dynamic(source, target, nodes_to_quantize=chosen, weight_type=QuantType.QInt8, per_channel=True)
        target.replace(path)
    return path


def _layer_of(node: str) -> str:
    """Name in the encoder of the layer that a node comes from: ``/encoder/layers.0/attn/qkv/MatMul`` → its path."""
    return node.removeprefix(f"/{_ROOT}/").rpartition("/")[0].replace("/", ".")


def _in_8_bits(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(inputs, outputs) weights → the same in steps, and the (outputs,) steps, which are symmetric about zero."""
    steps = np.maximum(np.abs(weight).max(axis=0), 1e-12).astype(np.float32) / np.float32(127)
    return np.clip(np.rint(weight / steps), -127, 127).astype(np.int8), steps


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
