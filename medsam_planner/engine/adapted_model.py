"""The model of adapted weights: a base model, found by its hash, with the changes of the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from medsam_planner.engine.adapted_weights import AdaptedCard, apply_changes, read_adapted
from medsam_planner.engine.encoders import Encoder
from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.errors import WeightsError

__all__ = ["open_adapted"]


def open_adapted(
    path: Path,
    *,
    sha256: str,
    bases: Sequence[Path],
    hash_of: Callable[[Path], str],
    encoder: Encoder | None = None,
) -> PromptableModel:
    """The base model with the changes of a file.

    Its ``weights_sha256`` is that of the file, which names the hash of its base. So a calibration of the base refuses
    it, and one of it refuses the base.

    Parameters
    ----------
    path : Path
        The file of adapted weights.
    sha256 : str
        Of this file.
    bases : sequence of Path
        Where base weights may be; the folder of `path` is searched after them.
    hash_of : callable
        SHA-256 of a file.
    encoder : Encoder, optional
        What computes the image encoder of MedSAM, which no change touches.

    Raises
    ------
    WeightsError
        If the base weights are not there, or the changes do not fit them.
    """
    changes, card, metadata = read_adapted(path)
    name = f"{card.base_name}, adapted to {card.label}"
    base = _base(path, card, bases, hash_of)
    if card.kind == "compact":
        from medsam_planner.engine.memory_model import open_adapted_compact

        return open_adapted_compact(base, changes, metadata, name=name, sha256=sha256)
    from medsam_planner.engine.medsam import MedSam
    from medsam_planner.engine.medsam_weights import network_from

    network = network_from(base)
    apply_changes(network, changes, source=str(path))
    model = MedSam(network, weights_sha256=sha256, name=name, encoder=encoder, encoder_sha256=card.base_sha256)
    model.metadata = metadata
    return model


def _base(path: Path, card: AdaptedCard, bases: Sequence[Path], hash_of: Callable[[Path], str]) -> Path:
    seen = []
    beside = [file for file in sorted(path.parent.iterdir()) if file.suffix in (".safetensors", ".pth", ".bin")]
    for file in (*bases, *beside):
        if file.is_file() and file != path:
            found = hash_of(file)
            if found == card.base_sha256:
                return file
            seen.append(f"{file.name} ({found[:12]}…)")
    raise WeightsError(
        f"{path} changes the weights {card.base_name} with SHA-256 {card.base_sha256[:12]}…, which are not here: found "
        f"{', '.join(seen) or 'none'}. Put that file beside it, or run `medsam-planner adapt` again with these weights."
    )
