// What a user does with messages that are stored. No DOM.

/** @import { Abortable, Message, Reply } from "./types.js" */
/** @import { createDrafts } from "./drafts.js" */
/** @import { Request } from "./rest.js" */
/** @import { ChannelLog } from "./store.js" */

import { except } from "./rest.js";

/**
 * @param {Request} call Makes a request below the path of the messages.
 * @param {(seq: number, options?: Abortable) => Promise<any>} read Reads one message.
 * @param {ChannelLog} log @param {ReturnType<typeof createDrafts>} drafts @param {(isChanged: unknown) => unknown} changed
 * @param {(seq: number) => unknown} unheard Reads a message whose change no frame will tell.
 */
export function createActions(call, read, log, drafts, changed, unheard) {
  /** Takes a message of a response. @param {Message} message */
  function answered(message) {
    changed(log.update([message]));
    return message;
  }

  /** Makes a request whose response has no message. @param {string} method @param {number} seq @param {string} path @param {Abortable} [options] */
  async function change(method, seq, path, options) {
    await call(method, `/${seq}${path}`, options);
    unheard(seq);
  }

  const actions = {
    /** Returns one message from the log or from the server, or `undefined` if it does not exist. @param {number} seq @param {Abortable} [options] @returns {Promise<Message | undefined>} */
    async message(seq, options) {
      return log.get(seq) ?? read(seq, options).catch(except("message_not_found"));
    },

    /**
     * Changes the text of a message as the user sees it. Fails with `version_mismatch` if another text came meanwhile.
     * @param {number} seq @param {string} content @param {Abortable} [options] @returns {Promise<Message>}
     */
    async edit(seq, content, options) {
      const held = log.get(seq) ?? (await read(seq, options));
      const headers = { "content-type": "application/merge-patch+json", "if-match": `"${held.version}"` };
      return call("PATCH", `/${seq}`, { body: { content }, headers, ...options }).then(answered, async (error) => {
        except("version_mismatch")(error);
        const current = answered(await read(seq, options));
        // A reaction changes the version too.
        if (current.content !== held.content || current.version === held.version) throw error;
        return actions.edit(seq, content, options);
      });
    },

    /** Deletes a message; its number stays. @param {number} seq @param {Abortable} [options] */
    delete: (seq, options) => change("DELETE", seq, "", options),

    /** Adds the user's reaction. Its event updates the message. @param {number} seq @param {string} emoji @param {Abortable} [options] */
    react: (seq, emoji, options) => change("PUT", seq, `/reactions/${encodeURIComponent(emoji)}`, options),

    /** Removes the user's reaction. @param {number} seq @param {string} emoji @param {Abortable} [options] */
    unreact: (seq, emoji, options) => change("DELETE", seq, `/reactions/${encodeURIComponent(emoji)}`, options),

    /** Returns the reply to a message as far as it is stored. @param {number} seq @param {Abortable} [options] @returns {Promise<Reply>} */
    reply: (seq, options) => call("GET", `/${seq}/reply`, options),

    /** Stops the reply to a message; the generated part is kept. @param {number} seq @param {Abortable} [options] */
    async stopReply(seq, options) {
      const answer = await call("POST", `/${seq}/reply/cancel`, options).catch(except("reply_not_found"));
      // It has ended, and its last frame was lost or is on the way.
      if (!answer) changed(drafts.drop(seq));
    },
  };
  return actions;
}
