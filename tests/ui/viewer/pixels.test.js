import assert from 'node:assert/strict';
import test from 'node:test';
import { dragged, fillGrey, valueAt, valuesOf, written } from '../../../ui/viewer/pixels.js';

test('a window of centre 40 and width 400 shows -160 black, 240 white, and 40 in the middle', () => {
  const values = Int16Array.from([-1000, -160, 40, 240, 3000]), pixels = new Uint32Array(5);
  fillGrey(pixels, values, { centre: 40, width: 400 });
  assert.deepEqual([...pixels].map((pixel) => pixel & 255), [0, 0, 128, 255, 255]);
  assert.ok(pixels.every((pixel) => pixel >>> 24 === 255));
});

test('the value under the mouse is the stored one', () => {
  const values = valuesOf(Int16Array.from([1, 2, 3, 4, 5, 6]).buffer, 'int16');
  assert.equal(valueAt(values, [3, 2], [1.4, 0.6]), 5);
  assert.equal(valueAt(values, [3, 2], [-0.6, 0]), null);
  assert.equal(written(-1000, 'HU'), '-1000 HU');
  assert.equal(written(0.123456, ''), 'value 0.12346');
});

test('a drag to the right widens the window, down raises its centre', () => {
  const after = dragged({ centre: 40, width: 300 }, 10, 20);
  assert.deepEqual(after, { centre: 60, width: 310 });
  assert.ok(dragged(after, -10000, 0).width > 0);
});
