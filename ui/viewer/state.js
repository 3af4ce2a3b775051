// What the person looks at: one crosshair in voxel indices, from which the slice of each plane follows; the planes are
// linked because there is nothing else to keep in step.
import { indexAt, placeOf } from './grid.js';
import { boxFrame, wholeFrame } from './transform.js';

export const PLANES = ['axial', 'coronal', 'sagittal'];

export function newState() {
  return {
    scene: null,            // the last scene that Python sent
    cross: [0, 0, 0],
    frames: {},             // visible part of the slice, by plane
    main: 'axial',          // the plane that has the large canvas
    active: 'axial',        // the plane that keys and the slider act on
    layout: '3',
    tool: 'box',
    brushMm: 5,             // radius of brush and eraser
    opacity: 0.6,           // of what lies over the slice
    window: { centre: 0, width: 1 },
    measures: [],
  };
}

export const planeOf = (state, name) => state.scene.planes[name];
export const sliceOf = (state, name) => Math.round(state.cross[planeOf(state, name).axis]);
export const isOpen = (state) => Boolean(state.scene && state.scene.is_open);

const within = (value, count) => Math.min(Math.max(value, 0), count - 1);

export const withinVolume = (state, index) => index.map((value, axis) => within(value, state.scene.shape[axis]));

export function goTo(state, name, slice) {
  const plane = planeOf(state, name);
  state.cross[plane.axis] = within(Math.round(slice), plane.count);
}

export const step = (state, name, by) => goTo(state, name, sliceOf(state, name) + by);

// Move the crosshair to a place on a slice; the other planes follow.
export function moveCross(state, name, slice, [column, row]) {
  const plane = planeOf(state, name);
  const place = [within(column, plane.size[0]), within(row, plane.size[1]), slice];
  state.cross = indexAt(plane, place);
}

export function nudgeCross(state, name, [right, down]) {
  const [column, row, slice] = placeOf(planeOf(state, name), state.cross);
  moveCross(state, name, slice, [Math.round(column) + right, Math.round(row) + down]);
}

export function shownPlanes(state) {
  return state.layout === '1' ? [state.main] : PLANES;
}

export function choosePlane(state, name) {
  state.main = state.active = name;
}

// Enlarge a plane to the whole stage, or go back to three.
export function toggleMaximised(state, name) {
  state.layout = state.layout === '1' ? '3' : '1';
  choosePlane(state, name);
}

export function beginStudy(state) {
  const { scene } = state;
  state.cross = scene.shape.map((count) => Math.floor(count / 2));
  choosePlane(state, scene.first_plane);
  state.measures = [];
  state.window = { ...Object.values(scene.windows)[0] };
  frameBody(state);
}

export function frameBody(state) {
  PLANES.forEach((name) => {
    const plane = planeOf(state, name);
    state.frames[name] = state.scene.body ? boxFrame(plane, state.scene.body) : wholeFrame(plane);
  });
}

export function frameWhole(state) {
  PLANES.forEach((name) => { state.frames[name] = wholeFrame(planeOf(state, name)); });
}
