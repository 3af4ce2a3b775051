// A 3D box while it is drawn: first a rectangle on one plane, then its sides are dragged on any plane, then it is placed.
// Its corners are voxels, first and last along each array axis, so every plane shows a cut of the same box.
import { indexAt, placeOf } from './grid.js';

export const spacingOf = (affine) => [0, 1, 2].map((axis) => Math.hypot(affine[0][axis], affine[1][axis], affine[2][axis]));

const within = (value, count) => Math.min(Math.max(Math.round(value), 0), count - 1);

function ordered(shape, one, other) {
  const ends = shape.map((count, axis) => [one[axis], other[axis]].map((value) => within(value, count)).sort((a, b) => a - b));
  return { low: ends.map(([low]) => low), high: ends.map(([, high]) => high) };
}

// From a rectangle on a slice; as thick, around that slice, as the rectangle is wide on average.
export function begunBox({ shape, affine }, plane, slice, first, last) {
  const one = indexAt(plane, [...first, slice]), other = indexAt(plane, [...last, slice]);
  const spacing = spacingOf(affine), { axis, across, down } = plane;
  const sideMm = (Math.abs(one[across] - other[across]) * spacing[across] + Math.abs(one[down] - other[down]) * spacing[down]) / 2;
  const half = Math.max(sideMm / 2 / spacing[axis], 1);
  one[axis] = slice - half;
  other[axis] = slice + half;
  return { ...ordered(shape, one, other), from: axis };
}

// On another plane than it was begun on, a new drag is its depth; on the same plane it is another box.
export function deepened({ shape }, box, plane, slice, first, last) {
  const one = indexAt(plane, [...first, slice]), other = indexAt(plane, [...last, slice]);
  const low = [...box.low], high = [...box.high];
  low[box.from] = one[box.from];
  high[box.from] = other[box.from];
  return { ...ordered(shape, low, high), from: box.from };
}

// {left, top, right, bottom} in columns and rows, and whether the slice cuts the box.
export function cutOf(box, plane, slice) {
  const one = placeOf(plane, box.low), other = placeOf(plane, box.high);
  return {
    left: Math.min(one[0], other[0]) - 0.5, right: Math.max(one[0], other[0]) + 0.5,
    top: Math.min(one[1], other[1]) - 0.5, bottom: Math.max(one[1], other[1]) + 0.5,
    isCut: slice >= box.low[plane.axis] && slice <= box.high[plane.axis],
  };
}

// Which sides are within reach of a place: {across, down}, each 'left', 'right', 'top', 'bottom' or null; null for none.
export function sidesAt(cut, [column, row], [reachAcross, reachDown]) {
  const isBeside = column >= cut.left - reachAcross && column <= cut.right + reachAcross
    && row >= cut.top - reachDown && row <= cut.bottom + reachDown;
  if (!isBeside) return null;
  const near = (value, low, high, reach, names) => {
    const [toLow, toHigh] = [Math.abs(value - low), Math.abs(value - high)];
    if (Math.min(toLow, toHigh) > reach) return null;
    return toLow <= toHigh ? names[0] : names[1];
  };
  const across = near(column, cut.left, cut.right, reachAcross, ['left', 'right']);
  const down = near(row, cut.top, cut.bottom, reachDown, ['top', 'bottom']);
  return across || down ? { across, down } : null;
}

// With the sides moved to a place; a side does not pass the one opposite, so the box keeps two voxels.
export function movedSides({ shape }, box, plane, sides, [column, row]) {
  const low = [...box.low], high = [...box.high];
  const target = indexAt(plane, [column, row, 0]);
  const set = (axis, isLow) => {
    const value = within(target[axis], shape[axis]);
    if (isLow) low[axis] = Math.min(value, high[axis] - 1);
    else high[axis] = Math.max(value, low[axis] + 1);
  };
  if (sides.across) set(plane.across, (sides.across === 'left') !== plane.flip_across);
  if (sides.down) set(plane.down, (sides.down === 'top') !== plane.flip_down);
  return { ...box, low, high };
}

export const sizeMm = ({ affine }, { low, high }) =>
  spacingOf(affine).map((step, axis) => step * (high[axis] - low[axis] + 1));

export const isThick = ({ low, high }) => low.every((value, axis) => high[axis] > value);
