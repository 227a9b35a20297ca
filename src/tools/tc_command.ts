/**
 * The `tc` command of iproute2: `tc qdisc add | replace | change | del | show`, with tc's units and words. What a
 * scheduler does with its options stands in net/sched.
 */

import type { NetDevice } from "../net/core/dev.ts";
import type { Net } from "../net/core/net_namespace.ts";
import type { QdiscOpt } from "../net/core/sch_generic_h.ts";
import type { QdiscInfo } from "../net/sched/sch_api.ts";
import {
  formatHandle,
  qdiscChange,
  qdiscCreate,
  qdiscDelete,
  qdiscDump,
  qdiscKinds,
  qdiscLookup,
  qdiscReplace,
} from "../net/sched/sch_api.ts";
import type { FqOpt } from "../net/sched/sch_fq.ts";
import type { FqCodelOpt } from "../net/sched/sch_fq_codel.ts";
import type { NetemOpt } from "../net/sched/sch_netem.ts";
import type { RedOpt } from "../net/sched/sch_red.ts";
import type { TbfOpt } from "../net/sched/sch_tbf.ts";
import { EEXIST, ENOENT, errnoMessage } from "../uapi/errno.ts";
import { TC_H_ROOT } from "../uapi/pkt_sched.ts";
import { linkList } from "./ip_link.ts";
import { isOneOf, matches, needNetns } from "./ip_util.ts";
import type { CommandResult } from "./parse_command.ts";
import {
  commandOk,
  ParseError,
  parsePercent,
  parseRateBytes,
  parseSizeBytes,
  parseTime,
  runCommand,
  Words,
} from "./parse_command.ts";

/**
 * Runs a `tc` command in a namespace, in kernel context. What is printed, and the exit code, are the real tool's: 2 when
 * the kernel refuses, 1 and 255 for words that make no sense.
 *
 * @example
 * tcCommand(net, "qdisc add dev eth0 root netem delay 20ms loss 1%");
 * tcCommand(net, "qdisc show dev eth0").stdout;   // "qdisc netem 8001: root refcnt 2 limit 1000 delay 20ms loss 1%\n"
 */
export function tcCommand(net: Net, command: string | readonly string[]): CommandResult {
  return runCommand(() => run(net, new Words(command)));
}

function run(net0: Net, words: Words): CommandResult {
  let net = net0;
  let stats = false;
  for (let word = words.peek; word !== undefined && word.startsWith("-"); word = words.peek) {
    words.next();
    if (isOneOf(word, "-stats", "-statistics")) stats = true;
    else if (matches(word, "-details") || matches(word, "-raw")) continue;
    else if (matches(word, "-netns")) net = needNetns(net, nextArg(words));
    else if (matches(word, "-Version")) return commandOk("tc utility, skbuff\n");
    else throw new ParseError(`Option "${word}" is unknown, try "tc -help".`, 255);
  }
  const object = words.next();
  if (object === undefined)
    return commandOk("Usage:\ttc [ -s ] [ -n NAME ] qdisc { add | replace | change | del | show }\n");
  if (matches(object, "qdisc")) return qdisc(net, words, stats);
  if (isOneOf(object, "class", "filter")) {
    const verb = words.next();
    if (verb === undefined || isOneOf(verb, "show", "list", "lst")) return commandOk();
    throw new ParseError(`"tc ${object} ${verb}" is not supported: there are no classes and no filters`, 255);
  }
  throw new ParseError(`Object "${object}" is unknown, try "tc help".`, 255);
}

function nextArg(words: Words): string {
  const word = words.next();
  if (word === undefined) throw new ParseError('Command line is not complete. Try option "help"', 255);
  return word;
}

function qdisc(net: Net, words: Words, stats: boolean): CommandResult {
  const verb = words.next();
  if (verb === undefined || isOneOf(verb, "list", "show", "lst")) return qdiscShow(net, words, stats);
  if (matches(verb, "add")) return qdiscModify(net, words, "add");
  if (matches(verb, "change")) return qdiscModify(net, words, "change");
  if (matches(verb, "replace")) return qdiscModify(net, words, "replace");
  if (matches(verb, "link")) return qdiscModify(net, words, "replace");
  if (matches(verb, "delete")) return qdiscModify(net, words, "delete");
  throw new ParseError(`Command "${verb}" is unknown, try "tc qdisc help".`, 255);
}

// ---- changing ------------------------------------------------------------------------------------------------------------------

/** get_qdisc_handle: "10:" */
function qdiscHandle(text: string): number {
  if (text === "none") return 0;
  const m = /^([0-9a-f]{1,4}):?$/i.exec(text);
  if (m === null) throw new ParseError(`Error: argument "${text}" is wrong: invalid qdisc ID`, 255);
  return Number.parseInt(m[1] as string, 16) * 0x10000;
}

/** get_tc_classid: "1:10", "root". */
function classid(text: string): number {
  if (text === "root") return TC_H_ROOT;
  const m = /^([0-9a-f]{0,4}):([0-9a-f]{0,4})$/i.exec(text);
  if (m === null) throw new ParseError(`Error: argument "${text}" is wrong: invalid parent ID`, 255);
  return Number.parseInt(m[1] || "0", 16) * 0x10000 + Number.parseInt(m[2] || "0", 16);
}

/** tc_qdisc_modify. */
function qdiscModify(net: Net, words: Words, verb: "add" | "replace" | "change" | "delete"): CommandResult {
  let devName = "";
  let parent = 0;
  let handle = 0;
  let kind = "";
  let opt: QdiscOpt | null = null;
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "dev") devName = nextArg(words);
    else if (word === "handle") handle = qdiscHandle(nextArg(words));
    else if (word === "root") parent = TC_H_ROOT;
    else if (word === "parent") parent = classid(nextArg(words));
    else if (word === "ingress" || word === "clsact") throw new ParseError(`qdisc "${word}" is not supported`, 2);
    else {
      kind = word;
      const had = words.peek;
      const parse = PARSERS[kind];
      if (parse === undefined) {
        if (had !== undefined) throw new ParseError(`Unknown qdisc "${kind}", hence option "${had}" is unparsable`);
      } else {
        opt = parse(words, verb);
      }
    }
  }
  if (devName === "") throw new ParseError("RTNETLINK answers: No such device", 2);
  const dev = needTcDev(net, devName);
  const place = parent === 0 ? TC_H_ROOT : parent;
  if (verb === "delete") return qdiscDel(dev, place, handle);
  if (verb === "change") {
    const sch = handle !== 0 ? qdiscLookup(dev, handle) : there(dev, place);
    if (sch === null || sch.handle === 0) {
      throw new ParseError("Error: Qdisc not found. To create specify NLM_F_CREATE flag.", 2);
    }
    if (kind !== "" && sch.ops.id !== kind) {
      throw new ParseError("Error: Invalid qdisc name: must match existing qdisc.", 2);
    }
    check(qdiscChange(sch, opt ?? {}));
    return commandOk();
  }
  if (!qdiscKinds().includes(kind)) throw new ParseError("Error: Specified qdisc kind is unknown.", 2);
  const make = verb === "add" ? qdiscCreate : qdiscReplace;
  const made = make(dev, kind, opt, { parent: place, handle });
  if (typeof made === "number") {
    if (made === -EEXIST) throw new ParseError("Error: Exclusivity flag on, cannot modify.", 2);
    if (made === -ENOENT) throw new ParseError("Error: Failed to find specified qdisc.", 2);
    check(made);
  }
  return commandOk();
}

function needTcDev(net: Net, name: string): NetDevice {
  const dev = net.devByName.get(name);
  if (dev === undefined) throw new ParseError(`Cannot find device "${name}"`);
  return dev;
}

/** The qdisc at a parent. */
function there(dev: NetDevice, parent: number): ReturnType<typeof qdiscLookup> {
  if (parent === TC_H_ROOT) return dev.qdisc;
  for (const q of dev.qdiscs) if (q.parent === parent) return q;
  return null;
}

function qdiscDel(dev: NetDevice, parent: number, handle: number): CommandResult {
  if (parent === TC_H_ROOT) {
    if (dev.qdisc === null || dev.qdisc.handle === 0) {
      throw new ParseError("Error: Cannot delete qdisc with handle of zero.", 2);
    }
    if (handle !== 0 && dev.qdisc.handle !== handle) throw new ParseError("Error: Invalid handle.", 2);
  }
  const err = qdiscDelete(dev, parent);
  if (err === -ENOENT) throw new ParseError("Error: Failed to find qdisc with specified classid.", 2);
  check(err);
  return commandOk();
}

function check(err: number): void {
  if (err < 0) throw new ParseError(`RTNETLINK answers: ${errnoMessage(err)}`, 2);
}

// ---- options ---------------------------------------------------------------------------------------------------------------------

type OptParser = (words: Words, verb: string) => QdiscOpt | null;

/** A value, or "Illegal ..." as tc has it. */
function value<T>(words: Words, parse: (text: string) => T, complaint: (text: string) => string): T {
  const text = nextArg(words);
  try {
    return parse(text);
  } catch (e) {
    if (e instanceof ParseError) throw new ParseError(complaint(text));
    throw e;
  }
}

function parseCount(text: string): number {
  if (!/^\d+$/.test(text)) throw new ParseError(text);
  return Number(text);
}

function illegal(what: string): () => string {
  return () => `Illegal "${what}"`;
}

/** The next word, if it is a number (a correlation, a jitter); undefined otherwise. */
function optional(words: Words, parse: (text: string) => number, complaint: string): number | undefined {
  if (words.peek === undefined || !/^[\d.]/.test(words.peek)) return undefined;
  return value(words, parse, illegal(complaint));
}

function set<T extends object, K extends keyof T>(opt: T, key: K, v: T[K] | undefined): void {
  if (v !== undefined) opt[key] = v;
}

/** netem_parse_opt. */
function parseNetem(words: Words): NetemOpt {
  const opt: NetemOpt = {};
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (matches(word, "limit")) opt.limit = value(words, parseSizeBytes, illegal("limit"));
    else if (isOneOf(word, "latency", "delay")) {
      opt.delay = value(words, parseTime, illegal("latency"));
      set(opt, "jitter", optional(words, parseTime, "latency"));
      if (opt.jitter !== undefined) set(opt, "delayCorr", optional(words, parsePercent, "latency"));
    } else if (isOneOf(word, "loss", "drop")) parseNetemLoss(words, opt);
    else if (matches(word, "ecn")) opt.ecn = true;
    else if (matches(word, "reorder")) {
      opt.reorder = value(words, parsePercent, illegal("reorder"));
      set(opt, "reorderCorr", optional(words, parsePercent, "reorder"));
    } else if (matches(word, "corrupt")) {
      opt.corrupt = value(words, parsePercent, illegal("corrupt"));
      set(opt, "corruptCorr", optional(words, parsePercent, "corrupt"));
    } else if (matches(word, "gap")) opt.gap = value(words, parseCount, illegal("gap"));
    else if (matches(word, "duplicate")) {
      opt.duplicate = value(words, parsePercent, illegal("duplicate"));
      set(opt, "duplicateCorr", optional(words, parsePercent, "duplicate"));
    } else if (matches(word, "distribution")) {
      const name = nextArg(words);
      if (name !== "uniform" && name !== "normal" && name !== "pareto" && name !== "paretonormal") {
        throw new ParseError(`Cannot find distribution "${name}"`);
      }
      opt.distribution = name;
    } else if (matches(word, "rate")) {
      opt.rate = value(words, parseRateBytes, illegal("rate"));
      set(opt, "packetOverhead", optional(words, parseCount, "rate"));
      if (opt.packetOverhead !== undefined) set(opt, "cellSize", optional(words, parseCount, "rate"));
      if (opt.cellSize !== undefined) set(opt, "cellOverhead", optional(words, parseCount, "rate"));
    } else throw new ParseError(`What is "${word}"?`);
  }
  return opt;
}

function parseNetemLoss(words: Words, opt: NetemOpt): void {
  if (words.accept("state")) {
    const percents = values(words, 5, "loss state");
    opt.state = { p13: percents[0] as number };
    set(opt.state, "p31", percents[1]);
    set(opt.state, "p32", percents[2]);
    set(opt.state, "p23", percents[3]);
    set(opt.state, "p14", percents[4]);
    return;
  }
  if (words.accept("gemodel")) {
    const percents = values(words, 4, "loss gemodel");
    opt.gemodel = { p: percents[0] as number };
    set(opt.gemodel, "r", percents[1]);
    set(opt.gemodel, "lossBad", percents[2]);
    set(opt.gemodel, "lossGood", percents[3]);
    return;
  }
  words.accept("random");
  opt.loss = value(words, parsePercent, illegal("loss percent"));
  set(opt, "lossCorr", optional(words, parsePercent, "loss percent"));
}

function values(words: Words, most: number, what: string): number[] {
  const out = [value(words, parsePercent, illegal(what))];
  while (out.length < most) {
    const v = optional(words, parsePercent, what);
    if (v === undefined) break;
    out.push(v);
  }
  return out;
}

/** tbf_parse_opt. */
function parseTbf(words: Words): TbfOpt {
  const opt: TbfOpt = { rate: 0, burst: 0 };
  const bad = (what: string) => (text: string) => `tbf: illegal value for "${what}": "${text}"`;
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (matches(word, "limit")) opt.limit = value(words, parseSizeBytes, bad("limit"));
    else if (matches(word, "latency")) opt.latency = value(words, parseTime, bad("latency"));
    else if (matches(word, "burst") || word === "buffer" || word === "maxburst") {
      opt.burst = value(words, parseSizeBytes, bad(word));
    } else if (word === "mtu" || word === "minburst") opt.mtu = value(words, parseSizeBytes, bad(word));
    else if (word === "rate") opt.rate = value(words, parseRateBytes, bad("rate"));
    else if (matches(word, "peakrate")) opt.peakrate = value(words, parseRateBytes, bad("peakrate"));
    else throw new ParseError(`tbf: unknown parameter "${word}"`);
  }
  const lacks: string[] = [];
  if (opt.rate === 0) lacks.push('tbf: the "rate" parameter is mandatory.');
  if (opt.burst === 0) lacks.push('tbf: the "burst" parameter is mandatory.');
  if (opt.peakrate !== undefined && opt.mtu === undefined) {
    lacks.push('tbf: when "peakrate" is specified, "mtu" must also be specified.');
  }
  if (opt.limit === undefined && opt.latency === undefined) lacks.push('tbf: either "limit" or "latency" is required.');
  if (lacks.length > 0) throw new ParseError(lacks.join("\n"));
  return opt;
}

function parseFifo(words: Words): QdiscOpt | null {
  let opt: { limit: number } | null = null;
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word !== "limit") throw new ParseError(`pfifo: unknown parameter "${word}"`);
    opt = { limit: value(words, parseSizeBytes, (text) => `pfifo: Illegal value for "limit": "${text}"`) };
  }
  return opt;
}

/** `n` numbers in a row. */
function parseFqNumbers(words: Words, n: number, word: string): number[] {
  const out: number[] = [];
  while (out.length < n) out.push(value(words, parseCount, illegal(word)));
  return out;
}

/** bands 3 priomap P0 ... P15. */
function parseFqBands(words: Words, opt: FqOpt): void {
  if (value(words, parseCount, illegal("bands")) !== 3) throw new ParseError("fq: bands must be 3");
  if (words.next() !== "priomap") throw new ParseError("fq: bands needs a priomap");
  opt.priomap = parseFqNumbers(words, 16, "priomap");
}

/** fq_parse_opt. */
function parseFq(words: Words): FqOpt {
  const opt: FqOpt = {};
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "limit") opt.limit = value(words, parseCount, illegal(word));
    else if (word === "flow_limit") opt.flowLimit = value(words, parseCount, illegal(word));
    else if (word === "quantum") opt.quantum = value(words, parseSizeBytes, illegal(word));
    else if (word === "initial_quantum") opt.initialQuantum = value(words, parseSizeBytes, illegal(word));
    else if (word === "maxrate") opt.maxrate = value(words, parseRateBytes, illegal(word));
    else if (word === "low_rate_threshold") opt.lowRateThreshold = value(words, parseRateBytes, illegal(word));
    else if (word === "ce_threshold") opt.ceThreshold = value(words, parseTime, illegal(word));
    else if (word === "horizon") opt.horizon = value(words, parseTime, illegal(word));
    else if (word === "horizon_cap") opt.horizonCap = true;
    else if (word === "horizon_drop") opt.horizonCap = false;
    else if (word === "refill_delay") opt.refillDelay = value(words, parseTime, illegal(word));
    else if (word === "timer_slack") opt.timerSlack = value(words, parseTime, illegal(word));
    else if (word === "orphan_mask") opt.orphanMask = value(words, parseCount, illegal(word));
    else if (word === "bands") parseFqBands(words, opt);
    else if (word === "weights") opt.weights = parseFqNumbers(words, 3, word);
    else if (word === "pacing") opt.pacing = true;
    else if (word === "nopacing") opt.pacing = false;
    // The size of a hash table that there is none of.
    else if (word === "buckets") value(words, parseCount, illegal(word));
    else throw new ParseError(`What is "${word}"?`);
  }
  return opt;
}

/** fq_codel_parse_opt. */
function parseFqCodel(words: Words): FqCodelOpt {
  const opt: FqCodelOpt = {};
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "limit") opt.limit = value(words, parseCount, illegal(word));
    else if (word === "flows") opt.flows = value(words, parseCount, illegal(word));
    else if (word === "quantum") opt.quantum = value(words, parseCount, illegal(word));
    else if (word === "target") opt.target = value(words, parseTime, illegal(word));
    else if (word === "interval") opt.interval = value(words, parseTime, illegal(word));
    else if (word === "ce_threshold") opt.ceThreshold = value(words, parseTime, illegal(word));
    else if (word === "memory_limit") opt.memoryLimit = value(words, parseSizeBytes, illegal(word));
    else if (word === "drop_batch") opt.dropBatch = value(words, parseCount, illegal(word));
    else if (word === "ecn") opt.ecn = true;
    else if (word === "noecn") opt.ecn = false;
    else throw new ParseError(`What is "${word}"?`);
  }
  return opt;
}

/** red_parse_opt. */
function parseRed(words: Words): RedOpt {
  const opt: RedOpt = { limit: 0, avpkt: 0 };
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "limit") opt.limit = value(words, parseSizeBytes, illegal(word));
    else if (word === "min") opt.min = value(words, parseSizeBytes, illegal(word));
    else if (word === "max") opt.max = value(words, parseSizeBytes, illegal(word));
    else if (word === "burst") opt.burst = value(words, parseCount, illegal(word));
    else if (word === "avpkt") opt.avpkt = value(words, parseSizeBytes, illegal(word));
    else if (word === "probability") opt.probability = value(words, parseFraction, illegal(word));
    else if (word === "bandwidth") opt.bandwidth = value(words, parseRateBytes, illegal(word));
    else if (word === "ecn") opt.ecn = true;
    else if (word === "harddrop") opt.harddrop = true;
    else if (word === "nodrop") opt.nodrop = true;
    else throw new ParseError(`What is "${word}"?`);
  }
  if (opt.limit === 0 || opt.avpkt === 0) throw new ParseError("RED: Required parameter (limit, avpkt) is missing");
  return opt;
}

function parseFraction(text: string): number {
  if (!/^\d*\.?\d+$/.test(text)) throw new ParseError(text);
  return Number(text);
}

function parseNothing(words: Words): null {
  const word = words.next();
  if (word !== undefined) throw new ParseError(`Error: qdisc takes no options, but there is "${word}"`);
  return null;
}

const PARSERS: Readonly<Record<string, OptParser>> = {
  netem: parseNetem,
  tbf: parseTbf,
  pfifo: parseFifo,
  bfifo: parseFifo,
  fq: parseFq,
  fq_codel: parseFqCodel,
  red: parseRed,
  pfifo_fast: parseNothing,
  noqueue: parseNothing,
};

// ---- showing ----------------------------------------------------------------------------------------------------------------------

/** print_rate: bits a second. */
function formatRate(bits: number): string {
  const units = ["", "K", "M", "G", "T"];
  let rate = bits;
  let i = 0;
  while (i < units.length - 1 && rate >= 1000 && (rate % 1000 === 0 || rate >= 1000 * 1000)) {
    rate /= 1000;
    i++;
  }
  return `${Math.round(rate)}${units[i]}bit`;
}

/** print_size. */
function formatSize(size: number): string {
  const mega = 1024 * 1024;
  if (size >= mega && Math.abs(mega * Math.round(size / mega) - size) < 1024) return `${Math.round(size / mega)}Mb`;
  if (size >= 1024 && Math.abs(1024 * Math.round(size / 1024) - size) < 16) return `${Math.round(size / 1024)}Kb`;
  return `${size}b`;
}

/** print_time: microseconds. */
function formatTime(us: number): string {
  if (us >= 1e6) return `${Number((us / 1e6).toPrecision(3))}s`;
  return us >= 1000 ? `${Number((us / 1000).toPrecision(3))}ms` : `${us}us`;
}

/** The options as the scheduler gives them, in plain bits, bytes and microseconds, with tc's units. */
function formatOptions(options: string): string {
  return options
    .replace(/\b(\d+(?:\.\d+)?)bit\b/g, (_, n: string) => formatRate(Number(n)))
    .replace(/\b(\d+)b\b/g, (_, n: string) => formatSize(Number(n)))
    .replace(/\b(\d+(?:\.\d+)?)us\b/g, (_, n: string) => formatTime(Number(n)));
}

function formatQdisc(info: QdiscInfo, named: boolean, stats: boolean): string {
  let out = `qdisc ${info.kind} ${formatHandle(info.handle === 0 ? 0 : info.handle)} `;
  if (!named) out += `dev ${info.dev} `;
  out += info.parent === TC_H_ROOT || info.parent === 0 ? "root refcnt 2 " : `parent ${formatHandle(info.parent)} `;
  out += formatOptions(info.options);
  // tbf's printer ends in a blank.
  if (info.kind === "tbf") out += " ";
  out += "\n";
  if (!stats) return out;
  const s = info.stats;
  out += ` Sent ${s.bytes} bytes ${s.packets} pkt (dropped ${s.drops}, overlimits ${s.overlimits} requeues ${s.requeues}) \n`;
  out += ` backlog ${formatSize(s.backlog)} ${info.qlen}p requeues ${s.requeues}\n`;
  const xstats = Object.entries(info.xstats);
  if (xstats.length > 0) out += `  ${xstats.map(([k, v]) => `${k} ${v}`).join(" ")}\n`;
  return out;
}

/** tc_qdisc_list. */
function qdiscShow(net: Net, words: Words, stats: boolean): CommandResult {
  let only: NetDevice | null = null;
  let rootOnly = false;
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "dev") only = needTcDev(net, nextArg(words));
    else if (word === "root") rootOnly = true;
    else if (word === "invisible") continue;
    else throw new ParseError(`What is "${word}"? Try "tc qdisc help".`, 255);
  }
  let out = "";
  for (const dev of linkList(net)) {
    if (only !== null && dev !== only) continue;
    for (const info of qdiscDump(dev)) {
      if (!rootOnly || info.parent === TC_H_ROOT || info.parent === 0) out += formatQdisc(info, only !== null, stats);
    }
  }
  return commandOk(out);
}
