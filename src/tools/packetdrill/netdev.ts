/** The link of a script's host: a device without ARP, the far side of which is the script. */

import type { TunStruct } from "../../drivers/net/tun.ts";
import { tunCreate, tunGetUser, tunPriv } from "../../drivers/net/tun.ts";
import type { NetDevice } from "../../net/core/dev.ts";
import type { Net } from "../../net/core/net_namespace.ts";
import { NETIF_F_ALL_TSO, NETIF_F_CSUM_MASK } from "../../net/core/netdev_features.ts";
import { IFF_NOARP } from "../../uapi/if.ts";

const ETH_HLEN = 14;
const VNET_HDR_LEN = 10;
const ETH_P_IP = 0x0800;

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
      const tun: TunStruct = tunPriv(this.dev);
      const frame = new Uint8Array(ETH_HLEN + datagram.length);
      frame.set(this.dev.devAddr);
      frame.set([2, 0, 0, 0, 0, 2, ETH_P_IP >> 8, ETH_P_IP & 255], 6);
      frame.set(datagram, ETH_HLEN);
      tun.rxHdr.fill(0);
      const payload = tcpPayload(datagram);
      if (mss > 0 && payload > mss) {
        tun.rxHdr[1] = 1;
        tun.rxHdr[4] = mss & 255;
        tun.rxHdr[5] = mss >> 8;
      }
      let at = 0;
      for (let i = 1; at < frame.length; i++) {
        const view = tun.rxViews[i] as Uint8Array;
        const part = frame.subarray(at, at + view.length);
        view.set(part);
        at += part.length;
      }
      return tunGetUser(tun, frame.length + VNET_HDR_LEN);
    } finally {
      k.exit();
    }
  }
}

/** Bytes behind a TCP header; 0 for anything else. */
function tcpPayload(d: Uint8Array): number {
  if (d[9] !== 6) return 0;
  return d.length - 20 - ((d[32] as number) >>> 4) * 4;
}
