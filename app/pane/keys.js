/*
 * The keyboard: what a key asks for, by its place (`event.code`), wherever the focus is.
 *
 * Keys belong to the page while someone types, while Ctrl, Alt or Meta is held, and while a dialog
 * of the page is open; a key that is held down counts once. Bare R and C are Streamlit's. What AltGr
 * writes counts as what is written: on many keyboards [ and ] are digits with AltGr.
 */

const ACTION_OF_CODE = {
  KeyU: 'unsure', KeyB: 'bad_mask', Space: 'space', KeyZ: 'undo', Backspace: 'undo', KeyH: 'hide',
  BracketLeft: 'fainter', BracketRight: 'stronger', KeyX: 'contour', KeyV: 'view', KeyG: 'grid',
  KeyF: 'flag', Equal: 'nearer', NumpadAdd: 'nearer', Minus: 'farther', NumpadSubtract: 'farther',
  Enter: 'enter', NumpadEnter: 'enter', Escape: 'escape', ArrowLeft: 'left', ArrowRight: 'right',
  ArrowUp: 'up', ArrowDown: 'down', Home: 'home', End: 'end',
};
const TYPING_ROLES = new Set(['textbox', 'searchbox', 'combobox', 'spinbutton', 'listbox', 'slider', 'menu']);

const ACTION_OF_SIGN = { '[': 'fainter', ']': 'stronger', '?': 'help', '/': 'find', '+': 'nearer', '-': 'farther' };

/** On the number pad Windows says of Shift and a digit, with Num Lock on, that it is an arrow without Shift. */
function isShifted(event) {
  const arrow = event.code.startsWith('Numpad') && event.getModifierState('NumLock') && !/^[0-9]$/.test(event.key);
  return event.shiftKey || arrow;
}

/** @returns {{name: string, position?: number}|null} */
function actionOf(event) {
  if (event.getModifierState('AltGraph')) return ACTION_OF_SIGN[event.key] ? { name: ACTION_OF_SIGN[event.key] } : null;
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code);
  if (digit) {
    const number = Number(digit[1]);
    const shifted = isShifted(event);
    if (number === 0) return shifted ? null : { name: 'none_of_these' };
    return { name: 'class', position: number + (shifted ? 9 : 0) };
  }
  if (event.key === '?' || (event.code === 'Slash' && event.shiftKey)) return { name: 'help' };
  if (event.key === '/') return { name: 'find' };
  const name = ACTION_OF_CODE[event.code];
  const shifted = event.shiftKey && name !== 'nearer';
  return name && !shifted ? { name } : null;
}

/** Whether the key belongs to a field that someone types in, or to an open dialog. */
function isTyping(event) {
  const path = event.composedPath();
  const first = path[0];
  if (!(first instanceof Element)) return false;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(first.tagName) || first.isContentEditable) return true;
  return path.some(
    (node) =>
      node instanceof Element &&
      (TYPING_ROLES.has(node.getAttribute('role')) || node.matches('dialog[open], [role=dialog]:not(dialog)')),
  );
}

/** Space and Enter press the button that has the focus: that is what a keyboard user means. */
function pressesFocused(event) {
  if (!/^(Space|Enter|NumpadEnter)$/.test(event.code)) return false;
  const first = event.composedPath()[0];
  return first instanceof Element && first.matches('button, a[href], summary, [role=button], [role=tab]') &&
    !first.matches('[data-cell]');
}

/**
 * Listen on the window.
 * @param {{press: (action: {name: string, position?: number}, event: KeyboardEvent) => boolean,
 *          release: (name: string) => void}} hooks `press` says whether the key was for the pane
 * @returns {() => void} stop listening
 */
function listenForKeys({ press, release }) {
  const down = (event) => {
    // Windows says Ctrl and Alt of AltGr.
    const commands = !event.getModifierState('AltGraph') && (event.ctrlKey || event.altKey);
    if (commands || event.metaKey || event.isComposing || isTyping(event)) return;
    const action = actionOf(event);
    if (!action || pressesFocused(event)) return;
    if (event.repeat ? !/^(escape|enter)$/.test(action.name) : press(action, event)) event.preventDefault();
  };
  const up = (event) => release(ACTION_OF_CODE[event.code] ?? '');
  const away = () => release('hide');
  window.addEventListener('keydown', down, true);
  window.addEventListener('keyup', up, true);
  window.addEventListener('blur', away);
  return () => {
    window.removeEventListener('keydown', down, true);
    window.removeEventListener('keyup', up, true);
    window.removeEventListener('blur', away);
  };
}
