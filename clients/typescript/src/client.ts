// The basis of a client in TypeScript, for the consumer tests in test/. The page has a complete one in JavaScript:
// clients/js/src/client.js.

export interface Message {
  channel_id: string;
  seq: number;
  sender_id: string;
  content: string;
  created_at: string;
}

/** Frames of the socket that this client uses. */
export type Frame =
  | { type: "events"; channel_id: string; events: { type: string; seq: number; message?: Message }[] }
  | { type: "typing"; channel_id: string; user_id: string };

/** An error response (RFC 9457). */
export class Problem extends Error {
  constructor(
    readonly status: number,
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
    const problem = (await response.json().catch(() => ({}))) as { detail?: string; errors?: { field: string }[] };
    const retryAfter = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
    throw new Problem(
      response.status,
      problem.detail ?? response.statusText,
      (problem.errors ?? []).map(({ field }) => field),
      Number.isNaN(retryAfter) ? null : retryAfter,
    );
  }
}

/** The messages of one channel, and the typing users. Ignores unknown frames. */
export class Room {
  readonly typing = new Set<string>();
  private readonly bySeq = new Map<number, Message>();

  get messages(): Message[] {
    return [...this.bySeq.values()].sort((one, other) => one.seq - other.seq);
  }

  take(frame: Frame | { type: string }): void {
    if (frame.type === "events" && "events" in frame) {
      for (const { type, message } of frame.events) {
        // Pushes may be repeated: a message that is stored already changes nothing.
        if (type === "message.created" && message && !this.bySeq.has(message.seq)) {
          this.bySeq.set(message.seq, message);
          this.typing.delete(message.sender_id);
        }
      }
    }
    if (frame.type === "typing" && "user_id" in frame) this.typing.add(frame.user_id);
  }
}
