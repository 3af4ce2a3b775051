"""Vessels, nerve, muscles, organs and the body's outline of the phantom, LPS mm, left side where there are two.

Courses are those of the anatomy books, in the frame of :mod:`medsam_planner.demo.pelvis_bones`. The external iliac
vessels run along the pelvic brim on the medial side of the psoas and leave under the inguinal ligament in front of
the femoral head; the sciatic nerve leaves through the greater sciatic foramen behind the ischium.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medsam_planner.demo.implicit_shapes import Ball, Distances, Joined, Points, Shape, sheet, tube

__all__ = [
    "BodyOutline",
    "bowel",
    "bowel_gas",
    "fluid_organs",
    "iliac_artery_left",
    "iliac_vein_left",
    "muscles_left",
    "sciatic_nerve_left",
    "solid_organs",
]

_round, _flat = partial(tube, step_mm=1.5), partial(sheet, step_mm=2.0)
"""Muscles need no tenth of a millimetre, and coarse skeletons are several times faster."""


def iliac_artery_left() -> Shape:
    """Common, external and internal iliac artery, continued as the femoral artery; 9 mm wide at the brim."""
    return Joined(
        [
            tube(
                [
                    (14, -16, 136), (23, -10, 114), (34, 0.5, 94), (45, 3, 74), (53, -5, 57),
                    (60, -22, 45), (66, -42, 34), (69, -58, 18), (72, -62, -4), (74, -56, -44), (82, -40, -110),
                ],
                [6.5, 6.2, 5.6, 4.8, 4.6, 4.5, 4.4, 4.3, 4.2, 3.8, 3.4],
            ),
            tube(
                [(35, 2, 92), (29, -2, 86), (21, 2, 77), (20, 18, 67), (25, 41, 53), (29, 55, 37), (32, 59, 16)],
                [4.0, 3.8, 3.6, 3.2, 2.8, 2.4, 1.8],
            ),
            tube([(72, -61, -8), (84, -48, -34), (90, -28, -80)], [3.0, 2.8, 2.2]),
        ],
        blend_mm=1.5,
    )  # fmt: skip


def iliac_vein_left() -> Shape:
    """Common, external and internal iliac vein, continued as the femoral vein; 12 mm wide at the brim."""
    return Joined(
        [
            tube(
                [
                    (-3, -14, 136), (2, -13, 118), (12, -8, 103), (29, 13, 84), (42, 20, 66),
                    (50, 10, 49), (54, -12, 37), (55, -36, 27), (57, -53, 13), (59, -58, -6), (62, -52, -44),
                    (72, -38, -110),
                ],
                [7.5, 7.5, 7.0, 6.4, 6.2, 6.0, 6.0, 5.9, 5.7, 5.6, 5.0, 4.4],
            ),
            tube([(34, 18, 78), (33, 34, 64), (33, 48, 48), (36, 56, 28)], [4.4, 3.6, 2.8, 2.0]),
        ],
        blend_mm=1.5,
    )  # fmt: skip


def sciatic_nerve_left() -> Shape:
    """Lumbosacral trunk, sacral plexus and sciatic nerve."""
    return tube(
        [
            (34, 26, 80), (35.5, 34, 70), (41, 48, 55), (46, 58, 38), (54, 62, 20),
            (64, 60, 4), (74, 58, -14), (80, 52, -40), (84, 42, -110),
        ],
        [1.6, 2.0, 2.4, 3.6, 5.2, 5.6, 5.4, 5.2, 5.0],
    )  # fmt: skip


def muscles_left() -> list[Shape]:
    """The cores of the muscles around one hip; the scan lets them grow until they almost touch."""
    gluteus_maximus = _flat(
        [
            [(60, 98, 84), (42, 103, 58), (26, 105, 28), (13, 102, -6)],
            [(96, 92, 56), (84, 100, 24), (70, 101, -8), (54, 92, -42)],
            [(128, 62, 22), (120, 76, -10), (112, 80, -42), (96, 76, -80)],
            [(147, 32, -14), (144, 42, -46), (138, 46, -78), (126, 48, -112)],
        ],
        [[3, 5, 5, 3], [8, 14, 15, 8], [9, 15, 15, 10], [4, 7, 9, 8]],
    )
    gluteus_medius = _flat(
        [
            [(136, -40, 94), (142, 0, 112), (124, 42, 114), (98, 72, 98)],
            [(138, -34, 56), (134, -2, 66), (122, 30, 66), (100, 60, 62)],
            [(146, -8, 14), (147, 6, 12), (142, 20, 10), (136, 30, 8)],
        ],
        [[3, 4, 4, 3], [8, 14, 13, 8], [4, 6, 6, 4]],
    )
    gluteus_minimus = _flat(
        [
            [(122, -28, 70), (116, 4, 76), (102, 32, 74)],
            [(118, -20, 42), (112, 6, 46), (102, 30, 44)],
            [(132, -6, 6), (134, 2, 4), (132, 10, 4)],
        ],
        [[3, 4, 3], [6, 8, 6], [3, 5, 3]],
    )
    iliacus = _flat(
        [
            [(122, -32, 96), (112, 8, 108), (92, 40, 106)],
            [(98, -32, 66), (88, 2, 74), (74, 34, 78)],
            [(88, -42, 34), (76, -22, 42), (66, 4, 52)],
        ],
        [[1, 3, 1], [4, 6, 4], [5, 6, 3]],
    )
    psoas = _round(
        [
            (36, 20, 140),
            (46, 8, 104),
            (58, -8, 76),
            (70, -28, 48),
            (80, -42, 24),
            (88, -40, -4),
            (104, -8, -50),
            (108, 20, -68),
        ],
        [19, 17, 14, 11, 11, 11, 8, 4],
    )
    abdominal_wall = _flat(
        [
            [(64.0, -72.0, 140.0), (118.0, -42.0, 142.0), (144.0, 14.0, 142.0)],
            [(62.0, -76.0, 100.0), (116.0, -58.0, 104.0), (142.0, -14.0, 116.0)],
            [(44.0, -78.0, 30.0), (84.0, -74.0, 54.0), (118.0, -63.0, 76.0)],
        ],
        [[3.0, 5.0, 5.0], [2.5, 4.0, 3.0], [1.0, 2.0, 2.0]],
    )
    rectus_abdominis = _flat(
        [[(12, -82, 142), (56, -76, 142)], [(11, -84, 70), (52, -80, 70)], [(9, -72, 4), (24, -70, 4)]],
        [[2, 2], [2, 2], [1, 1]],
    )
    pelvic_floor = _flat(
        [
            [(9.0, -36.0, -40.0), (30.0, -12.0, -30.0), (50.0, 28.0, -18.0)],
            [(6.0, 6.0, -52.0), (16.0, 24.0, -50.0), (22.0, 48.0, -36.0)],
        ],
        [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]],
    )
    obturator_internus = _flat(
        [[(55, -20, -6), (54, 6, -8), (57, 26, -2)], [(44, -16, -36), (54, 4, -42), (60, 16, -46)]],
        [[1.5, 3, 2], [1.5, 3, 2]],
    )
    round_ones: list[tuple[list[tuple[float, float, float]], list[float]]] = [
        ([(32, 66, 40), (56, 62, 22), (80, 50, 12), (128, 16, 6)], [3, 6, 6, 2]),  # piriformis
        ([(60, 30, -20), (84, 46, -12), (124, 20, -6)], [2, 4, 2]),  # gemelli and tendon of the obturator
        ([(34, -42, -44), (62, -14, -52), (84, 18, -44), (118, 20, -20)], [4, 10, 7, 2]),  # obturator externus
        ([(42, -60, -2), (66, -42, -34), (98, -4, -84)], [6, 11, 9]),  # pectineus
        ([(14, -60, -38), (36, -44, -76), (52, -34, -130)], [7, 15, 20]),  # adductor longus
        ([(18, -40, -58), (44, -20, -84), (66, -10, -130)], [4, 15, 18]),  # adductor brevis
        ([(30, -8, -78), (50, 10, -100), (60, 20, -130)], [8, 19, 24]),  # adductor magnus
        ([(12, -48, -60), (18, -30, -100), (22, -24, -130)], [4, 8, 9]),  # gracilis
        ([(68, 38, -72), (76, 50, -100), (80, 54, -130)], [7, 15, 18]),  # hamstrings
        ([(97, -50, 26), (108, -56, -20), (113, -54, -70), (112, -52, -130)], [3, 10, 14, 17]),  # rectus femoris
        ([(123, -64, 66), (114, -74, 20), (94, -80, -40), (78, -72, -120)], [2, 7, 8, 10]),  # sartorius
        ([(130, -52, 66), (140, -48, 20), (143, -38, -40), (146, -22, -90)], [3, 11, 9, 3]),  # tensor fasciae latae
        ([(140, -14, -34), (142, -12, -80), (140, -6, -130)], [6, 15, 20]),  # vastus lateralis
        ([(118, -16, -50), (112, -20, -130)], [9, 17]),  # vastus intermedius
        ([(98, -8, -84), (92, -14, -130)], [4, 14]),  # vastus medialis
        ([(74, 28, -54), (96, 32, -56), (116, 26, -60)], [7, 8, 6]),  # quadratus femoris
        ([(30, 82, 142), (29, 90, 104), (19, 99, 64), (9, 103, 24)], [21, 16, 9, 2]),  # erector spinae
        ([(74, 50, 142), (86, 56, 116)], [12, 7]),  # quadratus lumborum
    ]
    flat_ones: list[Shape] = [
        gluteus_maximus, gluteus_medius, gluteus_minimus, iliacus, psoas, abdominal_wall, rectus_abdominis,
        pelvic_floor, obturator_internus,
    ]  # fmt: skip
    return [*flat_ones, *(_round(points, radii) for points, radii in round_ones)]


def fluid_organs() -> Shape:
    """The bladder."""
    return Ball((0.0, -16.0, 14.0), (37.0, 29.0, 27.0))


def solid_organs() -> list[Shape]:
    """Prostate, seminal vesicles and rectum."""
    return [
        Ball((0.0, -12.0, -30.0), (22.0, 17.0, 17.0)),
        tube([(-26, 20, -6), (0, 15, -10), (26, 20, -6)], [4, 5, 4]),
        tube(
            [(0, 22, -64), (0, 40, -34), (0, 50, 0), (4, 40, 34), (-14, 18, 54), (-40, -4, 66)], [9, 14, 17, 15, 14, 14]
        ),
    ]


def bowel() -> list[Shape]:
    """Loops of small bowel, caecum and sigmoid colon."""
    loops = [
        [(-72, -52, 138), (-66, -50, 104), (-60, -40, 76), (-52, -38, 60)],
        [(-46, -54, 132), (-12, -58, 120), (22, -56, 132), (46, -50, 120)],
        [(42, -56, 98), (14, -54, 92), (-18, -60, 100), (-38, -56, 84)],
        [(-30, -44, 62), (0, -50, 68), (28, -46, 60), (44, -44, 76)],
        [(-20, -22, 84), (6, -24, 78), (26, -30, 96), (4, -28, 114)],
        [(78, -30, 138), (84, -38, 112), (72, -44, 88), (50, -36, 52), (20, -18, 50), (-2, 4, 56)],
        [(56, -26, 136), (62, -20, 116), (48, -24, 98), (60, -34, 84)],
        [(-44, -26, 138), (-30, -30, 118), (-44, -24, 98), (-28, -14, 74), (-40, -30, 66)],
        [(-6, -32, 140), (12, -30, 132), (34, -30, 136), (30, -34, 112), (20, -52, 112)],
    ]
    widths = [20.0, 13.0, 12.0, 12.5, 11.5, 14.0, 11.0, 11.5, 10.5]
    return [tube(points, width) for points, width in zip(loops, widths, strict=True)]


def bowel_gas() -> Shape:
    """Gas collects in front in a patient who lies on the back."""
    return Joined(
        [
            tube([(-72, -60, 136), (-66, -60, 106)], [11, 9]),
            tube([(-30, -62, 127), (-14, -65, 121)], [5, 5]),
            tube([(80, -40, 126), (80, -46, 104)], [7, 5]),
            tube([(0, 44, 4), (3, 34, 26)], [7, 6]),
        ]
    )


@dataclass(frozen=True, slots=True)
class BodyOutline:
    """The skin, or a surface `inset_mm` below it: superelliptic cross-sections and the cleft between the buttocks."""

    inset_mm: float = 0.0

    def distance_mm(self, points_lps_mm: Points, reach_mm: float = np.inf) -> Distances:
        z = points_lps_mm[:, 2]
        half_width = np.interp(z, [-140, -60, -5, 70, 150], [158, 163, 164, 155, 149]) - self.inset_mm
        half_depth = np.interp(z, [-140, -60, 0, 70, 150], [112, 118, 119, 114, 108]) - self.inset_mm
        u = np.abs(points_lps_mm[:, 0]) / half_width
        v = np.abs(points_lps_mm[:, 1] - 10.0) / half_depth
        level = np.maximum((u**_SQUARENESS + v**_SQUARENESS) ** (1 / _SQUARENESS), 1e-6)
        slope = np.hypot((u / level) ** (_SQUARENESS - 1) / half_width, (v / level) ** (_SQUARENESS - 1) / half_depth)
        body = (level - 1) / np.maximum(slope, 1 / half_width)
        outside_cleft = -_CLEFT.distance_mm(points_lps_mm, reach_mm + _CLEFT_BLEND_MM) - self.inset_mm
        blend = np.maximum(_CLEFT_BLEND_MM - np.abs(body - outside_cleft), 0.0)
        distance: Distances = np.maximum(body, outside_cleft) + blend**2 / (4 * _CLEFT_BLEND_MM)
        return distance

    @property
    def bounds_lps_mm(self) -> NDArray[np.float64]:
        return np.array([(-170.0, -115.0, -np.inf), (170.0, 135.0, np.inf)])


_SQUARENESS = 2.35
"""2 would be an ellipse."""
_CLEFT = tube([(0, 132, 70), (0, 128, 20), (0, 118, -40), (0, 104, -130)], [1.0, 5.0, 10.0, 14.0])
_CLEFT_BLEND_MM = 14.0
