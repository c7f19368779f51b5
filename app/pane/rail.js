/*
 * The rail: what can be answered, with the keys; and the example crops that stand beside the words.
 */

/** Beyond the keys 1 … 9 and Shift a candidate is found by its name. */
const FIND_FROM = 19;

/**
 * Pictures that need the token come as blobs; they are given back when the pane leaves.
 *
 * A picture is asked for when it comes near to being seen: a task can have hundreds of candidates.
 */
class ExampleShelf {
  /** @param {Wire} wire */
  constructor(wire) {
    this.wire = wire;
    this.urls = [];
    this.asked = new WeakMap();
    this.seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) this.#load(target);
    }, { rootMargin: '150px' });
  }

  /** @param {string} path @returns {HTMLImageElement} */
  picture(path, alt) {
    const image = el('img', { alt, class: 'example' });
    this.asked.set(image, `${path}${path.includes('?') ? '&' : '?'}px=160`);
    this.seen.observe(image);
    return image;
  }

  close() {
    this.seen.disconnect();
    for (const url of this.urls.splice(0)) URL.revokeObjectURL(url);
  }

  #load(image) {
    this.seen.unobserve(image);
    // The masks come first: a browser has few connections to a server.
    this.wire.blob(this.asked.get(image), 'low').then((blob) => {
      const url = URL.createObjectURL(blob);
      this.urls.push(url);
      image.src = url;
    }, () => image.remove());
  }
}

/**
 * The field that finds a candidate by its name, where there are more than keys: what is typed in it
 * decides nothing, Enter chooses the one that is marked.
 */
class Finder {
  /** @param {{list: HTMLElement, choose: (position: number, event: Event) => void, left: () => void}} options */
  constructor({ list, choose, left }) {
    Object.assign(this, { list, choose, left });
    this.input = el('input', {
      type: 'search', placeholder: 'Find a class', 'aria-label': 'Find a class by its name', autocomplete: 'off',
      'aria-keyshortcuts': '/', oninput: () => this.#filter(), onkeydown: (event) => this.#key(event),
    });
    this.live = el('span', { class: 'unseen', role: 'status' });
    this.node = el('div', { class: 'finder', hidden: true }, this.input, keycap('/'), this.live);
    /** @type {HTMLElement[]} buttons that fit */
    this.found = [];
    this.marked = 0;
  }

  focus() {
    this.input.focus();
    this.input.select();
  }

  get buttons() {
    return [...this.list.querySelectorAll('[data-position]')];
  }

  /** Every word must be in the name; where no name fits, in the definition. */
  #filter() {
    const words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (text) => words.every((word) => text.includes(word));
    const { buttons } = this;
    const byName = buttons.filter((button) => fits(button.dataset.name));
    const starts = (button) => (button.dataset.name.startsWith(words[0] ?? '') ? 0 : 1);
    this.found = byName.length > 0 ? byName.sort((a, b) => starts(a) - starts(b)) : buttons.filter((button) => fits(button.textContent.toLowerCase()));
    const shown = new Set(this.found);
    for (const button of buttons) reveal(button.parentNode, shown.has(button));
    this.#mark(0);
  }

  #mark(index) {
    this.marked = Math.max(0, Math.min(index, this.found.length - 1));
    const typed = this.input.value.trim() !== '';
    const chosen = typed ? this.found[this.marked] : undefined;
    for (const button of this.buttons) button.toggleAttribute('data-marked', button === chosen);
    chosen?.scrollIntoView({ block: 'nearest' });
    const name = chosen?.querySelector('.name').textContent;
    write(this.live, !typed ? '' : name ? `${plural(this.found.length, 'class')}: Enter chooses ${name}` : 'No class fits');
  }

  #key(event) {
    const acts = {
      ArrowDown: () => this.#mark(this.marked + 1), ArrowUp: () => this.#mark(this.marked - 1),
      Escape: () => this.#leave(), Enter: () => this.#choose(event),
    };
    if (!acts[event.key] || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    acts[event.key]();
  }

  #choose(event) {
    const chosen = this.input.value.trim() ? this.found[this.marked] : undefined;
    // A key that is held down must not answer the next mask.
    if (!chosen || event.repeat) return;
    this.#leave();
    this.choose(Number(chosen.dataset.position), event);
  }

  #leave() {
    this.input.value = '';
    this.#filter();
    this.left();
  }
}

/**
 * The candidates with their keys, and the other answers.
 *
 * Where the window is too low for all candidates, they are drawn closer: shorter definitions, smaller
 * examples, then names alone. A card beside the rail shows one in full while it is pointed at.
 */
class Rail {
  /** @param {{choose: (position: number, event: Event) => void, shelf: ExampleShelf,
   *          others: HTMLElement[], left: () => void}} options */
  constructor({ choose, shelf, others, left }) {
    Object.assign(this, { choose, shelf });
    this.list = el('ol', { class: 'candidates', 'aria-label': 'Candidates' });
    this.finder = new Finder({ list: this.list, choose, left });
    this.card = el('div', { class: 'card', hidden: true, 'aria-hidden': 'true' });
    this.node = el(
      'section', { class: 'rail', 'aria-label': 'Answers' }, this.card, this.finder.node,
      this.list, el('div', { class: 'others', role: 'group', 'aria-label': 'Other answers' }, ...others),
    );
  }

  setCandidates(candidates) {
    reveal(this.finder.node, candidates.length >= FIND_FROM);
    refill(this.list, ...candidates.map((candidate, index) => this.#candidate(candidate, index + 1)));
    this.fit();
  }

  /** Go to the field that finds a candidate, where there is one. */
  find() {
    if (!this.finder.node.hidden) this.finder.focus();
  }

  /** Draw the candidates as large as they all fit. */
  fit() {
    const { list } = this;
    for (const density of ['roomy', 'snug', 'close', 'closer', 'closest', 'names']) {
      list.dataset.density = density;
      if (list.scrollHeight <= list.clientHeight + 1) return;
    }
  }

  #candidate(candidate, position) {
    const { name, definition, examples } = candidate;
    const pictures = (examples ?? []).slice(0, 3).map((path) => this.shelf.picture(path, ''));
    const key = keyOf(position);
    const button = el(
      'button',
      {
        type: 'button', class: 'candidate', 'aria-keyshortcuts': key ? ariaKeyOf(position) : null,
        'data-position': position, 'data-name': name.toLowerCase(), onclick: (event) => this.choose(position, event),
      },
      key ? keycap(key) : null, swatch(position),
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
    reveal(this.card, true);
    const top = button.getBoundingClientRect().top - this.node.getBoundingClientRect().top;
    const room = Math.max(0, this.node.clientHeight - this.card.offsetHeight);
    this.card.style.top = `${Math.max(0, Math.min(top, room))}px`;
  }
}
