// Between voxel indices, (column, row, slice) of a plane, and LPS mm. A plane is as canvas.py describes it.

export function lpsOf(affine, index) {
  return [0, 1, 2].map((n) => affine[n][0] * index[0] + affine[n][1] * index[1] + affine[n][2] * index[2] + affine[n][3]);
}

// The voxel index, fractional, of a place in LPS mm: Cramer's rule.
export function indexFromLps(affine, lps) {
  const columns = [0, 1, 2].map((axis) => affine.map((row) => row[axis]));
  const from = lps.map((one, n) => one - affine[n][3]);
  const volume = ([a, b, c]) => a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0]);
  const whole = volume(columns);
  return [0, 1, 2].map((axis) => volume(columns.map((column, n) => (n === axis ? from : column))) / whole);
}

export function indexAt(plane, [column, row, slice]) {
  const index = [0, 0, 0];
  index[plane.axis] = slice;
  index[plane.across] = plane.flip_across ? plane.size[0] - 1 - column : column;
  index[plane.down] = plane.flip_down ? plane.size[1] - 1 - row : row;
  return index;
}

export function placeOf(plane, index) {
  const column = index[plane.across], row = index[plane.down];
  return [
    plane.flip_across ? plane.size[0] - 1 - column : column,
    plane.flip_down ? plane.size[1] - 1 - row : row,
    index[plane.axis],
  ];
}

export const isInside = (plane, [column, row]) =>
  column >= -0.5 && row >= -0.5 && column < plane.size[0] - 0.5 && row < plane.size[1] - 0.5;

const SIDES = ['RL', 'AP', 'IS'];

// One LPS coordinate as a radiologist reads it: 'L 12.0'.
export const side = (value, axis) => SIDES[axis][value >= 0 ? 1 : 0] + ' ' + Math.abs(value).toFixed(1);

// Where a slice lies along the direction it is perpendicular to: 'S 12.5 mm' at its middle.
export function slicePosition(affine, plane, slice) {
  const middle = indexAt(plane, [(plane.size[0] - 1) / 2, (plane.size[1] - 1) / 2, slice]);
  return side(lpsOf(affine, middle)[plane.normal], plane.normal) + ' mm';
}
