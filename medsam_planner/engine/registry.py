"""Weights on this machine: where they are, whether their checksum is right, and the models loaded from them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from medsam_planner.engine.adapted_weights import is_adapted, read_card
from medsam_planner.engine.automatic_weights import is_automatic
from medsam_planner.engine.encoders import Encoder
from medsam_planner.engine.engine_name import AUTO, REFERENCE, EngineName
from medsam_planner.engine.exports import ChosenEngine, choose, encoder_for
from medsam_planner.engine.manifest import WeightsEntry, read_manifest, shipped_folder
from medsam_planner.engine.protocol import PromptableModel, VolumeModel
from medsam_planner.engine.remote_address import address_in
from medsam_planner.engine.weights_files import FOLDER_VARIABLE, hash_of, user_folder
from medsam_planner.errors import WeightsError, require_extra

__all__ = [
    "Verification",
    "WeightsRow",
    "WeightsState",
    "list_weights",
    "load_model",
    "open_model",
    "require_weights",
    "user_folder",
    "verify",
    "weights_entry",
    "weights_path",
]

_MODELS_KEPT = 2
"""Two models are compared in an evaluation; MedSAM takes 375 MB."""
_LOADED: OrderedDict[tuple[Path, str, str, str], PromptableModel] = OrderedDict()
_LOADING = threading.Lock()


class WeightsState(Enum):
    """State of a weights file."""

    SHIPPED = "shipped"
    FETCHED = "fetched"
    ABSENT = "absent"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of comparing a weights file with the manifest."""

    name: str
    state: WeightsState
    path: Path
    """Where the file is or should be."""
    expected_sha256: str
    found_sha256: str | None
    """None when the file is absent."""
    advice: str
    """What to do; empty when the checksum is right."""

    @property
    def is_intact(self) -> bool:
        """Whether the file exists with the expected checksum."""
        return self.found_sha256 == self.expected_sha256


@dataclass(frozen=True, slots=True)
class WeightsRow:
    """One row of the list of weights."""

    name: str
    state: WeightsState
    licence: str
    size_bytes: int | None
    """Size of the file; of the announced download where it is absent; None when neither is known."""
    input_size: int
    path: Path
    description: str


def weights_entry(name: str) -> WeightsEntry:
    """Manifest entry of `name`.

    Raises
    ------
    WeightsError
        If the manifest has no such name; lists those it has.
    """
    entries = read_manifest()
    if name not in entries:
        raise WeightsError(f"Expected one of the weights {', '.join(entries)}, or a path to weights; got {name!r}.")
    return entries[name]


def expected_path(entry: WeightsEntry) -> Path:
    """Path of the file of `entry`, whether or not it exists."""
    return shipped_folder() / entry.file if entry.is_shipped else user_folder() / entry.name / entry.file


def verify(name: str) -> Verification:
    """Compare the file of `name` with the checksum of the manifest.

    Raises
    ------
    WeightsError
        If the manifest has no such name. For an absent or damaged file a state is returned.
    """
    entry = weights_entry(name)
    path = expected_path(entry)
    found = hash_of(path) if path.is_file() else None
    if found is None:
        state, advice = WeightsState.ABSENT, absence_advice(entry)
    elif found != entry.sha256:
        mend = "reinstall medsam-planner" if entry.is_shipped else f"run `medsam-planner weights fetch {name}` again"
        what = "the file is damaged or another one"
        if found in entry.earlier_sha256:
            what = "these are the weights of an earlier version, which are loaded by their path and not by this name"
        state = WeightsState.DAMAGED
        advice = f"Expected SHA-256 {entry.sha256} of {path}, got {found}: {what}; {mend}."
    else:
        state, advice = (WeightsState.SHIPPED if entry.is_shipped else WeightsState.FETCHED), ""
    return Verification(name, state, path, entry.sha256, found, advice)


def absence_advice(entry: WeightsEntry) -> str:
    """How to get the absent weights of `entry`, with and without internet access."""
    path = expected_path(entry)
    if entry.is_shipped:
        return f"Weights '{entry.name}' should have come with the package at {path}; reinstall medsam-planner."
    return (
        f"Weights '{entry.name}' are not at {path}. Run `medsam-planner weights fetch {entry.name}` "
        f"({entry.size_mb:.0f} MB from the Hugging Face hub). Without a network: on another machine get the file "
        f"{entry.file} of https://huggingface.co/{entry.hub_id} (commit {entry.revision}), put it at {path} "
        f"(or set {FOLDER_VARIABLE} to a folder that holds {entry.name}/{entry.file}), "
        f"and check it with `medsam-planner weights verify {entry.name}`."
    )


def weights_path(name: str) -> Path:
    """Path of the existing file of `name`. Its checksum is not compared; see :func:`verify`.

    Raises
    ------
    WeightsError
        If the name is unknown, or the file is absent; says where to put it.
    """
    entry = weights_entry(name)
    path = expected_path(entry)
    if not path.is_file():
        raise WeightsError(absence_advice(entry))
    return path


def list_weights() -> tuple[WeightsRow, ...]:
    """All weights of the manifest with the state of their files. Each file is read to compare its checksum."""
    rows = []
    for entry in read_manifest().values():
        outcome = verify(entry.name)
        announced = None if entry.size_mb is None else round(entry.size_mb * 1e6)
        size = announced if outcome.found_sha256 is None else outcome.path.stat().st_size
        rows.append(
            WeightsRow(
                entry.name, outcome.state, entry.licence, size, entry.input_size, outcome.path, entry.description
            )
        )
    return tuple(rows)


def require_weights(name_or_path: str | Path, *, engine: str = AUTO) -> None:
    """Refuse weights that cannot be loaded, or not by an engine, without loading them.

    Raises
    ------
    MissingDependencyError
        If the model of a name needs an extra that is not installed.
    WeightsError
        If they are unknown or absent, or those of a name are damaged; or if the address of a server is none. If the
        engine that is named is unknown, or has no export of them.
    """
    if address_in(name_or_path) is not None:
        _require_no_engine(name_or_path, engine)
        require_extra("remote", "A model on another server")
        return
    if isinstance(name_or_path, str) and (entry := read_manifest().get(name_or_path)) is not None:
        if entry.model == "medsam":
            require_extra("medsam", f"The model {name_or_path}")
        outcome = verify(name_or_path)
        if not outcome.is_intact:
            raise WeightsError(outcome.advice)
    elif not Path(name_or_path).expanduser().exists():
        raise WeightsError(
            f"Expected one of the weights {', '.join(read_manifest())}, or a path to weights; "
            f"got {str(name_or_path)!r}, and no such file or folder exists."
        )
    if engine != AUTO:
        _engine(_located(name_or_path), engine)


def load_model(name_or_path: str | Path, *, engine: str = AUTO) -> PromptableModel:
    """Load a model by its name in the manifest, or from a path.

    A process reads and hashes each weights file once: the last :data:`_MODELS_KEPT` models are kept by path and
    SHA-256, and a file that changed on disk is read again. Every call returns a model with a network module of its own,
    whose tensors all calls share: hooks and dropout flags belong to the module, and sessions may work in different
    threads.

    Parameters
    ----------
    name_or_path : str or Path
        A name (its checksum is compared first), or a path: a ``.safetensors`` file of either model, adapted weights of
        ``medsam-planner adapt``, MedSAM's official ``.pth``, or a Hugging Face directory. Only tensors are unpickled.
    engine : str
        What computes MedSAM's image encoder (:mod:`~medsam_planner.engine.engine_name`): "auto" is the fastest export
        that `weights optimise` verified here, else torch. The compact model runs on torch alone.

    Returns
    -------
    PromptableModel

    Raises
    ------
    WeightsError
        If the weights are unknown, absent, damaged, or of another network; or adapted from a base that is not here; or
        the engine is unknown, or has no intact export of these weights.
    MissingDependencyError
        If the model or the engine needs an extra that is not installed.
    """
    if address_in(name_or_path) is not None:
        raise WeightsError(f"Expected a model with weights on this machine, got {name_or_path}, which only segments.")
    require_weights(name_or_path)
    return _shared(_located(name_or_path), engine)


def open_model(name: str | Path, *, engine: str = AUTO) -> PromptableModel | VolumeModel:
    """Load a model, or connect to one: ``nninteractive:URL`` names a server of the nnInteractive protocol.

    Raises
    ------
    WeightsError
        As :func:`load_model`, or if the address is none, or an engine is named for a model on a server.
    ModelServerError
        If the server does not answer, refuses, or has no place.
    """
    address = address_in(name)
    if address is None:
        return load_model(name, engine=engine)
    require_weights(name, engine=engine)
    from medsam_planner.engine.remote import RemoteModel

    return RemoteModel(address)


@dataclass(frozen=True, slots=True)
class _Located:
    """Weights on this machine."""

    kind: str
    path: Path
    name: str
    sha256: str


def _located(name_or_path: str | Path) -> _Located:
    """Where weights are that :func:`require_weights` accepts."""
    if isinstance(name_or_path, str) and name_or_path in (entries := read_manifest()):
        entry = entries[name_or_path]  # whose checksum is compared with the file
        return _Located(entry.model, expected_path(entry), name_or_path, entry.sha256)
    from medsam_planner.engine.medsam_weights import weights_file

    path = Path(name_or_path).expanduser()
    name = path.stem if path.is_file() else path.name
    return _Located(_kind(path), path, name, hash_of(weights_file(path)))


def _require_no_engine(address: str | Path, engine: str) -> None:
    if engine != AUTO:
        raise WeightsError(f"Expected no engine for {address}, whose server chooses its own; got {engine!r}.")


def _shared(found: _Located, engine: str) -> PromptableModel:
    """The model of a file, over the tensors that were read before where they are kept."""
    chosen = _engine(found, engine)
    key = (found.path.resolve(), found.name, found.sha256, str(chosen.name))
    with _LOADING:
        if key not in _LOADED:
            _LOADED[key] = _open(found, encoder_for(chosen))
            if len(_LOADED) > _MODELS_KEPT:
                _LOADED.popitem(last=False)
        _LOADED.move_to_end(key)
        return _LOADED[key].with_own_module()


def _encoder_sha256(found: _Located) -> str | None:
    """SHA-256 of the weights from which the image encoder comes; None of a model that runs on torch alone.

    Adapted weights change the decoder only, so they take the exports of their base.
    """
    if found.kind == "adapted":
        card, _ = read_card(found.path)
        return card.base_sha256 if card.kind == "medsam" else None
    return found.sha256 if found.kind == "medsam" else None


def _engine(found: _Located, wanted: str) -> ChosenEngine:
    weights_sha256 = _encoder_sha256(found)
    if weights_sha256 is not None:
        return choose(weights_sha256, wanted)
    if wanted != AUTO and EngineName.read(wanted) != REFERENCE:
        raise WeightsError(
            f"Expected the engine {REFERENCE} for the compact model, which needs no other; got {wanted!r}."
        )
    return ChosenEngine(REFERENCE, None, "the compact model needs no other")


def _kind(path: Path) -> str:
    if path.suffix != ".safetensors":
        return "medsam"
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}.") from error
    if is_adapted(path):
        return "adapted"
    if is_automatic(path):
        raise WeightsError(
            f"{path} is an automatic network, which takes no prompts. Let it make a mask to begin from: "
            f"`medsam-planner auto STUDY --model {path} --out MASK.nii.gz`."
        )
    return "medsam" if any(name.startswith(("vision_encoder.", "image_encoder.")) for name in names) else "compact"


def _open(found: _Located, encoder: Encoder) -> PromptableModel:
    path, name, sha256 = found.path, found.name, found.sha256
    if found.kind == "compact":
        from medsam_planner.engine.memory_model import open_compact

        return open_compact(path, sha256=sha256)
    if found.kind == "adapted":
        from medsam_planner.engine.adapted_model import open_adapted

        known = [expected_path(entry) for entry in read_manifest().values()]
        return open_adapted(path, sha256=sha256, bases=known, hash_of=hash_of, encoder=encoder)
    from medsam_planner.engine.medsam import MedSam

    return MedSam.load(path, name=name, sha256=sha256, encoder=encoder)
