/*
 * The furniture of the panes: notices, the status bar, the rail of candidates, the hint.
 */

const NOTICES_SHOWN = 4;
const RECENT_SHOWN = 5;
const HINT_KEY = 'mseg-curate:hint';

/** Sentences that stay until they are dismissed or pushed out; never a dialog. */
class Notices {
  constructor() {
    this.node = el('div', { class: 'notices', role: 'log', 'aria-label': 'Messages' });
  }

  /**
   * Say something; the same sentence twice in a row is counted, not repeated.
   * @param {'bad'|'good'|'plain'} mood @param {string} text @param {number} [lifeMs]
   */
  add(mood, text, lifeMs = 0) {
    const first = this.node.firstChild;
    if (first?.dataset.text === text) {
      first.dataset.times = Number(first.dataset.times) + 1;
      return write(first.children[1], `${text} (${first.dataset.times} times)`);
    }
    const sign = { bad: '!', good: '✓', plain: 'i' }[mood];
    const notice = el('div', { class: `notice ${mood}`, 'data-text': text, 'data-times': 1 });
    const close = el('button', { type: 'button', class: 'close', 'aria-label': 'Dismiss', onclick: () => notice.remove() }, '×');
    notice.append(el('span', { class: 'sign', 'aria-hidden': 'true' }, sign), el('span', {}, text), close);
    this.node.prepend(notice);
    while (this.node.children.length > NOTICES_SHOWN) this.node.lastChild.remove();
    return lifeMs > 0 && setTimeout(() => notice.remove(), lifeMs);
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

  say(text) {
    write(this.live, text);
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

/** Pictures that need the token come as blobs; they are given back when the pane leaves. */
class ExampleShelf {
  /** @param {Wire} wire */
  constructor(wire) {
    this.wire = wire;
    this.urls = [];
  }

  /** @param {string} path @returns {HTMLImageElement} */
  picture(path, alt) {
    const image = el('img', { alt, loading: 'lazy', class: 'example' });
    const asked = `${path}${path.includes('?') ? '&' : '?'}px=160`;
    // The masks come first: a browser has few connections to a server.
    this.wire.blob(asked, 'low').then((blob) => {
      const url = URL.createObjectURL(blob);
      this.urls.push(url);
      image.src = url;
    }, () => image.remove());
    return image;
  }

  close() {
    for (const url of this.urls.splice(0)) URL.revokeObjectURL(url);
  }
}

/**
 * The rail: what can be answered, with the keys.
 *
 * Where the window is too low for all candidates, they are drawn closer: smaller examples, then
 * none, then names alone. A card beside the rail shows one in full while it is pointed at.
 */
class Rail {
  /** @param {{choose: (position: number, event: Event) => void, shelf: ExampleShelf,
   *          others: HTMLElement[]}} options */
  constructor({ choose, shelf, others }) {
    Object.assign(this, { choose, shelf });
    this.list = el('ol', { class: 'candidates', 'aria-label': 'Candidates' });
    this.card = el('div', { class: 'card', hidden: true, 'aria-hidden': 'true' });
    this.node = el(
      'section', { class: 'rail', 'aria-label': 'Answers' }, this.card,
      this.list, el('div', { class: 'others', role: 'group', 'aria-label': 'Other answers' }, ...others),
    );
  }

  setCandidates(candidates) {
    refill(this.list, ...candidates.map((candidate, index) => this.#candidate(candidate, index + 1)));
    this.fit();
  }

  /** Draw the candidates as large as they all fit. */
  fit() {
    const { list } = this;
    for (const density of ['roomy', 'close', 'closer', 'names']) {
      list.dataset.density = density;
      if (list.scrollHeight <= list.clientHeight + 1) return;
    }
  }

  #candidate(candidate, position) {
    const { name, definition, examples } = candidate;
    const pictures = (examples ?? []).slice(0, 3).map((path) => this.shelf.picture(path, ''));
    const button = el(
      'button',
      {
        type: 'button', class: 'candidate', 'aria-keyshortcuts': ariaKeyOf(position),
        'data-position': position, onclick: (event) => this.choose(position, event),
      },
      keycap(keyOf(position)), swatch(position),
      el(
        'span', { class: 'words' },
        el('span', { class: 'name' }, name), definition ? el('span', { class: 'definition' }, definition) : null,
      ),
      pictures.length > 0 ? el('span', { class: 'examples', 'aria-hidden': 'true' }, ...pictures) : null,
    );
    const leave = () => reveal(this.card, false);
    const enter = () => this.#showCard(candidate, pictures, button);
    for (const name of ['pointerenter', 'focus']) button.addEventListener(name, enter);
    for (const name of ['pointerleave', 'blur']) button.addEventListener(name, leave);
    return el('li', {}, button);
  }

  #showCard({ name, definition }, pictures, button) {
    if (!definition && pictures.length === 0) return;
    const copies = pictures.filter(({ src }) => src).map(({ src }) => el('img', { src, alt: '' }));
    refill(this.card, el('strong', {}, name), el('span', {}, definition ?? ''), el('div', {}, ...copies));
    const top = button.getBoundingClientRect().top - this.node.getBoundingClientRect().top;
    this.card.style.top = `${Math.max(0, Math.min(top, this.node.clientHeight - 190))}px`;
    reveal(this.card, true);
  }
}

/** Tell a newcomer the one thing to know; gone for good once dismissed. */
function hintLine(text) {
  if (recall('localStorage', HINT_KEY) === 'seen') return null;
  const line = el('p', { class: 'hint' }, el('span', {}, text));
  line.append(el('button', {
    type: 'button', class: 'close', 'aria-label': 'Dismiss the hint',
    onclick: () => {
      remember('localStorage', HINT_KEY, 'seen');
      line.remove();
    },
  }, '×'));
  return line;
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
