// Slices along the tool and across it (the probe's-eye view), of the line as it is moved.
import { fillGrey, valuesOf } from './pixels.js';
import { write } from './pen.js';
import { lengthMm } from './review_geometry.js';
import { Newest } from './slices.js';

const TOOL = '#7dff9a', ERROR = 'rgba(255, 180, 84, 0.8)';

export class Reslice {
  constructor(canvas, kind, viewer) {
    Object.assign(this, { canvas, kind, viewer, slice: null });
    this.picture = document.createElement('canvas');
    const show = (found) => { this.slice = found; this.draw(); };
    this.newest = new Newest((request) => this.load(request), show, () => {});
  }

  want(line, { depth = 0, turn = 0, allowance, radius }) {
    const query = new URLSearchParams({ kind: this.kind, line: [...line.entry, ...line.target].join(','), depth, turn });
    const address = 'review/' + this.viewer.token + '/slice?' + query;
    const length = lengthMm(line);
    return this.newest.want({ address, study: this.viewer.work, about: { depth, allowance, radius, length } });
  }

  async load({ address, about: tool }) {
    const answer = await this.viewer.connection.fetch(address);
    if (!answer.ok) throw new Error('slice ' + answer.status);
    const about = JSON.parse(answer.headers.get('X-Slice'));
    return { ...about, ...tool, values: valuesOf(await answer.arrayBuffer(), answer.headers.get('X-Value-Type')) };
  }

  clear() { this.slice = null; this.draw(); }

  draw() {
    const { canvas, slice } = this, ratio = window.devicePixelRatio || 1, pen = canvas.getContext('2d');
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !height) return;
    Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = '#000';
    pen.fillRect(0, 0, width, height);
    if (!slice) return;
    const [columns, rows] = slice.size;
    Object.assign(this.picture, { width: columns, height: rows });
    const inner = this.picture.getContext('2d'), image = inner.createImageData(columns, rows);
    fillGrey(new Uint32Array(image.data.buffer), slice.values, this.viewer.state.window);
    inner.putImageData(image, 0, 0);
    const scale = Math.min(width / columns, height / rows);
    const x0 = (width - columns * scale) / 2, y0 = (height - rows * scale) / 2;
    pen.imageSmoothingEnabled = true;
    pen.drawImage(this.picture, x0, y0, columns * scale, rows * scale);
    const at = ([column, row]) => [x0 + (column + 0.5) * scale, y0 + (row + 0.5) * scale];
    this.drawTool(pen, slice, at, scale / slice.pixel_mm);
    const [left, right, top, bottom] = slice.letters, style = { align: 'center', size: 12 };
    write(pen, left, 10, height / 2, style);
    write(pen, right, width - 10, height / 2, style);
    write(pen, top, width / 2, 9, style);
    write(pen, bottom, width / 2, height - 9, style);
  }

  // The tool true to scale, and the room that its error takes: a band along it, a circle across it.
  drawTool(pen, slice, at, perMm) {
    const [entry, target] = slice.line.map(at), [first, last] = slice.allowance;
    pen.lineWidth = 1.2;
    if (this.kind === 'across') {
      const part = Math.min(Math.max(slice.depth / Math.max(slice.length, 1e-9), 0), 1);
      const middle = at(slice.line[0]);
      [[ERROR, first + part * (last - first)], [TOOL, slice.radius]].forEach(([colour, radius]) => {
        pen.strokeStyle = colour;
        pen.beginPath();
        pen.arc(...middle, Math.max(radius * perMm, 1.5), 0, 2 * Math.PI);
        pen.stroke();
      });
      return;
    }
    [-1, 1].forEach((side) => {
      pen.strokeStyle = ERROR;
      pen.beginPath();
      pen.moveTo(entry[0] + side * first * perMm, entry[1]);
      pen.lineTo(target[0] + side * last * perMm, target[1]);
      pen.stroke();
    });
    pen.strokeStyle = TOOL;
    pen.globalAlpha = 0.8;
    pen.lineWidth = Math.max(2 * slice.radius * perMm, 1.5);
    pen.beginPath();
    pen.moveTo(...entry);
    pen.lineTo(...target);
    pen.stroke();
    pen.globalAlpha = 1;
    const y = entry[1] + (slice.depth * perMm);
    pen.strokeStyle = '#ffffff';
    pen.lineWidth = 1;
    pen.setLineDash([5, 4]);
    pen.beginPath();
    pen.moveTo(entry[0] - 40, y);
    pen.lineTo(entry[0] + 40, y);
    pen.stroke();
    pen.setLineDash([]);
  }
}
