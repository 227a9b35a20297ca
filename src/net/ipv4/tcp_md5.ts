/**
 * Signed segments (RFC 2385): both ends of a connection share a key, and each segment carries the MD5 digest of its
 * pseudo-header, its header without options, its payload and the key. In the kernel this is part of tcp.c and tcp_ipv4.c.
 */

import { Md5 } from "../../kernel/md5.ts";
import { netIncStats } from "../../kernel/mib.ts";
import { dv, u8 } from "../../mm/mem.ts";
import { skbLen } from "../../mm/skb.ts";
import {
  SKB_DROP_REASON_TCP_AUTH_HDR,
  SKB_DROP_REASON_TCP_MD5FAILURE,
  SKB_DROP_REASON_TCP_MD5NOTFOUND,
  SKB_DROP_REASON_TCP_MD5UNEXPECTED,
} from "../../uapi/dropreason.ts";
import { EINVAL, ENOENT, ENOMEM } from "../../uapi/errno.ts";
import { IPPROTO_TCP } from "../../uapi/in.ts";
import { LINUX_MIB_TCPMD5FAILURE, LINUX_MIB_TCPMD5NOTFOUND, LINUX_MIB_TCPMD5UNEXPECTED } from "../../uapi/linux_mib.ts";
import { AF_INET } from "../../uapi/socket.ts";
import {
  TCP_MD5SIG_EXT,
  TCP_MD5SIG_FLAG_IFINDEX,
  TCP_MD5SIG_FLAG_PREFIX,
  TCP_MD5SIG_MAXKEYLEN,
  TCPOLEN_MD5SIG,
  TCPOPT_EOL,
  TCPOPT_MD5SIG,
  TCPOPT_NOP,
} from "../../uapi/tcp.ts";
import { NETIF_F_GSO_MASK } from "../core/netdev_features.ts";
import { skbCopyToUser, skbDev } from "../core/skbuff.ts";
import type { OptVal, SockAddr } from "../core/sock.ts";
import { ipHdr, ipHdrDaddr, ipHdrSaddr } from "./ip.ts";
import { TCP_HEADER_SIZE, tcpHdr, thDoff } from "./tcp_h.ts";
import type { TcpSock } from "./tcp_sock.ts";

/** struct tcp_md5sig_key: the key for peers in `addr`/`prefixlen`. */
export interface TcpMd5sigKey {
  readonly addr: number;
  readonly prefixlen: number;
  readonly flags: number;
  key: Uint8Array;
}

/** What TCP_MD5SIG and TCP_MD5SIG_EXT take (struct tcp_md5sig). An empty key deletes. */
export interface TcpMd5sig {
  readonly addr: SockAddr;
  /** TCP_MD5SIG_FLAG_*, for TCP_MD5SIG_EXT. */
  readonly flags?: number;
  readonly prefixlen?: number;
  readonly ifindex?: number;
  /** At most 80 bytes. */
  readonly key: Uint8Array;
}

/** Bytes of a digest. */
const MD5_LEN = 16;

// ---- keys -----------------------------------------------------------------------------------------------------------

/* notrace */
function prefixMask(len: number): number {
  return len === 0 ? 0 : (-1 << (32 - len)) >>> 0;
}

/** tcp_md5_do_lookup: the key for this peer with the longest prefix; null = its segments are not signed. */
export function tcpMd5DoLookup(sk: TcpSock, addr: number): TcpMd5sigKey | null {
  const keys = sk.md5sigInfo;
  if (keys === null) return null;
  let best: TcpMd5sigKey | null = null;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as TcpMd5sigKey;
    // There are no L3 domains here, so that a key bound to one never fits.
    if ((key.flags & TCP_MD5SIG_FLAG_IFINDEX) !== 0) continue;
    if (((key.addr ^ addr) & prefixMask(key.prefixlen)) !== 0) continue;
    if (best === null || best.prefixlen < key.prefixlen) best = key;
  }
  return best;
}

/** sk_gso_disable: each segment has its own digest. */
function skGsoDisable(sk: TcpSock): void {
  sk.skGsoDisabled = true;
  sk.skRouteCaps &= ~NETIF_F_GSO_MASK;
  sk.skGsoMaxSegs = 1;
}

/** tcp_md5_do_add. */
function tcpMd5DoAdd(sk: TcpSock, addr: number, prefixlen: number, key: Uint8Array): number {
  if (sk.md5sigInfo === null) {
    skGsoDisable(sk);
    sk.md5sigInfo = [];
  }
  const keys = sk.md5sigInfo;
  for (let i = 0; i < keys.length; i++) {
    const old = keys[i] as TcpMd5sigKey;
    if (old.addr === addr && old.prefixlen === prefixlen) {
      old.key = key;
      return 0;
    }
  }
  keys.unshift({ addr, prefixlen, flags: 0, key });
  return 0;
}

/** tcp_v4_parse_md5_keys: TCP_MD5SIG, TCP_MD5SIG_EXT: sets or, with an empty key, deletes the key of a peer. */
export function tcpV4ParseMd5Keys(sk: TcpSock, optname: number, optval: OptVal): number {
  const cmd = optval as Partial<TcpMd5sig>;
  const key = cmd.key;
  if (typeof optval !== "object" || cmd.addr === undefined || !(key instanceof Uint8Array)) return -EINVAL;
  if (cmd.addr.family !== AF_INET) return -EINVAL;
  const flags = optname === TCP_MD5SIG_EXT ? (cmd.flags ?? 0) : 0;
  let prefixlen = 32;
  if ((flags & TCP_MD5SIG_FLAG_PREFIX) !== 0) {
    prefixlen = cmd.prefixlen ?? 0;
    if (prefixlen > 32) return -EINVAL;
  }
  // Only an L3 master device may be named, and there is none.
  if ((flags & TCP_MD5SIG_FLAG_IFINDEX) !== 0 && (cmd.ifindex ?? 0) !== 0) return -EINVAL;
  const addr = cmd.addr.addr >>> 0;
  if (key.length === 0) {
    const at = sk.md5sigInfo?.findIndex((k) => k.addr === addr && k.prefixlen === prefixlen) ?? -1;
    if (at < 0) return -ENOENT;
    sk.md5sigInfo?.splice(at, 1);
    return 0;
  }
  if (key.length > TCP_MD5SIG_MAXKEYLEN) return -EINVAL;
  return tcpMd5DoAdd(sk, addr, prefixlen, key.slice());
}

/** tcp_md5_key_copy: a child inherits the listener's key of its peer, and only that one. */
export function tcpMd5KeyCopy(sk: TcpSock, addr: number, key: TcpMd5sigKey): number {
  return sk.md5sigInfo === null ? tcpMd5DoAdd(sk, addr, 32, key.key) : -ENOMEM;
}

// ---- digests --------------------------------------------------------------------------------------------------------

const md5 = new Md5();
const digest = new Uint8Array(MD5_LEN);
const head = new Uint8Array(12 + TCP_HEADER_SIZE);
const headView = new DataView(head.buffer);
/** The payload of one segment at a time. */
const payload = new Uint8Array(65536);

/** tcp_v4_md5_hash_headers: the pseudo-header and, from `head[12]` on, the TCP header with a checksum of zero. */
function tcpV4Md5HashHeaders(saddr: number, daddr: number, len: number): void {
  headView.setUint32(0, saddr);
  headView.setUint32(4, daddr);
  headView.setUint8(8, 0);
  headView.setUint8(9, IPPROTO_TCP);
  headView.setUint16(10, len);
  headView.setUint16(12 + 16, 0);
  md5.init();
  md5.update(head, 0, head.length);
}

/** tcp_v4_md5_hash_skb: leaves the digest of a segment, whose TCP header is in its linear part, in `digest`. */
function tcpV4Md5HashSkb(key: TcpMd5sigKey, saddr: number, daddr: number, skb: number): void {
  const th = tcpHdr(skb);
  for (let i = 0; i < TCP_HEADER_SIZE; i++) head[12 + i] = u8[th + i] as number;
  const len = skbLen(skb);
  const headerLen = thDoff(th) * 4;
  tcpV4Md5HashHeaders(saddr, daddr, len);
  skbCopyToUser(skb, headerLen, payload, 0, len - headerLen);
  md5.update(payload, 0, len - headerLen);
  md5.update(key.key, 0, key.key.length);
  md5.final(digest, 0);
}

/** calc_md5_hash of a segment that is about to leave: the digest goes to `location`. */
export function tcpMd5SignSkb(key: TcpMd5sigKey, saddr: number, daddr: number, skb: number, location: number): void {
  tcpV4Md5HashSkb(key, saddr, daddr, skb);
  u8.set(digest, location);
}

/** tcp_v4_md5_hash_hdr: signs a reply without payload: `header` is its TCP header, the digest goes to `header[at]`. */
export function tcpMd5SignHdr(key: TcpMd5sigKey, saddr: number, daddr: number, header: Uint8Array, at: number): void {
  for (let i = 0; i < TCP_HEADER_SIZE; i++) head[12 + i] = header[i] as number;
  tcpV4Md5HashHeaders(saddr, daddr, TCP_HEADER_SIZE);
  md5.update(key.key, 0, key.key.length);
  md5.final(digest, 0);
  header.set(digest, at);
}

// ---- segments that arrive -------------------------------------------------------------------------------------------

/** What tcpParseAuthOptions says of options that are malformed, or two digests. */
const AUTH_INVALID = -1;

/** tcp_parse_auth_options: where the digest of a segment is; 0 = it has none. */
export function tcpParseAuthOptions(th: number): number {
  let length = thDoff(th) * 4 - TCP_HEADER_SIZE;
  let ptr = th + TCP_HEADER_SIZE;
  let found = 0;
  while (length >= TCPOLEN_MD5SIG) {
    const opcode = u8[ptr];
    if (opcode === TCPOPT_EOL) break;
    if (opcode === TCPOPT_NOP) {
      ptr++;
      length--;
      continue;
    }
    const opsize = u8[ptr + 1] as number;
    if (opsize < 2 || opsize > length) return AUTH_INVALID;
    if (opcode === TCPOPT_MD5SIG) {
      if (opsize !== TCPOLEN_MD5SIG || found !== 0) return AUTH_INVALID;
      found = ptr + 2;
    }
    ptr += opsize;
    length -= opsize;
  }
  return found;
}

/** The digest at `location` is that of the segment. */
export function tcpMd5Matches(key: TcpMd5sigKey, skb: number, location: number): boolean {
  const iph = ipHdr(skb);
  tcpV4Md5HashSkb(key, ipHdrSaddr(iph), ipHdrDaddr(iph), skb);
  // All of it is compared, so that the time tells nothing (crypto_memneq).
  let diff = 0;
  for (let i = 0; i < MD5_LEN; i++) diff |= (digest[i] as number) ^ (u8[location + i] as number);
  return diff === 0;
}

/** NOP, NOP, timestamp: what nearly every segment carries, and nothing else fits behind it in 12 bytes. */
const TSTAMP_ALIGNED_WORD = 0x0101080a;

/**
 * tcp_inbound_hash: may this segment reach `sk`? It must be signed if there is a key for the peer, and must not be if there
 * is none (RFC 2385 §2.0). 0, or the reason to drop it. Data starts at the TCP header.
 */
export function tcpInboundHash(sk: TcpSock, skb: number): number {
  const th = tcpHdr(skb);
  const doff = thDoff(th);
  const plain = doff === 5 || (doff === 8 && dv.getUint32(th + TCP_HEADER_SIZE) === TSTAMP_ALIGNED_WORD);
  if (plain && sk.md5sigInfo === null) return 0;
  const location = plain ? 0 : tcpParseAuthOptions(th);
  if (location === AUTH_INVALID) return SKB_DROP_REASON_TCP_AUTH_HDR;
  const key = tcpMd5DoLookup(sk, ipHdrSaddr(ipHdr(skb)));
  const net = skbDev(skb).net;
  if (location === 0) {
    if (key === null) return 0;
    netIncStats(net, LINUX_MIB_TCPMD5NOTFOUND);
    return SKB_DROP_REASON_TCP_MD5NOTFOUND;
  }
  if (key === null) {
    netIncStats(net, LINUX_MIB_TCPMD5UNEXPECTED);
    return SKB_DROP_REASON_TCP_MD5UNEXPECTED;
  }
  if (!tcpMd5Matches(key, skb, location)) {
    netIncStats(net, LINUX_MIB_TCPMD5FAILURE);
    return SKB_DROP_REASON_TCP_MD5FAILURE;
  }
  return 0;
}
