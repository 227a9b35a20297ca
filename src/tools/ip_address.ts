/** `ip address`: the addresses of devices. */

import { kernel } from "../kernel/kernel.ts";
import type { NetDevice } from "../net/core/dev.ts";
import type { IfAddrMsg } from "../net/core/rtnetlink.ts";
import {
  NetlinkExtAck,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
  rtnetlinkDump,
  rtnetlinkRcvMsg,
  rtnlLinkKind,
} from "../net/core/rtnetlink.ts";
import type { InIfaddr } from "../net/ipv4/devinet.ts";
import { inetNtoa, ipv4IsLoopback, maskOf } from "../net/ipv4/inet_addr.ts";
import { EADDRNOTAVAIL } from "../uapi/errno.ts";
import { IFF_UP } from "../uapi/if.ts";
import {
  IFA_F_DADFAILED,
  IFA_F_DEPRECATED,
  IFA_F_HOMEADDRESS,
  IFA_F_MANAGETEMPADDR,
  IFA_F_MCAUTOJOIN,
  IFA_F_NODAD,
  IFA_F_NOPREFIXROUTE,
  IFA_F_OPTIMISTIC,
  IFA_F_PERMANENT,
  IFA_F_SECONDARY,
  IFA_F_STABLE_PRIVACY,
  IFA_F_TENTATIVE,
  RT_SCOPE_HOST,
} from "../uapi/rtnetlink.ts";
import { AF_INET } from "../uapi/socket.ts";
import { formatBrief, formatLink, linkList } from "./ip_link.ts";
import type { IpOptions, Prefix } from "./ip_util.ts";
import {
  duparg2,
  getAddr,
  getPrefix,
  getUnsigned,
  invarg,
  isOneOf,
  matches,
  needDev,
  nextArg,
  parseProto,
  parseScope,
  prefixContains,
  protoName,
  rtnlError,
  rtnlTalk,
  scopeName,
  showDev,
  sl,
} from "./ip_util.ts";
import type { CommandResult, Words } from "./parse_command.ts";
import { commandOk, ParseError } from "./parse_command.ts";

export function ipAddress(o: IpOptions, words: Words): CommandResult {
  const command = words.next();
  if (command === undefined) return addressShow(o, words);
  if (matches(command, "add")) return addressModify(o, words, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  if (isOneOf(command, "change") || command === "chg") return addressModify(o, words, RTM_NEWADDR, NLM_F_REPLACE);
  if (matches(command, "replace")) return addressModify(o, words, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
  if (matches(command, "delete")) return addressModify(o, words, RTM_DELADDR, 0);
  if (isOneOf(command, "show", "lst", "list")) return addressShow(o, words);
  if (matches(command, "flush")) return addressFlush(o, words);
  if (command === "help")
    throw new ParseError("Usage: ip address { add | change | replace | del | show | flush } ...", 255);
  throw new ParseError(`Command "${command}" is unknown, try "ip address help".`, 255);
}

/** IFA_F_* by their names, in the order in which they are printed. */
const FLAGS: readonly (readonly [name: string, flag: number])[] = [
  ["secondary", IFA_F_SECONDARY],
  ["nodad", IFA_F_NODAD],
  ["optimistic", IFA_F_OPTIMISTIC],
  ["dadfailed", IFA_F_DADFAILED],
  ["home", IFA_F_HOMEADDRESS],
  ["deprecated", IFA_F_DEPRECATED],
  ["tentative", IFA_F_TENTATIVE],
  ["permanent", IFA_F_PERMANENT],
  ["mngtmpaddr", IFA_F_MANAGETEMPADDR],
  ["noprefixroute", IFA_F_NOPREFIXROUTE],
  ["autojoin", IFA_F_MCAUTOJOIN],
  ["stable-privacy", IFA_F_STABLE_PRIVACY],
];
/** Those that can be given with an address. */
const CONF_FLAGS: readonly string[] = ["home", "nodad", "mngtmpaddr", "noprefixroute", "autojoin"];

function flagByName(name: string): number {
  for (const [n, flag] of FLAGS) if (n === name) return flag;
  return 0;
}

function lifetime(words: Words, what: string): number {
  const word = nextArg(words);
  if (word === "forever") return Infinity;
  const n = getUnsigned(word);
  if (Number.isNaN(n)) throw invarg(`${what} value`, word);
  return n === 0xffffffff ? Infinity : n;
}

/** ipaddr_modify. */
function addressModify(o: IpOptions, words: Words, type: number, flags: number): CommandResult {
  const msg: IfAddrMsg = { ifindex: 0, prefixlen: 0 };
  let devName = "";
  let local: Prefix | null = null;
  let peer: Prefix | null = null;
  let brd = "";
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "peer" || word === "remote") {
      if (peer !== null) throw duparg2("peer", word);
      peer = getPrefix(nextArg(words), o.family);
    } else if (matches(word, "broadcast") || word === "brd") {
      if (brd !== "") throw duparg2("broadcast", word);
      brd = nextArg(words);
    } else if (word === "scope") {
      msg.scope = parseScope(nextArg(words), "invalid scope value.");
    } else if (word === "dev") {
      devName = nextArg(words);
    } else if (word === "label") {
      msg.label = nextArg(words);
    } else if (isOneOf(word, "metric", "priority", "preference")) {
      const text = nextArg(words);
      msg.rtPriority = getUnsigned(text);
      if (Number.isNaN(msg.rtPriority)) throw invarg('"metric" value is invalid\n', text);
    } else if (word === "valid_lft") {
      msg.validLft = lifetime(words, "valid_lft");
    } else if (word === "preferred_lft") {
      msg.preferredLft = lifetime(words, "preferred_lft");
    } else if (CONF_FLAGS.includes(word)) {
      msg.flags = (msg.flags ?? 0) | flagByName(word);
    } else if (word === "proto") {
      msg.proto = parseProto(nextArg(words));
    } else {
      const text = word === "local" ? nextArg(words) : word;
      if (local !== null) throw duparg2("local", text);
      local = getPrefix(text, o.family);
    }
  }
  if (devName === "") throw new ParseError('Not enough information: "dev" argument is required.');
  if (msg.label !== undefined && !msg.label.startsWith(devName) && msg.label.length > 15) {
    throw invarg("invalid label", msg.label);
  }
  if (msg.validLft !== undefined && (msg.preferredLft ?? Infinity) > msg.validLft) {
    throw new ParseError("preferred_lft is greater than valid_lft");
  }
  const dev = needDev(o.net, devName);
  msg.ifindex = dev.ifindex;
  if (local === null) throw new ParseError("RTNETLINK answers: Operation not supported", 2);
  msg.local = local.addr;
  let warning = "";
  if (peer !== null) {
    msg.address = peer.addr;
  } else if (type === RTM_DELADDR && !local.given) {
    warning =
      "Warning: Executing wildcard deletion to stay compatible with old scripts.\n" +
      `         Explicitly specify the prefix length (${inetNtoa(local.addr)}/32) to avoid this warning.\n` +
      "         This special behaviour is likely to disappear in further releases,\n" +
      "         fix your scripts!\n";
  } else {
    msg.address = local.addr;
  }
  msg.prefixlen = (peer ?? local).len;
  if (brd === "+" || brd === "-") {
    if (msg.prefixlen <= 30) {
      const mask = maskOf(msg.prefixlen);
      msg.broadcast = (brd === "+" ? (local.addr & mask) | ~mask : local.addr & mask) >>> 0;
    }
  } else if (brd !== "") {
    msg.broadcast = getAddr(brd, o.family);
  }
  if (msg.scope === undefined && type === RTM_NEWADDR) msg.scope = ipv4IsLoopback(local.addr) ? RT_SCOPE_HOST : 0;
  rtnlTalk(o.net, type, msg, flags);
  return { code: 0, stdout: "", stderr: warning };
}

// ---- showing ----------------------------------------------------------------------------------------------------------------------

interface AddressFilter {
  dev: NetDevice | null;
  to: Prefix | null;
  label: string;
  scope: number;
  up: boolean;
  kind: string;
  flags: number;
  flagMask: number;
}

function parseFilter(o: IpOptions, words: Words): AddressFilter {
  const f: AddressFilter = { dev: null, to: null, label: "", scope: -1, up: false, kind: "", flags: 0, flagMask: 0 };
  const setFlag = (flag: number, on: boolean): void => {
    f.flagMask |= flag;
    f.flags = on ? f.flags | flag : f.flags & ~flag;
  };
  for (let word = words.next(); word !== undefined; word = words.next()) {
    if (word === "to") f.to = getPrefix(nextArg(words), o.family);
    else if (word === "scope") {
      const text = nextArg(words);
      f.scope = text === "all" ? -1 : parseScope(text, 'invalid "scope"\n');
    } else if (word === "up") f.up = true;
    else if (word === "label") f.label = nextArg(words);
    else if (word === "type") f.kind = nextArg(words);
    else if (word === "primary") setFlag(IFA_F_SECONDARY, false);
    else if (word === "dynamic") setFlag(IFA_F_PERMANENT, false);
    else if (flagByName(word) !== 0) setFlag(flagByName(word), true);
    else if (word.startsWith("-") && flagByName(word.slice(1)) !== 0) setFlag(flagByName(word.slice(1)), false);
    else {
      const name = word === "dev" ? nextArg(words) : word;
      if (f.dev !== null) throw duparg2("dev", name);
      f.dev = showDev(o.net, name);
    }
  }
  return f;
}

/** fnmatch with `*` and `?`. */
function globMatch(pattern: string, text: string): boolean {
  const re = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${re}$`).test(text);
}

function wanted(f: AddressFilter, ifa: InIfaddr): boolean {
  if (f.scope >= 0 && ifa.ifaScope !== f.scope) return false;
  if (((ifa.ifaFlags ^ f.flags) & f.flagMask) !== 0) return false;
  if (f.to !== null && !prefixContains(f.to, ifa.ifaLocal)) return false;
  return f.label === "" || globMatch(f.label, ifa.ifaLabel);
}

function formatLifetime(ifa: InIfaddr, lft: number): string {
  if (lft === Infinity || (ifa.ifaFlags & IFA_F_PERMANENT) !== 0) return "forever";
  return `${Math.max(0, lft - Math.floor((kernel.now - ifa.ifaTstamp) / 1e6))}sec`;
}

/** print_addrinfo. */
function formatAddress(o: IpOptions, dev: NetDevice, ifa: InIfaddr): string {
  let out = o.oneline ? `${dev.ifindex}: ${dev.name}    inet ` : "    inet ";
  out += inetNtoa(ifa.ifaLocal);
  if (ifa.ifaAddress !== ifa.ifaLocal) out += ` peer ${inetNtoa(ifa.ifaAddress)}`;
  out += `/${ifa.ifaPrefixlen} `;
  if (ifa.ifaRtPriority !== 0) out += `metric ${ifa.ifaRtPriority} `;
  if (ifa.ifaBroadcast !== 0) out += `brd ${inetNtoa(ifa.ifaBroadcast)} `;
  out += `scope ${scopeName(ifa.ifaScope)} `;
  for (const [name, flag] of FLAGS) {
    const set = (ifa.ifaFlags & flag) !== 0;
    if (flag === IFA_F_PERMANENT) out += set ? "" : "dynamic ";
    else if (set) out += `${name} `;
  }
  if (ifa.ifaProto !== 0) out += `proto ${protoName(ifa.ifaProto)} `;
  out += ifa.ifaLabel;
  out += `${sl(o)}       valid_lft ${formatLifetime(ifa, ifa.ifaValidLft)}`;
  return `${out} preferred_lft ${formatLifetime(ifa, ifa.ifaPreferredLft)}\n`;
}

function addressesOf(o: IpOptions, dev: NetDevice): InIfaddr[] {
  if (o.family === "inet6" || o.family === "link") return [];
  return rtnetlinkDump(o.net, AF_INET, RTM_GETADDR, { ifindex: dev.ifindex }) as InIfaddr[];
}

function addressShow(o: IpOptions, words: Words): CommandResult {
  const f = parseFilter(o, words);
  // An address family leaves devices without such addresses out, and their link addresses too.
  const inetOnly = (o.family !== "" && o.family !== "link") || f.to !== null || f.label !== "";
  let out = "";
  for (const dev of linkList(o.net)) {
    if (f.dev !== null && dev !== f.dev) continue;
    if (f.up && (dev.flags & IFF_UP) === 0) continue;
    if (f.kind !== "" && rtnlLinkKind(dev) !== f.kind) continue;
    const all = addressesOf(o, dev);
    const shown = all.filter((ifa) => wanted(f, ifa));
    if (shown.length === 0 && (inetOnly || all.length > 0)) continue;
    if (o.brief) {
      out += formatBrief(dev);
      for (const ifa of shown) {
        out += inetNtoa(ifa.ifaLocal);
        if (ifa.ifaAddress !== ifa.ifaLocal) out += ` peer ${inetNtoa(ifa.ifaAddress)}`;
        out += `/${ifa.ifaPrefixlen} `;
        if (ifa.ifaRtPriority !== 0) out += `metric ${ifa.ifaRtPriority} `;
      }
      out += "\n";
      continue;
    }
    if (!o.oneline && f.label === "") out += formatLink(o, dev, true, inetOnly);
    for (const ifa of shown) out += formatAddress(o, dev, ifa);
  }
  return commandOk(out);
}

function addressFlush(o: IpOptions, words: Words): CommandResult {
  if (words.done) throw new ParseError("Flush requires arguments.");
  const f = parseFilter(o, words);
  for (const dev of linkList(o.net)) {
    if (f.dev !== null && dev !== f.dev) continue;
    if (f.up && (dev.flags & IFF_UP) === 0) continue;
    for (const ifa of addressesOf(o, dev)) {
      if (!wanted(f, ifa)) continue;
      const extack = new NetlinkExtAck();
      const msg: IfAddrMsg = {
        ifindex: dev.ifindex,
        prefixlen: ifa.ifaPrefixlen,
        local: ifa.ifaLocal,
        address: ifa.ifaAddress,
        label: ifa.ifaLabel,
      };
      const err = rtnetlinkRcvMsg(o.net, AF_INET, RTM_DELADDR, msg, 0, extack);
      // A secondary address goes with its primary one.
      if (err < 0 && err !== -EADDRNOTAVAIL) throw rtnlError(err, extack);
    }
  }
  return commandOk();
}
