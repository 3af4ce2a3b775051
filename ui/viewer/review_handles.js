// The path on a slice with a handle at each end; an end off the slice is faint and says how far off it is.
import { stroke, write } from './pen.js';
import { gripAt, placeOn } from './review_geometry.js';
import { toScreen } from './transform.js';

const COLOUR = { entry: '#4dd2ff', target: '#ffe14d' }, PATH = '#7dff9a', MOVED = '#ff9df5';
const RADIUS_PX = 7, ON_SLICE = 0.75;

export const gripOf = (affine, pane, line, place) => gripAt(affine, pane.plane, pane.at, line, place);

export function drawHandles(pane, at, review, affine) {
  const { pen, plane, view } = pane, { line, base, scene } = review;
  const ends = ['entry', 'target'].map((end) => placeOn(affine, plane, line[end]));
  const [[x1, y1], [x2, y2]] = ends.map(([column, row]) => toScreen(at, column, row));
  const isMoved = line.entry.some((value, n) => Math.abs(value - base.entry[n]) > 1e-6)
    || line.target.some((value, n) => Math.abs(value - base.target[n]) > 1e-6);
  pen.save();
  pen.strokeStyle = isMoved ? MOVED : PATH;
  pen.globalAlpha = 0.45;
  pen.lineWidth = Math.max(2 * scene.radius_mm * at.perMm, 1.5);
  stroke(pen, x1, y1, x2, y2);
  [['entry', x1, y1, ends[0]], ['target', x2, y2, ends[1]]].forEach(([end, x, y, place]) => {
    const off = place[2] - view.index, isHere = Math.abs(off) <= ON_SLICE;
    pen.globalAlpha = isHere ? 1 : 0.5;
    pen.fillStyle = 'rgba(0, 0, 0, 0.55)';
    pen.strokeStyle = COLOUR[end];
    pen.lineWidth = review.grip === end ? 4 : 2.4;
    pen.beginPath();
    if (end === 'entry') pen.arc(x, y, RADIUS_PX, 0, 2 * Math.PI);
    else pen.rect(x - RADIUS_PX, y - RADIUS_PX, 2 * RADIUS_PX, 2 * RADIUS_PX);
    pen.fill();
    pen.stroke();
    if (!isHere) write(pen, Math.abs(Math.round(off)) + ' slices off', x + 12, y + 12, { size: 11, colour: COLOUR[end] });
  });
  pen.restore();
}
