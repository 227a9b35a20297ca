/** TCP over IPv4: the way in from IP, the way out to it, connect, ICMP errors, and the tables of pointers. */

import {
  CHECKSUM_COMPLETE,
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  MAX_TCP_HEADER,
  PACKET_HOST,
  SKB_DESTRUCTOR,
  SKB_DESTRUCTOR_EFREE,
  SKB_GSO_TCPV4,
  SKB_SK,
  TCPCB_FLAG_HAS_RXTSTAMP,
  TCPCB_TCP_TW_ISN,
} from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { icmpIncStats, ipIncStats, netAddStats, netIncStats, tcpIncStats } from "../../kernel/mib.ts";
import { dv, u8, u32 } from "../../mm/mem.ts";
import {
  skbCsum,
  skbData,
  skbGsoSegs,
  skbHead,
  skbIpSummed,
  skbLen,
  skbPktType,
  skbSetCsum,
  skbSetCsumOffset,
  skbSetCsumStart,
  skbSetIpSummed,
  skbTransportHeader,
  skbTransportOffset,
  skbTstamp,
} from "../../mm/skb.ts";
import {
  SKB_DROP_REASON_NO_SOCKET,
  SKB_DROP_REASON_NOT_SPECIFIED,
  SKB_DROP_REASON_PKT_TOO_SMALL,
  SKB_DROP_REASON_TCP_CSUM,
  SKB_DROP_REASON_TCP_MINTTL,
} from "../../uapi/dropreason.ts";
import { EAFNOSUPPORT, EHOSTUNREACH, EMSGSIZE, ENETUNREACH, ENOENT, EPROTO } from "../../uapi/errno.ts";
import {
  ICMP_DEST_UNREACH,
  ICMP_FRAG_NEEDED,
  ICMP_HOST_UNREACH,
  ICMP_NET_UNREACH,
  ICMP_PARAMETERPROB,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  NR_ICMP_UNREACH,
} from "../../uapi/icmp.ts";
import { IP_PMTUDISC_DONT, IPPROTO_TCP } from "../../uapi/in.ts";
import { INET_ECN_MASK } from "../../uapi/ip.ts";
import {
  ICMP_MIB_INERRORS,
  IPSTATS_MIB_OUTNOROUTES,
  LINUX_MIB_LISTENOVERFLOWS,
  LINUX_MIB_OUTOFWINDOWICMPS,
  LINUX_MIB_TCPMEMORYPRESSURES,
  LINUX_MIB_TCPMEMORYPRESSURESCHRONO,
  LINUX_MIB_TCPMINTTLDROP,
  TCP_MIB_CSUMERRORS,
  TCP_MIB_INERRS,
  TCP_MIB_INSEGS,
  TCP_MIB_OUTRSTS,
  TCP_MIB_OUTSEGS,
} from "../../uapi/linux_mib.ts";
import { RTCF_BROADCAST, RTCF_MULTICAST, RTN_LOCAL } from "../../uapi/rtnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import {
  TCP_CLOSE,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT2,
  TCP_LISTEN,
  TCP_MSS_DEFAULT,
  TCP_NEW_SYN_RECV,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
  TCP_TIME_WAIT,
  TCPF_CLOSE,
  TCPF_LISTEN,
  TCPHDR_ACK,
  TCPHDR_FIN,
  TCPHDR_RST,
  TCPHDR_SYN,
  TCPOLEN_MD5SIG,
  TCPOLEN_MD5SIG_ALIGNED,
  TCPOPT_MD5SIG,
  TCPOPT_NOP,
} from "../../uapi/tcp.ts";
import { csumAdd, csumFold, csumTcpUdpMagic, csumTcpUdpNofold } from "../core/checksum.ts";
import { NET_XMIT_CN } from "../core/dev.ts";
import type { DstEntry } from "../core/dst.ts";
import { dstMetricAdvmss, dstMtu } from "../core/dst.ts";
import type { Net, PernetOperations } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import { secureTcpSeq, secureTcpTsOff } from "../core/secure_seq.ts";
import { kfreeSkbReason, pskbMayPull, skbChecksum, skbDev, skbDst, skbDstSet, skbSk } from "../core/skbuff.ts";
import type { ErrBox, OptVal, Proto, Sock, SockAddr } from "../core/sock.ts";
import {
  ErrBox as ErrBoxClass,
  SOCK_BINDADDR_LOCK,
  SOCK_DEAD,
  skAcceptqIsFull,
  skDstReset,
  skFullsock,
  skSetupCaps,
  sockFlag,
  sockHold,
  sockPut,
} from "../core/sock.ts";
import { inetSkRebuildHeader } from "./af_inet.ts";
import { LOOPBACK_IFINDEX } from "./fib_frontend.ts";
import { FlowI4 } from "./flow.ts";
import { icmpErrConvert } from "./icmp.ts";
import {
  inetCskAccept,
  inetCskPrepareForDestroySock,
  inetCskReqskQueueDropAndPut,
  inetCskRouteChildSock,
  inetCskRouteReq,
  inetCskRtoBackoff,
  inetCskUpdatePmtu,
} from "./inet_connection_sock.ts";
import {
  __inetInheritPort,
  __inetLookup,
  __inetLookupEstablished,
  __inetLookupListener,
  inetCskGetPort,
  inetEhashNolisten,
  inetHash,
  inetHashConnect,
  inetPutPort,
  inetUnhash,
} from "./inet_hashtables.ts";
import type {
  InetConnectionSock,
  InetConnectionSockAfOps,
  InetSock,
  RequestSock,
  RequestSockOps,
  TcpTimewaitSock,
} from "./inet_sock.ts";
import { ICSK_TIME_RETRANS } from "./inet_sock.ts";
import { inetTwskDeschedulePut, inetTwskPurge } from "./inet_timewait_sock.ts";
import {
  IP_REPLY_ARG_NOSRCCHECK,
  IpReplyArg,
  ipcbOptlen,
  ipDontFragment,
  ipHdr,
  ipHdrDaddr,
  ipHdrSaddr,
  ipHdrTos,
  ipHdrTtl,
  ipSkAcceptPmtu,
} from "./ip.ts";
import { IpOptions } from "./ip_opt.ts";
import { ipOptionsEcho } from "./ip_options.ts";
import { ipBuildAndSendPkt, ipQueueXmit, ipSendUnicastReply } from "./ip_output.ts";
import { ipGetsockopt, ipIcmpError, ipSetsockopt } from "./ip_sockglue.ts";
import type { NetProtocol } from "./protocol.ts";
import { inetAddProtocol } from "./protocol.ts";
import type { Rtable } from "./route.ts";
import { ipRouteConnect, ipRouteNewports, routeErr } from "./route.ts";
import type { Seq } from "./seq.ts";
import { between, seq, seqAdd, seqRaw, seqSub } from "./seq.ts";
import { cookieV4Check } from "./syncookies.ts";
import { tcpGetTimestampingOptStats } from "./tcp.timestamping.ts";
import {
  tcpAbort,
  tcpClose,
  tcpDestroyCommon,
  tcpDisconnect,
  tcpDone,
  tcpDoneWithError,
  tcpInitSock,
  tcpIoctl,
  tcpRecvmsg,
  tcpSendmsgLocked,
  tcpSetState,
  tcpShutdown,
  tcpWriteQueuePurge,
} from "./tcp.ts";
import { tcpFastopenDeferConnect } from "./tcp_fastopen.ts";
import {
  __tcpSetRto,
  TCP_TIMEOUT_INIT,
  tcpClockMs,
  tcpClockTs,
  tcpHdr,
  tcpListendrop,
  tcpMssClamp,
  tcpMstampRefresh,
  tcpNotsentLowat,
  tcpResetXmitTimer,
  tcpRtxQueueHead,
  tcpSegsIn,
  tcpSkbTimestampTs,
  tcpSkbTimestampUs,
  thAckSeq,
  thDest,
  thDoff,
  thFlags,
  thSeq,
  thSource,
} from "./tcp_h.ts";
import {
  tcpConnRequest,
  tcpInitializeRcvMss,
  tcpRcvEstablished,
  tcpRcvStateProcess,
  tcpSimpleRetransmit,
} from "./tcp_input.ts";
import type { TcpMd5sigKey } from "./tcp_md5.ts";
import {
  tcpInboundHash,
  tcpMd5DoLookup,
  tcpMd5KeyCopy,
  tcpMd5Matches,
  tcpMd5SignHdr,
  tcpParseAuthOptions,
} from "./tcp_md5.ts";
import {
  checkReqDrop,
  TCP_TW_ACK,
  TCP_TW_ACK_OOW,
  TCP_TW_RST,
  TCP_TW_SYN,
  tcpCaOpenreqChild,
  tcpCheckReq,
  tcpChildProcess,
  tcpCreateOpenreqChild,
  tcpTimewaitStateProcess,
} from "./tcp_minisocks.ts";
// From where it is defined: a table below wants it while modules are still being loaded.
import { tcpRtxSynack } from "./tcp_output.ctl.ts";
import { tcpConnect, tcpMakeSynack, tcpReleaseCb, tcpSyncMss } from "./tcp_output.ts";
import type { TcpFastopenCookie, TcpRequestSockOps } from "./tcp_sock.ts";
import {
  TcpSock,
  tcpSkbSetAckSeq,
  tcpSkbSetCbFlags,
  tcpSkbSetDsfield,
  tcpSkbSetEndSeq,
  tcpSkbSetFlags,
  tcpSkbSetSacked,
  tcpSkbSetSeq,
} from "./tcp_sock.ts";
import { tcpGetsockopt, tcpSetsockopt } from "./tcp_sockopt.ts";
import { tcpRetransmitTimer, tcpSetKeepalive } from "./tcp_timer.ts";

// ---- in -------------------------------------------------------------------------------------------------------------

/** tcp_v4_fill_cb: what the rest of TCP reads of the header, once. */
function tcpV4FillCb(skb: number, iph: number, th: number): void {
  const flags = thFlags(th);
  const s = thSeq(th);
  tcpSkbSetSeq(skb, s);
  const syn = (flags & TCPHDR_SYN) >>> 1;
  const fin = flags & TCPHDR_FIN;
  tcpSkbSetEndSeq(skb, seqAdd(s, syn + fin + skbLen(skb) - thDoff(th) * 4));
  tcpSkbSetAckSeq(skb, thAckSeq(th));
  tcpSkbSetFlags(skb, flags);
  tcpSkbSetDsfield(skb, ipHdrTos(iph));
  tcpSkbSetSacked(skb, 0);
  tcpSkbSetCbFlags(skb, skbTstamp(skb) !== 0 ? TCPCB_FLAG_HAS_RXTSTAMP : 0);
  u32[(skb + TCPCB_TCP_TW_ISN) >>> 2] = 0;
}

/**
 * skb_checksum_init: takes the word of the device or of the local sender (CHECKSUM_UNNECESSARY, _PARTIAL), compares its
 * sum (_COMPLETE), or leaves the pseudo-header in skb->csum, for the payload to be summed once the segment is wanted.
 */
function tcpV4ChecksumInit(skb: number, saddr: number, daddr: number): void {
  const how = skbIpSummed(skb);
  if (how === CHECKSUM_UNNECESSARY || how === CHECKSUM_PARTIAL) return;
  const pseudo = csumTcpUdpNofold(saddr, daddr, skbLen(skb), IPPROTO_TCP, 0);
  if (how === CHECKSUM_COMPLETE && csumFold(csumAdd(pseudo, skbCsum(skb))) === 0) {
    skbSetIpSummed(skb, CHECKSUM_UNNECESSARY);
    return;
  }
  // A sum that is wrong says nothing about who got it wrong.
  skbSetIpSummed(skb, CHECKSUM_NONE);
  skbSetCsum(skb, pseudo);
}

/** tcp_checksum_complete: true = wrong. Data starts at the TCP header; a right sum is not computed twice. */
export function tcpChecksumComplete(skb: number): boolean {
  if (skbIpSummed(skb) !== CHECKSUM_NONE) return false;
  if (csumFold(skbChecksum(skb, 0, skbLen(skb), skbCsum(skb))) !== 0) return true;
  skbSetIpSummed(skb, CHECKSUM_UNNECESSARY);
  return false;
}

/** tcp_tw_isn: the ISN for a SYN that reopens TIME_WAIT; 0 = none. tcp_conn_request takes it. */
export function tcpTwIsnTake(skb: number): number {
  return u32[(skb + TCPCB_TCP_TW_ISN) >>> 2] as number;
}

const twDrop: ErrBox = new ErrBoxClass();
const twIsn: ErrBox = new ErrBoxClass();

function discard(skb: number, reason: number): number {
  kfreeSkbReason(skb, reason === 0 ? SKB_DROP_REASON_NOT_SPECIFIED : reason);
  return 0;
}

/** discard_and_relse: `sk` has dropped it (sk_drops_skbadd). */
function discardCounted(sk: Sock, skb: number, reason: number): number {
  sk.skDrops += Math.max(1, skbGsoSegs(skb));
  return discard(skb, reason);
}

function badPacket(skb: number, reason: number): number {
  const net = skbDev(skb).net;
  if (reason === SKB_DROP_REASON_TCP_CSUM) tcpIncStats(net, TCP_MIB_CSUMERRORS);
  tcpIncStats(net, TCP_MIB_INERRS);
  return discard(skb, reason);
}

/**
 * tcp_v4_early_demux: an established connection is looked up before the route is, and saves that when it knows the route
 * that its packets come by (sk_rx_dst).
 */
export function tcpV4EarlyDemux(skb: number): void {
  if (skbPktType(skb) !== PACKET_HOST || !pskbMayPull(skb, skbTransportOffset(skb) + 20)) return;
  const dev = skbDev(skb);
  if (dev.net.ipv4.sysctlTcpEarlyDemux === 0) return;
  const iph = ipHdr(skb);
  const th = tcpHdr(skb);
  if (thDoff(th) < 5) return;
  const sk = __inetLookupEstablished(dev.net, ipHdrSaddr(iph), thSource(th), ipHdrDaddr(iph), thDest(th), dev.ifindex);
  // Requests and TIME_WAIT have no slot that an skb could hold them by: tcp_v4_rcv finds them again.
  if (sk === null || sk.slot === 0) return;
  sockHold(sk);
  u32[(skb + SKB_SK) >>> 2] = sk.slot;
  u8[skb + SKB_DESTRUCTOR] = SKB_DESTRUCTOR_EFREE;
  const dst = sk.skRxDst;
  if (dst === null || sk.skRxDstIfindex !== dev.ifindex) return;
  if (dst.obsolete === 0 || dst.ops.check(dst, 0) !== null) skbDstSet(skb, dst);
}

/** inet_sk_rx_dst_set. */
/* notrace */
function inetSkRxDstSet(sk: Sock, skb: number): void {
  sk.skRxDst = skbDst(skb);
  sk.skRxDstIfindex = skbDev(skb).ifindex;
}

/** tcp_v4_rcv: inet_protos[IPPROTO_TCP]->handler. Data starts at the TCP header. Consumes the skb. */
export function tcpV4Rcv(skb: number): number {
  // skb_steal_sock: early demux has found the socket and holds it for us.
  if (u32[(skb + SKB_SK) >>> 2] === 0) return tcpV4RcvSk(skb, null);
  const sk = skbSk(skb) as Sock;
  u32[(skb + SKB_SK) >>> 2] = 0;
  u8[skb + SKB_DESTRUCTOR] = 0;
  const ret = tcpV4RcvSk(skb, sk);
  sockPut(sk);
  return ret;
}

/** The rest of tcp_v4_rcv. `early`: whom the segment is for, if that is known. */
/* notrace */
function tcpV4RcvSk(skb: number, early: Sock | null): number {
  const dev = skbDev(skb);
  const net = dev.net;
  if (skbPktType(skb) !== PACKET_HOST) return discard(skb, SKB_DROP_REASON_NOT_SPECIFIED);
  tcpIncStats(net, TCP_MIB_INSEGS);
  if (!pskbMayPull(skb, 20)) return discard(skb, SKB_DROP_REASON_NOT_SPECIFIED);
  const doff = thDoff(skbData(skb)) * 4;
  if (doff < 20) return badPacket(skb, SKB_DROP_REASON_PKT_TOO_SMALL);
  if (!pskbMayPull(skb, doff)) return discard(skb, SKB_DROP_REASON_NOT_SPECIFIED);

  // From here on no accessor of the header reads outside of the linear part.
  const iph = ipHdr(skb);
  const th = tcpHdr(skb);
  const saddr = ipHdrSaddr(iph);
  const daddr = ipHdrDaddr(iph);
  tcpV4ChecksumInit(skb, saddr, daddr);
  const sport = thSource(th);
  const dport = thDest(th);

  for (;;) {
    let sk = early ?? __inetLookup(net, saddr, sport, daddr, dport, dev.ifindex);
    if (sk === null) {
      tcpV4FillCb(skb, iph, th);
      if (tcpChecksumComplete(skb)) return badPacket(skb, SKB_DROP_REASON_TCP_CSUM);
      tcpV4SendReset(null, skb);
      return discard(skb, SKB_DROP_REASON_NO_SOCKET);
    }

    if (sk.skcState === TCP_TIME_WAIT) {
      const listener = tcpV4TimeWait(sk as TcpTimewaitSock, skb, iph, th);
      if (listener === null) return 0;
      // A new SYN ends TIME_WAIT (RFC 9293 §3.6.1): the listener takes it, from a sequence number above the old ones.
      tcpV4FillCb(skb, iph, th);
      u32[(skb + TCPCB_TCP_TW_ISN) >>> 2] = twIsn.value;
      sk = listener;
    } else if (sk.skcState === TCP_NEW_SYN_RECV) {
      const req = sk as RequestSock;
      const listener = req.rskListener;
      const refused = tcpInboundHash(listener as TcpSock, skb);
      if (refused !== 0) return discardCounted(listener, skb, refused);
      if (tcpChecksumComplete(skb)) return badPacket(skb, SKB_DROP_REASON_TCP_CSUM);
      if (listener.skcState !== TCP_LISTEN) {
        // The listener was closed: whoever looks now finds nothing.
        inetCskReqskQueueDropAndPut(listener, req);
        continue;
      }
      tcpV4FillCb(skb, iph, th);
      const nsk = tcpCheckReq(listener as TcpSock, skb, req, false, null);
      if (nsk === null) return discardCounted(listener, skb, checkReqDrop.value);
      if (nsk !== listener) {
        const reason = tcpChildProcess(listener, nsk, skb);
        if (reason !== 0) {
          tcpV4SendReset(nsk, skb);
          return discard(skb, reason);
        }
        return 0;
      }
      sk = listener;
    } else {
      tcpV4FillCb(skb, iph, th);
    }

    const minTtl = (sk as InetSock).minTtl;
    if (minTtl !== 0 && ipHdrTtl(iph) < minTtl) {
      netIncStats(net, LINUX_MIB_TCPMINTTLDROP);
      return discardCounted(sk, skb, SKB_DROP_REASON_TCP_MINTTL);
    }
    const refused = tcpInboundHash(sk as TcpSock, skb);
    if (refused !== 0) return discardCounted(sk, skb, refused);
    if (sk.skcState !== TCP_LISTEN) tcpSegsIn(sk as TcpSock, skb);
    return tcpV4DoRcv(sk, skb);
  }
}

/** do_time_wait of tcp_v4_rcv: returns the listener that takes a new SYN, or null when the skb is dealt with. */
function tcpV4TimeWait(tw: TcpTimewaitSock, skb: number, iph: number, th: number): Sock | null {
  tcpV4FillCb(skb, iph, th);
  if (tcpChecksumComplete(skb)) {
    badPacket(skb, SKB_DROP_REASON_TCP_CSUM);
    return null;
  }
  const dev = skbDev(skb);
  twDrop.value = SKB_DROP_REASON_NOT_SPECIFIED;
  const status = tcpTimewaitStateProcess(tw, skb, twIsn, twDrop);
  switch (status) {
    case TCP_TW_SYN: {
      const sk = __inetLookupListener(dev.net, ipHdrSaddr(iph), thSource(th), ipHdrDaddr(iph), thDest(th), dev.ifindex);
      if (sk !== null) {
        inetTwskDeschedulePut(tw);
        return sk;
      }
      tcpV4TimewaitAck(tw, skb, status);
      break;
    }
    case TCP_TW_ACK:
    case TCP_TW_ACK_OOW:
      tcpV4TimewaitAck(tw, skb, status);
      break;
    case TCP_TW_RST:
      tcpV4SendReset(tw, skb);
      inetTwskDeschedulePut(tw);
      break;
    default:
      break;
  }
  discard(skb, twDrop.value);
  return null;
}

/** tcp_v4_do_rcv: a segment for this sock. Consumes the skb. */
export function tcpV4DoRcv(sk: Sock, skb: number): number {
  if (sk.skcState === TCP_ESTABLISHED) {
    const dst = sk.skRxDst;
    if (dst !== null && (dst.obsolete !== 0 || sk.skRxDstIfindex !== skbDev(skb).ifindex)) sk.skRxDst = null;
    if (sk.skRxDst === null) inetSkRxDstSet(sk, skb);
    tcpRcvEstablished(sk as TcpSock, skb);
    return 0;
  }
  if (tcpChecksumComplete(skb)) return badPacket(skb, SKB_DROP_REASON_TCP_CSUM);
  if (sk.skcState === TCP_LISTEN && (thFlags(tcpHdr(skb)) & TCPHDR_SYN) === 0) {
    // tcp_v4_cookie_check: an ACK may bring a connection with it.
    const nsk = cookieV4Check(sk as TcpSock, skb);
    if (nsk === null) return 0;
    if (nsk !== sk) {
      const why = tcpChildProcess(sk, nsk, skb);
      if (why === 0) return 0;
      tcpV4SendReset(nsk, skb);
      return discard(skb, why);
    }
  }
  const reason = tcpRcvStateProcess(sk as TcpSock, skb);
  if (reason !== 0) {
    tcpV4SendReset(sk, skb);
    return discard(skb, reason);
  }
  return 0;
}

// ---- answers without a connection -----------------------------------------------------------------------------------

const replyArg: IpReplyArg = new IpReplyArg(20 + 40);
const replyView: DataView = new DataView(replyArg.iov.buffer);

function replyHeader(skb: number, s: number, ack: number, flags: number, window: number, len: number): void {
  const th = tcpHdr(skb);
  replyArg.iov.fill(0);
  replyView.setUint16(0, thDest(th));
  replyView.setUint16(2, thSource(th));
  replyView.setUint32(4, s >>> 0);
  replyView.setUint32(8, ack >>> 0);
  replyView.setUint8(12, (len / 4) << 4);
  replyView.setUint8(13, flags);
  replyView.setUint16(14, window);
  const iph = ipHdr(skb);
  replyArg.len = len;
  replyArg.csum = csumTcpUdpNofold(ipHdrDaddr(iph), ipHdrSaddr(iph), len, IPPROTO_TCP, 0);
  replyArg.csumoffset = 16;
  replyArg.flags = 0;
  replyArg.ttl = 0;
  replyArg.txhash = 0;
  replyArg.mark = 0;
  replyArg.priority = 0;
  replyArg.boundDevIf = 0;
}

/** The digest of a reply goes behind the `at` bytes of its header that stand there. */
function replySign(skb: number, key: TcpMd5sigKey, at: number): void {
  replyView.setUint32(at, (TCPOPT_NOP << 24) | (TCPOPT_NOP << 16) | (TCPOPT_MD5SIG << 8) | TCPOLEN_MD5SIG);
  const iph = ipHdr(skb);
  tcpMd5SignHdr(key, ipHdrDaddr(iph), ipHdrSaddr(iph), replyArg.iov, at + 4);
}

/**
 * The key that a RST has to be signed with. Where the connection is gone, a listener on its port may know the key; the
 * segment must have been signed with it, since nobody else has checked that. Null: none.
 */
function tcpV4ResetKey(sk: Sock | null, skb: number, location: number): TcpMd5sigKey | null {
  const iph = ipHdr(skb);
  const saddr = ipHdrSaddr(iph);
  if (sk !== null && skFullsock(sk)) return tcpMd5DoLookup(sk as TcpSock, saddr);
  if (location === 0) return null;
  const port = thSource(tcpHdr(skb));
  const dev = skbDev(skb);
  const listener = __inetLookupListener(dev.net, saddr, port, ipHdrDaddr(iph), port, dev.ifindex);
  const key = listener !== null ? tcpMd5DoLookup(listener as TcpSock, saddr) : null;
  return key !== null && tcpMd5Matches(key, skb, location) ? key : null;
}

/**
 * tcp_v4_send_reset (RFC 9293 §3.10.7.1): a RST for a segment that nobody wants; never for a RST. `sk`: whose behalf,
 * or null.
 */
export function tcpV4SendReset(sk: Sock | null, skb: number): void {
  const th = tcpHdr(skb);
  const flags = thFlags(th);
  if (flags & TCPHDR_RST) return;
  // Without a socket only what was addressed to us is answered, not what was sent to a broadcast address.
  const rt = skbDst(skb) as Rtable | null;
  if (sk === null && (rt === null || rt.rtType !== RTN_LOCAL)) return;
  const location = tcpParseAuthOptions(th);
  if (location < 0) return;
  const key = tcpV4ResetKey(sk, skb, location);
  if (key === null && location !== 0 && (sk === null || !skFullsock(sk))) return;
  const len = key !== null ? 20 + TCPOLEN_MD5SIG_ALIGNED : 20;
  if (flags & TCPHDR_ACK) {
    replyHeader(skb, seqRaw(thAckSeq(th)), 0, TCPHDR_RST, 0, len);
  } else {
    const syn = (flags & TCPHDR_SYN) !== 0 ? 1 : 0;
    const fin = (flags & TCPHDR_FIN) !== 0 ? 1 : 0;
    const ack = seqRaw(thSeq(th)) + syn + fin + skbLen(skb) - thDoff(th) * 4;
    replyHeader(skb, 0, ack, TCPHDR_RST | TCPHDR_ACK, 0, len);
  }
  if (key !== null) replySign(skb, key, 20);
  const net = skbDev(skb) !== null ? skbDev(skb).net : (sk as Sock).net;
  const iph = ipHdr(skb);
  replyArg.tos = ipHdrTos(iph) & ~INET_ECN_MASK;
  if (sk !== null) {
    replyArg.boundDevIf = sk.skcBoundDevIf;
    replyArg.mark = sk.skMark;
    replyArg.priority = skFullsock(sk) ? sk.skPriority : (sk as TcpTimewaitSock).twPriority;
    replyArg.txhash = skFullsock(sk) ? sk.skTxhash : (sk as TcpTimewaitSock).twTxhash;
    replyArg.flags = (sk as InetSock).transparent ? IP_REPLY_ARG_NOSRCCHECK : 0;
  }
  // A TIME_WAIT sock can own no skb.
  const owner = sk !== null && skFullsock(sk) ? sk : null;
  ipSendUnicastReply(net, owner, skb, ipHdrSaddr(iph), ipHdrDaddr(iph), replyArg);
  tcpIncStats(net, TCP_MIB_OUTSEGS);
  tcpIncStats(net, TCP_MIB_OUTRSTS);
}

/** tcp_v4_send_ack: an ACK from a sock that is no full connection. tsecr 0 = no timestamps. */
function tcpV4SendAck(
  sk: Sock,
  skb: number,
  s: number,
  ack: number,
  win: number,
  tsval: number,
  tsecr: number,
  oif: number,
  tos: number,
  key: TcpMd5sigKey | null,
): void {
  const plain = tsecr !== 0 ? 32 : 20;
  const len = key !== null ? plain + TCPOLEN_MD5SIG_ALIGNED : plain;
  replyHeader(skb, s, ack, TCPHDR_ACK, win, len);
  if (tsecr !== 0) {
    replyView.setUint32(20, 0x0101080a); // NOP NOP TIMESTAMP 10
    replyView.setUint32(24, tsval >>> 0);
    replyView.setUint32(28, tsecr >>> 0);
  }
  if (key !== null) replySign(skb, key, plain);
  replyArg.boundDevIf = oif;
  replyArg.tos = tos;
  replyArg.mark = sk.skMark;
  const iph = ipHdr(skb);
  ipSendUnicastReply(sk.net, null, skb, ipHdrSaddr(iph), ipHdrDaddr(iph), replyArg);
  tcpIncStats(sk.net, TCP_MIB_OUTSEGS);
}

/**
 * tcp_v4_timewait_ack. What answers a segment out of the window is not ECT (RFC 3168 §6.1.4); other ACKs stay in the queue
 * that the connection's packets were in.
 */
function tcpV4TimewaitAck(tw: TcpTimewaitSock, skb: number, status: number): void {
  tcpV4SendAck(
    tw,
    skb,
    tw.twSndNxt,
    tw.twRcvNxt,
    tw.twRcvWnd >>> tw.twRcvWscale,
    (tcpClockTs() + tw.twTsOffset) >>> 0,
    tw.twTsRecent,
    tw.skcBoundDevIf,
    status === TCP_TW_ACK_OOW ? tw.twTos & ~INET_ECN_MASK : tw.twTos,
    tw.twMd5Key,
  );
}

/** tcp_v4_reqsk_send_ack: an out-of-window segment arrives at a request. */
function tcpV4ReqskSendAck(sk: Sock, skb: number, req: RequestSock): void {
  const s = sk.skcState === TCP_LISTEN ? req.sntIsn + 1 : seqRaw((sk as TcpSock).sndNxt);
  tcpV4SendAck(
    sk,
    skb,
    s,
    req.rcvNxt,
    Math.min(req.rskRcvWnd, 65535) >>> req.rcvWscale,
    (tcpClockTs() + req.tsOff) >>> 0,
    req.tsRecent,
    0,
    ipHdrTos(ipHdr(skb)) & ~INET_ECN_MASK,
    tcpMd5DoLookup(sk as TcpSock, ipHdrSaddr(ipHdr(skb))),
  );
}

// ---- checksums ------------------------------------------------------------------------------------------------------

/** __tcp_v4_send_check: the pseudo-header's sum goes into the header, the rest is left to whoever sends (PARTIAL). */
export function __tcpV4SendCheck(skb: number, saddr: number, daddr: number): void {
  const th = skbTransportHeader(skb);
  const check = csumTcpUdpMagic(saddr, daddr, skbLen(skb), IPPROTO_TCP, 0);
  dv.setUint16(th + 16, ~check & 0xffff);
  skbSetCsumStart(skb, th - skbHead(skb));
  skbSetCsumOffset(skb, 16);
}

/** tcp_v4_send_check: icsk_af_ops->send_check. */
export function tcpV4SendCheck(sk: Sock, skb: number): void {
  __tcpV4SendCheck(skb, (sk as InetSock).inetSaddr, sk.skcDaddr);
}

// ---- connect --------------------------------------------------------------------------------------------------------

/** tcp_twsk_unique: may this connection take over a four-tuple that is in TIME_WAIT (RFC 6191)? */
export function tcpTwskUnique(sk: Sock, tw: TcpTimewaitSock): boolean {
  const tp = sk as TcpSock;
  const ipv4 = sk.net.ipv4;
  let reuse = ipv4.sysctlTcpTwReuse;
  // In FIN_WAIT2 the peer may still send.
  if (tw.twSubstate === TCP_FIN_WAIT2) reuse = 0;
  // 2: for loopback connections only.
  if (
    reuse === 2 &&
    tw.skcBoundDevIf !== LOOPBACK_IFINDEX &&
    tw.skcDaddr >>> 24 !== 127 &&
    tw.skcRcvSaddr >>> 24 !== 127
  ) {
    reuse = 0;
  }
  // Without timestamps old segments could not be told from new ones.
  if (tw.twTsRecentStamp === 0) return false;
  // A port that the user has bound is taken over at once; a free choice waits for the timestamps to have moved on.
  const bound = sk.skcNum !== 0;
  if (!bound && (reuse === 0 || tcpClockMs() - tw.twEntryStamp < ipv4.sysctlTcpTwReuseDelay)) return false;
  if (!tp.repair) {
    const s = (tw.twSndNxt + 65535 + 2) >>> 0;
    tp.writeSeq = seq(s === 0 ? 1 : s);
    tp.rxOpt.tsRecent = tw.twTsRecent;
    tp.rxOpt.tsRecentStamp = tw.twTsRecentStamp;
  }
  return true;
}

/** tcp_v4_connect (sk_prot->connect): sends the SYN. 0 or a negative errno. */
export function tcpV4Connect(sk: Sock, addr: SockAddr): number {
  const tp = sk as TcpSock;
  const net = sk.net;
  if (addr.family !== AF_INET) return -EAFNOSUPPORT;
  const fl4 = tp.corkFl;
  const origSport = tp.inetSport;
  const origDport = addr.port;
  const rt = ipRouteConnect(fl4, addr.addr, tp.inetSaddr, sk.skcBoundDevIf, IPPROTO_TCP, origSport, origDport, sk);
  if (rt === null) {
    if (routeErr.value === -ENETUNREACH) ipIncStats(net, IPSTATS_MIB_OUTNOROUTES);
    return routeErr.value;
  }
  if ((rt.rtFlags & (RTCF_MULTICAST | RTCF_BROADCAST)) !== 0) return -ENETUNREACH;
  const daddr = fl4.daddr;
  if (tp.inetSaddr === 0) tp.inetSaddr = fl4.saddr;
  tp.skcRcvSaddr = tp.inetSaddr;
  if (tp.rxOpt.tsRecentStamp !== 0 && tp.skcDaddr !== daddr) {
    // Another peer: what was remembered of the old one's timestamps means nothing.
    tp.rxOpt.tsRecent = 0;
    tp.rxOpt.tsRecentStamp = 0;
    if (!tp.repair) tp.writeSeq = seq(0);
  }
  tp.skcDport = origDport;
  tp.skcDaddr = daddr;
  tp.icskExtHdrLen = tp.inetOpt !== null ? tp.inetOpt.optlen : 0;
  tp.rxOpt.mssClamp = TCP_MSS_DEFAULT;

  // The identity of the sock is fixed before it is hashed: SYN_SENT comes first.
  tcpSetState(sk, TCP_SYN_SENT);
  let err = inetHashConnect(tp, tcpTwskUnique, inetTwskDeschedulePut);
  if (err === 0) {
    const route = ipRouteNewports(fl4, rt, origSport, origDport, tp.inetSport, tp.skcDport, sk);
    if (route === null) {
      err = routeErr.value;
    } else {
      tp.skGsoType = SKB_GSO_TCPV4;
      skSetupCaps(sk, route);
      if (!tp.repair) {
        if (seqRaw(tp.writeSeq) === 0) {
          tp.writeSeq = seq(secureTcpSeq(net, tp.inetSaddr, tp.skcDaddr, tp.inetSport, origDport));
        }
        tp.tsoffset = secureTcpTsOff(net, tp.inetSaddr, tp.skcDaddr, tp.inetSport, origDport);
      }
      tp.inetId = net.kernel.random.u32() & 0xffff;
      if (tcpFastopenDeferConnect(tp)) return 0;
      err = tcpConnect(tp);
      if (err === 0) return 0;
    }
  }
  // This also gives the local port back.
  tcpSetState(sk, TCP_CLOSE);
  if ((sk.skUserlocks & SOCK_BINDADDR_LOCK) === 0) {
    tp.inetSaddr = 0;
    tp.skcRcvSaddr = 0;
  }
  skDstReset(sk);
  tp.skRouteCaps = 0;
  tp.skcDport = 0;
  return err;
}

// ---- ICMP errors ----------------------------------------------------------------------------------------------------

/** tcp_v4_mtu_reduced: a router on the path has a smaller MTU (RFC 1191). */
export function tcpV4MtuReduced(sk: Sock): void {
  const tp = sk as TcpSock;
  if (((1 << sk.skcState) & (TCPF_LISTEN | TCPF_CLOSE)) !== 0) return;
  let mtu = tp.mtuInfo;
  const dst = inetCskUpdatePmtu(tp, mtu);
  if (dst === null) return;
  // A MTU that cannot be used is told to the user.
  if (mtu < dstMtu(dst) && ipDontFragment(tp, dst)) tp.skErrSoft = EMSGSIZE;
  mtu = dstMtu(dst);
  if (tp.pmtudisc !== IP_PMTUDISC_DONT && ipSkAcceptPmtu(tp) && tp.icskPmtuCookie > mtu) {
    tcpSyncMss(tp, mtu);
    // What is on the way is too long: it goes again in smaller pieces, and no loss is concluded from it.
    tcpSimpleRetransmit(tp);
  }
}

/** tcp_req_err: an ICMP error for a request. */
export function tcpReqErr(sk: Sock, s: Seq, abort: boolean): void {
  const req = sk as RequestSock;
  if (seqRaw(s) !== req.sntIsn) {
    netIncStats(sk.net, LINUX_MIB_OUTOFWINDOWICMPS);
  } else if (abort) {
    inetCskReqskQueueDropAndPut(req.rskListener, req);
    tcpListendrop(req.rskListener);
  }
}

/** tcp_ld_RTO_revert: the path answered that it is broken, so the backoff was no congestion (RFC 6069). */
export function tcpLdRtoRevert(sk: Sock, s: Seq): void {
  const tp = sk as TcpSock;
  if (s !== tp.sndUna || tp.icskRetransmits === 0 || tp.icskBackoff === 0) return;
  const skb = tcpRtxQueueHead(tp);
  if (skb === 0) return;
  tp.icskBackoff--;
  tp.icskRto = tp.srttUs !== 0 ? __tcpSetRto(tp) : TCP_TIMEOUT_INIT;
  tp.icskRto = inetCskRtoBackoff(tp, tp.icskRtoMax);
  tcpMstampRefresh(tp);
  const remaining = tp.icskRto - (tp.tcpMstamp - tcpSkbTimestampUs(skb));
  if (remaining > 0) tcpResetXmitTimer(tp, ICSK_TIME_RETRANS, remaining, false);
  else tcpRetransmitTimer(tp);
}

/**
 * tcp_v4_err: an ICMP error quotes a segment of ours (skb data: the quoted IP header, 8 bytes of TCP readable).
 * Believed only if its sequence number is in flight (RFC 5927 §4.1).
 */
export function tcpV4Err(skb: number, info: number): number {
  const dev = skbDev(skb);
  const net = dev.net;
  const iph = skbData(skb);
  const th = iph + (dv.getUint8(iph) & 15) * 4;
  const icmph = skbTransportHeader(skb);
  const type = dv.getUint8(icmph);
  const code = dv.getUint8(icmph + 1);
  const sk = __inetLookupEstablished(net, ipHdrDaddr(iph), thDest(th), ipHdrSaddr(iph), thSource(th), dev.ifindex);
  if (sk === null) {
    icmpIncStats(net, ICMP_MIB_INERRORS);
    return -ENOENT;
  }
  if (sk.skcState === TCP_TIME_WAIT) return 0;
  const s = thSeq(th);
  if (sk.skcState === TCP_NEW_SYN_RECV) {
    const abort =
      type === ICMP_PARAMETERPROB ||
      type === ICMP_TIME_EXCEEDED ||
      (type === ICMP_DEST_UNREACH && (code === ICMP_NET_UNREACH || code === ICMP_HOST_UNREACH));
    tcpReqErr(sk, s, abort);
    return 0;
  }
  if (sk.skcState === TCP_CLOSE) return 0;
  const tp = sk as TcpSock;
  if (tp.minTtl !== 0 && ipHdrTtl(iph) < tp.minTtl) {
    netIncStats(net, LINUX_MIB_TCPMINTTLDROP);
    return 0;
  }
  // SND.UNA of a Fast Open child is behind its SYN-ACK already, which is what the error may be about.
  const fastopen = tp.fastopenRsk;
  const sndUna = fastopen !== null ? seq(fastopen.sntIsn) : tp.sndUna;
  if (sk.skcState !== TCP_LISTEN && !between(s, sndUna, tp.sndNxt)) {
    netIncStats(net, LINUX_MIB_OUTOFWINDOWICMPS);
    return 0;
  }
  let err: number;
  switch (type) {
    case ICMP_REDIRECT: {
      const dst = tp.skDstCache;
      if (dst !== null) dst.ops.redirect(dst, sk, skb);
      return 0;
    }
    case ICMP_SOURCE_QUENCH:
      // RFC 6633: ignored.
      return 0;
    case ICMP_PARAMETERPROB:
      err = EPROTO;
      break;
    case ICMP_DEST_UNREACH: {
      if (code > NR_ICMP_UNREACH) return 0;
      if (code === ICMP_FRAG_NEEDED) {
        if (sk.skcState === TCP_LISTEN) return 0;
        tp.mtuInfo = info;
        tcpV4MtuReduced(sk);
        return 0;
      }
      err = (icmpErrConvert[code] as { errno: number }).errno;
      if (fastopen === null && (code === ICMP_NET_UNREACH || code === ICMP_HOST_UNREACH)) tcpLdRtoRevert(sk, s);
      break;
    }
    case ICMP_TIME_EXCEEDED:
      err = EHOSTUNREACH;
      break;
    default:
      return 0;
  }
  // A Fast Open child that was accepted is a connection like any other.
  const accepted = fastopen !== null && fastopen.sk === null;
  if ((sk.skcState === TCP_SYN_SENT || sk.skcState === TCP_SYN_RECV) && !accepted) {
    // RFC 9293 §3.9.2.2: nothing is established yet, so the error is hard.
    ipIcmpError(sk, skb, err, thDest(th), info, th);
    tcpDoneWithError(sk, err);
    return 0;
  }
  // An established connection survives it (soft error), unless the user wants to hear of it.
  if (tp.recverr) {
    sk.skErr = err;
    sk.skErrorReport(sk);
  } else {
    sk.skErrSoft = err;
  }
  return 0;
}

// ---- listening ------------------------------------------------------------------------------------------------------

/** tcp_v4_save_options: the IP options of the SYN, turned around for the answer (RFC 1122 §4.2.3.8). */
export function tcpV4SaveOptions(net: Net, skb: number): IpOptions | null {
  if (ipcbOptlen(skb) === 0) return null;
  const opt = new IpOptions();
  return ipOptionsEcho(net, opt, skb) === 0 ? opt : null;
}

/** tcp_v4_route_req: the addresses of the request, and the route of its SYN-ACK. */
function tcpV4RouteReq(sk: Sock, skb: number, fl: FlowI4, req: RequestSock): DstEntry | null {
  const iph = ipHdr(skb);
  req.irLocAddr = ipHdrDaddr(iph);
  req.irRmtAddr = ipHdrSaddr(iph);
  req.skcRcvSaddr = req.irLocAddr;
  req.skcDaddr = req.irRmtAddr;
  req.irIif = sk.skcBoundDevIf;
  req.skcBoundDevIf = req.irIif;
  req.ireqOpt = tcpV4SaveOptions(sk.net, skb);
  return inetCskRouteReq(sk as InetConnectionSock, fl, req);
}

function tcpV4InitSeq(sk: Sock, skb: number): number {
  const iph = ipHdr(skb);
  const th = tcpHdr(skb);
  return secureTcpSeq(sk.net, ipHdrDaddr(iph), ipHdrSaddr(iph), thDest(th), thSource(th));
}

function tcpV4InitTsOff(sk: Sock, skb: number): number {
  const iph = ipHdr(skb);
  const th = tcpHdr(skb);
  return secureTcpTsOff(sk.net, ipHdrDaddr(iph), ipHdrSaddr(iph), thDest(th), thSource(th));
}

const synackFl: FlowI4 = new FlowI4();

/** tcp_v4_send_synack: 0 or an error of the output path. */
function tcpV4SendSynack(
  sk: Sock,
  dst: DstEntry | null,
  _fl: FlowI4 | null,
  req: RequestSock,
  foc: TcpFastopenCookie | null,
  synackType: number,
  synSkb: number,
): number {
  const route = dst ?? inetCskRouteReq(sk as InetConnectionSock, synackFl, req);
  if (route === null) return -1;
  const skb = tcpMakeSynack(sk as TcpSock, route, req, foc, synackType, synSkb);
  if (skb === 0) return -1;
  req.synEctSnt = (sk as InetSock).tos & INET_ECN_MASK;
  __tcpV4SendCheck(skb, req.irLocAddr, req.irRmtAddr);
  // What the ACK may echo (tcp_check_req).
  if (req.tstampOk) {
    const tsval = (tcpSkbTimestampTs(skb) + req.tsOff) >>> 0;
    // 0 stands for none yet; the value before it covers a TSval of 0.
    if (req.sntTsvalFirst === 0) req.sntTsvalFirst = tsval !== 0 ? tsval : 0xffffffff;
    req.sntTsvalLast = tsval;
  }
  let tos = (sk as InetSock).tos;
  if (sk.net.ipv4.sysctlTcpReflectTos !== 0) tos = (req.synTos & ~INET_ECN_MASK) | (tos & INET_ECN_MASK);
  const err = ipBuildAndSendPkt(skb, sk, req.irLocAddr, req.irRmtAddr, req.ireqOpt, tos);
  // net_xmit_eval: congestion of the local queue is no failure.
  return err === NET_XMIT_CN ? 0 : err;
}

/** tcp_v4_conn_request (icsk_af_ops->conn_request): a SYN for a listener. Never one that came by broadcast. */
export function tcpV4ConnRequest(sk: Sock, skb: number): number {
  const rt = skbDst(skb) as Rtable | null;
  if (rt !== null && (rt.rtFlags & (RTCF_BROADCAST | RTCF_MULTICAST)) !== 0) {
    tcpListendrop(sk);
    return 0;
  }
  return tcpConnRequest(tcpRequestSockOps, tcpRequestSockIpv4Ops, sk as TcpSock, skb);
}

/** tcp_v4_syn_recv_sock: the handshake is complete: the request becomes a connection. Null if it cannot. */
export function tcpV4SynRecvSock(
  sk: Sock,
  skb: number,
  req: RequestSock,
  dst: DstEntry | null,
  ownReq: ErrBox,
): Sock | null {
  if (skAcceptqIsFull(sk)) {
    netIncStats(sk.net, LINUX_MIB_LISTENOVERFLOWS);
    tcpListendrop(sk);
    return null;
  }
  const newsk = tcpCreateOpenreqChild(sk, req, skb) as TcpSock | null;
  if (newsk === null) {
    tcpListendrop(sk);
    return null;
  }
  const iph = ipHdr(skb);
  newsk.skGsoType = SKB_GSO_TCPV4;
  newsk.skcDaddr = req.irRmtAddr;
  newsk.skcRcvSaddr = req.irLocAddr;
  newsk.inetSaddr = req.irLocAddr;
  newsk.skcBoundDevIf = req.skcBoundDevIf;
  newsk.mcIndex = skbDev(skb).ifindex;
  newsk.mcTtl = ipHdrTtl(iph);
  newsk.rcvTos = ipHdrTos(iph);
  if (sk.net.ipv4.sysctlTcpReflectTos !== 0) newsk.tos = req.synTos & ~INET_ECN_MASK;
  newsk.inetOpt = req.ireqOpt;
  newsk.icskExtHdrLen = req.ireqOpt !== null ? req.ireqOpt.optlen : 0;
  newsk.inetId = sk.net.kernel.random.u32() & 0xffff;
  const route = dst ?? inetCskRouteChildSock(sk, newsk, req);
  if (route === null) {
    forcedClose(newsk);
    tcpListendrop(sk);
    return null;
  }
  skSetupCaps(newsk, route);
  tcpCaOpenreqChild(newsk, route);
  tcpSyncMss(newsk, dstMtu(route));
  newsk.advmss = tcpMssClamp(sk as TcpSock, dstMetricAdvmss(route));
  tcpInitializeRcvMss(newsk);
  const key = tcpMd5DoLookup(sk as TcpSock, newsk.skcDaddr);
  if (key !== null) tcpMd5KeyCopy(newsk, newsk.skcDaddr, key);
  __inetInheritPort(sk, newsk);
  // A request that came out of a SYN cookie never stood in the table.
  ownReq.value = inetEhashNolisten(newsk, req.skcHashed ? req : null) ? 1 : 0;
  if (ownReq.value !== 0) {
    // tcp_move_syn
    newsk.savedSyn = req.savedSyn;
    req.savedSyn = null;
    req.ireqOpt = null;
  }
  return newsk;
}

/** inet_csk_prepare_forced_close and tcp_done. */
function forcedClose(newsk: TcpSock): void {
  newsk.inetOpt = null;
  sockPut(newsk);
  inetCskPrepareForDestroySock(newsk);
  newsk.skcNum = 0;
  tcpDone(newsk);
}

// ---- birth and death ------------------------------------------------------------------------------------------------

/** tcp_v4_init_sock (sk_prot->init). */
export function tcpV4InitSock(sk: Sock): number {
  const tp = sk as TcpSock;
  tcpInitSock(tp);
  tp.icskAfOps = ipv4Specific;
  tp.icskAfOpsSetBy = "tcp_v4_init_sock";
  return 0;
}

/** tcp_v4_destroy_sock (sk_prot->destroy). */
export function tcpV4DestroySock(sk: Sock): void {
  const tp = sk as TcpSock;
  tcpDestroyCommon(tp);
  if (tp.icskBindHash !== null) inetPutPort(sk);
}

/** tcp_stream_memory_free: false while too much of what was written is unsent (TCP_NOTSENT_LOWAT). */
function tcpStreamMemoryFree(sk: Sock, wake: number): boolean {
  const tp = sk as TcpSock;
  return seqSub(tp.writeSeq, tp.sndNxt) * (1 << wake) < tcpNotsentLowat(tp);
}

/** What tcp_enter_memory_pressure and tcp_leave_memory_pressure count: how often, and how many milliseconds. */
function tcpMemoryPressureChanged(sk: Sock, on: boolean): void {
  if (on) netIncStats(sk.net, LINUX_MIB_TCPMEMORYPRESSURES);
  else {
    const ms = Math.floor((kernel.now - (sk.skProtMem?.pressureSince ?? kernel.now)) / 1000);
    netAddStats(sk.net, LINUX_MIB_TCPMEMORYPRESSURESCHRONO, ms);
  }
}

// ---- the tables of pointers -----------------------------------------------------------------------------------------

/** ipv4_specific: where icsk_af_ops of an IPv4 connection points. */
export const ipv4Specific: InetConnectionSockAfOps = {
  symbol: "ipv4_specific",
  queueXmit: ipQueueXmit,
  sendCheck: tcpV4SendCheck,
  rebuildHeader: inetSkRebuildHeader,
  skRxDstSet: inetSkRxDstSet,
  connRequest: tcpV4ConnRequest,
  synRecvSock: tcpV4SynRecvSock,
  netHeaderLen: 20,
  sockaddrLen: 16,
  setsockopt: (sk: Sock, level: number, optname: number, optval: OptVal): number =>
    ipSetsockopt(sk, level, optname, optval),
  getsockopt: (sk: Sock, level: number, optname: number, err: ErrBox): OptVal => ipGetsockopt(sk, level, optname, err),
  mtuReduced: tcpV4MtuReduced,
};

export const tcpRequestSockOps: RequestSockOps = {
  symbol: "tcp_request_sock_ops",
  family: AF_INET,
  rtxSynAck: tcpRtxSynack,
  sendAck: tcpV4ReqskSendAck,
  sendReset: tcpV4SendReset,
  destructor(): void {},
};

export const tcpRequestSockIpv4Ops: TcpRequestSockOps = {
  mssClamp: TCP_MSS_DEFAULT,
  routeReq: tcpV4RouteReq,
  initSeq: tcpV4InitSeq,
  initTsOff: tcpV4InitTsOff,
  sendSynack: tcpV4SendSynack,
};

export const tcpProt: Proto = {
  name: "TCP",
  symbol: "tcp_prot",
  alloc: (): Sock => new TcpSock(),
  init: tcpV4InitSock,
  destroy: tcpV4DestroySock,
  close: tcpClose,
  connect: tcpV4Connect,
  disconnect: tcpDisconnect,
  accept: inetCskAccept,
  ioctl: tcpIoctl,
  shutdown: tcpShutdown,
  keepalive: (sk, val): void => tcpSetKeepalive(sk as TcpSock, val !== 0),
  setsockopt: tcpSetsockopt,
  getsockopt: tcpGetsockopt,
  sendmsg: (sk, msg, size): number => tcpSendmsgLocked(sk as TcpSock, msg, size),
  recvmsg: tcpRecvmsg,
  backlogRcv: tcpV4DoRcv,
  hash: inetHash,
  unhash: inetUnhash,
  getPort: inetCskGetPort,
  releaseCb: (sk): void => tcpReleaseCb(sk as TcpSock),
  streamMemoryFree: tcpStreamMemoryFree,
  diagDestroy: tcpAbort,
  noAutobind: true,
  tskey: (sk, fromWrite): number =>
    ((fromWrite ? (sk as TcpSock).writeSeq : (sk as TcpSock).sndUna) as unknown as number) >>> 0,
  timestampingOptStats: tcpGetTimestampingOptStats,
  maxHeader: MAX_TCP_HEADER,
  sysctlMem: (net) => net.ipv4.sysctlTcpMem,
  memoryPressureChanged: tcpMemoryPressureChanged,
  sysctlRmem0: (net) => net.ipv4.sysctlTcpRmem[0] as number,
  sysctlWmem0: (net) => net.ipv4.sysctlTcpWmem[0] as number,
};

const tcpProtocol: NetProtocol = {
  symbol: "tcp_protocol",
  handler: tcpV4Rcv,
  earlyDemux: tcpV4EarlyDemux,
  errHandler: tcpV4Err,
  icmpStrictTagValidation: true,
};

/**
 * tcp_sk_exit: the namespace goes. Its programs have closed their sockets by now; what still says goodbye to a peer, or waits
 * in TIME_WAIT, ends without another segment.
 */
function tcpSkExit(net: Net): void {
  inetTwskPurge(net);
  for (const sk of net.tcpHashinfo.ehash.all()) {
    if (!skFullsock(sk) || !sockFlag(sk, SOCK_DEAD)) continue;
    tcpWriteQueuePurge(sk as TcpSock);
    tcpDone(sk);
  }
}

const tcpSkOps: PernetOperations = { name: "tcp_sk", init: (): number => 0, exit: tcpSkExit };

/** tcp_v4_init: TCP takes protocol 6. */
export function tcpV4Init(): void {
  registerPernetSubsys(tcpSkOps);
  inetAddProtocol(IPPROTO_TCP, tcpProtocol);
}
