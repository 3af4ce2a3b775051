import assert from 'node:assert/strict';
import test from 'node:test';
import { boxFrame, panned, placed, toScreen, toSlice, wholeFrame, zoomed } from '../../../ui/viewer/transform.js';

const PLANE = {
  across: 2, down: 0, flip_across: false, flip_down: true, size: [160, 40], pixel_mm: [1.5, 2.5],
};
const SIZE = [656, 540];
const near = (one, other) => one.forEach((value, n) => assert.ok(Math.abs(value - other[n]) < 1e-9, `${one} ${other}`));

test('a slice whose pixels are not square is drawn to scale', () => {
  const at = placed(wholeFrame(PLANE), SIZE, PLANE);
  assert.equal(at.sy / at.sx, 2.5 / 1.5);
  assert.equal(160 * at.sx, SIZE[0] - 56);  // the width limits it
});

test('the middle of the slice is the middle of the canvas', () => {
  near(toScreen(placed(wholeFrame(PLANE), SIZE, PLANE), 79.5, 19.5), [328, 270]);
});

test('the place under the mouse stays when the person zooms', () => {
  let frame = boxFrame(PLANE, [[5, 0, 30], [30, 9, 120]]);
  for (const factor of [1.7, 3, 0.4]) {
    const before = placed(frame, SIZE, PLANE), place = toSlice(before, 200, 300);
    frame = zoomed(frame, before, PLANE, [200, 300], factor);
    near(toScreen(placed(frame, SIZE, PLANE), ...place), [200, 300]);
  }
});

test('zooming out ends at the whole slice', () => {
  const frame = boxFrame(PLANE, [[5, 0, 30], [30, 9, 120]]);
  assert.deepEqual(zoomed(frame, placed(frame, SIZE, PLANE), PLANE, [0, 0], 0.001), wholeFrame(PLANE));
});

test('a drag moves the slice with the mouse', () => {
  const frame = wholeFrame(PLANE), at = placed(frame, SIZE, PLANE);
  near(toScreen(placed(panned(frame, at, 30, -20), SIZE, PLANE), 5, 5), toScreen(at, 5, 5).map((v, n) => v + [30, -20][n]));
});

test('a box of voxels is found on a plane whose rows run against the index', () => {
  const frame = boxFrame(PLANE, [[30, 0, 0], [39, 9, 159]], 0);
  assert.deepEqual([frame.y, frame.h], [0, 25]);  // the highest indices are at the top
});
