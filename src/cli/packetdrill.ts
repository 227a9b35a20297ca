/** `skbuff packetdrill`: runs packetdrill scripts against this stack, in virtual time. */

import { existsSync, readFileSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ScriptResult } from "../tools/packetdrill/report.ts";
import { formatResult, formatSummary } from "../tools/packetdrill/report.ts";
import { runScript } from "../tools/packetdrill/runner.ts";
import { parseOptions, UsageError } from "./usage.ts";

const HELP = `Usage: skbuff packetdrill [OPTIONS] FILE|DIR...

Runs packetdrill scripts, each against a host of its own, in virtual time. A folder stands for the .pkt files in and below
it. Prints a line a script, what was expected and seen where one failed, and the count last.

Options:
  --ip-version V     ipv4 (the default, and what there is)
  -D, --define S=V   a symbol of the scripts (may be given several times)
  --json             an array of { file, passed, line, message, seconds }
  -h, --help

Exit code: 0 all passed, 1 one or more failed, 2 bad usage.
`;

/** The .pkt files of a path, in the order of their names. */
async function scriptsOf(path: string): Promise<string[]> {
  const info = await stat(path).catch(() => null);
  if (info === null) throw new UsageError(`${path}: there is no such file`);
  if (!info.isDirectory()) return [path];
  const names = await readdir(path, { recursive: true });
  return names
    .filter((name) => name.endsWith(".pkt"))
    .sort()
    .map((name) => join(path, name));
}

export async function run(argv: string[]): Promise<number> {
  const parsed = parseOptions(
    argv,
    {
      json: { type: "boolean" },
      "ip-version": { type: "string" },
      define: { type: "string", short: "D", multiple: true },
    },
    HELP,
  );
  if (parsed === null) return 0;
  const { values, positionals } = parsed;
  const ipVersion = (values["ip-version"] as string | undefined) ?? "ipv4";
  if (ipVersion !== "ipv4") throw new UsageError(`--ip-version: ${ipVersion} is not supported`);
  if (positionals.length === 0) throw new UsageError("which scripts?");
  const defines = new Map<string, string>();
  for (const define of (values["define"] as unknown as string[] | undefined) ?? []) {
    const eq = define.indexOf("=");
    if (eq < 1) throw new UsageError(`--define: ${define} is not SYMBOL=value`);
    defines.set(define.slice(0, eq), define.slice(eq + 1));
  }
  const results: ScriptResult[] = [];
  for (const path of positionals) {
    for (const file of await scriptsOf(path)) {
      const readScript = (name: string): string | null => {
        const at = join(dirname(file), name);
        return existsSync(at) ? readFileSync(at, "utf8") : null;
      };
      const result = await runScript(file, await readFile(file, "utf8"), { ipVersion, defines, readScript });
      results.push(result);
      if (values["json"] !== true) process.stdout.write(`${formatResult(result)}\n`);
    }
  }
  if (values["json"] === true) process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
  else process.stdout.write(`${formatSummary(results)}\n`);
  return results.every((r) => r.passed) ? 0 : 1;
}
