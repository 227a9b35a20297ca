/** The link of a script's host: a device without ARP, the far side of which is the script. */

import { NET_SKB_PAD, SKB_FLAG_HEAD_LOCKED, SKB_GSO_TCPV4 } from "../../../assembly/layout.ts";
import { tunCreate } from "../../drivers/net/tun.ts";
import { u8 } from "../../mm/mem.ts";
import {
  skbEnd,
  skbFlags,
  skbHead,
  skbLen,
  skbSetDataLen,
  skbSetFlags,
  skbSetGsoSegs,
  skbSetGsoSize,
  skbSetGsoType,
  skbSetLen,
  skbSetProtocol,
  skbSetTruesize,
} from "../../mm/skb.ts";
import type { NetDevice } from "../../net/core/dev.ts";
import { netifRx } from "../../net/core/dev.ts";
import type { Net } from "../../net/core/net_namespace.ts";
import { NETIF_F_ALL_TSO, NETIF_F_CSUM_MASK } from "../../net/core/netdev_features.ts";
import { allocPage, allocSkb, kfreeSkb, skbFillPageDesc, skbPut, skbReserve } from "../../net/core/skbuff.ts";
import { ethTypeTrans } from "../../net/ethernet/eth.ts";
import { ENOBUFS } from "../../uapi/errno.ts";
import { IFF_NOARP } from "../../uapi/if.ts";

const ETH_HLEN = 14;
const ETH_P_IP = 0x0800;
const PAGE = 4096;

/** An IPv4 datagram that left the host. */
export interface Sniffed {
  /** Microseconds of the machine. */
  readonly time: number;
  readonly bytes: Uint8Array;
}

export class ScriptDevice {
  readonly dev: NetDevice;
  readonly sent: Sniffed[] = [];
  readonly #net: Net;

  /** Makes "tun0" in `net`. */
  constructor(net: Net) {
    this.#net = net;
    const k = net.kernel;
    k.enter();
    try {
      const backend = {
        write: (pieces: Uint8Array[]): number => {
          this.#transmit(pieces);
          return 0;
        },
        close(): void {},
      };
      const dev = tunCreate(net, "tun0", backend, { vnetHdr: true, address: new Uint8Array([2, 0, 0, 0, 0, 1]) });
      if (dev === null) throw new RangeError("no memory for a device");
      // A TUN device leaves segmentation and checksums to the stack unless its owner asks for them.
      dev.flags |= IFF_NOARP;
      dev.features &= ~(NETIF_F_ALL_TSO | NETIF_F_CSUM_MASK);
      dev.hwFeatures &= ~(NETIF_F_ALL_TSO | NETIF_F_CSUM_MASK);
      dev.wantedFeatures &= ~(NETIF_F_ALL_TSO | NETIF_F_CSUM_MASK);
      this.dev = dev;
    } finally {
      k.exit();
    }
  }

  #transmit(pieces: readonly Uint8Array[]): void {
    let len = 0;
    for (let i = 1; i < pieces.length; i++) len += (pieces[i] as Uint8Array).length;
    const frame = new Uint8Array(len);
    let at = 0;
    for (let i = 1; i < pieces.length; i++) {
      frame.set(pieces[i] as Uint8Array, at);
      at += (pieces[i] as Uint8Array).length;
    }
    if ((((frame[12] as number) << 8) | (frame[13] as number)) !== ETH_P_IP) return;
    this.sent.push({ time: this.#net.kernel.now, bytes: frame.subarray(ETH_HLEN) });
  }

  /** The host receives a datagram. `mss` > 0: as one that was merged from segments of that size. Negative errno or 0. */
  inject(datagram: Uint8Array, mss: number): number {
    const k = this.#net.kernel;
    k.enter();
    try {
      const frame = new Uint8Array(ETH_HLEN + datagram.length);
      frame.set(this.dev.devAddr);
      frame.set([2, 0, 0, 0, 0, 2, ETH_P_IP >> 8, ETH_P_IP & 255], 6);
      frame.set(datagram, ETH_HLEN);
      const skb = buildSkb(frame);
      if (skb === 0) return -ENOBUFS;
      const payload = tcpPayload(datagram);
      if (mss > 0 && payload > mss) {
        skbSetGsoSize(skb, mss);
        skbSetGsoType(skb, SKB_GSO_TCPV4);
        skbSetGsoSegs(skb, Math.ceil(payload / mss));
      }
      skbSetProtocol(skb, ethTypeTrans(skb, this.dev));
      netifRx(skb);
      return 0;
    } finally {
      k.exit();
    }
  }
}

// What a packet weighs is part of what scripts see: the receive window follows it. So the sizes are those of the kernel's
// sk_buff and skb_shared_info (x86-64), of its slab caches, and of what tun_alloc_skb asks for.
const KERNEL_SKB = 256;
const KERNEL_SHINFO = 320;
/** SKB_SMALL_HEAD_CACHE_SIZE. */
const SMALL_HEAD = 576;
/** Bytes of a long packet that lie in its head: SKB_MAX_HEAD(NET_SKB_PAD). */
const GOOD_LINEAR: number = PAGE - KERNEL_SHINFO - NET_SKB_PAD;
/** PAGE_SIZE << PAGE_ALLOC_COSTLY_ORDER. */
const LARGEST_PAGE: number = 8 * PAGE;

/** Bytes of the head that the kernel allocates for a linear packet of `len` bytes. */
function kernelHead(len: number): number {
  const size = ((NET_SKB_PAD + len + 63) & ~63) + KERNEL_SHINFO;
  return size <= SMALL_HEAD ? SMALL_HEAD : 2 ** (32 - Math.clz32(size - 1));
}

/** A frame in an skb as a TUN device would make it (tun_alloc_skb): short ones linear, of longer ones the rest in pages. */
function buildSkb(frame: Uint8Array): number {
  const len = frame.length - ETH_HLEN;
  const paged = NET_SKB_PAD + len >= PAGE;
  const head = paged ? PAGE : kernelHead(len);
  const end = head - KERNEL_SHINFO;
  const skb = allocSkb(end);
  if (skb === 0) return 0;
  // The same tailroom, too: it decides whether the next segment is merged into this one. No Ethernet header has a place there.
  skbReserve(skb, skbEnd(skb) - skbHead(skb) - end + NET_SKB_PAD - ETH_HLEN);
  const linear = ETH_HLEN + (paged ? GOOD_LINEAR : len);
  u8.set(frame.subarray(0, linear), skbPut(skb, linear));
  let truesize = KERNEL_SKB + head;
  for (let at = linear, i = 0; at < frame.length; i++) {
    const left = frame.length - at;
    let size = LARGEST_PAGE;
    while (size > PAGE && ((left + PAGE - 1) & -PAGE) < size) size >>= 1;
    const page = allocPage(size);
    if (page === 0) {
      kfreeSkb(skb);
      return 0;
    }
    const n = Math.min(size, left);
    u8.set(frame.subarray(at, at + n), page);
    skbFillPageDesc(skb, i, page, 0, n);
    skbSetLen(skb, skbLen(skb) + n);
    skbSetDataLen(skb, skbLen(skb) - linear);
    truesize += size;
    at += n;
  }
  skbSetTruesize(skb, truesize);
  skbSetFlags(skb, skbFlags(skb) | SKB_FLAG_HEAD_LOCKED);
  return skb;
}

/** Bytes behind a TCP header; 0 for anything else. */
function tcpPayload(d: Uint8Array): number {
  if (d[9] !== 6) return 0;
  return d.length - 20 - ((d[32] as number) >>> 4) * 4;
}
