// Markdown of other users, made safe twice: markdown-it accepts no HTML, and DOMPurify allows only the list below. The
// page's Content-Security-Policy is the third protection.

import markdownIt from "./vendor/markdown-it.mjs";
import DOMPurify from "./vendor/dompurify.mjs";

const parser = markdownIt({ html: false, linkify: true, breaks: true });
// A picture in a message would report its readers and the time to its host, so it becomes a link.
parser.renderer.rules.image = (tokens, index) => {
  const token = tokens[index];
  const { escapeHtml } = parser.utils;
  const label = token.content || "picture";
  return `<a href="${escapeHtml(token.attrGet("src") ?? "")}">${escapeHtml(label)}</a>`;
};

const ALLOWED_TAGS = [
  "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
  "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
];
const ALLOWED_ATTRIBUTES = ["href", "start", "title"];
const SAFE_LINK = /^(?:https?:|mailto:)/i;

/** Returns a fragment with the rendered `source`. */
export function renderMarkdown(source) {
  const fragment = DOMPurify.sanitize(parser.render(source), {
    ALLOWED_TAGS,
    ALLOWED_ATTR: ALLOWED_ATTRIBUTES,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    ALLOWED_URI_REGEXP: SAFE_LINK,
    RETURN_DOM_FRAGMENT: true,
  });
  for (const link of fragment.querySelectorAll("a")) {
    if (!SAFE_LINK.test(link.getAttribute("href") ?? "")) {
      link.replaceWith(...link.childNodes);
      continue;
    }
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const table of fragment.querySelectorAll("table")) {
    const scroller = document.createElement("div");
    scroller.className = "table-scroller";
    scroller.tabIndex = 0;
    table.replaceWith(scroller);
    scroller.append(table);
  }
  for (const block of fragment.querySelectorAll("pre")) block.tabIndex = 0;
  return fragment;
}

/** Returns an excerpt of a message in one line, for quotes. */
export function excerpt(message, length = 120) {
  const text =
    message.content_type === "text/markdown" ? (renderMarkdown(message.content).textContent ?? "") : message.content;
  const line = text.replace(/\s+/g, " ").trim();
  const characters = [...line];
  return characters.length > length ? `${characters.slice(0, length).join("")}…` : line;
}
