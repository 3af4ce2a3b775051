// Where a slice lies on its canvas. A frame is the part of the slice that must be visible, {x, y, w, h} in mm from the
// slice's top left corner; it keeps its meaning when the canvas changes its size. Pixels are drawn to scale in mm.

const SIDE_PX = 56, END_PX = 40;   // leaves room for the side letters
const MOST_PX_PER_PIXEL = 64;

export const wholeFrame = (plane) =>
  ({ x: 0, y: 0, w: plane.size[0] * plane.pixel_mm[0], h: plane.size[1] * plane.pixel_mm[1] });

// The frame of a box of voxel indices, with a border around it.
export function boxFrame(plane, [low, high], borderMm = 8) {
  const whole = wholeFrame(plane);
  const ends = (axis, isFlipped, count) =>
    (isFlipped ? [count - 1 - high[axis], count - 1 - low[axis]] : [low[axis], high[axis]]);
  const [left, right] = ends(plane.across, plane.flip_across, plane.size[0]);
  const [top, bottom] = ends(plane.down, plane.flip_down, plane.size[1]);
  const x = Math.max(left * plane.pixel_mm[0] - borderMm, 0), y = Math.max(top * plane.pixel_mm[1] - borderMm, 0);
  return {
    x, y,
    w: Math.min((right + 1) * plane.pixel_mm[0] + borderMm, whole.w) - x,
    h: Math.min((bottom + 1) * plane.pixel_mm[1] + borderMm, whole.h) - y,
  };
}

const scaleOf = (frame, width, height) =>
  Math.max(Math.min((width - SIDE_PX) / frame.w, (height - END_PX) / frame.h), 1e-3);

export function placed(frame, [width, height], plane) {
  const perMm = scaleOf(frame, width, height);
  return {
    width, height, perMm, sx: perMm * plane.pixel_mm[0], sy: perMm * plane.pixel_mm[1],
    x0: width / 2 - (frame.x + frame.w / 2) * perMm, y0: height / 2 - (frame.y + frame.h / 2) * perMm,
  };
}

export const toScreen = (at, column, row) => [at.x0 + (column + 0.5) * at.sx, at.y0 + (row + 0.5) * at.sy];
export const toSlice = (at, x, y) => [(x - at.x0) / at.sx - 0.5, (y - at.y0) / at.sy - 0.5];

// Enlarged by a factor about a place on the screen, which stays where it is; never smaller than the whole slice.
export function zoomed(frame, at, plane, [x, y], factor) {
  const whole = wholeFrame(plane);
  const least = Math.min(scaleOf(whole, at.width, at.height), at.perMm);
  const most = MOST_PX_PER_PIXEL / Math.min(...plane.pixel_mm);
  const perMm = Math.min(Math.max(at.perMm * factor, least), most), change = perMm / at.perMm;
  if (change < 1 && perMm === least) return whole;
  const [mmX, mmY] = [(x - at.x0) / at.perMm, (y - at.y0) / at.perMm];
  const w = frame.w / change, h = frame.h / change;
  return { x: mmX - (x - at.width / 2) / perMm - w / 2, y: mmY - (y - at.height / 2) / perMm - h / 2, w, h };
}

export const panned = (frame, at, dx, dy) => ({ ...frame, x: frame.x - dx / at.perMm, y: frame.y - dy / at.perMm });
