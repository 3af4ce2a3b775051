"""The command line. Each command is a module of its own and imports what it needs when it runs.

Exit codes: 0 done; 1 the work was done and its answer is no (no feasible plan, a mask that does not replay); 2 wrong
input, with one message and no traceback; 130 interrupted.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run ``medsam-planner`` and leave with its exit code."""
    from medsam_planner.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
