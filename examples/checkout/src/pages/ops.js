// The operations page: draws the tables that the server names, once a second.
'use strict';

const EVERY = 1000;

function cell(kind, value) {
  const text = value === null || value === undefined ? '–' : typeof value === 'number' && !Number.isInteger(value) ? value.toFixed(3) : String(value);
  return Object.assign(document.createElement(kind), { textContent: text });
}

function row(kind, values) {
  const tr = document.createElement('tr');
  tr.append(...values.map((value) => cell(kind, value)));
  return tr;
}

// Has a parked event handled again; the next refresh shows what became of it.
function redrive(event) {
  const button = Object.assign(document.createElement('button'), { textContent: 'Redrive' });
  button.dataset.event = event;
  button.onclick = async () => {
    button.disabled = true;
    const headers = { 'content-type': 'application/json' };
    const response = await fetch('/ops/redrive', { method: 'POST', headers, body: JSON.stringify({ event }) });
    button.textContent = response.ok ? 'Asked for' : `Refused: ${response.status}`;
  };
  const td = document.createElement('td');
  td.append(button);
  return td;
}

// A table is `{columns: [..], rows: [[..], ..]}`.
function draw(id, table) {
  const element = document.getElementById(id);
  const head = document.createElement('thead');
  head.append(row('th', table.columns));
  const body = document.createElement('tbody');
  body.append(...(table.rows.length ? table.rows.map((values) => row('td', values)) : [row('td', ['none'])]));
  if (id === 'parked') {
    const event = table.columns.indexOf('event');
    table.rows.forEach((values, at) => body.rows[at].append(redrive(values[event])));
  }
  element.replaceChildren(head, body);
}

async function refresh() {
  const state = document.getElementById('state');
  try {
    const response = await fetch('/ops/data');
    const data = await response.json();
    for (const id of ['routes', 'objectives', 'operations', 'tenants', 'shards', 'outbox', 'parked']) draw(id, data[id]);
    state.textContent = `Live, ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    state.textContent = `No answer: ${error}`;
  }
  setTimeout(refresh, EVERY);
}

refresh();
