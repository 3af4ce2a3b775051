// The ends of the path that is reviewed, in the 3D view: which one lies under the hand, and where a drag takes it. The
// target moves parallel to the screen; the entry stays on the surface that is entered, where that is under the hand.
import { movedOnScreen, projected } from './camera.js';
import { gripOfEnds } from './review_geometry.js';
import { drawLine } from './review_handles.js';

const ENTERED = ['risk', 'entered'];

export class Ends3D {
  constructor(pane, review) { Object.assign(this, { pane, review }); }

  takes(place) {
    const { camera, size } = this.pane, { review } = this;
    if (!camera || !review.mayMove) return false;
    return review.takes(gripOfEnds(review.line, (lps) => projected(camera, size, lps), place));
  }

  drags(place) {
    const { camera, size, renderer, surfaces } = this.pane, { review } = this;
    const entered = surfaces.there.filter((one) => ENTERED.includes(one.kind)).map((one) => one.address);
    const onSkin = review.grip === 'entry' && entered.length ? renderer.pick(camera, size, place, entered) : null;
    review.dragsTo(onSkin || movedOnScreen(camera, size, review.line[review.grip], place));
  }

  draw() {
    const { camera, size, pen } = this.pane, { review } = this;
    if (!review.mayMove) return [];
    const ends = ['entry', 'target'].map((end) => ({ end, place: projected(camera, size, review.line[end]).slice(0, 2), words: '' }));
    drawLine(pen, review, ends, camera.perMm);
    return ends;
  }
}
