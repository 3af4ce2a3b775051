// The bars around the slices: tools, layout, window, overlay, slider, help.
import * as moves from './state.js';

export class Controls {
  constructor(root, viewer) {
    Object.assign(this, { root, viewer });
    const on = (name, event, act) => this.control(name).addEventListener(event, act);
    this.each('plane', (name) => viewer.choosePane(name));
    this.each('tool', (name) => viewer.chooseTool(name));
    this.each('layout', (name) => viewer.chooseLayout(name));
    this.each('step', (by) => viewer.step(Number(by)));
    on('slice', 'input', (event) => { moves.goTo(viewer.state, viewer.state.active, Number(event.target.value)); viewer.refresh(); });
    on('slice', 'change', () => this.showSlice());
    on('window', 'change', (event) => {
      const chosen = viewer.state.scene.windows[event.target.value];
      if (chosen) viewer.setWindow({ ...chosen }, event.target.value);
    });
    ['centre', 'width'].forEach((name) => on(name, 'change', () => {
      const [centre, width] = ['centre', 'width'].map((part) => Number(this.control(part).value));
      if (Number.isFinite(centre) && width > 0) viewer.setWindow({ centre, width });
    }));
    on('overlay', 'change', () => viewer.refresh());
    on('opacity', 'input', (event) => { viewer.state.opacity = Number(event.target.value) / 100; viewer.draw(); });
    on('fit', 'click', () => { moves.frameWhole(viewer.state); viewer.draw(); });
    on('body', 'click', () => { moves.frameBody(viewer.state); viewer.draw(); });
    on('help', 'click', () => this.help());
    on('take-back', 'click', () => viewer.connection.takeBack());
  }

  control(name) { return this.root.querySelector('[data-control="' + name + '"]'); }

  get overlay() { return this.control('overlay').value || 'outline'; }

  each(attribute, act) {
    this.root.querySelectorAll('button[data-' + attribute + ']').forEach((button) =>
      button.addEventListener('click', () => act(button.dataset[attribute])));
  }

  press(attribute, value) {
    this.root.querySelectorAll('button[data-' + attribute + ']').forEach((button) => {
      button.classList.toggle('mv-on', button.dataset[attribute] === value);
      button.setAttribute('aria-pressed', String(button.dataset[attribute] === value));
    });
  }

  // Show the number of the slice that is on the screen, not of one still loading.
  showSlice() {
    const { view } = this.viewer.activePane, place = this.viewer.text('slice');
    if (!view || !this.viewer.isOpen) { place.textContent = 'no study'; return; }
    const slider = this.control('slice');
    slider.max = view.count - 1;
    if (!slider.matches(':active')) slider.value = view.index;  // not while the person drags it
    place.textContent = 'slice ' + (view.index + 1) + ' of ' + view.count;
  }

  showWindow(name) {
    const { centre, width } = this.viewer.state.window;
    this.control('window').value = name;
    this.control('centre').value = Number(centre.toPrecision(4));
    this.control('width').value = Number(width.toPrecision(4));
  }

  choosePreset(number) {
    const found = Object.entries(this.viewer.state.scene.windows)[number];
    if (found) this.viewer.setWindow({ ...found[1] }, found[0]);
  }

  fillWindows() {
    const names = Object.keys(this.viewer.state.scene.windows);
    const words = (name, n) => (n < 5 ? n + 1 + ' ' : '') + name;
    fill(this.control('window'), [...names.map((name, n) => [name, words(name, n)]), ['own', 'custom']], names[0]);
    this.showWindow(names[0]);
  }

  fillOverlays() {
    fill(this.control('overlay'), this.viewer.state.scene.overlays, this.control('overlay').value);
  }

  help() { this.root.querySelector('dialog').showModal(); }
}

function fill(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, words]) => new Option(words, value)));
  select.value = entries.some(([value]) => value === chosen) ? chosen : entries[0][0];
}
