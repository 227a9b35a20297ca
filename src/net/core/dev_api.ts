/**
 * What configures network devices: registration, names, open and close, MTU, addresses, features, carrier, and the
 * chain
 * of those who want to hear of it (net/core/dev.c, dev_api.c, dev_addr_lists.c, link_watch.c). None of it is for the
 * packet path. Errors are negative errnos.
 */

import { EEXIST, EINVAL, ENFILE, ENODEV, ENOENT, EOPNOTSUPP, EOVERFLOW } from "../../uapi/errno.ts";
import {
  IFF_ALLMULTI,
  IFF_AUTOMEDIA,
  IFF_DEBUG,
  IFF_DYNAMIC,
  IFF_LOOPBACK,
  IFF_LOWER_UP,
  IFF_MULTICAST,
  IFF_NOARP,
  IFF_NOTRAILERS,
  IFF_PORTSEL,
  IFF_PROMISC,
  IFF_RUNNING,
  IFF_UP,
  IFF_VOLATILE,
  IFNAMSIZ,
} from "../../uapi/if.ts";
import {
  __LINK_STATE_NOCARRIER,
  __LINK_STATE_PRESENT,
  __LINK_STATE_START,
  flushBacklog,
  type NetDevice,
} from "./dev.ts";
import { type Net, type PernetOperations, registerPernetSubsys } from "./net_namespace.ts";
import {
  NETIF_F_ALL_TSO,
  NETIF_F_CSUM_MASK,
  NETIF_F_GRO,
  NETIF_F_GSO,
  NETIF_F_GSO_UDP_L4,
  NETIF_F_HW_CSUM,
  NETIF_F_RXCSUM,
  NETIF_F_SG,
  NETIF_F_SOFT_FEATURES,
  NETIF_F_TSO,
  NETIF_F_TSO_ECN,
} from "./netdev_features.ts";
import { sched } from "./sch_generic_h.ts";

// ---- the notifier chain ---------------------------------------------------------------------------------------------

export const NETDEV_UP = 1;
export const NETDEV_DOWN = 2;
export const NETDEV_REBOOT = 3;
export const NETDEV_CHANGE = 4;
export const NETDEV_REGISTER = 5;
export const NETDEV_UNREGISTER = 6;
export const NETDEV_CHANGEMTU = 7;
export const NETDEV_CHANGEADDR = 8;
export const NETDEV_PRE_CHANGEADDR = 9;
export const NETDEV_GOING_DOWN = 10;
export const NETDEV_CHANGENAME = 11;
export const NETDEV_FEAT_CHANGE = 12;
export const NETDEV_PRE_UP = 14;
export const NETDEV_NOTIFY_PEERS = 20;
export const NETDEV_CHANGE_TX_QUEUE_LEN = 29;
export const NETDEV_PRECHANGEMTU = 25;

/** Hears of a NETDEV_* event. A negative errno vetoes PRE_UP, PRECHANGEMTU, PRE_CHANGEADDR and REGISTER. */
export type NetdevNotifier = (event: number, dev: NetDevice) => number | void;

const netdevChain: NetdevNotifier[] = [];

/** register_netdevice_notifier: functions of the program, called for the devices of every host. Twice is a no-op. */
export function registerNetdeviceNotifier(fn: NetdevNotifier): void {
  if (!netdevChain.includes(fn)) netdevChain.push(fn);
}
export function unregisterNetdeviceNotifier(fn: NetdevNotifier): void {
  const i = netdevChain.indexOf(fn);
  if (i >= 0) netdevChain.splice(i, 1);
}

/** call_netdevice_notifiers: 0, or the errno of the first one that objects. */
export function netdevNotifierCall(event: number, dev: NetDevice): number {
  for (let i = 0; i < netdevChain.length; i++) {
    const err = (netdevChain[i] as NetdevNotifier)(event, dev);
    if (typeof err === "number" && err < 0) return err;
  }
  return 0;
}

// ---- names and lookup -----------------------------------------------------------------------------------------------

/** __dev_get_by_name. */
export function devGetByName(net: Net, name: string): NetDevice | null {
  return net.devByName.get(name) ?? null;
}

/** __dev_get_by_index. */
export function devGetByIndex(net: Net, ifindex: number): NetDevice | null {
  return net.devByIndex.get(ifindex) ?? null;
}

/** dev_valid_name. */
export function devValidName(name: string): boolean {
  return name.length > 0 && name.length < IFNAMSIZ && name !== "." && name !== ".." && !/[/:\s]/.test(name);
}

/**
 * dev_alloc_name: a free name for a template with one "%d" ("veth%d"), or `name` itself. -EINVAL, -ENFILE (all taken).
 */
export function devAllocName(net: Net, name: string): string | number {
  const at = name.indexOf("%");
  if (at < 0) return name;
  if (name.slice(at, at + 2) !== "%d" || name.indexOf("%", at + 2) >= 0) return -EINVAL;
  for (let i = 0; i < 32768; i++) {
    const candidate = name.slice(0, at) + i + name.slice(at + 2);
    if (!net.devByName.has(candidate)) return candidate;
  }
  return -ENFILE;
}

function devGetValidName(net: Net, name: string): string | number {
  if (!devValidName(name)) return -EINVAL;
  const found = devAllocName(net, name);
  if (typeof found === "number") return found;
  if (!devValidName(found)) return -EINVAL;
  return net.devByName.has(found) ? -EEXIST : found;
}

/** dev_change_name: renames a device (a template is filled in). */
export function devChangeName(dev: NetDevice, newname: string): number {
  if (newname === dev.name) return 0;
  const name = devGetValidName(dev.net, newname);
  if (typeof name === "number") return name;
  dev.net.devByName.delete(dev.name);
  dev.name = name;
  dev.net.devByName.set(name, dev);
  netdevNotifierCall(NETDEV_CHANGENAME, dev);
  return 0;
}

// ---- registration ---------------------------------------------------------------------------------------------------

function listNetdevice(dev: NetDevice): void {
  dev.net.devByName.set(dev.name, dev);
  dev.net.devByIndex.set(dev.ifindex, dev);
}

function unlistNetdevice(dev: NetDevice): void {
  dev.net.devByName.delete(dev.name);
  dev.net.devByIndex.delete(dev.ifindex);
}

function devNewIndex(net: Net): number {
  while (net.devByIndex.has(net.ifindexNext)) net.ifindexNext++;
  return net.ifindexNext++;
}

/**
 * register_netdevice: makes `dev` known to its host. The name may be a template. The device is down.
 * -EEXIST: the name or the ifindex is taken; -EINVAL: no name for a device.
 */
export function registerNetdevice(dev: NetDevice): number {
  const net = dev.net;
  const name = devGetValidName(net, dev.name);
  if (typeof name === "number") return name;
  dev.name = name;
  if (dev.ifindex !== 0 && net.devByIndex.has(dev.ifindex)) return -EEXIST;
  const err = dev.netdevOps.ndoInit?.(dev) ?? 0;
  if (err < 0) return err;
  if (dev.ifindex === 0) dev.ifindex = devNewIndex(net);
  dev.slot = net.kernel.machine.devs.alloc(dev);
  dev.hwFeatures |= NETIF_F_SOFT_FEATURES;
  dev.features |= NETIF_F_SOFT_FEATURES;
  dev.wantedFeatures = dev.features & dev.hwFeatures;
  dev.features = netdevFixFeatures(dev.features);
  dev.state |= __LINK_STATE_PRESENT;
  sched?.devInitScheduler(dev);
  dev.registered = true;
  listNetdevice(dev);
  const veto = netdevNotifierCall(NETDEV_REGISTER, dev);
  if (veto < 0) {
    unregisterNetdevice(dev);
    return veto;
  }
  return 0;
}

/** unregister_netdevice: closes and forgets `dev`. What still waits for it in queues is freed. */
export function unregisterNetdevice(dev: NetDevice): void {
  if (!dev.registered) return;
  devClose(dev);
  dev.registered = false;
  unlistNetdevice(dev);
  netdevNotifierCall(NETDEV_UNREGISTER, dev);
  dev.netdevOps.ndoUninit?.(dev);
  sched?.devShutdown(dev);
  flushBacklog(dev);
  dev.net.kernel.machine.devs.free(dev.slot);
  dev.slot = 0;
  dev.state &= ~__LINK_STATE_PRESENT;
  if (dev.net.loopbackDev === dev) dev.net.loopbackDev = null;
}

/** dev_change_net_namespace: moves a device to another host of the same machine; it ends up down and keeps its name. */
export function devChangeNetNamespace(dev: NetDevice, net: Net, pat: string | null = null): number {
  if (dev.net === net) return 0;
  if ((dev.flags & IFF_LOOPBACK) !== 0 || net.kernel !== dev.net.kernel) return -EINVAL;
  if (!dev.registered) return -EINVAL;
  let name = dev.name;
  if (net.devByName.has(name)) {
    if (pat === null) return -EEXIST;
    const found = devGetValidName(net, pat);
    if (typeof found === "number") return found;
    name = found;
  }
  devClose(dev);
  unlistNetdevice(dev);
  netdevNotifierCall(NETDEV_UNREGISTER, dev);
  flushBacklog(dev);
  dev.net = net;
  dev.name = name;
  if (net.devByIndex.has(dev.ifindex)) dev.ifindex = devNewIndex(net);
  listNetdevice(dev);
  netdevNotifierCall(NETDEV_REGISTER, dev);
  return 0;
}

const netdevNetOps: PernetOperations = {
  name: "netdev",
  init: () => 0,
  /** default_device_exit: whatever the host still has goes with it, the loopback last. */
  exit(net: Net): void {
    const devs = [...net.devByIndex.values()].sort((a, b) => b.ifindex - a.ifindex);
    for (const dev of devs) if ((dev.flags & IFF_LOOPBACK) === 0) unregisterNetdevice(dev);
    for (const dev of devs) unregisterNetdevice(dev);
  },
};

/** net_dev_init: a host that is torn down takes its devices with it. Comes before the protocols' inits. */
export function netDevInit(): void {
  registerPernetSubsys(netdevNetOps);
}

// ---- up and down ----------------------------------------------------------------------------------------------------

/** netif_running: the device is open. */
export function netifRunning(dev: NetDevice): boolean {
  return (dev.state & __LINK_STATE_START) !== 0;
}
export function netifDevicePresent(dev: NetDevice): boolean {
  return (dev.state & __LINK_STATE_PRESENT) !== 0;
}
/** netif_carrier_ok: there is somebody at the other end. */
export function netifCarrierOk(dev: NetDevice): boolean {
  return (dev.state & __LINK_STATE_NOCARRIER) === 0;
}

/** dev_open: -ENODEV, -EBUSY ... if the device or a listener refuses. */
export function devOpen(dev: NetDevice): number {
  if ((dev.flags & IFF_UP) !== 0) return 0;
  if (!netifDevicePresent(dev)) return -ENODEV;
  const veto = netdevNotifierCall(NETDEV_PRE_UP, dev);
  if (veto < 0) return veto;
  dev.state |= __LINK_STATE_START;
  const err = dev.netdevOps.ndoOpen?.(dev) ?? 0;
  if (err < 0) {
    dev.state &= ~__LINK_STATE_START;
    return err;
  }
  dev.flags |= IFF_UP;
  devSetRxMode(dev);
  devActivate(dev);
  netdevNotifierCall(NETDEV_UP, dev);
  return 0;
}

/** dev_close. */
export function devClose(dev: NetDevice): void {
  if ((dev.flags & IFF_UP) === 0) return;
  netdevNotifierCall(NETDEV_GOING_DOWN, dev);
  dev.state &= ~__LINK_STATE_START;
  sched?.devDeactivate(dev);
  dev.netdevOps.ndoStop?.(dev);
  dev.flags &= ~IFF_UP;
  netdevNotifierCall(NETDEV_DOWN, dev);
}

function devActivate(dev: NetDevice): void {
  if (netifCarrierOk(dev)) sched?.devActivate(dev);
}

/** netif_carrier_on: the driver has found a link. */
export function netifCarrierOn(dev: NetDevice): void {
  if (netifCarrierOk(dev)) return;
  dev.state &= ~__LINK_STATE_NOCARRIER;
  linkwatchFireEvent(dev);
}
/** netif_carrier_off: the link is gone; what is sent meanwhile is dropped. */
export function netifCarrierOff(dev: NetDevice): void {
  if (!netifCarrierOk(dev)) return;
  dev.state |= __LINK_STATE_NOCARRIER;
  linkwatchFireEvent(dev);
}

function linkwatchFireEvent(dev: NetDevice): void {
  if (!dev.registered || (dev.flags & IFF_UP) === 0) return;
  if (netifCarrierOk(dev)) sched?.devActivate(dev);
  else sched?.devDeactivate(dev);
  netdevNotifierCall(NETDEV_CHANGE, dev);
}

// ---- flags ----------------------------------------------------------------------------------------------------------

/** dev_get_flags: the flags as user space sees them. */
export function devGetFlags(dev: NetDevice): number {
  let flags = dev.flags & ~(IFF_PROMISC | IFF_ALLMULTI | IFF_RUNNING | IFF_LOWER_UP);
  if (dev.promiscuity > 0) flags |= dev.flags & IFF_PROMISC;
  if (dev.allmulti > 0) flags |= dev.flags & IFF_ALLMULTI;
  if (netifRunning(dev) && netifCarrierOk(dev)) flags |= IFF_RUNNING | IFF_LOWER_UP;
  return flags;
}

/** __dev_change_flags: without telling anybody but the device. */
export function __devChangeFlags(dev: NetDevice, flags: number): number {
  const settable = IFF_DEBUG | IFF_NOTRAILERS | IFF_NOARP | IFF_DYNAMIC | IFF_MULTICAST | IFF_PORTSEL | IFF_AUTOMEDIA;
  const old = dev.flags;
  dev.flags = (flags & settable) | (dev.flags & ~settable);
  if (((old ^ flags) & IFF_MULTICAST) !== 0) devSetRxMode(dev);
  let err = 0;
  if (((old ^ flags) & IFF_UP) !== 0) {
    if ((old & IFF_UP) !== 0) devClose(dev);
    else err = devOpen(dev);
  }
  if (((flags ^ old) & IFF_PROMISC) !== 0) devSetPromiscuity(dev, (flags & IFF_PROMISC) !== 0 ? 1 : -1);
  if (((flags ^ old) & IFF_ALLMULTI) !== 0) devSetAllmulti(dev, (flags & IFF_ALLMULTI) !== 0 ? 1 : -1);
  return err;
}

/** dev_change_flags: IFF_UP, IFF_NOARP, IFF_PROMISC ... as `ip link set` gives them. */
export function devChangeFlags(dev: NetDevice, flags: number): number {
  const old = dev.flags;
  const err = __devChangeFlags(dev, flags);
  if (err < 0) return err;
  const changes = old ^ dev.flags;
  if ((dev.flags & IFF_UP) !== 0 && (changes & ~(IFF_UP | IFF_PROMISC | IFF_ALLMULTI | IFF_VOLATILE)) !== 0) {
    netdevNotifierCall(NETDEV_CHANGE, dev);
  }
  return 0;
}

function devSetRxMode(dev: NetDevice): void {
  if ((dev.flags & IFF_UP) !== 0) dev.netdevOps.ndoSetRxMode?.(dev);
}

/** dev_set_promiscuity: `inc` is counted. -EOVERFLOW below zero. */
export function devSetPromiscuity(dev: NetDevice, inc: number): number {
  if (dev.promiscuity + inc < 0) return -EOVERFLOW;
  dev.promiscuity += inc;
  if (dev.promiscuity > 0) dev.flags |= IFF_PROMISC;
  else dev.flags &= ~IFF_PROMISC;
  devSetRxMode(dev);
  return 0;
}

/** dev_set_allmulti. */
export function devSetAllmulti(dev: NetDevice, inc: number): number {
  if (dev.allmulti + inc < 0) return -EOVERFLOW;
  dev.allmulti += inc;
  if (dev.allmulti > 0) dev.flags |= IFF_ALLMULTI;
  else dev.flags &= ~IFF_ALLMULTI;
  devSetRxMode(dev);
  return 0;
}

// ---- addresses, MTU, queue length -----------------------------------------------------------------------------------

function mcKey(addr: Uint8Array): string {
  let key = "";
  for (let i = 0; i < 6; i++) key += (addr[i] as number).toString(16).padStart(2, "0");
  return key;
}

/** dev_mc_add: the device shall receive this multicast address. Counted. */
export function devMcAdd(dev: NetDevice, addr: Uint8Array): number {
  const key = mcKey(addr);
  const users = dev.mc.get(key) ?? 0;
  dev.mc.set(key, users + 1);
  if (users === 0) devSetRxMode(dev);
  return 0;
}

/** dev_mc_del: -ENOENT if it was not added. */
export function devMcDel(dev: NetDevice, addr: Uint8Array): number {
  const key = mcKey(addr);
  const users = dev.mc.get(key);
  if (users === undefined) return -ENOENT;
  if (users > 1) {
    dev.mc.set(key, users - 1);
    return 0;
  }
  dev.mc.delete(key);
  devSetRxMode(dev);
  return 0;
}

/**
 * dev_set_mac_address: -EOPNOTSUPP, -EINVAL (wrong length), -EADDRNOTAVAIL (multicast or zero), -EBUSY (device is up).
 */
export function devSetMacAddress(dev: NetDevice, addr: Uint8Array): number {
  const set = dev.netdevOps.ndoSetMacAddress;
  if (set === undefined) return -EOPNOTSUPP;
  if (addr.length !== dev.addrLen) return -EINVAL;
  if (!netifDevicePresent(dev)) return -ENODEV;
  const veto = netdevNotifierCall(NETDEV_PRE_CHANGEADDR, dev);
  if (veto < 0) return veto;
  const err = set.call(dev.netdevOps, dev, addr);
  if (err < 0) return err;
  netdevNotifierCall(NETDEV_CHANGEADDR, dev);
  return 0;
}

/** dev_set_mtu: bytes of layer 3. -EINVAL outside of the device's bounds. */
export function devSetMtu(dev: NetDevice, mtu: number): number {
  if (mtu === dev.mtu) return 0;
  if (!Number.isInteger(mtu) || mtu < 0 || mtu < dev.minMtu || (dev.maxMtu > 0 && mtu > dev.maxMtu)) return -EINVAL;
  if (!netifDevicePresent(dev)) return -ENODEV;
  const veto = netdevNotifierCall(NETDEV_PRECHANGEMTU, dev);
  if (veto < 0) return veto;
  const old = dev.mtu;
  const err = doSetMtu(dev, mtu);
  if (err < 0) return err;
  const refused = netdevNotifierCall(NETDEV_CHANGEMTU, dev);
  if (refused < 0) {
    doSetMtu(dev, old);
    netdevNotifierCall(NETDEV_CHANGEMTU, dev);
  }
  return refused;
}

function doSetMtu(dev: NetDevice, mtu: number): number {
  if (dev.netdevOps.ndoChangeMtu !== undefined) return dev.netdevOps.ndoChangeMtu(dev, mtu);
  dev.mtu = mtu;
  return 0;
}

/** dev_change_tx_queue_len: packets. */
export function devSetTxQueueLen(dev: NetDevice, len: number): number {
  if (!Number.isInteger(len) || len < 0) return -EINVAL;
  if (len === dev.txQueueLen) return 0;
  dev.txQueueLen = len;
  netdevNotifierCall(NETDEV_CHANGE_TX_QUEUE_LEN, dev);
  sched?.devQdiscChangeTxQueueLen(dev);
  return 0;
}

// ---- features -------------------------------------------------------------------------------------------------------

/** The names that `ethtool -k` and `ethtool -K` use, long and short. */
export const ethtoolFeatureNames: Readonly<Record<string, number>> = {
  "rx-checksumming": NETIF_F_RXCSUM,
  rx: NETIF_F_RXCSUM,
  "tx-checksumming": NETIF_F_CSUM_MASK,
  tx: NETIF_F_CSUM_MASK,
  "scatter-gather": NETIF_F_SG,
  sg: NETIF_F_SG,
  "tcp-segmentation-offload": NETIF_F_ALL_TSO,
  tso: NETIF_F_ALL_TSO,
  "generic-segmentation-offload": NETIF_F_GSO,
  gso: NETIF_F_GSO,
  "generic-receive-offload": NETIF_F_GRO,
  gro: NETIF_F_GRO,
  "tx-udp-segmentation": NETIF_F_GSO_UDP_L4,
};

/** netdev_fix_features: takes out what cannot be had without something else. */
export function netdevFixFeatures(wanted: number): number {
  let features = wanted;
  // Segments need their sums written, and TSO scatters.
  if ((features & NETIF_F_HW_CSUM) === 0 && (features & NETIF_F_CSUM_MASK) === 0) features &= ~NETIF_F_ALL_TSO;
  if ((features & NETIF_F_SG) === 0) features &= ~NETIF_F_ALL_TSO;
  if ((features & NETIF_F_TSO) === 0) features &= ~NETIF_F_TSO_ECN;
  if ((features & NETIF_F_CSUM_MASK) === 0) features &= ~NETIF_F_GSO_UDP_L4;
  // Software GSO depends on SG.
  if ((features & NETIF_F_SG) === 0) features &= ~(NETIF_F_GSO | NETIF_F_GSO_UDP_L4);
  return features;
}

/**
 * `ethtool -K`: switches NETIF_F_* bits (those of them that the device can change) on or off.
 * -EOPNOTSUPP if it can change none of them.
 */
export function devSetFeature(dev: NetDevice, features: number, enable: boolean): number {
  const changeable = features & dev.hwFeatures;
  if (changeable === 0) return -EOPNOTSUPP;
  if (enable) dev.wantedFeatures |= changeable;
  else dev.wantedFeatures &= ~changeable;
  netdevUpdateFeatures(dev);
  return 0;
}

/** netdev_update_features. */
export function netdevUpdateFeatures(dev: NetDevice): void {
  const features = netdevFixFeatures((dev.features & ~dev.hwFeatures) | dev.wantedFeatures);
  if (features === dev.features) return;
  dev.features = features;
  netdevNotifierCall(NETDEV_FEAT_CHANGE, dev);
}
