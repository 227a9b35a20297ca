/**
 * A TAP device: frames come from and go to somebody outside of the machine (the host's kernel, an emulator, a pipe)
 * through a backend that moves bytes. With IFF_VNET_HDR every frame carries a virtio_net_hdr, so that checksums and
 * segmentation may stay undone across the border, both ways.
 */

import {
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  NET_IP_ALIGN,
  NET_SKB_PAD,
  SKB_GSO_DODGY,
  SKB_GSO_TCP_ECN,
  SKB_GSO_TCPV4,
  SKB_GSO_TCPV6,
  SKB_GSO_UDP_L4,
} from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { u8 } from "../../mm/mem.ts";
import {
  skbChecksumStartOffset,
  skbCsumOffset,
  skbData,
  skbFragAddress,
  skbFragSize,
  skbGsoSize,
  skbGsoType,
  skbHead,
  skbHeadlen,
  skbIpSummed,
  skbLen,
  skbNrFrags,
  skbSetCsumOffset,
  skbSetCsumStart,
  skbSetDataLen,
  skbSetGsoSegs,
  skbSetGsoSize,
  skbSetGsoType,
  skbSetIpSummed,
  skbSetLen,
  skbSetProtocol,
  skbSetTruesize,
  skbTruesize,
} from "../../mm/skb.ts";
import type { NetDeviceOps } from "../../net/core/dev.ts";
import {
  NETDEV_TX_OK,
  NETIF_F_GSO,
  NETIF_F_HW_CSUM,
  NETIF_F_RXCSUM,
  NETIF_F_SG,
  NETIF_F_TSO,
  NETIF_F_TSO_ECN,
  NETIF_F_TSO6,
  NetDevice,
  netifRx,
  registerNetdevice,
  skbTxTimestamp,
} from "../../net/core/dev.ts";
import type { Net } from "../../net/core/net_namespace.ts";
import {
  __pskbPullTail,
  allocPage,
  allocSkb,
  consumeSkb,
  kfreeSkbReason,
  putPage,
  skbFillPageDesc,
  skbPut,
  skbReserve,
} from "../../net/core/skbuff.ts";
import { etherSetup, ethTypeTrans } from "../../net/ethernet/eth.ts";
import {
  SKB_DROP_REASON_DEV_HDR,
  SKB_DROP_REASON_DEV_READY,
  SKB_DROP_REASON_FULL_RING,
  SKB_DROP_REASON_NOMEM,
} from "../../uapi/dropreason.ts";
import { EAGAIN, EINVAL, ENOBUFS } from "../../uapi/errno.ts";
import { IFF_UP } from "../../uapi/if.ts";
import {
  VIRTIO_NET_HDR_F_DATA_VALID,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from "../../uapi/if_tun.ts";

/** Whoever carries the frames. Both calls happen in kernel context and must not block. */
export interface TunBackend {
  /** Sends one frame given in pieces (the first is the vnet header, if there is one). 0 or a negative errno. */
  write(pieces: Uint8Array[]): number;
  close(): void;
}

export interface TunOptions {
  /** Frames carry a virtio_net_hdr: checksums and TCP segmentation may be left to the other side. */
  vnetHdr?: boolean;
  mtu?: number;
  /** MAC address; random (locally administered) if left out. */
  address?: Uint8Array;
}

/** struct virtio_net_hdr without num_buffers. */
const VIRTIO_NET_HDR_LEN = 10;
/** Bytes of a received frame that are copied into the skb's head; the rest stays in its page. */
const GOODCOPY_LEN = 128;
/** Frames up to this length are copied whole, and their pages are used again. */
const COPYBREAK = 2048 - 64;
const RX_PAGE = 32768;
/** Enough for the largest frame: 14 + 65535 and a vnet header. */
const RX_PAGES = 3;

/** struct tun_struct. */
export class TunStruct {
  readonly dev: NetDevice;
  readonly backend: TunBackend;
  readonly vnetHdr: boolean;
  /** Transmit: the pieces of one frame, and the vnet header among them. */
  readonly txPieces: Uint8Array[] = [];
  readonly txHdr: Uint8Array = new Uint8Array(VIRTIO_NET_HDR_LEN);
  /** Receive: where the next frame is read to: [vnet header,] pages of stack memory. */
  readonly rxHdr: Uint8Array = new Uint8Array(VIRTIO_NET_HDR_LEN);
  readonly rxPages: number[] = [];
  readonly rxViews: Uint8Array[] = [];

  constructor(dev: NetDevice, backend: TunBackend, vnetHdr: boolean) {
    this.dev = dev;
    this.backend = backend;
    this.vnetHdr = vnetHdr;
  }
}

const tunNetdevOps: NetDeviceOps = {
  symbol: "tap_netdev_ops",
  ndoStartXmit: tunNetXmit,
  ndoUninit: tunNetUninit,
};

/** Makes and registers a TAP device in `net`. The kernel must be in context. Returns null with the pool empty. */
export function tunCreate(net: Net, name: string, backend: TunBackend, options: TunOptions): NetDevice | null {
  const dev = new NetDevice(net, name, tunNetdevOps);
  etherSetup(dev);
  dev.netdevOpsSetBy = "tun_net_init";
  dev.maxMtu = 65535 - dev.hardHeaderLen;
  const address = options.address;
  if (address !== undefined) {
    dev.devAddr.set(address);
  } else {
    kernel.random.fill(dev.devAddr);
    dev.devAddr[0] = ((dev.devAddr[0] as number) & 0xfe) | 0x02;
  }
  const vnetHdr = options.vnetHdr === true;
  dev.features = NETIF_F_SG | NETIF_F_GSO | NETIF_F_RXCSUM;
  if (vnetHdr) dev.features |= NETIF_F_HW_CSUM | NETIF_F_TSO | NETIF_F_TSO_ECN | NETIF_F_TSO6;
  dev.hwFeatures = dev.features;
  if (options.mtu !== undefined) dev.mtu = options.mtu;
  const tun = new TunStruct(dev, backend, vnetHdr);
  dev.priv = tun;
  if (vnetHdr) tun.rxViews.push(tun.rxHdr);
  for (let i = 0; i < RX_PAGES; i++) {
    const page = allocPage(RX_PAGE);
    if (page === 0) {
      for (const p of tun.rxPages) putPage(p);
      return null;
    }
    tun.rxPages.push(page);
    tun.rxViews.push(new Uint8Array(u8.buffer, page, RX_PAGE));
  }
  const err = registerNetdevice(dev);
  if (err < 0) {
    for (const p of tun.rxPages) putPage(p);
    return null;
  }
  return dev;
}

export function tunPriv(dev: NetDevice): TunStruct {
  return dev.priv as TunStruct;
}

function tunNetUninit(dev: NetDevice): void {
  const tun = tunPriv(dev);
  for (const page of tun.rxPages) putPage(page);
  tun.rxPages.length = 0;
  tun.rxViews.length = 0;
  tun.backend.close();
}

/** virtio_net_hdr_from_skb: what is left undone in this frame. */
function virtioNetHdrFromSkb(skb: number, h: Uint8Array): void {
  h.fill(0);
  if (skbGsoSize(skb) !== 0) {
    const type = skbGsoType(skb);
    let gso = VIRTIO_NET_HDR_GSO_NONE as number;
    if (type & SKB_GSO_TCPV4) gso = VIRTIO_NET_HDR_GSO_TCPV4;
    else if (type & SKB_GSO_TCPV6) gso = VIRTIO_NET_HDR_GSO_TCPV6;
    else if (type & SKB_GSO_UDP_L4) gso = VIRTIO_NET_HDR_GSO_UDP_L4;
    if (type & SKB_GSO_TCP_ECN) gso |= VIRTIO_NET_HDR_GSO_ECN;
    const size = skbGsoSize(skb);
    const hdrLen = skbHeadlen(skb);
    h[1] = gso;
    h[2] = hdrLen & 0xff;
    h[3] = hdrLen >>> 8;
    h[4] = size & 0xff;
    h[5] = size >>> 8;
  }
  if (skbIpSummed(skb) === CHECKSUM_PARTIAL) {
    const start = skbChecksumStartOffset(skb);
    const offset = skbCsumOffset(skb);
    h[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    h[6] = start & 0xff;
    h[7] = start >>> 8;
    h[8] = offset & 0xff;
    h[9] = offset >>> 8;
  }
}

/** tun_net_xmit: the frame leaves through the backend, by reference. */
export function tunNetXmit(skb: number, dev: NetDevice): number {
  const tun = tunPriv(dev);
  if ((dev.flags & IFF_UP) === 0) {
    kfreeSkbReason(skb, SKB_DROP_REASON_DEV_READY);
    return NETDEV_TX_OK;
  }
  skbTxTimestamp(skb);
  const pieces = tun.txPieces;
  let n = 0;
  if (tun.vnetHdr) {
    virtioNetHdrFromSkb(skb, tun.txHdr);
    pieces[n++] = tun.txHdr;
  }
  const buffer = u8.buffer;
  pieces[n++] = new Uint8Array(buffer, skbData(skb), skbHeadlen(skb));
  const nr = skbNrFrags(skb);
  for (let i = 0; i < nr; i++) pieces[n++] = new Uint8Array(buffer, skbFragAddress(skb, i), skbFragSize(skb, i));
  pieces.length = n;
  const err = tun.backend.write(pieces);
  if (err < 0) {
    dev.stats.txDropped++;
    kfreeSkbReason(skb, SKB_DROP_REASON_FULL_RING);
    return NETDEV_TX_OK;
  }
  dev.stats.txPackets++;
  dev.stats.txBytes += skbLen(skb);
  consumeSkb(skb);
  return NETDEV_TX_OK;
}

/**
 * tun_get_user: `len` bytes (vnet header included) were read into `rxViews`; makes an skb of them and hands it to
 * netif_rx. Returns 0 or a negative errno; the frame is counted as dropped then.
 */
export function tunGetUser(tun: TunStruct, len: number): number {
  const dev = tun.dev;
  if (tun.vnetHdr) len -= VIRTIO_NET_HDR_LEN;
  if (len < 14 || len > 65535 + 14 + 8) {
    dev.stats.rxFrameErrors++;
    dev.stats.rxErrors++;
    return -EINVAL;
  }
  if ((dev.flags & IFF_UP) === 0) {
    dev.stats.rxDropped++;
    return -EAGAIN;
  }
  const linear = len <= COPYBREAK ? len : GOODCOPY_LEN;
  const skb = allocSkb(NET_SKB_PAD + NET_IP_ALIGN + linear);
  if (skb === 0) {
    dev.stats.rxDropped++;
    kernel.dropReasons[SKB_DROP_REASON_NOMEM] = (kernel.dropReasons[SKB_DROP_REASON_NOMEM] as number) + 1;
    return -ENOBUFS;
  }
  skbReserve(skb, NET_SKB_PAD + NET_IP_ALIGN);
  const at = skbPut(skb, linear);
  u8.copyWithin(at, tun.rxPages[0] as number, (tun.rxPages[0] as number) + linear);
  if (len > linear) {
    // The rest stays where it was read to; the pages are the skb's now, and fresh ones take their places.
    let left = len - linear;
    let offset = linear;
    for (let i = 0; left > 0; i++) {
      const n = Math.min(left, RX_PAGE - offset);
      const page = tun.rxPages[i] as number;
      const fresh = allocPage(RX_PAGE);
      if (fresh === 0) {
        dev.stats.rxDropped++;
        kfreeSkbReason(skb, SKB_DROP_REASON_NOMEM);
        return -ENOBUFS;
      }
      skbFillPageDesc(skb, i, page, offset, n);
      tun.rxPages[i] = fresh;
      tun.rxViews[tun.vnetHdr ? i + 1 : i] = new Uint8Array(u8.buffer, fresh, RX_PAGE);
      skbSetLen(skb, skbLen(skb) + n);
      skbSetDataLen(skb, skbLen(skb) - linear);
      skbSetTruesize(skb, skbTruesize(skb) + RX_PAGE);
      left -= n;
      offset = 0;
    }
  }
  dev.stats.rxPackets++;
  dev.stats.rxBytes += len;
  if (tun.vnetHdr && virtioNetHdrToSkb(skb, tun.rxHdr) < 0) {
    dev.stats.rxFrameErrors++;
    kfreeSkbReason(skb, SKB_DROP_REASON_DEV_HDR);
    return -EINVAL;
  }
  skbSetProtocol(skb, ethTypeTrans(skb, dev));
  netifRx(skb);
  return 0;
}

/** virtio_net_hdr_to_skb: believes nothing: offsets must lie inside of the frame. Before eth_type_trans. */
function virtioNetHdrToSkb(skb: number, h: Uint8Array): number {
  const flags = h[0] as number;
  if (flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
    const start = (h[6] as number) | ((h[7] as number) << 8);
    const offset = (h[8] as number) | ((h[9] as number) << 8);
    const needed = start + offset + 2;
    if (needed > skbLen(skb)) return -EINVAL;
    if (needed > skbHeadlen(skb) && __pskbPullTail(skb, needed - skbHeadlen(skb)) === 0) return -EINVAL;
    skbSetIpSummed(skb, CHECKSUM_PARTIAL);
    skbSetCsumStart(skb, skbData(skb) - skbHead(skb) + start);
    skbSetCsumOffset(skb, offset);
  } else if (flags & VIRTIO_NET_HDR_F_DATA_VALID) {
    skbSetIpSummed(skb, CHECKSUM_UNNECESSARY);
  }
  const gso = (h[1] as number) & ~VIRTIO_NET_HDR_GSO_ECN;
  if (gso !== VIRTIO_NET_HDR_GSO_NONE) {
    let type = 0;
    if (gso === VIRTIO_NET_HDR_GSO_TCPV4) type = SKB_GSO_TCPV4;
    else if (gso === VIRTIO_NET_HDR_GSO_TCPV6) type = SKB_GSO_TCPV6;
    else if (gso === VIRTIO_NET_HDR_GSO_UDP_L4) type = SKB_GSO_UDP_L4;
    const size = (h[4] as number) | ((h[5] as number) << 8);
    if (type === 0 || size === 0) return -EINVAL;
    if ((h[1] as number) & VIRTIO_NET_HDR_GSO_ECN) type |= SKB_GSO_TCP_ECN;
    // DODGY: the segment count is not the sender's word but ours to find out.
    skbSetGsoSize(skb, size);
    skbSetGsoType(skb, type | SKB_GSO_DODGY);
    skbSetGsoSegs(skb, Math.max(1, Math.ceil((skbLen(skb) - 54) / size)));
  }
  return 0;
}
