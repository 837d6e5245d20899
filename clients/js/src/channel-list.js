// The channels of a user: order, previews, unread counts. No network, no DOM, no clock.

/** @import { ChannelInfo, Message, Role } from "./types.js" */

/** Number up to which unread messages are counted; a count of this means as many or more. */
export const UNREAD_COUNTED = 100;
/** Maximum length of a preview's text, in characters. */
const PREVIEW_CHARACTERS = 200;

/**
 * The channels of which a user is a member, as in `GET /channels`, kept current by frames.
 *
 * A message is unread if it came after the read mark and after the user's newest own message, and is neither the
 * user's own nor deleted. Where a frame does not suffice for the count, a method returns `false`. Then the channel must be
 * read again.
 */
export class ChannelList {
  /** @type {Map<string, ChannelInfo>} */
  #byId = new Map();
  /** The newest own `seq` of each channel. @type {Map<string, number>} */
  #own = new Map();
  /** The entries, until the list changes. @type {ChannelInfo[] | null} */
  #entries = null;
  #user;
  /** The number of the last change, and that of the last change of each channel. */
  #changes = 0;
  /** @type {Map<string, number>} */
  #changed = new Map();

  /** @param {{ userId: string | null }} user */
  constructor(user) {
    this.#user = user;
  }

  /** Channels that are not archived, newest activity first. The same array until the list changes. */
  get entries() {
    return (this.#entries ??= [...this.#byId.values()].filter(({ archived_at: archived }) => !archived).sort(byActivity));
  }

  /** Position in the changes of the list, for `replace`. */
  get changes() {
    return this.#changes;
  }

  /** @param {string} channelId */
  get(channelId) {
    return this.#byId.get(channelId);
  }

  /** Returns a channel's number of unread messages, up to `UNREAD_COUNTED`. @param {string} channelId */
  unread(channelId) {
    return this.#byId.get(channelId)?.membership?.unread_count ?? 0;
  }

  /** Returns the `seq` up to which the user has read a channel; 0 for none of it. @param {string} channelId */
  readSeq(channelId) {
    return Math.max(this.#byId.get(channelId)?.membership?.read_seq ?? 0, this.#own.get(channelId) ?? 0);
  }

  /** Takes the whole list, as it was asked for at the position `since`. Channels that changed later stay. @param {ChannelInfo[]} channels */
  replace(channels, since = this.#changes) {
    const listed = new Set(channels.map(({ channel_id: id }) => id));
    for (const [id, { archived_at: archived }] of this.#byId) {
      if (!listed.has(id) && !archived && (this.#changed.get(id) ?? 0) <= since) this.delete(id);
    }
    for (const channel of channels) this.put(channel);
  }

  /** Takes a channel as an answer of the API has it. Returns `false` if its counts are older than the held ones. @param {ChannelInfo} channel */
  put(channel) {
    const held = this.#byId.get(channel.channel_id);
    if (!channel.membership) {
      this.delete(channel.channel_id);
      return true;
    }
    const isOlder =
      held !== undefined && (channel.last_seq < held.last_seq || channel.membership.read_seq < held.membership.read_seq);
    const counted = isOlder ? held : channel;
    const { read_seq, unread_count } = counted.membership;
    const described = held && channel.version < held.version ? held : channel;
    this.#set({ ...described, ...activity(counted), membership: { ...channel.membership, read_seq, unread_count } });
    const last = channel.last_message;
    if (last?.seq && isOwn(last, this.#user.userId)) this.#setOwn(channel.channel_id, last.seq);
    return !isOlder;
  }

  /** Takes a channel as a frame has it: without what is only of this user. Returns `true` if the list changed. @param {ChannelInfo} channel */
  describe(channel) {
    const held = this.#byId.get(channel.channel_id);
    if (!held || channel.version < held.version) return false;
    this.#set({ ...channel, ...activity(held), membership: held.membership });
    return true;
  }

  /** Takes the role of the user in a channel. @param {string} channelId @param {Role} role */
  giveRole(channelId, role) {
    const held = this.#byId.get(channelId);
    if (held) this.#set({ ...held, membership: { ...held.membership, role } });
  }

  /** @param {string} channelId */
  delete(channelId) {
    this.#own.delete(channelId);
    this.#count(channelId);
    return this.#byId.delete(channelId);
  }

  /** Counts new messages of a channel. Returns `false` if some are missing before them. @param {string} channelId @param {Message[]} messages */
  created(channelId, messages) {
    for (const message of messages) if (isOwn(message, this.#user.userId)) this.#setOwn(channelId, message.seq);
    const held = this.#byId.get(channelId);
    if (!held) return false;
    /** @type {ChannelInfo} */
    let channel = held;
    let isComplete = true;
    const later = messages.filter(({ seq }) => seq > channel.last_seq).sort((a, b) => a.seq - b.seq);
    for (const message of later) {
      isComplete &&= message.seq === channel.last_seq + 1;
      let { unread_count: unread } = channel.membership;
      if (isOwn(message, this.#user.userId)) unread = 0;
      else if (!message.deleted_at && message.seq > channel.membership.read_seq) {
        unread = Math.min(UNREAD_COUNTED, unread + 1);
      }
      channel = {
        ...channel,
        last_seq: message.seq,
        last_message_at: message.created_at,
        last_message: preview(message),
        membership: { ...channel.membership, unread_count: unread },
      };
    }
    if (later.length > 0) this.#set(channel);
    return isComplete;
  }

  /** Takes a later state of a message. Returns `false` if the message may have been counted as unread. @param {string} channelId @param {Message} message */
  revised(channelId, message) {
    const held = this.#byId.get(channelId);
    if (!held) return true;
    const last = held.last_message;
    if (last?.seq === message.seq && !((last.version ?? 0) > message.version)) this.#set({ ...held, last_message: preview(message) });
    const wasUnread = message.seq > this.readSeq(channelId) && !isOwn(message, this.#user.userId);
    return !(message.deleted_at && wasUnread && this.unread(channelId) > 0);
  }

  /** Moves the read mark; it never moves back. Returns `false` if the number of the remaining messages is not known. @param {string} channelId @param {number} seq */
  read(channelId, seq) {
    const held = this.#byId.get(channelId);
    if (!held || seq <= held.membership.read_seq) return true;
    const isWhole = seq >= held.last_seq;
    const isCounted = isWhole || held.membership.unread_count === 0 || seq <= (this.#own.get(channelId) ?? 0);
    const unread = isWhole ? 0 : held.membership.unread_count;
    this.#set({ ...held, membership: { ...held.membership, read_seq: seq, unread_count: unread } });
    return isCounted;
  }

  /** @param {ChannelInfo} channel */
  #set(channel) {
    this.#byId.set(channel.channel_id, channel);
    this.#count(channel.channel_id);
  }

  /** @param {string} channelId */
  #count(channelId) {
    this.#entries = null;
    this.#changed.set(channelId, (this.#changes += 1));
  }

  /** @param {string} channelId @param {number} seq */
  #setOwn(channelId, seq) {
    this.#own.set(channelId, Math.max(seq, this.#own.get(channelId) ?? 0));
  }
}

/** @param {Partial<Message> | undefined} message @param {string | null} userId */
const isOwn = (message, userId) => message?.role === "user" && message.sender_id === userId;

/** @param {ChannelInfo} channel */
const activity = ({ last_seq, last_message_at, last_message }) => ({ last_seq, last_message_at, last_message });

/** @param {ChannelInfo} channel */
const activeAt = ({ last_message_at: last, created_at: created }) => last ?? created ?? "";

// Times are RFC 3339 in UTC, all of one length.
/** @param {ChannelInfo} a @param {ChannelInfo} b */
function byActivity(a, b) {
  const [one, other] = [activeAt(a), activeAt(b)];
  if (one !== other) return one < other ? 1 : -1;
  return a.channel_id < b.channel_id ? -1 : 1;
}

/** Returns the preview of a message, as in the `last_message` of a channel. @param {Message} message */
function preview({ seq, version, sender_id, role, content, content_type, created_at, thread_seq, deleted_at }) {
  const characters = [...String(content ?? "")];
  const cut = characters.length > PREVIEW_CHARACTERS ? `${characters.slice(0, PREVIEW_CHARACTERS).join("")}…` : content;
  return { seq, version, sender_id, role, content: cut, content_type, created_at, thread_seq, deleted_at };
}
