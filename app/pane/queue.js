/*
 * The queue: masks leased ahead of the one on the stage, with their pictures.
 *
 * It holds what is ahead (the first is the one on the stage) and, for undo, what is behind. Leases
 * are claimed in small batches and their files fetched; the pictures of the next four are decoded,
 * those more than two behind are closed, so that memory stays flat however many masks pass.
 */

const LEASES_AHEAD = 10;
const CLAIM_WHEN_BELOW = 8;
const PICTURES_AHEAD = 5;
const PICTURES_BEHIND = 2;
/** Pixels that may be decoded at once beside the mask on the stage and the next: huge photos are not hoarded. */
const DECODED_MOST_PX = 60e6;
// Two files each: a browser opens six connections to a server, and decisions need free ones.
const FETCHES_AT_ONCE = 2;
const DECODES_AT_ONCE = 2;
const POLL_MS = 10_000;
const GONE_KEPT = 40;

/**
 * @typedef {{lease: string, item: object|null, files: Blob[]|null, picture: Picture|null,
 *            busy: boolean, failed: string, loads: number, dropped: boolean, confirmed: boolean}} Entry
 *   `confirmed`: the server knows the lease; after an undo it does only once it has answered
 */

/** @returns {Entry} */
function newEntry(lease, item) {
  return {
    lease, item, files: null, picture: null, busy: false, failed: '', loads: 0, dropped: false, confirmed: true,
  };
}

/** How many of the first entries, `least` to `most`, are not too much to hold decoded. */
function withinWeight(entries, most, least) {
  let weight = 0;
  let number = 0;
  while (number < Math.min(most, entries.length)) {
    weight += entries[number].item ? weightOf(entries[number].item) : 0;
    if (number >= least && weight > DECODED_MOST_PX) break;
    number += 1;
  }
  return number;
}

class MaskQueue {
  /**
   * @param {{wire: Wire, decoder: Decoder, task: string, mode: string, client: string,
   *          spoken: () => string[], onChange: (entry: Entry|null) => void,
   *          onBlocked: (error: WireError) => void}} options
   *   `spoken`: leases that the server still counts as ours and would hand out again: of operations
   *   that are not acknowledged yet, and those that were given back
   */
  constructor(options) {
    Object.assign(this, options);
    /** @type {Entry[]} */
    this.ahead = [];
    /** @type {Entry[]} */
    this.behind = [];
    this.claiming = false;
    this.drained = false;
    this.blocked = false;
    this.closed = false;
    this.failures = 0;
    this.timer = 0;
    /** Leases that were dropped lately. @type {string[]} */
    this.gone = [];
    this.fetches = new Loader(FETCHES_AT_ONCE);
    this.decodes = new Loader(DECODES_AT_ONCE);
  }

  get current() {
    return this.ahead[0] ?? null;
  }

  /** Nothing on the stage, nothing to come, as far as the server said. */
  get empty() {
    return this.drained && this.ahead.length === 0;
  }

  /** Leave the mask on the stage behind; the next one is the current one. */
  advance() {
    const entry = this.ahead.shift();
    this.behind.push(entry);
    const far = this.behind.length - withinWeight(this.behind.toReversed(), PICTURES_BEHIND, 0);
    if (far > 0) this.behind.splice(0, far).forEach((old) => this.#close(old));
    this.#look();
  }

  /** Put a mask back on the stage, under a new lease; its picture is reused while it is held. */
  putBack(lease, old) {
    const entry = newEntry(lease, old ? old.item : null);
    entry.confirmed = false;
    const held = this.behind.indexOf(old);
    if (held >= 0) {
      this.behind.splice(held, 1);
      entry.picture = old.picture;
      old.picture = null;
    }
    this.ahead.unshift(entry);
    this.#look();
    return entry;
  }

  /** The server confirmed a lease that the client made: its picture may be fetched. */
  confirm(lease, item) {
    const entry = this.ahead.find((other) => other.lease === lease);
    if (!entry) return;
    entry.item ??= item;
    entry.confirmed = true;
    this.#look();
  }

  /** Forget a mask that is no longer ours. @returns {boolean} whether it was there */
  drop(lease) {
    const entry = this.ahead.find((other) => other.lease === lease);
    if (!entry) return false;
    this.ahead = this.ahead.filter((other) => other !== entry);
    // The server may still count it as ours: without this its next answer would bring it back, in a circle.
    this.gone = [...this.gone, lease].slice(-GONE_KEPT);
    this.#close(entry);
    this.#look();
    this.onChange(entry);
    return true;
  }

  /** Ask for more masks, and for the pictures of those that come next. */
  fill() {
    this.#look();
    const lacking = this.ahead.length < CLAIM_WHEN_BELOW;
    const waiting = this.drained && this.ahead.length > 0;
    if (lacking && !waiting && !this.claiming && !this.blocked && !this.closed) this.#claim();
  }

  /** Look again after the server had nothing, or had refused. */
  again() {
    this.blocked = false;
    this.drained = false;
    this.fill();
  }

  /** Leases of masks that nobody has decided yet. */
  get leases() {
    return this.ahead.map((entry) => entry.lease);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    for (const entry of [...this.ahead, ...this.behind]) this.#close(entry);
  }

  async #claim() {
    this.claiming = true;
    clearTimeout(this.timer);
    const count = LEASES_AHEAD - this.ahead.length;
    const { task, mode, client } = this;
    const held = [...new Set([...this.leases, ...this.spoken(), ...this.gone])];
    try {
      const { items } = await this.wire.post('/review/claim', { task, count, mode, client, held });
      this.failures = 0;
      this.#take(items, count);
    } catch (error) {
      this.#claimFailed(error);
    }
    this.claiming = false;
    if (this.closed) return;
    this.onChange(null);
    if (!this.drained && this.failures === 0) this.fill();
  }

  #take(items, asked) {
    // An operation made while the claim was under way may have used a lease that comes back here.
    const known = new Set([...this.leases, ...this.spoken(), ...this.gone, ...this.behind.map(({ lease }) => lease)]);
    const fresh = items.filter((item) => !known.has(item.lease));
    this.ahead.push(...fresh.map((item) => newEntry(item.lease, item)));
    // Nothing new although something came: asking at once again would go round in circles.
    this.drained = items.length < asked || fresh.length === 0;
    if (this.drained) this.#later(POLL_MS);
    this.#look();
  }

  #claimFailed(error) {
    if (error.kind === 'blocked' || error.kind === 'missing' || error.kind === 'malformed') {
      this.blocked = true;
      if (!this.closed) this.onBlocked(error);
      return;
    }
    this.failures += 1;
    this.#later(Math.min(5_000, 250 * 2 ** this.failures));
  }

  #later(pause) {
    clearTimeout(this.timer);
    if (this.closed) return;
    this.timer = setTimeout(() => {
      this.drained = false;
      this.fill();
    }, pause);
  }

  /** Fetch and decode what comes next, first things first. */
  #look() {
    if (this.closed) return;
    const pictures = withinWeight(this.ahead, PICTURES_AHEAD, 2);
    this.ahead.forEach((entry, place) => {
      if (entry.busy || entry.picture || entry.failed || !entry.confirmed) return;
      const near = place < pictures;
      if (entry.files && near && this.decodes.free > 0) this.#decode(entry);
      if (!entry.files && this.fetches.free > 0) this.#fetch(entry);
    });
    // An undo pushed these out of reach again.
    for (const entry of this.ahead.slice(pictures + 1)) this.#close(entry, false);
  }

  #fetch(entry) {
    const path = `/review/lease/${entry.lease}`;
    return this.#work(entry, this.fetches, async () => {
      entry.files = await Promise.all([
        this.wire.blob(`${path}/photo`), this.wire.blob(`${path}/mask.png`),
      ]);
    });
  }

  #decode(entry) {
    return this.#work(entry, this.decodes, async () => {
      const picture = await this.decoder.decode(...entry.files, entry.item);
      entry.files = null;
      if (entry.dropped || this.closed) closePicture(picture);
      else entry.picture = picture;
    });
  }

  async #work(entry, loader, step) {
    const { outcome, message } = await loader.run(entry, step);
    if (this.closed) return;
    if (outcome === 'gone') this.drop(entry.lease);
    if (outcome === 'failed') entry.failed = message;
    // Of one that is gone another comes in its place.
    if (outcome === 'gone') this.fill();
    else this.#look();
    if (!entry.dropped) this.onChange(entry);
  }

  #close(entry, forever = true) {
    entry.dropped ||= forever;
    if (entry.picture) closePicture(entry.picture);
    entry.picture = null;
  }
}
