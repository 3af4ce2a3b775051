// The 3D box on the page: what a drag does to it, how it is drawn, and the bar that places or drops it.
import { begunBox, cutOf, deepened, isThick, movedSides, sidesAt, sizeMm } from './box3d.js';
import { toScreen } from './transform.js';

const REACH_PX = 7;

export class Box3dTool {
  // viewer: {root, state, act(payload), draw()}
  constructor(viewer) {
    Object.assign(this, { viewer, box: null });
    this.bar = viewer.root.querySelector('[data-bar="box3d"]');
    this.bar.querySelector('[data-control="place-box"]').addEventListener('click', () => this.place());
    this.bar.querySelector('[data-control="drop-box"]').addEventListener('click', () => this.drop());
  }

  // Whether the drag takes hold of a side; else it begins a box, or gives the one that is there its depth.
  begin(drag, plane) {
    const { at, view } = drag;
    if (this.box) drag.sides = sidesAt(cutOf(this.box, plane, view.index), this.placeIn(drag), [REACH_PX / at.sx, REACH_PX / at.sy]);
    drag.before = this.box;
  }

  placeIn({ at, nowX, nowY }) { return [(nowX - at.x0) / at.sx - 0.5, (nowY - at.y0) / at.sy - 0.5]; }

  move(drag, plane) {
    if (!drag.wasFar) return;
    const { scene } = this.viewer.state, { at, before, sides, view } = drag, now = this.placeIn(drag);
    const first = this.placeIn({ at, nowX: drag.x, nowY: drag.y });
    if (sides) this.box = movedSides(scene, before, plane, sides, now);
    else if (before && before.from !== plane.axis) this.box = deepened(scene, before, plane, view.index, first, now);
    else this.box = begunBox(scene, plane, view.index, first, now);
    this.show();
  }

  show() {
    const { box, viewer } = this;
    this.bar.hidden = !box;
    if (box) {
      const size = sizeMm(viewer.state.scene, box).map((one) => one.toFixed(0)).reverse().join(' × ');
      this.bar.querySelector('span').textContent = '3D box ' + size + ' mm. Drag its sides in any plane; Enter places it, Esc drops it.';
      this.bar.querySelector('[data-control="place-box"]').disabled = !isThick(box);
    }
    viewer.draw();
  }

  place() {
    const { box } = this;
    if (!box || !isThick(box)) return;
    if (this.viewer.act({ kind: 'box3d', low: box.low, high: box.high }) !== false) this.drop();
  }

  drop() { this.box = null; this.show(); }

  draw(pen, at, plane, slice) {
    if (!this.box) return;
    const cut = cutOf(this.box, plane, slice);
    const [x, y] = toScreen(at, cut.left, cut.top), [x2, y2] = toScreen(at, cut.right, cut.bottom);
    pen.strokeStyle = '#ffd24a';
    pen.globalAlpha = cut.isCut ? 1 : 0.4;
    pen.lineWidth = 1.5;
    pen.strokeRect(x, y, x2 - x, y2 - y);
    pen.fillStyle = '#ffd24a';
    const middle = [(x + x2) / 2, (y + y2) / 2];
    [[x, middle[1]], [x2, middle[1]], [middle[0], y], [middle[0], y2]].forEach(([column, row]) => pen.fillRect(column - 3, row - 3, 6, 6));
    pen.globalAlpha = 1;
  }
}
