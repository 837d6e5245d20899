import { defineConfig } from "vite";

// The local run answers programs and its own page. Without these headers, a request is one of a program.
const HEADERS_OF_PAGES = ["origin", "referer", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site"];

/** Passes requests below a path to a port of the local run. */
const passTo = (port, path) => ({
  target: `http://127.0.0.1:${port}`,
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
    proxy: { "/api": passTo(3000, "/api"), "/socket": passTo(3001, "/socket"), "/local": passTo(3002, "/local") },
  },
});
