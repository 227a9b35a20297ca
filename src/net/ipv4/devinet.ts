/**
 * IPv4 of devices: their addresses, in the order in which Linux keeps them, and their settings
 * (`net.ipv4.conf.<dev>.*`).
 */

import { kernel } from "../../kernel/kernel.ts";
import type { TimerList } from "../../kernel/timer.ts";
import { delTimer, modTimer, timerSetup, timerShutdown } from "../../kernel/timer.ts";
import { EADDRNOTAVAIL, EEXIST, EINVAL, ENOBUFS, ENODEV } from "../../uapi/errno.ts";
import { ARPOP_REQUEST, IFF_LOOPBACK, IFF_UP } from "../../uapi/if.ts";
import { ETH_P_ARP } from "../../uapi/if_ether.ts";
import {
  IPV4_DEVCONF_ACCEPT_LOCAL,
  IPV4_DEVCONF_ACCEPT_REDIRECTS,
  IPV4_DEVCONF_ACCEPT_SOURCE_ROUTE,
  IPV4_DEVCONF_ARP_ACCEPT,
  IPV4_DEVCONF_ARP_ANNOUNCE,
  IPV4_DEVCONF_ARP_EVICT_NOCARRIER,
  IPV4_DEVCONF_ARP_IGNORE,
  IPV4_DEVCONF_ARP_NOTIFY,
  IPV4_DEVCONF_ARPFILTER,
  IPV4_DEVCONF_BC_FORWARDING,
  IPV4_DEVCONF_BOOTP_RELAY,
  IPV4_DEVCONF_DROP_GRATUITOUS_ARP,
  IPV4_DEVCONF_DROP_UNICAST_IN_L2_MULTICAST,
  IPV4_DEVCONF_FORCE_IGMP_VERSION,
  IPV4_DEVCONF_FORWARDING,
  IPV4_DEVCONF_IGMPV2_UNSOLICITED_REPORT_INTERVAL,
  IPV4_DEVCONF_IGMPV3_UNSOLICITED_REPORT_INTERVAL,
  IPV4_DEVCONF_IGNORE_ROUTES_WITH_LINKDOWN,
  IPV4_DEVCONF_LOG_MARTIANS,
  IPV4_DEVCONF_MC_FORWARDING,
  IPV4_DEVCONF_MEDIUM_ID,
  IPV4_DEVCONF_NOPOLICY,
  IPV4_DEVCONF_NOXFRM,
  IPV4_DEVCONF_PROMOTE_SECONDARIES,
  IPV4_DEVCONF_PROXY_ARP,
  IPV4_DEVCONF_PROXY_ARP_PVLAN,
  IPV4_DEVCONF_ROUTE_LOCALNET,
  IPV4_DEVCONF_RP_FILTER,
  IPV4_DEVCONF_SECURE_REDIRECTS,
  IPV4_DEVCONF_SEND_REDIRECTS,
  IPV4_DEVCONF_SHARED_MEDIA,
  IPV4_DEVCONF_SRC_VMARK,
  IPV4_DEVCONF_TAG,
} from "../../uapi/ip.ts";
import {
  IFA_F_DEPRECATED,
  IFA_F_PERMANENT,
  IFA_F_SECONDARY,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_TABLE_LOCAL,
  RTN_LOCAL,
} from "../../uapi/rtnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import type { NetDevice } from "../core/dev.ts";
import { devOpen, registerNetdeviceNotifier } from "../core/dev.ts";
import {
  NETDEV_CHANGEADDR,
  NETDEV_CHANGEMTU,
  NETDEV_CHANGENAME,
  NETDEV_DOWN,
  NETDEV_NOTIFY_PEERS,
  NETDEV_REGISTER,
  NETDEV_UNREGISTER,
  NETDEV_UP,
} from "../core/dev_api.ts";
import type { NeighParms } from "../core/neighbour.ts";
import { neighParmsAlloc, neighSysctlRegister } from "../core/neighbour.ts";
import type { Net, PernetOperations } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import type { IfAddrMsg, NetlinkExtAck } from "../core/rtnetlink.ts";
import {
  NLM_F_EXCL,
  NLM_F_REPLACE,
  nlSetErrMsg,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
  rtnlRegister,
} from "../core/rtnetlink.ts";
import { procParseInt, registerSysctl, unregisterSysctls } from "../core/sysctl_net.ts";
import { arpIfdown, arpSend, arpTbl } from "./arp.ts";
import { fibAddIfaddr, fibDelIfaddr, fibGetTable, fibModifyPrefixMetric } from "./fib_frontend.ts";
import { fibTableLookup } from "./fib_trie.ts";
import { FlowI4 } from "./flow.ts";
import { ipMcDestroyDev, ipMcDown, ipMcUp } from "./igmp.ts";
import { INADDR_LOOPBACK, ifaMatch, maskOf } from "./inet_addr.ts";
import { FibResult } from "./ip_fib.ts";
import { netnsIpv4Init } from "./netns.ts";
import { RthCache, rtCacheFlush } from "./route.ts";

const SEC = 1e6;
const IPV4_MIN_MTU = 68;
/** IFA_F_* that only IPv6 knows. */
const IPV6ONLY_FLAGS = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x100 | 0x800;

declare module "./netns.ts" {
  interface NetnsIpv4 {
    /** net.ipv4.conf.all and net.ipv4.conf.default. */
    devconfAll: Ipv4Devconf;
    devconfDflt: Ipv4Devconf;
    /** inet_addr_lst: every address by its value (as a signed number), chained through `hashNext`. */
    inetAddrLst: Map<number, InIfaddr>;
    checkLifetimeWork: TimerList;
  }
}

/** struct ipv4_devconf: values by IPV4_DEVCONF_*. */
export class Ipv4Devconf {
  readonly data: Int32Array = new Int32Array(IPV4_DEVCONF_SLOTS);
  /** 1 where a value was set for this device: changes of `default` don't reach it any more. */
  readonly state: Uint8Array = new Uint8Array(IPV4_DEVCONF_SLOTS);
}

const IPV4_DEVCONF_SLOTS = 40;

/** struct in_ifaddr: an address of a device. Addresses in host order. */
export class InIfaddr {
  ifaNext: InIfaddr | null = null;
  hashNext: InIfaddr | null = null;
  readonly ifaDev: InDevice;
  ifaLocal = 0;
  /** The peer's, on a point-to-point link; the same as ifaLocal else. */
  ifaAddress = 0;
  ifaMask = 0;
  /** 0 = none. */
  ifaBroadcast = 0;
  ifaPrefixlen = 0;
  ifaScope = 0;
  /** IFA_F_*. */
  ifaFlags = 0;
  ifaLabel = "";
  ifaRtPriority = 0;
  ifaProto = 0;
  /** Seconds from ifaTstamp; Infinity = for ever. */
  ifaValidLft: number = Infinity;
  ifaPreferredLft: number = Infinity;
  /** Microseconds: made, changed. */
  ifaCstamp = 0;
  ifaTstamp = 0;

  constructor(ifaDev: InDevice) {
    this.ifaDev = ifaDev;
  }
}

/** struct in_device: IPv4 of a device. */
export class InDevice {
  readonly dev: NetDevice;
  dead = false;
  ifaList: InIfaddr | null = null;
  readonly cnf: Ipv4Devconf = new Ipv4Devconf();
  arpParms: NeighParms;
  /** Groups that the host listens to here: how many users each has. */
  readonly mcList: Map<number, number> = new Map();
  /** Decisions for broadcasts, multicasts and destinations that no route leads to, over this device. */
  readonly rthMisc: RthCache = new RthCache();

  constructor(dev: NetDevice, arpParms: NeighParms) {
    this.dev = dev;
    this.arpParms = arpParms;
  }
}

/** __in_dev_get_rcu: null if the device has no IPv4. */
export function inDevGet(dev: NetDevice): InDevice | null {
  return dev.ipPtr as InDevice | null;
}

// ---- settings ----------------------------------------------------------------------------------------------------------------

/** IN_DEV_CONF_GET: the device's own setting. `attr`: IPV4_DEVCONF_*. */
export function inDevConfGet(inDev: InDevice, attr: number): number {
  return inDev.cnf.data[attr];
}
/** IPV4_DEVCONF_ALL. */
export function ipv4DevconfAll(net: Net, attr: number): number {
  return net.ipv4.devconfAll.data[attr];
}
/** IN_DEV_ANDCONF: set for all devices and for this one. */
export function inDevAndconf(inDev: InDevice, attr: number): boolean {
  return inDev.dev.net.ipv4.devconfAll.data[attr] !== 0 && inDev.cnf.data[attr] !== 0;
}
/** IN_DEV_ORCONF: set for all devices or for this one. */
export function inDevOrconf(inDev: InDevice, attr: number): boolean {
  return inDev.dev.net.ipv4.devconfAll.data[attr] !== 0 || inDev.cnf.data[attr] !== 0;
}
/** IN_DEV_MAXCONF: the larger of the two. */
export function inDevMaxconf(inDev: InDevice, attr: number): number {
  const all = inDev.dev.net.ipv4.devconfAll.data[attr];
  const own = inDev.cnf.data[attr];
  return all > own ? all : own;
}
export function inDevForward(inDev: InDevice): boolean {
  return inDev.cnf.data[IPV4_DEVCONF_FORWARDING] !== 0;
}
export function inDevBforward(inDev: InDevice): boolean {
  return inDevAndconf(inDev, IPV4_DEVCONF_BC_FORWARDING);
}
/** 0 = off, 1 = strict, 2 = loose. */
export function inDevRpfilter(inDev: InDevice): number {
  return inDevMaxconf(inDev, IPV4_DEVCONF_RP_FILTER);
}
export function inDevSrcVmark(inDev: InDevice): boolean {
  return inDevOrconf(inDev, IPV4_DEVCONF_SRC_VMARK);
}
export function inDevSourceRoute(inDev: InDevice): boolean {
  return inDevAndconf(inDev, IPV4_DEVCONF_ACCEPT_SOURCE_ROUTE);
}
export function inDevAcceptLocal(inDev: InDevice): boolean {
  return inDevOrconf(inDev, IPV4_DEVCONF_ACCEPT_LOCAL);
}
export function inDevLogMartians(inDev: InDevice): boolean {
  return inDevOrconf(inDev, IPV4_DEVCONF_LOG_MARTIANS);
}
export function inDevProxyArp(inDev: InDevice): boolean {
  return inDevOrconf(inDev, IPV4_DEVCONF_PROXY_ARP);
}
export function inDevProxyArpPvlan(inDev: InDevice): boolean {
  return inDevOrconf(inDev, IPV4_DEVCONF_PROXY_ARP_PVLAN);
}
export function inDevSharedMedia(inDev: InDevice): boolean {
  return inDevOrconf(inDev, IPV4_DEVCONF_SHARED_MEDIA);
}
export function inDevTxRedirects(inDev: InDevice): boolean {
  return inDevOrconf(inDev, IPV4_DEVCONF_SEND_REDIRECTS);
}
export function inDevSecRedirects(inDev: InDevice): boolean {
  return inDevOrconf(inDev, IPV4_DEVCONF_SECURE_REDIRECTS);
}
/** IN_DEV_RX_REDIRECTS: a router believes redirects only if both settings say so, a host if one does. */
export function inDevRxRedirects(inDev: InDevice): boolean {
  return inDevForward(inDev)
    ? inDevAndconf(inDev, IPV4_DEVCONF_ACCEPT_REDIRECTS)
    : inDevOrconf(inDev, IPV4_DEVCONF_ACCEPT_REDIRECTS);
}
export function inDevRouteLocalnet(inDev: InDevice): boolean {
  return inDevOrconf(inDev, IPV4_DEVCONF_ROUTE_LOCALNET);
}
export function inDevIgnoreRoutesWithLinkdown(inDev: InDevice): boolean {
  return inDevOrconf(inDev, IPV4_DEVCONF_IGNORE_ROUTES_WITH_LINKDOWN);
}
export function inDevArpfilter(inDev: InDevice): boolean {
  return inDevOrconf(inDev, IPV4_DEVCONF_ARPFILTER);
}
export function inDevArpAccept(inDev: InDevice): number {
  return inDevMaxconf(inDev, IPV4_DEVCONF_ARP_ACCEPT);
}
export function inDevArpAnnounce(inDev: InDevice): number {
  return inDevMaxconf(inDev, IPV4_DEVCONF_ARP_ANNOUNCE);
}
export function inDevArpIgnore(inDev: InDevice): number {
  return inDevMaxconf(inDev, IPV4_DEVCONF_ARP_IGNORE);
}
export function inDevArpNotify(inDev: InDevice): number {
  return inDevMaxconf(inDev, IPV4_DEVCONF_ARP_NOTIFY);
}
export function inDevArpEvictNocarrier(inDev: InDevice): boolean {
  return inDevAndconf(inDev, IPV4_DEVCONF_ARP_EVICT_NOCARRIER);
}
export function inDevMediumId(inDev: InDevice): number {
  return inDev.cnf.data[IPV4_DEVCONF_MEDIUM_ID];
}

const CONF_ROWS: readonly (readonly [name: string, attr: number])[] = [
  ["mc_forwarding", IPV4_DEVCONF_MC_FORWARDING],
  ["bc_forwarding", IPV4_DEVCONF_BC_FORWARDING],
  ["accept_redirects", IPV4_DEVCONF_ACCEPT_REDIRECTS],
  ["secure_redirects", IPV4_DEVCONF_SECURE_REDIRECTS],
  ["shared_media", IPV4_DEVCONF_SHARED_MEDIA],
  ["rp_filter", IPV4_DEVCONF_RP_FILTER],
  ["send_redirects", IPV4_DEVCONF_SEND_REDIRECTS],
  ["accept_source_route", IPV4_DEVCONF_ACCEPT_SOURCE_ROUTE],
  ["accept_local", IPV4_DEVCONF_ACCEPT_LOCAL],
  ["src_valid_mark", IPV4_DEVCONF_SRC_VMARK],
  ["proxy_arp", IPV4_DEVCONF_PROXY_ARP],
  ["medium_id", IPV4_DEVCONF_MEDIUM_ID],
  ["bootp_relay", IPV4_DEVCONF_BOOTP_RELAY],
  ["log_martians", IPV4_DEVCONF_LOG_MARTIANS],
  ["tag", IPV4_DEVCONF_TAG],
  ["arp_filter", IPV4_DEVCONF_ARPFILTER],
  ["arp_announce", IPV4_DEVCONF_ARP_ANNOUNCE],
  ["arp_ignore", IPV4_DEVCONF_ARP_IGNORE],
  ["arp_accept", IPV4_DEVCONF_ARP_ACCEPT],
  ["arp_notify", IPV4_DEVCONF_ARP_NOTIFY],
  ["arp_evict_nocarrier", IPV4_DEVCONF_ARP_EVICT_NOCARRIER],
  ["proxy_arp_pvlan", IPV4_DEVCONF_PROXY_ARP_PVLAN],
  ["force_igmp_version", IPV4_DEVCONF_FORCE_IGMP_VERSION],
  ["igmpv2_unsolicited_report_interval", IPV4_DEVCONF_IGMPV2_UNSOLICITED_REPORT_INTERVAL],
  ["igmpv3_unsolicited_report_interval", IPV4_DEVCONF_IGMPV3_UNSOLICITED_REPORT_INTERVAL],
  ["ignore_routes_with_linkdown", IPV4_DEVCONF_IGNORE_ROUTES_WITH_LINKDOWN],
  ["drop_gratuitous_arp", IPV4_DEVCONF_DROP_GRATUITOUS_ARP],
  ["disable_xfrm", IPV4_DEVCONF_NOXFRM],
  ["disable_policy", IPV4_DEVCONF_NOPOLICY],
  ["promote_secondaries", IPV4_DEVCONF_PROMOTE_SECONDARIES],
  ["route_localnet", IPV4_DEVCONF_ROUTE_LOCALNET],
  ["drop_unicast_in_l2_multicast", IPV4_DEVCONF_DROP_UNICAST_IN_L2_MULTICAST],
];

/** Settings that decide about cached routes. */
const FLUSHING: readonly number[] = [
  IPV4_DEVCONF_BC_FORWARDING,
  IPV4_DEVCONF_NOXFRM,
  IPV4_DEVCONF_NOPOLICY,
  IPV4_DEVCONF_PROMOTE_SECONDARIES,
  IPV4_DEVCONF_ROUTE_LOCALNET,
  IPV4_DEVCONF_ACCEPT_LOCAL,
];

/** devinet_copy_dflt_conf: devices that have no value of their own follow the default. */
function devinetCopyDfltConf(net: Net, attr: number): void {
  for (const dev of net.devByIndex.values()) {
    const inDev = inDevGet(dev);
    if (inDev !== null && inDev.cnf.state[attr] === 0) inDev.cnf.data[attr] = net.ipv4.devconfDflt.data[attr];
  }
}

/** inet_forward_change: ip_forward speaks for all devices, and for those to come. */
function inetForwardChange(net: Net): void {
  const on = net.ipv4.devconfAll.data[IPV4_DEVCONF_FORWARDING];
  net.ipv4.devconfAll.data[IPV4_DEVCONF_ACCEPT_REDIRECTS] = on !== 0 ? 0 : 1;
  net.ipv4.devconfDflt.data[IPV4_DEVCONF_FORWARDING] = on;
  for (const dev of net.devByIndex.values()) {
    const inDev = inDevGet(dev);
    if (inDev !== null) {
      inDev.cnf.data[IPV4_DEVCONF_FORWARDING] = on;
      inDev.cnf.state[IPV4_DEVCONF_FORWARDING] = 1;
    }
  }
}

function devinetSysctlRegister(net: Net, name: string, cnf: Ipv4Devconf): void {
  const prefix = `net.ipv4.conf.${name}.`;
  const ipv4 = net.ipv4;
  for (const [key, attr] of CONF_ROWS) {
    registerSysctl(
      net,
      prefix + key,
      () => String(cnf.data[attr]),
      (value) => {
        const n = procParseInt(value);
        if (Number.isNaN(n) || n !== (n | 0)) return -EINVAL;
        const old = cnf.data[attr];
        cnf.data[attr] = n;
        cnf.state[attr] = 1;
        if (cnf === ipv4.devconfDflt) devinetCopyDfltConf(net, attr);
        if (n !== old && FLUSHING.includes(attr)) rtCacheFlush(net);
        return 0;
      },
    );
  }
  registerSysctl(net, `${prefix}forwarding`, () => String(cnf.data[IPV4_DEVCONF_FORWARDING]), forwardSetter(net, cnf));
}

function forwardSetter(net: Net, cnf: Ipv4Devconf): (value: string) => number {
  return (value) => {
    const n = procParseInt(value);
    if (Number.isNaN(n) || n !== (n | 0)) return -EINVAL;
    const old = cnf.data[IPV4_DEVCONF_FORWARDING];
    cnf.data[IPV4_DEVCONF_FORWARDING] = n;
    if (n === old) return 0;
    cnf.state[IPV4_DEVCONF_FORWARDING] = 1;
    if (cnf === net.ipv4.devconfAll) inetForwardChange(net);
    if (cnf !== net.ipv4.devconfDflt) rtCacheFlush(net);
    return 0;
  };
}

// ---- devices -----------------------------------------------------------------------------------------------------------------

function ipv4DevconfSetall(inDev: InDevice): void {
  inDev.cnf.state.fill(1);
}

/** inetdev_init. */
function inetdevInit(dev: NetDevice): InDevice {
  const net = dev.net;
  const inDev = new InDevice(dev, neighParmsAlloc(arpTbl.state(net).parms, dev));
  inDev.cnf.data.set(net.ipv4.devconfDflt.data);
  devinetSysctlRegister(net, dev.name, inDev.cnf);
  neighSysctlRegister(net, "ipv4", dev.name, inDev.arpParms, null);
  dev.ipPtr = inDev;
  if ((dev.flags & IFF_UP) !== 0) ipMcUp(inDev);
  return inDev;
}

/** inetdev_destroy. */
function inetdevDestroy(inDev: InDevice): void {
  const dev = inDev.dev;
  inDev.dead = true;
  ipMcDestroyDev(inDev);
  while (inDev.ifaList !== null) inetDelIfa(inDev, inDev.ifaList);
  unregisterSysctls(dev.net, `net.ipv4.conf.${dev.name}.`);
  unregisterSysctls(dev.net, `net.ipv4.neigh.${dev.name}.`);
  inDev.arpParms.dead = true;
  dev.ipPtr = null;
  arpIfdown(dev);
}

function inetdevValidMtu(mtu: number): boolean {
  return mtu >= IPV4_MIN_MTU;
}

/** inetdev_event: what happens to a device happens to its addresses. */
function inetdevEvent(event: number, dev: NetDevice): void {
  const net = dev.net;
  // A device of a namespace that has no IPv4 yet: inetInitNet catches up on it.
  if (net.ipv4 === undefined || net.ipv4.devconfAll === undefined) return;
  let inDev = inDevGet(dev);
  if (inDev === null) {
    if (event === NETDEV_REGISTER) {
      inetdevRegister(dev);
    } else if (event === NETDEV_CHANGEMTU && inetdevValidMtu(dev.mtu)) {
      inDev = inetdevInit(dev);
    }
    return;
  }
  switch (event) {
    case NETDEV_UP:
      if (!inetdevValidMtu(dev.mtu)) break;
      if ((dev.flags & IFF_LOOPBACK) !== 0 && inDev.ifaList === null) insertLoopbackAddress(inDev);
      ipMcUp(inDev);
      if (inDevArpNotify(inDev) !== 0) inetdevSendGratuitousArp(dev, inDev);
      break;
    case NETDEV_CHANGEADDR:
      if (inDevArpNotify(inDev) !== 0) inetdevSendGratuitousArp(dev, inDev);
      break;
    case NETDEV_NOTIFY_PEERS:
      inetdevSendGratuitousArp(dev, inDev);
      break;
    case NETDEV_DOWN:
      ipMcDown(inDev);
      break;
    case NETDEV_CHANGEMTU:
      if (!inetdevValidMtu(dev.mtu)) inetdevDestroy(inDev);
      break;
    case NETDEV_UNREGISTER:
      inetdevDestroy(inDev);
      break;
    case NETDEV_CHANGENAME:
      inetdevChangename(dev, inDev);
      break;
    default:
      break;
  }
}

function inetdevRegister(dev: NetDevice): void {
  const inDev = inetdevInit(dev);
  if ((dev.flags & IFF_LOOPBACK) === 0) return;
  inDev.cnf.data[IPV4_DEVCONF_NOXFRM] = 1;
  inDev.cnf.data[IPV4_DEVCONF_NOPOLICY] = 1;
  if (dev.net.loopbackDev === null) dev.net.loopbackDev = dev;
  // Where Linux waits for `ip link set lo up`, a host here has its loopback from the start.
  if ((dev.flags & IFF_UP) === 0) devOpen(dev);
}

function insertLoopbackAddress(inDev: InDevice): void {
  const ifa = new InIfaddr(inDev);
  ifa.ifaPrefixlen = 8;
  ifa.ifaMask = maskOf(8);
  ifa.ifaScope = RT_SCOPE_HOST;
  ifa.ifaLocal = INADDR_LOOPBACK;
  ifa.ifaAddress = INADDR_LOOPBACK;
  ifa.ifaLabel = inDev.dev.name;
  setIfaLifetime(ifa, Infinity, Infinity);
  ipv4DevconfSetall(inDev);
  inetInsertIfa(ifa, null);
}

/** inetdev_changename: labels follow the device ("eth0:1" becomes "lan:1"). */
function inetdevChangename(dev: NetDevice, inDev: InDevice): void {
  let named = 0;
  for (let ifa = inDev.ifaList; ifa !== null; ifa = ifa.ifaNext) {
    const old = ifa.ifaLabel;
    ifa.ifaLabel = dev.name;
    if (named++ === 0) continue;
    const colon = old.indexOf(":");
    ifa.ifaLabel = dev.name + (colon < 0 ? `:${named - 1}` : old.slice(colon));
  }
  for (const key of dev.net.sysctlTable.keys()) {
    // The old name is known only by what its entries refer to: whatever has no device any more goes.
    const m = /^net\.ipv4\.(?:conf|neigh)\.([^.]+)\./.exec(key);
    if (m === null || m[1] === "all" || m[1] === "default") continue;
    if (!dev.net.devByName.has(m[1] as string)) dev.net.sysctlTable.delete(key);
  }
  devinetSysctlRegister(dev.net, dev.name, inDev.cnf);
  neighSysctlRegister(dev.net, "ipv4", dev.name, inDev.arpParms, null);
}

/** inetdev_send_gratuitous_arp: announces every address of the device. */
function inetdevSendGratuitousArp(dev: NetDevice, inDev: InDevice): void {
  for (let ifa = inDev.ifaList; ifa !== null; ifa = ifa.ifaNext) {
    arpSend(ARPOP_REQUEST, ETH_P_ARP, ifa.ifaLocal, dev, ifa.ifaLocal, null, dev.devAddr, null);
  }
}

// ---- addresses ----------------------------------------------------------------------------------------------------------------

/** Told of every address that comes (NETDEV_UP) or goes (NETDEV_DOWN): the inetaddr_chain. */
export type InetaddrNotifier = (event: number, ifa: InIfaddr) => void;
const inetaddrChain: InetaddrNotifier[] = [];

/** register_inetaddr_notifier: registering again does nothing. */
export function registerInetaddrNotifier(fn: InetaddrNotifier): void {
  if (!inetaddrChain.includes(fn)) inetaddrChain.push(fn);
}

function callInetaddrChain(event: number, ifa: InIfaddr): void {
  for (let i = 0; i < inetaddrChain.length; i++) (inetaddrChain[i] as InetaddrNotifier)(event, ifa);
}

function inetHashInsert(net: Net, ifa: InIfaddr): void {
  const key = ifa.ifaLocal | 0;
  ifa.hashNext = net.ipv4.inetAddrLst.get(key) ?? null;
  net.ipv4.inetAddrLst.set(key, ifa);
}

function inetHashRemove(net: Net, ifa: InIfaddr): void {
  const lst = net.ipv4.inetAddrLst;
  const key = ifa.ifaLocal | 0;
  let p = lst.get(key) ?? null;
  if (p === ifa) {
    if (ifa.hashNext !== null) lst.set(key, ifa.hashNext);
    else lst.delete(key);
  } else {
    while (p !== null && p.hashNext !== ifa) p = p.hashNext;
    if (p !== null) p.hashNext = ifa.hashNext;
  }
  ifa.hashNext = null;
}

/** inet_lookup_ifaddr_rcu: null if no device has `addr`. */
export function inetLookupIfaddr(net: Net, addr: number): InIfaddr | null {
  return net.ipv4.inetAddrLst.get(addr | 0) ?? null;
}

const devFindFl: FlowI4 = new FlowI4();
const devFindRes: FibResult = new FibResult();

/**
 * ip_dev_find: the device that has `addr`. All of 127/8 and other local prefixes are found through the local table. null
 * if it is no local address.
 */
export function ipDevFind(net: Net, addr: number): NetDevice | null {
  const ifa = inetLookupIfaddr(net, addr);
  if (ifa !== null) return ifa.ifaDev.dev;
  const local = fibGetTable(net, RT_TABLE_LOCAL);
  devFindFl.daddr = addr;
  if (local === null || fibTableLookup(local, devFindFl, devFindRes) !== 0 || devFindRes.type !== RTN_LOCAL)
    return null;
  return devFindRes.nhc === null ? null : devFindRes.nhc.fibNhDev;
}

/** __inet_insert_ifa. 0, -EEXIST or -EINVAL (another scope than the rest of the subnet). */
export function inetInsertIfa(ifa: InIfaddr, extack: NetlinkExtAck | null): number {
  const inDev = ifa.ifaDev;
  // 0.0.0.0 is no address; it is taken, and nothing happens.
  if (ifa.ifaLocal === 0) return 0;
  ifa.ifaFlags &= ~(IFA_F_SECONDARY | IPV6ONLY_FLAGS);
  // The place of a primary address: behind the last primary one of a scope at least as wide. null = first.
  let lastPrimary: InIfaddr | null = null;
  let last: InIfaddr | null = null;
  for (let ifa1 = inDev.ifaList; ifa1 !== null; ifa1 = ifa1.ifaNext) {
    if ((ifa1.ifaFlags & IFA_F_SECONDARY) === 0 && ifa.ifaScope <= ifa1.ifaScope) lastPrimary = ifa1;
    if (ifa1.ifaMask === ifa.ifaMask && ifaMatch(ifa1.ifaAddress, ifa)) {
      if (ifa1.ifaLocal === ifa.ifaLocal) return nlSetErrMsg(extack, "ipv4: Address already assigned", -EEXIST);
      if (ifa1.ifaScope !== ifa.ifaScope) return nlSetErrMsg(extack, "ipv4: Invalid scope value", -EINVAL);
      ifa.ifaFlags |= IFA_F_SECONDARY;
    }
    last = ifa1;
  }
  const after = (ifa.ifaFlags & IFA_F_SECONDARY) === 0 ? lastPrimary : last;
  if (after === null) {
    ifa.ifaNext = inDev.ifaList;
    inDev.ifaList = ifa;
  } else {
    ifa.ifaNext = after.ifaNext;
    after.ifaNext = ifa;
  }
  inetHashInsert(inDev.dev.net, ifa);
  scheduleLifetimeCheck(inDev.dev.net);
  callInetaddrChain(NETDEV_UP, ifa);
  return 0;
}

function ifaBefore(inDev: InDevice, ifa: InIfaddr): InIfaddr | null {
  let p = inDev.ifaList;
  if (p === ifa) return null;
  while (p !== null && p.ifaNext !== ifa) p = p.ifaNext;
  return p;
}

function ifaUnlink(inDev: InDevice, ifa: InIfaddr): void {
  const before = ifaBefore(inDev, ifa);
  if (before === null) inDev.ifaList = ifa.ifaNext;
  else before.ifaNext = ifa.ifaNext;
}

/**
 * __inet_del_ifa: removing a primary address removes the secondary ones of its subnet too, unless promote_secondaries
 * makes the first of them primary.
 */
export function inetDelIfa(inDev: InDevice, ifa1: InIfaddr): void {
  const net = inDev.dev.net;
  let promote: InIfaddr | null = null;
  let prevProm: InIfaddr | null = null;
  let lastPrim: InIfaddr | null = inDev.ifaList;
  if (!inDev.dead && (ifa1.ifaFlags & IFA_F_SECONDARY) === 0) {
    const doPromote = inDevOrconf(inDev, IPV4_DEVCONF_PROMOTE_SECONDARIES);
    let ifa = ifa1.ifaNext;
    while (ifa !== null) {
      const next: InIfaddr | null = ifa.ifaNext;
      const secondary = (ifa.ifaFlags & IFA_F_SECONDARY) !== 0;
      if (!secondary && ifa1.ifaScope <= ifa.ifaScope) lastPrim = ifa;
      if (!secondary || ifa1.ifaMask !== ifa.ifaMask || !ifaMatch(ifa1.ifaAddress, ifa)) {
        prevProm = ifa;
      } else if (doPromote) {
        promote = ifa;
        break;
      } else {
        inetHashRemove(net, ifa);
        ifaUnlink(inDev, ifa);
        callInetaddrChain(NETDEV_DOWN, ifa);
      }
      ifa = next;
    }
    // All secondary addresses of the subnet get a new primary one, which is the source of their routes.
    for (ifa = promote; ifa !== null; ifa = ifa.ifaNext) {
      if (ifa1.ifaMask === ifa.ifaMask && ifaMatch(ifa1.ifaAddress, ifa)) fibDelIfaddr(ifa, ifa1);
    }
  }
  ifaUnlink(inDev, ifa1);
  inetHashRemove(net, ifa1);
  callInetaddrChain(NETDEV_DOWN, ifa1);
  if (promote === null) return;
  const nextSec = promote.ifaNext;
  if (prevProm !== null && lastPrim !== null) {
    prevProm.ifaNext = nextSec;
    // The deleted address may itself have been the last primary one.
    const after: InIfaddr | null = lastPrim === ifa1 ? null : lastPrim;
    promote.ifaNext = after === null ? inDev.ifaList : after.ifaNext;
    if (after === null) inDev.ifaList = promote;
    else after.ifaNext = promote;
  }
  promote.ifaFlags &= ~IFA_F_SECONDARY;
  callInetaddrChain(NETDEV_UP, promote);
  for (let ifa = nextSec; ifa !== null; ifa = ifa.ifaNext) {
    if (ifa1.ifaMask === ifa.ifaMask && ifaMatch(ifa1.ifaAddress, ifa)) fibAddIfaddr(ifa);
  }
}

/** set_ifa_lifetime: seconds; Infinity = for ever. */
function setIfaLifetime(ifa: InIfaddr, validLft: number, preferredLft: number): void {
  ifa.ifaFlags &= ~(IFA_F_PERMANENT | IFA_F_DEPRECATED);
  ifa.ifaValidLft = validLft;
  ifa.ifaPreferredLft = preferredLft;
  if (validLft === Infinity) ifa.ifaFlags |= IFA_F_PERMANENT;
  if (preferredLft === 0) ifa.ifaFlags |= IFA_F_DEPRECATED;
  ifa.ifaTstamp = kernel.now;
  if (ifa.ifaCstamp === 0) ifa.ifaCstamp = kernel.now;
}

/** check_lifetime: addresses whose time is up go, those whose preferred time is up are deprecated. */
function checkLifetime(t: TimerList): void {
  const net = t.data as Net;
  for (const dev of net.devByIndex.values()) {
    const inDev = inDevGet(dev);
    if (inDev === null) continue;
    for (let ifa = inDev.ifaList; ifa !== null; ) {
      const next: InIfaddr | null = ifa.ifaNext;
      if (kernel.now >= ifa.ifaTstamp + ifa.ifaValidLft * SEC) {
        inetDelIfa(inDev, ifa);
        // Its secondary addresses went with it: begin again.
        ifa = inDev.ifaList;
        continue;
      }
      if (kernel.now >= ifa.ifaTstamp + ifa.ifaPreferredLft * SEC) ifa.ifaFlags |= IFA_F_DEPRECATED;
      ifa = next;
    }
  }
  scheduleLifetimeCheck(net);
}

function scheduleLifetimeCheck(net: Net): void {
  let next = Infinity;
  for (const ifa0 of net.ipv4.inetAddrLst.values()) {
    for (let ifa: InIfaddr | null = ifa0; ifa !== null; ifa = ifa.hashNext) {
      next = Math.min(next, ifa.ifaTstamp + ifa.ifaValidLft * SEC);
      if ((ifa.ifaFlags & IFA_F_DEPRECATED) === 0) next = Math.min(next, ifa.ifaTstamp + ifa.ifaPreferredLft * SEC);
    }
  }
  if (next === Infinity) delTimer(net.ipv4.checkLifetimeWork);
  else modTimer(net.ipv4.checkLifetimeWork, next);
}

// ---- choosing an address ---------------------------------------------------------------------------------------------------

/** in_dev_select_addr: the first primary address of at most `scope`. */
function inDevSelectAddr(inDev: InDevice, scope: number): number {
  for (let ifa = inDev.ifaList; ifa !== null; ifa = ifa.ifaNext) {
    if ((ifa.ifaFlags & IFA_F_SECONDARY) !== 0) continue;
    if (ifa.ifaScope !== RT_SCOPE_LINK && ifa.ifaScope <= scope) return ifa.ifaLocal;
  }
  return 0;
}

/**
 * inet_select_addr: the address to talk from: on `dev`, one whose subnet `dst` is in if there is such a one; of at most
 * `scope`. If the device has none, any other device's, loopback first. 0 = none.
 */
export function inetSelectAddr(dev: NetDevice, dst: number, scope: number): number {
  const inDev = inDevGet(dev);
  let addr = 0;
  if (inDev !== null) {
    const localnetScope = inDevRouteLocalnet(inDev) ? RT_SCOPE_LINK : RT_SCOPE_HOST;
    for (let ifa = inDev.ifaList; ifa !== null; ifa = ifa.ifaNext) {
      if ((ifa.ifaFlags & IFA_F_SECONDARY) !== 0) continue;
      if (Math.min(ifa.ifaScope, localnetScope) > scope) continue;
      if (dst === 0 || ifaMatch(dst, ifa)) return ifa.ifaLocal;
      if (addr === 0) addr = ifa.ifaLocal;
    }
    if (addr !== 0) return addr;
  }
  for (const other of dev.net.devByIndex.values()) {
    const otherIn = inDevGet(other);
    if (otherIn === null) continue;
    addr = inDevSelectAddr(otherIn, scope);
    if (addr !== 0) return addr;
  }
  return 0;
}

function confirmAddrIndev(inDev: InDevice, dst: number, local: number, scope: number): number {
  const localnetScope = inDevRouteLocalnet(inDev) ? RT_SCOPE_LINK : RT_SCOPE_HOST;
  let addr = 0;
  let same = false;
  for (let ifa = inDev.ifaList; ifa !== null; ifa = ifa.ifaNext) {
    const minScope = Math.min(ifa.ifaScope, localnetScope);
    if (addr === 0 && (local === ifa.ifaLocal || local === 0) && minScope <= scope) {
      addr = ifa.ifaLocal;
      if (same) break;
    }
    if (!same) {
      same = (local === 0 || ifaMatch(local, ifa)) && (dst === 0 || ifaMatch(dst, ifa));
      if (same && addr !== 0) {
        if (local !== 0 || dst === 0) break;
        if (ifaMatch(addr, ifa)) break;
        if (minScope <= scope) {
          addr = ifa.ifaLocal;
          break;
        }
        same = false;
      }
    }
  }
  return same ? addr : 0;
}

/**
 * inet_confirm_addr: is `local` (0 = any) an address of `inDev` (any device if null), of at most `scope`, in whose subnet
 * `dst` (0 = any) is? Returns the address, or 0.
 */
export function inetConfirmAddr(net: Net, inDev: InDevice | null, dst: number, local: number, scope: number): number {
  if (inDev !== null) return confirmAddrIndev(inDev, dst, local, scope);
  for (const dev of net.devByIndex.values()) {
    const other = inDevGet(dev);
    if (other === null) continue;
    const addr = confirmAddrIndev(other, dst, local, scope);
    if (addr !== 0) return addr;
  }
  return 0;
}

/** inet_addr_onlink: `a` (and `b`, if not 0) are in one subnet of the device. */
export function inetAddrOnlink(inDev: InDevice, a: number, b: number): boolean {
  for (let ifa = inDev.ifaList; ifa !== null; ifa = ifa.ifaNext) {
    if (ifaMatch(a, ifa) && (b === 0 || ifaMatch(b, ifa))) return true;
  }
  return false;
}

/** inet_ifa_byprefix. */
export function inetIfaByprefix(inDev: InDevice, prefix: number, mask: number): InIfaddr | null {
  for (let ifa = inDev.ifaList; ifa !== null; ifa = ifa.ifaNext) {
    if (ifa.ifaMask === mask && ifaMatch(prefix, ifa)) return ifa;
  }
  return null;
}

// ---- rtnetlink -----------------------------------------------------------------------------------------------------------------

/** inet_rtm_newaddr. */
function inetRtmNewaddr(net: Net, m: object, flags: number, extack: NetlinkExtAck): number {
  const msg = m as IfAddrMsg;
  if (msg.prefixlen > 32) return nlSetErrMsg(extack, "ipv4: Invalid prefix length", -EINVAL);
  if (msg.local === undefined) return nlSetErrMsg(extack, "ipv4: Local address is not supplied", -EINVAL);
  const dev = net.devByIndex.get(msg.ifindex);
  if (dev === undefined) return nlSetErrMsg(extack, "ipv4: Device not found", -ENODEV);
  const inDev = inDevGet(dev);
  if (inDev === null) return -ENOBUFS;
  const validLft = msg.validLft ?? Infinity;
  const preferredLft = msg.preferredLft ?? Infinity;
  if (validLft === 0 || preferredLft > validLft) return nlSetErrMsg(extack, "ipv4: address lifetime invalid", -EINVAL);

  ipv4DevconfSetall(inDev);
  const ifa = new InIfaddr(inDev);
  ifa.ifaLocal = msg.local;
  ifa.ifaAddress = msg.address ?? msg.local;
  ifa.ifaPrefixlen = msg.prefixlen;
  ifa.ifaMask = maskOf(msg.prefixlen);
  ifa.ifaBroadcast = msg.broadcast ?? 0;
  ifa.ifaScope = msg.scope ?? 0;
  ifa.ifaFlags = msg.flags ?? 0;
  ifa.ifaLabel = msg.label ?? dev.name;
  ifa.ifaRtPriority = msg.rtPriority ?? 0;
  ifa.ifaProto = msg.proto ?? 0;

  const existing = findMatchingIfa(inDev, ifa);
  if (existing === null) {
    setIfaLifetime(ifa, validLft, preferredLft);
    return inetInsertIfa(ifa, extack);
  }
  if ((flags & NLM_F_EXCL) !== 0 || (flags & NLM_F_REPLACE) === 0) {
    return nlSetErrMsg(extack, "ipv4: Address already assigned", -EEXIST);
  }
  if (existing.ifaRtPriority !== ifa.ifaRtPriority) {
    fibModifyPrefixMetric(existing, ifa.ifaRtPriority);
    existing.ifaRtPriority = ifa.ifaRtPriority;
  }
  existing.ifaProto = ifa.ifaProto;
  setIfaLifetime(existing, validLft, preferredLft);
  scheduleLifetimeCheck(net);
  return 0;
}

function findMatchingIfa(inDev: InDevice, ifa: InIfaddr): InIfaddr | null {
  for (let ifa1 = inDev.ifaList; ifa1 !== null; ifa1 = ifa1.ifaNext) {
    if (ifa1.ifaMask === ifa.ifaMask && ifaMatch(ifa1.ifaAddress, ifa) && ifa1.ifaLocal === ifa.ifaLocal) return ifa1;
  }
  return null;
}

/** inet_rtm_deladdr. */
function inetRtmDeladdr(net: Net, m: object, _flags: number, extack: NetlinkExtAck): number {
  const msg = m as IfAddrMsg;
  const dev = net.devByIndex.get(msg.ifindex);
  const inDev = dev === undefined ? null : inDevGet(dev);
  if (inDev === null) return nlSetErrMsg(extack, "ipv4: Device not found", -ENODEV);
  for (let ifa = inDev.ifaList; ifa !== null; ifa = ifa.ifaNext) {
    if (msg.local !== undefined && msg.local !== ifa.ifaLocal) continue;
    if (msg.label !== undefined && msg.label !== ifa.ifaLabel) continue;
    if (msg.address !== undefined && (msg.prefixlen !== ifa.ifaPrefixlen || !ifaMatch(msg.address, ifa))) {
      continue;
    }
    inetDelIfa(inDev, ifa);
    return 0;
  }
  return nlSetErrMsg(extack, "ipv4: Address not found", -EADDRNOTAVAIL);
}

/** inet_dump_ifaddr: InIfaddr objects, by device and in the devices' order. */
function inetDumpIfaddr(net: Net, filter: object): object[] {
  const only = (filter as { ifindex?: number }).ifindex;
  const out: object[] = [];
  for (const dev of net.devByIndex.values()) {
    if (only !== undefined && only !== dev.ifindex) continue;
    const inDev = inDevGet(dev);
    if (inDev === null) continue;
    for (let ifa = inDev.ifaList; ifa !== null; ifa = ifa.ifaNext) out.push(ifa);
  }
  return out;
}

// ---- setup -----------------------------------------------------------------------------------------------------------------------

const DEFAULTS_ALL: readonly (readonly [attr: number, value: number])[] = [
  [IPV4_DEVCONF_ACCEPT_REDIRECTS, 1],
  [IPV4_DEVCONF_SEND_REDIRECTS, 1],
  [IPV4_DEVCONF_SECURE_REDIRECTS, 1],
  [IPV4_DEVCONF_SHARED_MEDIA, 1],
  [IPV4_DEVCONF_IGMPV2_UNSOLICITED_REPORT_INTERVAL, 10000],
  [IPV4_DEVCONF_IGMPV3_UNSOLICITED_REPORT_INTERVAL, 1000],
  [IPV4_DEVCONF_ARP_EVICT_NOCARRIER, 1],
];

/** devinet_init_net. */
export const devinetNetOps: PernetOperations = {
  name: "devinet",
  init(net: Net): number {
    const all = new Ipv4Devconf();
    const dflt = new Ipv4Devconf();
    for (const [attr, value] of DEFAULTS_ALL) {
      all.data[attr] = value;
      dflt.data[attr] = value;
    }
    dflt.data[IPV4_DEVCONF_ACCEPT_SOURCE_ROUTE] = 1;
    net.ipv4.inetAddrLst = new Map();
    net.ipv4.checkLifetimeWork = timerSetup(checkLifetime, net);
    net.ipv4.devconfAll = all;
    net.ipv4.devconfDflt = dflt;
    devinetSysctlRegister(net, "all", all);
    devinetSysctlRegister(net, "default", dflt);
    registerSysctl(
      net,
      "net.ipv4.ip_forward",
      () => String(all.data[IPV4_DEVCONF_FORWARDING]),
      forwardSetter(net, all),
    );
    return 0;
  },
  exit(net: Net): void {
    timerShutdown(net.ipv4.checkLifetimeWork);
    for (const dev of net.devByIndex.values()) {
      const inDev = inDevGet(dev);
      if (inDev !== null) inetdevDestroy(inDev);
    }
    unregisterSysctls(net, "net.ipv4.");
  },
};

/** Devices that were registered before the namespace had IPv4 (its loopback, in some orders of setup). */
export const devinetDevicesNetOps: PernetOperations = {
  name: "devinet_devices",
  init(net: Net): number {
    for (const dev of net.devByIndex.values()) {
      if (inDevGet(dev) !== null) continue;
      inetdevRegister(dev);
      const inDev = inDevGet(dev);
      if (inDev !== null && (dev.flags & IFF_UP) !== 0) {
        inetdevEvent(NETDEV_UP, dev);
      }
    }
    return 0;
  },
  exit(): void {},
};

/** devinet_init. */
export function devinetInit(): void {
  netnsIpv4Init();
  registerPernetSubsys(devinetNetOps);
  registerNetdeviceNotifier(inetdevEvent);
  rtnlRegister(AF_INET, RTM_NEWADDR, inetRtmNewaddr, null);
  rtnlRegister(AF_INET, RTM_DELADDR, inetRtmDeladdr, null);
  rtnlRegister(AF_INET, RTM_GETADDR, null, inetDumpIfaddr);
}
