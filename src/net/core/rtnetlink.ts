/**
 * rtnetlink: how addresses, routes, neighbours and links are configured. A message is a typed object instead of bytes;
 * `rtnetlinkRcvMsg` hands it to whoever registered for its family and type, as the kernel does, and `rtnetlinkDump`
 * asks for a listing. The `ip` command (src/tools/ip_command.ts) is one user; programs may call the same functions.
 */

import { EAFNOSUPPORT, EOPNOTSUPP } from "../../uapi/errno.ts";
import type { NetDevice } from "./dev.ts";
import type { Net } from "./net_namespace.ts";

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

export type { NetDevice };
