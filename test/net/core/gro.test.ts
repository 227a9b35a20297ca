import { describe, expect, it } from "vitest";
import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  SKB_GSO_TCP_ACCECN,
  SKB_GSO_TCP_FIXEDID,
  SKB_GSO_TCPV4,
  SKB_NEXT,
} from "../../../assembly/layout.ts";
import { machine, u8, u32, wasm } from "../../../src/mm/mem.ts";
import { skbGsoSegment } from "../../../src/net/core/gso.ts";
import { NETIF_F_HW_CSUM, NETIF_F_SG } from "../../../src/net/core/netdev_features.ts";
import {
  allocPage,
  allocSkb,
  kfreeSkb,
  kfreeSkbList,
  skbAddRxFrag,
  skbBytes,
  skbClone,
  skbFragList,
  skbGsoSegs,
  skbGsoSize,
  skbGsoType,
  skbIpSummed,
  skbLen,
  skbNext,
  skbNrFrags,
  skbPull,
  skbPush,
  skbPut,
  skbReserve,
  skbResetMacHeader,
  skbSetIpSummed,
  skbSetNext,
  skbSetProtocol,
} from "../../../src/net/core/skbuff.ts";
import { Random, RUNS, rfc1071, SEED, withMachine } from "../../mm/util.ts";

withMachine();

const ETH = 14;
const IP = 20;
const FIN = 0x01;
const SYN = 0x02;
const RST = 0x04;
const PSH = 0x08;
const ACK = 0x10;
const URG = 0x20;
const ECE = 0x40;
const CWR = 0x80;

interface Frame {
  sport?: number;
  seq?: number;
  ack?: number;
  len?: number;
  id?: number;
  flags?: number;
  win?: number;
  ttl?: number;
  tos?: number;
  frag?: number;
  options?: readonly number[];
  ipOptions?: boolean;
  payload?: Uint8Array;
  mac?: number;
  /** The TCP checksum is wrong, or the IP header's. */
  bad?: "tcp" | "ip";
  proto?: number;
  summed?: number;
  /** The payload stands in a frag. */
  paged?: boolean;
  /** Bytes behind the IP packet, as short Ethernet frames have. */
  padding?: number;
}

/** The bytes of a frame, from its Ethernet header on. */
function bytesOf(f: Frame): Uint8Array {
  const payload = f.payload ?? new Uint8Array(f.len ?? 100).fill(7);
  const options = f.options ?? [];
  const iphlen = f.ipOptions ? 24 : IP;
  const thlen = 20 + options.length;
  const b = new Uint8Array(ETH + iphlen + thlen + payload.length + (f.padding ?? 0));
  const v = new DataView(b.buffer);
  b.set([2, 0, 0, 0, 0, f.mac ?? 1, 2, 0, 0, 0, 0, 9, 8, 0]);
  b[ETH] = 0x40 | (iphlen / 4);
  b[ETH + 1] = f.tos ?? 0;
  v.setUint16(ETH + 2, iphlen + thlen + payload.length);
  v.setUint16(ETH + 4, f.id ?? 1);
  v.setUint16(ETH + 6, f.frag ?? 0x4000);
  b[ETH + 8] = f.ttl ?? 64;
  b[ETH + 9] = f.proto ?? 6;
  b.set([10, 0, 0, 1, 10, 0, 0, 2], ETH + 12);
  if (f.ipOptions) b.fill(1, ETH + IP, ETH + iphlen);
  v.setUint16(ETH + 10, rfc1071(b.subarray(ETH, ETH + iphlen)) ^ (f.bad === "ip" ? 1 : 0));
  const th = ETH + iphlen;
  v.setUint16(th, f.sport ?? 1000);
  v.setUint16(th + 2, 80);
  v.setUint32(th + 4, f.seq ?? 1);
  v.setUint32(th + 8, f.ack ?? 1);
  b[th + 12] = (thlen / 4) << 4;
  b[th + 13] = f.flags ?? ACK;
  v.setUint16(th + 14, f.win ?? 500);
  b.set(options, th + 20);
  b.set(payload, th + thlen);
  const tlen = thlen + payload.length;
  const pseudo = new Uint8Array(12 + tlen);
  pseudo.set(b.subarray(ETH + 12, ETH + 20));
  pseudo.set([0, 6, tlen >>> 8, tlen & 255], 8);
  pseudo.set(b.subarray(th, th + tlen), 12);
  v.setUint16(th + 16, rfc1071(pseudo) ^ (f.bad === "tcp" ? 0x100 : 0));
  return b;
}

/** A received frame: data at the network header. */
function received(f: Frame): number {
  const b = bytesOf(f);
  const linear = f.paged ? b.length - (f.payload?.length ?? f.len ?? 100) : b.length;
  const skb = allocSkb(64 + linear);
  skbReserve(skb, 64);
  u8.set(b.subarray(0, linear), skbPut(skb, linear));
  if (linear < b.length) {
    const page = allocPage(b.length - linear);
    u8.set(b.subarray(linear), page);
    skbAddRxFrag(skb, 0, page, 0, b.length - linear, 2048);
  }
  skbResetMacHeader(skb);
  skbPull(skb, ETH);
  skbSetProtocol(skb, 0x0800);
  skbSetIpSummed(skb, f.summed ?? CHECKSUM_NONE);
  return skb;
}

function chain(skbs: readonly number[]): number {
  for (let i = 0; i < skbs.length; i++) skbSetNext(skbs[i] as number, skbs[i + 1] ?? 0);
  return skbs[0] ?? 0;
}

function unchain(head: number): number[] {
  const list: number[] = [];
  for (let skb = head; skb !== 0; ) {
    list.push(skb);
    const next = skbNext(skb);
    u32[(skb + SKB_NEXT) >>> 2] = 0;
    skb = next;
  }
  return list;
}

let heldNow = 0;
/** One poll. What is held stays for the next one unless `flush`. */
function poll(skbs: readonly number[], flush = true): number[] {
  const ready = wasm.groReceive(chain(skbs), heldNow, flush ? 1 : 0);
  heldNow = u32[(machine.result >>> 2) + 4] as number;
  return unchain(ready);
}

/** Bytes from the Ethernet header on. */
function whole(skb: number): Uint8Array {
  skbPush(skb, ETH);
  const b = skbBytes(skb);
  skbPull(skb, ETH);
  return b;
}

/** What goes up for frames received in one poll, as [segments, payload length]; frees it. */
function segments(frames: readonly Frame[]): number[] {
  return poll(frames.map(received)).map((skb) => {
    const segs = skbGsoSize(skb) === 0 ? 1 : skbGsoSegs(skb);
    kfreeSkb(skb);
    return segs;
  });
}

/** `n` frames of one flow, one after the other; `change` makes the last one special. */
function run(n: number, change: Frame = {}, all: Frame = {}): Frame[] {
  return Array.from({ length: n }, (_, i) => ({
    seq: 1 + i * 100,
    id: 1 + i,
    ...all,
    ...(i === n - 1 ? change : {}),
  }));
}

const TS = (v: number): number[] => [1, 1, 8, 10, 0, 0, 0, v, 0, 0, 0, 1];

describe("what is joined", () => {
  const table: [string, Frame[], number[]][] = [
    ["frames that follow each other", run(4), [4]],
    ["one frame goes up as it came", run(1), [1]],
    ["a short one ends it", [...run(3, { len: 40 }), { seq: 241, id: 4 }], [3, 1]],
    ["a longer one than the first begins anew", run(3, { len: 101 }), [2, 1]],
    ["PSH ends it, and is kept", [...run(3, { flags: ACK | PSH }), { seq: 301, id: 4 }], [3, 1]],
    ["FIN ends it", run(3, { flags: ACK | FIN }), [3]],
    ["URG differs", run(3, { flags: ACK | URG }), [2, 1]],
    ["RST differs", run(3, { flags: RST }), [2, 1]],
    ["SYN differs", run(3, { flags: SYN }), [2, 1]],
    ["ECE differs", run(3, { flags: ACK | ECE }), [2, 1]],
    ["CWR differs", run(3, { flags: ACK | CWR }), [2, 1]],
    ["a gap", run(3, { seq: 202 }), [2, 1]],
    ["the same again", run(3, { seq: 101 }), [2, 1]],
    ["another acknowledgement", run(3, { ack: 2 }), [2, 1]],
    ["another window", run(3, { win: 501 }), [2, 1]],
    ["the same timestamps", run(3, {}, { options: TS(5) }), [3]],
    ["another timestamp", run(3, { options: TS(6) }, { options: TS(5) }), [2, 1]],
    ["options where there were none", run(3, { options: TS(6) }), [2, 1]],
    ["another TTL", run(3, { ttl: 63 }), [2, 1]],
    ["another TOS: CE is not lost", run(3, { tos: 3 }), [2, 1]],
    ["another DF", run(3, { frag: 0 }), [2, 1]],
    ["an IP id that jumps", run(3, { id: 9 }), [2, 1]],
    ["ids that stand still", run(4, {}, { id: 7 }), [4]],
    ["ids that stood still and then count", [...run(2, {}, { id: 7 }), { seq: 201, id: 8 }], [2, 1]],
    ["ids that wrap", [0xfffe, 0xffff, 0, 1].map((id, i) => ({ id, seq: 1 + i * 100 })), [4]],
    ["sequence numbers that wrap", [0xffffff9c, 0, 100].map((seq, i) => ({ id: i, seq })), [3]],
    ["a pure ACK lets go what it follows", run(3, { len: 0 }), [2, 1]],
    ["another sender's Ethernet address", run(3, { mac: 2 }), [2, 1]],
    ["an IP option is not looked into", [{ ipOptions: true }, { ipOptions: true, seq: 101, id: 2 }], [1, 1]],
    ["fragments", [{ frag: 0x2000 }, { frag: 0x2000, seq: 101, id: 2 }], [1, 1]],
    ["not TCP", run(2, {}, { proto: 17 }), [1, 1]],
    ["padding behind the packet", run(3, {}, { padding: 6 }), [1, 1, 1]],
    ["a wrong IP checksum", run(3, { bad: "ip" }), [1, 2]],
    ["a wrong TCP checksum", run(3, { bad: "tcp" }), [1, 2]],
    ["sums that the card has seen are not looked at", run(3, { bad: "tcp" }, { summed: CHECKSUM_UNNECESSARY }), [3]],
    ["two flows between each other", run(3).flatMap((f) => [f, { ...f, sport: 2000 }]), [3, 3]],
    ["payloads in frags", run(4, {}, { paged: true }), [4]],
    ["more frames than there are frags", run(100, {}, { len: 100 }), [100]],
    ["no more than 64 KiB", run(60, {}, { len: 1448 }).map((f, i) => ({ ...f, seq: 1 + i * 1448 })), [45, 15]],
  ];
  it.each(table)("%s", (_, frames, expected) => {
    expect(segments(frames)).toEqual(expected);
  });

  it("marks what it has verified, and leaves what is wrong to TCP", () => {
    const skbs = poll([...run(1), ...run(1, { bad: "tcp", sport: 2 })].map(received));
    expect(skbs.map(skbIpSummed)).toEqual([CHECKSUM_NONE, CHECKSUM_UNNECESSARY]);
    for (const skb of skbs) kfreeSkb(skb);
  });

  it("tells how it was cut", () => {
    const [skb] = poll(run(3, {}, { flags: ACK | CWR, id: 5 }).map(received)) as [number];
    expect(skbGsoSize(skb)).toBe(100);
    expect(skbGsoType(skb)).toBe(SKB_GSO_TCPV4 | SKB_GSO_TCP_ACCECN | SKB_GSO_TCP_FIXEDID);
    expect(skbIpSummed(skb)).toBe(CHECKSUM_PARTIAL);
    expect(skbLen(skb)).toBe(40 + 300);
    kfreeSkb(skb);
  });

  it("holds from one poll to the next, and the oldest flow goes first", () => {
    expect(poll(run(2).map(received), false)).toEqual([]);
    expect(poll([received({ seq: 201, id: 3 })], false)).toEqual([]);
    expect(poll([received({ sport: 2 })], false)).toEqual([]);
    const skbs = poll([]);
    expect(skbs.map((skb) => skbGsoSegs(skb))).toEqual([3, 0]);
    for (const skb of skbs) kfreeSkb(skb);
  });

  it("holds 64 flows at once", () => {
    const ready = poll(
      Array.from({ length: 66 }, (_, i) => received({ sport: i + 1 })),
      false,
    );
    expect(ready.map((skb) => new DataView(whole(skb).buffer).getUint16(ETH + IP))).toEqual([1, 2]);
    for (const skb of [...ready, ...poll([])]) kfreeSkb(skb);
  });

  it("writes into no header that somebody else sees, and takes no frag from him", () => {
    const frames = run(3, {}, { paged: true });
    const skbs = frames.map(received);
    const clones = skbs.map(skbClone);
    expect(poll(skbs).map((skb) => (kfreeSkb(skb), skbGsoSegs(skb)))).toHaveLength(3);
    const first = received({ seq: 1, id: 1 });
    const ready = poll([first, ...clones.slice(1)]);
    expect(ready.map(skbGsoSegs)).toEqual([3]);
    for (const skb of [...ready, clones[0] as number]) kfreeSkb(skb);
    // The other way round: the clone stays whole.
    const kept = received({ seq: 101, id: 2, paged: true });
    const clone = skbClone(kept);
    const [merged] = poll([received({ seq: 1, id: 1 }), clone]) as [number];
    expect(skbGsoSegs(merged)).toBe(2);
    expect(skbNrFrags(kept)).toBe(1);
    expect(whole(kept)).toEqual(bytesOf({ seq: 101, id: 2 }));
    kfreeSkb(merged);
    expect(whole(kept)).toEqual(bytesOf({ seq: 101, id: 2 }));
    kfreeSkb(kept);
  });
});

describe("segmentation gives back the same frames", () => {
  it.each([
    ["linear", false],
    ["paged", true],
  ])("%s", (_, paged) => {
    for (let i = 0; i < RUNS; i++) {
      const random = new Random(SEED + i);
      const mss = 1 + random.below(1460);
      const options = random.below(2) === 0 ? [] : TS(random.below(256));
      const count = 2 + random.below(Math.min(60, Math.floor(60000 / mss)));
      const id = random.below(65536);
      const fixed = random.below(2);
      const frames: Frame[] = [];
      let seq = random.below(0x100000000);
      for (let k = 0; k < count; k++) {
        const last = k === count - 1;
        const len = last ? 1 + random.below(mss) : mss;
        const flags = last ? ACK | (random.below(2) === 0 ? PSH : 0) : ACK;
        const both = { ttl: 64, options, paged: paged && random.below(8) !== 0 };
        frames.push({ ...both, seq, id: fixed ? id : (id + k) & 65535, flags, payload: random.bytes(len) });
        seq = (seq + len) >>> 0;
      }
      const ready = poll(frames.map(received));
      expect(ready, `run ${i}`).toHaveLength(1);
      const skb = ready[0] as number;
      expect(skbGsoSegs(skb)).toBe(count);
      skbPush(skb, ETH);
      const segs = skbGsoSegment(skb, random.below(2) === 0 ? 0 : NETIF_F_SG);
      const wrong = unchainCopy(segs).findIndex(
        (s, k) => Buffer.compare(skbBytes(s), bytesOf(frames[k] as Frame)) !== 0,
      );
      expect([wrong, unchainCopy(segs).length], `run ${i}`).toEqual([-1, count]);
      kfreeSkbList(segs);
      kfreeSkb(skb);
    }
  });

  it("a frag list, too", () => {
    const frames = run(60, {}, {});
    const [skb] = poll(frames.map(received)) as [number];
    expect(skbFragList(skb)).not.toBe(0);
    skbPush(skb, ETH);
    const segs = skbGsoSegment(skb, NETIF_F_SG | NETIF_F_HW_CSUM);
    expect(unchainCopy(segs)).toHaveLength(60);
    kfreeSkbList(segs);
    kfreeSkb(skb);
  });
});

/** The skbs of a chain that stays one. */
function unchainCopy(head: number): number[] {
  const list: number[] = [];
  for (let skb = head; skb !== 0; skb = skbNext(skb)) list.push(skb);
  return list;
}
