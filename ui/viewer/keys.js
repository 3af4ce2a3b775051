// Which key does what. A command is [name, argument]; null where the key means nothing here.

const TOOL_OF_KEY = {
  p: 'point', b: 'box', s: 'scribble', t: 'target', e: 'entry', v: 'navigate', r: 'ruler', a: 'angle', d: 'brush', x: 'erase',
  l: 'lasso', c: 'box3d',
};
const STRIDE = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
const NUDGE = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
const TICKED = ['range', 'checkbox', 'radio', 'button', 'submit'];

// Whether the person types a text or a number there.
export function isTyping(target) {
  if (!target || !target.tagName) return false;
  if (target.isContentEditable || ['TEXTAREA', 'SELECT'].includes(target.tagName)) return true;
  return target.tagName === 'INPUT' && !TICKED.includes(target.type);
}

// Whether a control needs the keys that move and press: a tab, a slider, a choice, a button.
function hasOwnKeys(target, key) {
  if (!target || !target.tagName || target.tagName === 'CANVAS') return false;
  if (key === 'Enter') return ['BUTTON', 'A', 'INPUT', 'SUMMARY'].includes(target.tagName);
  const role = target.getAttribute ? target.getAttribute('role') : null;
  return target.tagName === 'INPUT' || ['tab', 'slider', 'option', 'radio', 'listbox', 'menuitem'].includes(role);
}

export function commandOf(event) {
  const { key, target } = event;
  if (isTyping(target)) return null;
  const letter = key.length === 1 ? key.toLowerCase() : '';
  if (event.ctrlKey || event.metaKey) {
    if (letter === 'z') return ['act', event.shiftKey ? 'redo' : 'undo'];
    return letter === 'y' ? ['act', 'redo'] : null;
  }
  if (key === 'Enter') return hasOwnKeys(target, key) ? null : ['place', !event.altKey];
  if (key in STRIDE || key === 'Home' || key === 'End') {
    if (event.altKey || hasOwnKeys(target, key)) return null;
    if (event.shiftKey) return key in NUDGE ? ['nudge', NUDGE[key]] : null;
    return key in STRIDE ? ['step', STRIDE[key]] : ['end', key === 'End'];
  }
  if (event.altKey) return null;
  if (key === '?') return ['help'];
  if (letter === 'n') return ['next'];
  if (letter === 'o') return ['other'];
  if (key === '[' || key === ']') return ['brush', key === ']' ? 1 : -1];
  if (key === 'Escape') return ['escape'];
  if (key === 'Delete' || key === 'Backspace') return ['unmeasure'];
  if (letter in TOOL_OF_KEY && letter) return ['tool', TOOL_OF_KEY[letter]];
  if (/^[1-5]$/.test(key)) return ['preset', Number(key) - 1];
  return null;
}
