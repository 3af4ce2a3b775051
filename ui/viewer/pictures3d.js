// The 3D pane in a browser without WebGL 2: pictures that the server takes from the six sides.

export class Pictures {
  constructor(section) {
    Object.assign(this, { section, side: 'A', shown: '', isOn: false });
    this.place = section.querySelector('[data-part="picture"]');
    section.querySelectorAll('[data-view]').forEach((one) => one.addEventListener('click', () => {
      this.side = one.dataset.view;
      if (this.isOn) this.show(this.space, this.hidden);
    }));
  }

  begin(reason) {
    this.isOn = true;
    this.place.hidden = false;
    this.place.querySelector('[data-text="reason"]').textContent = reason === 'no WebGL 2'
      ? 'This browser has no WebGL 2, so the 3D view cannot be turned.' : 'The 3D view could not be loaded (' + reason + ').';
    this.section.querySelectorAll('[data-needs="webgl"]').forEach((one) => { one.hidden = true; });
  }

  async show(space, hidden) {
    Object.assign(this, { space, hidden });
    const image = this.place.querySelector('img'), told = this.place.querySelector('[data-text="told"]');
    if (!space || !space.surfaces.length) {
      image.hidden = true;
      told.textContent = 'No surface yet: draw a box around a structure.';
      return;
    }
    const wanted = JSON.stringify([space.surfaces.map((one) => one.address), space.chosen, hidden, this.side]);
    if (wanted === this.shown || this.isBusy) return;
    this.isBusy = true;
    told.textContent = 'Drawing …';
    try {
      const answer = await fetch(space.address + '/from/' + this.side + '.png');
      if (!answer.ok) throw new Error((await answer.json()).detail || 'answer ' + answer.status);
      if (image.src) URL.revokeObjectURL(image.src);
      image.src = URL.createObjectURL(await answer.blob());
      image.alt = 'Surfaces seen from ' + this.side;
      image.hidden = false;
      told.textContent = 'seen from ' + this.side;
    } catch (problem) { told.textContent = 'The picture could not be taken: ' + problem.message; }
    this.shown = wanted;
    this.isBusy = false;
    if (this.space) this.show(this.space, this.hidden);
  }
}
