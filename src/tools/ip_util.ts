/** What the parts of the `ip` command share: arguments in iproute2's way, names for numbers, and the kernel's answers. */

import type { NetDevice } from "../net/core/dev.ts";
import type { Net } from "../net/core/net_namespace.ts";
import { NetlinkExtAck, netnsOf, rtnetlinkRcvMsg } from "../net/core/rtnetlink.ts";
import { inetAton, maskLen, maskOf } from "../net/ipv4/inet_addr.ts";
import { errnoMessage } from "../uapi/errno.ts";
import { AF_INET } from "../uapi/socket.ts";
import type { Words } from "./parse_command.ts";
import { ParseError } from "./parse_command.ts";

/** The options before the object. */
export interface IpOptions {
  net: Net;
  /** "" = all, "inet", "inet6", "link". */
  family: string;
  oneline: boolean;
  details: boolean;
  stats: number;
  brief: boolean;
}

/** Where a record's lines part: a backslash with -o. */
export function sl(o: IpOptions): string {
  return o.oneline ? "\\" : "\n";
}

/** matches() of iproute2: `word` is the beginning of `full`. */
export function matches(word: string, full: string): boolean {
  return word !== "" && full.startsWith(word);
}

/** matches() against several. */
export function isOneOf(word: string, ...full: string[]): boolean {
  for (const f of full) if (matches(word, f)) return true;
  return false;
}

/** NEXT_ARG. */
export function nextArg(words: Words): string {
  const word = words.next();
  if (word === undefined) throw new ParseError('Command line is not complete. Try option "help"', 255);
  return word;
}

/** invarg. */
export function invarg(msg: string, arg: string): ParseError {
  return new ParseError(`Error: argument "${arg}" is wrong: ${msg}`, 255);
}

/** duparg2: a second of what there can be one of, which most often is a word that is not known. */
export function duparg2(key: string, arg: string): ParseError {
  return new ParseError(`Error: either "${key}" is duplicate, or "${arg}" is a garbage.`, 255);
}

export function missarg(key: string): ParseError {
  return new ParseError(`Not enough information: "${key}" argument is required.`, 255);
}

/** get_u32 and its like: decimal, hexadecimal or octal; NaN if it is no number or above `max`. */
export function getUnsigned(text: string, max = 0xffffffff): number {
  if (!/^(?:0x[0-9a-f]+|\d+)$/i.test(text)) return Number.NaN;
  const n = /^0\d/.test(text) ? Number.parseInt(text, 8) : Number(text);
  return Number.isNaN(n) || n > max ? Number.NaN : n;
}

export interface Prefix {
  addr: number;
  len: number;
  /** "/len" was given. */
  given: boolean;
}

/** get_prefix: an address, perhaps with a length or a mask behind a slash; "default" and "any" are 0/0. */
export function getPrefix(text: string, family = ""): Prefix {
  const fail = (): ParseError =>
    new ParseError(`Error: ${family === "inet" ? "inet" : "any valid"} prefix is expected rather than "${text}".`);
  if (text === "default" || text === "any" || text === "all") return { addr: 0, len: 0, given: false };
  const slash = text.indexOf("/");
  const addr = inetAton(slash < 0 ? text : text.slice(0, slash));
  if (addr < 0) throw fail();
  if (slash < 0) return { addr, len: 32, given: false };
  const suffix = text.slice(slash + 1);
  let len = /^\d+$/.test(suffix) ? Number(suffix) : -1;
  if (len < 0) {
    const mask = inetAton(suffix);
    len = mask < 0 ? -1 : maskLen(mask);
  }
  if (len < 0 || len > 32) throw fail();
  return { addr, len, given: true };
}

/** get_addr. */
export function getAddr(text: string, family = ""): number {
  if (text === "default" || text === "any" || text === "all") return 0;
  const addr = inetAton(text);
  if (addr < 0) {
    throw new ParseError(
      `Error: ${family === "inet" ? "inet" : "any valid"} address is expected rather than "${text}".`,
    );
  }
  return addr;
}

export function prefixContains(p: Prefix, addr: number): boolean {
  return ((addr ^ p.addr) & maskOf(p.len)) === 0;
}

/** ll_name_to_index, or iproute2's complaint. */
export function needDev(net: Net, name: string): NetDevice {
  const dev = net.devByName.get(name);
  if (dev === undefined) throw new ParseError(`Cannot find device "${name}"`);
  return dev;
}

/** The same in `show`. */
export function showDev(net: Net, name: string): NetDevice {
  const dev = net.devByName.get(name);
  if (dev === undefined) throw new ParseError(`Device "${name}" does not exist.`);
  return dev;
}

/** ll_addr_a2n. */
export function needLladdr(text: string): Uint8Array {
  const parts = text.split(":");
  const out = new Uint8Array(parts.length);
  for (let i = 0; i < parts.length; i++) {
    if (!/^[0-9a-f]{1,2}$/i.test(parts[i] as string)) throw new ParseError(`"${text}" is invalid lladdr.`);
    out[i] = Number.parseInt(parts[i] as string, 16);
  }
  return out;
}

export function formatLladdr(addr: Uint8Array, len: number = addr.length): string {
  const parts: string[] = [];
  for (let i = 0; i < len; i++) parts.push((addr[i] as number).toString(16).padStart(2, "0"));
  return parts.join(":");
}

/** Finds a namespace by its name; iproute2's complaint if there is none. */
export function needNetns(net: Net, name: string): Net {
  const found = netnsOf(net.kernel).get(name);
  if (found === undefined) throw invarg('Invalid "netns" value\n', name);
  return found;
}

/** What `ip` prints when the kernel refuses. */
export function rtnlError(err: number, extack: NetlinkExtAck): ParseError {
  if (extack.msg !== "") return new ParseError(`Error: ${extack.msg}.`, 2);
  return new ParseError(`RTNETLINK answers: ${errnoMessage(err)}`, 2);
}

/** rtnl_talk: sends one message; throws what `ip` would print. */
export function rtnlTalk(net: Net, type: number, msg: object, flags: number): void {
  const extack = new NetlinkExtAck();
  const err = rtnetlinkRcvMsg(net, AF_INET, type, msg, flags, extack);
  if (err < 0) throw rtnlError(err, extack);
}

// ---- names for numbers (/etc/iproute2) -----------------------------------------------------------------------------------------

const PROTOCOLS: ReadonlyMap<number, string> = new Map([
  [0, "unspec"],
  [1, "redirect"],
  [2, "kernel"],
  [3, "boot"],
  [4, "static"],
  [8, "gated"],
  [9, "ra"],
  [10, "mrt"],
  [11, "zebra"],
  [12, "bird"],
  [13, "dnrouted"],
  [14, "xorp"],
  [15, "ntk"],
  [16, "dhcp"],
  [18, "keepalived"],
  [42, "babel"],
  [186, "bgp"],
  [187, "isis"],
  [188, "ospf"],
  [189, "rip"],
  [192, "eigrp"],
]);
const SCOPES: ReadonlyMap<number, string> = new Map([
  [0, "global"],
  [200, "site"],
  [253, "link"],
  [254, "host"],
  [255, "nowhere"],
]);
const TABLES: ReadonlyMap<number, string> = new Map([
  [0, "unspec"],
  [253, "default"],
  [254, "main"],
  [255, "local"],
]);
const TYPES: readonly string[] = [
  "none",
  "unicast",
  "local",
  "broadcast",
  "anycast",
  "multicast",
  "blackhole",
  "unreachable",
  "prohibit",
  "throw",
  "nat",
  "xresolve",
];
const IPPROTOS: ReadonlyMap<number, string> = new Map([
  [1, "icmp"],
  [2, "igmp"],
  [6, "tcp"],
  [17, "udp"],
  [47, "gre"],
  [132, "sctp"],
]);

function byName(map: ReadonlyMap<number, string>, text: string): number {
  for (const [n, name] of map) if (name === text) return n;
  return Number.NaN;
}

function named(map: ReadonlyMap<number, string>, text: string, max: number): number {
  const n = byName(map, text);
  return Number.isNaN(n) ? getUnsigned(text, max) : n;
}

export const protoName = (n: number): string => PROTOCOLS.get(n) ?? String(n);
export const scopeName = (n: number): string => SCOPES.get(n) ?? String(n);
export const tableName = (n: number): string => TABLES.get(n) ?? String(n);
export const typeName = (n: number): string => TYPES[n] ?? String(n);
export const ipprotoName = (n: number): string => IPPROTOS.get(n) ?? `ipproto-${n}`;

export function parseProto(text: string): number {
  const n = named(PROTOCOLS, text, 255);
  if (Number.isNaN(n)) throw invarg('"protocol" value is invalid\n', text);
  return n;
}
export function parseScope(text: string, msg: string = 'invalid "scope" value\n'): number {
  const n = named(SCOPES, text, 255);
  if (Number.isNaN(n)) throw invarg(msg, text);
  return n;
}
export function parseTable(text: string): number {
  const n = named(TABLES, text, 0xffffffff);
  if (Number.isNaN(n)) throw invarg('"table" value is invalid\n', text);
  return n;
}
/** rtnl_rtntype_a2n: NaN if it is no type of route. */
export function parseType(text: string): number {
  const n = TYPES.indexOf(text);
  return n > 0 ? n : Number.NaN;
}
export function parseIpproto(text: string): number {
  const n = named(IPPROTOS, text, 255);
  if (Number.isNaN(n)) throw invarg('Invalid "ipproto" value\n', text);
  return n;
}
/** rtnl_dsfield_a2n: a hexadecimal number. */
export function parseTos(text: string, msg: string): number {
  const n = /^(?:0x)?[0-9a-f]{1,2}$/i.test(text) ? Number.parseInt(text, 16) : Number.NaN;
  if (Number.isNaN(n)) throw invarg(msg, text);
  return n;
}
export const formatTos = (tos: number): string => `0x${tos.toString(16).padStart(2, "0")}`;
