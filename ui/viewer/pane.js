// One plane on the screen: its canvas, the slice that is shown on it, and how it is drawn.
import { drawCursor, drawStroke, isStroke } from './brush.js';
import * as frame from './draw_frame.js';
import { discRadius, drawMark, drawOutline, drawPicture, drawPrompt } from './draw_layers.js';
import { placeOf, slicePosition } from './grid.js';
import { told } from './measures.js';
import { strokeScribble, write } from './pen.js';
import { fillGrey } from './pixels.js';
import { isOpen, planeOf } from './state.js';
import { placed } from './transform.js';

export class Pane {
  constructor(section, name, state) {
    Object.assign(this, { section, name, state, view: null, drag: null, pointer: null, strokes: [] });
    this.canvas = section.querySelector('canvas');
    this.title = section.querySelector('[data-part="title"]');
    this.pen = this.canvas.getContext('2d');
    this.picture = document.createElement('canvas');
  }

  drawTool() {}  // the viewer's, once it is there

  get plane() { return planeOf(this.state, this.name); }

  // Where the slice lies; null while none is shown.
  get at() {
    const { clientWidth, clientHeight } = this.canvas;
    return this.view && isOpen(this.state) && clientWidth > 0
      ? placed(this.state.frames[this.name], [clientWidth, clientHeight], this.plane) : null;
  }

  // number: of the scene that the view belongs to; what was painted before it is drawn in it.
  show(view, number = Infinity) {
    this.strokes = this.strokes.filter((one) => one.number >= number);
    const isNew = !this.view || this.view.values !== view.values;
    this.view = view;
    if (isNew) this.paint();
    this.draw();
  }

  clear() { this.view = null; this.strokes = []; this.draw(); }

  // Turn the values into greys; needed for another slice or another window.
  paint() {
    if (!this.view || !isOpen(this.state)) return;
    const [columns, rows] = this.plane.size, { picture } = this;
    if (picture.width !== columns || picture.height !== rows) Object.assign(picture, { width: columns, height: rows });
    const pen = picture.getContext('2d'), image = pen.createImageData(columns, rows);
    fillGrey(new Uint32Array(image.data.buffer), this.view.values, this.state.window);
    pen.putImageData(image, 0, 0);
  }

  draw() {
    const { canvas, pen, view, state } = this;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = '#000';
    pen.fillRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    const { at } = this;
    if (!at) { this.drawEmpty(); return; }
    canvas.dataset.place = JSON.stringify([at.x0, at.y0, at.sx, at.sy]);
    this.title.textContent = this.told();
    drawPicture(pen, at, this.picture, this.plane.size, { isSmooth: at.sx < 8 });
    if (view.layer) {
      pen.globalAlpha = state.opacity;
      drawPicture(pen, at, view.layer, this.plane.size, { isSmooth: false });
      pen.globalAlpha = 1;
    }
    const [column, row] = placeOf(this.plane, state.cross);
    frame.drawCross(pen, at, column, row);
    view.outlines.forEach((outline) => drawOutline(pen, at, outline));
    view.prompts.forEach((prompt) => drawPrompt(pen, at, prompt, discRadius(at, view.outlines)));
    view.marks.forEach((mark) => drawMark(pen, at, mark));
    this.drawStrokes(at);
    this.drawMeasures(at);
    if (this.drag && this.drag.kind === 'box' && this.drag.wasFar) frame.drawBand(pen, this.drag);
    if (this.drag && this.drag.kind === 'scribble') strokeScribble(pen, this.drag.trail, !this.drag.isNegative);
    if (this.drag && this.drag.kind === 'lasso') strokeScribble(pen, [...this.drag.trail, this.drag.trail[0]], true);
    this.drawTool(pen, at, this.plane, view.index);
    frame.drawLetters(pen, at, this.plane.letters);
    frame.drawScale(pen, at);
    if (view.bar && view.bar.warning) frame.drawWarning(pen, at, view.bar.warning);
    if (this.name !== state.main) return;
    if (view.bar) frame.drawBar(pen, at, view.bar);
    frame.drawLegend(pen, state.scene.legend);
  }

  told() {
    const slice = this.view.index;
    return this.name + ' · ' + (slice + 1) + ' / ' + this.view.count + ' · '
      + slicePosition(this.state.scene.affine, this.plane, slice);
  }

  drawEmpty() {
    const { canvas, pen, state, name } = this;
    delete canvas.dataset.place;
    this.title.textContent = name;
    if (!state.scene || isOpen(state) || name !== state.main) return;
    write(pen, state.scene.empty_text, canvas.clientWidth / 2, canvas.clientHeight / 2, { align: 'center', size: 16 });
  }

  // Strokes that the server has not drawn yet, and the circle of the brush.
  drawStrokes(at) {
    const { drag, pen, pointer, state, view } = this, drawn = drag && drag.stroke ? [drag.stroke] : [];
    [...this.strokes, ...drawn].filter((one) => one.index === view.index && one.points.length)
      .forEach((one) => drawStroke(pen, at, one));
    if (pointer && isStroke(state.tool)) drawCursor(pen, at, pointer, state.brushMm);
  }

  drawMeasures(at) {
    const { affine } = this.state.scene;
    this.state.measures
      .filter((one) => one.plane === this.name && one.index === this.view.index && one.points.length > 1)
      .forEach((one) => frame.drawMeasure(this.pen, at, one.points, told(affine, this.plane, one)));
  }
}
