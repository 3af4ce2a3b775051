// Whether the server is there, and whether this page still holds its work.

const POLL_MS = 2500, POLL_PATIENCE_MS = 4000, COME_BACK_MS = 10000;

export class Connection {
  // page: {root, token(), scene(), send, lost(), isWaiting()}
  constructor(page) {
    Object.assign(this, { page, isLost: false, isElsewhere: false, isComingBack: false, wasLost: false, missed: null });
  }

  get isBlocked() { return this.isLost || this.isElsewhere; }

  begin() {
    if (!this.page.root.isConnected) return;
    this.poll().finally(() => setTimeout(() => this.begin(), this.isLost ? POLL_MS / 2 : POLL_MS));
  }

  setLost(now) {
    this.isLost = now;
    if (now) this.page.lost();
    this.show('lost', now);
  }

  setElsewhere(now) {
    this.isElsewhere = now;
    this.show('elsewhere', now);
  }

  show(name, isShown) {
    this.page.root.querySelector('[data-bar="' + name + '"]').hidden = !isShown;
    const scene = this.page.scene();
    document.querySelectorAll('#tabs, .mv-bar, .mv-stage, .mv-foot').forEach((part) => {
      const isOpen = part.id === 'tabs' || part.matches('.mv-stage') || (scene && scene.is_open);
      part.inert = this.isBlocked || !isOpen;
    });
  }

  // As the browser's, noting what the answer says about the page. A page that came back has another token: what was asked
  // for with the one before is refused, because the page itself has taken its work, and says nothing about it.
  async fetch(address, options = {}) {
    const answer = await fetch(address, options).catch((problem) => { this.setLost(true); throw problem; });
    if ((answer.status === 404 || answer.status === 409) && address.includes(this.page.token())) this.meet(answer.status);
    return answer;
  }

  // The server has no workbench for this page: its work is on disk, or another window has it.
  meet(status) {
    if (status === 409) this.setElsewhere(true);
    else this.comeBack();
  }

  comeBack() {
    if (this.isComingBack || this.isElsewhere) return;
    this.isComingBack = true;  // until the next scene
    this.page.send.restore();
    setTimeout(() => { this.isComingBack = false; }, COME_BACK_MS);
  }

  // A page that missed something, twice in a row, comes back for it: a newer state, or the answer to what was asked for
  // while the server could not be reached. A slow server alone is no reason: coming back refuses what is on its way.
  compare({ version, is_computing: isComputing }, scene) {
    const isBehind = Boolean(scene) && version > scene.version, isUnanswered = this.wasLost && this.page.isWaiting();
    const missed = !isComputing && (isBehind || isUnanswered) ? version : null;
    if (missed !== null && missed === this.missed) { this.wasLost = false; this.comeBack(); }
    if (!isUnanswered) this.wasLost = false;
    this.missed = missed;
  }

  takeBack() {
    this.setElsewhere(false);
    this.comeBack();
  }

  async poll() {
    const token = this.page.token();
    if (!token || this.isElsewhere) return;
    try {
      const patience = AbortSignal.timeout(POLL_PATIENCE_MS);
      const answer = await fetch('alive/' + token, { signal: patience, cache: 'no-store' });
      if (answer.status !== 404 && answer.status !== 409 && !answer.ok) throw new Error('alive ' + answer.status);
      const scene = this.page.scene();
      this.wasLost = this.wasLost || this.isLost;
      this.setLost(false);
      if (token !== this.page.token()) return;
      if (!answer.ok) { this.meet(answer.status); return; }
      const known = await answer.json();
      this.compare(known, scene);
    } catch { this.setLost(true); }
  }
}
