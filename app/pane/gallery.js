/*
 * Pictures of images, side by side: each is fetched with the page's token once it comes into sight.
 *
 * A card that opens something is a button; arrows go from one to the next. A card that opens nothing grows over the
 * whole width and back when it is pressed.
 */

const AT_ONCE = 4;
const KEPT_PICTURES = 400;
const NEAR = '300px';

/** Blobs of this page by their address: a page that runs again asks for nothing twice. */
const keptPictures = new Map();

function keepPicture(path, address) {
  keptPictures.set(path, address);
  for (const [old, blob] of keptPictures) {
    if (keptPictures.size <= KEPT_PICTURES) break;
    keptPictures.delete(old);
    URL.revokeObjectURL(blob);
  }
}

class Gallery {
  constructor({ parentElement, data, setTriggerValue }) {
    this.trigger = setTriggerValue;
    this.root = parentElement.querySelector('.gallery');
    this.key = '';
    this.waiting = [];
    this.busy = 0;
    this.wire = new Wire(data.base, data.token, {
      askToken: () => this.trigger('token', Date.now()), onAnswer: () => {}, onWaiting: () => {},
    });
    this.sight = new IntersectionObserver((seen) => this.#see(seen), { rootMargin: NEAR });
    this.root.addEventListener('keydown', (event) => this.#move(event));
    this.update({ data, setTriggerValue });
  }

  update({ data, setTriggerValue }) {
    this.trigger = setTriggerValue;
    this.wire.setToken(data.token);
    const key = JSON.stringify([data.cards, data.least_px, data.label]);
    if (key === this.key) return;
    this.key = key;
    this.sight.disconnect();
    this.waiting = [];
    this.root.setAttribute('aria-label', data.label);
    this.root.style.setProperty('--least', `${data.least_px}px`);
    refill(this.root, ...data.cards.map((card) => this.#card(card)));
    for (const picture of this.root.querySelectorAll('img')) this.sight.observe(picture);
  }

  close() {
    this.sight.disconnect();
    this.waiting = [];
    this.wire.close();
  }

  #card(card) {
    const picture = el('img', { alt: card.alt, 'data-path': card.path, style: `aspect-ratio: ${card.ratio}` });
    const words = [el('span', { class: 'title' }, card.title)];
    if (card.text) words.push(el('span', { class: 'text' }, card.text));
    if (card.mark) words.push(el('span', { class: 'mark' }, card.mark));
    const press = (event) => (card.opens ? this.trigger('open', card.opens) : this.#grow(event.currentTarget));
    const button = el(
      'button',
      { type: 'button', onclick: press, ...(card.opens ? {} : { 'aria-pressed': 'false', title: 'Larger or smaller' }) },
      picture, el('span', { class: 'words' }, ...words),
    );
    return el('li', {}, button);
  }

  #grow(button) {
    const grown = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(grown));
    button.parentElement.classList.toggle('grown', grown);
  }

  #see(seen) {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      this.sight.unobserve(target);
      this.waiting.push(target);
    }
    this.#load();
  }

  async #load() {
    while (this.busy < AT_ONCE && this.waiting.length > 0) {
      this.busy += 1;
      this.#fill(this.waiting.shift()).finally(() => {
        this.busy -= 1;
        this.#load();
      });
    }
  }

  async #fill(picture) {
    const { path } = picture.dataset;
    try {
      if (!keptPictures.has(path)) keepPicture(path, URL.createObjectURL(await this.wire.blob(path)));
      picture.src = keptPictures.get(path);
      await picture.decode();
      // The guess that kept its place is needed no more.
      picture.style.aspectRatio = '';
    } catch (error) {
      if (!this.wire.closed) picture.replaceWith(el('span', { class: 'lost', role: 'img', 'aria-label': error.message }, error.message));
    }
  }

  /** Arrows go to the next card in their direction, Home and End to the first and the last. */
  #move(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const cards = [...this.root.querySelectorAll('button')];
    const at = cards.indexOf(event.target);
    const across = cards.filter((card) => card.offsetTop === cards[0].offsetTop).length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -at, End: cards.length - 1 - at };
    const next = at >= 0 && event.key in steps ? cards[at + steps[event.key]] : undefined;
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
}

const galleries = new WeakMap();

export default function mountGallery(component) {
  const { parentElement } = component;
  if (galleries.has(parentElement)) galleries.get(parentElement).update(component);
  else galleries.set(parentElement, new Gallery(component));
  return () => {
    galleries.get(parentElement)?.close();
    galleries.delete(parentElement);
  };
}
