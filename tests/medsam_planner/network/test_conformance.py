"""The page of the conformance statement says what is negotiated: no more, and no less."""

from __future__ import annotations

import re
from pathlib import Path

from pydicom.uid import AllTransferSyntaxes, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.presentation import AllStoragePresentationContexts, build_context

from medsam_planner.network.conformance import conformance_page
from tests.free_port import free_port
from tests.medsam_planner.network.test_listen import listening, pacs_toml

PAGE = Path(__file__).resolve().parents[3] / "docs" / "conformance.md"


def test_the_page_is_the_one_that_the_code_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == conformance_page()


def test_the_listener_accepts_what_the_page_says_and_nothing_else(tmp_path: Path) -> None:
    port = free_port()
    page = PAGE.read_text(encoding="utf-8")
    classes = set(re.findall(r"^\| [A-Z][^|]*Storage \| ([0-9.]+) \|$", page, re.MULTILINE))
    (row,) = re.findall(r"^\| `listen` \| ([0-9., ]+) \|$", page, re.MULTILINE)
    every = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    proposals = [[(one, ExplicitVRLittleEndian) for one in every[at : at + 100]] for at in range(0, len(every), 100)]
    proposals.append([(CTImageStorage, one) for one in AllTransferSyntaxes])
    accepted = []
    with listening(pacs_toml(tmp_path, port), tmp_path / "data"):
        for proposal in proposals:
            contexts = [build_context(sop_class, syntax) for sop_class, syntax in proposal]
            association = AE("CT1").associate("127.0.0.1", port, contexts=contexts, ae_title="MEDSAMPLANNER")
            accepted.append(association.accepted_contexts)
            if association.is_established:
                association.release()
    assert {str(one.abstract_syntax) for some in accepted[:-1] for one in some} == classes
    assert {str(one.transfer_syntax[0]) for one in accepted[-1]} == set(row.split(", "))
