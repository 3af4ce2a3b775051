// The strip beside the slice slider: prompted slices, extent of the mask, why it ends, and how sure each slice is.
import { Newest } from './slices.js';
import * as moves from './state.js';

const INSET_PX = 8;   // half of the slider's thumb, so that both point at the same place
const TRACK = [8, 11], UNKNOWN = '#8b949e', TRACK_COLOUR = '#2b3947', END_COLOUR = '#ffb454', HERE_COLOUR = '#58c4dd';

export const xOf = (slice, count, width) =>
  count > 1 ? INSET_PX + ((width - 2 * INSET_PX) * slice) / (count - 1) : width / 2;

export function sliceAt(x, count, width) {
  const share = (x - INSET_PX) / Math.max(width - 2 * INSET_PX, 1);
  return Math.min(Math.max(Math.round(share * (count - 1)), 0), count - 1);
}

export function colourOf(value, scale) {
  if (value === null || value === undefined || !scale) return UNKNOWN;
  const share = Math.min(Math.max((value - scale.low) / Math.max(scale.high - scale.low, 1e-9), 0), 1);
  return scale.stops[Math.round(share * (scale.stops.length - 1))];
}

export const isFilled = (strip, slice) => strip.filled.some(([first, last]) => first <= slice && slice <= last);

// All that is known of one slice, in words.
export function told(strip, slice) {
  const words = ['Slice ' + (slice + 1)];
  if (strip.prompted.includes(slice)) words.push('prompted');
  if (!strip.filled.length) words.push('no 3D mask yet');
  else if (isFilled(strip, slice)) {
    const value = strip.spread_mm[slice];
    words.push(value === null ? 'in the mask, how sure is not known' : 'surface varies by ' + value.toFixed(1) + ' mm between passes');
    const quality = strip.quality[slice];
    if (quality !== undefined) words.push('expected overlap ' + Math.round(100 * quality) + ' %');
  } else words.push('outside the mask');
  strip.ends.filter((one) => one.index === slice).forEach((one) => words.push('the mask ends ' + one.words));
  if (strip.is_stale && strip.filled.length) words.push('of older prompts');
  return words.join(' · ');
}

export class Strip {
  constructor(viewer) {
    Object.assign(this, { viewer, known: null, key: '', progress: null });
    this.canvas = viewer.root.querySelector('[data-part="strip"]');
    this.tip = viewer.root.querySelector('[data-part="strip-tip"]');
    this.legend = viewer.root.querySelector('[data-part="strip-legend"]');
    this.pen = this.canvas.getContext('2d');
    this.loader = new Newest(
      (plane) => viewer.ask('GET', '/strip?plane=' + plane),
      (known) => { this.known = known; this.explain(); this.draw(); },
      () => {},
    );
    this.canvas.addEventListener('click', (event) => this.go(event));
    this.canvas.addEventListener('pointermove', (event) => this.point(event));
    this.canvas.addEventListener('pointerleave', () => { this.tip.hidden = true; });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  get isShown() {
    const { state, isOpen } = this.viewer;
    return Boolean(isOpen && this.known && this.known.plane === state.active && this.known.count);
  }

  // Of the active plane, and of the state that is shown.
  refresh() {
    const { state, isOpen } = this.viewer;
    const key = isOpen ? [state.scene.token, state.scene.version, state.active].join(' ') : '';
    if (key !== this.key) {
      this.key = key;
      if (isOpen) this.loader.want(state.active);
    }
    this.draw();
  }

  show(now) {
    this.progress = now.state === 'running' && now.total ? now.done / now.total : null;
    this.draw();
  }

  place(event) { return event.clientX - this.canvas.getBoundingClientRect().left; }

  slice(event) { return sliceAt(this.place(event), this.known.count, this.canvas.clientWidth); }

  go(event) {
    if (!this.isShown) return;
    moves.goTo(this.viewer.state, this.known.plane, this.slice(event));
    this.viewer.refresh();
  }

  point(event) {
    this.tip.hidden = !this.isShown;
    if (!this.isShown) return;
    this.tip.textContent = told(this.known, this.slice(event));
    const most = this.canvas.clientWidth - this.tip.offsetWidth;
    this.tip.style.left = Math.max(Math.min(this.place(event) - this.tip.offsetWidth / 2, most), 0) + 'px';
  }

  explain() {
    const { known, legend, canvas } = this, { scale } = known;
    const colours = scale ? 'linear-gradient(to right, ' + scale.stops.join(', ') + ')' : UNKNOWN;
    legend.querySelector('i').style.background = colours;
    legend.querySelector('span').textContent = scale
      ? 'surface varies by ' + scale.low.toFixed(0) + ' – ' + scale.high.toFixed(1) + ' mm' : known.unknown ? 'grey: how sure is unknown' : 'grey: how sure is not known yet';
    legend.title = known.unknown ? 'The passes do not tell: ' + known.unknown : 'How far the surface moves between the stochastic passes';
    legend.hidden = !known.filled.length;
    const extent = known.filled.map(([first, last]) => first + 1 + ' to ' + (last + 1)).join(', ');
    canvas.setAttribute('aria-label', extent ? 'Mask on slices ' + extent : 'No 3D mask yet');
  }

  draw() {
    const { canvas, pen } = this, ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    const [across, down] = [width, height].map((one) => Math.round(one * ratio));
    if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.fillStyle = TRACK_COLOUR;
    pen.fillRect(0, TRACK[0], width, TRACK[1]);
    if (this.isShown) this.drawKnown(width, height);
    if (this.progress === null) return;
    pen.fillStyle = HERE_COLOUR;
    pen.fillRect(INSET_PX, height - 3, (width - 2 * INSET_PX) * this.progress, 3);
  }

  drawKnown(width, height) {
    const { pen, known } = this, [top, high] = TRACK;
    const x = (slice) => xOf(slice, known.count, width);
    const wide = Math.max(known.count > 1 ? x(1) - x(0) : width, 2);
    pen.globalAlpha = known.is_stale ? 0.45 : 1;
    for (const [first, last] of known.filled) {
      for (let slice = first; slice <= last; slice += 1) {
        pen.fillStyle = colourOf(known.spread_mm[slice], known.scale);
        pen.fillRect(x(slice) - wide / 2, top, wide + 0.5, high);
      }
    }
    pen.fillStyle = END_COLOUR;
    known.ends.forEach((one) => {  // a bracket, open towards the mask
      const edge = x(one.index), inwards = one.side === 0 ? 4 : -4;
      pen.fillRect(edge - 1, top - 3, 2, high + 6);
      pen.fillRect(Math.min(edge, edge + inwards), top - 3, 4, 2);
      pen.fillRect(Math.min(edge, edge + inwards), top + high + 1, 4, 2);
    });
    pen.globalAlpha = 1;
    pen.fillStyle = '#ffffff';
    known.prompted.forEach((slice) => {
      pen.beginPath();
      pen.moveTo(x(slice) - 4, 0);
      pen.lineTo(x(slice) + 4, 0);
      pen.lineTo(x(slice), 7);
      pen.fill();
    });
    pen.fillStyle = HERE_COLOUR;
    pen.fillRect(x(moves.sliceOf(this.viewer.state, known.plane)) - 1, 2, 2, height - 2);
  }
}
