/** Builds of other revisions: a git reference is checked out beside, built by its own scripts, and thrown away. */

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export interface RefBuild {
  /** The `dist/` of that revision. */
  readonly dir: string;
  /** Removes it. */
  dispose(): void;
}

function run(command: string, args: string[], cwd: string): string {
  const done = spawnSync(command, args, { cwd, encoding: "utf8", maxBuffer: 1 << 26 });
  if (done.error !== undefined) throw done.error;
  if (done.status !== 0)
    throw new Error(`${command} ${args.join(" ")}: ${done.stderr.trim() || `exit ${done.status}`}`);
  return done.stdout.trim();
}

const textOf = (path: string): string => (existsSync(path) ? readFileSync(path, "utf8") : "");

/**
 * The build that `base` names: a folder with a build (`dist/`, or a checkout that has one), or a git reference of the
 * repository at `root`. A folder is copied, so that it is not the same modules as the head's even if it is the same files.
 */
export function buildOf(base: string, root: string): RefBuild {
  const temporary = mkdtempSync(join(tmpdir(), "skbuff-base-"));
  const folder = [resolve(base), resolve(base, "dist")].find((dir) => existsSync(join(dir, "src/index.js")));
  if (folder !== undefined) {
    cpSync(folder, join(temporary, "dist"), { recursive: true });
    // The copy's modules are ES modules as well.
    cpSync(join(root, "package.json"), join(temporary, "package.json"));
    return { dir: join(temporary, "dist"), dispose: () => rmSync(temporary, { recursive: true, force: true }) };
  }
  const tree = join(temporary, "tree");
  const dispose = (): void => {
    spawnSync("git", ["worktree", "remove", "--force", tree], { cwd: root });
    rmSync(temporary, { recursive: true, force: true });
  };
  try {
    run("git", ["rev-parse", "--verify", "--quiet", `${base}^{commit}`], root);
  } catch {
    dispose();
    throw new Error(`${base}: neither a folder with a build nor a git reference`);
  }
  try {
    run("git", ["worktree", "add", "--detach", tree, base], root);
    const lock = "package-lock.json";
    if (textOf(join(tree, lock)) === textOf(join(root, lock)) && existsSync(join(root, "node_modules")))
      symlinkSync(join(root, "node_modules"), join(tree, "node_modules"), "dir");
    else run("npm", ["ci", "--no-audit", "--no-fund"], tree);
    run(process.execPath, ["scripts/build.mjs"], tree);
    return { dir: join(tree, "dist"), dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}
