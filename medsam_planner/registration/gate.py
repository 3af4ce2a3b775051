"""What speaks for a registration, and why it is refused: a wrong transform must not be returned as one."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["GateLimits", "RegistrationEvidence", "refusals"]


@dataclass(frozen=True, slots=True)
class GateLimits:
    """When a registration is refused."""

    min_overlap: float = 0.25
    """Share of the smaller series that must lie in the other one."""
    min_gain: float = 0.2
    """Share of the mutual information that must be lost when the result is moved on purpose."""
    min_agreeing_starts: int = 2
    """Searches that must end at the same place."""
    max_rotation_deg: float = 60.0
    """A patient lies supine in both scanners, or says otherwise."""
    max_translation_mm: float = 300.0
    """Of the middle of the fixed series, beyond what aligning both middles needs."""


@dataclass(frozen=True, slots=True)
class RegistrationEvidence:
    """What the search has found beside the transform."""

    overlap: float
    """Share of the smaller series that lies in the other one."""
    information_nat: float
    """Mutual information at the result."""
    gain: float
    """Share of it that is lost, on median, when the result is moved by a tenth of the series; 0 is nothing."""
    starts: int
    agreeing_starts: int
    """Searches that ended within `tolerance_mm` of the result, itself included."""
    tolerance_mm: float
    spread_mm: float
    """Largest root mean square distance over the fixed series between the result and a search that agrees."""
    rotation_deg: float
    translation_mm: float
    """From the nearer of both starts that no search has changed: one frame of reference, and equal middles."""

    def as_entry(self) -> dict[str, float | int]:
        """As plain JSON values."""
        return asdict(self)


def refusals(evidence: RegistrationEvidence, limits: GateLimits) -> tuple[str, ...]:
    """Why a registration is not plausible, one clause each; empty if it is."""
    found = []
    if evidence.overlap < limits.min_overlap:
        found.append(f"{evidence.overlap:.0%} of the smaller series overlap, expected {limits.min_overlap:.0%}")
    if evidence.gain < limits.min_gain:
        found.append(
            f"the images fit hardly better than moved ones (gain {evidence.gain:.2f}, expected {limits.min_gain:.2f})"
        )
    if evidence.agreeing_starts < limits.min_agreeing_starts:
        found.append(
            f"{evidence.agreeing_starts} of {evidence.starts} starts ended within {evidence.tolerance_mm:.1f} mm of "
            f"the result, expected {limits.min_agreeing_starts}"
        )
    if evidence.rotation_deg > limits.max_rotation_deg:
        found.append(f"a rotation of {evidence.rotation_deg:.0f}°, expected at most {limits.max_rotation_deg:.0f}°")
    if evidence.translation_mm > limits.max_translation_mm:
        found.append(
            f"a translation of {evidence.translation_mm:.0f} mm, expected at most {limits.max_translation_mm:.0f} mm"
        )
    return tuple(found)
