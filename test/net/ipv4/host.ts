/**
 * A host with everything that a host has, and point-to-point devices without link layer: what it sends is recorded as
 * bytes from the IP header on, what it receives is handed to it the same way.
 */

import { expect } from "vitest";
import { createNet, destroyNet, startKernel } from "../../../src/init/main.ts";
import type { Kernel } from "../../../src/kernel/kernel.ts";
import { seededRandom } from "../../../src/kernel/random.ts";
import { createMachineSync, u8 } from "../../../src/mm/mem.ts";
import type { PoolFree } from "../../../src/mm/pool.ts";
import { poolFree, poolInUse } from "../../../src/mm/pool.ts";
import {
  devOpen,
  NETIF_F_HW_CSUM,
  NETIF_F_SG,
  NetDevice,
  netifReceiveSkb,
  registerNetdevice,
} from "../../../src/net/core/dev.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import { NetlinkExtAck, rtnetlinkRcvMsg } from "../../../src/net/core/rtnetlink.ts";
import {
  allocSkb,
  consumeSkb,
  skbBytes,
  skbPut,
  skbReserve,
  skbResetMacHeader,
  skbSetDev,
  skbSetPktType,
  skbSetProtocol,
} from "../../../src/net/core/skbuff.ts";
import { IFF_MULTICAST, IFF_NOARP, IFF_POINTOPOINT } from "../../../src/uapi/if.ts";
import { TestClock } from "./fake.ts";

export type { Ip, IpView } from "./fake.ts";
export { A, B, C, ipPacket, pattern, RUNS, readIp, SEED } from "./fake.ts";

const AF_INET = 2;
const RTM_NEWADDR = 20;
const RTM_NEWROUTE = 24;
const NLM_F_CREATE = 0x400;

export class TestHost {
  readonly clock: TestClock = new TestClock();
  readonly kernel: Kernel;
  readonly net: Net;
  before: PoolFree;
  /** Packets that left, and by which device. */
  readonly sent: Uint8Array[] = [];
  readonly sentBy: string[] = [];
  readonly drops: number[] = [];

  constructor() {
    this.kernel = startKernel(createMachineSync({ memoryBytes: 64 << 20 }), this.clock, seededRandom(1));
    this.net = createNet(this.kernel, "test");
    this.before = poolFree();
    this.kernel.onDrop = (_skb, reason) => this.drops.push(reason);
    this.kernel.enter();
  }

  /** A device that is up and has `addr`/`prefixlen`. */
  device(name: string, addr: number, prefixlen = 24, mtu = 1500): NetDevice {
    const dev = new NetDevice(this.net, name, {
      symbol: "test_netdev_ops",
      ndoStartXmit: (skb) => {
        this.sent.push(skbBytes(skb));
        this.sentBy.push(name);
        consumeSkb(skb);
        return 0;
      },
    });
    dev.type = 0xfffe;
    dev.hardHeaderLen = 0;
    dev.addrLen = 0;
    dev.mtu = mtu;
    dev.txQueueLen = 0;
    dev.flags = IFF_POINTOPOINT | IFF_NOARP | IFF_MULTICAST;
    dev.features = NETIF_F_SG | NETIF_F_HW_CSUM;
    expect(registerNetdevice(dev)).toBe(0);
    expect(devOpen(dev)).toBe(0);
    const broadcast = (addr | (0xffffffff >>> prefixlen)) >>> 0;
    expect(this.rtnl(RTM_NEWADDR, { ifindex: dev.ifindex, prefixlen, local: addr, broadcast })).toBe(0);
    return dev;
  }

  /** `ip route add dst/len [via gateway] dev dev`. */
  route(dst: number, dstLen: number, dev: NetDevice, gateway?: number, extra: object = {}): void {
    const msg = { dst, dstLen, oif: dev.ifindex, type: 1, protocol: 4, table: 254, scope: gateway ? 0 : 253 };
    expect(this.rtnl(RTM_NEWROUTE, gateway ? { ...msg, gateway, ...extra } : { ...msg, ...extra })).toBe(0);
  }

  rtnl(type: number, msg: object): number {
    const ack = new NetlinkExtAck();
    const err = rtnetlinkRcvMsg(this.net, AF_INET, type, msg, NLM_F_CREATE, ack);
    if (err !== 0) throw new Error(`rtnetlink: ${err} ${ack.msg}`);
    return err;
  }

  sysctl(name: string, value: string | number): void {
    expect(this.net.sysctlTable.get(name)?.set(String(value))).toBe(0);
  }

  /** `bytes` arrive by `dev`. */
  receive(dev: NetDevice, bytes: ArrayLike<number>, pktType = 0): void {
    const skb = allocSkb(bytes.length + 64);
    skbReserve(skb, 64);
    u8.set(bytes, skbPut(skb, bytes.length));
    skbResetMacHeader(skb);
    skbSetDev(skb, dev);
    skbSetProtocol(skb, 0x0800);
    skbSetPktType(skb, pktType);
    netifReceiveSkb(skb);
    this.kernel.exit();
    this.kernel.enter();
  }

  advance(us: number): void {
    this.kernel.exit();
    this.clock.us += us;
    this.kernel.run();
    this.kernel.enter();
  }

  ip(field: number): number {
    return this.net.mib.ip[field] as number;
  }
  icmp(field: number): number {
    return this.net.mib.icmp[field] as number;
  }

  /** The namespace goes; nothing leaked. */
  end(): void {
    this.kernel.exit();
    destroyNet(this.net);
    expect(poolInUse()).toEqual([]);
    expect(poolFree()).toEqual(this.before);
  }
}
