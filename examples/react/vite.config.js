import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The local run refuses pages of other origins, but no programs. These headers make a request one of a page.
const PAGE_HEADERS = ["origin", "referer", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"];

/** Passes requests below a path to a port of the local run. */
const local = (path, port) => ({
  [path]: {
    target: `http://127.0.0.1:${port}`,
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
  server: { proxy: { ...local("/api", 3000), ...local("/socket", 3001), ...local("/local", 3002) } },
});
