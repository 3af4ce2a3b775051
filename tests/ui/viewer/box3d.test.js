import assert from 'node:assert/strict';
import test from 'node:test';
import { begunBox, cutOf, deepened, isThick, movedSides, sidesAt, sizeMm } from '../../../ui/viewer/box3d.js';
import { discRadius } from '../../../ui/viewer/draw_layers.js';
import { actionOf } from '../../../ui/viewer/gestures.js';
import { keyAction, neighbour } from '../../../ui/viewer/structure_list.js';

// 40 slices of 2.5 mm, rows and columns of 1.5 mm; on the screen the patient's head is up.
const SCENE = { shape: [40, 128, 160], affine: [[0, 0, 1.5, 0], [0, 1.5, 0, 0], [2.5, 0, 0, 0]] };
const AXIAL = { axis: 0, across: 2, down: 1, flip_across: false, flip_down: false, size: [160, 128] };
const CORONAL = { axis: 1, across: 2, down: 0, flip_across: false, flip_down: true, size: [160, 40] };
const box = () => begunBox(SCENE, AXIAL, 20, [60, 50], [40, 70]);

test('a rectangle of 30 mm becomes a box of 30 mm around its slice', () => {
  assert.deepEqual(box(), { low: [14, 50, 40], high: [26, 70, 60], from: 0 });
  assert.deepEqual(sizeMm(SCENE, box()), [13 * 2.5, 21 * 1.5, 21 * 1.5]);
});

test('a drag on another plane gives the depth, whichever way it goes, and nothing else', () => {
  // On the coronal plane row 0 is the head: slice 39.
  const deep = deepened(SCENE, box(), CORONAL, 60, [10, 9], [12, 29]);
  assert.deepEqual(deep, { low: [10, 50, 40], high: [30, 70, 60], from: 0 });
});

test('a box stays in the volume and has two voxels', () => {
  const large = begunBox(SCENE, AXIAL, 2, [-20, -20], [500, 500]);
  assert.deepEqual([large.low, large.high], [[0, 0, 0], [39, 127, 159]]);
  const thin = movedSides(SCENE, box(), AXIAL, { across: 'left', down: null }, [999, 0]);
  assert.deepEqual([thin.low[2], thin.high[2], isThick(thin)], [59, 60, true]);
});

test('a side is taken near it and moved on a flipped plane, too', () => {
  const cut = cutOf(box(), CORONAL, 60);
  assert.deepEqual([cut.top, cut.bottom, cut.isCut], [12.5, 25.5, true]);
  assert.deepEqual(sidesAt(cut, [50, 13], [1, 1]), { across: null, down: 'top' });
  assert.equal(sidesAt(cut, [50, 20], [1, 1]), null);
  assert.equal(sidesAt(cut, [5, 13], [1, 1]), null);
  const moved = movedSides(SCENE, box(), CORONAL, { across: null, down: 'top' }, [50, 4]);
  assert.deepEqual([moved.low, moved.high], [[14, 50, 40], [35, 70, 60]]);  // the head's side
});

test('a lasso needs a drag, a click with its tool or with the 3D box is a point', () => {
  const drag = (kind, wasFar) => ({ kind, x: 0, y: 0, nowX: wasFar ? 1 : 0, nowY: 0, wasFar });
  assert.equal(actionOf(drag('lasso', true), 'lasso'), 'lasso');  // closed: it ends where it began
  assert.equal(actionOf(drag('lasso', false), 'lasso'), 'positive');
  assert.equal(actionOf(drag('box3d', true), 'box3d'), null);
  assert.equal(actionOf(drag('box3d', false), 'box3d'), 'positive');
});

test('a disc is a fifth of a small structure, never larger than on an empty slice', () => {
  const outline = (size) => [{ active: true, lines: [[[0, 0], [size, 0], [size, size], [0, size]]] }];
  const at = { sx: 2, sy: 2 };
  assert.deepEqual([discRadius(at, []), discRadius(at, outline(10)), discRadius(at, outline(100))], [7, 4, 7]);
  assert.equal(discRadius(at, outline(1)), 3);
});

test('keys on a structure move, rename, hide and delete, and letters are left to the viewer', () => {
  assert.deepEqual(keyAction({ key: 'ArrowDown' }), ['focus', 1]);
  assert.deepEqual(keyAction({ key: 'ArrowUp', altKey: true }), ['move', -1]);
  assert.deepEqual(['F2', 'Delete', 'H'].map((key) => keyAction({ key })[0]), ['rename', 'delete', 'hidden']);
  assert.equal(keyAction({ key: 'b' }), null);
  assert.deepEqual([neighbour(['a', 'b'], 'a', -1), neighbour(['a', 'b'], 'a', 1)], ['a', 'b']);
});
