// The basis of a client in TypeScript, for the consumer tests in test/. The page has a complete one in JavaScript:
// clients/js/src/client.js.

export interface Message {
  channel_id: string;
  seq: number;
  /** Number of its state: one more after each edit, deletion and reaction. */
  version: number;
  sender_id: string;
  content: string;
  created_at: string;
}

/** Frames of the socket that this client uses. */
export type Frame =
  | { type: "hello"; connection_id: string; user_id: string }
  | { type: "closing"; reason: string; reconnect: boolean }
  | { type: "events"; channel_id: string; events: { type: string; seq: number; version?: number; message?: Message }[] }
  | { type: "typing"; channel_id: string; user_id: string };

/** An error response (RFC 9457). */
export class Problem extends Error {
  constructor(
    readonly status: number,
    /** Stable code for programs, such as `rate_limited`; empty if a proxy refused the request. */
    readonly code: string,
    detail: string,
    readonly fields: string[],
    /** Seconds to wait before the same request; `null` if the server sends none. */
    readonly retryAfter: number | null,
  ) {
    super(detail);
    this.name = "Problem";
  }
}

export class Client {
  constructor(
    private readonly url: string,
    private readonly token: string,
  ) {}

  /** Sends a message. A repeated request with the same key returns the same message. */
  send(channelId: string, content: string, key: string): Promise<Message> {
    return this.call("POST", `/channels/${encodeURIComponent(channelId)}/messages`, { content }, { "Idempotency-Key": key });
  }

  /** Returns the messages after the number `after`, oldest first. */
  async missed(channelId: string, after: number): Promise<Message[]> {
    const path = `/channels/${encodeURIComponent(channelId)}/messages?after=${after}`;
    return (await this.call<{ messages: Message[] }>("GET", path)).messages;
  }

  private async call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
    const response = await fetch(this.url + path, {
      method,
      headers: {
        Authorization: `Bearer ${this.token}`,
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (response.ok) return (await response.json()) as T;
    const problem = (await response.json().catch(() => ({}))) as {
      code?: string;
      detail?: string;
      errors?: { field: string }[];
    };
    const retryAfter = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
    throw new Problem(
      response.status,
      problem.code ?? "",
      problem.detail ?? response.statusText,
      (problem.errors ?? []).map(({ field }) => field),
      Number.isNaN(retryAfter) ? null : retryAfter,
    );
  }
}

/** The messages of one channel, and the typing users. Ignores unknown frames. */
export class Room {
  readonly typing = new Set<string>();
  /** Whether to open another socket when this one is closed. */
  reconnects = true;
  private readonly bySeq = new Map<number, Message>();

  get messages(): Message[] {
    return [...this.bySeq.values()].sort((one, other) => one.seq - other.seq);
  }

  take(frame: Frame | { type: string }): void {
    if (frame.type === "events" && "events" in frame) {
      for (const { type, message } of frame.events) {
        if (!message) continue;
        const held = this.bySeq.get(message.seq);
        // Pushes may be repeated, and an older state may come later: the larger version is the newer one.
        const isNewer = held !== undefined && held.version < message.version;
        if (type === "message.created" && !held) {
          this.bySeq.set(message.seq, message);
          this.typing.delete(message.sender_id);
        }
        if ((type === "message.updated" || type === "message.deleted") && isNewer) this.bySeq.set(message.seq, message);
      }
    }
    if (frame.type === "closing" && "reconnect" in frame) this.reconnects = frame.reconnect;
    if (frame.type === "typing" && "user_id" in frame) this.typing.add(frame.user_id);
  }
}
