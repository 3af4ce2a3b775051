// What the 3D view draws with: three.js, and the objects of the scene. It knows neither the page nor the server.
import { basis } from './camera.js';

const DEPTH_MM = 5000;          // nothing of a patient is further from the middle of the view
const GHOST_OPACITY = 0.35;     // of a trajectory seen through a surface
const LEAST_TOOL_PX = 1.4;

export async function newRenderer(canvas) {
  const context = canvas.getContext('webgl2', { antialias: true });
  if (!context) throw new Error('no WebGL 2');
  const { default: three } = await import('./three.js');
  return new Renderer(three, canvas, context);
}

class Renderer {
  constructor(three, canvas, context) {
    Object.assign(this, { three, canvas, surfaces: new Map(), lines: [], parts: new Map() });
    this.gl = new three.WebGLRenderer({ canvas, context });
    this.gl.localClippingEnabled = true;
    this.gl.setClearColor(0x0d1218);
    this.scene = new three.Scene();
    this.camera = new three.OrthographicCamera(-1, 1, 1, -1, 0, 2 * DEPTH_MM);
        this.lamp = new three.DirectionalLight(0xffffff, 0.75);
    this.scene.add(new three.AmbientLight(0xffffff, 0.45), this.lamp, this.lamp.target);
    this.cut = new three.Plane(new three.Vector3(0, 0, 1), DEPTH_MM);
    this.ray = new three.Raycaster();
  }

  // ---- surfaces ---------------------------------------------------------------------------------------------------
  geometry({ positions, indices, colours }) {
    const { three } = this, made = new three.BufferGeometry();
    made.setAttribute('position', new three.BufferAttribute(positions, 3));
    if (colours) made.setAttribute('color', new three.BufferAttribute(colours, 3, true));
    made.setIndex(new three.BufferAttribute(indices, 1));
    made.computeVertexNormals();
    return made;
  }

  // look: {colour, opacity, isShown, order}
  setSurface(key, triangles, { colour, opacity, isShown, order }) {
    const { three } = this;
    if (!this.surfaces.has(key)) {
      const mesh = new three.Mesh(this.geometry(triangles), new three.MeshPhongMaterial({ side: three.DoubleSide, shininess: 25, specular: 0x222222 }));
      this.surfaces.set(key, mesh);
      this.scene.add(mesh);
    }
    const mesh = this.surfaces.get(key), isOpaque = opacity >= 1;
    mesh.material.vertexColors = Boolean(triangles.colours);
    mesh.material.color.set(triangles.colours ? '#ffffff' : colour);
    Object.assign(mesh.material, { opacity, transparent: !isOpaque, depthWrite: isOpaque, clippingPlanes: [this.cut] });
    mesh.material.needsUpdate = true;
    Object.assign(mesh, { visible: isShown, renderOrder: order });
  }

  keepSurfaces(keys) {
    for (const [key, mesh] of this.surfaces) {
      if (keys.includes(key)) continue;
      this.scene.remove(mesh);
      mesh.geometry.dispose();
      mesh.material.dispose();
      this.surfaces.delete(key);
    }
  }

  // ---- what belongs to the plan and to the slices ------------------------------------------------------------------
  replace(name, objects) {
    const { scene, parts } = this;
    (parts.get(name) || []).forEach((old) => {
      scene.remove(old);
      old.geometry.dispose();
      if (old.material.map) old.material.map.dispose();
      old.material.dispose();
    });
    parts.set(name, objects);
    objects.forEach((one) => scene.add(one));
  }

  // trajectories: {entry, target, colour, opacity}
  setTrajectories(trajectories, radiusMm) {
    const { three } = this, objects = [];
    trajectories.forEach(({ entry, target, colour, opacity }) => {
      const from = new three.Vector3(...entry), along = new three.Vector3(...target).sub(from), length = along.length();
      [false, true].forEach((isGhost) => {
        const material = new three.MeshPhongMaterial({
          color: colour, transparent: isGhost || opacity < 1, opacity: opacity * (isGhost ? GHOST_OPACITY : 1), depthTest: !isGhost, depthWrite: !isGhost,
        });
        const tool = new three.Mesh(new three.CylinderGeometry(1, 1, length, 20), material);
        tool.position.copy(from).addScaledVector(along, 0.5);
        tool.quaternion.setFromUnitVectors(new three.Vector3(0, 1, 0), along.clone().normalize());
        tool.renderOrder = isGhost ? 20 : 0;
        tool.userData.radiusMm = radiusMm;
        objects.push(tool);
      });
    });
    this.replace('trajectories', objects);
  }

  // balls: {centre, radius_mm, colour, opacity}
  setBalls(balls) {
    const { three } = this;
    this.replace('balls', balls.map(({ centre, radius_mm: radius, colour, opacity }) => {
      const material = new three.MeshPhongMaterial({ color: colour, transparent: true, opacity, depthWrite: false });
      const ball = new three.Mesh(new three.SphereGeometry(radius, 32, 20), material);
      ball.position.set(...centre);
      ball.renderOrder = 12;
      return ball;
    }));
  }

  // pairs: of points; drawn once as they are, once faintly through everything
  setLines(name, pairs, colour) {
    const { three } = this;
    this.replace(name, [1, 0.3].map((opacity) => {
      const made = new three.BufferGeometry().setFromPoints(pairs.flat().map((point) => new three.Vector3(...point)));
      const material = new three.LineBasicMaterial({ color: colour, transparent: opacity < 1, opacity, depthTest: opacity === 1, depthWrite: false });
      const line = new three.LineSegments(made, material);
      line.renderOrder = opacity < 1 ? 21 : 1;
      return line;
    }));
  }

  // slices: {picture, corners}: of a canvas its top left, top right, bottom left and bottom right, LPS mm
  setSlices(slices) {
    const { three } = this;
    this.replace('slices', slices.map(({ picture, corners }) => {
      const made = new three.BufferGeometry();
      made.setAttribute('position', new three.BufferAttribute(new Float32Array(corners.flat()), 3));
      made.setAttribute('uv', new three.BufferAttribute(new Float32Array([0, 1, 1, 1, 0, 0, 1, 0]), 2));
      made.setIndex([0, 2, 1, 1, 2, 3]);
      const map = new three.CanvasTexture(picture);
      map.generateMipmaps = false;
      map.minFilter = three.LinearFilter;
      return new three.Mesh(made, new three.MeshBasicMaterial({ map, side: three.DoubleSide }));
    }));
  }

  // ---- drawing ----------------------------------------------------------------------------------------------------
  aim(camera, [width, height]) {
    const { right, up, forward } = basis(camera), { camera: eye, lamp, three } = this;
    const half = [width / 2 / camera.perMm, height / 2 / camera.perMm];
    Object.assign(eye, { left: -half[0], right: half[0], top: half[1], bottom: -half[1] });
    eye.position.set(...camera.centre.map((one, n) => one - DEPTH_MM * forward[n]));
    eye.quaternion.setFromRotationMatrix(new three.Matrix4().makeBasis(
      new three.Vector3(...right), new three.Vector3(...up), new three.Vector3(...forward.map((one) => -one))));
    eye.updateProjectionMatrix();
    eye.updateMatrixWorld();
    lamp.target.position.set(...camera.centre);
    lamp.position.set(...camera.centre.map((one, n) => one + 100 * (0.45 * up[n] - 0.3 * right[n] - forward[n])));
    (this.parts.get('trajectories') || []).forEach((tool) => {
      const radius = Math.max(tool.userData.radiusMm, LEAST_TOOL_PX / camera.perMm);
      tool.scale.set(radius, 1, radius);
    });
  }

  setCut(plane) {
    if (plane) { this.cut.normal.set(...plane.normal); this.cut.constant = -plane.offset; }
    else { this.cut.normal.set(0, 0, 1); this.cut.constant = DEPTH_MM; }
  }

  // Gives the milliseconds that it took.
  draw(camera, [width, height], ratio) {
    const began = performance.now(), context = this.gl.getContext();
    this.gl.setPixelRatio(ratio);
    this.gl.setSize(width, height, false);
    this.aim(camera, [width, height]);
    this.gl.render(this.scene, this.camera);
    context.readPixels(0, 0, 1, 1, context.RGBA, context.UNSIGNED_BYTE, new Uint8Array(4));   // waits for the picture
    return performance.now() - began;
  }

  // The nearest point of a surface under a place on the canvas, of all or of those with these keys, LPS mm; null where
  // there is none.
  pick(camera, [width, height], [x, y], keys = [...this.surfaces.keys()]) {
    const { three, ray } = this;
    this.aim(camera, [width, height]);
    ray.setFromCamera(new three.Vector2((2 * x) / width - 1, 1 - (2 * y) / height), this.camera);
    const seen = keys.map((key) => this.surfaces.get(key)).filter((mesh) => mesh && mesh.visible);
    const hit = ray.intersectObjects(seen, false).find(({ point }) => this.cut.distanceToPoint(point) >= 0);
    return hit ? hit.point.toArray() : null;
  }
}
