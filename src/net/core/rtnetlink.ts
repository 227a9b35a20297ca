/**
 * rtnetlink: how addresses, routes, neighbours and links are configured. A message is a typed object instead of bytes;
 * `rtnetlinkRcvMsg` hands it to whoever registered for its family and type, as the kernel does, and `rtnetlinkDump`
 * asks for a listing. The `ip` command (src/tools/ip_command.ts) is one user; programs may call the same functions.
 */

import type { Kernel } from "../../kernel/kernel.ts";
import { EADDRNOTAVAIL, EAFNOSUPPORT, EEXIST, EINVAL, ENODEV, EOPNOTSUPP } from "../../uapi/errno.ts";
import type { NetDevice } from "./dev.ts";
import {
  devChangeFlags,
  devChangeName,
  devChangeNetNamespace,
  devGetFlags,
  devSetMacAddress,
  devSetMtu,
  devSetTxQueueLen,
  unregisterNetdevice,
} from "./dev.ts";
import type { Net, PernetOperations } from "./net_namespace.ts";
import { registerPernetSubsys } from "./net_namespace.ts";

// Message types (linux/rtnetlink.h).
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_SETLINK = 19;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
export const RTM_GETRULE = 34;

// nlmsg_flags.
export const NLM_F_REQUEST = 0x1;
export const NLM_F_ROOT = 0x100;
export const NLM_F_MATCH = 0x200;
/** Change what exists. */
export const NLM_F_REPLACE = 0x100;
/** Don't touch what exists. */
export const NLM_F_EXCL = 0x200;
/** Make it if it does not exist. */
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;

/** struct netlink_ext_ack: the kernel's words for what was wrong; "" = only the errno. */
export class NetlinkExtAck {
  msg = "";
}

/** NL_SET_ERR_MSG: sets the words and returns the (negative) errno. */
export function nlSetErrMsg(extack: NetlinkExtAck | null, msg: string, err: number): number {
  if (extack !== null) extack.msg = msg;
  return err;
}

/** RTM_NEWADDR, RTM_DELADDR. Addresses in host order; undefined = the attribute is absent. */
export interface IfAddrMsg {
  ifindex: number;
  prefixlen: number;
  /** RT_SCOPE_*. */
  scope?: number;
  /** IFA_F_*. */
  flags?: number;
  local?: number;
  /** The peer's address, on point-to-point links; the local address else. */
  address?: number;
  broadcast?: number;
  label?: string;
  /** Seconds; Infinity = for ever. */
  validLft?: number;
  preferredLft?: number;
  /** Metric of the prefix route. */
  rtPriority?: number;
  proto?: number;
}

/** One next hop of RTM_NEWROUTE. */
export interface NextHopMsg {
  oif?: number;
  gateway?: number;
  /** 1 ... 256. */
  weight?: number;
  /** RTNH_F_ONLINK ... */
  flags?: number;
}

/** RTM_NEWROUTE, RTM_DELROUTE, and the question of RTM_GETROUTE. */
export interface RouteMsg {
  dst?: number;
  dstLen: number;
  src?: number;
  srcLen?: number;
  tos?: number;
  table?: number;
  /** RTPROT_*. */
  protocol?: number;
  /** RT_SCOPE_*. */
  scope?: number;
  /** RTN_*. */
  type?: number;
  /** RTNH_F_ONLINK, RTM_F_*. */
  flags?: number;
  oif?: number;
  iif?: number;
  gateway?: number;
  priority?: number;
  prefsrc?: number;
  mark?: number;
  /** By RTAX_*; absent = 0. RTAX_LOCK is the bit set of locked ones. */
  metrics?: ReadonlyMap<number, number>;
  /** RTAX_CC_ALGO by name. */
  congctl?: string;
  multipath?: readonly NextHopMsg[];
  ipproto?: number;
  sport?: number;
  dport?: number;
}

/** RTM_NEWNEIGH, RTM_DELNEIGH. */
export interface NeighMsg {
  ifindex: number;
  dst?: number;
  lladdr?: Uint8Array;
  /** NUD_*. */
  state?: number;
  /** NTF_*. */
  flags?: number;
  protocol?: number;
}

/** RTM_NEWRULE, RTM_DELRULE. */
export interface RuleMsg {
  /** FR_ACT_*. */
  action?: number;
  /** undefined: below the lowest that exists. */
  priority?: number;
  table?: number;
  src?: number;
  srcLen?: number;
  dst?: number;
  dstLen?: number;
  tos?: number;
  iifname?: string;
  oifname?: string;
  fwmark?: number;
  fwmask?: number;
  ipproto?: number;
  /** First and last. */
  sport?: readonly [number, number];
  dport?: readonly [number, number];
  suppressPrefixlen?: number;
  /** FR_ACT_GOTO: the priority to go on with. */
  goto?: number;
  invert?: boolean;
  protocol?: number;
}

/** RTM_NEWLINK, RTM_SETLINK, RTM_DELLINK. */
export interface LinkMsg {
  ifindex?: number;
  /** The device to make or change; with `ifindex`, its new name. */
  ifname?: string;
  /** IFF_*: those of `change` are set so. */
  flags?: number;
  change?: number;
  mtu?: number;
  txqlen?: number;
  address?: Uint8Array;
  broadcast?: Uint8Array;
  /** The namespace to make it in, or to move it to. */
  netns?: Net;
  /** IFLA_INFO_KIND: "veth", "dummy". */
  kind?: string;
  /** IFLA_INFO_DATA: veth's peer. */
  peer?: LinkMsg;
  group?: number;
  alias?: string;
}

/** Any of the above: who registers for a type knows its shape. */
export type RtnlMsg = object;
/** Does what `msg` says. 0 or a negative errno. */
export type RtnlDoit = (net: Net, msg: RtnlMsg, nlmsgFlags: number, extack: NetlinkExtAck) => number;
/** Lists what there is. */
export type RtnlDumpit = (net: Net, filter: RtnlMsg) => object[];

interface RtnlLink {
  readonly doit: RtnlDoit | null;
  readonly dumpit: RtnlDumpit | null;
}

const rtnlMsgHandlers: Map<number, RtnlLink> = new Map();

/** rtnl_register: code only, so once a process is enough; registering again replaces. */
export function rtnlRegister(family: number, msgtype: number, doit: RtnlDoit | null, dumpit: RtnlDumpit | null): void {
  rtnlMsgHandlers.set((family << 16) | msgtype, { doit, dumpit });
}

function rtnlGetLink(family: number, msgtype: number): RtnlLink | undefined {
  // PF_UNSPEC takes what the family itself does not.
  return rtnlMsgHandlers.get((family << 16) | msgtype) ?? rtnlMsgHandlers.get(msgtype);
}

/**
 * rtnetlink_rcv_msg: does what `msg` says, in kernel context.
 *
 * @param flags NLM_F_*.
 * @returns 0 or a negative errno; `extack.msg` may say more.
 */
export function rtnetlinkRcvMsg(
  net: Net,
  family: number,
  msgtype: number,
  msg: RtnlMsg,
  flags: number,
  extack: NetlinkExtAck,
): number {
  const link = rtnlGetLink(family, msgtype);
  if (link === undefined) return -EAFNOSUPPORT;
  if (link.doit === null) return -EOPNOTSUPP;
  net.kernel.enter();
  try {
    return link.doit(net, msg, flags, extack);
  } finally {
    net.kernel.exit();
  }
}

/** A dump request: the listing, in the kernel's order. Empty if nobody registered. */
export function rtnetlinkDump(net: Net, family: number, msgtype: number, filter: RtnlMsg = {}): object[] {
  const dumpit = rtnlGetLink(family, msgtype)?.dumpit;
  if (dumpit === undefined || dumpit === null) return [];
  net.kernel.enter();
  try {
    return dumpit(net, filter);
  } finally {
    net.kernel.exit();
  }
}

// ---- links -------------------------------------------------------------------------------------------------------------------

/** struct rtnl_link_ops: a kind of device that can be made on request. */
export interface RtnlLinkOps {
  readonly kind: string;
  /** Makes the device that `msg` describes in `msg.netns ?? net`. It is down. The device, or a negative errno. */
  newlink(net: Net, msg: LinkMsg, extack: NetlinkExtAck): NetDevice | number;
  dellink?(dev: NetDevice): void;
  /** The device at the other end (IFLA_LINK); null if there is none. */
  peer?(dev: NetDevice): NetDevice | null;
}

const linkOps: Map<string, RtnlLinkOps> = new Map();

/** rtnl_link_register: registering again replaces. */
export function rtnlLinkRegister(ops: RtnlLinkOps): void {
  linkOps.set(ops.kind, ops);
}

/** rtnl_link_ops_get: undefined if nothing of that kind can be made. */
export function rtnlLinkOpsGet(kind: string): RtnlLinkOps | undefined {
  return linkOps.get(kind);
}

/** The kind of a device, however it was made; "" = none that could be made on request. */
export function rtnlLinkKind(dev: NetDevice): string {
  if (dev.linkKind !== "") return dev.linkKind;
  const kind = dev.netdevOps.symbol.replace(/_netdev_ops$/, "");
  return linkOps.has(kind) ? kind : "";
}

function linkOf(net: Net, msg: LinkMsg): NetDevice | undefined {
  if (msg.ifindex !== undefined && msg.ifindex !== 0) return net.devByIndex.get(msg.ifindex);
  return msg.ifname === undefined ? undefined : net.devByName.get(msg.ifname);
}

/** rtnl_newlink: makes a device, or changes one that is there. */
function rtnlNewlink(net: Net, m: object, flags: number, extack: NetlinkExtAck): number {
  const msg = m as LinkMsg;
  const dev = linkOf(net, msg);
  if (dev !== undefined) {
    if ((flags & NLM_F_EXCL) !== 0) return -EEXIST;
    if (msg.kind !== undefined && msg.kind !== rtnlLinkKind(dev)) return -EOPNOTSUPP;
    return doSetlink(dev, msg, extack);
  }
  if ((flags & NLM_F_CREATE) === 0) return -ENODEV;
  const ops = msg.kind === undefined ? undefined : linkOps.get(msg.kind);
  if (ops === undefined) return nlSetErrMsg(extack, "Unknown device type", -EOPNOTSUPP);
  const made = ops.newlink(net, msg, extack);
  if (typeof made === "number") return made;
  made.linkKind = ops.kind;
  const other = ops.peer?.(made);
  if (other != null) other.linkKind = ops.kind;
  return rtnlConfigureLink(made, msg);
}

/** rtnl_configure_link: what a new device is told besides its kind, address and MTU. */
export function rtnlConfigureLink(dev: NetDevice, msg: LinkMsg): number {
  if (msg.txqlen !== undefined) devSetTxQueueLen(dev, msg.txqlen);
  if (msg.group !== undefined) dev.group = msg.group;
  if (msg.broadcast !== undefined) dev.broadcast.set(msg.broadcast);
  if (msg.change !== undefined && msg.change !== 0) return devChangeFlags(dev, changedFlags(dev, msg));
  return 0;
}

function changedFlags(dev: NetDevice, msg: LinkMsg): number {
  const change = msg.change ?? 0;
  return ((msg.flags ?? 0) & change) | (devGetFlags(dev) & ~change);
}

/** rtnl_setlink. */
function rtnlSetlink(net: Net, m: object, _flags: number, extack: NetlinkExtAck): number {
  const msg = m as LinkMsg;
  const dev = linkOf(net, msg);
  return dev === undefined ? -ENODEV : doSetlink(dev, msg, extack);
}

/** do_setlink: one change after the other; the first that fails ends it. */
function doSetlink(dev: NetDevice, msg: LinkMsg, extack: NetlinkExtAck): number {
  let err = 0;
  if (msg.netns !== undefined && msg.netns !== dev.net) {
    err = devChangeNetNamespace(dev, msg.netns, msg.ifname ?? null);
    if (err < 0) return err;
  }
  if (msg.address !== undefined) {
    if (msg.address.length < dev.addrLen) return -EINVAL;
    if (((msg.address[0] as number) & 1) !== 0 || msg.address.every((b) => b === 0)) return -EADDRNOTAVAIL;
    err = devSetMacAddress(dev, msg.address.slice(0, dev.addrLen));
    if (err < 0) return err;
  }
  if (msg.mtu !== undefined) {
    if (msg.mtu < dev.minMtu) return nlSetErrMsg(extack, "mtu less than device minimum", -EINVAL);
    if (dev.maxMtu > 0 && msg.mtu > dev.maxMtu) return nlSetErrMsg(extack, "mtu greater than device maximum", -EINVAL);
    err = devSetMtu(dev, msg.mtu);
    if (err < 0) return err;
  }
  if (msg.group !== undefined) dev.group = msg.group;
  if (msg.ifindex !== undefined && msg.ifname !== undefined && msg.ifname !== dev.name) {
    err = devChangeName(dev, msg.ifname);
    if (err < 0) return err;
  }
  if (msg.alias !== undefined) dev.ifalias = msg.alias;
  if (msg.broadcast !== undefined) dev.broadcast.set(msg.broadcast);
  if (msg.change !== undefined && msg.change !== 0) {
    err = devChangeFlags(dev, changedFlags(dev, msg));
    if (err < 0) return err;
  }
  if (msg.txqlen !== undefined) err = devSetTxQueueLen(dev, msg.txqlen);
  return err < 0 ? err : 0;
}

/** rtnl_dellink. Only devices that were made on request can be removed so. */
function rtnlDellink(net: Net, m: object): number {
  const dev = linkOf(net, m as LinkMsg);
  if (dev === undefined) return -ENODEV;
  const ops = linkOps.get(rtnlLinkKind(dev));
  if (ops === undefined) return -EOPNOTSUPP;
  if (ops.dellink !== undefined) ops.dellink(dev);
  else unregisterNetdevice(dev);
  return 0;
}

// ---- namespaces by name --------------------------------------------------------------------------------------------------------

const namespaces: WeakMap<Kernel, Map<string, Net>> = new WeakMap();

/** The namespaces of a machine by name: what /run/netns is to `ip netns`. */
export function netnsOf(kernel: Kernel): Map<string, Net> {
  let map = namespaces.get(kernel);
  if (map === undefined) {
    map = new Map();
    namespaces.set(kernel, map);
  }
  return map;
}

const rtnetlinkNetOps: PernetOperations = {
  name: "rtnetlink",
  init(net: Net): number {
    netnsOf(net.kernel).set(net.name, net);
    return 0;
  },
  exit(net: Net): void {
    const map = netnsOf(net.kernel);
    if (map.get(net.name) === net) map.delete(net.name);
  },
};

/** rtnetlink_init. */
export function rtnetlinkInit(): void {
  registerPernetSubsys(rtnetlinkNetOps);
  rtnlRegister(0, RTM_NEWLINK, rtnlNewlink, null);
  rtnlRegister(0, RTM_SETLINK, rtnlSetlink, null);
  rtnlRegister(0, RTM_DELLINK, rtnlDellink, null);
  rtnlRegister(0, RTM_GETLINK, null, (net) => [...net.devByIndex.values()].sort((a, b) => a.ifindex - b.ifindex));
}
