import assert from 'node:assert/strict';
import test from 'node:test';
import { Connection } from '../../../ui/viewer/connection.js';

// A page on a server whose answers come when the test says so.
function pageOf({ version = 3, isWaiting = false, told = {} } = {}) {
  const bars = {}, answers = [];
  let token = 'one', restored = 0;
  globalThis.document = { querySelectorAll: () => [] };
  globalThis.fetch = () => new Promise((done) => { answers.push((status) => done({ status, ok: status === 200, json: async () => told })); });
  const connection = new Connection({
    root: { querySelector: (name) => (bars[name] = bars[name] || { hidden: true }) },
    token: () => token,
    scene: () => ({ version, is_open: true }),
    isWaiting: () => isWaiting,
    send: { restore: () => { restored += 1; } },
    lost: () => {},
  });
  return { connection, answers, comesBack: () => { token = 'two'; }, restored: () => restored };
}

for (const [what, ask] of [
  ['a slice', (connection) => connection.fetch('slices/one?index=3')],
  ['the sign of life', (connection) => connection.poll()],
]) {
  test('a late refusal of ' + what + ' that was asked for before the page came back does not say that it is elsewhere', async () => {
    for (const status of [404, 409]) {
      const { connection, answers, comesBack, restored } = pageOf();
      const asked = ask(connection);
      comesBack();
      answers[0](status);
      await asked;
      assert.equal(connection.isElsewhere, false);
      assert.equal(restored(), 0);
    }
  });

  test('a refusal of ' + what + ' of the page as it is says that it is elsewhere, or forgotten', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const taken = pageOf(), first = ask(taken.connection);
    taken.answers[0](409);
    await first;
    assert.equal(taken.connection.isElsewhere, true);
    const forgotten = pageOf(), second = ask(forgotten.connection);
    forgotten.answers[0](404);
    await second;
    assert.equal(forgotten.restored(), 1);
  });
}

// The sign of life fails once, then is answered this often.
async function lostOnce(page, answers) {
  const first = page.connection.poll();
  page.answers[0](500);
  await first;
  assert.equal(page.connection.isLost, true);
  for (let n = 1; n <= answers; n++) {
    const next = page.connection.poll();
    page.answers[n](200);
    await next;
  }
  return page.restored();
}

test('a page whose server was slow, and which missed nothing, does not take its work over again', async () => {
  assert.equal(await lostOnce(pageOf({ told: { version: 3, is_computing: false } }), 3), 0);
});

test('a page that was not answered, or missed a newer state, comes back', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  assert.equal(await lostOnce(pageOf({ isWaiting: true, told: { version: 3, is_computing: false } }), 2), 1);
  assert.equal(await lostOnce(pageOf({ told: { version: 4, is_computing: false } }), 2), 1);
  assert.equal(await lostOnce(pageOf({ told: { version: 4, is_computing: true } }), 3), 0);
});
