// What else the model may have been meant: up to three answers to the last prompt as thumbnails, one of them chosen.
import { addPath } from './pen.js';
import { fillGrey } from './pixels.js';
import * as moves from './state.js';

const SIDE_PX = 76;

// The answer after the chosen one, in the order they are shown; null where there is no other.
export function nextAnswer({ answers, chosen }) {
  if (answers.length < 2) return null;
  const at = answers.findIndex((one) => one.candidate === chosen);
  return answers[(at + 1) % answers.length].candidate;
}

// From (column, row) of the slice to a thumbnail that shows a frame of (column, row, columns, rows).
export const onThumbnail = ([left, top, columns, rows], [column, row], side = SIDE_PX) =>
  [((column - left) / columns) * side, ((row - top) / rows) * side];

export class Answers {
  constructor(viewer) {
    Object.assign(this, { viewer, key: '', known: null, turn: 0 });
    this.panel = viewer.root.querySelector('[data-part="answers"]');
    this.list = this.panel.querySelector('div');
  }

  get isShown() {
    const { known, viewer } = this;
    if (!known || known.answers.length < 2 || !viewer.isOpen) return false;
    return moves.shownPanes(viewer.state).includes(known.plane) && moves.sliceOf(viewer.state, known.plane) === known.index;
  }

  // Other prompts have other answers; while the worker is busy they are asked for again with the next state.
  async accept() {
    const { viewer } = this, { scene } = viewer.state;
    const key = viewer.isOpen ? scene.token + scene.prompted : '';
    if (key === this.key && !(this.known && this.known.is_pending)) { this.show(); return; }
    if (key !== this.key) this.known = null;
    this.key = key;
    this.show();
    if (!key || !scene.prompted) return;
    this.turn += 1;
    const { turn } = this;
    let known, slice;
    try {
      known = await viewer.ask('GET', '/answers');
      if (known.answers.length > 1) slice = await viewer.store.slice(scene, known.plane, known.index, 'outline');
    } catch { return; }
    if (turn !== this.turn) return;
    this.known = known;
    this.list.replaceChildren(...known.answers.map((one) => this.button(one, slice.values)));
    this.show();
  }

  show() { this.panel.hidden = !this.isShown; }

  choose(candidate) { if (candidate !== this.known.chosen) this.viewer.act({ kind: 'choice', candidate }); }

  other() {
    const found = this.known && nextAnswer(this.known);
    if (found !== null && found !== undefined) this.choose(found);
  }

  button(one, values) {
    const button = document.createElement('button'), words = document.createElement('span');
    const percent = Math.round(100 * one.quality), isChosen = one.candidate === this.known.chosen;
    button.type = 'button';
    button.dataset.answer = one.candidate;
    button.setAttribute('aria-pressed', String(isChosen));
    button.title = 'The model expects ' + percent + ' % overlap with your outline if you meant this';
    words.textContent = percent + ' %';
    button.append(this.thumbnail(one, values), words);
    button.addEventListener('click', () => this.choose(one.candidate));
    return button;
  }

  thumbnail(one, values) {
    const { state } = this.viewer, { frame, plane } = this.known, [, , columns, rows] = frame;
    const [width, height] = state.scene.planes[plane].size;
    const picture = Object.assign(document.createElement('canvas'), { width, height });
    const image = picture.getContext('2d').createImageData(width, height);
    fillGrey(new Uint32Array(image.data.buffer), values, state.window);
    picture.getContext('2d').putImageData(image, 0, 0);
    const canvas = Object.assign(document.createElement('canvas'), { width: 2 * SIDE_PX, height: 2 * SIDE_PX });
    const pen = canvas.getContext('2d');
    pen.scale(2, 2);
    const [x, y] = onThumbnail(frame, [-0.5, -0.5]);  // where the slice's first pixel begins
    pen.drawImage(picture, x, y, (width * SIDE_PX) / columns, (height * SIDE_PX) / rows);
    pen.beginPath();
    one.lines.forEach((line) => addPath(pen, line.map((point) => onThumbnail(frame, point))));
    [['rgba(0,0,0,0.7)', 3.5], ['#ffd24a', 1.6]].forEach(([colour, wide]) => {
      pen.strokeStyle = colour;
      pen.lineWidth = wide;
      pen.stroke();
    });
    return canvas;
  }
}
