"""A model is adapted to a structure by few cases; the base stays, and what came of it says so."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medsam_planner.engine.adapted_weights import read_adapted
from medsam_planner.engine.memory_model import MemoryModel
from medsam_planner.engine.registry import load_model
from medsam_planner.errors import ConfigError, WeightsError
from medsam_planner.lab.adaptation.adapt import AdaptOptions, NoGainError, adapt, fit
from medsam_planner.lab.adaptation.chosen import labelled, split_by_patient
from medsam_planner.lab.adaptation.decoder import CompactLearner
from medsam_planner.lab.adaptation.learners import learner_of
from medsam_planner.lab.evaluation.cases import cases_trained_on, find_cases, trained_on
from medsam_planner.lab.model_card.case_files import write_case
from medsam_planner.lab.training.interactions import interact
from medsam_planner.segmentation.session import Session

from ..memory_studies import box_on, study, write_memory_weights


def write_ball(root: Path, number: int, *, name: str = "ball", anatomy: str = "balls") -> Path:
    """A bright ball in noise; its place depends on the number."""
    rng = np.random.default_rng(number)
    k, j, i = np.indices((32, 32, 32))
    centre = rng.uniform(13, 19, 3)
    ball = (k - centre[0]) ** 2 + (j - centre[1]) ** 2 + (i - centre[2]) ** 2 <= 81
    image = (np.where(ball, 140.0, 40.0) + rng.normal(0, 12, ball.shape)).astype(np.float32)
    return write_case(root / f"case_{number}", image, ball.astype(np.uint8), anatomy=anatomy, names={1: name})


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_memory_weights(tmp_path_factory.mktemp("base") / "small.safetensors")


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("cases")
    for number in range(3):
        write_ball(root, number)
    return root


def memory_model(path: Path) -> MemoryModel:
    model = load_model(path)
    assert isinstance(model, MemoryModel)
    return model


def quick(base: Path, others: Path | None = None) -> AdaptOptions:
    return AdaptOptions(base=str(base), most_steps=2, check_every=1, steps_alone=2, batches=2, others=others)


@pytest.fixture(scope="module")
def adapted(base: Path, cases: Path, tmp_path_factory):
    others = tmp_path_factory.mktemp("others")
    for number in (7, 8):
        write_ball(others, number, anatomy="other balls")
    shown = labelled(find_cases(cases, ("case_0",)), "Ball")
    return adapt(shown, "ball", base.parent / "ball.safetensors", quick(base, others))


def test_the_base_weights_stay_byte_for_byte_and_the_file_holds_decoder_tensors_alone(base, adapted):
    changes, card, _ = read_adapted(adapted.weights)
    assert card.base_sha256 == hashlib.sha256(base.read_bytes()).hexdigest()
    assert changes and all(name.startswith("decoder.") for name in changes)
    assert load_model(base).tensors_sha256 != load_model(adapted.weights).tensors_sha256


def test_a_session_takes_the_file_as_its_model_and_its_mask_differs_from_the_bases(base, adapted):
    logits = []
    for model in (base, adapted.weights):
        session = Session(study(), model)
        session.add(box_on(6))
        logits.append(session.preview()[0][6].probability)
    assert np.abs(logits[0] - logits[1]).max() > 1e-4
    assert Session(study(), adapted.weights).model.name == "compact, adapted to ball"


def test_the_weights_of_an_adaptation_and_of_its_base_never_share_a_calibration(base, adapted):
    model = load_model(adapted.weights)
    assert model.weights_sha256 == hashlib.sha256(adapted.weights.read_bytes()).hexdigest()
    assert model.weights_sha256 != load_model(base).weights_sha256


def test_another_base_is_refused_with_both_hashes(adapted, tmp_path):
    write_memory_weights(tmp_path / "small.safetensors", seed=1)
    moved = tmp_path / "ball.safetensors"
    moved.write_bytes(adapted.weights.read_bytes())
    other = hashlib.sha256((tmp_path / "small.safetensors").read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match=f"{read_adapted(moved)[1].base_sha256[:12]}.*{other[:12]}"):
        load_model(moved)


def test_changes_of_another_network_are_refused(adapted, base, tmp_path):
    from medsam_planner.engine.adapted_weights import apply_changes
    from medsam_planner.engine.memory_network import MemoryArchitecture, MemoryNetwork

    changes, _, _ = read_adapted(adapted.weights)
    wider = MemoryNetwork(MemoryArchitecture(size=32, decoder_widths=(8, 8, 16, 24)))
    before = {name: tensor.clone() for name, tensor in wider.state_dict().items()}
    with pytest.raises(WeightsError, match="does not fit its base weights"):
        apply_changes(wider, changes, source="ball.safetensors")
    assert all(bool((before[name] == tensor).all()) for name, tensor in wider.state_dict().items())


def test_an_adaptation_is_not_adapted_again(adapted):
    with pytest.raises(ConfigError, match="adapt the base on all cases together"):
        learner_of(load_model(adapted.weights))


def test_the_cases_are_known_by_hash_and_neither_file_nor_card_names_them(adapted, cases):
    names = trained_on(load_model(adapted.weights))
    assert cases_trained_on(find_cases(cases), names or ()) == {"case_0"}
    metadata = json.dumps(read_adapted(adapted.weights)[2])
    assert "case_0" not in metadata and "case_0" not in adapted.card.read_text()


def test_the_card_says_what_was_gained_what_was_forgotten_and_what_is_not_known(adapted):
    card = adapted.card.read_text()
    assert "Not measured: all cases are of one patient" in card
    assert "other balls" in card and "| 95 % interval |" in card
    assert "no calibration of the base applies" in card


def test_a_quarter_of_the_patients_is_held_back_with_all_their_cases(tmp_path):
    for number in range(5):
        folder = write_ball(tmp_path, number)
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps({**meta, "subject": f"patient {number // 2}"}))
    train, back = split_by_patient(labelled(find_cases(tmp_path), "ball"), 0)
    assert {one.case.patient for one in train}.isdisjoint(one.case.patient for one in back)
    assert len({one.case.patient for one in back}) == 1 and len(train) + len(back) == 5


def test_nothing_is_written_where_no_number_of_steps_is_better_on_held_back_cases(base, cases, tmp_path):
    learner = CompactLearner(memory_model(base), learning_rate=0.0, batches=2)
    with pytest.raises(NoGainError, match="nothing is written"):
        fit(learner, labelled(find_cases(cases), "ball"), quick(base))
    assert not list(tmp_path.iterdir())


def test_training_lowers_the_loss_of_the_structure(base, cases):
    shown = labelled(find_cases(cases, ("case_1",)), "ball")
    learner = CompactLearner(memory_model(base), batches=3, rehearsal=0.0, learning_rate=3e-3)
    samples = learner.samples([one.structure() for one in shown], seed=0)

    def loss(changes) -> float:
        network = learner.model_with(changes).network
        total = 0.0
        for number, one in enumerate(samples):
            pyramid = [scale.float() for scale in one.pyramid]
            rng = np.random.default_rng(number)
            with torch.no_grad():
                found, _ = interact(network, one.batch, torch.device("cpu"), rng, low_precision=False, pyramid=pyramid)
            total += float(found)
        return total

    assert loss(learner.train(samples, 12, seed=0)) < 0.95 * loss({})


def test_a_label_that_no_case_shows_is_refused_with_those_there_are(cases):
    with pytest.raises(ConfigError, match=r"None of the 3 cases shows 'liver'. Their structures: ball"):
        labelled(find_cases(cases), "liver")


def test_labels_that_disagree_with_their_names_are_refused(tmp_path):
    folder = write_ball(tmp_path, 0)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "label_names": {"1": "ball", "4": "stomach"}}))
    with pytest.raises(ConfigError, match=r"names label 4 'stomach', but its labels hold \[1\] only"):
        labelled(find_cases(tmp_path), "stomach")
    (folder / "meta.json").write_text(json.dumps({**meta, "label_names": {"1": "ball", "2": "Ball"}}))
    with pytest.raises(ConfigError, match="are all named"):
        labelled(find_cases(tmp_path), "ball")


def test_weights_without_a_memory_are_refused(tmp_path):
    from ..memory_studies import write_weights_without_memory

    with pytest.raises(ConfigError, match="Expected the compact model with a memory, or MedSAM"):
        learner_of(load_model(write_weights_without_memory(tmp_path / "old.safetensors")))
