/** Segments without data of their own: SYN, SYN-ACK, FIN, RST, ACK and the probes; and the window that a SYN offers. */

import {
  CHECKSUM_PARTIAL,
  MAX_TCP_HEADER,
  SKB_CB,
  SKB_CB_SIZE,
  SKB_TRUESIZE,
  SKB_TSTAMP,
} from "../../../assembly/layout.ts";
import { kernel, USEC_PER_JIFFY } from "../../kernel/kernel.ts";
import { netIncStats, tcpIncStats } from "../../kernel/mib.ts";
import { modTimer } from "../../kernel/timer.ts";
import { dv, f64, u8, u32 } from "../../mm/mem.ts";
import {
  __skbHeaderRelease,
  skbCloned,
  skbLen,
  skbResetTransportHeader,
  skbSetHash,
  skbSetIpSummed,
  skbSetMark,
} from "../../mm/skb.ts";
import { ECONNREFUSED, EFAULT, EHOSTUNREACH, ENOBUFS, ENOMEM } from "../../uapi/errno.ts";
import {
  LINUX_MIB_TCPABORTFAILED,
  LINUX_MIB_TCPORIGDATASENT,
  LINUX_MIB_TCPSYNRETRANS,
  LINUX_MIB_TCPWINPROBE,
  TCP_MIB_ACTIVEOPENS,
  TCP_MIB_OUTRSTS,
  TCP_MIB_OUTSEGS,
  TCP_MIB_RETRANSSEGS,
} from "../../uapi/linux_mib.ts";
import { RTAX_INITRWND, RTAX_WINDOW } from "../../uapi/rtnetlink.ts";
import {
  TCP_CLOSE,
  TCP_ESTABLISHED,
  TCPHDR_ACK,
  TCPHDR_FIN,
  TCPHDR_PSH,
  TCPHDR_RST,
  TCPHDR_SYN,
  TCPOLEN_TSTAMP_ALIGNED,
} from "../../uapi/tcp.ts";
import type { DstEntry } from "../core/dst.ts";
import { dstMetric, dstMetricAdvmss, dstMtu } from "../core/dst.ts";
import { msgIterCopyTo } from "../core/iov_iter.ts";
import {
  allocSkb,
  consumeSkb,
  getPage,
  skbCopy,
  skbDstSet,
  skbFillPageDesc,
  skbLenAdd,
  skbPush,
  skbQueueHead,
  skbQueueTail,
  skbReserve,
} from "../core/skbuff.ts";
import { skbZcopySet } from "../core/skbuff.zerocopy.ts";
import type { Msghdr, Sock } from "../core/sock.ts";
import {
  SOCK_DONE,
  SOCK_RCVBUF_LOCK,
  skbSetOwnerW,
  skForcedMemSchedule,
  skMemCharge,
  skPageFragRefill,
  skWmemQueuedAdd,
  sockResetFlag,
} from "../core/sock.ts";
import { FlowI4 } from "./flow.ts";
import { inetCskInPingpongMode, inetCskScheduleAck } from "./inet_connection_sock.ts";
import type { InetConnectionSock, RequestSock } from "./inet_sock.ts";
import {
  ICSK_ACK_PUSHED,
  ICSK_ACK_SCHED,
  ICSK_ACK_TIMER,
  ICSK_TIME_DACK,
  ICSK_TIME_PROBE0,
  ICSK_TIME_RETRANS,
} from "./inet_sock.ts";
import type { Seq } from "./seq.ts";
import { before, between, seq, seqAdd, seqSub } from "./seq.ts";
import { cookieInitTimestamp } from "./syncookies.h.ts";
import { tcpStreamAllocSkb, tcpWriteQueuePurge } from "./tcp.ts";
import { tcpCaDstInit } from "./tcp_cong.ts";
import { tcpEcnMakeSynack, tcpEcnSendSyn, tcpEcnSendSynack } from "./tcp_ecn.ts";
import { tcpFastopenCookieCheck } from "./tcp_fastopen.ts";
import {
  MAX_TCP_OPTION_SPACE,
  MAX_TCP_WINDOW,
  TCP_ATO_MIN,
  TCP_CHRONO_BUSY,
  TCP_DELACK_MAX,
  TCP_DELACK_MIN,
  TCP_HEADER_SIZE,
  TCP_MAX_WSCALE,
  TCP_NAGLE_OFF,
  TCP_RESOURCE_PROBE_INTERVAL,
  tcpAddWriteQueueTail,
  tcpFullSpace,
  tcpHighestSackReplace,
  tcpInitWl,
  tcpJiffies32,
  tcpMssClamp,
  tcpMstampRefresh,
  tcpPassiveFastopen,
  tcpProbe0When,
  tcpResetXmitTimer,
  tcpRtoMax,
  tcpRtoMin,
  tcpRtxQueueHead,
  tcpRtxQueueTail,
  tcpRtxQueueUnlinkAndFree,
  tcpSendHead,
  tcpTimeoutInit,
  tcpTimeStampTs,
  tcpUnderMemoryPressure,
  tcpWndEnd,
  tcpWriteQueueEmpty,
  tcpWriteQueueTail,
  USEC_PER_MSEC,
  usecsRoundJiffies,
} from "./tcp_h.ts";
import { tcpClearRetrans, tcpFinishConnect, tcpInitializeRcvMss } from "./tcp_input.ts";
import type { TcpMd5sigKey } from "./tcp_md5.ts";
import { tcpMd5SignSkb } from "./tcp_md5.ts";
import {
  __tcpMtuToMss,
  TCP_FRAG_IN_WRITE_QUEUE,
  tcpCurrentMss,
  tcpFragment,
  tcpMtupInit,
  tcpSetSkbTsoSegs,
  tcpSyncMss,
} from "./tcp_output.frag.ts";
import { OPTION_MD5, tcpOptionsWrite, tcpOutOptionsClear, tcpSynackOptions } from "./tcp_output.options.ts";
import {
  __tcpPushPendingFrames,
  __tcpTransmitSkb,
  TCP_PURE_ACK_TRUESIZE,
  tcpAcceptableSeq,
  tcpChronoStart,
  tcpEventNewDataSent,
  tcpTransmitSkb,
} from "./tcp_output.ts";
import type { TcpFastopenCookie, TcpFastopenRequest, TcpInitialWindow, TcpOutOptions, TcpSock } from "./tcp_sock.ts";
import {
  newTcpInitialWindow,
  newTcpOutOptions,
  TCP_SYNACK_COOKIE,
  TCP_SYNACK_FASTOPEN,
  TCP_SYNACK_RETRANS,
  tcpSkbEndSeq,
  tcpSkbFlags,
  tcpSkbPcount,
  tcpSkbPcountSet,
  tcpSkbSeq,
  tcpSkbSetCbFlags,
  tcpSkbSetEndSeq,
  tcpSkbSetFlags,
  tcpSkbSetSacked,
  tcpSkbSetSeq,
} from "./tcp_sock.ts";
import { tcpClampProbe0ToUserTimeout } from "./tcp_timer.ts";

export type { TcpInitialWindow } from "./tcp_sock.ts";

/** tcp_init_nondata_skb: the control block of a segment without data; SYN and FIN take a sequence number. */
/* notrace */
function tcpInitNondataSkb(skb: number, s: Seq, flags: number): void {
  skbSetIpSummed(skb, CHECKSUM_PARTIAL);
  tcpSkbSetFlags(skb, flags);
  tcpSkbSetSacked(skb, 0);
  tcpSkbSetCbFlags(skb, 0);
  tcpSkbPcountSet(skb, 1);
  tcpSkbSetSeq(skb, s);
  tcpSkbSetEndSeq(skb, (flags & (TCPHDR_SYN | TCPHDR_FIN)) !== 0 ? seqAdd(s, 1) : s);
}

/** An skb with room for every header; 0 = no memory. */
/* notrace */
function allocHeaderSkb(): number {
  const skb = allocSkb(MAX_TCP_HEADER);
  if (skb !== 0) skbReserve(skb, MAX_TCP_HEADER);
  return skb;
}

/** tcp_queue_skb: to the end of the write queue. */
function tcpQueueSkb(sk: TcpSock, skb: number): void {
  sk.writeSeq = tcpSkbEndSeq(skb);
  __skbHeaderRelease(skb);
  tcpAddWriteQueueTail(sk, skb);
  const truesize = u32[(skb + SKB_TRUESIZE) >>> 2];
  skWmemQueuedAdd(sk, truesize);
  skMemCharge(sk, truesize);
}

// ---- the window of a SYN ------------------------------------------------------------------------------------------------------

/**
 * tcp_select_initial_window: the window for a SYN or SYN-ACK, and the scale factor that lets it grow to the largest buffer
 * the sysctls allow (RFC 7323 §2). `space`: bytes of window that the buffer holds now; `initRcvWnd`: the route's limit in
 * segments, 0 = none. Fills `out`.
 */
export function tcpSelectInitialWindow(
  sk: Sock,
  space: number,
  mss: number,
  out: TcpInitialWindow,
  wscaleOk: boolean,
  initRcvWnd: number,
): void {
  if (space < 0) space = 0;
  let windowClamp = out.windowClamp;
  // If no clamp is set, it is what the largest scale factor can express.
  if (windowClamp === 0) windowClamp = 65535 << TCP_MAX_WSCALE;
  if (space > windowClamp) space = windowClamp;
  // Whole segments, if possible.
  if (space > mss) space -= space % mss;

  const ipv4 = sk.net.ipv4;
  // Some ancient stacks took windows above 32767 for negative.
  let rcvWnd = ipv4.sysctlTcpWorkaroundSignedWindows !== 0 ? Math.min(space, MAX_TCP_WINDOW) : space;
  if (initRcvWnd !== 0) rcvWnd = Math.min(rcvWnd, initRcvWnd * mss);
  out.rcvWnd = rcvWnd;
  out.rcvWscale = 0;
  if (wscaleOk) {
    space = Math.max(space, ipv4.sysctlTcpRmem[2], sk.net.core.sysctlRmemMax);
    space = Math.min(space, windowClamp);
    out.rcvWscale = Math.min(Math.max(31 - Math.clz32(space) - 15, 0), TCP_MAX_WSCALE);
  }
  // No higher than what the header can say.
  out.windowClamp = Math.min(65535 << out.rcvWscale, windowClamp);
}

// ---- FIN, RST ------------------------------------------------------------------------------------------------------------------

/** tcp_send_fin: the last data carries the FIN if it has not left yet; else an skb of its own does. */
export function tcpSendFin(sk: TcpSock): void {
  const tail = tcpWriteQueueTail(sk);
  let tskb = tail;
  // Under memory pressure the FIN is tacked on what was sent last, and leaves when that is retransmitted.
  if (tskb === 0 && tcpUnderMemoryPressure(sk)) tskb = tcpRtxQueueTail(sk);
  if (tskb !== 0) {
    tcpSkbSetFlags(tskb, tcpSkbFlags(tskb) | TCPHDR_FIN);
    tcpSkbSetEndSeq(tskb, seqAdd(tcpSkbEndSeq(tskb), 1));
    sk.writeSeq = seqAdd(sk.writeSeq, 1);
    if (tail === 0) {
      sk.sndNxt = seqAdd(sk.sndNxt, 1);
      return;
    }
  } else {
    const skb = allocHeaderSkb();
    if (skb === 0) return;
    skForcedMemSchedule(sk, u32[(skb + SKB_TRUESIZE) >>> 2]);
    // FIN eats a sequence number, write_seq advanced by tcp_queue_skb.
    tcpInitNondataSkb(skb, sk.writeSeq, TCPHDR_ACK | TCPHDR_FIN);
    tcpQueueSkb(sk, skb);
  }
  __tcpPushPendingFrames(sk, tcpCurrentMss(sk), TCP_NAGLE_OFF);
}

/** tcp_send_active_reset: a RST of our own accord (close with unread data, abort). It is never retransmitted. */
export function tcpSendActiveReset(sk: TcpSock): void {
  tcpIncStats(sk.net, TCP_MIB_OUTRSTS);
  const skb = allocHeaderSkb();
  if (skb === 0) {
    netIncStats(sk.net, LINUX_MIB_TCPABORTFAILED);
    return;
  }
  tcpInitNondataSkb(skb, tcpAcceptableSeq(sk), TCPHDR_ACK | TCPHDR_RST);
  tcpMstampRefresh(sk);
  if (tcpTransmitSkb(sk, skb, 0) !== 0) netIncStats(sk.net, LINUX_MIB_TCPABORTFAILED);
}

// ---- SYN-ACK -----------------------------------------------------------------------------------------------------------------

/** tcp_send_synack: a crossed SYN (RFC 9293 §3.5, figure 8): our SYN again, with an ACK. 0 or an error. */
export function tcpSendSynack(sk: TcpSock): number {
  let skb = tcpRtxQueueHead(sk);
  if (skb === 0 || (tcpSkbFlags(skb) & TCPHDR_SYN) === 0) return -EFAULT;
  if ((tcpSkbFlags(skb) & TCPHDR_ACK) === 0) {
    if (skbCloned(skb)) {
      const nskb = skbCopy(skb);
      if (nskb === 0) return -ENOMEM;
      tcpHighestSackReplace(sk, skb, nskb);
      tcpRtxQueueUnlinkAndFree(skb, sk);
      __skbHeaderRelease(nskb);
      skbQueueHead(sk.tcpRtxQueue, nskb);
      const truesize = u32[(nskb + SKB_TRUESIZE) >>> 2];
      skWmemQueuedAdd(sk, truesize);
      skMemCharge(sk, truesize);
      skb = nskb;
    }
    tcpSkbSetFlags(skb, tcpSkbFlags(skb) | TCPHDR_ACK);
    tcpEcnSendSynack(sk, skb);
  }
  return tcpTransmitSkb(sk, skb, 1);
}

const synackOpts: TcpOutOptions = newTcpOutOptions();

/**
 * tcp_make_synack: a SYN-ACK for `req`, complete but for the checksum and the IP header. It takes over the reference on
 * `dst`. `foc`: a Fast Open cookie to grant, or null. Returns the skb, 0 = no memory.
 */
export function tcpMakeSynack(
  sk: TcpSock,
  dst: DstEntry,
  req: RequestSock,
  foc: TcpFastopenCookie | null,
  synackType: number,
  _synSkb: number,
): number {
  const skb = allocHeaderSkb();
  if (skb === 0) return 0;
  // A request is no owner that accounts; a Fast Open child is.
  if (synackType === TCP_SYNACK_FASTOPEN) skbSetOwnerW(skb, sk);
  skbDstSet(skb, dst);

  const mss = tcpMssClamp(sk, dstMetricAdvmss(dst));
  const opts = synackOpts;
  tcpOutOptionsClear(opts);
  const cookie = synackType === TCP_SYNACK_COOKIE && req.tstampOk;
  const now = kernel.now;
  f64[(skb + SKB_TSTAMP) >>> 3] = cookie ? cookieInitTimestamp(req, now) : now;
  // Timestamp first SYN-ACK; 0 = none yet.
  if (req.snt_synack === 0) req.snt_synack = Math.floor(now) || 1;
  skbSetHash(skb, req.txhash);
  const tcpHeaderSize = tcpSynackOptions(sk, req, mss, skb, opts, foc, synackType) + TCP_HEADER_SIZE;

  const th = skbPush(skb, tcpHeaderSize);
  skbResetTransportHeader(skb);
  dv.setUint16(th, req.irNum);
  dv.setUint16(th + 2, req.irRmtPort);
  dv.setUint32(th + 4, req.sntIsn);
  dv.setUint32(th + 8, req.rcvNxt);
  dv.setUint16(th + 12, ((tcpHeaderSize >>> 2) << 12) | TCPHDR_SYN | TCPHDR_ACK);
  // RFC 7323 §2.2: the window of a SYN-ACK is never scaled.
  dv.setUint16(th + 14, Math.min(req.rskRcvWnd, 65535));
  dv.setUint32(th + 16, 0);
  tcpEcnMakeSynack(req, th, synackType);
  skbSetMark(skb, req.irMark);
  skbSetIpSummed(skb, CHECKSUM_PARTIAL);
  tcpOptionsWrite(th, null, opts);
  if ((opts.options & OPTION_MD5) !== 0) {
    tcpMd5SignSkb(opts.md5Key as TcpMd5sigKey, req.irLocAddr, req.irRmtAddr, skb, opts.hashLocation);
  }
  // What the options were made of is not when it leaves.
  f64[(skb + SKB_TSTAMP) >>> 3] = now + sk.tcpTxDelay;
  tcpIncStats(sk.net, TCP_MIB_OUTSEGS);
  return skb;
}

const synackFl: FlowI4 = new FlowI4();

/** tcp_rtx_synack: the SYN-ACK of `req` again. 0 or an error. */
export function tcpRtxSynack(sk: Sock, req: RequestSock): number {
  const afOps = req.afSpecific;
  if (afOps === null) return -EFAULT;
  const res = afOps.sendSynack(sk, null, synackFl, req, null, TCP_SYNACK_RETRANS, 0);
  if (res === 0) {
    tcpIncStats(sk.net, TCP_MIB_RETRANSSEGS);
    netIncStats(sk.net, LINUX_MIB_TCPSYNRETRANS);
    if (tcpPassiveFastopen(sk as TcpSock)) (sk as TcpSock).totalRetrans++;
  }
  return res;
}

// ---- connect --------------------------------------------------------------------------------------------------------------------

const connectWindow: TcpInitialWindow = newTcpInitialWindow();

/** tcp_connect_init: everything that a connection starts with, as far as the route and the sysctls say. */
function tcpConnectInit(sk: TcpSock, dst: DstEntry): void {
  const ipv4 = sk.net.ipv4;
  // This is put right when the answer comes (tcp_rcv_synsent_state_process).
  sk.tcpHeaderLen = TCP_HEADER_SIZE;
  if (ipv4.sysctlTcpTimestamps !== 0) sk.tcpHeaderLen += TCPOLEN_TSTAMP_ALIGNED;
  if (sk.rxOpt.userMss !== 0) sk.rxOpt.mssClamp = sk.rxOpt.userMss;
  sk.maxWindow = 0;
  tcpMtupInit(sk);
  tcpSyncMss(sk, dstMtu(dst));
  tcpCaDstInit(sk, dst);
  if (sk.windowClamp === 0) sk.windowClamp = dstMetric(dst, RTAX_WINDOW);
  sk.advmss = tcpMssClamp(sk, dstMetricAdvmss(dst));
  tcpInitializeRcvMss(sk);

  // Limit the window selection if the user enforces a smaller rx buffer.
  const fullSpace = tcpFullSpace(sk);
  if ((sk.skUserlocks & SOCK_RCVBUF_LOCK) !== 0 && (sk.windowClamp > fullSpace || sk.windowClamp === 0)) {
    sk.windowClamp = fullSpace;
  }
  const w = connectWindow;
  w.windowClamp = sk.windowClamp;
  tcpSelectInitialWindow(
    sk,
    fullSpace,
    sk.advmss - (sk.rxOpt.tsRecentStamp !== 0 ? sk.tcpHeaderLen - TCP_HEADER_SIZE : 0),
    w,
    ipv4.sysctlTcpWindowScaling !== 0,
    dstMetric(dst, RTAX_INITRWND),
  );
  sk.rcvWnd = w.rcvWnd;
  sk.windowClamp = w.windowClamp;
  sk.rxOpt.rcvWscale = w.rcvWscale;
  sk.rcvSsthresh = sk.rcvWnd;

  sk.skErr = 0;
  sockResetFlag(sk, SOCK_DONE);
  sk.sndWnd = 0;
  tcpInitWl(sk, seq(0));
  tcpWriteQueuePurge(sk);
  sk.sndUna = sk.writeSeq;
  sk.sndSml = sk.writeSeq;
  sk.sndUp = sk.writeSeq;
  sk.sndNxt = sk.writeSeq;
  if (!sk.repair) sk.rcvNxt = seq(0);
  else sk.rcvTstamp = tcpJiffies32();
  sk.rcvWup = sk.rcvNxt;
  sk.rcvMwndSeq = seqAdd(sk.rcvNxt, sk.rcvWnd);
  sk.copiedSeq = sk.rcvNxt;
  sk.icskRto = tcpTimeoutInit(sk);
  sk.icskRetransmits = 0;
  tcpClearRetrans(sk);
}

/** tcp_connect_queue_skb: counts a SYN (and its data) as sent. */
function tcpConnectQueueSkb(sk: TcpSock, skb: number): void {
  tcpSkbSetEndSeq(skb, seqAdd(tcpSkbEndSeq(skb), skbLen(skb)));
  __skbHeaderRelease(skb);
  const truesize = u32[(skb + SKB_TRUESIZE) >>> 2];
  skForcedMemSchedule(sk, truesize);
  skWmemQueuedAdd(sk, truesize);
  skMemCharge(sk, truesize);
  sk.writeSeq = tcpSkbEndSeq(skb);
  sk.packetsOut += tcpSkbPcount(skb);
}

/** tcp_connect: builds a SYN and sends it off. 0 or a negative errno. */
export function tcpConnect(sk: TcpSock): number {
  // Routing failure or similar.
  if (sk.icskAfOps.rebuildHeader(sk) !== 0) return -EHOSTUNREACH;
  const dst = sk.skDstCache;
  if (dst === null) return -EHOSTUNREACH;
  tcpConnectInit(sk, dst);
  if (sk.repair) {
    tcpFinishConnect(sk, 0);
    return 0;
  }
  const buff = tcpStreamAllocSkb(sk, 0, true);
  if (buff === 0) return -ENOBUFS;
  // SYN eats a sequence number, write_seq updated by tcp_connect_queue_skb.
  tcpInitNondataSkb(buff, sk.writeSeq, TCPHDR_SYN);
  tcpMstampRefresh(sk);
  sk.retransStamp = tcpTimeStampTs(sk) || 1;
  tcpConnectQueueSkb(sk, buff);
  tcpEcnSendSyn(sk, buff);
  skbQueueTail(sk.tcpRtxQueue, buff);

  // Send off SYN; include data in Fast Open.
  const err = sk.fastopenReq !== null ? tcpSendSynData(sk, buff, sk.fastopenReq) : tcpTransmitSkb(sk, buff, 1);
  if (err === -ECONNREFUSED) return err;

  // snd_nxt moves after tcp_transmit_skb so that the SYN is counted in TcpOutSegs.
  sk.sndNxt = sk.writeSeq;
  sk.pushedSeq = sk.writeSeq;
  const head = tcpSendHead(sk);
  if (head !== 0) {
    sk.sndNxt = tcpSkbSeq(head);
    sk.pushedSeq = tcpSkbSeq(head);
  }
  tcpIncStats(sk.net, TCP_MIB_ACTIVEOPENS);
  // Timer for repeating the SYN until an answer.
  tcpResetXmitTimer(sk, ICSK_TIME_RETRANS, sk.icskRto, false);
  return 0;
}

/**
 * tcp_send_syn_data: the SYN of a Fast Open (RFC 7413 §4.2.1), with data if a cookie is at hand; else a SYN that asks for
 * one. The data stays in the rtx queue as an ordinary segment of its own behind the SYN.
 */
function tcpSendSynData(sk: TcpSock, syn: number, fo: TcpFastopenRequest): number {
  sk.rxOpt.mssClamp = sk.advmss; // If MSS is not cached.
  let err = 0;
  if (tcpFastopenCookieCheck(sk, fo.cookie)) {
    const synData = tcpMakeSynData(sk, syn, fo);
    if (synData !== 0) {
      tcpConnectQueueSkb(sk, synData);
      if (skbLen(synData) !== 0) tcpChronoStart(sk, TCP_CHRONO_BUSY);
      err = tcpTransmitSkb(sk, synData, 1);
      f64[(syn + SKB_TSTAMP) >>> 3] = f64[(synData + SKB_TSTAMP) >>> 3];
      // The SYN with its data was sent as one. From here on they are two: a lost one is sent without the other.
      tcpSkbSetSeq(synData, seqAdd(tcpSkbSeq(synData), 1));
      tcpSkbSetFlags(synData, TCPHDR_ACK | TCPHDR_PSH);
      if (err === 0) {
        sk.synData = fo.copied > 0;
        skbQueueTail(sk.tcpRtxQueue, synData);
        netIncStats(sk.net, LINUX_MIB_TCPORIGDATASENT);
        fo.cookie.len = -1; // Exclude Fast Open option for SYN retries.
        return err;
      }
      // Data was not sent, put it in the write queue.
      skbQueueTail(sk.skWriteQueue, synData);
      sk.packetsOut -= tcpSkbPcount(synData);
    }
  }
  // Send a regular SYN with a Fast Open cookie request option.
  if (fo.cookie.len > 0) fo.cookie.len = 0;
  err = tcpTransmitSkb(sk, syn, 1);
  if (err !== 0) sk.synFastopen = false;
  fo.cookie.len = -1;
  return err;
}

/** The SYN of `syn` with as much of the caller's data as one segment with full options may carry. 0 = it cannot be made. */
/* notrace */
function tcpMakeSynData(sk: TcpSock, syn: number, fo: TcpFastopenRequest): number {
  sk.rxOpt.mssClamp = tcpMssClamp(sk, sk.rxOpt.mssClamp);
  // Sync mss_cache after updating the mss_clamp.
  tcpSyncMss(sk, sk.icskPmtuCookie);
  // Middleboxes add options of their own: leave room for all.
  let space = __tcpMtuToMss(sk, sk.icskPmtuCookie) - MAX_TCP_OPTION_SPACE;
  space = Math.min(space, fo.size);
  if (space > 0 && !skPageFragRefill(sk)) return 0;
  const synData = tcpStreamAllocSkb(sk, 0, false);
  if (synData === 0) return 0;
  u8.copyWithin(synData + SKB_CB, syn + SKB_CB, syn + SKB_CB + SKB_CB_SIZE);
  if (space > 0) {
    const pfrag = sk.pageFrag;
    space = Math.min(space, pfrag.size - pfrag.offset);
    if (msgIterCopyTo(pfrag.page + pfrag.offset, fo.data as Msghdr, space) !== 0) {
      consumeSkb(synData);
      return 0;
    }
    skbFillPageDesc(synData, 0, pfrag.page, pfrag.offset, space);
    getPage(pfrag.page);
    pfrag.offset += space;
    skbLenAdd(synData, space);
    if (fo.uarg !== 0) skbZcopySet(synData, fo.uarg);
  }
  // No more data pending in inet_wait_for_connect.
  if (space === fo.size) fo.data = null;
  fo.copied = space;
  return synData;
}

// ---- ACKs ----------------------------------------------------------------------------------------------------------------------

/** tcp_delack_max: the longest that an ACK may be delayed: below the peer's smallest RTO. */
export function tcpDelackMax(sk: InetConnectionSock): number {
  return Math.min(sk.icskDelackMax, Math.max(tcpRtoMin(sk), 2 * USEC_PER_JIFFY) - USEC_PER_JIFFY);
}

/** tcp_send_delayed_ack: arms the delayed ACK timer, or sends at once if it is about to expire. */
export function tcpSendDelayedAck(sk: TcpSock): void {
  const ack = sk.icskAck;
  let ato = ack.ato;
  if (ato > TCP_DELACK_MIN) {
    let maxAto = 500 * USEC_PER_MSEC;
    if (inetCskInPingpongMode(sk) || (ack.pending & ICSK_ACK_PUSHED) !== 0) maxAto = TCP_DELACK_MAX;
    // Slow path, intersegment interval is "high". If some RTT estimate is known, use it to bound the delay.
    if (sk.srttUs !== 0) {
      const rtt = Math.max(usecsRoundJiffies(Math.floor(sk.srttUs / 8)), TCP_DELACK_MIN);
      if (rtt < maxAto) maxAto = rtt;
    }
    ato = Math.min(ato, maxAto);
  }
  ato = Math.min(ato, tcpDelackMax(sk));

  // Jiffies: the timer fires at whole milliseconds.
  const jiffies = tcpJiffies32() * USEC_PER_JIFFY;
  let timeout = usecsRoundJiffies(kernel.now + ato);
  // Use new timeout only if there wasn't an older one earlier.
  if ((ack.pending & ICSK_ACK_TIMER) !== 0) {
    // If the delayed ACK timer is about to expire, send the ACK now.
    if (ack.timeout <= jiffies + Math.floor(ato / 4)) {
      tcpSendAck(sk);
      return;
    }
    if (timeout >= ack.timeout) timeout = ack.timeout;
  }
  ack.pending |= ICSK_ACK_SCHED | ICSK_ACK_TIMER;
  ack.timeout = timeout;
  modTimer(sk.icskDelackTimer, timeout);
}

/** __tcp_send_ack: an ACK of everything before `rcvNxt`, now, with `flags` (TCPHDR_*) beside it. */
export function __tcpSendAck(sk: TcpSock, rcvNxt: Seq, flags: number): void {
  // If we have been reset, we may not send again.
  if (sk.skcState === TCP_CLOSE) return;
  const buff = allocHeaderSkb();
  if (buff === 0) {
    // No memory: try again after a while, longer each time.
    const ack = sk.icskAck;
    const delay = TCP_DELACK_MAX * 2 ** ack.retry;
    if (delay < tcpRtoMax(sk)) ack.retry++;
    inetCskScheduleAck(sk);
    ack.ato = TCP_ATO_MIN;
    tcpResetXmitTimer(sk, ICSK_TIME_DACK, delay, false);
    return;
  }
  tcpInitNondataSkb(buff, tcpAcceptableSeq(sk), TCPHDR_ACK | flags);
  // Pure ACKs are not to influence TSQ or pacing.
  u32[(buff + SKB_TRUESIZE) >>> 2] = TCP_PURE_ACK_TRUESIZE;
  // Send it off, this clears delayed ACKs for us.
  __tcpTransmitSkb(sk, buff, 0, rcvNxt);
}

/** tcp_send_ack. */
export function tcpSendAck(sk: TcpSock): void {
  __tcpSendAck(sk, sk.rcvNxt, 0);
}

// ---- probes ----------------------------------------------------------------------------------------------------------------------

/**
 * tcp_xmit_probe_skb: a segment with an old sequence number, which the peer must answer with an ACK (RFC 9293 §3.8.6.1).
 * `urgent`: with snd_una itself, so that the urgent pointer is seen. 0, positive (dropped below) or negative.
 */
function tcpXmitProbeSkb(sk: TcpSock, urgent: number, mib: number): number {
  const skb = allocHeaderSkb();
  if (skb === 0) return -1;
  tcpInitNondataSkb(skb, seqAdd(sk.sndUna, urgent !== 0 ? 0 : -1), TCPHDR_ACK);
  netIncStats(sk.net, mib);
  return tcpTransmitSkb(sk, skb, 0);
}

/** tcp_send_window_probe: after TCP_REPAIR_OFF: hear of the peer's window. */
export function tcpSendWindowProbe(sk: TcpSock): void {
  if (sk.skcState !== TCP_ESTABLISHED) return;
  sk.sndWl1 = seqAdd(sk.rcvNxt, -1);
  tcpMstampRefresh(sk);
  tcpXmitProbeSkb(sk, 0, LINUX_MIB_TCPWINPROBE);
}

/** tcp_write_wakeup: a probe: new data if the window has any room, else an old sequence number. Like tcp_xmit_probe_skb. */
export function tcpWriteWakeup(sk: TcpSock, mib: number): number {
  if (sk.skcState === TCP_CLOSE) return -1;
  const skb = tcpSendHead(sk);
  const wndEnd = tcpWndEnd(sk);
  if (skb === 0 || !before(tcpSkbSeq(skb), wndEnd)) {
    if (between(sk.sndUp, seqAdd(sk.sndUna, 1), seqAdd(sk.sndUna, 0xffff))) tcpXmitProbeSkb(sk, 1, mib);
    return tcpXmitProbeSkb(sk, 0, mib);
  }
  const mss = tcpCurrentMss(sk);
  let segSize = seqSub(wndEnd, tcpSkbSeq(skb));
  if (before(sk.pushedSeq, tcpSkbEndSeq(skb))) sk.pushedSeq = tcpSkbEndSeq(skb);
  // The window is open, but too little for silly window avoidance: send what fits it.
  if (segSize < seqSub(tcpSkbEndSeq(skb), tcpSkbSeq(skb)) || skbLen(skb) > mss) {
    segSize = Math.min(segSize, mss);
    tcpSkbSetFlags(skb, tcpSkbFlags(skb) | TCPHDR_PSH);
    if (tcpFragment(sk, TCP_FRAG_IN_WRITE_QUEUE, skb, segSize, mss) !== 0) return -1;
  } else if (tcpSkbPcount(skb) === 0) {
    tcpSetSkbTsoSegs(skb, mss);
  }
  tcpSkbSetFlags(skb, tcpSkbFlags(skb) | TCPHDR_PSH);
  const err = tcpTransmitSkb(sk, skb, 1);
  if (err === 0) tcpEventNewDataSent(sk, skb);
  return err;
}

/** tcp_send_probe0: a zero window probe, and the timer for the next (RFC 9293 §3.8.6.1: exponentially later). */
export function tcpSendProbe0(sk: TcpSock): void {
  const err = tcpWriteWakeup(sk, LINUX_MIB_TCPWINPROBE);
  if (sk.packetsOut !== 0 || tcpWriteQueueEmpty(sk)) {
    // Cancel probe timer, if it is not required.
    sk.icskProbesOut = 0;
    sk.icskBackoff = 0;
    sk.icskProbesTstamp = 0;
    return;
  }
  sk.icskProbesOut++;
  let timeout: number;
  if (err <= 0) {
    if (sk.icskBackoff < sk.net.ipv4.sysctlTcpRetries2) sk.icskBackoff++;
    timeout = tcpProbe0When(sk, tcpRtoMax(sk));
  } else {
    // Not sent for congestion on this host: fight for its resources conservatively.
    timeout = TCP_RESOURCE_PROBE_INTERVAL;
  }
  timeout = tcpClampProbe0ToUserTimeout(sk, timeout);
  tcpResetXmitTimer(sk, ICSK_TIME_PROBE0, timeout, true);
}
