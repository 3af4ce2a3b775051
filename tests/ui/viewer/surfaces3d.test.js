import assert from 'node:assert/strict';
import test from 'node:test';
import { Surfaces } from '../../../ui/viewer/surfaces3d.js';

const of = (address, more = {}) => ({ kind: 'structure', name: 'liver', address, opacity: 1, ...more });

function pageOf(wanted) {
  const asked = [];
  let answer = async (address) => ({ of: address });
  const page = {
    wanted: () => page.now, now: wanted, begun() {}, loaded() {}, answers(give) { answer = give; },
    load: (address) => { asked.push(address); return answer(address); },
  };
  return { page, asked, surfaces: new Surfaces(page) };
}

test('the surface of the mask before stands in, translucent, until the new one is there', async () => {
  const { page, surfaces } = pageOf([of('a')]);
  await surfaces.load();
  page.now = [of('b')];
  assert.deepEqual(surfaces.there, [of('a', { opacity: 0.5 })]);
  await surfaces.load();
  assert.deepEqual(surfaces.there, [of('b')]);
  assert.deepEqual([...surfaces.triangles.keys()].sort(), ['b']);
});

test('each is asked for once, and only while it is wanted', async () => {
  const { page, asked, surfaces } = pageOf([of('a'), of('b', { name: 'vessel' })]);
  await Promise.all([surfaces.load(), surfaces.load()]);
  await surfaces.load();
  assert.deepEqual(asked, ['a', 'b']);
  page.now = [];
  await surfaces.load();
  assert.deepEqual([surfaces.there, surfaces.triangles.size], [[], 0]);
});

test('what was superseded on its way is no problem, and what failed hides the older one and is said', async () => {
  const { page, surfaces } = pageOf([of('a')]);
  await surfaces.load();
  page.now = [of('b')];
  page.answers(async () => null);
  await surfaces.load();
  assert.deepEqual([surfaces.there.length, surfaces.problems], [1, '']);
  page.now = [of('c')];
  page.answers(async () => { throw new Error('no room'); });
  await surfaces.load();
  assert.deepEqual([surfaces.there, surfaces.problems], [[], '‘liver’ is not shown: no room']);
});

test('an older surface of a plan never stands in for a newer one', async () => {
  const { page, surfaces } = pageOf([of('a', { kind: 'risk' })]);
  await surfaces.load();
  page.now = [of('b', { kind: 'risk' })];
  assert.deepEqual(surfaces.there, []);
});
