// React Native's packager bundles the package.

import assert from "node:assert/strict";
import { realpathSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { isBuiltin } from "node:module";
import { join, relative } from "node:path";
import Metro from "metro";

/** Folder of the peers, and of Metro's own modules. */
const PEERS = realpathSync(join(import.meta.dirname, "../../node_modules"));

/**
 * Bundles all entry points for iOS, with the conditions of React Native. Fails if a file outside the package and its peers is
 * required, such as a module of Node. Returns the number of files.
 */
export async function bundleForReactNative(project, entries) {
  await writeFile(join(project, "native.js"), entries.map((entry, at) => `import * as entry${at} from "${entry}";\nconsole.log(entry${at});\n`).join(""));
  let files = [];
  let missing = [];
  const defaults = await Metro.loadConfig({ cwd: project, config: undefined });
  const config = {
    ...defaults,
    projectRoot: project,
    watchFolders: [project, PEERS],
    maxWorkers: 1,
    cacheStores: [],
    reporter: { update() {} },
    resolver: { ...defaults.resolver, nodeModulesPaths: [PEERS], unstable_enablePackageExports: true, unstable_conditionNames: ["react-native"], unstable_conditionsByPlatform: {} },
    transformer: { ...defaults.transformer, allowOptionalDependencies: true, getTransformOptions: async () => ({ transform: { experimentalImportSupport: true } }) },
    serializer: {
      ...defaults.serializer,
      getPolyfills: () => [],
      getRunModuleStatement: () => "",
      customSerializer: async (_, __, graph) => {
        files = [...graph.dependencies.keys()];
        missing = [...graph.dependencies.values()].flatMap(({ dependencies }) => [...dependencies.values()].map(({ data }) => data.name)).filter(isBuiltin);
        return { code: "", map: "" };
      },
    },
  };
  await Metro.runBuild(config, { entry: "native.js", platform: "ios", dev: false, minify: false, out: join(project, "native.bundle") });
  assert.deepEqual(missing, [], "modules of Node");
  const own = files.filter((file) => file.includes("/node_modules/@switchboard/client/"));
  const others = files.filter((file) => !own.includes(file) && !/\/node_modules\/(react|metro-runtime|@babel\/runtime)\//.test(file)).map((file) => relative(project, file));
  assert.deepEqual(others, ["native.js"]);
  return `${own.length} files of the package`;
}
