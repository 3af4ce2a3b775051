import assert from 'node:assert/strict';
import test from 'node:test';
import { boundsOf, lookedThrough, parsePly } from '../../../ui/viewer/ply.js';

const HEADER = ['ply', 'format binary_little_endian 1.0', 'comment SPACE=LPS', 'element vertex 3', 'property float x',
  'property float y', 'property float z', 'property uchar red', 'property uchar green', 'property uchar blue',
  'property uchar alpha', 'element face 1', 'property list uchar int vertex_indices', 'end_header'];

function file(header = HEADER) {
  const head = new TextEncoder().encode(header.join('\n') + '\n'), made = new ArrayBuffer(head.length + 3 * 16 + 13);
  new Uint8Array(made).set(head);
  const view = new DataView(made);
  [[1, 2, 3], [4, 5, 6], [-7, 8, 9.5]].forEach((vertex, row) => {
    vertex.forEach((one, n) => view.setFloat32(head.length + 16 * row + 4 * n, one, true));
    [10, 20, 30, 255].forEach((one, n) => view.setUint8(head.length + 16 * row + 12 + n, one + row * (n < 3)));
  });
  view.setUint8(head.length + 48, 3);
  [0, 2, 1].forEach((one, n) => view.setInt32(head.length + 49 + 4 * n, one, true));
  return made;
}

test('vertices, colours and triangles are read where they lie', () => {
  const { positions, indices, colours } = parsePly(file());
  assert.deepEqual([...positions], [1, 2, 3, 4, 5, 6, -7, 8, 9.5]);
  assert.deepEqual([...indices], [0, 2, 1]);
  assert.deepEqual([...colours], [10, 20, 30, 11, 21, 31, 12, 22, 32]);
  assert.deepEqual(boundsOf(positions), [[-7, 2, 3], [4, 8, 9.5]]);
});

test('a file in another frame, form or without triangles is refused', () => {
  const changed = (old, now) => file(HEADER.map((line) => (line === old ? now : line)));
  assert.throws(() => parsePly(changed('comment SPACE=LPS', 'comment SPACE=RAS')), /frame/);
  assert.throws(() => parsePly(changed(HEADER[1], 'format ascii 1.0')), /form/);
  assert.throws(() => parsePly(new TextEncoder().encode('<html>').buffer), /not a PLY/);
});

test('only what encloses another structure is looked through', () => {
  const liver = [[0, 0, 0], [100, 100, 100]], lesion = [[20, 20, 20], [40, 40, 40]], beside = [[90, 20, 20], [140, 40, 40]];
  assert.deepEqual(lookedThrough([liver, lesion, beside]), [true, false, false]);
  assert.deepEqual(lookedThrough([liver]), [false]);
});
