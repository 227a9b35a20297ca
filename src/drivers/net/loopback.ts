/** The loopback device (drivers/net/loopback.c): what a host sends to itself, received again as it is. */

import { SKB_LEN, SKB_PROTOCOL, SKB_TSTAMP } from "../../../assembly/layout.ts";
import { f64, u16, u32 } from "../../mm/mem.ts";
import {
  IFF_NO_QUEUE,
  IFF_XMIT_DST_RELEASE,
  NET_RX_SUCCESS,
  NETDEV_TX_OK,
  NETIF_F_FRAGLIST,
  NETIF_F_GSO_SOFTWARE,
  NETIF_F_HIGHDMA,
  NETIF_F_HW_CSUM,
  NETIF_F_LLTX,
  NETIF_F_LOOPBACK,
  NETIF_F_RXCSUM,
  NETIF_F_SG,
  NetDevice,
  type NetDeviceOps,
  netifRx,
  registerNetdevice,
  skbTxTimestamp,
  unregisterNetdevice,
} from "../../net/core/dev.ts";
import { type Net, type PernetOperations, registerPernetSubsys } from "../../net/core/net_namespace.ts";
import { skbOrphan } from "../../net/core/skbuff.ts";
import { ethHeaderOps, ethTypeTrans } from "../../net/ethernet/eth.ts";
import { ARPHRD_LOOPBACK, IFF_LOOPBACK } from "../../uapi/if.ts";
import { ETH_HLEN } from "../../uapi/if_ether.ts";

/** loopback_xmit: the transmitted skb is the received one. It keeps its route, so that input needs no second lookup. */
export function loopbackXmit(skb: number, dev: NetDevice): number {
  skbTxTimestamp(skb);
  // Not a time of receipt.
  f64[(skb + SKB_TSTAMP) >>> 3] = 0;
  skbOrphan(skb);
  u16[(skb + SKB_PROTOCOL) >>> 1] = ethTypeTrans(skb, dev);
  const len = u32[(skb + SKB_LEN) >>> 2] as number;
  if (netifRx(skb) === NET_RX_SUCCESS) {
    const stats = dev.stats;
    stats.txPackets++;
    stats.rxPackets++;
    stats.txBytes += len;
    stats.rxBytes += len;
  }
  return NETDEV_TX_OK;
}

const loopbackOps: NetDeviceOps = {
  symbol: "loopback_ops",
  ndoStartXmit: loopbackXmit,
};

/** loopback_setup. */
function loopbackSetup(dev: NetDevice): void {
  dev.mtu = 64 * 1024;
  dev.minMtu = 0;
  dev.maxMtu = 0;
  dev.hardHeaderLen = ETH_HLEN;
  dev.type = ARPHRD_LOOPBACK;
  dev.flags = IFF_LOOPBACK;
  dev.privFlags |= IFF_NO_QUEUE;
  dev.privFlags &= ~IFF_XMIT_DST_RELEASE;
  dev.features =
    NETIF_F_SG |
    NETIF_F_FRAGLIST |
    NETIF_F_GSO_SOFTWARE |
    NETIF_F_HW_CSUM |
    NETIF_F_RXCSUM |
    NETIF_F_HIGHDMA |
    NETIF_F_LLTX |
    NETIF_F_LOOPBACK;
  dev.hwFeatures = NETIF_F_GSO_SOFTWARE | NETIF_F_SG;
  dev.headerOps = ethHeaderOps;
  dev.netdevOpsSetBy = "loopback_setup";
}

/** loopback_net_init: gives the host its `lo`, with ifindex 1. */
export function loopbackNetInit(net: Net): number {
  const dev = new NetDevice(net, "lo", loopbackOps);
  dev.broadcast.fill(0);
  loopbackSetup(dev);
  const err = registerNetdevice(dev);
  if (err < 0) return err;
  net.loopbackDev = dev;
  return 0;
}

const loopbackNetOps: PernetOperations = {
  name: "loopback",
  init: loopbackNetInit,
  exit(net: Net): void {
    if (net.loopbackDev !== null) unregisterNetdevice(net.loopbackDev);
  },
};

/** Makes every host have a loopback device. Comes after netDevInit and before the protocols. */
export function loopbackInit(): void {
  registerPernetSubsys(loopbackNetOps);
}
