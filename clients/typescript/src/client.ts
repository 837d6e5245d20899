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

/** A page of the history. */
export interface Page {
  messages: Message[];
  has_more: boolean;
  /** Number of the channel's newest change, from before the page was read. */
  rev: number;
}

/** A page of changed messages, each at its last change. */
export interface Changes {
  changes: { rev: number; message: Message }[];
  has_more: boolean;
  next?: { after: number };
  /** Number of the channel's newest change. */
  rev: number;
}

/** A reply of the agent, as far as it is stored. */
export interface Reply {
  status: string;
  draft_id?: string;
  /** Number of characters of `text`. */
  position: number;
  text: string;
  seq?: number;
}

/** An event of a message. A change of a message has `rev`, and `rev_from` if the event covers several. */
export interface Event {
  type: string;
  seq: number;
  version?: number;
  rev?: number;
  rev_from?: number;
  message?: Message;
}

/** Frames of the socket that this client uses. */
export type Frame =
  | { type: "hello"; connection_id: string; user_id: string }
  | { type: "closing"; reason: string; reconnect: boolean }
  | { type: "events"; channel_id: string; events: Event[] }
  | { type: "message.delta"; channel_id: string; draft_id: string; reply_to: number; status: string; position: number; text: string }
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
  send(channelId: string, content: string, key: string): Promise<Message & { rev: number }> {
    return this.call("POST", `/channels/${encodeURIComponent(channelId)}/messages`, { content }, { "Idempotency-Key": key });
  }

  /** Returns a page of the messages after the number `after`, oldest first. Waits up to `wait` seconds for one. */
  missed(channelId: string, after: number, wait = 0): Promise<Page> {
    const waiting = wait > 0 ? `&wait=${wait}` : "";
    return this.call("GET", `/channels/${encodeURIComponent(channelId)}/messages?after=${after}${waiting}`);
  }

  /** Returns a page of the messages that changed after the change number `after`, each in its current state. */
  changes(channelId: string, after: number): Promise<Changes> {
    return this.call("GET", `/channels/${encodeURIComponent(channelId)}/changes?after=${after}`);
  }

  /** Returns the agent's reply to a message, as far as it is stored. */
  reply(channelId: string, seq: number): Promise<Reply> {
    return this.call("GET", `/channels/${encodeURIComponent(channelId)}/messages/${seq}/reply`);
  }

  /** Reads the changes that a room has missed. Returns `false` if they are no longer stored: begin another room then. */
  async catchUp(channelId: string, room: Room): Promise<boolean> {
    let after = room.missedChanges;
    try {
      while (after !== undefined) after = room.takeChanges(await this.changes(channelId, after));
      return true;
    } catch (error) {
      if (error instanceof Problem && error.code === "changes_expired") return false;
      throw error;
    }
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

/** The draft of the agent's reply to one message. */
export interface Draft {
  draftId: string | undefined;
  text: string;
  status: string;
  /** Whether a frame was lost, so that the reply must be read. */
  isBehind: boolean;
}

/** The messages of one channel, drafts of the agent, and the typing users. Ignores unknown frames. */
export class Room {
  readonly typing = new Set<string>();
  /** Drafts by the number of the message that they reply to. */
  readonly drafts = new Map<number, Draft>();
  /** Whether to open another socket when this one is closed. */
  reconnects = true;
  private readonly bySeq = new Map<number, Message>();
  /** Number up to which the held messages have all changes; `undefined` before the first page. */
  private known: number | undefined;
  /** Largest change number of a page or an event. */
  private newest = 0;
  /** Number up to which no message is missing. */
  private settled = 0;
  /** Largest number of a message that a change named and that was not held. */
  private named = 0;

  get messages(): Message[] {
    return [...this.bySeq.values()].sort((one, other) => one.seq - other.seq);
  }

  /** Change number after which changes are missing; `undefined` if none is. */
  get missedChanges(): number | undefined {
    return this.known !== undefined && this.known < this.newest ? this.known : undefined;
  }

  /** Number after which messages are missing; `undefined` if none is, or before the first page. */
  get missedMessages(): number | undefined {
    const newest = Math.max(this.named, ...this.bySeq.keys());
    return this.known !== undefined && this.settled < newest ? this.settled : undefined;
  }

  /** Adds a page of the history. It may lack later changes of its messages. */
  takePage({ messages, rev }: Page): void {
    // A further page holds earlier messages, or the first ones after the settled ones.
    this.settled = Math.max(this.settled, ...messages.map(({ seq }) => seq));
    this.newest = Math.max(this.newest, rev);
    this.known = Math.min(this.known ?? rev, rev);
    for (const message of messages) this.keep(message);
    this.advance();
  }

  /** Adds a page of the messages after {@link missedMessages}. */
  takeMissed(page: Page): void {
    // The last page, if it was read after all known changes, omits only messages that have expired.
    if (!page.has_more && page.rev >= this.newest) this.settled = Math.max(this.settled, this.named);
    this.takePage(page);
  }

  /** Applies a page of changes. Returns the position of the next page, if there is one. */
  takeChanges({ changes, has_more, next, rev }: Changes): number | undefined {
    for (const { message } of changes) this.change(message);
    this.newest = Math.max(this.newest, rev);
    if (has_more) return next?.after;
    this.known = Math.max(this.known ?? rev, rev);
    return undefined;
  }

  /** Takes a reply as it is stored. Keeps a longer text of the same draft, which came by frames meanwhile. */
  takeReply(replyTo: number, { status, draft_id, position, text }: Reply): void {
    const held = this.drafts.get(replyTo);
    const isLonger = held !== undefined && held.draftId === draft_id && [...held.text].length >= position;
    this.drafts.set(replyTo, { draftId: draft_id, text: isLonger ? held.text : text, status, isBehind: false });
  }

  take(frame: Frame | { type: string }): void {
    if (frame.type === "events" && "events" in frame) {
      for (const event of frame.events) this.takeEvent(event);
    }
    if (frame.type === "message.delta" && "draft_id" in frame) this.takeDraft(frame);
    if (frame.type === "closing" && "reconnect" in frame) this.reconnects = frame.reconnect;
    if (frame.type === "typing" && "user_id" in frame) this.typing.add(frame.user_id);
  }

  private takeEvent({ type, seq, rev, rev_from, message }: Event): void {
    if (rev !== undefined) {
      this.newest = Math.max(this.newest, rev);
      // A number beyond the next one shows that a change was missed.
      if (this.known !== undefined && (rev_from ?? rev) <= this.known + 1) this.known = Math.max(this.known, rev);
    }
    if (type === "reaction.added" || type === "reaction.removed") this.name(seq);
    if (!message) return;
    if (type === "message.created") {
      // Up to the settled messages, one that is not held is a late repetition of a first state.
      if (seq > this.settled || this.bySeq.has(seq)) this.keep(message);
      this.advance();
      this.typing.delete(message.sender_id);
    }
    if (type === "message.updated" || type === "message.deleted") this.change(message);
  }

  /** Applies a frame: `text` follows the first `position` characters. Another draft replaces the held one. */
  private takeDraft({ draft_id, reply_to, status, position, text }: Extract<Frame, { type: "message.delta" }>): void {
    const held = this.drafts.get(reply_to);
    const characters = held?.draftId === draft_id ? [...held.text] : [];
    const isBehind = position > characters.length;
    const joined = isBehind ? characters : [...characters.slice(0, position), text];
    this.drafts.set(reply_to, { draftId: draft_id, text: joined.join(""), status, isBehind });
  }

  /** Takes the new state of a message. A message that is not held and has an earlier number was never shown. */
  private change(message: Message): void {
    this.name(message.seq);
    if (this.bySeq.has(message.seq)) this.keep(message);
  }

  /**
   * Takes the number of a changed message. If the message is not held, and comes after the settled ones, its push was
   * missed: its first state may come later, and would lack the change.
   */
  private name(seq: number): void {
    if (!this.bySeq.has(seq)) this.named = Math.max(this.named, seq);
  }

  /** Keeps the newer state of a message: pushes may be repeated, and an older state may come later. */
  private keep(message: Message): void {
    const held = this.bySeq.get(message.seq);
    if (!held || held.version < message.version) this.bySeq.set(message.seq, message);
  }

  private advance(): void {
    while (this.bySeq.has(this.settled + 1)) this.settled += 1;
  }
}
