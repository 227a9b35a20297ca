/**
 * SYN cookies (RFC 4987 §3.6): when the SYN queue is full, everything that a request would keep goes into the SYN-ACK:
 * the MSS and a keyed hash of the connection into the sequence number, the other options into the low bits of the
 * timestamp.
 *
 * ```
 *   sequence number: HASH1(addresses, ports) + SEG.SEQ + (minute << 24) + ((HASH2(..., minute) + mss index) & 0xffffff)
 *   TSval: ... | ECN 1 | SACK 1 | window scale 4 (15 = none)
 * ```
 */

import { netIncStats } from "../../kernel/mib.ts";
import { siphash_4u32 } from "../../kernel/siphash.ts";
import { SKB_DROP_REASON_IP_OUTNOROUTES, SKB_DROP_REASON_NO_SOCKET } from "../../uapi/dropreason.ts";
import {
  LINUX_MIB_SYNCOOKIESFAILED,
  LINUX_MIB_SYNCOOKIESRECV,
  LINUX_MIB_SYNCOOKIESSENT,
} from "../../uapi/linux_mib.ts";
import { RTAX_FEATURE_ECN, RTAX_FEATURES, RTAX_INITRWND, RTAX_WINDOW } from "../../uapi/rtnetlink.ts";
import { TCPHDR_ACK, TCPHDR_RST } from "../../uapi/tcp.ts";
import type { DstEntry } from "../core/dst.ts";
import { dstMetric } from "../core/dst.ts";
import type { Net } from "../core/net_namespace.ts";
import { secureTcpTsOff } from "../core/secure_seq.ts";
import { kfreeSkbReason } from "../core/skbuff.ts";
import { ErrBox, SOCK_RCVBUF_LOCK } from "../core/sock.ts";
import { FlowI4 } from "./flow.ts";
import { inetCskReqskQueueAdd, inetCskRouteReq } from "./inet_connection_sock.ts";
import type { RequestSock } from "./inet_sock.ts";
import { ipHdr, ipHdrDaddr, ipHdrSaddr } from "./ip.ts";
import { seqAdd, seqRaw } from "./seq.ts";
import { TS_OPT_ECN, TS_OPT_SACK, TS_OPT_WSCALE_MASK } from "./syncookies.h.ts";
import { cookieAccecnOk } from "./tcp_ecn.ts";
import {
  ktimeGetSeconds,
  tcpClearOptions,
  tcpFullSpace,
  tcpHdr,
  thAckSeq,
  thDest,
  thFlags,
  thSeq,
  thSource,
} from "./tcp_h.ts";
import { inetReqskAlloc, tcpParseOptions } from "./tcp_input.ts";
import { tcpRequestSockIpv4Ops, tcpRequestSockOps, tcpV4SaveOptions } from "./tcp_ipv4.ts";
import { tcpSelectInitialWindow } from "./tcp_output.ts";
import type { TcpInitialWindow, TcpSock } from "./tcp_sock.ts";
import { newTcpInitialWindow, TcpOptionsReceived, tcpSkbDsfield } from "./tcp_sock.ts";

declare module "../core/net_namespace.ts" {
  interface Net {
    /** syncookie_secret: two SipHash keys; undefined until the first cookie. */
    syncookieSecret: [Uint32Array, Uint32Array] | undefined;
  }
}

const COOKIEBITS = 24;
const COOKIEMASK = 0xffffff;
/** Minutes that a cookie is good for. */
const MAX_SYNCOOKIE_AGE = 2;
const TCP_SYNCOOKIE_PERIOD_S = 60;

/** The MSS values that a cookie can name: what nearly all hosts say (RFC 4987 cites a survey). */
const msstab: readonly number[] = [536, 1300, 1440, 1460];

/** cookie_hash. */
function cookieHash(
  net: Net,
  saddr: number,
  daddr: number,
  sport: number,
  dport: number,
  count: number,
  which: 0 | 1,
): number {
  let secret = net.syncookieSecret;
  if (secret === undefined) {
    const key = (): Uint32Array => {
      const k = new Uint32Array(4);
      for (let i = 0; i < 4; i++) k[i] = net.kernel.random.u32();
      return k;
    };
    secret = [key(), key()];
    net.syncookieSecret = secret;
  }
  return siphash_4u32(saddr, daddr, ((sport << 16) | dport) >>> 0, count, secret[which]);
}

/** tcp_cookie_time: minutes. */
function tcpCookieTime(): number {
  return Math.floor(ktimeGetSeconds() / TCP_SYNCOOKIE_PERIOD_S) >>> 0;
}

/** tcp_synq_overflow: cookies go out from here on, so that they are believed for a while. */
function tcpSynqOverflow(sk: TcpSock): void {
  sk.rxOpt.tsRecentStamp = ktimeGetSeconds() || 1;
}

/** tcp_synq_no_recent_overflow: no cookie that is still good can have been sent. */
function tcpSynqNoRecentOverflow(sk: TcpSock): boolean {
  const last = sk.rxOpt.tsRecentStamp;
  return last === 0 || ktimeGetSeconds() > last + MAX_SYNCOOKIE_AGE * TCP_SYNCOOKIE_PERIOD_S;
}

/** cookie_v4_init_sequence: the ISN for a SYN; the MSS is rounded down to what the cookie can name. */
export function cookieV4InitSequence(sk: TcpSock, skb: number, req: RequestSock): number {
  const iph = ipHdr(skb);
  const th = tcpHdr(skb);
  const saddr = ipHdrSaddr(iph);
  const daddr = ipHdrDaddr(iph);
  let mssind = msstab.length - 1;
  while (mssind > 0 && req.mss < (msstab[mssind] as number)) mssind--;
  req.mss = msstab[mssind] as number;
  tcpSynqOverflow(sk);
  netIncStats(sk.net, LINUX_MIB_SYNCOOKIESSENT);
  const count = tcpCookieTime();
  const h1 = cookieHash(sk.net, saddr, daddr, thSource(th), thDest(th), 0, 0);
  const h2 = cookieHash(sk.net, saddr, daddr, thSource(th), thDest(th), count, 1);
  return (h1 + seqRaw(thSeq(th)) + ((count << COOKIEBITS) >>> 0) + ((h2 + mssind) & COOKIEMASK)) >>> 0;
}

/** check_tcp_syn_cookie and __cookie_v4_check: the MSS that the cookie of an ACK names; 0 = it is none of ours. */
function cookieV4Mss(net: Net, skb: number): number {
  const iph = ipHdr(skb);
  const th = tcpHdr(skb);
  const saddr = ipHdrSaddr(iph);
  const daddr = ipHdrDaddr(iph);
  const sseq = seqRaw(seqAdd(thSeq(th), -1));
  let cookie = seqRaw(seqAdd(thAckSeq(th), -1));
  cookie = (cookie - cookieHash(net, saddr, daddr, thSource(th), thDest(th), 0, 0) - sseq) >>> 0;
  const count = tcpCookieTime();
  const diff = (count - (cookie >>> COOKIEBITS)) & (0xffffffff >>> COOKIEBITS);
  if (diff >= MAX_SYNCOOKIE_AGE) return 0;
  const h2 = cookieHash(net, saddr, daddr, thSource(th), thDest(th), (count - diff) >>> 0, 1);
  const mssind = (cookie - h2) & COOKIEMASK;
  return mssind < msstab.length ? (msstab[mssind] as number) : 0;
}

/** cookie_timestamp_decode: false if the options are not possible (any more). */
function cookieTimestampDecode(net: Net, opt: TcpOptionsReceived): boolean {
  const options = opt.rcvTsecr;
  const ipv4 = net.ipv4;
  if (!opt.sawTstamp) {
    tcpClearOptions(opt);
    return true;
  }
  if (ipv4.sysctlTcpTimestamps === 0) return false;
  opt.sackOk = (options & TS_OPT_SACK) !== 0 ? 1 : 0;
  if (opt.sackOk !== 0 && ipv4.sysctlTcpSack === 0) return false;
  if ((options & TS_OPT_WSCALE_MASK) === TS_OPT_WSCALE_MASK) return true;
  opt.wscaleOk = true;
  opt.sndWscale = options & TS_OPT_WSCALE_MASK;
  return ipv4.sysctlTcpWindowScaling !== 0;
}

const cookieOpt: TcpOptionsReceived = new TcpOptionsReceived();
const cookieWindow: TcpInitialWindow = newTcpInitialWindow();
const cookieFl: FlowI4 = new FlowI4();
const ownReq: ErrBox = new ErrBox();

/** cookie_tcp_check: the request that the cookie stands for; null if the ACK carries none. */
function cookieTcpCheck(sk: TcpSock, skb: number): RequestSock | null {
  const net = sk.net;
  if (tcpSynqNoRecentOverflow(sk)) return null;
  const mss = cookieV4Mss(net, skb);
  if (mss === 0) {
    netIncStats(net, LINUX_MIB_SYNCOOKIESFAILED);
    return null;
  }
  netIncStats(net, LINUX_MIB_SYNCOOKIESRECV);
  const iph = ipHdr(skb);
  const th = tcpHdr(skb);
  const opt = cookieOpt;
  tcpClearOptions(opt);
  opt.userMss = 0;
  opt.mssClamp = 0;
  opt.rcvTsecr = 0;
  tcpParseOptions(net, skb, opt, 0, null);
  let tsOff = 0;
  if (opt.sawTstamp && opt.rcvTsecr !== 0) {
    tsOff = secureTcpTsOff(net, ipHdrDaddr(iph), ipHdrSaddr(iph), thDest(th), thSource(th));
    opt.rcvTsecr = (opt.rcvTsecr - tsOff) >>> 0;
  }
  if (!cookieTimestampDecode(net, opt)) return null;

  const req = inetReqskAlloc(tcpRequestSockOps, sk);
  req.afSpecific = tcpRequestSockIpv4Ops;
  req.rcvIsn = seqRaw(seqAdd(thSeq(th), -1));
  req.rcvNxt = seqRaw(thSeq(th));
  req.sntIsn = seqRaw(seqAdd(thAckSeq(th), -1));
  req.mss = mss;
  req.irNum = thDest(th);
  req.irRmtPort = thSource(th);
  req.skcNum = req.irNum;
  req.skcDport = req.irRmtPort;
  req.irMark = sk.skMark;
  req.irLocAddr = ipHdrDaddr(iph);
  req.irRmtAddr = ipHdrSaddr(iph);
  req.skcRcvSaddr = req.irLocAddr;
  req.skcDaddr = req.irRmtAddr;
  req.irIif = sk.skcBoundDevIf;
  req.skcBoundDevIf = req.irIif;
  req.tsRecent = opt.sawTstamp ? opt.rcvTsval : 0;
  req.tstampOk = opt.sawTstamp;
  req.sackOk = opt.sackOk !== 0;
  req.sndWscale = opt.sndWscale;
  req.wscaleOk = opt.wscaleOk;
  req.ecnOk = opt.sawTstamp && (opt.rcvTsecr & TS_OPT_ECN) !== 0;
  req.tsOff = tsOff;
  req.snt_synack = 0;
  req.synTos = tcpSkbDsfield(skb);
  // As that of the SYN-ACK was: both take the same way.
  req.txhash = req.sntIsn;
  // The options of the SYN were thrown away; the ACK hopefully has them again (RFC 1122 §4.2.3.8).
  req.ireqOpt = tcpV4SaveOptions(net, skb);
  return req;
}

/** What tcp_v4_send_synack did, as far as the route says. */
function cookieWindowInit(sk: TcpSock, req: RequestSock, dst: DstEntry, skb: number): void {
  const fullSpace = tcpFullSpace(sk);
  const w = cookieWindow;
  w.windowClamp = sk.windowClamp !== 0 ? sk.windowClamp : dstMetric(dst, RTAX_WINDOW);
  if ((sk.skUserlocks & SOCK_RCVBUF_LOCK) !== 0 && (w.windowClamp > fullSpace || w.windowClamp === 0)) {
    w.windowClamp = fullSpace;
  }
  tcpSelectInitialWindow(sk, fullSpace, req.mss, w, req.wscaleOk, dstMetric(dst, RTAX_INITRWND));
  req.rskRcvWnd = w.rcvWnd;
  req.rskWindowClamp = w.windowClamp;
  req.rcvWscale = w.rcvWscale;
  const ecn = sk.net.ipv4.sysctlTcpEcn !== 0 || (dstMetric(dst, RTAX_FEATURES) & RTAX_FEATURE_ECN) !== 0;
  req.ecnOk = req.ecnOk && ecn;
  req.accecnOk = req.ecnOk && cookieAccecnOk(tcpHdr(skb));
}

/**
 * cookie_v4_check: an ACK for a listener. Returns the connection that its cookie makes; the listener itself if there is
 * no cookie in it; null if the skb was dropped.
 */
export function cookieV4Check(sk: TcpSock, skb: number): TcpSock | null {
  const flags = thFlags(tcpHdr(skb));
  if (sk.net.ipv4.sysctlTcpSyncookies === 0 || (flags & (TCPHDR_ACK | TCPHDR_RST)) !== TCPHDR_ACK) return sk;
  const req = cookieTcpCheck(sk, skb);
  if (req === null) return sk;
  const dst = inetCskRouteReq(sk, cookieFl, req);
  if (dst === null) {
    kfreeSkbReason(skb, SKB_DROP_REASON_IP_OUTNOROUTES);
    return null;
  }
  cookieWindowInit(sk, req, dst, skb);
  // tcp_get_cookie_sock
  ownReq.value = 0;
  const child = sk.icskAfOps.synRecvSock(sk, skb, req, dst, ownReq) as TcpSock | null;
  if (child === null || inetCskReqskQueueAdd(sk, req, child) === null) {
    kfreeSkbReason(skb, SKB_DROP_REASON_NO_SOCKET);
    return null;
  }
  // ip_queue_xmit takes the addresses from it; others have it from inet_csk_route_child_sock.
  Object.assign(child.corkFl, cookieFl);
  return child;
}
