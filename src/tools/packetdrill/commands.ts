/**
 * The shell commands of scripts: a table of programs that act on the host, and as much of a shell as scripts use: lists,
 * pipes, redirection, quotes, comments, `$((...))`. What is not in the table fails.
 */

import { devSetFeature } from "../../net/core/dev.ts";
import type { Net } from "../../net/core/net_namespace.ts";
import { procNetRead } from "../../net/core/net_procfs.ts";
import { NETIF_F_GRO, NETIF_F_GSO, NETIF_F_TSO } from "../../net/core/netdev_features.ts";
import { tcpCubicParameters } from "../../net/ipv4/tcp_cubic.ts";
import { ipCommand } from "../ip_command.ts";
import type { NstatHistory } from "../nstat_command.ts";
import { nstatCommand } from "../nstat_command.ts";
import type { CommandResult } from "../parse_command.ts";
import { commandFail, commandOk } from "../parse_command.ts";
import { ssCommand } from "../ss_command.ts";
import { sysctlCommand } from "../sysctl_command.ts";
import { tcCommand } from "../tc_command.ts";

/** What every script's host is set to before the script begins: the values that its author had. */
export const DEFAULT_SYSCTLS: readonly (readonly [name: string, value: string])[] = [
  ["tcp_rmem", "4096 540000 15728640"],
  ["tcp_wmem", "4096 262144 4194304"],
  ["tcp_timestamps", "1"],
  ["tcp_syn_retries", "5"],
  ["tcp_synack_retries", "5"],
  ["tcp_frto", "2"],
  ["tcp_sack", "1"],
  ["tcp_dsack", "1"],
  ["tcp_fack", "0"],
  ["tcp_reordering", "3"],
  ["tcp_congestion_control", "cubic"],
  ["tcp_slow_start_after_idle", "0"],
  ["tcp_early_retrans", "4"],
  ["tcp_recovery", "1"],
  ["tcp_tso_win_divisor", "3"],
  ["tcp_ecn", "0"],
  ["tcp_ecn_option", "2"],
  ["tcp_pacing_ss_ratio", "200"],
  ["tcp_pacing_ca_ratio", "120"],
  ["tcp_notsent_lowat", "4294967295"],
  ["tcp_fastopen", "0x70403"],
  ["tcp_fastopen_key", "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4"],
  ["tcp_syncookies", "1"],
];

/** Sysctls of the defaults that only some kernels have: without them the rest still holds. */
const OPTIONAL: ReadonlySet<string> = new Set(["tcp_ecn_option", "tcp_fack"]);

type Program = (shell: Shell, args: readonly string[], stdin: string) => CommandResult;

const PROGRAMS: ReadonlyMap<string, Program> = new Map<string, Program>([
  ["true", () => commandOk()],
  ["false", () => commandFail(1, "")],
  [":", () => commandOk()],
  ["echo", (_, args) => commandOk(`${args.filter((a, i) => i > 0 || a !== "-n").join(" ")}\n`)],
  ["cat", cat],
  ["grep", grep],
  ["rm", rm],
  ["dd", dd],
  ["sleep", () => commandFail(1, "sleep: a script's time is told by its events")],
  ["sysctl", (sh, args) => sysctlCommand(sh.net, args)],
  ["ip", (sh, args) => ipCommand(sh.net, args)],
  ["tc", (sh, args) => tcCommand(sh.net, args)],
  ["ethtool", ethtool],
  ["nstat", (sh, args) => nstatCommand(sh.net, args, sh.counters)],
  ["ss", (sh, args) => ssCommand(sh.net, args)],
  ["defaults.sh", defaults],
  ["set_sysctls.py", setSysctls],
]);

/** The text of a file, by a path relative to the script's folder; null = there is none. */
export type ReadScript = (path: string) => string | null;

/** One script's shell. */
export class Shell {
  readonly net: Net;
  readonly readScript: ReadScript;
  /** What programs have written to files. */
  readonly files: Map<string, string> = new Map();
  /** nstat's memory. */
  readonly counters: NstatHistory = new Map();

  constructor(net: Net, readScript: ReadScript = () => null) {
    this.net = net;
    this.readScript = readScript;
  }

  /** Runs a command line of any length: the exit code, and what was printed, of its last command. */
  run(text: string): CommandResult {
    const k = this.net.kernel;
    k.enter();
    try {
      return new Interpreter(this, words(text)).list();
    } catch (e) {
      if (e instanceof ShellError) return commandFail(127, e.message);
      throw e;
    } finally {
      k.exit();
    }
  }

  /** Settings that knobs were changed from, put back by `reset`. */
  readonly #saved: (() => void)[] = [];

  /** The machine-wide knobs go back to what they were. */
  reset(): void {
    for (const undo of this.#saved.reverse()) undo();
    this.#saved.length = 0;
  }

  read(path: string): string | null {
    if (path === "/dev/null") return "";
    if (path.startsWith("/proc/net/")) return procNetRead(this.net, path.slice("/proc/net/".length));
    const key = sysctlName(path);
    if (key !== null) return this.net.sysctlTable.has(key) ? `${this.net.sysctlTable.get(key)?.get()}\n` : null;
    const knob = cubicKnob(path);
    if (knob !== null) return `${tcpCubicParameters[knob]}\n`;
    return this.files.get(path) ?? null;
  }

  /** 0, or what is wrong. */
  write(path: string, text: string): string {
    if (path === "/dev/null") return "";
    const key = sysctlName(path);
    if (key !== null) {
      const entry = this.net.sysctlTable.get(key);
      if (entry === undefined) return `${path}: No such file or directory`;
      return entry.set(text.trim()) < 0 ? `${path}: Invalid argument` : "";
    }
    const knob = cubicKnob(path);
    if (knob !== null) {
      const was = tcpCubicParameters[knob];
      this.#saved.push(() => {
        tcpCubicParameters[knob] = was;
      });
      tcpCubicParameters[knob] = Number(text.trim());
      return Number.isInteger(tcpCubicParameters[knob]) ? "" : `${path}: Invalid argument`;
    }
    if (!path.startsWith("/tmp/")) return `${path}: Permission denied`;
    this.files.set(path, text);
    return "";
  }
}

function sysctlName(path: string): string | null {
  return path.startsWith("/proc/sys/") ? path.slice("/proc/sys/".length).replaceAll("/", ".") : null;
}

function cubicKnob(path: string): keyof typeof tcpCubicParameters | null {
  const m = /^\/sys\/module\/tcp_cubic\/parameters\/(\w+)$/.exec(path);
  if (m === null) return null;
  const name = (m[1] as string).replace(/_(\w)/g, (_, c: string) => c.toUpperCase());
  const knobs: Readonly<Record<string, keyof typeof tcpCubicParameters>> = { hystartAckDelta: "hystartAckDeltaUs" };
  const knob = knobs[name] ?? name;
  return knob in tcpCubicParameters ? (knob as keyof typeof tcpCubicParameters) : null;
}

// ---- programs -------------------------------------------------------------------------------------------------------

function cat(sh: Shell, args: readonly string[], stdin: string): CommandResult {
  if (args.length === 0) return commandOk(stdin);
  let out = "";
  for (const path of args) {
    const text = sh.read(path);
    if (text === null) return commandFail(1, `cat: ${path}: No such file or directory`);
    out += text;
  }
  return commandOk(out);
}

function grep(sh: Shell, args: readonly string[], stdin: string): CommandResult {
  const flags = args.filter((a) => a.startsWith("-")).join("");
  const [first, ...paths] = args.filter((a) => !a.startsWith("-"));
  let pattern = first;
  if (pattern === undefined || /[^-qvEicw]/.test(flags)) return commandFail(2, "grep: not understood");
  const lines: string[] = [];
  let stderr = "";
  for (const path of paths.length === 0 ? ["-"] : paths) {
    const text = path === "-" ? stdin : sh.read(path);
    if (text === null) {
      // A file that is not there fails the command in the end; the others are searched all the same.
      stderr += `grep: ${path}: No such file or directory\n`;
      continue;
    }
    const prefix = paths.length > 1 ? `${path}:` : "";
    for (const line of text.replace(/\n$/, "").split("\n")) if (text !== "") lines.push(prefix, line);
  }
  if (!flags.includes("E")) pattern = basicRegExp(pattern);
  const re = new RegExp(flags.includes("w") ? `\\b(?:${pattern})\\b` : pattern, flags.includes("i") ? "i" : "");
  const found: string[] = [];
  for (let i = 0; i < lines.length; i += 2)
    if (re.test(lines[i + 1] as string) !== flags.includes("v")) found.push(`${lines[i]}${lines[i + 1]}\n`);
  const code = stderr !== "" ? 2 : found.length > 0 ? 0 : 1;
  const shown = flags.includes("c") ? `${found.length}\n` : found.join("");
  return { code, stdout: flags.includes("q") ? "" : shown, stderr };
}

/** Basic regular expressions: what is special in extended ones is so behind a backslash, and the other way round. */
function basicRegExp(pattern: string): string {
  return pattern.replace(/\\?[(){}|+?]/g, (c) => (c.startsWith("\\") ? c.slice(1) : `\\${c}`));
}

function rm(sh: Shell, args: readonly string[]): CommandResult {
  const force = args.some((a) => /^-\w*f/.test(a));
  for (const path of args.filter((a) => !a.startsWith("-"))) {
    if (!sh.files.delete(path) && !force) return commandFail(1, `rm: ${path}: No such file or directory`);
  }
  return commandOk();
}

/** Zeros, or the beginning of another file, into a file: bs= count= if= of= status=. */
function dd(sh: Shell, args: readonly string[]): CommandResult {
  const operands = new Map(
    args.map((a): [string, string] => [a.slice(0, a.indexOf("=")), a.slice(a.indexOf("=") + 1)]),
  );
  const [bs, count] = [Number(operands.get("bs") ?? 512), Number(operands.get("count"))];
  const [from, to] = [operands.get("if"), operands.get("of")];
  const known = [...operands.keys()].every((name) => ["bs", "count", "if", "of", "status"].includes(name));
  if (!known || from === undefined || to === undefined || !(bs > 0) || !(count >= 0))
    return commandFail(1, "dd: not understood");
  const text = from === "/dev/zero" ? "\0".repeat(bs * count) : sh.read(from)?.slice(0, bs * count);
  if (text === undefined) return commandFail(1, `dd: ${from}: No such file or directory`);
  const err = sh.write(to, text);
  return err === "" ? commandOk() : commandFail(1, err);
}

const ETHTOOL_FEATURES: Readonly<Record<string, number>> = { gso: NETIF_F_GSO, tso: NETIF_F_TSO, gro: NETIF_F_GRO };

function ethtool(sh: Shell, args: readonly string[]): CommandResult {
  const [option, name, ...rest] = args;
  const dev = name === undefined ? undefined : sh.net.devByName.get(name);
  if (option !== "-K" || dev === undefined || rest.length % 2 !== 0) return commandFail(1, "ethtool: not understood");
  for (let i = 0; i < rest.length; i += 2) {
    const feature = ETHTOOL_FEATURES[rest[i] as string];
    if (feature === undefined || !["on", "off"].includes(rest[i + 1] as string))
      return commandFail(1, `ethtool: bad parameter ${rest[i]} ${rest[i + 1]}`);
    const on = rest[i + 1] === "on";
    // As ethtool: switching off what is fixed at off is no error.
    if (devSetFeature(dev, feature, on) < 0 && on !== ((dev.features & feature) !== 0))
      return commandFail(1, `ethtool: cannot change ${rest[i]}`);
  }
  return commandOk();
}

function defaults(sh: Shell): CommandResult {
  const result = setDefaults(sh);
  return result.code !== 0 ? result : tcCommand(sh.net, "qdisc replace dev tun0 root pfifo");
}

/** The settings of defaults.sh, but for the qdisc. */
export function setDefaults(sh: Shell): CommandResult {
  ipCommand(sh.net, "tcp_metrics flush all");
  for (const [name, value] of DEFAULT_SYSCTLS) {
    const entry = sh.net.sysctlTable.get(`net.ipv4.${name}`);
    if (entry === undefined) {
      if (OPTIONAL.has(name)) continue;
      return commandFail(1, `there is no net.ipv4.${name}`);
    }
    if (entry.set(value) < 0) return commandFail(1, `net.ipv4.${name} does not take ${value}`);
  }
  return commandOk();
}

/** Arguments like /proc/sys/net/ipv4/tcp_sack=0. The way back is not needed: the next script has a host of its own. */
function setSysctls(sh: Shell, args: readonly string[]): CommandResult {
  for (const arg of args) {
    const eq = arg.indexOf("=");
    if (eq < 0) return commandFail(1, `set_sysctls.py: ${arg}`);
    const err = sh.write(arg.slice(0, eq), arg.slice(eq + 1));
    if (err !== "") return commandFail(1, err);
  }
  return commandOk();
}

// ---- the shell ------------------------------------------------------------------------------------------------------

class ShellError extends Error {
  override readonly name = "ShellError";
}

interface Word {
  readonly text: string;
  /** An operator: ; && || | > >> 2> &> newline. */
  readonly op: boolean;
}

const SHELL_OPERATORS: RegExp = /\n|;|&&|\|\||\||(?:&|\d)?>>?(?:&\d)?|&/y;

function words(text: string): Word[] {
  const out: Word[] = [];
  let word: string | null = null;
  const flush = (): void => {
    if (word !== null) out.push({ text: word, op: false });
    word = null;
  };
  for (let at = 0; at < text.length; ) {
    const c = text[at] as string;
    if (c === "\\") {
      if (text[at + 1] !== "\n") word = (word ?? "") + (text[at + 1] ?? "");
      else flush();
      at += 2;
    } else if (c === "'" || c === '"') {
      const end = text.indexOf(c, at + 1);
      if (end < 0) throw new ShellError("a quotation without an end");
      const inside = text.slice(at + 1, end);
      word = (word ?? "") + (c === '"' ? expand(inside) : inside);
      at = end + 1;
    } else if (c === "$") {
      const m = /^\$(?:\(\(([^)]*)\)\)|\{\w+\}|\w+|\?)/.exec(text.slice(at));
      if (m === null) throw new ShellError(`"$" is not understood`);
      word = (word ?? "") + expand(m[0]);
      at += m[0].length;
    } else if (c === "#" && word === null) {
      while (at < text.length && text[at] !== "\n") at++;
    } else if (c === " " || c === "\t" || c === "\r") {
      flush();
      at++;
    } else {
      SHELL_OPERATORS.lastIndex = at;
      const op = SHELL_OPERATORS.exec(text)?.[0];
      // "2>" is redirection only where a word begins.
      if (op !== undefined && (word === null || !/^\d/.test(op))) {
        flush();
        out.push({ text: op, op: true });
        at += op.length;
      } else {
        word = (word ?? "") + c;
        at++;
      }
    }
  }
  flush();
  return out;
}

/** Variables are the interpreter's process number and nothing else; arithmetic is products and sums of numbers. */
function expand(text: string): string {
  return text
    .replace(/\$\(\(([^)]*)\)\)/g, (_, sum: string) => {
      if (!/^[\d\s*+]+$/.test(sum)) throw new ShellError(`$((${sum})) is not understood`);
      const terms = sum.split("+").map((term) => term.split("*").reduce((a, b) => a * Number(b), 1));
      return String(terms.reduce((a, b) => a + b, 0));
    })
    .replace(/\$\{?P?PID\}?/g, "1");
}

/** sysctl_restore_PID.sh: what set_sysctls.py would have left behind. */
const RESTORE: RegExp = /^\/tmp\/sysctl_restore_\w*\.sh$/;

class Interpreter {
  readonly #shell: Shell;
  readonly #words: readonly Word[];
  #at = 0;

  constructor(shell: Shell, list: readonly Word[]) {
    this.#shell = shell;
    this.#words = list;
  }

  get #op(): string | null {
    const w = this.#words[this.#at];
    return w?.op === true ? w.text : null;
  }

  /** Commands one after the other; && and || look at the exit code before them. */
  list(): CommandResult {
    let last = commandOk();
    let errors = "";
    let skip = false;
    while (this.#at < this.#words.length) {
      const op = this.#op;
      if (op === ";" || op === "\n" || op === "&&" || op === "||") {
        this.#at++;
        skip = op === "&&" ? last.code !== 0 : op === "||" ? last.code === 0 : false;
        continue;
      }
      const result = this.#pipeline(skip);
      if (result !== null) {
        last = result;
        errors += result.stderr;
      }
    }
    return { ...last, stderr: errors };
  }

  #pipeline(skip: boolean): CommandResult | null {
    let result: CommandResult | null = null;
    let stdin = "";
    for (;;) {
      result = this.#command(stdin, skip);
      if (this.#op !== "|") return skip ? null : result;
      this.#at++;
      stdin = result.stdout;
    }
  }

  #command(stdin: string, skip: boolean): CommandResult {
    const args: string[] = [];
    const redirections: [string, string][] = [];
    while (this.#at < this.#words.length) {
      const op = this.#op;
      if (op !== null && !op.includes(">")) break;
      if (op === null) args.push((this.#words[this.#at++] as Word).text);
      else if (/>&\d$/.test(op)) this.#at++;
      else {
        const target = this.#words[this.#at + 1];
        if (target === undefined || target.op) throw new ShellError("a redirection to nowhere");
        redirections.push([op, target.text]);
        this.#at += 2;
      }
    }
    if (this.#op === "&") throw new ShellError("a command in the background");
    if (skip) return commandOk();
    let result = this.#program(args, stdin);
    for (const [op, path] of redirections) {
      const text = op.startsWith("2") ? result.stderr : result.stdout;
      const err = this.#shell.write(path, op.endsWith(">>") ? (this.#shell.read(path) ?? "") + text : text);
      if (err !== "") return commandFail(1, err);
      const both = op.startsWith("&");
      result = {
        code: result.code,
        stdout: op.startsWith("2") ? result.stdout : "",
        stderr: op.startsWith("2") || both ? "" : result.stderr,
      };
    }
    return result;
  }

  #program(args: readonly string[], stdin: string): CommandResult {
    const [name, ...rest] = args;
    if (name === undefined) return commandOk();
    if (RESTORE.test(name)) return commandOk();
    // A shell script that comes with the script says itself what it does; the table knows the usual ones.
    const text = /^[^/].*\/.*\.sh$/.test(name) ? this.#shell.readScript(name) : null;
    if (text !== null) return new Interpreter(this.#shell, words(text)).list();
    const program = PROGRAMS.get(name.slice(name.lastIndexOf("/") + 1));
    if (program === undefined) throw new ShellError(`${name}: command not found`);
    return program(this.#shell, rest, stdin);
  }
}
