/** `ip link`: devices. */

import type { NetDevice } from "../net/core/dev.ts";
import { devGetFlags, IFF_NO_QUEUE, netifCarrierOk, netifRunning } from "../net/core/dev.ts";
import type { Net } from "../net/core/net_namespace.ts";
import type { LinkMsg } from "../net/core/rtnetlink.ts";
import {
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  netnsOf,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
  RTM_SETLINK,
  rtnetlinkDump,
  rtnlLinkKind,
  rtnlLinkOpsGet,
} from "../net/core/rtnetlink.ts";
import {
  ARPHRD_ETHER,
  ARPHRD_LOOPBACK,
  ARPHRD_NONE,
  IFF_ALLMULTI,
  IFF_AUTOMEDIA,
  IFF_BROADCAST,
  IFF_DEBUG,
  IFF_DORMANT,
  IFF_DYNAMIC,
  IFF_ECHO,
  IFF_LOOPBACK,
  IFF_LOWER_UP,
  IFF_MASTER,
  IFF_MULTICAST,
  IFF_NOARP,
  IFF_NOTRAILERS,
  IFF_POINTOPOINT,
  IFF_PORTSEL,
  IFF_PROMISC,
  IFF_RUNNING,
  IFF_SLAVE,
  IFF_UP,
} from "../uapi/if.ts";
import { AF_UNSPEC } from "../uapi/socket.ts";
import type { IpOptions } from "./ip_util.ts";
import {
  duparg2,
  formatLladdr,
  getUnsigned,
  invarg,
  isOneOf,
  matches,
  missarg,
  needDev,
  needLladdr,
  needNetns,
  nextArg,
  rtnlTalk,
  showDev,
  sl,
} from "./ip_util.ts";
import type { CommandResult, Words } from "./parse_command.ts";
import { commandOk, ParseError } from "./parse_command.ts";

export function ipLink(o: IpOptions, words: Words): CommandResult {
  const command = words.next();
  if (command === undefined) return linkShow(o, words);
  if (matches(command, "add")) return linkAdd(o, words, NLM_F_CREATE | NLM_F_EXCL);
  if (isOneOf(command, "set", "change")) return linkSet(o, words);
  if (matches(command, "replace")) return linkAdd(o, words, NLM_F_CREATE | NLM_F_REPLACE);
  if (matches(command, "delete")) return linkDelete(o, words);
  if (isOneOf(command, "show", "lst", "list")) return linkShow(o, words);
  if (command === "help") throw new ParseError("Usage: ip link { add | delete | set | show } ...", 255);
  throw new ParseError(`Command "${command}" is unknown, try "ip link help".`, 255);
}

// ---- changing ------------------------------------------------------------------------------------------------------------------

function setFlag(msg: LinkMsg, flag: number, on: boolean): void {
  msg.change = (msg.change ?? 0) | flag;
  msg.flags = on ? (msg.flags ?? 0) | flag : (msg.flags ?? 0) & ~flag;
}

function onOff(words: Words, what: string): boolean {
  const word = nextArg(words);
  if (word === "on") return true;
  if (word === "off") return false;
  throw new ParseError(`Error: argument of "${what}" must be "on" or "off", not "${word}"`, 255);
}

function number(words: Words, what: string): number {
  const word = nextArg(words);
  const n = getUnsigned(word, 0x7fffffff);
  if (Number.isNaN(n)) throw invarg(`Invalid "${what}" value\n`, word);
  return n;
}

/**
 * iplink_parse: the words that describe a device, up to `type` or the end. The name goes to `msg.ifname`, a new name to
 * `renamed`. `end`: a word that ends it, left to be read.
 */
function parseLink(o: IpOptions, words: Words, msg: LinkMsg, isSet: boolean): { name: string; renamed: string } {
  let name = "";
  let renamed = "";
  for (let word = words.peek; word !== undefined; word = words.peek) {
    if (!isSet && word === "type") break;
    words.next();
    if (word === "up") setFlag(msg, IFF_UP, true);
    else if (word === "down") setFlag(msg, IFF_UP, false);
    else if (word === "name") {
      if (isSet) renamed = nextArg(words);
      else if (name === "") name = nextArg(words);
      else throw duparg2("name", nextArg(words));
    } else if (matches(word, "link")) nextArg(words);
    else if (word === "mtu") msg.mtu = number(words, "mtu");
    else if (matches(word, "address")) msg.address = needLladdr(nextArg(words));
    else if (matches(word, "broadcast") || word === "brd") msg.broadcast = needLladdr(nextArg(words));
    else if (isOneOf(word, "txqueuelen", "qlen", "txqlen")) msg.txqlen = number(words, "txqueuelen");
    else if (word === "netns") msg.netns = needNetns(o.net, nextArg(words));
    else if (word === "multicast") setFlag(msg, IFF_MULTICAST, onOff(words, word));
    else if (word === "allmulticast") setFlag(msg, IFF_ALLMULTI, onOff(words, word));
    else if (word === "promisc") setFlag(msg, IFF_PROMISC, onOff(words, word));
    else if (word === "arp") setFlag(msg, IFF_NOARP, !onOff(words, word));
    else if (word === "trailers") setFlag(msg, IFF_NOTRAILERS, !onOff(words, word));
    else if (word === "alias") msg.alias = nextArg(words);
    else if (word === "group") msg.group = group(nextArg(words));
    else if (word === "master" || word === "nomaster") {
      // There are no bridges and no bonds.
      throw new ParseError("RTNETLINK answers: Operation not supported", 2);
    } else if (word === "index") msg.ifindex = number(words, "index");
    else {
      const dev = matches(word, "dev") && words.peek !== undefined ? nextArg(words) : word;
      if (name !== "") throw duparg2("dev", dev);
      name = dev;
    }
  }
  return { name, renamed };
}

function group(text: string): number {
  const n = text === "default" ? 0 : getUnsigned(text);
  if (Number.isNaN(n)) throw invarg('Invalid "group" value\n', text);
  return n;
}

/** What the kernel says of a name longer than IFNAMSIZ. */
function checkName(name: string): void {
  if (name.length > 15) throw new ParseError("Error: Attribute failed policy validation.", 2);
}

function linkAdd(o: IpOptions, words: Words, flags: number): CommandResult {
  const msg: LinkMsg = {};
  const { name } = parseLink(o, words, msg, false);
  if (words.next() !== "type") throw new ParseError('Not enough information: "type" argument is required');
  const kind = nextArg(words);
  msg.kind = kind;
  checkName(name);
  if (name !== "") msg.ifname = name;
  const more = words.next();
  if (more !== undefined) {
    if (kind !== "veth") throw new ParseError(`${kind}: unknown option "${more}"?`);
    if (more !== "peer") {
      throw new ParseError(
        "Usage: ip link <options> type veth [peer <options>]\nTo get <options> type 'ip link add help'",
      );
    }
    const peer: LinkMsg = {};
    const parsed = parseLink(o, words, peer, false);
    if (!words.done) throw duparg2("dev", nextArg(words));
    checkName(parsed.name);
    if (parsed.name !== "") peer.ifname = parsed.name;
    msg.peer = peer;
  }
  rtnlTalk(o.net, RTM_NEWLINK, msg, flags);
  return commandOk();
}

function linkSet(o: IpOptions, words: Words): CommandResult {
  const msg: LinkMsg = {};
  const { name, renamed } = parseLink(o, words, msg, true);
  if (name === "") throw missarg("dev");
  msg.ifindex = needDev(o.net, name).ifindex;
  if (renamed !== "") msg.ifname = renamed;
  rtnlTalk(o.net, RTM_SETLINK, msg, 0);
  return commandOk();
}

function linkDelete(o: IpOptions, words: Words): CommandResult {
  const msg: LinkMsg = {};
  const { name } = parseLink(o, words, msg, false);
  if (name === "") throw missarg("dev");
  rtnlTalk(o.net, RTM_DELLINK, { ifindex: needDev(o.net, name).ifindex } satisfies LinkMsg, 0);
  return commandOk();
}

// ---- showing ----------------------------------------------------------------------------------------------------------------------

const FLAG_NAMES: readonly (readonly [flag: number, name: string])[] = [
  [IFF_LOOPBACK, "LOOPBACK"],
  [IFF_BROADCAST, "BROADCAST"],
  [IFF_POINTOPOINT, "POINTOPOINT"],
  [IFF_MULTICAST, "MULTICAST"],
  [IFF_NOARP, "NOARP"],
  [IFF_ALLMULTI, "ALLMULTI"],
  [IFF_PROMISC, "PROMISC"],
  [IFF_MASTER, "MASTER"],
  [IFF_SLAVE, "SLAVE"],
  [IFF_DEBUG, "DEBUG"],
  [IFF_DYNAMIC, "DYNAMIC"],
  [IFF_AUTOMEDIA, "AUTOMEDIA"],
  [IFF_PORTSEL, "PORTSEL"],
  [IFF_NOTRAILERS, "NOTRAILERS"],
  [IFF_UP, "UP"],
  [IFF_LOWER_UP, "LOWER_UP"],
  [IFF_DORMANT, "DORMANT"],
  [IFF_ECHO, "ECHO"],
];

function linkPeer(dev: NetDevice): NetDevice | null {
  return rtnlLinkOpsGet(rtnlLinkKind(dev))?.peer?.(dev) ?? null;
}

/** print_link_flags. */
function formatFlags(dev: NetDevice): string {
  const flags = devGetFlags(dev);
  const out: string[] = [];
  if ((flags & IFF_UP) !== 0 && (flags & IFF_RUNNING) === 0) out.push("NO-CARRIER");
  for (const [flag, name] of FLAG_NAMES) if ((flags & flag) !== 0) out.push(name);
  const peer = linkPeer(dev);
  if (peer !== null && peer.net === dev.net && (peer.flags & IFF_UP) === 0) out.push("M-DOWN");
  return `<${out.join(",")}>`;
}

/** The operational state (RFC 2863). Devices that never had to look for a carrier don't know. */
function operState(dev: NetDevice): string {
  if (!netifRunning(dev)) return "DOWN";
  if ((dev.flags & IFF_LOOPBACK) !== 0 || rtnlLinkKind(dev) === "dummy") return "UNKNOWN";
  if (netifCarrierOk(dev)) return "UP";
  return linkPeer(dev) !== null ? "LOWERLAYERDOWN" : "DOWN";
}

function netnsName(net: Net): string {
  for (const [name, other] of netnsOf(net.kernel)) if (other === net) return name;
  return net.name;
}

/** "v0@v1", or "v0@if2" when the other end is elsewhere. */
export function linkName(dev: NetDevice): string {
  const peer = linkPeer(dev);
  if (peer === null) return dev.name;
  return peer.net === dev.net ? `${dev.name}@${peer.name}` : `${dev.name}@if${peer.ifindex}`;
}

function qdiscName(dev: NetDevice): string {
  if (dev.qdisc === null) return "noqueue";
  // A device that is up without a carrier has its queue already, but does not use it yet.
  const waiting = dev.qdisc.ops.id === "noop" && (dev.flags & IFF_UP) !== 0;
  return waiting && (dev.privFlags & IFF_NO_QUEUE) !== 0 ? "noqueue" : dev.qdisc.ops.id;
}

function arphrdName(type: number): string {
  if (type === ARPHRD_ETHER) return "ether";
  if (type === ARPHRD_LOOPBACK) return "loopback";
  return type === ARPHRD_NONE ? "none" : `[${type}]`;
}

/** print_linkinfo. `address`: for `ip address`, which says less; `noLink`: without the line of the link address. */
export function formatLink(o: IpOptions, dev: NetDevice, address: boolean, noLink: boolean): string {
  const end = sl(o);
  let out = `${dev.ifindex}: ${linkName(dev)}: ${formatFlags(dev)} mtu ${dev.mtu} qdisc ${qdiscName(dev)} `;
  out += `state ${operState(dev)} `;
  if (!address) out += "mode DEFAULT ";
  out += `group ${dev.group === 0 ? "default" : dev.group} `;
  if (dev.txQueueLen !== 0) out += `qlen ${dev.txQueueLen} `;
  if (!noLink) {
    out = `${out.trimEnd()}${end}    link/${arphrdName(dev.type)} `;
    if (dev.addrLen !== 0) {
      out += formatLladdr(dev.devAddr, dev.addrLen);
      out += (dev.flags & IFF_POINTOPOINT) !== 0 ? " peer " : " brd ";
      out += formatLladdr(dev.broadcast, dev.addrLen);
    }
  } else {
    out = out.trimEnd();
  }
  const peer = linkPeer(dev);
  if (peer !== null && peer.net !== dev.net) out += ` link-netns ${netnsName(peer.net)}`;
  if (o.details) out += formatDetails(o, dev);
  if (dev.ifalias !== "" && !address) out += `${end}    alias ${dev.ifalias}`;
  if (o.stats > 0) out += formatStats(o, dev);
  return `${out}\n`;
}

function formatDetails(o: IpOptions, dev: NetDevice): string {
  let out = ` promiscuity ${dev.promiscuity}  allmulti ${dev.allmulti} minmtu ${dev.minMtu} maxmtu ${dev.maxMtu} `;
  const kind = rtnlLinkKind(dev);
  if (kind !== "") out += `${sl(o)}    ${kind} `;
  else out += "";
  return `${out}numtxqueues 1 numrxqueues 1 gso_max_size ${dev.gsoMaxSize} gso_max_segs ${dev.gsoMaxSegs} `;
}

/** print_stats64: columns as wide as their title, or their number. */
function formatStats(o: IpOptions, dev: NetDevice): string {
  const s = dev.stats;
  const table = (title: string, head: readonly string[], values: readonly number[]): string => {
    let top = `    ${title}`;
    let bottom = "    ";
    for (let i = 0; i < head.length; i++) {
      const text = String(values[i]);
      // "RX:" is part of the first column.
      const width = Math.max((head[i] as string).length, text.length, i === 0 ? 6 : 0);
      top += ` ${(head[i] as string).padStart(width)}`;
      bottom += i === 0 ? `${text.padStart(width + title.length + 1)}` : ` ${text.padStart(width)}`;
    }
    return `${sl(o)}${top}           ${sl(o)}${bottom} `;
  };
  const dropped = s.rxDropped + s.rxNohandler;
  return (
    table(
      "RX:",
      ["bytes", "packets", "errors", "dropped", " missed", "  mcast"],
      [s.rxBytes, s.rxPackets, s.rxErrors, dropped, s.rxOverErrors, s.multicast],
    ) +
    table(
      "TX:",
      ["bytes", "packets", "errors", "dropped", "carrier", "collsns"],
      [s.txBytes, s.txPackets, s.txErrors, s.txDropped, s.txCarrierErrors, s.collisions],
    )
  );
}

/** The beginning of a line of -br. */
export function formatBrief(dev: NetDevice): string {
  return `${linkName(dev).padEnd(16)} ${operState(dev).padEnd(14)} `;
}

/** All devices, in the order of their numbers. */
export function linkList(net: Net): NetDevice[] {
  return rtnetlinkDump(net, AF_UNSPEC, RTM_GETLINK) as NetDevice[];
}

function linkShow(o: IpOptions, words: Words): CommandResult {
  let only: NetDevice | null = null;
  let kind = "";
  let up = false;
  let named = false;
  let wanted = -1;
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "up") up = true;
    else if (word === "type") kind = nextArg(words);
    else if (word === "group") wanted = group(nextArg(words));
    else if (word === "master" || word === "vrf") throw new ParseError(`"${word}" is not supported`, 255);
    else {
      const name = word === "dev" ? nextArg(words) : word;
      if (named) throw duparg2("dev", name);
      only = showDev(o.net, name);
      named = true;
    }
  }
  let out = "";
  for (const dev of linkList(o.net)) {
    if (only !== null && dev !== only) continue;
    if (up && (dev.flags & IFF_UP) === 0) continue;
    if (kind !== "" && rtnlLinkKind(dev) !== kind) continue;
    if (wanted >= 0 && dev.group !== wanted) continue;
    if (o.brief) out += `${formatBrief(dev)}${formatLladdr(dev.devAddr, dev.addrLen)} ${formatFlags(dev)} \n`;
    else out += formatLink(o, dev, false, false);
  }
  return commandOk(out);
}
