/*
 * From the bytes of a photo and a mask to what the canvas draws.
 *
 * Decoding runs in a worker, so that the key that is pressed meanwhile finds the page free. The
 * functions down to `decodePicture` stand alone: the worker gets their source text, and where a
 * worker is forbidden they run in the page.
 */

const INSET_PX = 260;
const MASK_COLOUR = [255, 45, 149];
/**
 * What a picture may weigh, whatever the photo does. Of a larger photo the page keeps all of it
 * reduced, and the surroundings of the mask as they are.
 */
const PHOTO_MOST_PX = 12e6;
const MASK_MOST_PX = 8e6;
const RUNS_MOST = 400_000;
/** A crop of the grid is small: its mask need not be sharper. */
const CROP_MASK_PX = 384 * 384;
/** Bitmaps that are open in this page: they hold memory that no garbage collector sees. */
const openBitmaps = { count: 0 };

/**
 * @typedef {{left: number, top: number, width: number, height: number}} Area
 * @typedef {{photo: ImageBitmap, photoSize: number[], detail: ImageBitmap|null, detailArea: Area|null,
 *            inset: ImageBitmap, fill: ImageBitmap, maskSize: number[], edges: Int32Array,
 *            edgesOf: number[], coverage: Float32Array}} Picture
 *   sizes are [width, height]; `edges` are runs in a grid of the size `edgesOf` over the mask's box
 */

/** One byte per pixel, 1 in the mask, from RGBA bytes of a black and white picture. */
function maskBits(rgba, threshold) {
  const bits = new Uint8Array(rgba.length / 4);
  for (let index = 0; index < bits.length; index += 1) bits[index] = rgba[index * 4] >= threshold ? 1 : 0;
  return bits;
}

/**
 * The border of a mask as straight runs along pixel edges: x0, y0, x1, y1, … in pixels.
 * @param {Uint8Array} bits row by row
 * @param {number} most how many runs there may be
 * @returns {Int32Array|null} null where there are more
 */
function borderRuns(bits, width, height, most) {
  const runs = new Int32Array(4 * Math.min(most, 2 * (width + 1) * (height + 1)));
  let length = 0;
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : bits[y * width + x]);
  const open = new Int32Array(width + 1).fill(-1);
  const add = (x0, y0, x1, y1) => {
    runs[length] = x0;
    runs[length + 1] = y0;
    runs[length + 2] = x1;
    runs[length + 3] = y1;
    length += 4;
  };
  for (let y = 0; y <= height; y += 1) {
    let start = -1;
    for (let x = 0; x <= width; x += 1) {
      // Two runs can end here.
      if (length / 4 + 2 > most) return null;
      const level = x < width && at(x, y - 1) !== at(x, y);
      if (level && start < 0) start = x;
      if (!level && start >= 0) {
        add(start, y, x, y);
        start = -1;
      }
      const upright = y < height && at(x - 1, y) !== at(x, y);
      if (upright && open[x] < 0) open[x] = y;
      if (!upright && open[x] >= 0) {
        add(x, open[x], x, y);
        open[x] = -1;
      }
    }
  }
  return runs.slice(0, length);
}

/** Half as many rows and columns; a pixel is on where one of its four was: what is thin stays. */
function halveBits(bits, width, height) {
  const [columns, rows] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const half = new Uint8Array(columns * rows);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) half[(y >> 1) * columns + (x >> 1)] |= bits[y * width + x];
  }
  return { bits: half, width: columns, height: rows };
}

/** The border, of a coarser mask where it has too many runs. */
function boundedRuns(mask, most) {
  let { bits, width, height } = mask;
  for (;;) {
    const edges = borderRuns(bits, width, height, most);
    if (edges) return { edges, edgesOf: [width, height] };
    ({ bits, width, height } = halveBits(bits, width, height));
  }
}

/** Which share of each of 8 × 8 fields of its box a mask covers: the inset keeps clear of it. */
function coverageOf(bits, width, height) {
  const share = new Float32Array(64);
  const field = new Int32Array(64);
  for (let y = 0; y < height; y += 1) {
    const row = Math.floor((y * 8) / height) * 8;
    for (let x = 0; x < width; x += 1) {
      const index = row + Math.floor((x * 8) / width);
      share[index] += bits[y * width + x];
      field[index] += 1;
    }
  }
  return share.map((sum, index) => (field[index] ? sum / field[index] : 0));
}

/** The mask in its colour on nothing. */
async function colouredMask(bits, width, height, colour) {
  const pixels = new Uint32Array(bits.length);
  const [red, green, blue] = colour;
  const ink = new Uint32Array(new Uint8Array([red, green, blue, 255]).buffer)[0];
  for (let index = 0; index < bits.length; index += 1) pixels[index] = bits[index] ? ink : 0;
  return createImageBitmap(new ImageData(new Uint8ClampedArray(pixels.buffer), width, height));
}

/** How a picture is made smaller, so that it has at most `most` pixels. */
function reduction(width, height, most) {
  const scale = Math.min(1, Math.sqrt(most / (width * height)));
  const size = (side) => Math.max(1, Math.round(side * scale));
  return { resizeWidth: size(width), resizeHeight: size(height), resizeQuality: 'medium' };
}

/** The same picture with at most `most` pixels; the one that came in is closed where it is too large. */
async function boundBitmap(bitmap, most) {
  if (bitmap.width * bitmap.height <= most) return bitmap;
  const smaller = await createImageBitmap(bitmap, reduction(bitmap.width, bitmap.height, most));
  bitmap.close();
  return smaller;
}

/** @returns {Promise<{bits: Uint8Array, width: number, height: number, size: number[]}>} */
async function readMask(blob, most) {
  const whole = await createImageBitmap(blob);
  const size = [whole.width, whole.height];
  const bitmap = await boundBitmap(whole, most);
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  // In a reduced mask a quarter of a pixel counts, so that nothing thin is lost.
  const threshold = width < size[0] || height < size[1] ? 64 : 128;
  return { bits: maskBits(context.getImageData(0, 0, width, height).data, threshold), width, height, size };
}

/** The part of a photo around a box, twice as large as the box. */
function areaAround([top, left, bottom, right], [width, height]) {
  const [down, across] = [Math.ceil((bottom - top) / 2), Math.ceil((right - left) / 2)];
  const [x, y] = [Math.max(0, left - across), Math.max(0, top - down)];
  return { left: x, top: y, width: Math.min(width, right + across) - x, height: Math.min(height, bottom + down) - y };
}

/**
 * Decode a photo. Of one that is too large: all of it reduced, and what surrounds the mask, unless that is
 * most of the photo anyway.
 */
async function readPhoto(blob, { insetPx, photoPx, box }) {
  const whole = await createImageBitmap(blob);
  const photoSize = [whole.width, whole.height];
  let [detail, detailArea] = [null, null];
  const area = areaAround(box, photoSize);
  if (whole.width * whole.height > photoPx && area.width * area.height < (whole.width * whole.height) / 2) {
    const { left, top, width, height } = area;
    detail = await createImageBitmap(whole, left, top, width, height, reduction(width, height, photoPx));
    detailArea = area;
  }
  const photo = await boundBitmap(whole, photoPx);
  const scale = Math.min(1, insetPx / Math.max(...photoSize));
  const inset = await createImageBitmap(photo, {
    resizeWidth: Math.max(1, Math.round(photoSize[0] * scale)),
    resizeHeight: Math.max(1, Math.round(photoSize[1] * scale)),
    resizeQuality: 'medium',
  });
  return { photo, photoSize, inset, detail, detailArea };
}

/**
 * Decode one picture.
 * @param {{photo: Blob, mask: Blob, box: number[], insetPx: number, colour: number[], photoPx: number,
 *          maskPx: number, runs: number}} job
 * @returns {Promise<Picture>}
 */
async function decodePicture(job) {
  const [photo, mask] = await Promise.all([readPhoto(job.photo, job), readMask(job.mask, job.maskPx)]);
  const { bits, width, height, size } = mask;
  const fill = await colouredMask(bits, width, height, job.colour);
  const coverage = coverageOf(bits, width, height);
  return { ...photo, fill, maskSize: size, ...boundedRuns(mask, job.runs), coverage };
}

/** The worker's own script: the functions above and a mailbox. */
function workerSource() {
  const parts = [
    maskBits, borderRuns, halveBits, boundedRuns, coverageOf, colouredMask, reduction, boundBitmap, readMask, areaAround,
    readPhoto, decodePicture,
  ];
  const mailbox = async ({ data: { id, job } }) => {
    try {
      const picture = await decodePicture(job);
      const bitmaps = [picture.photo, picture.detail, picture.inset, picture.fill].filter(Boolean);
      postMessage({ id, picture }, [...bitmaps, picture.edges.buffer]);
    } catch (error) {
      postMessage({ id, message: String(error.message ?? error) });
    }
  };
  return `${parts.map(String).join('\n')}\nonmessage = ${mailbox};`;
}

class Decoder {
  constructor() {
    this.jobs = new Map();
    this.next = 0;
    try {
      const url = URL.createObjectURL(new Blob([workerSource()], { type: 'text/javascript' }));
      this.worker = new Worker(url);
      this.worker.onmessage = ({ data }) => this.#answer(data);
      this.worker.onerror = () => this.#withoutWorker();
      URL.revokeObjectURL(url);
    } catch {
      this.worker = null;
    }
  }

  /**
   * @param {Blob} photo @param {Blob} mask @param {{size_hw: number[], box: number[]}} item
   * @returns {Promise<Picture>}
   */
  async decode(photo, mask, item) {
    const job = { photo, mask, box: item.box, insetPx: INSET_PX, photoPx: PHOTO_MOST_PX, maskPx: MASK_MOST_PX };
    return this.#decode(job, item, ({ photoSize: [width, height] }) => height === item.size_hw[0] && width === item.size_hw[1]);
  }

  /** The same of a crop, whose size says nothing about the photo. */
  async decodeCrop(crop, mask, item) {
    const job = { photo: crop, mask, box: item.box, insetPx: 1, photoPx: Infinity, maskPx: CROP_MASK_PX };
    return this.#decode(job, item, () => true);
  }

  async #decode(most, item, fits) {
    const job = { ...most, colour: MASK_COLOUR, runs: RUNS_MOST };
    const picture = await (this.worker ? this.#post(job) : decodePicture(job));
    openBitmaps.count += bitmapsOf(picture).length;
    const [top, left, bottom, right] = item.box;
    const [width, height] = picture.maskSize;
    if (!fits(picture) || height !== bottom - top || width !== right - left) {
      closePicture(picture);
      throw new Error('The photo or the mask does not have the size that the queue names.');
    }
    return picture;
  }

  close() {
    this.worker?.terminate();
    this.worker = null;
    for (const { reject } of this.jobs.values()) reject(new Error('The pane was closed.'));
    this.jobs.clear();
  }

  #post(job) {
    const id = (this.next += 1);
    return new Promise((resolve, reject) => {
      this.jobs.set(id, { job, resolve, reject });
      this.worker.postMessage({ id, job });
    });
  }

  #answer({ id, picture, message }) {
    const job = this.jobs.get(id);
    this.jobs.delete(id);
    if (picture) job?.resolve(picture);
    else job?.reject(new Error(message));
  }

  /** A content security policy can forbid the worker after it was made: decode here instead. */
  #withoutWorker() {
    this.worker = null;
    const jobs = [...this.jobs.values()];
    this.jobs.clear();
    for (const { job, resolve, reject } of jobs) decodePicture(job).then(resolve, reject);
  }
}

/** @param {Picture} picture @returns {ImageBitmap[]} */
function bitmapsOf({ photo, detail, inset, fill }) {
  return [photo, detail, inset, fill].filter(Boolean);
}

/** Give a picture's memory back. */
function closePicture(picture) {
  const bitmaps = bitmapsOf(picture);
  for (const bitmap of bitmaps) bitmap.close();
  openBitmaps.count -= bitmaps.length;
}

/** What a picture weighs once it is decoded, in pixels. @param {{size_hw: number[], box: number[]}} item */
function weightOf({ size_hw: [height, width], box: [top, left, bottom, right] }) {
  const [photo, box] = [height * width, (bottom - top) * (right - left)];
  const detail = photo > PHOTO_MOST_PX && 4 * box < photo / 2 ? Math.min(4 * box, PHOTO_MOST_PX) : 0;
  return Math.min(photo, PHOTO_MOST_PX) + detail + Math.min(box, MASK_MOST_PX);
}
