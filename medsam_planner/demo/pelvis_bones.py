"""The bones of a large male pelvis as implicit shapes, LPS mm, origin midway between the hip centres.

Landmarks follow common morphometry: hip centres 176 mm apart, iliac spines 244 mm, intercristal breadth about 280 mm,
head of the femur 48 mm across, inlet 130 mm wide. They are rounded, and the shapes between them are ours: a phantom to
test software with, not an atlas.
"""

from __future__ import annotations

import numpy as np

from medsam_planner.demo.implicit_shapes import (
    Ball,
    Common,
    Cut,
    HalfSpace,
    Joined,
    Mirrored,
    Offset,
    Shape,
    sheet,
    tube,
)

__all__ = ["HIP_CENTRE_LPS_MM", "femur_left", "hemipelvis_left", "lumbar_vertebra", "sacrum", "symphysis"]

HIP_CENTRE_LPS_MM = (88.0, 0.0, 0.0)
_ACETABULUM_AXIS = np.array((0.72, -0.28, -0.63)) / np.linalg.norm((0.72, -0.28, -0.63))
"""Opens laterally, forwards and down: 45° inclination, 20° anteversion or so."""

# Rows from the lower border of the ilium up to the crest, columns from the anterior spines back to the posterior ones.
_ILIUM_LPS_MM = [
    [(94, -40, 34), (87, -15, 34), (79, 10, 37), (69, 36, 43), (59, 61, 48), (53, 80, 54)],
    [(97, -43, 48), (92, -16, 51), (85, 10, 53), (74, 37, 58), (61, 64, 59), (52, 86, 60)],
    [(109, -46, 60), (105, -18, 70), (97, 10, 75), (85, 38, 77), (67, 66, 74), (52, 89, 67)],
    [(117, -50, 69), (122, -22, 91), (115, 11, 101), (100, 41, 100), (78, 67, 91), (55, 88, 75)],
    [(121, -54, 75), (135, -24, 104), (130, 12, 121), (112, 44, 120), (87, 67, 106), (59, 85, 84)],
]
_ILIUM_HALF_THICKNESS_MM = [
    [11.0, 11.8, 12.4, 12.0, 11.0, 7.0],
    [11.2, 11.2, 11.8, 11.6, 11.8, 9.0],
    [5.8, 4.8, 4.2, 4.6, 8.0, 9.0],
    [5.0, 4.8, 2.4, 2.6, 6.5, 8.0],
    [6.0, 7.6, 5.4, 4.8, 6.0, 6.5],
]


def sacrum() -> Shape:
    """Sacrum and coccyx with foramina, canal, crest and the articular processes."""
    middle = [(32, 92), (47, 72), (63, 52), (73, 31), (76, 10), (69, -10), (57, -28)]  # (y, z) from S1 to the coccyx
    half_width = [40.0, 41.0, 38.0, 31.0, 26.0, 16.0, 4.0]
    lateral_back = [17.0, 15.0, 10.0, 3.0, 0.0, 0.0, 0.0]
    lateral_down = [9.0, 6.0, 3.0, 0.0, 0.0, 2.0, 0.0]
    across = np.array([-1.0, -0.75, -0.42, 0.0, 0.42, 0.75, 1.0])
    points = [
        [(w * t, y + back * t * t, z - down * t * t) for t in across]
        for (y, z), w, back, down in zip(middle, half_width, lateral_back, lateral_down, strict=True)
    ]
    centre_mm = np.array([15.0, 13.0, 10.0, 8.0, 6.5, 5.0, 4.0])
    side_mm = np.array([12.0, 12.5, 9.0, 5.5, 4.5, 4.0, 3.5])
    radii = np.stack([side_mm, side_mm * 1.08, (centre_mm + side_mm) / 2, centre_mm], axis=1)
    body = sheet(points, np.concatenate([radii, radii[:, 2::-1]], axis=1))
    plate = HalfSpace((0.0, 32.0, 99.0), (0.0, -0.56, 0.83))
    promontory = tube([(-15, 29, 91), (0, 27, 91), (15, 29, 91)], [13.0, 14.0, 13.0])
    arch = Joined(
        [
            tube([(0, 66, 84), (0, 80, 68), (0, 89, 48), (0, 93, 30), (0, 89, 14)], [6.0, 5.5, 5.0, 4.5, 3.5]),
            tube([(0, 74, 82), (0, 88, 66), (0, 97, 46), (0, 99, 30)], [3.2, 3.6, 3.4, 2.5]),
            *_both_sides(tube([(20, 50, 104), (21, 58, 90), (17, 74, 70), (14, 84, 48)], [6.5, 7.5, 5.0, 4.0])),
        ],
        blend_mm=6.0,
    )
    canal = tube([(0, 55, 108), (0, 60, 88), (0, 73, 66), (0, 82, 46), (0, 86, 26)], [8.0, 7.5, 5.5, 4.0, 2.5])
    foramina = []
    for (x, y, z), radius_mm, tilt in (
        ((21, 43, 71), 5.6, 0.55),
        ((18, 58, 52), 5.2, 0.42),
        ((15, 67, 33), 4.4, 0.22),
        ((13, 71, 14), 3.6, 0.05),
    ):
        # From the canal forwards and out, and a narrower way straight back.
        forwards = tube([(7, y + 14, z + 7), (x, y, z), (x + 9, y - 24, z - 24 * tilt)], radius_mm)
        backwards = tube([(x, y, z), (x, y + 40, z + 40 * tilt)], 0.62 * radius_mm)
        foramina += [*_both_sides(forwards), *_both_sides(backwards)]
    bodies = Common([Joined([body, promontory], blend_mm=8.0), plate], blend_mm=4.0)
    return Cut(Joined([bodies, arch], blend_mm=6.0), [canal, *foramina], blend_mm=2.0)


def hemipelvis_left(sacrum_shape: Shape) -> Shape:
    """Ilium, ischium and pubis; the sacroiliac joint is a gap of 2.6 mm to `sacrum_shape`."""
    ilium = sheet(_ILIUM_LPS_MM, _ILIUM_HALF_THICKNESS_MM)
    spines = Joined(
        [tube([(96, -41, 36), (94, -47, 31)], [9.0, 7.5]), tube([(121, -53, 75), (121, -58, 70)], [6.0, 4.5])]
    )
    pillar = tube([(93, -2, 34), (110, -8, 70), (130, -14, 104)], [8.0, 4.6, 6.0])
    centre = np.array(HIP_CENTRE_LPS_MM)
    outer = Common(
        [
            Ball(tuple((centre - 2.0 * _ACETABULUM_AXIS).tolist()), 34.5),
            HalfSpace(tuple((centre + 5.0 * _ACETABULUM_AXIS).tolist()), tuple(_ACETABULUM_AXIS.tolist())),
        ],
        blend_mm=5.0,
    )
    posterior_column = Joined(
        [
            tube(
                [(73, 33, 38), (79, 31, 16), (80, 29, -10), (76, 29, -34), (69, 26, -58), (63, 17, -71)],
                [9.0, 11.5, 12.5, 12.5, 15.5, 13.0],
            ),
            tube([(73, 35, 2), (64, 43, -6), (58, 48, -10)], [9.0, 5.5, 3.0]),
        ],
        blend_mm=8.0,
    )
    brim = tube([(60, 46, 52), (66, 22, 37), (67, -6, 23), (63, -28, 10)], [6.0, 7.0, 8.0, 10.0])
    pubis = Joined(
        [
            tube(
                [(70, -22, 12), (60, -34, 6), (45, -45, 0), (28, -53, -5), (15, -56, -12)],
                [13.0, 10.0, 7.6, 7.4, 9.0],
            ),
            sheet(
                [[(24, -56, -6), (13, -55, -10)], [(17, -52, -27), (11, -51, -28)], [(15, -46, -43), (10, -46, -42)]],
                [[6.0, 8.0], [6.5, 7.6], [6.0, 6.5]],
            ),
            tube(
                [(13, -47, -42), (24, -38, -52), (37, -22, -62), (50, -2, -70), (61, 14, -72)],
                [6.4, 5.8, 5.8, 7.6, 10.5],
            ),
            tube([(26, -58, -1), (21, -61, -1)], [4.5, 3.5]),
        ],
        blend_mm=7.0,
    )
    bone = Joined([ilium, pillar, outer, spines, posterior_column, brim, pubis], blend_mm=11.0)
    fossa = Ball(tuple((centre + np.array([-12.0, -3.0, -8.0])).tolist()), 18.0)
    notch = tube([tuple(centre + np.array(p)) for p in ((-5, -2, -12), (-20, -2, -42))], 9.0)
    midline = HalfSpace((2.6, 0.0, 0.0), (1.0, 0.0, 0.0))
    return Cut(
        Cut(bone, [Ball(HIP_CENTRE_LPS_MM, 27.2), fossa, notch], blend_mm=2.5),
        [midline, Offset(sacrum_shape, 2.6)],
        blend_mm=1.5,
    )


def femur_left() -> Shape:
    """Head, neck, trochanters and the upper shaft."""
    return Joined(
        [
            Ball(HIP_CENTRE_LPS_MM, 24.0),
            tube([(92, 1, -3), (106, 5, -16), (121, 10, -30)], [17.0, 14.0, 17.0]),
            tube([(124, 11, -36), (123, 12, -66), (118, 10, -150)], [17.5, 16.0, 14.0]),
            tube([(127, 16, -10), (134, 17, -18), (132, 13, -36)], [8.0, 12.5, 14.0]),
            tube([(116, 20, -64), (107, 25, -70)], [9.0, 6.0]),
        ],
        blend_mm=9.0,
    )


def lumbar_vertebra() -> Shape:
    """The fifth lumbar vertebra; the upper end of the field of view usually cuts it."""
    axis = np.array((0.0, -0.36, 0.93))
    centre = np.array((0.0, 14.0, 121.0))
    body = Common(
        [
            sheet([[(-11, y, z), (11, y, z)] for y, z in ((21, 100), (7, 142))], [[17.0, 17.0], [17.0, 17.0]]),
            HalfSpace(tuple((centre + 13 * axis).tolist()), tuple(axis.tolist())),
            HalfSpace(tuple((centre - 13 * axis).tolist()), tuple((-axis).tolist())),
        ],
        blend_mm=3.0,
    )
    arch = [
        tube([(16, 28, 124), (18, 40, 122), (14, 52, 116), (0, 58, 113)], [5.5, 5.0, 4.5, 4.5]),
        tube([(19, 36, 125), (36, 40, 128), (50, 44, 130)], [5.5, 4.5, 3.5]),
        tube([(19, 44, 112), (20, 42, 122), (18, 46, 134)], [6.0, 6.0, 5.5]),
    ]
    process = sheet([[(0, 58, 115), (0, 76, 110)], [(0, 56, 124), (0, 76, 121)]], [[3.2, 3.0], [3.0, 3.0]])
    return Joined([body, process, *(side for part in arch for side in _both_sides(part))], blend_mm=5.0)


def symphysis() -> Shape:
    """The cartilage between the pubic bones."""
    return Common(
        [
            tube([(0, -53, -8), (0, -46, -42)], 8.0),
            HalfSpace((2.6, 0, 0), (1, 0, 0)),
            HalfSpace((-2.6, 0, 0), (-1, 0, 0)),
        ]
    )


def _both_sides(shape: Shape) -> list[Shape]:
    return [shape, Mirrored(shape)]
