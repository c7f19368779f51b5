/*
 * The stage: a photo with one mask on it, on a canvas.
 *
 * The default view is a crop around the mask's box, 1.5 times as large, widened to the shape of the
 * stage; the whole image stands beside it as an inset that marks the crop. Zoom and pan change the
 * view of the present mask only.
 */

const CROP_FACTOR = 1.5;
const CROP_LEAST_PX = 48;
const SCALE_MOST = 24;

/** The middle of the fingers on a stage, and how far the first two are apart. @param {Map<number, number[]>} held */
function gripOf(held) {
  const points = [...held.values()].slice(0, 2);
  const middle = (axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length;
  const [one, other] = points;
  return { x: middle(0), y: middle(1), span: other ? Math.hypot(one[0] - other[0], one[1] - other[1]) : 0 };
}

class Stage {
  /** @param {{onView: () => void}} hooks */
  constructor({ onView }) {
    this.canvas = el('canvas', { class: 'photo', role: 'img', tabindex: '-1' });
    this.insetCanvas = el('canvas', { class: 'inset', 'aria-hidden': 'true' });
    this.node = el('div', { class: 'stage' }, this.canvas, this.insetCanvas);
    this.onView = onView;
    this.context = this.canvas.getContext('2d', { alpha: false });
    this.inset = this.insetCanvas.getContext('2d');
    this.picture = null;
    this.item = null;
    this.look = { opacity: 0.45, hidden: false, contourOnly: false, whole: false };
    this.view = { zoom: 1, dx: 0, dy: 0 };
    this.scheduled = 0;
    this.#listen();
  }

  /** Draw a picture now, in this frame. */
  show(picture, item) {
    this.picture = picture;
    this.item = item;
    this.view = { zoom: 1, dx: 0, dy: 0 };
    this.draw();
  }

  clear() {
    this.picture = null;
    this.draw();
  }

  /** Change how the mask looks: opacity, hidden, contourOnly, whole. */
  adjust(change) {
    if ('whole' in change) this.view = { zoom: 1, dx: 0, dy: 0 };
    Object.assign(this.look, change);
    this.soon();
  }

  /** Fit the canvas to its place in the page. */
  resize() {
    const { width, height } = this.node.getBoundingClientRect();
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
    if (this.canvas.width === w && this.canvas.height === h) return;
    this.ratio = ratio;
    this.canvas.width = w;
    this.canvas.height = h;
    this.draw();
  }

  /** Zoom about a point of the canvas (its middle where none is given). */
  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    if (!this.picture) return;
    const before = this.#placing();
    const zoom = Math.min(40, Math.max(0.25, this.view.zoom * factor));
    const grown = zoom / this.view.zoom;
    this.view.zoom = zoom;
    const after = this.#placing();
    // The image point under the cursor stays under the cursor.
    this.view.dx += x - (x - before.left) * grown - after.left;
    this.view.dy += y - (y - before.top) * grown - after.top;
    this.soon();
  }

  /** Draw with the next frame; many changes in one frame are one drawing. */
  soon() {
    this.scheduled ||= requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.scheduled);
    this.scheduled = 0;
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = '#16181d';
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (this.picture) this.#drawPicture();
    else reveal(this.insetCanvas, false);
    this.onView();
  }

  #drawPicture() {
    const placing = this.#placing();
    this.#drawPhoto(placing);
    if (!this.look.hidden) this.#drawMask(placing);
    const shown = !this.#isAllSeen(placing);
    reveal(this.insetCanvas, shown);
    if (shown) this.#drawInset(placing);
  }

  /** Whether the stage shows the whole image: then an inset would only repeat it. */
  #isAllSeen({ scale, left, top }) {
    const [imageHeight, imageWidth] = this.item.size_hw;
    const { width, height } = this.canvas;
    const right = left + imageWidth * scale;
    return left > -1 && top > -1 && right < width + 1 && top + imageHeight * scale < height + 1;
  }

  /** Screen pixels per image pixel, for the line below the stage. */
  get magnification() {
    return this.picture ? this.#placing().scale / this.ratio : 0;
  }

  /** Where the image lies on the canvas: scale, and the place of its top left corner. */
  #placing() {
    const { width, height } = this.canvas;
    const [imageHeight, imageWidth] = this.item.size_hw;
    const [top, left, bottom, right] = this.item.box;
    const { whole } = this.look;
    const wanted = (from, to, all) =>
      whole ? all : Math.min(all, Math.max(CROP_LEAST_PX, (to - from) * CROP_FACTOR));
    const fit = Math.min(
      width / wanted(left, right, imageWidth), height / wanted(top, bottom, imageHeight), SCALE_MOST,
    );
    const scale = fit * this.view.zoom;
    const start = (from, to, all, room) => {
      const middle = whole ? all / 2 : (from + to) / 2;
      const seen = room / fit;
      // Keep the crop inside the image, or the image inside the stage.
      const first = all <= seen ? (all - seen) / 2 : Math.min(Math.max(0, middle - seen / 2), all - seen);
      return room / 2 - (first + seen / 2) * scale;
    };
    return {
      scale,
      left: start(left, right, imageWidth, width) + this.view.dx,
      top: start(top, bottom, imageHeight, height) + this.view.dy,
    };
  }

  #drawPhoto(placing) {
    const { picture, item } = this;
    const [height, width] = item.size_hw;
    this.#drawPart(picture.photo, { left: 0, top: 0, width, height }, placing);
    if (picture.detail) this.#drawPart(picture.detail, picture.detailArea, placing);
  }

  /** Draw what is seen of a bitmap of an area of the photo: the browser would otherwise scale all of it. */
  #drawPart(bitmap, area, { scale, left, top }) {
    const { context, canvas } = this;
    const [across, down] = [bitmap.width / area.width, bitmap.height / area.height];
    const x = Math.max(0, Math.floor((-left / scale - area.left) * across));
    const y = Math.max(0, Math.floor((-top / scale - area.top) * down));
    const right = Math.min(bitmap.width, Math.ceil(((canvas.width - left) / scale - area.left) * across));
    const bottom = Math.min(bitmap.height, Math.ceil(((canvas.height - top) / scale - area.top) * down));
    if (right <= x || bottom <= y) return;
    context.imageSmoothingEnabled = true;
    context.drawImage(
      bitmap, x, y, right - x, bottom - y,
      left + (area.left + x / across) * scale, top + (area.top + y / down) * scale,
      ((right - x) / across) * scale, ((bottom - y) / down) * scale,
    );
  }

  #drawMask({ scale, left, top }) {
    const { context, picture, item, look } = this;
    const [boxTop, boxLeft, boxBottom, boxRight] = item.box;
    const box = {
      left: left + boxLeft * scale, top: top + boxTop * scale,
      width: (boxRight - boxLeft) * scale, height: (boxBottom - boxTop) * scale,
    };
    if (!look.contourOnly && look.opacity > 0) {
      context.globalAlpha = look.opacity;
      context.imageSmoothingEnabled = false;
      context.drawImage(picture.fill, box.left, box.top, box.width, box.height);
      context.globalAlpha = 1;
    }
    drawContour(context, picture, box, this.ratio);
  }

  #drawInset(placing) {
    const { inset, insetCanvas, picture, item, canvas } = this;
    const { width, height } = picture.inset;
    if (insetCanvas.width !== width || insetCanvas.height !== height) {
      insetCanvas.width = width;
      insetCanvas.height = height;
    }
    const small = width / item.size_hw[1];
    inset.drawImage(picture.inset, 0, 0);
    if (!this.look.hidden) {
      const [top, left, bottom, right] = item.box;
      inset.globalAlpha = 0.6;
      inset.drawImage(picture.fill, left * small, top * small, (right - left) * small, (bottom - top) * small);
      inset.globalAlpha = 1;
    }
    const frame = [
      (-placing.left / placing.scale) * small, (-placing.top / placing.scale) * small,
      (canvas.width / placing.scale) * small, (canvas.height / placing.scale) * small,
    ];
    this.#markCrop(frame, width, height);
    insetCanvas.dataset.corner = this.#freeCorner(placing);
  }

  #markCrop([x, y, w, h], width, height) {
    const { inset } = this;
    const left = Math.max(1, x);
    const top = Math.max(1, y);
    const right = Math.min(width - 1, x + w);
    const bottom = Math.min(height - 1, y + h);
    for (const [colour, line] of [['#000', 4], ['#fff', 2]]) {
      inset.strokeStyle = colour;
      inset.lineWidth = line;
      inset.strokeRect(left, top, right - left, bottom - top);
    }
  }

  /** The corner of the stage in which the inset covers least of the mask. */
  #freeCorner({ scale, left, top }) {
    const { canvas, picture, item } = this;
    const [boxTop, boxLeft, boxBottom, boxRight] = item.box;
    const cost = { 'bottom-right': 0, 'bottom-left': 0, 'top-right': 0, 'top-left': 0 };
    for (let index = 0; index < 64; index += 1) {
      const x = left + (boxLeft + ((index % 8) + 0.5) / 8 * (boxRight - boxLeft)) * scale;
      const y = top + (boxTop + (Math.floor(index / 8) + 0.5) / 8 * (boxBottom - boxTop)) * scale;
      const across = x < canvas.width * 0.25 ? 'left' : x > canvas.width * 0.75 ? 'right' : '';
      const down = y < canvas.height * 0.25 ? 'top' : y > canvas.height * 0.75 ? 'bottom' : '';
      if (across && down) cost[`${down}-${across}`] += picture.coverage[index];
    }
    return Object.keys(cost).reduce((best, corner) => (cost[corner] < cost[best] ? corner : best));
  }

  /** One finger moves the view, two zoom it as well. */
  #follow(before, after) {
    const { left, top } = this.canvas.getBoundingClientRect();
    this.view.dx += (after.x - before.x) * this.ratio;
    this.view.dy += (after.y - before.y) * this.ratio;
    if (before.span > 0) this.zoom(after.span / before.span, (after.x - left) * this.ratio, (after.y - top) * this.ratio);
    this.soon();
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener('wheel', (event) => {
      event.preventDefault();
      const { left, top } = canvas.getBoundingClientRect();
      const at = [(event.clientX - left) * this.ratio, (event.clientY - top) * this.ratio];
      this.zoom(Math.exp(-event.deltaY / 400), ...at);
    }, { passive: false });
    /** Where each finger, or the mouse, was last. */
    const held = new Map();
    canvas.addEventListener('pointerdown', (event) => {
      held.set(event.pointerId, [event.clientX, event.clientY]);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (!held.has(event.pointerId) || !this.picture) return;
      const before = gripOf(held);
      held.set(event.pointerId, [event.clientX, event.clientY]);
      this.#follow(before, gripOf(held));
    });
    for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, (event) => held.delete(event.pointerId));
    canvas.addEventListener('dblclick', () => {
      this.view = { zoom: 1, dx: 0, dy: 0 };
      this.soon();
    });
  }
}
