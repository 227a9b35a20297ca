/** The `sysctl` command over a host's sysctl table. */

import type { Net } from "../net/core/net_namespace.ts";
import { errnoMessage } from "../uapi/errno.ts";
import type { CommandResult } from "./parse_command.ts";
import { commandFail, splitWords } from "./parse_command.ts";

/**
 * `sysctl [-n] [-w] [-a] [-q] [-e] [-N] NAME...` and `NAME=VALUE`; slashes may stand for dots. Needs the kernel in context.
 * As the real tool, it goes on after a name that it does not know, and then exits with 1.
 *
 * @example
 * sysctlCommand(net, "-w net.ipv4.tcp_sack=0");   // { code: 0, stdout: "net.ipv4.tcp_sack = 0\n", stderr: "" }
 * sysctlCommand(net, "net.ipv4.tcp_rmem='4096 131072 6291456'");
 */
export function sysctlCommand(net: Net, command: string | readonly string[]): CommandResult {
  const options = new Set<string>();
  const names: string[] = [];
  for (const word of words(command)) {
    if (word.startsWith("-") && names.length === 0) {
      const flags = word.startsWith("--") ? LONG[word] : word.slice(1);
      if (flags === undefined) return commandFail(1, `sysctl: unrecognized option '${word}'`);
      for (const flag of flags) {
        if (!"nwaqeNb".includes(flag)) return commandFail(1, `sysctl: invalid option -- '${flag}'`);
        options.add(flag);
      }
    } else if (/^-?\d+$/.test(word) && names.length > 0 && (names.at(-1) as string).includes("=")) {
      // Values like tcp_rmem have blanks: NAME=4096 87380 6291456 without quotes is taken whole.
      names[names.length - 1] += ` ${word}`;
    } else {
      names.push(word);
    }
  }
  if (options.has("a")) names.push(...[...net.sysctlTable.keys()].sort());
  if (names.length === 0) return commandFail(1, "sysctl: no variables specified");

  const result: CommandResult = { code: 0, stdout: "", stderr: "" };
  const fail = (text: string): void => {
    result.stderr += `sysctl: ${text}\n`;
    result.code = 1;
  };
  for (const item of names) {
    const eq = item.indexOf("=");
    const name = (eq < 0 ? item : item.slice(0, eq)).trim().replaceAll("/", ".");
    const entry = net.sysctlTable.get(name);
    if (entry === undefined) {
      if (!options.has("e")) fail(`cannot stat /proc/sys/${name.replaceAll(".", "/")}: No such file or directory`);
      continue;
    }
    let value: string;
    if (eq >= 0) {
      value = item.slice(eq + 1).trim();
      const err = entry.set(value);
      if (err < 0) {
        fail(`setting key "${name}": ${errnoMessage(err)}`);
        continue;
      }
      if (options.has("q")) continue;
    } else if (options.has("w")) {
      fail(`"${item}" must be of the form name=value`);
      continue;
    } else {
      value = entry.get();
    }
    result.stdout += show(options, name, value);
  }
  return result;
}

const LONG: Readonly<Record<string, string>> = {
  "--all": "a",
  "--values": "n",
  "--names": "N",
  "--write": "w",
  "--quiet": "q",
  "--ignore": "e",
  "--binary": "b",
};

/** The words of the command; "a = b" is one assignment, as in a line of sysctl.conf, and so is NAME='a b c'. */
function words(command: string | readonly string[]): readonly string[] {
  if (typeof command !== "string") return command;
  return splitWords(command.replace(/\s*=\s*/g, "=").replace(/(\S+=)(["'])(.*?)\2/g, "$2$1$3$2"));
}

function show(options: ReadonlySet<string>, name: string, value: string): string {
  if (options.has("N")) return `${name}\n`;
  if (options.has("b")) return value;
  return options.has("n") ? `${value}\n` : `${name} = ${value}\n`;
}
