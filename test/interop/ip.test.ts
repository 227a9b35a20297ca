/**
 * The same IP packets go to the real kernel and to this stack, through devices without link layer; what the two answer
 * has to be the same but for what is random (identifications) or the time.
 */

import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { Random, rfc1071, SEED } from "../mm/util.ts";
import type { Ip } from "../net/ipv4/host.ts";
import { ipPacket, pattern, TestHost } from "../net/ipv4/host.ts";
import { missing, Namespace, root } from "./namespace.ts";

const lacks = missing("sysctl");
const full = process.env["SKBUFF_FULL"] !== undefined;

const A = 0x0a000001; // this host, on tun0
const A1 = 0x0a010001; // this host, on tun1
const C = 0x0a010003; // behind tun1
const FAR = 0x0a020005; // behind a gateway on tun1

type Answer = [dev: string, hex: string];
interface Case {
  what: string;
  packets: Uint8Array[];
}

const SYSCTLS: [string, number][] = [
  ["net.ipv4.ip_forward", 1],
  ["net.ipv4.icmp_ratemask", 0],
  ["net.ipv4.icmp_ratelimit", 0],
  ["net.ipv4.conf.all.rp_filter", 0],
  ["net.ipv4.conf.default.rp_filter", 0],
  ["net.ipv4.conf.tun0.rp_filter", 0],
  ["net.ipv4.conf.tun1.rp_filter", 0],
  ["net.ipv4.conf.all.accept_source_route", 1],
  ["net.ipv4.conf.tun0.accept_source_route", 1],
  ["net.ipv4.conf.tun1.accept_source_route", 1],
  ["net.ipv4.conf.all.send_redirects", 0],
  ["net.ipv4.conf.tun0.send_redirects", 0],
  ["net.ipv4.conf.tun1.send_redirects", 0],
  ["net.ipv4.icmp_echo_ignore_broadcasts", 0],
  // Nothing times out while the test runs: the two clocks differ.
  ["net.ipv4.ipfrag_time", 300],
];

/** What Linux answers to each packet. */
function linux(packets: Uint8Array[]): Answer[][] {
  const ns = new Namespace();
  try {
    const job = {
      devices: [
        ["tun0", "10.0.0.1/24"],
        ["tun1", "10.1.0.1/24"],
      ],
      commands: [
        ...SYSCTLS.map(([name, value]) => ["sysctl", "-qw", `${name}=${value}`]),
        ["ip", "link", "set", "tun1", "mtu", "1000"],
        ["ip", "route", "add", "10.2.0.0/16", "via", "10.1.0.3", "dev", "tun1"],
        ["ip", "route", "add", "unreachable", "10.3.0.0/16"],
        ["ip", "route", "add", "prohibit", "10.4.0.0/16"],
        ["ip", "route", "add", "blackhole", "10.5.0.0/16"],
      ],
      packets: packets.map((b) => ["tun0", Buffer.from(b).toString("hex")]),
      wait: 4,
    };
    const file = path.join(ns.dir, "job.json");
    fs.writeFileSync(file, JSON.stringify(job));
    return JSON.parse(ns.run(process.execPath, path.join(root, "test/interop/inject.mjs"), file)) as Answer[][];
  } finally {
    void ns.close();
  }
}

/** What this stack answers. */
function skbuff(packets: Uint8Array[]): Answer[][] {
  const host = new TestHost();
  const tun0 = host.device("tun0", A);
  const tun1 = host.device("tun1", A1, 24, 1000);
  for (const [name, value] of SYSCTLS) host.sysctl(name, value);
  host.route(0x0a020000, 16, tun1, C);
  for (const [dst, type] of [
    [0x0a030000, 7],
    [0x0a040000, 8],
    [0x0a050000, 6],
  ] as const) {
    expect(host.rtnl(24, { dst, dstLen: 16, type, protocol: 4, table: 254, scope: 0 })).toBe(0);
  }
  host.sent.length = 0;
  host.sentBy.length = 0;
  const out = packets.map((b): Answer[] => {
    host.receive(tun0, b);
    host.advance(4000);
    const answers = host.sent.map((p, i): Answer => [host.sentBy[i] as string, Buffer.from(p).toString("hex")]);
    host.sent.length = 0;
    host.sentBy.length = 0;
    return answers.filter(([, hex]) => hex.slice(18, 20) !== "02");
  });
  host.advance(301_000_000);
  host.end();
  return out;
}

/** A packet as text, without what is random or the time. */
function show([dev, hex]: Answer): string {
  const b = Uint8Array.from(Buffer.from(hex, "hex"));
  const v = new DataView(b.buffer);
  const hlen = ((b[0] as number) & 15) * 4;
  const ok = rfc1071(b.subarray(0, hlen)) === 0 ? "" : " BAD CHECKSUM";
  const frag = v.getUint16(6);
  maskTimes(b, 20, hlen);
  const p = b.subarray(hlen);
  let icmp = "";
  if (b[9] === 1 && (frag & 0x3fff) === 0) {
    if (rfc1071(Uint8Array.from(Buffer.from(hex, "hex")).subarray(hlen)) !== 0) icmp = " BAD ICMP CHECKSUM";
    p[2] = 0;
    p[3] = 0;
    // Times of a timestamp reply; the identification and checksum of a quoted packet are as they came.
    if (p[0] === 14) p.fill(0, 12, 20);
    if ([3, 4, 5, 11, 12].includes(p[0] as number)) {
      maskTimes(p, 28, 8 + ((p[8] as number) & 15) * 4);
      p.fill(0, 18, 20);
    }
  }
  const id = (frag & 0x4000) !== 0 ? v.getUint16(4) : "*";
  const head = `tos ${b[1]} len ${v.getUint16(2)} id ${b[9] === 253 ? v.getUint16(4) : id} off ${frag} ttl ${b[8]}`;
  const opts = Buffer.from(b.subarray(20, hlen)).toString("hex");
  const way = `${v.getUint32(12).toString(16)} > ${v.getUint32(16).toString(16)}`;
  return `${dev} ${head} proto ${b[9]} ${way}${ok}${icmp} [${opts}] ${Buffer.from(p).toString("hex")}`;
}

/** Zeroes the times in timestamp options. */
function maskTimes(b: Uint8Array, from: number, to: number): void {
  for (let i = from; i + 1 < to && i + 1 < b.length; ) {
    const type = b[i] as number;
    if (type === 0) return;
    if (type === 1) {
      i++;
      continue;
    }
    const len = b[i + 1] as number;
    if (len < 2 || i + len > to) return;
    if (type === 68) {
      const withAddr = ((b[i + 3] as number) & 15) !== 0;
      // With a pointer between the slots nobody knows which bytes are times.
      const odd = (((b[i + 2] as number) - 5) & (withAddr ? 7 : 3)) !== 0;
      if (odd) b.fill(0, i + 4, i + len);
      for (let t = i + 4; t + 4 <= i + len; t += withAddr ? 8 : 4) {
        if (withAddr) b.fill(0, t + 4, Math.min(t + 8, i + len));
        else b.fill(0, t, t + 4);
      }
    }
    i += len;
  }
}

function icmp(type: number, code: number, word: number, data: ArrayLike<number>): Uint8Array {
  const b = new Uint8Array(8 + data.length);
  const v = new DataView(b.buffer);
  b[0] = type;
  b[1] = code;
  v.setUint32(4, word);
  b.set(Uint8Array.from(data), 8);
  v.setUint16(2, rfc1071(b));
  return b;
}

function udp(sport: number, dport: number, data: ArrayLike<number>): Uint8Array {
  const b = new Uint8Array(8 + data.length);
  const v = new DataView(b.buffer);
  v.setUint16(0, sport);
  v.setUint16(2, dport);
  v.setUint16(4, b.length);
  b.set(Uint8Array.from(data), 8);
  return b;
}

const echo = icmp(8, 0, 0x00010002, pattern(40));
const addr = (x: number): number[] => [x >>> 24, (x >>> 16) & 255, (x >>> 8) & 255, x & 255];

function one(what: string, h: Ip, payload: ArrayLike<number> = echo): Case {
  return { what, packets: [ipPacket({ protocol: 1, ...h }, payload)] };
}
function withOptions(what: string, options: number[]): Case[] {
  return [
    one(`${what}, to the host`, { options }),
    one(`${what}, through the host`, { options, daddr: C, protocol: 253 }, pattern(20)),
    one(`${what}, to an unknown protocol`, { options, protocol: 253 }, pattern(20)),
  ];
}

/** `data` in fragments: [from, to, more] of each. */
function frags(what: string, data: Uint8Array, cuts: [number, number, boolean][], h: Ip = {}, each: Ip[] = []): Case {
  id++;
  return {
    what,
    packets: cuts.map(([from, to, more], i) =>
      ipPacket(
        {
          protocol: 1,
          id,
          ...h,
          ...each[i],
          frag: (from >>> 3) | (more ? 0x2000 : 0) | ((each[i]?.frag ?? 0) & 0xc000),
        },
        data.subarray(from, to),
      ),
    ),
  };
}
let id = 100;

const long = icmp(8, 0, 7, pattern(1000));

function cases(): Case[] {
  const list: Case[] = [
    // Headers.
    one("echo", {}),
    one("echo with tos", { tos: 0xb9 }),
    one("echo, ttl 1", { ttl: 1 }),
    one("echo, DF", { frag: 0x4000 }),
    one("echo, the reserved flag", { frag: 0x8000 }),
    one("wrong checksum", { check: 1 }),
    one("version 5", { version: 5 }),
    one("ihl 4", { ihl: 4 }),
    one("longer than the frame", { totLen: 2000 }),
    one("shorter than the header", { totLen: 19 }),
    { what: "padded", packets: [Uint8Array.from([...ipPacket({ protocol: 1 }, echo), 1, 2, 3, 4])] },
    one("to the other address", { daddr: A1 }),
    one("to the subnet's broadcast", { daddr: 0x0a0000ff }),
    one("to the limited broadcast", { daddr: 0xffffffff }),
    one("to the network", { daddr: 0x0a000000 }),
    one("to all hosts", { daddr: 0xe0000001 }),
    one("from a multicast", { saddr: 0xe0000005 }),
    one("from the broadcast", { saddr: 0xffffffff }),
    one("from loopback", { saddr: 0x7f000001 }),
    one("from this host", { saddr: A }),
    one("from nobody", { saddr: 0 }),
    one("to loopback", { daddr: 0x7f000001 }),
    one("to class E", { daddr: 0xf0000001 }),
    one("to net 0", { daddr: 0x00000005 }),
    // ICMP.
    one("echo reply", {}, icmp(0, 0, 1, [])),
    one("echo with a code", {}, icmp(8, 5, 1, [1])),
    one("bad ICMP checksum", {}, [8, 0, 1, 1, 0, 0, 0, 0]),
    one("short ICMP", {}, [8, 0, 0xf7, 0xff]),
    one("timestamp", {}, icmp(13, 0, 3, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
    one("short timestamp", {}, icmp(13, 0, 3, [0, 0])),
    one("address mask", {}, icmp(17, 0, 3, [0, 0, 0, 0])),
    one("information", {}, icmp(15, 0, 3, [])),
    one("unknown type", {}, icmp(42, 0, 3, [])),
    ...[...Array(20).keys()].map((type) =>
      one(`ttl exceeded by ICMP type ${type}`, { daddr: C, ttl: 1 }, icmp(type, 0, 0, pattern(30))),
    ),
    // Unreachable.
    one("an unknown protocol", { protocol: 253 }, pattern(100)),
    one("an unknown protocol, 1400 bytes", { protocol: 253 }, pattern(1400)),
    one("an unknown protocol, by broadcast", { protocol: 253, daddr: 0x0a0000ff }, pattern(20)),
    one("a closed UDP port", { protocol: 17 }, udp(1000, 9, pattern(30))),
    one("a closed UDP port, by broadcast", { protocol: 17, daddr: 0x0a0000ff }, udp(1000, 9, pattern(30))),
    one("a UDP checksum that is wrong", { protocol: 17 }, [3, 232, 0, 9, 0, 9, 1, 1, 1]),
    one("no route", { daddr: 0x08080808, protocol: 253 }, pattern(30)),
    one("an unreachable route", { daddr: 0x0a030001, protocol: 253 }, pattern(30)),
    one("a prohibited one", { daddr: 0x0a040001, protocol: 253 }, pattern(30)),
    one("a black hole", { daddr: 0x0a050001, protocol: 253 }, pattern(30)),
    // Forwarding.
    one("through", { daddr: C, protocol: 253, ttl: 9, tos: 0x1f, id: 7 }, pattern(100)),
    one("through, by a gateway", { daddr: FAR, protocol: 253, ttl: 2 }, pattern(100)),
    one("ttl 1", { daddr: C, protocol: 253, ttl: 1 }, pattern(100)),
    one("ttl 0", { daddr: C, protocol: 253, ttl: 0 }, pattern(100)),
    one("too long", { daddr: C, protocol: 253, id: 9 }, pattern(1400)),
    one("too long, a fragment", { daddr: C, protocol: 253, id: 10, frag: 0x2000 | 200 }, pattern(1400)),
    one("too long, the last fragment", { daddr: C, protocol: 253, id: 11, frag: 200 }, pattern(1403)),
    one("too long, DF", { daddr: C, protocol: 253, frag: 0x4000 }, pattern(1400)),
    one("just not too long, DF", { daddr: C, protocol: 253, frag: 0x4000 }, pattern(980)),
    one(
      "too long with options",
      { daddr: C, protocol: 253, id: 12, options: [0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0] },
      pattern(1400),
    ),
    // Options.
    ...withOptions("padding", [1, 1, 0, 0]),
    ...withOptions("after the end", [0, 7, 7, 7]),
    ...withOptions("an unknown one", [0x55, 4, 1, 2]),
    ...withOptions("security", [0x82, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ...withOptions("router alert", [0x94, 4, 0, 0]),
    ...withOptions("record route", [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ...withOptions("record route, two there", [7, 15, 12, ...addr(0x01010101), ...addr(0x02020202), 0, 0, 0, 0, 0]),
    ...withOptions("record route, full", [7, 7, 8, ...addr(0x01010101), 0]),
    ...withOptions("timestamp", [68, 16, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ...withOptions("timestamp with address", [68, 28, 5, 1, ...new Array(24).fill(0)]),
    ...withOptions("timestamp prespecified", [68, 20, 5, 3, ...addr(A), 0, 0, 0, 0, ...addr(C), 0, 0, 0, 0]),
    ...withOptions("timestamp of others", [68, 12, 5, 3, ...addr(C), 0, 0, 0, 0]),
    ...withOptions("timestamp, full", [68, 8, 9, 0x20, 1, 2, 3, 4]),
    ...withOptions("timestamp, overflow 15", [68, 8, 9, 0xf0, 1, 2, 3, 4]),
    ...withOptions("loose source route onwards", [131, 7, 4, ...addr(C), 0]),
    ...withOptions("loose source route, two hops", [131, 11, 4, ...addr(C), ...addr(FAR), 0]),
    ...withOptions("loose source route, at its end", [131, 11, 12, ...addr(0x0a000007), ...addr(0x0a000008), 0]),
    ...withOptions("loose source route through this host twice", [131, 11, 4, ...addr(A1), ...addr(C), 0]),
    ...withOptions("loose source route to nowhere", [131, 7, 4, ...addr(0x08080808), 0]),
    ...withOptions("strict source route", [137, 7, 4, ...addr(C), 0]),
    ...withOptions("strict source route by a gateway", [137, 7, 4, ...addr(FAR), 0]),
    ...withOptions("two source routes", [131, 3, 4, 131, 3, 4, 0, 0]),
    ...withOptions("source route without pointer", [131, 2, 0, 0]),
    ...withOptions("no length", [1, 1, 1, 7]),
    ...withOptions("length 0", [7, 0, 4, 0]),
    ...withOptions("length 1", [7, 1, 4, 0]),
    ...withOptions("too long", [7, 5, 4, 0]),
    ...withOptions("pointer 3", [7, 3, 3, 0]),
    ...withOptions("pointer past the last slot", [7, 7, 5, 0, 0, 0, 0, 0]),
    ...withOptions("two record routes", [7, 3, 4, 7, 3, 4, 0, 0]),
    ...withOptions("two timestamps", [68, 4, 5, 0, 68, 4, 5, 0]),
    ...withOptions("timestamp without room", [68, 8, 6, 0, 0, 0, 0, 0]),
    ...withOptions("CIPSO", [134, 6, 0, 0, 0, 0, 0, 0]),
    // Reassembly.
    frags("two fragments", long, [
      [0, 504, true],
      [504, 1008, false],
    ]),
    frags("backwards", long, [
      [504, 1008, false],
      [0, 504, true],
    ]),
    frags("a duplicate", long, [
      [0, 504, true],
      [0, 504, true],
      [504, 1008, false],
    ]),
    frags("a part again", long, [
      [0, 504, true],
      [8, 64, true],
      [504, 1008, false],
    ]),
    frags("an overlap", long, [
      [0, 504, true],
      [496, 1008, false],
    ]),
    frags("an overlap, healed by the whole again", long, [
      [0, 504, true],
      [496, 600, true],
      [0, 504, true],
      [504, 1008, false],
    ]),
    frags("an overlap before", long, [
      [504, 1008, false],
      [0, 512, true],
    ]),
    frags("one that covers a gap", long, [
      [0, 64, true],
      [128, 1008, false],
      [64, 136, true],
      [64, 128, true],
    ]),
    frags("over two runs", long, [
      [0, 64, true],
      [128, 192, true],
      [64, 128, true],
      [0, 192, true],
      [192, 1008, false],
    ]),
    frags("two ends", long, [
      [504, 1000, false],
      [504, 1008, false],
      [0, 504, true],
    ]),
    frags("behind the end", long, [
      [504, 1000, false],
      [1000, 1008, true],
      [0, 504, true],
    ]),
    frags("an empty one", long, [
      [0, 504, true],
      [504, 504, true],
      [504, 1008, false],
    ]),
    frags("an empty last one", long, [
      [0, 504, true],
      [504, 504, false],
      [504, 1008, false],
    ]),
    frags("an odd length in the middle", long, [
      [0, 509, true],
      [504, 1008, false],
    ]),
    frags("less than 8 bytes in the middle", long, [
      [0, 7, true],
      [0, 504, true],
      [504, 1008, false],
    ]),
    frags(
      "forwarded fragments",
      long,
      [
        [0, 504, true],
        [504, 1008, false],
      ],
      { daddr: C, protocol: 253 },
    ),
    frags(
      "of an unknown protocol",
      long,
      [
        [0, 504, true],
        [504, 1008, false],
      ],
      { protocol: 253 },
    ),
    frags(
      "with options on both",
      long,
      [
        [0, 504, true],
        [504, 1008, false],
      ],
      { options: [7, 7, 4, 0, 0, 0, 0, 0] },
    ),
    frags(
      "DF on the larger",
      long,
      [
        [0, 600, true],
        [600, 1008, false],
      ],
      {},
      [{ frag: 0x4000 }],
    ),
    ...[0, 1, 2, 3].flatMap((x) =>
      [0, 1, 2, 3].map((y) =>
        frags(
          `ECN ${x} and ${y}`,
          long,
          [
            [0, 504, true],
            [504, 1008, false],
          ],
          {},
          [{ tos: x }, { tos: y }],
        ),
      ),
    ),
  ];
  // Random options and fragments.
  const rnd = new Random(SEED);
  const types = [7, 68, 131, 137, 148, 134, 130, 1, 0, 85];
  for (let i = 0; i < (full ? 2000 : 150); i++) {
    const options: number[] = [];
    while (options.length < 28 && rnd.below(4) !== 0) {
      const type = types[rnd.below(types.length)] as number;
      if (type < 2) options.push(type);
      else {
        const len = rnd.below(14);
        options.push(type, len, rnd.below(16));
        for (let k = 3; k < len; k++)
          options.push(rnd.below(4) === 0 ? ([10, 0, 0, 1][k & 3] as number) : rnd.below(256));
      }
    }
    while (options.length % 4 !== 0) options.push(0);
    const daddr = [A, C, FAR, A1][rnd.below(4)] as number;
    list.push(
      one(`random options ${i}: ${options.join(",")}`, {
        options: options.slice(0, 40),
        daddr,
        protocol: daddr === A || daddr === A1 ? 1 : 253,
      }),
    );
  }
  for (let i = 0; i < (full ? 1000 : 100); i++) {
    const cuts: [number, number, boolean][] = [];
    const at = [0, 8 * rnd.below(126), 8 * rnd.below(126), 8 * rnd.below(126), 1008].sort((a, b) => a - b);
    for (let k = 0; k + 1 < at.length; k++) cuts.push([at[k] as number, at[k + 1] as number, k + 2 < at.length]);
    for (let n = rnd.below(4); n > 0; n--) {
      const from = 8 * rnd.below(126);
      const to = Math.min(1008, from + rnd.below(300));
      cuts.push([from, to, to !== 1008]);
    }
    for (let k = cuts.length - 1; k > 0; k--) {
      const j = rnd.below(k + 1);
      [cuts[k], cuts[j]] = [cuts[j] as [number, number, boolean], cuts[k] as [number, number, boolean]];
    }
    list.push(frags(`random fragments ${i}: ${JSON.stringify(cuts)}`, long, cuts));
  }
  return list;
}

describe.skipIf(lacks !== "")(`IP packets, answered as Linux answers them (seed ${SEED})`, () => {
  it("packet by packet", () => {
    const list = cases();
    const packets = list.flatMap((c) => c.packets);
    const theirs = linux(packets);
    const ours = skbuff(packets);
    const differ: unknown[] = [];
    let n = 0;
    let answered = 0;
    for (const c of list) {
      const sent = c.packets.map((b) => Buffer.from(b).toString("hex"));
      const a = theirs.slice(n, n + sent.length).map((x) => x.filter(([dev]) => dev !== "error").map(show));
      const b = ours.slice(n, n + sent.length).map((x) => x.map(show));
      n += sent.length;
      answered += a.flat().length;
      if (JSON.stringify(a) !== JSON.stringify(b)) differ.push({ what: c.what, sent, linux: a, skbuff: b });
    }
    expect(differ).toEqual([]);
    // The comparison is worth something.
    expect(answered).toBeGreaterThan(150);
  }, 120_000);
});
