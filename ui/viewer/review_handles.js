// The path on a slice with a handle at each end; an end off the slice is faint and says how far off it is.
import { stroke, write } from './pen.js';
import { gripAt, isSame, placeOn } from './review_geometry.js';
import { toScreen } from './transform.js';

const COLOUR = { entry: '#4dd2ff', target: '#ffe14d' }, PATH = '#7dff9a', MOVED = '#ff9df5';
const RADIUS_PX = 7, ON_SLICE = 0.75;

export const gripOf = (affine, pane, line, place) => gripAt(affine, pane.plane, pane.at, line, place);

export function drawHandles(pane, at, review, affine) {
  const { plane, view } = pane, { line } = review;
  const ends = ['entry', 'target'].map((end) => {
    const [column, row, slice] = placeOn(affine, plane, line[end]), off = Math.abs(slice - view.index);
    return { end, place: toScreen(at, column, row), words: off > ON_SLICE ? Math.round(off) + ' slices off' : '' };
  });
  drawLine(pane.pen, review, ends, at.perMm);
}

// ends: {end, place on the canvas, words that say why it is faint}, entry first
export function drawLine(pen, review, ends, perMm) {
  const { line, base, scene, grip } = review;
  pen.save();
  pen.strokeStyle = isSame(line, base) ? PATH : MOVED;
  pen.globalAlpha = 0.45;
  pen.lineWidth = Math.max(2 * scene.radius_mm * perMm, 1.5);
  stroke(pen, ...ends[0].place, ...ends[1].place);
  ends.forEach(({ end, place: [x, y], words }) => {
    pen.globalAlpha = words ? 0.5 : 1;
    pen.fillStyle = 'rgba(0, 0, 0, 0.55)';
    pen.strokeStyle = COLOUR[end];
    pen.lineWidth = grip === end ? 4 : 2.4;
    pen.beginPath();
    if (end === 'entry') pen.arc(x, y, RADIUS_PX, 0, 2 * Math.PI);
    else pen.rect(x - RADIUS_PX, y - RADIUS_PX, 2 * RADIUS_PX, 2 * RADIUS_PX);
    pen.fill();
    pen.stroke();
    if (words) write(pen, words, x + 12, end === 'entry' ? y - 12 : y + 12, { size: 11, colour: COLOUR[end] });
  });
  pen.restore();
}
