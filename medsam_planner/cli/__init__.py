"""The command line. Each command is a module of its own and imports what it needs when it runs.

Exit codes: 0 done; 1 the work was done and its answer is no (no feasible plan, a mask that does not replay); 2 wrong
input, or no place for the results, with one message and no traceback; 3 a bug, with one line that gives the path of the
log; 130 interrupted; 141 nobody reads what is printed.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run ``medsam-planner`` and leave with its exit code."""
    try:
        from medsam_planner.cli.app import run

        code = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # while it was still starting
        sys.stderr.write("Interrupted.\n")
        code = 130
    sys.exit(code)
