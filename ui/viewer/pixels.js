// Stored values of a slice, and their greys through a display window. Nothing of a window is asked of the server.

const TYPES = { int16: Int16Array, float32: Float32Array };

export function valuesOf(buffer, type) {
  if (!(type in TYPES)) throw new Error('slice values of type ' + type);
  return new TYPES[type](buffer);  // little-endian, as every browser's machine
}

// Fill 32-bit pixels (alpha, blue, green, red from the high byte) with the greys of the values.
export function fillGrey(pixels, values, { centre, width }) {
  const span = Math.max(width, 1e-6), low = centre - span / 2;
  for (let n = 0; n < pixels.length; n += 1) {
    const grey = ((values[n] - low) * 255) / span;
    const level = grey <= 0 ? 0 : grey >= 255 ? 255 : Math.round(grey);
    pixels[n] = 0xff000000 | (level << 16) | (level << 8) | level;
  }
}

export function valueAt(values, [columns, rows], [column, row]) {
  const c = Math.round(column), r = Math.round(row);
  return c >= 0 && r >= 0 && c < columns && r < rows ? values[r * columns + c] : null;
}

export function written(value, unit) {
  return unit ? Math.round(value) + ' ' + unit : 'value ' + Number(value.toPrecision(5));
}

// The window after a drag with the right button: across changes the width, down the centre, as in OHIF.
export function dragged({ centre, width }, dx, dy) {
  const step = Math.max(width, 1e-3) / 300;
  return { centre: centre + dy * step, width: Math.max(width + dx * step, Math.max(width / 100, 1e-3)) };
}
