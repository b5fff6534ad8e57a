// What this browser remembers from page to page. Where it may not (site data is blocked, or other software at this address has filled the
// room), this window does, until it is loaded again.

const ours = new Map();

/// What was remembered as `key`; null if nothing was. Other software may have had this address: it can be any text.
export function remembered(key) {
  if (ours.has(key)) return ours.get(key);
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function remember(key, value) {
  ours.set(key, value);
  try {
    localStorage.setItem(key, value);
    // Another window may change it from now on.
    ours.delete(key);
  } catch {
    // It stays ours.
  }
}
