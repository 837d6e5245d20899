// Reads the replies that are being written, where frames are missing. No DOM.

/** @import { Core } from "./client.js" */
/** @import { createDrafts } from "./drafts.js" */
/** @import { Request } from "./rest.js" */
/** @import { ChannelLog } from "./store.js" */

import { except } from "./rest.js";

/**
 * @param {ReturnType<typeof createDrafts>} drafts @param {Request} call Makes a request below the path of the messages.
 * @param {ChannelLog} log @param {string} id Of the channel. @param {Core["quietly"]} quietly
 * @param {(isChanged?: boolean) => unknown} changed @param {() => void} catchUp Reads the messages that are missing.
 */
export function createReplies(drafts, call, log, id, quietly, changed, catchUp) {
  /** @param {number} seq */
  async function readReply(seq) {
    if (!drafts.behind.includes(seq)) return true;
    const asked = drafts.ask(seq);
    const stored = await call("GET", `/${seq}/reply`).catch(except("reply_not_found", "message_not_found"));
    if (!stored) {
      // A draft that began after the request stays.
      changed(drafts.ask(seq) === asked && drafts.drop(seq));
      return true;
    }
    const isRead = drafts.read(seq, asked, stored);
    // The reply has ended as a message. Without its event, only the history brings it.
    if (stored.seq > (log.settled ?? 0)) catchUp();
    else if (stored.seq) drafts.drop(seq);
    changed();
    return isRead;
  }

  /** Reads the replies of which frames are missing. The history of a channel that is not open will name its replies. */
  return () => {
    if (log.settled !== null) for (const seq of drafts.behind) quietly(`reply ${id} ${seq}`, () => readReply(seq));
  };
}
