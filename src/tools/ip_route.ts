/** `ip route` and `ip rule`. */

import { kernel } from "../kernel/kernel.ts";
import type { NextHopMsg, RouteMsg, RuleMsg } from "../net/core/rtnetlink.ts";
import {
  NetlinkExtAck,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  RTM_DELROUTE,
  RTM_DELRULE,
  RTM_GETROUTE,
  RTM_GETRULE,
  RTM_NEWROUTE,
  RTM_NEWRULE,
  rtnetlinkDump,
  rtnetlinkRcvMsg,
} from "../net/core/rtnetlink.ts";
import type { FibDumpEntry } from "../net/ipv4/fib_frontend.ts";
import type { FibRule } from "../net/ipv4/fib_rules.ts";
import type { FibInfo, FibNh } from "../net/ipv4/fib_semantics.ts";
import { ipIgnoreLinkdown } from "../net/ipv4/fib_semantics.ts";
import type { FibAlias, FibTable, TrieNode } from "../net/ipv4/fib_trie.ts";
import { inetNtoa } from "../net/ipv4/inet_addr.ts";
import type { FibResult } from "../net/ipv4/ip_fib.ts";
import type { RouteAnswer } from "../net/ipv4/route.ts";
import { inetRtmGetroute, rtCacheFlush } from "../net/ipv4/route.ts";
import { tcpCaGetNameByKey } from "../net/ipv4/tcp_cong.ts";
import { ESRCH } from "../uapi/errno.ts";
import {
  FR_ACT_BLACKHOLE,
  FR_ACT_GOTO,
  FR_ACT_NOP,
  FR_ACT_PROHIBIT,
  FR_ACT_TO_TBL,
  FR_ACT_UNREACHABLE,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_NOWHERE,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_LOCAL,
  RT_TABLE_MAIN,
  RTAX_ADVMSS,
  RTAX_CC_ALGO,
  RTAX_CWND,
  RTAX_FASTOPEN_NO_COOKIE,
  RTAX_FEATURE_ALLFRAG,
  RTAX_FEATURE_ECN,
  RTAX_FEATURE_SACK,
  RTAX_FEATURE_TIMESTAMP,
  RTAX_FEATURES,
  RTAX_HOPLIMIT,
  RTAX_INITCWND,
  RTAX_INITRWND,
  RTAX_LOCK,
  RTAX_MAX,
  RTAX_MTU,
  RTAX_QUICKACK,
  RTAX_REORDERING,
  RTAX_RTO_MIN,
  RTAX_RTT,
  RTAX_RTTVAR,
  RTAX_SSTHRESH,
  RTAX_WINDOW,
  RTCF_BROADCAST,
  RTCF_DOREDIRECT,
  RTCF_LOCAL,
  RTCF_MULTICAST,
  RTCF_NOTIFY,
  RTCF_REDIRECTED,
  RTCF_REJECT,
  RTM_F_OFFLOAD_FAILED,
  RTN_ANYCAST,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
  RTN_NAT,
  RTN_UNICAST,
  RTNH_F_DEAD,
  RTNH_F_LINKDOWN,
  RTNH_F_OFFLOAD,
  RTNH_F_ONLINK,
  RTNH_F_PERVASIVE,
  RTNH_F_TRAP,
  RTNH_F_UNRESOLVED,
  RTPROT_BOOT,
} from "../uapi/rtnetlink.ts";
import { AF_INET } from "../uapi/socket.ts";
import type { IpOptions, Prefix } from "./ip_util.ts";
import {
  duparg2,
  formatTos,
  getAddr,
  getPrefix,
  getUnsigned,
  invarg,
  ipprotoName,
  isOneOf,
  matches,
  needDev,
  nextArg,
  parseIpproto,
  parseProto,
  parseScope,
  parseTable,
  parseTos,
  parseType,
  prefixContains,
  protoName,
  rtnlError,
  rtnlTalk,
  scopeName,
  sl,
  tableName,
  typeName,
} from "./ip_util.ts";
import type { CommandResult, Words } from "./parse_command.ts";
import { commandOk, ParseError } from "./parse_command.ts";

export function ipRoute(o: IpOptions, words: Words): CommandResult {
  const command = words.next();
  if (command === undefined) return routeShow(o, words, false);
  if (isOneOf(command, "list", "show", "lst")) return routeShow(o, words, false);
  if (matches(command, "get")) return routeGet(o, words);
  if (matches(command, "add")) return routeModify(o, words, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
  if (isOneOf(command, "change") || command === "chg") return routeModify(o, words, RTM_NEWROUTE, NLM_F_REPLACE);
  if (matches(command, "replace")) return routeModify(o, words, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  if (matches(command, "prepend")) return routeModify(o, words, RTM_NEWROUTE, NLM_F_CREATE);
  if (matches(command, "append")) return routeModify(o, words, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND);
  if (matches(command, "test")) return routeModify(o, words, RTM_NEWROUTE, NLM_F_EXCL);
  if (matches(command, "delete")) return routeModify(o, words, RTM_DELROUTE, 0);
  if (matches(command, "flush")) return routeShow(o, words, true);
  if (command === "help")
    throw new ParseError("Usage: ip route { add | del | change | append | replace | get | show | flush } ...", 255);
  throw new ParseError(`Command "${command}" is unknown, try "ip route help".`, 255);
}

// ---- metrics -------------------------------------------------------------------------------------------------------------------

/** Those that are plain numbers, by the words that set them. */
const PLAIN: readonly (readonly [word: string, metric: number, name: string])[] = [
  ["hoplimit", RTAX_HOPLIMIT, "hoplimit"],
  ["advmss", RTAX_ADVMSS, "mss"],
  ["reordering", RTAX_REORDERING, "reordering"],
  ["window", RTAX_WINDOW, "window"],
  ["cwnd", RTAX_CWND, "cwnd"],
  ["initcwnd", RTAX_INITCWND, "initcwnd"],
  ["initrwnd", RTAX_INITRWND, "initrwnd"],
  ["ssthresh", RTAX_SSTHRESH, "ssthresh"],
  ["quickack", RTAX_QUICKACK, "quickack"],
  ["fastopen_no_cookie", RTAX_FASTOPEN_NO_COOKIE, "fastopen_no_cookie"],
  ["mtu", RTAX_MTU, "mtu"],
];

const METRIC_NAMES: ReadonlyMap<number, string> = new Map([
  [RTAX_MTU, "mtu"],
  [RTAX_WINDOW, "window"],
  [RTAX_RTT, "rtt"],
  [RTAX_RTTVAR, "rttvar"],
  [RTAX_SSTHRESH, "ssthresh"],
  [RTAX_CWND, "cwnd"],
  [RTAX_ADVMSS, "advmss"],
  [RTAX_REORDERING, "reordering"],
  [RTAX_HOPLIMIT, "hoplimit"],
  [RTAX_INITCWND, "initcwnd"],
  [RTAX_FEATURES, "features"],
  [RTAX_RTO_MIN, "rto_min"],
  [RTAX_INITRWND, "initrwnd"],
  [RTAX_QUICKACK, "quickack"],
  [RTAX_CC_ALGO, "congctl"],
  [RTAX_FASTOPEN_NO_COOKIE, "fastopen_no_cookie"],
]);

const FEATURES: readonly (readonly [name: string, bit: number])[] = [
  ["ecn", RTAX_FEATURE_ECN],
  ["sack", RTAX_FEATURE_SACK],
  ["timestamp", RTAX_FEATURE_TIMESTAMP],
  ["allfrag", RTAX_FEATURE_ALLFRAG],
];

/** get_time_rtt: milliseconds, and whether it had no unit; NaN if it is no time. */
function getTimeRtt(text: string): { ms: number; raw: boolean } {
  const m = /^(\d+(?:\.\d+)?)(s|secs?|ms|msecs?)?$/i.exec(text);
  if (m === null) return { ms: Number.NaN, raw: false };
  const unit = (m[2] ?? "").toLowerCase();
  const ms = Number(m[1]) * (unit.startsWith("s") ? 1000 : 1);
  return { ms: Math.floor(ms), raw: unit === "" };
}

class Metrics {
  readonly values: Map<number, number> = new Map();
  lock = 0;
  congctl = "";

  /** Takes the words of one metric; false if `word` is none. */
  parse(words: Words, word: string): boolean {
    for (const [name, metric, what] of PLAIN) {
      if (word !== name && !(name !== "mtu" && word.length > 4 && matches(word, name))) continue;
      let text = nextArg(words);
      if (text === "lock") {
        this.lock |= 1 << metric;
        text = nextArg(words);
      }
      this.values.set(metric, need(text, what));
      return true;
    }
    if (word === "rtt" || word === "rttvar" || matches(word, "rto_min")) {
      this.#time(words, word);
      return true;
    }
    if (word === "congctl") {
      let text = nextArg(words);
      if (text === "lock") {
        this.lock |= 1 << RTAX_CC_ALGO;
        text = nextArg(words);
      }
      this.congctl = text;
      return true;
    }
    if (word === "features") {
      let bits = 0;
      for (;;) {
        const next = words.peek;
        const feature = FEATURES.find(([name]) => name === next);
        if (feature === undefined) break;
        bits |= feature[1];
        words.next();
      }
      if (bits === 0) throw invarg('"features" value not valid\n', words.peek ?? "");
      this.values.set(RTAX_FEATURES, bits);
      return true;
    }
    return false;
  }

  #time(words: Words, word: string): void {
    let text = nextArg(words);
    const metric = word === "rtt" ? RTAX_RTT : word === "rttvar" ? RTAX_RTTVAR : RTAX_RTO_MIN;
    if (metric === RTAX_RTO_MIN) this.lock |= 1 << metric;
    else if (text === "lock") {
      this.lock |= 1 << metric;
      text = nextArg(words);
    }
    const { ms, raw } = getTimeRtt(text);
    if (Number.isNaN(ms))
      throw invarg(`"${word === "rtt" || word === "rttvar" ? word : "rto_min"}" value is invalid\n`, text);
    this.values.set(metric, raw ? ms : metric === RTAX_RTT ? ms * 8 : metric === RTAX_RTTVAR ? ms * 4 : ms);
  }
}

function need(text: string, what: string): number {
  const n = getUnsigned(text);
  if (Number.isNaN(n)) throw invarg(`"${what}" value is invalid\n`, text);
  return n;
}

/** print_rta_metrics. */
function formatMetrics(values: Float64Array, lock: number): string {
  let out = "";
  for (let i = RTAX_MTU; i <= RTAX_MAX; i++) {
    const val = values[i] as number;
    if (val === 0) continue;
    out += `${METRIC_NAMES.get(i) ?? `metric ${i}`} `;
    if ((lock & (1 << i)) !== 0) out += "lock ";
    if (i === RTAX_CC_ALGO) {
      out += `${tcpCaGetNameByKey(val)} `;
    } else if (i === RTAX_FEATURES) {
      for (const [name, bit] of FEATURES) if ((val & bit) !== 0) out += `${name} `;
    } else if (i === RTAX_RTT || i === RTAX_RTTVAR || i === RTAX_RTO_MIN) {
      const ms = i === RTAX_RTT ? Math.floor(val / 8) : i === RTAX_RTTVAR ? Math.floor(val / 4) : val;
      out += ms >= 1000 ? `${Number((ms / 1000).toPrecision(6))}s ` : `${ms}ms `;
    } else {
      out += `${val} `;
    }
  }
  return out;
}

// ---- changing -------------------------------------------------------------------------------------------------------------------

/** parse_nexthops. */
function parseNexthops(o: IpOptions, words: Words): NextHopMsg[] {
  const hops: NextHopMsg[] = [];
  while (words.peek === "nexthop") {
    words.next();
    const hop: NextHopMsg = {};
    while (words.peek !== undefined && words.peek !== "nexthop") {
      const word = words.next() as string;
      if (word === "via") {
        if (words.peek === "inet") words.next();
        hop.gateway = getAddr(nextArg(words), "inet");
      } else if (word === "dev") hop.oif = needDev(o.net, nextArg(words)).ifindex;
      else if (word === "weight") {
        const text = nextArg(words);
        const n = getUnsigned(text, 256);
        if (!(n >= 1)) throw invarg('"weight" is invalid\n', text);
        hop.weight = n;
      } else if (word === "onlink") hop.flags = (hop.flags ?? 0) | RTNH_F_ONLINK;
      else throw new ParseError('Error: "nexthop" or end of line is expected instead of "' + word + '"', 255);
    }
    hops.push(hop);
  }
  return hops;
}

/** iproute_modify. */
function routeModify(o: IpOptions, words: Words, cmd: number, flags: number): CommandResult {
  const msg: RouteMsg = { dstLen: 0 };
  if (cmd !== RTM_DELROUTE) {
    msg.protocol = RTPROT_BOOT;
    msg.scope = RT_SCOPE_UNIVERSE;
    msg.type = RTN_UNICAST;
  } else {
    msg.scope = RT_SCOPE_NOWHERE;
  }
  const metrics = new Metrics();
  let dst: Prefix | null = null;
  let scopeOk = false;
  let tableOk = false;
  let typeOk = false;
  for (let word = words.peek; word !== undefined; word = words.peek) {
    if (word === "nexthop") {
      msg.multipath = parseNexthops(o, words);
      continue;
    }
    words.next();
    if (word === "src") msg.prefsrc = getAddr(nextArg(words), "inet");
    else if (word === "via") {
      if (words.peek === "inet") words.next();
      msg.gateway = getAddr(nextArg(words), "inet");
    } else if (word === "from") {
      const src = getPrefix(nextArg(words), "inet");
      msg.src = src.addr;
      msg.srcLen = src.len;
    } else if (word === "tos" || matches(word, "dsfield")) {
      msg.tos = parseTos(nextArg(words), '"tos" value is invalid\n');
    } else if (isOneOf(word, "metric", "priority", "preference")) {
      msg.priority = need(nextArg(words), "metric");
    } else if (word === "scope") {
      msg.scope = parseScope(nextArg(words), '"scope" value is invalid\n');
      scopeOk = true;
    } else if (matches(word, "protocol")) msg.protocol = parseProto(nextArg(words));
    else if (matches(word, "table")) {
      msg.table = parseTable(nextArg(words));
      tableOk = true;
    } else if (word === "dev" || word === "oif") msg.oif = needDev(o.net, nextArg(words)).ifindex;
    else if (word === "onlink") msg.flags = (msg.flags ?? 0) | RTNH_F_ONLINK;
    else if (matches(word, "pervasive")) msg.flags = (msg.flags ?? 0) | RTNH_F_PERVASIVE;
    else if (metrics.parse(words, word)) continue;
    else {
      // [to] [TYPE] PREFIX
      let text = word === "to" ? nextArg(words) : word;
      const type = parseType(text);
      if (!Number.isNaN(type)) {
        msg.type = type;
        typeOk = true;
        text = nextArg(words);
      }
      if (dst !== null) throw duparg2("to", text);
      dst = getPrefix(text, o.family);
    }
  }
  if (dst !== null) {
    msg.dst = dst.addr;
    msg.dstLen = dst.len;
  }
  if (metrics.lock !== 0) metrics.values.set(RTAX_LOCK, metrics.lock);
  if (metrics.values.size > 0) msg.metrics = metrics.values;
  if (metrics.congctl !== "") msg.congctl = metrics.congctl;

  const type = msg.type ?? 0;
  if (!tableOk && (type === RTN_LOCAL || type === RTN_BROADCAST || type === RTN_NAT || type === RTN_ANYCAST)) {
    msg.table = RT_TABLE_LOCAL;
  }
  if (!scopeOk) {
    if (type === RTN_LOCAL || type === RTN_NAT) msg.scope = RT_SCOPE_HOST;
    else if (type === RTN_BROADCAST || type === RTN_MULTICAST || type === RTN_ANYCAST) msg.scope = RT_SCOPE_LINK;
    else if (type === RTN_UNICAST || type === 0) {
      if (cmd === RTM_DELROUTE) msg.scope = RT_SCOPE_NOWHERE;
      else if (msg.gateway === undefined && msg.multipath === undefined) msg.scope = RT_SCOPE_LINK;
    }
  }
  if (!typeOk && cmd === RTM_DELROUTE) delete msg.type;
  rtnlTalk(o.net, cmd, msg, flags);
  return commandOk();
}

// ---- showing ----------------------------------------------------------------------------------------------------------------------

interface RouteFilter {
  /** -1 = all; 0 = those of `ip route show cache`: none. */
  table: number;
  cached: boolean;
  oif: number;
  via: number;
  src: number;
  protocol: number;
  scope: number;
  type: number;
  tos: number;
  metric: number;
  root: Prefix | null;
  match: Prefix | null;
  exact: Prefix | null;
}

function parseRouteFilter(o: IpOptions, words: Words): RouteFilter {
  const f: RouteFilter = {
    table: RT_TABLE_MAIN,
    cached: false,
    oif: 0,
    via: -1,
    src: -1,
    protocol: -1,
    scope: -1,
    type: -1,
    tos: -1,
    metric: -1,
    root: null,
    match: null,
    exact: null,
  };
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (matches(word, "table")) {
      const text = nextArg(words);
      if (matches(text, "cache")) f.cached = true;
      else f.table = text === "all" ? -1 : parseTable(text);
    } else if (matches(word, "cached") || word === "cloned") f.cached = true;
    else if (word === "tos" || matches(word, "dsfield")) f.tos = parseTos(nextArg(words), "TOS value is invalid\n");
    else if (matches(word, "protocol")) {
      const text = nextArg(words);
      f.protocol = text === "all" ? -1 : parseProto(text);
    } else if (word === "scope") {
      const text = nextArg(words);
      f.scope = text === "all" ? -1 : parseScope(text, 'invalid "scope"\n');
    } else if (matches(word, "type")) {
      const text = nextArg(words);
      f.type = parseType(text);
      if (Number.isNaN(f.type)) throw invarg("node type value is invalid\n", text);
    } else if (word === "dev" || word === "oif") f.oif = needDev(o.net, nextArg(words)).ifindex;
    else if (word === "via") f.via = getAddr(nextArg(words), "inet");
    else if (word === "src") f.src = getAddr(nextArg(words), "inet");
    else if (isOneOf(word, "metric", "priority", "preference")) f.metric = need(nextArg(words), "metric");
    else if (matches(word, "root")) f.root = getPrefix(nextArg(words), o.family);
    else if (matches(word, "match")) f.match = getPrefix(nextArg(words), o.family);
    else {
      const text = word === "to" || matches(word, "exact") ? nextArg(words) : word;
      const type = parseType(text);
      if (!Number.isNaN(type) && f.type < 0) {
        f.type = type;
        if (words.done) continue;
      }
      const at = Number.isNaN(type) ? text : nextArg(words);
      if (f.exact !== null) throw duparg2("to", at);
      f.exact = getPrefix(at, o.family);
    }
  }
  return f;
}

function routeWanted(f: RouteFilter, e: FibDumpEntry): boolean {
  const fi = e.alias.faInfo;
  const nh = fi.fibNh[0] as FibNh;
  if (f.table >= 0 && e.table.tbId !== f.table) return false;
  if (f.protocol >= 0 && fi.fibProtocol !== f.protocol) return false;
  if (f.scope >= 0 && fi.fibScope !== f.scope) return false;
  if (f.type >= 0 && e.alias.faType !== f.type) return false;
  if (f.tos >= 0 && e.alias.faTos !== f.tos) return false;
  if (f.metric >= 0 && fi.fibPriority !== f.metric) return false;
  if (f.src >= 0 && fi.fibPrefsrc !== f.src) return false;
  // A route with several next hops has no device and no gateway of its own.
  const single = fi.fibNh.length === 1;
  if (f.oif !== 0 && !(single && nh.fibNhOif === f.oif)) return false;
  if (f.via >= 0 && !(single && nh.fibNhHasGw && nh.fibNhGw === f.via)) return false;
  if (f.exact !== null && (e.dst !== f.exact.addr || e.dstLen !== f.exact.len)) return false;
  if (f.root !== null && (e.dstLen < f.root.len || !prefixContains(f.root, e.dst))) return false;
  if (
    f.match !== null &&
    (e.dstLen > f.match.len || !prefixContains({ ...f.match, addr: e.dst, len: e.dstLen }, f.match.addr))
  ) {
    return false;
  }
  return true;
}

const RTNH_FLAGS: readonly (readonly [flag: number, name: string])[] = [
  [RTNH_F_DEAD, "dead"],
  [RTNH_F_ONLINK, "onlink"],
  [RTNH_F_PERVASIVE, "pervasive"],
  [RTNH_F_OFFLOAD, "offload"],
  [RTNH_F_TRAP, "trap"],
  [RTNH_F_LINKDOWN, "linkdown"],
  [RTNH_F_UNRESOLVED, "unresolved"],
  [RTM_F_OFFLOAD_FAILED, "rt_offload_failed"],
];

function formatRtFlags(flags: number): string {
  let out = "";
  for (const [flag, name] of RTNH_FLAGS) if ((flags & flag) !== 0) out += `${name} `;
  return out;
}

/** fib_nexthop_info: the flags of a next hop as the kernel reports them. */
function nhFlags(nh: FibNh): number {
  let flags = nh.fibNhFlags & (RTNH_F_ONLINK | RTNH_F_OFFLOAD | RTNH_F_TRAP | RTNH_F_DEAD | RTNH_F_LINKDOWN);
  if ((flags & RTNH_F_LINKDOWN) !== 0 && ipIgnoreLinkdown(nh.fibNhDev)) flags |= RTNH_F_DEAD;
  return flags;
}

function formatPrefix(dst: number, len: number): string {
  if (len === 0) return dst === 0 ? "default" : `${inetNtoa(dst)}/0`;
  return len === 32 ? inetNtoa(dst) : `${inetNtoa(dst)}/${len}`;
}

/** print_route, of a route in a table. */
function formatRoute(o: IpOptions, e: FibDumpEntry, f: RouteFilter | null): string {
  const { alias } = e;
  const fi = alias.faInfo;
  const nh = fi.fibNh[0] as FibNh;
  const single = fi.fibNh.length === 1;
  let out = alias.faType !== RTN_UNICAST || o.details ? `${typeName(alias.faType)} ` : "";
  out += `${formatPrefix(e.dst, e.dstLen)} `;
  if (alias.faTos !== 0 && (f === null || f.tos < 0)) out += `tos ${formatTos(alias.faTos)} `;
  if (single && nh.fibNhHasGw && (f === null || f.via < 0)) out += `via ${inetNtoa(nh.fibNhGw)} `;
  if (single && nh.fibNhDev !== null && (f === null || f.oif === 0)) out += `dev ${nh.fibNhDev.name} `;
  const table = e.table.tbId;
  if ((table !== RT_TABLE_MAIN || o.details) && (f === null || f.table < 0)) out += `table ${tableName(table)} `;
  if ((fi.fibProtocol !== RTPROT_BOOT || o.details) && (f === null || f.protocol < 0)) {
    out += `proto ${protoName(fi.fibProtocol)} `;
  }
  if ((fi.fibScope !== RT_SCOPE_UNIVERSE || o.details) && (f === null || f.scope < 0)) {
    out += `scope ${scopeName(fi.fibScope)} `;
  }
  if (fi.fibPrefsrc !== 0 && (f === null || f.src < 0)) out += `src ${inetNtoa(fi.fibPrefsrc)} `;
  if (fi.fibPriority !== 0 && (f === null || f.metric < 0)) out += `metric ${fi.fibPriority} `;
  if (single) out += formatRtFlags(nhFlags(nh));
  out += formatMetrics(fi.fibMetrics, fi.fibMetricsLock);
  if (!single) {
    for (const hop of fi.fibNh) {
      out += `${sl(o)}\tnexthop `;
      if (hop.fibNhHasGw) out += `via ${inetNtoa(hop.fibNhGw)} `;
      if (hop.fibNhDev !== null) out += `dev ${hop.fibNhDev.name} `;
      out += `weight ${hop.fibNhWeight} ${formatRtFlags(nhFlags(hop))}`;
    }
  }
  return `${out}\n`;
}

function flushRoute(o: IpOptions, e: FibDumpEntry): void {
  const fi = e.alias.faInfo;
  const nh = fi.fibNh[0] as FibNh;
  const msg: RouteMsg = {
    dst: e.dst,
    dstLen: e.dstLen,
    tos: e.alias.faTos,
    table: e.table.tbId,
    protocol: fi.fibProtocol,
    scope: fi.fibScope,
    type: e.alias.faType,
    priority: fi.fibPriority,
    prefsrc: fi.fibPrefsrc,
  };
  if (fi.fibNh.length === 1) {
    msg.oif = nh.fibNhOif;
    if (nh.fibNhHasGw) msg.gateway = nh.fibNhGw;
  }
  const extack = new NetlinkExtAck();
  const err = rtnetlinkRcvMsg(o.net, AF_INET, RTM_DELROUTE, msg, 0, extack);
  if (err < 0 && err !== -ESRCH) throw rtnlError(err, extack);
}

/** iproute_list_flush_or_save. */
function routeShow(o: IpOptions, words: Words, flush: boolean): CommandResult {
  if (flush && words.done) throw new ParseError('"ip route flush" requires arguments.');
  const f = parseRouteFilter(o, words);
  if (f.cached) {
    if (flush) rtCacheFlush(o.net);
    return commandOk();
  }
  if (o.family === "inet6" || o.family === "link") return commandOk();
  if (f.table > 0 && o.net.ipv4.fibTables.get(f.table) === undefined) {
    throw new ParseError(`Error: ipv4: FIB table does not exist.\n${flush ? "Flush" : "Dump"} terminated`, 2);
  }
  let out = "";
  for (const e of rtnetlinkDump(o.net, AF_INET, RTM_GETROUTE) as FibDumpEntry[]) {
    if (!routeWanted(f, e)) continue;
    if (flush) flushRoute(o, e);
    else out += formatRoute(o, e, f);
  }
  return commandOk(out);
}

const CACHE_FLAGS: readonly (readonly [flag: number, name: string])[] = [
  [RTCF_LOCAL, "local"],
  [RTCF_REJECT, "reject"],
  [RTCF_MULTICAST, "mc"],
  [RTCF_BROADCAST, "brd"],
  [RTCF_REDIRECTED, "redirected"],
  [RTCF_DOREDIRECT, "redirect"],
  [RTCF_NOTIFY, "notify"],
];

/** print_route, of a decision (RTM_F_CLONED). */
function formatAnswer(o: IpOptions, a: RouteAnswer): string {
  const { rt } = a;
  let out = rt.rtType !== RTN_UNICAST || o.details ? `${typeName(rt.rtType)} ` : "";
  out += `${inetNtoa(a.daddr)} `;
  if (a.src !== 0) out += `from ${inetNtoa(a.src)} `;
  if (a.tos !== 0) out += `tos ${formatTos(a.tos)} `;
  if (a.gateway !== 0) out += `via ${inetNtoa(a.gateway)} `;
  out += `dev ${rt.dev.name} `;
  if (a.table !== 0 && (a.table !== RT_TABLE_MAIN || o.details)) out += `table ${tableName(a.table)} `;
  if (a.prefsrc !== 0) out += `src ${inetNtoa(a.prefsrc)} `;
  // The multicast flag of a decision reads as another one of a route; iproute2 prints that.
  out += formatRtFlags(rt.rtFlags & (RTM_F_OFFLOAD_FAILED | 0));
  if (a.mark !== 0) out += a.mark >= 16 ? `mark 0x${a.mark.toString(16)} ` : `mark ${a.mark} `;
  if (a.iif === 0) out += "uid 0 ";
  out += `${sl(o)}    cache `;
  const names: string[] = [];
  for (const [flag, name] of CACHE_FLAGS) if ((a.flags & flag) !== 0) names.push(name);
  if (names.length > 0) out += `<${names.join(",")}> `;
  let metrics = rt.metrics;
  let lock = rt.metricsLock;
  if (rt.expires > kernel.now) {
    out += `expires ${Math.floor((rt.expires - kernel.now) / 1e6)}sec `;
    if (rt.rtPmtu !== 0) {
      metrics = metrics.slice();
      metrics[RTAX_MTU] = rt.rtPmtu;
      if (rt.rtMtuLocked) lock |= 1 << RTAX_MTU;
    }
  }
  out += formatMetrics(metrics, lock);
  if (a.iif !== 0) out += `iif ${o.net.devByIndex.get(a.iif)?.name ?? a.iif} `;
  return `${out}\n`;
}

/** The route that a lookup ended at, as a listing would show it. */
function matchedEntry(res: FibResult): FibDumpEntry {
  const leaf = res.leaf as TrieNode;
  const alias = leaf.aliases.find((fa) => fa.faInfo === (res.fi as FibInfo)) as FibAlias;
  return { table: res.table as FibTable, dst: leaf.key, dstLen: leaf.len, alias };
}

/** iproute_get. */
function routeGet(o: IpOptions, words: Words): CommandResult {
  const msg: RouteMsg = { dstLen: 32 };
  let fibmatch = false;
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "tos" || matches(word, "dsfield")) msg.tos = parseTos(nextArg(words), "TOS value is invalid\n");
    else if (word === "from") {
      const src = getPrefix(nextArg(words), "inet");
      msg.src = src.addr;
    } else if (matches(word, "iif")) msg.iif = needDev(o.net, nextArg(words)).ifindex;
    else if (word === "mark") {
      const text = nextArg(words);
      msg.mark = getUnsigned(text);
      if (Number.isNaN(msg.mark)) throw invarg("invalid mark value", text);
    } else if (matches(word, "oif") || word === "dev") msg.oif = needDev(o.net, nextArg(words)).ifindex;
    else if (matches(word, "notify") || matches(word, "connected")) continue;
    else if (word === "uid") nextArg(words);
    else if (matches(word, "fibmatch")) fibmatch = true;
    else if (word === "ipproto") msg.ipproto = parseIpproto(nextArg(words));
    else if (word === "sport") msg.sport = need(nextArg(words), "sport");
    else if (word === "dport") msg.dport = need(nextArg(words), "dport");
    else {
      const text = word === "to" ? nextArg(words) : word;
      msg.dst = getPrefix(text, msg.dst !== undefined ? "inet" : o.family).addr;
    }
  }
  if (msg.dst === undefined) throw new ParseError("need at least a destination address");
  o.net.kernel.enter();
  try {
    const a = inetRtmGetroute(o.net, msg);
    if (typeof a === "number") throw rtnlError(a, new NetlinkExtAck());
    if (!fibmatch) return commandOk(formatAnswer(o, a));
    if (a.res === null) throw new ParseError("RTNETLINK answers: No route to host", 2);
    const e = matchedEntry(a.res);
    return commandOk(formatRoute(o, a.table === e.table.tbId ? e : { ...e, table: o.net.ipv4.fibMain }, null));
  } finally {
    o.net.kernel.exit();
  }
}

// ---- ip rule ----------------------------------------------------------------------------------------------------------------------

export function ipRule(o: IpOptions, words: Words): CommandResult {
  const command = words.next();
  if (command === undefined || isOneOf(command, "list", "lst", "show")) return ruleShow(o, words);
  if (matches(command, "add")) return ruleModify(o, words, RTM_NEWRULE);
  if (matches(command, "delete")) return ruleModify(o, words, RTM_DELRULE);
  if (matches(command, "flush")) return ruleFlush(o, words);
  if (command === "help") throw new ParseError("Usage: ip rule { add | del | show | flush } ...", 255);
  throw new ParseError(`Command "${command}" is unknown, try "ip rule help".`, 255);
}

function parsePorts(text: string, what: string): [number, number] {
  const parts = text.split("-");
  const lo = getUnsigned(parts[0] as string, 65535);
  const hi = parts.length === 1 ? lo : getUnsigned(parts[1] as string, 65535);
  if (parts.length > 2 || Number.isNaN(lo) || Number.isNaN(hi) || lo > hi) {
    throw invarg(`invalid "${what}" value\n`, text);
  }
  return [lo, hi];
}

function ruleNumber(words: Words, what: string): number {
  const text = nextArg(words);
  const n = getUnsigned(text);
  if (Number.isNaN(n)) throw invarg(`${what} value is invalid\n`, text);
  return n;
}

const RULE_ACTIONS: ReadonlyMap<string, number> = new Map([
  ["blackhole", FR_ACT_BLACKHOLE],
  ["unreachable", FR_ACT_UNREACHABLE],
  ["prohibit", FR_ACT_PROHIBIT],
  ["unicast", FR_ACT_TO_TBL],
]);

/** iprule_modify. */
function ruleModify(o: IpOptions, words: Words, type: number): CommandResult {
  const msg: RuleMsg = {};
  if (type === RTM_NEWRULE) {
    msg.action = FR_ACT_TO_TBL;
    msg.protocol = RTPROT_BOOT;
  }
  if (type === RTM_DELRULE && words.done) {
    throw new ParseError('"ip rule del" requires arguments.');
  }
  let tableOk = false;
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "not") msg.invert = true;
    else if (word === "from") {
      const p = getPrefix(nextArg(words), "inet");
      msg.src = p.addr;
      msg.srcLen = p.len;
    } else if (word === "to") {
      const p = getPrefix(nextArg(words), "inet");
      msg.dst = p.addr;
      msg.dstLen = p.len;
    } else if (isOneOf(word, "preference", "order", "priority")) msg.priority = ruleNumber(words, "preference");
    else if (word === "tos" || matches(word, "dsfield")) msg.tos = parseTos(nextArg(words), "TOS value is invalid\n");
    else if (word === "fwmark") {
      const text = nextArg(words);
      const [mark, mask] = text.split("/");
      msg.fwmark = getUnsigned(mark as string);
      if (Number.isNaN(msg.fwmark)) throw invarg("fwmark value is invalid\n", text);
      if (mask !== undefined) {
        msg.fwmask = getUnsigned(mask);
        if (Number.isNaN(msg.fwmask)) throw invarg("fwmask value is invalid\n", text);
      }
    } else if (word === "dev" || word === "iif") msg.iifname = nextArg(words);
    else if (word === "oif") msg.oifname = nextArg(words);
    else if (matches(word, "table") || matches(word, "lookup")) {
      msg.table = parseTable(nextArg(words));
      tableOk = true;
    } else if (word === "suppress_prefixlength" || word === "sup_pl") {
      msg.suppressPrefixlen = ruleNumber(words, "suppress_prefixlength");
    } else if (word === "ipproto") msg.ipproto = parseIpproto(nextArg(words));
    else if (word === "sport") msg.sport = parsePorts(nextArg(words), "sport");
    else if (word === "dport") msg.dport = parsePorts(nextArg(words), "dport");
    else if (matches(word, "protocol")) msg.protocol = parseProto(nextArg(words));
    else {
      const text = matches(word, "type") ? nextArg(words) : word;
      if (matches(text, "goto")) {
        msg.action = FR_ACT_GOTO;
        msg.goto = ruleNumber(words, "invalid target");
      } else if (matches(text, "nop")) msg.action = FR_ACT_NOP;
      else {
        const action = RULE_ACTIONS.get(text);
        if (action === undefined) throw invarg("Failed to parse rule type", text);
        msg.action = action;
      }
    }
  }
  if (!tableOk && type === RTM_NEWRULE && msg.action === FR_ACT_TO_TBL) msg.table = RT_TABLE_MAIN;
  rtnlTalk(o.net, type, msg, type === RTM_NEWRULE ? NLM_F_CREATE : 0);
  return commandOk();
}

/** print_rule. */
function formatRule(r: FibRule): string {
  let out = `${r.priority}:\t`;
  if (r.invert) out += "not ";
  out += `from ${r.srcLen === 0 ? "all" : formatPrefix(r.src, r.srcLen)} `;
  if (r.dstLen !== 0) out += `to ${formatPrefix(r.dst, r.dstLen)} `;
  if (r.tos !== 0) out += `tos ${formatTos(r.tos)} `;
  if (r.markMask !== 0) {
    out += `fwmark 0x${r.mark.toString(16)}`;
    out += r.markMask === 0xffffffff ? " " : `/0x${r.markMask.toString(16)} `;
  }
  if (r.iifname !== "") out += `iif ${r.iifname} `;
  if (r.oifname !== "") out += `oif ${r.oifname} `;
  if (r.ipproto !== 0) out += `ipproto ${ipprotoName(r.ipproto)} `;
  if (r.sportHi !== 0) out += `sport ${r.sportLo === r.sportHi ? r.sportLo : `${r.sportLo}-${r.sportHi}`} `;
  if (r.dportHi !== 0) out += `dport ${r.dportLo === r.dportHi ? r.dportLo : `${r.dportLo}-${r.dportHi}`} `;
  switch (r.action) {
    case FR_ACT_TO_TBL:
      out += `lookup ${tableName(r.table)} `;
      if (r.suppressPrefixlen >= 0) out += `suppress_prefixlength ${r.suppressPrefixlen} `;
      break;
    case FR_ACT_GOTO:
      out += `goto ${r.target} `;
      break;
    case FR_ACT_NOP:
      out += "nop ";
      break;
    case FR_ACT_BLACKHOLE:
      out += "blackhole ";
      break;
    case FR_ACT_UNREACHABLE:
      out += "unreachable ";
      break;
    default:
      out += "prohibit ";
      break;
  }
  return `${out.trimEnd()}\n`;
}

function ruleList(o: IpOptions): FibRule[] {
  return rtnetlinkDump(o.net, AF_INET, RTM_GETRULE) as FibRule[];
}

function ruleShow(o: IpOptions, words: Words): CommandResult {
  let table = -1;
  let pref = -1;
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (matches(word, "table") || matches(word, "lookup")) table = parseTable(nextArg(words));
    else if (isOneOf(word, "preference", "order", "priority")) pref = ruleNumber(words, "preference");
    else throw new ParseError(`Error: either "from" is duplicate, or "${word}" is a garbage.`, 255);
  }
  let out = "";
  for (const r of ruleList(o)) {
    if ((table < 0 || r.table === table) && (pref < 0 || r.priority === pref)) out += formatRule(r);
  }
  return commandOk(out);
}

/** `ip rule flush`: all rules but the first. */
function ruleFlush(o: IpOptions, words: Words): CommandResult {
  const word = words.next();
  if (word !== undefined) throw new ParseError(`Error: either "from" is duplicate, or "${word}" is a garbage.`, 255);
  for (const r of ruleList(o)) {
    if (r.priority === 0) continue;
    rtnlTalk(o.net, RTM_DELRULE, { priority: r.priority, action: r.action } satisfies RuleMsg, 0);
  }
  return commandOk();
}
