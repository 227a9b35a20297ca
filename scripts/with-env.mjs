// node scripts/with-env.mjs NAME=value ... -- command args: sets environment variables in every shell alike.
import { spawnSync } from "node:child_process";
import { delimiter, join } from "node:path";

const split = process.argv.indexOf("--");
const env = { ...process.env };
for (const pair of process.argv.slice(2, split)) {
  const eq = pair.indexOf("=");
  env[pair.slice(0, eq)] = pair.slice(eq + 1);
}
env.PATH = join(import.meta.dirname ?? ".", "..", "node_modules", ".bin") + delimiter + env.PATH;
const [command, ...args] = process.argv.slice(split + 1);
const done = spawnSync(command, args, { stdio: "inherit", env, shell: process.platform === "win32" });
process.exit(done.status ?? 1);
