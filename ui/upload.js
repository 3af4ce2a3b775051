// Sends a file to the page's private folder on the server. props.value has the address for uploads and the name of
// the file that the server has.
const root = element.querySelector('.mv-upload');
const part = (name) => root.querySelector('[data-part="' + name + '"]');
const input = root.querySelector('input'), bar = root.querySelector('progress');
const removable = root.dataset.removable === 'true';
const address = () => props.value.address + '/' + root.dataset.kind;

function say(words) {
  part('told').textContent = words;
  part('told').hidden = !words;
}

function show(name) {
  part('kept').textContent = name;
  part('kept').hidden = part('remove').hidden = !(removable && name);
}

function open() { part('choose').disabled = input.disabled = !props.value || !bar.hidden; }

function send(file) {
  const request = new XMLHttpRequest();
  const done = (words) => {
    bar.hidden = true;
    input.value = '';
    say(words);
    open();
  };
  request.open('POST', address() + '?name=' + encodeURIComponent(file.name));
  request.responseType = 'json';
  request.upload.onprogress = (event) => { bar.value = event.loaded / event.total; };
  request.onload = () => {
    const answer = request.response || {};
    if (request.status !== 200) return done(answer.detail || 'The server refused the file (' + request.status + ').');
    done('');
    show(answer.name);
    trigger('uploaded', { name: answer.name });
  };
  request.onerror = () => done('The connection was lost. Try again.');
  bar.value = 0;
  bar.hidden = false;
  say('');
  open();
  request.send(file);
}

part('choose').addEventListener('click', () => input.click());
input.addEventListener('change', () => { if (input.files.length) send(input.files[0]); });
root.addEventListener('dragover', (event) => event.preventDefault());
root.addEventListener('drop', (event) => {
  event.preventDefault();
  if (!input.disabled && event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
});
part('remove').addEventListener('click', async () => {
  const answer = await fetch(address(), { method: 'DELETE' });
  if (!answer.ok) return say('The file could not be removed (' + answer.status + '). Reload the page.');
  show('');
  trigger('removed', {});
});
function accept() {
  if (props.value) show(props.value.kept);
  open();
}

watch('value', accept);
accept();
