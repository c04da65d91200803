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

// A table is `{columns: [..], rows: [[..], ..]}`.
function draw(id, table) {
  const element = document.getElementById(id);
  const head = document.createElement('thead');
  head.append(row('th', table.columns));
  const body = document.createElement('tbody');
  body.append(...(table.rows.length ? table.rows.map((values) => row('td', values)) : [row('td', ['none'])]));
  element.replaceChildren(head, body);
}

async function refresh() {
  const state = document.getElementById('state');
  try {
    const response = await fetch('/ops/data');
    const data = await response.json();
    for (const id of ['routes', 'tenants', 'shards', 'outbox', 'parked']) draw(id, data[id]);
    state.textContent = `Live, ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    state.textContent = `No answer: ${error}`;
  }
  setTimeout(refresh, EVERY);
}

refresh();
