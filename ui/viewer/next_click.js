// The next best click: the crosshair goes where doubt is largest, and the page says why.

export class NextClick {
  // page: {ask(method, path), version(), go(place), say(words)}
  constructor(page) { Object.assign(this, { page, version: null, places: [], at: -1, isBusy: false }); }

  // A further press goes to the next place; after a change it begins with the first one again.
  async next() {
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      const version = this.page.version();
      if (version !== this.version) {
        Object.assign(this, { places: await this.page.ask('GET', '/next-clicks'), version, at: -1 });
      }
      if (!this.places.length) { this.page.say('Nothing of this mask is in doubt.'); return; }
      this.at = (this.at + 1) % this.places.length;
      const place = this.places[this.at];
      this.page.go(place);
      this.page.say(this.at + 1 + ' of ' + this.places.length + ': ' + place.words);
    } catch (problem) {
      this.page.say(problem.message);
    } finally { this.isBusy = false; }
  }
}
