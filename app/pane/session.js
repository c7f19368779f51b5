/*
 * What the review pane and the grid share: one person at one task in one tab.
 *
 * It opens the outbox, loads the question, keeps the leases alive, remembers the last decisions for
 * undo, and counts what tests and benchmarks wait for (`window.__msegPane`).
 */

const HISTORY_LENGTH = 200;
const COUNTED = 2_000;
const START_AGAIN_MS = 1_000;
const RENEW_MOST_MS = 60_000;
// Who does not move for so long has left: the leases run out, and others get the masks.
const IDLE_MS = 5 * 60_000;

/** What an outcome is called. */
const OUTCOME_WORDS = {
  none_of_these: 'none of these', unsure: 'unsure', bad_mask: 'bad or mixed mask',
};

/** The words for a decision: the class, or what was said instead. */
function wordsOf(outcome, className) {
  return outcome === 'class' ? className : OUTCOME_WORDS[outcome] ?? outcome;
}

/**
 * @typedef {{uuid: string, outcome: string, class_name: string, entry: object|null}} Decided
 */
class Session {
  /**
   * @param {{token: string, base?: string, task: string, mode: string, person?: string}} data
   * @param {(name: string, value: unknown) => void} trigger tells Streamlit
   * @param {{leases: () => string[], lost: (lease: string) => void, changed: () => void,
   *          result: (operation: object, result: object) => void, leaving?: () => void}} hooks
   */
  constructor(data, trigger, hooks) {
    Object.assign(this, { trigger, hooks });
    this.task = data.task;
    this.mode = data.mode;
    this.person = String(data.person ?? '');
    this.givenToken = data.token;
    this.question = null;
    this.counted = null;
    this.since = 0;
    /** @type {Decided[]} oldest first */
    this.history = [];
    /** Operations and leases that a refusal took with it. */
    this.voided = new Set();
    this.counts = { painted: [], keyToPaint: [], decided: 0, refused: 0 };
    this.blocked = null;
    this.waitingForToken = false;
    this.closed = false;
    this.active = Date.now();
    this.wire = new Wire(data.base ?? '', data.token, {
      askToken: () => this.trigger('token', Date.now()),
      onAnswer: (answer) => this.#answered(answer),
      onWaiting: (waiting) => this.#waiting(waiting),
    });
  }

  /** The page ran again: a new token may have come. */
  update(data, trigger) {
    this.trigger = trigger;
    if (data.token === this.givenToken) return;
    this.givenToken = data.token;
    this.wire.setToken(data.token);
  }

  /** Open the outbox; returns when operations can be added and masks claimed. */
  async open(part = '') {
    await Session.leaving;
    this.identity = await takeIdentity(`${this.person}|${this.task}|${this.mode}${part}`);
    this.outbox = new Outbox({
      wire: this.wire, identity: this.identity, person: this.person, task: this.task,
      onResult: (operation, result) => this.#result(operation, result),
      onChange: () => this.hooks.changed(), onBlocked: (error) => this.block(error),
    });
    await this.outbox.open();
    this.#remind(this.outbox.pending);
    this.#listen();
  }

  /** Load the task's question; tried until the server answers. */
  async loadQuestion() {
    while (!this.closed && !this.question && !this.blocked) {
      try {
        this.question = await this.wire.get(`/review/task?task=${encodeURIComponent(this.task)}&mode=${this.mode}`);
      } catch (error) {
        if (error.kind !== 'network') this.block(error);
        else await new Promise((again) => setTimeout(again, START_AGAIN_MS));
      }
    }
    this.hooks.changed();
  }

  /** Say why nothing more can be decided here. */
  block(error) {
    this.blocked = { reason: error.reason, message: error.message };
    this.hooks.changed();
  }

  /** Remember a decision, so that undo can withdraw it. @param {Decided} decided */
  note(decided) {
    this.history.push(decided);
    if (this.history.length > HISTORY_LENGTH) this.history.shift();
  }

  /** Take a decision (the last one where none is named) out of the list. @returns {Decided|null} */
  takeBack(uuid = this.history.at(-1)?.uuid) {
    const index = this.history.findIndex((decided) => decided.uuid === uuid);
    return index < 0 ? null : this.history.splice(index, 1)[0];
  }

  /** Ask the server what I decided last: undo reaches past what this page remembers. */
  async loadRecent() {
    const { recent } = await this.wire.get(`/review/recent?task=${encodeURIComponent(this.task)}`);
    this.#recall(recent);
    this.hooks.changed();
  }

  /** Keep the leases alive from now on. */
  keepAlive() {
    const pause = Math.min(RENEW_MOST_MS, (this.question.lease_s * 1000) / 3);
    if (!this.closed) this.renewing = setInterval(() => this.#renew(), Math.max(1_000, pause));
  }

  /** The number of a candidate, from 1; 0 where the task has none of this name. */
  positionOf(name) {
    return (this.question?.candidates.findIndex((candidate) => candidate.name === name) ?? -1) + 1;
  }

  /** Leases of operations that the server has not acknowledged. */
  get promised() {
    return this.outbox.promised;
  }

  /** What a claim names beside its own leases: what must not be handed out once more. */
  get spoken() {
    return [...this.promised, ...this.identity.given];
  }

  /** Count a mask as painted. @param {number} pressed the key's time stamp, 0 where there was none */
  countPainted(lease, pressed) {
    const at = performance.now();
    this.counts.painted.push(Object.freeze({ lease, at }));
    if (this.counts.painted.length > COUNTED) this.counts.painted.shift();
    if (pressed > 0) this.counts.keyToPaint.push(at - pressed);
    if (this.counts.keyToPaint.length > COUNTED) this.counts.keyToPaint.shift();
    return at;
  }

  /** Give the tab's place up: flush, release what nobody decided, let go of the lock. */
  close(leases) {
    this.closed = true;
    clearInterval(this.renewing);
    this.stopListening?.();
    const { wire, outbox, identity } = this;
    if (!outbox) return wire.close();
    // The next pane in this page waits: the release must not hit what it claims.
    Session.leaving = (async () => {
      await outbox.close();
      const free = leases.filter((lease) => !this.promised.includes(lease));
      const given = wire.post('/review/release', { client: identity.client, held: free });
      await Promise.race([given.catch(() => {}), new Promise((done) => setTimeout(done, 1_000))]);
      wire.close();
      identity.release();
    })();
    return undefined;
  }

  /** Sentence and mood of the connection, for the status line. */
  get connection() {
    const { outbox } = this;
    const kept = outbox ? outbox.pending.length : 0;
    const keeping = outbox && !outbox.durable ? ' Leave this tab open: this browser keeps nothing.' : '';
    if (this.waitingForToken) return { mood: 'wait', text: 'Signing in again …' };
    if (outbox?.state === 'blocked') {
      return { mood: 'bad', text: `${plural(kept, 'answer')} kept in this browser. ${outbox.blockedBy}` };
    }
    if (outbox?.state === 'retrying') {
      const here = kept ? ` ${plural(kept, 'answer')} kept here;` : '';
      const why = outbox.failedBy === 'unreachable' ? 'No connection' : 'The server has a problem';
      return { mood: 'bad', text: `${why}:${here} trying again.${keeping}` };
    }
    if (kept > 0) return { mood: 'wait', text: `Saving ${kept} …${keeping}` };
    return { mood: 'good', text: `All saved${keeping ? `.${keeping}` : ''}` };
  }

  /** Publish the counters as a read-only object. @param {Object<string, () => unknown>} more */
  expose(more) {
    const { counts } = this;
    const read = {
      painted: () => Object.freeze([...counts.painted]),
      keyToPaint: () => Object.freeze([...counts.keyToPaint]),
      decided: () => counts.decided,
      refused: () => counts.refused,
      pending: () => this.outbox?.pending.length ?? 0,
      acknowledged: () => this.outbox?.acknowledged ?? 0,
      connection: () => this.connection.mood,
      client: () => this.identity?.client ?? '',
      bitmaps: () => openBitmaps.count,
      ...more,
    };
    const view = {};
    for (const [name, get] of Object.entries(read)) Object.defineProperty(view, name, { get, enumerable: true });
    Object.defineProperty(window, '__msegPane', { value: Object.freeze(view), configurable: true });
  }

  #answered(answer) {
    // After the results that came with it: they are counted in it already.
    if (answer.progress) setTimeout(() => this.#count(answer.progress));
  }

  /** Servers count now and then; what was stored since the last count is added here. */
  #count(progress) {
    const known = this.counted;
    if (!known || Object.keys(progress).some((name) => progress[name] !== known[name])) {
      this.counted = progress;
      this.since = 0;
    }
    this.hooks.changed();
  }

  /** How far the task and the person are. */
  get progress() {
    const { counted, since } = this;
    return counted && { ...counted, mine: counted.mine + since, mine_today: counted.mine_today + since };
  }

  #waiting(waiting) {
    this.waitingForToken = waiting;
    this.hooks.changed();
  }

  #result(operation, result) {
    if (this.closed) return;
    if (result.status === 'refused') this.#refused(operation, result);
    else this.since += { decide: 1, undo: -1 }[operation.op] ?? 0;
    this.hooks.result(operation, result);
  }

  /** What hangs on a refused operation cannot stand either. */
  #refused(operation, result) {
    this.counts.refused += 1;
    result.quiet = this.voided.has(operation.of) || this.voided.has(operation.lease);
    if (operation.op === 'undo') this.voided.add(operation.lease);
    if (operation.op === 'decide') this.voided.add(operation.uuid);
    this.takeBack(operation.uuid);
  }

  /** Decisions that were waiting in the outbox when the page was loaded are mine, too. */
  #remind(pending) {
    const undone = new Set(pending.map((operation) => operation.of));
    for (const { op, uuid, outcome, class_name: name } of pending) {
      if (op === 'decide' && !undone.has(uuid)) {
        this.note({ uuid, outcome, class_name: name ?? '', entry: null });
      }
    }
  }

  /** Put the server's list (newest first) before what this page knows. */
  #recall(recent) {
    const known = new Set(this.history.map((decided) => decided.uuid));
    const undone = new Set(this.outbox.pending.map((operation) => operation.of));
    const older = recent.filter(({ uuid }) => !known.has(uuid) && !undone.has(uuid));
    this.history.unshift(
      ...older.reverse().map(({ uuid, outcome, class_name: name }) => ({
        uuid, outcome, class_name: name, entry: null,
      })),
    );
  }

  async #renew() {
    const away = document.visibilityState !== 'visible' || Date.now() - this.active > IDLE_MS;
    if (away) return;
    const { client } = this.identity;
    const held = this.#free();
    this.outbox.adopt();
    if (held.length === 0) return;
    try {
      const answer = await this.wire.post('/review/renew', { client, held });
      const alive = new Set(answer.held);
      // What was decided meanwhile is no longer held and not lost.
      const now = new Set(this.hooks.leases());
      held.filter((lease) => !alive.has(lease) && now.has(lease)).forEach((lease) => this.hooks.lost(lease));
    } catch {
      // Without an answer the leases stand as they are; the next round asks again.
    }
  }

  /** Leases that no operation under way needs. @returns {string[]} */
  #free() {
    const promised = new Set(this.promised);
    return this.hooks.leases().filter((lease) => !promised.has(lease));
  }

  /** The page goes: others need not wait for the masks that nobody is deciding. */
  #giveBack() {
    const { client, place } = this.identity;
    const free = this.#free();
    // Should it be a reload, the release can come after the next page's first claim, and must not hit what that gets:
    // the next page is another client, or knows what was given back.
    if (this.promised.length === 0) forgetIdentity(place);
    else remember('sessionStorage', keyOfGiven(client), free.join());
    if (free.length > 0) this.wire.post('/review/release', { client, held: free }, { keepalive: true }).catch(() => {});
  }

  #listen() {
    // By the clock on the wall: the other one stands still while a computer sleeps. A jump of it renews once more.
    const moved = () => {
      const slept = Math.abs(Date.now() - this.active) > IDLE_MS;
      this.active = Date.now();
      if (slept) this.#renew();
    };
    const awake = () => {
      if (document.visibilityState !== 'visible') return;
      this.active = Date.now();
      this.outbox.retry();
      this.#renew();
    };
    const leave = () => {
      this.hooks.leaving?.();
      this.outbox.flush();
      this.#giveBack();
    };
    // A page that the browser had put aside has given its masks back.
    const comeBack = (event) => event.persisted && this.#free().forEach((lease) => this.hooks.lost(lease));
    const online = () => this.outbox.retry();
    for (const sign of ['keydown', 'pointermove']) window.addEventListener(sign, moved, true);
    document.addEventListener('visibilitychange', awake);
    window.addEventListener('pagehide', leave);
    window.addEventListener('pageshow', comeBack);
    window.addEventListener('online', online);
    this.stopListening = () => {
      for (const sign of ['keydown', 'pointermove']) window.removeEventListener(sign, moved, true);
      document.removeEventListener('visibilitychange', awake);
      window.removeEventListener('pagehide', leave);
      window.removeEventListener('pageshow', comeBack);
      window.removeEventListener('online', online);
    };
  }
}

/** A pane of this page that is just leaving. */
Session.leaving = Promise.resolve();
