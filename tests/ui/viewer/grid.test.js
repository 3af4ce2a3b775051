import assert from 'node:assert/strict';
import test from 'node:test';
import { indexAt, indexFromLps, lpsOf, placeOf, side, slicePosition } from '../../../ui/viewer/grid.js';

// 40 slices of 128 × 160 voxels; head up, the index of the second axis runs to the back.
const AFFINE = [[0, 0, 1.5, -119.25], [0, 1.5, 0, -95.25], [2.5, 0, 0, -48.75]];
const CORONAL = {
  count: 128, axis: 1, across: 2, down: 0, flip_across: false, flip_down: true, size: [160, 40], normal: 1,
};

test('a place on a slice and its voxel are the same point', () => {
  const index = indexAt(CORONAL, [12.25, 3, 60]);
  assert.deepEqual(index, [36, 60, 12.25]);
  assert.deepEqual(placeOf(CORONAL, index), [12.25, 3, 60]);
});

test('upwards on a coronal slice is towards the head, rightwards to the left of the patient', () => {
  const at = (column, row) => lpsOf(AFFINE, indexAt(CORONAL, [column, row, 60]));
  assert.ok(at(0, 0)[2] > at(0, 39)[2]);
  assert.ok(at(159, 0)[0] > at(0, 0)[0]);
});

test('a coordinate is read with its side', () => {
  assert.deepEqual([side(12, 0), side(-12, 0), side(3.04, 1), side(-5, 2)], ['L 12.0', 'R 12.0', 'P 3.0', 'I 5.0']);
  assert.equal(slicePosition(AFFINE, CORONAL, 60), 'A 5.3 mm');
});

test('a place in the patient and its voxel are the same point on an oblique grid, too', () => {
  const oblique = [[0.2, 0.9, 1.4, -80], [-0.3, 1.2, -0.8, 12], [2.4, 0.3, 0.1, -40]], index = [3.5, 17, 101.25];
  indexFromLps(oblique, lpsOf(oblique, index)).forEach((one, n) => assert.ok(Math.abs(one - index[n]) < 1e-9));
});
