/*
 * Building blocks of the panes' pages: elements, key caps, swatches.
 *
 * Everything that comes from data (class names, definitions, comments) enters the page through
 * text nodes alone; nothing in these files parses HTML.
 */

/** Okabe–Ito: eight colours that people with colour blindness can tell apart. */
const SWATCHES = [
  '#E69F00', '#56B4E9', '#009E73', '#F0E442', '#0072B2', '#D55E00', '#CC79A7', '#8A8A8A',
];

/**
 * Make an element. `on…` properties are listeners, `false` and `null` leave an attribute out.
 * @param {string} tag
 * @param {Object<string, unknown>} [properties]
 * @param {...(Node|string|null)} children
 * @returns {HTMLElement}
 */
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Replace an element's children. */
function refill(node, ...children) {
  node.replaceChildren(...children.filter((child) => child !== null));
}

/** Show or hide an element. */
function reveal(node, shown) {
  node.toggleAttribute('hidden', !shown);
}

/** A key as it is printed on a keyboard. */
function keycap(label) {
  return el('kbd', { 'aria-hidden': 'true' }, label);
}

/** The sign of a candidate: a colour and a pattern, so that colour never stands alone. */
function swatch(position) {
  const index = position - 1;
  return el('span', {
    class: 'swatch',
    'aria-hidden': 'true',
    'data-pattern': index % 8,
    'data-round': Math.floor(index / 8) % 2,
    style: `--swatch: ${SWATCHES[index % SWATCHES.length]}`,
  });
}

/** The key of a candidate by its position, 1 … 18; '' where there is none left. */
function keyOf(position) {
  if (position > 18) return '';
  return position <= 9 ? String(position) : `⇧${position - 9}`;
}

/** The same key for `aria-keyshortcuts`. */
function ariaKeyOf(position) {
  return position <= 9 ? String(position) : `Shift+${position - 9}`;
}

/**
 * A button that mirrors a key.
 * @param {{label: string, cap: string, shortcut: string, press: (event: Event) => void,
 *          kind?: string, title?: string}} options
 */
function keyButton({ label, cap, shortcut, press, kind = '', title = '' }) {
  return el(
    'button',
    {
      type: 'button', class: `key-button ${kind}`, 'aria-keyshortcuts': shortcut, onclick: press,
      title: title || `${label} (${cap})`,
    },
    keycap(cap),
    el('span', { class: 'word' }, label),
  );
}

/** A message in the middle of a stage: a title, perhaps a sentence, perhaps a button. */
function fillVeil(veil, [title, text], button) {
  const key = title + text + Boolean(button);
  if (veil.dataset.key === key) return;
  veil.dataset.key = key;
  refill(veil, el('strong', {}, title), text ? el('span', {}, text) : null, button);
}

/** Set a text only where it differs: a live region must not repeat itself. */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** "1,234" in the reader's own way of writing numbers. */
function count(number) {
  return Math.round(number).toLocaleString();
}

/** "1 mask", "2 masks", "2 classes". */
function plural(number, noun) {
  const ending = number === 1 ? '' : noun.endsWith('s') ? 'es' : 's';
  return `${count(number)} ${noun}${ending}`;
}
