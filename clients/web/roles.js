// Roles of members and their permissions, as the page shows them. The server decides. No DOM.

/** Roles, each with the permissions of those before it. */
export const ROLES = ["member", "moderator", "owner"];

const ARTICLES = { member: "a member", moderator: "a moderator", owner: "an owner" };

/** Returns a role with its article: "an owner". */
export const roleText = (role) => ARTICLES[role] ?? role;

/** Returns the permissions of the user in a channel. An archived channel can be read, left, restored and deleted. */
export function permissions(channel) {
  const role = channel?.membership?.role ?? null;
  const isArchived = Boolean(channel?.archived_at);
  const isOwner = role === "owner";
  return {
    role,
    isArchived,
    edits: isOwner && !isArchived,
    archives: isOwner,
    deletes: isOwner,
    leaves: role !== null,
    adds: (isOwner || role === "moderator") && !isArchived,
    assigns: isOwner && !isArchived,
    /** Returns whether the user may remove a member. Users leave in the settings. */
    removes: (member, userId) => member.user_id !== userId && (isOwner || (role === "moderator" && member.role === "member")),
  };
}

/** Returns members in the order of their roles, owners first, then by id. */
export function byRole(members) {
  const rank = ({ role }) => -ROLES.indexOf(role);
  return [...members].sort((a, b) => rank(a) - rank(b) || (a.user_id < b.user_id ? -1 : 1));
}

/** Returns the text about the number of present users. */
export function hereText(present, userId) {
  if (present.length === 0) return "No user is here";
  if (present.length === 1) return present[0] === userId ? "Only you are here" : "1 person is here";
  return `${present.length} people are here`;
}

/** Returns the present users, the reader first. */
export const hereFirst = (present, userId) => [...present].sort((a, b) => Number(b === userId) - Number(a === userId) || (a < b ? -1 : 1));
