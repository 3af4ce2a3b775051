// Rulers and angles on a slice, in mm and degrees of the patient. They stay in the browser.
import { indexAt, lpsOf } from './grid.js';

const between = (one, other) => one.map((value, n) => other[n] - value);
const length = (vector) => Math.hypot(...vector);

const positions = (affine, plane, { points, index }) =>
  points.map(([column, row]) => lpsOf(affine, indexAt(plane, [column, row, index])));

export function lengthMm(affine, plane, measure) {
  const [first, last] = positions(affine, plane, measure);
  return length(between(first, last));
}

// At the middle one of three points.
export function angleDeg(affine, plane, measure) {
  const [first, middle, last] = positions(affine, plane, measure);
  const one = between(middle, first), other = between(middle, last);
  const cosine = one.reduce((sum, value, n) => sum + value * other[n], 0) / (length(one) * length(other));
  return (Math.acos(Math.min(Math.max(cosine, -1), 1)) * 180) / Math.PI;
}

export function told(affine, plane, measure) {
  return measure.points.length === 3
    ? angleDeg(affine, plane, measure).toFixed(1) + '°'
    : lengthMm(affine, plane, measure).toFixed(1) + ' mm';
}
