import assert from 'node:assert/strict';
import test from 'node:test';
import { nextAnswer, onThumbnail } from '../../../ui/viewer/answers.js';
import { commandOf } from '../../../ui/viewer/keys.js';
import { Live, wordsOf } from '../../../ui/viewer/live.js';
import { NextClick } from '../../../ui/viewer/next_click.js';
import { colourOf, sliceAt, told, xOf } from '../../../ui/viewer/strip.js';

const rest = (ms) => new Promise((done) => { setTimeout(done, ms); });

// A server that answers with these states in turn, the last one for ever.
function pageOf(states) {
  const asked = [], shown = [];
  let moves = 0;
  const page = {
    ask: async (method, path = '') => { asked.push(method + path); return states.length > 1 ? states.shift() : states[0]; },
    isOpen: () => true,
    isBlocked: () => false,
    version: () => 5,
    awaitsSurfaces: () => true,
    show: (now) => shown.push(now.state),
    moved: () => { moves += 1; },
  };
  return { page, asked, shown, moves: () => moves };
}

test('a job is begun after a quiet time only, followed to its end, and its result shown', async () => {
  const running = { state: 'running', job: 'a', done: 1, total: 4 };
  const { page, asked, shown, moves } = pageOf([running, running, { state: 'due', job: '' }]);
  const live = new Live(page, { quietMs: 20, lookMs: 5 });
  live.accept();
  await rest(8);
  live.accept();  // another state within the quiet time
  assert.deepEqual(asked, []);
  await rest(80);
  assert.deepEqual(asked, ['POST', 'GET', 'GET']);
  assert.deepEqual(shown, ['running', 'running', 'due']);
  assert.equal(moves(), 1);
});

test('a job that ended before its beginning was told is shown, too', async () => {
  const { page, moves } = pageOf([{ state: 'idle', version: 7 }]);
  await new Live(page).tell('POST');
  assert.equal(moves(), 1);
});

test('surfaces of a plan are fetched once when they are there, and the report when its job has ended', async () => {
  const writing = (areDrawn) => ({ state: 'idle', version: 5, writing: { job: 'w', stage: 'mesh', done: 1, total: 4, are_drawn: areDrawn } });
  const states = [writing(false), writing(true), writing(true), { state: 'idle', version: 6, writing: null }];
  const { page, asked, moves } = pageOf(states);
  const words = [], live = new Live({ ...page, show: (now) => words.push(wordsOf(now)) }, { quietMs: 1, lookMs: 2 });
  live.accept();
  for (let n = 0; n < 200 && asked.length < 4; n++) await rest(10);
  await rest(20);
  assert.deepEqual(asked, ['POST', 'GET', 'GET', 'GET']);
  assert.match(words[0], /^Surfaces of the plan: mesh 1 of 4/);
  assert.match(words[1], /^Report of the plan/);
  assert.equal(moves(), 2);
});

test('nothing is begun while the hand is at work', async () => {
  const { page, asked } = pageOf([{ state: 'idle' }]);
  const live = new Live(page, { quietMs: 5, lookMs: 5 });
  live.accept();
  live.hold();
  await rest(25);
  assert.deepEqual(asked, []);
});

test('a refusal is said and not asked again', async () => {
  const { page, asked, shown } = pageOf([]);
  page.ask = async (method) => { asked.push(method); throw new Error('no room'); };
  const live = new Live(page, { quietMs: 1, lookMs: 1 });
  live.accept();
  await rest(20);
  assert.deepEqual([asked, shown], [['POST'], ['failed']]);
  assert.equal(wordsOf(live.now), '3D mask failed: no room');
});

test('what is computed is said in words', () => {
  const running = { state: 'running', structure: 'liver', task: 'passes', done: 3, total: 9 };
  assert.equal(wordsOf(running), 'uncertainty of ‘liver’: 3 of 9 slices');
  assert.equal(wordsOf({ state: 'idle' }), '');
});

test('a place on the strip is the slice that the slider has there', () => {
  for (const slice of [0, 17, 39]) assert.equal(sliceAt(xOf(slice, 40, 300), 40, 300), slice);
  assert.deepEqual([sliceAt(-50, 40, 300), sliceAt(999, 40, 300), sliceAt(5, 1, 300)], [0, 39, 0]);
});

const STRIP = {
  filled: [[3, 5]], prompted: [4], spread_mm: [null, null, null, 0.5, 1, null], quality: { 3: 0.914 }, is_stale: false,
  ends: [{ index: 2, side: 0, words: 'towards the feet: the structure vanished' }],
};

test('a slice is told in plain words, and what is unknown as unknown', () => {
  assert.equal(told(STRIP, 3), 'Slice 4 · surface varies by 0.5 mm between passes · expected overlap 91 %');
  assert.equal(told(STRIP, 4), 'Slice 5 · prompted · surface varies by 1.0 mm between passes');
  assert.equal(told(STRIP, 5), 'Slice 6 · in the mask, how sure is not known');
  assert.equal(told(STRIP, 2), 'Slice 3 · outside the mask · the mask ends towards the feet: the structure vanished');
  assert.equal(told({ ...STRIP, filled: [] }, 1), 'Slice 2 · no 3D mask yet');
  assert.match(told({ ...STRIP, is_stale: true }, 3), /of older prompts$/);
});

test('colours go over the scale, and unknown is grey', () => {
  const scale = { low: 0, high: 2, stops: ['a', 'b', 'c'] };
  assert.deepEqual([0, 1, 2, 9].map((value) => colourOf(value, scale)), ['a', 'b', 'c', 'c']);
  assert.equal(colourOf(null, scale), colourOf(1, null));
});

test('repeated presses go to the next place, and begin again after a change', async () => {
  const went = [], said = [];
  let version = 1, asked = 0;
  const places = [{ index: [1, 2, 3], plane: 'axial', words: 'first.' }, { index: [4, 5, 6], plane: 'axial', words: 'second.' }];
  const next = new NextClick({
    ask: async () => { asked += 1; return places; }, version: () => version,
    go: (place) => went.push(place.index[0]), say: (words) => said.push(words),
  });
  for (let n = 0; n < 3; n += 1) await next.next();
  version = 2;
  await next.next();
  assert.deepEqual([went, asked], [[1, 4, 1, 1], 2]);
  assert.equal(said[1], '2 of 2: second.');
});

test('the other answer is the next one shown, and no number is invented', () => {
  const answers = [{ candidate: 0 }, { candidate: 2 }];
  assert.equal(nextAnswer({ answers, chosen: 0 }), 2);
  assert.equal(nextAnswer({ answers, chosen: 2 }), 0);
  assert.equal(nextAnswer({ answers: [], chosen: 0 }), null);
  assert.deepEqual(onThumbnail([10, 20, 40, 40], [30, 40], 80), [40, 40]);
});

test('N and O are keys of the page', () => {
  const press = (key) => commandOf({ key, target: { tagName: 'CANVAS' } });
  assert.deepEqual([press('n'), press('O')], [['next'], ['other']]);
});
