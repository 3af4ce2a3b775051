// The row below the slider: the strip, what is computed in the background, and the next best click.
import { isAtWork, Live, wordsOf } from './live.js';
import { NextClick } from './next_click.js';
import * as moves from './state.js';
import { Strip } from './strip.js';

export class LivePart {
  constructor(viewer) {
    Object.assign(this, { viewer, strip: new Strip(viewer) });
    this.live = new Live({
      ask: (method, path) => viewer.ask(method, path),
      isOpen: () => viewer.isOpen,
      isBlocked: () => viewer.connection.isBlocked,
      version: () => viewer.state.scene.version,
      awaitsSurfaces: () => Boolean(viewer.state.scene.space && viewer.state.scene.space.is_drawing),
      show: (now) => this.show(now),
      moved: () => viewer.send.moved(),
    });
    this.nextClick = new NextClick({
      ask: (method, path) => viewer.ask(method, path),
      version: () => viewer.state.scene.version,
      go: (place) => this.go(place),
      say: (words) => this.say(words),
    });
    const on = (name, act) => this.control(name).addEventListener('click', act);
    on('live', () => this.live.switch(this.live.now.state === 'off'));
    on('live-stop', () => this.live.stop());
    on('next', () => { if (viewer.isOpen) this.nextClick.next(); });
  }

  control(name) { return this.viewer.root.querySelector('[data-control="' + name + '"]'); }

  hold() { this.live.hold(); }

  accept() {
    const { scene } = this.viewer.state;
    if (scene && this.nextClick.version !== scene.version) this.say('');  // it was about an earlier mask
    this.live.accept();
  }

  refresh() { this.strip.refresh(); }

  show(now) {
    Object.assign(this.viewer.text('live'), { textContent: wordsOf(now), title: wordsOf(now) });
    this.control('live').setAttribute('aria-pressed', String(now.state !== 'off'));
    this.control('live-stop').hidden = !isAtWork(now);
    this.viewer.root.dataset.live = now.state;
    this.strip.show(now);
  }

  go({ index, plane }) {
    const { viewer } = this, { state } = viewer;
    state.cross = [...index];
    if (moves.shownPanes(state).includes(plane)) viewer.activate(plane);
    else viewer.choosePane(plane);
    viewer.refresh();
  }

  say(words) {
    const place = this.viewer.text('next');
    place.textContent = words;
    place.hidden = !words;
  }
}
