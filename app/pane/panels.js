/*
 * Panels that lie over a pane: the sheet of keys, the field for a comment, the earlier votes.
 */

/** The sheet of keys, and the candidates in full. */
class Sheet {
  /** @param {[string, string][]} keys label of the keys, what they do */
  constructor(keys, shelf) {
    this.shelf = shelf;
    this.classes = el('dl', { class: 'classes' });
    this.instructions = el('p', { class: 'instructions' });
    const printed = (key) => (key === '…' ? key : el('kbd', {}, key));
    const rows = keys.map(([cap, words]) => el(
      'div', {}, el('dt', {}, ...cap.split(' ').map(printed)), el('dd', {}, words),
    ));
    this.node = el(
      'dialog', { class: 'sheet', 'aria-label': 'Keys and classes', onkeydown: (event) => this.#key(event) },
      el('header', {}, el('h2', {}, 'Keys'), el('button', { type: 'button', class: 'close', 'aria-label': 'Close', onclick: () => this.node.close() }, '×')),
      el('dl', { class: 'keys' }, ...rows), el('h2', {}, 'Classes'), this.instructions, this.classes,
    );
    this.filled = false;
  }

  get open() {
    return this.node.open;
  }

  /** @param {object|null} question */
  toggle(question) {
    if (this.open) return this.node.close();
    if (question && !this.filled) this.#fill(question);
    return this.node.showModal();
  }

  #fill({ candidates, instructions }) {
    this.filled = true;
    write(this.instructions, instructions ?? '');
    refill(this.classes, ...candidates.flatMap(({ name, definition, examples }, index) => [
      el('dt', {}, keyOf(index + 1) ? el('kbd', {}, keyOf(index + 1)) : null, swatch(index + 1), el('span', {}, name)),
      el('dd', {}, definition || 'No definition was given.', el(
        'div', { class: 'examples' },
        ...(examples ?? []).map((path, number) => this.shelf.picture(path, `Example ${number + 1} of ${name}`)),
      )),
    ]));
  }

  #key(event) {
    event.stopPropagation();
    if (event.key === '?') this.node.close();
  }
}

/** The text field for a comment on the mask: what is typed in it decides nothing. */
class FlagField {
  /** @param {{send: (comment: string) => void, left: () => void}} hooks */
  constructor({ send, left }) {
    this.left = left;
    this.input = el('input', { type: 'text', maxlength: '500', id: 'mseg-flag', autocomplete: 'off' });
    this.node = el(
      'form', {
        class: 'flag-field', hidden: true, onkeydown: (event) => this.#key(event),
        onsubmit: (event) => {
          event.preventDefault();
          if (this.input.value.trim()) send(this.input.value.trim());
          this.close();
        },
      },
      el('label', { for: 'mseg-flag' }, 'What should the curator know about this mask?'),
      this.input,
      el('button', { type: 'submit', class: 'primary' }, 'Send', keycap('⏎')),
      el('button', { type: 'button', onclick: () => this.close() }, 'Cancel', keycap('Esc')),
    );
  }

  open() {
    this.input.value = '';
    reveal(this.node, true);
    this.input.focus();
  }

  close() {
    reveal(this.node, false);
    this.left();
  }

  #key(event) {
    if (event.key !== 'Escape') return;
    event.preventDefault();
    event.stopPropagation();
    this.close();
  }
}

/** The earlier votes on a mask, shown once the adjudicator's own choice is stored. */
class Votes {
  /** @param {{goOn: (event: Event) => void, again: (event: Event) => void}} hooks */
  constructor({ goOn, again }) {
    this.go = el('button', { type: 'button', class: 'primary', onclick: goOn }, 'Go on', keycap('⏎'));
    this.back = el('button', { type: 'button', onclick: again }, 'Choose again', keycap('Z'));
    this.node = el('section', { class: 'votes', 'aria-label': 'Earlier votes', 'aria-live': 'polite', hidden: true });
    this.drawn = '';
  }

  /** @param {{operation: object, votes: object[]|null}|null} verdict */
  render(verdict) {
    reveal(this.node, Boolean(verdict));
    const key = verdict ? verdict.operation.uuid + Boolean(verdict.votes) : '';
    if (!verdict || this.drawn === key) return;
    this.drawn = key;
    const { outcome, class_name: name } = verdict.operation;
    const mine = el('p', {}, 'You chose ', el('strong', {}, wordsOf(outcome, name ?? '')), '.');
    if (verdict.votes) refill(this.node, mine, el('h3', {}, 'Earlier votes'), this.#list(verdict.votes), el('div', { class: 'buttons' }, this.go, this.back));
    else refill(this.node, mine, el('p', {}, 'Storing it; then the earlier votes are shown.'));
  }

  #list(votes) {
    if (votes.length === 0) return el('p', {}, 'Nobody had voted on it.');
    return el('ul', {}, ...votes.map((vote) => el(
      'li', {}, el('strong', {}, wordsOf(vote.outcome, vote.class_name)), ` ${vote.annotator} (${vote.mode})`,
    )));
  }
}
