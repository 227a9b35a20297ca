import { describe, expect, it } from "vitest";
import {
  DESC_OWNED_BIT,
  DESC_WRAP,
  MBUF_DATA,
  PH_FLAGS,
  PH_LEN,
  PH_MBUF,
  PH_PORTLIST,
  PH_SRC_EXT_PORT,
} from "../../../../assembly/layout.ts";
import { type DevPriv, re865xExit, re865xProbe } from "../../../../src/drivers/net/rtl819x/rtl_nic.ts";
import { NUM_RX_PKTHDR_DESC, NUM_TX_PKTHDR_DESC } from "../../../../src/drivers/net/rtl819x/swnic.ts";
import { wireNewlink } from "../../../../src/drivers/net/veth.ts";
import { Wire, type WireOptions } from "../../../../src/drivers/net/wire.ts";
import { u8, u16, u32 } from "../../../../src/mm/mem.ts";
import { poolBlocksInUse, poolSetLimit } from "../../../../src/mm/pool.ts";
import {
  devAddPack,
  devClose,
  devOpen,
  devQueueXmit,
  devRemovePack,
  NETIF_F_GSO,
  NETIF_F_SG,
  type NetDevice,
  type PacketType,
} from "../../../../src/net/core/dev.ts";
import { allocSkb, consumeSkb } from "../../../../src/net/core/skbuff.ts";
import { SKB_DROP_REASON_NOMEM } from "../../../../src/uapi/dropreason.ts";
import { ENOMEM } from "../../../../src/uapi/errno.ts";
import { SEED } from "../../../mm/util.ts";
import { frame, send, tcpChecksumRight, tcpFrame, withWorld } from "../../../net/core/dev_util.ts";

const held = withWorld(SEED);

function link(options: WireOptions = {}): { wire: Wire; a: NetDevice; b: NetDevice; pa: DevPriv; pb: DevPriv } {
  const { w } = held;
  const wire = new Wire(options);
  const [na, nb] = [w.net("a"), w.net("b")];
  return w.do(() => {
    const a = re865xProbe(na, "eth%d", wire, 0, { address: new Uint8Array([2, 0, 0, 0, 0, 1]) }) as NetDevice;
    const b = re865xProbe(nb, "eth%d", wire, 1, { address: new Uint8Array([2, 0, 0, 0, 0, 2]) }) as NetDevice;
    expect([devOpen(a), devOpen(b)]).toEqual([0, 0]);
    return { wire, a, b, pa: a.priv as DevPriv, pb: b.priv as DevPriv };
  });
}

/** The packet header of transmit descriptor `i`. */
function txPkthdr(p: DevPriv, i: number): number {
  return u32[(p.nic.txPkthdrRing + i * 4) >>> 2] & ~(DESC_OWNED_BIT | DESC_WRAP);
}

function ipPackets(): PacketType {
  const { w } = held;
  const pt: PacketType = { type: 0x0800, func: (skb, dev, p, orig) => w.pt.func(skb, dev, p, orig) };
  devAddPack(pt);
  return pt;
}

describe("re865x", () => {
  it("has no queue, no scatter-gather and no offloads", () => {
    const { a } = link();
    expect(a.qdisc?.ops.id).toBe("noqueue");
    expect(a.features & (NETIF_F_SG | NETIF_F_GSO)).toBe(0);
    expect([a.netdevOps.symbol, a.netdevOpsSetBy]).toEqual(["rtl819x_netdev_ops", "re865x_probe"]);
  });

  it("carries frames both ways; short ones are filled up with zeros", () => {
    const { w } = held;
    const { a, b } = link();
    expect(send(w, a, "hello")).toBe(0);
    expect(send(w, b, "x".repeat(100))).toBe(0);
    expect(w.frames.map((f) => [f.net, f.bytes.length])).toEqual([
      ["b", 46],
      ["a", 100],
    ]);
    expect(w.texts()).toEqual(["hello", "x".repeat(100)]);
    expect([...(w.frames[0]?.bytes.subarray(5) ?? [])].every((byte) => byte === 0)).toBe(true);
    expect(a.stats).toMatchObject({ txPackets: 1, txBytes: 19, rxPackets: 1, rxBytes: 114 });
  });

  it("fills the descriptors in as the hardware wants them", () => {
    const { w } = held;
    const { a, pa } = link({ rate: 1 });
    w.do(() => {
      devQueueXmit(frame(a, "broadcast")); // direct
      devQueueXmit(frame(a, "unicast".padEnd(100), new Uint8Array([2, 0, 0, 0, 0, 2]))); // the core looks it up
      devQueueXmit(tcpFrame(a, 10, { dst: new Uint8Array([2, 0, 0, 0, 0, 2]) }));
      const options = tcpFrame(a, 10, { dst: new Uint8Array([2, 0, 0, 0, 0, 2]) });
      u8[u32[(options + 28) >>> 2] + 14] = 0x46;
      devQueueXmit(options);
    });
    const fields = (i: number): number[] =>
      [PH_FLAGS, PH_PORTLIST, PH_SRC_EXT_PORT, PH_LEN].map((at) => u16[(txPkthdr(pa, i) + at) >>> 1]);
    expect(fields(0)).toEqual([0x8800, 0x0f, 0, 64]);
    expect(fields(1)).toEqual([0x8860, 7, 3, 118]);
    expect(fields(2)).toEqual([0x8860, 7, 3, 68]);
    expect(fields(3)).toEqual([0x8800, 0x0f, 0, 68]);
    // The wire takes two ahead; the others are the core's until it can send them.
    const owned = [0, 1, 2, 3, 4].map((i) => u32[(pa.nic.txPkthdrRing + i * 4) >>> 2] & DESC_OWNED_BIT);
    expect(owned).toEqual([0, 0, 1, 1, 0]);
    expect(u32[(pa.nic.txPkthdrRing + 127 * 4) >>> 2] & DESC_WRAP).toBe(DESC_WRAP);
    expect(u32[(pa.nic.rxPkthdrRing + 255 * 4) >>> 2] & (DESC_WRAP | DESC_OWNED_BIT)).toBe(DESC_WRAP | DESC_OWNED_BIT);
  });

  it("goes round its rings many times", () => {
    const { w } = held;
    const { a, b } = link();
    for (let i = 0; i < 700; i++) send(w, i % 3 === 0 ? b : a, String(i));
    expect(w.frames.length).toBe(700);
    expect(w.texts()).toEqual(Array.from({ length: 700 }, (_, i) => String(i)));
  });

  it("takes one interrupt for a batch", () => {
    const { w } = held;
    const { a, pa, pb } = link();
    w.do(() => {
      for (let i = 0; i < 100; i++) devQueueXmit(frame(a, String(i)));
    });
    expect(w.frames.length).toBe(100);
    expect([pa.core.stats.interrupts, pb.core.stats.interrupts]).toEqual([1, 1]);
    expect([pa.core.stats.txFrames, pb.core.stats.rxFrames]).toEqual([100, 100]);
  });

  it("reclaims inline when the ring is full; more than the receiver's ring waits in the switch", () => {
    const { w } = held;
    const { a, pb } = link();
    w.do(() => {
      for (let i = 0; i < 600; i++) expect(devQueueXmit(frame(a, String(i)))).toBe(0);
      expect(pb.core.stats.rxFrames).toBe(NUM_RX_PKTHDR_DESC);
    });
    expect(w.texts()).toEqual(Array.from({ length: 600 }, (_, i) => String(i)));
    expect(w.drops).toEqual([]);
    expect(pb.core.stats.runouts).toBeGreaterThan(0);
  });

  it("drops, and says so, what the ring has no room for when the other side has asked for a pause", () => {
    const { w } = held;
    const { a, pb } = link();
    w.do(() => {
      for (let i = 0; i < 700; i++) expect(devQueueXmit(frame(a, String(i)))).toBe(0);
      // 256 in the ring, 256 in the switch, 127 in our ring.
      expect(pb.core.paused).toBe(true);
      expect(w.drops).toEqual(Array(700 - 256 - 256 - 127).fill("FULL_RING"));
      expect(a.stats).toMatchObject({ txPackets: 639, txDropped: 61, txFifoErrors: 61 });
    });
    w.run(10);
    expect(w.texts()).toEqual(Array.from({ length: 639 }, (_, i) => String(i)));
    expect(pb.core.paused).toBe(false);
  });

  it("a slow wire holds the ring back: its completions are the wire's", () => {
    const { w } = held;
    const { a, pa } = link({ rate: 8e6 });
    const one = 84; // 60 bytes and 24 of overhead, a byte a microsecond
    w.do(() => {
      for (let i = 0; i < 140; i++) devQueueXmit(frame(a, String(i)));
    });
    // Two are on the wire, 127 in the ring.
    expect(w.drops.length).toBe(11);
    expect(pa.nic.currTxPkthdrDescIndex).not.toBe(pa.nic.txPktDoneDescIndex);
    const t0 = w.clock.us;
    w.run(140 * one);
    expect(w.frames.length).toBe(129);
    expect(w.frames.map((f) => Math.round(f.at - t0))).toEqual(Array.from({ length: 129 }, (_, i) => (i + 1) * one));
    expect(pa.nic.currTxPkthdrDescIndex).toBe(pa.nic.txPktDoneDescIndex);
  });

  it("cuts and sums what the stack leaves to it", () => {
    const { w } = held;
    const { a } = link();
    const pt = ipPackets();
    w.do(() => {
      devQueueXmit(tcpFrame(a, 5000, { gsoSize: 1448 }));
      devQueueXmit(tcpFrame(a, 333, { partial: true }));
    });
    devRemovePack(pt);
    expect(w.frames.map((f) => f.bytes.length)).toEqual([1488, 1488, 1488, 696, 373]);
    expect(w.frames.every((f) => f.ipSummed === 0 && tcpChecksumRight(f.bytes))).toBe(true);
  });

  it("frames whose sums are wrong go no further than the driver", () => {
    const { w } = held;
    const { a, b, pb } = link({ corrupt: 1 });
    const pt = ipPackets();
    w.do(() => {
      for (let i = 0; i < 300; i++) devQueueXmit(tcpFrame(a, 1000));
    });
    w.run(10);
    devRemovePack(pt);
    // A bit in the link header is not covered by any sum.
    expect(pb.nic.rxCsumErrors).toBeGreaterThan(280);
    expect(b.stats.rxErrors).toBe(pb.nic.rxCsumErrors);
    expect(pb.core.stats.rxFrames).toBe(300);
    expect(b.stats.rxPackets + b.stats.rxErrors).toBe(300);
  });

  it("takes VLAN tags off", () => {
    const { w } = held;
    const { a } = link();
    w.do(() => devQueueXmit(frame(a, new Uint8Array([0, 9, 0x88, 0xb5, 104, 105]), undefined, 0x8100)));
    expect(w.texts()).toEqual(["hi"]);
  });

  it("drops frames that are too long or too short", () => {
    const { w } = held;
    const { a } = link();
    expect(send(w, a, new Uint8Array(1505))).toBe(0);
    w.do(() => {
      const skb = frame(a, "");
      u32[(skb + 16) >>> 2] = 13;
      u32[(skb + 32) >>> 2] -= 1;
      expect(devQueueXmit(skb)).toBe(0);
    });
    expect(w.drops).toEqual(["PKT_TOO_BIG", "PKT_TOO_SMALL"]);
    expect(a.stats.txDropped).toBe(2);
  });

  it("frees all that is in its rings when it is closed, and starts anew", () => {
    const { w } = held;
    const { a, b } = link({ rate: 1 });
    w.do(() => {
      for (let i = 0; i < 50; i++) devQueueXmit(frame(a, String(i)));
      devClose(a);
    });
    expect(w.drops.filter((d) => d === "DEV_READY").length).toBe(50);
    w.do(() => devOpen(a));
    expect(send(w, b, "x")).toBe(0);
    w.run(1e9);
    expect(w.texts().at(-1)).toBe("x");
    w.do(() => {
      re865xExit(a);
      re865xExit(b);
    });
    expect(w.kernel.timers.nextExpiry()).toBe(Infinity);
    expect(w.kernel.machine.devs.size).toBe(0);
  });

  it("lives through a lack of memory", () => {
    const { w } = held;
    const { a, b, pa, pb } = link();
    // The receiver keeps what it gets, until there is no memory left.
    const kept: number[] = [];
    const pt: PacketType = { type: 0x88b6, func: (skb) => kept.push(skb) };
    devAddPack(pt);
    const one = w.do(() => frame(a, "x".repeat(1000), undefined, 0x88b6));
    w.do(() => consumeSkb(one));
    poolSetLimit(poolBlocksInUse() + 8);
    for (let i = 0; i < 1500; i++) w.do(() => devQueueXmit(frame(a, "x".repeat(1000), undefined, 0x88b6)));
    // Frames are handed up without a new buffer until hardly one is left. Then not even the wire has memory.
    expect(pb.nic.unfilled).toBe(NUM_RX_PKTHDR_DESC - 8);
    expect(pa.core.stats.txDropped).toBeGreaterThan(0);
    expect(w.kernel.dropReasons[SKB_DROP_REASON_NOMEM]).toBe(pa.core.stats.txDropped);
    poolSetLimit(0);
    w.run(10_000);
    expect(pb.nic.unfilled).toBe(0);
    devRemovePack(pt);
    for (const skb of kept.splice(0)) w.do(() => consumeSkb(skb));
    expect(send(w, a, "still there")).toBe(0);
    w.run(10_000);
    expect(w.texts().at(-1)).toBe("still there");
    poolSetLimit(1);
    w.do(() => {
      devClose(b);
      for (;;) {
        const skb = allocSkb(60_000);
        if (skb === 0) break;
        kept.push(skb);
      }
      for (;;) {
        const skb = allocSkb(1200);
        if (skb === 0) break;
        kept.push(skb);
      }
      expect(devOpen(b)).toBe(-ENOMEM);
      for (const skb of kept) consumeSkb(skb);
    });
    poolSetLimit(0);
    w.do(() => {
      expect(devOpen(b)).toBe(0);
      re865xExit(a);
      re865xExit(b);
    });
  });

  it("talks to other cards over a wire", () => {
    const { w } = held;
    const wire = new Wire();
    const [na, nb] = [w.net("a"), w.net("b")];
    const pt = ipPackets();
    w.do(() => {
      const a = re865xProbe(na, "eth0", wire, 0, { wan: true }) as NetDevice;
      const b = wireNewlink(nb, "eth0", wire, 1) as NetDevice;
      expect([devOpen(a), devOpen(b)]).toEqual([0, 0]);
      devQueueXmit(tcpFrame(a, 100));
      devQueueXmit(tcpFrame(b, 5000, { gsoSize: 1000 }));
      expect(u32[(u32[(txPkthdr(a.priv as DevPriv, 0) + PH_MBUF) >>> 2] + MBUF_DATA) >>> 2]).not.toBe(0);
    });
    devRemovePack(pt);
    // The receive tasklet comes before the NET_RX softirq.
    expect(w.frames.map((f) => [f.net, f.bytes.length]).sort()).toEqual(
      [["b", 140], ...Array(5).fill(["a", 1040])].sort(),
    );
    expect(w.frames.every((f) => tcpChecksumRight(f.bytes))).toBe(true);
    w.do(() => {
      for (const net of [na, nb]) for (const dev of [...net.devByIndex.values()]) devClose(dev);
    });
  });
});

it("the rings have the sizes of the SDK", () => {
  expect([NUM_TX_PKTHDR_DESC, NUM_RX_PKTHDR_DESC]).toEqual([128, 256]);
});
