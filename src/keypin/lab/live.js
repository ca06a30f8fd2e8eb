'use strict';

const PAUSE = 1000; // milliseconds between two questions
const rows = new Map();
let lab = null;

const byId = (id) => document.getElementById(id);

/* All text comes in as text, never as markup. */
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function heading(text) {
  return element('th', { scope: 'col', role: 'columnheader', textContent: text });
}

function address(url) {
  if (!/^https?:/.test(url)) return element('span', { className: 'address', textContent: url });
  return element('a', { className: 'address', href: url, target: '_blank', rel: 'noopener noreferrer', textContent: url });
}

function line(...children) {
  return element('div', {}, ...children);
}

function quiet(text) {
  return element('span', { className: 'quiet', textContent: text });
}

function addresses(found) {
  const cell = element('td', { role: 'cell' }, line(address(found.url)));
  if (found.second_url === found.url) cell.append(line(quiet('and once more, in the same process')));
  else if (found.second_url) cell.append(line(quiet('then '), address(found.second_url)));
  if (found.proxy) cell.append(line(quiet('through the proxy '), element('span', { className: 'address', textContent: found.proxy })));
  const folder = 'cases/' + encodeURIComponent(found.case) + '/';
  if (found.own_pins) cell.append(line(quiet('pins of its own: '), element('a', { href: folder + 'pins.toml', textContent: 'pins.toml' })));
  if (found.own_authorities) cell.append(line(quiet('trusts only '), element('a', { href: folder + 'authorities.pem', textContent: 'authorities.pem' })));
  return cell;
}

async function forget(name, button) {
  button.disabled = true;
  try {
    await fetch('forget/' + encodeURIComponent(name), { method: 'POST' });
  } catch { /* that the lab has ended is told by refresh */ }
  button.disabled = false;
  await refresh();
}

function newRow(found) {
  const outcome = element('span', { className: 'outcome' });
  const reasons = element('div', { className: 'reasons' });
  const again = element('button', { type: 'button', textContent: 'again', hidden: true, title: 'Forget what these servers have received' });
  again.setAttribute('aria-label', 'again: forget what the servers of ' + found.scenario + ' have received');
  again.addEventListener('click', () => forget(found.case, again));
  const asks = found.claims.length ? ' It asks for ' + found.claims.join(', ') + '.' : '';
  const row = element('tr', { id: found.case, role: 'row' },
    element('th', { scope: 'row', role: 'rowheader' }, element('code', { textContent: found.scenario }),
      element('div', { className: 'story', textContent: found.story + asks, title: found.source })),
    addresses(found),
    element('td', { className: 'expected', role: 'cell', textContent: found.expected + 'ed' }),
    element('td', { role: 'cell' }, outcome, again, reasons));
  rows.set(found.case, { row, outcome, reasons, again, shown: null });
  return row;
}

function newTable(group) {
  // said outright, because narrow screens show the table as blocks
  const head = element('tr', { role: 'row' }, heading('scenario'), heading('call'), heading('must be'), heading('so far'));
  return element('table', { role: 'table' }, element('caption', {}, element('h2', { textContent: group })), element('thead', { role: 'rowgroup' }, head));
}

function build(state) {
  const [pin, backup] = state.pins;
  byId('pin').textContent = pin;
  byId('backup').textContent = backup;
  const bodies = new Map();
  for (const found of state.cases) {
    if (!bodies.has(found.group)) {
      const table = newTable(found.group);
      const body = element('tbody', { role: 'rowgroup' });
      table.append(body);
      byId('groups').append(table);
      bodies.set(found.group, body);
    }
    bodies.get(found.group).append(newRow(found));
  }
  const leftOut = Object.entries(state.left_out);
  byId('left-out').hidden = leftOut.length === 0;
  for (const [scenario, why] of leftOut) {
    byId('left-out').querySelector('ul').append(
      element('li', {}, element('code', { textContent: scenario }), quiet(': ' + why)));
  }
}

function text(found) {
  if (found.outcome === 'not called') return '';
  const attempts = found.attempts === 1 ? '1 attempt' : found.attempts + ' attempts';
  return [...found.reasons, attempts].join('; ');
}

function update(found) {
  const entry = rows.get(found.case);
  const shown = found.outcome + ': ' + text(found);
  if (shown === entry.shown) return;
  const isNew = entry.shown !== null;
  entry.shown = shown;
  entry.outcome.textContent = found.harm ? found.outcome + ': ' + found.harm.replaceAll('-', ' ') : found.outcome;
  entry.outcome.className = 'outcome ' + found.outcome.replace(' ', '-');
  entry.again.hidden = found.outcome === 'not called';
  entry.row.classList.toggle('called', found.outcome !== 'not called');
  entry.reasons.textContent = text(found);
  if (!isNew) return;
  entry.row.classList.remove('changed');
  void entry.row.offsetWidth; // so that the animation begins anew
  entry.row.classList.add('changed');
  byId('news').textContent = found.scenario + ': ' + shown;
}

function show(state) {
  if (lab === null) build(state);
  lab = state.lab;
  for (const found of state.cases) update(found);
  if (byId('summary').textContent !== state.summary) byId('summary').textContent = state.summary;
}

async function refresh() {
  let state = null;
  try {
    const answer = await fetch('state.json', { cache: 'no-store' });
    if (answer.ok) state = await answer.json();
  } catch { /* nobody answers */ }
  byId('gone').hidden = state !== null;
  if (state === null) return;
  if (lab !== null && state.lab !== lab) location.reload(); // another lab, at the same port
  else show(state);
}

async function watch() {
  await refresh();
  setTimeout(watch, PAUSE);
}

const onlyCalled = byId('only-called');
const narrow = () => document.body.classList.toggle('only-called', onlyCalled.checked);
onlyCalled.addEventListener('change', narrow);
narrow(); // browsers keep what was ticked when a page is loaded anew
document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });
watch();
