import { defineConfig } from "vite";

// Addresses of the local run. These are the ones of `cargo local` without options.
const { SWITCHBOARD_REST = "http://127.0.0.1:3000", SWITCHBOARD_WEBSOCKET = "ws://127.0.0.1:3001", SWITCHBOARD_PAGE = "http://127.0.0.1:3002" } = process.env;

// The local run answers programs and its own page. Without these headers, a request is one of a program.
const HEADERS_OF_PAGES = ["origin", "referer", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site"];

/** Passes requests below a path to an address of the local run. */
const passTo = (target, path) => ({
  target,
  changeOrigin: true,
  ws: true,
  rewrite: (url) => url.slice(path.length).replace(/^(?!\/)/, "/"),
  configure(proxy) {
    for (const event of ["proxyReq", "proxyReqWs"]) {
      proxy.on(event, (request) => HEADERS_OF_PAGES.forEach((name) => request.removeHeader(name)));
    }
  },
});

export default defineConfig({
  esbuild: { jsx: "automatic" },
  // The client is a link to a folder that has its own packages.
  resolve: { dedupe: ["ai", "react", "react-dom"] },
  server: {
    port: 5173,
    strictPort: true,
    proxy: { "/api": passTo(SWITCHBOARD_REST, "/api"), "/socket": passTo(SWITCHBOARD_WEBSOCKET, "/socket"), "/local": passTo(SWITCHBOARD_PAGE, "/local") },
  },
});
