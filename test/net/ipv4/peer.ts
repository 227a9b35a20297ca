/**
 * A scripted TCP/IP peer on the other end of a host's network card, in virtual time. It speaks Ethernet frames: it builds and
 * parses them itself, so that nothing of the stack under test helps it. It answers ARP (unless told not to) and nothing else:
 * every segment that it sends is the test's decision. What the host sends is recorded with the microsecond at which it left.
 *
 * Sequence numbers are relative: the peer's to its `iss`, the host's to its ISN, so that both SYNs are 0.
 */

import { afterEach, expect } from "vitest";
import { tunGetUser, tunPriv } from "../../../src/drivers/net/tun.ts";
import type { SkbuffKernel } from "../../../src/init/create.ts";
import { createKernel } from "../../../src/init/create.ts";
import type { Host } from "../../../src/init/host.ts";
import { attachTap } from "../../../src/init/tap.ts";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import type { OptVal, SockAddr } from "../../../src/net/core/sock.ts";
import { ErrBox } from "../../../src/net/core/sock.ts";
import { inetAllSocks } from "../../../src/net/ipv4/inet_hashtables.ts";
import { TcpSock } from "../../../src/net/ipv4/tcp_sock.ts";
import { sockfdSocket } from "../../../src/net/socket.ts";
import * as errno from "../../../src/uapi/errno.ts";
import { AF_INET, SO_ERROR, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET } from "../../../src/uapi/socket.ts";

/** The host's address, and the peer's. */
export const HOST = 0x0a070002;
export const PEER = 0x0a070001;
export const PEER_MAC: Uint8Array = new Uint8Array([2, 0, 0, 9, 9, 9]);
export const HOST_MAC: Uint8Array = new Uint8Array([2, 0, 0, 7, 7, 7]);

const FLAGS: Record<string, number> = { F: 1, S: 2, R: 4, P: 8, ".": 16, U: 32, E: 64, W: 128 };
/** tcp_states.h, in the order of the numbers. */
const STATES =
  "- ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING NEW_SYN_RECV".split(
    " ",
  );
const POLL: [string, number][] = [
  ["IN", 1],
  ["PRI", 2],
  ["OUT", 4],
  ["ERR", 8],
  ["HUP", 16],
  ["RDNORM", 64],
  ["RDBAND", 128],
  ["WRNORM", 256],
  ["RDHUP", 0x2000],
];

/** -110 -> "ETIMEDOUT"; results that are no error stay numbers. */
export function errName(n: number): string | number {
  if (n >= 0) return n;
  for (const [name, value] of Object.entries(errno)) if (value === -n && /^E[A-Z0-9]+$/.test(name)) return name;
  return n;
}

/** The name of a sock's state; a TIME_WAIT sock that stands for a FIN-WAIT-2 says so. */
function stateName(sk: { skcState: number; twSubstate?: number }): string {
  const state = STATES[sk.skcState] as string;
  return sk.twSubstate === undefined ? state : (STATES[sk.twSubstate] as string);
}

export function sum16(b: Uint8Array, from: number, to: number, start = 0): number {
  let s = start;
  for (let i = from; i < to; i += 2) s += ((b[i] as number) << 8) | (i + 1 < to ? (b[i + 1] as number) : 0);
  while (s > 0xffff) s = (s & 0xffff) + Math.floor(s / 65536);
  return s;
}

/** `n` bytes of the pattern that every stream of these tests carries: byte i is i mod 251. */
export function pattern(n: number, from = 0): Uint8Array {
  const b = new Uint8Array(n);
  for (let i = 0; i < n; i++) b[i] = (from + i) % 251;
  return b;
}

export interface Options {
  mss?: number;
  wscale?: number;
  sackOk?: boolean;
  /** TSval, TSecr. */
  ts?: [number, number];
  /** Blocks of the host's (when sent) or the peer's (when received) relative numbers. */
  sack?: [number, number][];
  /** Raw option bytes behind the others. */
  raw?: number[];
}

/** A segment that the host sent. */
export interface Seg extends Options {
  flags: string;
  seq: number;
  ack: number;
  win: number;
  len: number;
  data: Uint8Array;
  urg: number;
  tos: number;
  ttl: number;
  /** Microseconds of virtual time. */
  at: number;
  rawSeq: number;
  sport: number;
  dport: number;
}

/** A segment to send: what is left out has the value that an orderly peer would use. */
export interface Out extends Options {
  seq?: number;
  ack?: number;
  win?: number;
  len?: number;
  data?: Uint8Array;
  urg?: number;
  tos?: number;
  ttl?: number;
  badsum?: boolean;
  /** False: no timestamp option though it was negotiated. */
  noTs?: boolean;
}

/** An IPv4 packet that was no TCP segment of a known connection, or an ARP packet. */
export interface Other {
  at: number;
  /** The card that it left by. */
  dev: string;
  proto: number;
  frame: Uint8Array;
  /** The IP payload. */
  data: Uint8Array;
  src: number;
  dst: number;
  ttl: number;
  id: number;
  /** In bytes. */
  fragOff: number;
  mf: boolean;
}

export interface IpFields {
  src?: number;
  dst?: number;
  ttl?: number;
  tos?: number;
  id?: number;
  /** The flags and fragment offset field: 0x2000 = more fragments, 0x4000 = don't fragment; the offset in units of 8. */
  frag?: number;
  /** To a link-layer broadcast. */
  broadcast?: boolean;
}

export interface PeerOptions {
  seed?: number;
  mtu?: number;
  sysctl?: Record<string, string | number>;
  /** False: ARP requests stay unanswered. */
  arp?: boolean;
}

function optionBytes(o: Options, sackBase: number): number[] {
  const b: number[] = [];
  const u32 = (v: number): void => void b.push((v >>> 24) & 255, (v >>> 16) & 255, (v >>> 8) & 255, v & 255);
  if (o.mss !== undefined) b.push(2, 4, o.mss >> 8, o.mss & 255);
  if (o.sackOk) b.push(1, 1, 4, 2);
  if (o.ts !== undefined) {
    b.push(1, 1, 8, 10);
    u32(o.ts[0]);
    u32(o.ts[1]);
  }
  if (o.wscale !== undefined) b.push(1, 3, 3, o.wscale);
  if (o.sack !== undefined) {
    b.push(1, 1, 5, 2 + 8 * o.sack.length);
    for (const [l, r] of o.sack) {
      u32((l + sackBase) >>> 0);
      u32((r + sackBase) >>> 0);
    }
  }
  if (o.raw !== undefined) b.push(...o.raw);
  while (b.length % 4 !== 0) b.push(1);
  return b;
}

/** "P. 1:1001(1000) ack 1 sack 5:9". */
export function segText(s: Seg): string {
  let t = `${s.flags} ${s.seq}:${s.seq + s.len}(${s.len})`;
  if (s.flags.includes(".")) t += ` ack ${s.ack}`;
  if (s.flags.includes("U")) t += ` urg ${s.urg}`;
  if (s.sack !== undefined) t += ` sack ${s.sack.map(([l, r]) => `${l}:${r}`).join(" ")}`;
  return t;
}

const live: Peer[] = [];

/** Ends every peer of the test that has run: closes the machine, and the pool must be whole. */
afterEach(() => {
  const peers = live.splice(0);
  for (const p of peers) p.kernel.close();
  for (const p of peers) {
    expect(p.complaints).toEqual([]);
    expect(p.kernel.poolInUse()).toEqual([]);
  }
});

export class Peer {
  readonly kernel: SkbuffKernel;
  readonly host: Host;
  dev: NetDevice = undefined as unknown as NetDevice;
  readonly others: Other[] = [];
  readonly arps: { at: number; op: number; sha: string; spa: number; tpa: number; dst: string }[] = [];
  readonly conns: Conn[] = [];
  answerArp = true;
  /** What was wrong with the host's frames; the test fails for it in the end. */
  readonly complaints: string[] = [];
  /** Where `timeline` counts from, microseconds. */
  t0 = 0;
  #id = 1;

  constructor(kernel: SkbuffKernel) {
    this.kernel = kernel;
    this.host = kernel.netns("h");
  }

  static async create(o: PeerOptions = {}): Promise<Peer> {
    const kernel = await createKernel({
      clock: "virtual",
      autoAdvance: false,
      seed: o.seed ?? 1,
      memoryBytes: 32 << 20,
    });
    const p = new Peer(kernel);
    live.push(p);
    p.answerArp = o.arp !== false;
    p.dev = attachTap(
      kernel,
      p.host,
      p.#backend(() => p.dev),
      {
        name: "eth0",
        address: HOST_MAC,
        mtu: o.mtu ?? 1500,
      },
    );
    for (const [k, v] of Object.entries(o.sysctl ?? {})) p.host.sysctl(`${k}=${v}`);
    p.host.ip("addr add 10.7.0.2/24 dev eth0");
    p.host.ip("link set eth0 up");
    p.host.ip("route add default via 10.7.0.1");
    p.sleep(1);
    p.mark();
    p.arps.length = 0;
    return p;
  }

  get now(): number {
    return this.kernel.now;
  }

  /** `timeline` counts from here. */
  mark(): void {
    this.t0 = this.now;
  }

  /** Lets `ms` milliseconds pass. */
  sleep(ms: number): void {
    const clock = this.kernel.core.clock as unknown as { time: number };
    const end = clock.time + Math.round(ms * 1000);
    for (;;) {
      const due = this.kernel.core.nextDeadline();
      if (due > end) break;
      if (due > clock.time) clock.time = due;
      this.kernel.core.run();
    }
    clock.time = end;
    this.kernel.core.run();
  }

  /** A second card, on another network. The peer answers for everybody there, too. */
  addDevice(name: string, cidr: string): NetDevice {
    const dev: NetDevice = attachTap(
      this.kernel,
      this.host,
      this.#backend(() => dev),
      { name, address: HOST_MAC },
    );
    this.host.ip(`addr add ${cidr} dev ${name}`);
    this.host.ip(`link set ${name} up`);
    return dev;
  }

  // ---- frames ----

  #backend(dev: () => NetDevice): { write(pieces: Uint8Array[]): number; close(): void } {
    return { write: (pieces) => this.#write(pieces, dev()), close(): void {} };
  }

  #write(pieces: Uint8Array[], dev: NetDevice): number {
    const f = new Uint8Array(pieces.reduce((n, p) => n + p.length, 0));
    let at = 0;
    for (const p of pieces) {
      f.set(p, at);
      at += p.length;
    }
    const v = new DataView(f.buffer);
    const type = v.getUint16(12);
    if (type === 0x0806) {
      const hex = (from: number): string =>
        [...f.subarray(from, from + 6)].map((x) => x.toString(16).padStart(2, "0")).join(":");
      const op = v.getUint16(20);
      const tpa = v.getUint32(38);
      this.arps.push({ at: this.now, op, sha: hex(22), spa: v.getUint32(28), tpa, dst: hex(0) });
      if (op === 1 && this.answerArp && tpa !== v.getUint32(28) && v.getUint32(28) !== 0)
        this.arp(2, tpa, v.getUint32(28), PEER_MAC, false, dev);
    } else if (type === 0x0800) {
      this.#ip(f, v, dev);
    }
    return 0;
  }

  #ip(f: Uint8Array, v: DataView, dev: NetDevice): void {
    const ihl = ((f[14] as number) & 15) * 4;
    const total = v.getUint16(16);
    if (sum16(f, 14, 14 + ihl) !== 0xffff) this.complaints.push("an IP header with a wrong checksum");
    if (14 + total > f.length) this.complaints.push("a frame shorter than its packet");
    const proto = f[23] as number;
    const src = v.getUint32(26);
    const dst = v.getUint32(30);
    const l4 = 14 + ihl;
    const end = 14 + total;
    const frag = v.getUint16(20);
    if (proto === 6 && (frag & 0x3fff) === 0) {
      if (sum16(f, l4, end, sum16(f, 26, 34, 6 + end - l4)) !== 0xffff) {
        this.complaints.push(`a TCP segment with a wrong checksum, flags ${f[l4 + 13] as number}, ${end - l4} bytes`);
      }
      const sport = v.getUint16(l4);
      const dport = v.getUint16(l4 + 2);
      let conn = this.conns.find((c) => c.sport === dport && c.dport === sport && c.peer === dst);
      // The host opens: its SYN names the ports.
      conn ??= this.conns.find((c) => c.sport === dport && c.dport === 0 && c.peer === dst);
      if (conn !== undefined) {
        if (conn.dport === 0) conn.dport = sport;
        conn.take(f, v, l4, end);
        return;
      }
    }
    this.others.push({
      at: this.now,
      dev: dev.name,
      proto,
      frame: f,
      data: f.subarray(l4, end),
      src,
      dst,
      ttl: f[22] as number,
      id: v.getUint16(18),
      fragOff: (frag & 0x1fff) * 8,
      mf: (frag & 0x2000) !== 0,
    });
  }

  /** A frame arrives at the host. */
  inject(frame: Uint8Array, dev: NetDevice = this.dev): void {
    const tun = tunPriv(dev);
    this.kernel.core.enter();
    try {
      let at = 0;
      for (const view of tun.rxViews) {
        const n = Math.min(view.length, frame.length - at);
        view.set(frame.subarray(at, at + n));
        at += n;
        if (at === frame.length) break;
      }
      tunGetUser(tun, frame.length);
    } finally {
      this.kernel.core.exit();
    }
    // Not from within the host's own transmission: that one is in context, and runs things when it is done.
    if (!this.kernel.core.inContext) this.kernel.core.run();
  }

  arp(
    op: number,
    spa: number,
    tpa: number,
    sha: Uint8Array = PEER_MAC,
    broadcast = false,
    dev: NetDevice = this.dev,
  ): void {
    const f = new Uint8Array(60);
    const v = new DataView(f.buffer);
    if (broadcast) f.fill(255, 0, 6);
    else f.set(HOST_MAC, 0);
    f.set(sha, 6);
    v.setUint16(12, 0x0806);
    f.set([0, 1, 8, 0, 6, 4, 0, op], 14);
    f.set(sha, 22);
    v.setUint32(28, spa);
    if (op === 2) f.set(HOST_MAC, 32);
    v.setUint32(38, tpa);
    this.inject(f, dev);
  }

  /** An IPv4 packet arrives. */
  ip(proto: number, payload: Uint8Array, o: IpFields = {}): void {
    const f = new Uint8Array(34 + payload.length);
    const v = new DataView(f.buffer);
    if (o.broadcast === true) f.fill(255, 0, 6);
    else f.set(HOST_MAC, 0);
    f.set(PEER_MAC, 6);
    v.setUint16(12, 0x0800);
    f[14] = 0x45;
    f[15] = o.tos ?? 0;
    v.setUint16(16, 20 + payload.length);
    v.setUint16(18, o.id ?? this.#id++);
    v.setUint16(20, o.frag ?? 0);
    f[22] = o.ttl ?? 64;
    f[23] = proto;
    v.setUint32(26, o.src ?? PEER);
    v.setUint32(30, o.dst ?? HOST);
    v.setUint16(24, ~sum16(f, 14, 34) & 0xffff);
    f.set(payload, 34);
    this.inject(f);
  }

  /** An ICMP message: `rest` is the second word, `body` what follows. */
  icmp(type: number, code: number, rest: number, body: Uint8Array, o: IpFields = {}): void {
    const b = new Uint8Array(8 + body.length);
    const v = new DataView(b.buffer);
    b[0] = type;
    b[1] = code;
    v.setUint32(4, rest);
    b.set(body, 8);
    v.setUint16(2, ~sum16(b, 0, b.length) & 0xffff);
    this.ip(1, b, o);
  }

  udp(sport: number, dport: number, data: Uint8Array, o: IpFields & { sum?: number } = {}): void {
    const b = new Uint8Array(8 + data.length);
    const v = new DataView(b.buffer);
    v.setUint16(0, sport);
    v.setUint16(2, dport);
    v.setUint16(4, b.length);
    b.set(data, 8);
    const dst = o.dst ?? HOST;
    const pseudo = (PEER >>> 16) + (PEER & 0xffff) + (dst >>> 16) + (dst & 0xffff) + 17 + b.length;
    v.setUint16(6, o.sum ?? (~sum16(b, 0, b.length, pseudo) & 0xffff || 0xffff));
    this.ip(17, b, o);
  }

  // ---- connections ----

  /** The peer's side of a connection: from its port `sport` to the host's `dport` (0 = the host will choose it). */
  conn(dport: number, sport: number = 4000 + this.conns.length, iss = 1_000_000): Conn {
    const c = new Conn(this, sport, dport, iss);
    this.conns.push(c);
    return c;
  }

  /** A listener, and a connection to it that the peer has opened (in `rtt` ms) and the host accepted. */
  accepted(
    o: Options = { mss: 1000, sackOk: true },
    win: number = 32792,
    rtt = 0,
  ): { c: Conn; fd: number; lfd: number } {
    const lfd = this.listen(80);
    const c = this.conn(80);
    c.open(o, win, rtt);
    const fd = this.accept(lfd);
    expect(fd).toBeGreaterThan(0);
    c.out();
    this.mark();
    return { c, fd, lfd };
  }

  /** A connection that the host has opened to the peer's port 7. */
  connected(o: Options = { mss: 1000, sackOk: true }, win: number = 32792): { c: Conn; fd: number } {
    const c = this.conn(0, 7);
    const fd = this.connect(7);
    const opts = { ...o };
    if (o.ts !== undefined) opts.ts = [o.ts[0], c.tsRecent];
    c.scale = o.wscale ?? 0;
    c.send("S.", { ...opts, seq: 0, ack: 1, win });
    c.useTs = o.ts !== undefined;
    c.tsval = o.ts?.[0] ?? 0;
    expect(this.state(fd)).toBe("ESTABLISHED");
    c.out();
    this.mark();
    return { c, fd };
  }

  // ---- system calls ----

  socket(type: number = SOCK_STREAM): number {
    return this.host.sys.socket(AF_INET, type | SOCK_NONBLOCK, 0);
  }

  listen(port: number, backlog = 10): number {
    const fd = this.socket();
    expect(this.host.sys.bind(fd, { family: AF_INET, addr: 0, port })).toBe(0);
    expect(this.host.sys.listen(fd, backlog)).toBe(0);
    return fd;
  }

  accept(fd: number): number {
    return this.host.sys.accept4(fd, null, SOCK_NONBLOCK);
  }

  /** A new socket whose connect() is on its way. */
  connect(port: number, fd: number = this.socket()): number {
    expect(errName(this.host.sys.connect(fd, { family: AF_INET, addr: PEER, port }))).toBe("EINPROGRESS");
    this.kernel.core.run();
    return fd;
  }

  /** Sends `n` bytes of the pattern, or `data`. */
  write(fd: number, data: number | Uint8Array, flags = 0): number | string {
    const b = typeof data === "number" ? pattern(data) : data;
    const r = this.host.sys.send(fd, b, b.length, flags);
    this.kernel.core.run();
    return errName(r);
  }

  /** How many bytes recv() returned, or the error's name. */
  read(fd: number, len = 65536, flags = 0): number | string {
    const r = this.host.sys.recv(fd, new Uint8Array(len), len, flags);
    this.kernel.core.run();
    return errName(r);
  }

  readBytes(fd: number, len = 65536, flags = 0): number[] {
    const b = new Uint8Array(len);
    const r = this.host.sys.recv(fd, b, len, flags);
    this.kernel.core.run();
    return r < 0 ? [r] : [...b.subarray(0, r)];
  }

  close(fd: number): void {
    expect(this.host.sys.close(fd)).toBe(0);
    this.kernel.core.run();
  }

  shutdown(fd: number, how: number): number | string {
    const r = errName(this.host.sys.shutdown(fd, how));
    this.kernel.core.run();
    return r;
  }

  setopt(fd: number, level: number, name: number, value: OptVal): void {
    expect(errName(this.host.sys.setsockopt(fd, level, name, value))).toBe(0);
    this.kernel.core.run();
  }

  getopt(fd: number, level: number, name: number): OptVal {
    const err = new ErrBox();
    const v = this.host.sys.getsockopt(fd, level, name, err);
    expect(err.value).toBe(0);
    return v;
  }

  /** SO_ERROR, by name; it is cleared. */
  soError(fd: number): string | number {
    return errName(0 - (this.getopt(fd, SOL_SOCKET, SO_ERROR) as number));
  }

  /** The POLL* bits that hold: "IN OUT". */
  poll(fd: number): string {
    const p = { fd, events: 0xffff, revents: 0 };
    this.host.sys.poll([p]);
    return POLL.filter(([name, bit]) => p.revents & bit && !/NORM/.test(name))
      .map(([name]) => name)
      .join(" ");
  }

  sock(fd: number): TcpSock {
    return sockfdSocket(this.host.ns, fd)?.sk as TcpSock;
  }

  state(fd: number): string {
    return STATES[this.sock(fd).skcState] as string;
  }

  /** The states of all TCP sockets that talk to the peer, listeners left out. */
  states(): string[] {
    return inetAllSocks(this.host.ns)
      .filter((sk) => sk.skcState !== 10)
      .map((sk) => stateName(sk))
      .filter((s) => s !== "CLOSE")
      .sort();
  }

  /** What left that was no TCP segment of a connection, since the last call. */
  packets(): Other[] {
    return this.others.splice(0);
  }

  /** A UDP socket bound to `port`. */
  udpSocket(port: number, connected?: SockAddr): number {
    const fd = this.socket(SOCK_DGRAM);
    expect(this.host.sys.bind(fd, { family: AF_INET, addr: 0, port })).toBe(0);
    if (connected !== undefined) expect(this.host.sys.connect(fd, connected)).toBe(0);
    return fd;
  }

  tcpExt(i: number): number {
    return this.host.ns.mib.linux[i] as number;
  }
}

/** One connection, seen from the peer. */
export class Conn {
  readonly p: Peer;
  readonly sport: number;
  readonly peer: number = PEER;
  dport: number;
  iss: number;
  /** The host's ISN; -1 = not seen. */
  irs = -1;
  /** The next number that the peer sends, and the next one it expects: relative. */
  nxt = 0;
  rcv = 0;
  /** The window field that `send` uses, unscaled. */
  win = 32792;
  scale = 0;
  useTs = false;
  tsval = 0;
  /** The host's latest TSval. */
  tsRecent = 0;
  /** What the host sent and `out` has not fetched. */
  sent: Seg[] = [];
  /** The last SYN or SYN-ACK of the host. */
  syn: Seg | undefined;

  constructor(p: Peer, sport: number, dport: number, iss: number) {
    this.p = p;
    this.sport = sport;
    this.dport = dport;
    this.iss = iss;
  }

  /** A segment of the host. */
  take(f: Uint8Array, v: DataView, l4: number, end: number): void {
    const doff = ((f[l4 + 12] as number) >> 4) * 4;
    const bits = f[l4 + 13] as number;
    let flags = "";
    for (const [c, bit] of Object.entries(FLAGS)) if (bits & bit) flags += c;
    const rawSeq = v.getUint32(l4 + 4);
    if (flags.includes("S")) this.irs = rawSeq;
    const rel = (n: number, base: number): number => (n - base) | 0;
    const seg: Seg = {
      flags,
      rawSeq,
      seq: this.irs < 0 ? rawSeq : rel(rawSeq, this.irs),
      ack: rel(v.getUint32(l4 + 8), this.iss),
      win: v.getUint16(l4 + 14),
      urg: v.getUint16(l4 + 18),
      data: f.slice(l4 + doff, end),
      len: end - l4 - doff,
      tos: f[15] as number,
      ttl: f[22] as number,
      at: this.p.now,
      sport: v.getUint16(l4),
      dport: v.getUint16(l4 + 2),
    };
    for (let i = l4 + 20; i < l4 + doff; ) {
      const kind = f[i] as number;
      if (kind === 0) break;
      if (kind === 1) {
        i++;
        continue;
      }
      const size = f[i + 1] as number;
      if (kind === 2) seg.mss = v.getUint16(i + 2);
      else if (kind === 3) seg.wscale = f[i + 2] as number;
      else if (kind === 4) seg.sackOk = true;
      else if (kind === 8) seg.ts = [v.getUint32(i + 2), v.getUint32(i + 6)];
      else if (kind === 5) {
        seg.sack = [];
        for (let k = i + 2; k < i + size; k += 8) {
          seg.sack.push([rel(v.getUint32(k), this.iss), rel(v.getUint32(k + 4), this.iss)]);
        }
      }
      i += size;
    }
    if (seg.ts !== undefined) this.tsRecent = seg.ts[0];
    if (flags.includes("S")) this.syn = seg;
    if (this.irs >= 0 && !flags.includes("R")) {
      const next = seg.seq + seg.len + (flags.includes("S") ? 1 : 0) + (flags.includes("F") ? 1 : 0);
      if (seg.seq <= this.rcv && next > this.rcv) this.rcv = next;
    }
    this.sent.push(seg);
  }

  /** The bytes of a segment. */
  bytes(flags: string, o: Out): Uint8Array {
    const data = o.data ?? (o.len === undefined ? new Uint8Array(0) : pattern(o.len, (o.seq ?? this.nxt) - 1));
    const opts: Out = { ...o };
    if (this.useTs && o.ts === undefined && o.noTs !== true) opts.ts = [this.tsval, this.tsRecent];
    const options = optionBytes(opts, Math.max(0, this.irs));
    const doff = 20 + options.length;
    const b = new Uint8Array(doff + data.length);
    const v = new DataView(b.buffer);
    v.setUint16(0, this.sport);
    v.setUint16(2, this.dport);
    v.setUint32(4, ((o.seq ?? this.nxt) + this.iss) >>> 0);
    if (flags.includes(".")) v.setUint32(8, ((o.ack ?? this.rcv) + Math.max(0, this.irs)) >>> 0);
    let bits = 0;
    for (const c of flags) bits |= FLAGS[c] as number;
    b[12] = (doff / 4) << 4;
    b[13] = bits;
    v.setUint16(14, o.win ?? this.win);
    v.setUint16(18, o.urg ?? 0);
    b.set(options, 20);
    b.set(data, doff);
    const pseudo = (this.peer >>> 16) + (this.peer & 0xffff) + (HOST >>> 16) + (HOST & 0xffff) + 6 + b.length;
    v.setUint16(16, (~sum16(b, 0, b.length, pseudo) & 0xffff) ^ (o.badsum ? 0x55 : 0));
    return b;
  }

  /** Sends a segment: flags of "FSRP.UEW". */
  send(flags: string, o: Out = {}): void {
    const seg = this.bytes(flags, o);
    const seq = o.seq ?? this.nxt;
    const len = (o.data?.length ?? o.len ?? 0) + (flags.includes("S") ? 1 : 0) + (flags.includes("F") ? 1 : 0);
    if (!flags.includes("R") && seq <= this.nxt && seq + len > this.nxt) this.nxt = seq + len;
    this.p.ip(6, seg, { tos: o.tos ?? 0, ttl: o.ttl ?? 64, src: this.peer });
  }

  /** The peer's three-way handshake with a listener. */
  open(o: Options = { mss: 1000, sackOk: true }, win: number = 32792, rtt = 0): void {
    this.useTs = false;
    this.tsval = o.ts?.[0] ?? 0;
    this.send("S", { ...o, win, seq: 0 });
    this.useTs = o.ts !== undefined;
    this.scale = o.wscale ?? 0;
    this.win = win;
    expect(this.syn?.flags).toBe("S.");
    this.p.sleep(rtt);
    this.send(".");
  }

  /** What the host has sent since the last call. */
  out(): Seg[] {
    return this.sent.splice(0);
  }

  /** `out` as text. */
  text(): string[] {
    return this.out().map(segText);
  }

  /** `out` with the milliseconds since `mark`: "40 . 1:1(0) ack 1001". */
  timeline(): string[] {
    return this.out().map((s) => `${Math.round((s.at - this.p.t0) / 10) / 100} ${segText(s)}`);
  }

  /** Milliseconds since `mark` of everything sent. */
  times(): number[] {
    return this.out().map((s) => Math.round((s.at - this.p.t0) / 10) / 100);
  }

  /** An ICMP error about this connection: it quotes the host's segment at `seq` (relative). */
  icmp(type: number, code: number, o: { seq?: number; rest?: number; words?: number } = {}): void {
    const q = new Uint8Array(28);
    const v = new DataView(q.buffer);
    q[0] = 0x45;
    v.setUint16(2, 1500);
    v.setUint16(6, 0x4000);
    q[8] = 60;
    q[9] = 6;
    v.setUint32(12, HOST);
    v.setUint32(16, this.peer);
    v.setUint16(10, ~sum16(q, 0, 20) & 0xffff);
    v.setUint16(20, this.dport);
    v.setUint16(22, this.sport);
    v.setUint32(24, ((o.seq ?? 0) + Math.max(0, this.irs)) >>> 0);
    this.p.icmp(type, code, o.rest ?? 0, q);
  }
}
