// One depth on the path: the profile, the slices along the tool and across it, and the crosshair go to it together.
import { alongLine, depthNear, indexOf, lengthMm, profileAt } from './review_geometry.js';
import { mm } from './review_panel.js';
import { drawProfile, scaleOf } from './review_profile.js';
import { Reslice } from './review_slices.js';

export class Along {
  constructor(review) {
    const { panel, viewer } = review, part = (name) => panel.part(name);
    Object.assign(this, { review, panel, viewer, depthMm: 0 });
    this.slices = ['along', 'across'].map((kind) => new Reslice(part(kind), kind, viewer));
    part('depth').addEventListener('input', (event) => this.go(Number(event.target.value)));
    part('turn').addEventListener('input', () => this.want());
    ['pointermove', 'pointerdown'].forEach((type) => part('profile').addEventListener(type, (event) => this.follow(event)));
    const resized = new ResizeObserver(() => this.draw());
    ['profile', 'along', 'across'].forEach((name) => resized.observe(part(name)));
  }

  // The line was moved.
  changed() {
    const length = lengthMm(this.review.line);
    this.depthMm = Math.min(this.depthMm, length);
    this.panel.part('depth').max = length;
    this.want();
    this.draw();
  }

  want() {
    const { review } = this, { scene } = review;
    if (!review.isVisible) return;
    const turn = Number(this.panel.part('turn').value);
    const about = { allowance: scene.allowance_mm, radius: scene.radius_mm, depth: this.depthMm, turn };
    this.slices.forEach((one) => one.want(review.line, about));
  }

  go(depthMm, { movesCross = true } = {}) {
    const { line } = this.review;
    this.depthMm = Math.min(Math.max(depthMm, 0), lengthMm(line));
    this.panel.part('depth').value = this.depthMm;
    if (movesCross) {
      const { state } = this.viewer, index = indexOf(state.scene.affine, alongLine(line, this.depthMm));
      state.cross = index.map((value, n) => Math.min(Math.max(value, 0), state.scene.shape[n] - 1));
      this.viewer.refresh();
    }
    this.want();
    this.draw();
  }

  // The crosshair was moved on a slice.
  followCross(lps) {
    const depth = depthNear(this.review.line, lps);
    if (Math.abs(depth - this.depthMm) > 0.25) this.go(depth, { movesCross: false });
  }

  // The cursor is on the profile; with the button pressed, the planes follow, too.
  follow(event) {
    const { shown } = this.review, canvas = this.panel.part('profile');
    if (!shown || !shown.profile) return;
    const at = scaleOf(shown.profile, [canvas.clientWidth, canvas.clientHeight]);
    this.go(at.depth(event.clientX - canvas.getBoundingClientRect().left), { movesCross: event.buttons === 1 });
  }

  draw() {
    this.slices.forEach((one) => one.draw());
    const { shown, scene } = this.review, canvas = this.panel.part('profile'), ratio = window.devicePixelRatio || 1;
    const size = [canvas.clientWidth, canvas.clientHeight];
    if (!size[0] || !shown || !shown.profile) return;
    Object.assign(canvas, { width: Math.round(size[0] * ratio), height: Math.round(size[1] * ratio) });
    const pen = canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const { profile, crossings } = shown;
    drawProfile(pen, size, { profile, crossings, colours: scene.colours, depthMm: this.depthMm });
    const here = Object.entries(profileAt(profile, this.depthMm)).filter(([, value]) => value !== null)
      .map(([name, value]) => name + ' ' + mm(value)).join(' · ');
    const crossed = (crossings || []).filter((one) => one.from_mm <= this.depthMm && this.depthMm <= one.to_mm).map((one) => one.kind);
    this.panel.part('at-depth').textContent = this.depthMm.toFixed(1) + ' mm: ' + (here || 'no structure counts')
      + (crossed.length ? ' · in ' + crossed.join(', ') : '');
  }
}
