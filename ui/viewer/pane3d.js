// The 3D pane: loads surfaces, draws the scene, and what the hand does on it. Without WebGL 2 the server takes pictures.
import { basis, cross, cutPlane, fitted, letters, looking, projected, VIEWS } from './camera.js';
import * as frame from './draw_frame.js';
import { CAUTION, MARK_COLOUR } from './draw_layers.js';
import { indexAt, lpsOf } from './grid.js';
import { Hand3D } from './hand3d.js';
import { write } from './pen.js';
import { Pictures } from './pictures3d.js';
import { boundsOf, lookedThrough, parsePly } from './ply.js';
import { newRenderer } from './renderer3d.js';
import { isOpen, planeOf } from './state.js';
import { Surfaces } from './surfaces3d.js';

const LOOKED_THROUGH = 0.35, OTHER_PATH = '#8fb4d9';
const ORDER = { structure: 0, risk: 2, widened: 4, entered: 6 };
const SLOW_MS = 60, COARSE_RATIO = 0.5, REST_MS = 250;   // without a graphics card a view that moves is coarser
const BOX_COLOUR = '#3f5266', CROSS_COLOUR = '#58c4dd';
const LOADING = 'Drawing the surfaces …', PLANNED = 'Drawing the surfaces of the plan …';
const EMPTY = 'No surface yet: draw a box around a structure.';

export class Pane3D {
  // viewer: {state, root, refresh(), maximise(name), panes, send, connection}
  constructor(section, viewer) {
    Object.assign(this, { section, viewer, state: viewer.state, name: '3d', camera: null, renderer: null, isBegun: false });
    Object.assign(this, { cutMm: 0, isTouched: false });
    this.surfaces = new Surfaces({
      wanted: () => (this.space ? this.space.surfaces : []),
      load: (address) => this.read(address),
      begun: () => this.tell(LOADING),
      loaded: () => this.showLoaded(),
    });
    this.stage = this.part('stage');
    this.canvas = this.part('over');
    this.pen = this.canvas.getContext('2d');
    this.pictures = new Pictures(section);
    this.hand = new Hand3D(this, viewer);
    new ResizeObserver(() => this.resize()).observe(this.stage);
  }

  part(name) { return this.section.querySelector('[data-part="' + name + '"]'); }

  get space() { return isOpen(this.state) ? this.state.scene.space : null; }

  get size() { return [this.stage.clientWidth, this.stage.clientHeight]; }

  get isShown() { return !this.section.hidden && this.size[0] > 0; }

  // ---- the scene ----------------------------------------------------------------------------------------------------
  async begin() {
    this.isBegun = true;
    try {
      this.renderer = await newRenderer(this.part('gl'));
      this.part('gl').addEventListener('webglcontextrestored', () => this.draw());
    } catch (problem) {
      this.pictures.begin(problem.message);
    }
    this.section.dataset.renderer = this.renderer ? 'webgl' : 'pictures';
    this.refresh();
  }

  // Another study: look at it from the front.
  beginWork() {
    Object.assign(this, { camera: null, isTouched: false });
    this.cut('off');
    this.surfaces.clear();
    if (this.renderer) this.renderer.keepSurfaces([]);
  }

  refresh() {
    if (!this.isShown || !isOpen(this.state)) { this.tell(''); return; }
    this.part('glb').hidden = !this.space.surfaces.length;
    this.part('glb').href = this.space.address + '/scene.glb';
    if (!this.isBegun) { this.begin(); return; }
    if (!this.renderer) { this.pictures.show(this.space, this.hidden); return; }
    this.load();
    this.build();
    this.draw();
  }

  get hidden() { return this.state.scene.hidden || []; }

  load() {
    if (this.space) this.surfaces.load().then(() => this.tell(this.surfaces.problems || this.waiting));
  }

  // What is still to come.
  get waiting() {
    if (!this.space) return '';
    if (this.space.is_drawing) return PLANNED;
    return this.space.surfaces.length ? '' : EMPTY;
  }

  async read(address) {
    const answer = await fetch(address);
    if (answer.status === 204) return null;
    if (!answer.ok) throw new Error((await answer.json()).detail || 'answer ' + answer.status);
    const read = parsePly(await answer.arrayBuffer());
    return { ...read, bounds: boundsOf(read.positions) };
  }

  showLoaded() {
    this.build();
    if (!this.isTouched) this.look('A');
    this.draw();
  }

  build() {
    const { renderer, space, hidden } = this;
    if (!renderer || !space) return;
    const { there, triangles } = this.surfaces;
    const structures = there.filter((one) => one.kind === 'structure');
    const seen = structures.filter((one) => !hidden.includes(one.name));
    const through = lookedThrough(seen.map((one) => triangles.get(one.address).bounds));
    renderer.keepSurfaces(there.map((one) => one.address));
    there.forEach((one) => {
      const isThrough = through[seen.indexOf(one)];
      renderer.setSurface(one.address, triangles.get(one.address), {
        colour: one.colour, order: ORDER[one.kind], isShown: !hidden.includes(one.name),
        opacity: isThrough ? Math.min(one.opacity, LOOKED_THROUGH) : one.opacity,
      });
    });
    const chosenColour = space.has_caution ? CAUTION : MARK_COLOUR.path;
    renderer.setTrajectories(space.trajectories.map((one, number) => {
      const isChosen = number === space.chosen;
      return { ...one, colour: isChosen ? chosenColour : OTHER_PATH, opacity: isChosen ? 1 : 0.6 };
    }), space.radius_mm);
    const ball = (one, colour, opacity) => (one ? [{ ...one, radius_mm: Math.max(one.radius_mm, 0.5), colour, opacity }] : []);
    renderer.setBalls([...ball(space.target, MARK_COLOUR.target, 0.85), ...ball(space.entry, MARK_COLOUR.entry, space.scale ? 0.08 : 0.2)]);
    if (!this.camera) this.look('A');
  }

  // Corners of the study, LPS mm.
  get corners() {
    const { affine, shape } = this.state.scene;
    return [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => lpsOf(affine, shape.map((count, n) => ((bits >> n) & 1 ? count - 0.5 : -0.5))));
  }

  // What a view is fitted to: the surfaces and the plan, or the body before there are any.
  get points() {
    const { space, state } = this, points = [];
    const { there, triangles } = this.surfaces;
    there.forEach(({ address }) => points.push(...boxPoints(triangles.get(address).bounds)));
    space.trajectories.forEach(({ entry, target }) => points.push(entry, target));
    if (points.length) return points;
    const { body, affine } = state.scene;
    return body ? boxPoints(body).map((index) => lpsOf(affine, index)) : this.corners;
  }

  look(side) {
    if (!this.space) return;
    this.camera = fitted(looking({ azimuth: 0, elevation: 0, centre: [0, 0, 0], perMm: 1 }, VIEWS[side]), this.size, this.points);
    this.press(side);
    this.draw();
  }

  // As much of the patient as before on a stage of another size.
  resize() {
    const { camera, size: [width, height], before } = this;
    if (camera && before && width && height) {
      if (this.side) this.look(this.side);
      else this.camera = { ...camera, perMm: camera.perMm * (Math.min(width, height) / Math.min(...before)) };
    }
    if (width && height) this.before = [width, height];
    this.refresh();
  }

  // Seen from somewhere that the person chose.
  see(camera) {
    Object.assign(this, { camera, isTouched: true, isMoving: true });
    clearTimeout(this.resting);
    this.resting = setTimeout(() => { this.isMoving = false; this.draw(); }, REST_MS);
    this.press(null);
    this.draw();
  }

  press(side) {
    this.side = side;
    this.section.querySelectorAll('[data-view]').forEach((one) => one.setAttribute('aria-pressed', String(one.dataset.view === side)));
  }

  // ---- drawing ----------------------------------------------------------------------------------------------------
  draw() {
    if (this.isDue || !this.renderer) return;
    this.isDue = true;
    requestAnimationFrame(() => { this.isDue = false; this.drawNow(); });
  }

  drawNow() {
    const { renderer, camera, size, canvas, pen } = this;
    if (!this.isShown || !camera || !this.space) return;
    const [width, height] = size, ratio = Math.min(window.devicePixelRatio || 1, 2);
    renderer.setCut(this.cutNow());
    renderer.setLines('box', edges(this.corners), BOX_COLOUR);
    renderer.setLines('cross', this.crossLines(), CROSS_COLOUR);
    renderer.setSlices(this.hasSlices ? this.slices() : []);
    const isCoarse = this.isMoving && this.frameMs > SLOW_MS;
    const tookMs = renderer.draw(camera, size, isCoarse ? COARSE_RATIO : ratio);
    if (!isCoarse) this.frameMs = tookMs;
    Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const at = { width, height, perMm: camera.perMm };
    frame.drawLetters(pen, at, letters(camera));
    frame.drawScale(pen, at);
    if (this.space.scale && width > 320) frame.drawBar(pen, at, this.space.scale);
    this.drawNumber();
    canvas.dataset.letters = Object.values(letters(camera)).join(' ');
    canvas.dataset.surfaces = renderer.surfaces.size;
    canvas.dataset.ends = JSON.stringify(this.ends ? this.ends.draw().map(({ place }) => place) : []);
    canvas.dataset.lines = JSON.stringify(this.space.trajectories.map((one) => [one.entry, one.target].map((end) => projected(camera, size, end))));
  }

  // Of the trajectory under the mouse, or of the chosen one.
  drawNumber() {
    const { space, camera, size, pen } = this, number = this.pointed >= 0 ? this.pointed : space.chosen;
    const one = space.trajectories[number];
    if (!one || space.trajectories.length < 2) return;
    const [x, y] = projected(camera, size, one.entry), clearance = one.clearance_mm === null ? '' : ' · ' + one.clearance_mm + ' mm';
    write(pen, 'path ' + (number + 1) + clearance, Math.max(x + 8, 4), y - 10, { size: 13 });
  }

  crossLines() {
    const { affine, shape } = this.state.scene, { cross } = this.state;
    return [0, 1, 2].map((axis) => [-0.5, shape[axis] - 0.5].map((end) => lpsOf(affine, cross.map((one, n) => (n === axis ? end : one)))));
  }

  slices() {
    const { affine } = this.state.scene;
    return this.viewer.panes.filter((pane) => pane.view).map((pane) => {
      const { plane } = pane, [right, down] = plane.size.map((count) => count - 0.5);
      const places = [[-0.5, -0.5], [right, -0.5], [-0.5, down], [right, down]];
      return { picture: pane.picture, corners: places.map((place) => lpsOf(affine, indexAt(plane, [...place, pane.view.index]))) };
    });
  }

  tell(words) { this.part('told').textContent = words; this.part('told').hidden = !words; }

  // ---- cutting ----------------------------------------------------------------------------------------------------
  cut(kind) {
    this.cutKind = kind;
    this.cutMm = 0;
    this.part('cut').value = kind;
    this.part('cut-mm').value = 0;
    this.part('cut-mm').disabled = kind === 'off';
    this.draw();
  }

  cutBy(mm) {
    if (this.cutKind === 'off') this.cut('screen');
    this.cutMm += mm;
    this.part('cut-mm').value = this.cutMm;
    this.draw();
  }

  // Through the crosshair and parallel to a plane or to the screen, and moved along its normal.
  cutNow() {
    const { camera, cutKind, cutMm, state } = this;
    if (cutKind === 'off' || !camera) return null;
    const { affine } = state.scene, place = lpsOf(affine, state.cross);
    const plane = cutPlane(camera, cutKind === 'screen' ? basis(camera).forward : this.normalOf(cutKind), place);
    return { ...plane, offset: plane.offset + cutMm };
  }

  normalOf(name) {
    const { affine } = this.state.scene, { across, down } = planeOf(this.state, name);
    const [one, other] = [across, down].map((axis) => [0, 1, 2].map((n) => affine[n][axis]));
    return cross(one, other);
  }
}

function boxPoints([low, high]) {
  return [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => [0, 1, 2].map((n) => ((bits >> n) & 1 ? high[n] : low[n])));
}

function edges(corners) {
  const pairs = [];
  corners.forEach((corner, bits) => [1, 2, 4].forEach((bit) => { if (!(bits & bit)) pairs.push([corner, corners[bits | bit]]); }));
  return pairs;
}
