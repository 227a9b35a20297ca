/** Ethernet (net/ethernet/eth.c): the link header and what a device needs to be an Ethernet card. */

import {
  PACKET_BROADCAST,
  PACKET_HOST,
  PACKET_MULTICAST,
  PACKET_OTHERHOST,
  SKB_DATA,
  SKB_DATA_LEN,
  SKB_DEV,
  SKB_LEN,
  SKB_MAC_HEADER,
  SKB_PKT_TYPE,
} from "../../../assembly/layout.ts";
import { getRandomBytes } from "../../kernel/random.ts";
import { dv, u8, u32 } from "../../mm/mem.ts";
import { EADDRNOTAVAIL, EBUSY } from "../../uapi/errno.ts";
import { ARPHRD_ETHER, IFF_BROADCAST, IFF_LOOPBACK, IFF_MULTICAST, IFF_NOARP } from "../../uapi/if.ts";
import {
  ETH_ALEN,
  ETH_DATA_LEN,
  ETH_HLEN,
  ETH_MIN_MTU,
  ETH_P_802_2,
  ETH_P_802_3,
  ETH_P_802_3_MIN,
} from "../../uapi/if_ether.ts";
import { type HeaderOps, NetDevice, type NetDeviceOps } from "../core/dev.ts";
import type { HhCache, Neighbour } from "../core/neighbour.ts";
import type { Net } from "../core/net_namespace.ts";
import { skbPush } from "../core/skbuff.ts";

// ---- struct ethhdr, as functions of its address ---------------------------------------------------------------------

/** Copies a hardware address out of memory. */
function copyOut(addr: number, to: Uint8Array): void {
  for (let i = 0; i < ETH_ALEN; i++) to[i] = u8[addr + i] as number;
}

function copyIn(addr: number, from: Uint8Array): void {
  for (let i = 0; i < ETH_ALEN; i++) u8[addr + i] = from[i] as number;
}

// ---- addresses ------------------------------------------------------------------------------------------------------

/** is_multicast_ether_addr: broadcast included. */
export function isMulticastEtherAddr(addr: Uint8Array): boolean {
  return ((addr[0] as number) & 1) !== 0;
}
export function isBroadcastEtherAddr(addr: Uint8Array): boolean {
  for (let i = 0; i < ETH_ALEN; i++) if (addr[i] !== 0xff) return false;
  return true;
}
export function isZeroEtherAddr(addr: Uint8Array): boolean {
  for (let i = 0; i < ETH_ALEN; i++) if (addr[i] !== 0) return false;
  return true;
}
/** is_valid_ether_addr: neither multicast nor zero. */
export function isValidEtherAddr(addr: Uint8Array): boolean {
  return !isMulticastEtherAddr(addr) && !isZeroEtherAddr(addr);
}
export function etherAddrEqual(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < ETH_ALEN; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** eth_random_addr: locally administered, from the machine's random source. */
export function ethRandomAddr(addr: Uint8Array): void {
  getRandomBytes(addr);
  addr[0] = ((addr[0] as number) & 0xfe) | 0x02;
}

/** eth_hw_addr_set. */
export function ethHwAddrSet(dev: NetDevice, addr: Uint8Array): void {
  dev.devAddr.set(addr.length === ETH_ALEN ? addr : addr.subarray(0, ETH_ALEN));
}

/** eth_hw_addr_random. */
export function ethHwAddrRandom(dev: NetDevice): void {
  ethRandomAddr(dev.devAddr);
}

/** "02:00:5e:10:00:01", as `ip` prints it. */
export function formatEtherAddr(addr: Uint8Array): string {
  let text = "";
  for (let i = 0; i < ETH_ALEN; i++) text += (i > 0 ? ":" : "") + (addr[i] as number).toString(16).padStart(2, "0");
  return text;
}

/** mac_pton: six pairs of hex digits with ":" or "-" between them; null if it is something else. */
export function macPton(text: string): Uint8Array | null {
  if (!/^[0-9a-f]{1,2}([:-][0-9a-f]{1,2}){5}$/i.test(text)) return null;
  return Uint8Array.from(text.split(/[:-]/), (byte) => Number.parseInt(byte, 16));
}

// ---- the header -----------------------------------------------------------------------------------------------------

/**
 * eth_header: pushes the link header. `type` is an EtherType, or ETH_P_802_3/802_2 for a length field with `len`.
 * Without
 * `daddr` the header's destination stays open and -ETH_HLEN is returned (but a device without ARP needs none).
 */
export function ethHeader(
  skb: number,
  dev: NetDevice,
  type: number,
  daddr: Uint8Array | null,
  saddr: Uint8Array | null,
  len: number,
): number {
  const eth = skbPush(skb, ETH_HLEN);
  dv.setUint16(eth + 12, type !== ETH_P_802_3 && type !== ETH_P_802_2 ? type : len);
  copyIn(eth + 6, saddr ?? dev.devAddr);
  if (daddr !== null) {
    copyIn(eth, daddr);
    return ETH_HLEN;
  }
  // Anyway, the loopback device should never use this function.
  if ((dev.flags & (IFF_LOOPBACK | IFF_NOARP)) !== 0) {
    u8.fill(0, eth, eth + ETH_ALEN);
    return ETH_HLEN;
  }
  return -ETH_HLEN;
}

/** eth_header_parse: the sender's address of a received frame. Returns its length. */
export function ethHeaderParse(skb: number, haddr: Uint8Array): number {
  copyOut((u32[(skb + SKB_MAC_HEADER) >>> 2] as number) + 6, haddr);
  return ETH_ALEN;
}

// hh_cache.hh_data is 16 bytes, the header in the last 14 of them, so that the network header behind it is aligned:
//   byte  0  1 | 2 ... 7 | 8 ... 13 | 14 15
//         pad  |  dest   |  source  | type

/** One byte of hh_data: four little-endian words. */
function hhByteSet(hh: HhCache, at: number, value: number): void {
  const shift = (at & 3) * 8;
  hh.hhData[at >>> 2] = ((hh.hhData[at >>> 2] as number) & ~(0xff << shift)) | (value << shift);
}

/** eth_header_cache: fills an hh_cache. -1 for frames with a length field, whose header is not constant. */
export function ethHeaderCache(neigh: Neighbour, hh: HhCache, type: number): number {
  if (type === ETH_P_802_3) return -1;
  hh.hhData[0] = 0;
  ethHeaderCacheUpdate(hh, neigh.dev, neigh.ha);
  for (let i = 0; i < ETH_ALEN; i++) hhByteSet(hh, 8 + i, neigh.dev.devAddr[i] as number);
  hhByteSet(hh, 14, type >>> 8);
  hhByteSet(hh, 15, type & 0xff);
  hh.hhType = type;
  // Last: a length says that the header is there.
  hh.hhLen = ETH_HLEN;
  return 0;
}

/** eth_header_cache_update: the neighbour's address has changed. */
export function ethHeaderCacheUpdate(hh: HhCache, dev: NetDevice, haddr: Uint8Array): void {
  for (let i = 0; i < ETH_ALEN; i++) hhByteSet(hh, 2 + i, haddr[i] as number);
}

/**
 * eth_type_trans: takes the link header off a received frame, sets skb->dev, the mac header and pkt_type, and returns
 * the
 * EtherType in host order (ETH_P_802_2 or ETH_P_802_3 for frames with a length). The frame has at least 14 bytes there.
 */
export function ethTypeTrans(skb: number, dev: NetDevice): number {
  const eth = u32[(skb + SKB_DATA) >>> 2] as number;
  u32[(skb + SKB_DEV) >>> 2] = dev.slot;
  u32[(skb + SKB_MAC_HEADER) >>> 2] = eth;
  u32[(skb + SKB_DATA) >>> 2] = eth + ETH_HLEN;
  u32[(skb + SKB_LEN) >>> 2] -= ETH_HLEN;
  const own = dev.devAddr;
  // The last bytes differ first.
  if (
    u8[eth + 5] === own[5] &&
    u8[eth + 4] === own[4] &&
    u8[eth + 3] === own[3] &&
    u8[eth + 2] === own[2] &&
    u8[eth + 1] === own[1] &&
    u8[eth] === own[0]
  ) {
    u8[skb + SKB_PKT_TYPE] = PACKET_HOST;
  } else {
    u8[skb + SKB_PKT_TYPE] = ethPktType(eth);
  }
  const proto = dv.getUint16(eth + 12);
  return proto >= ETH_P_802_3_MIN ? proto : ethProto8023(skb, eth);
}

/* notrace */
function ethPktType(eth: number): number {
  if (((u8[eth] as number) & 1) === 0) return PACKET_OTHERHOST;
  for (let i = 0; i < ETH_ALEN; i++) if (u8[eth + i] !== 0xff) return PACKET_MULTICAST;
  return PACKET_BROADCAST;
}

/** A length field: Novell's raw 802.3 begins with two bytes of ones, all else is 802.2 LLC. */
/* notrace */
function ethProto8023(skb: number, eth: number): number {
  const headlen = (u32[(skb + SKB_LEN) >>> 2] as number) - (u32[(skb + SKB_DATA_LEN) >>> 2] as number);
  return headlen >= 2 && dv.getUint16(eth + ETH_HLEN) === 0xffff ? ETH_P_802_3 : ETH_P_802_2;
}

export const ethHeaderOps: HeaderOps = {
  symbol: "eth_header_ops",
  create: ethHeader,
  parse: ethHeaderParse,
  cache: ethHeaderCache,
  cacheUpdate: ethHeaderCacheUpdate,
};

// ---- devices --------------------------------------------------------------------------------------------------------

/** eth_prepare_mac_addr_change: a running device keeps its address, unless it says that it can change live. */
export function ethPrepareMacAddrChange(dev: NetDevice, addr: Uint8Array, live: boolean): number {
  if (!live && (dev.flags & 1) !== 0) return -EBUSY;
  return isValidEtherAddr(addr) ? 0 : -EADDRNOTAVAIL;
}

/** eth_mac_addr: ndo_set_mac_address of devices that can change it while they run. */
export function ethMacAddr(dev: NetDevice, addr: Uint8Array): number {
  const err = ethPrepareMacAddrChange(dev, addr, true);
  if (err < 0) return err;
  ethHwAddrSet(dev, addr);
  return 0;
}

/** eth_validate_addr: ndo_validate_addr. */
export function ethValidateAddr(dev: NetDevice): number {
  return isValidEtherAddr(dev.devAddr) ? 0 : -EADDRNOTAVAIL;
}

/** ether_setup: fills in what all Ethernet devices have in common. */
export function etherSetup(dev: NetDevice): void {
  dev.headerOps = ethHeaderOps;
  dev.type = ARPHRD_ETHER;
  dev.hardHeaderLen = ETH_HLEN;
  dev.mtu = ETH_DATA_LEN;
  dev.minMtu = ETH_MIN_MTU;
  dev.maxMtu = ETH_DATA_LEN;
  dev.addrLen = ETH_ALEN;
  dev.txQueueLen = 1000;
  dev.flags = IFF_BROADCAST | IFF_MULTICAST;
  dev.broadcast.fill(0xff);
}

/**
 * alloc_etherdev: an Ethernet device that is not registered yet. `setBy`: the function that assigns dev->netdev_ops.
 */
export function allocEtherdev(net: Net, name: string, ops: NetDeviceOps, setBy: string): NetDevice {
  const dev = new NetDevice(net, name, ops);
  dev.netdevOpsSetBy = setBy;
  etherSetup(dev);
  return dev;
}
