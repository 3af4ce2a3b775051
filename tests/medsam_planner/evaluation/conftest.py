"""Cases inside and outside the training data of the shipped weights."""

from __future__ import annotations

import pytest

from .synthetic_cases import write_case


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    """Two cases the shipped weights were not trained on, one that their metadata name, and another of its patient."""
    root = tmp_path_factory.mktemp("cases")
    write_case(root / "ct_ball", modality="CT", subject="first", seed=1)
    write_case(root / "mr_ball", subject="second", seed=2)
    write_case(root / "mr_hippocampus_102", subject="known", seed=3)
    write_case(root / "mr_of_the_same_patient", subject="known", seed=4)
    return root
