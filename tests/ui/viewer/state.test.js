import assert from 'node:assert/strict';
import test from 'node:test';
import { angleDeg, lengthMm } from '../../../ui/viewer/measures.js';
import { Newest, SliceStore } from '../../../ui/viewer/slices.js';
import * as moves from '../../../ui/viewer/state.js';

const plane = (axis, across, down, size, pixel, flip = false) =>
  ({ axis, across, down, size, pixel_mm: pixel, flip_across: false, flip_down: flip, count: [40, 128, 160][axis] });
const SCENE = {
  is_open: true, shape: [40, 128, 160], first_plane: 'axial', windows: { only: { centre: 0, width: 1 } }, body: null,
  affine: [[0, 0, 1.5, 0], [0, 1.5, 0, 0], [2.5, 0, 0, 0]],
  planes: {
    axial: plane(0, 2, 1, [160, 128], [1.5, 1.5]),
    coronal: plane(1, 2, 0, [160, 40], [1.5, 2.5], true),
    sagittal: plane(2, 1, 0, [128, 40], [1.5, 2.5], true),
  },
};
const open = () => {
  const state = moves.newState();
  state.scene = SCENE;
  moves.beginStudy(state);
  return state;
};

test('the crosshair on one plane is the slice of the other two', () => {
  const state = open();
  moves.moveCross(state, 'axial', 7, [33, 90]);
  assert.deepEqual(moves.PLANES.map((name) => moves.sliceOf(state, name)), [7, 90, 33]);
  moves.nudgeCross(state, 'coronal', [1, 1]);  // down on a coronal slice is towards the feet
  assert.deepEqual(moves.PLANES.map((name) => moves.sliceOf(state, name)), [6, 90, 34]);
});

test('scrolling ends at the first and the last slice', () => {
  const state = open();
  moves.step(state, 'axial', Infinity);
  assert.equal(moves.sliceOf(state, 'axial'), 39);
  moves.step(state, 'axial', -Infinity);
  assert.equal(moves.sliceOf(state, 'axial'), 0);
});

test('a plane is enlarged and made small again', () => {
  const state = open();
  moves.toggleMaximised(state, 'sagittal');
  assert.deepEqual(moves.shownPanes(state), ['sagittal']);
  moves.toggleMaximised(state, 'sagittal');
  assert.deepEqual(moves.shownPanes(state), moves.PANES);
});

test('an enlarged pane goes back to the layout and the large pane there were; 3D leaves the active plane', () => {
  const state = open();
  moves.chooseLayout(state, '4');
  moves.toggleMaximised(state, '3d');
  assert.deepEqual([moves.shownPanes(state), moves.loadedPlanes(state, false), state.active], [['3d'], ['axial'], 'axial']);
  moves.toggleMaximised(state, '3d');
  assert.deepEqual([state.layout, state.main, moves.shownPanes(state)], ['4', 'axial', moves.PANES]);
  moves.choosePane(state, 'coronal');
  moves.chooseLayout(state, '1');
  assert.deepEqual(moves.shownPanes(state), ['coronal']);
});

test('lengths are in mm of the patient where pixels are not square, and angles true', () => {
  const ruler = { index: 3, points: [[0, 0], [0, 10]] };
  assert.equal(lengthMm(SCENE.affine, SCENE.planes.coronal, ruler), 25);
  const corner = { index: 3, points: [[10, 0], [0, 0], [10, 6]] };  // 15 mm across, 15 mm down
  assert.ok(Math.abs(angleDeg(SCENE.affine, SCENE.planes.coronal, corner) - 45) < 1e-9);
});

test('while a slice is on its way only the newest one wanted is asked for', async () => {
  const asked = [], shown = [], waiting = [];
  const load = (request) => { asked.push(request.index); return new Promise((done) => { waiting.push(done); }); };
  const newest = new Newest(load, (found) => shown.push(found), () => {});
  const end = newest.want({ index: 1 });
  [2, 3, 4].forEach((index) => newest.want({ index }));
  waiting[0]('one');
  await new Promise((done) => { setTimeout(done); });
  waiting[1]('four');
  await end;
  assert.deepEqual([asked, shown], [[1, 4], ['one', 'four']]);
});

const answerOf = (value) => ({
  ok: true,
  headers: { get: () => 'int16' },
  arrayBuffer: async () => new Int16Array(4).fill(value).buffer,
  json: async () => ({ overlay: null }),
});

test('the values of a slice are fetched once, its layers once per version', async () => {
  const asked = [];
  const fetch = async (address) => { asked.push(address.split('?')[0]); return answerOf(0); };
  const store = new SliceStore(fetch, async () => null);
  for (const version of [1, 1, 2]) await store.slice({ views: 'views', slices: 'slices', version }, 'axial', 3, 'outline');
  assert.deepEqual(asked.sort(), ['slices', 'views', 'views']);
});

test('a slice that is on its way is not fetched again, and is not kept for the next study', async () => {
  const waiting = [];
  const store = new SliceStore(() => new Promise((done) => { waiting.push(done); }), async () => null);
  const slice = () => store.slice({ views: 'views', slices: 'slices', version: 1 }, 'axial', 3, 'outline');
  const ahead = slice(), again = slice();
  assert.equal(waiting.length, 2);  // its values and its layers
  store.clear();
  waiting.forEach((done) => done(answerOf(1)));
  assert.deepEqual([(await ahead).values[0], (await again).values[0]], [1, 1]);
  const next = slice();
  waiting.slice(2).forEach((done) => done(answerOf(2)));
  assert.equal((await next).values[0], 2);
});
