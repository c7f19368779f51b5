/*
 * The review pane: one mask on the stage, one key, the next mask in the same frame.
 *
 * The pane owns the queue, the keyboard and the outbox; Streamlit only gives it a token and a place.
 * A digit counts once the present mask has been painted, that is, drawn on the canvas and one
 * animation frame later: nobody can answer what they have not seen. In mode adjudication the
 * earlier votes are shown once the choice is stored, and the adjudicator goes on or chooses again.
 */

const OPACITY_STEP = 0.15;
const FEEDBACK_MS = 15_000;

class ReviewPane {
  /** @param {{parentElement: ShadowRoot, data: object, setTriggerValue: Function}} component */
  constructor({ parentElement, data, setTriggerValue }) {
    this.session = new Session(data, setTriggerValue, {
      leases: () => this.#openLeases(),
      lost: (lease) => this.#lost(lease),
      changed: () => this.#soon(),
      result: (operation, result) => this.#result(operation, result),
    });
    this.adjudicating = data.mode === 'adjudication';
    this.decoder = new Decoder();
    this.queue = null;
    this.verdict = null;
    /** The entry on the stage, when it was painted (0: not yet), and the key that asked for it. */
    this.shown = null;
    this.paintedAt = 0;
    this.pressedAt = 0;
    this.scheduled = 0;
    this.page = new ReviewPage(parentElement, this.session, {
      press: (action, event) => this.#press(action, event), undo: (uuid) => this.#undo(uuid),
      flag: (comment) => this.#flag(comment), retry: () => this.#tryAgain(),
    });
    this.stage = this.page.stage;
    this.render();
    this.stopKeys = listenForKeys({
      press: (action, event) => this.#press(action, event),
      release: (name) => name === 'hide' && this.#unhide(),
    });
    this.session.expose({
      state: () => this.state,
      current: () => (this.paintedAt ? this.shown.lease : ''),
      ahead: () => this.queue?.ahead.filter((entry) => entry.picture).length ?? 0,
    });
    this.#start();
  }

  update({ data, setTriggerValue }) {
    this.session.update(data, setTriggerValue);
  }

  close() {
    this.stopKeys();
    cancelAnimationFrame(this.scheduled);
    const leases = this.#openLeases();
    this.queue?.close();
    this.decoder.close();
    this.session.close(leases);
    this.page.close();
  }

  /** starting, ready, loading, empty, blocked, nocandidates or verdict. */
  get state() {
    if (this.session.blocked) return 'blocked';
    if (this.verdict) return 'verdict';
    if (this.session.question?.candidates.length === 0) return 'nocandidates';
    if (this.paintedAt) return 'ready';
    if (this.queue?.empty) return 'empty';
    return this.queue && this.session.counts.painted.length > 0 ? 'loading' : 'starting';
  }

  async #start() {
    const { session } = this;
    await session.open();
    if (session.closed) return;
    this.#load();
    this.queue = new MaskQueue({
      wire: session.wire, decoder: this.decoder, task: session.task, mode: session.mode,
      client: session.identity.client, spoken: () => session.spoken,
      onChange: () => this.#refresh(), onBlocked: (error) => session.block(error),
    });
    this.queue.fill();
  }

  async #load() {
    const { session } = this;
    await Promise.all([session.loadQuestion(), session.loadRecent().catch(() => {})]);
    if (session.question && !session.closed) session.keepAlive();
  }

  /** Write the words of the page anew, once per frame. */
  #soon() {
    this.scheduled ||= requestAnimationFrame(() => {
      this.scheduled = 0;
      this.render();
    });
  }

  render() {
    this.page.render(this.state, { verdict: this.verdict, failed: this.queue?.current?.failed ?? '' });
  }

  // --- showing ---------------------------------------------------------------------------------

  /** Bring the stage up to date with the queue. */
  #refresh() {
    const entry = this.queue?.current ?? null;
    const drawn = this.stage.picture !== null;
    if (entry !== this.shown || (entry?.picture && !drawn)) this.#show(this.pressedAt);
    else this.#soon();
  }

  /** Draw the current mask at once; it counts as painted one frame later. */
  #show(pressed) {
    const entry = this.queue.current;
    this.shown = entry;
    this.paintedAt = 0;
    this.pressedAt = pressed;
    if (!entry?.picture) {
      this.stage.clear();
      return this.#soon();
    }
    this.stage.show(entry.picture, entry.item);
    requestAnimationFrame(() => this.#painted(entry));
    return undefined;
  }

  #painted(entry) {
    if (this.shown !== entry || !entry.picture) return;
    this.paintedAt = this.session.countPainted(entry.lease, this.pressedAt);
    this.pressedAt = 0;
    this.render();
  }

  // --- answering -------------------------------------------------------------------------------

  /** @returns {boolean} whether the key was for the pane */
  #press({ name, position }, event) {
    if (this.page.sheet.open) return false;
    const acts = {
      class: () => this.#choose(position, event),
      none_of_these: () => this.#decide('none_of_these', '', event),
      unsure: () => this.#decide('unsure', '', event),
      bad_mask: () => this.#decide('bad_mask', '', event),
      space: () => (this.verdict ? this.#goOn(event) : this.#skip(event)),
      skip: () => this.#skip(event),
      enter: () => this.verdict && this.#goOn(event),
      undo: () => this.#undo(),
      hide: () => this.stage.adjust({ hidden: true }),
      hidetoggle: () => this.stage.adjust({ hidden: !this.stage.look.hidden }),
      fainter: () => this.#fade(-OPACITY_STEP),
      stronger: () => this.#fade(OPACITY_STEP),
      contour: () => this.stage.adjust({ contourOnly: !this.stage.look.contourOnly }),
      view: () => this.stage.adjust({ whole: !this.stage.look.whole }),
      nearer: () => this.stage.zoom(1.25),
      farther: () => this.stage.zoom(0.8),
      grid: () => !this.adjudicating && this.session.trigger('page', 'grid'),
      flag: () => this.#openFlag(),
      find: () => this.page.rail.find(),
      help: () => this.page.sheet.toggle(this.session.question),
    };
    if (!acts[name]) return false;
    acts[name]();
    this.#soon();
    return name !== 'enter' || this.verdict !== null;
  }

  #choose(position, event) {
    const candidate = this.session.question?.candidates[position - 1];
    // On some keyboards / is Shift and a digit.
    if (candidate) this.#decide('class', candidate.name, event);
    else if (event.key === '/') this.page.rail.find();
  }

  #mayDecide() {
    return this.paintedAt > 0 && !this.verdict && !this.session.blocked && this.shown === this.queue.current;
  }

  #decide(outcome, className, event) {
    if (!this.#mayDecide()) return;
    const entry = this.shown;
    const milliseconds = Math.max(0, Math.round(event.timeStamp - this.paintedAt));
    const operation = { op: 'decide', uuid: newToken(), lease: entry.lease, outcome, milliseconds };
    if (outcome === 'class') operation.class_name = className;
    if (this.adjudicating) this.#await(operation, entry);
    else this.#next(event);
    this.session.counts.decided += 1;
    this.session.note({ uuid: operation.uuid, outcome, class_name: className, entry });
    this.session.outbox.add(operation);
    this.queue.fill();
    this.#tell(outcome, className);
  }

  #next(event) {
    this.queue.advance();
    this.#show(event.timeStamp);
  }

  #skip(event) {
    const entry = this.queue?.current;
    const stuck = entry?.failed && !this.session.blocked;
    if (!this.#mayDecide() && !stuck) return;
    this.#next(event);
    this.session.outbox.add({ op: 'skip', uuid: newToken(), lease: entry.lease });
    this.queue.fill();
    this.page.status.say('Skipped');
  }

  #openFlag() {
    // The comment belongs to the mask that was on the stage when the field was opened.
    this.flagged = this.paintedAt || this.shown?.failed ? this.shown.lease : '';
    if (this.flagged) this.page.flag.open();
  }

  #flag(comment) {
    this.session.outbox.add({ op: 'flag', uuid: newToken(), lease: this.flagged, comment });
    this.page.notices.add('good', 'Your comment goes to the curator.', FEEDBACK_MS);
  }

  /** Withdraw a decision, the last one where none is named, and show its mask again. */
  async #undo(uuid, { again = true } = {}) {
    if (!this.queue || this.session.blocked) return;
    const decided = this.session.takeBack(uuid);
    if (!decided) {
      if (!again || uuid) return;
      await this.session.loadRecent().catch(() => {});
      if (this.session.history.length > 0) this.#undo(undefined, { again: false });
      else this.page.status.say('There is nothing to undo.');
      return;
    }
    if (this.verdict) this.queue.advance();
    this.verdict = null;
    const lease = newToken();
    this.session.outbox.add({ op: 'undo', uuid: newToken(), lease, of: decided.uuid });
    this.queue.putBack(lease, decided.entry);
    this.#show(0);
    this.page.status.say(`Undone: ${wordsOf(decided.outcome, decided.class_name)}`);
    this.page.flash(`↶ ${wordsOf(decided.outcome, decided.class_name)}`);
  }

  #unhide() {
    if (!this.stage.look.hidden) return;
    this.stage.adjust({ hidden: false });
    this.#soon();
  }

  #fade(step) {
    const opacity = Math.min(1, Math.max(0, this.stage.look.opacity + step));
    this.stage.adjust({ opacity, contourOnly: false });
    this.page.status.say(`Fill ${Math.round(opacity * 100)} %`);
  }

  #tell(outcome, className) {
    const words = wordsOf(outcome, className);
    this.page.status.say(words);
    this.page.flash(`✓ ${words}`);
  }

  // --- adjudication ----------------------------------------------------------------------------

  #await(operation, entry) {
    this.verdict = { entry, operation, votes: null };
  }

  #goOn(event) {
    if (!this.verdict?.votes) return;
    this.verdict = null;
    this.#next(event);
    this.queue.fill();
  }

  // --- what the server says --------------------------------------------------------------------

  #result(operation, result) {
    if (result.status === 'refused') return this.#refused(operation, result);
    if (operation.op === 'undo') this.#broughtBack(operation, result);
    if (result.feedback) this.#feedback(operation, result.feedback);
    if (this.verdict?.operation === operation) this.verdict.votes = result.votes ?? [];
    return this.#soon();
  }

  /** The mask of an undo is ours again, or has all the decisions it needs without mine. */
  #broughtBack({ lease }, { item, message }) {
    if (item) return this.queue?.confirm(lease, item);
    if (this.queue?.drop(lease)) this.page.notices.add('plain', `Taken back. ${message}`, FEEDBACK_MS);
    return this.queue?.fill();
  }

  #feedback(operation, { right, answer, note }) {
    const said = wordsOf(OUTCOME_WORDS[answer] ? answer : 'class', answer);
    const words = right ? `That one was for practice, and you are right: it is ${said}.` : `That one was for practice: it is ${said}.`;
    this.page.notices.add(right ? 'good' : 'plain', `${words} ${note ?? ''}`.trim(), FEEDBACK_MS);
  }

  #refused(operation, result) {
    if (operation.op === 'undo') this.queue?.drop(operation.lease);
    if (this.verdict?.operation === operation) {
      this.verdict = null;
      this.queue.advance();
    }
    if (!result.quiet) {
      const what = { decide: wordsOf(operation.outcome, operation.class_name), undo: 'undo' }[operation.op] ?? operation.op;
      this.page.notices.add('bad', `Not stored (${what}): ${result.message}`);
    }
    if (['paused', 'task_closed'].includes(result.reason)) this.session.block(result);
    this.#refresh();
    this.queue?.fill();
  }

  #openLeases() {
    const decided = this.verdict?.entry.lease;
    return this.queue?.leases.filter((lease) => lease !== decided) ?? [];
  }

  #lost(lease) {
    const onStage = this.shown?.lease === lease;
    if (this.queue.drop(lease) && onStage) {
      this.page.notices.add('plain', 'The time for the mask on the stage ran out; here is another one.', FEEDBACK_MS);
    }
    this.queue.fill();
  }

  #tryAgain() {
    this.session.blocked = null;
    this.session.outbox?.retry();
    if (!this.session.question) this.#load();
    this.queue?.again();
    this.#soon();
  }
}

/** One pane per place in the page: Streamlit calls again whenever its data change. */
const reviewPanes = new WeakMap();

export default function mountReview(component) {
  const { parentElement, data } = component;
  const place = `${data.person}|${data.task}|${data.mode}|${data.base}`;
  const known = reviewPanes.get(parentElement);
  if (known?.place === place) known.pane.update(component);
  else {
    known?.pane.close();
    const pane = new ReviewPane(component);
    reviewPanes.set(parentElement, { place, pane });
    // Who has just chosen a task should not have to click into the pane before its keys work.
    pane.page.focusStage();
  }
  return () => {
    reviewPanes.get(parentElement)?.pane.close();
    reviewPanes.delete(parentElement);
  };
}
