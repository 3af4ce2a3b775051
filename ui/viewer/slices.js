// Slices from the server: the stored values once per slice, the layers over it once per version of the session.
import { valuesOf } from './pixels.js';

const MOST_VALUE_BYTES = 192 * 2 ** 20, MOST_LAYERS = 120;

class Kept {
  constructor(most, sizeOf) { Object.assign(this, { most, sizeOf, held: 0, byAddress: new Map(), coming: new Map() }); }

  // What is there or on its way; else what is loaded now.
  async find(address, load) {
    if (this.byAddress.has(address)) return this.byAddress.get(address);
    if (!this.coming.has(address)) this.coming.set(address, this.loaded(address, load));
    return this.coming.get(address);
  }

  async loaded(address, load) {
    try {
      const one = await load(address);
      this.add(address, one);
      return one;
    } finally { this.coming.delete(address); }
  }

  add(address, one) {
    this.byAddress.set(address, one);
    this.held += this.sizeOf(one);
    for (const [oldest, old] of this.byAddress) {
      if (this.held <= this.most || oldest === address) break;
      this.byAddress.delete(oldest);
      this.held -= this.sizeOf(old);
    }
  }
}

export class SliceStore {
  // fetch: as the browser's; decode: of a data URI, to something that a canvas draws.
  constructor(fetch, decode) {
    Object.assign(this, { fetch, decode });
    this.clear();
  }

  // What is still on its way is of the study before, and is not kept.
  clear() {
    this.values = new Kept(MOST_VALUE_BYTES, (one) => one.byteLength);
    this.layers = new Kept(MOST_LAYERS, () => 1);
  }

  async slice(scene, plane, index, overlay) {
    const slice = new URLSearchParams({ plane, index });
    const layers = new URLSearchParams({ plane, index, overlay, version: scene.version });
    const [values, view] = await Promise.all([
      this.values.find(scene.slices + '?' + slice, (address) => this.loadValues(address)),
      this.layers.find(scene.views + '?' + layers, (address) => this.loadLayers(address)),
    ]);
    return { ...view, values };
  }

  async loadValues(address) {
    const answer = await this.answered(address);
    return valuesOf(await answer.arrayBuffer(), answer.headers.get('X-Value-Type'));
  }

  async loadLayers(address) {
    const { overlay, ...found } = await (await this.answered(address)).json();
    return { ...found, layer: overlay ? await this.decode(overlay) : null };
  }

  async answered(address) {
    const answer = await this.fetch(address);
    if (!answer.ok) throw new Error('slice ' + answer.status);
    return answer;
  }
}

// Ask for one slice at a time; meanwhile only the newest one wanted is remembered, so requests never queue up.
export class Newest {
  constructor(load, show, fail) { Object.assign(this, { load, show, fail, isBusy: false, wanted: null }); }

  async want(request) {
    this.wanted = request;
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      while (this.wanted) {
        const now = this.wanted;
        this.wanted = null;
        try {
          const found = await this.load(now);
          if (!this.isDropped(now)) this.show(found, now, this.wanted === null);
        } catch (problem) { this.fail(problem); }
      }
    } finally { this.isBusy = false; }
  }

  isDropped(request) { return this.dropped !== undefined && request.study === this.dropped; }

  // Forget what was asked of another study.
  drop(study) { this.wanted = null; this.dropped = study; }
}
