// The slice canvas. Python sends the scene as props.value; each slice is fetched from the views route as JSON.
// Actions of the person are sent back as the event 'viewer_action'.
const root = element;
const canvas = root.querySelector('canvas');
const pen = canvas.getContext('2d');
const control = (name) => root.querySelector('[data-control="' + name + '"]');
const text = (name) => root.querySelector('[data-text="' + name + '"]');

const CLICK_PX = 8;           // a shorter drag counts as a click (as Android's touch slop)
const POLL_MS = 2500;         // interval at which the connection is checked
const POLL_PATIENCE_MS = 4000;
const CACHED_VIEWS = 60;
const GREY_TEXT = '#e8edf2';

let scene = null;             // the last scene that Python sent
let plane = 'axial';
let indexOf = {};             // slice by plane
let view = null;              // the slice on the screen, with decoded images
let tool = 'prompt';
let zoom = 1, shift = [0, 0]; // relative to the fit of the whole slice; shift in CSS pixels
let drag = null;
let work = '';                // the session that is shown, to detect a new one
let fetching = false, wanted = null;
let steps = 0;                // number of actions so far, so that the server can keep their order
let token = '';               // of the workbench for which the steps are counted
let isLost = false, isElsewhere = false, isComingBack = false;
let seenVersion = null;       // version of the server's state at the last poll
const cache = new Map();

// ---- fetching ----------------------------------------------------------------------------------------------------
function address(index) {
  const query = new URLSearchParams({
    plane: plane, index: index, overlay: control('overlay').value || 'outline',
    centre: control('centre').value || 0, width: control('width').value || 1, version: scene.version,
  });
  return scene.views + '?' + query;
}

async function fetched(url) {
  if (cache.has(url)) return cache.get(url);
  const answer = await fetch(url).catch((problem) => { setLost(true); throw problem; });
  if (answer.status === 404 || answer.status === 409) meet(answer.status);
  if (!answer.ok) throw new Error('view ' + answer.status);
  const found = await answer.json();
  found.picture = await decoded(found.image);
  found.layer = found.overlay ? await decoded(found.overlay) : null;
  delete found.image;
  delete found.overlay;
  cache.set(url, found);
  if (cache.size > CACHED_VIEWS) cache.delete(cache.keys().next().value);
  return found;
}

async function decoded(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  return image;
}

// At most one request is in progress; meanwhile only the newest slice wanted is remembered, so requests never queue up.
async function refresh() {
  if (!scene || !scene.is_open) { view = null; showSlice(); draw(); return; }
  wanted = address(indexOf[plane]);
  if (fetching) return;
  fetching = true;
  root.dataset.state = 'loading';
  try {
    while (wanted) {
      const url = wanted;
      wanted = null;
      const before = view;
      try {
        view = await fetched(url);
        showSlice();  // slice number and image change together
        draw();
        if (before && before.plane === view.plane && before.index !== view.index && !wanted) {
          const ahead = view.index + Math.sign(view.index - before.index);
          if (ahead >= 0 && ahead < view.count) await fetched(address(ahead));
        }
      } catch (problem) {
        if (!isLost) text('cursor').textContent = 'The slice could not be loaded (' + problem.message + ').';
      }
    }
  } finally {
    fetching = false;
    root.dataset.state = 'ready';
  }
}

// ---- the connection ----------------------------------------------------------------------------------------------
function bar(name, isShown) {
  root.querySelector('[data-bar="' + name + '"]').hidden = !isShown;
  document.querySelectorAll('#tabs, .mv-bar, .mv-stage, .mv-foot').forEach((part) => {
    const isOpen = part.id === 'tabs' || part.matches('.mv-stage') || (scene && scene.is_open);
    part.inert = isLost || isElsewhere || !isOpen;
  });
}

function setLost(now) {
  isLost = now;
  if (now) drag = null;
  bar('lost', isLost);
}

function setElsewhere(now) {
  isElsewhere = now;
  bar('elsewhere', isElsewhere);
}

// The server has no workbench for this page: its work is on disk, or another window has it.
function meet(status) {
  if (status === 409) setElsewhere(true);
  else comeBack();
}

function comeBack() {
  if (isComingBack || isElsewhere) return;
  isComingBack = true;  // until the next scene
  trigger('restore_work', {});
  setTimeout(() => { isComingBack = false; }, 10000);
}

async function poll() {
  if (!token || isElsewhere) return;
  try {
    const answer = await fetch('alive/' + token, { signal: AbortSignal.timeout(POLL_PATIENCE_MS), cache: 'no-store' });
    if (answer.status !== 404 && answer.status !== 409 && !answer.ok) throw new Error('alive ' + answer.status);
    const wasLost = isLost;
    setLost(false);
    if (!answer.ok) { meet(answer.status); return; }
    const known = await answer.json();
    const isBehind = scene && known.version > scene.version && !known.is_computing;
    if (wasLost || (isBehind && seenVersion === known.version)) comeBack();
    seenVersion = known.version;
  } catch { setLost(true); }
}

(function pollAgain() {
  if (!root.isConnected) return;
  poll().finally(() => setTimeout(pollAgain, isLost ? POLL_MS / 2 : POLL_MS));
})();

// The address names the session, so that a reload or another browser can go on with it.
function remember(key) {
  if (key && location.hash !== '#' + key) history.replaceState(history.state, '', '#' + key);
}

window.medsamPlanner = { nextStep: () => ++steps, lastStep: () => steps, shows: () => Boolean(scene && scene.is_open) };

// ---- between screen and slice ------------------------------------------------------------------------------------
function layout() {
  const width = canvas.clientWidth, height = canvas.clientHeight;
  const wide = view.size[0] * view.pixel_mm[0], high = view.size[1] * view.pixel_mm[1];
  const perMm = Math.min((width - 56) / wide, (height - 40) / high) * zoom;  // leaves room for the side letters
  return {
    width, height, perMm, sx: perMm * view.pixel_mm[0], sy: perMm * view.pixel_mm[1],
    x0: (width - wide * perMm) / 2 + shift[0], y0: (height - high * perMm) / 2 + shift[1],
  };
}
const toScreen = (at, c, r) => [at.x0 + (c + 0.5) * at.sx, at.y0 + (r + 0.5) * at.sy];
const toSlice = (at, x, y) => [(x - at.x0) / at.sx - 0.5, (y - at.y0) / at.sy - 0.5];

// ---- drawing -----------------------------------------------------------------------------------------------------
function draw() {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = '#000';
  pen.fillRect(0, 0, width, height);
  if (!view) {
    write(scene ? scene.empty_text : '', width / 2, height / 2, { align: 'center', size: 16 });
    return;
  }
  const at = layout();
  const opacity = Number(control('opacity').value) / 100;
  const box = [at.x0, at.y0, view.size[0] * at.sx, view.size[1] * at.sy];
  pen.imageSmoothingEnabled = true;
  pen.imageSmoothingQuality = 'high';
  pen.drawImage(view.picture, ...box);
  if (view.layer) {
    pen.globalAlpha = opacity;
    pen.imageSmoothingEnabled = false;
    pen.drawImage(view.layer, ...box);
    pen.globalAlpha = 1;
  }
  view.outlines.forEach((outline) => drawOutline(at, outline));
  view.prompts.forEach((prompt) => drawPrompt(at, prompt));
  view.marks.forEach((mark) => drawMark(at, mark));
  if (drag && drag.kind === 'box') {
    pen.strokeStyle = '#ffffff';
    pen.setLineDash([5, 4]);
    pen.lineWidth = 1.5;
    pen.strokeRect(drag.x, drag.y, drag.nowX - drag.x, drag.nowY - drag.y);
    pen.setLineDash([]);
  }
  drawLetters(at);
  drawScale(at);
  if (view.bar) drawBar(at, view.bar);
  drawLegend();
}

function write(words, x, y, { align = 'left', size = 13, colour = GREY_TEXT, weight = '600' } = {}) {
  pen.font = weight + ' ' + size + 'px system-ui, sans-serif';
  pen.textAlign = align;
  pen.textBaseline = 'middle';
  pen.lineWidth = 3;
  pen.strokeStyle = 'rgba(0,0,0,0.85)';
  pen.strokeText(words, x, y);
  pen.fillStyle = colour;
  pen.fillText(words, x, y);
}

function drawOutline(at, outline) {
  const trace = () => {
    pen.beginPath();
    outline.lines.forEach((line) => line.forEach(([c, r], n) => {
      const [x, y] = toScreen(at, c, r);
      if (n) pen.lineTo(x, y); else pen.moveTo(x, y);
    }));
  };
  pen.setLineDash(outline.preview ? [6, 3] : []);
  trace();
  pen.strokeStyle = 'rgba(0,0,0,0.6)';
  pen.lineWidth = outline.active ? 4 : 3;
  pen.stroke();
  pen.strokeStyle = outline.colour;
  pen.globalAlpha = outline.stale ? 0.55 : 1;
  pen.lineWidth = outline.active ? 2 : 1.4;
  pen.stroke();
  pen.globalAlpha = 1;
  pen.setLineDash([]);
}

function drawPrompt(at, prompt) {
  pen.globalAlpha = prompt.faint ? 0.3 : 1;
  if (prompt.kind === 'box') {
    const [x, y] = toScreen(at, prompt.rectangle[0], prompt.rectangle[1]);
    const [x2, y2] = toScreen(at, prompt.rectangle[2], prompt.rectangle[3]);
    pen.strokeStyle = '#ffffff';
    pen.lineWidth = 1.2;
    pen.setLineDash([4, 3]);
    pen.strokeRect(x, y, x2 - x, y2 - y);
    pen.setLineDash([]);
  } else if (prompt.kind === 'scribble') {
    pen.strokeStyle = prompt.positive ? '#3ddc84' : '#ff5252';
    pen.lineWidth = 3;
    pen.beginPath();
    prompt.points.forEach(([c, r], n) => {
      const [x, y] = toScreen(at, c, r);
      if (n) pen.lineTo(x, y); else pen.moveTo(x, y);
    });
    pen.stroke();
  } else {
    const [x, y] = toScreen(at, ...prompt.points[0]);
    pen.beginPath();
    pen.arc(x, y, 7, 0, 2 * Math.PI);
    pen.fillStyle = prompt.positive ? '#1e9e57' : '#d63a3a';
    pen.fill();
    pen.strokeStyle = '#ffffff';
    pen.lineWidth = 1.5;
    pen.stroke();
    pen.beginPath();  // plus or minus, so that they differ without colour
    pen.moveTo(x - 4, y);
    pen.lineTo(x + 4, y);
    if (prompt.positive) { pen.moveTo(x, y - 4); pen.lineTo(x, y + 4); }
    pen.lineWidth = 2;
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

const MARK_COLOUR = { target: '#ffe14d', entry: '#4dd2ff', path: '#7dff9a' };
const CAUTION = '#ffb454';    // the colour of the amber verdict

function drawMark(at, mark) {
  pen.strokeStyle = pen.fillStyle = mark.has_caution ? CAUTION : MARK_COLOUR[mark.kind];
  if (mark.kind === 'path') {
    const [x1, y1] = toScreen(at, ...mark.points[0]);
    const [x2, y2] = toScreen(at, ...mark.points[1]);
    pen.lineWidth = 1.6;
    pen.setLineDash([6, 4]);
    stroke(x1, y1, x2, y2);
    pen.setLineDash([]);
    if (mark.inside) {
      const along = (f) => [x1 + f * (x2 - x1), y1 + f * (y2 - y1)];
      pen.globalAlpha = 0.75;
      pen.lineWidth = Math.max(2 * mark.radius_mm * at.perMm, 3);
      stroke(...along(mark.inside[0]), ...along(mark.inside[1]));
      pen.globalAlpha = 1;
    }
    return;
  }
  if (mark.hidden) return;
  const [x, y] = toScreen(at, ...mark.points[0]);
  pen.globalAlpha = mark.faint ? 0.45 : 1;
  pen.lineWidth = 1.6;
  if (mark.radius_mm > 0) {
    pen.beginPath();
    pen.arc(x, y, mark.radius_mm * at.perMm, 0, 2 * Math.PI);
    pen.stroke();
  }
  stroke(x - 9, y, x + 9, y);
  stroke(x, y - 9, x, y + 9);
  write(mark.label, x + 11, y - 11, { size: 12, colour: MARK_COLOUR[mark.kind] });
  pen.globalAlpha = 1;
}

function stroke(x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

function drawLetters(at) {
  const letters = view.letters;
  write(letters.left, 14, at.height / 2, { align: 'center', size: 16 });
  write(letters.right, at.width - 14, at.height / 2, { align: 'center', size: 16 });
  write(letters.top, at.width / 2, 12, { align: 'center', size: 16 });
  write(letters.bottom, at.width / 2, at.height - 12, { align: 'center', size: 16 });
}

function drawScale(at) {
  const lengths = [1, 2, 5, 10, 20, 50, 100, 200];
  const mm = lengths.find((length) => length * at.perMm >= 70) || 200;
  const x = 14, y = at.height - 14, end = x + mm * at.perMm;
  pen.strokeStyle = GREY_TEXT;
  pen.lineWidth = 2;
  stroke(x, y, end, y);
  stroke(x, y - 5, x, y + 1);
  stroke(end, y - 5, end, y + 1);
  write(mm + ' mm', x, y - 14, { size: 12 });
}

function drawBar(at, bar) {
  const high = Math.min(180, at.height * 0.4), x = at.width - 30, y = 40;
  const shade = pen.createLinearGradient(0, y + high, 0, y);
  bar.stops.forEach((colour, n) => shade.addColorStop(n / (bar.stops.length - 1), colour));
  pen.fillStyle = shade;
  pen.fillRect(x, y, 14, high);
  pen.strokeStyle = '#888';
  pen.lineWidth = 1;
  pen.strokeRect(x, y, 14, high);
  [0, 0.5, 1].forEach((f) => {
    const value = bar.low + f * (bar.high - bar.low);
    write(value.toFixed(bar.high - bar.low >= 10 ? 0 : 2), x - 6, y + high * (1 - f), { align: 'right', size: 11 });
  });
  write(bar.label + ' (' + bar.unit + ')', at.width - 14, y - 18, { align: 'right', size: 12 });
  if (bar.warning) writeAcross(at, bar.warning);
}

function writeAcross(at, words) {
  pen.save();
  pen.translate(at.width / 2, at.height / 2);
  pen.rotate(-0.31);
  write(words, 0, 0, { align: 'center', size: Math.max(14, Math.min(40, 1.6 * at.width / words.length)), colour: '#ffd24a' });
  pen.restore();
}

function drawLegend() {
  if (!scene) return;
  scene.legend.forEach((entry, n) => {
    pen.fillStyle = entry.colour;
    pen.fillRect(12, 14 + 18 * n, 11, 11);
    write(entry.name, 29, 20 + 18 * n, { size: 12, weight: entry.active ? '700' : '400' });
  });
}

// ---- actions of the person ----------------------------------------------------------------------------------------
function act(payload, on = view) {
  if (!on || isLost || isElsewhere) return;
  root.querySelector('.mv-busy').hidden = false;
  trigger('viewer_action', { ...payload, plane: on.plane, index: on.index, step: window.medsamPlanner.nextStep() });
}

function place(event) {
  const bounds = canvas.getBoundingClientRect();
  return [event.clientX - bounds.left, event.clientY - bounds.top];
}

canvas.addEventListener('contextmenu', (event) => event.preventDefault());
canvas.addEventListener('pointerdown', (event) => {
  if (!view) return;
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  const [x, y] = place(event);
  const kind = event.button === 1 ? 'move' : event.button === 2 || event.shiftKey ? 'negative' : 'press';
  drag = { kind, x, y, nowX: x, nowY: y, shift: [...shift], view };  // the action applies to the slice on which it began
  event.preventDefault();
});
canvas.addEventListener('pointermove', (event) => {
  if (!view) return;
  const [x, y] = place(event);
  showCursor(x, y);
  if (!drag) return;
  drag.nowX = x;
  drag.nowY = y;
  const far = Math.hypot(x - drag.x, y - drag.y) > CLICK_PX;
  if (drag.kind === 'press' && far && tool === 'prompt') drag.kind = 'box';
  if (drag.kind === 'move') shift = [drag.shift[0] + x - drag.x, drag.shift[1] + y - drag.y];
  draw();
});
canvas.addEventListener('pointerup', () => {
  if (!view || !drag) return;
  const done = drag, at = layout();
  drag = null;
  const first = toSlice(at, done.x, done.y), last = toSlice(at, done.nowX, done.nowY);
  const far = Math.hypot(done.nowX - done.x, done.nowY - done.y) > CLICK_PX;
  // A box dragged back to its start is cancelled; a drag with the right button has no effect.
  if (done.kind === 'box' && far) act({ kind: 'box', first, last }, done.view);
  else if (done.kind === 'press' && !far) act({ kind: tool === 'prompt' ? 'positive' : tool, first }, done.view);
  else if (done.kind === 'negative' && !far && tool === 'prompt') act({ kind: 'negative', first }, done.view);
  draw();
});
canvas.addEventListener('pointercancel', () => { drag = null; draw(); });
canvas.addEventListener('wheel', (event) => {
  if (!view) return;
  event.preventDefault();
  if (event.ctrlKey) {
    const [x, y] = place(event), before = toSlice(layout(), x, y);
    zoom = Math.min(Math.max(zoom * Math.exp(-event.deltaY / 300), 1), 20);
    const [nowX, nowY] = toScreen(layout(), ...before);
    shift = zoom === 1 ? [0, 0] : [shift[0] + x - nowX, shift[1] + y - nowY];
    draw();
  } else if (!drag) step(Math.sign(event.deltaY));
}, { passive: false });
canvas.addEventListener('keydown', (event) => {
  const strides = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10 };
  if (event.key in strides) step(strides[event.key]);
  else if (event.key === 'Escape') { drag = null; draw(); }
  else if (event.ctrlKey && event.key.toLowerCase() === 'z') act({ kind: event.shiftKey ? 'redo' : 'undo' });
  else if (event.ctrlKey && event.key.toLowerCase() === 'y') act({ kind: 'redo' });
  else return;
  event.preventDefault();
});

function showCursor(x, y) {
  const [c, r] = toSlice(layout(), x, y);
  const mm = [0, 1, 2].map((n) => view.origin_lps_mm[n] + c * view.right_lps_mm[n] + r * view.down_lps_mm[n]);
  const sides = mm.map((value, n) => ['RL', 'AP', 'IS'][n][value >= 0 ? 1 : 0] + ' ' + Math.abs(value).toFixed(1));
  text('cursor').textContent = sides.join('  ') + ' mm';
}

function step(by) {
  if (!scene || !scene.is_open) return;
  const count = scene.planes[plane].count;
  indexOf[plane] = Math.min(Math.max(indexOf[plane] + by, 0), count - 1);
  refresh();
}

// Show the number of the slice that is on the screen, not of one still loading.
function showSlice() {
  if (!view) { text('slice').textContent = 'no study'; return; }
  const slider = control('slice');
  slider.max = view.count - 1;
  if (!slider.matches(':active')) slider.value = view.index;  // not while the person drags it
  text('slice').textContent = 'slice ' + (view.index + 1) + ' of ' + view.count;
  press('plane', view.plane);
}

function press(attribute, value) {
  root.querySelectorAll('[data-' + attribute + ']').forEach((button) => {
    button.classList.toggle('mv-on', button.dataset[attribute] === value);
    button.setAttribute('aria-pressed', String(button.dataset[attribute] === value));
  });
}

root.querySelectorAll('[data-plane]').forEach((button) => button.addEventListener('click', () => {
  plane = button.dataset.plane;
  zoom = 1;
  shift = [0, 0];
  refresh();
}));
root.querySelectorAll('[data-tool]').forEach((button) => button.addEventListener('click', () => {
  tool = button.dataset.tool;
  press('tool', tool);
}));
root.querySelectorAll('[data-step]').forEach((button) =>
  button.addEventListener('click', () => step(Number(button.dataset.step))));
control('slice').addEventListener('input', (event) => {
  indexOf[plane] = Number(event.target.value);
  refresh();
});
control('window').addEventListener('change', (event) => {
  const chosen = scene && scene.windows[event.target.value];
  if (!chosen) return;
  control('centre').value = chosen.centre;
  control('width').value = chosen.width;
  refresh();
});
['centre', 'width'].forEach((name) => control(name).addEventListener('change', () => {
  control('window').value = 'own';
  refresh();
}));
control('overlay').addEventListener('change', refresh);
control('opacity').addEventListener('input', draw);
control('slice').addEventListener('change', showSlice);
control('fit').addEventListener('click', () => { zoom = 1; shift = [0, 0]; draw(); });
control('take-back').addEventListener('click', () => { setElsewhere(false); comeBack(); });

// ---- scenes from Python --------------------------------------------------------------------------------------------
function fill(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, words]) => new Option(words, value)));
  select.value = entries.some(([value]) => value === chosen) ? chosen : entries[0][0];
}

function accept() {
  const news = props.value;
  // Responses may arrive out of order; an older state is not shown over a newer one.
  if (scene && news && news.token && news.token === token && news.version < scene.version) return;
  scene = news;
  isComingBack = false;
  root.querySelector('.mv-busy').hidden = true;
  setElsewhere(Boolean(scene && scene.is_elsewhere));
  if (!scene) return;
  if (scene.token && scene.token !== token) {
    token = scene.token;
    steps = 0;
    cache.clear();
  }
  if (scene.is_evicted) { comeBack(); return; }
  remember(scene.work);
  if (scene.is_open && work !== scene.work) {
    work = scene.work;
    cache.clear();
    view = null;
    zoom = 1;
    shift = [0, 0];
    indexOf = {};
    Object.entries(scene.planes).forEach(([name, known]) => { indexOf[name] = Math.floor(known.count / 2); });
    plane = scene.first_plane;
    const presets = Object.keys(scene.windows).map((name) => [name, name]);
    fill(control('window'), [...presets, ['own', 'custom']], presets[0][0]);
    control('centre').value = scene.windows[presets[0][0]].centre;
    control('width').value = scene.windows[presets[0][0]].width;
  }
  if (scene.is_open) fill(control('overlay'), scene.overlays, control('overlay').value);
  if (scene.go_to) Object.assign(indexOf, scene.go_to);
  if (scene.tool) { tool = scene.tool; press('tool', tool); }
  refresh();
  root.dataset.version = scene.version;  // version of the state that is shown
}

watch('value', accept);
new ResizeObserver(draw).observe(canvas);
accept();
