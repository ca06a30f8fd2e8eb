/*
 * Requests behind a pin, for the pages of a pywebview window: WL.Client, WLAuthorizationManager
 * and WLResourceRequest, as the pages of hybrid apps know them. TypeScript: keypin.d.ts.
 *
 * A page either loads this file itself, or gets it from keypin.webview.expose() once it is loaded;
 * the event "keypinready" of the window tells when. Calls made before that wait for it.
 * Every function that answers later returns a Promise, and none throws: what is wrong with an
 * argument rejects the promise, too.
 */
(function () {
  'use strict';

  if (window.keypinBridge) {
    return;
  }

  const PROTOCOL = 2;
  const DEFAULT_TIMEOUT = 30000; // milliseconds, as all times here
  const GRACE = 30000; // how long after its timeout an answer may still come
  const WAIT_IN_WEBVIEW = 30000; // after the page is loaded, for Python
  const WAIT_IN_BROWSER = 3000;
  const HELLO_EVERY = 250;
  const LONGEST_TIMER = 0x7fffffff;

  const ErrorCode = Object.freeze({
    PIN_MISMATCH: 'PIN_MISMATCH',
    NOT_PINNED: 'NOT_PINNED',
    CERTIFICATE_NOT_FOUND: 'CERTIFICATE_NOT_FOUND',
    CERTIFICATE_FORMAT: 'CERTIFICATE_FORMAT',
    PLAIN_HTTP_REFUSED: 'PLAIN_HTTP_REFUSED',
    HOST_NOT_ALLOWED: 'HOST_NOT_ALLOWED',
    REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
    UNREACHABLE: 'UNREACHABLE',
    AUTHORIZATION_REFUSED: 'AUTHORIZATION_REFUSED',
    SERVER_ERROR: 'SERVER_ERROR',
    RESPONSE_TOO_LARGE: 'RESPONSE_TOO_LARGE',
    BAD_ARGUMENT: 'BAD_ARGUMENT',
    NOT_ALLOWED: 'NOT_ALLOWED',
    TOO_MANY_CALLS: 'TOO_MANY_CALLS',
    BRIDGE_MISSING: 'BRIDGE_MISSING',
    INTERNAL_ERROR: 'INTERNAL_ERROR',
  });

  // ---- what promises are settled with

  function Response(answer) {
    const headers = answer.headers || [];
    this.status = answer.status;
    this.responseText = answer.text;
    this.responseJSON = null;
    this.getHeader = function (name) {
      const wanted = String(name).toLowerCase();
      const found = headers.filter((header) => header[0].toLowerCase() === wanted);
      return found.length ? found.map((header) => header[1]).join(', ') : null;
    };
    this.getAllHeaders = function () {
      const all = {};
      headers.forEach((header) => {
        all[header[0]] = this.getHeader(header[0]);
      });
      return all;
    };
    if (/json/i.test(this.getHeader('Content-Type') || '')) {
      try {
        this.responseJSON = JSON.parse(answer.text.replace(/^\uFEFF/, '')); // some servers' mark
      } catch (notJson) {
        this.responseJSON = null;
      }
    }
  }

  class WLFailure extends Error {
    constructor(answer) {
      super(answer.errorMsg);
      Object.defineProperty(this, 'name', { value: 'WLFailure' });
      this.errorCode = answer.errorCode;
      this.errorMsg = answer.errorMsg;
      Response.call(this, {
        status: answer.status === undefined ? null : answer.status,
        text: answer.text === undefined ? null : answer.text,
        headers: answer.headers,
      });
    }
  }

  function failure(errorCode, errorMsg) {
    return new WLFailure({ errorCode: errorCode, errorMsg: errorMsg });
  }

  function badArgument(errorMsg) {
    return failure(ErrorCode.BAD_ARGUMENT, errorMsg);
  }

  // ---- the way to Python and back

  const pending = new Map(); // id -> the call that has been sent
  let waiting = []; // calls that cannot be sent yet
  let key = null; // that Python gave this page
  let greeting = 0; // which one brought it
  let connected = false;
  let refusal = null; // why there will be no connection

  // Digits, which no other page can guess: who knows the number of a call has made it.
  function newId() {
    const numbers = window.crypto.getRandomValues(new Uint32Array(4));
    return Array.from(numbers, (number) => String(number).padStart(10, '0')).join('');
  }

  // pywebview's way to send a message, for this page's window.pywebview; it throws while there is none.
  let send = () => {
    throw new Error('pywebview is not there yet');
  };

  function transmit(id, name, parameters) {
    if (window.pywebview.platform === 'qtwebengine' && !window.pywebview._QWebChannel) {
      throw new Error("Qt's channel is not open yet");
    }
    send(name, parameters, key + '.' + id);
  }

  function settle(id) {
    const call = pending.get(id);
    if (call) {
      pending.delete(id);
      clearTimeout(call.timer);
    }
    return call;
  }

  function dispatch(call) {
    const id = newId();
    call.key = key;
    if (call.patience) {
      call.timer = setTimeout(() => {
        settle(id);
        call.lost(ErrorCode.REQUEST_TIMEOUT, 'the app did not answer in time');
      }, Math.min(call.patience, LONGEST_TIMER));
    }
    pending.set(id, call);
    try {
      transmit(id, call.name, call.parameters);
    } catch (error) {
      if (settle(id)) {
        call.lost(ErrorCode.BRIDGE_MISSING, 'the app could not be reached');
      }
    }
  }

  function dismiss(errorMsg) {
    refusal = errorMsg;
    const calls = waiting;
    waiting = [];
    calls.forEach((call) => call.lost(ErrorCode.BRIDGE_MISSING, errorMsg));
  }

  let watching = false;

  function watchForBridge() {
    if (watching) {
      return;
    }
    watching = true;
    const begin = () => {
      // The engines' own ways to their program; they are there from the start.
      const inWebview = Boolean(
        window.pywebview ||
          (window.qt && window.qt.webChannelTransport) ||
          (window.chrome && window.chrome.webview) ||
          (window.webkit && window.webkit.messageHandlers) ||
          (window.external && window.external.call)
      );
      setTimeout(() => {
        if (connected || refusal !== null) {
          return;
        }
        dismiss(
          inWebview
            ? 'the app does not answer: it has not called keypin.webview.expose() for this window,' +
                ' or this is not one of its own pages'
            : 'this page is open in an ordinary browser; it needs its app, a pywebview window with' +
                ' keypin.webview.expose()'
        );
      }, inWebview ? WAIT_IN_WEBVIEW : WAIT_IN_BROWSER);
    };
    if (document.readyState === 'complete') {
      begin();
    } else {
      window.addEventListener('load', begin, { once: true });
    }
  }

  function begin(entry) {
    if (connected) {
      dispatch(entry);
    } else if (refusal !== null) {
      entry.lost(ErrorCode.BRIDGE_MISSING, refusal);
    } else {
      waiting.push(entry);
      watchForBridge();
    }
  }

  function call(operation, payload, patience) {
    return new Promise((resolve, reject) => {
      begin({
        name: 'keypin_call',
        parameters: [operation, JSON.stringify(payload)],
        patience: patience + GRACE,
        answered: (answer) => (answer.ok ? resolve(answer.value) : reject(new WLFailure(answer))),
        lost: (errorCode, errorMsg) => reject(failure(errorCode, errorMsg)),
      });
    });
  }

  // What pywebview.api's functions send, and all else of pywebview's, has to bear the page's key.
  function sendForPywebview(name, parameters, id) {
    const callbacks = (window.pywebview._returnValuesCallbacks[name] || {})[id];
    if (!callbacks) { // nobody waits for an answer, as when the window is moved
      if (key !== null) {
        send(name, parameters, key + '.' + id);
      }
      return;
    }
    const failed = (error) => {
      callbacks({ isError: true, value: JSON.stringify({ name: error.name, message: error.message, stack: '' }) });
    };
    begin({
      name,
      parameters,
      patience: 0, // a person may be asked
      answered: (answer) =>
        answer.ok
          ? callbacks({ value: JSON.stringify(answer.value) })
          : failed(answer.raised || { name: answer.errorCode, message: answer.errorMsg }),
      lost: (errorCode, errorMsg) => failed({ name: errorCode, message: errorMsg }),
    });
  }

  let adopted = null; // the window.pywebview that sends by us; a page may get a new one

  function adopt() {
    const pywebview = window.pywebview;
    if (!pywebview || !pywebview._jsApiCallback || pywebview === adopted) {
      return;
    }
    adopted = pywebview;
    const original = pywebview._jsApiCallback;
    send = (name, parameters, ticket) => original.call(pywebview, name, parameters, ticket);
    pywebview._jsApiCallback = sendForPywebview;
    if (['qtwebengine', 'gtkwebkit2'].indexOf(pywebview.platform) !== -1) {
      window.alert = (message) => sendForPywebview('_pywebviewAlert', String(message), '0');
    }
  }

  function arrived() {
    connected = true;
    const calls = waiting;
    waiting = [];
    calls.forEach(dispatch);
    window.dispatchEvent(new CustomEvent('keypinready'));
  }

  // On some engines the way to Python opens a little later than the way back: knock until heard.
  function sayHello(hello, itsKey) {
    if (key !== itsKey || !pending.has(hello)) {
      return;
    }
    try {
      transmit(hello, 'keypin_call', ['hello', '']);
    } catch (notYet) {
      // heard next time
    }
    setTimeout(() => sayHello(hello, itsKey), HELLO_EVERY);
  }

  // Calls without a timer would wait for ever for the connection that is no more.
  function forgetFunctions(errorMsg) {
    Array.from(pending).forEach(([id, call]) => {
      if (!call.patience && call.lost && call.key !== key && settle(id)) {
        call.lost(ErrorCode.BRIDGE_MISSING, errorMsg);
      }
    });
  }

  // Python calls these. They are no secret: without the key nothing can be asked.
  const bridge = Object.freeze({
    protocol: PROTOCOL,

    connect: function (newKey, number, protocol) {
      if (protocol !== PROTOCOL) {
        dismiss(
          "keypin.js and the app's keypin are of different versions: copy keypin.js again"
        );
        return;
      }
      if (number < greeting) {
        return; // a later greeting has overtaken this one
      }
      greeting = number;
      key = newKey;
      connected = false; // until this way is heard to be open
      refusal = null;
      adopt();
      forgetFunctions('the app has connected this page anew');
      const hello = newId();
      pending.set(hello, { answered: arrived, key: newKey });
      let heard = false;
      const knock = () => {
        if (!heard) {
          heard = true;
          sayHello(hello, newKey);
        }
      };
      window.addEventListener('pywebviewready', knock, { once: true });
      setTimeout(knock, 100);
    },

    refuse: function (errorMsg) {
      connected = false;
      key = null;
      adopt();
      forgetFunctions(errorMsg);
      dismiss(errorMsg);
    },

    awaits: function (id) {
      return pending.has(id);
    },

    answer: function (id, answer) {
      const call = settle(id);
      if (!call) {
        return;
      }
      if (!answer.ok && answer.errorCode === ErrorCode.BRIDGE_MISSING && call.name && key && call.key !== key) {
        begin(call); // Python has given this page a new key since
      } else {
        call.answered(answer);
      }
    },
  });

  // ---- what pages call

  function isPlainObject(value) {
    return value !== null && typeof value === 'object' && !Array.isArray(value);
  }

  function isSimple(value) {
    return ['string', 'number', 'boolean'].indexOf(typeof value) !== -1;
  }

  // Others, as FormData and Blob, would become {} without a word.
  function isForJSON(value) {
    const kind = Object.prototype.toString.call(value);
    return kind === '[object Object]' || kind === '[object Array]' || typeof value.toJSON === 'function';
  }

  function scopeOf(scope) {
    return scope === undefined || scope === null ? '' : scope;
  }

  const Client = Object.freeze({
    pinTrustedCertificatePublicKey: function (names) {
      const all = Array.isArray(names) ? names : [names];
      if (!all.length || !all.every((name) => typeof name === 'string')) {
        return Promise.reject(
          badArgument('pinTrustedCertificatePublicKey takes the name of a certificate file, or an array of them')
        );
      }
      return call('pin', { names: all }, DEFAULT_TIMEOUT);
    },
  });

  const AuthorizationManager = Object.freeze({
    obtainAccessToken: function (scope) {
      if (typeof scopeOf(scope) !== 'string') {
        return Promise.reject(badArgument('a scope is a string'));
      }
      return call('obtain', { scope: scopeOf(scope) }, DEFAULT_TIMEOUT).then((token) =>
        Object.freeze({
          id: token.id,
          value: token.value,
          scope: token.scope,
          expiresAt: token.expiresAt === null ? null : new Date(token.expiresAt),
          asAuthorizationRequestHeader: token.asAuthorizationRequestHeader,
          asFormEncodedBodyParameter: token.asFormEncodedBodyParameter,
        })
      );
    },

    clearAccessToken: function (token) {
      if (!isPlainObject(token) || typeof token.id !== 'string') {
        return Promise.reject(badArgument('clearAccessToken takes a token of obtainAccessToken'));
      }
      return call('clear', { id: token.id }, DEFAULT_TIMEOUT);
    },
  });

  const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'];

  class WLResourceRequest {
    constructor(url, method, options) {
      // MobileFirst's older form has the timeout in the place of the options.
      const more = typeof options === 'number' ? { timeout: options } : options;
      this._problem = null;
      this._query = {};
      this._headers = []; // [name, value], several of one name allowed
      this._url = typeof url === 'string' ? url.trim() : '';
      this._method = method;
      this._timeout = DEFAULT_TIMEOUT;
      this._scope = '';
      if (!this._url) {
        this._fault('a request needs a URL');
      }
      if (METHODS.indexOf(method) === -1) {
        this._fault('a method is one of ' + METHODS.join(', '));
      }
      if (more !== undefined && more !== null) {
        if (!isPlainObject(more)) {
          this._fault('options are an object: {timeout, scope}');
        } else {
          if (more.timeout !== undefined) {
            this.setTimeout(more.timeout);
          }
          this._scope = scopeOf(more.scope);
          if (typeof this._scope !== 'string') {
            this._fault('a scope is a string');
          }
        }
      }
    }

    _fault(problem) {
      this._problem = this._problem || problem;
    }

    getUrl() {
      return this._url;
    }

    getMethod() {
      return this._method;
    }

    getTimeout() {
      return this._timeout;
    }

    setTimeout(milliseconds) {
      if (typeof milliseconds === 'number' && milliseconds > 0 && isFinite(milliseconds)) {
        this._timeout = milliseconds;
      } else {
        this._fault('a timeout is a positive number of milliseconds');
      }
    }

    getQueryParameters() {
      return Object.assign({}, this._query);
    }

    getQueryString() {
      return Object.keys(this._query)
        .map((name) => encodeURIComponent(name) + '=' + encodeURIComponent(queryText(this._query[name])))
        .join('&');
    }

    setQueryParameters(parameters) {
      this._query = {};
      if (parameters === undefined || parameters === null) {
        return;
      }
      if (!isPlainObject(parameters)) {
        this._fault('query parameters are an object');
        return;
      }
      Object.keys(parameters).forEach((name) => this.setQueryParameter(name, parameters[name]));
    }

    setQueryParameter(name, value) {
      if (typeof name !== 'string' || !name || value === undefined || value === null) {
        this._fault('a query parameter has a name and a value');
        return;
      }
      Object.defineProperty(this._query, name, {
        value,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }

    getHeaders(name) {
      if (name === undefined || name === null) {
        const all = {};
        this.getHeaderNames().forEach((one) => {
          all[one] = this.getHeaders(one);
        });
        return all;
      }
      const wanted = String(name).toLowerCase();
      const found = this._headers.filter((header) => header[0].toLowerCase() === wanted);
      return found.length ? found.map((header) => header[1]) : undefined;
    }

    getHeader(name) {
      const values = this.getHeaders(String(name));
      return values === undefined ? undefined : values[0];
    }

    getAllHeaders() {
      return this.getHeaders();
    }

    getHeaderNames() {
      const names = new Map();
      this._headers.forEach((header) => {
        const folded = header[0].toLowerCase();
        if (!names.has(folded)) {
          names.set(folded, header[0]);
        }
      });
      return Array.from(names.values());
    }

    setHeaders(headers) {
      this._headers = [];
      if (headers === undefined || headers === null) {
        return;
      }
      if (!isPlainObject(headers)) {
        this._fault('headers are an object');
        return;
      }
      Object.keys(headers).forEach((name) => {
        const values = Array.isArray(headers[name]) ? headers[name] : [headers[name]];
        values.forEach((value) => this.addHeader(name, value));
      });
    }

    setHeader(name, value) {
      this.removeHeaders(name);
      this.addHeader(name, value);
    }

    addHeader(name, value) {
      if (typeof name !== 'string' || !isSimple(value)) {
        this._fault('a header has a name, and a string, a number or a boolean as its value');
        return;
      }
      this._headers.push([name, String(value)]);
    }

    removeHeaders(name) {
      const wanted = String(name).toLowerCase();
      this._headers = this._headers.filter((header) => header[0].toLowerCase() !== wanted);
    }

    send(content) {
      try {
        if (content === undefined || content === null) {
          return this._send({ kind: 'none' });
        }
        if (isSimple(content)) {
          return this._send({ kind: 'text', text: String(content) });
        }
        const text = isForJSON(content) ? JSON.stringify(content) : undefined;
        return text === undefined
          ? Promise.reject(badArgument('what is sent is a string, or a plain object or array for JSON'))
          : this._send({ kind: 'json', text });
      } catch (error) {
        return Promise.reject(badArgument('what is sent cannot be written as JSON: ' + error));
      }
    }

    sendFormParameters(parameters) {
      try {
        let fields;
        if (typeof parameters === 'string') {
          fields = Array.from(new URLSearchParams(parameters).entries());
        } else if (isPlainObject(parameters)) {
          fields = Object.keys(parameters).map((name) => [name, parameters[name]]);
        } else {
          return Promise.reject(badArgument('form parameters are an object, or a string'));
        }
        if (!fields.every((field) => isSimple(field[1]))) {
          return Promise.reject(badArgument('a form parameter is a string, a number or a boolean'));
        }
        return this._send({ kind: 'form', fields: fields.map(([name, value]) => [name, String(value)]) });
      } catch (error) {
        return Promise.reject(badArgument('form parameters cannot be read: ' + error));
      }
    }

    _send(body) {
      if (this._problem !== null) {
        return Promise.reject(badArgument(this._problem));
      }
      const query = Object.keys(this._query).map((name) => [name, queryText(this._query[name])]);
      const request = {
        url: this._url,
        method: this._method,
        timeout: this._timeout,
        scope: this._scope,
        query,
        headers: this._headers,
        body,
      };
      return call('send', request, this._timeout).then((answer) => new Response(answer));
    }
  }

  // An array or object is sent as JSON, which is how adapters take their `params`.
  function queryText(value) {
    return isSimple(value) ? String(value) : JSON.stringify(value);
  }

  METHODS.forEach((method) => {
    Object.defineProperty(WLResourceRequest, method, { value: method, enumerable: true });
  });

  Object.defineProperty(window, 'keypinBridge', { value: bridge });
  window.WL = Object.assign(window.WL || {}, { Client, ErrorCode });
  window.WLAuthorizationManager = AuthorizationManager;
  window.WLResourceRequest = WLResourceRequest;
})();
