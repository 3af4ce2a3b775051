// The viewer: Python sends the scene as props.value; what the person does goes back as the event 'viewer_action'.
import { Answers } from './answers.js';
import { Banner } from './banner.js';
import { Box3dTool } from './box3d_tool.js';
import { Brush } from './brush.js';
import { Connection } from './connection.js';
import { Controls } from './controls.js';
import { Hand } from './hand.js';
import { commandOf } from './keys.js';
import { LivePart } from './live_part.js';
import { Pane } from './pane.js';
import { Pane3D } from './pane3d.js';
import { Review } from './review.js';
import { Ends3D } from './review_ends3d.js';
import { Newest, SliceStore } from './slices.js';
import * as moves from './state.js';

async function decoded(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  return image;
}

class Viewer {
  constructor({ root, props, send, watch, bridge }) {
    Object.assign(this, { root, props, send, bridge, token: '', work: '' });
    this.state = moves.newState();
    this.connection = new Connection({
      root, send, token: () => this.token, scene: () => this.state.scene, lost: () => this.cancel(),
      isWaiting: () => !root.querySelector('.mv-busy').hidden,
    });
    this.store = new SliceStore((address) => this.connection.fetch(address), decoded);
    const over = (pane, at) => this.drawOver(pane, at);
    this.panes = moves.PLANES.map((name) => new Pane(root.querySelector('[data-pane="' + name + '"]'), name, this.state, over));
    this.loaders = new Map(this.panes.map((pane) => [pane, this.loader(pane)]));
    this.space = new Pane3D(root.querySelector('[data-pane="3d"]'), this);
    this.hands = this.panes.map((pane) => new Hand(pane, this));
    this.controls = new Controls(root, this);
    this.banner = new Banner(root);
    this.box3d = new Box3dTool(this);
    this.panes.forEach((pane) => { pane.drawTool = (...where) => this.box3d.draw(...where); });
    bridge.goTo = (index) => this.goTo(index);
    this.brush = new Brush(root, this.state, () => this.draw());
    this.review = new Review(this);
    this.space.ends = new Ends3D(this.space, this.review);
    this.answers = new Answers(this);
    this.live = new LivePart(this);
    document.addEventListener('keydown', (event) => this.onKey(event));
    const resized = new ResizeObserver(() => this.draw());
    this.panes.forEach((pane) => resized.observe(pane.canvas));
    watch('value', () => this.accept());
    this.arrange();
    this.accept();
    this.connection.begin();
  }

  get text() { return (name) => this.root.querySelector('[data-text="' + name + '"]'); }

  get isOpen() { return moves.isOpen(this.state); }

  // Of this page's workbench; an error says what the server says.
  async ask(method, path = '') {
    const answer = await this.connection.fetch('live/' + this.token + path, { method, cache: 'no-store' });
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok || told.detail) throw new Error(told.detail || 'The server refused (' + answer.status + ').');
    return told;
  }

  get activePane() { return this.panes.find((pane) => pane.name === this.state.active); }

  // ---- slices ---------------------------------------------------------------------------------------------------
  loader(pane) {
    const load = ({ scene, index, overlay }) => this.store.slice(scene, pane.name, index, overlay);
    const show = (view, request, isLast) => {
      const before = pane.view;
      if (!this.isOpen) return;
      pane.show(view, request.scene.number);  // slice number and image change together
      this.space.draw();
      this.controls.showSlice();
      if (before && before.index !== view.index && isLast) this.fetchAhead(pane, before.index, request);
    };
    const fail = (problem) => {
      if (!this.connection.isLost) this.text('cursor').textContent = 'The slice could not be loaded (' + problem.message + ').';
    };
    return new Newest(load, show, fail);
  }

  fetchAhead(pane, before, request) {
    const ahead = pane.view.index + Math.sign(pane.view.index - before);
    if (ahead < 0 || ahead >= pane.view.count) return;
    this.store.slice(request.scene, pane.name, ahead, request.overlay).catch(() => {});
  }

  refresh() {
    this.controls.showSlice();
    this.space.refresh();
    if (!this.isOpen) { this.panes.forEach((pane) => pane.clear()); return; }
    this.draw();
    this.live.refresh();
    this.answers.show();
    const { scene } = this.state, shown = moves.loadedPlanes(this.state, this.space.hasSlices);
    this.root.dataset.state = 'loading';
    const asked = this.panes.filter((pane) => shown.includes(pane.name)).map((pane) => {
      const request = { scene, study: this.work, index: moves.sliceOf(this.state, pane.name), overlay: this.controls.overlay };
      return this.loaders.get(pane).want(request);
    });
    Promise.all(asked).then(() => {
      if ([...this.loaders.values()].every((one) => !one.isBusy)) this.root.dataset.state = 'ready';
    });
  }

  draw() { this.panes.forEach((pane) => pane.draw()); }

  // What lies over all else on a slice.
  drawOver(pane, at) { if (this.review) this.review.drawOn(pane, at); }

  paint() { this.panes.forEach((pane) => { pane.paint(); pane.draw(); }); }

  // Which planes are shown, and where.
  arrange() {
    const { main, active, layout } = this.state, shown = moves.shownPanes(this.state);
    this.root.querySelector('.mv-panes').dataset.layout = layout;
    [...this.panes, this.space].forEach((pane) => {
      pane.section.hidden = !shown.includes(pane.name);
      pane.section.classList.toggle('mv-main', pane.name === main);
      pane.section.classList.toggle('mv-active-pane', pane.name === active);
    });
    this.controls.press('layout', layout);
    this.controls.press('plane', main === '3d' ? main : active);
  }

  // ---- what the person does ---------------------------------------------------------------------------------------
  act(payload, on = this.activePane.view) {
    if (!on || this.connection.isBlocked) return false;
    this.live.hold();
    this.root.querySelector('.mv-busy').hidden = false;
    this.send.action({ ...payload, plane: on.plane, index: on.index, step: this.bridge.nextStep() });
    return true;
  }

  activate(name) {
    if (this.state.active === name) return;
    this.state.active = name;
    this.arrange();
    this.controls.showSlice();
  }

  choosePane(name) { moves.choosePane(this.state, name); this.rearrange(); }

  chooseLayout(layout) { moves.chooseLayout(this.state, layout); this.rearrange(); }

  maximise(name) { moves.toggleMaximised(this.state, name); this.rearrange(); }

  rearrange() { this.arrange(); this.refresh(); }

  chooseTool(tool) {
    this.state.tool = tool;
    this.state.measures = this.state.measures.filter((one) => one.isDone);
    this.controls.press('tool', tool);
    this.brush.show(tool);
    this.draw();
  }

  cancel() { this.hands.forEach((one) => one.gestures.cancel()); this.space.hand.cancel(); }

  setWindow(window, name = 'own') {
    this.state.window = window;
    this.controls.showWindow(name);
    this.paint();
    this.review.draw();
  }

  step(by, name = this.state.active) {
    if (!this.isOpen) return;
    moves.step(this.state, name, by);
    this.refresh();
  }

  // To a voxel, in all planes.
  goTo(index) {
    if (!this.isOpen) return;
    this.state.cross = moves.withinVolume(this.state, index);
    this.refresh();
  }

  onKey(event) {
    const command = commandOf(event);
    if (!command || this.connection.isBlocked || (event.target.closest && event.target.closest('dialog'))) return;
    const [name, argument] = command;
    if (name !== 'help' && !this.isOpen) return;
    const { state } = this;
    const doing = {
      help: () => this.controls.help(),
      act: () => this.act({ kind: argument }),
      place: () => this.box3d.box ? this.box3d.place() : this.hands.find((one) => one.pane === this.activePane).placeAtCross(argument),
      nudge: () => { moves.nudgeCross(state, state.active, argument); this.refresh(); },
      step: () => this.step(argument),
      end: () => this.step(argument ? Infinity : -Infinity),
      escape: () => { this.cancel(); this.box3d.drop(); },
      unmeasure: () => { state.measures.pop(); this.draw(); },
      tool: () => this.chooseTool(argument),
      brush: () => this.brush.step(argument),
      next: () => this.live.nextClick.next(),
      other: () => this.answers.other(),
      preset: () => this.controls.choosePreset(argument),
    };
    doing[name]();
    event.preventDefault();
  }

  // ---- scenes from Python -----------------------------------------------------------------------------------------
  accept() {
    const news = this.props.value, { state } = this;
    this.root.querySelector('.mv-busy').hidden = true;
    // Responses may arrive out of order; an older state is not shown over a newer one, and what Gradio shows of it
    // elsewhere on the page is asked for again, once.
    if (state.scene && news && news.token && news.token === this.token && news.version < state.scene.version) {
      if (news.tool) this.chooseTool(news.tool);
      if (!this.isAskingAnew) this.send.moved();
      this.isAskingAnew = true;
      return;
    }
    this.isAskingAnew = false;
    state.scene = news;
    this.connection.isComingBack = false;
    this.connection.setElsewhere(Boolean(news && news.is_elsewhere));
    this.bridge.isShowing = this.isOpen;
    if (!news) return;
    if (news.token && news.token !== this.token) {
      this.token = news.token;
      this.bridge.steps = 0;
      this.store.clear();
    }
    if (news.is_evicted) { this.connection.comeBack(); return; }
    // The address names the session, so that a reload or another browser can go on with it.
    if (news.work && location.hash !== '#' + news.work) history.replaceState(history.state, '', '#' + news.work);
    if (this.isOpen && this.work !== news.work) this.beginWork();
    if (this.isOpen) this.controls.fillOverlays();
    this.banner.show(news.banner || []);
    Object.entries(news.go_to || {}).forEach(([name, slice]) => moves.goTo(state, name, slice));
    this.review.accept(this.isOpen ? news.review : null);
    if (news.tool) this.chooseTool(news.tool);
    this.refresh();
    this.answers.accept();
    this.live.accept();
    this.root.dataset.version = news.version;  // version of the state that is shown
  }

  beginWork() {
    this.box3d.drop();
    this.loaders.forEach((one) => one.drop(this.work));
    this.work = this.state.scene.work;
    this.store.clear();
    moves.beginStudy(this.state);
    this.space.beginWork();
    this.panes.forEach((pane) => { pane.view = null; });
    this.controls.fillWindows();
    this.arrange();
  }
}

export const start = (page) => new Viewer(page);
