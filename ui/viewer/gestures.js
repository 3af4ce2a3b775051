// What the hand does on a slice. `kindOf` and `Wheel` know nothing of the page; `listen` connects them to a canvas.

export const CLICK_PX = 5;    // a tremor up to this is a click
const NOTCH_PX = 50;          // a wheel's notch is larger, a touchpad's steps are smaller
const TOUCHPAD_PX = 30;       // of a touchpad to one slice

// What a press begins: pan, window, cross, negative or the tool itself.
export function kindOf({ button, shiftKey, altKey }, tool) {
  if (button === 1) return 'pan';
  if (button === 2) return 'window';
  if (button !== 0) return null;
  if (tool === 'navigate' || shiftKey) return 'cross';
  if (altKey && !['scribble', 'brush', 'erase'].includes(tool)) return 'negative';
  return tool;
}

export const isFar = (drag) => Math.hypot(drag.nowX - drag.x, drag.nowY - drag.y) > CLICK_PX;

// What a finished press asks of the server; null for nothing. A box dragged back to its start is cancelled.
export function actionOf(drag, tool) {
  const isPrompt = ['box', 'box3d', 'point', 'scribble', 'lasso'].includes(tool);
  const far = isFar(drag);
  if (drag.kind === 'box') return far ? 'box' : drag.wasFar ? null : 'positive';
  if (drag.kind === 'scribble') return drag.wasFar ? 'scribble' : drag.isNegative ? 'negative' : 'positive';
  if (drag.kind === 'lasso') return drag.wasFar ? 'lasso' : 'positive';
  if (drag.kind === 'box3d') return drag.wasFar ? null : 'positive';
  if (drag.kind === 'brush' || drag.kind === 'erase') return (drag.kind === 'erase') !== drag.isNegative ? 'erase' : 'brush';
  if (drag.wasFar) return null;
  if (drag.kind === 'point') return 'positive';
  if (['target', 'entry', 'island'].includes(drag.kind)) return drag.kind;
  return (drag.kind === 'negative' || drag.kind === 'window') && isPrompt ? 'negative' : null;
}

// Slices from the wheel's delta: one to a notch, more to a fast turn, and fractions of a touchpad added up.
export class Wheel {
  constructor() { this.rest = 0; }

  steps({ deltaY, deltaMode = 0 }) {
    const px = deltaY * (deltaMode === 1 ? 100 / 3 : deltaMode === 2 ? 1000 : 1);
    if (Math.abs(px) >= NOTCH_PX) {
      this.rest = 0;
      return Math.sign(px) * Math.max(1, Math.round(Math.abs(px) / 120));
    }
    if (Math.sign(px) !== Math.sign(this.rest)) this.rest = 0;
    this.rest += px;
    const steps = Math.trunc(this.rest / TOUCHPAD_PX);
    this.rest -= steps * TOUCHPAD_PX;
    return steps || 0;
  }
}

// hand: {tool(), begin(drag), move(drag), end(drag), cancel(), hover(x, y, event), leave(), zoom(x, y, factor), scroll(steps)}
export function listen(canvas, hand) {
  const wheel = new Wheel();
  let drag = null;
  const place = (event) => {
    const bounds = canvas.getBoundingClientRect();
    return [event.clientX - bounds.left, event.clientY - bounds.top];
  };
  canvas.addEventListener('contextmenu', (event) => event.preventDefault());
  canvas.addEventListener('pointerdown', (event) => {
    canvas.focus({ preventScroll: true });
    event.preventDefault();
    const kind = kindOf(event, hand.tool());
    if (drag || !kind) return;
    const [x, y] = place(event);
    canvas.setPointerCapture(event.pointerId);
    drag = { kind, x, y, nowX: x, nowY: y, wasFar: false, isNegative: event.altKey, trail: [[x, y]] };
    if (hand.begin(drag) === false) drag = null;
  });
  canvas.addEventListener('pointermove', (event) => {
    const [x, y] = place(event);
    hand.hover(x, y, event);
    if (!drag) return;
    Object.assign(drag, { nowX: x, nowY: y });
    drag.wasFar = drag.wasFar || isFar(drag);
    const [lastX, lastY] = drag.trail[drag.trail.length - 1];
    if (Math.hypot(x - lastX, y - lastY) >= 3) drag.trail.push([x, y]);
    hand.move(drag);
  });
  canvas.addEventListener('pointerup', () => {
    const done = drag;
    drag = null;
    if (done) hand.end(done);
  });
  canvas.addEventListener('pointercancel', () => { drag = null; hand.cancel(); });
  canvas.addEventListener('pointerleave', () => hand.leave());
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    if (event.ctrlKey) hand.zoom(...place(event), Math.exp(-event.deltaY / 300));
    else if (!drag) {
      const steps = wheel.steps(event);
      if (steps) hand.scroll(steps);
    }
  }, { passive: false });
  return { cancel() { drag = null; hand.cancel(); } };
}
