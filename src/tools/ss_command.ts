/** The `ss` command: the sockets of a host, with iproute2's layout. Ports are always numbers, as with -n. */

import { kernel } from "../kernel/kernel.ts";
import type { Net } from "../net/core/net_namespace.ts";
import { procNetRead } from "../net/core/net_procfs.ts";
import type { Sock } from "../net/core/sock.ts";
import { inetAton, inetNtoa } from "../net/ipv4/inet_addr.ts";
import { inetAllSocks } from "../net/ipv4/inet_hashtables.ts";
import type { InetSock, RequestSock, TcpTimewaitSock } from "../net/ipv4/inet_sock.ts";
import { seqSub } from "../net/ipv4/seq.ts";
import { sockIno, tcpTimerActive } from "../net/ipv4/tcp_ipv4.proc.ts";
import type { TcpSock } from "../net/ipv4/tcp_sock.ts";
import type { TcpInfo } from "../net/ipv4/tcp_sockopt.ts";
import { tcpGetInfo } from "../net/ipv4/tcp_sockopt.ts";
import { rawAllSocks, udpAllSocks } from "../net/ipv4/udp.proc.ts";
import {
  TCP_LISTEN,
  TCP_NEW_SYN_RECV,
  TCP_SYN_RECV,
  TCP_TIME_WAIT,
  TCPI_OPT_ECN,
  TCPI_OPT_ECN_SEEN,
  TCPI_OPT_SACK,
  TCPI_OPT_SYN_DATA,
  TCPI_OPT_TIMESTAMPS,
  TCPI_OPT_WSCALE,
} from "../uapi/tcp.ts";
import type { CommandResult } from "./parse_command.ts";
import { commandFail, commandOk, splitWords } from "./parse_command.ts";

/** By TCP_*: what ss calls a state, and what its filter does. */
const STATES: readonly (readonly [shown: string, name: string])[] = [
  ["UNKNOWN", "unknown"],
  ["ESTAB", "established"],
  ["SYN-SENT", "syn-sent"],
  ["SYN-RECV", "syn-recv"],
  ["FIN-WAIT-1", "fin-wait-1"],
  ["FIN-WAIT-2", "fin-wait-2"],
  ["TIME-WAIT", "time-wait"],
  ["UNCONN", "unconnected"],
  ["CLOSE-WAIT", "close-wait"],
  ["LAST-ACK", "last-ack"],
  ["LISTEN", "listening"],
  ["CLOSING", "closing"],
];
const bit = (name: string): number => 1 << STATES.findIndex(([, n]) => n === name);
const ALL = 0xffe;
const LISTEN_AND_CLOSE: number = bit("listening") | bit("unconnected");
/** What is shown without -a and -l. */
const CONNECTED: number = ALL & ~(LISTEN_AND_CLOSE | bit("time-wait") | bit("syn-recv"));
const STATE_SETS: ReadonlyMap<string, number> = new Map([
  ...STATES.slice(1).map(([, name], i) => [name, 1 << (i + 1)] as const),
  ["closed", bit("unconnected")],
  ["listen", bit("listening")],
  ["all", ALL],
  ["connected", ALL & ~LISTEN_AND_CLOSE],
  ["synchronized", ALL & ~(LISTEN_AND_CLOSE | bit("syn-sent"))],
  ["bucket", bit("syn-recv") | bit("time-wait")],
  ["big", ALL & ~(LISTEN_AND_CLOSE | bit("syn-recv") | bit("time-wait"))],
]);

/** One socket, as inet_diag tells of it. */
interface Row {
  netid: string;
  state: number;
  recvq: number;
  sendq: number;
  laddr: number;
  lport: number;
  faddr: number;
  fport: number;
  device: string;
  timer: string;
  ino: number;
  cookie: number;
  shutdown: number;
  /** The full sock; null for requests and TIME_WAIT. */
  sk: Sock | null;
}

type Filter = (row: Row) => boolean;

const TIMER_NAMES: readonly string[] = ["off", "on", "keepalive", "timewait", "persist"];

/** print_ms_timer. */
function msTimer(us: number): string {
  const ms = Math.max(0, Math.floor(us / 1000));
  const minutes = Math.floor(ms / 60_000);
  let secs = Math.floor(ms / 1000) % 60;
  let msecs = ms % 1000;
  let out = "";
  if (minutes > 0) {
    msecs = 0;
    out = `${minutes}min`;
    if (minutes > 9) secs = 0;
  }
  if (secs > 0) {
    if (secs > 9) msecs = 0;
    out += `${secs}${msecs > 0 ? "." : "sec"}`;
  }
  return msecs > 0 ? `${out}${String(msecs).padStart(3, "0")}ms` : out;
}

function timerText(active: number, expires: number, retrans: number): string {
  return active === 0 ? "" : ` timer:(${TIMER_NAMES[active]},${msTimer(expires - kernel.now)},${retrans})`;
}

function deviceOf(net: Net, ifindex: number): string {
  return ifindex === 0 ? "" : (net.devByIndex.get(ifindex)?.name ?? "");
}

function tcpRow(net: Net, sk0: Sock): Row {
  const row: Row = {
    netid: "tcp",
    state: sk0.skcState,
    recvq: 0,
    sendq: 0,
    laddr: sk0.skcRcvSaddr,
    lport: sk0.skcNum,
    faddr: sk0.skcDaddr,
    fport: sk0.skcDport,
    device: deviceOf(net, sk0.skcBoundDevIf),
    timer: "",
    ino: 0,
    cookie: sk0.slot,
    shutdown: 0,
    sk: null,
  };
  if (sk0.skcState === TCP_TIME_WAIT) {
    const tw = sk0 as TcpTimewaitSock;
    row.state = tw.twSubstate;
    row.timer = timerText(3, tw.twTimer.expires, 0);
    return row;
  }
  if (sk0.skcState === TCP_NEW_SYN_RECV) {
    const req = sk0 as RequestSock;
    row.state = TCP_SYN_RECV;
    row.timer = timerText(1, req.rskTimer?.expires ?? 0, req.numTimeout);
    return row;
  }
  const sk = sk0 as TcpSock;
  const listen = sk.skcState === TCP_LISTEN;
  row.recvq = listen ? sk.skAckBacklog : Math.max(0, seqSub(sk.rcvNxt, sk.copiedSeq));
  row.sendq = listen ? sk.skMaxAckBacklog : seqSub(sk.writeSeq, sk.sndUna);
  const { active, expires } = tcpTimerActive(sk);
  row.timer = timerText(active, expires, active === 1 ? sk.icskRetransmits : sk.icskProbesOut);
  row.ino = sockIno(sk);
  row.shutdown = sk.skShutdown;
  row.sk = sk;
  return row;
}

function datagramRow(net: Net, netid: string, sk: InetSock, lport: number): Row {
  return {
    netid,
    state: sk.skcState,
    recvq: sk.skRmemAlloc,
    sendq: sk.skWmemAlloc - 1,
    laddr: sk.skcRcvSaddr,
    lport,
    faddr: sk.skcDaddr,
    fport: sk.skcDport,
    device: deviceOf(net, sk.skcBoundDevIf),
    timer: "",
    ino: sockIno(sk),
    cookie: sk.slot,
    shutdown: sk.skShutdown,
    sk,
  };
}

// ---- the filter -----------------------------------------------------------------------------------------------------

/** `expr := term { or term }`, `term := factor { [and] factor }`, factors with not, parentheses, dst, src, dport, sport. */
class FilterParser {
  readonly #words: string[];
  #at = 0;
  states = 0;
  excluded = 0;

  constructor(words: readonly string[]) {
    this.#words = words.flatMap((w) => w.split(/([()])/).filter((x) => x !== ""));
  }

  get #peek(): string | undefined {
    return this.#words[this.#at];
  }

  #need(): string {
    const word = this.#words[this.#at++];
    if (word === undefined) throw new Error("Error: an argument is missing");
    return word;
  }

  parse(): Filter {
    while (this.#peek === "state" || this.#peek === "exclude") {
      const what = this.#need();
      const name = this.#need();
      const set = STATE_SETS.get(name);
      if (set === undefined) throw new Error(`ss: wrong state name: ${name}`);
      if (what === "state") this.states |= set;
      else this.excluded |= set;
    }
    if (this.#peek === undefined) return () => true;
    const filter = this.#or();
    if (this.#peek !== undefined) throw new Error(`ss: bison bellows (while parsing filter): "${this.#peek}!"`);
    return filter;
  }

  #or(): Filter {
    let left = this.#and();
    while (this.#peek === "or" || this.#peek === "|" || this.#peek === "||") {
      this.#at++;
      const a = left;
      const b = this.#and();
      left = (row): boolean => a(row) || b(row);
    }
    return left;
  }

  #and(): Filter {
    let left = this.#factor();
    while (this.#peek !== undefined && this.#peek !== ")" && !/^(?:or|\|\|?)$/.test(this.#peek)) {
      if (/^(?:and|&&?)$/.test(this.#peek)) this.#at++;
      const a = left;
      const b = this.#factor();
      left = (row): boolean => a(row) && b(row);
    }
    return left;
  }

  #factor(): Filter {
    const word = this.#need();
    if (word === "not" || word === "!") {
      const inner = this.#factor();
      return (row): boolean => !inner(row);
    }
    if (word === "(") {
      const inner = this.#or();
      if (this.#need() !== ")") throw new Error('ss: ")" is missing');
      return inner;
    }
    if (word === "sport" || word === "dport") return this.#port(word);
    if (word === "src" || word === "dst") {
      if (this.#peek === "=" || this.#peek === "==") this.#at++;
      return hostFilter(word, this.#need());
    }
    throw new Error(`ss: bison bellows (while parsing filter): "${word}!"`);
  }

  #port(which: "sport" | "dport"): Filter {
    let op = this.#need();
    const port = Number((/^(?:[<>=!]|eq|ne|neq|ge|le|gt|lt|geq|leq)/.test(op) ? this.#need() : op).replace(/^.*:/, ""));
    if (!/^\d+$/.test(String(port))) throw new Error("ss: a port is a number");
    op =
      { eq: "=", "==": "=", ne: "!=", neq: "!=", ge: ">=", geq: ">=", le: "<=", leq: "<=", gt: ">", lt: "<" }[op] ?? op;
    return (row): boolean => {
      const p = which === "sport" ? row.lport : row.fport;
      switch (op) {
        case "!=":
          return p !== port;
        case ">=":
          return p >= port;
        case "<=":
          return p <= port;
        case ">":
          return p > port;
        case "<":
          return p < port;
        default:
          return p === port;
      }
    };
  }
}

/** ADDR, ADDR/LEN, ADDR:PORT, :PORT. */
function hostFilter(which: string, text: string): Filter {
  const m = /^([\d.*]*)(?:\/(\d+))?(?::(\d+|\*))?$/.exec(text);
  const any = m !== null && (m[1] === "" || m[1] === "*");
  const addr = m === null || any ? 0 : inetAton(m[1] as string);
  if (m === null || addr < 0) throw new Error(`ss: an inet prefix is expected rather than "${text}".`);
  const len = any ? 0 : Number(m[2] ?? 32);
  const mask = len === 0 ? 0 : (0xffffffff << (32 - len)) >>> 0;
  const port = m[3] === undefined || m[3] === "*" ? -1 : Number(m[3]);
  return (row): boolean => {
    const a = which === "src" ? row.laddr : row.faddr;
    const p = which === "src" ? row.lport : row.fport;
    return ((a ^ addr) & mask) === 0 && (port < 0 || p === port);
  };
}

// ---- -i and -m ------------------------------------------------------------------------------------------------------

/** printf's %g. */
function g(x: number): string {
  return String(Number(x.toPrecision(6)));
}

/** sprint_bw: bits a second. */
function bandwidth(bps: number, numeric: boolean): string {
  if (numeric) return bps.toFixed(0);
  if (bps > 1e9) return `${(bps / 1e9).toFixed(1)}G`;
  if (bps > 1e6) return `${(bps / 1e6).toFixed(1)}M`;
  return bps > 1e3 ? `${(bps / 1e3).toFixed(1)}K` : g(bps);
}

/** print_skmeminfo. */
function skmem(sk: Sock): string {
  return (
    ` skmem:(r${sk.skRmemAlloc},rb${sk.skRcvbuf},t${sk.skWmemAlloc - 1},tb${sk.skSndbuf},f${sk.skForwardAlloc}` +
    `,w${sk.skWmemQueued},o${sk.skOmemAlloc},bl0,d${sk.skDrops})`
  );
}

/** tcp_stats_print. */
function tcpInfoText(sk: TcpSock, options: boolean, numeric: boolean): string {
  const i: TcpInfo = tcpGetInfo(sk);
  let out = "";
  const word = (on: boolean | number, text: string): void => {
    if (on !== false && on !== 0) out += ` ${text}`;
  };
  const bw = (bps: number): string => `${bandwidth(bps, numeric)}bps`;
  const percent = (part: number): string => `${Math.floor(part / 1000)}ms(${((100 * part) / i.busyTime).toFixed(1)}%)`;
  if (options) {
    word(i.options & TCPI_OPT_TIMESTAMPS, "ts");
    word(i.options & TCPI_OPT_SACK, "sack");
    word(i.options & TCPI_OPT_ECN, "ecn");
    word(i.options & TCPI_OPT_ECN_SEEN, "ecnseen");
    word(i.options & TCPI_OPT_SYN_DATA, "fastopen");
  }
  word(sk.icskCaOps !== null, sk.icskCaOps?.name ?? "");
  word(i.options & TCPI_OPT_WSCALE, `wscale:${i.sndWscale},${i.rcvWscale}`);
  word(i.rto !== 0 && i.rto !== 3_000_000, `rto:${g(i.rto / 1000)}`);
  word(i.backoff, `backoff:${i.backoff}`);
  word(i.rtt, `rtt:${g(i.rtt / 1000)}/${g(i.rttvar / 1000)}`);
  word(i.ato, `ato:${g(i.ato / 1000)}`);
  word(i.sndMss, `mss:${i.sndMss}`);
  word(i.pmtu, `pmtu:${i.pmtu}`);
  word(i.rcvMss, `rcvmss:${i.rcvMss}`);
  word(i.advmss, `advmss:${i.advmss}`);
  word(i.sndCwnd !== 2 && i.sndCwnd, `cwnd:${i.sndCwnd}`);
  word(i.sndSsthresh < 0xffff && i.sndSsthresh, `ssthresh:${i.sndSsthresh}`);
  word(i.bytesSent, `bytes_sent:${i.bytesSent}`);
  word(i.bytesRetrans, `bytes_retrans:${i.bytesRetrans}`);
  word(i.bytesAcked, `bytes_acked:${i.bytesAcked}`);
  word(i.bytesReceived, `bytes_received:${i.bytesReceived}`);
  word(i.segsOut, `segs_out:${i.segsOut}`);
  word(i.segsIn, `segs_in:${i.segsIn}`);
  word(i.dataSegsOut, `data_segs_out:${i.dataSegsOut}`);
  word(i.dataSegsIn, `data_segs_in:${i.dataSegsIn}`);
  if (i.rtt > 0 && i.sndMss > 0 && i.sndCwnd > 0) word(true, `send ${bw((i.sndCwnd * i.sndMss * 8e6) / i.rtt)}`);
  word(i.lastDataSent, `lastsnd:${i.lastDataSent}`);
  word(i.lastDataRecv, `lastrcv:${i.lastDataRecv}`);
  word(i.lastAckRecv, `lastack:${i.lastAckRecv}`);
  if (i.pacingRate !== 0 && Number.isFinite(i.pacingRate)) {
    const most = Number.isFinite(i.maxPacingRate) ? `/${bw(i.maxPacingRate * 8)}` : "";
    word(true, `pacing_rate ${bw(i.pacingRate * 8)}${most}`);
  }
  word(i.deliveryRate, `delivery_rate ${bw(i.deliveryRate * 8)}`);
  word(i.delivered, `delivered:${i.delivered}`);
  word(i.deliveredCe, `delivered_ce:${i.deliveredCe}`);
  word(i.deliveryRateAppLimited, "app_limited");
  word(i.busyTime, `busy:${Math.floor(i.busyTime / 1000)}ms`);
  word(i.busyTime && i.rwndLimited, `rwnd_limited:${percent(i.rwndLimited)}`);
  word(i.busyTime && i.sndbufLimited, `sndbuf_limited:${percent(i.sndbufLimited)}`);
  word(i.unacked, `unacked:${i.unacked}`);
  word(i.retrans + i.totalRetrans, `retrans:${i.retrans}/${i.totalRetrans}`);
  word(i.lost, `lost:${i.lost}`);
  word(sk.skcState !== TCP_LISTEN && i.sacked, `sacked:${i.sacked}`);
  word(i.dsackDups, `dsack_dups:${i.dsackDups}`);
  word(i.reordering !== 3, `reordering:${i.reordering}`);
  word(i.reordSeen, `reord_seen:${i.reordSeen}`);
  word(i.rcvRtt, `rcv_rtt:${g(i.rcvRtt / 1000)}`);
  word(i.rcvSpace, `rcv_space:${i.rcvSpace}`);
  word(i.rcvSsthresh, `rcv_ssthresh:${i.rcvSsthresh}`);
  word(i.notsentBytes, `notsent:${i.notsentBytes}`);
  word(i.minRtt !== 0xffffffff && i.minRtt, `minrtt:${g(i.minRtt / 1000)}`);
  word(i.rcvOoopack, `rcv_ooopack:${i.rcvOoopack}`);
  word(i.sndWnd, `snd_wnd:${i.sndWnd}`);
  return out;
}

// ---- the table ------------------------------------------------------------------------------------------------------

interface Column {
  readonly header: string;
  readonly right: boolean;
  /** What stands before it. */
  readonly delimiter: string;
}

const COLUMNS: readonly Column[] = [
  { header: "Netid", right: false, delimiter: "" },
  { header: "State", right: false, delimiter: " " },
  { header: "Recv-Q", right: false, delimiter: " " },
  { header: "Send-Q", right: false, delimiter: " " },
  { header: "Local Address:", right: true, delimiter: " " },
  { header: "Port", right: false, delimiter: "" },
  { header: "Peer Address:", right: true, delimiter: " " },
  { header: "Port", right: false, delimiter: "" },
  { header: "Process", right: false, delimiter: "" },
];

/** render: columns as wide as their widest cell. The very last cell does not count: ss has not measured it by then. */
function render(table: readonly (readonly string[])[], shown: readonly boolean[]): string {
  const widths = COLUMNS.map((_, c) =>
    Math.max(
      0,
      ...table.map((row, r) => (r === table.length - 1 && c === COLUMNS.length - 1 ? 0 : (row[c] as string).length)),
    ),
  );
  return table
    .map((row) => {
      let line = "";
      let first = true;
      row.forEach((cell, c) => {
        if (shown[c] !== true) return;
        const column = COLUMNS[c] as Column;
        if (!first) line += column.delimiter;
        first = false;
        line += column.right ? cell.padStart(widths[c] as number) : cell.padEnd(widths[c] as number);
      });
      return `${line}\n`;
    })
    .join("");
}

interface Options {
  protocols: Set<string>;
  states: number;
  flags: Set<string>;
  filter: Filter;
}

const FLAGS = "tuwalniemosHO4";
const LONG: Readonly<Record<string, string>> = {
  "--tcp": "t",
  "--udp": "u",
  "--raw": "w",
  "--all": "a",
  "--listening": "l",
  "--numeric": "n",
  "--info": "i",
  "--extended": "e",
  "--memory": "m",
  "--options": "o",
  "--summary": "s",
  "--no-header": "H",
  "--oneline": "O",
  "--ipv4": "4",
};

function parseOptions(words: readonly string[]): Options {
  const flags = new Set<string>();
  const rest: string[] = [];
  for (const word of words) {
    if (rest.length > 0 || !word.startsWith("-")) {
      rest.push(word);
      continue;
    }
    const letters = word.startsWith("--") ? LONG[word] : word.slice(1);
    if (letters === undefined) throw new Error(`ss: unrecognized option '${word}'`);
    for (const letter of letters) {
      if (!FLAGS.includes(letter)) throw new Error(`ss: invalid option -- '${letter}'`);
      flags.add(letter);
    }
  }
  const parser = new FilterParser(rest);
  const filter = parser.parse();
  const protocols = new Set<string>();
  if (flags.has("t")) protocols.add("tcp");
  if (flags.has("u")) protocols.add("udp");
  if (flags.has("w")) protocols.add("raw");
  if (protocols.size === 0) for (const all of ["tcp", "udp", "raw"]) protocols.add(all);
  let { states } = parser;
  if (states === 0) states = flags.has("a") ? ALL : flags.has("l") ? LISTEN_AND_CLOSE : CONNECTED;
  if (parser.excluded !== 0) states = (parser.states === 0 ? ALL : states) & ~parser.excluded;
  return { protocols, states, flags, filter };
}

/** ss -s, from /proc/net/sockstat and the MIB. */
function summary(net: Net): string {
  const stat = procNetRead(net, "sockstat") ?? "";
  const value = (line: string, key: string): number =>
    Number(new RegExp(`^${line}:.*\\b${key} (\\d+)`, "m").exec(stat)?.[1] ?? 0);
  const tws = value("TCP", "tw");
  const total = value("TCP", "alloc");
  const tcp = value("TCP", "inuse");
  const udp = value("UDP", "inuse");
  const raw = value("RAW", "inuse");
  const frag = value("FRAG", "inuse");
  const estab = inetAllSocks(net).filter((sk) => sk.skcState === 1 || sk.skcState === 8).length;
  const row = (name: string, n: number): string =>
    `${name}\t  ${String(n).padEnd(9)} ${String(n).padEnd(9)} ${"0".padEnd(9)}\n`;
  return (
    `Total: ${value("sockets", "used")}\n` +
    `TCP:   ${total + tws} (estab ${estab}, closed ${total - (tcp - tws)}, orphaned ${value("TCP", "orphan")}, timewait ${tws})\n\n` +
    "Transport Total     IP        IPv6\n" +
    row("RAW", raw) +
    row("UDP", udp) +
    row("TCP", tcp) +
    row("INET", raw + udp + tcp) +
    `${row("FRAG", frag)}\n`
  );
}

/**
 * `ss [-tuwalniemosHO] [state NAME] [FILTER]`. Needs the kernel in context.
 *
 * @example
 * ssCommand(net, "-tan state established ( dport = :80 or sport = :80 )");
 */
export function ssCommand(net: Net, command: string | readonly string[]): CommandResult {
  let o: Options;
  try {
    o = parseOptions(typeof command === "string" ? splitWords(command) : command);
  } catch (e) {
    return commandFail(255, (e as Error).message);
  }
  const { flags } = o;
  if (flags.has("s")) return commandOk(summary(net));
  const rows: Row[] = [];
  if (o.protocols.has("raw")) for (const [sk] of rawAllSocks(net)) rows.push(datagramRow(net, "raw", sk, sk.skcNum));
  if (o.protocols.has("udp")) for (const [sk] of udpAllSocks(net)) rows.push(datagramRow(net, "udp", sk, sk.inetSport));
  if (o.protocols.has("tcp")) for (const sk of inetAllSocks(net)) rows.push(tcpRow(net, sk));
  const header = COLUMNS.map((c) => c.header);
  const table: string[][] = flags.has("H") ? [] : [header];
  for (const row of rows) {
    if (((1 << row.state) & o.states) === 0 || !o.filter(row)) continue;
    const port = (p: number): string => (p === 0 ? "*" : String(p));
    const device = row.device === "" ? "" : `%${row.device}`;
    table.push([
      row.netid,
      (STATES[row.state] as readonly [string, string])[0],
      String(row.recvq).padEnd(6),
      String(row.sendq).padEnd(6),
      `${inetNtoa(row.laddr)}${device}:`,
      port(row.lport),
      `${inetNtoa(row.faddr)}:`,
      port(row.fport),
      details(row, flags),
    ]);
  }
  const oneState = (o.states & (o.states - 1)) === 0;
  const shown = COLUMNS.map((_, c) => (c === 0 ? o.protocols.size > 1 : c === 1 ? !oneState : true));
  return commandOk(render(table, shown));
}

/** Behind the addresses: -o, -e, then on a line of its own -m and -i. */
function details(row: Row, flags: ReadonlySet<string>): string {
  let out = "";
  const { sk } = row;
  if (flags.has("o") || flags.has("e")) out += row.timer;
  if (flags.has("e")) {
    out += ` ino:${row.ino} sk:${row.cookie.toString(16)}`;
    if (sk !== null) out += ` ${row.shutdown & 1 ? "-" : "<"}-${row.shutdown & 2 ? "-" : ">"}`;
  }
  if (!flags.has("m") && !(flags.has("i") && row.netid === "tcp")) return out;
  if (!flags.has("O")) out += "\n\t";
  if (sk === null) return out;
  if (flags.has("m")) out += skmem(sk);
  if (flags.has("i") && row.netid === "tcp")
    out += tcpInfoText(sk as TcpSock, flags.has("o") || flags.has("e"), flags.has("n"));
  return out;
}
