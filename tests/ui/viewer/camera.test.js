import assert from 'node:assert/strict';
import test from 'node:test';
import * as seen from '../../../ui/viewer/camera.js';

const SIZE = [400, 300];
const FRONT = { azimuth: 0, elevation: 0, centre: [0, 0, 0], perMm: 2 };
const close = (found, wanted) => found.forEach((one, n) => assert.ok(Math.abs(one - wanted[n]) < 1e-6, found + ' is not ' + wanted));

test('from each side the patient is seen as a reader of images knows it', () => {
  const wanted = {
    A: ['R', 'L', 'S'], P: ['L', 'R', 'S'], L: ['A', 'P', 'S'], R: ['P', 'A', 'S'], H: ['L', 'R', 'A'], F: ['R', 'L', 'A'],
  };
  Object.entries(wanted).forEach(([side, [left, right, top]]) => {
    const found = seen.letters(seen.looking(FRONT, seen.VIEWS[side]));
    assert.deepEqual([found.left, found.right, found.top], [left, right, top], side);
  });
});

test('the picture is never a mirror image: right, up and towards the viewer are a right-handed frame', () => {
  for (const [azimuth, elevation] of [[0, 0], [37, 21], [180, 90], [-120, -65]]) {
    const { right, up, forward } = seen.basis({ azimuth, elevation });
    close(seen.cross(right, up), forward.map((one) => -one));
  }
});

test('from the front left is right on the canvas, the head is up, and the back is further away', () => {
  close(seen.projected(FRONT, SIZE, [10, 0, 0]), [220, 150, 0]);
  close(seen.projected(FRONT, SIZE, [0, 5, 20]), [200, 110, 5]);
});

test('a drag to the right turns what is in front to the right, and the head never goes down', () => {
  const before = seen.projected(FRONT, SIZE, [0, -50, 0])[0];
  assert.ok(seen.projected(seen.turned(FRONT, 20, 0), SIZE, [0, -50, 0])[0] > before);
  assert.equal(seen.turned(FRONT, 0, 4000).elevation, 90);
  assert.equal(seen.turned(FRONT, 0, -4000).elevation, -90);
  assert.equal(Math.abs(seen.turned(FRONT, 720, 0).azimuth) % 360, 0);
});

test('the place under the mouse stays there while it is enlarged, and follows a drag', () => {
  const camera = { ...FRONT, azimuth: 30, elevation: 20 }, point = [12, -7, 30];
  const [x, y] = seen.projected(camera, SIZE, point);
  close(seen.projected(seen.nearer(camera, SIZE, [x, y], 3), SIZE, point).slice(0, 2), [x, y]);
  close(seen.projected(seen.shifted(camera, 15, -9), SIZE, point).slice(0, 2), [x + 15, y - 9]);
});

test('what is fitted lies on the canvas, with its middle in the middle', () => {
  const points = [[-50, 0, 0], [150, 40, 20], [0, -300, 80]];
  const camera = seen.fitted(seen.looking(FRONT, seen.VIEWS.L), SIZE, points);
  points.map((point) => seen.projected(camera, SIZE, point)).forEach(([x, y]) =>
    assert.ok(x >= 0 && y >= 0 && x <= SIZE[0] && y <= SIZE[1]));
});

test('the nearest line within reach is chosen; beyond its ends there is none', () => {
  const lines = [{ entry: [0, 0, 0], target: [50, 0, 0] }, { entry: [0, 0, 10], target: [50, 0, 10] }];
  assert.equal(seen.lineAt(FRONT, SIZE, lines, [240, 153], 8), 0);
  assert.equal(seen.lineAt(FRONT, SIZE, lines, [240, 133], 8), 1);
  assert.equal(seen.lineAt(FRONT, SIZE, lines, [240, 170], 8), -1);
  assert.equal(seen.lineAt(FRONT, SIZE, lines, [310, 150], 8), -1);
});

test('a cut takes away the side of the viewer, from wherever one looks', () => {
  const keeps = ({ normal, offset }, point) => normal[0] * point[0] + normal[1] * point[1] + normal[2] * point[2] >= offset;
  const back = seen.looking(FRONT, seen.VIEWS.P);
  for (const camera of [FRONT, back]) {
    const plane = seen.cutPlane(camera, [0, 2, 0], [0, 10, 0]);
    const front = camera === FRONT ? [0, 0, 0] : [0, 20, 0], behind = camera === FRONT ? [0, 20, 0] : [0, 0, 0];
    assert.equal(keeps(plane, front), false);
    assert.equal(keeps(plane, behind), true);
  }
});
