// The storefront: sign in, fill a cart, place an order once however often the button or the network repeats it.
'use strict';

const find = (id) => document.getElementById(id);
const money = (cents) => (cents / 100).toFixed(2) + ' €';
const names = new Map([...document.querySelectorAll('[data-sku]')].map((li) => [li.dataset.sku, li.dataset.name]));
const ATTEMPTS = 8;

// The key of the order that is being placed. It changes only once an order has an answer, so that whatever is
// repeated before that is the same order.
let orderKey = crypto.randomUUID ? crypto.randomUUID() : fallbackKey();
let polling = 0;

function fallbackKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function newKey() {
  orderKey = crypto.randomUUID ? crypto.randomUUID() : fallbackKey();
}

function notice(text) {
  find('notice').textContent = text;
}

function item(text) {
  const li = document.createElement('li');
  li.textContent = text;
  return li;
}

// Asks the server, again where an answer says that another attempt can help or none came.
async function ask(method, path, body, headers = {}) {
  const init = { method, headers: { ...headers } };
  if (body !== undefined) {
    init.headers['content-type'] = 'application/json';
    init.body = JSON.stringify(body);
  }
  const repeatable = method !== 'POST' || 'idempotency-key' in headers;
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(path, init).catch(() => null);
    const status = response ? response.status : 0;
    const again = status === 0 || status === 502 || (response && response.headers.has('retry-after'));
    if (!again || !repeatable || attempt === ATTEMPTS) return await read(response);
    const after = response ? Number(response.headers.get('retry-after')) : 0;
    await new Promise((resolve) => setTimeout(resolve, Math.max(after * 1000, 200 * attempt)));
  }
}

async function read(response) {
  if (!response) return { status: 0, problem: 'The shop cannot be reached.' };
  const text = await response.text();
  const json = text ? JSON.parse(text) : null;
  return { status: response.status, json, problem: response.ok ? null : (json && (json.detail || json.title)) };
}

async function refresh() {
  const session = await ask('GET', '/session');
  const inside = session.status === 200;
  find('sign-in').hidden = inside;
  find('signed-in').hidden = !inside;
  document.querySelectorAll('[data-sku] button').forEach((button) => { button.disabled = !inside; });
  if (!inside) {
    find('cart').replaceChildren(item('Sign in to fill a cart.'));
    find('order').querySelector('button').disabled = true;
    find('orders').tBodies[0].replaceChildren();
    return;
  }
  find('who').textContent = `${session.json.user} of ${session.json.tenant}`;
  await Promise.all([showCart(), showOrders()]);
}

async function showCart() {
  const { status, json } = await ask('GET', '/cart');
  if (status !== 200) return;
  const lines = json.items.map((line) => item(`${line.quantity} × ${names.get(line.sku) || line.sku}`));
  find('cart').replaceChildren(...(lines.length ? lines : [item('Nothing yet.')]));
  find('order').querySelector('button').disabled = !lines.length;
}

async function showOrders() {
  const { status, json } = await ask('GET', '/orders');
  if (status !== 200) return;
  find('orders').tBodies[0].replaceChildren(...json.orders.map(orderRow));
  clearTimeout(polling);
  if (json.orders.some((order) => order.status === 'placed')) polling = setTimeout(showOrders, 1000);
}

function orderRow(order) {
  const row = document.createElement('tr');
  const items = order.items.map((line) => `${line.quantity} × ${names.get(line.sku) || line.sku}`).join(', ');
  for (const text of [order.order_id.slice(-8), items, money(order.total_cents), order.status]) {
    row.append(Object.assign(document.createElement('td'), { textContent: text }));
  }
  row.className = order.status;
  row.title = order.order_id;
  return row;
}

find('sign-in').addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const { status, problem } = await ask('POST', '/session', { tenant: form.get('tenant'), user: form.get('user') });
  notice(status === 204 ? '' : problem);
  newKey();
  await refresh();
});

for (const [id, path] of [['sign-out', '/session'], ['sign-out-all', '/sessions']]) {
  find(id).addEventListener('click', async () => {
    const { problem } = await ask('DELETE', path);
    notice(problem || 'Signed out.');
    await refresh();
  });
}

find('products').addEventListener('click', async (event) => {
  const product = event.target.closest('button') && event.target.closest('[data-sku]');
  if (!product) return;
  const quantity = Number(product.querySelector('input').value);
  const { status, problem } = await ask('POST', '/cart/items', { sku: product.dataset.sku, quantity });
  notice(status === 204 ? `${product.dataset.name} is in your cart.` : problem);
  if (status === 401) await refresh(); else await showCart();
});

find('order').addEventListener('submit', async (event) => {
  event.preventDefault();
  const button = event.target.querySelector('button');
  button.disabled = true;
  const body = { payment_token: new FormData(event.target).get('token') };
  const { status, json, problem } = await ask('POST', '/checkout', body, { 'idempotency-key': orderKey });
  // Without an answer the order may have been placed: the next press must be the same order.
  if (status !== 0 && status < 500) newKey();
  notice(status === 201 ? `Order placed: ${money(json.total_cents)}.` : problem);
  await Promise.all([showCart(), showOrders()]);
});

refresh();
