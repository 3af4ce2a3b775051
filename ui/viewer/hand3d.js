// What the hand and the keys do in the 3D pane: left turns, middle shifts, right and wheel zoom, Shift + wheel cuts; a
// click chooses a trajectory, or takes the crosshair to a surface. In the review an end of the path is dragged.
import { lineAt, nearer, shifted, turned } from './camera.js';
import { indexFromLps } from './grid.js';
import { PLANES, planeOf, sliceOf } from './state.js';

const PICK_PX = 8, CLICK_PX = 4, TURN_PX = 30, CUT_STEP_MM = 2;

export class Hand3D {
  constructor(pane, viewer) {
    Object.assign(this, { pane, viewer, canvas: pane.canvas, drag: null });
    const { canvas } = this, { section } = pane, enlarge = () => viewer.maximise(pane.name);
    section.querySelectorAll('[data-view]').forEach((one) => one.addEventListener('click', () => this.look(one.dataset.view)));
    section.querySelector('header').addEventListener('dblclick', (event) => { if (!event.target.closest('button')) enlarge(); });
    pane.part('enlarge').addEventListener('click', enlarge);
    pane.part('cut').addEventListener('change', (event) => pane.cut(event.target.value));
    pane.part('cut-mm').addEventListener('input', (event) => { pane.cutMm = Number(event.target.value); pane.draw(); });
    pane.part('slices').addEventListener('change', (event) => { pane.hasSlices = event.target.checked; viewer.refresh(); });
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('dblclick', enlarge);
    canvas.addEventListener('pointerdown', (event) => this.press(event));
    canvas.addEventListener('pointermove', (event) => this.move(event));
    canvas.addEventListener('pointerup', (event) => this.release(event));
    canvas.addEventListener('pointerleave', () => this.point(-1));
    canvas.addEventListener('pointercancel', () => this.cancel());
    canvas.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
    canvas.addEventListener('keydown', (event) => this.key(event));
  }

  look(side) {
    this.pane.isTouched = true;
    this.pane.look(side);
  }

  place({ clientX, clientY }) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [clientX - left, clientY - top];
  }

  lineUnder(place) {
    const { camera, size, space } = this.pane;
    return camera && space ? lineAt(camera, size, space.trajectories, place, PICK_PX) : -1;
  }

  point(number) {
    this.canvas.style.cursor = number >= 0 ? 'pointer' : '';
    if (number === this.pane.pointed) return;
    this.pane.pointed = number;
    this.pane.draw();
  }

  press(event) {
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    if (!this.pane.camera || this.viewer.connection.isBlocked) return;
    this.canvas.setPointerCapture(event.pointerId);
    const from = this.place(event), isEnd = event.button === 0 && this.pane.ends.takes(from);
    this.drag = { button: event.button, from, camera: this.pane.camera, isFar: false, isEnd };
  }

  cancel() {
    if (this.drag && this.drag.isEnd) this.viewer.review.cancels();
    this.drag = null;
  }

  move(event) {
    const { drag, pane } = this, [x, y] = this.place(event);
    if (!drag) { this.point(this.lineUnder([x, y])); return; }
    const dx = x - drag.from[0], dy = y - drag.from[1];
    drag.isFar = drag.isFar || Math.hypot(dx, dy) > CLICK_PX;
    if (!drag.isFar) return;
    if (drag.isEnd) pane.ends.drags([x, y]);
    else if (drag.button === 0) pane.see(turned(drag.camera, dx, dy));
    else if (drag.button === 1) pane.see(shifted(drag.camera, dx, dy));
    else pane.see(nearer(drag.camera, pane.size, drag.from, Math.exp(-dy / 150)));
  }

  release(event) {
    const { drag } = this;
    this.drag = null;
    if (drag && drag.isEnd) this.viewer.review.drops({ wasFar: drag.isFar });
    else if (drag && !drag.isFar && drag.button === 0) this.choose(this.place(event));
  }

  choose(place) {
    const { pane, viewer } = this, number = this.lineUnder(place);
    if (number >= 0) {
      if (number !== pane.space.chosen) viewer.send.choose({ number });
      return;
    }
    const point = pane.space && pane.renderer.pick(pane.camera, pane.size, place);
    if (!point) return;
    const { state } = viewer, { affine, shape } = state.scene;
    state.cross = indexFromLps(affine, point).map((one, n) => Math.min(Math.max(one, 0), shape[n] - 1));
    PLANES.forEach((name) => { state.cross[planeOf(state, name).axis] = sliceOf(state, name); });
    viewer.refresh();
  }

  wheel(event) {
    event.preventDefault();
    const { pane } = this, delta = event.deltaY || event.deltaX;   // with Shift a browser scrolls sideways
    if (!pane.camera) return;
    if (event.shiftKey) pane.cutBy(Math.sign(delta) * CUT_STEP_MM);
    else pane.see(nearer(pane.camera, pane.size, this.place(event), Math.exp(-delta / 400)));
  }

  key(event) {
    const { pane } = this;
    const turn = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const zoom = { '+': 1.2, '-': 1 / 1.2 }[event.key], cut = { '[': -CUT_STEP_MM, ']': CUT_STEP_MM }[event.key];
    if (!pane.camera || event.ctrlKey || event.altKey || !(turn || zoom || cut)) return;
    if (turn) pane.see(turned(pane.camera, turn[0] * TURN_PX, turn[1] * TURN_PX));
    if (zoom) pane.see(nearer(pane.camera, pane.size, pane.size.map((one) => one / 2), zoom));
    if (cut) pane.cutBy(cut);
    event.preventDefault();
    event.stopPropagation();
  }
}
