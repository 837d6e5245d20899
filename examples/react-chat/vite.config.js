import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Addresses of the local run. These are the ones of `cargo local` without options.
const { SWITCHBOARD_REST = "http://127.0.0.1:3000", SWITCHBOARD_WEBSOCKET = "ws://127.0.0.1:3001", SWITCHBOARD_PAGE = "http://127.0.0.1:3002" } = process.env;

// The local run refuses pages of other origins, but no programs. These headers make a request one of a page.
const PAGE_HEADERS = ["origin", "referer", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"];

/** Passes requests below a path to an address of the local run. */
const local = (path, target) => ({
  [path]: {
    target,
    changeOrigin: true,
    ws: true,
    rewrite: (url) => url.slice(path.length).replace(/^\/?/, "/"),
    configure(proxy) {
      for (const type of ["proxyReq", "proxyReqWs"]) proxy.on(type, (request) => PAGE_HEADERS.forEach((name) => request.removeHeader(name)));
    },
  },
});

export default defineConfig({
  plugins: [react()],
  // The client is a link to a folder that may have its own React.
  resolve: { dedupe: ["react", "react-dom"] },
  server: { proxy: { ...local("/api", SWITCHBOARD_REST), ...local("/socket", SWITCHBOARD_WEBSOCKET), ...local("/local", SWITCHBOARD_PAGE) } },
});
