/**
 * Virtual Ethernet pairs (drivers/net/veth.c): what one end transmits the other one, usually in another host, receives.
 * With the offloads on, super-packets cross as they are, by reference, their checksums never computed; without them
 * (`devSetFeature`) frames are segmented and summed on the way in, as on a wire.
 */

import {
  CHECKSUM_COMPLETE,
  CHECKSUM_NONE,
  CHECKSUM_UNNECESSARY,
  SHINFO_GSO_SIZE,
  SHINFO_TX_FLAGS,
  SKB_DATA,
  SKB_DATA_LEN,
  SKB_END,
  SKB_FLAG_IGNORE_DF,
  SKB_FLAGS,
  SKB_IP_SUMMED,
  SKB_LEN,
  SKB_NEXT,
  SKB_PRIORITY,
  SKB_PROTOCOL,
  SKB_SKB_IIF,
  SKB_TSTAMP,
} from "../../../assembly/layout.ts";
import { f64, machine, u8, u16, u32, wasm } from "../../mm/mem.ts";
import {
  __LINK_STATE_START,
  devSetFeature,
  IFF_NO_QUEUE,
  NapiStruct,
  NET_RX_DROP,
  NET_RX_SUCCESS,
  NET_XMIT_DROP,
  NETDEV_TX_OK,
  NETIF_F_ALL_TSO,
  NETIF_F_FRAGLIST,
  NETIF_F_GRO,
  NETIF_F_GSO_SOFTWARE,
  NETIF_F_HIGHDMA,
  NETIF_F_HW_CSUM,
  NETIF_F_LLTX,
  NETIF_F_RXCSUM,
  NETIF_F_SG,
  NetDevice,
  type NetDeviceOps,
  napiComplete,
  napiDisable,
  napiEnable,
  napiGroReceive,
  napiSchedule,
  netifCarrierOff,
  netifCarrierOn,
  netifRx,
  netifStopQueue,
  netifWakeQueue,
  registerNetdevice,
  skbTxTimestamp,
  unregisterNetdevice,
} from "../../net/core/dev.ts";
import type { Net } from "../../net/core/net_namespace.ts";
import { QdiscSkbHead, qdiscSkbPurge, qdiscSkbTail } from "../../net/core/sch_generic_h.ts";
import { kfreeSkbReason, pskbMayPull, skbDst, skbPostpullRcsum, skbScrubPacket } from "../../net/core/skbuff.ts";
import { etherSetup, ethHwAddrRandom, ethHwAddrSet, ethMacAddr, ethTypeTrans } from "../../net/ethernet/eth.ts";
import {
  SKB_DROP_REASON_DEV_READY,
  SKB_DROP_REASON_FULL_RING,
  SKB_DROP_REASON_HDR_TRUNC,
  SKB_DROP_REASON_PKT_TOO_BIG,
} from "../../uapi/dropreason.ts";
import { ENOTCONN } from "../../uapi/errno.ts";
import { IFF_UP } from "../../uapi/if.ts";
import { ETH_HLEN, ETH_MAX_MTU } from "../../uapi/if_ether.ts";
import type { Wire, WirePort } from "./wire.ts";

/** The offloads of a veth. */
export const VETH_FEATURES: number =
  NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_HW_CSUM | NETIF_F_RXCSUM | NETIF_F_HIGHDMA | NETIF_F_GSO_SOFTWARE;

/** Room that a frame may have beyond the MTU: a VLAN tag. */
const VLAN_HLEN = 4;

/** Frames that wait for the other end's poll (VETH_RING_SIZE); as many as a backlog takes. */
const VETH_RING_SIZE = 1000;

/** Word of ARENA_RESULT in which forwardFrames leaves how many there were, and the bytes behind the first. */
const RESULT_FORWARDED = 8;

class VethPriv {
  peer: NetDevice | null = null;
  /** Instead of the peer: this device is one end of a wire. */
  wire: Wire | null = null;
  wireEnd = 0;
  /** Frames for this end, while GRO is on: its NAPI poll joins them. */
  readonly ring: QdiscSkbHead = new QdiscSkbHead();
  readonly napi: NapiStruct;

  constructor(dev: NetDevice) {
    this.napi = new NapiStruct(dev, vethPoll);
  }
}

/** is_skb_forwardable: the device is up and the frame no longer than it takes. Returns a drop reason, 0 = fine. */
function skbForwardable(dev: NetDevice, skb: number): number {
  if ((dev.flags & IFF_UP) === 0) return SKB_DROP_REASON_DEV_READY;
  if ((u32[(skb + SKB_LEN) >>> 2] as number) <= dev.mtu + dev.hardHeaderLen + VLAN_HLEN) return 0;
  // The length of a super-packet does not matter: its segments fit.
  return u16[((u32[(skb + SKB_END) >>> 2] as number) + SHINFO_GSO_SIZE) >>> 1] !== 0 ? 0 : SKB_DROP_REASON_PKT_TOO_BIG;
}

/**
 * __dev_forward_skb: makes a transmitted skb one that `dev` has received, or frees it. It keeps its owner (so that TCP
 * small queues see what is on its way) and, inside one host, its mark. NET_RX_SUCCESS or NET_RX_DROP.
 */
function __devForwardSkb(dev: NetDevice, skb: number, xnet: boolean): number {
  const reason = skbForwardable(dev, skb);
  if (reason !== 0) {
    dev.stats.rxDropped++;
    kfreeSkbReason(skb, reason);
    return NET_RX_DROP;
  }
  skbScrubPacket(skb, xnet);
  u32[(skb + SKB_SKB_IIF) >>> 2] = 0;
  u8[skb + SKB_FLAGS] &= ~SKB_FLAG_IGNORE_DF;
  if (xnet) f64[(skb + SKB_TSTAMP) >>> 3] = 0;
  u32[(skb + SKB_PRIORITY) >>> 2] = 0;
  u16[(skb + SKB_PROTOCOL) >>> 1] = ethTypeTrans(skb, dev);
  if (u8[skb + SKB_IP_SUMMED] === CHECKSUM_COMPLETE) {
    skbPostpullRcsum(skb, (u32[(skb + SKB_DATA) >>> 2] as number) - ETH_HLEN, ETH_HLEN);
  }
  return NET_RX_SUCCESS;
}

/** veth_forward_skb: to the backlog, or, where frames may be joined (`gro`), to the poll. */
function vethForwardSkb(dev: NetDevice, skb: number, xnet: boolean, gro: boolean): number {
  if (__devForwardSkb(dev, skb, xnet) !== NET_RX_SUCCESS) return NET_RX_DROP;
  return gro ? vethNapiRx(dev, skb) : netifRx(skb);
}

/** veth_poll: what waits in the ring goes through GRO. */
function vethPoll(napi: NapiStruct, budget: number): number {
  const { ring } = (napi.dev as NetDevice).priv as VethPriv;
  const first = ring.head;
  if (first === 0) {
    napiComplete(napi);
    return 0;
  }
  let last = first;
  let work = 1;
  for (let next = u32[(last + SKB_NEXT) >>> 2] as number; next !== 0 && work < budget; work++) {
    last = next;
    next = u32[(last + SKB_NEXT) >>> 2] as number;
  }
  ring.head = u32[(last + SKB_NEXT) >>> 2] as number;
  if (ring.head === 0) ring.tail = 0;
  ring.qlen -= work;
  napiGroReceive(napi, first, last);
  if (work < budget) napiComplete(napi);
  return work;
}

/** veth_xdp_rx: queues a frame for the poll. NET_RX_SUCCESS or NET_RX_DROP. */
function vethNapiRx(dev: NetDevice, skb: number): number {
  const priv = dev.priv as VethPriv;
  if (priv.ring.qlen >= VETH_RING_SIZE || (dev.state & __LINK_STATE_START) === 0) {
    dev.stats.rxDropped++;
    kfreeSkbReason(skb, SKB_DROP_REASON_FULL_RING);
    return NET_RX_DROP;
  }
  qdiscSkbTail(priv.ring, skb);
  napiSchedule(priv.napi);
  return NET_RX_SUCCESS;
}

/** veth_xmit. */
export function vethXmit(skb: number, dev: NetDevice): number {
  const priv = dev.priv as VethPriv;
  const length = u32[(skb + SKB_LEN) >>> 2] as number;
  if (!pskbMayPull(skb, ETH_HLEN)) {
    dev.stats.txDropped++;
    kfreeSkbReason(skb, SKB_DROP_REASON_HDR_TRUNC);
    return NET_XMIT_DROP;
  }
  skbTxTimestamp(skb);
  if (priv.wire !== null) {
    dev.stats.txPackets++;
    dev.stats.txBytes += length;
    priv.wire.send(priv.wireEnd, skb);
    // A queue of the device's own (tc qdisc) fills up when the line is busy; without one the wire's limit is the queue.
    const qdisc = dev.txq.qdisc;
    if (qdisc !== null && qdisc.enqueue !== null && !priv.wire.ready(priv.wireEnd)) netifStopQueue(dev);
    return NETDEV_TX_OK;
  }
  const rcv = priv.peer;
  if (rcv === null) {
    dev.stats.txDropped++;
    kfreeSkbReason(skb, SKB_DROP_REASON_DEV_READY);
    return NET_XMIT_DROP;
  }
  // veth_skb_is_eligible_for_gro: a sender with TSO has no frames to join.
  const gro = (rcv.features & NETIF_F_GRO) !== 0 && (dev.features & NETIF_F_ALL_TSO) === 0;
  if (vethForwardSkb(rcv, skb, rcv.net !== dev.net, gro) !== NET_RX_SUCCESS) {
    dev.stats.txDropped++;
    return NET_XMIT_DROP;
  }
  dev.stats.txPackets++;
  dev.stats.txBytes += length;
  rcv.stats.rxPackets++;
  rcv.stats.rxBytes += length;
  return NETDEV_TX_OK;
}

/** veth_xmit for the frames of a super-packet, where they go to a poll: what they have in common is done once. */
function vethXmitFrames(first: number, dev: NetDevice): number {
  const { peer: rcv, wire } = dev.priv as VethPriv;
  if (wire !== null || rcv === null || (rcv.features & NETIF_F_GRO) === 0 || (dev.features & NETIF_F_ALL_TSO) !== 0) {
    return first;
  }
  const { napi, ring } = rcv.priv as VethPriv;
  const shinfo = u32[(first + SKB_END) >>> 2] as number;
  const length = u32[(first + SKB_LEN) >>> 2] as number;
  // Whatever is not plain goes the way of a single frame.
  if (
    ring.qlen >= VETH_RING_SIZE ||
    (rcv.state & __LINK_STATE_START) === 0 ||
    u8[shinfo + SHINFO_TX_FLAGS] !== 0 ||
    u16[(shinfo + SHINFO_GSO_SIZE) >>> 1] !== 0 ||
    length - (u32[(first + SKB_DATA_LEN) >>> 2] as number) < ETH_HLEN ||
    skbDst(first) !== null ||
    skbForwardable(rcv, first) !== 0
  ) {
    return first;
  }
  __devForwardSkb(rcv, first, rcv.net !== dev.net);
  const last = wasm.forwardFrames(first, VETH_RING_SIZE - ring.qlen);
  const count = u32[(machine.result >>> 2) + RESULT_FORWARDED] as number;
  const bytes = length + (u32[(machine.result >>> 2) + RESULT_FORWARDED + 1] as number);
  const rest = u32[(last + SKB_NEXT) >>> 2] as number;
  u32[(last + SKB_NEXT) >>> 2] = 0;
  if (ring.tail === 0) ring.head = first;
  else u32[(ring.tail + SKB_NEXT) >>> 2] = first;
  ring.tail = last;
  ring.qlen += count;
  napiSchedule(napi);
  dev.stats.txPackets += count;
  dev.stats.txBytes += bytes;
  rcv.stats.rxPackets += count;
  rcv.stats.rxBytes += bytes;
  return rest;
}

/** veth_open: the carrier is there as soon as both ends are up. */
function vethOpen(dev: NetDevice): number {
  const priv = dev.priv as VethPriv;
  napiEnable(priv.napi);
  if (priv.wire !== null) {
    netifCarrierOn(dev);
    return 0;
  }
  const peer = priv.peer;
  if (peer === null) return -ENOTCONN;
  if ((peer.flags & IFF_UP) !== 0) {
    netifCarrierOn(dev);
    netifCarrierOn(peer);
  }
  return 0;
}

function vethClose(dev: NetDevice): number {
  const { napi, peer, ring } = dev.priv as VethPriv;
  netifCarrierOff(dev);
  napiDisable(napi);
  qdiscSkbPurge(ring, SKB_DROP_REASON_DEV_READY);
  if (peer !== null) netifCarrierOff(peer);
  return 0;
}

/** One end never goes alone. */
function vethUninit(dev: NetDevice): void {
  const priv = dev.priv as VethPriv;
  priv.wire?.detach(priv.wireEnd);
  priv.wire = null;
  const peer = priv.peer;
  if (peer === null) return;
  priv.peer = null;
  (peer.priv as VethPriv).peer = null;
  unregisterNetdevice(peer);
}

const vethNetdevOps: NetDeviceOps = {
  symbol: "veth_netdev_ops",
  ndoUninit: vethUninit,
  ndoOpen: vethOpen,
  ndoStop: vethClose,
  ndoStartXmit: vethXmit,
  ndoXmitFrames: vethXmitFrames,
  ndoSetMacAddress: ethMacAddr,
};

/** veth_setup. */
function vethSetup(net: Net, name: string, options: VethOptions | undefined): NetDevice {
  const dev = new NetDevice(net, name, vethNetdevOps);
  etherSetup(dev);
  dev.netdevOpsSetBy = "veth_setup";
  dev.maxMtu = ETH_MAX_MTU;
  dev.privFlags |= IFF_NO_QUEUE;
  dev.features = VETH_FEATURES | NETIF_F_LLTX;
  dev.hwFeatures = VETH_FEATURES;
  dev.priv = new VethPriv(dev);
  if (options?.mtu !== undefined) dev.mtu = options.mtu;
  if (options?.address === undefined) ethHwAddrRandom(dev);
  else ethHwAddrSet(dev, options.address);
  // No carrier yet; nobody needs to be told.
  netifCarrierOff(dev);
  return dev;
}

/** register_netdevice and veth_disable_gro: frames are joined only where somebody asks for it. 0 or a negative errno. */
function vethRegister(dev: NetDevice): number {
  const err = registerNetdevice(dev);
  if (err >= 0) devSetFeature(dev, NETIF_F_GRO, false);
  return err;
}

export interface VethOptions {
  /** Bytes of layer 3; 1500 by default. */
  mtu?: number;
  /** Six bytes; random by default. */
  address?: Uint8Array;
}

/**
 * veth_newlink: `ip link add NAME type veth peer name PEER netns ...`. Both ends are down. Names may be templates.
 * Returns the first end, or a negative errno; `vethPeer` gives the other one.
 */
export function vethNewlink(
  net: Net,
  name: string,
  peerNet: Net,
  peerName: string,
  options?: VethOptions,
  peerOptions?: VethOptions,
): NetDevice | number {
  const peer = vethSetup(peerNet, peerName, peerOptions);
  let err = vethRegister(peer);
  if (err < 0) return err;
  const dev = vethSetup(net, name, options);
  err = vethRegister(dev);
  if (err < 0) {
    unregisterNetdevice(peer);
    return err;
  }
  (dev.priv as VethPriv).peer = peer;
  (peer.priv as VethPriv).peer = dev;
  return dev;
}

/** The other end; null if it is gone. */
export function vethPeer(dev: NetDevice): NetDevice | null {
  return dev.priv instanceof VethPriv ? dev.priv.peer : null;
}

/** The wire that the device is an end of; null for a pair, and for other devices. */
export function vethWire(dev: NetDevice): Wire | null {
  return dev.priv instanceof VethPriv ? dev.priv.wire : null;
}

/** veth_dellink: removes both ends. */
export function vethDellink(dev: NetDevice): void {
  unregisterNetdevice(dev);
}

// ---- one end of a wire ----------------------------------------------------------------------------------------------

/** Frames from a wire into a virtual Ethernet device. */
class VethPort implements WirePort {
  readonly gso = true;
  readonly paused = false;
  readonly dev: NetDevice;
  constructor(dev: NetDevice) {
    this.dev = dev;
  }

  receive(skb: number): void {
    vethWireReceive(this.dev, skb);
  }
  receiveRaw(): boolean {
    return false;
  }
  wireRoom(): void {
    netifWakeQueue(this.dev);
  }
}

/** A frame has come in from the wire. */
function vethWireReceive(dev: NetDevice, skb: number): void {
  const length = u32[(skb + SKB_LEN) >>> 2] as number;
  if (!pskbMayPull(skb, ETH_HLEN)) {
    dev.stats.rxErrors++;
    dev.stats.rxLengthErrors++;
    kfreeSkbReason(skb, SKB_DROP_REASON_HDR_TRUNC);
    return;
  }
  // The card has checked the sums, unless it was told not to.
  if ((dev.features & NETIF_F_RXCSUM) === 0 && u8[skb + SKB_IP_SUMMED] === CHECKSUM_UNNECESSARY) {
    u8[skb + SKB_IP_SUMMED] = CHECKSUM_NONE;
  }
  if (vethForwardSkb(dev, skb, true, (dev.features & NETIF_F_GRO) !== 0) === NET_RX_SUCCESS) {
    dev.stats.rxPackets++;
    dev.stats.rxBytes += length;
  }
}

/**
 * An Ethernet device at end 0 or 1 of `wire`, instead of a pair: what it sends crosses the wire frame by frame. Down.
 * Returns the device or a negative errno.
 */
export function wireNewlink(
  net: Net,
  name: string,
  wire: Wire,
  end: number,
  options?: VethOptions,
): NetDevice | number {
  const dev = vethSetup(net, name, options);
  dev.netdevOpsSetBy = "veth_setup";
  const priv = dev.priv as VethPriv;
  const err = vethRegister(dev);
  if (err < 0) return err;
  priv.wire = wire;
  priv.wireEnd = end;
  wire.attach(end, new VethPort(dev));
  return dev;
}
