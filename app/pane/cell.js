/*
 * One crop of the grid: its canvases, and what is said of it.
 */

/**
 * `answer` is null for the class of the page, else except, or an outcome with its class.
 */
class Cell {
  /** @param {object} item @param {(cell: Cell, event: Event) => void} toggle */
  constructor(item, toggle) {
    this.item = item;
    this.lease = item.lease;
    this.answer = null;
    /** waiting, painted, failed or gone */
    this.state = 'waiting';
    this.busy = false;
    this.loads = 0;
    this.photo = el('canvas', { 'aria-hidden': 'true' });
    this.overlay = el('canvas', { class: 'overlay', 'aria-hidden': 'true' });
    this.label = el('span', { class: 'label' });
    this.node = el(
      'button',
      { type: 'button', class: 'cell', 'data-cell': true, tabindex: '-1', onclick: (event) => toggle(this, event) },
      el('span', { class: 'crop' }, this.photo, this.overlay), this.label,
    );
  }

  /** Draw the crop and the mask on it. @param {Picture} picture @param {number[]} box of the crop */
  paint(picture, box) {
    const { width, height } = picture.photo;
    const [top, left, , right] = box;
    const scale = width / (right - left);
    for (const canvas of [this.photo, this.overlay]) Object.assign(canvas, { width, height });
    this.photo.getContext('2d').drawImage(picture.photo, 0, 0);
    const context = this.overlay.getContext('2d');
    const [boxTop, boxLeft, boxBottom, boxRight] = this.item.box;
    const place = {
      left: (boxLeft - left) * scale, top: (boxTop - top) * scale,
      width: (boxRight - boxLeft) * scale, height: (boxBottom - boxTop) * scale,
    };
    context.globalAlpha = 0.4;
    context.drawImage(picture.fill, place.left, place.top, place.width, place.height);
    context.globalAlpha = 1;
    drawContour(context, picture, place, 1);
    this.state = 'painted';
  }

  /** Write what is said of the crop. @param {number} number @param {string} className */
  describe(number, className, positionOf) {
    const { answer } = this;
    const words = !answer ? className : answer.op === 'except' ? 'exception' : wordsOf(answer.outcome, answer.class_name);
    const kind = { failed: 'failed', gone: 'gone' }[this.state] ?? answer?.outcome ?? answer?.op ?? '';
    this.node.dataset.answer = kind;
    this.node.setAttribute('aria-pressed', String(answer !== null));
    this.node.disabled = this.state === 'gone';
    const said = { failed: 'cannot be shown', gone: 'time ran out' }[this.state] ?? words;
    this.node.setAttribute('aria-label', `Crop ${number}: ${said}`);
    const sign = { except: '✕', unsure: '?', bad_mask: '!', none_of_these: '0', failed: '!', gone: '–' }[kind];
    const position = kind === 'class' ? positionOf(answer.class_name) : 0;
    refill(
      this.label, position ? swatch(position) : null, sign ? el('b', {}, sign) : null, kind ? el('span', {}, said) : null,
    );
  }

  get open() {
    return this.state === 'painted';
  }
}
