/*
 * The HTTP half: every request carries the bearer token, every failure has a kind.
 *
 * Kinds: `network` (nobody answered, or 5xx: try again), `blocked` (403, 409: say so and stop),
 * `missing` (404), `large` (413), `malformed` (422). A 401 is not a failure: the page is asked for
 * a new token and the request goes again.
 */

const REQUEST_LIMIT_MS = 20_000;
const TOKEN_AGAIN_MS = 5_000;
/** How long a picture that did not come is left alone. */
const LOAD_AGAIN_MS = 700;

class WireError extends Error {
  /** @param {string} kind @param {string} reason @param {string} message */
  constructor(kind, reason, message) {
    super(message);
    this.kind = kind;
    this.reason = reason;
  }
}

const KIND_OF_STATUS = { 403: 'blocked', 404: 'missing', 409: 'blocked', 413: 'large', 422: 'malformed' };

class Wire {
  /**
   * @param {string} base the server's base path, without a trailing slash
   * @param {string} token
   * @param {{askToken: () => void, onAnswer: (answer: object) => void,
   *          onWaiting: (waiting: boolean) => void}} hooks
   */
  constructor(base, token, hooks) {
    this.base = base.replace(/\/+$/, '');
    this.token = token;
    this.hooks = hooks;
    this.waiters = [];
    this.asking = 0;
    this.closed = false;
  }

  /** Use another token from now on; requests that waited for it go on. */
  setToken(token) {
    if (token === this.token) return;
    this.token = token;
    clearInterval(this.asking);
    this.asking = 0;
    this.hooks.onWaiting(false);
    for (const go of this.waiters.splice(0)) go();
  }

  close() {
    this.closed = true;
    clearInterval(this.asking);
    for (const go of this.waiters.splice(0)) go();
  }

  async get(path) {
    return this.#json(await this.#send(path, {}));
  }

  /** @param {object} body @param {{keepalive?: boolean}} [options] */
  async post(path, body, { keepalive = false } = {}) {
    const answer = await this.#send(path, {
      method: 'POST', body: JSON.stringify(body), keepalive, headers: { 'Content-Type': 'application/json' },
    });
    return this.#json(answer);
  }

  /** @param {'high'|'low'|'auto'} [priority] @returns {Promise<Blob>} */
  async blob(path, priority = 'auto') {
    return (await this.#send(path, { priority })).blob();
  }

  /** The response itself, for those who read its headers. */
  async respond(path) {
    return this.#send(path, {});
  }

  async #json(response) {
    const answer = await response.json().catch(() => {
      throw new WireError('network', 'unreadable', 'The answer of the server could not be read.');
    });
    if (answer.token) this.setToken(answer.token);
    this.hooks.onAnswer(answer);
    return answer;
  }

  async #send(path, options) {
    for (;;) {
      const token = this.token;
      const response = await this.#fetch(path, options, token);
      if (response.ok) return response;
      if (response.status !== 401) throw await this.#failure(response);
      if (token === this.token) await this.#freshToken();
      if (this.closed) throw new WireError('network', 'closed', 'The pane was closed.');
    }
  }

  async #fetch(path, options, token) {
    const headers = { ...options.headers, Authorization: `Bearer ${token}` };
    const signal = AbortSignal.timeout(REQUEST_LIMIT_MS);
    try {
      return await fetch(this.base + path, { ...options, headers, signal });
    } catch {
      throw new WireError('network', 'unreachable', 'The server does not answer.');
    }
  }

  async #failure(response) {
    const body = await response.json().catch(() => ({}));
    const kind = KIND_OF_STATUS[response.status] ?? 'network';
    return new WireError(kind, body.error ?? '', body.message ?? `The server said ${response.status}.`);
  }

  /** Ask the page for a token, again and again until one comes: the ask itself can be lost. */
  #freshToken() {
    if (!this.asking) {
      this.hooks.onWaiting(true);
      this.hooks.askToken();
      this.asking = setInterval(() => this.hooks.askToken(), TOKEN_AGAIN_MS);
    }
    return new Promise((go) => this.waiters.push(go));
  }
}
