// Runs before start, test, bench and pack. From a bare clone it installs what package-lock.json names, then it builds
// what is missing or stale. It may use nothing but Node's own modules: node_modules may not be there yet.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Why node_modules does not match package-lock.json, or "" if it does. */
function staleness() {
  const lockFile = join(root, "package-lock.json");
  const hiddenFile = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(lockFile)) return "";
  if (!existsSync(hiddenFile)) return "node_modules is missing";
  const wanted = JSON.parse(readFileSync(lockFile, "utf8")).packages;
  const have = JSON.parse(readFileSync(hiddenFile, "utf8")).packages;
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === "" || entry.link) continue;
    const found = have[path];
    // Optional packages are those of other platforms: absent is fine, another version is not.
    if (!found) {
      if (entry.optional || entry.devOptional || entry.peer) continue;
      return `${path} is missing`;
    }
    if (found.version !== entry.version) return `${path} is ${found.version}, not ${entry.version}`;
  }
  return "";
}

const why = staleness();
if (why) {
  console.log(`skbuff: npm ci (${why})`);
  const npm = process.env.npm_execpath;
  const args = ["ci", "--no-audit", "--no-fund"];
  const run = npm?.endsWith("js")
    ? spawnSync(process.execPath, [npm, ...args], { cwd: root, stdio: "inherit" })
    : spawnSync("npm", args, { cwd: root, stdio: "inherit", shell: process.platform === "win32" });
  if (run.status !== 0) process.exit(run.status ?? 1);
}

const { build } = await import("./build.mjs");
try {
  build();
} catch (error) {
  console.error(`skbuff: ${error.message}`);
  process.exit(1);
}
