/*
 * The outbox: what a person asked for, in order, kept until the server has said that it has it.
 *
 * Every operation is written to IndexedDB at the key press and removed after its answer, so that a
 * reload, a crash or a server that is away loses nothing. One batch is under way at a time, so the
 * order is kept; the server takes each uuid once, so a batch whose answer was lost does no harm.
 * Operations of a tab that died are adopted by the next tab of the same person.
 */

const BATCH_OPERATIONS = 50;
const BATCH_BYTES = 40_000;
const RETRY_FIRST_MS = 250;
const RETRY_LAST_MS = 8_000;
const OPEN_MS = 3_000;
/** Servers take no operation as older than this, whatever a clock that was set says. */
const OLDEST_S = 30 * 24 * 3600;

/** @param {IDBRequest} request */
function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** The records in IndexedDB; key [box, order]. */
class Shelf {
  static async open() {
    const request = indexedDB.open('mseg-curate', 1);
    request.onupgradeneeded = () =>
      request.result.createObjectStore('operations', { keyPath: ['box', 'order'] });
    // A browser that is short of space or shutting a profile down can leave this unanswered.
    const patience = new Promise((_, reject) => setTimeout(() => reject(new Error('IndexedDB does not answer.')), OPEN_MS));
    const shelf = new Shelf(await Promise.race([settled(request), patience]));
    shelf.database.onversionchange = () => shelf.close();
    return shelf;
  }

  constructor(database) {
    this.database = database;
  }

  async #write(work) {
    const change = this.database.transaction('operations', 'readwrite');
    work(change.objectStore('operations'));
    // Committed now and not at the next idle moment: the page may be gone by then.
    change.commit?.();
    await new Promise((resolve, reject) => {
      change.oncomplete = () => resolve();
      change.onabort = () => reject(change.error);
    });
  }

  add(records) {
    return this.#write((store) => records.forEach((record) => store.put(record)));
  }

  remove(records) {
    return this.#write((store) => records.forEach(({ box, order }) => store.delete([box, order])));
  }

  move(records, box) {
    return this.#write((store) => {
      for (const record of records) {
        store.delete([record.box, record.order]);
        store.put({ ...record, box });
      }
    });
  }

  async load(box) {
    const store = this.database.transaction('operations').objectStore('operations');
    return settled(store.getAll(IDBKeyRange.bound([box], [box, []])));
  }

  async boxes() {
    const store = this.database.transaction('operations').objectStore('operations');
    return new Set((await settled(store.getAllKeys())).map(([box]) => box));
  }

  close() {
    this.database.close();
  }
}

/**
 * @typedef {{op: string, uuid: string, lease: string, outcome?: string, class_name?: string,
 *            of?: string, comment?: string, milliseconds?: number}} Operation
 * @typedef {{box: string, order: number, client: string, at: number, operation: Operation}} Kept
 */
class Outbox {
  /**
   * @param {{wire: Wire, identity: {client: string, box: string}, person: string, task: string,
   *          onResult: (operation: Operation, result: object) => void, onChange: () => void,
   *          onBlocked: (error: WireError) => void}} options
   */
  constructor({ wire, identity, person, task, onResult, onChange, onBlocked }) {
    Object.assign(this, { wire, identity, person, task, onResult, onChange, onBlocked });
    /** @type {Kept[]} */
    this.waiting = [];
    /** @type {Kept[]} */
    this.underWay = [];
    this.acknowledged = 0;
    this.failures = 0;
    /** Why the last batch did not arrive. */
    this.failedBy = '';
    this.lastOrder = 0;
    /** idle, sending, retrying or blocked. */
    this.state = 'idle';
    this.blockedBy = '';
    this.durable = true;
    this.oneByOne = false;
    this.timer = 0;
    this.closed = false;
  }

  /** Open IndexedDB and take up what this tab, and tabs that are gone, left behind. */
  async open() {
    try {
      this.shelf = await Shelf.open();
      this.waiting = await this.shelf.load(this.identity.box);
      this.lastOrder = this.waiting.at(-1)?.order ?? 0;
    } catch {
      this.#forgetful();
      return;
    }
    await this.adopt();
  }

  /** Take over the operations of this person's tabs that no longer live. */
  async adopt() {
    if (!this.shelf || this.closed) return;
    try {
      for (const box of await this.shelf.boxes()) {
        if (box !== this.identity.box && box.startsWith(`${this.person}|`)) await this.#adoptBox(box);
      }
    } catch {
      this.#forgetful();
    }
    this.#pump();
  }

  async #adoptBox(box) {
    const release = await holdLock(lockOf(box), 0);
    if (!release) return;
    try {
      const left = await this.shelf.load(box);
      await this.shelf.move(left, this.identity.box);
      this.waiting.unshift(...left.map((record) => ({ ...record, box: this.identity.box })));
      // What is asked for from now on comes after them, even where the clock was put back.
      this.lastOrder = Math.max(this.lastOrder, ...left.map(({ order }) => order));
    } finally {
      release();
    }
  }

  /** Everything that is not acknowledged, in order. @returns {Operation[]} */
  get pending() {
    return [...this.underWay, ...this.waiting].map((record) => record.operation);
  }

  /** Leases of this tab that operations under way still use: the server counts them as ours. */
  get promised() {
    const { client } = this.identity;
    const own = [...this.underWay, ...this.waiting].filter((record) => record.client === client);
    return own.map((record) => record.operation.lease);
  }

  /** Ask for operations: kept at once, sent as soon as the ones before are answered. */
  add(...operations) {
    const records = operations.map((operation) => this.#record(operation));
    this.waiting.push(...records);
    this.shelf?.add(records).catch(() => this.#forgetful());
    this.onChange();
    this.#pump();
  }

  /** @returns {Kept} */
  #record(operation) {
    // Two presses in one clock tick still have an order.
    this.lastOrder = Math.max(wallMs(), this.lastOrder + 0.01);
    const { box, client } = this.identity;
    return { box, order: this.lastOrder, client, at: wallMs(), operation };
  }

  #forgetful() {
    this.durable = false;
    this.onChange();
  }

  /** Try again now: the network is back, a person asked for it. */
  retry() {
    this.state = this.state === 'blocked' ? 'idle' : this.state;
    this.#pump();
  }

  /** The page is going away: send what may go beside the batch that is under way. */
  flush() {
    const batch = this.#batch(this.#independent());
    if (batch.length > 0 && this.state !== 'blocked') this.flushing = this.#run(batch);
  }

  /** Leave: the rest is sent once more; what is not answered stays for the next tab. */
  async close() {
    this.flush();
    this.closed = true;
    clearTimeout(this.timer);
    const patience = new Promise((done) => setTimeout(done, 2_000));
    await Promise.race([Promise.allSettled([this.running, this.flushing]), patience]);
    this.shelf?.close();
  }

  /** Waiting operations that need no answer of those under way; they keep their order. */
  #independent() {
    const made = new Set(this.underWay.flatMap(({ operation }) => [operation.uuid, operation.lease]));
    const end = this.waiting.findIndex(
      ({ operation }) => made.has(operation.of) || made.has(operation.lease),
    );
    return end < 0 ? this.waiting : this.waiting.slice(0, end);
  }

  /** The next batch: one client, bounded in number and bytes. @returns {Kept[]} */
  #batch(records) {
    const limit = this.oneByOne ? 1 : BATCH_OPERATIONS;
    let bytes = 0;
    let end = 0;
    while (end < records.length && end < limit && records[end].client === records[0].client) {
      bytes += JSON.stringify(records[end].operation).length * 2 + 40;
      if (end > 0 && bytes > BATCH_BYTES) break;
      end += 1;
    }
    return records.slice(0, end);
  }

  #pump() {
    const idle = !this.closed && this.underWay.length === 0 && this.state !== 'blocked';
    if (!idle || this.waiting.length === 0) return;
    clearTimeout(this.timer);
    this.state = this.state === 'retrying' ? 'retrying' : 'sending';
    this.running = this.#run(this.#batch(this.waiting));
  }

  #run(batch) {
    return this.#deliver(batch).then(() => this.#delivered(), (error) => this.#failed(error));
  }

  #delivered() {
    this.failures = 0;
    this.state = 'idle';
    this.oneByOne = this.oneByOne && this.waiting.length > 0;
    this.onChange();
    this.#pump();
  }

  /** @param {Kept[]} batch */
  async #deliver(batch) {
    const chosen = new Set(batch);
    this.underWay = [...this.underWay, ...batch];
    this.waiting = this.waiting.filter((record) => !chosen.has(record));
    this.onChange();
    try {
      this.#settle(batch, await this.#post(batch));
    } catch (error) {
      this.#putBack(chosen);
      const unreadable = error.kind === 'malformed' || error.kind === 'large';
      if (unreadable && batch.length === 1) this.#refuse(batch[0], error);
      else throw error;
    }
  }

  #post(batch) {
    const operations = batch.map(({ operation, at }) => ({
      ...operation, age_s: Math.min(OLDEST_S, Math.max(0, (wallMs() - at) / 1000)),
    }));
    // keepalive: the request outlives the page if a reload comes in between.
    const body = { client: batch[0].client, task: this.task, operations };
    return this.wire.post('/review/decide', body, { keepalive: true });
  }

  /** Bring a batch that failed back to its place in the order. */
  #putBack(chosen) {
    const back = this.underWay.filter((record) => chosen.has(record));
    this.underWay = this.underWay.filter((record) => !chosen.has(record));
    this.waiting = [...back, ...this.waiting].sort((a, b) => a.order - b.order);
  }

  #settle(batch, answer) {
    const listed = Array.isArray(answer.results) ? answer.results : [];
    const results = new Map(listed.map((result) => [result.uuid, result]));
    const done = batch.filter(({ operation }) => results.has(operation.uuid));
    this.#putBack(new Set(batch.filter((record) => !done.includes(record))));
    this.underWay = this.underWay.filter((record) => !done.includes(record));
    this.acknowledged += done.length;
    this.shelf?.remove(done).catch(() => this.#forgetful());
    for (const { operation } of done) this.onResult(operation, results.get(operation.uuid));
    if (done.length < batch.length) {
      throw new WireError('network', 'unanswered', 'The server left operations unanswered.');
    }
  }

  /** An operation that the server cannot read will never be stored: say so and go on. */
  #refuse(record, error) {
    this.waiting = this.waiting.filter((other) => other !== record);
    this.shelf?.remove([record]).catch(() => this.#forgetful());
    const { uuid } = record.operation;
    this.onResult(record.operation, { uuid, status: 'refused', reason: 'invalid', message: error.message });
  }

  #failed(error) {
    if (error.kind === 'blocked') {
      this.state = 'blocked';
      this.blockedBy = error.message;
      this.onBlocked(error);
    } else {
      // One unreadable operation must not hold up the others: find it by sending them singly.
      this.oneByOne = error.kind === 'malformed' || error.kind === 'large';
      this.failures += 1;
      this.failedBy = error.reason;
      this.state = 'retrying';
      const pause = Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** (this.failures - 1));
      if (!this.closed) this.timer = setTimeout(() => this.#pump(), pause * (0.75 + Math.random() / 2));
    }
    this.onChange();
  }
}
