import assert from 'node:assert/strict';
import test from 'node:test';
import { LivePart } from '../../../ui/viewer/live_part.js';

test('the next best click opens its plane where another one is alone on the screen', () => {
  const chosen = [], state = { layout: '1', main: 'coronal', active: 'coronal', cross: [0, 0, 0] };
  const viewer = { state, choosePane: (name) => chosen.push(name), activate: () => assert.fail('not shown'), refresh() {} };
  LivePart.prototype.go.call({ viewer }, { index: [1, 2, 3], plane: 'axial' });
  assert.deepEqual(chosen, ['axial']);
  assert.deepEqual(state.cross, [1, 2, 3]);
});
