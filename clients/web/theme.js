// Light and dark: the system's theme until the reader chooses one.

const KEY = "switchboard.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

const stored = () => {
  const value = storage.get(KEY);
  return value === "light" || value === "dark" ? value : null;
};

/** localStorage, if available; a browser may deny access. */
export const storage = {
  get(key) {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(key, value);
    } catch {
      // The choice is then not stored.
    }
  },
};

function apply(button) {
  const theme = stored() ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  const label = theme === "dark" ? "Use light colours" : "Use dark colours";
  button.setAttribute("aria-label", label);
  button.title = label;
}

/** Follows the system's theme, and lets `button` change it. */
export function setUpTheme(button) {
  apply(button);
  dark.addEventListener("change", () => apply(button));
  button.addEventListener("click", () => {
    storage.set(KEY, document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    apply(button);
  });
}
