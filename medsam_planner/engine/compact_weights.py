"""The weights file of the compact model: float16 tensors, and metadata to rebuild the network that they belong to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsam_planner.errors import WeightsError
from medsam_planner.io.files import write_whole

if TYPE_CHECKING:
    from medsam_planner.engine.compact_network import CompactNetwork
    from medsam_planner.engine.memory_network import MemoryNetwork

__all__ = [
    "FORMAT",
    "FORMAT_WITHOUT_MEMORY",
    "annotate_weights",
    "read_metadata",
    "read_weights",
    "save_weights",
    "weights_format",
    "write_tensors",
]

FORMAT = "medsam-planner-compact-3"
"""Format name of a network with a memory, as training writes it."""
FORMAT_WITHOUT_MEMORY = "medsam-planner-compact-2"
"""Format name of a network without a memory, which is still read."""
METADATA_KEY = "medsam_planner"
"""Key of the safetensors metadata under which all metadata is stored as JSON."""


def save_weights(
    network: CompactNetwork | MemoryNetwork, path: Path, *, trained_on: list[str], notes: dict[str, str] | None = None
) -> str:
    """Write float16 weights and the metadata to rebuild the network; return the file's SHA-256.

    Parameters
    ----------
    network : CompactNetwork or MemoryNetwork
        The network to save.
    path : Path
        Path of the safetensors file.
    trained_on : list of str
        Every case or kind of sample that the weights were trained on.
    notes : dict, optional
        Further metadata (versions, steps, seed), as strings.
    """
    import torch

    tensors = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }
    metadata = {
        "format": FORMAT if network.candidates > 1 else FORMAT_WITHOUT_MEMORY,
        "architecture": json.dumps(network.architecture.to_dict()),
        "input_size": str(network.architecture.size),
        "trained_on": json.dumps(trained_on),
        **(notes or {}),
    }
    return write_tensors(path, tensors, metadata)


def annotate_weights(path: Path, notes: dict[str, str]) -> str:
    """Add metadata that is measured after training, such as ``temperature``; return the new SHA-256.

    Raises
    ------
    WeightsError
        If the file is absent, damaged or of another format.
    """
    tensors, metadata = _read(path)
    return write_tensors(path, tensors, metadata | notes)


def write_tensors(path: Path, tensors: dict[str, Any], metadata: dict[str, str]) -> str:
    """Write tensors and metadata, whole or not at all; return the SHA-256 of the file."""
    from safetensors.torch import save

    # One key: the library writes several keys in an order that changes between runs.
    content = save(tensors, metadata={METADATA_KEY: json.dumps(metadata, sort_keys=True)})
    write_whole(path, content)
    return hashlib.sha256(content).hexdigest()


def weights_format(path: Path) -> str:
    """:data:`FORMAT` or :data:`FORMAT_WITHOUT_MEMORY`, as a weights file says.

    Raises
    ------
    WeightsError
        If the file is absent, damaged or of another format.
    """
    return _known_metadata(path)["format"]


def read_weights(path: Path) -> tuple[CompactNetwork | MemoryNetwork, dict[str, str]]:
    """Rebuild the network of a weights file.

    Returns
    -------
    CompactNetwork or MemoryNetwork, dict of str to str
        The network with its weights, and the file's metadata.

    Raises
    ------
    WeightsError
        If the file is absent, damaged, of another format, or does not fit the architecture it names.
    """
    from medsam_planner.engine.compact_network import CompactArchitecture, CompactNetwork
    from medsam_planner.engine.memory_network import MemoryArchitecture, MemoryNetwork

    tensors, metadata = _read(path)
    values = json.loads(metadata["architecture"])
    entries: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    network: CompactNetwork | MemoryNetwork
    if metadata["format"] == FORMAT:
        network = MemoryNetwork(MemoryArchitecture(**_known(entries, MemoryArchitecture)))
    else:
        network = CompactNetwork(CompactArchitecture(**_known(entries, CompactArchitecture)))
    # Batch counters are not saved, and not needed for predictions.
    expected = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    misfits = sorted(set(expected) ^ set(tensors))
    misfits += [name for name in expected if name in tensors and expected[name].shape != tensors[name].shape]
    if misfits:
        raise WeightsError(f"{path} does not fit the architecture it names, first at {misfits[0]!r}. Fetch it again.")
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
    return network, metadata


def _known(entries: dict[str, Any], kind: type) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in entries.items() if name in names}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors as they are stored, and metadata."""
    from safetensors.torch import load_file

    metadata = _known_metadata(path)
    return load_file(path), metadata


def _known_metadata(path: Path) -> dict[str, str]:
    metadata = read_metadata(path)
    if metadata.get("format") not in (FORMAT, FORMAT_WITHOUT_MEMORY):
        raise WeightsError(f"Expected weights of format {FORMAT!r}, {path} says {metadata.get('format')!r}.")
    return metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata that :func:`write_tensors` wrote; empty for a file of another origin.

    Raises
    ------
    WeightsError
        If the file is absent or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError(f"Expected weights of the compact model at {path}, found nothing. Check the path.")
    try:
        with safe_open(path, framework="numpy") as handle:
            written = dict(handle.metadata() or {})
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is no readable safetensors file ({error}). Fetch or train the weights again."
        ) from error
    try:
        metadata: dict[str, str] = json.loads(written.get(METADATA_KEY, "{}"))
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path}: its metadata is not JSON ({error}). Fetch the weights again.") from error
    return metadata
