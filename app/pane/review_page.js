/*
 * The page of the review pane: its parts, their places, and the words on them.
 *
 * It decides nothing: what is pressed goes to the pane, which says what to show.
 */

const REVIEW_KEYS = [
  ['1 … 9', 'this candidate, and on to the next mask'], ['⇧1 … ⇧9', 'candidates 10 to 18'],
  ['0', 'none of these'], ['U', 'unsure'], ['B', 'bad or mixed mask'], ['Space', 'skip'],
  ['Z Backspace', 'undo, again to go further back'], ['F', 'flag with a comment'],
  ['H', 'hold to hide the mask'], ['[ ]', 'fainter, stronger fill'], ['X', 'contour only'],
  ['V', 'crop or whole image'], ['+ −', 'zoom; the wheel zooms and dragging pans, too'],
  ['/', 'find a class by its name, where there are more than keys'], ['G', 'the grid'], ['?', 'this sheet'],
];
const EMPTY_WORDS = {
  starting: ['Getting your first masks …', ''],
  loading: ['Loading the next mask …', ''],
  empty: ['Nothing left for you here', 'All masks of this task are decided or with others. Looking again every ten seconds.'],
  nocandidates: ['This task has no candidates', 'The curator has to name the classes to choose from.'],
};
const BLOCKED_TITLES = {
  paused: 'Your reviewing is paused', task_closed: 'This task is not open', unknown_task: 'There is no such task',
  forbidden: 'This page is not open to you',
};


class ReviewPage {
  /**
   * @param {ShadowRoot} parent
   * @param {Session} session
   * @param {{press: (action: object, event: Event) => void, undo: (uuid?: string) => void,
   *          flag: (comment: string) => void, retry: () => void}} acts
   */
  constructor(parent, session, acts) {
    Object.assign(this, { session, acts });
    this.stage = new Stage({ onView: () => this.#describeView() });
    this.shelf = new ExampleShelf(session.wire);
    this.notices = new Notices('1 … 9 say what the marked region shows · 0 none of these · U unsure · Z takes an answer back · ? all keys');
    this.sheet = new Sheet(REVIEW_KEYS, this.shelf);
    this.status = new StatusBar({ undo: acts.undo, retry: acts.retry });
    this.flag = new FlagField({ send: acts.flag, left: () => this.focusStage() });
    this.rail = new Rail({
      choose: (position, event) => this.#clicked({ name: 'class', position }, event),
      shelf: this.shelf, others: this.#otherAnswers(), left: () => this.focusStage(),
    });
    this.title = el('h2', { class: 'question' });
    this.zoomText = el('span', { class: 'zoom' });
    this.veil = el('div', { class: 'veil', role: 'status' });
    this.lookAgain = el('button', { type: 'button', class: 'primary', onclick: acts.retry }, 'Look again');
    this.chip = el('div', { class: 'decided', 'aria-hidden': 'true' });
    this.votes = new Votes({
      goOn: (event) => this.#clicked({ name: 'enter' }, event),
      again: (event) => this.#clicked({ name: 'undo' }, event),
    });
    this.root = this.#arrange();
    parent.append(this.root);
    this.stopFitting = fitHeight(this.root, parent.host ?? parent, [this.stage.node], () => {
      this.stage.resize();
      this.rail.fit();
    });
  }

  close() {
    this.stopFitting();
    this.shelf.close();
    this.root.remove();
  }

  /** @param {string} state @param {{verdict: object|null, failed: string}} shown */
  render(state, { verdict, failed }) {
    const { question } = this.session;
    if (question && !this.asked) {
      this.asked = true;
      this.rail.setCandidates(question.candidates);
      refill(this.title, 'What is this ', el('q', {}, question.source_class), '?');
    }
    this.root.dataset.state = state;
    this.#renderVeil(state, failed);
    this.votes.render(verdict);
    for (const [name, button] of Object.entries(this.toggles)) {
      button.setAttribute('aria-pressed', String(this.stage.look[name]));
    }
    this.status.render(this.session, (name) => this.session.positionOf(name));
  }

  /** What was just answered, on the stage for a moment. */
  flash(words) {
    write(this.chip, words);
    this.flashing?.cancel();
    this.flashing = this.chip.animate([{ opacity: 1 }, { opacity: 1, offset: 0.6 }, { opacity: 0 }], { duration: 900 });
  }

  focusStage() {
    if (this.flag.node.hidden) this.stage.canvas.focus({ preventScroll: true });
  }

  #arrange() {
    this.stage.node.append(
      this.veil, this.chip, this.zoomText, this.votes.node, this.flag.node,
    );
    return el(
      'div', { class: 'pane review', 'data-mode': this.session.mode },
      el('div', { class: 'top' }, this.title, this.#tools()),
      el('div', { class: 'middle' }, this.stage.node, this.rail.node),
      this.notices.node, this.status.node, this.sheet.node,
    );
  }

  #otherAnswers() {
    const answer = (label, cap, shortcut, name) =>
      keyButton({ label, cap, shortcut, press: (event) => this.#clicked({ name }, event) });
    return [
      answer('None of these', '0', '0', 'none_of_these'), answer('Unsure', 'U', 'U', 'unsure'),
      answer('Bad or mixed mask', 'B', 'B', 'bad_mask'), answer('Skip', '␣', 'Space', 'skip'),
    ];
  }

  #tools() {
    const tool = (label, cap, shortcut, name, title = '') => keyButton({
      label, cap, shortcut, kind: `tool ${name}`, title, press: (event) => this.#clicked({ name }, event),
    });
    this.toggles = {
      hidden: tool('Hide', 'H', 'H', 'hidetoggle', 'Hide the mask (hold H)'),
      contourOnly: tool('Contour', 'X', 'X', 'contour'), whole: tool('Whole', 'V', 'V', 'view'),
    };
    return el(
      'div', { class: 'tools', role: 'toolbar', 'aria-label': 'View and help' },
      tool('Undo', 'Z', 'Z', 'undo'), tool('Flag', 'F', 'F', 'flag'), this.toggles.hidden,
      tool('Fainter', '[', '[', 'fainter'), tool('Stronger', ']', ']', 'stronger'),
      this.toggles.contourOnly, this.toggles.whole,
      tool('Zoom in', '+', '+', 'nearer'), tool('Zoom out', '−', '-', 'farther'),
      this.session.mode === 'adjudication' ? null : tool('Grid', 'G', 'G', 'grid'), tool('Keys', '?', '?', 'help'),
    );
  }

  /** After a mouse click the focus returns to the stage, so that Space skips and does not repeat. */
  #clicked(action, event) {
    this.acts.press(action, event);
    if (event.detail > 0) this.focusStage();
  }

  #renderVeil(state, failed) {
    const shown = failed || !['ready', 'verdict'].includes(state);
    reveal(this.veil, shown);
    if (!shown) return;
    let [title, text] = EMPTY_WORDS[state] ?? ['', ''];
    if (state === 'blocked') {
      title = BLOCKED_TITLES[this.session.blocked.reason] ?? 'Nothing can be decided here now';
      text = this.session.blocked.message;
    } else if (failed) {
      title = 'This picture cannot be shown';
      text = `${failed} Space skips it, F tells the curator.`;
    }
    const idle = state === 'blocked' || state === 'empty';
    fillVeil(this.veil, [title, text], idle ? this.lookAgain : null);
  }

  #describeView() {
    const { item, picture, look, magnification } = this.stage;
    if (!picture) return write(this.zoomText, '');
    const view = look.whole ? 'whole image' : 'crop';
    write(this.zoomText, `${view} · ${magnification.toFixed(1)}× · ${count(item.area_px)} px`);
    const box = item.box.join(', ');
    return this.stage.canvas.setAttribute('aria-label', `Photo with one marked region: ${view}, box ${box}, ${count(item.area_px)} pixels`);
  }
}
