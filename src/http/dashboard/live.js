// Keeps a page's data up to date: at most three calls in five seconds, and none while nobody looks.

import { ageOf, call } from "./api.js";

const CYCLE_MS = 5000;
const CALLS_MAX = 3;

export const pathOf = (source) => (typeof source === "string" ? { path: source } : source);

/// By name: `{path, value, error, at}`. What was loaded stays while a later call fails.
export class Live {
  constructor(changed) {
    this.changed = changed;
    this.data = {};
    this.extra = () => 0;
    setInterval(() => { if (!document.hidden) this.cycle(); }, CYCLE_MS);
    document.addEventListener("visibilitychange", () => { if (!document.hidden && this.age() > CYCLE_MS) this.cycle(); });
  }

  /// Loads these sources, by name, and goes on doing so: a path, or `{path, keeps}` if the answer of another path under this name is
  /// shown until this one comes.
  show(sources) {
    const before = this.data;
    this.data = {};
    for (const [name, source] of Object.entries(sources)) {
      const { path, keeps } = pathOf(source);
      const value = keeps ? before[name]?.value : undefined;
      this.data[name] = before[name]?.path === path ? before[name] : { path, at: 0, value };
    }
    const unloaded = Object.values(this.data).filter((it) => !it.at && !it.loading);
    return Promise.all(unloaded.map((it) => this.load(it)));
  }

  /// Loads all at once: an operator has changed something.
  reload() {
    return Promise.all(Object.values(this.data).map((it) => this.load(it)));
  }

  /// What was not loaded for longest comes first.
  cycle() {
    const free = CALLS_MAX - this.extra();
    const due = Object.values(this.data).filter((it) => !it.loading && it.error?.status !== 404);
    due.sort((one, other) => one.at - other.at);
    due.slice(0, free).forEach((it) => this.load(it));
  }

  async load(source) {
    source.loading = true;
    try {
      source.value = await call(source.path);
      source.error = undefined;
      source.answered = Date.now() - ageOf(source.value);
    } catch (error) {
      source.error = error;
    }
    source.at = Date.now();
    source.loading = false;
    if (Object.values(this.data).includes(source)) this.changed(source.error);
  }

  /// How old the oldest of what is shown is, in milliseconds.
  age() {
    const answered = Object.values(this.data).filter((it) => it.answered).map((it) => it.answered);
    return answered.length ? Date.now() - Math.min(...answered) : 0;
  }

  /// Whether something came from a replica.
  isStale() {
    return Object.values(this.data).some((it) => it.value && ageOf(it.value));
  }

  /// Why something could not be loaded; a call that an older version of Feebox does not have is no failure.
  failure() {
    return Object.values(this.data).map((it) => it.error).find((error) => error && error.status !== 404);
  }
}
