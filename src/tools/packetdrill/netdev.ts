/** The link of a script's host: a device without ARP, the far side of which is the script. */

import { NET_IP_ALIGN, NET_SKB_PAD, SKB_GSO_TCPV4 } from "../../../assembly/layout.ts";
import { tunCreate } from "../../drivers/net/tun.ts";
import { u8 } from "../../mm/mem.ts";
import {
  skbLen,
  skbSetDataLen,
  skbSetGsoSegs,
  skbSetGsoSize,
  skbSetGsoType,
  skbSetLen,
  skbSetProtocol,
  skbSetTruesize,
  skbTruesize,
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
/** Frames up to this length lie in one piece; of longer ones, this much does. */
const COPYBREAK = 2048 - 64;
const GOODCOPY_LEN = 128;
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

/**
 * A frame in an skb as a TUN device would make it: headers in front, the rest in pages of just the size. What a packet weighs
 * is part of what scripts see: the receive window follows it.
 */
function buildSkb(frame: Uint8Array): number {
  const linear = frame.length <= COPYBREAK ? frame.length : GOODCOPY_LEN;
  const skb = allocSkb(NET_SKB_PAD + NET_IP_ALIGN + linear);
  if (skb === 0) return 0;
  skbReserve(skb, NET_SKB_PAD + NET_IP_ALIGN);
  u8.set(frame.subarray(0, linear), skbPut(skb, linear));
  for (let at = linear, i = 0; at < frame.length; at += PAGE, i++) {
    const page = allocPage(PAGE);
    if (page === 0) {
      kfreeSkb(skb);
      return 0;
    }
    const n = Math.min(PAGE, frame.length - at);
    u8.set(frame.subarray(at, at + n), page);
    skbFillPageDesc(skb, i, page, 0, n);
    skbSetLen(skb, skbLen(skb) + n);
    skbSetDataLen(skb, skbLen(skb) - linear);
    skbSetTruesize(skb, skbTruesize(skb) + PAGE);
  }
  return skb;
}

/** Bytes behind a TCP header; 0 for anything else. */
function tcpPayload(d: Uint8Array): number {
  if (d[9] !== 6) return 0;
  return d.length - 20 - ((d[32] as number) >>> 4) * 4;
}
