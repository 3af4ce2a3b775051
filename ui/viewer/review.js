// The review of a plan: the path that is shown or moved, what is known of it, and what the person does about it.
import { Along } from './review_along.js';
import { isSame, movedOn, numbersOf } from './review_geometry.js';
import { drawHandles, gripOf } from './review_handles.js';
import { Panel, lineOf } from './review_panel.js';
import { LineReader } from './review_reader.js';
import { Sliders } from './review_sliders.js';

const AGAIN_MS = 1200;    // until what is being computed is asked for again
const PICTURES_MS = 250;  // while the line moves: its numbers go first, and its pictures follow them

export class Review {
  constructor(viewer) {
    Object.assign(this, { viewer, panel: null, scene: null, line: null, shown: null, answer: null, grip: null });
    this.reader = new LineReader((body) => this.post(body), (answer, line) => this.accepted(answer, line));
    const find = () => {
      const root = document.querySelector('[data-part="review"]');
      if (root) this.attach(root);
      return Boolean(root);
    };
    if (find()) return;
    new MutationObserver((_, observer) => { if (find()) observer.disconnect(); })   // Gradio lays a tab out when it is opened
      .observe(document.body, { childList: true, subtree: true });
  }

  attach(root) {
    const { viewer } = this;
    this.panel = new Panel(root);
    this.along = new Along(this);
    this.sliders = new Sliders(this.panel, (numbers) => this.send('replan', { numbers }));
    this.listen();
    this.accept(this.scene);
  }

  get isVisible() { return this.panel !== null && this.panel.root.offsetParent !== null; }

  get mayMove() { return this.isVisible && this.line !== null && !this.viewer.connection.isBlocked; }

  // ---- what comes from Python ---------------------------------------------------------------------------------------
  accept(scene) {
    const { panel } = this, before = this.seen;
    this.scene = scene;
    if (!panel) return;
    this.seen = scene;
    const line = scene && (scene.lines[scene.chosen] || scene.draft_line);
    panel.part('empty').hidden = Boolean(line);
    panel.part('body').hidden = !line;
    panel.showDecision(scene ? scene.decision : { kind: 'undecided', text: '' });
    if (!line) { this.line = this.shown = this.answer = null; this.reader.drop(); this.viewer.draw(); return; }
    const isOther = !before || before.plan !== scene.plan || !isSame(this.base, line);
    this.base = line;
    if (isOther || !this.line) this.reset();
    panel.part('name-row').hidden = !scene.asks_name;
    panel.showLines(scene, (number) => this.send('choose', { number, tool: scene.tool }));
    this.fillChoices(scene);
    this.sliders.show(scene.sliders, scene.is_calibrated);
    this.showCompared();
    panel.part('report').textContent = scene.report;
    panel.button('undo').disabled = !scene.can_undo;
    panel.button('redo').disabled = !scene.can_redo;
    ['accept', 'reject', 'document'].forEach((name) => { panel.button(name).disabled = !scene.may_decide || !scene.lines.length; });
    panel.button('keep').disabled = !scene.may_decide || !scene.plan;
  }

  fillChoices(scene) {
    const { panel } = this;
    panel.part('tool-row').hidden = scene.tools.length < 2;
    panel.fill('tool', scene.tools.map((name) => [name, name]), scene.tool);
    const others = scene.lines.map((_, n) => [String(n), 'path ' + (n + 1)]).filter(([n]) => Number(n) !== scene.chosen);
    panel.fill('compare', [['', 'nothing'], ...others], panel.part('compare').value);
    const removing = scene.planned_tools.map((name) => {
      const button = document.createElement('button');
      Object.assign(button, { type: 'button', textContent: name + ' ×', title: 'Take ' + name + ' out of the plan' });
      button.addEventListener('click', () => this.send('remove_tool', { tool: name }));
      return button;
    });
    panel.part('tools').replaceChildren(...removing);
  }

  // Show the path of the scene as it is, and read it for what the scene does not have.
  reset() {
    this.line = { entry: [...this.base.entry], target: [...this.base.target] };
    this.shown = this.base.certified_mm === undefined ? null : this.base;
    this.answer = null;
    this.panel.showReading(this.shown, { isReading: !this.shown });
    this.panel.showDoubts([]);
    this.changed();
    if (this.isVisible) this.read();
  }

  // ---- reading ----------------------------------------------------------------------------------------------------
  get onSurface() { return this.panel.part('on-surface').checked; }

  read() {
    const { plan, tool } = this.scene;
    return this.reader.ask(this.line, { plan, tool, on_surface: this.onSurface });
  }

  async post(body) {
    const answer = await fetch('review/' + this.viewer.token + '/line', {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(answer.status);
    return answer.json();
  }

  accepted(answer) {
    const { panel, scene } = this;
    if (!answer) { panel.showReading(this.shown, { isReading: true }); return; }
    clearTimeout(this.again);
    if (answer.detail) {
      panel.showReading(null, { problem: answer.detail });
      panel.showDoubts([]);
      panel.showStructures(null);
      return;
    }
    if (answer.plan !== scene.plan) return;   // of a plan that no longer is
    this.answer = answer;
    this.shown = lineOf(answer);
    const settings = answer.is_of_plan || !scene.plan ? [] : ['The settings were changed since this plan was made: plan again to keep a path.'];
    const hit = answer.is_hit_known ? [] : ['The hit probability is being computed.'];
    panel.showReading(this.shown, { answer });
    panel.showDoubts([...answer.not_certified, ...answer.broken_limits, ...settings, ...hit]);
    panel.showStructures(this.shown, scene.colours, answer.margins);
    this.picturesIn(0);
    if (!answer.is_hit_known) this.again = setTimeout(() => { if (this.isVisible && !this.reader.isBusy) this.read(); }, AGAIN_MS);
  }

  // ---- the line -----------------------------------------------------------------------------------------------------
  changed({ isMoving = false } = {}) {
    const { panel } = this, written = (place) => place.map((value) => value.toFixed(1)).join(' ');
    ['entry', 'target'].forEach((end) => {
      const field = panel.part(end);
      if (document.activeElement !== field) field.value = written(this.line[end]);
    });
    this.viewer.draw();
    if (!isMoving) this.pictures();
    else if (!this.later) this.picturesIn(PICTURES_MS);
  }

  picturesIn(ms) {
    clearTimeout(this.later);
    this.later = setTimeout(() => this.pictures(), ms);
  }

  // Profile, slices along and across, and the 3D view.
  pictures() {
    clearTimeout(this.later);
    this.later = null;
    if (!this.line) return;
    this.along.changed();
    this.viewer.space.draw();
  }

  move(line) {
    this.line = line;
    this.read();
    this.changed({ isMoving: true });
  }

  keep() {
    if (!this.scene.plan || !this.scene.may_decide || isSame(this.line, this.base)) return;
    const { plan, tool } = this.scene;
    this.send('line', { entry_lps_mm: this.line.entry, target_lps_mm: this.line.target, plan, tool, on_surface: this.onSurface });
  }

  // ---- the hand on a slice --------------------------------------------------------------------------------------------
  grabs(pane, drag) {
    if (!this.mayMove || !pane.at) return false;
    return this.takes(gripOf(this.viewer.state.scene.affine, pane, this.line, [drag.x, drag.y]));
  }

  drags(pane, place) {
    if (this.grip) this.dragsTo(movedOn(this.viewer.state.scene.affine, pane.plane, this.line[this.grip], place));
  }

  // On a slice or in 3D: an end is taken, or null is; then it is moved to a position.
  takes(end) {
    this.grip = end;
    return end !== null;
  }

  dragsTo(lps) { if (this.grip) this.move({ ...this.line, [this.grip]: lps }); }

  drops({ wasFar }) {
    this.grip = null;
    if (wasFar) this.keep();
  }

  cancels() {
    if (this.grip) { this.grip = null; this.reset(); }
  }

  drawOn(pane, at) {
    if (this.mayMove) drawHandles(pane, at, this, this.viewer.state.scene.affine);
  }

  draw() { if (this.panel) this.along.draw(); }

  followCross(lps) { if (this.isVisible && this.line) this.along.followCross(lps); }

  showCompared() {
    const chosen = this.panel.part('compare').value, { lines } = this.scene, n = this.scene.chosen;
    const other = chosen === '' ? null : lines[Number(chosen)];
    this.panel.showCompared(lines[n] || this.shown, other, ['path ' + (n + 1), 'path ' + (Number(chosen) + 1)]);
  }

  // ---- what the person does -----------------------------------------------------------------------------------------
  send(kind, more = {}) {
    const { viewer } = this;
    if (viewer.connection.isBlocked) return;
    viewer.root.querySelector('.mv-busy').hidden = false;
    if (kind === 'replan') viewer.send.reviewLong({ kind, ...more });
    else viewer.send.review({ kind, ...more, step: viewer.bridge.nextStep() });
  }

  decide(verdict) {
    const { panel } = this;
    this.send('decide', { verdict, comment: panel.part('comment').value, name: panel.part('name').value });
  }

  listen() {
    const { panel } = this, on = (name, type, act) => panel.part(name).addEventListener(type, act);
    const acts = {
      keep: () => this.keep(), back: () => this.reset(), undo: () => this.send('undo'), redo: () => this.send('redo'),
      'put-aside': () => this.send('put_aside'),
      accept: () => this.decide('accepted'), reject: () => this.decide('rejected'), document: () => this.send('document'),
    };
    Object.entries(acts).forEach(([name, act]) => panel.button(name).addEventListener('click', act));
    ['entry', 'target'].forEach((end) => on(end, 'change', (event) => {
      const place = numbersOf(event.target.value);
      event.target.setAttribute('aria-invalid', String(!place));
      if (place) this.move({ ...this.line, [end]: place });
      else this.panel.showReading(null, { problem: 'expected three numbers, LPS mm, got “' + event.target.value + '”.' });
    }));
    on('on-surface', 'change', () => this.read());
    on('compare', 'change', () => this.showCompared());
    on('tool', 'change', (event) => this.send('choose', { number: 0, tool: event.target.value }));
    new IntersectionObserver(() => {
      if (this.isVisible && this.line) { this.changed(); this.read(); } else { this.viewer.draw(); this.viewer.space.draw(); }
    }).observe(panel.root);
  }
}
