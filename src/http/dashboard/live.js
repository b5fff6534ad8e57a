// Keeps a page's data up to date: the server tells what changes, over one stream. Until that is open, and where something between here
// and there keeps it back, the page asks: at most three calls in five seconds. While nobody looks there is neither.

import { ageOf, answered, call, freshSince } from "./api.js";

const CYCLE_MS = 5000;
const CALLS_MAX = 3;
/// A stream that says nothing for so long is none: the server says every few seconds that it is there.
const SILENCE_MS = 10_000;
/// One that said nothing is tried again after this.
const AGAIN_MS = 60_000;

export const pathOf = (source) => (typeof source === "string" ? { path: source } : source);

/// By name: `{path, value, error, at}`. What was loaded stays while a later call fails.
export class Live {
  constructor(changed) {
    this.changed = changed;
    this.data = {};
    this.extra = () => 0;
    this.silentUntil = 0;
    setInterval(() => { if (!document.hidden) this.cycle(); }, CYCLE_MS);
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) { this.close(); return; }
      this.listen();
      if (this.age() > CYCLE_MS) this.ask();
    });
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
    this.listen();
    return Promise.all(unloaded.map((it) => this.load(it)));
  }

  /// Loads all at once: an operator has changed something.
  reload() {
    this.listen();
    return Promise.all(Object.values(this.data).map((it) => this.load(it)));
  }

  /// Opens a stream of what is shown now.
  listen() {
    this.close();
    const shown = Object.values(this.data).filter((it) => it.error?.status !== 404);
    if (document.hidden || !shown.length || Date.now() < this.silentUntil) return;
    const query = new URLSearchParams(shown.map((it) => ["call", it.path]));
    if (freshSince()) query.set("fresh", freshSince());
    const stream = new EventSource(`/dashboard/live?${query}`);
    const hears = (name, then) => stream.addEventListener(name, (event) => {
      if (this.stream !== stream) return;
      this.heardAt = Date.now();
      then(event);
    });
    hears("answer", (event) => this.told(JSON.parse(event.data)));
    hears("beat", () => this.confirm());
    // A stream has its time. One that ends at once is that of a server that leaves.
    hears("end", () => { if (Date.now() - this.openedAt > CYCLE_MS) this.listen(); else this.close(); });
    stream.addEventListener("error", () => {
      if (this.stream !== stream) return;
      if (!this.heardAt) this.silentUntil = Date.now() + AGAIN_MS;
      this.close();
    });
    Object.assign(this, { stream, openedAt: Date.now(), heardAt: 0 });
  }

  close() {
    this.stream?.close();
    this.stream = undefined;
  }

  told({ call: path, status, age, body }) {
    const source = Object.values(this.data).find((it) => it.path === path);
    if (!source) return;
    try {
      this.keep(source, answered(status, age, body));
    } catch (error) {
      source.error = error;
    }
    source.at = Date.now();
    this.changed(source.error);
  }

  /// What was not told anew is as it was.
  confirm() {
    for (const it of Object.values(this.data)) if (it.value && !it.error && !ageOf(it.value)) it.answered = Date.now();
  }

  /// Asks, unless there is a stream that speaks.
  cycle() {
    const isSilent = this.stream && Date.now() - (this.heardAt || this.openedAt) >= SILENCE_MS;
    if (this.stream && this.heardAt && !isSilent) return;
    if (isSilent) {
      this.silentUntil = Date.now() + AGAIN_MS;
      this.close();
    }
    this.ask();
    if (!this.stream) this.listen();
  }

  /// What was not loaded for longest comes first.
  ask() {
    const free = CALLS_MAX - this.extra();
    const due = Object.values(this.data).filter((it) => !it.loading && it.error?.status !== 404);
    due.sort((one, other) => one.at - other.at);
    due.slice(0, free).forEach((it) => this.load(it));
  }

  async load(source) {
    source.loading = true;
    try {
      this.keep(source, await call(source.path));
    } catch (error) {
      source.error = error;
    }
    source.at = Date.now();
    source.loading = false;
    if (Object.values(this.data).includes(source)) this.changed(source.error);
  }

  keep(source, value) {
    Object.assign(source, { value, error: undefined, answered: Date.now() - ageOf(value) });
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
