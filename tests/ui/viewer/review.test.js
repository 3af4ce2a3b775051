// A path on the slices, and answers that arrive while it moves.
import assert from 'node:assert/strict';
import test from 'node:test';
import { lpsOf } from '../../../ui/viewer/grid.js';
import {
  alongLine, depthNear, gripAt, indexOf, isSame, lengthMm, movedOn, numbersOf, placeOn, profileAt,
} from '../../../ui/viewer/review_geometry.js';
import { scaleOf } from '../../../ui/viewer/review_profile.js';
import { LineReader } from '../../../ui/viewer/review_reader.js';

// Array axes along S, P, L with 2.5, 1.5 and 1 mm, turned about z by 30°.
const [c, s] = [Math.cos(Math.PI / 6), Math.sin(Math.PI / 6)];
const AFFINE = [[0, -1.5 * s, c, 5], [0, 1.5 * c, s, -7], [2.5, 0, 0, 11]];
const AXIAL = { axis: 0, across: 2, down: 1, flip_across: false, flip_down: true, size: [100, 80] };
const near = (one, other) => one.forEach((value, n) => assert.ok(Math.abs(value - other[n]) < 1e-9, one + ' is not ' + other));

test('the index of a position is where the affine leads back from', () => {
  [[0, 0, 0], [3, 7.5, 20.25]].forEach((index) => near(indexOf(AFFINE, lpsOf(AFFINE, index)), index));
});

test('a drag in a plane moves an end to the hand and leaves its depth', () => {
  const lps = lpsOf(AFFINE, [4.4, 30, 40]), moved = movedOn(AFFINE, AXIAL, lps, [12, 34]);
  near(placeOn(AFFINE, AXIAL, moved), [12, 34, 4.4]);
  assert.ok(Math.abs(moved[2] - lps[2]) < 1e-9);
});

test('the hand grips the nearer end, and neither from afar', () => {
  const line = { entry: lpsOf(AFFINE, [0, 40, 20]), target: lpsOf(AFFINE, [0, 40, 60]) };
  const at = { x0: 0, y0: 0, sx: 2, sy: 2 };
  const [column, row] = placeOn(AFFINE, AXIAL, line.target);
  assert.equal(gripAt(AFFINE, AXIAL, at, line, [(column + 0.5) * 2 + 3, (row + 0.5) * 2]), 'target');
  assert.equal(gripAt(AFFINE, AXIAL, at, line, [(column + 0.5) * 2 + 30, (row + 0.5) * 2]), null);
});

test('depth runs from the entry to the target, and no farther', () => {
  const line = { entry: [0, 0, 0], target: [0, 30, 40] };
  assert.equal(lengthMm(line), 50);
  near(alongLine(line, 25), [0, 15, 20]);
  assert.equal(depthNear(line, [9, 15, 20]), 25);
  assert.equal(depthNear(line, [0, 300, 400]), 50);
  assert.ok(isSame(line, { entry: [0, 0, 0], target: [0, 30, 40] }) && !isSame(line, null));
});

test('coordinates are read as a person writes them, and words are none', () => {
  assert.deepEqual(numbersOf(' -1.5, 2;3 '), [-1.5, 2, 3]);
  ['1 2', 'a b c', '1 2 3 4', ''].forEach((text) => assert.equal(numbersOf(text), null));
});

test('a profile is read at its nearest sample, and its chart leads back to the depth', () => {
  const profile = { distance_mm: [0, 10, 20], clearance_mm: { vessel: [5, 1, null] } };
  assert.deepEqual(profileAt(profile, 9), { vessel: 1 });
  assert.deepEqual(profileAt(profile, 99), { vessel: null });
  const at = scaleOf(profile, [300, 150]);
  assert.ok(Math.abs(at.depth(at.x(13)) - 13) < 1e-9);
  assert.ok(at.y(1) > at.y(5));
});

test('an answer of an older line is never shown, and lines between are not asked for', async () => {
  const asked = [], shown = [], waiting = [];
  const post = (body) => { asked.push(body.number); return new Promise((answer) => waiting.push(() => answer({ number: body.number }))); };
  const reader = new LineReader(post, (answer) => shown.push(answer && answer.number));
  const line = { entry: [0, 0, 0], target: [1, 1, 1] };
  const done = reader.ask(line, {});
  reader.ask(line, {});
  reader.ask(line, {});
  waiting.shift()();
  await new Promise((next) => setTimeout(next));
  waiting.shift()();
  await done;
  assert.deepEqual(asked, [1, 3]);
  assert.deepEqual(shown, [null, null, null, 3]);
});

test('a question that fails is told, unless another line was asked for since', async () => {
  const shown = [];
  const reader = new LineReader(() => Promise.reject(new Error('500')), (answer) => shown.push(answer && answer.detail));
  await reader.ask({ entry: [0, 0, 0], target: [1, 1, 1] }, {});
  assert.equal(shown.length, 2);
  assert.match(shown[1], /did not answer \(500\)/);
});
