"""The tissue of a label by its name, and random intensities of tissues.

Random contrast for every label follows SynthSeg (Billot et al. 2023, doi 10.1016/j.media.2023.102789). Contrast by
tissue gives similar structures similar intensities, as two ribs have them. Hounsfield units are the usual, overlapping
ranges of radiology textbooks.
"""

from __future__ import annotations

import re
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tissue", "random_intensities", "tissue_of"]


class Tissue(IntEnum):
    """Tissue of a label."""

    UNKNOWN = 0
    UNSPLIT = 1
    """Several tissues under one label."""
    AIR = 2
    LUNG = 3
    FAT = 4
    FLUID = 5
    SOFT = 6
    MUSCLE = 7
    ORGAN = 8
    VESSEL = 9
    BONE = 10
    MARROW = 11
    CARTILAGE = 12
    GREY = 13
    WHITE = 14
    CONTENT = 15
    """Content of bowel or bladder: gas, fluid or contrast agent."""


_NAMES: tuple[tuple[str, Tissue], ...] = (
    (r"unsplit|unlabelled|other soft tissue|extra-cerebral|unnamed|intracranial content", Tissue.UNSPLIT),
    (r"subcutaneous|fat body", Tissue.FAT),
    (r"content", Tissue.CONTENT),
    (r"wall", Tissue.SOFT),
    (r"lumen|sinus air|oropharynx|nasopharynx|laryngopharynx|^trachea$|bronch", Tissue.AIR),
    (r"lung", Tissue.LUNG),
    (
        r"csf|renal pelvis|ventricle$|ventricle left|3rd ventricle|4th|5th|aqueduct|bladder|eyeball|orbit|spinal canal|"
        r"horn of",
        Tissue.FLUID,
    ),
    (r"artery|arteries|vein|vena|aorta|arch|carotid|jugular|vessel|trunk|blood pool|heart|atrium", Tissue.VESSEL),
    (r"cartilage|meniscus|disc|epiglottis|ligament|tendon|tract$|retinaculum", Tissue.CARTILAGE),
    (r"muscle|femoris|tongue|palate|diaphragm", Tissue.MUSCLE),
    (
        r"nerve|chiasm|white matter|commissure|fascicul|peduncle|lamina|brain-?stem|pons|medulla|cord|corpus call",
        Tissue.WHITE,
    ),
    (
        r"cortex|gyrus|caudate$|putamen|pallid|thalam|hippocamp|amygdala|accumbens|nucle|hypothal|cerebell|"
        r" [ivx]+a?b?f?t? |insula|cuneus|lobule|cerebr|brain|dc$|crus|substantia|operc",
        Tissue.GREY,
    ),
    (
        r"vertebra|lumbar|thoracic|cervical\d|rib|skull|mandible|femur|tibia|fibula|patella|sacrum|coccyx|clavicle|sternum|"
        r"scapula|humerus|radius|ulna|pelvis|phalan|carp|tars|hyoid|atlas|axis|ilium|hip bone|maxilla|tooth|teeth|"
        r"incisor|canine|molar|bone|calcane|talus|cuneiform|navicular|cuboid|lunate|scaphoid|hamate|capitate|trapezi|manubrium|"
        r"xiphoid|cochlea|concha|vomer|cranium|sesamoid",
        Tissue.BONE,
    ),
    (r"skin|gland|gingiva", Tissue.SOFT),
)
_NAMES_COMPILED = tuple((re.compile(pattern), tissue) for pattern, tissue in _NAMES)

_HU: dict[Tissue, tuple[float, float, float]] = {
    Tissue.AIR: (-1000.0, 8.0, 3.0),
    Tissue.LUNG: (-780.0, 90.0, 25.0),
    Tissue.FAT: (-98.0, 12.0, 5.0),
    Tissue.FLUID: (8.0, 6.0, 3.0),
    Tissue.SOFT: (42.0, 12.0, 8.0),
    Tissue.MUSCLE: (58.0, 8.0, 5.0),
    Tissue.CARTILAGE: (95.0, 20.0, 12.0),
    Tissue.MARROW: (180.0, 90.0, 40.0),
    Tissue.BONE: (850.0, 250.0, 100.0),
    Tissue.GREY: (38.0, 2.0, 1.0),
    Tissue.WHITE: (30.0, 2.0, 1.0),
}
"""Mean over patients, its spread over patients, and the spread between the labels of one patient."""


def tissue_of(name: str) -> Tissue:
    """The tissue that a label's name indicates; ORGAN where no rule matches, UNKNOWN without a name."""
    if not name:
        return Tissue.UNKNOWN
    plain = name.lower()
    for pattern, tissue in _NAMES_COMPILED:
        if pattern.search(plain):
            return tissue
    return Tissue.ORGAN


def random_intensities(tissues: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """One random intensity for every label of a scan.

    Parameters
    ----------
    tissues : (L,) uint8
        Values of :class:`Tissue`.
    rng : numpy.random.Generator
        Source of all random choices.

    Returns
    -------
    (L,) float32
        Either about [0, 1], or HU.
    """
    style = rng.random()
    count = len(tissues)
    if style < 0.35:
        return rng.uniform(0, 1, count).astype(np.float32)
    if style < 0.42:
        levels = np.linspace(0, 1, int(rng.integers(3, 8)))
        return (rng.choice(levels, count) + rng.normal(0, 0.02, count)).astype(np.float32)
    if style < 0.62:
        return _by_tissue(tissues, rng)
    return _hounsfield(tissues, rng)


def _by_tissue(tissues: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """MR-like: a random mean per tissue; labels of one tissue are similar, organs and unknown labels differ."""
    means = rng.uniform(0, 1, len(Tissue))
    spread = np.full(len(Tissue), rng.choice([0.01, 0.03, 0.06]))
    spread[[Tissue.ORGAN, Tissue.UNKNOWN, Tissue.SOFT]] = rng.uniform(0.05, 0.25)
    return (means[tissues] + spread[tissues] * rng.standard_normal(len(tissues))).astype(np.float32)


def _hounsfield(tissues: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """CT-like: Hounsfield units by tissue, with or without contrast agent."""
    means, spread = np.full(len(Tissue), 45.0), np.full(len(Tissue), 15.0)
    for tissue, (mean, between_patients, between_labels) in _HU.items():
        means[tissue] = mean + between_patients * rng.standard_normal()
        spread[tissue] = between_labels
    enhanced = rng.random()
    if enhanced < 0.35:  # without contrast agent
        means[Tissue.VESSEL], spread[Tissue.VESSEL] = rng.normal(42, 5), 2.0
        means[Tissue.ORGAN], spread[Tissue.ORGAN] = rng.normal(50, 8), 10.0
    else:  # arterial to portal-venous
        means[Tissue.VESSEL], spread[Tissue.VESSEL] = rng.uniform(110, 380), rng.uniform(3, 60)
        means[Tissue.ORGAN], spread[Tissue.ORGAN] = rng.uniform(75, 130), rng.uniform(12, 40)
    values = means[tissues] + spread[tissues] * rng.standard_normal(len(tissues))
    contents = np.flatnonzero(tissues == Tissue.CONTENT)
    values[contents] = rng.choice([-900.0, -300.0, 10.0, 35.0, 300.0], len(contents))
    unknown = np.flatnonzero(np.isin(tissues, (Tissue.UNKNOWN, Tissue.UNSPLIT)))
    values[unknown] = np.where(
        rng.random(len(unknown)) < 0.7,
        rng.uniform(-20, 130, len(unknown)),
        rng.choice([-990.0, -100.0, 250.0, 700.0], len(unknown)),
    )
    return np.clip(values, -1024, 3071).astype(np.float32)
