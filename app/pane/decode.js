/*
 * From the bytes of a photo and a mask to what the canvas draws.
 *
 * Decoding runs in a worker, so that the key that is pressed meanwhile finds the page free. The
 * functions down to `decodePicture` stand alone: the worker gets their source text, and where a
 * worker is forbidden they run in the page.
 */

const INSET_PX = 260;
const MASK_COLOUR = [255, 45, 149];
/** Bitmaps that are open in this page: they hold memory that no garbage collector sees. */
const openBitmaps = { count: 0 };

/**
 * @typedef {{photo: ImageBitmap, inset: ImageBitmap, fill: ImageBitmap, edges: Int16Array,
 *            coverage: Float32Array, outline?: Path2D}} Picture
 */

/** One byte per pixel, 1 in the mask, from RGBA bytes of a black and white picture. */
function maskBits(rgba) {
  const bits = new Uint8Array(rgba.length / 4);
  for (let index = 0; index < bits.length; index += 1) bits[index] = rgba[index * 4] >> 7;
  return bits;
}

/**
 * The border of a mask as straight runs along pixel edges: x0, y0, x1, y1, … in pixels.
 * @param {Uint8Array} bits row by row
 */
function borderRuns(bits, width, height) {
  const runs = [];
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : bits[y * width + x]);
  const open = new Int32Array(width + 1).fill(-1);
  for (let y = 0; y <= height; y += 1) {
    let start = -1;
    for (let x = 0; x <= width; x += 1) {
      const level = x < width && at(x, y - 1) !== at(x, y);
      if (level && start < 0) start = x;
      if (!level && start >= 0) {
        runs.push(start, y, x, y);
        start = -1;
      }
      const upright = y < height && at(x - 1, y) !== at(x, y);
      if (upright && open[x] < 0) open[x] = y;
      if (!upright && open[x] >= 0) {
        runs.push(x, open[x], x, y);
        open[x] = -1;
      }
    }
  }
  return Int16Array.from(runs);
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

/** @returns {Promise<{bits: Uint8Array, width: number, height: number}>} */
async function readMask(blob) {
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { bits: maskBits(context.getImageData(0, 0, width, height).data), width, height };
}

/**
 * Decode one picture.
 * @param {{photo: Blob, mask: Blob, insetPx: number, colour: number[]}} job
 * @returns {Promise<Picture>}
 */
async function decodePicture({ photo: photoBlob, mask: maskBlob, insetPx, colour }) {
  const [photo, mask] = await Promise.all([createImageBitmap(photoBlob), readMask(maskBlob)]);
  const scale = Math.min(1, insetPx / Math.max(photo.width, photo.height));
  const [inset, fill] = await Promise.all([
    createImageBitmap(photo, {
      resizeWidth: Math.max(1, Math.round(photo.width * scale)),
      resizeHeight: Math.max(1, Math.round(photo.height * scale)),
      resizeQuality: 'medium',
    }),
    colouredMask(mask.bits, mask.width, mask.height, colour),
  ]);
  const edges = borderRuns(mask.bits, mask.width, mask.height);
  return { photo, inset, fill, edges, coverage: coverageOf(mask.bits, mask.width, mask.height) };
}

/** The worker's own script: the functions above and a mailbox. */
function workerSource() {
  const parts = [maskBits, borderRuns, coverageOf, colouredMask, readMask, decodePicture];
  const mailbox = async ({ data: { id, job } }) => {
    try {
      const picture = await decodePicture(job);
      postMessage({ id, picture }, [picture.photo, picture.inset, picture.fill, picture.edges.buffer]);
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
    const job = { photo, mask, insetPx: INSET_PX, colour: MASK_COLOUR };
    return this.#decode(job, item, (picture) => {
      const { width, height } = picture.photo;
      return height === item.size_hw[0] && width === item.size_hw[1];
    });
  }

  /** The same of a crop, whose size says nothing about the photo. */
  async decodeCrop(crop, mask, item) {
    return this.#decode({ photo: crop, mask, insetPx: 1, colour: MASK_COLOUR }, item, () => true);
  }

  async #decode(job, item, fits) {
    const picture = await (this.worker ? this.#post(job) : decodePicture(job));
    openBitmaps.count += 3;
    const [top, left, bottom, right] = item.box;
    const { width, height } = picture.fill;
    if (!fits(picture) || height !== bottom - top || width !== right - left) {
      closePicture(picture);
      throw new Error('The photo or the mask does not have the size that the queue names.');
    }
    picture.outline = outlineOf(picture.edges);
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

/** @param {Int16Array} edges @returns {Path2D} */
function outlineOf(edges) {
  const path = new Path2D();
  for (let index = 0; index < edges.length; index += 4) {
    path.moveTo(edges[index], edges[index + 1]);
    path.lineTo(edges[index + 2], edges[index + 3]);
  }
  return path;
}

/** Give a picture's memory back. */
function closePicture(picture) {
  for (const bitmap of [picture.photo, picture.inset, picture.fill]) bitmap.close();
  openBitmaps.count -= 3;
}
