/**
 * struct net_device and the two ways through it: dev_queue_xmit down to the driver, netif_rx and NAPI up to the
 * protocols (dev.rx.ts). What configures devices stands in dev_api.ts.
 */

import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  PACKET_OUTGOING,
  QDISC_PKT_LEN,
  SHINFO_FRAG_LIST,
  SHINFO_GSO_SEGS,
  SHINFO_GSO_SIZE,
  SHINFO_GSO_TYPE,
  SHINFO_NR_FRAGS,
  SHINFO_TX_FLAGS,
  SKB_CSUM_OFFSET,
  SKB_CSUM_START,
  SKB_DATA,
  SKB_DATA_LEN,
  SKB_DEV,
  SKB_END,
  SKB_GSO_DODGY,
  SKB_GSO_TCP_ACCECN,
  SKB_GSO_TCP_ECN,
  SKB_GSO_TCPV4,
  SKB_GSO_TCPV6,
  SKB_GSO_UDP_L4,
  SKB_HEAD,
  SKB_IP_SUMMED,
  SKB_LEN,
  SKB_MAC_HEADER,
  SKB_NETWORK_HEADER,
  SKB_NEXT,
  SKB_PKT_TYPE,
  SKB_PROTOCOL,
  SKB_TRANSPORT_HEADER,
} from "../../../assembly/layout.ts";
import { kernel, NET_TX_SOFTIRQ } from "../../kernel/kernel.ts";
import { KERN_CRIT, netRatelimit, printk } from "../../kernel/printk.ts";
import { machine, u8, u16, u32 } from "../../mm/mem.ts";
import {
  SKB_DROP_REASON_DEV_READY,
  SKB_DROP_REASON_NOMEM,
  SKB_DROP_REASON_SKB_CSUM,
  SKB_DROP_REASON_SKB_GSO_SEG,
} from "../../uapi/dropreason.ts";
import { ENETDOWN, ENOMEM } from "../../uapi/errno.ts";
import { IFF_UP } from "../../uapi/if.ts";
import { ETH_P_IP } from "../../uapi/if_ether.ts";
import { SCM_TSTAMP_SCHED, SCM_TSTAMP_SND } from "../../uapi/net_tstamp.ts";
import { netTimestampSet, softnetData } from "./dev.rx.ts";
import { __skbTstampTx, SKBTX_SCHED_TSTAMP, SKBTX_SW_TSTAMP } from "./errqueue.ts";
import { skbGsoSegment } from "./gso.ts";
import type { HhCache, Neighbour } from "./neighbour.ts";
import type { Net } from "./net_namespace.ts";
import {
  NETIF_F_CSUM_MASK,
  NETIF_F_FRAGLIST,
  NETIF_F_GSO_ACCECN,
  NETIF_F_GSO_MASK,
  NETIF_F_GSO_UDP_L4,
  NETIF_F_HW_CSUM,
  NETIF_F_IP_CSUM,
  NETIF_F_LLTX,
  NETIF_F_SG,
  NETIF_F_TSO,
  NETIF_F_TSO_ECN,
  NETIF_F_TSO6,
} from "./netdev_features.ts";
import {
  __QDISC_STATE_DEACTIVATED,
  __QDISC_STATE_SCHED,
  NetdevQueue,
  netifTxQueueStopped,
  netifXmitStopped,
  type Qdisc,
  QUEUE_STATE_DRV_XOFF,
  qdiscBstatsUpdate,
  qdiscDrop,
  qdiscRun,
  qdiscRunBegin,
  qdiscRunEnd,
  type SchedOps,
  sched,
  TCQ_F_CAN_BYPASS,
} from "./sch_generic_h.ts";
import {
  consumeSkb,
  kfreeSkb,
  kfreeSkbReason,
  skbChecksumHelp,
  skbClone,
  skbDev,
  skbDstDrop,
  skbLinearize,
  skbOrphanFragsRx,
  skbSk,
} from "./skbuff.ts";

export {
  devAddPack,
  devRemovePack,
  flushBacklog,
  NapiStruct,
  napiComplete,
  napiDisable,
  napiEnable,
  napiSchedule,
  netDisableTimestamp,
  netEnableTimestamp,
  netifReceiveSkb,
  netifReceiveSkbList,
  netifRx,
  netTimestampSet,
  RX_HANDLER_ANOTHER,
  RX_HANDLER_CONSUMED,
  RX_HANDLER_EXACT,
  RX_HANDLER_PASS,
  SoftnetData,
  softnetData,
} from "./dev.rx.ts";
export {
  __devChangeFlags,
  devChangeFlags,
  devChangeName,
  devChangeNetNamespace,
  devClose,
  devGetByIndex,
  devGetByName,
  devGetFlags,
  devMcAdd,
  devMcDel,
  devOpen,
  devSetAllmulti,
  devSetFeature,
  devSetMacAddress,
  devSetMtu,
  devSetPromiscuity,
  devSetTxQueueLen,
  netDevInit,
  netdevNotifierCall,
  netifCarrierOff,
  netifCarrierOk,
  netifCarrierOn,
  netifDevicePresent,
  netifRunning,
  registerNetdevice,
  registerNetdeviceNotifier,
  unregisterNetdevice,
  unregisterNetdeviceNotifier,
} from "./dev_api.ts";

export { napiGroPoll, napiGroReceive } from "./gro.ts";
export * from "./netdev_features.ts";

export const NETDEV_TX_OK = 0x00;
export const NETDEV_TX_BUSY = 0x10;

export const NET_XMIT_SUCCESS = 0x00;
export const NET_XMIT_DROP = 0x01;
export const NET_XMIT_CN = 0x02;
/** Bits of NET_XMIT_*; NETDEV_TX_BUSY lies outside. */
export const NET_XMIT_MASK = 0x0f;
export const NET_RX_SUCCESS = 0;
export const NET_RX_DROP = 1;

// dev->state.
export const __LINK_STATE_START = 1;
export const __LINK_STATE_PRESENT = 2;
export const __LINK_STATE_NOCARRIER = 4;

// dev->priv_flags.
/** The driver has no use for skb->dst. */
export const IFF_XMIT_DST_RELEASE: number = 1 << 10;
/** No queue by default: a virtual device that is never busy. */
export const IFF_NO_QUEUE: number = 1 << 21;

/** struct net_device_ops. */
export interface NetDeviceOps {
  readonly symbol: string;
  ndoInit?(dev: NetDevice): number;
  ndoUninit?(dev: NetDevice): void;
  ndoOpen?(dev: NetDevice): number;
  ndoStop?(dev: NetDevice): number;
  /** NETDEV_TX_OK: the driver owns the skb. NETDEV_TX_BUSY: it does not. */
  ndoStartXmit(skb: number, dev: NetDevice): number;
  /**
   * The frames of a super-packet that was cut, chained through next, at once. Returns those that it has not taken: they are
   * given to ndoStartXmit, one by one.
   */
  ndoXmitFrames?(first: number, dev: NetDevice): number;
  ndoChangeMtu?(dev: NetDevice, mtu: number): number;
  ndoSetMacAddress?(dev: NetDevice, addr: Uint8Array): number;
  ndoSetRxMode?(dev: NetDevice): void;
  ndoTxTimeout?(dev: NetDevice): void;
}

/** struct header_ops. */
export interface HeaderOps {
  readonly symbol: string;
  /**
   * Pushes the link header. daddr/saddr null = broadcast-less default / dev->dev_addr. Returns its length, or negative.
   */
  create(
    skb: number,
    dev: NetDevice,
    type: number,
    daddr: Uint8Array | null,
    saddr: Uint8Array | null,
    len: number,
  ): number;
  /** Copies the sender's address out of a received frame into `haddr`. Returns its length. */
  parse?(skb: number, haddr: Uint8Array): number;
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
  txAbortedErrors = 0;
  /** Packets of a protocol that nobody handles. */
  rxNohandler = 0;
}

export class NetDevice {
  net: Net;
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
  /** The root qdisc as configured (`tc qdisc show`), null without schedulers. */
  qdisc: Qdisc | null = null;
  /** The transmit queue. */
  readonly txq: NetdevQueue = new NetdevQueue(this);
  /** Qdiscs by handle that were added below the root (qdisc_hash). */
  readonly qdiscs: Qdisc[] = [];
  /** How long the queue may stay stopped before ndo_tx_timeout is called, microseconds; 0 = 5 s. */
  watchdogTimeo = 0;
  promiscuity = 0;
  allmulti = 0;
  /** Link-layer multicast addresses, six bytes as 12 hex digits, and how often each was added. */
  readonly mc: Map<string, number> = new Map();
  /** IFF_XMIT_DST_RELEASE ... */
  privFlags: number = IFF_XMIT_DST_RELEASE;
  /** What the user asked for (ethtool -K); `features` is what of it can be had. */
  wantedFeatures = 0;
  /** NETREG_REGISTERED. */
  registered = false;
  /** Packet taps (pcap): called for every frame that passes, both ways. */
  taps: PacketTap[] = [];
  /** Packet types bound to this device (AF_PACKET with ETH_P_ALL, or one protocol). */
  readonly ptypeAll: PacketType[] = [];
  readonly ptypeSpecific: PacketType[] = [];
  /** Entry of the kernel-internal rx handler (bridge), null = none. */
  rxHandler: ((skb: number) => number) | null = null;
  rxHandlerData: unknown = null;
  needsRelease = false;
  /** rtnl_link_ops->kind of a device that was made on request ("veth", "dummy"); "" = by its driver. */
  linkKind = "";
  /** For `ip link`: a number and a text that mean nothing to the stack. */
  group = 0;
  ifalias = "";

  constructor(net: Net, name: string, ops: NetDeviceOps) {
    this.net = net;
    this.name = name;
    this.netdevOps = ops;
  }
}

/** Sees a frame as it stands at the driver's edge; must not keep or change the skb. */
export interface PacketTap {
  /** `outgoing`: true on transmit. skb->data is at the link header. */
  tap(skb: number, dev: NetDevice, outgoing: boolean): void;
}

/** struct packet_type: who receives frames of an EtherType. */
export interface PacketType {
  /** EtherType in host order; ETH_P_ALL = every frame, both ways (a clone each). */
  readonly type: number;
  /** Only frames of this device; absent or null = of all. */
  readonly dev?: NetDevice | null;
  /** Only frames of this host. Needed for ETH_P_ALL without a device. */
  readonly net?: Net | null;
  /** The C symbol, for the trace: "ip_packet_type". */
  readonly symbol?: string;
  /** Takes the skb over. skb->data is at the network header. `origDev`: the device that it came in on first. */
  func(skb: number, dev: NetDevice, pt: PacketType, origDev: NetDevice): number;
  /** ETH_P_ALL: the sk whose own transmissions are not shown to it; its slot (sk.slot). */
  readonly ignoreSk?: number;
  readonly ignoreOutgoing?: boolean;
}

/** How deep one transmission may lead to another (stacked devices). */
const XMIT_RECURSION_LIMIT = 8;

// ---- transmit -------------------------------------------------------------------------------------------------------

/** netif_needs_gso etc. work on these: which features a gso_type needs (net_gso_ok). */
function netGsoOk(features: number, gsoType: number): boolean {
  return (
    ((gsoType & SKB_GSO_TCPV4) === 0 || (features & NETIF_F_TSO) !== 0) &&
    ((gsoType & SKB_GSO_UDP_L4) === 0 || (features & NETIF_F_GSO_UDP_L4) !== 0) &&
    ((gsoType & SKB_GSO_TCPV6) === 0 || (features & NETIF_F_TSO6) !== 0) &&
    ((gsoType & SKB_GSO_TCP_ECN) === 0 || (features & NETIF_F_TSO_ECN) !== 0) &&
    ((gsoType & SKB_GSO_TCP_ACCECN) === 0 || (features & NETIF_F_GSO_ACCECN) !== 0)
  );
}

function skbGsoOk(skb: number, features: number): boolean {
  const shinfo = u32[(skb + SKB_END) >>> 2];
  return (
    netGsoOk(features, u16[(shinfo + SHINFO_GSO_TYPE) >>> 1]) &&
    (u32[(shinfo + SHINFO_FRAG_LIST) >>> 2] === 0 || (features & NETIF_F_FRAGLIST) !== 0)
  );
}

/** netif_needs_gso: the device cannot cut this super-packet itself. */
export function netifNeedsGso(skb: number, features: number): boolean {
  if (u16[(u32[(skb + SKB_END) >>> 2] + SHINFO_GSO_SIZE) >>> 1] === 0) return false;
  const ipSummed = u8[skb + SKB_IP_SUMMED];
  return !skbGsoOk(skb, features) || (ipSummed !== CHECKSUM_PARTIAL && ipSummed !== CHECKSUM_UNNECESSARY);
}

/** netif_skb_features: what skb->dev can do for this very skb. */
export function netifSkbFeatures(skb: number): number {
  const dev = skbDev(skb) as NetDevice;
  let features = dev.features;
  const shinfo = u32[(skb + SKB_END) >>> 2];
  if (u16[(shinfo + SHINFO_GSO_SIZE) >>> 1] !== 0) {
    // gso_features_check.
    if (u16[(shinfo + SHINFO_GSO_SEGS) >>> 1] > dev.gsoMaxSegs || u32[(skb + SKB_LEN) >>> 2] >= dev.gsoMaxSize + 14) {
      features &= ~NETIF_F_GSO_MASK;
    }
  }
  // harmonize_features: IP_CSUM is for IPv4 only.
  if (
    u8[skb + SKB_IP_SUMMED] !== CHECKSUM_NONE &&
    (features & NETIF_F_HW_CSUM) === 0 &&
    ((features & NETIF_F_IP_CSUM) === 0 || u16[(skb + SKB_PROTOCOL) >>> 1] !== ETH_P_IP)
  ) {
    features &= ~(NETIF_F_CSUM_MASK | NETIF_F_GSO_MASK);
  }
  return features;
}

/** skb_csum_hwoffload_help: leaves the sum to the device if it can, else computes it. 0 or a negative errno. */
function skbCsumHwoffloadHelp(skb: number, features: number): number {
  if ((features & NETIF_F_HW_CSUM) !== 0) return 0;
  if ((features & NETIF_F_IP_CSUM) !== 0) {
    const offset = u16[(skb + SKB_CSUM_OFFSET) >>> 1];
    if (offset === 16 || offset === 6) return 0;
  }
  return skbChecksumHelp(skb);
}

/**
 * validate_xmit_skb: makes the skb one that the device can send: segmented, linear, summed, as it needs. Returns it (or
 * a list of segments), or 0 if it was freed.
 */
export function validateXmitSkb(skb: number, dev: NetDevice): number {
  const shinfo = u32[(skb + SKB_END) >>> 2];
  const gso = u16[(shinfo + SHINFO_GSO_SIZE) >>> 1] !== 0;
  const dataLen = u32[(skb + SKB_DATA_LEN) >>> 2];
  const partial = u8[skb + SKB_IP_SUMMED] === CHECKSUM_PARTIAL;
  if (!gso && dataLen === 0 && !partial) return skb;

  const features = netifSkbFeatures(skb);
  if (gso && (u16[(shinfo + SHINFO_GSO_TYPE) >>> 1] & SKB_GSO_DODGY) !== 0) gsoCheckDodgy(skb, shinfo);
  if (gso && netifNeedsGso(skb, features)) return validateXmitGso(skb, dev, features);

  if (
    dataLen !== 0 &&
    ((u32[(shinfo + SHINFO_FRAG_LIST) >>> 2] !== 0 && (features & NETIF_F_FRAGLIST) === 0) ||
      (u8[shinfo + SHINFO_NR_FRAGS] !== 0 && (features & NETIF_F_SG) === 0))
  ) {
    if (skbLinearize(skb) !== 0) return validateXmitDrop(skb, dev, SKB_DROP_REASON_NOMEM);
  }
  // If the device can't sum, the checksum is completed here.
  if (partial && (features & NETIF_F_HW_CSUM) === 0) {
    u32[(skb + SKB_TRANSPORT_HEADER) >>> 2] = u32[(skb + SKB_HEAD) >>> 2] + u16[(skb + SKB_CSUM_START) >>> 1];
    if (skbCsumHwoffloadHelp(skb, features) !== 0) return validateXmitDrop(skb, dev, SKB_DROP_REASON_SKB_CSUM);
  }
  return skb;
}

/** A super-packet from outside says how large its segments are, not how many there are: count them here. */
function gsoCheckDodgy(skb: number, shinfo: number): void {
  const gsoSize = u16[(shinfo + SHINFO_GSO_SIZE) >>> 1];
  const payload = u32[(skb + SKB_LEN) >>> 2] - gsoHeaderLen(skb, shinfo);
  u16[(shinfo + SHINFO_GSO_SEGS) >>> 1] = payload > 0 ? Math.ceil(payload / gsoSize) : 1;
  u16[(shinfo + SHINFO_GSO_TYPE) >>> 1] &= ~SKB_GSO_DODGY;
}

function validateXmitGso(skb: number, dev: NetDevice, features: number): number {
  const segs = skbGsoSegment(skb, features);
  if (segs === 0) return validateXmitDrop(skb, dev, SKB_DROP_REASON_SKB_GSO_SEG);
  consumeSkb(skb);
  return segs;
}

function validateXmitDrop(skb: number, dev: NetDevice, reason: number): number {
  dev.stats.txDropped++;
  kfreeSkbReason(skb, reason);
  return 0;
}

/** validate_xmit_skb_list. */
export function validateXmitSkbList(skb: number, dev: NetDevice): number {
  if (u32[(skb + SKB_NEXT) >>> 2] === 0) return validateXmitSkb(skb, dev);
  let head = 0;
  let tail = 0;
  let at = skb;
  while (at !== 0) {
    const next = u32[(at + SKB_NEXT) >>> 2];
    u32[(at + SKB_NEXT) >>> 2] = 0;
    const valid = validateXmitSkb(at, dev);
    if (valid !== 0) {
      if (head === 0) head = valid;
      else u32[(tail + SKB_NEXT) >>> 2] = valid;
      tail = valid;
      for (let n = u32[(tail + SKB_NEXT) >>> 2]; n !== 0; n = u32[(n + SKB_NEXT) >>> 2]) tail = n;
    }
    at = next;
  }
  return head;
}

/** Bytes of link, network and transport header of a super-packet whose data is at the link header. */
function gsoHeaderLen(skb: number, shinfo: number): number {
  const th = u32[(skb + SKB_TRANSPORT_HEADER) >>> 2];
  const hdr = th - u32[(skb + SKB_DATA) >>> 2];
  if ((u16[(shinfo + SHINFO_GSO_TYPE) >>> 1] & SKB_GSO_UDP_L4) !== 0) return hdr + 8;
  const headlen = u32[(skb + SKB_LEN) >>> 2] - u32[(skb + SKB_DATA_LEN) >>> 2];
  return hdr + 20 <= headlen ? hdr + (u8[th + 12] >>> 4) * 4 : hdr;
}

/** qdisc_pkt_len_init: what this skb will be on the wire, every segment with its own headers. */
function qdiscPktLenInit(skb: number): void {
  const shinfo = u32[(skb + SKB_END) >>> 2];
  let len = u32[(skb + SKB_LEN) >>> 2];
  if (u16[(shinfo + SHINFO_GSO_SIZE) >>> 1] !== 0) {
    const segs = u16[(shinfo + SHINFO_GSO_SEGS) >>> 1];
    if (segs > 1) len += (segs - 1) * gsoHeaderLen(skb, shinfo);
  }
  u32[(skb + QDISC_PKT_LEN) >>> 2] = len;
}

/** What the last devHardStartXmit has answered: NETDEV_TX_*, NET_XMIT_* or a negative errno. */
export let devXmitRc: number = NETDEV_TX_OK;
let xmitMore = false;

/** netdev_xmit_more: more frames follow at once, so the driver may put off telling its hardware. */
export function netdevXmitMore(): boolean {
  return xmitMore;
}

/** dev_queue_xmit_nit: shows an outgoing frame to the taps. */
export function devQueueXmitNit(skb: number, dev: NetDevice): void {
  const taps = dev.taps;
  for (let i = 0; i < taps.length; i++) (taps[i] as PacketTap).tap(skb, dev, true);
  if (dev.ptypeAll.length !== 0) devQueueXmitPtypes(dev.ptypeAll, skb, dev);
  if (dev.net.ptypeAll.length !== 0) devQueueXmitPtypes(dev.net.ptypeAll, skb, dev);
}

function devQueueXmitPtypes(list: readonly PacketType[], skb: number, dev: NetDevice): void {
  for (let i = 0; i < list.length; i++) {
    const pt = list[i] as PacketType;
    if (pt.ignoreOutgoing === true) continue;
    // A socket does not see what it sends itself (skb_loop_sk).
    if (pt.ignoreSk !== undefined && pt.ignoreSk !== 0 && pt.ignoreSk === u32[(skb + 8) >>> 2]) continue;
    const skb2 = skbClone(skb);
    if (skb2 === 0) return;
    if (skbOrphanFragsRx(skb2) !== 0) {
      kfreeSkb(skb2);
      return;
    }
    const data = u32[(skb2 + SKB_DATA) >>> 2];
    u32[(skb2 + SKB_MAC_HEADER) >>> 2] = data;
    const nh = u32[(skb2 + SKB_NETWORK_HEADER) >>> 2];
    if (nh < data || nh > data + u32[(skb2 + SKB_LEN) >>> 2]) u32[(skb2 + SKB_NETWORK_HEADER) >>> 2] = data;
    u32[(skb2 + SKB_TRANSPORT_HEADER) >>> 2] = u32[(skb2 + SKB_NETWORK_HEADER) >>> 2];
    u8[skb2 + SKB_PKT_TYPE] = PACKET_OUTGOING;
    netTimestampSet(skb2);
    pt.func(skb2, dev, pt, dev);
  }
}

/* notrace */
function devHasTaps(dev: NetDevice): boolean {
  return dev.taps.length !== 0 || dev.ptypeAll.length !== 0 || dev.net.ptypeAll.length !== 0;
}

/** xmit_one: taps, then the driver. */
function xmitOne(skb: number, dev: NetDevice, txq: NetdevQueue, more: boolean): number {
  if (devHasTaps(dev)) devQueueXmitNit(skb, dev);
  xmitMore = more;
  const rc = dev.netdevOps.ndoStartXmit(skb, dev);
  if (rc === NETDEV_TX_OK) txq.transStart = kernel.now;
  return rc;
}

/**
 * dev_hard_start_xmit: hands a list of skbs to the driver. Returns what it did not take (0 = nothing is left), and the
 * driver's last answer in `devXmitRc`.
 */
export function devHardStartXmit(first: number, dev: NetDevice, txq: NetdevQueue): number {
  let skb = first;
  let rc: number = NETDEV_TX_OK;
  while (skb !== 0) {
    let next = u32[(skb + SKB_NEXT) >>> 2];
    if (next !== 0 && dev.netdevOps.ndoXmitFrames !== undefined && !devHasTaps(dev)) {
      skb = dev.netdevOps.ndoXmitFrames(skb, dev);
      txq.transStart = kernel.now;
      if (skb === 0) break;
      next = u32[(skb + SKB_NEXT) >>> 2];
    }
    u32[(skb + SKB_NEXT) >>> 2] = 0;
    rc = xmitOne(skb, dev, txq, next !== 0);
    if (rc >= NET_XMIT_MASK) {
      u32[(skb + SKB_NEXT) >>> 2] = next;
      break;
    }
    skb = next;
    if (skb !== 0 && (txq.state & QUEUE_STATE_DRV_XOFF) !== 0) {
      rc = NETDEV_TX_BUSY;
      break;
    }
  }
  devXmitRc = rc;
  return skb;
}

/** __dev_xmit_skb: through the queueing discipline. */
function __devXmitSkb(skb: number, q: Qdisc, dev: NetDevice, txq: NetdevQueue): number {
  qdiscPktLenInit(skb);
  if ((q.state & __QDISC_STATE_DEACTIVATED) !== 0) return qdiscDrop(skb, q);
  if ((q.flags & TCQ_F_CAN_BYPASS) !== 0 && q.q.qlen === 0 && qdiscRunBegin(q)) {
    // Nobody waits and nobody sends: the packet can pass the queue by.
    qdiscBstatsUpdate(q, skb);
    if ((sched as SchedOps).schDirectXmit(skb, q, dev, txq, true)) (sched as SchedOps).__qdiscRun(q);
    qdiscRunEnd(q);
    return NET_XMIT_SUCCESS;
  }
  const rc = (q.enqueue as (skb: number, sch: Qdisc) => number)(skb, q);
  qdiscRun(q);
  return rc;
}

/**
 * dev_queue_xmit: sends skb through skb->dev. Takes it over whatever it returns: 0 or NET_XMIT_CN (congestion: another
 * packet was dropped for it), NET_XMIT_DROP, or a negative errno. skb->data is at the link header.
 */
export function devQueueXmit(skb: number): number {
  const dev = machine.devs.items[u32[(skb + SKB_DEV) >>> 2]] as NetDevice;
  u32[(skb + SKB_MAC_HEADER) >>> 2] = u32[(skb + SKB_DATA) >>> 2];
  if ((u8[u32[(skb + SKB_END) >>> 2] + SHINFO_TX_FLAGS] & SKBTX_SCHED_TSTAMP) !== 0) txTimestamp(skb, SCM_TSTAMP_SCHED);
  if ((dev.privFlags & IFF_XMIT_DST_RELEASE) !== 0) skbDstDrop(skb);
  const txq = dev.txq;
  const q = txq.qdisc;
  if (q !== null && q.enqueue !== null) return __devXmitSkb(skb, q, dev, txq);
  return devDirectXmit(skb, dev, txq);
}

/**
 * The half of dev_queue_xmit for devices without a queue (noqueue): virtual ones, which are never busy. If one is all
 * the same, the packet is lost: there is nowhere to keep it.
 */
function devDirectXmit(skb: number, dev: NetDevice, txq: NetdevQueue): number {
  let left = skb;
  if ((dev.flags & IFF_UP) !== 0) {
    const sd = softnetData();
    if (txq.xmitLockOwner || sd.xmitRecursion > XMIT_RECURSION_LIMIT) {
      if (netRatelimit()) printk(KERN_CRIT, `Dead loop on virtual device ${dev.name}, fix it urgently!`);
    } else {
      left = validateXmitSkb(skb, dev);
      if (left === 0) return -ENOMEM;
      if (!netifXmitStopped(txq)) {
        const lock = (dev.features & NETIF_F_LLTX) === 0;
        if (lock) txq.xmitLockOwner = true;
        sd.xmitRecursion++;
        left = devHardStartXmit(left, dev, txq);
        sd.xmitRecursion--;
        if (lock) txq.xmitLockOwner = false;
        if (left === 0) return devXmitRc;
      }
      if (netRatelimit()) printk(KERN_CRIT, `Virtual device ${dev.name} asks to queue packet!`);
    }
  }
  while (left !== 0) {
    const next = u32[(left + SKB_NEXT) >>> 2];
    dev.stats.txDropped++;
    kfreeSkbReason(left, SKB_DROP_REASON_DEV_READY);
    left = next;
  }
  return -ENETDOWN;
}

/** skb_tx_timestamp: drivers call it when a frame leaves. Tells the sender's socket, if it wants to know. */
export function skbTxTimestamp(skb: number): void {
  if ((u8[u32[(skb + SKB_END) >>> 2] + SHINFO_TX_FLAGS] & SKBTX_SW_TSTAMP) !== 0) txTimestamp(skb, SCM_TSTAMP_SND);
}

/* notrace */
function txTimestamp(skb: number, tstype: number): void {
  const sk = skbSk(skb);
  if (sk !== null) __skbTstampTx(skb, 0, sk, tstype);
}

// ---- the transmit softirq, and the driver's hold on its queue -------------------------------------------------------

/** __netif_schedule: has the qdisc run by the NET_TX softirq. */
export function __netifSchedule(q: Qdisc): void {
  if ((q.state & __QDISC_STATE_SCHED) !== 0) return;
  q.state |= __QDISC_STATE_SCHED;
  const sd = softnetData();
  q.nextSched = null;
  if (sd.outputQueueTail === null) sd.outputQueue = q;
  else sd.outputQueueTail.nextSched = q;
  sd.outputQueueTail = q;
  kernel.raiseSoftirq(NET_TX_SOFTIRQ);
}

/** net_tx_action. */
export function netTxAction(): void {
  const sd = softnetData();
  let q = sd.outputQueue;
  sd.outputQueue = null;
  sd.outputQueueTail = null;
  while (q !== null) {
    const next: Qdisc | null = q.nextSched;
    q.nextSched = null;
    q.state &= ~__QDISC_STATE_SCHED;
    qdiscRun(q);
    q = next;
  }
}

/** netif_tx_schedule_all / netif_schedule_queue. */
function netifScheduleQueue(txq: NetdevQueue): void {
  if (txq.qdisc !== null && txq.qdisc.enqueue !== null && !netifXmitStopped(txq)) __netifSchedule(txq.qdisc);
}

export function netifTxStartQueue(txq: NetdevQueue): void {
  txq.state &= ~QUEUE_STATE_DRV_XOFF;
}
export function netifTxStopQueue(txq: NetdevQueue): void {
  txq.state |= QUEUE_STATE_DRV_XOFF;
}
/** netif_tx_wake_queue. */
export function netifTxWakeQueue(txq: NetdevQueue): void {
  if ((txq.state & QUEUE_STATE_DRV_XOFF) === 0) return;
  txq.state &= ~QUEUE_STATE_DRV_XOFF;
  netifScheduleQueue(txq);
}

/** netif_stop_queue: the driver takes no more packets until it wakes the queue. */
export function netifStopQueue(dev: NetDevice): void {
  netifTxStopQueue(dev.txq);
}
/** netif_start_queue: allows packets without running the qdisc (ndo_open). */
export function netifStartQueue(dev: NetDevice): void {
  netifTxStartQueue(dev.txq);
}
/** netif_wake_queue: allows packets and sends what waits. */
export function netifWakeQueue(dev: NetDevice): void {
  netifTxWakeQueue(dev.txq);
}
/** netif_queue_stopped. */
export function netifQueueStopped(dev: NetDevice): boolean {
  return netifTxQueueStopped(dev.txq);
}
