// The prompts of the active structure: a click on one goes there, × removes that one.
import { element, replaceKeepingFocus } from './elements.js';

// What a prompt is, in words: '+ click · axial slice 21'.
export const told = ({ kind, is_inside: isInside, slice }) => (isInside ? '+ ' : '− ') + kind + ' · ' + slice;

export class PromptList {
  constructor(root, { goTo, remove }) {
    Object.assign(this, { goTo, remove });
    this.title = root.querySelector('[data-part="prompts-title"]');
    this.list = root.querySelector('.mv-prompts');
  }

  show(structure, prompts) {
    this.title.hidden = prompts.length === 0;
    this.title.textContent = 'Prompts of ‘' + structure + '’';
    replaceKeepingFocus(this.list, prompts.map((one) => this.row(one)));
  }

  row(one) {
    const words = told(one);
    return element('li', { className: one.is_inside ? 'mv-inside' : 'mv-outside' },
      element('button', {
        type: 'button', title: 'Go there', 'data-key': 'go ' + one.place, onclick: () => this.goTo(one.index),
      }, words),
      element('button', {
        type: 'button', title: 'Remove this prompt', 'aria-label': 'Remove ' + words, 'data-key': 'remove ' + one.place,
        onclick: () => this.remove(one.place),
      }, '×'));
  }
}
