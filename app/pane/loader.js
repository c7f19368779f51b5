/*
 * Loading ahead, for the queue and for the grid: so many steps at once, and what a failure means.
 */

/** How long a picture that did not come is left alone. */
const LOAD_AGAIN_MS = 700;
/** A picture at which the server failed so often is given up. */
const LOADS_MOST = 5;

/**
 * @typedef {{busy: boolean, loads: number}} Loaded something that is loaded: under way or not, and how
 *   often the server failed at it
 */
class Loader {
  /** @param {number} atOnce */
  constructor(atOnce) {
    this.free = atOnce;
  }

  /**
   * Do one step for something. A step that failed in passing keeps its place for a moment: the server is
   * left alone, and the step can be done again.
   * @param {Loaded} one @param {() => Promise<void>} step
   * @returns {Promise<{outcome: 'done'|'again'|'gone'|'failed', message: string}>} gone: it is not ours
   *   any more; failed: it cannot be shown, says the message
   */
  async run(one, step) {
    one.busy = true;
    this.free -= 1;
    try {
      await step();
      return { outcome: 'done', message: '' };
    } catch (error) {
      const outcome = this.#meaning(one, error);
      if (outcome === 'again') await new Promise((go) => setTimeout(go, LOAD_AGAIN_MS));
      return { outcome, message: error.message };
    } finally {
      one.busy = false;
      this.free += 1;
    }
  }

  #meaning(one, error) {
    // A server that is well otherwise and fails at this one picture: the others must not wait for it.
    one.loads += error.reason === 'failed' ? 1 : 0;
    if (error.kind === 'network') return one.loads < LOADS_MOST ? 'again' : 'failed';
    return error.kind && error.reason !== 'picture' ? 'gone' : 'failed';
  }
}
