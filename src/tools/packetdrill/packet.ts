/**
 * Packets of a script: as values, as bytes, and as text. Sequence numbers are 32 bits, ports and addresses in host order;
 * a payload is a length, since every byte of it is 0.
 */

/** The options of a TCP header, in their order. */
export type TcpOption =
  | { readonly kind: "nop" }
  | { readonly kind: "eol" }
  | { readonly kind: "mss"; readonly value: number }
  | { readonly kind: "wscale"; readonly value: number }
  | { readonly kind: "sackOK" }
  | { readonly kind: "sack"; blocks: (readonly [left: number, right: number])[] }
  | { readonly kind: "TS"; val: number; ecr: number }
  | { readonly kind: "md5"; readonly hex: string }
  | { readonly kind: "FO"; readonly hex: string }
  | { readonly kind: "FOEXP"; readonly hex: string }
  | { readonly kind: "ECN"; readonly fields: readonly (readonly [name: string, value: number])[] }
  | { readonly kind: "other"; readonly type: number; readonly hex: string };

export const TCP_FIN = 1;
export const TCP_SYN = 2;
export const TCP_RST = 4;
export const TCP_PSH = 8;
export const TCP_ACK = 16;
export const TCP_URG = 32;
export const TCP_ECE = 64;
export const TCP_CWR = 128;
export const TCP_AE = 256;

export interface TcpPart {
  sport: number;
  dport: number;
  flags: number;
  seq: number;
  ack: number;
  /** -1 = the script does not say. */
  win: number;
  urg: number;
  /** null = the script does not care. */
  options: TcpOption[] | null;
  /** The ACE field was written as a digit: its three bits are compared as one. */
  ace: boolean;
}

export interface UdpPart {
  sport: number;
  dport: number;
}

export interface IcmpPart {
  type: number;
  code: number;
  mtu: number;
  id: number;
  /** The datagram that an error message is about. */
  echoed: { protocol: "tcp" | "udp" | "raw"; seq: number; len: number } | null;
}

/** What the script says of the IP header. */
export interface IpInfo {
  check: "none" | "ecn" | "ect01" | "tos";
  tos: number;
  /** 0 = not said. */
  ttl: number;
}

/** A header in front of the packet's own: what a tunnel would put there. */
export type OuterHeader =
  | { readonly kind: "ipv4"; readonly ip: IpInfo; readonly saddr: number; readonly daddr: number }
  | { readonly kind: "gre" };

export interface Packet {
  /** The outermost first. */
  outer: readonly OuterHeader[];
  ip: IpInfo;
  tcp: TcpPart | null;
  udp: UdpPart | null;
  icmp: IcmpPart | null;
  /** Bytes behind the transport header. */
  len: number;
  /** Outbound: addresses as seen. */
  saddr: number;
  daddr: number;
  /** False when a byte of the payload is not 0. */
  zero: boolean;
}

const FLAG_LETTERS: readonly (readonly [string, number])[] = [
  ["F", TCP_FIN],
  ["S", TCP_SYN],
  ["R", TCP_RST],
  ["P", TCP_PSH],
  [".", TCP_ACK],
  ["U", TCP_URG],
  ["E", TCP_ECE],
  ["W", TCP_CWR],
  ["A", TCP_AE],
];

/** "S.", "FP.5", "-" -> bits and whether an ACE digit was among them; null for a letter that is no flag. */
export function parseFlags(text: string): { flags: number; ace: boolean } | null {
  let flags = 0;
  let ace = false;
  if (text === "-") return { flags, ace };
  for (const c of text) {
    const bit = FLAG_LETTERS.find(([letter]) => letter === c)?.[1];
    if (bit !== undefined) {
      if ((flags & bit) !== 0) return null;
      flags |= bit;
    } else if (c >= "0" && c <= "7" && !ace) {
      ace = true;
      flags |= aceBits(Number(c));
    } else return null;
  }
  return { flags, ace };
}

function aceBits(ace: number): number {
  return ((ace & 4) !== 0 ? TCP_AE : 0) | ((ace & 2) !== 0 ? TCP_CWR : 0) | ((ace & 1) !== 0 ? TCP_ECE : 0);
}

/** AE, CWR, ECE as the three bits of AccECN's counter. */
export function aceOf(flags: number): number {
  return ((flags & TCP_AE) !== 0 ? 4 : 0) | ((flags & TCP_CWR) !== 0 ? 2 : 0) | ((flags & TCP_ECE) !== 0 ? 1 : 0);
}

// ---- bytes ----------------------------------------------------------------------------------------------------------

function hexBytes(hex: string): number[] {
  const out: number[] = [];
  for (let i = 0; i < hex.length; i += 2) out.push(Number.parseInt(hex.slice(i, i + 2), 16));
  return out;
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

const be16 = (n: number): number[] => [(n >>> 8) & 255, n & 255];
const be24 = (n: number): number[] => [(n >>> 16) & 255, (n >>> 8) & 255, n & 255];
const be32 = (n: number): number[] => [(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];

function optionBytes(o: TcpOption): number[] {
  const tlv = (type: number, data: number[]): number[] => [type, data.length + 2, ...data];
  switch (o.kind) {
    case "nop":
      return [1];
    case "eol":
      return [0];
    case "mss":
      return tlv(2, be16(o.value));
    case "wscale":
      return tlv(3, [o.value]);
    case "sackOK":
      return tlv(4, []);
    case "sack":
      return tlv(
        5,
        o.blocks.flatMap(([l, r]) => [...be32(l), ...be32(r)]),
      );
    case "TS":
      return tlv(8, [...be32(o.val), ...be32(o.ecr)]);
    case "md5":
      return tlv(19, hexBytes(o.hex));
    case "FO":
      return tlv(34, hexBytes(o.hex));
    case "FOEXP":
      return tlv(254, [0xf9, 0x89, ...hexBytes(o.hex)]);
    case "ECN":
      return tlv(
        o.fields[0]?.[0] === "e1b" ? 174 : 172,
        o.fields.flatMap(([, v]) => be24(v)),
      );
    case "other":
      return tlv(o.type, hexBytes(o.hex));
  }
}

/** The options' bytes without padding. */
export function encodeOptions(options: readonly TcpOption[]): number[] {
  return options.flatMap(optionBytes);
}

function decodeOptions(b: Uint8Array): TcpOption[] {
  const out: TcpOption[] = [];
  const v = new DataView(b.buffer, b.byteOffset, b.length);
  for (let i = 0; i < b.length; ) {
    const kind = b[i] as number;
    if (kind === 0) {
      out.push({ kind: "eol" });
      i++;
      continue;
    }
    if (kind === 1) {
      out.push({ kind: "nop" });
      i++;
      continue;
    }
    const len = b[i + 1] ?? 0;
    if (len < 2 || i + len > b.length) {
      out.push({ kind: "other", type: kind, hex: toHex(b.subarray(i + 1)) });
      break;
    }
    out.push(decodeOption(kind, b.subarray(i + 2, i + len), v, i + 2));
    i += len;
  }
  return out;
}

function decodeOption(kind: number, data: Uint8Array, v: DataView, at: number): TcpOption {
  switch (kind) {
    case 2:
      if (data.length === 2) return { kind: "mss", value: v.getUint16(at) };
      break;
    case 3:
      if (data.length === 1) return { kind: "wscale", value: data[0] as number };
      break;
    case 4:
      if (data.length === 0) return { kind: "sackOK" };
      break;
    case 5: {
      if (data.length % 8 !== 0) break;
      const blocks: [number, number][] = [];
      for (let i = 0; i < data.length; i += 8) blocks.push([v.getUint32(at + i), v.getUint32(at + i + 4)]);
      return { kind: "sack", blocks };
    }
    case 8:
      if (data.length === 8) return { kind: "TS", val: v.getUint32(at), ecr: v.getUint32(at + 4) };
      break;
    case 19:
      return { kind: "md5", hex: toHex(data) };
    case 34:
      return { kind: "FO", hex: toHex(data) };
    case 254:
      if (data.length >= 2 && v.getUint16(at) === 0xf989) return { kind: "FOEXP", hex: toHex(data.subarray(2)) };
      break;
    case 172:
    case 174: {
      const names = kind === 172 ? ["e0b", "ceb", "e1b"] : ["e1b", "ceb", "e0b"];
      const fields: [string, number][] = [];
      for (let i = 0; i + 3 <= data.length && i < 9; i += 3)
        fields.push([names[i / 3] as string, (v.getUint16(at + i) << 8) | v.getUint8(at + i + 2)]);
      return { kind: "ECN", fields };
    }
    default:
  }
  return { kind: "other", type: kind, hex: toHex(data) };
}

/** RFC 1071 over `b`, starting with `sum`. */
function checksum(b: Uint8Array, begin: number, end: number, sum: number): number {
  for (let i = begin; i < end; i += 2) sum += ((b[i] as number) << 8) | (i + 1 < end ? (b[i + 1] as number) : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

function pseudoSum(saddr: number, daddr: number, protocol: number, len: number): number {
  return (saddr >>> 16) + (saddr & 0xffff) + (daddr >>> 16) + (daddr & 0xffff) + protocol + len;
}

function ipv4Header(saddr: number, daddr: number, protocol: number, ip: IpInfo, len: number): number[] {
  const header = [0x45, ip.tos, ...be16(20 + len), 0, 0, 0x40, 0, ip.ttl === 0 ? 255 : ip.ttl, protocol, 0, 0];
  header.push(...be32(saddr), ...be32(daddr));
  const sum = checksum(Uint8Array.from(header), 0, 20, 0);
  header[10] = sum >>> 8;
  header[11] = sum & 255;
  return header;
}

/** The IPv4 datagram of a packet, checksums and all. */
export function encodePacket(p: Packet, saddr: number, daddr: number): Uint8Array {
  let bytes = encodeInner(p, saddr, daddr);
  let protocol = IPPROTO_IPIP;
  for (const h of [...p.outer].reverse()) {
    // GRE without options (RFC 2784 §2.1): what follows is IPv4.
    const head = h.kind === "gre" ? GRE_IPV4 : ipv4Header(h.saddr, h.daddr, protocol, h.ip, bytes.length);
    bytes = Uint8Array.from([...head, ...bytes]);
    protocol = h.kind === "gre" ? IPPROTO_GRE : IPPROTO_IPIP;
  }
  return bytes;
}

const IPPROTO_IPIP = 4;
const IPPROTO_GRE = 47;
const GRE_IPV4: readonly number[] = [0, 0, 8, 0];

function encodeInner(p: Packet, saddr: number, daddr: number): Uint8Array {
  const { tcp, udp, icmp } = p;
  let transport: number[];
  let protocol: number;
  let sumAt: number;
  if (tcp !== null) {
    const options = encodeOptions(tcp.options ?? []);
    while (options.length % 4 !== 0) options.push(0);
    const doff = 5 + options.length / 4;
    transport = [...be16(tcp.sport), ...be16(tcp.dport), ...be32(tcp.seq), ...be32(tcp.ack)];
    transport.push((doff << 4) | (tcp.flags >>> 8), tcp.flags & 255, ...be16(Math.max(0, tcp.win)), 0, 0);
    transport.push(...be16(tcp.urg), ...options);
    protocol = 6;
    sumAt = 16;
  } else if (udp !== null) {
    transport = [...be16(udp.sport), ...be16(udp.dport), ...be16(8 + p.len), 0, 0];
    protocol = 17;
    sumAt = 6;
  } else {
    const m = icmp as IcmpPart;
    transport = [m.type, m.code, 0, 0, ...be16(m.id), ...be16(m.mtu >= 0 ? m.mtu : 0)];
    protocol = 1;
    sumAt = 2;
  }
  const header = ipv4Header(saddr, daddr, protocol, p.ip, transport.length + p.len);
  const bytes = new Uint8Array(header.length + transport.length + p.len);
  bytes.set(header);
  bytes.set(transport, 20);
  const pseudo = protocol === 1 ? 0 : pseudoSum(saddr, daddr, protocol, transport.length + p.len);
  const sum = checksum(bytes, 20, bytes.length, pseudo);
  bytes[20 + sumAt] = sum >>> 8;
  bytes[20 + sumAt + 1] = sum & 255;
  return bytes;
}

/** The beginning of a datagram that an ICMP error carries: its IP header and 8 bytes of what follows. */
export function encodeEchoed(
  echoed: { protocol: "tcp" | "udp" | "raw"; seq: number; len: number },
  saddr: number,
  daddr: number,
  sport: number,
  dport: number,
): Uint8Array {
  const ip: IpInfo = { check: "none", tos: 0, ttl: 255 };
  const number = echoed.protocol === "tcp" ? 6 : echoed.protocol === "udp" ? 17 : 255;
  const headerLen = echoed.protocol === "tcp" ? 20 : 8;
  const header = ipv4Header(saddr, daddr, number, ip, headerLen + echoed.len);
  const rest = [...be16(sport), ...be16(dport)];
  if (echoed.protocol === "tcp") rest.push(...be32(echoed.seq));
  else rest.push(...be16(8 + echoed.len), 0, 0);
  return Uint8Array.from([...header, ...rest]);
}

/** Reads an IPv4 datagram; null for a protocol that scripts cannot name. */
export function decodePacket(b: Uint8Array): Packet | null {
  const v = new DataView(b.buffer, b.byteOffset, b.length);
  if (b.length < 20 || (b[0] as number) >>> 4 !== 4) return null;
  const ihl = ((b[0] as number) & 15) * 4;
  const total = v.getUint16(2);
  const gre = b[9] === IPPROTO_GRE && v.getUint32(ihl) === 0x0800;
  if (b[9] === IPPROTO_IPIP || gre) {
    const inner = decodePacket(b.subarray(ihl + (gre ? 4 : 0), total));
    if (inner === null) return null;
    const ip: IpInfo = { check: "tos", tos: b[1] as number, ttl: b[8] as number };
    const own: OuterHeader = { kind: "ipv4", ip, saddr: v.getUint32(12), daddr: v.getUint32(16) };
    return { ...inner, outer: gre ? [own, { kind: "gre" }, ...inner.outer] : [own, ...inner.outer] };
  }
  const p: Packet = {
    outer: [],
    ip: { check: "tos", tos: b[1] as number, ttl: b[8] as number },
    tcp: null,
    udp: null,
    icmp: null,
    len: 0,
    saddr: v.getUint32(12),
    daddr: v.getUint32(16),
    zero: true,
  };
  let data = ihl;
  switch (b[9]) {
    case 6: {
      const doff = ((b[ihl + 12] as number) >>> 4) * 4;
      p.tcp = {
        sport: v.getUint16(ihl),
        dport: v.getUint16(ihl + 2),
        seq: v.getUint32(ihl + 4),
        ack: v.getUint32(ihl + 8),
        flags: v.getUint16(ihl + 12) & 0x1ff,
        win: v.getUint16(ihl + 14),
        urg: v.getUint16(ihl + 18),
        options: decodeOptions(b.subarray(ihl + 20, ihl + doff)),
        ace: false,
      };
      data += doff;
      break;
    }
    case 17:
      p.udp = { sport: v.getUint16(ihl), dport: v.getUint16(ihl + 2) };
      data += 8;
      break;
    case 1:
      p.icmp = {
        type: b[ihl] as number,
        code: b[ihl + 1] as number,
        mtu: v.getUint16(ihl + 6),
        id: v.getUint16(ihl + 4),
        echoed: null,
      };
      data += 8;
      break;
    default:
      return null;
  }
  p.len = total - data;
  if (p.icmp === null) for (let i = data; i < total && p.zero; i++) p.zero = b[i] === 0;
  return p;
}

// ---- text -----------------------------------------------------------------------------------------------------------

function formatOption(o: TcpOption): string {
  switch (o.kind) {
    case "nop":
    case "eol":
    case "sackOK":
      return o.kind;
    case "mss":
    case "wscale":
      return `${o.kind} ${o.value}`;
    case "sack":
      return `sack ${o.blocks.map(([l, r]) => `${l}:${r}`).join(" ")}`;
    case "TS":
      return `TS val ${o.val} ecr ${o.ecr}`;
    case "md5":
    case "FO":
    case "FOEXP":
      return o.hex === "" ? o.kind : `${o.kind} ${o.hex}`;
    case "ECN":
      return `ECN ${o.fields.map(([n, x]) => `${n} ${x}`).join(" ")}`;
    case "other":
      return `option ${o.type} ${o.hex}`;
  }
}

/** `<nop,nop,TS val 1 ecr 2>`; empty for none. */
export function formatOptions(options: readonly TcpOption[] | null): string {
  if (options === null) return "<...>";
  return options.length === 0 ? "" : `<${options.map(formatOption).join(",")}>`;
}

const ECN_NAMES: readonly string[] = ["noecn", "ect1", "ect0", "ce"];

function formatIp(ip: IpInfo): string {
  if (ip.check === "none") return ip.ttl === 0 ? "" : `[ttl ${ip.ttl}] `;
  if (ip.check === "ect01") return "[ect01] ";
  if (ip.check === "ecn") return `[${ECN_NAMES[ip.tos & 3]}] `;
  return `[tos 0x${ip.tos.toString(16)}] `;
}

/** The headers in front, as a script writes them. */
export function formatOuter(outer: readonly OuterHeader[]): string {
  const dotted = (a: number): string => [a >>> 24, (a >>> 16) & 255, (a >>> 8) & 255, a & 255].join(".");
  return outer.map((h) => (h.kind === "gre" ? "gre: " : `ipv4 ${dotted(h.saddr)} > ${dotted(h.daddr)}: `)).join("");
}

/** The packet as a script would write it. */
export function formatPacket(p: Packet): string {
  const { tcp, udp, icmp } = p;
  const ip = formatOuter(p.outer) + formatIp(p.ip);
  if (tcp !== null) {
    const letters = FLAG_LETTERS.filter(([, bit]) => (tcp.flags & bit) !== 0).map(([letter]) => letter);
    const flags = letters.length === 0 ? "-" : letters.join("");
    let text = `${ip}${flags} ${tcp.seq}:${(tcp.seq + p.len) >>> 0}(${p.len})`;
    if ((tcp.flags & TCP_ACK) !== 0 || tcp.ack !== 0) text += ` ack ${tcp.ack}`;
    if (tcp.win >= 0) text += ` win ${tcp.win}`;
    if (tcp.urg !== 0) text += ` urg ${tcp.urg}`;
    const options = formatOptions(tcp.options);
    return options === "" ? text : `${text} ${options}`;
  }
  if (udp !== null) return `${ip}udp (${p.len})`;
  const m = icmp as IcmpPart;
  return `${ip}icmp type ${m.type} code ${m.code}`;
}
