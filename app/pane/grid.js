/*
 * The grid: many crops of one supposed class at once; the exceptions are clicked out, one key
 * confirms the rest.
 *
 * Enter decides the whole page in one batch, recorded as mode grid. An exception goes to the single
 * queue; a digit, U or B answers for one crop. Z takes the last page back, exceptions too, and then the
 * one before. Each class is a session of its own, so that leases of one class never turn up under
 * another.
 */

const GRID_KEYS = [
  ['Enter', 'all crops that are not marked are of the class; next page'],
  ['Space', 'mark or unmark the crop as an exception; so does a click'],
  ['← ↑ → ↓', 'move from crop to crop'], ['1 … 9', 'this crop is another candidate'],
  ['0', 'this crop is none of these'], ['U', 'this crop: unsure'], ['B', 'this crop: bad or mixed mask'],
  ['H', 'hold to hide the masks'], ['Z Backspace', 'take the last page back, again for the one before'],
  ['G', 'one mask at a time'], ['?', 'this sheet'],
];

const GRID_NOTICE_MS = 15_000;
/** Beyond so many classes buttons would take the room of the crops. */
const CHIPS_MOST = 12;

class GridPane {
  /** @param {{parentElement: ShadowRoot, data: object, setTriggerValue: Function}} component */
  constructor({ parentElement, data, setTriggerValue }) {
    this.data = data;
    this.trigger = setTriggerValue;
    this.decoder = new Decoder();
    this.scheduled = 0;
    this.focused = 0;
    this.question = null;
    this.#begin(data.token);
    this.#build(parentElement);
    this.stopKeys = listenForKeys({
      press: (action, event) => this.#press(action, event),
      release: (name) => name === 'hide' && this.root.toggleAttribute('data-hide', false),
    });
    this.#start();
  }

  update({ data, setTriggerValue }) {
    this.trigger = setTriggerValue;
    this.session.update(data, setTriggerValue);
  }

  close() {
    this.stopKeys();
    this.stopFitting();
    this.#end();
    cancelAnimationFrame(this.scheduled);
    this.decoder.close();
    this.shelf.close();
    this.root.remove();
  }

  /** starting, loading, ready, empty, blocked or nocandidates. */
  get state() {
    const { pages } = this;
    if (this.session.blocked) return 'blocked';
    if (this.question?.candidates.length === 0) return 'nocandidates';
    if (!pages?.present) return pages?.drained ? 'empty' : 'starting';
    if (pages.spent) return 'empty';
    return pages.paintedAt > 0 ? 'ready' : 'loading';
  }

  /** Begin a session: one class, one client. */
  #begin(token) {
    this.pages = null;
    this.session = new Session({ ...this.data, token, mode: 'grid' }, this.trigger, {
      leases: () => this.pages?.leases ?? [],
      lost: (lease) => this.#lost(lease),
      changed: () => this.#soon(),
      result: (operation, result) => this.#result(operation, result),
    });
    this.session.question = this.question;
    this.session.expose({
      state: () => this.state,
      cells: () => this.pages?.present?.map((cell) => cell.lease) ?? [],
      marked: () => this.pages?.present?.filter((cell) => cell.answer).length ?? 0,
      pages: () => this.pages?.confirmed ?? 0,
      ahead: () => this.pages?.coming?.filter((cell) => cell.state !== 'waiting').length ?? 0,
    });
  }

  #end() {
    this.pages?.close();
    this.session.close(this.pages?.leases ?? []);
  }

  async #start() {
    const { session } = this;
    await session.loadQuestion();
    if (!session.question || session !== this.session || session.closed) return;
    this.question = session.question;
    const names = this.question.candidates.map((candidate) => candidate.name);
    const kept = recall('sessionStorage', this.#classKey());
    this.className ??= names.includes(kept) ? kept : names[0];
    this.#buildClasses();
    if (names.length === 0) return;
    await session.open(`:${this.className}`);
    if (session.closed) return;
    session.keepAlive();
    this.pages = new GridPages({
      session, decoder: this.decoder, className: this.className,
      room: () => this.board.parentNode.getBoundingClientRect(),
      makeCell: (item) => new Cell(item, (cell, event) => this.#clickCell(cell, event)),
      onShow: (cells) => this.#show(cells), onChange: () => this.#soon(),
    });
    this.pages.claim();
  }

  #classKey() {
    return `mseg-curate:class:${this.data.task}`;
  }

  // --- the page --------------------------------------------------------------------------------

  #build(parent) {
    this.shelf = new ExampleShelf(this.session.wire);
    this.notices = new Notices('Click every crop that does not show the class · Enter confirms all others · Z takes a page back · ? all keys');
    this.sheet = new Sheet(GRID_KEYS, this.shelf);
    this.status = new StatusBar({ undo: () => {}, retry: () => this.#tryAgain() });
    this.title = el('h2', { class: 'question' });
    this.classes = el('div', { class: 'class-row', role: 'group', 'aria-label': 'Class of the grid' });
    this.marks = el('div', { class: 'marks', role: 'toolbar', 'aria-label': 'Answers for the crop in focus' });
    this.board = el('div', { class: 'board', role: 'group', 'aria-label': 'Crops' });
    this.veil = el('div', { class: 'veil', role: 'status' });
    this.lookAgain = el('button', { type: 'button', class: 'primary', onclick: () => this.#tryAgain() }, 'Look again');
    this.summary = el('span', { class: 'summary', role: 'status' });
    const tool = (label, cap, shortcut, name, kind = 'tool page') => keyButton({
      label, cap, shortcut, kind, press: (event) => this.#clicked(event, () => this.#press({ name }, event)),
    });
    this.confirmButton = tool('Confirm page', '⏎', 'Enter', 'enter', 'primary');
    this.root = el(
      'div', { class: 'pane grid-pane' },
      el('div', { class: 'top' }, this.title, el(
        'div', { class: 'tools', role: 'toolbar', 'aria-label': 'Page' },
        tool('Undo page', 'Z', 'Z', 'undo'), tool('Hide masks', 'H', 'H', 'hidetoggle'),
        tool('One by one', 'G', 'G', 'grid'), tool('Keys', '?', '?', 'help'),
      )),
      this.classes,
      el('div', { class: 'board-frame' }, this.board, this.veil),
      el('div', { class: 'actions' }, this.confirmButton, this.summary, this.marks),
      this.notices.node, this.status.node, this.sheet.node,
    );
    this.board.addEventListener('focusin', (event) => this.#focusMoved(event.target));
    parent.append(this.root);
    this.stopFitting = fitHeight(this.root, parent.host ?? parent, [], () => {});
    this.render();
  }

  #buildClasses() {
    const { candidates, source_class: source } = this.question;
    refill(this.title, 'Which of these ', el('q', {}, source), ' are not ', el('strong', {}, this.className ?? '…'), '?');
    refill(this.classes, ...(candidates.length > CHIPS_MOST ? [this.#classList()] : candidates.map((one, index) => this.#chip(one, index))));
    const mark = (label, cap, shortcut, action) => keyButton({
      label, cap, shortcut, press: (event) => this.#clicked(event, () => this.#press(action, event)),
    });
    const keyed = candidates.slice(0, FIND_FROM - 1);
    this.rest = candidates.length > keyed.length ? this.#markList(candidates.slice(keyed.length)) : null;
    refill(
      this.marks, mark('Exception', '␣', 'Space', { name: 'space' }),
      ...keyed.map(({ name }, index) => mark(name, keyOf(index + 1), ariaKeyOf(index + 1), { name: 'class', position: index + 1 })),
      this.rest,
      mark('None of these', '0', '0', { name: 'none_of_these' }), mark('Unsure', 'U', 'U', { name: 'unsure' }),
      mark('Bad mask', 'B', 'B', { name: 'bad_mask' }),
    );
  }

  /** A class that the grid can hold, as a button. */
  #chip({ name, suggested }, index) {
    const known = Number.isFinite(suggested);
    return el(
      'button', {
        type: 'button', class: 'class-choice', 'aria-pressed': String(name === this.className),
        title: known ? `${name}: ${plural(suggested, 'mask')} of the task expected to be of it` : name,
        onclick: (event) => this.#clicked(event, () => this.#chooseClass(name)),
      },
      swatch(index + 1), el('span', { class: 'word' }, name), known ? el('span', { class: 'many' }, count(suggested)) : null,
    );
  }

  /** The classes as a list, where there are too many for buttons. */
  #classList() {
    const option = ({ name, suggested }) => el(
      'option', { value: name, selected: name === this.className },
      Number.isFinite(suggested) ? `${name} (${plural(suggested, 'mask')})` : name,
    );
    return el('select', {
      'aria-label': 'Class of the grid', onchange: (event) => this.#chooseClass(event.target.value),
    }, ...this.question.candidates.map(option));
  }

  /** The candidates that have no key, for the crop in focus. */
  #markList(candidates) {
    const list = el(
      'select', { 'aria-label': 'Another class for the crop in focus', 'aria-keyshortcuts': '/' },
      el('option', { value: '' }, 'Another class … ( / )'), ...candidates.map(({ name }) => el('option', { value: name }, name)),
    );
    list.addEventListener('change', () => {
      if (list.value) this.#markClass(this.session.positionOf(list.value));
      list.value = '';
      this.#focusCell(this.focused);
      this.#soon();
    });
    return list;
  }

  #soon() {
    this.scheduled ||= requestAnimationFrame(() => {
      this.scheduled = 0;
      this.render();
    });
  }

  render() {
    const { state, session } = this;
    this.root.dataset.state = state;
    const positionOf = (name) => session.positionOf(name);
    this.pages?.present?.forEach((cell, index) => {
      cell.describe(index + 1, this.className, positionOf);
      cell.node.tabIndex = index === this.focused ? 0 : -1;
    });
    this.confirmButton.disabled = state !== 'ready';
    write(this.summary, this.#summaryText());
    this.#renderVeil(state);
    this.status.render(session, positionOf);
  }

  #summaryText() {
    const open = this.pages?.open ?? [];
    if (open.length === 0) return '';
    const marked = open.filter((cell) => cell.answer).length;
    return `${plural(open.length - marked, 'crop')} as ${this.className}, ${count(marked)} marked`;
  }

  #renderVeil(state) {
    const words = {
      starting: ['Getting the crops …', ''],
      empty: [`No more crops of ${this.className}`, 'Choose another class above, or wait: looking again every ten seconds.'],
      nocandidates: ['This task has no candidates', 'The curator has to name the classes to choose from.'],
      blocked: ['Nothing can be decided here now', this.session.blocked?.message ?? ''],
    }[state];
    reveal(this.veil, Boolean(words));
    if (words) fillVeil(this.veil, words, state === 'starting' ? null : this.lookAgain);
  }

  #show(cells) {
    const inside = this.board.contains(this.board.getRootNode().activeElement) || document.activeElement === document.body;
    this.focused = 0;
    refill(this.board, ...cells.map((cell) => cell.node));
    this.board.scrollTop = 0;
    this.render();
    // Who was among the crops goes on there; who types elsewhere is left alone.
    if (inside) this.#focusCell(0);
  }

  // --- answering -------------------------------------------------------------------------------

  /** @returns {boolean} whether the key was for the pane */
  #press({ name, position }, event) {
    if (this.sheet.open) return false;
    const acts = {
      enter: () => this.#confirm(event),
      space: () => this.#mark({ op: 'except' }),
      class: () => this.#markClass(position),
      none_of_these: () => this.#mark({ op: 'decide', outcome: 'none_of_these' }),
      unsure: () => this.#mark({ op: 'decide', outcome: 'unsure' }),
      bad_mask: () => this.#mark({ op: 'decide', outcome: 'bad_mask' }),
      left: () => this.#move(-1), right: () => this.#move(1),
      up: () => this.#move(-this.#columns()), down: () => this.#move(this.#columns()),
      home: () => this.#focusCell(0), end: () => this.#focusCell(Infinity),
      hide: () => (this.root.dataset.hide = 'yes'),
      hidetoggle: () => this.root.toggleAttribute('data-hide'),
      undo: () => this.#undoPage(), grid: () => this.trigger('page', 'review'),
      find: () => this.rest?.focus(),
      help: () => this.sheet.toggle(this.question),
    };
    if (!acts[name]) return false;
    acts[name]();
    this.#soon();
    return true;
  }

  #clicked(event, act) {
    act();
    if (event.detail > 0) this.#focusCell(this.focused);
  }

  #clickCell(cell, event) {
    // Space and Enter on a crop come as keys, too: only the pointer toggles here.
    if (event.detail === 0) return;
    this.focused = this.pages.present.indexOf(cell);
    this.#mark({ op: 'except' });
    this.#soon();
  }

  /** Say something else of the crop in focus; the same twice takes it back. */
  #mark(answer) {
    const cell = this.pages?.present?.[this.focused];
    if (!cell?.open) return;
    const same = cell.answer && cell.answer.op === answer.op && cell.answer.outcome === answer.outcome && cell.answer.class_name === answer.class_name;
    cell.answer = same ? null : answer;
  }

  #markClass(position) {
    const name = this.question?.candidates[position - 1]?.name;
    const cell = this.pages?.present?.[this.focused];
    if (!name || !cell) return;
    if (name === this.className) cell.answer = null;
    else this.#mark({ op: 'decide', outcome: 'class', class_name: name });
  }

  #columns() {
    const present = this.pages?.present ?? [];
    if (present.length === 0) return 1;
    const top = present[0].node.offsetTop;
    const next = present.findIndex((cell) => cell.node.offsetTop !== top);
    return next < 0 ? present.length : next;
  }

  #move(step) {
    const to = this.focused + step;
    if (to >= 0 && to < (this.pages?.present?.length ?? 0)) this.#focusCell(to);
  }

  #focusCell(index) {
    const present = this.pages?.present ?? [];
    if (present.length === 0) return;
    this.focused = Math.max(0, Math.min(index, present.length - 1));
    present.forEach((cell, place) => (cell.node.tabIndex = place === this.focused ? 0 : -1));
    present[this.focused].node.focus();
  }

  #focusMoved(node) {
    const index = this.pages?.present?.findIndex((cell) => cell.node === node) ?? -1;
    if (index >= 0) this.focused = index;
  }

  /** Decide the whole page: the marked crops as marked, all others as the class. */
  #confirm(event) {
    const { pages, session } = this;
    const cells = pages?.open ?? [];
    if (this.state !== 'ready' || cells.length === 0) return;
    // The time of the page is shared out, so that the sum over masks is the time that was spent.
    const milliseconds = Math.max(0, Math.round((event.timeStamp - pages.paintedAt) / cells.length));
    const operations = cells.map((cell) => this.#operation(cell, milliseconds));
    session.counts.decided += operations.filter(({ op }) => op === 'decide').length;
    this.status.say(`Confirmed: ${this.#summaryText()}`);
    session.outbox.add(...operations);
    pages.confirm(operations);
  }

  #operation(cell, milliseconds) {
    const answer = cell.answer ?? { op: 'decide', outcome: 'class', class_name: this.className };
    return { ...answer, uuid: newToken(), lease: cell.lease, milliseconds };
  }

  /** Take the last page of this class back: its decisions and its exceptions. */
  #undoPage() {
    const { pages, session } = this;
    const operations = session.blocked ? null : pages?.takeBack();
    if (!operations) {
      this.notices.add('plain', 'There is no page of this class to take back; on the page Review undo goes further.', GRID_NOTICE_MS);
      return;
    }
    session.outbox.add(...operations);
    this.status.say('The last page is back.');
  }

  #chooseClass(name) {
    if (name === this.className) return;
    remember('sessionStorage', this.#classKey(), name);
    const { wire } = this.session;
    this.#end();
    refill(this.board);
    this.className = name;
    this.#begin(wire.token);
    this.shelf.wire = this.session.wire;
    this.#start();
    this.#soon();
  }

  // --- what the server says --------------------------------------------------------------------

  #result(operation, result) {
    const refused = result.status === 'refused';
    if (operation.op === 'undo') this.#broughtBack(operation, result);
    else if (refused) this.pages?.forget(operation);
    if (refused && !result.quiet) this.notices.add('bad', `Not stored: ${result.message}`);
    if (refused && ['paused', 'task_closed'].includes(result.reason)) this.session.block(result);
    this.#soon();
  }

  /** A crop of a page that was taken back is here again, or the server says why not. */
  #broughtBack({ lease }, { status, item, message }) {
    if (item) return this.pages?.bring(lease, item);
    if (status !== 'refused') this.notices.add('plain', `Taken back, but not shown again: ${message}`, GRID_NOTICE_MS);
    return this.#lost(lease);
  }

  #lost(lease) {
    this.pages?.lose(lease);
    this.#soon();
  }

  #tryAgain() {
    this.session.blocked = null;
    this.session.outbox?.retry();
    if (this.pages) this.pages.again();
    else this.#start();
    this.#soon();
  }
}

/** One pane per place in the page: Streamlit calls again whenever its data change. */
const gridPanes = new WeakMap();

export default function mountGrid(component) {
  const { parentElement, data } = component;
  const place = `${data.person}|${data.task}|${data.base}`;
  const known = gridPanes.get(parentElement);
  if (known?.place === place) known.pane.update(component);
  else {
    known?.pane.close();
    gridPanes.set(parentElement, { place, pane: new GridPane(component) });
  }
  return () => {
    gridPanes.get(parentElement)?.pane.close();
    gridPanes.delete(parentElement);
  };
}
