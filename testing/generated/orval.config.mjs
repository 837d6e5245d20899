// Settings of orval: one file of functions on `fetch`, which go through src/fetch.ts.
export default {
  switchboard: {
    input: "../../contracts/openapi.yaml",
    output: {
      target: "generated/orval.ts",
      client: "fetch",
      mode: "single",
      override: { mutator: { path: "src/fetch.ts", name: "request" } },
    },
  },
};
