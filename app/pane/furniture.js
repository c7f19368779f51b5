/*
 * The furniture of the panes: the line of messages and the status bar.
 */

const NOTICES_KEPT = 6;
const RECENT_SHOWN = 5;

/**
 * Sentences that stay until they are dismissed or pushed out; never a dialog.
 *
 * They have a line of their own, which moves nothing and hides nothing: the newest sentence stands in
 * it, and the keys while there is none. The older ones open over the page when they are asked for.
 */
class Notices {
  /** @param {string} idle what stands in the line while there is nothing to say */
  constructor(idle) {
    this.list = el('div', { class: 'notices', role: 'log', 'aria-label': 'Messages' });
    this.more = el('button', { type: 'button', class: 'small more', 'aria-expanded': 'false', onclick: () => this.#open() });
    this.node = el('div', { class: 'messages' }, el('p', { class: 'idle' }, idle), this.list, this.more);
    this.#count();
  }

  /**
   * Say something; the same sentence twice in a row is counted, not repeated.
   * @param {'bad'|'good'|'plain'} mood @param {string} text @param {number} [lifeMs]
   */
  add(mood, text, lifeMs = 0) {
    const first = this.list.firstChild;
    if (first?.dataset.text === text) {
      first.dataset.times = Number(first.dataset.times) + 1;
      return write(first.children[1], `${text} (${first.dataset.times} times)`);
    }
    const sign = { bad: '!', good: '✓', plain: 'i' }[mood];
    const notice = el('div', { class: `notice ${mood}`, 'data-text': text, 'data-times': 1 });
    const close = el('button', { type: 'button', class: 'close', 'aria-label': 'Dismiss', onclick: () => this.#remove(notice) }, '×');
    notice.append(el('span', { class: 'sign', 'aria-hidden': 'true' }, sign), el('span', { class: 'said', title: text }, text), close);
    this.list.prepend(notice);
    while (this.list.children.length > NOTICES_KEPT) this.list.lastChild.remove();
    this.#count();
    return lifeMs > 0 && setTimeout(() => this.#remove(notice), lifeMs);
  }

  #remove(notice) {
    notice.remove();
    this.#count();
  }

  #open() {
    this.node.toggleAttribute('data-open');
    this.#count();
  }

  /** The button says how many there are beside the newest, and whether that one is cut. */
  #count() {
    const older = this.list.children.length - 1;
    if (older < 0) this.node.removeAttribute('data-open');
    const open = this.node.hasAttribute('data-open');
    const said = this.list.querySelector('.said');
    const cut = said !== null && said.scrollWidth > said.clientWidth + 1;
    reveal(this.more, older > 0 || cut || open);
    write(this.more, open ? 'Less' : older > 0 ? `${older} more` : 'All of it');
    this.more.setAttribute('aria-expanded', String(open));
    this.node.toggleAttribute('data-empty', older < 0);
  }
}

/** Progress, the last five decisions, what is not acknowledged yet. */
class StatusBar {
  /** @param {{undo: (uuid: string) => void, retry: () => void}} hooks */
  constructor({ undo, retry }) {
    this.undo = undo;
    this.bar = el('progress', { 'aria-label': 'Masks of the task that are done', max: '1', value: '0' });
    this.numbers = el('span', { class: 'numbers' });
    this.recent = el('ol', { class: 'recent', 'aria-label': 'Your last decisions, newest first' });
    this.dot = el('span', { class: 'dot', 'aria-hidden': 'true' });
    this.connection = el('span', { class: 'connection-text', role: 'status' });
    this.again = el('button', { type: 'button', class: 'small', onclick: retry }, 'Try again');
    this.live = el('p', { class: 'unseen', role: 'status', 'aria-live': 'polite' });
    this.node = el(
      'div', { class: 'status' },
      el('div', { class: 'progress' }, this.bar, this.numbers),
      this.recent,
      el('div', { class: 'connection' }, this.dot, this.connection, this.again),
      this.live,
    );
    this.drawn = '';
  }

  /** @param {Session} session @param {(name: string) => number} positionOf */
  render(session, positionOf) {
    const { progress, connection, outbox } = session;
    if (progress) this.#renderProgress(progress);
    this.dot.dataset.mood = connection.mood;
    write(this.connection, connection.text);
    reveal(this.again, outbox?.state === 'blocked' || outbox?.state === 'retrying');
    this.#renderRecent(session.history.slice(-RECENT_SHOWN).reverse(), session, positionOf);
  }

  /** Have a screen reader say something; the same twice is said twice, which equal texts would not be. */
  say(text) {
    this.live.textContent = this.live.textContent === text ? `${text}\u00a0` : text;
  }

  #renderProgress({ masks, done, mine, mine_today: today, pace_per_hour: pace }) {
    this.bar.max = Math.max(1, masks);
    this.bar.value = done;
    const parts = [`${count(done)} of ${plural(masks, 'mask')} done`, `${count(mine)} by you`];
    if (today !== mine) parts.push(`${count(today)} today`);
    if (pace > 0) parts.push(`${count(pace)}/h`);
    write(this.numbers, parts.join(' · '));
  }

  #renderRecent(decisions, session, positionOf) {
    const kept = new Set(session.outbox?.pending.map((operation) => operation.uuid));
    const key = decisions.map(({ uuid }) => uuid + kept.has(uuid)).join();
    if (key === this.drawn) return;
    this.drawn = key;
    refill(this.recent, ...decisions.map((decided) => this.#chip(decided, kept, positionOf)));
  }

  #chip({ uuid, outcome, class_name: name }, kept, positionOf) {
    const words = wordsOf(outcome, name);
    const position = outcome === 'class' ? positionOf(name) : 0;
    const state = kept.has(uuid) ? ', not yet saved' : '';
    return el('li', {}, el(
      'button',
      {
        type: 'button', class: `chip ${kept.has(uuid) ? 'kept' : ''}`, title: `Undo: ${words}`,
        'aria-label': `Undo ${words}${state}`, onclick: () => this.undo(uuid),
      },
      position ? swatch(position) : null, el('span', { class: 'word' }, words), el('span', { class: 'back', 'aria-hidden': 'true' }, '↶'),
    ));
  }
}

/** Give a pane the height that is left in the window, and tell it when its parts change size. */
function fitHeight(root, host, parts, resized) {
  const fit = () => {
    const top = host.getBoundingClientRect().top + window.scrollY;
    const left = Math.max(420, window.innerHeight - Math.min(top, window.innerHeight / 2) - 12);
    root.style.setProperty('--pane-height', `${left}px`);
    resized();
  };
  const observer = new ResizeObserver(fit);
  for (const node of [host, ...parts]) observer.observe(node);
  window.addEventListener('resize', fit);
  fit();
  return () => {
    observer.disconnect();
    window.removeEventListener('resize', fit);
  };
}
