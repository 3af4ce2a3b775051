// A trajectory in LPS mm on the slices: where its ends lie, which end the hand grips, and where a drag moves it.
import { indexAt, lpsOf, placeOf } from './grid.js';
import { toScreen } from './transform.js';

export const GRIP_PX = 12;

// Voxel index of a position; the affine's 3 × 3 part is inverted by its cofactors.
export function indexOf(affine, lps) {
  const m = affine, d = [0, 1, 2].map((n) => lps[n] - m[n][3]);
  const cofactor = (r, c) => {
    const [r1, r2] = [(r + 1) % 3, (r + 2) % 3], [c1, c2] = [(c + 1) % 3, (c + 2) % 3];
    return m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1];
  };
  const determinant = [0, 1, 2].reduce((sum, c) => sum + m[0][c] * cofactor(0, c), 0);
  return [0, 1, 2].map((c) => [0, 1, 2].reduce((sum, r) => sum + cofactor(r, c) * d[r], 0) / determinant);
}

// (column, row, slice) of a position on a plane.
export const placeOn = (affine, plane, lps) => placeOf(plane, indexOf(affine, lps));

// The position moved within its own slice to another column and row: a drag in a plane leaves the depth as it is.
export function movedOn(affine, plane, lps, [column, row]) {
  const [, , slice] = placeOn(affine, plane, lps);
  return lpsOf(affine, indexAt(plane, [column, row, slice]));
}

// 'entry' or 'target', whichever lies under the hand; null where neither does. The nearer one goes first.
export function gripAt(affine, plane, at, line, hand) {
  return gripOfEnds(line, (lps) => toScreen(at, ...placeOn(affine, plane, lps)), hand);
}

// screenOf: from a position to a place on the canvas
export function gripOfEnds(line, screenOf, [x, y]) {
  const far = (end) => {
    const [px, py] = screenOf(line[end]);
    return Math.hypot(px - x, py - y);
  };
  const [[end, distance]] = ['entry', 'target'].map((one) => [one, far(one)]).sort((a, b) => a[1] - b[1]);
  return distance <= GRIP_PX ? end : null;
}

export const lengthMm = ({ entry, target }) => Math.hypot(...target.map((value, n) => value - entry[n]));

export function alongLine({ entry, target }, depthMm) {
  const part = depthMm / Math.max(lengthMm({ entry, target }), 1e-9);
  return entry.map((value, n) => value + part * (target[n] - value));
}

export const isSame = (one, other) => Boolean(one && other)
  && ['entry', 'target'].every((end) => one[end].every((value, n) => Math.abs(value - other[end][n]) < 1e-6));

// Depth of the nearest place of the line to a position, kept within the line.
export function depthNear(line, lps) {
  const along = line.target.map((value, n) => value - line.entry[n]), length = lengthMm(line);
  const dot = along.reduce((sum, value, n) => sum + value * (lps[n] - line.entry[n]), 0);
  return Math.min(Math.max(dot / Math.max(length, 1e-9), 0), length);
}

// Three numbers from a text as a person writes them; null where they are none.
export function numbersOf(text) {
  const parts = String(text).trim().split(/[\s,;]+/).map(Number);
  return parts.length === 3 && parts.every(Number.isFinite) ? parts : null;
}

// Value of a profile (distances in steps, null where nothing counts) at a depth: of the nearest sample.
export function profileAt({ distance_mm: depths, clearance_mm: byName }, depthMm) {
  if (!depths.length) return {};
  const last = depths.length - 1, n = Math.round((depthMm / Math.max(depths[last], 1e-9)) * last);
  const at = Math.min(Math.max(n, 0), last);
  return Object.fromEntries(Object.entries(byName).map(([name, values]) => [name, values[at]]));
}
