// What a user may do with a message, and the keys for it. No DOM.

/** Actions with a message: the text of each in a menu, and the key on a message that has the focus. */
export const ACTIONS = {
  react: { text: "Add a reaction", key: "+" },
  reply: { text: "Reply", key: "r" },
  thread: { text: "Reply in thread", key: "t" },
  copy: { text: "Copy the text", key: "c" },
  edit: { text: "Edit", key: "e" },
  journey: { text: "Show its journey", key: "j" },
  delete: { text: "Delete", key: "Delete", isDangerous: true },
};

const MODERATES = new Set(["moderator", "owner"]);

export const isOwn = (message, userId) => message.role === "user" && message.sender_id === userId;

/** Returns the names of the actions that the API allows the user with a message. `role` is that in the channel. */
export function actionsFor(message, { userId, role, isArchived }) {
  const isDeleted = Boolean(message.deleted_at);
  const isMine = isOwn(message, userId);
  const allowed = {
    react: !isDeleted && !isArchived,
    reply: !isArchived,
    // A thread outlives its root.
    thread: !isDeleted || Boolean(message.thread),
    copy: !isDeleted,
    edit: isMine && !isDeleted && !isArchived,
    journey: true,
    delete: (isMine || MODERATES.has(role)) && !isDeleted && !isArchived,
  };
  return Object.keys(ACTIONS).filter((name) => allowed[name]);
}

/** Returns the action of a key on a message, or `undefined`. A key with Ctrl, Alt or Meta belongs to the browser. */
export function actionOf({ key, ctrlKey, metaKey, altKey }) {
  if (ctrlKey || metaKey || altKey) return undefined;
  // Some keyboards have Backspace in the place of Delete.
  const wanted = key === "Backspace" ? "Delete" : key.length === 1 ? key.toLowerCase() : key;
  return Object.keys(ACTIONS).find((name) => ACTIONS[name].key === wanted);
}

/** Returns the user's newest message that can be edited, or `undefined`. */
export const lastOwn = (messages, userId) => messages.findLast((message) => isOwn(message, userId) && !message.deleted_at);

/** Returns `true` if an input method handles the key. Safari ends a composition before its Enter, whose `keyCode` is 229. */
export const isComposing = ({ isComposing: isOpen, keyCode }) => isOpen || keyCode === 229;
