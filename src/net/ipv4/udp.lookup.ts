/**
 * UDP's sockets (struct udp_table of net/ipv4/udp.c), one set a network namespace:
 *
 * - `hash`, by local port: bind conflicts, multicast delivery;
 * - `hash2`, by local address and port: where a datagram is looked up, first with its destination, then with INADDR_ANY;
 * - `hash4`, by both addresses and ports: connected sockets, so that a server with many of them on one port finds the
 *   right one at once.
 *
 * Chains are linked through the socks, and the tables double when they fill, so a lookup is short and makes no garbage.
 */

import { getRandomU32Below } from "../../kernel/random.ts";
import { EADDRINUSE } from "../../uapi/errno.ts";
import { TCP_ESTABLISHED } from "../../uapi/tcp.ts";
import type { Net, PernetOperations } from "../core/net_namespace.ts";
import type { Sock } from "../core/sock.ts";
import { inetIsLocalReservedPort } from "./inet_hashtables.ts";
import { InetSock } from "./inet_sock.ts";

declare module "../core/net_namespace.ts" {
  interface Net {
    udpTable: UdpTable;
  }
}

/** struct udp_sock. */
export class UdpSock extends InetSock {
  /** The port that it is hashed by; 0 = not hashed. */
  udpPortHash = 0;
  udpPortaddrHash = 0;
  udpLrpaHash = 0;
  /** Links of hash2 and hash4; those of hash are skcNext, skcPrev. */
  next2: UdpSock | null = null;
  prev2: UdpSock | null = null;
  next4: UdpSock | null = null;
  prev4: UdpSock | null = null;
  hashed4 = false;
  /** AF_INET while there are corked frames, else 0. */
  pending = 0;
  /** Bytes corked. */
  len = 0;
  corkflag = false;
  /** UDP_SEGMENT: bytes a datagram; 0 = off. */
  gsoSize = 0;
  groEnabled = false;
  encapType = 0;
  noCheck6Tx = false;
  noCheck6Rx = false;
  /** Bytes taken off the receive queue whose memory was not given back yet. */
  forwardDeficit = 0;
}

const UDP_HTABLE_SIZE_MIN = 16;

export class UdpTable {
  hash: (UdpSock | null)[] = empty(UDP_HTABLE_SIZE_MIN);
  hash2: (UdpSock | null)[] = empty(UDP_HTABLE_SIZE_MIN);
  hash4: (UdpSock | null)[] = empty(UDP_HTABLE_SIZE_MIN);
  mask: number = UDP_HTABLE_SIZE_MIN - 1;
  /** Sockets in hash and hash2. */
  count = 0;
  mask4: number = UDP_HTABLE_SIZE_MIN - 1;
  /** Sockets in hash4. */
  count4 = 0;
  /** Keeps chains from being aimed at. */
  readonly secret: number;

  constructor(secret: number) {
    this.secret = secret;
  }
}

/* notrace */
function empty(size: number): (UdpSock | null)[] {
  return new Array<UdpSock | null>(size).fill(null);
}

export const udpNetOps: PernetOperations = {
  name: "udp",
  init(net: Net): number {
    net.udpTable = new UdpTable(net.kernel.random.u32());
    return 0;
  },
  exit(_net: Net): void {},
};

/* notrace */
function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}

/** ipv4_portaddr_hash. */
/* notrace */
export function ipv4PortaddrHash(table: UdpTable, saddr: number, port: number): number {
  return mix(Math.imul(saddr ^ table.secret, 0x9e3779b1) ^ port);
}

/** udp_ehashfn: of a connection, seen from this host. */
/* notrace */
export function udpEhashfn(table: UdpTable, laddr: number, lport: number, faddr: number, fport: number): number {
  return mix(mix((laddr ^ Math.imul(faddr, 0x9e3779b1)) + table.secret) ^ ((lport << 16) | fport));
}

// ---- linking --------------------------------------------------------------------------------------------------------

/* notrace */
function link2(table: UdpTable, sk: UdpSock): void {
  const slot = sk.udpPortaddrHash & table.mask;
  const head = table.hash2[slot] as UdpSock | null;
  sk.prev2 = null;
  sk.next2 = head;
  if (head !== null) head.prev2 = sk;
  table.hash2[slot] = sk;
}

/* notrace */
function unlink2(table: UdpTable, sk: UdpSock): void {
  if (sk.prev2 !== null) sk.prev2.next2 = sk.next2;
  else table.hash2[sk.udpPortaddrHash & table.mask] = sk.next2;
  if (sk.next2 !== null) sk.next2.prev2 = sk.prev2;
  sk.next2 = null;
  sk.prev2 = null;
}

/* notrace */
function link1(table: UdpTable, sk: UdpSock): void {
  const slot = sk.udpPortHash & table.mask;
  const head = table.hash[slot] as UdpSock | null;
  sk.skcPrev = null;
  sk.skcNext = head;
  if (head !== null) head.skcPrev = sk;
  table.hash[slot] = sk;
}

/* notrace */
function unlink1(table: UdpTable, sk: UdpSock): void {
  if (sk.skcPrev !== null) sk.skcPrev.skcNext = sk.skcNext;
  else table.hash[sk.udpPortHash & table.mask] = sk.skcNext as UdpSock | null;
  if (sk.skcNext !== null) sk.skcNext.skcPrev = sk.skcPrev;
  sk.skcNext = null;
  sk.skcPrev = null;
}

/* notrace */
function link4(table: UdpTable, sk: UdpSock): void {
  const slot = sk.udpLrpaHash & table.mask4;
  const head = table.hash4[slot] as UdpSock | null;
  sk.prev4 = null;
  sk.next4 = head;
  if (head !== null) head.prev4 = sk;
  table.hash4[slot] = sk;
}

/* notrace */
function grow(table: UdpTable): void {
  const all = udpAllSocks(table);
  const size = (table.mask + 1) * 2;
  table.mask = size - 1;
  table.hash = empty(size);
  table.hash2 = empty(size);
  for (let i = all.length - 1; i >= 0; i--) {
    link1(table, all[i] as UdpSock);
    link2(table, all[i] as UdpSock);
  }
}

/* notrace */
function grow4(table: UdpTable): void {
  const old = table.hash4;
  const size = (table.mask4 + 1) * 2;
  table.mask4 = size - 1;
  table.hash4 = empty(size);
  for (let i = 0; i < old.length; i++) {
    for (let sk = old[i] as UdpSock | null; sk !== null; ) {
      const next: UdpSock | null = sk.next4;
      link4(table, sk);
      sk = next;
    }
  }
}

/** Every socket, in table order: multicast, listings. */
/* notrace */
export function udpAllSocks(table: UdpTable): UdpSock[] {
  const out: UdpSock[] = [];
  for (let i = 0; i <= table.mask; i++) {
    for (let sk = table.hash[i] as Sock | null; sk !== null; sk = sk.skcNext) out.push(sk as UdpSock);
  }
  return out;
}

/** udp_lib_unhash. */
export function udpLibUnhash(sk0: Sock): void {
  const sk = sk0 as UdpSock;
  if (!sk.skcHashed) return;
  const table = sk.net.udpTable;
  udpUnhash4(sk);
  unlink1(table, sk);
  unlink2(table, sk);
  sk.skcHashed = false;
  sk.skcNum = 0;
  sk.udpPortHash = 0;
  table.count--;
}

/** udp_lib_rehash: the local address has changed. */
export function udpLibRehash(sk0: Sock): void {
  const sk = sk0 as UdpSock;
  if (!sk.skcHashed) return;
  const table = sk.net.udpTable;
  const hash = ipv4PortaddrHash(table, sk.skcRcvSaddr, sk.skcNum);
  if (hash !== sk.udpPortaddrHash) {
    unlink2(table, sk);
    sk.udpPortaddrHash = hash;
    link2(table, sk);
  }
  if (sk.hashed4) {
    udpUnhash4(sk);
    udpHash4(sk);
  }
}

/** udp4_hash4: a connected socket with a local address goes into hash4. */
export function udpHash4(sk: UdpSock): void {
  if (!sk.skcHashed || sk.skcRcvSaddr === 0 || sk.skcDaddr === 0) return;
  if (sk.hashed4) udpUnhash4(sk);
  const table = sk.net.udpTable;
  if (table.count4 > table.mask4) grow4(table);
  sk.udpLrpaHash = udpEhashfn(table, sk.skcRcvSaddr, sk.skcNum, sk.skcDaddr, sk.skcDport);
  link4(table, sk);
  sk.hashed4 = true;
  table.count4++;
}

/** udp_unhash4. */
export function udpUnhash4(sk: UdpSock): void {
  if (!sk.hashed4) return;
  const table = sk.net.udpTable;
  if (sk.prev4 !== null) sk.prev4.next4 = sk.next4;
  else table.hash4[sk.udpLrpaHash & table.mask4] = sk.next4;
  if (sk.next4 !== null) sk.next4.prev4 = sk.prev4;
  sk.next4 = null;
  sk.prev4 = null;
  sk.hashed4 = false;
  table.count4--;
}

// ---- ports ----------------------------------------------------------------------------------------------------------

/** udp_lib_lport_inuse: whether somebody's binding to `num` excludes ours. */
function udpLibLportInuse(sk: UdpSock, num: number): boolean {
  const table = sk.net.udpTable;
  for (let s = table.hash[num & table.mask] as Sock | null; s !== null; s = s.skcNext) {
    const sk2 = s as UdpSock;
    if (sk2 === sk || sk2.udpPortHash !== num) continue;
    if (sk2.skcReuse !== 0 && sk.skcReuse !== 0) continue;
    if (sk2.skcBoundDevIf !== 0 && sk.skcBoundDevIf !== 0 && sk2.skcBoundDevIf !== sk.skcBoundDevIf) continue;
    const a = sk.skcRcvSaddr;
    const b = sk2.skcRcvSaddr;
    if (a !== b && a !== 0 && b !== 0) continue;
    if (sk2.skcReuseport !== 0 && sk.skcReuseport !== 0) continue;
    return true;
  }
  return false;
}

/** udp_v4_get_port: binds to `snum`, or to a random free port when it is 0. 0 or -EADDRINUSE. */
export function udpV4GetPort(sk0: Sock, snum: number): number {
  const sk = sk0 as UdpSock;
  const net = sk.net;
  const table = net.udpTable;
  if (snum === 0) {
    const range = net.ipv4.sysctlIpLocalPortRange;
    const low = range[0] as number;
    const remaining = (range[1] as number) - low + 1;
    // Unpredictable (RFC 6056 §3.3.1): random picks, and a scan from a random place when the range is crowded.
    for (let i = 0; i < 16 && snum === 0; i++) {
      const port = low + getRandomU32Below(remaining);
      if (!inetIsLocalReservedPort(net, port) && !udpLibLportInuse(sk, port)) snum = port;
    }
    const first = getRandomU32Below(remaining);
    for (let i = 0; i < remaining && snum === 0; i++) {
      const port = low + ((first + i) % remaining);
      if (!inetIsLocalReservedPort(net, port) && !udpLibLportInuse(sk, port)) snum = port;
    }
    if (snum === 0) return -EADDRINUSE;
  } else if (udpLibLportInuse(sk, snum)) return -EADDRINUSE;

  sk.skcNum = snum;
  if (!sk.skcHashed) {
    if (table.count > table.mask) grow(table);
    sk.udpPortHash = snum;
    sk.udpPortaddrHash = ipv4PortaddrHash(table, sk.skcRcvSaddr, snum);
    link1(table, sk);
    link2(table, sk);
    sk.skcHashed = true;
    table.count++;
  }
  return 0;
}

// ---- lookup ---------------------------------------------------------------------------------------------------------

/** compute_score: how well a socket fits; -1 = not at all. `daddr` is the address it must be bound to. */
/* notrace */
function computeScore(sk: UdpSock, saddr: number, sport: number, daddr: number, hnum: number, dif: number): number {
  if (sk.udpPortHash !== hnum || sk.skcRcvSaddr !== daddr) return -1;
  let score = 2;
  if (sk.skcDaddr !== 0) {
    if (sk.skcDaddr !== saddr) return -1;
    score += 4;
  }
  if (sk.skcDport !== 0) {
    if (sk.skcDport !== sport) return -1;
    score += 4;
  }
  if (sk.skcBoundDevIf !== 0) {
    if (sk.skcBoundDevIf !== dif) return -1;
    score += 4;
  }
  if (sk.skIncomingCpu === 0) score++;
  return score;
}

/** udp4_lib_lookup2: the best socket bound to `daddr`. */
function udp4LibLookup2(
  table: UdpTable,
  saddr: number,
  sport: number,
  daddr: number,
  hnum: number,
  dif: number,
): UdpSock | null {
  let result: UdpSock | null = null;
  let badness = 0;
  for (
    let sk = table.hash2[ipv4PortaddrHash(table, daddr, hnum) & table.mask] as UdpSock | null;
    sk !== null;
    sk = sk.next2
  ) {
    const score = computeScore(sk, saddr, sport, daddr, hnum, dif);
    if (score > badness) {
      badness = score;
      result = sk;
    }
  }
  if (result !== null && result.skcReuseport !== 0 && result.skcState !== TCP_ESTABLISHED) {
    return reuseportSelectSock(table, result, saddr, sport, daddr, hnum);
  }
  return result;
}

/** reuseport_select_sock: one of the sockets that share the binding, by the hash of the connection. */
function reuseportSelectSock(
  table: UdpTable,
  first: UdpSock,
  saddr: number,
  sport: number,
  daddr: number,
  hnum: number,
): UdpSock {
  let n = 0;
  for (let sk: UdpSock | null = first; sk !== null; sk = sk.next2) if (inGroup(sk, first)) n++;
  if (n < 2) return first;
  // reciprocal_scale
  let k = Math.floor((udpEhashfn(table, daddr, hnum, saddr, sport) * n) / 4294967296);
  for (let sk: UdpSock | null = first; sk !== null; sk = sk.next2) if (inGroup(sk, first) && k-- === 0) return sk;
  return first;
}

/* notrace */
function inGroup(sk: UdpSock, first: UdpSock): boolean {
  return (
    sk.skcReuseport !== 0 &&
    sk.udpPortHash === first.udpPortHash &&
    sk.skcRcvSaddr === first.skcRcvSaddr &&
    sk.skcBoundDevIf === first.skcBoundDevIf &&
    sk.skcState !== TCP_ESTABLISHED
  );
}

/** udp4_lib_lookup4: the connected socket of these addresses and ports. */
export function udp4LibLookup4(
  table: UdpTable,
  saddr: number,
  sport: number,
  daddr: number,
  hnum: number,
  dif: number,
): UdpSock | null {
  const hash = udpEhashfn(table, daddr, hnum, saddr, sport);
  for (let sk = table.hash4[hash & table.mask4] as UdpSock | null; sk !== null; sk = sk.next4) {
    if (
      sk.skcDport === sport &&
      sk.skcNum === hnum &&
      sk.skcDaddr === saddr &&
      sk.skcRcvSaddr === daddr &&
      (sk.skcBoundDevIf === 0 || sk.skcBoundDevIf === dif)
    ) {
      return sk;
    }
  }
  return null;
}

/**
 * __udp4_lib_lookup: who takes a datagram from saddr:sport to daddr:hnum that came in on device `dif`. Null = nobody.
 */
export function __udp4LibLookup(
  net: Net,
  saddr: number,
  sport: number,
  daddr: number,
  hnum: number,
  dif: number,
): UdpSock | null {
  const table = net.udpTable;
  if (table.count4 !== 0) {
    const sk = udp4LibLookup4(table, saddr, sport, daddr, hnum, dif);
    if (sk !== null) return sk;
  }
  const result = udp4LibLookup2(table, saddr, sport, daddr, hnum, dif);
  if (result !== null) return result;
  return udp4LibLookup2(table, saddr, sport, 0, hnum, dif);
}
