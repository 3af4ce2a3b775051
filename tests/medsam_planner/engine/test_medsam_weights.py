"""The official ``.pth`` layout and the Hugging Face layout: both load, to the same network, and safely."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from medsam_planner.engine.medsam import MedSam
from medsam_planner.engine.medsam_weights import config_of, convert, network_from, official_to_hugging_face
from medsam_planner.engine.protocol import SlicePrompt
from medsam_planner.engine.registry import load_model
from medsam_planner.errors import WeightsError
from medsam_planner.io.files import file_sha256

PROMPT = SlicePrompt(box=np.array([20.0, 30.0, 70.0, 100.0]), points=np.array([[40.0, 60.0]]), labels=np.array([True]))


@pytest.fixture(scope="module")
def official(official_sam: Callable[..., Any]) -> dict[str, torch.Tensor]:
    return dict(official_sam().state_dict())


@pytest.fixture
def pth(official: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    path = tmp_path / "medsam_vit_b.pth"
    torch.save(official, path)
    return path


def answer(path: Path) -> bytes:
    model = MedSam.load(path)
    row, column = np.mgrid[:128, :128] / 128
    picture = np.sin(6 * row) * np.cos(9 * column**2)
    return model.decode(model.encode(picture[None].astype(np.float32)), PROMPT).logits.tobytes()


def test_every_layout_gives_the_same_logits(pth: Path, tmp_path: Path) -> None:
    expected = answer(pth)
    folder = tmp_path / "converted"
    safetensors = convert(pth, folder)
    assert safetensors == folder / "model.safetensors"
    torch.save(load_file(safetensors), tmp_path / "pytorch_model.bin")
    (tmp_path / "bin").mkdir()
    os.rename(tmp_path / "pytorch_model.bin", tmp_path / "bin" / "pytorch_model.bin")
    official_as_safetensors = tmp_path / "official.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in torch.load(pth).items()}, official_as_safetensors)
    for path in (
        folder,
        safetensors,
        tmp_path / "bin",
        tmp_path / "bin" / "pytorch_model.bin",
        official_as_safetensors,
    ):
        assert answer(path) == expected


def test_what_was_converted_is_what_transformers_itself_reads(pth: Path, tmp_path: Path) -> None:
    from transformers import SamModel

    convert(pth, tmp_path / "converted")
    theirs, ours = SamModel.from_pretrained(tmp_path / "converted").state_dict(), network_from(pth).state_dict()
    assert set(theirs) == set(ours)
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_converting_twice_gives_the_same_bytes(pth: Path, tmp_path: Path) -> None:
    first, second = convert(pth, tmp_path / "a"), convert(pth, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a" / "config.json").read_bytes() == (tmp_path / "b" / "config.json").read_bytes()


def test_checkpoints_of_medsams_training_script_load(pth: Path, official: dict[str, torch.Tensor]) -> None:
    expected = answer(pth)
    parallel = {f"module.{name}": tensor for name, tensor in official.items()}
    torch.save({"model": parallel, "optimizer": {"lr": 1e-4}, "epoch": 3}, pth)
    assert answer(pth) == expected


def test_half_precision_weights_load_as_float32(pth: Path, official: dict[str, torch.Tensor]) -> None:
    torch.save({name: tensor.half() for name, tensor in official.items()}, pth)
    assert {parameter.dtype for parameter in network_from(pth).parameters()} == {torch.float32}


def test_the_size_of_the_network_is_read_off_its_tensors(official_sam: Callable[..., Any]) -> None:
    sam = official_sam(size=256, width=96, depth=12, heads=6, window=14, features=64)
    config = config_of(official_to_hugging_face(sam.state_dict()))
    vision, decoder = config.vision_config, config.mask_decoder_config
    assert (vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads) == (96, 12, 6)
    assert (vision.image_size, vision.window_size, list(vision.global_attn_indexes)) == (256, 14, [2, 5, 8, 11])
    assert (decoder.hidden_size, decoder.mlp_dim, decoder.num_multimask_outputs) == (64, 512, 3)


def test_the_registry_opens_paths_of_every_layout(pth: Path, tmp_path: Path) -> None:
    folder = convert(pth, tmp_path / "converted").parent
    for path in (pth, folder, folder / "model.safetensors", str(pth)):
        model = load_model(path)
        assert isinstance(model, MedSam) and model.size == 128
    assert load_model(pth).weights_sha256 == file_sha256(pth)
    assert load_model(folder).name == "converted"


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.witness),)


def test_a_file_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, pth: Path) -> None:
    witness = tmp_path / "ran"
    for write in (
        lambda: torch.save({"image_encoder.pos_embed": Payload(witness)}, pth),
        lambda: pth.write_bytes(pickle.dumps(Payload(witness))),
    ):
        write()
        with pytest.raises(WeightsError, match="could run code"):
            network_from(pth)
        assert not witness.exists()


def test_damaged_files_are_refused(pth: Path, tmp_path: Path) -> None:
    content = pth.read_bytes()
    for damaged in (b"", b"<html>404</html>", content[: len(content) // 2]):
        for name in ("a.pth", "a.safetensors"):
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(WeightsError, match=name):
                load_model(tmp_path / name)


def test_tensors_that_do_not_fit_are_named(pth: Path, official: dict[str, torch.Tensor]) -> None:
    def refused(changes: dict[str, torch.Tensor | None], said: str) -> None:
        torch.save({name: tensor for name, tensor in (official | changes).items() if tensor is not None}, pth)
        with pytest.raises(WeightsError, match=said):
            network_from(pth)

    refused({"mask_decoder.iou_token.weight": None}, r"mask_decoder\.iou_token\.weight")
    refused({"image_encoder.blocks.1.norm2.bias": None}, r"1 tensors are missing .*layers\.1\.layer_norm2\.bias")
    refused({"adapter.weight": torch.ones(2)}, r"1 are not its own .*adapter\.weight")
    refused({"image_encoder.neck.0.weight": torch.ones(32, 48, 3, 3)}, r"neck\.conv1\.weight")


def test_tables_that_are_not_a_sam_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    for content, said in (
        ({"conv.weight": torch.ones(3)}, "neither layout"),
        ({}, "table of tensors"),
        ([torch.ones(2)], "got list"),
        ({"image_encoder.x": 3}, "not tensors"),
    ):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=said):
            network_from(path)


def test_absent_and_sharded_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="found nothing"):
        network_from(tmp_path / "absent.pth")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(WeightsError, match="several shards"):
        network_from(tmp_path)


def test_a_taken_destination_is_not_written_to(pth: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    for destination in (tmp_path / "taken", pth):
        with pytest.raises(WeightsError, match="is taken"):
            convert(pth, destination)
    assert [entry.name for entry in (tmp_path / "taken").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("content", [b"hello world, not weights", bytes(range(256)) * 8, b"", b"PK\x03\x04 half a zip"])
def test_a_file_of_anything_else_is_refused_without_advice_to_load_it_unsafely(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "junk.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"cannot be read as a file of tensors \(\w+\)") as refused:
        convert(path, tmp_path / "out")
    assert "weights_only" not in str(refused.value)
