// The surfaces of the 3D view: loaded one at a time, so that slices never wait for them. Until the surface of a new mask
// is there, that of the mask before stands in, as translucent as one whose prompts have changed.

const OLDER_OPACITY = 0.5;

const nameOf = ({ kind, name }) => kind + ' ' + name;

export class Surfaces {
  // page: {wanted() → [{kind, name, address, opacity}], load(address) → promise of triangles or null, begun(), loaded()}
  constructor(page) {
    Object.assign(this, { page, triangles: new Map(), failed: new Map(), latest: new Map(), loading: null });
  }

  clear() { [this.triangles, this.failed, this.latest].forEach((known) => known.clear()); }

  // What can be drawn of what is wanted.
  get there() {
    return this.page.wanted().flatMap((one) => {
      if (this.triangles.has(one.address)) return [one];
      const before = this.latest.get(nameOf(one));
      if (!before || this.failed.get(one.address)) return [];
      return [{ ...one, address: before, opacity: Math.min(one.opacity, OLDER_OPACITY) }];
    });
  }

  get problems() { return [...this.failed.values()].filter(Boolean).join(' '); }

  load() {
    this.loading = this.loading || this.loadAll().finally(() => { this.loading = null; });
    return this.loading;
  }

  async loadAll() {
    for (let next = this.next(); next; next = this.next()) {
      this.page.begun();
      await this.loadOne(next);
      this.page.loaded();
    }
  }

  // Forget what is no longer wanted; what is to be loaded now.
  next() {
    const wanted = this.page.wanted(), names = wanted.map(nameOf);
    [...this.latest.keys()].filter((name) => !names.includes(name)).forEach((name) => this.latest.delete(name));
    const kept = new Set([...wanted.map((one) => one.address), ...this.latest.values()]);
    [this.triangles, this.failed].forEach((known) => {
      [...known.keys()].filter((address) => !kept.has(address)).forEach((address) => known.delete(address));
    });
    return wanted.find((one) => !this.triangles.has(one.address) && !this.failed.has(one.address));
  }

  async loadOne({ kind, name, address }) {
    try {
      const triangles = await this.page.load(address);
      if (!triangles) { this.failed.set(address, ''); return; }   // a newer one came meanwhile, and is wanted next
      this.triangles.set(address, triangles);
      if (kind === 'structure') this.latest.set(nameOf({ kind, name }), address);
    } catch (problem) { this.failed.set(address, '‘' + name + '’ is not shown: ' + problem.message); }
  }
}
