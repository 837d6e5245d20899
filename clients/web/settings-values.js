// The settings of a channel as the values of a form, and the changes between them. No DOM.

/** Fields of the form, and their names in the problems of the API. */
export const FIELDS = {
  name: "name",
  visibility: "visibility",
  mode: "agent.mode",
  instructions: "agent.instructions",
  model: "agent.model",
  receipts: "read_receipts",
  retention: "retention_days",
};

/** Returns the values of a channel. All are texts, except for `receipts`. */
export function valuesOf({ name, visibility, agent = {}, read_receipts: receipts, retention_days: retention }) {
  return {
    name: name ?? "",
    visibility,
    mode: agent.mode ?? "always",
    instructions: agent.instructions ?? "",
    model: agent.model ?? "",
    receipts: receipts === true,
    retention: Number.isSafeInteger(retention) ? String(retention) : "",
  };
}

const optional = (text) => (text.trim() === "" ? null : text);

/** Returns the number of days; another text as it is, so that the server names its fault. */
const days = (text) => (/^\d+$/.test(text.trim()) ? Number(text) : optional(text));

/** Returns the merge patch from the values `base` to `values`; `null` if they are equal. */
export function patchOf(base, values) {
  const changed = (field) => values[field] !== base[field];
  const patch = {};
  const agent = {};
  if (changed("name")) patch.name = values.name;
  if (changed("visibility")) patch.visibility = values.visibility;
  if (changed("mode")) agent.mode = values.mode;
  if (changed("instructions")) agent.instructions = optional(values.instructions);
  if (changed("model")) agent.model = optional(values.model);
  if (Object.keys(agent).length > 0) patch.agent = agent;
  if (changed("receipts")) patch.read_receipts = values.receipts;
  if (changed("retention")) patch.retention_days = days(values.retention);
  return Object.keys(patch).length > 0 ? patch : null;
}

/** Returns the values of the form after the channel changed from `base` to `next`: fields that the user changed stay. */
export const rebase = (base, next, values) =>
  Object.fromEntries(Object.keys(next).map((field) => [field, values[field] === base[field] ? next[field] : values[field]]));

/** Returns whether a typed text confirms the deletion of a channel. */
export const confirms = (typed, name) => name !== "" && typed.normalize("NFC").trim() === name.normalize("NFC").trim();
