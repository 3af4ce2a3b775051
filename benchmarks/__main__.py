"""Run the benchmarks one after another, each in its own process, so that peak memory is measured separately."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ("engine", "propagation", "xai", "mesh", "planning", "planning_scaling", "large_study")


def main() -> int:
    """Run them and return the worst exit code."""
    worst = 0
    for name in BENCHMARKS:
        print(f"\n== {name} ==", flush=True)
        worst = max(worst, subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=ROOT).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
