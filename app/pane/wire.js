/*
 * The HTTP half: every request carries the bearer token, every failure has a kind.
 *
 * Kinds: `network` (nobody answered, or 5xx: try again), `blocked` (403, 409: say so and stop),
 * `missing` (404), `large` (413), `malformed` (422). A 401 is not a failure: the page is asked for
 * a new token and the request goes again.
 */

const REQUEST_LIMIT_MS = 20_000;
/** A photo of some megabytes over a slow line takes its time. */
const PICTURE_LIMIT_MS = 180_000;
const TOKEN_AGAIN_MS = 5_000;

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
    return (await this.picture(path, priority)).blob;
  }

  /** A picture with the headers that came with it. @returns {Promise<{blob: Blob, headers: Headers}>} */
  async picture(path, priority = 'auto') {
    const response = await this.#send(path, { priority, limit: PICTURE_LIMIT_MS });
    const blob = await response.blob().catch(() => {
      throw new WireError('network', 'unreachable', 'The picture broke off on its way.');
    });
    // The page of a proxy or of a hotel, with status 200.
    if (!blob.type.startsWith('image/')) throw new WireError('network', 'unreadable', 'The server sent no picture.');
    return { blob, headers: response.headers };
  }

  async #json(response) {
    const answer = await response.json().catch(() => null);
    if (answer === null || typeof answer !== 'object') {
      throw new WireError('network', 'unreadable', 'The answer of the server could not be read.');
    }
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

  async #fetch(path, { limit = REQUEST_LIMIT_MS, ...options }, token) {
    const headers = { ...options.headers, Authorization: `Bearer ${token}` };
    const signal = AbortSignal.timeout(limit);
    try {
      return await fetch(this.base + path, { ...options, headers, signal });
    } catch {
      throw new WireError('network', 'unreachable', 'The server does not answer.');
    }
  }

  async #failure(response) {
    const body = (await response.json().catch(() => null)) ?? {};
    const kind = KIND_OF_STATUS[response.status] ?? 'network';
    const reason = response.status === 500 ? 'failed' : body.error ?? '';
    return new WireError(kind, reason, body.message ?? `The server said ${response.status}.`);
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
