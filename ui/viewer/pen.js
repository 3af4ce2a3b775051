// Strokes and words on a canvas.

export const GREY_TEXT = '#e8edf2';

export function write(pen, words, x, y, { align = 'left', size = 13, colour = GREY_TEXT, weight = '600' } = {}) {
  pen.font = weight + ' ' + size + 'px system-ui, sans-serif';
  pen.textAlign = align;
  pen.textBaseline = 'middle';
  pen.lineWidth = 3;
  pen.lineJoin = 'round';
  pen.strokeStyle = 'rgba(0,0,0,0.85)';
  pen.strokeText(words, x, y);
  pen.fillStyle = colour;
  pen.fillText(words, x, y);
}

export function stroke(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

export function tracePath(pen, places) {
  pen.beginPath();
  addPath(pen, places);
}

export function addPath(pen, places) {
  places.forEach(([x, y], n) => { if (n) pen.lineTo(x, y); else pen.moveTo(x, y); });
}

export function strokeScribble(pen, places, isPositive) {
  pen.strokeStyle = isPositive ? '#3ddc84' : '#ff5252';
  pen.lineWidth = 3;
  tracePath(pen, places);
  pen.stroke();
}
