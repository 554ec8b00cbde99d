// Receives messages from the browser's WebSocket · hands the page the same interface, kept alive across lost
// links · owns the choice of when to come back. No dependency; every server serves it at /streamconductor.js.

const CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3;
const OPEN_TIMEOUT = 5_000; // ms for one attempt: a black hole answers nothing, and browsers wait for minutes
const STABLE = 30_000; // ms a link must have held for the next loss to count as the first again
const LONGEST_DELAY = 20; // seconds; with an attempt it brings every page back within half a minute
const RETURN = [1001, 1006], BACK_OFF = [1011, 1012, 1013, 4008], REFRESH = 4401; // all others: stay away
const EVENTS = ["open", "message", "error", "close", "lost", "reconnecting"];
const now = () => performance.now();
const turn = () => new Promise((resolve) => { // of the event queue; timers of hidden pages are held for a minute
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => resolve(port1.close());
  port2.postMessage(null);
});

/** A `WebSocket` that reconnects. Delays and intervals are seconds; streamconductor.d.ts tells each option. */
export class StreamConductorSocket extends EventTarget {
  #url; #options; #heartbeat; #interval; #least; #most;
  #link; // the newest WebSocket; already abandoned or ended while we wait for the next attempt
  #state = CONNECTING; #timer; #retry = null; #attempt = 0; #openedAt = 0; #seen = 0; // ms
  #queue = []; #queued = 0; #unlisten = new AbortController();
  onopen = null; onmessage = null; onerror = null; onclose = null; onlost = null; onreconnecting = null;

  constructor(url, options = {}) {
    super();
    for (const type of EVENTS) this.addEventListener(type, (event) => this[`on${type}`]?.(event));
    this.#url = url;
    this.#options = typeof options === "string" || Array.isArray(options) ? { protocols: options } : options;
    const { heartbeatMessage = null, pingInterval = 20, minDelay = 1, maxDelay = LONGEST_DELAY } = this.#options;
    this.#heartbeat = heartbeatMessage;
    this.#interval = 1000 * pingInterval;
    this.#least = Math.min(1000 * minDelay, this.#interval / 2);
    this.#most = 1000 * Math.min(maxDelay, LONGEST_DELAY);
    this.#dial();
    const { signal } = this.#unlisten;
    globalThis.addEventListener("online", () => (this.#retry ? this.#retry() : this.#judge()), { signal });
    globalThis.document?.addEventListener("visibilitychange", () => this.#judge(), { signal });
  }

  get url() { return this.#link.url; }
  get protocol() { return this.#link.protocol; }
  get extensions() { return this.#link.extensions; }
  get readyState() { return this.#state; }
  get bufferedAmount() { return this.#queued + (this.#state === CONNECTING ? 0 : this.#link.bufferedAmount); }
  get binaryType() { return this.#link?.binaryType ?? "blob"; }
  set binaryType(type) { this.#link.binaryType = type; }

  send(data) {
    if (this.#state !== CONNECTING) return this.#link.send(data);
    const total = this.#queued + new Blob([data]).size, { maxQueue = 0 } = this.#options;
    if (total > maxQueue) throw new DOMException(`not open: ${total} B > maxQueue ${maxQueue} B`, "InvalidStateError");
    this.#queue.push(typeof data === "object" ? new Blob([data]) : String(data)); // the page may reuse its buffer
    this.#queued = total;
  }

  close(code, reason) {
    this.#link.close(code, reason); // validates too, also when that link is gone
    if (this.#state >= CLOSING) return;
    this.#state = CLOSING;
    if (!this.#link.onclose) setTimeout(() => this.#finish({ code: 1006, reason: "", wasClean: false }));
  }

  #dial() {
    const address = new URL(this.#url, globalThis.location?.href).href.replace(/^http/, "ws");
    const link = new WebSocket(address, this.#options.protocols ?? []);
    link.binaryType = this.binaryType;
    link.onopen = () => {
      this.#state = OPEN;
      this.#openedAt = this.#seen = now();
      clearTimeout(this.#timer);
      this.#judge();
      for (const data of this.#queue.splice(0)) link.send(data);
      this.#queued = 0;
      this.dispatchEvent(new Event("open"));
    };
    link.onmessage = ({ data, origin }) => {
      this.#seen = now(); // any message is life
      if (data !== this.#heartbeat) this.dispatchEvent(new MessageEvent("message", { data, origin }));
    };
    link.onclose = (event) => this.#ended(event);
    this.#link = link;
    this.#timer = setTimeout(() => this.#abandon("no answer to the opening handshake"), OPEN_TIMEOUT);
  }

  // Browsers show no pings, so the silence between the server's heartbeats is judged: 1.9 intervals, then a first
  // retry within half of one, leave 0.6 of the promised three for a late timer. One timer, not one per message.
  async #judge() {
    if (this.#heartbeat === null || this.#state !== OPEN) return;
    const link = this.#link, left = () => this.#seen + 1.9 * this.#interval - now();
    // In a page that was hidden, blocked or frozen, messages may wait behind this very timer: they go first.
    for (let turns = 0; turns < 3 && left() <= 0; turns += 1) await turn();
    if (this.#state !== OPEN || this.#link !== link) return;
    if (left() <= 0) return this.#abandon(`no message for ${Math.round(now() - this.#seen)} ms`);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#judge(), left());
  }

  #abandon(reason) {
    const link = this.#link, left = Math.max(0, this.#seen + 2.8 * this.#interval - now());
    // Silence is answered in the first window, however many attempts went before: that is the promise.
    const window = this.#state === OPEN ? Math.min(this.#least, left) : undefined;
    this.#ended({ code: 1006, reason, wasClean: false }, window);
    link.close(); // detached by then: a dead link reports its end only when another has long taken over
  }

  #ended({ code, reason, wasClean }, window) {
    clearTimeout(this.#timer);
    this.#link.onopen = this.#link.onmessage = this.#link.onclose = null;
    const { refresh } = this.#options, again = [...RETURN, ...BACK_OFF, ...(refresh ? [REFRESH] : [])].includes(code);
    const renew = code === REFRESH ? "must" : refresh && this.#state === CONNECTING && "may"; // 1006 may be a 401
    if (this.#state === CLOSING || !again) return this.#finish({ code, reason, wasClean });
    if (this.#state === OPEN && now() - this.#openedAt >= STABLE) this.#attempt = 0;
    this.#state = CONNECTING;
    this.dispatchEvent(new CustomEvent("lost", { detail: { code, reason, wasClean } }));
    if (this.#state === CONNECTING) this.#wait(BACK_OFF.includes(code) ? 2 : 0, renew, window);
  }

  // Full jitter: uniform over the whole window, so that ten thousand pages never return as one.
  #wait(steps, renew, window = Math.min(this.#most, this.#least * 2 ** (this.#attempt + steps))) {
    const delay = Math.random() * window, detail = { attempt: (this.#attempt += 1), delay: delay / 1000 };
    this.#timer = setTimeout(this.#retry = () => this.#again(renew), delay);
    this.dispatchEvent(new CustomEvent("reconnecting", { detail }));
  }

  async #again(renew) {
    clearTimeout(this.#timer);
    this.#retry = null;
    if (this.#state !== CONNECTING) return; // closed while waiting
    try {
      const late = (_, fail) => setTimeout(fail, OPEN_TIMEOUT);
      const fresh = renew && (await Promise.race([this.#options.refresh(), new Promise(late)]));
      if (this.#state !== CONNECTING) return; // closed meanwhile
      this.#url = (typeof fresh === "string" ? fresh : fresh?.url) ?? this.#url;
      this.#options = { ...this.#options, protocols: fresh?.protocols ?? this.#options.protocols };
      this.#dial();
    } catch {
      if (this.#state === CONNECTING) this.#wait(0, renew === "must" && renew); // no new token yet: ask again later
    }
  }

  #finish(detail) {
    this.#state = CLOSED;
    this.#unlisten.abort();
    if (!detail.wasClean) this.dispatchEvent(new Event("error"));
    this.dispatchEvent(new CloseEvent("close", detail));
  }

  static { for (const it of [this, this.prototype]) Object.assign(it, { CONNECTING, OPEN, CLOSING, CLOSED }); }
}
