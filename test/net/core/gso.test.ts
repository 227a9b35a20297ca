import { describe, expect, it } from "vitest";
import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  SHINFO_TSKEY,
  SHINFO_TX_FLAGS,
  SKB_DATA_LEN,
  SKB_DESTRUCTOR_WFREE,
  SKB_GSO_TCP_ACCECN,
  SKB_GSO_TCP_FIXEDID,
  SKB_GSO_TCPV4,
  SKB_GSO_TCPV6,
  SKB_GSO_UDP_L4,
  SKB_LEN,
} from "../../../assembly/layout.ts";
import { dv, u8, u32 } from "../../../src/mm/mem.ts";
import { NETIF_F_HW_CSUM, NETIF_F_SG } from "../../../src/net/core/dev.ts";
import type { DstEntry } from "../../../src/net/core/dst.ts";
import {
  skbGsoMacSeglen,
  skbGsoNetworkSeglen,
  skbGsoSegment,
  skbGsoTransportSeglen,
  skbGsoValidateNetworkLen,
} from "../../../src/net/core/gso.ts";
import {
  allocPage,
  allocSkb,
  ipFastCsum,
  kfreeSkb,
  kfreeSkbList,
  memStats,
  poolSetLimit,
  pskbMayPull,
  skbAddRxFrag,
  skbBytes,
  skbChecksumHelp,
  skbData,
  skbDataLen,
  skbDst,
  skbDstSet,
  skbHeadlen,
  skbHeadroom,
  skbId,
  skbIpSummed,
  skbIsGso,
  skbLen,
  skbNetworkHeader,
  skbNext,
  skbNrFrags,
  skbOrigin,
  skbPut,
  skbReserve,
  skbSetDestructor,
  skbSetFragList,
  skbSetGsoSize,
  skbSetGsoType,
  skbSetIpSummed,
  skbSetNetworkHeader,
  skbSetSk,
  skbSetTransportHeader,
  skbShinfo,
  skbSk,
  skbTransportHeader,
  skbTruesize,
  skSlots,
} from "../../../src/net/core/skbuff.ts";
import type { Sock } from "../../../src/net/core/sock.ts";
import { Random, RUNS, rfc1071, SEED, withMachine } from "../../mm/util.ts";

withMachine();

const ETH = 14;
const FIN = 0x01;
const PSH = 0x08;
const ACK = 0x10;
const ECE = 0x40;
const CWR = 0x80;

/** Where the payload of a super-packet stands. */
type Layout = "linear" | "paged" | "mixed" | "fraglist" | "crumbs";

interface Packet {
  proto: 6 | 17;
  payload: Uint8Array;
  mss: number;
  version?: 4 | 6;
  flags?: number;
  seq?: number;
  id?: number;
  tcpOptions?: number;
  ipOptions?: number;
  layout?: Layout;
  type?: number;
  noCheck?: boolean;
  headroom?: number;
  /** Puts only this many header bytes in the linear part. */
  linearHeader?: number;
}

function build(p: Packet, random: Random): number {
  const v6 = p.version === 6;
  const iphlen = v6 ? 40 : 20 + (p.ipOptions ?? 0);
  const thlen = p.proto === 6 ? 20 + (p.tcpOptions ?? 0) : 8;
  const header = random.bytes(ETH + iphlen + thlen);
  const view = new DataView(header.buffer);
  const ih = ETH;
  const th = ETH + iphlen;
  const len = thlen + p.payload.length;
  if (v6) {
    view.setUint32(ih, 0x60000000);
    view.setUint16(ih + 4, len & 0xffff);
    header[ih + 6] = p.proto;
  } else {
    header[ih] = 0x40 | (iphlen >>> 2);
    view.setUint16(ih + 2, (iphlen + len) & 0xffff);
    view.setUint16(ih + 4, p.id ?? 0x1234);
    view.setUint16(ih + 6, 0x4000);
    header[ih + 9] = p.proto;
  }
  if (p.proto === 6) {
    view.setUint32(th + 4, p.seq ?? 1000);
    header[th + 12] = (thlen >>> 2) << 4;
    header[th + 13] = p.flags ?? ACK;
  } else {
    view.setUint16(th + 4, len & 0xffff);
    view.setUint16(th + 6, p.noCheck ? 0 : 0x5555);
  }
  const headroom = p.headroom ?? 80;
  const layout = p.layout ?? "linear";
  const inLinear = layout === "linear" ? p.payload.length : layout === "mixed" ? Math.min(777, p.payload.length) : 0;
  const bytes = new Uint8Array([...header, ...p.payload.subarray(0, inLinear)]);
  const linear = p.linearHeader ?? bytes.length;
  const skb = allocSkb(headroom + bytes.length);
  skbReserve(skb, headroom);
  u8.set(bytes.subarray(0, linear), skbPut(skb, linear));
  let frag = 0;
  const addFrag = (to: number, part: Uint8Array, i: number): void => {
    const page = allocPage(part.length + 3);
    u8.set(part, page + 3);
    skbAddRxFrag(to, i, page, 3, part.length, part.length);
  };
  if (linear < bytes.length) addFrag(skb, bytes.subarray(linear), frag++);
  const rest = p.payload.subarray(inLinear);
  if (layout === "paged" || layout === "mixed") {
    for (let at = 0; at < rest.length; at += 4567) addFrag(skb, rest.subarray(at, at + 4567), frag++);
  } else if (layout === "crumbs" || layout === "fraglist") {
    const size = layout === "crumbs" ? 37 : 1000;
    const per = layout === "crumbs" ? 16 * size : size;
    let list = 0;
    for (let at = Math.floor((rest.length - 1) / per) * per; at >= 0 && rest.length > 0; at -= per) {
      const part = allocSkb(layout === "crumbs" ? 0 : 500);
      const bytesOfPart = rest.subarray(at, at + per);
      const inHead = layout === "crumbs" ? 0 : Math.min(333, bytesOfPart.length);
      u8.set(bytesOfPart.subarray(0, inHead), skbPut(part, inHead));
      for (let i = 0, from = inHead; from < bytesOfPart.length; i++, from += size) {
        addFrag(part, bytesOfPart.subarray(from, from + size), i);
      }
      u32[part >>> 2] = list;
      list = part;
    }
    skbSetFragList(skb, list);
    for (let part = list; part !== 0; part = skbNext(part)) {
      u32[(skb + SKB_LEN) >>> 2] += skbLen(part);
      u32[(skb + SKB_DATA_LEN) >>> 2] += skbLen(part);
    }
  }
  skbSetNetworkHeader(skb, ETH);
  skbSetTransportHeader(skb, th);
  skbSetGsoSize(skb, p.mss);
  skbSetGsoType(skb, p.type ?? (p.proto === 17 ? SKB_GSO_UDP_L4 : v6 ? SKB_GSO_TCPV6 : SKB_GSO_TCPV4));
  expect(skbLen(skb)).toBe(header.length + p.payload.length);
  return skb;
}

/** Takes the chain apart, checks every field that segmentation sets, and frees it. Returns what the frames say. */
function check(
  p: Packet,
  skb: number,
  segs: number,
  features: number,
): { flags: number[]; sizes: number[]; ids: number[] } {
  const flags: number[] = [];
  const sizes: number[] = [];
  const ids: number[] = [];
  const v6 = p.version === 6;
  const template = skbBytes(
    skb,
    0,
    skbTransportHeader(skb) - skbData(skb) + (p.proto === 6 ? 20 + (p.tcpOptions ?? 0) : 8),
  );
  const iphlen = v6 ? 40 : 20 + (p.ipOptions ?? 0);
  const th = ETH + iphlen;
  let at = 0;
  for (let seg = segs; seg !== 0; seg = skbNext(seg)) {
    const size = skbLen(seg) - template.length;
    sizes.push(size);
    expect(skbNetworkHeader(seg) - skbData(seg)).toBe(ETH);
    expect(skbTransportHeader(seg) - skbData(seg)).toBe(th);
    expect(skbIsGso(seg)).toBe(false);
    expect(skbHeadroom(seg) % 16).toBe((p.headroom ?? 80) % 16);
    expect(skbHeadroom(seg)).toBeGreaterThanOrEqual(Math.min(p.headroom ?? 80, 64));
    expect(skbOrigin(seg)).toBe(skbId(skb));
    if (features & NETIF_F_SG) {
      expect(skbHeadlen(seg)).toBe(template.length);
      expect(skbNrFrags(seg)).toBeGreaterThan(0);
    } else {
      expect(skbDataLen(seg)).toBe(0);
    }
    if (features & NETIF_F_HW_CSUM && features & NETIF_F_SG && !p.noCheck) {
      expect(skbIpSummed(seg)).toBe(CHECKSUM_PARTIAL);
      expect(skbChecksumHelp(seg)).toBe(0);
    }
    expect(skbIpSummed(seg)).toBe(CHECKSUM_NONE);
    const bytes = skbBytes(seg);
    const view = new DataView(bytes.buffer);
    expect(Buffer.compare(bytes.subarray(template.length), p.payload.subarray(at, at + size))).toBe(0);
    const tlen = skbLen(seg) - th;
    if (v6) {
      expect(view.getUint16(ETH + 4)).toBe(tlen);
    } else {
      expect(view.getUint16(ETH + 2)).toBe(iphlen + tlen);
      ids.push(view.getUint16(ETH + 4));
      if (skbNetworkHeader(seg) !== 0) expect(ipFastCsum(skbNetworkHeader(seg), iphlen >>> 2)).toBe(0);
    }
    const pseudo = new Uint8Array(v6 ? 40 : 12);
    const pv = new DataView(pseudo.buffer);
    pseudo.set(v6 ? bytes.subarray(ETH + 8, ETH + 40) : bytes.subarray(ETH + 12, ETH + 20));
    if (v6) {
      pv.setUint32(32, tlen);
      pseudo[39] = p.proto;
    } else {
      pseudo[9] = p.proto;
      pv.setUint16(10, tlen);
    }
    const sum = rfc1071(bytes.subarray(th), ~rfc1071(pseudo) & 0xffff);
    if (p.proto === 6) {
      expect(sum).toBe(0);
      expect(view.getUint32(th + 4)).toBe(((p.seq ?? 1000) + at) >>> 0);
      flags.push(bytes[th + 13] as number);
      expect(bytes[th + 12]).toBe(template[th + 12]);
      expect(Buffer.compare(bytes.subarray(th + 14, th + 16), template.subarray(th + 14, th + 16))).toBe(0);
      expect(Buffer.compare(bytes.subarray(th + 18, template.length), template.subarray(th + 18))).toBe(0);
    } else {
      expect(view.getUint16(th + 4)).toBe(tlen);
      if (p.noCheck) expect(view.getUint16(th + 6)).toBe(0);
      else {
        expect(sum).toBe(0);
        expect(view.getUint16(th + 6)).not.toBe(0);
      }
    }
    at += size;
  }
  expect(at).toBe(p.payload.length);
  kfreeSkbList(segs);
  return { flags, sizes, ids };
}

const SG = NETIF_F_SG;
const SG_CSUM = NETIF_F_SG | NETIF_F_HW_CSUM;

describe("skbGsoSegment", () => {
  interface Row {
    name: string;
    packet: Omit<Packet, "payload"> & { len: number };
    sizes?: number[];
    flags?: number[];
    ids?: number[];
  }
  const rows: Row[] = [
    { name: "one byte", packet: { proto: 6, len: 1, mss: 100 }, sizes: [1] },
    { name: "exactly one segment", packet: { proto: 6, len: 100, mss: 100 }, sizes: [100] },
    { name: "one byte more", packet: { proto: 6, len: 101, mss: 100 }, sizes: [100, 1] },
    { name: "a multiple", packet: { proto: 6, len: 300, mss: 100 }, sizes: [100, 100, 100] },
    { name: "odd size", packet: { proto: 6, len: 1000, mss: 333 }, sizes: [333, 333, 333, 1] },
    { name: "mss 1", packet: { proto: 6, len: 5, mss: 1 }, sizes: [1, 1, 1, 1, 1] },
    { name: "mss above the packet", packet: { proto: 6, len: 5, mss: 9000 }, sizes: [5] },
    {
      name: "FIN and PSH on the last, CWR on the first, the rest on all",
      packet: { proto: 6, len: 300, mss: 100, flags: FIN | PSH | ACK | ECE | CWR },
      flags: [ACK | ECE | CWR, ACK | ECE, FIN | PSH | ACK | ECE],
    },
    {
      name: "SKB_GSO_TCP_ACCECN leaves CWR on all",
      packet: { proto: 6, len: 300, mss: 100, flags: ACK | CWR, type: SKB_GSO_TCPV4 | SKB_GSO_TCP_ACCECN },
      flags: [ACK | CWR, ACK | CWR, ACK | CWR],
    },
    {
      name: "a single segment keeps all flags",
      packet: { proto: 6, len: 10, mss: 100, flags: FIN | PSH | ACK | CWR },
      flags: [FIN | PSH | ACK | CWR],
    },
    {
      name: "the IP id counts on, across its wrap",
      packet: { proto: 6, len: 300, mss: 100, id: 0xfffe },
      ids: [0xfffe, 0xffff, 0],
    },
    {
      name: "SKB_GSO_TCP_FIXEDID keeps the id",
      packet: { proto: 6, len: 300, mss: 100, id: 7, type: SKB_GSO_TCPV4 | SKB_GSO_TCP_FIXEDID },
      ids: [7, 7, 7],
    },
    { name: "the sequence number wraps", packet: { proto: 6, len: 300, mss: 100, seq: 0xffffff9c } },
    { name: "TCP and IP options", packet: { proto: 6, len: 3000, mss: 1448, tcpOptions: 12, ipOptions: 8 } },
    { name: "64 KiB at 1448", packet: { proto: 6, len: 64000, mss: 1448, tcpOptions: 12 } },
    { name: "jumbo segments", packet: { proto: 6, len: 60000, mss: 7948 } },
    { name: "IPv6", packet: { proto: 6, len: 5000, mss: 1428, version: 6 } },
    {
      name: "UDP",
      packet: { proto: 17, len: 3001, mss: 1200 },
      sizes: [1200, 1200, 601],
      ids: [0x1234, 0x1235, 0x1236],
    },
    { name: "UDP without a checksum", packet: { proto: 17, len: 300, mss: 100, noCheck: true } },
    { name: "UDP over IPv6", packet: { proto: 17, len: 3001, mss: 1200, version: 6 } },
    { name: "much headroom", packet: { proto: 6, len: 3000, mss: 1460, headroom: 777 } },
    { name: "no headroom", packet: { proto: 6, len: 3000, mss: 1460, headroom: 0 } },
  ];
  for (const row of rows) {
    for (const layout of ["linear", "paged", "mixed", "fraglist"] as const) {
      for (const features of [0, SG, SG_CSUM]) {
        it(`${row.name}, ${layout}, features ${features === 0 ? "none" : features === SG ? "SG" : "SG and checksum"}`, () => {
          const random = new Random(SEED);
          const packet = { layout, ...row.packet, payload: random.bytes(row.packet.len) };
          const skb = build(packet, random);
          const before = memStats();
          const segs = skbGsoSegment(skb, features);
          const after = memStats();
          expect(segs).not.toBe(0);
          const got = check(packet, skb, segs, features);
          expect(after.segments - before.segments).toBe(got.sizes.length);
          if (features !== 0)
            expect(after.bytesCopied).toBe(before.bytesCopied); // payload goes by reference
          else expect(after.bytesCopied - before.bytesCopied).toBe(packet.payload.length);
          if (row.sizes) expect(got.sizes).toEqual(row.sizes);
          if (row.flags) expect(got.flags).toEqual(row.flags);
          if (row.ids) expect(got.ids.length === 0 ? row.ids : got.ids).toEqual(row.ids);
          expect(Buffer.compare(skbBytes(skb).subarray(-packet.payload.length), packet.payload)).toBe(0);
          kfreeSkb(skb);
        });
      }
    }
  }

  it("equals the reference for random packets", () => {
    const random = new Random(SEED + 5);
    for (let i = 0; i < RUNS; i++) {
      const v6 = random.below(4) === 0;
      const packet: Packet = {
        proto: random.below(2) === 0 ? 6 : 17,
        payload: random.bytes(1 + random.below(9000)),
        mss: 1 + random.below(2000),
        version: v6 ? 6 : 4,
        flags: random.below(256),
        seq: random.u32(),
        id: random.below(65536),
        tcpOptions: random.below(11) * 4,
        ipOptions: random.below(11) * 4,
        layout: (["linear", "paged", "mixed", "fraglist"] as const)[random.below(4)] as Layout,
        headroom: random.below(300),
      };
      packet.mss = Math.max(packet.mss, Math.ceil(packet.payload.length / 200));
      const features = [0, SG, SG_CSUM][random.below(3)] as number;
      const skb = build(packet, random);
      check(packet, skb, skbGsoSegment(skb, features), features);
      kfreeSkb(skb);
    }
  });

  it("the frames outlive the super-packet", () => {
    const random = new Random(SEED);
    for (const layout of ["linear", "mixed", "fraglist"] as const) {
      const payload = random.bytes(4000);
      const skb = build({ proto: 6, payload, mss: 1000, layout }, random);
      const segs = skbGsoSegment(skb, SG_CSUM);
      kfreeSkb(skb);
      const got: number[] = [];
      for (let seg = segs; seg !== 0; seg = skbNext(seg)) got.push(...skbBytes(seg, 54));
      expect(Uint8Array.from(got)).toEqual(payload);
      kfreeSkbList(segs);
    }
  });

  it("makes the headers linear first", () => {
    const random = new Random(SEED);
    const payload = random.bytes(2000);
    const packet: Packet = { proto: 6, payload, mss: 1000, layout: "paged", linearHeader: 34, tcpOptions: 12 };
    const skb = build(packet, random);
    expect(skbHeadlen(skb)).toBe(34);
    check(packet, skb, skbGsoSegment(skb, 0), 0);
    kfreeSkb(skb);
  });

  it("a payload in too many pieces for the frags of one frame is copied", () => {
    const random = new Random(SEED);
    const packet: Packet = { proto: 6, payload: random.bytes(3000), mss: 1000, layout: "crumbs" };
    const skb = build(packet, random);
    check(packet, skb, skbGsoSegment(skb, SG), 0);
    kfreeSkb(skb);
  });

  it("headers that do not hold together are refused", () => {
    const random = new Random(SEED);
    const payload = random.bytes(300);
    const breaks: [string, (skb: number) => void][] = [
      ["mss 0", (skb) => skbSetGsoSize(skb, 0)],
      ["doff too small", (skb) => void (u8[skbTransportHeader(skb) + 12] = 0x40)],
      [
        "doff beyond the packet",
        (skb) => {
          u8[skbTransportHeader(skb) + 12] = 0xf0;
          skbSetTransportHeader(skb, 330);
        },
      ],
      ["ihl too small", (skb) => void (u8[skbNetworkHeader(skb)] = 0x44)],
      ["ihl beyond the transport header", (skb) => void (u8[skbNetworkHeader(skb)] = 0x46)],
      ["no version", (skb) => void (u8[skbNetworkHeader(skb)] = 0x95)],
      ["IPv6 in 20 bytes", (skb) => void (u8[skbNetworkHeader(skb)] = 0x65)],
      ["network header behind the transport header", (skb) => skbSetNetworkHeader(skb, 60)],
      ["transport header beyond the packet", (skb) => skbSetTransportHeader(skb, 5000)],
      ["no type", (skb) => skbSetGsoType(skb, 0)],
    ];
    for (const [name, spoil] of breaks) {
      const skb = build({ proto: 6, payload, mss: 100 }, random);
      spoil(skb);
      expect(skbGsoSegment(skb, 0), name).toBe(0);
      kfreeSkb(skb);
    }
    const empty = build({ proto: 6, payload: new Uint8Array(0), mss: 100 }, random);
    expect(skbGsoSegment(empty, 0)).toBe(0);
    kfreeSkb(empty);
  });

  it("no memory: nothing is kept", () => {
    const random = new Random(SEED);
    const skb = build({ proto: 6, payload: random.bytes(60000), mss: 1000, layout: "paged" }, random);
    const before = skbBytes(skb);
    poolSetLimit(6);
    expect(skbGsoSegment(skb, 0)).toBe(0);
    poolSetLimit(0);
    expect(skbBytes(skb)).toEqual(before);
    kfreeSkb(skb);
  });

  it("route, owner and the charge to the socket go to the frames", () => {
    const random = new Random(SEED);
    const skb = build({ proto: 6, payload: random.bytes(3000), mss: 1000 }, random);
    const sk = { skWmemAlloc: 1 + skbTruesize(skb), slot: 0 } as Sock;
    sk.slot = skSlots.alloc(sk);
    const dst = {} as DstEntry;
    skbDstSet(skb, dst);
    skbSetSk(skb, sk);
    skbSetDestructor(skb, SKB_DESTRUCTOR_WFREE);
    const segs = skbGsoSegment(skb, 0);
    let truesize = 0;
    for (let seg = segs; seg !== 0; seg = skbNext(seg)) {
      expect(skbSk(seg)).toBe(sk);
      expect(skbDst(seg)).toBe(dst);
      truesize += skbTruesize(seg);
    }
    expect(sk.skWmemAlloc).toBe(1 + truesize);
    expect(skbSk(skb)).toBe(null);
    for (let seg = segs; seg !== 0; seg = skbNext(seg)) skbSetDestructor(seg, 0);
    kfreeSkbList(segs);
    kfreeSkb(skb);
    skSlots.free(sk.slot);
  });

  it("a transmit time stamp goes with the byte that it was asked for", () => {
    const random = new Random(SEED);
    const skb = build({ proto: 6, payload: random.bytes(3000), mss: 1000, seq: 5000 }, random);
    u8[skbShinfo(skb) + SHINFO_TX_FLAGS] = 2;
    u32[(skbShinfo(skb) + SHINFO_TSKEY) >>> 2] = 6999;
    const segs = skbGsoSegment(skb, 0);
    const flags: number[] = [];
    for (let seg = segs; seg !== 0; seg = skbNext(seg)) flags.push(u8[skbShinfo(seg) + SHINFO_TX_FLAGS] as number);
    expect(flags).toEqual([0, 2, 0]);
    kfreeSkbList(segs);
    kfreeSkb(skb);
  });
});

it("segment lengths", () => {
  const random = new Random(SEED);
  const skb = build({ proto: 6, payload: random.bytes(3000), mss: 1448, tcpOptions: 12 }, random);
  u32[(skb + 48) >>> 2] = skbData(skb);
  expect(skbGsoTransportSeglen(skb)).toBe(1480);
  expect(skbGsoNetworkSeglen(skb)).toBe(1500);
  expect(skbGsoMacSeglen(skb)).toBe(1514);
  expect(skbGsoValidateNetworkLen(skb, 1500)).toBe(true);
  expect(skbGsoValidateNetworkLen(skb, 1499)).toBe(false);
  expect(pskbMayPull(skb, 10)).toBe(true);
  skbSetIpSummed(skb, 0);
  expect(dv.byteLength).toBeGreaterThan(0);
  kfreeSkb(skb);
});
