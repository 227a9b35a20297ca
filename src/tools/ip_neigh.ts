/** `ip neighbour`: who is on the link. */

import { kernel } from "../kernel/kernel.ts";
import type { NetDevice } from "../net/core/dev.ts";
import type { NeighDumpEntry } from "../net/core/neighbour.ts";
import type { NeighMsg } from "../net/core/rtnetlink.ts";
import {
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
  rtnetlinkDump,
} from "../net/core/rtnetlink.ts";
import { inetNtoa } from "../net/ipv4/inet_addr.ts";
import {
  NTF_EXT_LEARNED,
  NTF_PROXY,
  NTF_ROUTER,
  NTF_USE,
  NUD_DELAY,
  NUD_FAILED,
  NUD_INCOMPLETE,
  NUD_NOARP,
  NUD_NONE,
  NUD_PERMANENT,
  NUD_PROBE,
  NUD_REACHABLE,
  NUD_STALE,
  NUD_VALID,
} from "../uapi/rtnetlink.ts";
import { AF_INET } from "../uapi/socket.ts";
import type { IpOptions, Prefix } from "./ip_util.ts";
import {
  duparg2,
  formatLladdr,
  getAddr,
  getPrefix,
  getUnsigned,
  invarg,
  isOneOf,
  matches,
  needDev,
  needLladdr,
  nextArg,
  parseProto,
  prefixContains,
  protoName,
  rtnlTalk,
} from "./ip_util.ts";
import type { CommandResult, Words } from "./parse_command.ts";
import { commandOk, ParseError } from "./parse_command.ts";

export function ipNeigh(o: IpOptions, words: Words): CommandResult {
  const command = words.next();
  if (command === undefined) return neighShow(o, words, false);
  if (matches(command, "add")) return neighModify(o, words, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_EXCL);
  if (isOneOf(command, "change") || command === "chg") return neighModify(o, words, RTM_NEWNEIGH, NLM_F_REPLACE);
  if (matches(command, "replace")) return neighModify(o, words, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
  if (matches(command, "delete")) return neighModify(o, words, RTM_DELNEIGH, 0);
  if (matches(command, "get")) return neighGet(o, words);
  if (isOneOf(command, "show", "lst", "list")) return neighShow(o, words, false);
  if (matches(command, "flush")) return neighShow(o, words, true);
  if (command === "help")
    throw new ParseError("Usage: ip neigh { add | change | replace | del | get | show | flush } ...", 255);
  throw new ParseError(`Command "${command}" is unknown, try "ip neigh help".`, 255);
}

const STATES: readonly (readonly [name: string, state: number])[] = [
  ["none", NUD_NONE],
  ["incomplete", NUD_INCOMPLETE],
  ["reachable", NUD_REACHABLE],
  ["stale", NUD_STALE],
  ["delay", NUD_DELAY],
  ["probe", NUD_PROBE],
  ["failed", NUD_FAILED],
  ["noarp", NUD_NOARP],
  ["permanent", NUD_PERMANENT],
];

/** nud_state_a2n: NaN if there is no such state. */
function parseNud(text: string): number {
  for (const [name, state] of STATES) if (matches(text, name)) return state;
  return getUnsigned(text, 255);
}

/** ipneigh_modify. */
function neighModify(o: IpOptions, words: Words, type: number, flags: number): CommandResult {
  const msg: NeighMsg = { ifindex: 0, state: NUD_PERMANENT };
  let devName = "";
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "lladdr") {
      const text = nextArg(words);
      if (text !== "null") msg.lladdr = needLladdr(text);
    } else if (word === "nud") {
      const text = nextArg(words);
      const state = parseNud(text);
      if (Number.isNaN(state)) throw invarg("nud state is bad", text);
      msg.state = state;
    } else if (matches(word, "proxy")) {
      msg.dst = getAddr(nextArg(words), o.family);
      msg.flags = (msg.flags ?? 0) | NTF_PROXY;
    } else if (word === "router") msg.flags = (msg.flags ?? 0) | NTF_ROUTER;
    else if (word === "use") msg.flags = (msg.flags ?? 0) | NTF_USE;
    else if (matches(word, "extern_learn")) msg.flags = (msg.flags ?? 0) | NTF_EXT_LEARNED;
    else if (word === "dev") devName = nextArg(words);
    else if (matches(word, "protocol")) msg.protocol = parseProto(nextArg(words));
    else {
      const text = word === "to" ? nextArg(words) : word;
      if (msg.dst !== undefined) throw duparg2("to", text);
      msg.dst = getAddr(text, o.family);
    }
  }
  if (devName === "" || msg.dst === undefined) {
    throw new ParseError("Device and destination are required arguments.", 255);
  }
  msg.ifindex = needDev(o.net, devName).ifindex;
  rtnlTalk(o.net, type, msg, flags);
  return commandOk();
}

interface NeighFilter {
  dev: NetDevice | null;
  /** A bit set of states; bit 8 is "none". */
  state: number;
  to: Prefix | null;
}

/** print_neigh. */
function formatNeigh(o: IpOptions, e: NeighDumpEntry, f: NeighFilter): string {
  if (e.neigh === null) {
    const p = e.proxy as NonNullable<NeighDumpEntry["proxy"]>;
    return `${inetNtoa(p.key)} ${p.dev !== null && f.dev === null ? `dev ${p.dev.name} ` : ""}proxy \n`;
  }
  const n = e.neigh;
  let out = `${inetNtoa(n.primaryKey)} `;
  if (f.dev === null) out += `dev ${n.dev.name} `;
  if ((n.nudState & NUD_VALID) !== 0) out += `lladdr ${formatLladdr(n.ha, n.dev.addrLen)} `;
  if ((n.flags & NTF_ROUTER) !== 0) out += "router ";
  if ((n.flags & NTF_EXT_LEARNED) !== 0) out += "extern_learn ";
  if (o.stats > 0) {
    const age = (t: number): number => Math.floor((kernel.now - t) / 1e6);
    out += ` used ${age(n.used)}/${age(n.confirmed)}/${age(n.updated)}probes ${n.probes} `;
  }
  for (const [name, state] of STATES) if (state !== 0 && (n.nudState & state) !== 0) out += `${name.toUpperCase()} `;
  if (n.protocol !== 0) out += `proto ${protoName(n.protocol)} `;
  return `${out}\n`;
}

function shown(e: NeighDumpEntry, f: NeighFilter): boolean {
  const n = e.neigh;
  if (n === null) return f.dev === null || e.proxy?.dev === f.dev;
  if (f.dev !== null && n.dev !== f.dev) return false;
  if (f.to !== null && !prefixContains(f.to, n.primaryKey)) return false;
  if ((n.flags & NTF_EXT_LEARNED) !== 0) return true;
  return n.nudState === NUD_NONE ? (f.state & 0x100) !== 0 : (n.nudState & f.state) !== 0;
}

/** do_show_or_flush. */
function neighShow(o: IpOptions, words: Words, flush: boolean): CommandResult {
  if (flush && words.done) throw new ParseError("Flush requires arguments.");
  const f: NeighFilter = { dev: null, state: 0, to: null };
  let proxy = false;
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "dev") f.dev = needDev(o.net, nextArg(words));
    else if (word === "unused") continue;
    else if (word === "nud") {
      const text = nextArg(words);
      if (text === "all") {
        f.state = 0x1ff;
      } else {
        const state = parseNud(text);
        if (Number.isNaN(state)) throw invarg("nud state is bad", text);
        f.state |= state === 0 ? 0x100 : state;
      }
    } else if (word === "proxy") proxy = true;
    else {
      const text = word === "to" ? nextArg(words) : word;
      // `ip neigh flush all`
      if (text !== "all" || !flush) f.to = getPrefix(text, o.family);
    }
  }
  if (f.state === 0) f.state = 0xff & ~NUD_NOARP;
  if (flush) f.state &= ~(NUD_PERMANENT | NUD_NOARP | 0x100);
  const entries = rtnetlinkDump(o.net, AF_INET, RTM_GETNEIGH, proxy ? { flags: NTF_PROXY } : {}) as NeighDumpEntry[];
  let out = "";
  for (const e of entries) {
    if (!shown(e, f)) continue;
    if (!flush) {
      out += formatNeigh(o, e, f);
    } else if (e.neigh !== null) {
      const msg: NeighMsg = { ifindex: e.neigh.dev.ifindex, dst: e.neigh.primaryKey };
      rtnlTalk(o.net, RTM_DELNEIGH, msg, 0);
    }
  }
  return commandOk(out);
}

function neighGet(o: IpOptions, words: Words): CommandResult {
  let dst = -1;
  let dev: NetDevice | null = null;
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "dev") dev = needDev(o.net, nextArg(words));
    else dst = getAddr(word === "to" ? nextArg(words) : word, o.family);
  }
  if (dev === null || dst < 0) throw new ParseError("Device and address are required arguments.", 255);
  const entries = rtnetlinkDump(o.net, AF_INET, RTM_GETNEIGH) as NeighDumpEntry[];
  for (const e of entries) {
    if (e.neigh !== null && e.neigh.dev === dev && e.neigh.primaryKey === dst) {
      return commandOk(formatNeigh(o, e, { dev: null, state: 0x1ff, to: null }));
    }
  }
  throw new ParseError("Error: Neighbour entry not found.", 2);
}
