/** IPv4 of devices (signatures; being filled in). */

import type { NetDevice } from "../core/dev.ts";
import type { Net } from "../core/net_namespace.ts";
import type { NeighParms } from "../core/neighbour.ts";

/** struct in_ifaddr. */
export class InIfaddr {
  ifaNext: InIfaddr | null = null;
  readonly ifaDev: InDevice;
  ifaLocal = 0;
  ifaAddress = 0;
  ifaMask = 0;
  ifaBroadcast = 0;
  ifaPrefixlen = 0;
  ifaScope = 0;
  ifaFlags = 0;
  ifaLabel = "";
  ifaRtPriority = 0;
  ifaProto = 0;
  /** Seconds; Infinity = for ever. */
  ifaValidLft: number = Infinity;
  ifaPreferredLft: number = Infinity;
  constructor(ifaDev: InDevice) {
    this.ifaDev = ifaDev;
  }
}

/** struct in_device. */
export class InDevice {
  readonly dev: NetDevice;
  dead = false;
  ifaList: InIfaddr | null = null;
  /** net.ipv4.conf.<dev>.*: index IPV4_DEVCONF_*. */
  readonly cnf: Int32Array = new Int32Array(64);
  arpParms: NeighParms = null as unknown as NeighParms;
  constructor(dev: NetDevice) {
    this.dev = dev;
  }
}

function todo(): never {
  throw new Error("todo");
}

/** __in_dev_get_rcu. */
export function inDevGet(dev: NetDevice): InDevice | null { return dev.ipPtr as InDevice | null; }
/** ip_dev_find: the device that has `addr`; null if it is no local address. */
export function ipDevFind(net: Net, addr: number): NetDevice | null { return todo(); }
/** The address to talk from: on `dev` (any if null) to `dst` (0 = any), of at most `scope`. 0 = none. */
export function inetSelectAddr(dev: NetDevice | null, dst: number, scope: number): number { return todo(); }
/** inet_addr_onlink: `a` (and `b`, if not 0) are in one subnet of the device. */
export function inetAddrOnlink(inDev: InDevice, a: number, b: number): boolean { return todo(); }
/** inet_confirm_addr: is `local` (0 = any) an address of `inDev` (any device if null) fit to talk to `dst`? Returns it or 0. */
export function inetConfirmAddr(net: Net, inDev: InDevice | null, dst: number, local: number, scope: number): number { return todo(); }
/** A setting of the device (IN_DEV_CONF_GET). `attr`: IPV4_DEVCONF_*. */
export function inDevConfGet(inDev: InDevice, attr: number): number { return inDev.cnf[attr]; }
/** IN_DEV_ORCONF: set for all devices or for this one. */
export function inDevOrconf(inDev: InDevice, attr: number): boolean { return todo(); }
/** IN_DEV_ANDCONF: set for all devices and for this one. */
export function inDevAndconf(inDev: InDevice, attr: number): boolean { return todo(); }
/** IN_DEV_MAXCONF: the larger of the two. */
export function inDevMaxconf(inDev: InDevice, attr: number): number { return todo(); }
export function inDevForward(inDev: InDevice): boolean { return todo(); }
export function inDevBforward(inDev: InDevice): boolean { return todo(); }
export function inDevMforward(inDev: InDevice): boolean { return todo(); }
export function inDevRpfilter(inDev: InDevice): number { return todo(); }
export function inDevSourceRoute(inDev: InDevice): boolean { return todo(); }
export function inDevLogMartians(inDev: InDevice): boolean { return todo(); }
export function inDevProxyArp(inDev: InDevice): boolean { return todo(); }
export function inDevSharedMedia(inDev: InDevice): boolean { return todo(); }
export function inDevTxRedirects(inDev: InDevice): boolean { return todo(); }
export function inDevRxRedirects(inDev: InDevice): boolean { return todo(); }
export function inDevSecRedirects(inDev: InDevice): boolean { return todo(); }
export function inDevRouteLocalnet(inDev: InDevice): boolean { return todo(); }
export function devinetInit(): void { todo(); }
