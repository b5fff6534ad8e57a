// Keeps a page up to date: the server sends it anew when it changes, over one stream. Until that is open, and where something between
// here and there keeps it back, the page is asked for, every five seconds. While nobody looks there is neither.

import { Refusal, freshSince } from "./api.js";
import { t } from "./text.js";

const CYCLE_MS = 5000;
/// A stream that says nothing for so long is none: the server says every few seconds that it is there.
const SILENCE_MS = 10_000;
/// One that said nothing is tried again after this.
const AGAIN_MS = 60_000;

/// An answer that takes longer does not come.
const ANSWER_MS = 60_000;

const read = (html) => new DOMParser().parseFromString(html, "text/html");

/// Follows the page at an address: `show(page, address)` gets the document that the server wrote and says whether all that is shown is of now, `failed(error)` gets why it
/// wrote nothing.
export class Live {
  constructor({ show, failed }) {
    Object.assign(this, { show, failed, silentUntil: 0, at: Date.now() });
    setInterval(() => { if (!document.hidden) this.cycle(); }, CYCLE_MS);
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) { this.close(); return; }
      this.listen();
      if (this.age() > CYCLE_MS) this.load();
    });
  }

  /// Follows the page at `address`; it is loaded first, unless it is there.
  follow(address, isLoaded) {
    this.address = address;
    this.listen();
    return isLoaded ? undefined : this.load();
  }

  /// Loads the page now: something was changed.
  reload() {
    this.listen();
    return this.load();
  }

  /// Opens a stream of what is shown now.
  listen() {
    this.close();
    if (document.hidden || !this.address || this.isOut || Date.now() < this.silentUntil) return;
    const query = new URLSearchParams({ page: this.address });
    if (freshSince()) query.set("fresh", freshSince());
    const stream = new EventSource(`/dashboard/live?${query}`);
    const hears = (name, then) => stream.addEventListener(name, (event) => {
      if (this.stream !== stream) return;
      this.heardAt = Date.now();
      then(event);
    });
    hears("page", (event) => { this.heardPageAt = Date.now(); this.told(read(event.data), this.address); });
    hears("beat", () => { if (!this.isOld) this.at = Date.now(); });
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

  told(page, address) {
    this.isOld = !this.show(page, address);
    if (!this.isOld) this.at = Date.now();
  }

  /// Asks, unless there is a stream that speaks.
  cycle() {
    const isSilent = this.stream && Date.now() - (this.heardAt || this.openedAt) >= SILENCE_MS;
    if (this.isOut || (this.stream && this.heardAt && !isSilent)) return;
    if (isSilent) {
      this.silentUntil = Date.now() + AGAIN_MS;
      this.close();
    }
    if (this.loading !== this.address) this.load();
    if (!this.stream) this.listen();
  }

  /// Asks for the page. An answer to an earlier question, one for another page, and one that the stream was ahead of comes too late.
  async load() {
    const [address, turn, begun] = [this.address, (this.turn ?? 0) + 1, Date.now()];
    Object.assign(this, { turn, loading: address });
    try {
      const answer = await fetch(address, { signal: AbortSignal.timeout(ANSWER_MS), headers: { Accept: "text/html", "Cache-Control": freshSince() ? "no-cache" : "max-age=86400" }, cache: "no-store" });
      const html = await answer.text();
      if (turn !== this.turn) return;
      const page = read(html);
      // Something on the way has pages of its own.
      if (page.body.dataset.age === undefined) throw new Refusal(answer.status, `${answer.status} ${answer.statusText}`);
      const wasOut = this.isOut;
      this.isOut = answer.status === 401 || answer.status === 403;
      if (this.isOut) this.close();
      else if (wasOut) {
        this.silentUntil = 0;
        this.listen();
      }
      if (this.isOut || wasOut || !(this.stream && this.heardPageAt > begun)) this.told(page, address);
    } catch (error) {
      if (turn === this.turn) this.failed(error instanceof Refusal ? error : new Refusal(0, t("error.unreachable"), error.message));
    } finally {
      if (turn === this.turn) this.loading = undefined;
    }
  }

  /// How old what is shown is, in milliseconds.
  age() {
    return Date.now() - this.at;
  }
}
