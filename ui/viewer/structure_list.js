// The list of structures: Python sends it as props.value; what the person does goes back as the event 'structure_action'.
import { element, replaceKeepingFocus } from './elements.js';
import { PromptList } from './prompt_list.js';

const NOTHING = { structures: [], prompts: [], active: '', deleted: null };
const ROLES = [['ignore', 'not in the plan'], ['avoid', 'avoid'], ['inside', 'stay inside']];

// What a key does on the name of a structure: the neighbour, another place, another name, gone, hidden.
export function keyAction({ key, altKey }) {
  const by = { ArrowUp: -1, ArrowDown: 1 }[key];
  if (by) return altKey ? ['move', by] : ['focus', by];
  if (key === 'F2') return ['rename', null];
  if (key === 'Delete') return ['delete', null];
  return key.toLowerCase() === 'h' ? ['hidden', null] : null;
}

// The structure that has the focus after a key moves it.
export const neighbour = (names, name, by) => names[Math.min(Math.max(names.indexOf(name) + by, 0), names.length - 1)];

export class StructureList {
  constructor({ root, props, send, watch, goTo }) {
    Object.assign(this, { root, props, send, shown: NOTHING, renaming: null });
    this.rows = root.querySelector('.mv-structures');
    this.deleted = root.querySelector('[data-part="deleted"]');
    this.prompts = new PromptList(root, { goTo, remove: (place) => this.act('remove', this.shown.active, place) });
    const field = root.querySelector('#new-name input');
    field.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter') return;
      this.act('begin', field.value);
      field.value = '';
    });
    field.disabled = false;  // what is typed earlier would not be taken
    this.deleted.querySelector('button').addEventListener('click', () => {
      const { n, name } = this.shown.deleted;
      this.act('restore', name, n);
    });
    watch('value', () => this.accept());
    this.accept();
  }

  act(kind, structure, value = null) { this.send({ kind, structure, value }); }

  accept() {
    const news = this.props.value || NOTHING;
    // Responses may arrive out of order; an older list is not shown over a newer one.
    if (news.token === this.shown.token && news.version < this.shown.version) return;
    this.shown = news;
    if (!this.isTyping) this.draw();
  }

  // What arrives while a name or an anatomy is typed is drawn afterwards.
  get isTyping() {
    const field = document.activeElement;
    return this.renaming !== null || (this.rows.contains(field) && field.type === 'text' && field.value !== field.defaultValue);
  }

  draw() {
    const { structures, deleted } = this.shown;
    replaceKeepingFocus(this.rows, structures.map((one, n) => this.row(one, n, structures.length)));
    this.root.querySelector('[data-part="empty"]').hidden = structures.length > 0;
    this.deleted.hidden = !deleted;
    this.deleted.querySelector('span').textContent = deleted ? '‘' + deleted.name + '’ was deleted.' : '';
    this.prompts.show(this.shown.active, this.shown.prompts);
  }

  row(one, place, count) {
    const isActive = one.name === this.shown.active;
    return element('li', { className: (isActive ? 'mv-active-row' : '') + (one.hidden ? ' mv-hidden-row' : '') },
      element('div', { className: 'mv-row' },
        this.swatch(one), this.name(one, isActive),
        element('span', { className: 'mv-volume' }, one.volume),
        this.role(one), this.eye(one)),
      element('div', { className: 'mv-told' },
        element('span', { className: one.state === 'stale' ? 'mv-warning' : '' }, one.told),
        one.size ? element('span', { title: 'right–left × front–back × feet–head' }, ' · ' + one.size) : null,
        element('span', { title: 'Code in DICOM objects' }, ' · ' + one.coded)),
      isActive ? this.tools(one, place, count) : null,
      isActive ? this.sources(one) : null);
  }

  // The structures from whose masks the active one can begin.
  sources(one) {
    const others = this.shown.structures.filter((other) => other !== one && other.state === 'segmented');
    if (!others.length) return null;
    return element('label', { className: 'mv-row mv-tools', title: 'Its mask takes the place of the prompts of ' + one.name }, 'Begin from ',
      element('select', {
        'aria-label': 'Structure from whose mask ' + one.name + ' begins', 'data-key': 'source ' + one.name,
        onchange: (event) => { if (event.target.value) this.act('begin_from', one.name, event.target.value); },
      }, element('option', { value: '' }, 'another structure …'), ...others.map(({ name }) => element('option', { value: name }, name))));
  }

  swatch(one) {
    return element('input', {
      type: 'color', value: one.colour, title: 'Colour', 'aria-label': 'Colour of ' + one.name, 'data-key': 'colour ' + one.name,
      onchange: (event) => this.act('colour', one.name, event.target.value),
    });
  }

  name(one, isActive) {
    if (this.renaming === one.name) return this.nameField(one);
    return element('button', {
      type: 'button', className: 'mv-name', title: 'Prompt this structure (F2: rename, H: hide, Delete, Alt + arrows: move)',
      'aria-current': String(isActive), 'data-key': 'name ' + one.name,
      onclick: () => { if (!isActive) this.act('choose', one.name); },
      ondblclick: () => this.rename(one),
      onkeydown: (event) => this.onKey(event, one),
    }, one.name);
  }

  nameField(one) {
    const end = (isKept) => {
      if (this.renaming === null) return;
      const name = field.value.trim();
      this.renaming = null;
      if (isKept && name && name !== one.name) this.act('rename', one.name, name);
      this.draw();
    };
    const field = element('input', {
      type: 'text', value: one.name, className: 'mv-name', 'aria-label': 'Name of ' + one.name, maxLength: 64,
      onkeydown: (event) => {
        if (event.key === 'Enter') end(true);
        if (event.key === 'Escape') { event.stopPropagation(); end(false); }
      },
      onblur: () => end(true),
    });
    return field;
  }

  rename(one) {
    this.renaming = one.name;
    this.draw();
    const field = this.rows.querySelector('input.mv-name');
    field.focus();
    field.select();
  }

  onKey(event, one) {
    const action = keyAction(event);
    if (!action || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();  // the viewer has these keys, too
    const [kind, by] = action, names = this.shown.structures.map(({ name }) => name);
    if (kind === 'focus') this.focus(neighbour(names, one.name, by));
    else if (kind === 'rename') this.rename(one);
    else this.act(kind, one.name, kind === 'hidden' ? !one.hidden : by);
  }

  focus(name) { [...this.rows.querySelectorAll('button.mv-name')].find((one) => one.textContent === name)?.focus(); }

  role(one) {
    return element('select', {
      title: 'Role in the plan', 'aria-label': 'Role of ' + one.name + ' in the plan', 'data-key': 'role ' + one.name,
      onchange: (event) => this.act('role', one.name, event.target.value),
    }, ...ROLES.map(([value, words]) => element('option', { value, selected: value === one.role }, words)));
  }

  eye(one) {
    return element('button', {
      type: 'button', className: 'mv-eye', title: one.hidden ? 'Show' : 'Hide', 'data-key': 'eye ' + one.name,
      'aria-label': 'Hide ' + one.name, 'aria-pressed': String(one.hidden),
      onclick: () => this.act('hidden', one.name, !one.hidden),
    }, one.hidden ? '○' : '◉');
  }

  tools(one, place, count) {
    const button = (words, title, onclick, disabled = false) =>
      element('button', { type: 'button', title, disabled, onclick, 'aria-label': title, 'data-key': title + ' ' + one.name }, words);
    const anatomy = element('input', {
      type: 'text', list: 'mv-terms', defaultValue: one.anatomy, placeholder: 'as its name', maxLength: 64, 'data-key': 'anatomy ' + one.name,
      'aria-label': 'Anatomy of ' + one.name, onchange: (event) => {
        event.target.defaultValue = event.target.value;  // it is no longer being typed
        this.act('anatomy', one.name, event.target.value.trim() || null);
      },
    });
    return element('div', { className: 'mv-row mv-tools' },
      element('label', { title: 'What it is coded as in DICOM objects (SNOMED CT); a side may stand before it: left kidney' }, 'Anatomy ', anatomy),
      button('↑', 'Move up', () => this.act('move', one.name, -1), place === 0),
      button('↓', 'Move down', () => this.act('move', one.name, 1), place === count - 1),
      button('Rename', 'Rename', () => this.rename(one)),
      button('Delete', 'Delete', () => this.act('delete', one.name)));
  }
}

export const start = ({ root, ...page }) => new StructureList({ root: root.querySelector('.mv-list'), ...page });
