// The camera of the 3D view: a turntable around the patient with a parallel projection, so that one scale holds
// everywhere. Positions are LPS mm; the head stays up. {azimuth, elevation} in degrees, {centre} in the middle of the
// canvas, {perMm} pixels to a millimetre.

// Where one looks from, by the patient's side: anterior, posterior, left, right, head, feet.
export const VIEWS = { A: [0, 0], P: [180, 0], L: [90, 0], R: [-90, 0], H: [180, 90], F: [0, -90] };
const DEG_PER_PX = 0.5;
const FILLED = 0.86;             // share of the canvas that the fitted scene takes
const LEAST_PER_MM = 0.02, MOST_PER_MM = 200;
const VISIBLE_SHARE = 0.3;       // direction cosine from which a side letter is shown, as on the slices

const rad = (degrees) => (degrees * Math.PI) / 180;
const dot = (one, other) => one[0] * other[0] + one[1] * other[1] + one[2] * other[2];

export function cross(one, other) {
  return [
    one[1] * other[2] - one[2] * other[1], one[2] * other[0] - one[0] * other[2], one[0] * other[1] - one[1] * other[0],
  ];
}

// Unit vectors rightwards and upwards on the screen, and forwards into it.
export function basis({ azimuth, elevation }) {
  const [sa, ca, se, ce] = [Math.sin(rad(azimuth)), Math.cos(rad(azimuth)), Math.sin(rad(elevation)), Math.cos(rad(elevation))];
  const forward = [-sa * ce, ca * ce, -se], up = [-sa * se, ca * se, ce];
  return { right: cross(forward, up), up, forward };
}

export const looking = (camera, [azimuth, elevation]) => ({ ...camera, azimuth, elevation });

// As if the front of the patient were held and moved.
export function turned(camera, dx, dy) {
  const elevation = Math.min(Math.max(camera.elevation + dy * DEG_PER_PX, -90), 90);
  return { ...camera, azimuth: (camera.azimuth - dx * DEG_PER_PX + 540) % 360 - 180, elevation };
}

export function shifted(camera, dx, dy) {
  const { right, up } = basis(camera);
  return { ...camera, centre: camera.centre.map((one, n) => one + (dy * up[n] - dx * right[n]) / camera.perMm) };
}

// Enlarged about a place on the canvas, which stays where it is.
export function nearer(camera, [width, height], [x, y], factor) {
  const perMm = Math.min(Math.max(camera.perMm * factor, LEAST_PER_MM), MOST_PER_MM), change = 1 - camera.perMm / perMm;
  return { ...shifted(camera, (width / 2 - x) * change, (height / 2 - y) * change), perMm };
}

// The whole of some points.
export function fitted(camera, [width, height], points) {
  const { right, up } = basis(camera);
  const ends = [right, up].map((axis) => {
    const along = points.map((point) => dot(point, axis));
    return [Math.min(...along), Math.max(...along)];
  });
  const [across, down] = ends.map(([low, high]) => Math.max(high - low, 1));
  const centre = [0, 1, 2].map((n) => {
    const along = points.map((point) => point[n]);
    return (Math.min(...along) + Math.max(...along)) / 2;
  });
  return { ...camera, centre, perMm: FILLED * Math.min(width / across, height / down) };
}

// Place on the canvas, and how far behind the centre.
export function projected(camera, [width, height], point) {
  const { right, up, forward } = basis(camera);
  const from = point.map((one, n) => one - camera.centre[n]);
  return [width / 2 + dot(from, right) * camera.perMm, height / 2 - dot(from, up) * camera.perMm, dot(from, forward)];
}

// A position moved parallel to the screen, to another place on the canvas.
export function movedOnScreen(camera, size, point, [x, y]) {
  const { right, up } = basis(camera), [fromX, fromY] = projected(camera, size, point);
  return point.map((one, n) => one + ((x - fromX) * right[n] - (y - fromY) * up[n]) / camera.perMm);
}

// Name a direction by the patient's sides, the strongest first.
export function sideLetters(direction) {
  const length = Math.hypot(...direction);
  return [0, 1, 2]
    .filter((axis) => Math.abs(direction[axis]) / length > VISIBLE_SHARE)
    .sort((one, other) => Math.abs(direction[other]) - Math.abs(direction[one]))
    .map((axis) => ['LR', 'PA', 'SI'][axis][direction[axis] < 0 ? 1 : 0]).join('');
}

export function letters(camera) {
  const { right, up } = basis(camera), opposite = (axis) => axis.map((one) => -one);
  return {
    left: sideLetters(opposite(right)), right: sideLetters(right), top: sideLetters(up), bottom: sideLetters(opposite(up)),
  };
}

// Number of the line, of entry and target, that is nearest to a place on the canvas within a reach; -1 without one.
export function lineAt(camera, size, lines, [x, y], reachPx) {
  let found = -1, least = reachPx;
  lines.forEach(({ entry, target }, number) => {
    const [[ax, ay], [bx, by]] = [entry, target].map((end) => projected(camera, size, end));
    const length = (bx - ax) ** 2 + (by - ay) ** 2;
    const part = length ? Math.min(Math.max(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0), 1) : 0;
    const distance = Math.hypot(ax + part * (bx - ax) - x, ay + part * (by - ay) - y);
    if (distance < least) [found, least] = [number, distance];
  });
  return found;
}

// The plane that cuts away what is on the viewer's side of a place: what stays has normal · p >= offset.
export function cutPlane(camera, normal, point) {
  const { forward } = basis(camera), sign = dot(normal, forward) < 0 ? -1 : 1;
  const unit = normal.map((one) => (sign * one) / Math.hypot(...normal));
  return { normal: unit, offset: dot(unit, point) };
}
