import assert from 'node:assert/strict';
import test from 'node:test';
import { actionOf, isFar, kindOf, Wheel } from '../../../ui/viewer/gestures.js';
import { commandOf, isTyping } from '../../../ui/viewer/keys.js';

const drag = (kind, dx, more = {}) => ({ kind, x: 0, y: 0, nowX: dx, nowY: 0, wasFar: dx > 5, ...more });
const CANVAS = { tagName: 'CANVAS' };
const key = (name, more = {}) => commandOf({ key: name, target: CANVAS, ...more });

test('a tremor of five pixels is a click, six are a drag', () => {
  assert.deepEqual([isFar(drag('box', 5)), isFar(drag('box', 6))], [false, true]);
  assert.equal(actionOf(drag('box', 5), 'box'), 'positive');
  assert.equal(actionOf(drag('box', 6), 'box'), 'box');
});

test('a box dragged back to its start is cancelled', () => {
  assert.equal(actionOf(drag('box', 2, { wasFar: true }), 'box'), null);
});

test('the right button is a point outside, or the window when it drags', () => {
  const kind = kindOf({ button: 2 }, 'box');
  assert.equal(actionOf(drag(kind, 0), 'box'), 'negative');
  assert.equal(actionOf(drag(kind, 60), 'box'), null);
  assert.equal(actionOf(drag(kind, 0), 'target'), null);
});

test('Alt and the left button are a point outside, Shift moves the crosshair, the middle button pans', () => {
  assert.equal(kindOf({ button: 0, altKey: true }, 'box'), 'negative');
  assert.equal(kindOf({ button: 0, shiftKey: true }, 'box'), 'cross');
  assert.equal(kindOf({ button: 1 }, 'box'), 'pan');
  assert.equal(kindOf({ button: 0 }, 'navigate'), 'cross');
});

test('a drag with the point tool places nothing', () => assert.equal(actionOf(drag('point', 30), 'point'), null));

test('a notch of the wheel is one slice, a fast turn several, a touchpad adds up', () => {
  const wheel = new Wheel();
  assert.equal(wheel.steps({ deltaY: 100 }), 1);
  assert.equal(wheel.steps({ deltaY: -120 }), -1);
  assert.equal(wheel.steps({ deltaY: 3, deltaMode: 1 }), 1);
  assert.equal(wheel.steps({ deltaY: 480 }), 4);
  assert.deepEqual([8, 8, 8, 8].map((deltaY) => wheel.steps({ deltaY })), [0, 0, 0, 1]);
});

test('keys choose tools, windows and slices wherever the focus is', () => {
  assert.deepEqual(['p', 'B', 's', 't', 'e', 'v', 'r'].map((name) => key(name)[1]),
    ['point', 'box', 'scribble', 'target', 'entry', 'navigate', 'ruler']);
  assert.deepEqual(key('2'), ['preset', 1]);
  assert.deepEqual(key('PageDown'), ['step', 10]);
  assert.deepEqual(key('ArrowLeft', { shiftKey: true }), ['nudge', [-1, 0]]);
  assert.deepEqual(key('z', { ctrlKey: true }), ['act', 'undo']);
  assert.deepEqual(key('Z', { ctrlKey: true, shiftKey: true }), ['act', 'redo']);
  assert.deepEqual(key('Enter', { altKey: true }), ['place', false]);
  assert.equal(key('c', { ctrlKey: true }), null);
});

test('whoever types a text is not disturbed', () => {
  for (const target of [{ tagName: 'TEXTAREA' }, { tagName: 'INPUT', type: 'number' }, { tagName: 'SELECT' }]) {
    assert.ok(isTyping(target));
    assert.equal(commandOf({ key: 'b', target }), null);
  }
  const slider = { tagName: 'INPUT', type: 'range', getAttribute: () => null };
  assert.equal(commandOf({ key: 'ArrowLeft', target: slider }), null);  // the slider moves
  assert.deepEqual(commandOf({ key: 'b', target: slider }), ['tool', 'box']);
  assert.equal(commandOf({ key: 'Enter', target: { tagName: 'BUTTON' } }), null);  // the button is pressed
});
