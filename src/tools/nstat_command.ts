/** The `nstat` command: what /proc/net/snmp and netstat count, and how much of it is new. */

import type { Net } from "../net/core/net_namespace.ts";
import { procNetRead } from "../net/core/net_procfs.ts";
import type { CommandResult } from "./parse_command.ts";
import { commandFail, commandOk, splitWords } from "./parse_command.ts";

/** What nstat remembers between calls (its history file): the value of each counter at the last one. */
export type NstatHistory = Map<string, number>;

/** Constants and gauges, which nstat leaves out. */
const USELESS: ReadonlySet<string> = new Set([
  "IpForwarding",
  "IpDefaultTTL",
  "TcpRtoAlgorithm",
  "TcpRtoMin",
  "TcpRtoMax",
  "TcpMaxConn",
  "TcpCurrEstab",
]);

/** The counters of a file whose lines come in pairs: names, then values. */
function parseTable(text: string, out: Map<string, number>): void {
  const lines = text.split("\n");
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const names = (lines[i] as string).split(" ");
    const values = (lines[i + 1] as string).split(" ");
    const prefix = (names[0] as string).replace(":", "");
    for (let k = 1; k < names.length; k++) out.set(prefix + names[k], Number(values[k]));
  }
}

/** fnmatch(3) with * and ?. */
function matches(pattern: string, name: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`).test(name);
}

const LONG: Readonly<Record<string, string>> = {
  "--ignore": "a",
  "--json": "j",
  "--nooutput": "n",
  "--pretty": "p",
  "--reset": "r",
  "--noupdate": "s",
  "--zeros": "z",
};

/**
 * `nstat [-anrszjp] [PATTERN...]`. Needs the kernel in context. `history` is read and, unless `-s` says otherwise,
 * brought up to date.
 *
 * @example
 * nstatCommand(net, "-z TcpExtTCPTimeouts", history);
 */
export function nstatCommand(net: Net, command: string | readonly string[], history: NstatHistory): CommandResult {
  const flags = new Set<string>();
  const patterns: string[] = [];
  for (const word of typeof command === "string" ? splitWords(command) : command) {
    if (!word.startsWith("-")) {
      patterns.push(word);
      continue;
    }
    const letters = word.startsWith("--") ? LONG[word] : word.slice(1);
    if (letters === undefined) return commandFail(255, `nstat: unrecognized option '${word}'`);
    for (const letter of letters) {
      if (!"anrszjp".includes(letter)) return commandFail(255, `nstat: invalid option -- '${letter}'`);
      flags.add(letter);
    }
  }
  const now = new Map<string, number>();
  for (const name of ["snmp", "netstat"]) parseTable(procNetRead(net, name) ?? "", now);
  if (flags.has("r")) history.clear();
  const rows: [string, number][] = [];
  for (const [name, value] of now) {
    if (USELESS.has(name)) continue;
    const fresh = flags.has("a") ? value : value - (history.get(name) ?? 0);
    if (fresh === 0 && !flags.has("z")) continue;
    if (patterns.length === 0 || patterns.some((p) => matches(p, name))) rows.push([name, fresh]);
  }
  if (!flags.has("s")) for (const [name, value] of now) history.set(name, value);
  if (flags.has("n")) return commandOk();
  if (flags.has("j")) {
    const body = rows.map(([name, value]) => `        "${name}": ${value}`).join(",\n");
    return commandOk(
      flags.has("p")
        ? `{\n    "kernel": {\n${body}\n    }\n}\n`
        : `${JSON.stringify({ kernel: Object.fromEntries(rows) })}\n`,
    );
  }
  return commandOk(
    `#kernel\n${rows.map(([name, value]) => `${name.padEnd(32)}${String(value).padEnd(16)}   0.0\n`).join("")}`,
  );
}
