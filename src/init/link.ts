/** Links between two hosts: two network cards, a wire between them, and addresses. */

import { re865xProbe } from "../drivers/net/rtl819x/rtl_nic.ts";
import { vethNewlink, vethPeer, wireNewlink } from "../drivers/net/veth.ts";
import { Wire } from "../drivers/net/wire.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { NetDevice } from "../net/core/dev.ts";
import {
  devSetFeature,
  NETIF_F_GRO,
  NETIF_F_HW_CSUM,
  NETIF_F_RXCSUM,
  NETIF_F_TSO,
  NETIF_F_TSO_ECN,
  NETIF_F_TSO6,
} from "../net/core/dev.ts";
import { inetAton, inetNtoa } from "../net/ipv4/inet_addr.ts";
import { SocketError } from "../net/socket_error.ts";
import type { Host } from "./host.ts";
import type { LinkOptions } from "./link_options.ts";
import { wireOptions } from "./link_options.ts";

/** The first free ethN. */
function freeName(host: Host): string {
  let n = 0;
  while (host.ns.devByName.has(`eth${n}`)) n++;
  return `eth${n}`;
}

function parseSubnet(subnet: string): [number, number] {
  const m = /^([\d.]+)\/(\d+)$/.exec(subnet);
  const addr = m === null ? -1 : inetAton(m[1] as string);
  const len = m === null ? -1 : Number(m[2]);
  if (addr < 0 || len < 1 || len > 30)
    throw new RangeError(`subnet: "${subnet}" is no A.B.C.D/LEN with room for two hosts`);
  const mask = len === 0 ? 0 : (0xffffffff << (32 - len)) >>> 0;
  return [(addr & mask) >>> 0, len];
}

/** Makes the cards and the wire. `n`-th link of the kernel, which gives the cards' addresses: 02:00:00:00:nn:01, :02. */
export function linkHosts(kernel: Kernel, a: Host, b: Host, o: LinkOptions, n: number): [NetDevice, NetDevice] {
  if (a === b) throw new RangeError("a link needs two hosts");
  const driver = o.driver ?? "veth";
  if (driver !== "veth" && driver !== "rtl819x")
    throw new RangeError(`driver: ${String(driver)} is neither veth nor rtl819x`);
  const subnet = o.subnet === undefined ? null : parseSubnet(o.subnet);
  const impaired = wireOptions(o);
  const reverse = o.reverse === undefined ? null : { ...impaired, ...wireOptions(o.reverse) };
  const newWire = (): Wire => {
    const wire = new Wire(impaired);
    if (reverse !== null) wire.configure(1, reverse);
    return wire;
  };
  const nameA = o.names?.[0] ?? freeName(a);
  const nameB = o.names?.[1] ?? freeName(b);
  const mac = (end: number): Uint8Array => new Uint8Array([2, 0, 0, n >> 8, n & 255, end]);
  const mtu = o.mtu ?? 1500;

  kernel.enter();
  let devs: [NetDevice, NetDevice];
  try {
    const made = (r: NetDevice | number): NetDevice => {
      if (typeof r === "number") throw new SocketError("link", r);
      return r;
    };
    if (driver === "rtl819x") {
      const wire = newWire();
      const joins = { gso: o.gso === true, gro: o.gro === true };
      devs = [
        made(re865xProbe(a.ns, nameA, wire, 0, { address: mac(1), mtu, ...joins })),
        made(re865xProbe(b.ns, nameB, wire, 1, { address: mac(2), mtu, ...joins })),
      ];
    } else if (Object.keys(impaired).length > 0 || reverse !== null) {
      const wire = newWire();
      devs = [
        made(wireNewlink(a.ns, nameA, wire, 0, { address: mac(1), mtu })),
        made(wireNewlink(b.ns, nameB, wire, 1, { address: mac(2), mtu })),
      ];
    } else {
      const dev = made(vethNewlink(a.ns, nameA, b.ns, nameB, { address: mac(1), mtu }, { address: mac(2), mtu }));
      devs = [dev, vethPeer(dev) as NetDevice];
    }
    if (o.offload === false && driver === "veth") {
      const offloads = NETIF_F_TSO | NETIF_F_TSO_ECN | NETIF_F_TSO6 | NETIF_F_HW_CSUM | NETIF_F_RXCSUM;
      for (const dev of devs) {
        devSetFeature(dev, offloads, false);
        devSetFeature(dev, NETIF_F_GRO, o.gro !== false);
      }
    }
  } finally {
    kernel.exit();
  }
  if (subnet !== null) {
    a.ip(`addr add ${inetNtoa(subnet[0] + 1)}/${subnet[1]} dev ${nameA}`);
    b.ip(`addr add ${inetNtoa(subnet[0] + 2)}/${subnet[1]} dev ${nameB}`);
  }
  a.ip(`link set ${nameA} up`);
  b.ip(`link set ${nameB} up`);
  return devs;
}
