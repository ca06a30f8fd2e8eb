/* A page with keypin.js in it, and an app that hears what the page says and answers as it is told. */
'use strict';

const fs = require('node:fs');
const vm = require('node:vm');
const { webcrypto } = require('node:crypto');

const SCRIPT = fs.readFileSync(process.env.KEYPIN_JS, 'utf8');

/* Timers that only run when they are told to. */
class Clock {
  constructor() {
    this.now = 0;
    this.timers = new Map();
    this.last = 0;
  }

  set(action, delay) {
    this.last += 1;
    this.timers.set(this.last, { at: this.now + (delay || 0), action });
    return this.last;
  }

  async advance(milliseconds) {
    const end = this.now + milliseconds;
    for (;;) {
      await settled();
      const next = [...this.timers].filter(([, t]) => t.at <= end).sort((a, b) => a[1].at - b[1].at)[0];
      if (!next) {
        break;
      }
      this.timers.delete(next[0]);
      this.now = next[1].at;
      next[1].action();
    }
    this.now = end;
  }
}

function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}

class Page {
  /**
   * app: what pywebview has put into the page; undefined in an ordinary browser
   * more: other properties of the window, as the engines have them
   */
  constructor({ app, state = 'complete', more = {} } = {}) {
    this.clock = new Clock();
    this.calls = []; // {key, id, operation, arguments}
    this.answers = () => undefined; // what the app answers to a call; undefined: not yet
    this.connects = 0;
    const listeners = {};
    this.window = {
      document: { readyState: state },
      crypto: webcrypto,
      URLSearchParams,
      setTimeout: (action, delay) => this.clock.set(action, delay),
      clearTimeout: (id) => this.clock.timers.delete(id),
      CustomEvent: class {
        constructor(type) {
          this.type = type;
        }
      },
      addEventListener: (type, listener) => {
        (listeners[type] = listeners[type] || []).push(listener);
      },
      dispatchEvent: (event) => {
        this.events.push(event.type);
        (listeners[event.type] || []).forEach((listener) => listener(event));
      },
      ...more,
    };
    this.events = [];
    this.window.window = this.window;
    if (app) {
      this.window.pywebview = this.pywebview();
    }
    vm.createContext(this.window);
    this.run(SCRIPT);
  }

  run(script) {
    const result = vm.runInContext(script, this.window);
    if (result && typeof result.catch === 'function') {
      result.catch(() => undefined); // the test looks at it later
    }
    return result;
  }

  /* As pywebview's script makes it, with a function of the app's own. */
  pywebview() {
    const pywebview = {
      platform: 'gtkwebkit2',
      api: {
        add: (...numbers) =>
          new Promise((resolve, reject) => {
            pywebview._returnValuesCallbacks.add['7'] = ({ value, isError }) =>
              (isError ? reject : resolve)(JSON.parse(value));
            pywebview._jsApiCallback('add', numbers, '7');
          }),
      },
      _returnValuesCallbacks: { add: {} },
      _jsApiCallback: (name, parameters, ticket) => this.hear(name, parameters, ticket),
    };
    return pywebview;
  }

  hear(name, parameters, ticket) {
    const [key, id] = ticket.split('.');
    const pinned = name === 'keypin_call';
    const [operation, text] = pinned ? parameters : [name];
    const call = { key, id, operation, arguments: pinned ? text && JSON.parse(text) : parameters };
    if (operation !== 'hello') {
      this.calls.push(call);
    }
    const answer = operation === 'hello' ? this.greet(call) : this.answers(call);
    if (answer !== undefined) {
      setImmediate(() => this.answer(call, answer));
    }
  }

  greet() {
    return { ok: true, value: null };
  }

  answer(call, answer) {
    this.run('window.keypinBridge').answer(call.id, this.own(answer));
  }

  /* In the page's own kind of objects, as JSON.parse in the page makes them. */
  own(value) {
    return this.run(`JSON.parse(${JSON.stringify(JSON.stringify(value))})`);
  }

  async connect(key = 'key', number = (this.connects += 1), protocol = 2) {
    this.run('window.keypinBridge').connect(key, number, protocol);
    await this.clock.advance(100);
    await settled();
  }

  static async connected(answer) {
    const page = new Page({ app: true });
    if (answer) {
      page.answers = (call) => (typeof answer === 'function' ? answer(call) : answer);
    }
    await page.connect();
    return page;
  }
}

/* What a promise came to: {value}, {failure} or "pending". */
async function outcome(promise) {
  let result = 'pending';
  promise.then(
    (value) => {
      result = { value };
    },
    (failure) => {
      result = { failure };
    }
  );
  for (let i = 0; i < 5; i += 1) {
    await settled();
  }
  return result;
}

/* The errorCode with which a promise was rejected, or what else it came to. */
async function rejected(promise) {
  const result = await outcome(promise);
  return result.failure ? result.failure.errorCode : result;
}

module.exports = { Page, outcome, rejected, settled };
