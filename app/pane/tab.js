/*
 * Who this tab is, and what time it is.
 *
 * A client is one browser tab on one task. Its id lives in sessionStorage, so that a tab that was
 * reloaded with answers on their way can go on where it was; one that leaves with none forgets the id.
 * Either gives back the masks that nobody is deciding. A duplicated tab copies sessionStorage: a lock that the living tab holds
 * tells the copy that the id is taken.
 */

const LOCK_WAIT_MS = 400;

/** 32 random hex digits: the id of an operation, a lease or a client. */
function newToken() {
  if (crypto.randomUUID) return crypto.randomUUID().replaceAll('-', '');
  // randomUUID is missing on plain http under a host name other than localhost.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Milliseconds since 1970 by a clock that never jumps while the page lives. */
function wallMs() {
  return performance.timeOrigin + performance.now();
}

/** A value of sessionStorage or localStorage; null where the browser forbids both. */
function recall(storage, key) {
  try {
    return window[storage].getItem(key);
  } catch {
    return null;
  }
}

/** Keep a value where the browser allows it; without it the pane only forgets more. */
function remember(storage, key, value) {
  try {
    window[storage].setItem(key, value);
  } catch {
    // Storage is forbidden or full: the operations themselves are in IndexedDB.
  }
}

/**
 * Take a lock for as long as the page lives, or until the returned function is called.
 * @param {string} name
 * @param {number} waitMs how long to wait for a former holder that is just going away
 * @returns {Promise<(() => void)|null>} null where another tab holds it
 */
function holdLock(name, waitMs) {
  if (!navigator.locks) return Promise.resolve(() => {});
  const options = waitMs > 0 ? { signal: AbortSignal.timeout(waitMs) } : { ifAvailable: true };
  return new Promise((settle) => {
    const held = (lock) => (lock ? new Promise((release) => settle(release)) : settle(null));
    navigator.locks.request(name, options, held).catch(() => settle(null));
  });
}

/** The lock that says that a client's tab lives. */
function lockOf(box) {
  return `mseg-curate:${box}`;
}

function keyOfPlace(place) {
  return `mseg-curate:client:${place}`;
}

/** Let the next page of this tab be another client. */
function forgetIdentity(place) {
  try {
    window.sessionStorage.removeItem(keyOfPlace(place));
  } catch {
    // Storage is forbidden: nothing was kept.
  }
}

/** The leases that the last page of this tab gave back as it left. */
function keyOfGiven(client) {
  return `mseg-curate:given:${client}`;
}

/**
 * The id of this tab for one person, task and mode.
 * @param {string} place person, task and mode
 * @returns {Promise<{client: string, box: string, place: string, given: string[], release: () => void}>}
 *   `given`: leases that this client has given back, which the server may not have taken yet
 */
async function takeIdentity(place) {
  const key = keyOfPlace(place);
  const known = recall('sessionStorage', key);
  // Without locks nobody can tell a reload from a duplicate: then every start is a new client.
  if (known && navigator.locks) {
    const box = `${place}|${known}`;
    const release = await holdLock(lockOf(box), LOCK_WAIT_MS);
    if (release) return { client: known, box, place, given: givenBy(known), release };
  }
  const client = newToken();
  remember('sessionStorage', key, client);
  const box = `${place}|${client}`;
  return { client, box, place, given: [], release: (await holdLock(lockOf(box), 0)) ?? (() => {}) };
}

/** @returns {string[]} */
function givenBy(client) {
  const kept = recall('sessionStorage', keyOfGiven(client));
  return kept ? kept.split(',') : [];
}
