// What a gesture on a pane does.
import { erases, isStroke } from './brush.js';
import { actionOf, listen } from './gestures.js';
import { indexAt, isInside, lpsOf, placeOf, side } from './grid.js';
import { dragged, valueAt, written } from './pixels.js';
import { moveCross } from './state.js';
import { panned, toSlice, zoomed } from './transform.js';

export class Hand {
  constructor(pane, viewer) {
    Object.assign(this, { pane, viewer, state: viewer.state });
    this.gestures = listen(pane.canvas, this);
    pane.canvas.addEventListener('focus', () => viewer.activate(pane.name));
    pane.canvas.addEventListener('dblclick', () => { if (this.tool() === 'navigate') viewer.maximise(pane.name); });
    pane.section.querySelector('header').addEventListener('dblclick', () => viewer.maximise(pane.name));
    pane.section.querySelector('[data-part="enlarge"]').addEventListener('click', () => viewer.maximise(pane.name));
  }

  tool() { return this.state.tool; }

  begin(drag) {
    const { pane, state, viewer } = this, { at } = pane;
    if (!at || viewer.connection.isBlocked) return false;
    viewer.activate(pane.name);
    // The action applies to the slice and the place on which it began.
    Object.assign(drag, { view: pane.view, at, frame: state.frames[pane.name], window: state.window });
    pane.drag = drag;
    if (drag.kind === 'cross') this.cross(drag.x, drag.y, drag.view.index);
    if (isStroke(drag.kind)) { drag.stroke = this.strokeOf(drag); pane.draw(); }
    if (drag.kind === 'box3d') viewer.box3d.begin(drag, pane.plane);
    if (drag.kind === 'ruler') this.measure([this.place(drag), this.place(drag)], { isDone: false });
    if (drag.kind === 'angle') this.beginAngle(drag);
    return true;
  }

  place({ at, nowX, nowY }) { return toSlice(at, nowX, nowY); }

  move(drag) {
    const { pane, state, viewer } = this, dx = drag.nowX - drag.x, dy = drag.nowY - drag.y;
    if (drag.kind === 'pan') state.frames[pane.name] = panned(drag.frame, drag.at, dx, dy);
    else if (drag.kind === 'window' && drag.wasFar) { viewer.setWindow(dragged(drag.window, dx, dy)); return; }
    else if (drag.kind === 'cross') { this.cross(drag.nowX, drag.nowY, drag.view.index); return; }
    else if (drag.kind === 'ruler' || drag.kind === 'angle') this.moveMeasure(drag);
    else if (drag.kind === 'box3d') { viewer.box3d.move(drag, pane.plane); return; }
    else if (drag.stroke) drag.stroke.points = this.strokeOf(drag).points;
    pane.draw();
  }

  end(drag) {
    const { pane, viewer } = this;
    pane.drag = null;
    if (drag.kind === 'ruler' || drag.kind === 'angle') this.endMeasure(drag);
    const kind = actionOf(drag, this.tool());
    const first = toSlice(drag.at, drag.x, drag.y), last = this.place(drag);
    if (kind === 'box') viewer.act({ kind, first, last }, drag.view);
    else if (kind === 'scribble' || kind === 'lasso') {
      const points = drag.trail.map(([x, y]) => toSlice(drag.at, x, y)).filter((place) => isInside(pane.plane, place));
      viewer.act({ kind: kind === 'scribble' && drag.isNegative ? 'scribble_out' : kind, points }, drag.view);
    } else if (kind && drag.stroke) this.endStroke(drag, kind);
    else if (kind) viewer.act({ kind, first }, drag.view);
    pane.draw();
  }

  // ---- brush and eraser -------------------------------------------------------------------------------------------
  strokeOf(drag) {
    const { legend } = this.state.scene, active = legend.find((one) => one.active);
    const points = drag.trail.map(([x, y]) => toSlice(drag.at, x, y));
    const inside = points.filter((place) => isInside(this.pane.plane, place));
    return {
      points: inside, index: drag.view.index, radiusMm: this.state.brushMm, isErasing: erases(drag),
      colour: active ? active.colour : '#ffffff',
    };
  }

  // The stroke stays on the screen until the server has drawn it.
  endStroke(drag, kind) {
    const { points } = drag.stroke, { pane, state, viewer } = this;
    if (!points.length || !viewer.act({ kind, points, brush: viewer.brush.options }, drag.view)) return;
    pane.strokes.push({ ...drag.stroke, number: state.scene.number });
  }

  cancel() {
    this.pane.drag = null;
    this.state.measures = this.state.measures.filter((one) => one.isDone);
    this.pane.draw();
  }

  // ---- crosshair and value ----------------------------------------------------------------------------------------
  cross(x, y, slice) {
    moveCross(this.state, this.pane.name, slice, toSlice(this.pane.at, x, y));
    this.viewer.refresh();
  }

  hover(x, y, event) {
    const { pane, viewer } = this, { at } = pane;
    if (!at) return;
    pane.pointer = [x, y];
    if (isStroke(this.tool()) && !pane.drag) pane.draw();
    if (event.shiftKey && event.buttons === 0) this.cross(x, y, pane.view.index);
    const place = toSlice(at, x, y);
    const mm = lpsOf(this.state.scene.affine, indexAt(pane.plane, [...place, pane.view.index]));
    const value = valueAt(pane.view.values, pane.plane.size, place);
    const words = mm.map((one, n) => side(one, n)).join('  ') + ' mm';
    viewer.text('cursor').textContent = value === null ? words : words + ' · ' + written(value, this.state.scene.unit);
  }

  leave() {
    this.viewer.text('cursor').textContent = '';
    this.pane.pointer = null;
    if (isStroke(this.tool())) this.pane.draw();
  }

  // A prompt by the keyboard alone, where the crosshair is.
  placeAtCross(isPositive) {
    const { pane, viewer } = this, tool = this.tool();
    if (!pane.view) return;
    const first = placeOf(pane.plane, this.state.cross).slice(0, 2);
    if (['target', 'entry', 'island'].includes(tool)) viewer.act({ kind: tool, first });
    else if (isStroke(tool)) {
      const kind = (tool === 'erase') === isPositive ? 'erase' : 'brush';
      viewer.act({ kind, points: [first], brush: viewer.brush.options });
    }
    else viewer.act({ kind: isPositive ? 'positive' : 'negative', first });
  }

  // ---- view ---------------------------------------------------------------------------------------------------------
  zoom(x, y, factor) {
    const { pane, state } = this;
    if (!pane.at) return;
    state.frames[pane.name] = zoomed(state.frames[pane.name], pane.at, pane.plane, [x, y], factor);
    pane.draw();
  }

  scroll(steps) {
    this.viewer.activate(this.pane.name);
    this.viewer.step(steps, this.pane.name);
  }

  // ---- rulers and angles ------------------------------------------------------------------------------------------
  measure(points, more) {
    this.state.measures.push({ plane: this.pane.name, index: this.pane.view.index, points, ...more });
  }

  // An angle: drag the first arm, then click the end of the second.
  beginAngle(drag) {
    const last = this.state.measures[this.state.measures.length - 1];
    const isSecond = last && !last.isDone && last.plane === this.pane.name && last.index === drag.view.index;
    if (isSecond) last.points.push(this.place(drag));
    else this.measure([this.place(drag), this.place(drag)], { isDone: false, isAngle: true });
  }

  moveMeasure(drag) {
    const { points } = this.state.measures[this.state.measures.length - 1] || { points: [] };
    if (points.length) points[points.length - 1] = this.place(drag);
  }

  endMeasure(drag) {
    const { measures } = this.state, last = measures[measures.length - 1];
    if (!last || last.isDone) return;
    if (last.points.length === 2 && !drag.wasFar) measures.pop();  // a click measures nothing
    else last.isDone = !last.isAngle || last.points.length === 3;
  }
}
