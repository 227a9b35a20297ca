/**
 * The dummy device (drivers/net/dummy.c): an Ethernet device that throws away what it is given; a place for addresses.
 */

import { SKB_LEN } from "../../../assembly/layout.ts";
import { u32 } from "../../mm/mem.ts";
import {
  IFF_NO_QUEUE,
  NETDEV_TX_OK,
  NETIF_F_FRAGLIST,
  NETIF_F_GSO_SOFTWARE,
  NETIF_F_HIGHDMA,
  NETIF_F_HW_CSUM,
  NETIF_F_LLTX,
  NETIF_F_SG,
  NetDevice,
  type NetDeviceOps,
  registerNetdevice,
  skbTxTimestamp,
} from "../../net/core/dev.ts";
import type { Net } from "../../net/core/net_namespace.ts";
import { consumeSkb } from "../../net/core/skbuff.ts";
import { etherSetup, ethHwAddrRandom, ethHwAddrSet, ethMacAddr } from "../../net/ethernet/eth.ts";
import { IFF_MULTICAST, IFF_NOARP } from "../../uapi/if.ts";

/** dummy_xmit. */
export function dummyXmit(skb: number, dev: NetDevice): number {
  dev.stats.txPackets++;
  dev.stats.txBytes += u32[(skb + SKB_LEN) >>> 2] as number;
  skbTxTimestamp(skb);
  consumeSkb(skb);
  return NETDEV_TX_OK;
}

const dummyNetdevOps: NetDeviceOps = {
  symbol: "dummy_netdev_ops",
  ndoStartXmit: dummyXmit,
  ndoSetMacAddress: ethMacAddr,
};

/** `ip link add NAME type dummy`: down. The device, or a negative errno. */
export function dummyNewlink(net: Net, name: string, address?: Uint8Array): NetDevice | number {
  const dev = new NetDevice(net, name, dummyNetdevOps);
  etherSetup(dev);
  dev.netdevOpsSetBy = "dummy_setup";
  dev.minMtu = 0;
  dev.maxMtu = 0;
  dev.flags |= IFF_NOARP;
  dev.flags &= ~IFF_MULTICAST;
  dev.privFlags |= IFF_NO_QUEUE;
  dev.features =
    NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_GSO_SOFTWARE | NETIF_F_HW_CSUM | NETIF_F_HIGHDMA | NETIF_F_LLTX;
  dev.hwFeatures = dev.features;
  if (address === undefined) ethHwAddrRandom(dev);
  else ethHwAddrSet(dev, address);
  const err = registerNetdevice(dev);
  return err < 0 ? err : dev;
}
