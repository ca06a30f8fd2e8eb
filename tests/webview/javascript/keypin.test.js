/* keypin.js alone: what pages get, whatever the app says. */
'use strict';

const assert = require('node:assert/strict');
const test = require('node:test');
const { Page, outcome, rejected } = require('./page.js');

const OK = { ok: true, value: null };
const ANSWER = {
  ok: true,
  value: {
    status: 200,
    text: '[{"a": 1}]',
    headers: [
      ['content-type', 'application/json; charset=utf-8'],
      ['x-a', '1'],
      ['x-a', '2'],
    ],
  },
};

test('pin calls resolve, with one name or several', async () => {
  const page = await Page.connected(OK);
  for (const names of ["'a.cer'", "['a.cer', 'b.cer']"]) {
    const promise = page.run(`WL.Client.pinTrustedCertificatePublicKey(${names})`);
    assert.ok(page.run('(p) => p instanceof Promise')(promise));
    assert.deepEqual(await outcome(promise), { value: null });
  }
  assert.deepEqual(page.calls.map((call) => call.operation), ['pin', 'pin']);
  assert.deepEqual(page.calls.map((call) => call.arguments.names), [['a.cer'], ['a.cer', 'b.cer']]);
  assert.deepEqual(new Set(page.calls.map((call) => call.key)), new Set(['key']));
  assert.match(page.calls[0].id, /^[0-9]{40}$/);
});

test('a failure carries its code, and what the server said', async () => {
  const page = await Page.connected({
    ok: false,
    errorCode: 'SERVER_ERROR',
    errorMsg: 'alas',
    status: 404,
    text: '{"why": "gone"}',
    headers: [['content-type', 'application/problem+json']],
  });
  const { failure } = await outcome(page.run("new WLResourceRequest('/x', 'GET').send()"));
  assert.equal(failure.errorCode, page.run('WL.ErrorCode.SERVER_ERROR'));
  assert.equal(failure.errorMsg, 'alas');
  assert.equal(failure.message, 'alas');
  assert.equal(failure.status, 404);
  assert.equal(failure.responseText, '{"why": "gone"}');
  assert.equal(failure.responseJSON.why, 'gone');
  assert.equal(failure.getHeader('CONTENT-TYPE'), 'application/problem+json');
  assert.ok(page.run('(f) => f instanceof Error')(failure));
  const printed = JSON.parse(JSON.stringify(failure));
  assert.deepEqual([printed.status, printed.errorCode], [404, 'SERVER_ERROR']);
});

test('a failure without an answer has no status', async () => {
  const page = await Page.connected({ ok: false, errorCode: 'PIN_MISMATCH', errorMsg: 'no' });
  const { failure } = await outcome(page.run("WL.Client.pinTrustedCertificatePublicKey('a')"));
  assert.equal(failure.errorCode, 'PIN_MISMATCH');
  assert.equal(failure.status, null);
  assert.equal(failure.responseText, null);
  assert.equal(failure.responseJSON, null);
  assert.equal(failure.getHeader('a'), null);
});

test('a response has its text, its JSON and its headers', async () => {
  const page = await Page.connected(ANSWER);
  const { value } = await outcome(page.run("new WLResourceRequest('/x', 'GET').send()"));
  assert.equal(value.status, 200);
  assert.equal(value.responseText, '[{"a": 1}]');
  assert.equal(value.responseJSON[0].a, 1);
  assert.equal(value.getHeader('X-A'), '1, 2');
  assert.equal(value.getHeader('X-B'), null);
  assert.deepEqual({ ...value.getAllHeaders() }, {
    'content-type': 'application/json; charset=utf-8',
    'x-a': '1, 2',
  });
});

test('JSON behind a byte order mark is JSON', async () => {
  const headers = [['content-type', 'application/json']];
  const page = await Page.connected({ ok: true, value: { status: 200, text: '\ufeff{"a": 1}', headers } });
  const { value } = await outcome(page.run("new WLResourceRequest('/x', 'GET').send()"));
  assert.equal(value.responseJSON.a, 1);
});

test('what is not JSON has none', async () => {
  for (const [kind, text] of [['text/plain', '1'], ['application/json', '{']]) {
    const headers = [['content-type', kind]];
    const page = await Page.connected({ ok: true, value: { status: 200, text, headers } });
    const { value } = await outcome(page.run("new WLResourceRequest('/x', 'GET').send()"));
    assert.equal(value.responseJSON, null);
    assert.equal(value.responseText, text);
  }
});

test('a request says all that was set', async () => {
  const page = await Page.connected(ANSWER);
  await outcome(
    page.run(`
      const request = new WLResourceRequest(' /x ', WLResourceRequest.POST, {timeout: 5, scope: 'a b'});
      request.setQueryParameter('gone', 1);
      request.setQueryParameters({page: 2, yes: true, params: [5, 'ü'], '__proto__x': ''});
      request.setHeader('X-Gone', 'a');
      request.setHeaders({'X-A': 'a', 'X-B': ['b', 3]});
      request.addHeader('x-a', false);
      request.setHeader('x-b', 'c');
      request.send({a: [1]});
    `)
  );
  assert.deepEqual(page.calls[0].arguments, {
    url: '/x',
    method: 'POST',
    timeout: 5,
    scope: 'a b',
    query: [['page', '2'], ['yes', 'true'], ['params', '[5,"ü"]'], ['__proto__x', '']],
    headers: [['X-A', 'a'], ['x-a', 'false'], ['x-b', 'c']],
    body: { kind: 'json', text: '{"a":[1]}' },
  });
});

test('the getters tell what was set', async () => {
  const page = await Page.connected(ANSWER);
  const told = page.run(`
    const r = new WLResourceRequest('/x', WLResourceRequest.PUT, 7000);
    r.setQueryParameters({a: '1 2', b: [3]});
    r.setHeader('X-A', 'a'); r.addHeader('x-a', 'b'); r.setHeader('Y', 'c');
    const before = r.getTimeout();
    r.setTimeout(8000);
    JSON.stringify([r.getUrl(), r.getMethod(), before, r.getTimeout(), r.getQueryParameters(),
      r.getQueryString(), r.getHeaders(), r.getHeaders('X-a'), r.getHeader('x-A'),
      r.getHeaderNames(), r.getAllHeaders(), r.getHeader('Z') === undefined,
      r.getHeaders('Z') === undefined]);
  `);
  const all = { 'X-A': ['a', 'b'], Y: ['c'] };
  assert.deepEqual(JSON.parse(told), [
    '/x', 'PUT', 7000, 8000, { a: '1 2', b: [3] }, 'a=1%202&b=%5B3%5D', all, ['a', 'b'], 'a',
    ['X-A', 'Y'], all, true, true,
  ]);
});

test('removed is what is set to nothing', async () => {
  const page = await Page.connected(ANSWER);
  await outcome(
    page.run(`
      const r = new WLResourceRequest('/x', 'GET');
      r.setHeaders({a: 'b'}); r.setHeaders();
      r.setHeader('c', 'd'); r.removeHeaders('C');
      r.setQueryParameters({a: 'b'}); r.setQueryParameters(null);
      r.send();
    `)
  );
  const sent = page.calls[0].arguments;
  assert.deepEqual([sent.headers, sent.query, sent.body], [[], [], { kind: 'none' }]);
  assert.deepEqual([sent.timeout, sent.scope], [30000, '']);
});

test('bodies are texts, JSON or forms', async () => {
  const page = await Page.connected(ANSWER);
  const bodies = {
    "send('a')": { kind: 'text', text: 'a' },
    'send(7)': { kind: 'text', text: '7' },
    "send('')": { kind: 'text', text: '' },
    'send(null)': { kind: 'none' },
    'send([])': { kind: 'json', text: '[]' },
    'send(new (class { constructor() { this.a = 1; } })())': { kind: 'json', text: '{"a":1}' },
    'send(new Date(0))': { kind: 'json', text: '"1970-01-01T00:00:00.000Z"' },
    "sendFormParameters({a: 'b', c: 1})": { kind: 'form', fields: [['a', 'b'], ['c', '1']] },
    "sendFormParameters('a=b%20c&a=d')": { kind: 'form', fields: [['a', 'b c'], ['a', 'd']] },
  };
  for (const [call, body] of Object.entries(bodies)) {
    await outcome(page.run(`new WLResourceRequest('/x', 'POST').${call}`));
    assert.deepEqual(page.calls.pop().arguments.body, body, call);
  }
});

test('what makes no sense rejects, and nothing is thrown or sent', async () => {
  const page = await Page.connected(ANSWER);
  const request = (more) => `(() => { const r = new WLResourceRequest('/x', 'GET'); ${more} })()`;
  const calls = [
    'WL.Client.pinTrustedCertificatePublicKey()',
    'WL.Client.pinTrustedCertificatePublicKey(null)',
    'WL.Client.pinTrustedCertificatePublicKey([])',
    "WL.Client.pinTrustedCertificatePublicKey(['a', 7])",
    'WL.Client.pinTrustedCertificatePublicKey({})',
    'WLAuthorizationManager.obtainAccessToken(7)',
    'WLAuthorizationManager.clearAccessToken()',
    "WLAuthorizationManager.clearAccessToken('token')",
    'WLAuthorizationManager.clearAccessToken({})',
    'new WLResourceRequest().send()',
    "new WLResourceRequest('', 'GET').send()",
    "new WLResourceRequest(7, 'GET').send()",
    "new WLResourceRequest('/x').send()",
    "new WLResourceRequest('/x', 'get').send()",
    "new WLResourceRequest('/x', 'TRACE').send()",
    "new WLResourceRequest('/x', 'GET', 'fast').send()",
    "new WLResourceRequest('/x', 'GET', {timeout: -1}).send()",
    "new WLResourceRequest('/x', 'GET', {timeout: '5'}).send()",
    "new WLResourceRequest('/x', 'GET', NaN).send()",
    "new WLResourceRequest('/x', 'GET', {scope: ['a']}).send()",
    request("r.setTimeout(Infinity); return r.send();"),
    request("r.setTimeout(); return r.send();"),
    request("r.setHeader('a'); return r.send();"),
    request("r.setHeader(null, 'a'); return r.send();"),
    request("r.addHeader('a', {}); return r.send();"),
    request("r.setHeaders('a: b'); return r.send();"),
    request("r.setQueryParameter('a'); return r.send();"),
    request("r.setQueryParameter('', 'b'); return r.send();"),
    request("r.setQueryParameters('a=b'); return r.send();"),
    request("const o = {}; o.o = o; r.setQueryParameter('a', o); return r.send();"),
    request('const o = {}; o.o = o; return r.send(o);'),
    request('return r.send(() => 1);'),
    request('return r.send(new Map([[1, 2]]));'),
    request('return r.send(new Uint8Array(3));'),
    request('return r.send(Promise.resolve({a: 1}));'),
    request("return r.send({get [Symbol.toStringTag]() { return 'FormData'; }});"),
    request('return r.send({toJSON() { throw new Error(); }});'),
    request("return r.send(Symbol('a'));"),
    request('return r.sendFormParameters();'),
    request('return r.sendFormParameters(7);'),
    request('return r.sendFormParameters([1]);'),
    request('return r.sendFormParameters({a: [1]});'),
    request('return r.sendFormParameters({get a() { throw new Error(); }});'),
  ];
  for (const call of calls) {
    assert.equal(await rejected(page.run(call)), 'BAD_ARGUMENT', call);
  }
  assert.deepEqual(page.calls, []);
});

test('a token is what the app says of it', async () => {
  const value = {
    id: 'i', scope: 's', expiresAt: 1e12, value: 'v',
    asAuthorizationRequestHeader: 'Bearer v', asFormEncodedBodyParameter: 'access_token=v',
  };
  const page = await Page.connected((call) => (call.operation === 'obtain' ? { ok: true, value } : OK));
  const token = (await outcome(page.run("WLAuthorizationManager.obtainAccessToken('s')"))).value;
  assert.equal(token.expiresAt.getTime(), 1e12);
  assert.deepEqual({ ...token, expiresAt: 1e12 }, value);
  const clear = page.run('(t) => WLAuthorizationManager.clearAccessToken(t)');
  assert.deepEqual(await outcome(clear(token)), { value: null });
  await outcome(page.run('WLAuthorizationManager.obtainAccessToken()'));
  assert.deepEqual(page.calls.map((call) => call.arguments), [{ scope: 's' }, { id: 'i' }, { scope: '' }]);
});

test('calls made before the app is there wait for it, in their order', async () => {
  const page = new Page({ app: true, state: 'loading' });
  page.answers = () => OK;
  const first = page.run("WL.Client.pinTrustedCertificatePublicKey('a')");
  const second = page.run("WL.Client.pinTrustedCertificatePublicKey('b')");
  assert.equal(await outcome(first), 'pending');
  assert.deepEqual(page.calls, []);
  await page.connect();
  assert.deepEqual(await outcome(first), { value: null });
  assert.deepEqual(await outcome(second), { value: null });
  assert.deepEqual(page.calls.map((call) => call.arguments.names[0]), ['a', 'b']);
  assert.deepEqual(page.events, ['keypinready']);
});

test('the app is knocked at until it hears', async () => {
  const page = new Page({ app: true });
  let knocks = 0;
  page.greet = () => {
    knocks += 1;
    if (knocks === 1) {
      throw new Error('the way is not open yet');
    }
    return knocks === 4 ? OK : undefined;
  };
  await page.connect();
  assert.deepEqual(page.events, []);
  await page.clock.advance(10000);
  assert.equal(knocks, 4);
  assert.deepEqual(page.events, ['keypinready']);
});

test('in an ordinary browser calls are rejected, and say why', async () => {
  const page = new Page({ state: 'loading' });
  const promise = page.run("new WLResourceRequest('/x', 'GET').send()");
  await page.clock.advance(600000);
  assert.equal(await outcome(promise), 'pending'); // a page that still loads
  page.window.dispatchEvent({ type: 'load' });
  await page.clock.advance(3000);
  const { failure } = await outcome(promise);
  assert.equal(failure.errorCode, 'BRIDGE_MISSING');
  assert.match(failure.errorMsg, /ordinary browser/);
  const next = page.run("WL.Client.pinTrustedCertificatePublicKey('a')");
  assert.equal(await rejected(next), 'BRIDGE_MISSING');
});

test('in a window whose app says nothing they are rejected, later', async () => {
  for (const more of [
    { qt: { webChannelTransport: {} } },
    { chrome: { webview: {} } },
    { webkit: { messageHandlers: {} } },
    { pywebview: { api: {} } },
  ]) {
    const page = new Page({ more });
    const promise = page.run("WL.Client.pinTrustedCertificatePublicKey('a')");
    await page.clock.advance(29000);
    assert.equal(await outcome(promise), 'pending');
    await page.clock.advance(1000);
    const { failure } = await outcome(promise);
    assert.equal(failure.errorCode, 'BRIDGE_MISSING');
    assert.match(failure.errorMsg, /expose/);
  }
});

test('an app that comes late is still heard', async () => {
  const page = new Page({ app: true });
  page.answers = () => OK;
  const early = page.run("WL.Client.pinTrustedCertificatePublicKey('a')");
  await page.clock.advance(60000);
  assert.equal(await rejected(early), 'BRIDGE_MISSING');
  await page.connect();
  const late = page.run("WL.Client.pinTrustedCertificatePublicKey('a')");
  assert.deepEqual(await outcome(late), { value: null });
});

test('an app of another version is refused, and says what to do', async () => {
  const page = new Page({ app: true });
  const promise = page.run("WL.Client.pinTrustedCertificatePublicKey('a')");
  await page.connect('key', 1, 1);
  const { failure } = await outcome(promise);
  assert.equal(failure.errorCode, 'BRIDGE_MISSING');
  assert.match(failure.errorMsg, /copy keypin.js again/);
});

test('what the app refuses is rejected in its words', async () => {
  const page = new Page({ app: true });
  const waiting = page.run("WL.Client.pinTrustedCertificatePublicKey('a')");
  page.run('window.keypinBridge').refuse('a stranger was here');
  const { failure } = await outcome(waiting);
  assert.deepEqual([failure.errorCode, failure.errorMsg], ['BRIDGE_MISSING', 'a stranger was here']);
  const next = page.run("WL.Client.pinTrustedCertificatePublicKey('a')");
  assert.equal(await rejected(next), 'BRIDGE_MISSING');
  assert.deepEqual(page.calls, []);
});

test('no call stays without an end', async () => {
  const page = await Page.connected();
  const request = page.run("new WLResourceRequest('/x', 'GET', {timeout: 1000}).send()");
  const pin = page.run("WL.Client.pinTrustedCertificatePublicKey('a')");
  const endless = page.run("new WLResourceRequest('/x', 'GET', {timeout: 1e300}).send()");
  await page.clock.advance(30999);
  assert.equal(await outcome(request), 'pending');
  await page.clock.advance(1);
  assert.equal(await rejected(request), 'REQUEST_TIMEOUT');
  await page.clock.advance(30000);
  assert.equal(await rejected(pin), 'REQUEST_TIMEOUT');
  assert.equal(await outcome(endless), 'pending');
  await page.clock.advance(2 ** 31);
  assert.equal(await rejected(endless), 'REQUEST_TIMEOUT');
});

test('a call that cannot be passed on is rejected', async () => {
  const page = await Page.connected();
  page.hear = () => {
    throw new Error('gone');
  };
  assert.equal(await rejected(page.run("WL.Client.pinTrustedCertificatePublicKey('a')")), 'BRIDGE_MISSING');
});

test("functions of the app's own are called with the page's key, and answered like all else", async () => {
  const page = new Page({ app: true });
  const early = page.run('pywebview').api.add(1, 2); // pywebview's own way, before the key is there
  assert.deepEqual(page.calls.map((call) => [call.key, call.id]), [['7', undefined]]);
  page.calls.pop();
  await page.connect();
  page.answers = (call) =>
    call.arguments.length ? { ok: true, value: [3] } : { ok: false, raised: { name: 'TypeError', message: 'alas' } };
  const right = page.run('pywebview').api.add(1, 2);
  assert.deepEqual(await outcome(right), { value: [3] });
  const { failure } = await outcome(page.run('pywebview').api.add());
  assert.deepEqual(failure, { name: 'TypeError', message: 'alas', stack: '' });
  assert.equal(page.calls[0].key, 'key');
  assert.match(page.calls[0].id, /^[0-9]{40}$/);
  assert.equal(await outcome(early), 'pending');
});

test('a function that was called under another key is answered that there is no answer', async () => {
  const page = await Page.connected();
  const call = page.run('pywebview').api.add(1, 2);
  call.catch(() => undefined); // looked at below
  await page.connect('new key');
  assert.equal((await outcome(call)).failure.name, 'BRIDGE_MISSING');
  const again = page.run('pywebview').api.add(1, 2);
  again.catch(() => undefined);
  page.run('window.keypinBridge').refuse('a stranger was here');
  assert.equal((await outcome(again)).failure.message, 'a stranger was here');
});

test("what nobody answers goes with the page's key, too, and nowhere without one", async () => {
  const page = new Page({ app: true });
  page.run('window.keypinBridge').refuse('no');
  page.run('pywebview')._jsApiCallback('pywebviewMoveWindow', [1, 2], 'move');
  assert.deepEqual(page.calls, []);
  await page.connect();
  page.run('pywebview')._jsApiCallback('pywebviewMoveWindow', [1, 2], 'move');
  page.run('alert')('hello');
  assert.deepEqual(page.calls.map((call) => [call.operation, call.key, call.id]), [
    ['pywebviewMoveWindow', 'key', 'move'],
    ['_pywebviewAlert', 'key', '0'],
  ]);
});

test("a new window.pywebview sends by the page's key, as the first one did", async () => {
  const page = await Page.connected(OK);
  page.window.pywebview = page.pywebview();
  await page.connect('new key');
  assert.deepEqual(await outcome(page.run('pywebview').api.add(1)), { value: null });
  assert.equal(page.calls[0].key, 'new key');
});

test('a call that crossed with a new key is made again, and only then', async () => {
  const page = await Page.connected();
  const call = page.run("WL.Client.pinTrustedCertificatePublicKey('a')");
  await page.connect('new key');
  const stale = { ok: false, errorCode: 'BRIDGE_MISSING', errorMsg: 'stale' };
  page.answer(page.calls[0], stale);
  assert.equal(await outcome(call), 'pending');
  assert.deepEqual(page.calls.map((one) => one.key), ['key', 'new key']);
  assert.deepEqual(page.calls[1].arguments, page.calls[0].arguments);
  page.answer(page.calls[1], stale);
  assert.equal(await rejected(call), 'BRIDGE_MISSING');
});

test('of two keys that arrive in the wrong order the later one stays', async () => {
  const page = await Page.connected();
  await page.connect('third', 3);
  await page.connect('second', 2);
  page.run("WL.Client.pinTrustedCertificatePublicKey('a')").catch(() => undefined);
  assert.equal(page.calls[0].key, 'third');
});

test('a page tells which calls it waits for', async () => {
  const page = await Page.connected();
  page.run("WL.Client.pinTrustedCertificatePublicKey('a')").catch(() => undefined);
  const awaits = page.run('window.keypinBridge.awaits');
  assert.deepEqual([awaits(page.calls[0].id), awaits('7')], [true, false]);
});

test('an answer that nobody waits for changes nothing', async () => {
  const page = await Page.connected(OK);
  page.answer({ id: 'never asked' }, OK);
  const call = page.run("WL.Client.pinTrustedCertificatePublicKey('a')");
  assert.deepEqual(await outcome(call), { value: null });
  page.answer(page.calls[0], { ok: false, errorCode: 'PIN_MISMATCH', errorMsg: 'late' });
  assert.deepEqual(await outcome(call), { value: null });
});

test('the script can come twice', async () => {
  const page = await Page.connected(OK);
  page.run(require('node:fs').readFileSync(process.env.KEYPIN_JS, 'utf8'));
  const call = page.run("WL.Client.pinTrustedCertificatePublicKey('a')");
  assert.deepEqual(await outcome(call), { value: null });
});

test('what else a page has in WL stays there', () => {
  const page = new Page({ more: { WL: { App: 7 } } });
  assert.equal(page.run('WL.App'), 7);
  assert.equal(typeof page.run('WL.Client'), 'object');
});
