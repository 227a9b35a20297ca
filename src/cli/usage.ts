/** Options of a command, by node's parseArgs, with one kind of error for everything that is wrong with them. */

import type { ParseArgsConfig } from "node:util";
import { parseArgs } from "node:util";

/** Bad usage: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

type Options = NonNullable<ParseArgsConfig["options"]>;

/** parseArgs with `--help` understood; null means that the help was printed. */
export function parseOptions<T extends Options>(
  argv: string[],
  options: T,
  help: string,
): { values: Record<string, string | boolean | undefined>; positionals: string[] } | null {
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({
      args: argv,
      options: { ...options, help: { type: "boolean", short: "h" } },
      allowPositionals: true,
    }) as typeof parsed;
  } catch (e) {
    throw new UsageError((e as Error).message);
  }
  if (parsed.values["help"] === true) {
    process.stdout.write(help);
    return null;
  }
  return parsed as { values: Record<string, string | boolean | undefined>; positionals: string[] };
}

/** A positive number with an optional binary suffix: 64k, 16M, 1g. */
export function parseSize(text: string, what: string): number {
  const m = /^(\d+(?:\.\d+)?)([kmg]?)i?b?$/i.exec(text);
  if (m === null) throw new UsageError(`${what}: "${text}" is no size (try 64k, 16M, 1G)`);
  const unit = { "": 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 }[(m[2] as string).toLowerCase() as "" | "k" | "m" | "g"];
  return Math.round(Number(m[1]) * unit);
}

/** 1234567 -> "1.18 MiB". */
export function formatBytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return `${i === 0 ? n : n.toFixed(n < 10 ? 2 : 1)} ${units[i]}`;
}
