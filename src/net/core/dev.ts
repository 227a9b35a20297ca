/** struct net_device and its pointers. */

import type { Net } from "./net_namespace.ts";
import type { Neighbour, HhCache } from "./neighbour.ts";

export const NETDEV_TX_OK = 0x00;
export const NETDEV_TX_BUSY = 0x10;

export const NET_XMIT_SUCCESS = 0x00;
export const NET_XMIT_DROP = 0x01;
export const NET_XMIT_CN = 0x02;
export const NET_RX_SUCCESS = 0;
export const NET_RX_DROP = 1;

// netdev->features.
export const NETIF_F_SG = 1 << 0;
export const NETIF_F_IP_CSUM = 1 << 1;
export const NETIF_F_HW_CSUM = 1 << 3;
export const NETIF_F_HIGHDMA = 1 << 5;
export const NETIF_F_FRAGLIST = 1 << 6;
export const NETIF_F_GSO = 1 << 11;
export const NETIF_F_LLTX = 1 << 12;
export const NETIF_F_GRO = 1 << 14;
export const NETIF_F_TSO = 1 << 16;
export const NETIF_F_GSO_UDP_L4 = 1 << 17;
export const NETIF_F_TSO_ECN = 1 << 18;
export const NETIF_F_TSO6 = 1 << 20;
export const NETIF_F_RXCSUM = 1 << 29;
export const NETIF_F_LOOPBACK = 1 << 30;
export const NETIF_F_CSUM_MASK: number = NETIF_F_IP_CSUM | NETIF_F_HW_CSUM;

/** struct net_device_ops. */
export interface NetDeviceOps {
  readonly symbol: string;
  ndoInit?(dev: NetDevice): number;
  ndoUninit?(dev: NetDevice): void;
  ndoOpen?(dev: NetDevice): number;
  ndoStop?(dev: NetDevice): number;
  /** NETDEV_TX_OK: the driver owns the skb. NETDEV_TX_BUSY: it does not. */
  ndoStartXmit(skb: number, dev: NetDevice): number;
  ndoChangeMtu?(dev: NetDevice, mtu: number): number;
  ndoSetMacAddress?(dev: NetDevice, addr: Uint8Array): number;
  ndoSetRxMode?(dev: NetDevice): void;
  ndoTxTimeout?(dev: NetDevice): void;
}

/** struct header_ops. */
export interface HeaderOps {
  readonly symbol: string;
  /** Pushes the link header. daddr/saddr null = broadcast-less default / dev->dev_addr. Returns its length, or negative. */
  create(skb: number, dev: NetDevice, type: number, daddr: Uint8Array | null, saddr: Uint8Array | null, len: number): number;
  /** Fills an hh_cache from a neighbour. 0, or -1 if it cannot be cached. */
  cache?(neigh: Neighbour, hh: HhCache, type: number): number;
  cacheUpdate?(hh: HhCache, dev: NetDevice, haddr: Uint8Array): void;
}

/** struct rtnl_link_stats64, the counters that `ip -s link` shows. */
export class NetDeviceStats {
  rxPackets = 0;
  txPackets = 0;
  rxBytes = 0;
  txBytes = 0;
  rxErrors = 0;
  txErrors = 0;
  rxDropped = 0;
  txDropped = 0;
  multicast = 0;
  collisions = 0;
  rxLengthErrors = 0;
  rxOverErrors = 0;
  rxCrcErrors = 0;
  rxFrameErrors = 0;
  rxFifoErrors = 0;
  txCarrierErrors = 0;
  txFifoErrors = 0;
}

export class NetDevice {
  readonly net: Net;
  name: string;
  /** Slot in the kernel's device table, written into skb->dev. Set by register_netdevice. */
  slot = 0;
  ifindex = 0;
  /** Layer-3 MTU in bytes. */
  mtu = 1500;
  minMtu = 68;
  maxMtu = 65535;
  type = 1; // ARPHRD_ETHER
  flags = 0;
  /** __LINK_STATE_*: bit 0 START, bit 1 PRESENT, bit 2 NOCARRIER. */
  state = 0;
  features = 0;
  hwFeatures = 0;
  hardHeaderLen = 14;
  neededHeadroom = 0;
  neededTailroom = 0;
  addrLen = 6;
  readonly devAddr: Uint8Array = new Uint8Array(6);
  readonly broadcast: Uint8Array = new Uint8Array([255, 255, 255, 255, 255, 255]);
  txQueueLen = 1000;
  gsoMaxSize = 65536;
  gsoMaxSegs = 65535;
  readonly stats: NetDeviceStats = new NetDeviceStats();
  netdevOps: NetDeviceOps;
  netdevOpsSetBy = "";
  headerOps: HeaderOps | null = null;
  /** struct in_device (net/ipv4/devinet.ts), null until an address family attaches. */
  ipPtr: unknown = null;
  /** The driver's own state (netdev_priv). */
  priv: unknown = null;
  /** Queueing: see net/sched/sch_generic.ts. */
  qdisc: unknown = null;
  txq: unknown = null;
  promiscuity = 0;
  allmulti = 0;
  /** Packet taps (AF_PACKET, pcap): called for every frame that passes, both ways. */
  taps: PacketTap[] = [];
  /** Entry of the kernel-internal rx handler (bridge), null = none. */
  rxHandler: ((skb: number) => number) | null = null;
  needsRelease = false;

  constructor(net: Net, name: string, ops: NetDeviceOps) {
    this.net = net;
    this.name = name;
    this.netdevOps = ops;
  }
}

/** Sees a frame as it stands at the driver's edge; must not keep or change the skb. */
export interface PacketTap {
  /** `outgoing`: true on transmit. The frame starts at the link header. `reason`: drop reason, or 0. */
  tap(skb: number, dev: NetDevice, outgoing: boolean): void;
}
