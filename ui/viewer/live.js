// The 3D mask follows the prompts: when it is begun, how far it is, and how it is stopped.

const QUIET_MS = 400;   // after a change, before anything is begun: the next prompt may come
const LOOK_MS = 400;
const TASKS = { mask: '3D mask', passes: 'uncertainty' };

export const isAtWork = (now) => now.state === 'waiting' || now.state === 'running';

// How far what is written after a plan is, in words.
function writingOf({ are_drawn: areDrawn, stage, done, total }) {
  const what = areDrawn ? 'Report of the plan' : 'Surfaces of the plan';
  return what + (stage ? ': ' + stage + (total ? ' ' + done + ' of ' + total : '') : ' …');
}

// What is going on, in words.
export function wordsOf(now) {
  const of = now.structure ? ' of ‘' + now.structure + '’' : '';
  if (now.writing && !isAtWork(now)) return writingOf(now.writing);
  const what = (TASKS[now.task] || '3D mask') + of;
  if (now.state === 'waiting') return what + ': waiting for other computations';
  if (now.state === 'running') return what + ': ' + (now.total ? now.done + ' of ' + now.total + ' slices' : 'begun');
  if (now.state === 'stopped') return what + ': stopped until the next prompt';
  if (now.state === 'failed') return what + ' failed: ' + now.problem;
  return now.state === 'off' ? 'The 3D mask does not follow; press “Segment in 3D”' : '';
}

export class Live {
  // page: {ask(method, path), isOpen(), isBlocked(), version(), awaitsSurfaces(), show(now), moved()}
  constructor(page, { quietMs = QUIET_MS, lookMs = LOOK_MS } = {}) {
    Object.assign(this, { page, quietMs, lookMs, now: { state: 'idle' }, timer: null, turn: 0, shownVersion: 0 });
  }

  // A person acts: nothing is begun before the answer has come.
  hold() {
    clearTimeout(this.timer);
    this.turn += 1;
  }

  // A state of the session is shown; what it lacks is begun when the hand has rested.
  accept() {
    this.hold();
    if (this.page.isOpen()) this.timer = setTimeout(() => this.tell('POST'), this.quietMs);
  }

  async tell(method, path = '') {
    if (!this.page.isOpen() || this.page.isBlocked()) return;
    this.hold();
    const { turn } = this, before = this.now;
    let now;
    try {
      now = await this.page.ask(method, path);
    } catch (problem) {
      now = { state: 'failed', problem: problem.message };
    }
    if (turn !== this.turn) return;  // a newer question is on its way, or follows what the person does
    this.now = now;
    this.page.show(now);
    if (isAtWork(now) || now.writing) this.timer = setTimeout(() => this.tell('GET'), this.lookMs);
    const hasEnded = isAtWork(before) && before.job !== now.job;
    const areDrawn = Boolean(now.writing && now.writing.are_drawn) && this.page.awaitsSurfaces() && this.drawn !== now.writing.job;
    const isBehind = !isAtWork(now) && now.version > Math.max(this.page.version(), this.shownVersion);
    if (!hasEnded && !isBehind && !areDrawn) return;
    if (areDrawn) this.drawn = now.writing.job;
    this.shownVersion = now.version;  // asked for once, even if it cannot be shown
    this.page.moved();
  }

  stop() { return this.tell('DELETE'); }

  switch(isOn) { return this.tell('PUT', '?is_on=' + isOn); }
}
