// What a slice is read with: side letters, scale in mm, crosshair, rulers, colour bar, legend.
import { GREY_TEXT, stroke, tracePath, write } from './pen.js';
import { toScreen } from './transform.js';

const LENGTHS_MM = [1, 2, 5, 10, 20, 50, 100, 200];
const CROSS_COLOUR = '#58c4dd', MEASURE_COLOUR = '#ffd24a';
const CROSS_GAP_PX = 14;

export function drawLetters(pen, at, letters) {
  const style = { align: 'center', size: 16 };
  write(pen, letters.left, 14, at.height / 2, style);
  write(pen, letters.right, at.width - 14, at.height / 2, style);
  write(pen, letters.top, at.width / 2, 12, style);
  write(pen, letters.bottom, at.width / 2, at.height - 12, style);
}

export const scaleLengthMm = (perMm, leastPx = 60) =>
  LENGTHS_MM.find((length) => length * perMm >= leastPx) || LENGTHS_MM[LENGTHS_MM.length - 1];

export function drawScale(pen, at) {
  const mm = scaleLengthMm(at.perMm), x = 14, y = at.height - 14, end = x + mm * at.perMm;
  pen.strokeStyle = GREY_TEXT;
  pen.lineWidth = 2;
  stroke(pen, x, y, end, y);
  stroke(pen, x, y - 5, x, y + 1);
  stroke(pen, end, y - 5, end, y + 1);
  write(pen, mm + ' mm', x, y - 14, { size: 12 });
}

// Open in the middle, so that it hides nothing of what it points at.
export function drawCross(pen, at, column, row) {
  const [x, y] = toScreen(at, column, row);
  pen.strokeStyle = CROSS_COLOUR;
  pen.lineWidth = 1;
  pen.globalAlpha = 0.7;
  stroke(pen, 0, y, x - CROSS_GAP_PX, y);
  stroke(pen, x + CROSS_GAP_PX, y, at.width, y);
  stroke(pen, x, 0, x, y - CROSS_GAP_PX);
  stroke(pen, x, y + CROSS_GAP_PX, x, at.height);
  pen.globalAlpha = 1;
}

export function drawMeasure(pen, at, points, words) {
  const places = points.map(([column, row]) => toScreen(at, column, row));
  [['rgba(0,0,0,0.7)', 4], [MEASURE_COLOUR, 1.6]].forEach(([colour, width]) => {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    tracePath(pen, places);
    pen.stroke();
  });
  pen.fillStyle = MEASURE_COLOUR;
  places.forEach(([x, y]) => pen.fillRect(x - 2.5, y - 2.5, 5, 5));
  const [x, y] = places[places.length === 3 ? 1 : places.length - 1];
  write(pen, words, x + 10, y - 10, { size: 13, colour: MEASURE_COLOUR });
}

export function drawBar(pen, at, bar) {
  const high = Math.min(180, at.height * 0.4), x = at.width - 30, y = 40;
  const shade = pen.createLinearGradient(0, y + high, 0, y);
  bar.stops.forEach((colour, n) => shade.addColorStop(n / (bar.stops.length - 1), colour));
  pen.fillStyle = shade;
  pen.fillRect(x, y, 14, high);
  pen.strokeStyle = '#888';
  pen.lineWidth = 1;
  pen.strokeRect(x, y, 14, high);
  [0, 0.5, 1].forEach((part) => {
    const value = bar.low + part * (bar.high - bar.low);
    const words = value.toFixed(bar.high - bar.low >= 10 ? 0 : 2);
    write(pen, words, x - 6, y + high * (1 - part), { align: 'right', size: 11 });
  });
  write(pen, bar.label + ' (' + bar.unit + ')', at.width - 14, y - 18, { align: 'right', size: 12 });
}

export function drawWarning(pen, at, words) {
  const size = Math.max(11, Math.min(40, (1.6 * at.width) / words.length));
  pen.save();
  pen.translate(at.width / 2, at.height / 2);
  pen.rotate(-0.31);
  write(pen, words, 0, 0, { align: 'center', size, colour: '#ffd24a' });
  pen.restore();
}

export function drawLegend(pen, legend) {
  legend.forEach((entry, n) => {
    pen.fillStyle = entry.colour;
    pen.fillRect(12, 14 + 18 * n, 11, 11);
    write(pen, entry.name, 29, 20 + 18 * n, { size: 12, weight: entry.active ? '700' : '400' });
  });
}

export function drawBand(pen, drag) {
  pen.strokeStyle = '#ffffff';
  pen.lineWidth = 1.5;
  pen.setLineDash([5, 4]);
  pen.strokeRect(drag.x, drag.y, drag.nowX - drag.x, drag.nowY - drag.y);
  pen.setLineDash([]);
}
