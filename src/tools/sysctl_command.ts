/** The `sysctl` command over a host's sysctl table. */

import type { Net } from "../net/core/net_namespace.ts";
import type { CommandResult } from "./parse_command.ts";
import { commandFail, commandOk, splitWords } from "./parse_command.ts";

/**
 * `sysctl [-n] [-w] [-a] NAME...` and `NAME=VALUE`; slashes may stand for dots. Needs the kernel in context.
 *
 * @example
 * sysctlCommand(net, "-w net.ipv4.tcp_sack=0");   // { code: 0, stdout: "net.ipv4.tcp_sack = 0\n" }
 */
export function sysctlCommand(net: Net, command: string): CommandResult {
  let valuesOnly = false;
  let write = false;
  let out = "";
  // "a = b" is one assignment, as in a sysctl.conf line.
  const words = splitWords(command.replace(/\s*=\s*/g, "="));
  // Values like tcp_rmem have blanks: NAME=4096 87380 6291456 without quotes is taken whole.
  const names: string[] = [];
  for (const word of words) {
    if (word.startsWith("-") && names.length === 0) {
      for (const flag of word.slice(1)) {
        if (flag === "n") valuesOnly = true;
        else if (flag === "w") write = true;
        else if (flag === "a") names.push(...[...net.sysctlTable.keys()].sort());
        else return commandFail(1, `sysctl: invalid option -- '${flag}'`);
      }
    } else if (/^-?[\d]+$/.test(word) && names.length > 0 && (names[names.length - 1] as string).includes("=")) {
      names[names.length - 1] += ` ${word}`;
    } else {
      names.push(word);
    }
  }
  if (names.length === 0) return commandFail(1, "sysctl: no variables specified");
  for (const item of names) {
    const eq = item.indexOf("=");
    const name = (eq < 0 ? item : item.slice(0, eq)).trim().replaceAll("/", ".");
    const entry = net.sysctlTable.get(name);
    if (entry === undefined) {
      return commandFail(255, `sysctl: cannot stat /proc/sys/${name.replaceAll(".", "/")}: No such file or directory`);
    }
    if (eq >= 0) {
      const value = item.slice(eq + 1).trim();
      if (entry.set(value) < 0) return commandFail(255, `sysctl: setting key "${name}": Invalid argument`);
    } else if (write) {
      return commandFail(255, `sysctl: "${item}" must be of the form name=value`);
    }
    out += valuesOnly ? `${entry.get()}\n` : `${name} = ${entry.get()}\n`;
  }
  return commandOk(out);
}
