/** Routing decisions: which function pointers they carry, how long they hold, and what is learnt about a path. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { dv, u8 } from "../../../src/mm/mem.ts";
import { skbResetNetworkHeader, skbSetProtocol, skbSetTransportHeader } from "../../../src/mm/skb.ts";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import { allocSkb, consumeSkb, skbPull, skbPut, skbReserve, skbSetDev } from "../../../src/net/core/skbuff.ts";
import type { InDevice } from "../../../src/net/ipv4/devinet.ts";
import { inDevGet } from "../../../src/net/ipv4/devinet.ts";
import { FlowI4, flowi4InitOutput } from "../../../src/net/ipv4/flow.ts";
import { ipMcIncGroup } from "../../../src/net/ipv4/igmp.ts";
import { ipForward } from "../../../src/net/ipv4/ip_forward.ts";
import { ipLocalDeliver } from "../../../src/net/ipv4/ip_input.ts";
import { ipMcOutput, ipOutput } from "../../../src/net/ipv4/ip_output.ts";
import type { Rtable } from "../../../src/net/ipv4/route.ts";
import {
  ip4DstHoplimit,
  ipError,
  ipRouteInput,
  ipRouteOutputKey,
  ipRtUpdatePmtu,
  ipv4DefaultAdvmss,
  ipv4DstCheck,
  ipv4Mtu,
  ipv4Redirect,
  ipv4UpdatePmtu,
  routeErr,
  rtNexthop,
  skbRtable,
} from "../../../src/net/ipv4/route.ts";
import { EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH, ENODEV, EXDEV } from "../../../src/uapi/errno.ts";
import { RTAX_MTU, RTCF_BROADCAST, RTCF_LOCAL, RTCF_MULTICAST, RTCF_REDIRECTED } from "../../../src/uapi/rtnetlink.ts";
import { ip, World } from "../../tools/world.ts";

const SEC = 1_000_000;
let w: World;
let a: Net;
let dev: NetDevice;

beforeEach(() => {
  w = new World();
  a = w.net("a");
  w.net("b");
  w.run(
    a,
    `ip link add eth0 address 02:00:00:00:00:01 type veth peer name eth0 netns b
     ip addr add 10.0.0.1/24 dev eth0
     ip link set eth0 up
     ip netns exec b ip link set eth0 up
     ip route add default via 10.0.0.254`,
  );
  dev = a.devByName.get("eth0") as NetDevice;
});
afterEach(() => w.close());

const fl = new FlowI4();
/** The route to an address; null with routeErr. */
function out(daddr: string, saddr = "0.0.0.0", oif = 0, tos = 0): Rtable | null {
  return w.in(() => {
    flowi4InitOutput(fl, oif, 0, tos, 0, 0, 0, ip(daddr), ip(saddr), 0, 0);
    return ipRouteOutputKey(a, fl);
  });
}

/** Routes a received packet; the dst it got, or the errno. */
function input(daddr: string, saddr: string, tos = 0): Rtable | number {
  return w.in(() => {
    const skb = packet(daddr, saddr);
    const err = ipRouteInput(skb, ip(daddr), ip(saddr), tos, dev);
    const rt = skbRtable(skb);
    consumeSkb(skb);
    return err !== 0 || rt === null ? err : rt;
  });
}

function packet(daddr: string, saddr: string, room = 0): number {
  const skb = allocSkb(256);
  skbReserve(skb, 64);
  skbResetNetworkHeader(skb);
  const iph = skbPut(skb, 28 + room);
  u8.fill(0, iph, iph + 28 + room);
  u8[iph] = 0x45;
  u8[iph + 8] = 64;
  u8[iph + 9] = 17;
  dv.setUint16(iph + 2, 28 + room);
  dv.setUint32(iph + 12, ip(saddr));
  dv.setUint32(iph + 16, ip(daddr));
  skbSetDev(skb, dev);
  skbSetProtocol(skb, 0x0800);
  return skb;
}

describe("output", () => {
  test("unicast: ip_output, the source of the subnet, the gateway or the destination as next hop", () => {
    const link = out("10.0.0.9") as Rtable;
    expect(link.output).toBe(ipOutput);
    expect(link.outputSetBy).toBe("__mkroute_output");
    expect(fl.saddr).toBe(ip("10.0.0.1"));
    expect([link.rtUsesGateway, rtNexthop(link, ip("10.0.0.9"))]).toEqual([false, ip("10.0.0.9")]);
    expect(link.neighbour?.primaryKey).toBe(ip("10.0.0.9"));
    const far = out("8.8.8.8") as Rtable;
    expect([far.rtUsesGateway, rtNexthop(far, ip("8.8.8.8"))]).toEqual([true, ip("10.0.0.254")]);
    expect(far.neighbour?.primaryKey).toBe(ip("10.0.0.254"));
    expect(far.dev).toBe(dev);
  });

  test("local addresses lead over lo to ip_local_deliver", () => {
    for (const daddr of ["10.0.0.1", "127.0.0.1", "127.3.4.5", "0.0.0.0"]) {
      const rt = out(daddr) as Rtable;
      expect(rt.dev).toBe(a.loopbackDev);
      expect(rt.input).toBe(ipLocalDeliver);
      expect(rt.output).toBe(ipOutput);
      expect(rt.rtFlags & RTCF_LOCAL).not.toBe(0);
    }
    expect((out("10.0.0.1") as Rtable).rtIif).toBe(dev.ifindex);
  });

  test("broadcasts are sent and heard", () => {
    for (const daddr of ["10.0.0.255", "255.255.255.255"]) {
      const rt = out(daddr) as Rtable;
      expect(rt.rtFlags & RTCF_BROADCAST).not.toBe(0);
      expect(rt.output).toBe(ipMcOutput);
      expect(rt.input).toBe(ipLocalDeliver);
    }
  });

  test("multicasts are heard by those who joined", () => {
    w.run(a, "ip route add 224.0.0.0/4 dev eth0");
    const before = out("239.1.1.1") as Rtable;
    expect(before.output).toBe(ipOutput);
    expect(before.rtFlags & (RTCF_MULTICAST | RTCF_LOCAL)).toBe(RTCF_MULTICAST);
    w.in(() => ipMcIncGroup(inDevGet(dev) as InDevice, ip("239.1.1.1")));
    const after = out("239.1.1.1") as Rtable;
    expect(after.output).toBe(ipMcOutput);
    expect([...(after.neighbour?.ha.slice(0, 6) ?? [])]).toEqual([0x01, 0x00, 0x5e, 0x01, 0x01, 0x01]);
    // Every host hears all-hosts.
    expect((out("224.0.0.1", "10.0.0.1") as Rtable).output).toBe(ipMcOutput);
  });

  test.each([
    ["no route", "10.9.0.1", "0.0.0.0", 0, "ip route del default", -ENETUNREACH],
    ["unreachable", "10.9.0.1", "0.0.0.0", 0, "ip route add unreachable 10.9.0.0/16", -EHOSTUNREACH],
    ["prohibit", "10.9.0.1", "0.0.0.0", 0, "ip route add prohibit 10.9.0.0/16", -EACCES],
    ["blackhole", "10.9.0.1", "0.0.0.0", 0, "ip route add blackhole 10.9.0.0/16", -EINVAL],
    ["throw, with nothing behind it", "10.9.0.1", "0.0.0.0", 0, "ip route add throw 10.9.0.0/16", -ENETUNREACH],
    ["a source that is not ours", "10.0.0.9", "10.0.0.77", 0, "", -ENETUNREACH],
    ["a multicast source", "10.0.0.9", "224.0.0.1", 0, "", -EINVAL],
    ["loopback's source over another device", "10.0.0.9", "127.0.0.1", 0, "", -EINVAL],
    ["no such device", "10.0.0.9", "0.0.0.0", 99, "", -ENODEV],
  ])("%s", (_name, daddr, saddr, oif, setup, err) => {
    if (setup !== "") w.run(a, setup);
    expect(out(daddr, saddr, oif)).toBe(null);
    expect(routeErr.value).toBe(err);
  });

  test("a device that is named decides, against the tables", () => {
    w.run(a, "ip route del default");
    const rt = out("10.77.0.1", "0.0.0.0", dev.ifindex) as Rtable;
    expect(rt.dev).toBe(dev);
    expect(fl.saddr).toBe(ip("10.0.0.1"));
  });

  test("a device that is down does not", () => {
    w.run(a, "ip link set eth0 down");
    expect(out("10.77.0.1", "0.0.0.0", dev.ifindex)).toBe(null);
    expect(routeErr.value).toBe(-ENETUNREACH);
  });

  test("multipath spreads flows by weight, and a flow stays on its way", () => {
    w.run(a, "ip route add 10.50.0.0/16 nexthop via 10.0.0.2 weight 3 nexthop via 10.0.0.3 weight 1");
    const count = new Map<number, number>();
    for (let i = 0; i < 2000; i++) {
      const daddr = `10.50.${i >> 8}.${i & 255}`;
      const hop = rtNexthop(out(daddr, "10.0.0.1") as Rtable, 0);
      expect(rtNexthop(out(daddr, "10.0.0.1") as Rtable, 0)).toBe(hop);
      count.set(hop, (count.get(hop) ?? 0) + 1);
    }
    expect(count.get(ip("10.0.0.2")) ?? 0).toBeGreaterThan(1350);
    expect(count.get(ip("10.0.0.3")) ?? 0).toBeGreaterThan(350);
  });
});

describe("how long a decision holds", () => {
  test("the same one is given again, per gateway and per destination on the link", () => {
    const far = out("8.8.8.8") as Rtable;
    expect(out("9.9.9.9")).toBe(far);
    const link = out("10.0.0.9") as Rtable;
    expect(out("10.0.0.9")).toBe(link);
    expect(out("10.0.0.10")).not.toBe(link);
    const brd = out("10.0.0.255");
    expect(out("10.0.0.255")).toBe(brd);
    const local = out("10.0.0.1");
    expect(out("10.0.0.1")).toBe(local);
  });

  test.each([
    ["a route is added", "ip route add 10.9.0.0/16 via 10.0.0.2"],
    ["a route is removed", "ip route del default"],
    ["an address is added", "ip addr add 10.0.5.1/24 dev eth0"],
    ["a rule is added", "ip rule add from 10.3.0.0/16 table 5"],
    ["a device goes down", "ip link set eth0 down"],
    ["forwarding is switched", "sysctl net.ipv4.ip_forward=1"],
    ["`ip route flush cache`", "ip route flush cache"],
    ["route.flush", "sysctl net.ipv4.route.flush=1"],
  ])("not when %s", (_name, change) => {
    const rt = out("8.8.8.8") as Rtable;
    expect(ipv4DstCheck(rt, 0)).toBe(rt);
    w.run(a, change);
    expect(ipv4DstCheck(rt, 0)).toBe(null);
  });

  test("a scan of the subnet does not grow without bound", () => {
    w.run(a, "ip route add 10.64.0.0/10 dev eth0");
    for (let i = 0; i < 6000; i++) out(`10.64.${i >> 8}.${i & 255}`);
    const again = out("10.64.23.111");
    expect(out("10.64.23.111")).toBe(again);
  });
});

describe("metrics", () => {
  test("a route's metrics are its dst's", () => {
    w.run(a, "ip route add 10.9.0.0/16 via 10.0.0.2 mtu 1400 advmss 1300 hoplimit 7");
    const rt = out("10.9.0.1") as Rtable;
    expect([ipv4Mtu(rt), ip4DstHoplimit(rt), rt.metrics[8]]).toEqual([1400, 7, 1300]);
    const plain = out("8.8.8.8") as Rtable;
    expect([ipv4Mtu(plain), ip4DstHoplimit(plain), ipv4DefaultAdvmss(plain)]).toEqual([1500, 64, 1460]);
    w.run(a, "ip link set eth0 mtu 280");
    expect(ipv4DefaultAdvmss(out("10.0.0.9") as Rtable)).toBe(256);
  });
});

describe("path MTU (RFC 1191)", () => {
  function learn(rt: Rtable, daddr: string, mtu: number): void {
    w.in(() => {
      const skb = packet(daddr, "10.0.0.1");
      ipRtUpdatePmtu(rt, null, skb, mtu, true);
      consumeSkb(skb);
    });
  }

  test("is learnt for one destination, for ten minutes", () => {
    const far = out("8.8.8.8") as Rtable;
    learn(far, "8.8.8.8", 1400);
    expect(ipv4DstCheck(far, 0)).toBe(null);
    const rt = out("8.8.8.8") as Rtable;
    expect(ipv4Mtu(rt)).toBe(1400);
    expect(out("8.8.8.8")).toBe(rt);
    expect(ipv4Mtu(out("9.9.9.9") as Rtable)).toBe(1500);
    expect(w.run(a, "ip route get 8.8.8.8")).toContain("cache expires 600sec mtu 1400 ");
    // Less is learnt again, more is not.
    learn(rt, "8.8.8.8", 1300);
    expect(ipv4Mtu(out("8.8.8.8") as Rtable)).toBe(1300);
    learn(out("8.8.8.8") as Rtable, "8.8.8.8", 1450);
    expect(ipv4Mtu(out("8.8.8.8") as Rtable)).toBe(1300);
    w.advance(601 * SEC);
    expect(ipv4Mtu(rt)).toBe(1500);
    expect(ipv4Mtu(out("8.8.8.8") as Rtable)).toBe(1500);
  });

  test("on the link too, and forwarding asks for its own", () => {
    learn(out("10.0.0.9") as Rtable, "10.0.0.9", 1000);
    expect(ipv4Mtu(out("10.0.0.9") as Rtable)).toBe(1000);
    expect(ipv4Mtu(out("10.0.0.10") as Rtable)).toBe(1500);
  });

  test("below min_pmtu it is not believed: 552, and the MTU is locked", () => {
    learn(out("8.8.8.8") as Rtable, "8.8.8.8", 300);
    const rt = out("8.8.8.8") as Rtable;
    expect([ipv4Mtu(rt), rt.rtMtuLocked, (rt.metricsLock & (1 << RTAX_MTU)) !== 0]).toEqual([552, true, true]);
    expect(w.run(a, "ip route get 8.8.8.8")).toContain("mtu lock 552 ");
  });

  test("a locked metric is not touched", () => {
    w.run(a, "ip route add 10.9.0.0/16 via 10.0.0.2 mtu lock 1200");
    learn(out("10.9.0.1") as Rtable, "10.9.0.1", 1000);
    expect(ipv4Mtu(out("10.9.0.1") as Rtable)).toBe(1200);
  });

  test("from ICMP, by the packet that it quotes", () => {
    w.in(() => {
      const skb = packet("8.8.8.8", "10.0.0.1");
      ipv4UpdatePmtu(skb, a, 1200, 0, 17);
      consumeSkb(skb);
    });
    expect(ipv4Mtu(out("8.8.8.8") as Rtable)).toBe(1200);
  });

  test("a change of routes forgets it", () => {
    learn(out("8.8.8.8") as Rtable, "8.8.8.8", 1400);
    w.run(a, "ip route replace default via 10.0.0.253");
    expect(ipv4Mtu(out("8.8.8.8") as Rtable)).toBe(1500);
  });
});

describe("redirects (RFC 1122 §3.2.2.2)", () => {
  /** An ICMP redirect from `router` that says: to 8.8.8.8, rather take `gw`. */
  function redirect(router: string, gw: string): void {
    w.in(() => {
      const skb = packet("10.0.0.1", router, 36);
      const iph = skbPull(skb, 28) - 28;
      u8[iph + 9] = 1;
      skbSetTransportHeader(skb, -8);
      u8[iph + 20] = 5;
      u8[iph + 21] = 1;
      dv.setUint32(iph + 24, ip(gw));
      // The packet that was redirected.
      u8[iph + 28] = 0x45;
      u8[iph + 37] = 17;
      dv.setUint32(iph + 40, ip("10.0.0.1"));
      dv.setUint32(iph + 44, ip("8.8.8.8"));
      ipv4Redirect(skb, a, 0, 17);
      consumeSkb(skb);
    });
  }
  const gateway = (): number => rtNexthop(out("8.8.8.8") as Rtable, 0);

  test("followed, for the one destination, when the new router is known to be there", () => {
    redirect("10.0.0.254", "10.0.0.253");
    // First it is asked for.
    expect(gateway()).toBe(ip("10.0.0.254"));
    w.run(a, "ip neigh replace 10.0.0.253 lladdr 02:00:00:00:00:fd dev eth0 nud reachable");
    redirect("10.0.0.254", "10.0.0.253");
    expect(gateway()).toBe(ip("10.0.0.253"));
    expect((out("8.8.8.8") as Rtable).rtFlags & RTCF_REDIRECTED).not.toBe(0);
    expect((out("8.8.8.8") as Rtable).neighbour?.primaryKey).toBe(ip("10.0.0.253"));
    expect(rtNexthop(out("9.9.9.9") as Rtable, 0)).toBe(ip("10.0.0.254"));
  });

  test.each([
    ["from a router that we don't use", "10.0.0.99", "10.0.0.253", ""],
    ["to itself", "10.0.0.254", "10.0.0.254", ""],
    ["to a multicast address", "10.0.0.254", "224.0.0.1", ""],
    ["to one of our own addresses", "10.0.0.254", "10.0.0.1", ""],
    [
      "where they are not accepted",
      "10.0.0.254",
      "10.0.0.253",
      "sysctl net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.eth0.accept_redirects=0",
    ],
  ])("not %s", (_name, router, gw, setup) => {
    w.run(a, "ip neigh replace 10.0.0.253 lladdr 02:00:00:00:00:fd dev eth0 nud reachable");
    if (setup !== "") w.run(a, setup);
    redirect(router, gw);
    expect(gateway()).toBe(ip("10.0.0.254"));
  });
});

describe("input", () => {
  test("for us: ip_local_deliver; the decision is kept", () => {
    const rt = input("10.0.0.1", "10.0.0.9") as Rtable;
    expect([rt.input, rt.inputSetBy, rt.rtIsInput]).toEqual([ipLocalDeliver, "ip_route_input_slow", true]);
    expect(input("10.0.0.1", "10.0.0.8")).toBe(rt);
  });

  test("broadcasts and multicasts", () => {
    for (const daddr of ["10.0.0.255", "255.255.255.255"]) {
      const rt = input(daddr, "10.0.0.9") as Rtable;
      expect([rt.input, (rt.rtFlags & RTCF_BROADCAST) !== 0]).toEqual([ipLocalDeliver, true]);
    }
    expect((input("224.0.0.1", "10.0.0.9") as Rtable).input).toBe(ipLocalDeliver);
    expect(input("239.0.0.1", "10.0.0.9")).toBe(-EINVAL);
  });

  test("for others: ip_error on a host, ip_forward on a router", () => {
    const host = input("8.8.8.8", "10.0.0.9") as Rtable;
    expect([host.input, host.error]).toEqual([ipError, -EHOSTUNREACH]);
    w.run(a, "sysctl net.ipv4.ip_forward=1");
    const router = input("8.8.8.8", "10.0.0.9") as Rtable;
    expect([router.input, router.output, router.inputSetBy]).toEqual([ipForward, ipOutput, "__mkroute_input"]);
    expect(input("9.9.9.9", "10.0.0.9")).toBe(router);
    w.run(a, "ip route add prohibit 8.8.8.0/24");
    expect((input("8.8.8.8", "10.0.0.9") as Rtable).error).toBe(-EACCES);
  });

  test.each([
    ["a multicast source", "10.0.0.1", "224.0.0.1", "", -EINVAL],
    ["a broadcast source", "10.0.0.1", "255.255.255.255", "", -EINVAL],
    ["our own address as its source", "10.0.0.1", "10.0.0.1", "", -EINVAL],
    ["source 0.0.0.0 to an address", "10.0.0.1", "0.0.0.0", "", -EINVAL],
    ["loopback's source", "10.0.0.1", "127.0.0.1", "", -EINVAL],
    ["loopback's destination", "127.0.0.1", "10.0.0.9", "", -EINVAL],
    [
      "rp_filter 1: the way back leads elsewhere",
      "10.0.0.1",
      "10.5.0.9",
      "sysctl net.ipv4.conf.eth0.rp_filter=1\nip route add 10.5.0.0/16 dev lo",
      -EXDEV,
    ],
    [
      "rp_filter 1: there is no way back",
      "10.0.0.1",
      "10.5.0.9",
      "sysctl net.ipv4.conf.eth0.rp_filter=1\nip route del default",
      -EXDEV,
    ],
    [
      "rp_filter 2: there is no way back at all",
      "10.0.0.1",
      "10.5.0.9",
      "sysctl net.ipv4.conf.eth0.rp_filter=2\nip route del default",
      -EXDEV,
    ],
  ])("refused: %s", (_name, daddr, saddr, setup, err) => {
    if (setup !== "") w.run(a, setup);
    const before = a.ipv4.rtCacheStat.inMartianSrc + a.ipv4.rtCacheStat.inMartianDst;
    expect(input(daddr, saddr)).toBe(err);
    expect(a.ipv4.rtCacheStat.inMartianSrc + a.ipv4.rtCacheStat.inMartianDst).toBe(before + 1);
  });

  test.each([
    ["source 0.0.0.0 to everybody (DHCP)", "255.255.255.255", "0.0.0.0", ""],
    [
      "rp_filter 2: by another device",
      "10.0.0.1",
      "10.5.0.9",
      "sysctl net.ipv4.conf.eth0.rp_filter=2\nip route add 10.5.0.0/16 dev lo",
    ],
    ["accept_local", "10.0.0.1", "10.0.0.1", "sysctl net.ipv4.conf.eth0.accept_local=1"],
    ["route_localnet", "127.0.0.1", "10.0.0.9", "sysctl net.ipv4.conf.eth0.route_localnet=1"],
  ])("taken: %s", (_name, daddr, saddr, setup) => {
    if (setup !== "") w.run(a, setup);
    expect((input(daddr, saddr) as Rtable).input).toBe(ipLocalDeliver);
  });

  test("martians are counted when log_martians is on", () => {
    input("10.0.0.1", "10.0.0.1");
    expect(a.ipv4.rtCacheStat.martiansLogged).toBe(0);
    w.run(a, "sysctl net.ipv4.conf.eth0.log_martians=1");
    input("10.0.0.1", "10.0.0.1");
    expect(a.ipv4.rtCacheStat.martiansLogged).toBe(1);
  });
});
