/*
 * The pages of the grid: the one that is looked at, the next one, and those that undo can bring back.
 *
 * A page is leased together and drawn crop by crop; the next page is drawn while the present one is
 * looked at. It belongs to one session, that is, to one class.
 */

const CELLS_LEAST = 24;
const CELLS_MOST = 48;
const CELL_WIDTH_PX = 152;
const CELL_HEIGHT_PX = 128;
const CROP_PX = 192;
const CELL_LOADS_AT_ONCE = 3;
const PAGES_KEPT = 2;
const GRID_POLL_MS = 10_000;
const CLAIM_AGAIN_MS = 1_500;

/** As many crops as fit into a room, 24 to 48, in whole rows. */
function pageSize({ width, height }) {
  const columns = Math.max(1, Math.floor(width / CELL_WIDTH_PX));
  const rows = Math.max(1, Math.floor(height / CELL_HEIGHT_PX));
  const whole = Math.ceil(Math.max(columns * rows, CELLS_LEAST) / columns) * columns;
  return Math.min(CELLS_MOST, whole);
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
    /** Confirmed pages with the operations that confirmed them. */
    this.past = [];
    /** When the last crop of the page was painted; 0 before. */
    this.paintedAt = 0;
    this.confirmed = 0;
    this.drained = false;
    this.claiming = false;
    this.timer = 0;
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
    this.past.push({ cells: this.open, operations });
    if (this.past.length > PAGES_KEPT) this.past.shift();
    this.#release(this.present.filter((cell) => cell.state === 'failed'));
    this.confirmed += 1;
    this.turn();
  }

  /**
   * Bring the last page back: its crops under new leases; exceptions are with the single queue already.
   * @returns {object[]|null} the operations that withdraw its decisions; null where there is no page
   */
  takeBack() {
    const page = this.past.pop();
    if (!page) return null;
    const undone = page.cells.filter((cell) => cell.answer?.op !== 'except');
    const operations = undone.map((cell) => {
      const of = page.operations[page.cells.indexOf(cell)].uuid;
      cell.lease = newToken();
      return { op: 'undo', uuid: newToken(), lease: cell.lease, of };
    });
    this.confirmed -= 1;
    if (undone.length > 0) {
      if (this.present) this.later.push(this.present);
      this.#show(undone);
    }
    return operations;
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
      client: session.identity.client, held: [...new Set([...this.leases, ...session.promised])],
    });
    if (session.closed) return 0;
    const known = new Set([...this.leases, ...session.promised]);
    const cells = items.filter((item) => !known.has(item.lease)).map((item) => this.makeCell(item));
    this.drained = cells.length === 0;
    if (this.drained) return GRID_POLL_MS;
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

  /** Load the crops of this page, then of the next. */
  #load() {
    const cells = [...(this.present ?? []), ...(this.coming ?? [])];
    const loading = cells.filter((cell) => cell.loading).length;
    const next = cells.filter((cell) => cell.state === 'waiting' && !cell.loading);
    next.slice(0, Math.max(0, CELL_LOADS_AT_ONCE - loading)).forEach((cell) => this.#loadCell(cell));
  }

  async #loadCell(cell) {
    cell.loading = true;
    await this.#drawCell(cell).catch((error) => this.#loadFailed(cell, error));
    cell.loading = false;
    if (this.session.closed) return;
    this.#load();
    this.#checkPainted();
    this.onChange();
  }

  async #drawCell(cell) {
    const { wire } = this.session;
    const path = `/review/lease/${cell.lease}`;
    const [crop, mask] = await Promise.all([
      wire.respond(`${path}/crop?px=${CROP_PX}`), wire.blob(`${path}/mask.png`),
    ]);
    const box = (crop.headers.get('X-Crop-Box') ?? '').split(',').map(Number);
    if (box.length !== 4 || box.some(Number.isNaN)) throw new Error('The crop came without its place.');
    const picture = await this.decoder.decodeCrop(await crop.blob(), mask, cell.item);
    cell.paint(picture, box);
    closePicture(picture);
  }

  async #loadFailed(cell, error) {
    if (error.kind === 'network') await new Promise((again) => setTimeout(again, LOAD_AGAIN_MS));
    else cell.state = error.kind && error.reason !== 'picture' ? 'gone' : 'failed';
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
