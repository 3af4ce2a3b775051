// Sliders of the plan's numbers, each beside a field for the exact value. Letting go of one plans again.

export class Sliders {
  constructor(panel, onChange) { Object.assign(this, { panel, onChange, values: {} }); }

  show(entries, isCalibrated) {
    const place = this.panel.part('sliders');
    if (place.contains(document.activeElement) && place.children.length) {
      entries.forEach((one) => { this.values[one.name] = one.value; });
      return;    // not under the hand
    }
    this.values = Object.fromEntries(entries.map((one) => [one.name, one.value]));
    place.replaceChildren(...entries.map((one) => this.row(one, isCalibrated)));
  }

  row({ name, label, value, range: [low, high, step] }, isCalibrated) {
    const row = document.createElement('div'), words = document.createElement('span');
    const slider = document.createElement('input'), field = document.createElement('input');
    const isOff = name === 'alpha' ? !isCalibrated : isCalibrated && name === 'base_margin_mm';
    row.className = 'rv-slider';
    words.textContent = label;
    Object.assign(slider, { type: 'range', min: low, max: Math.max(high, value), step, value, disabled: isOff });
    Object.assign(field, { type: 'number', min: 0, step, value, disabled: isOff });
    [slider, field].forEach((one) => one.setAttribute('aria-label', label));
    if (isOff) row.title = name === 'alpha' ? 'Needs a calibration file (under “Plan”).' : 'A calibration file gives the margins.';
    slider.addEventListener('input', () => { field.value = slider.value; });
    slider.addEventListener('change', () => this.changed(name, Number(slider.value)));
    field.addEventListener('change', () => { slider.value = field.value; this.changed(name, Number(field.value)); });
    row.append(words, slider, field);
    return row;
  }

  changed(name, value) {
    if (!Number.isFinite(value) || value === this.values[name]) return;
    this.values[name] = value;
    this.onChange({ ...this.values });
  }
}
