import assert from 'node:assert/strict';
import test from 'node:test';
import { erases, isStroke, LEAST_MM, MOST_MM, resized } from '../../../ui/viewer/brush.js';
import { actionOf, kindOf } from '../../../ui/viewer/gestures.js';
import { commandOf } from '../../../ui/viewer/keys.js';

const press = (tool, more = {}) => ({ kind: kindOf({ button: 0, ...more }, tool), x: 0, y: 0, nowX: 90, nowY: 0, wasFar: true, isNegative: Boolean(more.altKey) });

test('a stroke of the brush paints and one of the eraser erases, with Alt the other way round', () => {
  const asked = (tool, altKey) => actionOf(press(tool, { altKey }), tool);
  assert.deepEqual([asked('brush'), asked('brush', true), asked('erase'), asked('erase', true)], ['brush', 'erase', 'erase', 'brush']);
  assert.deepEqual([erases(press('brush')), erases(press('erase')), erases(press('erase', { altKey: true }))], [false, true, false]);
});

test('a click with the brush paints a disc, a right drag still changes the window', () => {
  assert.equal(actionOf({ ...press('brush'), nowX: 0, wasFar: false }, 'brush'), 'brush');
  assert.equal(actionOf(press('brush', { button: 2 }), 'brush'), null);
  assert.ok(isStroke('erase') && !isStroke('box'));
});

test('the keys [ and ] resize the brush by a fifth, back and forth, within its limits', () => {
  const key = (name) => commandOf({ key: name, target: { tagName: 'CANVAS' } });
  assert.deepEqual([key(']'), key('[')], [['brush', 1], ['brush', -1]]);
  assert.deepEqual([key('d'), key('X')], [['tool', 'brush'], ['tool', 'erase']]);
  assert.equal(resized(5, 1), 6);
  assert.equal(resized(6, -1), 5);
  assert.equal(resized(LEAST_MM, -1), LEAST_MM);
  assert.equal(resized(MOST_MM, 1), MOST_MM);
});

test('a click keeps the island under it', () => {
  assert.equal(actionOf({ ...press('island'), nowX: 0, wasFar: false }, 'island'), 'island');
  assert.equal(actionOf(press('island'), 'island'), null);
});
