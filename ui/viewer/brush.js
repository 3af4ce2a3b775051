// Brush and eraser: how large, within which values, and how their strokes look until the server has drawn them.
import { addPath } from './pen.js';
import { toScreen } from './transform.js';

export const LEAST_MM = 0.5, MOST_MM = 50;
const STEP = 1.2;
const ERASED = '#ff5252';

export const isStroke = (tool) => tool === 'brush' || tool === 'erase';

// A step of the keys [ and ]: a fifth larger or smaller.
export const resized = (radius, by) =>
  Math.min(Math.max(Number((radius * STEP ** by).toPrecision(2)), LEAST_MM), MOST_MM);

// Whether a stroke erases: as the tool says, and the other way round with Alt.
export const erases = (drag) => (drag.kind === 'erase') !== drag.isNegative;

export class Brush {
  // The radius is part of the viewer's state, because every pane draws the circle.
  constructor(root, state, redraw) {
    Object.assign(this, { root, state, redraw });
    const { slider } = this;
    Object.assign(slider, { min: Math.log(LEAST_MM), max: Math.log(MOST_MM), step: 0.01 });  // fine where it is small
    slider.addEventListener('input', () => this.resize(Number(Math.exp(Number(slider.value)).toPrecision(2))));
    this.number.addEventListener('change', () => this.resize(Number(this.number.value)));
    this.control('brush-range').addEventListener('change', () => this.showRange());
    this.showRange();
    this.resize(state.brushMm);
  }

  control(name) { return this.root.querySelector('[data-control="' + name + '"]'); }

  get slider() { return this.control('brush-slider'); }

  get number() { return this.control('brush-radius'); }

  resize(radiusMm) {
    if (radiusMm > 0) this.state.brushMm = Math.min(Math.max(radiusMm, LEAST_MM), MOST_MM);
    this.number.value = this.state.brushMm;
    this.slider.value = Math.log(this.state.brushMm);
    this.redraw();
  }

  step(by) { this.resize(resized(this.state.brushMm, by)); }

  // Its controls, with which an island is kept, too.
  show(tool) { this.root.querySelector('[data-bar="brush"]').hidden = !isStroke(tool) && tool !== 'island'; }

  showRange() {
    this.root.querySelectorAll('[data-part="range"]').forEach((part) => { part.hidden = !this.hasRange; });
  }

  get hasRange() { return this.control('brush-range').checked; }

  // As the server reads it.
  get options() {
    const end = (name) => {
      const { value } = this.control(name);
      return this.hasRange && value !== '' ? Number(value) : null;
    };
    return {
      radius_mm: this.state.brushMm,
      is_ball: this.control('brush-ball').checked,
      is_last_word: this.control('brush-last').checked,
      low: end('brush-low'),
      high: end('brush-high'),
    };
  }
}

// The circle of the brush at its true size.
export function drawCursor(pen, at, [x, y], radiusMm) {
  [['rgba(0,0,0,0.7)', 3], ['#ffffff', 1.2]].forEach(([colour, width]) => {
    pen.beginPath();
    pen.arc(x, y, radiusMm * at.perMm, 0, 2 * Math.PI);
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.stroke();
  });
}

// points: (column, row) of the slice, so that it stays where it was drawn while the view moves.
export function drawStroke(pen, at, { points, radiusMm, isErasing, colour }) {
  const places = points.map(([column, row]) => toScreen(at, column, row));
  pen.save();
  pen.globalAlpha = 0.45;
  pen.lineCap = pen.lineJoin = 'round';
  pen.strokeStyle = pen.fillStyle = isErasing ? ERASED : colour;
  pen.lineWidth = 2 * radiusMm * at.perMm;
  pen.beginPath();
  if (places.length === 1) {
    pen.arc(...places[0], radiusMm * at.perMm, 0, 2 * Math.PI);
    pen.fill();
  } else {
    addPath(pen, places);
    pen.stroke();
  }
  pen.restore();
}
