// Whom the study is of, as its files say it; hidden on request, also after a reload.

const KEPT = 'medsam-planner-hides-patient';

export class Banner {
  constructor(root) {
    Object.assign(this, { rows: [], place: root.querySelector('[data-text="banner"]') });
    this.button = root.querySelector('[data-control="hide-patient"]');
    this.isHidden = localStorage.getItem(KEPT) === 'yes';
    this.button.addEventListener('click', () => {
      this.isHidden = !this.isHidden;
      localStorage.setItem(KEPT, this.isHidden ? 'yes' : 'no');
      this.draw();
    });
  }

  show(rows) {
    this.rows = rows;
    this.draw();
  }

  draw() {
    this.place.textContent = this.isHidden ? 'Patient hidden' : this.rows.map(([, value]) => value).join(' · ');
    this.place.title = this.isHidden ? '' : this.rows.map(([label, value]) => label + ': ' + value).join('\n');
    this.button.setAttribute('aria-pressed', String(this.isHidden));
    this.place.parentElement.hidden = this.rows.length === 0;
  }
}
