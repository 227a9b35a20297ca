/** ip_fragment: what leaves is what went in, in pieces that fit. */

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  PACKET_OUTGOING,
  SHINFO_FRAG_LIST,
  SKB_DATA_LEN,
  SKB_GSO_TCPV4,
  SKB_LEN,
  SKB_TRUESIZE,
} from "../../../assembly/layout.ts";
import { u32 } from "../../../src/mm/mem.ts";
import {
  allocPage,
  pageSize,
  skbAddRxFrag,
  skbDstSet,
  skbLen,
  skbPartialCsumSet,
  skbSetGsoSegs,
  skbSetGsoSize,
  skbSetGsoType,
  skbSetIgnoreDf,
  skbSetPktType,
  skbSetTransportHeader,
  skbShinfo,
  skbTruesize,
} from "../../../src/net/core/skbuff.ts";
import { IPSKB_FRAG_PMTU, ipcbSetFlags, ipcbSetFragMaxSize } from "../../../src/net/ipv4/ip.ts";
import { __ipFinishOutput, ipDoFragment, ipFinishOutput2, LL_RESERVED_SPACE } from "../../../src/net/ipv4/ip_output.ts";
import { EMSGSIZE } from "../../../src/uapi/errno.ts";
import { IP_DF, IP_MF, IP_OFFSET } from "../../../src/uapi/ip.ts";
import { IPSTATS_MIB_FRAGCREATES, IPSTATS_MIB_FRAGFAILS, IPSTATS_MIB_FRAGOKS } from "../../../src/uapi/linux_mib.ts";
import type { IpView } from "./fake.ts";
import { FakeHost, ipPacket, pattern, readIp } from "./fake.ts";

let host: FakeHost;
beforeEach(() => {
  host = new FakeHost();
});
afterEach(() => {
  host.end();
});

/** The payload that fragments make up; checks that they follow each other and fit. */
function reassemble(frags: IpView[], mtu: number, base = 0, lastMf = 0): Uint8Array {
  const out: number[] = [];
  frags.forEach((f, i) => {
    expect(f.totLen).toBeLessThanOrEqual(mtu);
    expect((f.frag & IP_OFFSET) * 8).toBe(base + out.length);
    const more = i < frags.length - 1 || lastMf !== 0;
    expect((f.frag & IP_MF) !== 0).toBe(more);
    if (i < frags.length - 1) expect(f.payload.length % 8).toBe(0);
    out.push(...f.payload);
  });
  return Uint8Array.from(out);
}

describe("slow path", () => {
  it.each([
    [1500, 1481],
    [1500, 2960],
    [1500, 2961],
    [1500, 8000],
    [68, 100],
    [577, 5000],
    [1280, 65515],
  ])("mtu %i, %i bytes", (mtu, n) => {
    host.dev.mtu = mtu;
    const data = pattern(n);
    const skb = host.packet(ipPacket({ id: 77, ttl: 9 }, data.subarray(0, Math.min(n, 30000))), host.route());
    if (n > 30000) {
      // The rest in a page: frags as well as linear bytes.
      const rest = data.subarray(30000);
      const page = allocPage(rest.length);
      new Uint8Array(u32.buffer).set(rest, page);
      skbAddRxFrag(skb, 0, page, 0, rest.length, pageSize(page));
    }
    expect(__ipFinishOutput(host.net, null, skb)).toBe(0);
    const frags = host.sent.map(readIp);
    expect(reassemble(frags, mtu)).toEqual(data);
    expect(frags.every((f) => f.id === 77 && f.ttl === 9 && (f.frag & IP_DF) === 0)).toBe(true);
    expect(host.ip(IPSTATS_MIB_FRAGCREATES)).toBe(frags.length);
    expect(host.ip(IPSTATS_MIB_FRAGOKS)).toBe(1);
  });

  it("fragments a fragment: offsets go on, and MF stays on the last piece", () => {
    host.dev.mtu = 576;
    const data = pattern(1400);
    const skb = host.packet(ipPacket({ frag: IP_MF | 100 }, data), host.route());
    expect(__ipFinishOutput(host.net, null, skb)).toBe(0);
    expect(reassemble(host.sent.map(readIp), 576, 800, 1)).toEqual(data);
  });

  it("copies only options with the copied flag to later fragments (RFC 791)", () => {
    host.dev.mtu = 200;
    const options = [7, 7, 8, 1, 2, 3, 4, 0x94, 4, 0, 0, 0]; // record route (full), router alert, end
    const skb = host.packet(ipPacket({ options }, pattern(500)), host.route());
    new Uint8Array(u32.buffer)[skb + 192] = 12; // IPCB_OPTLEN
    expect(__ipFinishOutput(host.net, null, skb)).toBe(0);
    const frags = host.sent.map(readIp);
    expect(frags.length).toBeGreaterThan(2);
    frags.forEach((f, i) => {
      expect(f.options).toEqual(i === 0 ? options : [1, 1, 1, 1, 1, 1, 1, 0x94, 4, 0, 0, 0]);
    });
  });
});

describe("frag list", () => {
  function fraglist(lens: number[], headroom: number): number {
    const data = pattern(lens.reduce((a, b) => a + b, 0));
    const rt = host.route();
    const skb = host.packet(ipPacket({ totLen: 20 + data.length }, data.subarray(0, lens[0])), rt);
    let at = lens[0] as number;
    let tail = 0;
    for (const len of lens.slice(1)) {
      const f = host.receive(data.subarray(at, at + len), headroom);
      at += len;
      if (tail === 0) u32[(skbShinfo(skb) + SHINFO_FRAG_LIST) >>> 2] = f;
      else u32[tail >>> 2] = f;
      tail = f;
      u32[(skb + SKB_LEN) >>> 2] += skbLen(f);
      u32[(skb + SKB_DATA_LEN) >>> 2] += skbLen(f);
      u32[(skb + SKB_TRUESIZE) >>> 2] += skbTruesize(f);
    }
    skbDstSet(skb, rt);
    return skb;
  }

  it.each([
    ["taken apart where it fits", [1480, 1480, 700], 100, 3],
    ["copied where a piece is too long", [1480, 1600], 100, 3],
    ["copied where a piece is no multiple of 8", [1480, 1001, 7], 100, 2],
    ["copied where there is no room for headers", [1480, 1480, 8], 0, 3],
  ])("%s", (_what, lens, headroom, n) => {
    const data = pattern(lens.reduce((a, b) => a + b, 0));
    expect(__ipFinishOutput(host.net, null, fraglist(lens, headroom))).toBe(0);
    expect(host.sent.length).toBe(n);
    expect(reassemble(host.sent.map(readIp), 1500)).toEqual(data);
    expect(host.ip(IPSTATS_MIB_FRAGOKS)).toBe(1);
    expect(host.ip(IPSTATS_MIB_FRAGCREATES)).toBe(n);
  });

  it("stops at the first that can't be sent, and frees the rest", () => {
    host.result = -105;
    expect(__ipFinishOutput(host.net, null, fraglist([1480, 1480, 700], 100))).toBe(-105);
    expect(host.sent.length).toBe(1);
    expect(host.ip(IPSTATS_MIB_FRAGFAILS)).toBe(1);
    expect(host.ip(IPSTATS_MIB_FRAGOKS)).toBe(0);
  });
});

describe("DF", () => {
  it("refuses with -EMSGSIZE", () => {
    const skb = host.packet(ipPacket({ frag: IP_DF, protocol: 1 }, [3, 3, 0, 0, ...pattern(1500)]), host.route());
    expect(__ipFinishOutput(host.net, null, skb)).toBe(-EMSGSIZE);
    expect(host.sent).toEqual([]);
    expect(host.ip(IPSTATS_MIB_FRAGFAILS)).toBe(1);
  });

  it("ignore_df fragments all the same, without DF", () => {
    const skb = host.packet(ipPacket({ frag: IP_DF }, pattern(2000)), host.route());
    skbSetIgnoreDf(skb, true);
    expect(__ipFinishOutput(host.net, null, skb)).toBe(0);
    expect(host.sent.map((b) => readIp(b).frag & IP_DF)).toEqual([0, 0]);
  });

  it("what was reassembled from DF fragments leaves in fragments of that size, with DF", () => {
    const skb = host.packet(ipPacket({ frag: IP_DF }, pattern(1400)), host.route());
    skbSetIgnoreDf(skb, true);
    ipcbSetFragMaxSize(skb, 596);
    ipcbSetFlags(skb, IPSKB_FRAG_PMTU);
    expect(__ipFinishOutput(host.net, null, skb)).toBe(0);
    const frags = host.sent.map(readIp);
    expect(frags.map((f) => f.totLen)).toEqual([596, 596, 268]);
    expect(frags.every((f) => (f.frag & IP_DF) !== 0)).toBe(true);
  });
});

describe("room", () => {
  it("makes headroom for the link header", () => {
    const rt = host.route();
    const skb = host.receive(ipPacket({}, pattern(10)), 0);
    skbDstSet(skb, rt);
    expect(LL_RESERVED_SPACE(host.dev)).toBe(16);
    host.dev.headerOps = { symbol: "x", create: () => 0 };
    expect(ipFinishOutput2(host.net, null, skb)).toBe(0);
    expect(readIp(host.sent[0] as Uint8Array).payload).toEqual(pattern(10));
  });

  it("an MTU that holds no 8 bytes of data is refused", () => {
    host.dev.mtu = 27;
    const skb = host.packet(ipPacket({}, pattern(100)), host.route());
    expect(ipDoFragment(host.net, null, skb, ipFinishOutput2)).toBe(-EMSGSIZE);
  });
});

describe("a super-packet", () => {
  /** TCP, `n` bytes of payload in segments of `mss`. */
  function superPacket(n: number, mss: number, frag: number): number {
    const tcp = [0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0, 100, 0, 0, 0, 0];
    const skb = host.packet(ipPacket({ protocol: 6, frag }, [...tcp, ...pattern(n)]), host.route());
    skbSetTransportHeader(skb, 20);
    skbSetGsoSize(skb, mss);
    skbSetGsoSegs(skb, Math.ceil(n / mss));
    skbSetGsoType(skb, SKB_GSO_TCPV4);
    skbPartialCsumSet(skb, 20, 16);
    return skb;
  }

  it("goes down whole while its segments fit", () => {
    expect(__ipFinishOutput(host.net, null, superPacket(10000, 1460, IP_DF))).toBe(0);
    expect(host.sent.length).toBe(1);
  });

  it("is cut up where they don't, and each segment fragmented", () => {
    host.dev.mtu = 1000;
    expect(__ipFinishOutput(host.net, null, superPacket(2920, 1460, 0))).toBe(0);
    const frags = host.sent.map(readIp);
    expect(frags.map((f) => [f.totLen, (f.frag & IP_OFFSET) * 8])).toEqual([
      [996, 0],
      [524, 976],
      [996, 0],
      [524, 976],
    ]);
    const first = Uint8Array.from([...(frags[0] as IpView).payload, ...(frags[1] as IpView).payload]);
    const second = Uint8Array.from([...(frags[2] as IpView).payload, ...(frags[3] as IpView).payload]);
    expect([...first.slice(20), ...second.slice(20)]).toEqual([...pattern(2920)]);
    expect(new DataView(second.buffer).getUint32(4)).toBe(1461);
  });

  it("is refused, segment by segment, with DF", () => {
    host.dev.mtu = 1000;
    const skb = superPacket(2920, 1460, IP_DF);
    // This host has no routes for ICMP to take.
    skbSetPktType(skb, PACKET_OUTGOING);
    expect(__ipFinishOutput(host.net, null, skb)).toBe(-EMSGSIZE);
    expect(host.sent).toEqual([]);
    expect(host.ip(IPSTATS_MIB_FRAGFAILS)).toBe(2);
  });
});
