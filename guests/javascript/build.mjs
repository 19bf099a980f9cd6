// node build.mjs SOURCE WIT WORLD OUT: makes a component of a policy in JavaScript. Stands beside package.json, where npm
// installed it.
//
// With every feature off the component imports nothing: no clock, no randomness, no network, no files. What asks for one of
// them at run time fails.

import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [sourcePath, witPath, worldName, out] = process.argv.slice(2);
if (out === undefined) {
  console.error("usage: node build.mjs SOURCE WIT WORLD OUT");
  process.exit(2);
}
const disableFeatures = ["random", "stdio", "clocks", "http", "fetch-event"];
const { component, imports } = await componentize({ sourcePath, witPath, worldName, disableFeatures });
if (imports.length > 0) {
  console.error(`${sourcePath}: it imports ${imports.join(", ")}; a policy imports nothing`);
  process.exit(1);
}
await writeFile(out, component);
