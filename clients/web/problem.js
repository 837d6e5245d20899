// Texts of refused requests about channels and members. No DOM.

/** Reasons in the words of the page. Other problems have the text of the server. */
const REASONS = {
  last_owner: "A channel needs an owner, and this is its last one. Make another member an owner first.",
  not_permitted: "Your role in this channel does not allow this.",
  not_a_member: "Only members of this channel may do this.",
  channel_archived: "The channel is archived, which makes it read-only. An owner can restore it.",
  channel_not_found: "There is no such channel, or you have no access to it.",
  member_not_found: "This user is not a member.",
  too_many_invitations: "This user has as many open invitations as one user may have.",
  too_many_channels: "You have created as many channels as one user may have. Delete one first.",
};

/** Returns a sentence with a capital letter and an end. */
function sentence(text) {
  const trimmed = text.trim();
  if (!trimmed) return "";
  const capital = trimmed[0].toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}

/**
 * Returns the reason of a refusal: `fields` has the text of each field in `known`, and `rest` the text that belongs to no
 * field, empty if there is none.
 */
export function reasons(error, known = []) {
  const violations = error?.errors ?? [];
  const fields = new Map();
  const others = [];
  for (const { field, message } of violations) {
    if (known.includes(field)) fields.set(field, [fields.get(field), sentence(message)].filter(Boolean).join(" "));
    else others.push(sentence(field ? `${field}: ${message}` : message));
  }
  if (violations.length > 0) return { fields, rest: others.join(" ") };
  return { fields, rest: REASONS[error?.code] ?? sentence(error?.detail || error?.message || "Something went wrong") };
}

/** Returns the whole reason of a refusal as one text. */
export const reason = (error) => reasons(error).rest;
