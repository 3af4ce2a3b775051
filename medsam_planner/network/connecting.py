"""From the name of a node to the node."""

from __future__ import annotations

from medsam_planner.errors import require_extra
from medsam_planner.network.node import Node
from medsam_planner.network.pacs_file import PacsFile
from medsam_planner.network.settings import DicomwebNode

__all__ = ["connect"]


def connect(pacs: PacsFile, name: str) -> Node:
    """The node of a name; nothing is sent yet.

    Raises
    ------
    ConfigError
        If there is no such node.
    MissingDependencyError
        If the extra ``pacs`` is not installed.
    """
    require_extra("pacs", "The exchange with a PACS")
    node = pacs.node(name)
    if isinstance(node, DicomwebNode):
        from medsam_planner.network.dicomweb import Dicomweb

        return Dicomweb(name, node)
    from medsam_planner.network.dimse import Dimse

    return Dimse(name, node, pacs.local)
