// What this browser remembers from page to page. Where it gives no room for that, or other software at this address has filled it, this window
// remembers it, until it is loaded again.

const ours = new Map();
// Another window had room for it since.
addEventListener("storage", ({ key }) => { if (key === null) ours.clear(); else ours.delete(key); });

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
