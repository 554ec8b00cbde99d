// The types of /streamconductor.js, for pages and bundlers that check them.

/** How a link or the whole socket ended. */
export interface Ending {
  /** The close code; 1006 when no Close frame arrived or the link fell silent. */
  code: number;
  /** The peer's reason, or why the link was given up. */
  reason: string;
  /** Whether both Close frames were exchanged. */
  wasClean: boolean;
}

/** What the socket is about to do. */
export interface Reconnecting {
  /** How many attempts there were since the last link that held for half a minute, this one included. */
  attempt: number;
  /** Seconds until it starts; a new attempt starts at once when the browser reports to be online. */
  delay: number;
}

/** What `refresh` may answer: a new URL, new subprotocols, or nothing when a cookie was renewed. */
export type Fresh = string | { url?: string | URL; protocols?: string | string[] } | null | undefined | void;

export interface StreamConductorSocketOptions {
  /** Subprotocols to offer. Default: none. */
  protocols?: string | string[];
  /**
   * The text that the server is configured to send as `heartbeat_message`. Such messages are swallowed, and
   * silence longer than 1.9 intervals counts as a dead link, so that a new attempt starts within three
   * intervals of the last message. Default `null`: silence is never judged.
   */
  heartbeatMessage?: string | null;
  /** Seconds between the server's heartbeats, its `ping_interval`. Default 20. */
  pingInterval?: number;
  /** Seconds: the window of the first retry, at most half of `pingInterval`; later ones double. Default 1. */
  minDelay?: number;
  /** Seconds: no window grows beyond it. Default 20, which is also the most. */
  maxDelay?: number;
  /** Bytes kept by `send` while no link is open; beyond, `send` throws. Default 0: it always throws. */
  maxQueue?: number;
  /**
   * Called before the next attempt when the server closed with 4401, token expired. When it rejects or takes
   * longer than five seconds it is called again after a delay. Also called after an attempt that never opened, as
   * browsers do not tell a 401 from a lost server; when it fails then, the old token is tried again. Default `null`:
   * 4401 closes for good.
   */
  refresh?: (() => Promise<Fresh> | Fresh) | null;
}

export interface StreamConductorSocketEventMap extends WebSocketEventMap {
  /** A link ended and another will be tried; `close` comes only when none will be. */
  lost: CustomEvent<Ending>;
  reconnecting: CustomEvent<Reconnecting>;
}

/**
 * A `WebSocket` that reconnects by itself, with exponential backoff and full jitter. `open` fires for every
 * link; messages that were under way when a link broke are lost, as with `WebSocket`.
 */
export declare class StreamConductorSocket extends EventTarget implements WebSocket {
  static readonly CONNECTING: 0;
  static readonly OPEN: 1;
  static readonly CLOSING: 2;
  static readonly CLOSED: 3;
  readonly CONNECTING: 0;
  readonly OPEN: 1;
  readonly CLOSING: 2;
  readonly CLOSED: 3;

  constructor(url: string | URL, options?: StreamConductorSocketOptions | string | string[]);

  readonly url: string;
  readonly protocol: string;
  readonly extensions: string;
  /** CONNECTING also between two links. */
  readonly readyState: 0 | 1 | 2 | 3;
  readonly bufferedAmount: number;
  binaryType: BinaryType;

  onopen: ((this: WebSocket, event: Event) => unknown) | null;
  onmessage: ((this: WebSocket, event: MessageEvent) => unknown) | null;
  onerror: ((this: WebSocket, event: Event) => unknown) | null;
  onclose: ((this: WebSocket, event: CloseEvent) => unknown) | null;
  onlost: ((event: CustomEvent<Ending>) => unknown) | null;
  onreconnecting: ((event: CustomEvent<Reconnecting>) => unknown) | null;

  send(data: string | Blob | BufferSource): void;
  close(code?: number, reason?: string): void;

  addEventListener<Type extends keyof StreamConductorSocketEventMap>(
    type: Type,
    listener: (event: StreamConductorSocketEventMap[Type]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Type extends keyof StreamConductorSocketEventMap>(
    type: Type,
    listener: (event: StreamConductorSocketEventMap[Type]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | EventListenerOptions,
  ): void;
}
