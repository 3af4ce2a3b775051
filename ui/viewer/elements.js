// Elements of the page by their tag, properties and children.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  Object.entries(properties).forEach(([name, value]) => {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (name.startsWith('aria-') || name.startsWith('data-') || name === 'list') made.setAttribute(name, value);
    else made[name] = value;
  });
  made.append(...children.filter((child) => child !== null));
  return made;
}

// Replace what a part shows, and give the focus back to the control that had it, which its data-key names.
export function replaceKeepingFocus(part, children) {
  const key = part.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  part.replaceChildren(...children);
  if (key) [...part.querySelectorAll('[data-key]')].find((one) => one.dataset.key === key)?.focus({ preventScroll: true });
}
