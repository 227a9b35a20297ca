/**
 * TCP Fast Open (RFC 7413): data in the SYN. The server's half: keys, cookies, children that exist before their handshake
 * is over; the client's half: the cookie of a destination, connect() that waits for the first write, and the rest that is
 * taken when a middlebox seems to swallow such connections.
 *
 * A child of a Fast Open request stands in the ehash as a full sock in SYN_RECV, points to its request (`fastopenRsk`) until
 * the handshake is over or has failed, and retransmits the SYN-ACK with its own timer. The request points back (`req.sk`)
 * until the child was accepted: whoever comes second forgets the request.
 */

import { netIncStats } from "../../kernel/mib.ts";
import { getRandomBytes } from "../../kernel/random.ts";
import type { SiphashKey } from "../../kernel/siphash.ts";
import { siphash, siphashHi } from "../../kernel/siphash.ts";
import { u8 } from "../../mm/mem.ts";
import { skbLen, skbNext, skbTruesize } from "../../mm/skb.ts";
import { IFF_LOOPBACK } from "../../uapi/if.ts";
import {
  LINUX_MIB_TCPFASTOPENACTIVEFAIL,
  LINUX_MIB_TCPFASTOPENBLACKHOLE,
  LINUX_MIB_TCPFASTOPENCOOKIEREQD,
  LINUX_MIB_TCPFASTOPENLISTENOVERFLOW,
  LINUX_MIB_TCPFASTOPENPASSIVE,
  LINUX_MIB_TCPFASTOPENPASSIVEALTKEY,
  LINUX_MIB_TCPFASTOPENPASSIVEFAIL,
} from "../../uapi/linux_mib.ts";
import { RTAX_FASTOPEN_NO_COOKIE } from "../../uapi/rtnetlink.ts";
import { TCP_LISTEN, TCPHDR_FIN, TCPHDR_SYN, TFO_COOKIE_UNAVAILABLE } from "../../uapi/tcp.ts";
import type { DstEntry } from "../core/dst.ts";
import { dstMetric } from "../core/dst.ts";
import type { Net } from "../core/net_namespace.ts";
import { __skbPull, skbClone, skbDstDrop, skbPeek, skbQueueTail } from "../core/skbuff.ts";
import { ErrBox, skbSetOwnerR, skForcedMemSchedule } from "../core/sock.ts";
import type { InetConnectionSock, RequestSock } from "./inet_sock.ts";
import { ICSK_TIME_RETRANS } from "./inet_sock.ts";
import { ipHdr } from "./ip.ts";
import { seqAdd, seqRaw } from "./seq.ts";
import {
  TCP_FASTOPEN_COOKIE_SIZE,
  TCP_FASTOPEN_KEY_LENGTH,
  TFO_CLIENT_NO_COOKIE,
  TFO_SERVER_COOKIE_NOT_REQD,
  TFO_SERVER_ENABLE,
  tcpHdr,
  tcpHdrlen,
  tcpJiffies32,
  tcpResetXmitTimer,
  tcpSegsIn,
  tcpTimeoutInit,
  thWindow,
} from "./tcp_h.ts";
import { tcpFin } from "./tcp_input.rcv.ts";
import { tcpInitTransfer } from "./tcp_input.ts";
import { tcpFastopenCacheGet } from "./tcp_metrics.ts";
import type { TcpSock } from "./tcp_sock.ts";
import {
  TcpFastopenCookie,
  TcpFastopenRequest,
  tcpSkbEndSeq,
  tcpSkbFlags,
  tcpSkbSeq,
  tcpSkbSetFlags,
  tcpSkbSetSeq,
} from "./tcp_sock.ts";

/** Jiffies in a second. */
const HZ = 1000;

// ---- keys ---------------------------------------------------------------------------------------------------------------

/** struct tcp_fastopen_context: one key, or two while they change: cookies of both are good, the first one's are granted. */
export interface TcpFastopenContext {
  readonly key: readonly SiphashKey[];
}

/** get_unaligned_le64 twice: a key out of its 16 bytes. */
function keyOf(bytes: Uint8Array, off: number): SiphashKey {
  const v = new DataView(bytes.buffer, bytes.byteOffset + off, TCP_FASTOPEN_KEY_LENGTH);
  return Uint32Array.of(v.getUint32(0, true), v.getUint32(4, true), v.getUint32(8, true), v.getUint32(12, true));
}

/** tcp_fastopen_reset_cipher: new keys: 16 bytes, or 32 with a backup; for listener `sk`, or for the namespace (null). */
export function tcpFastopenResetCipher(net: Net, sk: InetConnectionSock | null, keys: Uint8Array): void {
  const key = [keyOf(keys, 0)];
  if (keys.length > TCP_FASTOPEN_KEY_LENGTH) key.push(keyOf(keys, TCP_FASTOPEN_KEY_LENGTH));
  if (sk !== null) sk.icskAcceptQueue.fastopenq.ctx = { key };
  else net.ipv4.tcpFastopenCtx = { key };
}

/** tcp_fastopen_get_cipher: the bytes of the keys of listener `sk` itself, or of the namespace (null); none = no key yet. */
export function tcpFastopenGetCipher(net: Net, sk: InetConnectionSock | null): Uint8Array {
  const ctx = sk !== null ? sk.icskAcceptQueue.fastopenq.ctx : net.ipv4.tcpFastopenCtx;
  if (ctx === null) return new Uint8Array(0);
  const bytes = new Uint8Array(ctx.key.length * TCP_FASTOPEN_KEY_LENGTH);
  const v = new DataView(bytes.buffer);
  ctx.key.forEach((key, i) => {
    for (let w = 0; w < 4; w++) v.setUint32(i * TCP_FASTOPEN_KEY_LENGTH + w * 4, key[w] as number, true);
  });
  return bytes;
}

/** tcp_fastopen_init_key_once: a namespace that was given no key draws one when its first listener wants it. */
export function tcpFastopenInitKeyOnce(net: Net): void {
  if (net.ipv4.tcpFastopenCtx !== null) return;
  const key = new Uint8Array(TCP_FASTOPEN_KEY_LENGTH);
  getRandomBytes(key);
  tcpFastopenResetCipher(net, null, key);
}

const KEY_WORDS = 4;
/** What fits the kernel's buffer: two keys, their dashes and a comma, and a few more. */
const KEY_TEXT_MAX = 73;
/** sscanf("%x-%x-%x-%x"): blanks and 0x are let pass before a number, and anything after the last; a lone 0x is 0. */
const KEY_TEXT: RegExp =
  /^\s*(0x[\da-f]*|[\da-f]+)-\s*(0x[\da-f]*|[\da-f]+)-\s*(0x[\da-f]*|[\da-f]+)-\s*(0x[\da-f]*|[\da-f]+)/i;

/** sscanf_key: the four words into `out` from `at` on. False if they are not there. */
function sscanfKey(text: string, out: DataView, at: number): boolean {
  const m = KEY_TEXT.exec(text);
  if (m === null) return false;
  for (let i = 0; i < KEY_WORDS; i++) {
    // An unsigned int of the kernel keeps the low 32 bits.
    const digits = (m[i + 1] as string).replace(/^0x/i, "");
    out.setUint32(at + i * 4, digits === "" ? 0 : Number.parseInt(digits.slice(-8), 16), true);
  }
  return true;
}

/** net.ipv4.tcp_fastopen_key as it is read: the words of each key in hex; all zero while there is none. */
export function tcpFastopenKeyShow(net: Net): string {
  let bytes = tcpFastopenGetCipher(net, null);
  if (bytes.length === 0) bytes = new Uint8Array(TCP_FASTOPEN_KEY_LENGTH);
  const v = new DataView(bytes.buffer);
  const keys: string[] = [];
  for (let at = 0; at < bytes.length; at += TCP_FASTOPEN_KEY_LENGTH) {
    const words: string[] = [];
    for (let i = 0; i < KEY_WORDS; i++)
      words.push(
        v
          .getUint32(at + i * 4, true)
          .toString(16)
          .padStart(8, "0"),
      );
    keys.push(words.join("-"));
  }
  return keys.join(",");
}

/** net.ipv4.tcp_fastopen_key as it is written: a key, or a key, a comma and a backup key. False for what is none. */
export function tcpFastopenKeyStore(net: Net, value: string): boolean {
  const text = value.slice(0, KEY_TEXT_MAX);
  const comma = text.indexOf(",");
  const bytes = new Uint8Array((comma >= 0 ? 2 : 1) * TCP_FASTOPEN_KEY_LENGTH);
  const v = new DataView(bytes.buffer);
  if (!sscanfKey(comma >= 0 ? text.slice(0, comma) : text, v, 0)) return false;
  if (comma >= 0 && !sscanfKey(text.slice(comma + 1), v, TCP_FASTOPEN_KEY_LENGTH)) return false;
  tcpFastopenResetCipher(net, null, bytes);
  return true;
}

// ---- cookies ------------------------------------------------------------------------------------------------------------

/** tcp_fastopen_get_ctx: the listener's own keys, else the namespace's. */
function tcpFastopenGetCtx(sk: InetConnectionSock): TcpFastopenContext | null {
  return sk.icskAcceptQueue.fastopenq.ctx ?? sk.net.ipv4.tcpFastopenCtx;
}

/** __tcp_fastopen_cookie_gen_cipher: SipHash-2-4 of the client's and the server's address, as they stand in the SYN. */
function __tcpFastopenCookieGenCipher(syn: number, key: SiphashKey, foc: TcpFastopenCookie): void {
  const lo = siphash(u8, ipHdr(syn) + 12, 8, key);
  const hi = siphashHi;
  for (let i = 0; i < 4; i++) {
    foc.val[i] = lo >>> (8 * i);
    foc.val[4 + i] = hi >>> (8 * i);
  }
  foc.len = TCP_FASTOPEN_COOKIE_SIZE;
}

/** tcp_fastopen_cookie_match. */
function tcpFastopenCookieMatch(foc: TcpFastopenCookie, orig: TcpFastopenCookie): boolean {
  if (orig.len !== TCP_FASTOPEN_COOKIE_SIZE || orig.len !== foc.len) return false;
  let diff = 0;
  for (let i = 0; i < TCP_FASTOPEN_COOKIE_SIZE; i++) diff |= (foc.val[i] as number) ^ (orig.val[i] as number);
  return diff === 0;
}

const searchFoc: TcpFastopenCookie = new TcpFastopenCookie();

/**
 * tcp_fastopen_cookie_gen_check: 1 if `orig` is the primary key's cookie, 2 if it is the backup key's, 0 if it is neither.
 * The primary key's goes to `validFoc`: a client with any other is given that one.
 */
function tcpFastopenCookieGenCheck(
  sk: TcpSock,
  syn: number,
  orig: TcpFastopenCookie,
  validFoc: TcpFastopenCookie,
): number {
  const ctx = tcpFastopenGetCtx(sk);
  if (ctx === null) return 0;
  for (let i = 0; i < ctx.key.length; i++) {
    const foc = i === 0 ? validFoc : searchFoc;
    __tcpFastopenCookieGenCipher(syn, ctx.key[i] as SiphashKey, foc);
    if (tcpFastopenCookieMatch(foc, orig)) return i + 1;
  }
  return 0;
}

/** tcp_fastopen_no_cookie: the sysctl (`flag`), the socket or the route says that no cookie is needed. */
function tcpFastopenNoCookie(sk: TcpSock, dst: DstEntry | null, flag: number): boolean {
  return (
    (sk.net.ipv4.sysctlTcpFastopen & flag) !== 0 ||
    sk.fastopenNoCookie ||
    (dst !== null && dstMetric(dst, RTAX_FASTOPEN_NO_COOKIE) !== 0)
  );
}

// ---- server -------------------------------------------------------------------------------------------------------------

/** tcp_fastopen_add_skb: queues a copy of what a SYN or SYN-ACK carries besides its SYN. The skb stays the caller's. */
export function tcpFastopenAddSkb(sk: TcpSock, skb0: number): void {
  if (tcpSkbEndSeq(skb0) === sk.rcvNxt) return;
  const skb = skbClone(skb0);
  if (skb === 0) return;
  skbDstDrop(skb);
  // tcp_create_openreq_child has counted the segment already.
  sk.segsIn = 0;
  tcpSegsIn(sk, skb);
  __skbPull(skb, tcpHdrlen(skb));
  skForcedMemSchedule(sk, skbTruesize(skb));
  skbSetOwnerR(skb, sk);
  tcpSkbSetSeq(skb, seqAdd(tcpSkbSeq(skb), 1));
  tcpSkbSetFlags(skb, tcpSkbFlags(skb) & ~TCPHDR_SYN);
  sk.rcvNxt = tcpSkbEndSeq(skb);
  skbQueueTail(sk.skReceiveQueue, skb);
  sk.synDataAcked = true;
  sk.bytesReceived = skbLen(skb);
  if ((tcpSkbFlags(skb) & TCPHDR_FIN) !== 0) tcpFin(sk);
}

const ownReqBox: ErrBox = new ErrBox();

/** tcp_fastopen_create_child: the connection of `req` from its SYN alone. Null if it cannot be made. */
function tcpFastopenCreateChild(sk: TcpSock, skb: number, req: RequestSock): TcpSock | null {
  const child = sk.icskAfOps.synRecvSock(sk, skb, req, null, ownReqBox) as TcpSock | null;
  if (child === null) return null;
  sk.icskAcceptQueue.fastopenq.qlen++;
  child.fastopenRsk = req;
  req.tfoListener = true;
  // RFC 7323 §2.2: the window of a SYN is not scaled.
  child.sndWnd = thWindow(tcpHdr(skb));
  child.maxWindow = child.sndWnd;
  // The request stands in no table: the child's own timer sends the SYN-ACK again.
  req.timeout = tcpTimeoutInit(child);
  tcpResetXmitTimer(child, ICSK_TIME_RETRANS, req.timeout, false);
  tcpInitTransfer(child, 0, skb);
  child.rcvNxt = seqAdd(tcpSkbSeq(skb), 1);
  tcpFastopenAddSkb(child, skb);
  req.rcvNxt = seqRaw(child.rcvNxt);
  child.rcvWup = child.rcvNxt;
  child.rcvMwndSeq = seqAdd(child.rcvWup, child.rcvWnd);
  return child;
}

/** Jiffies for which a request that was reset counts on. */
const RST_HOLD: number = 60 * HZ;

/**
 * tcp_fastopen_queue_check: RFC 7413 §5.1: so many Fast Open requests may be pending, and no more: then a SYN is answered
 * as if there were no Fast Open. A request that was reset a minute ago makes room.
 */
function tcpFastopenQueueCheck(sk: TcpSock): boolean {
  const q = sk.icskAcceptQueue.fastopenq;
  if (q.maxQlen === 0) return false;
  if (q.qlen >= q.maxQlen) {
    const oldest = q.rskqRst[0];
    if (oldest === undefined || ((oldest.rstExpires - tcpJiffies32()) | 0) > 0) {
      netIncStats(sk.net, LINUX_MIB_TCPFASTOPENLISTENOVERFLOW);
      return false;
    }
    q.rskqRst.shift();
    q.qlen--;
  }
  return true;
}

const validCookie: TcpFastopenCookie = new TcpFastopenCookie();

/* notrace */
function cookieCopy(to: TcpFastopenCookie, from: TcpFastopenCookie): void {
  to.len = from.len;
  to.val.set(from.val);
}

/**
 * tcp_try_fastopen: RFC 7413 §4.1.2: the child, if the SYN is good for Fast Open. `foc` is the SYN's cookie (len -1: no
 * such option, 0: it asks for one) and becomes what the SYN-ACK grants.
 */
export function tcpTryFastopen(
  sk: TcpSock,
  skb: number,
  req: RequestSock,
  foc: TcpFastopenCookie,
  dst: DstEntry,
): TcpSock | null {
  const net = sk.net;
  const synData = tcpSkbEndSeq(skb) !== seqAdd(tcpSkbSeq(skb), 1);
  if (foc.len === 0) netIncStats(net, LINUX_MIB_TCPFASTOPENCOOKIEREQD);
  if (
    (net.ipv4.sysctlTcpFastopen & TFO_SERVER_ENABLE) === 0 ||
    !(synData || foc.len >= 0) ||
    !tcpFastopenQueueCheck(sk)
  ) {
    foc.len = -1;
    return null;
  }

  const valid = validCookie;
  valid.len = -1;
  let match = 0;
  let open = tcpFastopenNoCookie(sk, dst, TFO_SERVER_COOKIE_NOT_REQD);
  if (!open && foc.len === 0) {
    const ctx = tcpFastopenGetCtx(sk);
    if (ctx !== null) __tcpFastopenCookieGenCipher(skb, ctx.key[0] as SiphashKey, valid);
  } else if (!open && foc.len > 0) {
    match = tcpFastopenCookieGenCheck(sk, skb, foc, valid);
    if (match === 0) netIncStats(net, LINUX_MIB_TCPFASTOPENPASSIVEFAIL);
    // Without data too: the server may send in SYN_RECV.
    else open = true;
  }
  if (open) {
    const child = tcpFastopenCreateChild(sk, skb, req);
    if (child !== null) {
      if (match === 2) {
        // The key has changed: here is the cookie of the new one.
        cookieCopy(foc, valid);
        netIncStats(net, LINUX_MIB_TCPFASTOPENPASSIVEALTKEY);
      } else {
        foc.len = -1;
      }
      netIncStats(net, LINUX_MIB_TCPFASTOPENPASSIVE);
      child.synFastopenChild = true;
      return child;
    }
    netIncStats(net, LINUX_MIB_TCPFASTOPENPASSIVEFAIL);
  }
  cookieCopy(foc, valid);
  return null;
}

/**
 * reqsk_fastopen_remove: the child needs its request no more: the handshake is over, or has failed; `reset`: by a RST.
 *
 * RFC 7413 §5.1: whoever sends SYNs with the address and the cookie of others makes these answer with RSTs. So a request
 * that was reset after its child was accepted counts against the limit for another minute.
 */
export function reqskFastopenRemove(sk: TcpSock, req: RequestSock, reset: boolean): void {
  const lsk = req.rskListener;
  const q = lsk.icskAcceptQueue.fastopenq;
  sk.fastopenRsk = null;
  q.qlen--;
  req.tfoListener = false;
  if (req.sk !== null || !reset || lsk.skcState !== TCP_LISTEN) return;
  req.rstExpires = tcpJiffies32() + RST_HOLD;
  q.rskqRst.push(req);
  q.qlen++;
}

// ---- client -------------------------------------------------------------------------------------------------------------

/**
 * tcp_fastopen_cookie_check: true if the SYN may carry data: fills `cookie` from the cache (len -1: no option at all), and
 * the MSS that goes with it into rx_opt.mss_clamp.
 */
export function tcpFastopenCookieCheck(sk: TcpSock, cookie: TcpFastopenCookie): boolean {
  const mss = tcpFastopenCacheGet(sk, cookie);
  if (mss > 0) sk.rxOpt.mssClamp = mss;
  if (tcpFastopenActiveShouldDisable(sk)) {
    cookie.len = -1;
    return false;
  }
  if (tcpFastopenNoCookie(sk, sk.skDstCache, TFO_CLIENT_NO_COOKIE)) {
    cookie.len = -1;
    return true;
  }
  if (cookie.len > 0) return true;
  sk.fastopenClientFail = TFO_COOKIE_UNAVAILABLE;
  return false;
}

/**
 * tcp_fastopen_defer_connect: with TCP_FASTOPEN_CONNECT and a cookie at hand the SYN waits for the first write: true. With the
 * option and no cookie it leaves at once, and asks for one.
 */
export function tcpFastopenDeferConnect(sk: TcpSock): boolean {
  if (!sk.fastopenConnect || sk.fastopenReq !== null) return false;
  const req = new TcpFastopenRequest();
  if (tcpFastopenCookieCheck(sk, req.cookie)) {
    sk.deferConnect = true;
    return true;
  }
  sk.fastopenReq = req;
  return false;
}

// Black holes (RFC 7413 §7.1: middleboxes). A firewall may let the handshake pass and then swallow the connection. After a
// FIN or RST out of order before any data, or three timeouts in a row, no socket of the namespace tries Fast Open for
// tcp_fastopen_blackhole_timeout_sec; the next time for twice as long, up to 64 times. A connection that is used for data
// after such a rest ends the doubling.

/** tcp_fastopen_active_disable. */
export function tcpFastopenActiveDisable(sk: TcpSock): void {
  const ipv4 = sk.net.ipv4;
  if (ipv4.sysctlTcpFastopenBlackholeTimeout === 0) return;
  ipv4.tfoActiveDisableStamp = tcpJiffies32();
  ipv4.tfoActiveDisableTimes++;
  netIncStats(sk.net, LINUX_MIB_TCPFASTOPENBLACKHOLE);
}

/** tcp_fastopen_active_should_disable: does Fast Open rest? The first socket that may try again is marked. */
function tcpFastopenActiveShouldDisable(sk: TcpSock): boolean {
  const ipv4 = sk.net.ipv4;
  const times = ipv4.tfoActiveDisableTimes;
  if (ipv4.sysctlTcpFastopenBlackholeTimeout === 0 || times === 0) return false;
  const rest = ipv4.sysctlTcpFastopenBlackholeTimeout * HZ * (1 << Math.min(times - 1, 6));
  if (tcpJiffies32() - ipv4.tfoActiveDisableStamp < rest) return true;
  sk.synFastopenCh = true;
  return false;
}

/** tcp_fastopen_active_disable_ofo_check: a client's connection ends: was there nothing but a FIN out of order? */
export function tcpFastopenActiveDisableOfoCheck(sk: TcpSock): void {
  if (!sk.synFastopen) return;
  if (sk.dataSegsIn === 0) {
    const skb = skbPeek(sk.outOfOrderQueue);
    if (skb !== 0 && skbNext(skb) === 0 && (tcpSkbFlags(skb) & TCPHDR_FIN) !== 0) tcpFastopenActiveDisable(sk);
  } else if (sk.synFastopenCh && sk.net.ipv4.tfoActiveDisableTimes !== 0) {
    // The loopback device has no middlebox: it proves nothing.
    const dst = sk.skDstCache;
    if (dst === null || (dst.dev.flags & IFF_LOOPBACK) === 0) sk.net.ipv4.tfoActiveDisableTimes = 0;
  }
}

/** tcp_fastopen_active_detect_blackhole: a timeout, the third in a row or the last one (`expired`). */
export function tcpFastopenActiveDetectBlackhole(sk: TcpSock, expired: boolean): void {
  const timeouts = sk.icskRetransmits;
  if ((sk.synFastopen || sk.synData || sk.synDataAcked) && (timeouts === 2 || (timeouts < 2 && expired))) {
    tcpFastopenActiveDisable(sk);
    netIncStats(sk.net, LINUX_MIB_TCPFASTOPENACTIVEFAIL);
  }
}
