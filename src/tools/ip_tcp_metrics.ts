/** `ip tcp_metrics`: what TCP remembers of other hosts. */

import { kernel } from "../kernel/kernel.ts";
import { inetNtoa } from "../net/ipv4/inet_addr.ts";
import type { TcpMetricsBlock } from "../net/ipv4/tcp_metrics.ts";
import {
  TCP_METRIC_CWND,
  TCP_METRIC_REORDERING,
  TCP_METRIC_RTT,
  TCP_METRIC_RTTVAR,
  TCP_METRIC_SSTHRESH,
  tcpMetricsDel,
  tcpMetricsFlushAll,
  tcpMetricsList,
} from "../net/ipv4/tcp_metrics.ts";
import type { IpOptions, Prefix } from "./ip_util.ts";
import { getPrefix, isOneOf, matches, nextArg, prefixContains } from "./ip_util.ts";
import type { CommandResult, Words } from "./parse_command.ts";
import { commandFail, commandOk, ParseError } from "./parse_command.ts";

const USAGE = `Usage:	ip tcp_metrics/tcpmetrics { COMMAND | help }
	ip tcp_metrics { show | flush } SELECTOR
	ip tcp_metrics delete [ address ] ADDRESS
SELECTOR := [ [ address ] PREFIX ]`;

export function ipTcpMetrics(o: IpOptions, words: Words): CommandResult {
  const command = words.next();
  if (command === undefined || isOneOf(command, "show", "lst", "list")) return metricsShow(o, select(o, words));
  if (matches(command, "delete")) return metricsDelete(o, select(o, words));
  if (matches(command, "flush")) return metricsFlush(o, select(o, words));
  if (command === "help") throw new ParseError(USAGE, 255);
  throw new ParseError(`Command "${command}" is unknown, try "ip tcp_metrics help".`, 255);
}

interface Selector {
  to: Prefix | null;
  from: Prefix | null;
}

function select(o: IpOptions, words: Words): Selector {
  const s: Selector = { to: null, from: null };
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "help") throw new ParseError(USAGE, 255);
    if (word === "src" || word === "source") {
      s.from = getPrefix(nextArg(words), o.family);
      continue;
    }
    const p = getPrefix(isOneOf(word, "address") ? nextArg(words) : word, o.family);
    // "all" selects nothing in particular.
    s.to = p.len === 0 && !p.given ? null : p;
  }
  return s;
}

function selected(o: IpOptions, s: Selector): TcpMetricsBlock[] {
  return tcpMetricsList(o.net).filter(
    (tm) => (s.to === null || prefixContains(s.to, tm.daddr)) && (s.from === null || prefixContains(s.from, tm.saddr)),
  );
}

/** An address alone is looked up, and is missed if it is not there. */
function one(o: IpOptions, s: Selector): TcpMetricsBlock[] {
  const found = selected(o, s);
  if (found.length === 0) throw new ParseError("RTNETLINK answers: No such process", 2);
  return found;
}

function metricsShow(o: IpOptions, s: Selector): CommandResult {
  const single = s.to !== null && s.to.len === 32;
  const found = single ? one(o, s).slice(0, 1) : selected(o, s);
  return commandOk(found.map(formatMetrics).join(""));
}

function metricsDelete(o: IpOptions, s: Selector): CommandResult {
  if (s.to === null) throw new ParseError('Error: argument "address" is required', 255);
  for (const tm of one(o, s)) tcpMetricsDel(o.net, tm);
  return commandOk();
}

function metricsFlush(o: IpOptions, s: Selector): CommandResult {
  if (s.to === null && s.from === null) {
    tcpMetricsFlushAll(o.net);
    return commandOk();
  }
  const found = selected(o, s);
  for (const tm of found) tcpMetricsDel(o.net, tm);
  return found.length > 0 ? commandOk() : commandFail(0, "Nothing to flush.\n");
}

const NAMES: readonly (readonly [index: number, name: string])[] = [
  [TCP_METRIC_SSTHRESH, "ssthresh"],
  [TCP_METRIC_CWND, "cwnd"],
  [TCP_METRIC_REORDERING, "reordering"],
];

/** process_msg of ipmetrics.c: one line. RTT is kept times 8, its variance times 4. */
function formatMetrics(tm: TcpMetricsBlock): string {
  const ago = (us: number): string => ((kernel.now - us) / 1e6).toFixed(3);
  let out = `${inetNtoa(tm.daddr)} age ${ago(tm.stamp)}sec`;
  for (const [index, name] of NAMES) if (tm.vals[index] !== 0) out += ` ${name} ${tm.vals[index]}`;
  const rtt = Math.floor((tm.vals[TCP_METRIC_RTT] as number) / 8);
  const rttvar = Math.floor((tm.vals[TCP_METRIC_RTTVAR] as number) / 4);
  if (rtt !== 0) out += ` rtt ${rtt}us`;
  if (rttvar !== 0) out += ` rttvar ${rttvar}us`;
  if (tm.fastopenMss !== 0) out += ` fo_mss ${tm.fastopenMss}`;
  if (tm.fastopenSynLoss !== 0) out += ` fo_syn_drops ${tm.fastopenSynLoss}/${ago(tm.fastopenLastSynLoss)}sec ago`;
  const cookie = tm.fastopenCookie;
  if (cookie.len > 0) {
    const hex = Array.from(cookie.val.slice(0, cookie.len), (b) => b.toString(16).padStart(2, "0"));
    out += ` fo_cookie ${hex.join("")}`;
  }
  return `${out} source ${inetNtoa(tm.saddr)}\n`;
}
