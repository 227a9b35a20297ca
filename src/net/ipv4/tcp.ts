/**
 * TCP's system calls: the sending half of a socket up to the write queue (tcp_sendmsg, tcp_push), the receiving half from
 * the receive queue on (tcp_recvmsg), close, shutdown, poll and the state of a connection.
 *
 * Nothing here sleeps: where the kernel would wait, the call returns what it has done so far, or -EAGAIN, and the blocking
 * system calls (net/syscalls_async.ts) wait on the socket's wait queue and call again.
 */

import {
  CHECKSUM_PARTIAL,
  MAX_SKB_FRAGS,
  MAX_TCP_HEADER,
  TCPCB_FLAG_EOR,
  TCPCB_FLAG_HAS_RXTSTAMP,
} from "../../../assembly/layout.ts";
import { bugOn } from "../../kernel/bug.ts";
import { kernel } from "../../kernel/kernel.ts";
import { netIncStats, tcpDecStats, tcpIncStats } from "../../kernel/mib.ts";
import {
  __skbHeaderRelease,
  skbDataLen,
  skbFragSizeAdd,
  skbIsNonlinear,
  skbLen,
  skbNext,
  skbNrFrags,
  skbSetDataLen,
  skbSetIpSummed,
  skbSetLen,
  skbSetTruesize,
  skbTail,
  skbTailroom,
  skbTruesize,
  skbTstamp,
  skbUarg,
} from "../../mm/skb.ts";
import {
  EAGAIN,
  EALREADY,
  ECONNABORTED,
  ECONNRESET,
  EEXIST,
  EFAULT,
  EINPROGRESS,
  EINVAL,
  EMSGSIZE,
  ENOBUFS,
  ENOENT,
  ENOMEM,
  ENOTCONN,
  EOPNOTSUPP,
  EPERM,
  EPIPE,
} from "../../uapi/errno.ts";
import {
  LINUX_MIB_TCPABORTONCLOSE,
  LINUX_MIB_TCPABORTONDATA,
  LINUX_MIB_TCPABORTONLINGER,
  LINUX_MIB_TCPABORTONMEMORY,
  LINUX_MIB_TCPAUTOCORKING,
  TCP_MIB_ATTEMPTFAILS,
  TCP_MIB_CURRESTAB,
  TCP_MIB_ESTABRESETS,
} from "../../uapi/linux_mib.ts";
import {
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  EPOLLRDNORM,
  EPOLLWRNORM,
} from "../../uapi/poll.ts";
import {
  AF_UNSPEC,
  MSG_EOR,
  MSG_ERRQUEUE,
  MSG_FASTOPEN,
  MSG_MORE,
  MSG_OOB,
  MSG_PEEK,
  MSG_SPLICE_PAGES,
  MSG_TRUNC,
  MSG_ZEROCOPY,
  SOL_TCP,
} from "../../uapi/socket.ts";
import { SIOCATMARK, SIOCINQ, SIOCOUTQ, SIOCOUTQNSD } from "../../uapi/sockios.ts";
import {
  TCP_ACCECN_OPT_NOT_SEEN,
  TCP_CA_Open,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_CM_INQ,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_LAST_ACK,
  TCP_LISTEN,
  TCP_MSS_DEFAULT,
  TCP_NEW_SYN_RECV,
  TCP_NO_QUEUE,
  TCP_RECV_QUEUE,
  TCP_SEND_QUEUE,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
  TCP_TIME_WAIT,
  TCPF_CLOSE_WAIT,
  TCPF_CLOSING,
  TCPF_ESTABLISHED,
  TCPF_FIN_WAIT1,
  TCPF_FIN_WAIT2,
  TCPF_LAST_ACK,
  TCPF_SYN_RECV,
  TCPF_SYN_SENT,
  TCPHDR_ACK,
  TCPHDR_FIN,
  TCPHDR_PSH,
  TCPHDR_SYN,
} from "../../uapi/tcp.ts";
import { skbCopyDatagramMsg } from "../core/datagram.ts";
import { NETIF_F_SG, NETIF_F_TSO } from "../core/dev.ts";
import { SOCK_MIN_SNDBUF } from "../core/netns_core.ts";
import { putCmsg, sockPutTimestamp } from "../core/scm.ts";
import {
  allocSkb,
  consumeSkb,
  getPage,
  kfreeSkb,
  skbCanCoalesce,
  skbDequeue,
  skbFillPageDesc,
  skbPeek,
  skbPeekTail,
  skbPut,
  skbQueuePurge,
  skbReserve,
  skbUnlink,
} from "../core/skbuff.ts";
import {
  msgZerocopyRealloc,
  netZcopyPut,
  netZcopyPutAbort,
  skbSpliceFromIter,
  skbZerocopyIterStream,
} from "../core/skbuff.zerocopy.ts";
import type { Msghdr, PageFrag, Sock, Socket } from "../core/sock.ts";
import {
  msgIterCopyTo,
  RCV_SHUTDOWN,
  SEND_SHUTDOWN,
  SHUTDOWN_MASK,
  SOCK_BINDADDR_LOCK,
  SOCK_DEAD,
  SOCK_DONE,
  SOCK_LINGER,
  SOCK_RCVBUF_LOCK,
  SOCK_URGINLINE,
  SOCK_USE_WRITE_QUEUE,
  SOCK_ZEROCOPY,
  skDstReset,
  skMemCharge,
  skMemoryAllocated,
  skMemReclaim,
  skPageFragRefill,
  skProtMemLimits,
  skWmemSchedule,
  sockError,
  sockFlag,
  sockHold,
  sockOrphan,
  sockPut,
  sockSetFlag,
} from "../core/sock.ts";
import type { SockcmCookie } from "../core/sock_options.ts";
import { sockCmsgSend } from "../core/sock_options.ts";
import { __skStreamIsWriteable, skStreamError, skStreamMemoryFree, skStreamWriteSpace } from "../core/stream.ts";
import { __inetStreamConnect } from "./af_inet.ts";
import {
  inetCskDelackInit,
  inetCskDestroySock,
  inetCskInPingpongMode,
  inetCskListenReadable,
  inetCskListenStop,
  inetCskReqskQueueDropAndPut,
  inetCskResetKeepaliveTimer,
} from "./inet_connection_sock.ts";
import { inetPutPort } from "./inet_hashtables.ts";
import type { RequestSock, TcpTimewaitSock } from "./inet_sock.ts";
import { ICSK_ACK_PUSHED, ICSK_ACK_PUSHED2, ICSK_ACK_SCHED } from "./inet_sock.ts";
import { inetTwskDeschedulePut } from "./inet_timewait_sock.ts";
import { ipRecvError } from "./ip_sockglue.ts";
import { after, before, seq, seqAdd, seqRaw, seqSub } from "./seq.ts";
import { tcpTxTimestamp } from "./tcp.timestamping.ts";
import { tcpAssignCongestionControl, tcpCleanupCongestionControl } from "./tcp_cong.ts";
import { tcpAccecnInitCounters } from "./tcp_ecn.ts";
import { reqskFastopenRemove, tcpFastopenActiveDisableOfoCheck } from "./tcp_fastopen.ts";
import {
  minmaxReset,
  skWmemQueuedAdd,
  TCP_CHRONO_BUSY,
  TCP_DELACK_MAX,
  TCP_INFINITE_SSTHRESH,
  TCP_INIT_CWND,
  TCP_MIN_MSS,
  TCP_NAGLE_CORK,
  TCP_NAGLE_PUSH,
  TCP_RTO_MIN,
  TCP_TIMEOUT_INIT,
  TCP_TIMEWAIT_LEN,
  TCP_URG_READ,
  TCP_URG_VALID,
  TFO_CLIENT_ENABLE,
  TSQF_THROTTLED,
  tcpAddWriteQueueTail,
  tcpBoundToHalfWnd,
  tcpClearXmitTimers,
  tcpFastPathCheck,
  tcpFinTime,
  tcpInq,
  tcpJiffies32,
  tcpMstampRefresh,
  tcpReceiveWindow,
  tcpRtxAndWriteQueuesEmpty,
  tcpRtxQueueHead,
  tcpSetCaState,
  tcpSkbCanCollapseTo,
  tcpSpaceFromWin,
  tcpUnderMemoryPressure,
  tcpWmemFreeSkb,
  tcpWriteQueueEmpty,
} from "./tcp_h.ts";
import { tcpClearRetrans, tcpDataReady, tcpRcvSpaceAdjust, tcpSendRcvq } from "./tcp_input.ts";
import { tcpTimeWait } from "./tcp_minisocks.ts";
import {
  __tcpPushPendingFrames,
  __tcpSelectWindow,
  tcpChronoStop,
  tcpConnect,
  tcpCurrentMss,
  tcpPushOne,
  tcpSendAck,
  tcpSendActiveReset,
  tcpSendFin,
  tcpSlowStartAfterIdleCheck,
  tcpSyncMss,
} from "./tcp_output.ts";
import { tcpRateCheckAppLimited } from "./tcp_rate.ts";
import type { TcpSackBlock } from "./tcp_sock.ts";
import {
  TCPCB_REPAIRED,
  TcpFastopenRequest,
  TcpOptionsReceived,
  TcpSock,
  tcpSkbCbFlags,
  tcpSkbEndSeq,
  tcpSkbFlags,
  tcpSkbPcountSet,
  tcpSkbSacked,
  tcpSkbSeq,
  tcpSkbSetCbFlags,
  tcpSkbSetEndSeq,
  tcpSkbSetFlags,
  tcpSkbSetSacked,
  tcpSkbSetSeq,
} from "./tcp_sock.ts";
import { tcpInitXmitTimers } from "./tcp_timer.ts";

// ---- birth --------------------------------------------------------------------------------------------------------------

/** tcp_init_sock: what a fresh TCP socket starts with, either family. */
export function tcpInitSock(sk0: Sock): void {
  const tp = sk0 as TcpSock;
  tcpInitXmitTimers(tp);
  tp.icskRto = TCP_TIMEOUT_INIT;
  tp.icskRtoMin = tp.net.ipv4.sysctlTcpRtoMinUs;
  tp.icskRtoMax = tp.net.ipv4.sysctlTcpRtoMaxMs * 1000;
  tp.icskDelackMax = 200_000; // TCP_DELACK_MAX
  tp.mdevUs = TCP_TIMEOUT_INIT;
  minmaxReset(tp.rttMin, tcpJiffies32(), 0xffffffff);
  // RFC 6928: ten segments; ssthresh is unknown until the first loss.
  tp.sndCwnd = TCP_INIT_CWND;
  tp.appLimited = 0xffffffff;
  tp.rateAppLimited = true;
  tp.sndSsthresh = TCP_INFINITE_SSTHRESH;
  tp.sndCwndClamp = 0xffffffff;
  tp.mssCache = TCP_MSS_DEFAULT;
  tp.reordering = tp.net.ipv4.sysctlTcpReordering;
  tcpAssignCongestionControl(tp);
  tp.tsoffset = 0;
  tp.rackReoWndSteps = 1;
  tp.skcState = TCP_CLOSE;
  tp.skWriteSpace = skStreamWriteSpace;
  sockSetFlag(tp, SOCK_USE_WRITE_QUEUE);
  tp.icskSyncMss = tcpSyncMssIpv4;
  tp.skSndbuf = tp.net.ipv4.sysctlTcpWmem[1] as number;
  tp.skRcvbuf = tp.net.ipv4.sysctlTcpRmem[1] as number;
  tp.scalingRatio = 128; // TCP_DEFAULT_SCALING_RATIO: half of the buffer is payload until measured
}

function tcpSyncMssIpv4(sk: Sock, pmtu: number): number {
  return tcpSyncMss(sk as TcpSock, pmtu);
}

// ---- states -------------------------------------------------------------------------------------------------------------

/** tcp_set_state: moves a sock, keeping the tables and CurrEstab / EstabResets true. */
export function tcpSetState(sk: Sock, state: number): void {
  const old = sk.skcState;
  switch (state) {
    case TCP_ESTABLISHED:
      if (old !== TCP_ESTABLISHED) tcpIncStats(sk.net, TCP_MIB_CURRESTAB);
      break;
    case TCP_CLOSE_WAIT:
      if (old === TCP_SYN_RECV) tcpIncStats(sk.net, TCP_MIB_CURRESTAB);
      break;
    case TCP_CLOSE:
      if (old === TCP_CLOSE_WAIT || old === TCP_ESTABLISHED) tcpIncStats(sk.net, TCP_MIB_ESTABRESETS);
      sk.skProt.unhash(sk);
      if ((sk as TcpSock).icskBindHash !== null && (sk.skUserlocks & 8) === 0) inetPutPort(sk);
      if (old === TCP_ESTABLISHED || old === TCP_CLOSE_WAIT) tcpDecStats(sk.net, TCP_MIB_CURRESTAB);
      break;
    default:
      if (old === TCP_ESTABLISHED || old === TCP_CLOSE_WAIT) tcpDecStats(sk.net, TCP_MIB_CURRESTAB);
  }
  // The state changes last: whoever looks the sock up meanwhile still finds it in its old table.
  sk.skcState = state;
}

// RFC 9293 §3.3.2, the state diagram's close() arrows: the next state, and whether a FIN leaves.
const TCP_ACTION_FIN = 1 << 7;
const newState: readonly number[] = [
  TCP_CLOSE,
  TCP_FIN_WAIT1 | TCP_ACTION_FIN, // ESTABLISHED
  TCP_CLOSE, // SYN_SENT
  TCP_FIN_WAIT1 | TCP_ACTION_FIN, // SYN_RECV
  TCP_FIN_WAIT1, // FIN_WAIT1
  TCP_FIN_WAIT2, // FIN_WAIT2
  TCP_CLOSE, // TIME_WAIT
  TCP_CLOSE, // CLOSE
  TCP_LAST_ACK | TCP_ACTION_FIN, // CLOSE_WAIT
  TCP_LAST_ACK, // LAST_ACK
  TCP_CLOSE, // LISTEN
  TCP_CLOSING, // CLOSING
  TCP_CLOSE, // NEW_SYN_RECV
];

/** tcp_close_state: moves to the state that close() leads to. True if a FIN has to be sent. */
function tcpCloseState(sk: Sock): boolean {
  const next = newState[sk.skcState] as number;
  tcpSetState(sk, next & 0xf);
  return (next & TCP_ACTION_FIN) !== 0;
}

/** tcp_done: the connection is over; the sock is destroyed if nobody holds it. */
export function tcpDone(sk0: Sock): void {
  const sk = sk0 as TcpSock;
  const req = sk.fastopenRsk;
  if (sk.skcState === TCP_SYN_SENT || sk.skcState === TCP_SYN_RECV) tcpIncStats(sk.net, TCP_MIB_ATTEMPTFAILS);
  tcpSetState(sk, TCP_CLOSE);
  tcpClearXmitTimers(sk);
  if (req !== null) reqskFastopenRemove(sk, req, false);
  sk.skShutdown = SHUTDOWN_MASK;
  if (!sockFlag(sk, SOCK_DEAD)) sk.skStateChange(sk);
  else inetCskDestroySock(sk);
}

/** tcp_done_with_error: tcp_done, and the user hears why. */
export function tcpDoneWithError(sk: Sock, err: number): void {
  sk.skErr = err;
  tcpWriteQueuePurge(sk as TcpSock);
  tcpDone(sk);
  if (!sockFlag(sk, SOCK_DEAD)) sk.skErrorReport(sk);
}

// ---- readiness ----------------------------------------------------------------------------------------------------------

/** tcp_rmem_pressure: seven eighths of the buffer are in use. */
function tcpRmemPressure(sk: TcpSock): boolean {
  return tcpUnderMemoryPressure(sk) || sk.skRmemAlloc > sk.skRcvbuf - (sk.skRcvbuf >> 3);
}

/** tcp_epollin_ready: `target` bytes (SO_RCVLOWAT) wait, or there is no room for more. */
function tcpEpollinReady(tp: TcpSock, target: number): boolean {
  const avail = seqSub(tp.rcvNxt, tp.copiedSeq);
  if (avail <= 0) return false;
  return avail >= target || tcpRmemPressure(tp) || tcpReceiveWindow(tp) <= tp.icskAck.rcvMss;
}

/** tcp_stream_is_readable. */
export function tcpStreamIsReadable(sk: TcpSock, target: number): boolean {
  return tcpEpollinReady(sk, target);
}

/** tcp_poll: EPOLL* bits, exactly as the kernel signals them. */
export function tcpPoll(sock: Socket): number {
  const sk = sock.sk as TcpSock;
  const state = sk.skcState;
  if (state === TCP_LISTEN) return inetCskListenReadable(sk) ? EPOLLIN | EPOLLRDNORM : 0;
  let mask = 0;
  // EPOLLHUP is for both directions shut; RCV_SHUTDOWN alone is EPOLLRDHUP (see the comment on tcp_poll in Linux).
  if (sk.skShutdown === SHUTDOWN_MASK || state === TCP_CLOSE) mask |= EPOLLHUP;
  if (sk.skShutdown & RCV_SHUTDOWN) mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
  if (state !== TCP_SYN_SENT && (state !== TCP_SYN_RECV || sk.fastopenRsk !== null)) {
    let target = sk.skRcvlowat === 0 ? 1 : sk.skRcvlowat;
    if (sk.urgSeq === sk.copiedSeq && !sockFlag(sk, SOCK_URGINLINE) && sk.urgData !== 0) target++;
    if (tcpStreamIsReadable(sk, target)) mask |= EPOLLIN | EPOLLRDNORM;
    if ((sk.skShutdown & SEND_SHUTDOWN) === 0) {
      if (__skStreamIsWriteable(sk, 1)) {
        mask |= EPOLLOUT | EPOLLWRNORM;
      } else {
        sk.skNoSpace = true;
        if (__skStreamIsWriteable(sk, 1)) mask |= EPOLLOUT | EPOLLWRNORM;
      }
    } else {
      mask |= EPOLLOUT | EPOLLWRNORM;
    }
    if (sk.urgData & TCP_URG_VALID) mask |= EPOLLPRI;
  } else if (state === TCP_SYN_SENT && sk.deferConnect) {
    // TCP_FASTOPEN_CONNECT: the first write is what connects.
    mask |= EPOLLOUT | EPOLLWRNORM;
  }
  if (sk.skErr !== 0 || sk.skErrorQueue.qlen !== 0) mask |= EPOLLERR;
  return mask;
}

/** tcp_ioctl: SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK; -EINVAL on a listener, -ENOIOCTLCMD elsewhere. */
export function tcpIoctl(sk0: Sock, cmd: number): number {
  const tp = sk0 as TcpSock;
  const early = ((1 << tp.skcState) & (TCPF_SYN_SENT | TCPF_SYN_RECV)) !== 0;
  switch (cmd) {
    case SIOCINQ:
      return tp.skcState === TCP_LISTEN ? -EINVAL : tcpInq(tp);
    case SIOCATMARK:
      return tp.urgData !== 0 && tp.urgSeq === tp.copiedSeq ? 1 : 0;
    case SIOCOUTQ:
      if (tp.skcState === TCP_LISTEN) return -EINVAL;
      return early ? 0 : seqSub(tp.writeSeq, tp.sndUna);
    case SIOCOUTQNSD:
      if (tp.skcState === TCP_LISTEN) return -EINVAL;
      return early ? 0 : seqSub(tp.writeSeq, tp.sndNxt);
    default:
      return -515; // -ENOIOCTLCMD
  }
}

// ---- sending ------------------------------------------------------------------------------------------------------------

/** tcp_mark_push: the peer should hand the data up from here. */
function tcpMarkPush(tp: TcpSock, skb: number): void {
  tcpSkbSetFlags(skb, tcpSkbFlags(skb) | TCPHDR_PSH);
  tp.pushedSeq = tp.writeSeq;
}

/** forced_push: half a window was written since the last PSH. */
function forcedPush(tp: TcpSock): boolean {
  return after(tp.writeSeq, seqAdd(tp.pushedSeq, tp.maxWindow >>> 1));
}

/** tcp_skb_entail: a new empty skb at the tail of the write queue. */
export function tcpSkbEntail(sk: TcpSock, skb: number): void {
  tcpSkbSetSeq(skb, sk.writeSeq);
  tcpSkbSetEndSeq(skb, sk.writeSeq);
  tcpSkbSetFlags(skb, TCPHDR_ACK);
  tcpSkbSetSacked(skb, 0);
  __skbHeaderRelease(skb);
  tcpAddWriteQueueTail(sk, skb);
  skWmemQueuedAdd(sk, skbTruesize(skb));
  skMemCharge(sk, skbTruesize(skb));
  // A cork or a lone PUSH of the past does not concern new data.
  if (sk.nonagle & TCP_NAGLE_PUSH) sk.nonagle &= ~TCP_NAGLE_PUSH;
  tcpSlowStartAfterIdleCheck(sk);
}

/** tcp_mark_urg. */
function tcpMarkUrg(tp: TcpSock, flags: number): void {
  if (flags & MSG_OOB) tp.sndUp = tp.writeSeq;
}

/** tcp_should_autocork: is it worth to wait for more, since a TX completion will send it anyway? */
function tcpShouldAutocork(sk: TcpSock, skb: number, sizeGoal: number): boolean {
  return (
    skbLen(skb) < sizeGoal &&
    sk.net.ipv4.sysctlTcpAutocorking !== 0 &&
    tcpRtxQueueHead(sk) !== 0 &&
    sk.skWmemAlloc > skbTruesize(skb) &&
    tcpSkbCanCollapseTo(skb)
  );
}

/** tcp_push: the tail is marked and whatever may leave leaves. MSG_MORE counts as a cork. */
export function tcpPush(sk: TcpSock, flags: number, mssNow: number, nonagle: number, sizeGoal: number): void {
  const skb = skbPeekTail(sk.skWriteQueue);
  if (skb === 0) return;
  if ((flags & MSG_MORE) === 0 || forcedPush(sk)) tcpMarkPush(sk, skb);
  tcpMarkUrg(sk, flags);
  if (tcpShouldAutocork(sk, skb, sizeGoal)) {
    // TSQ_THROTTLED: tcp_wfree pushes when the NIC is done with what it has.
    if ((sk.tsqFlags & TSQF_THROTTLED) === 0) {
      netIncStats(sk.net, LINUX_MIB_TCPAUTOCORKING);
      sk.tsqFlags |= TSQF_THROTTLED;
    }
    if (sk.skWmemAlloc > skbTruesize(skb)) return;
  }
  if (flags & MSG_MORE) nonagle = TCP_NAGLE_CORK;
  __tcpPushPendingFrames(sk, mssNow, nonagle);
}

/** tcp_xmit_size_goal: bytes an skb is filled to: whole segments up to what the device can segment, else one MSS. */
function tcpXmitSizeGoal(sk: TcpSock, mssNow: number, largeAllowed: boolean): number {
  if (!largeAllowed || (sk.skRouteCaps & NETIF_F_TSO) === 0) return mssNow;
  const bound = tcpBoundToHalfWnd(sk, sk.skGsoMaxSize);
  let goal = sk.gsoSegs * mssNow;
  if (bound < goal || bound >= goal + mssNow) {
    sk.gsoSegs = Math.min((bound / mssNow) >>> 0, sk.skGsoMaxSegs);
    goal = sk.gsoSegs * mssNow;
  }
  return Math.max(goal, mssNow);
}

/** The size goal that the last tcp_send_mss found (its second result). */
let sizeGoalResult = 0;

/** The second result of the last tcp_send_mss, for callers in other files. */
/* notrace */
export function sendSizeGoal(): number {
  return sizeGoalResult;
}

/** tcp_send_mss: the MSS now; the size goal is left in `sizeGoalResult`. */
export function tcpSendMss(sk: TcpSock, flags: number): number {
  const mssNow = tcpCurrentMss(sk);
  sizeGoalResult = tcpXmitSizeGoal(sk, mssNow, (flags & MSG_OOB) === 0);
  return mssNow;
}

/** May more bytes be added to this skb: linear room without SG, a frag slot or a frag to extend with it. */
function tcpSkbHasRoom(skb: number, sg: boolean, pfrag: PageFrag): boolean {
  if (!sg) return !skbIsNonlinear(skb) && skbTailroom(skb) > 0;
  const nr = skbNrFrags(skb);
  return nr < MAX_SKB_FRAGS || skbCanCoalesce(skb, nr, pfrag.page, pfrag.offset);
}

/** tcp_stream_alloc_skb: an skb with room for all headers and `linear` bytes; 0 when memory is short. */
export function tcpStreamAllocSkb(sk: TcpSock, linear: number, forceSchedule: boolean): number {
  const skb = allocSkb(MAX_TCP_HEADER + linear);
  if (skb === 0) {
    sk.skProt.streamMemoryFree?.(sk, 0);
    return 0;
  }
  if (!forceSchedule && !skWmemSchedule(sk, skbTruesize(skb))) {
    kfreeSkb(skb);
    return 0;
  }
  skbReserve(skb, MAX_TCP_HEADER);
  skbSetIpSummed(skb, CHECKSUM_PARTIAL);
  return skb;
}

/** tcp_remove_empty_skb: an skb that was entailed but got no data must not stay at the tail. */
export function tcpRemoveEmptySkb(sk: TcpSock): void {
  const skb = skbPeekTail(sk.skWriteQueue);
  if (skb !== 0 && tcpSkbSeq(skb) === tcpSkbEndSeq(skb)) {
    skbUnlink(skb, sk.skWriteQueue);
    if (tcpWriteQueueEmpty(sk)) tcpChronoStop(sk, TCP_CHRONO_BUSY);
    tcpWmemFreeSkb(sk, skb);
  }
}

/**
 * sk_stream_wait_connect's test, without the wait: 0 if data may be sent now, else a negative errno (-EAGAIN while the
 * connection is being made).
 */
export function streamConnected(sk: TcpSock): number {
  if (((1 << sk.skcState) & (TCPF_ESTABLISHED | TCPF_CLOSE_WAIT)) !== 0 || sk.fastopenRsk !== null) return 0;
  const err = sockError(sk);
  if (err !== 0) return err;
  if (((1 << sk.skcState) & (TCPF_SYN_SENT | TCPF_SYN_RECV)) === 0) return -EPIPE;
  return -EAGAIN;
}

/**
 * tcp_sendmsg: copies the caller's bytes into the write queue and sends what may be sent. Returns the bytes taken, or a
 * negative errno if none was (-EAGAIN: no room, or not connected yet; -EPIPE: the sending side is shut).
 */
export function tcpSendmsg(sock: Socket, msg: Msghdr, size: number): number {
  return tcpSendmsgLocked(sock.sk as TcpSock, msg, size);
}

/** tcp_free_fastopen_req. */
function tcpFreeFastopenReq(sk: TcpSock): void {
  sk.fastopenReq = null;
}

/** How many bytes the SYN of the last tcp_sendmsg_fastopen took (its second result). */
let fastopenCopied = 0;

/**
 * tcp_sendmsg_fastopen: connects with what can be sent of `msg` in the SYN (RFC 7413 §4.2.1): for MSG_FASTOPEN to the message's
 * address, after TCP_FASTOPEN_CONNECT to the one that connect() was given. -EINPROGRESS: the SYN has left; 0: the connection
 * stands already; -EOPNOTSUPP: net.ipv4.tcp_fastopen forbids it; -EALREADY: another one goes on.
 */
function tcpSendmsgFastopen(sk: TcpSock, msg: Msghdr, size: number, uarg: number): number {
  fastopenCopied = 0;
  const uaddr = msg.name;
  if ((sk.net.ipv4.sysctlTcpFastopen & TFO_CLIENT_ENABLE) === 0 || uaddr?.family === AF_UNSPEC) return -EOPNOTSUPP;
  if (sk.fastopenReq !== null) return -EALREADY;
  const req = new TcpFastopenRequest();
  req.data = msg;
  req.size = size;
  req.uarg = uarg;
  sk.fastopenReq = req;
  if (sk.deferConnect && tcpConnect(sk) !== 0) {
    // As in tcp_v4_connect.
    tcpSetState(sk, TCP_CLOSE);
    sk.skcDport = 0;
    sk.skRouteCaps = 0;
  }
  const err = __inetStreamConnect(sk.skSocket as Socket, uaddr, 0, true);
  // A connect that has failed has freed it.
  if (sk.fastopenReq !== null) {
    fastopenCopied = req.copied;
    tcpFreeFastopenReq(sk);
    sk.deferConnect = false;
  }
  return err;
}

/** What the control messages of a send ask for. Of SOL_SOCKET's, a stream heeds SO_TIMESTAMPING. */
const sockc: SockcmCookie = { transmitTime: 0, mark: 0, priority: 0, tsflags: 0, tsOptId: 0 };

/** After so many skbs sendmsg lets the other side have its turn. */
const TCP_FLUSH_SKBS = 64;

/** tcp_sendmsg_locked. */
export function tcpSendmsgLocked(sk: TcpSock, msg: Msghdr, size: number): number {
  const flags = msg.flags;
  let tsflags = sk.skTsflags;
  let sockcErr = 0;
  if (msg.control !== null) {
    sockc.tsflags = tsflags;
    sockcErr = sockCmsgSend(sk, msg, sockc);
    tsflags = sockc.tsflags;
  }
  // What the bytes are, if not to be copied: MSG_ZEROCOPY or MSG_SPLICE_PAGES.
  let zc = 0;
  let uarg = 0;
  if ((flags & (MSG_ZEROCOPY | MSG_SPLICE_PAGES)) !== 0 && size > 0) {
    const sg = (sk.skRouteCaps & NETIF_F_SG) !== 0;
    if ((flags & MSG_ZEROCOPY) === 0) {
      if (sg) zc = MSG_SPLICE_PAGES;
    } else if (sockFlag(sk, SOCK_ZEROCOPY)) {
      const tail = skbPeekTail(sk.skWriteQueue);
      uarg = msg.ubuf !== 0 ? msg.ubuf : msgZerocopyRealloc(sk, size, tail !== 0 ? skbUarg(tail) : 0);
      if (uarg === 0) return -ENOBUFS;
      msg.ubuf = 0;
      if (sg) zc = MSG_ZEROCOPY;
    }
  }
  if (((flags & MSG_FASTOPEN) !== 0 || sk.deferConnect) && !sk.repair) {
    const fo = tcpSendmsgFastopen(sk, msg, size, uarg);
    if (fo === -EINPROGRESS && fastopenCopied > 0) return tcpSendmsgSyn(msg, fastopenCopied, uarg);
    if (fo !== 0) return tcpSendmsgEnd(sk, msg, 0, tsflags, uarg, fo);
  }
  tcpRateCheckAppLimited(sk);
  const connected = streamConnected(sk);
  if (connected !== 0) return tcpSendmsgEnd(sk, msg, 0, tsflags, uarg, connected);
  if (sk.repair) {
    // TCP_REPAIR: the bytes were received, or sent, by an earlier incarnation of the connection.
    if (sk.repairQueue === TCP_RECV_QUEUE) return tcpSendRcvq(sk, msg, size);
    if (sk.repairQueue === TCP_NO_QUEUE) return tcpSendmsgEnd(sk, msg, 0, tsflags, uarg, -EINVAL);
  }
  if (sockcErr !== 0) return tcpSendmsgEnd(sk, msg, 0, tsflags, uarg, sockcErr);

  let copied = 0;
  let mssNow = tcpSendMss(sk, flags);
  let sizeGoal = sizeGoalResult;
  if (sk.skErr !== 0 || (sk.skShutdown & SEND_SHUTDOWN) !== 0) {
    return tcpSendmsgEnd(sk, msg, 0, tsflags, uarg, -EPIPE);
  }
  let err = 0;
  let queued = 0;
  let forceNew = false;

  while (msg.count > 0) {
    let copy = 0;
    let skb = skbPeekTail(sk.skWriteQueue);
    if (skb !== 0) copy = sizeGoal - skbLen(skb);

    const sg = (sk.skRouteCaps & NETIF_F_SG) !== 0;
    const lent = msg.lent;
    const pfrag = lent ?? sk.pageFrag;
    if (sg && lent === null && !skPageFragRefill(sk)) {
      err = -EAGAIN;
      break;
    }
    if (skb !== 0 && copy > 0 && zc === 0 && !tcpSkbHasRoom(skb, sg, pfrag)) {
      tcpMarkPush(sk, skb);
      copy = 0;
    }
    if (skb === 0 || copy <= 0 || forceNew || !tcpSkbCanCollapseTo(skb)) {
      // The tail is full or there is none: a new skb, if the send buffer has room (what was lent has been let in already).
      forceNew = false;
      if (lent === null && !skStreamMemoryFree(sk)) {
        err = -EAGAIN;
        break;
      }
      skb = tcpStreamAllocSkb(sk, sg ? 0 : mssNow, tcpRtxAndWriteQueuesEmpty(sk));
      if (skb === 0) {
        err = -EAGAIN;
        break;
      }
      tcpSkbEntail(sk, skb);
      copy = sizeGoal;
      // Nobody knows when it was sent: no RTT is measured by it.
      if (sk.repair) tcpSkbSetSacked(skb, tcpSkbSacked(skb) | TCPCB_REPAIRED);
    }

    if (copy > msg.count) copy = msg.count;
    if (zc !== 0) {
      copy = tcpAppendNocopy(sk, skb, msg, copy, zc, uarg);
      if (copy === -EMSGSIZE || copy === -EEXIST) {
        // No fragment left, or another send's notifier: the next skb takes it.
        tcpMarkPush(sk, skb);
        forceNew = true;
        continue;
      }
      if (copy < 0) {
        err = copy;
        break;
      }
    } else if (!sg) {
      // A device without scatter-gather: at most one MSS of linear bytes an skb.
      copy = Math.min(copy, skbTailroom(skb));
      if (msgIterCopyTo(skbTail(skb), msg, copy) !== 0) {
        err = -EFAULT;
        break;
      }
      skbPut(skb, copy);
    } else {
      const i = skbNrFrags(skb);
      copy = Math.min(copy, pfrag.size - pfrag.offset);
      if (!skWmemSchedule(sk, copy)) {
        err = -EAGAIN;
        break;
      }
      if (msgIterCopyTo(pfrag.page + pfrag.offset, msg, copy) !== 0) {
        err = -EFAULT;
        break;
      }
      skbSetLen(skb, skbLen(skb) + copy);
      skbSetDataLen(skb, skbDataLen(skb) + copy);
      skbSetTruesize(skb, skbTruesize(skb) + copy);
      skWmemQueuedAdd(sk, copy);
      skMemCharge(sk, copy);
      if (skbCanCoalesce(skb, i, pfrag.page, pfrag.offset)) {
        skbFragSizeAdd(skb, i - 1, copy);
      } else {
        skbFillPageDesc(skb, i, pfrag.page, pfrag.offset, copy);
        getPage(pfrag.page);
      }
      pfrag.offset += copy;
    }

    if (copied === 0) tcpSkbSetFlags(skb, tcpSkbFlags(skb) & ~TCPHDR_PSH);
    sk.writeSeq = seqAdd(sk.writeSeq, copy);
    tcpSkbSetEndSeq(skb, seqAdd(tcpSkbEndSeq(skb), copy));
    tcpSkbPcountSet(skb, 0);
    copied += copy;
    if (msg.count === 0) {
      if (flags & MSG_EOR) tcpSkbSetCbFlags(skb, tcpSkbCbFlags(skb) | TCPCB_FLAG_EOR);
      break;
    }
    if (skbLen(skb) < sizeGoal || (flags & MSG_OOB) !== 0 || sk.repair) continue;
    if (forcedPush(sk)) {
      tcpMarkPush(sk, skb);
      __tcpPushPendingFrames(sk, mssNow, TCP_NAGLE_PUSH);
    } else if (skb === skbPeek(sk.skWriteQueue)) {
      tcpPushOne(sk, mssNow);
    }
    if (++queued >= TCP_FLUSH_SKBS) {
      // sk_flush_backlog: what the peer answers counts before more is queued.
      queued = 0;
      if (kernel.flushSoftirq()) {
        mssNow = tcpSendMss(sk, flags);
        sizeGoal = sizeGoalResult;
        if (sk.skErr !== 0 || (sk.skShutdown & SEND_SHUTDOWN) !== 0) {
          err = -EPIPE;
          break;
        }
      }
    }
  }

  if (err === -EAGAIN) {
    sk.skNoSpace = true;
    // wait_for_space pushes what was copied, with MSG_MORE's hint removed: nobody knows when more will follow.
    if (copied === 0) tcpRemoveEmptySkb(sk);
    // If nothing was, nothing is pushed either, and the urgent mark stays where it is.
    else tcpPush(sk, flags & ~MSG_MORE, mssNow, TCP_NAGLE_PUSH, sizeGoal);
  }
  if (tsflags !== 0 || uarg !== 0) return tcpSendmsgEnd(sk, msg, copied, tsflags, uarg, err);
  if (copied > 0) {
    if (err !== -EAGAIN) tcpPush(sk, flags, mssNow, sk.nonagle, sizeGoal);
    // Partial counts beat errors.
    return copied;
  }
  if (err === -EAGAIN) return err;
  tcpRemoveEmptySkb(sk);
  return err < 0 ? skStreamError(sk, flags, err) : 0;
}

/** tcp_sendmsg's bytes that are not copied: pages of the stack (splice), or MSG_ZEROCOPY's. How many, or a negative errno. */
function tcpAppendNocopy(sk: TcpSock, skb: number, msg: Msghdr, copy: number, zc: number, uarg: number): number {
  if (!skWmemSchedule(sk, copy)) return -EAGAIN;
  if (zc === MSG_ZEROCOPY) {
    const n = skbZerocopyIterStream(sk, skb, msg, copy, uarg);
    return n === -ENOMEM ? -EAGAIN : n;
  }
  const n = skbSpliceFromIter(skb, msg, copy);
  if (n < 0) return n;
  skWmemQueuedAdd(sk, n);
  skMemCharge(sk, n);
  return n;
}

/** A tcp_sendmsg whose SYN has taken `copied` bytes: one that waits goes on with the rest when the connection stands. */
function tcpSendmsgSyn(msg: Msghdr, copied: number, uarg: number): number {
  if (msg.waits && msg.count > 0) {
    msg.ubuf = uarg;
    msg.copied += copied;
  } else if (uarg !== 0) netZcopyPut(uarg);
  return copied;
}

/**
 * The end of a tcp_sendmsg that has stamps or a zero-copy notifier to see to. One that waits for room (`msg.waits`) keeps them for the
 * call that goes on with it.
 */
function tcpSendmsgEnd(sk: TcpSock, msg: Msghdr, copied: number, tsflags: number, uarg: number, err: number): number {
  msg.copied += copied;
  if (err === -EAGAIN && msg.waits) {
    msg.ubuf = uarg;
    return copied > 0 ? copied : err;
  }
  msg.waits = false;
  if (err < 0) tcpRemoveEmptySkb(sk);
  if (msg.copied > 0) {
    if (tsflags !== 0) tcpTxTimestamp(sk, tsflags);
    const mssNow = tcpSendMss(sk, msg.flags);
    tcpPush(sk, msg.flags, mssNow, sk.nonagle, sizeGoalResult);
    if (uarg !== 0) netZcopyPut(uarg);
    if (copied > 0) return copied;
  } else if (uarg !== 0) netZcopyPutAbort(uarg, true);
  return err < 0 ? skStreamError(sk, msg.flags, err) : 0;
}

/** sk_stream_wait_memory has failed a tcp_sendmsg that waited: what it has taken counts. */
export function tcpSendmsgStop(sock: Socket, msg: Msghdr): void {
  const sk = sock.sk as TcpSock;
  msg.waits = false;
  const uarg = msg.ubuf;
  msg.ubuf = 0;
  sockc.tsflags = sk.skTsflags;
  if (sockCmsgSend(sk, msg, sockc) !== 0) sockc.tsflags = 0;
  if (uarg !== 0 || sockc.tsflags !== 0) tcpSendmsgEnd(sk, msg, 0, sockc.tsflags, uarg, -EAGAIN);
}

// ---- receiving ----------------------------------------------------------------------------------------------------------

/** tcp_eat_recv_skb. */
export function tcpEatRecvSkb(sk: TcpSock, skb: number): void {
  skbUnlink(skb, sk.skReceiveQueue);
  consumeSkb(skb);
}

/** __tcp_cleanup_rbuf: `copied` bytes were read: does the peer need to know (an ACK, or a window that grew)? */
export function __tcpCleanupRbuf(sk: TcpSock, copied: number): void {
  let timeToAck = false;
  const ack = sk.icskAck;
  if (ack.pending & ICSK_ACK_SCHED) {
    // Delayed ACKs are sent at once when the reader took everything of more than a segment.
    if (
      seqSub(sk.rcvNxt, sk.rcvWup) > ack.rcvMss ||
      (copied > 0 &&
        ((ack.pending & ICSK_ACK_PUSHED2) !== 0 ||
          ((ack.pending & ICSK_ACK_PUSHED) !== 0 && !inetCskInPingpongMode(sk))) &&
        sk.skRmemAlloc === 0)
    ) {
      timeToAck = true;
    }
  }
  // RFC 9293 §3.8.6.2.2: tell a window that at least doubled, never a small step.
  if (copied > 0 && !timeToAck && (sk.skShutdown & RCV_SHUTDOWN) === 0) {
    const now = tcpReceiveWindow(sk);
    if (2 * now <= sk.windowClamp) {
      const next = __tcpSelectWindow(sk);
      if (next !== 0 && next >= 2 * now) timeToAck = true;
    }
  }
  if (timeToAck) {
    tcpMstampRefresh(sk);
    tcpSendAck(sk);
  }
}

/** tcp_cleanup_rbuf. */
export function tcpCleanupRbuf(sk: TcpSock, copied: number): void {
  __tcpCleanupRbuf(sk, copied);
}

/** tcp_recv_urg: MSG_OOB without SO_OOBINLINE. */
function tcpRecvUrg(sk: TcpSock, msg: Msghdr, len: number, flags: number): number {
  if (sockFlag(sk, SOCK_URGINLINE) || sk.urgData === 0 || sk.urgData === TCP_URG_READ) return -EINVAL;
  if (sk.skcState === TCP_CLOSE && !sockFlag(sk, SOCK_DONE)) return -ENOTCONN;
  if (sk.urgData & TCP_URG_VALID) {
    const c = sk.urgData & 0xff;
    if ((flags & MSG_PEEK) === 0) sk.urgData = TCP_URG_READ;
    msg.flags |= MSG_OOB;
    if (len > 0) {
      if ((flags & MSG_TRUNC) === 0) {
        const dst = msg.iov[0];
        if (dst !== undefined && dst.length > 0) dst[0] = c;
      }
      return 1;
    }
    msg.flags |= MSG_TRUNC;
    return 0;
  }
  if (sk.skcState === TCP_CLOSE || (sk.skShutdown & RCV_SHUTDOWN) !== 0) return 0;
  return -EAGAIN;
}

/** tcp_peek_sndq: MSG_PEEK of the send queue (TCP_REPAIR): first what was sent, then what was not. */
function tcpPeekSndq(sk: TcpSock, msg: Msghdr): number {
  let copied = 0;
  for (let skb = tcpRtxQueueHead(sk); skb !== 0; skb = skbNext(skb)) {
    const len = skbLen(skb);
    if (skbCopyDatagramMsg(skb, 0, msg, len) !== 0) return -EFAULT;
    copied += len;
  }
  for (let skb = skbPeek(sk.skWriteQueue); skb !== 0; skb = skbNext(skb)) {
    const len = skbLen(skb);
    if (skbCopyDatagramMsg(skb, 0, msg, len) !== 0) return -EFAULT;
    copied += len;
  }
  return copied;
}

/** How far into the skb's bytes `offset` in sequence space is. */
export function recvQueueSkip(skb: number, offset: number): number {
  // A SYN takes a sequence number but is no byte.
  return (tcpSkbFlags(skb) & TCPHDR_SYN) !== 0 ? offset - 1 : offset;
}

/**
 * tcp_recvmsg: copies received bytes to the caller. Returns the count, 0 at the end of the stream, or a negative errno
 * (-EAGAIN: nothing there yet). MSG_PEEK leaves the bytes, MSG_TRUNC discards them, MSG_OOB reads urgent data.
 */
export function tcpRecvmsg(sk0: Sock, msg: Msghdr, len: number, flags: number): number {
  const sk = sk0 as TcpSock;
  if (sk.skcState === TCP_LISTEN) return -ENOTCONN;
  if (flags & MSG_ERRQUEUE) return ipRecvError(sk, msg, len);
  if (flags & MSG_OOB) return tcpRecvUrg(sk, msg, len, flags);
  const peek = (flags & MSG_PEEK) !== 0;
  if (sk.repair) {
    // TCP_REPAIR: what is in the queues may be looked at, and stays there.
    if (!peek) return -EPERM;
    if (sk.repairQueue === TCP_SEND_QUEUE) return tcpPeekSndq(sk, msg);
    if (sk.repairQueue === TCP_NO_QUEUE) return -EINVAL;
  }
  let copied = 0;
  let at = sk.copiedSeq;
  if (peek && sk.skPeekOff > 0) at = seqAdd(at, sk.skPeekOff);
  let err = 0;
  let stamp = 0;

  outer: while (len > 0) {
    // Urgent data that is not inline stops the read just before it (SIOCATMARK).
    if (sk.urgData !== 0 && sk.urgSeq === at && copied > 0) break;

    let skb = skbPeek(sk.skReceiveQueue);
    let found = false;
    let offset = 0;
    while (skb !== 0) {
      bugOn(before(at, tcpSkbSeq(skb)), "receive queue has a hole");
      offset = recvQueueSkip(skb, seqSub(at, tcpSkbSeq(skb)));
      if (offset < skbLen(skb)) {
        found = true;
        break;
      }
      if (tcpSkbFlags(skb) & TCPHDR_FIN) {
        // found_fin_ok
        at = seqAdd(at, 1);
        if (!peek) {
          sk.copiedSeq = at;
          tcpEatRecvSkb(sk, skb);
        }
        break outer;
      }
      const next = skbNext(skb);
      if (!peek && seqSub(at, tcpSkbEndSeq(skb)) >= 0) tcpEatRecvSkb(sk, skb);
      skb = next;
    }

    if (!found) {
      if (copied > 0 || sockFlag(sk, SOCK_DONE)) break;
      if (sk.skErr !== 0) {
        err = sockError(sk);
        break;
      }
      if (sk.skShutdown & RCV_SHUTDOWN) break;
      if (sk.skcState === TCP_CLOSE) {
        // The socket was never connected (or was reset and the error already read).
        err = -ENOTCONN;
        break;
      }
      err = -EAGAIN;
      break;
    }

    let used = skbLen(skb) - offset;
    if (len < used) used = len;
    if (sk.urgData !== 0) {
      const urgOffset = seqSub(sk.urgSeq, at);
      if (urgOffset >= 0 && urgOffset < used) {
        if (urgOffset === 0) {
          if (!sockFlag(sk, SOCK_URGINLINE)) {
            at = seqAdd(at, 1);
            if (!peek) sk.copiedSeq = at;
            offset++;
            used--;
          }
        } else {
          used = urgOffset;
        }
      }
    }
    if ((flags & MSG_TRUNC) === 0 && used > 0) {
      const e = skbCopyDatagramMsg(skb, offset, msg, used);
      if (e !== 0) {
        if (copied === 0) err = -EFAULT;
        break;
      }
    }
    if (used > 0) {
      at = seqAdd(at, used);
      copied += used;
      len -= used;
      if (peek) {
        if (sk.skPeekOff >= 0) sk.skPeekOff += used;
      } else {
        sk.copiedSeq = at;
        // sk_peek_offset_bwd
        if (sk.skPeekOff > 0) sk.skPeekOff = Math.max(sk.skPeekOff - used, 0);
      }
      tcpRcvSpaceAdjust(sk);
    }
    // skip_copy
    if (sk.urgData !== 0 && after(sk.copiedSeq, sk.urgSeq)) {
      sk.urgData = 0;
      tcpFastPathCheck(sk);
    }
    if ((tcpSkbCbFlags(skb) & TCPCB_FLAG_HAS_RXTSTAMP) !== 0) stamp = skbTstamp(skb);
    if (used + offset < skbLen(skb)) continue;
    if (tcpSkbFlags(skb) & TCPHDR_FIN) {
      at = seqAdd(at, 1);
      if (!peek) {
        sk.copiedSeq = at;
        tcpEatRecvSkb(sk, skb);
      }
      break;
    }
    if (!peek) tcpEatRecvSkb(sk, skb);
  }

  if (err !== 0 && copied === 0) {
    // The kernel acknowledges before it would sleep.
    if (err === -EAGAIN) __tcpCleanupRbuf(sk, 0);
    return err;
  }
  tcpCleanupRbuf(sk, copied);
  // tcp_recv_timestamp: of the last segment that bytes came from.
  if (stamp !== 0) sockPutTimestamp(msg, sk, stamp, 0);
  if (sk.recvmsgInq) putCmsg(msg, SOL_TCP, TCP_CM_INQ, tcpInqHint(sk));
  return copied;
}

/** tcp_inq_hint: what is left to read; 1 for an end of file, so that the reader comes again. */
function tcpInqHint(sk: TcpSock): number {
  const inq = Math.max(0, seqSub(sk.rcvNxt, sk.copiedSeq));
  return inq === 0 && sockFlag(sk, SOCK_DONE) ? 1 : inq;
}

/** tcp_set_rcvlowat: a larger low water mark may need a larger buffer. */
export function tcpSetRcvlowat(sk0: Sock, val: number): number {
  const sk = sk0 as TcpSock;
  const locked = (sk.skUserlocks & SOCK_RCVBUF_LOCK) !== 0;
  const cap = locked ? sk.skRcvbuf >> 1 : (sk.net.ipv4.sysctlTcpRmem[2] as number) >> 1;
  val = Math.min(val, cap);
  sk.skRcvlowat = val === 0 ? 1 : val;
  // Readable right now?
  tcpDataReady(sk);
  if (locked) return 0;
  const space = tcpSpaceFromWin(sk, val);
  if (space > sk.skRcvbuf) {
    sk.skRcvbuf = space;
    if (sk.windowClamp !== 0 && sk.windowClamp < val) sk.windowClamp = val;
  }
  return 0;
}

// ---- shutdown and close ---------------------------------------------------------------------------------------------------

/** tcp_shutdown: SEND_SHUTDOWN sends a FIN after what is queued (RFC 9293 §3.6). */
export function tcpShutdown(sk: Sock, how: number): void {
  if ((how & SEND_SHUTDOWN) === 0) return;
  if (((1 << sk.skcState) & (TCPF_ESTABLISHED | TCPF_SYN_SENT | TCPF_CLOSE_WAIT)) !== 0) {
    if (tcpCloseState(sk)) tcpSendFin(sk as TcpSock);
  }
}

/** tcp_check_oom: too many orphans (they count 2^shift times), or too much memory in their hands. */
export function tcpCheckOom(sk: TcpSock, shift: number): boolean {
  if (sk.net.orphanCount << shift > sk.net.ipv4.sysctlTcpMaxOrphans) return true;
  return sk.skWmemQueued > SOCK_MIN_SNDBUF && skMemoryAllocated(sk) > skProtMemLimits(sk, 2);
}

/** __tcp_close. `timeout` (SO_LINGER) is waited for by the blocking close. */
export function __tcpClose(sk: TcpSock, _timeout: number): void {
  let unread = false;
  sk.skShutdown = SHUTDOWN_MASK;
  if (sk.skcState === TCP_LISTEN) {
    tcpSetState(sk, TCP_CLOSE);
    inetCskListenStop(sk);
  } else {
    for (let skb = skbDequeue(sk.skReceiveQueue); skb !== 0; skb = skbDequeue(sk.skReceiveQueue)) {
      let end = tcpSkbEndSeq(skb);
      if (tcpSkbFlags(skb) & TCPHDR_FIN) end = seqAdd(end, -1);
      if (after(end, sk.copiedSeq)) unread = true;
      consumeSkb(skb);
    }
    if (sk.skcState !== TCP_CLOSE) {
      if (sk.repair) {
        sk.skProt.disconnect?.(sk, 0);
      } else if (unread) {
        // RFC 2525 §2.17: unread data is lost, so the peer must hear of it: a RST instead of a FIN.
        netIncStats(sk.net, LINUX_MIB_TCPABORTONCLOSE);
        tcpSetState(sk, TCP_CLOSE);
        tcpSendActiveReset(sk);
      } else if (sockFlag(sk, SOCK_LINGER) && sk.skLingertime === 0) {
        sk.skProt.disconnect?.(sk, 0);
        netIncStats(sk.net, LINUX_MIB_TCPABORTONDATA);
      } else if (tcpCloseState(sk)) {
        // RED-PEN in Linux: between here and the FIN the state says FIN_WAIT1 already.
        tcpSendFin(sk);
      }
    }
  }

  // adjudge_to_death
  sockHold(sk);
  sockOrphan(sk);
  sk.net.orphanCount++;
  if (sk.skcState === TCP_FIN_WAIT2) {
    // The peer may never close: an orphan does not wait for ever.
    if (sk.linger2 < 0) {
      tcpSetState(sk, TCP_CLOSE);
      tcpSendActiveReset(sk);
      netIncStats(sk.net, LINUX_MIB_TCPABORTONLINGER);
    } else {
      const tmo = tcpFinTime(sk);
      if (tmo > TCP_TIMEWAIT_LEN) {
        inetCskResetKeepaliveTimer(sk, tmo - TCP_TIMEWAIT_LEN);
      } else {
        tcpTimeWait(sk, TCP_FIN_WAIT2, tmo);
        return;
      }
    }
  }
  if (sk.skcState !== TCP_CLOSE && tcpCheckOom(sk, 0)) {
    tcpSetState(sk, TCP_CLOSE);
    tcpSendActiveReset(sk);
    netIncStats(sk.net, LINUX_MIB_TCPABORTONMEMORY);
  }
  if (sk.skcState === TCP_CLOSE) {
    // Aborted, with unread data for example, before the handshake was over.
    const req = sk.fastopenRsk;
    if (req !== null) reqskFastopenRemove(sk, req, false);
    inetCskDestroySock(sk);
  }
}

/** tcp_close (sk_prot->close). */
export function tcpClose(sk: Sock, timeout: number): void {
  __tcpClose(sk as TcpSock, timeout);
  // What adjudge_to_death held; the sock's own reference goes with inet_csk_destroy_sock.
  sockPut(sk);
}

/** tcp_need_reset: does an abort of this state owe the peer a RST? */
function tcpNeedReset(state: number): boolean {
  return ((1 << state) & (TCPF_ESTABLISHED | TCPF_CLOSE_WAIT | TCPF_FIN_WAIT1 | TCPF_FIN_WAIT2 | TCPF_SYN_RECV)) !== 0;
}

/** tcp_write_queue_purge: everything that was to be sent, or resent, is forgotten. */
export function tcpWriteQueuePurge(sk: TcpSock): void {
  tcpChronoStop(sk, TCP_CHRONO_BUSY);
  for (let skb = skbDequeue(sk.skWriteQueue); skb !== 0; skb = skbDequeue(sk.skWriteQueue)) tcpWmemFreeSkb(sk, skb);
  for (let skb = skbDequeue(sk.tcpRtxQueue); skb !== 0; skb = skbDequeue(sk.tcpRtxQueue)) tcpWmemFreeSkb(sk, skb);
  skMemReclaim(sk);
  sk.highestSack = 0;
  sk.retransmitSkbHint = 0;
  sk.packetsOut = 0;
  sk.icskBackoff = 0;
}

/** tcp_disconnect: back to a fresh socket (connect to AF_UNSPEC, linger 0, forgotten children). */
export function tcpDisconnect(sk0: Sock, _flags: number): number {
  const sk = sk0 as TcpSock;
  const old = sk.skcState;
  if (old !== TCP_CLOSE) tcpSetState(sk, TCP_CLOSE);
  if (old === TCP_LISTEN) {
    inetCskListenStop(sk);
  } else if (sk.repair) {
    sk.skErr = ECONNABORTED;
  } else if (tcpNeedReset(old)) {
    tcpSendActiveReset(sk);
    sk.skErr = ECONNRESET;
  } else if (sk.sndNxt !== sk.writeSeq && ((1 << old) & (TCPF_CLOSING | TCPF_LAST_ACK)) !== 0) {
    tcpSendActiveReset(sk);
    sk.skErr = ECONNRESET;
  } else if (old === TCP_SYN_SENT) {
    sk.skErr = ECONNRESET;
  }
  tcpClearXmitTimers(sk);
  skbQueuePurge(sk.skReceiveQueue);
  tcpWriteQueuePurge(sk);
  tcpFastopenActiveDisableOfoCheck(sk);
  skbQueuePurge(sk.outOfOrderQueue);
  sk.oooLastSkb = 0;
  // The purges gave back to the forward allocation what the skbs were charged.
  skMemReclaim(sk);
  sk.skcDport = 0;
  if ((sk.skUserlocks & SOCK_BINDADDR_LOCK) === 0) {
    sk.inetSaddr = 0;
    sk.skcRcvSaddr = 0;
  }
  sk.skcDaddr = 0;
  sk.skShutdown = 0;
  sk.skFlags &= ~(1 << SOCK_DONE);
  sk.srttUs = 0;
  sk.mdevUs = TCP_TIMEOUT_INIT;
  sk.rcvRttLastTsecr = 0;
  // A new connection never reuses the sequence space of the old one.
  sk.writeSeq = seqAdd(sk.writeSeq, sk.maxWindow + 2);
  if (seqRaw(sk.writeSeq) === 0) sk.writeSeq = seq(1);
  sk.icskBackoff = 0;
  sk.icskProbesOut = 0;
  sk.icskProbesTstamp = 0;
  sk.icskRto = TCP_TIMEOUT_INIT;
  sk.icskRtoMin = TCP_RTO_MIN;
  sk.icskDelackMax = TCP_DELACK_MAX;
  sk.sndSsthresh = TCP_INFINITE_SSTHRESH;
  sk.sndCwnd = TCP_INIT_CWND;
  sk.sndCwndCnt = 0;
  sk.isCwndLimited = false;
  sk.maxPacketsOut = 0;
  sk.windowClamp = 0;
  sk.delivered = 0;
  sk.deliveredCe = 0;
  sk.accecnFailMode = 0;
  sk.sawAccecnOpt = TCP_ACCECN_OPT_NOT_SEEN;
  tcpAccecnInitCounters(sk);
  sk.prevEcnfield = 0;
  sk.accecnOptTstamp = 0;
  sk.pktsAckedEwma = 0;
  sk.tlpHighSeqSet = false;
  sk.lastOowAckTime = 0;
  if (sk.icskCaOps.release !== undefined && sk.icskCaInitialized) sk.icskCaOps.release(sk);
  sk.icskCaInitialized = false;
  tcpSetCaState(sk, TCP_CA_Open);
  tcpClearRetrans(sk);
  inetCskDelackInit(sk);
  sk.icskAck.rcvMss = TCP_MIN_MSS;
  sk.rxOpt = new TcpOptionsReceived();
  sk.savedSyn = null;
  sk.isSackReneg = false;
  sk.compressedAck = 0;
  sk.dsackDups = 0;
  sk.reordSeen = 0;
  sk.rcvOoopack = 0;
  sk.synDataAcked = false;
  (sk.duplicateSack[0] as TcpSackBlock).startSeq = seq(0);
  (sk.duplicateSack[0] as TcpSackBlock).endSeq = seq(0);
  // The pipe has a bubble until at least the first ACK.
  sk.appLimited = 0xffffffff;
  sk.rateAppLimited = true;
  sk.rackMstamp = 0;
  sk.rackAdvanced = false;
  sk.rackReoWndSteps = 1;
  sk.rackLastDelivered = 0;
  sk.rackReoWndPersist = 0;
  sk.rackDsackSeen = false;
  sk.plbRehash = 0;
  sk.skPeekOff = -1;
  skDstReset(sk);
  sk.skRxDst = null;
  sk.bytesSent = 0;
  sk.bytesAcked = 0;
  sk.bytesReceived = 0;
  sk.bytesRetrans = 0;
  sk.totalRetrans = 0;
  sk.segsIn = 0;
  sk.segsOut = 0;
  sk.dataSegsIn = 0;
  sk.dataSegsOut = 0;
  sk.copiedSeq = sk.rcvNxt;
  sk.urgData = 0;
  sk.synDataAcked = false;
  sk.synFastopenChild = false;
  const req = sk.fastopenRsk;
  if (req !== null) reqskFastopenRemove(sk, req, false);
  tcpFreeFastopenReq(sk);
  sk.deferConnect = false;
  sk.fastopenClientFail = 0;
  sk.sndUna = sk.writeSeq;
  sk.sndNxt = sk.writeSeq;
  sk.pushedSeq = sk.writeSeq;
  sk.skErrorReport(sk);
  return 0;
}

/** tcp_abort (ss -K, namespace teardown): ends a connection with a RST and `err`. -ENOENT: it is over already. */
export function tcpAbort(sk0: Sock, err: number): number {
  if (sk0.skcState === TCP_NEW_SYN_RECV) {
    const req = sk0 as RequestSock;
    inetCskReqskQueueDropAndPut(req.rskListener, req);
    return 0;
  }
  if (sk0.skcState === TCP_TIME_WAIT) {
    inetTwskDeschedulePut(sk0 as TcpTimewaitSock);
    return 0;
  }
  const sk = sk0 as TcpSock;
  if (sk.skcState === TCP_CLOSE) return -ENOENT;
  if (sk.skcState === TCP_LISTEN) {
    tcpSetState(sk, TCP_CLOSE);
    inetCskListenStop(sk);
  }
  if (tcpNeedReset(sk.skcState)) tcpSendActiveReset(sk);
  tcpDoneWithError(sk, err);
  return 0;
}

/** tcp_destroy_sock's family-independent half: congestion control, queues, timers. */
export function tcpDestroyCommon(sk: TcpSock): void {
  tcpClearXmitTimers(sk);
  tcpCleanupCongestionControl(sk);
  tcpWriteQueuePurge(sk);
  tcpFastopenActiveDisableOfoCheck(sk);
  skbQueuePurge(sk.outOfOrderQueue);
  sk.oooLastSkb = 0;
  bugOn(sk.fastopenRsk !== null, "a destroyed socket has a Fast Open request");
  // If the socket is aborted during connect.
  tcpFreeFastopenReq(sk);
}
