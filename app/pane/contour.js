/*
 * The contour of a mask, pixel by pixel.
 *
 * A mask of leaves or of noise has a border of hundreds of thousands of steps. Stroked as a path they
 * freeze the page for seconds; written as pixels they cost some milliseconds, and the steps of a plain
 * mask less than a path does.
 */

const CONTOUR_PX = 2;
/** A dark edge on both sides of the coloured line: seen on bright and on dark photos. */
const HALO_PX = 1;

/** The sheet that contours are written on, before they are laid over a photo. */
const contourSheet = { canvas: null, context: null };

/** @returns {{canvas: OffscreenCanvas, context: OffscreenCanvasRenderingContext2D}} */
function sheetOf(width, height) {
  const { canvas } = contourSheet;
  if (!canvas || canvas.width < width || canvas.height < height) {
    const larger = new OffscreenCanvas(Math.max(width, canvas?.width ?? 0), Math.max(height, canvas?.height ?? 0));
    Object.assign(contourSheet, { canvas: larger, context: larger.getContext('2d', { willReadFrequently: true }) });
  }
  return contourSheet;
}

/** One 32 bit word of a pixel, in the byte order of this machine. */
function inkOf(red, green, blue, alpha) {
  return new Uint32Array(new Uint8Array([red, green, blue, alpha]).buffer)[0];
}

/**
 * Write runs as lines that are `2 × half` pixels wide.
 * @param {Uint32Array} pixels @param {{width: number, height: number}} size of the pixels
 * @param {Int32Array} runs x0, y0, x1, y1, …
 * @param {{left: number, top: number, across: number, down: number}} place where (0, 0) of the runs
 *   lies among the pixels, and how many pixels one unit of the runs is
 */
function writeRuns(pixels, { width, height }, runs, { left, top, across, down }, half, ink) {
  for (let index = 0; index < runs.length; index += 4) {
    const x0 = Math.max(0, Math.round(left + runs[index] * across) - half);
    const x1 = Math.min(width, Math.round(left + runs[index + 2] * across) + half);
    const y0 = Math.max(0, Math.round(top + runs[index + 1] * down) - half);
    const y1 = Math.min(height, Math.round(top + runs[index + 3] * down) + half);
    for (let y = y0; y < y1; y += 1) {
      const row = y * width;
      for (let x = x0; x < x1; x += 1) pixels[row + x] = ink;
    }
  }
}

/**
 * Draw the contour of a picture's mask.
 * @param {CanvasRenderingContext2D} context
 * @param {Picture} picture
 * @param {{left: number, top: number, width: number, height: number}} box of the mask on the canvas
 * @param {number} ratio canvas pixels per CSS pixel
 */
function drawContour(context, picture, box, ratio) {
  const half = Math.max(1, Math.round((CONTOUR_PX / 2) * ratio));
  const wide = half + Math.max(1, Math.round(HALO_PX * ratio));
  const left = Math.max(0, Math.floor(box.left) - wide);
  const top = Math.max(0, Math.floor(box.top) - wide);
  const width = Math.min(context.canvas.width, Math.ceil(box.left + box.width) + wide) - left;
  const height = Math.min(context.canvas.height, Math.ceil(box.top + box.height) + wide) - top;
  if (width <= 0 || height <= 0) return;
  const [columns, rows] = picture.edgesOf;
  const place = {
    left: box.left - left, top: box.top - top, across: box.width / columns, down: box.height / rows,
  };
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  writeRuns(pixels, image, picture.edges, place, wide, inkOf(0, 0, 0, 178));
  writeRuns(pixels, image, picture.edges, place, half, inkOf(...MASK_COLOUR, 255));
  const sheet = sheetOf(width, height);
  sheet.context.putImageData(image, 0, 0);
  context.drawImage(sheet.canvas, 0, 0, width, height, left, top, width, height);
}
