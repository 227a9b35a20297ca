/**
 * The tables that find a connection: established (ehash), listening (lhash2) and bound ports (bhash), one set a network
 * namespace. Chains are linked through `skcNext`/`skcPrev`, so that an insert makes no garbage; tables grow with use.
 */

import { bugOn } from "../../kernel/bug.ts";
import { netIncStats } from "../../kernel/mib.ts";
import { EADDRNOTAVAIL } from "../../uapi/errno.ts";
import { LINUX_MIB_TIMEWAITRECYCLED } from "../../uapi/linux_mib.ts";
import { TCP_LISTEN, TCP_TIME_WAIT } from "../../uapi/tcp.ts";
import type { Net, PernetOperations } from "../core/net_namespace.ts";
import type { Sock } from "../core/sock.ts";
import { SK_CAN_REUSE, SK_FORCE_REUSE } from "../core/sock.ts";
import type { InetConnectionSock, InetSock, TcpTimewaitSock } from "./inet_sock.ts";

declare module "../core/net_namespace.ts" {
  interface Net {
    /** tcp_hashinfo of this namespace. */
    tcpHashinfo: InetHashinfo;
  }
}

/** struct inet_bind_bucket: everybody who uses a local port. */
export class InetBindBucket {
  readonly port: number;
  /** All owners set SO_REUSEADDR and none listens: another such socket may join without a conflict check. */
  fastreuse = 0;
  /** Owners are listening or bound sockets, connections and TIME_WAIT socks. */
  readonly owners: Set<Sock> = new Set();

  constructor(port: number) {
    this.port = port;
  }
}

/** A chained hash table of socks that doubles when it is full. */
export class SockHash {
  buckets: (Sock | null)[];
  mask: number;
  count = 0;

  constructor(size: number) {
    this.buckets = new Array<Sock | null>(size).fill(null);
    this.mask = size - 1;
  }

  add(sk: Sock, hash: number): void {
    bugOn(sk.skcHashed, "sock is hashed already");
    if (this.count > this.mask) this.#grow();
    sk.skcHash = hash;
    this.#link(sk);
    sk.skcHashed = true;
    this.count++;
  }

  remove(sk: Sock): void {
    if (!sk.skcHashed) return;
    if (sk.skcPrev !== null) sk.skcPrev.skcNext = sk.skcNext;
    else this.buckets[sk.skcHash & this.mask] = sk.skcNext;
    if (sk.skcNext !== null) sk.skcNext.skcPrev = sk.skcPrev;
    sk.skcNext = null;
    sk.skcPrev = null;
    sk.skcHashed = false;
    this.count--;
  }

  head(hash: number): Sock | null {
    return this.buckets[hash & this.mask] as Sock | null;
  }

  /** For listings (ss, /proc/net/tcp) and teardown: every sock, in table order. */
  all(): Sock[] {
    const out: Sock[] = [];
    for (const head of this.buckets) for (let sk = head; sk !== null; sk = sk.skcNext) out.push(sk);
    return out;
  }

  #link(sk: Sock): void {
    const slot = sk.skcHash & this.mask;
    const head = this.buckets[slot] as Sock | null;
    sk.skcPrev = null;
    sk.skcNext = head;
    if (head !== null) head.skcPrev = sk;
    this.buckets[slot] = sk;
  }

  #grow(): void {
    const old = this.buckets;
    this.buckets = new Array<Sock | null>(old.length * 2).fill(null);
    this.mask = this.buckets.length - 1;
    for (let i = 0; i < old.length; i++) {
      let sk = old[i] as Sock | null;
      while (sk !== null) {
        const next: Sock | null = sk.skcNext;
        this.#link(sk);
        sk = next;
      }
    }
  }
}

export class InetHashinfo {
  readonly ehash: SockHash = new SockHash(64);
  /** Listeners, keyed by port alone: the score picks the best bound one. */
  readonly lhash: SockHash = new SockHash(16);
  readonly bhash: Map<number, InetBindBucket> = new Map();
  /** Per-namespace secret of the hash functions. */
  readonly secret: number;
  /** table_perturb of RFC 6056 §3.3.4 (Algorithm 4): counters that a connect to one destination advances. */
  readonly perturb: Uint32Array = new Uint32Array(256);

  constructor(secret: number) {
    this.secret = secret;
  }
}

export const inetHashtablesNetOps: PernetOperations = {
  name: "inet_hashtables",
  init(net: Net): number {
    net.tcpHashinfo = new InetHashinfo(net.kernel.random.u32());
    net.twCount = 0;
    net.orphanCount = 0;
    for (let i = 0; i < 256; i++) net.tcpHashinfo.perturb[i] = net.kernel.random.u32();
    return 0;
  },
  exit(): void {},
};

/** inet_ehashfn: a keyed hash of the four-tuple (host order). */
export function inetEhashfn(net: Net, laddr: number, lport: number, faddr: number, fport: number): number {
  let h = net.tcpHashinfo.secret ^ Math.imul(laddr, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b) ^ faddr;
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35) ^ ((lport << 16) | fport);
  h = Math.imul(h ^ (h >>> 16), 0x27d4eb2f);
  return (h ^ (h >>> 15)) >>> 0;
}

/** inet_lhash2fn over the port. */
function inetLhashfn(net: Net, port: number): number {
  return (Math.imul(port ^ net.tcpHashinfo.secret, 0x9e3779b1) >>> 8) >>> 0;
}

/** __inet_lookup_established: connections, requests in SYN_RECV and TIME_WAIT socks; null if there is none. */
export function __inetLookupEstablished(
  net: Net,
  saddr: number,
  sport: number,
  daddr: number,
  hnum: number,
  dif: number,
): Sock | null {
  const hash = inetEhashfn(net, daddr, hnum, saddr, sport);
  let sk = net.tcpHashinfo.ehash.head(hash);
  while (sk !== null) {
    if (
      sk.skcHash === hash &&
      sk.skcDaddr === saddr &&
      sk.skcDport === sport &&
      sk.skcRcvSaddr === daddr &&
      sk.skcNum === hnum &&
      (sk.skcBoundDevIf === 0 || sk.skcBoundDevIf === dif)
    ) {
      return sk;
    }
    sk = sk.skcNext;
  }
  return null;
}

/** compute_score: -1 = no match; a bound address and a bound device count more. */
function computeScore(sk: Sock, net: Net, hnum: number, daddr: number, dif: number): number {
  if (sk.skcNum !== hnum || sk.net !== net) return -1;
  let score = 1;
  if (sk.skcRcvSaddr !== 0) {
    if (sk.skcRcvSaddr !== daddr) return -1;
    score += 2;
  }
  if (sk.skcBoundDevIf !== 0) {
    if (sk.skcBoundDevIf !== dif) return -1;
    score += 4;
  }
  return score;
}

/** __inet_lookup_listener: the best-scoring listener; SO_REUSEPORT groups are spread by the flow's hash. */
export function __inetLookupListener(
  net: Net,
  saddr: number,
  sport: number,
  daddr: number,
  hnum: number,
  dif: number,
): Sock | null {
  const hash = inetLhashfn(net, hnum);
  let result: Sock | null = null;
  let best = 0;
  let same = 0;
  for (let sk = net.tcpHashinfo.lhash.head(hash); sk !== null; sk = sk.skcNext) {
    const score = computeScore(sk, net, hnum, daddr, dif);
    if (score > best) {
      best = score;
      result = sk;
      same = 1;
    } else if (score === best && score > 0 && sk.skcReuseport !== 0) {
      same++;
    }
  }
  if (same <= 1 || result === null || result.skcReuseport === 0) return result;
  // reuseport_select_sock: the n-th member of the group, chosen by the flow.
  let pick = inetEhashfn(net, daddr, hnum, saddr, sport) % same;
  for (let sk = net.tcpHashinfo.lhash.head(hash); sk !== null; sk = sk.skcNext) {
    if (computeScore(sk, net, hnum, daddr, dif) === best && sk.skcReuseport !== 0 && pick-- === 0) return sk;
  }
  return result;
}

/** __inet_lookup: established first, then listeners. */
export function __inetLookup(
  net: Net,
  saddr: number,
  sport: number,
  daddr: number,
  hnum: number,
  dif: number,
): Sock | null {
  const sk = __inetLookupEstablished(net, saddr, sport, daddr, hnum, dif);
  return sk !== null ? sk : __inetLookupListener(net, saddr, sport, daddr, hnum, dif);
}

/** inet_ehash_insert: puts `sk` into the ehash; a request or TIME_WAIT `osk` that it replaces leaves it. */
export function inetEhashInsert(sk: Sock, osk: Sock | null): boolean {
  const net = sk.net;
  const hash = inetEhashfn(net, sk.skcRcvSaddr, sk.skcNum, sk.skcDaddr, sk.skcDport);
  if (osk !== null) {
    const was = osk.skcHashed;
    net.tcpHashinfo.ehash.remove(osk);
    // Another path took the request away (it was dropped or already became a child).
    if (!was) return false;
  }
  net.tcpHashinfo.ehash.add(sk, hash);
  return true;
}

/** inet_ehash_nolisten. */
export function inetEhashNolisten(sk: Sock, osk: Sock | null): boolean {
  return inetEhashInsert(sk, osk);
}

/** inet_hash (sk_prot->hash): listeners into lhash, everybody else into ehash. */
export function inetHash(sk: Sock): number {
  if (sk.skcState === 7) return 0; // TCP_CLOSE
  if (sk.skcState === TCP_LISTEN) sk.net.tcpHashinfo.lhash.add(sk, inetLhashfn(sk.net, sk.skcNum));
  else inetEhashInsert(sk, null);
  return 0;
}

/** inet_unhash (sk_prot->unhash). A listener is told apart by being linked into the lhash. */
export function inetUnhash(sk: Sock): void {
  if (!sk.skcHashed) return;
  if (sk.skcState === TCP_LISTEN) sk.net.tcpHashinfo.lhash.remove(sk);
  else sk.net.tcpHashinfo.ehash.remove(sk);
}

// ---- ports --------------------------------------------------------------------------------------------------------------

/** inet_bind_hash. */
export function inetBindHash(sk: InetConnectionSock, tb: InetBindBucket, port: number): void {
  sk.skcNum = port;
  sk.inetSport = port;
  tb.owners.add(sk);
  sk.icskBindHash = tb;
}

/** inet_put_port: gives the local port back. */
export function inetPutPort(sk: Sock): void {
  const icsk = sk as InetConnectionSock;
  const tb = icsk.icskBindHash as InetBindBucket | null;
  if (tb === null) return;
  tb.owners.delete(sk);
  if (tb.owners.size === 0) sk.net.tcpHashinfo.bhash.delete(tb.port);
  icsk.icskBindHash = null;
  sk.skcNum = 0;
}

/** __inet_inherit_port: a child shares its listener's port. */
export function __inetInheritPort(sk: Sock, child: Sock): void {
  const tb = (sk as InetConnectionSock).icskBindHash as InetBindBucket;
  inetBindHash(child as InetConnectionSock, tb, tb.port);
}

export function inetBindBucketGet(net: Net, port: number): InetBindBucket {
  let tb = net.tcpHashinfo.bhash.get(port);
  if (tb === undefined) {
    tb = new InetBindBucket(port);
    net.tcpHashinfo.bhash.set(port, tb);
  }
  return tb;
}

function inetSkGetLocalPortRange(net: Net, sk: Sock): [number, number] {
  const range = net.ipv4.sysctlIpLocalPortRange;
  const own = (sk as InetSock).localPortRange;
  const lo = own & 0xffff;
  const hi = own >>> 16;
  return [lo !== 0 ? lo : (range[0] as number), hi !== 0 ? hi : (range[1] as number)];
}

/**
 * __inet_check_established: may the four-tuple be used? A TIME_WAIT sock in its place may be taken over when
 * tcp_tw_reuse and its timestamps allow (RFC 6191; `twskUnique` decides).
 */
function checkEstablished(
  sk: InetConnectionSock,
  lport: number,
  twskUnique: (sk: Sock, tw: TcpTimewaitSock) => boolean,
): TcpTimewaitSock | null | undefined {
  const found = __inetLookupEstablished(sk.net, sk.skcDaddr, sk.skcDport, sk.skcRcvSaddr, lport, sk.skcBoundDevIf);
  if (found === null) return null;
  if (found.skcState === TCP_TIME_WAIT && twskUnique(sk, found as TcpTimewaitSock)) {
    netIncStats(sk.net, LINUX_MIB_TIMEWAITRECYCLED);
    return found as TcpTimewaitSock;
  }
  return undefined;
}

/**
 * inet_hash_connect: picks the local port of an outgoing connection and hashes it. Ports are tried from an offset that
 * is a keyed hash of the destination plus a counter (RFC 6056 §3.3.4), even ones first, so that bind(0), which prefers
 * odd ones, finds room. Returns 0 or -EADDRNOTAVAIL.
 */
export function inetHashConnect(
  sk: InetConnectionSock,
  twskUnique: (sk: Sock, tw: TcpTimewaitSock) => boolean,
  twskDeschedulePut: (tw: TcpTimewaitSock) => void,
): number {
  const net = sk.net;
  const info = net.tcpHashinfo;
  if (sk.skcNum !== 0) {
    // The port was chosen by bind(): only the four-tuple has to be free.
    const tw = checkEstablished(sk, sk.skcNum, twskUnique);
    if (tw === undefined) return -EADDRNOTAVAIL;
    if (tw !== null) twskDeschedulePut(tw);
    inetEhashInsert(sk, null);
    return 0;
  }
  const [low, high0] = inetSkGetLocalPortRange(net, sk);
  let remaining = high0 + 1 - low;
  if (remaining > 1) remaining &= ~1;
  const key = inetEhashfn(net, sk.skcRcvSaddr, 0, sk.skcDaddr, sk.skcDport);
  const index = key & 0xff;
  let offset = (((info.perturb[index] as number) + (key >>> 8)) >>> 0) % remaining;
  offset &= ~1;
  for (let pass = 0; pass < 2; pass++) {
    for (let i = pass; i < remaining; i += 2) {
      let port = low + offset + i;
      if (port > high0) port -= remaining;
      if (inetIsLocalReservedPort(net, port)) continue;
      let tb = info.bhash.get(port);
      let tw: TcpTimewaitSock | null = null;
      if (tb !== undefined) {
        // A port that was bound (listener, bind()) is not shared; one that only connections use may be.
        if (tb.fastreuse >= 0) continue;
        const r = checkEstablished(sk, port, twskUnique);
        if (r === undefined) continue;
        tw = r;
      } else {
        tb = inetBindBucketGet(net, port);
        tb.fastreuse = -1;
      }
      info.perturb[index] = (info.perturb[index] as number) + i + 2;
      inetBindHash(sk, tb, port);
      if (tw !== null) twskDeschedulePut(tw);
      inetEhashInsert(sk, null);
      return 0;
    }
  }
  return -EADDRNOTAVAIL;
}

/** inet_is_local_reserved_port: net.ipv4.ip_local_reserved_ports keeps it from being chosen. */
export function inetIsLocalReservedPort(net: Net, port: number): boolean {
  const reserved = net.ipv4.sysctlLocalReservedPorts;
  return reserved !== null && reserved.has(port);
}

// ---- bind (inet_csk_get_port) ---------------------------------------------------------------------------------------------

function addrsOverlap(a: Sock, b: Sock): boolean {
  return a.skcRcvSaddr === 0 || b.skcRcvSaddr === 0 || a.skcRcvSaddr === b.skcRcvSaddr;
}

/**
 * inet_csk_bind_conflict: would `sk` on this bucket's port clash with one of its owners? `relax`: sockets with SO_REUSEADDR
 * may share addresses unless one listens; `reuseportOk`: so may those with SO_REUSEPORT, as a group.
 */
function bindConflict(sk: Sock, tb: InetBindBucket, relax: boolean, reuseportOk: boolean): boolean {
  const reuse = sk.skcReuse !== 0;
  const reuseport = reuseportOk && sk.skcReuseport !== 0;
  for (const sk2 of tb.owners) {
    if (sk2 === sk) continue;
    if (sk.skcBoundDevIf !== 0 && sk2.skcBoundDevIf !== 0 && sk.skcBoundDevIf !== sk2.skcBoundDevIf) continue;
    if (reuse && sk2.skcReuse !== 0 && sk2.skcState !== TCP_LISTEN) {
      if (relax) continue;
    } else if (reuseport && sk2.skcReuseport !== 0) {
      continue;
    }
    if (addrsOverlap(sk, sk2)) return true;
  }
  return false;
}

/** inet_csk_get_port (sk_prot->get_port): binds to `snum`, or to a free port when it is 0. 0 or 1 (in use). */
export function inetCskGetPort(sk0: Sock, snum: number): number {
  const sk = sk0 as InetConnectionSock;
  const net = sk.net;
  const port = snum === 0 ? findOpenPort(sk) : snum;
  if (port === 0) return 1;
  const tb = net.tcpHashinfo.bhash.get(port);
  if (snum !== 0 && tb !== undefined && portConflict(sk, tb)) return 1;
  const bucket = tb ?? inetBindBucketGet(net, port);
  updateFastreuse(bucket, sk);
  inetBindHash(sk, bucket, port);
  return 0;
}

/** inet_csk_get_port's question of a given port. */
function portConflict(sk: InetConnectionSock, tb: InetBindBucket): boolean {
  if (tb.owners.size === 0 || sk.skcReuse === SK_FORCE_REUSE) return false;
  // All owners have SO_REUSEADDR and none listens.
  if (tb.fastreuse > 0 && sk.skcReuse !== 0 && sk.skcState !== TCP_LISTEN) return false;
  return bindConflict(sk, tb, true, true);
}

/** inet_csk_update_fastreuse. */
function updateFastreuse(tb: InetBindBucket, sk: Sock): void {
  const reuse = sk.skcReuse !== 0 && sk.skcState !== TCP_LISTEN;
  if (tb.owners.size === 0) tb.fastreuse = reuse ? 1 : 0;
  else if (!reuse) tb.fastreuse = 0;
}

/**
 * inet_csk_find_open_port: random start, odd ports first (connect takes the even ones), and with SO_REUSEADDR one half of the
 * range after the other. net.ipv4.ip_autobind_reuse: when there is none left, one that others use. 0 = none free.
 */
function findOpenPort(sk: Sock): number {
  const [low, high] = inetSkGetLocalPortRange(sk.net, sk);
  const end = high + 1;
  const half = low + (((end - low) >> 2) << 1);
  const passes = sk.net.ipv4.sysctlIpAutobindReuse !== 0 ? 2 : 1;
  for (let pass = 0; pass < passes; pass++) {
    let port = 0;
    if (sk.skcReuse !== SK_CAN_REUSE || end - low < 4) port = findOpenPortIn(sk, low, end, pass === 1);
    else port = findOpenPortIn(sk, low, half, pass === 1) || findOpenPortIn(sk, half, end, pass === 1);
    if (port !== 0) return port;
  }
  return 0;
}

/** The same for ports from `low` up to, not including, `end`. */
function findOpenPortIn(sk: Sock, low: number, end: number, relax: boolean): number {
  const net = sk.net;
  let remaining = end - low;
  if (remaining > 1) remaining &= ~1;
  const offset = (net.kernel.random.u32() % remaining) | 1;
  for (let parity = 0; parity < 2; parity++) {
    let port = low + offset - parity;
    for (let i = 0; i < remaining; i += 2, port += 2) {
      if (port >= end) port -= remaining;
      if (inetIsLocalReservedPort(net, port)) continue;
      const tb = net.tcpHashinfo.bhash.get(port);
      if (tb === undefined || tb.owners.size === 0 || !bindConflict(sk, tb, relax, false)) return port;
    }
  }
  return 0;
}

/** Does listen() on this bound port still work (somebody else may have started listening)? 0 or 1. */
export function inetListenConflict(sk: Sock): number {
  const tb = (sk as InetConnectionSock).icskBindHash as InetBindBucket | null;
  if (tb === null) return 0;
  if (portConflict(sk as InetConnectionSock, tb)) return 1;
  // A port that somebody listens on is no longer free for SO_REUSEADDR.
  updateFastreuse(tb, sk);
  return 0;
}

/** Every sock of a namespace's tables (ss, teardown). */
export function inetAllSocks(net: Net): Sock[] {
  const out = net.tcpHashinfo.lhash.all();
  for (const sk of net.tcpHashinfo.ehash.all()) out.push(sk);
  return out;
}

/** Removes a request or TIME_WAIT sock from the ehash. */
export function inetEhashRemove(sk: Sock): boolean {
  const was = sk.skcHashed;
  sk.net.tcpHashinfo.ehash.remove(sk);
  return was;
}
