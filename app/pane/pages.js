/*
 * The pages of the grid: the one that is looked at, the next one, and those that undo can bring back.
 *
 * A page is leased together and drawn crop by crop; the next page is drawn while the present one is
 * looked at. It belongs to one session, that is, to one class. What was said of a page is kept in
 * sessionStorage, so that undo reaches every page of this tab, past a reload too.
 */

const CELLS_LEAST = 24;
const CELLS_MOST = 48;
const CELL_WIDTH_PX = 152;
const CELL_HEIGHT_PX = 128;
const CROP_PX = 192;
const CELL_LOADS_AT_ONCE = 3;
/** Pages whose crops stay drawn for undo, and pages that undo reaches: their leases must fit into one request. */
const PAGES_DRAWN = 2;
const PAGES_KEPT = 24;
const GRID_POLL_MS = 10_000;
const CLAIM_AGAIN_MS = 1_500;

/** As many crops as fit into a room, 24 to 48, in whole rows. */
function pageSize({ width, height }) {
  const columns = Math.max(1, Math.floor(width / CELL_WIDTH_PX));
  const rows = Math.max(1, Math.floor(height / CELL_HEIGHT_PX));
  const whole = Math.ceil(Math.max(columns * rows, CELLS_LEAST) / columns) * columns;
  return Math.min(CELLS_MOST, whole);
}

/** What an undo names: a decision by its uuid, an exception by the lease under which it was made. */
function nameOf({ op, uuid, lease }) {
  return op === 'except' ? lease : uuid;
}

class GridPages {
  /**
   * @param {{session: Session, decoder: Decoder, className: string, room: () => DOMRect,
   *          makeCell: (item: object) => Cell, onShow: (cells: Cell[]) => void,
   *          onChange: () => void}} options
   */
  constructor(options) {
    Object.assign(this, options);
    /** @type {Cell[]|null} */
    this.present = null;
    /** @type {Cell[]|null} */
    this.coming = null;
    /** Pages that an undo pushed aside. @type {Cell[][]} */
    this.later = [];
    /**
     * Confirmed pages, oldest first: what was said of each crop, and the crops while they are drawn.
     * @type {{said: {of: string, answer: object|null}[], cells: Cell[]|null}[]}
     */
    this.past = this.#recall();
    /** When the last crop of the page was painted; 0 before. */
    this.paintedAt = 0;
    this.confirmed = 0;
    this.drained = false;
    this.claiming = false;
    this.timer = 0;
    this.loads = new Loader(CELL_LOADS_AT_ONCE);
  }

  /** Leases of crops that nobody has decided yet. */
  get leases() {
    return this.#cells().filter((cell) => cell.state !== 'gone').map((cell) => cell.lease);
  }

  /** Crops of the page that can be decided. */
  get open() {
    return this.present?.filter((cell) => cell.open) ?? [];
  }

  /** Whether a page is there of which nothing is left. */
  get spent() {
    return Boolean(this.present?.every((cell) => cell.state === 'gone'));
  }

  /** Ask for the page that is missing, the present one or the next. */
  async claim() {
    const { session } = this;
    if (this.claiming || session.closed || session.blocked || (this.present && this.coming)) return;
    this.claiming = true;
    clearTimeout(this.timer);
    const pause = await this.#claimOnce().catch((error) => this.#claimFailed(error));
    this.claiming = false;
    if (session.closed) return;
    if (pause > 0) this.timer = setTimeout(() => this.claim(), pause);
    else this.claim();
    this.onChange();
  }

  /** The page is decided: keep it for undo, show the next one. */
  confirm(operations) {
    const { open } = this;
    const said = operations.map((operation, index) => ({ of: nameOf(operation), answer: open[index].answer }));
    this.past.push({ said, cells: open });
    if (this.past.length > PAGES_DRAWN) this.past.at(-1 - PAGES_DRAWN).cells = null;
    if (this.past.length > PAGES_KEPT) this.past.shift();
    this.#remember();
    this.#release(this.present.filter((cell) => cell.state === 'failed'));
    this.confirmed += 1;
    this.turn();
  }

  /**
   * Bring the last page back: its crops, exceptions too, under new leases and with what was said of them.
   * @returns {object[]|null} the operations that take back what was said; null where there is no page
   */
  takeBack() {
    const page = this.past.pop();
    if (!page) return null;
    this.#remember();
    const cells = page.said.map(({ answer }, index) => {
      const cell = page.cells?.[index] ?? this.makeCell({ lease: '', box: null });
      return Object.assign(cell, { lease: newToken(), answer });
    });
    this.confirmed = Math.max(0, this.confirmed - 1);
    if (this.present) this.later.push(this.present);
    this.#show(cells);
    return cells.map(({ lease }, index) => ({ op: 'undo', uuid: newToken(), lease, of: page.said[index].of }));
  }

  /** What was said of a crop was not stored: there is nothing of it to take back. */
  forget(operation) {
    for (const page of this.past) {
      const index = page.said.findIndex(({ of }) => of === nameOf(operation));
      if (index < 0) continue;
      page.said.splice(index, 1);
      page.cells?.splice(index, 1);
    }
    this.past = this.past.filter(({ said }) => said.length > 0);
    this.#remember();
  }

  /** The server has brought a crop back: it can be drawn now. */
  bring(lease, item) {
    const cell = this.#cells().find((other) => other.lease === lease);
    if (!cell || cell.item.box) return;
    cell.item = item;
    this.#load();
  }

  /** Show the next page: one that an undo pushed aside, the one that is ready, or wait for one. */
  turn() {
    const aside = this.later.pop();
    const next = aside ?? this.coming;
    if (!aside) this.coming = null;
    this.present = null;
    if (next) this.#show(next);
    else this.onShow([]);
    this.claim();
  }

  /** A lease is lost: its crop stays in its place, but cannot be decided. */
  lose(lease) {
    const cell = this.#cells().find((other) => other.lease === lease);
    if (cell) cell.state = 'gone';
    this.#checkPainted();
  }

  #key() {
    return `mseg-curate:pages:${this.session.identity.place}`;
  }

  #remember() {
    remember('sessionStorage', this.#key(), JSON.stringify(this.past.map(({ said }) => said)));
  }

  #recall() {
    const kept = recall('sessionStorage', this.#key());
    return kept ? JSON.parse(kept).map((said) => ({ said, cells: null })) : [];
  }

  again() {
    this.drained = false;
    if (this.spent) this.turn();
    else this.claim();
  }

  close() {
    clearTimeout(this.timer);
  }

  #cells() {
    return [this.present, this.coming, ...this.later].filter(Boolean).flat();
  }

  /** @returns {Promise<number>} how long to wait before the next claim */
  async #claimOnce() {
    const { session } = this;
    const { items } = await session.wire.post('/review/claim', {
      task: session.task, count: pageSize(this.room()), mode: 'grid', class_name: this.className,
      client: session.identity.client, held: [...new Set([...this.leases, ...session.spoken])],
    });
    if (session.closed) return 0;
    const known = new Set([...this.leases, ...session.spoken]);
    const cells = items.filter((item) => !known.has(item.lease)).map((item) => this.makeCell(item));
    this.drained = cells.length === 0;
    // Masks whose decisions are on their way still count as held, and more than so many nobody is given.
    if (this.drained) return session.promised.length > 0 ? CLAIM_AGAIN_MS : GRID_POLL_MS;
    if (this.present) this.coming = cells;
    else this.#show(cells);
    this.#load();
    return 0;
  }

  #claimFailed(error) {
    if (error.kind === 'network') return CLAIM_AGAIN_MS;
    this.session.block(error);
    return 0;
  }

  #show(cells) {
    this.present = cells;
    this.paintedAt = 0;
    this.onShow(cells);
    this.#checkPainted();
  }

  /** Load the crops of this page, then of the next; those that undo has asked for once they are known. */
  #load() {
    const cells = [this.present, ...this.later.toReversed(), this.coming].filter(Boolean).flat();
    const next = cells.filter((cell) => cell.state === 'waiting' && cell.item.box && !cell.busy);
    next.slice(0, this.loads.free).forEach((cell) => this.#loadCell(cell));
  }

  async #loadCell(cell) {
    const { outcome } = await this.loads.run(cell, () => this.#drawCell(cell));
    if (this.session.closed) return;
    if (outcome === 'gone' || outcome === 'failed') cell.state = outcome;
    this.#load();
    this.#checkPainted();
    this.onChange();
  }

  async #drawCell(cell) {
    const { wire } = this.session;
    const path = `/review/lease/${cell.lease}`;
    const [crop, mask] = await Promise.all([
      wire.picture(`${path}/crop?px=${CROP_PX}`), wire.blob(`${path}/mask.png`),
    ]);
    const box = (crop.headers.get('X-Crop-Box') ?? '').split(',').map(Number);
    if (box.length !== 4 || box.some(Number.isNaN)) throw new Error('The crop came without its place.');
    const picture = await this.decoder.decodeCrop(crop.blob, mask, cell.item);
    cell.paint(picture, box);
    closePicture(picture);
  }

  /** The page counts as seen one frame after its last crop was drawn. */
  #checkPainted() {
    const { present } = this;
    if (!present || this.paintedAt || present.some((cell) => cell.state === 'waiting')) return;
    requestAnimationFrame(() => {
      if (this.present !== present || this.paintedAt) return;
      for (const cell of this.open) this.session.countPainted(cell.lease, 0);
      this.paintedAt = performance.now();
      this.onChange();
    });
  }

  /** Crops that cannot be shown are not decided: give them back. */
  #release(cells) {
    if (cells.length === 0) return;
    const { wire, identity } = this.session;
    const held = cells.map((cell) => cell.lease);
    wire.post('/review/release', { client: identity.client, held }).catch(() => {});
  }
}
