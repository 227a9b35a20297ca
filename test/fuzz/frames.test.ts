/**
 * Random and mutated frames into a device: nothing throws, nothing hangs, no skb leaks, and a connection that runs beside
 * them keeps its bytes. SKBUFF_FULL=1 feeds a million frames; SKBUFF_SEED repeats a run.
 */

import { expect, it } from "vitest";
import { tunGetUser, tunPriv } from "../../src/drivers/net/tun.ts";
import { createKernel } from "../../src/init/create.ts";
import { attachTap } from "../../src/init/tap.ts";
import type { NetDevice } from "../../src/net/core/dev.ts";
import { LINUX_MIB_TCPFASTOPENPASSIVE } from "../../src/uapi/linux_mib.ts";
import { AF_INET, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM } from "../../src/uapi/socket.ts";

const FRAMES = process.env["SKBUFF_FULL"] === undefined ? 30_000 : 1_000_000;
const SEED = Number(process.env["SKBUFF_SEED"] ?? Date.now() & 0x7fffffff);

/** xorshift32: the fuzzer's own randomness, apart from the stack's. */
class Random {
  #x: number;
  constructor(seed: number) {
    this.#x = seed | 1;
  }
  u32(): number {
    let x = this.#x;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#x = x;
    return x >>> 0;
  }
  below(n: number): number {
    return this.u32() % n;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

function sum16(bytes: Uint8Array, from: number, to: number, start = 0): number {
  let s = start;
  for (let i = from; i < to; i += 2) s += ((bytes[i] as number) << 8) | (i + 1 < to ? (bytes[i + 1] as number) : 0);
  while (s > 0xffff) s = (s & 0xffff) + (s >>> 16);
  return s;
}

/** Makes the IP and transport checksums of a frame right, whatever it says, as far as its lengths lie inside of it. */
function fixChecksums(f: Uint8Array): void {
  if (f.length < 34 || f[12] !== 8 || f[13] !== 0) return;
  const ihl = ((f[14] as number) & 15) * 4;
  if (ihl < 20 || 14 + ihl > f.length) return;
  f[24] = f[25] = 0;
  const ip = ~sum16(f, 14, 14 + ihl) & 0xffff;
  f[24] = ip >>> 8;
  f[25] = ip & 255;
  const total = Math.min(((f[16] as number) << 8) | (f[17] as number), f.length - 14);
  const l4 = 14 + ihl;
  const end = 14 + total;
  const proto = f[23] as number;
  const at = proto === 6 ? 16 : proto === 17 ? 6 : proto === 1 ? 2 : -1;
  if (at < 0 || l4 + at + 2 > end) return;
  f[l4 + at] = f[l4 + at + 1] = 0;
  const pseudo = proto === 1 ? 0 : sum16(f, 26, 34, proto + (end - l4));
  const c = ~sum16(f, l4, end, pseudo) & 0xffff;
  f[l4 + at] = c >>> 8;
  f[l4 + at + 1] = c & 255;
}

const PEER_MAC = [2, 0, 0, 9, 9, 9];
const OUR_IP = [10, 7, 0, 2];
const PEER_IP = [10, 7, 0, 1];

function ipFrame(mac: Uint8Array, proto: number, payload: number[], fragField = 0, id = 7): Uint8Array {
  const total = 20 + payload.length;
  const f = Uint8Array.from([
    ...mac,
    ...PEER_MAC,
    8,
    0,
    0x45,
    0,
    total >> 8,
    total & 255,
    id >> 8,
    id & 255,
    fragField >> 8,
    fragField & 255,
    64,
    proto,
    0,
    0,
    ...PEER_IP,
    ...OUR_IP,
    ...payload,
  ]);
  fixChecksums(f);
  return f;
}

const be32 = (n: number): number[] => [(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];

function tcp(
  sport: number,
  dport: number,
  seq: number,
  ack: number,
  flags: number,
  window: number,
  options: number[],
  data: number[],
): number[] {
  const doff = 5 + options.length / 4;
  return [
    sport >> 8,
    sport & 255,
    dport >> 8,
    dport & 255,
    ...be32(seq),
    ...be32(ack),
    doff << 4,
    flags,
    window >> 8,
    window & 255,
    0,
    0,
    0,
    0,
    ...options,
    ...data,
  ];
}

it(`survives ${FRAMES} frames (seed ${SEED})`, async () => {
  process.stderr.write(`fuzz seed ${SEED}\n`);
  const rnd = new Random(SEED);
  const kernel = await createKernel({ clock: "virtual", autoAdvance: false, seed: SEED });
  const a = kernel.netns("a");
  const b = kernel.netns("b");
  kernel.link(a, b, { subnet: "10.0.0.0/24" });
  const out: Uint8Array[] = [];
  const dev: NetDevice = attachTap(
    kernel,
    a,
    {
      write(pieces): number {
        const n = pieces.reduce((s, p) => s + p.length, 0);
        const copy = new Uint8Array(n);
        let at = 0;
        for (const p of pieces) {
          copy.set(p, at);
          at += p.length;
        }
        out.push(copy);
        if (out.length > 64) out.shift();
        return 0;
      },
      close(): void {},
    },
    { name: "fuzz0" },
  );
  a.ip("addr add 10.7.0.2/24 dev fuzz0");
  a.ip("link set fuzz0 up");
  const tun = tunPriv(dev);
  const inject = (frame: Uint8Array): void => {
    kernel.core.enter();
    try {
      let at = 0;
      for (const view of tun.rxViews) {
        const n = Math.min(view.length, frame.length - at);
        for (let i = 0; i < n; i++) view[i] = frame[at + i] as number;
        at += n;
        if (at === frame.length) break;
      }
      tunGetUser(tun, frame.length);
    } finally {
      kernel.core.exit();
    }
  };

  // A victim connection over the other link, that must not notice.
  const listener = b.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  b.sys.bind(listener, { family: AF_INET, addr: 0, port: 5000 });
  b.sys.listen(listener, 5);
  const client = a.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  a.sys.connect(client, { family: AF_INET, addr: b.primaryAddress(), port: 5000 });
  await kernel.advance(50);
  const server = b.sys.accept4(listener, null, SOCK_NONBLOCK);
  expect(server).toBeGreaterThan(0);

  // Targets on the fuzzed side: a listener, a UDP socket, and a connection with a peer that the fuzzer plays.
  const target = a.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  a.sys.bind(target, { family: AF_INET, addr: 0, port: 80 });
  // Fast Open, without asking for cookies: data in a SYN makes a connection at once.
  a.sysctl("net.ipv4.tcp_fastopen=0x602");
  a.sys.listen(target, 64);
  const udp = a.sys.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  a.sys.bind(udp, { family: AF_INET, addr: 0, port: 53 });
  const mac = dev.devAddr;
  const arpReply = Uint8Array.from([
    ...mac,
    ...PEER_MAC,
    8,
    6,
    0,
    1,
    8,
    0,
    6,
    4,
    0,
    2,
    ...PEER_MAC,
    ...PEER_IP,
    ...mac,
    ...OUR_IP,
  ]);
  const mss = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
  inject(ipFrame(mac, 6, tcp(4000, 80, 1000, 0, 2, 65535, mss, [])));
  await kernel.advance(1);
  // The SYN-ACK waits for this.
  inject(arpReply);
  await kernel.advance(1);
  const synAck = out.find((f) => f[12] === 8 && f[13] === 0 && f[23] === 6 && ((f[47] as number) & 0x12) === 0x12);
  expect(synAck, "the listener answered the SYN").toBeDefined();
  const isn = new DataView((synAck as Uint8Array).buffer).getUint32(38);
  inject(ipFrame(mac, 6, tcp(4000, 80, 1001, isn + 1, 16, 65535, [1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 0], [])));
  await kernel.advance(1);

  const junk = (n: number): number[] => Array.from({ length: n }, () => rnd.below(256));
  const generators: (() => Uint8Array)[] = [
    () => Uint8Array.from(junk(rnd.below(100))),
    () => Uint8Array.from([...mac, ...PEER_MAC, 8, 0, ...junk(rnd.below(120))]),
    () => arpReply.slice(),
    () => Uint8Array.from([255, 255, 255, 255, 255, 255, ...PEER_MAC, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, ...junk(20)]),
    () => ipFrame(mac, 1, [8, 0, 0, 0, 0, 1, 0, 1, ...junk(rnd.below(64))]),
    // ICMP errors that quote one of our connections.
    () =>
      ipFrame(mac, 1, [
        rnd.pick([3, 4, 5, 11, 12]),
        rnd.below(16),
        0,
        0,
        ...junk(4),
        0x45,
        0,
        0,
        40,
        0,
        0,
        0,
        0,
        64,
        6,
        0,
        0,
        ...OUR_IP,
        ...PEER_IP,
        0,
        80,
        15,
        160,
        ...be32(isn + 1),
      ]),
    () => ipFrame(mac, 17, [15, 160, 0, rnd.pick([53, 54]), 0, 16, 0, 0, ...junk(8)]),
    () =>
      ipFrame(
        mac,
        6,
        tcp(
          rnd.below(65536),
          rnd.pick([80, 81]),
          rnd.u32(),
          rnd.u32(),
          rnd.below(256),
          rnd.below(65536),
          [],
          junk(rnd.below(20)),
        ),
      ),
    () =>
      ipFrame(
        mac,
        6,
        tcp(
          4000,
          80,
          1001 + rnd.below(3000) - 500,
          isn + 1 + rnd.below(3),
          (rnd.below(256) & ~6) | 16,
          rnd.below(65536),
          rnd.pick([
            [],
            mss,
            [1, 1, 8, 10, ...junk(8)],
            [1, 1, 5, 10, ...be32(isn + rnd.below(50)), ...be32(isn + rnd.below(90))],
            junk(4 * rnd.below(10)),
          ]),
          junk(rnd.below(400)),
        ),
      ),
    // Fast Open: SYNs with data and any cookie, from few ports, and segments that answer what came for one of them.
    () => {
      const cookie = junk(rnd.pick([0, 4, 8, 8, 15, 16]));
      const fo = [...mss.slice(0, 4), 34, 2 + cookie.length, ...cookie];
      while (fo.length % 4 !== 0) fo.push(1);
      return ipFrame(mac, 6, tcp(4100 + rnd.below(60), 80, 5000, 0, 2, 65535, fo, junk(rnd.below(300))));
    },
    () => {
      const f = rnd.pick(out) as Uint8Array | undefined;
      if (f === undefined || f.length < 54 || f[23] !== 6) return Uint8Array.from(junk(60));
      const v = new DataView(f.buffer, f.byteOffset);
      const [port, ourSeq, ourAck] = [v.getUint16(36), v.getUint32(38), v.getUint32(42)];
      const flags = rnd.pick([16, 16, 16, 24, 17, 4, 20, 2, 18]);
      const ack = (ourSeq + rnd.below(3)) >>> 0;
      return ipFrame(
        mac,
        6,
        tcp(port, 80, ourAck + rnd.pick([0, 0, 0, 1, 50]), ack, flags, 65535, [], junk(rnd.below(90))),
      );
    },
    // Fragments: few ids, so that they overlap.
    () =>
      ipFrame(
        mac,
        rnd.pick([1, 6, 17]),
        junk(8 * rnd.below(20) + rnd.pick([0, 0, 3])),
        (rnd.below(2) << 13) | rnd.pick([0, 1, 2, 3, 5, 8, 13, 8191]),
        rnd.below(8),
      ),
    // Land and martian packets.
    () => {
      const f = ipFrame(mac, 6, tcp(80, 80, 1, 1, 2, 100, [], []));
      f.set(rnd.pick([OUR_IP, [127, 0, 0, 1], [255, 255, 255, 255], [224, 0, 0, 1], [0, 0, 0, 0]]), 26);
      fixChecksums(f);
      return f;
    },
  ];

  const sent = new Uint8Array(64);
  const got = new Uint8Array(64);
  const drain = new Uint8Array(65536);
  for (let i = 0; i < FRAMES; i++) {
    let frame = rnd.pick(generators)();
    const mutations = rnd.below(4);
    for (let m = 0; m < mutations && frame.length > 0; m++) {
      const kind = rnd.below(5);
      if (kind === 0) frame = frame.slice(0, rnd.below(frame.length + 1));
      else if (kind === 1) frame[rnd.below(frame.length)] = rnd.below(256);
      else if (kind === 2)
        frame[rnd.below(frame.length)] = (frame[rnd.below(frame.length)] as number) ^ (1 << rnd.below(8));
      else if (kind === 3) frame = Uint8Array.from([...frame, ...junk(rnd.below(40))]);
      else if (frame.length > 36) frame[14 + rnd.below(22)] = rnd.pick([0, 1, 0x45, 0x4f, 0x7f, 0x80, 0xff]);
    }
    if (rnd.below(4) !== 0) fixChecksums(frame);
    inject(frame);
    if (i % 64 === 0) {
      // The victim's stream goes on, byte for byte.
      for (let k = 0; k < 64; k++) sent[k] = (i + k * 7) & 255;
      expect(a.sys.send(client, sent, 64, 0)).toBe(64);
      await kernel.advance(rnd.pick([0, 1, 5, 40]));
      expect(b.sys.recv(server, got, 64, 0)).toBe(64);
      expect(got).toEqual(sent);
      for (;;) {
        const fd = a.sys.accept4(target, null, SOCK_NONBLOCK);
        if (fd < 0) break;
        a.sys.recv(fd, drain, drain.length, 0);
        if (rnd.below(2) === 0) a.sys.close(fd);
      }
      while (a.sys.recv(udp, drain, drain.length, 0) >= 0);
    }
  }

  expect(a.ns.mib.linux[LINUX_MIB_TCPFASTOPENPASSIVE]).toBeGreaterThan(20);
  kernel.close();
  expect(kernel.poolInUse()).toEqual([]);
}, 1_200_000);
