import { describe, expect, it } from "vitest";
import { CHECKSUM_NONE, CHECKSUM_PARTIAL, SKB_MARK, SKB_PRIORITY } from "../../../assembly/layout.ts";
import { loopbackNetInit } from "../../../src/drivers/net/loopback.ts";
import { vethDellink, vethNewlink, vethPeer } from "../../../src/drivers/net/veth.ts";
import { u32 } from "../../../src/mm/mem.ts";
import { skbMark, skbPktType, skbPriority, skbTstamp } from "../../../src/mm/skb.ts";
import {
  devAddPack,
  devClose,
  devGetByName,
  devGetFlags,
  devOpen,
  devQueueXmit,
  devRemovePack,
  devSetFeature,
  devSetMtu,
  NETIF_F_ALL_TSO,
  NETIF_F_GRO,
  NETIF_F_HW_CSUM,
  NETIF_F_SG,
  type NetDevice,
  type PacketType,
} from "../../../src/net/core/dev.ts";
import { consumeSkb, skbDst, skbDstSet } from "../../../src/net/core/skbuff.ts";
import { EEXIST } from "../../../src/uapi/errno.ts";
import { IFF_RUNNING } from "../../../src/uapi/if.ts";
import { frame, send, tcpChecksumRight, tcpFrame, withWorld } from "../../net/core/dev_util.ts";

const held = withWorld();

function pair(): [NetDevice, NetDevice] {
  const { w } = held;
  const [a, b] = [w.net("a"), w.net("b")];
  return w.do(() => {
    const dev = vethNewlink(a, "veth%d", b, "eth0") as NetDevice;
    const peer = vethPeer(dev) as NetDevice;
    expect([devOpen(dev), devOpen(peer)]).toEqual([0, 0]);
    return [dev, peer];
  });
}

/** Counts received IPv4 packets as they come. */
function ipReceiver(): { packets: { len: number; ipSummed: number; bytes: Uint8Array }[]; pt: PacketType } {
  const { w } = held;
  const packets: { len: number; ipSummed: number; bytes: Uint8Array }[] = [];
  const pt: PacketType = { type: 0x0800, func: (skb, dev, p, orig) => (w.pt.func(skb, dev, p, orig), 0) };
  devAddPack(pt);
  return { packets, pt };
}

describe("veth", () => {
  it("carries frames to the peer's host", () => {
    const { w } = held;
    const [dev, peer] = pair();
    expect(dev.qdisc?.ops.id).toBe("noqueue");
    expect(send(w, dev, "hello", peer.devAddr)).toBe(0);
    expect(send(w, peer, "back")).toBe(0);
    expect(w.frames.map((f) => f.net)).toEqual(["b", "a"]);
    expect(w.texts()).toEqual(["hello", "back"]);
    expect(dev.stats).toMatchObject({ txPackets: 1, txBytes: 19, rxPackets: 1, rxBytes: 18, txDropped: 0 });
  });

  it("has a carrier only while both ends are up", () => {
    const { w } = held;
    const [dev, peer] = pair();
    expect(devGetFlags(dev) & IFF_RUNNING).toBe(IFF_RUNNING);
    w.do(() => devClose(peer));
    expect(devGetFlags(dev) & IFF_RUNNING).toBe(0);
    send(w, dev, "lost");
    expect(w.drops).toEqual(["QDISC_DROP"]);
    w.do(() => devOpen(peer));
    expect(send(w, dev, "found")).toBe(0);
    expect(w.texts()).toEqual(["found"]);
  });

  it("drops frames that are longer than the peer's MTU, but not super-packets", () => {
    const { w } = held;
    const { pt } = ipReceiver();
    const [dev, peer] = pair();
    w.do(() => devSetMtu(peer, 500));
    expect(send(w, dev, new Uint8Array(504))).toBe(0); // 4 bytes of tolerance for a VLAN tag
    expect(send(w, dev, new Uint8Array(505))).toBe(1);
    w.do(() => devQueueXmit(tcpFrame(dev, 5000, { gsoSize: 400 })));
    expect(w.drops).toEqual(["PKT_TOO_BIG"]);
    expect([peer.stats.rxDropped, dev.stats.txDropped]).toEqual([1, 1]);
    expect(w.frames.length).toBe(2);
    devRemovePack(pt);
  });

  it("super-packets cross by reference, their sums undone; without offloads as frames with sums", () => {
    const { w } = held;
    const { pt } = ipReceiver();
    const [dev] = pair();
    w.do(() => devQueueXmit(tcpFrame(dev, 10_000, { gsoSize: 1448 })));
    expect(w.frames.map((f) => [f.skbLen, f.ipSummed])).toEqual([[10_040, CHECKSUM_PARTIAL]]);
    expect(dev.stats).toMatchObject({ txPackets: 1, txBytes: 10_054 });

    w.frames.length = 0;
    w.do(() => {
      devSetFeature(dev, NETIF_F_ALL_TSO | NETIF_F_HW_CSUM, false);
      devQueueXmit(tcpFrame(dev, 10_000, { gsoSize: 1448 }));
    });
    expect(w.frames.map((f) => f.skbLen)).toEqual([1488, 1488, 1488, 1488, 1488, 1488, 1352]);
    expect(w.frames.every((f) => f.ipSummed === CHECKSUM_NONE && tcpChecksumRight(f.bytes))).toBe(true);

    w.frames.length = 0;
    w.do(() => {
      devSetFeature(dev, NETIF_F_SG, false);
      devQueueXmit(tcpFrame(dev, 10_000, { gsoSize: 1448 }));
    });
    expect(w.frames.length).toBe(7);
    expect(w.frames.every((f) => tcpChecksumRight(f.bytes))).toBe(true);
    devRemovePack(pt);
  });

  it("a packet forgets its mark, priority, route and time on the way into another host", () => {
    const { w } = held;
    const [dev, peer] = pair();
    const seen: unknown[] = [];
    const pt: PacketType = {
      type: 0x88b6,
      func: (skb) => {
        seen.push([skbMark(skb), skbPriority(skb), skbDst(skb), skbTstamp(skb), skbPktType(skb)]);
        consumeSkb(skb);
        return 0;
      },
    };
    devAddPack(pt);
    w.do(() => {
      const skb = frame(dev, "x", peer.devAddr, 0x88b6);
      u32[(skb + SKB_MARK) >>> 2] = 7;
      u32[(skb + SKB_PRIORITY) >>> 2] = 6;
      skbDstSet(skb, {} as never);
      devQueueXmit(skb);
    });
    devRemovePack(pt);
    expect(seen).toEqual([[0, 0, null, 0, 0]]);
  });

  it("runts are dropped", () => {
    const { w } = held;
    const [dev] = pair();
    w.do(() => {
      const skb = frame(dev, "");
      u32[(skb + 16) >>> 2] = 13;
      u32[(skb + 32) >>> 2] -= 1;
      expect(devQueueXmit(skb)).toBe(1);
    });
    expect(w.drops).toEqual(["HDR_TRUNC"]);
  });

  it("one end takes the other with it; names are checked", () => {
    const { w } = held;
    const [dev, peer] = pair();
    w.do(() => {
      expect(vethNewlink(dev.net, "veth0", peer.net, "x")).toBe(-EEXIST);
      expect(devGetByName(peer.net, "x")).toBe(null);
      vethDellink(peer);
      expect([dev.registered, peer.registered, vethPeer(dev)]).toEqual([false, false, null]);
    });
    expect(w.kernel.machine.devs.size).toBe(0);
  });
});

describe("loopback", () => {
  it("receives what it sends, and keeps the route", () => {
    const { w } = held;
    const net = w.net("a");
    const dst = {};
    let got: unknown;
    const pt: PacketType = {
      type: 0x88b6,
      func: (skb) => {
        got = skbDst(skb);
        consumeSkb(skb);
        return 0;
      },
    };
    devAddPack(pt);
    w.do(() => {
      expect(loopbackNetInit(net)).toBe(0);
      const lo = net.loopbackDev as NetDevice;
      expect([lo.name, lo.ifindex, devOpen(lo), lo.qdisc?.ops.id]).toEqual(["lo", 1, 0, "noqueue"]);
      const skb = frame(lo, "x", new Uint8Array(6), 0x88b6);
      skbDstSet(skb, dst as never);
      devQueueXmit(skb);
    });
    devRemovePack(pt);
    expect(got).toBe(dst);
    expect(net.loopbackDev?.stats).toMatchObject({ txPackets: 1, rxPackets: 1, txBytes: 1, rxBytes: 1 });
  });
});

describe("GRO", () => {
  it("is off until somebody asks for it", () => {
    const [dev, peer] = pair();
    expect([dev.features & NETIF_F_GRO, peer.features & NETIF_F_GRO]).toEqual([0, 0]);
  });

  it("joins the frames of a sender without TSO, and frees what waits when the device goes down", () => {
    const { w } = held;
    const [dev, peer] = pair();
    const { pt } = ipReceiver();
    w.do(() => {
      devSetFeature(dev, NETIF_F_ALL_TSO | NETIF_F_HW_CSUM, false);
      devSetFeature(peer, NETIF_F_GRO, true);
    });
    w.do(() => devQueueXmit(tcpFrame(dev, 5000, { gsoSize: 1000 })));
    expect(w.frames.map((f) => [f.skbLen, f.ipSummed])).toEqual([[5040, CHECKSUM_PARTIAL]]);
    expect(peer.stats.rxPackets).toBe(5);
    // Frames wait in the ring until the softirq; the device is closed before it.
    w.do(() => {
      devQueueXmit(tcpFrame(dev, 5000, { gsoSize: 1000 }));
      devClose(peer);
    });
    expect(w.frames).toHaveLength(1);
    expect(w.drops).toEqual(Array(5).fill("DEV_READY"));
    devRemovePack(pt);
  });
});
