// The words and tables of the review panel. Nothing here is asked of the server.

const text = (tag, words, className = '') => {
  const made = document.createElement(tag);
  made.textContent = words;
  if (className) made.className = className;
  return made;
};
export const mm = (value) => (value === null || value === undefined ? 'no limit' : value.toFixed(1) + ' mm');
export const percent = (value) => (value === null || value === undefined ? '…'
  : value > 0 && value < 0.001 ? '< 0.1 %' : (100 * value).toFixed(1) + ' %');
const angle = (value) => (value === null || value === undefined ? 'not known' : value.toFixed(0) + '°');

// An answer of the server as a line of the scene: the two name the same things differently.
export function lineOf(answer) {
  const one = answer.line;
  return {
    entry: one.entry_lps_mm, target: one.target_lps_mm, certified_mm: one.certified_clearance_mm,
    limiting: one.limiting_structure, limiting_point: one.limiting_point_lps_mm,
    clearance_mm: one.clearance_mm_by_structure, hit: answer.is_hit_known ? one.hit_probability : null,
    hit_interval: answer.is_hit_known ? one.hit_probability_interval : null,
    hit_by_structure: one.hit_probability_by_structure, length_mm: one.length_mm, angle_deg: one.entry_angle_deg,
    crossed: answer.crossed, crossings: one.crossings, by_hand: true,
    profile: { distance_mm: one.clearance_profile.distance_mm, clearance_mm: one.clearance_profile.clearance_mm_by_structure },
  };
}

// Rows of one alternative, each with a name and its words; also those of two side by side.
export function rowsOf(line) {
  const interval = line.hit_interval ? ' (' + percent(line.hit_interval[0]) + ' to ' + percent(line.hit_interval[1]) + ')' : '';
  return [
    ['Certified clearance', mm(line.certified_mm)],
    ['Limited by', line.limiting || 'no structure'],
    ['Hit probability', line.hit === null ? 'being computed …' : percent(line.hit) + interval],
    ['Length', mm(line.length_mm)],
    ['Entry angle', angle(line.angle_deg)],
    ['Passes through', line.crossed],
  ];
}

export class Panel {
  constructor(root) { this.root = root; }

  part(name) { return this.root.querySelector('[data-rv="' + name + '"]'); }

  button(name) { return this.root.querySelector('[data-rv-act="' + name + '"]'); }

  showReading(line, { isReading = false, problem = '', answer = null } = {}) {
    const place = this.part('reading');
    place.classList.toggle('rv-stale', isReading);
    place.classList.toggle('rv-breach', Boolean(line && line.certified_mm !== null && line.certified_mm < 0));
    if (problem) { place.replaceChildren(text('strong', 'Not certified: '), text('span', problem)); return; }
    if (!line) { place.replaceChildren(text('span', 'reading …')); return; }
    const head = text('p', '', 'rv-head');
    head.append(text('strong', mm(line.certified_mm)), text('span', ' certified, limited by ' + (line.limiting || 'no structure')));
    if (isReading) head.append(text('em', ' of the place before; reading …'));
    const rest = rowsOf(line).slice(2).map(([name, words]) => name.toLowerCase() + ' ' + words).join(' · ');
    place.replaceChildren(head, text('p', rest));
    if (answer && answer.built.length) place.append(text('p', 'Distance fields were computed for this region (' + Math.round(answer.took_ms) + ' ms).', 'mv-hint'));
  }

  showDoubts(sentences) {
    this.part('doubts').replaceChildren(...sentences.map((one) => text('li', one)));
  }

  showStructures(line, colours, margins) {
    if (!line) { this.part('structures').replaceChildren(); return; }
    const head = document.createElement('tr');
    ['', 'Clearance', 'Margin', 'Hit'].forEach((name) => head.append(text('th', name)));
    const rows = Object.entries(line.clearance_mm).sort((a, b) => (a[1] ?? 1e9) - (b[1] ?? 1e9)).map(([name, value]) => {
      const row = document.createElement('tr'), cell = text('td', ''), swatch = text('span', '', 'mv-swatch');
      swatch.style.background = colours[name] || '#e8edf2';
      cell.append(swatch, document.createTextNode(name));
      const margin = margins && margins[name];
      const width = !margin ? '' : margin[1] - margin[0] < 0.05 ? mm(margin[0]) : margin[0].toFixed(1) + ' to ' + mm(margin[1]);
      row.append(cell, text('td', mm(value)), text('td', width), text('td', percent(line.hit_by_structure[name])));
      if (value !== null && value < 0) row.className = 'rv-breach';
      return row;
    });
    this.part('structures').replaceChildren(head, ...rows);
  }

  showLines(scene, onChoose) {
    const head = document.createElement('tr');
    ['', 'Clearance', 'Closest to', 'Hit', 'Length', 'Angle'].forEach((name) => head.append(text('th', name)));
    const rows = scene.lines.map((line, n) => {
      const row = document.createElement('tr'), pick = text('button', (n + 1) + (line.by_hand ? ' by hand' : ''));
      pick.type = 'button';
      pick.setAttribute('aria-pressed', String(n === scene.chosen));
      pick.addEventListener('click', () => onChoose(n));
      const first = text('td', '');
      first.append(pick);
      row.append(first, ...[mm(line.certified_mm), line.limiting || '–', percent(line.hit), mm(line.length_mm), angle(line.angle_deg)]
        .map((words) => text('td', words)));
      row.classList.toggle('mv-active', n === scene.chosen);
      row.classList.toggle('rv-breach', line.certified_mm !== null && line.certified_mm < 0);
      return row;
    });
    this.part('lines').replaceChildren(...(rows.length ? [head, ...rows] : []));
  }

  showCompared(one, other, [first, second]) {
    const table = this.part('compared');
    table.hidden = !other;
    if (!other) return;
    const head = document.createElement('tr');
    ['', first, second].forEach((name) => head.append(text('th', name)));
    const others = rowsOf(other);
    table.replaceChildren(head, ...rowsOf(one).map(([name, words], n) => {
      const row = document.createElement('tr');
      row.append(text('th', name), text('td', words), text('td', others[n][1]));
      return row;
    }));
  }

  fill(name, entries, chosen) {
    const select = this.part(name);
    select.replaceChildren(...entries.map(([value, words]) => new Option(words, value)));
    if (entries.some(([value]) => value === chosen)) select.value = chosen;
  }

  showDecision({ kind, text: words }) {
    const place = this.part('decision');
    place.className = 'rv-decision rv-' + kind;
    place.textContent = words;
    place.hidden = !words;
  }
}
