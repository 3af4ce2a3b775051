// What lies over a slice: map, outlines, prompts, and the marks of the plan.
import { addPath, stroke, strokeScribble, write } from './pen.js';
import { toScreen } from './transform.js';

const MARK_COLOUR = { target: '#ffe14d', entry: '#4dd2ff', path: '#7dff9a' };
const CAUTION = '#ffb454';    // the colour of the amber verdict
const DISC_PX = 7, LEAST_DISC_PX = 3;

export function drawPicture(pen, at, picture, size, { isSmooth }) {
  pen.imageSmoothingEnabled = isSmooth;
  pen.imageSmoothingQuality = 'high';
  pen.drawImage(picture, at.x0, at.y0, size[0] * at.sx, size[1] * at.sy);
}

export function drawOutline(pen, at, outline) {
  pen.setLineDash(outline.preview ? [6, 3] : []);
  pen.beginPath();
  outline.lines.forEach((line) => addPath(pen, line.map(([column, row]) => toScreen(at, column, row))));
  pen.strokeStyle = 'rgba(0,0,0,0.6)';
  pen.lineWidth = outline.active ? 4 : 3;
  pen.stroke();
  pen.strokeStyle = outline.colour;
  pen.globalAlpha = outline.stale ? 0.55 : 1;
  pen.lineWidth = outline.active ? 2 : 1.4;
  pen.stroke();
  pen.globalAlpha = 1;
  pen.setLineDash([]);
}

// So that a disc hides little of what it is on: a fifth of the smaller side of the active structure on this slice.
export function discRadius(at, outlines) {
  const places = outlines.filter((one) => one.active).flatMap((one) => one.lines.flat());
  if (!places.length) return DISC_PX;
  const span = (n, scale) => {
    const values = places.map((place) => place[n]);
    return (values.reduce((a, b) => Math.max(a, b)) - values.reduce((a, b) => Math.min(a, b))) * scale;
  };
  return Math.min(Math.max(Math.min(span(0, at.sx), span(1, at.sy)) / 5, LEAST_DISC_PX), DISC_PX);
}

export function drawPrompt(pen, at, prompt, discPx = DISC_PX) {
  pen.globalAlpha = prompt.faint ? 0.3 : 1;
  if (prompt.kind === 'box') {
    const [x, y] = toScreen(at, prompt.rectangle[0], prompt.rectangle[1]);
    const [x2, y2] = toScreen(at, prompt.rectangle[2], prompt.rectangle[3]);
    pen.strokeStyle = '#ffffff';
    pen.lineWidth = 1.2;
    pen.setLineDash([4, 3]);
    pen.strokeRect(x, y, x2 - x, y2 - y);
    pen.setLineDash([]);
  } else if (prompt.kind === 'scribble') {
    strokeScribble(pen, prompt.points.map(([column, row]) => toScreen(at, column, row)), prompt.positive);
  } else drawDisc(pen, ...toScreen(at, ...prompt.points[0]), prompt.positive, discPx);
  pen.globalAlpha = 1;
}

// With a plus or a minus, so that they differ without colour.
function drawDisc(pen, x, y, isPositive, radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fillStyle = isPositive ? '#1e9e57' : '#d63a3a';
  pen.fill();
  pen.strokeStyle = '#ffffff';
  pen.lineWidth = radius < 5 ? 1 : 1.5;
  pen.stroke();
  pen.lineWidth = radius < 5 ? 1.2 : 2;
  const arm = 0.57 * radius;
  stroke(pen, x - arm, y, x + arm, y);
  if (isPositive) stroke(pen, x, y - arm, x, y + arm);
}

export function drawMark(pen, at, mark) {
  pen.strokeStyle = pen.fillStyle = mark.has_caution ? CAUTION : MARK_COLOUR[mark.kind];
  if (mark.kind === 'path') drawTrajectory(pen, at, mark);
  else if (!mark.hidden) drawEnd(pen, at, mark);
}

function drawTrajectory(pen, at, mark) {
  const [x1, y1] = toScreen(at, ...mark.points[0]);
  const [x2, y2] = toScreen(at, ...mark.points[1]);
  pen.lineWidth = 1.6;
  pen.setLineDash([6, 4]);
  stroke(pen, x1, y1, x2, y2);
  pen.setLineDash([]);
  if (!mark.inside) return;
  const along = (part) => [x1 + part * (x2 - x1), y1 + part * (y2 - y1)];
  pen.globalAlpha = 0.75;
  pen.lineWidth = Math.max(2 * mark.radius_mm * at.perMm, 3);
  stroke(pen, ...along(mark.inside[0]), ...along(mark.inside[1]));
  pen.globalAlpha = 1;
}

function drawEnd(pen, at, mark) {
  const [x, y] = toScreen(at, ...mark.points[0]);
  pen.globalAlpha = mark.faint ? 0.45 : 1;
  pen.lineWidth = 1.6;
  if (mark.radius_mm > 0) {
    pen.beginPath();
    pen.arc(x, y, mark.radius_mm * at.perMm, 0, 2 * Math.PI);
    pen.stroke();
  }
  stroke(pen, x - 9, y, x + 9, y);
  stroke(pen, x, y - 9, x, y + 9);
  write(pen, mark.label, x + 11, y - 11, { size: 12, colour: MARK_COLOUR[mark.kind] });
  pen.globalAlpha = 1;
}
