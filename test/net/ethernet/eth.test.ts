import { describe, expect, it } from "vitest";
import { PACKET_BROADCAST, PACKET_HOST, PACKET_MULTICAST, PACKET_OTHERHOST } from "../../../assembly/layout.ts";
import { dv, u8 } from "../../../src/mm/mem.ts";
import { skbData, skbLen, skbMacHeader, skbPktType } from "../../../src/mm/skb.ts";
import { NetDevice } from "../../../src/net/core/dev.ts";
import { HhCache, type Neighbour } from "../../../src/net/core/neighbour.ts";
import { allocSkb, consumeSkb, skbBytes, skbPut, skbReserve } from "../../../src/net/core/skbuff.ts";
import {
  etherAddrEqual,
  ethHeader,
  ethHeaderCache,
  ethHeaderCacheUpdate,
  ethHeaderParse,
  ethMacAddr,
  ethRandomAddr,
  ethTypeTrans,
  formatEtherAddr,
  isBroadcastEtherAddr,
  isMulticastEtherAddr,
  isValidEtherAddr,
  isZeroEtherAddr,
  macPton,
} from "../../../src/net/ethernet/eth.ts";
import { EADDRNOTAVAIL } from "../../../src/uapi/errno.ts";
import { IFF_LOOPBACK } from "../../../src/uapi/if.ts";
import { FakeNic, frame, withWorld } from "../core/dev_util.ts";

const held = withWorld();

function device(): NetDevice {
  return new FakeNic(held.w.net("a"), "eth0").dev;
}

const mac = (text: string): Uint8Array => macPton(text) as Uint8Array;

describe("eth_type_trans", () => {
  const own = "02:00:00:00:00:01";
  it.each([
    ["its own address", own, 0x0800, PACKET_HOST, 0x0800],
    ["another's that differs in the first byte", "06:00:00:00:00:01", 0x0806, PACKET_OTHERHOST, 0x0806],
    ["another's that differs in the last byte", "02:00:00:00:00:02", 0x0800, PACKET_OTHERHOST, 0x0800],
    ["broadcast", "ff:ff:ff:ff:ff:ff", 0x0806, PACKET_BROADCAST, 0x0806],
    ["multicast", "01:00:5e:00:00:01", 0x0800, PACKET_MULTICAST, 0x0800],
    ["nearly broadcast", "ff:ff:ff:ff:ff:fe", 0x0800, PACKET_MULTICAST, 0x0800],
    ["a length: 802.2", own, 100, PACKET_HOST, 4],
    ["the first ethertype", own, 0x600, PACKET_HOST, 0x600],
    ["the last length", own, 0x5ff, PACKET_HOST, 4],
  ])("%s", (_what, dst, proto, pktType, type) => {
    const dev = device();
    held.w.do(() => {
      const skb = frame(dev, "payload", mac(dst), proto);
      const at = skbData(skb);
      expect(ethTypeTrans(skb, dev)).toBe(type);
      expect(skbPktType(skb)).toBe(pktType);
      expect([skbMacHeader(skb), skbData(skb), skbLen(skb)]).toEqual([at, at + 14, 7]);
      consumeSkb(skb);
    });
  });

  it("raw 802.3 begins with two bytes of ones", () => {
    const dev = device();
    held.w.do(() => {
      const raw = frame(dev, new Uint8Array([0xff, 0xff, 1]), undefined, 3);
      expect(ethTypeTrans(raw, dev)).toBe(1);
      const empty = frame(dev, "", undefined, 0);
      expect(ethTypeTrans(empty, dev)).toBe(4);
      consumeSkb(raw);
      consumeSkb(empty);
    });
  });
});

describe("eth_header", () => {
  it("writes addresses and type; without a destination it says so", () => {
    const dev = device();
    held.w.do(() => {
      const make = (): number => {
        const skb = allocSkb(100);
        skbReserve(skb, 32);
        skbPut(skb, 4);
        return skb;
      };
      const a = make();
      expect(ethHeader(a, dev, 0x0800, mac("0a:0b:0c:0d:0e:0f"), null, 4)).toBe(14);
      expect(formatEtherAddr(skbBytes(a))).toBe("0a:0b:0c:0d:0e:0f");
      expect(formatEtherAddr(skbBytes(a).subarray(6))).toBe("02:00:00:00:00:01");
      expect(dv.getUint16(skbData(a) + 12)).toBe(0x0800);
      const b = make();
      expect(ethHeader(b, dev, 4, mac("0a:0b:0c:0d:0e:0f"), mac("02:02:02:02:02:02"), 4)).toBe(14);
      expect(dv.getUint16(skbData(b) + 12)).toBe(4);
      const c = make();
      expect(ethHeader(c, dev, 0x0800, null, null, 4)).toBe(-14);
      dev.flags |= IFF_LOOPBACK;
      const d = make();
      expect(ethHeader(d, dev, 0x0800, null, null, 4)).toBe(14);
      expect(formatEtherAddr(skbBytes(d))).toBe("00:00:00:00:00:00");
      const haddr = new Uint8Array(6);
      ethTypeTrans(a, dev);
      expect(ethHeaderParse(a, haddr)).toBe(6);
      expect(etherAddrEqual(haddr, dev.devAddr)).toBe(true);
      for (const skb of [a, b, c, d]) consumeSkb(skb);
    });
  });

  it("the cached header is what eth_header writes, in words as they stand in memory", () => {
    const dev = device();
    const hh = new HhCache();
    const neigh = { dev, ha: new Uint8Array([0x81, 2, 3, 4, 5, 0xf6, 0, 0]) } as unknown as Neighbour;
    held.w.do(() => {
      expect(ethHeaderCache(neigh, hh, 1)).toBe(-1);
      expect(ethHeaderCache(neigh, hh, 0x0800)).toBe(0);
      expect([hh.hhLen, hh.hhType]).toEqual([14, 0x0800]);
      const bytes = new Uint8Array(hh.hhData.buffer);
      const skb = allocSkb(100);
      skbReserve(skb, 32);
      ethHeader(skb, dev, 0x0800, neigh.ha, null, 0);
      expect(bytes.subarray(2)).toEqual(skbBytes(skb));
      ethHeaderCacheUpdate(hh, dev, mac("ff:00:ff:00:ff:00"));
      expect(formatEtherAddr(bytes.subarray(2))).toBe("ff:00:ff:00:ff:00");
      expect(formatEtherAddr(bytes.subarray(8))).toBe("02:00:00:00:00:01");
      consumeSkb(skb);
    });
  });
});

it("addresses", () => {
  const dev = device();
  held.w.do(() => {
    const addr = new Uint8Array(6);
    for (let i = 0; i < 50; i++) {
      ethRandomAddr(addr);
      expect([isValidEtherAddr(addr), (addr[0] as number) & 3]).toEqual([true, 2]);
    }
    expect(isBroadcastEtherAddr(mac("ff:ff:ff:ff:ff:ff"))).toBe(true);
    expect(isMulticastEtherAddr(mac("33:33:00:00:00:01"))).toBe(true);
    expect(isZeroEtherAddr(mac("0:0:0:0:0:0"))).toBe(true);
    expect([macPton("1:2:3:4:5"), macPton("1:2:3:4:5:6:7"), macPton("gg:0:0:0:0:0")]).toEqual([null, null, null]);
    expect(formatEtherAddr(mac("A-b-0c-1-2-3"))).toBe("0a:0b:0c:01:02:03");
    expect(ethMacAddr(dev, mac("01:00:00:00:00:00"))).toBe(-EADDRNOTAVAIL);
    expect(ethMacAddr(dev, mac("02:00:00:00:00:99"))).toBe(0);
    expect(dev.devAddr[5]).toBe(0x99);
    expect(u8.length).toBeGreaterThan(0);
  });
});
