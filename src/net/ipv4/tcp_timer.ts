/** TCP's timers: retransmission, delayed ACK, zero window probe, keepalive (RFC 6298, RFC 9293 §3.8). */

import { kernel, USEC_PER_JIFFY } from "../../kernel/kernel.ts";
import { netIncStats } from "../../kernel/mib.ts";
import { getRandomU32 } from "../../kernel/random.ts";
import { modTimer, type TimerList, timerSetup } from "../../kernel/timer.ts";
import { ETIMEDOUT } from "../../uapi/errno.ts";
import {
  LINUX_MIB_DELAYEDACKS,
  LINUX_MIB_TCPABORTONMEMORY,
  LINUX_MIB_TCPABORTONTIMEOUT,
  LINUX_MIB_TCPKEEPALIVE,
  LINUX_MIB_TCPLOSSFAILURES,
  LINUX_MIB_TCPRENOFAILURES,
  LINUX_MIB_TCPRENORECOVERYFAIL,
  LINUX_MIB_TCPSACKFAILURES,
  LINUX_MIB_TCPSACKRECOVERYFAIL,
  LINUX_MIB_TCPTIMEOUTS,
  LINUX_MIB_TIMEOUTREHASH,
} from "../../uapi/linux_mib.ts";
import {
  TCP_CA_Disorder,
  TCP_CA_Loss,
  TCP_CA_Recovery,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT2,
  TCP_LISTEN,
  TCP_SYN_SENT,
  TCPF_CLOSE,
  TCPF_LISTEN,
  TCPF_SYN_RECV,
  TCPF_SYN_SENT,
} from "../../uapi/tcp.ts";
import type { Sock } from "../core/sock.ts";
import { __skDstReset, SOCK_DEAD, SOCK_KEEPOPEN, sockFlag } from "../core/sock.ts";
import {
  inetCskAckScheduled,
  inetCskDeleteKeepaliveTimer,
  inetCskExitPingpongMode,
  inetCskInitXmitTimers,
  inetCskInPingpongMode,
  inetCskResetKeepaliveTimer,
  inetCskRtoBackoff,
} from "./inet_connection_sock.ts";
import type { RequestSock } from "./inet_sock.ts";
import {
  ICSK_ACK_TIMER,
  ICSK_TIME_LOSS_PROBE,
  ICSK_TIME_PROBE0,
  ICSK_TIME_REO_TIMEOUT,
  ICSK_TIME_RETRANS,
} from "./inet_sock.ts";
import { tcpCheckOom, tcpDone, tcpDoneWithError } from "./tcp.ts";
import { tcpAccecnSynackRetransmitted } from "./tcp_ecn.ts";
import { tcpFastopenActiveDetectBlackhole } from "./tcp_fastopen.ts";
import {
  __tcpSetRto,
  keepaliveIntvlWhen,
  keepaliveProbes,
  keepaliveTimeElapsed,
  keepaliveTimeWhen,
  TCP_ATO_MIN,
  TCP_DELACK_MAX,
  TCP_RESOURCE_PROBE_INTERVAL,
  TCP_RTO_MIN,
  TCP_THIN_LINEAR_RETRIES,
  TCP_TIMEOUT_MIN,
  TCP_TIMEWAIT_LEN,
  tcpFinTime,
  tcpIsSack,
  tcpJiffies32,
  tcpMstampRefresh,
  tcpResetXmitTimer,
  tcpRtoMax,
  tcpRtoMin,
  tcpRtxQueueHead,
  tcpSendHead,
  tcpSkbTimestampTs,
  tcpStreamIsThin,
  tcpTimeoutInit,
  tcpTimeStampMs,
  tcpTimeStampTs,
  tcpWriteQueueEmpty,
  USEC_PER_MSEC,
} from "./tcp_h.ts";
import { tcpEnterLoss, tcpSackCompressSendAck } from "./tcp_input.ts";
import { tcpTimeWait } from "./tcp_minisocks.ts";
import {
  tcpMssToMtu,
  tcpMtuToMss,
  tcpPaceKick,
  tcpRetransmitSkb,
  tcpRtxSynack,
  tcpSendAck,
  tcpSendActiveReset,
  tcpSendLossProbe,
  tcpSendProbe0,
  tcpSyncMss,
  tcpWriteWakeup,
} from "./tcp_output.ts";
import { tcpRackReoTimeout } from "./tcp_recovery.ts";
import type { TcpSock } from "./tcp_sock.ts";

// ---- how long -----------------------------------------------------------------------------------------------------------------

/** tcp_clamp_rto_to_user_timeout: the RTO in microseconds, not beyond what TCP_USER_TIMEOUT leaves. */
function tcpClampRtoToUserTimeout(sk: TcpSock): number {
  const userTimeout = sk.icskUserTimeout;
  if (userTimeout === 0) return sk.icskRto;
  const elapsed = (tcpTimeStampTs(sk) - sk.retransStamp) | 0;
  const remaining = userTimeout - elapsed;
  // The user timeout has passed: fire as soon as possible.
  if (remaining <= 0) return USEC_PER_JIFFY;
  return Math.min(sk.icskRto, remaining * USEC_PER_MSEC);
}

/** tcp_clamp_probe0_to_user_timeout: the same for the probe timer; `when` in microseconds. */
export function tcpClampProbe0ToUserTimeout(sk: TcpSock, when: number): number {
  const userTimeout = sk.icskUserTimeout;
  if (userTimeout === 0 || sk.icskProbesTstamp === 0) return when;
  let elapsed = tcpJiffies32() - sk.icskProbesTstamp;
  if (elapsed < 0) elapsed = 0;
  const remaining = Math.max((userTimeout - elapsed) * USEC_PER_JIFFY, TCP_TIMEOUT_MIN);
  return Math.min(remaining, when);
}

/** tcp_orphan_retries: retransmissions that a connection without a user gets. */
function tcpOrphanRetries(sk: TcpSock, alive: boolean): number {
  const retries = sk.net.ipv4.sysctlTcpOrphanRetries;
  // We know from an ICMP that something is wrong.
  if (sk.skErrSoft !== 0 && !alive) return 0;
  // However, if the socket has sent something recently, select some safe number: 8 is 100 s with a minimal RTO of 200 ms.
  if (retries === 0 && alive) return 8;
  return retries;
}

/** tcp_model_timeout: how long `boundary` exponential backoffs from `rtoBase` take, in milliseconds. */
export function tcpModelTimeout(sk: TcpSock, boundary: number, rtoBase: number): number {
  const rtoMax = tcpRtoMax(sk);
  const linearBackoffThresh = Math.max(31 - Math.clz32(Math.floor(rtoMax / rtoBase)), 0);
  let timeout: number;
  if (boundary <= linearBackoffThresh) timeout = (2 ** (boundary + 1) - 1) * rtoBase;
  else timeout = (2 ** (linearBackoffThresh + 1) - 1) * rtoBase + (boundary - linearBackoffThresh) * rtoMax;
  return Math.floor(timeout / USEC_PER_MSEC);
}

/**
 * retransmits_timed_out: true if the first retransmission was longer ago than `boundary` backoffs would have taken (with the
 * shortest RTO), or than `timeout` milliseconds if that is not 0.
 */
export function retransmitsTimedOut(sk: TcpSock, boundary: number, timeout: number): boolean {
  if (sk.icskRetransmits === 0) return false;
  if (timeout === 0) {
    const syn = ((1 << sk.skcState) & (TCPF_SYN_SENT | TCPF_SYN_RECV)) !== 0;
    timeout = tcpModelTimeout(sk, boundary, syn ? tcpTimeoutInit(sk) : TCP_RTO_MIN);
  }
  return ((tcpTimeStampTs(sk) - sk.retransStamp - timeout) | 0) >= 0;
}

// ---- giving up -------------------------------------------------------------------------------------------------------------------

/** tcp_write_err: the peer does not answer any more. */
function tcpWriteErr(sk: TcpSock): void {
  tcpDoneWithError(sk, sk.skErrSoft !== 0 ? sk.skErrSoft : ETIMEDOUT);
  netIncStats(sk.net, LINUX_MIB_TCPABORTONTIMEOUT);
}

/**
 * tcp_out_of_resources: ends an orphan if there are too many of them; those that make no progress count more. True if the
 * connection is gone. `doReset`: tell the peer.
 */
function tcpOutOfResources(sk: TcpSock, doReset: boolean): boolean {
  let shift = 0;
  const idle = (tcpJiffies32() - sk.lsndtime) * USEC_PER_JIFFY;
  // If the peer does not open the window for long, or did not transmit anything for long, penalize it.
  if (idle > 2 * tcpRtoMax(sk) || !doReset) shift++;
  // If some dubious ICMP arrived, penalize even more.
  if (sk.skErrSoft !== 0) shift++;
  if (tcpCheckOom(sk, shift)) {
    // A reset if the last segment was sent recently, or if the window is closed.
    if (idle <= TCP_TIMEWAIT_LEN || (sk.sndWnd === 0 && sk.packetsOut === 0)) doReset = true;
    if (doReset) tcpSendActiveReset(sk);
    tcpDone(sk);
    netIncStats(sk.net, LINUX_MIB_TCPABORTONMEMORY);
    return true;
  }
  if (sk.net.dead) {
    // Not possible to send a reset; just close.
    tcpDone(sk);
    return true;
  }
  return false;
}

/** tcp_mtu_probing: black hole detection (RFC 4821 §7.7): nothing large comes through any more: try smaller. */
function tcpMtuProbing(sk: TcpSock): void {
  const ipv4 = sk.net.ipv4;
  if (ipv4.sysctlTcpMtuProbing === 0) return;
  if (!sk.icskMtupEnabled) {
    sk.icskMtupEnabled = true;
    sk.icskMtupProbeTimestamp = tcpJiffies32();
  } else {
    let mss = tcpMtuToMss(sk, sk.icskMtupSearchLow) >> 1;
    mss = Math.min(ipv4.sysctlTcpBaseMss, mss);
    mss = Math.max(mss, ipv4.sysctlTcpMtuProbeFloor, ipv4.sysctlTcpMinSndMss);
    sk.icskMtupSearchLow = tcpMssToMtu(sk, mss);
  }
  tcpSyncMss(sk, sk.icskPmtuCookie);
}

/** __dst_negative_advice: the route may be the culprit. */
/* notrace */
function dstNegativeAdvice(sk: TcpSock): void {
  const dst = sk.skDstCache;
  if (dst !== null) dst.ops.negativeAdvice(sk, dst);
}

/** sk_rethink_txhash: another path through the network, perhaps. False if the socket does not want that. */
/* notrace */
export function skRethinkTxhash(sk: Sock): boolean {
  if (sk.skTxhash === 0 || sk.skTxrehash !== 1) return false;
  sk.skTxhash = getRandomU32() || 1;
  return true;
}

/** tcp_write_timeout: has this gone on for too long? True if the connection is gone. */
function tcpWriteTimeout(sk: TcpSock): boolean {
  const ipv4 = sk.net.ipv4;
  let expired = false;
  let retryUntil: number;
  if (((1 << sk.skcState) & (TCPF_SYN_SENT | TCPF_SYN_RECV)) !== 0) {
    if (sk.icskRetransmits !== 0) dstNegativeAdvice(sk);
    retryUntil = sk.icskSynRetries !== 0 ? sk.icskSynRetries : ipv4.sysctlTcpSynRetries;
    const max = sk.skcState === TCP_SYN_SENT ? retryUntil + ipv4.sysctlTcpSynLinearTimeouts : retryUntil;
    expired = sk.icskRetransmits >= max;
  } else {
    if (retransmitsTimedOut(sk, ipv4.sysctlTcpRetries1, 0)) {
      tcpMtuProbing(sk);
      dstNegativeAdvice(sk);
    }
    retryUntil = ipv4.sysctlTcpRetries2;
    if (sockFlag(sk, SOCK_DEAD)) {
      const alive = sk.icskRto < tcpRtoMax(sk);
      retryUntil = tcpOrphanRetries(sk, alive);
      const doReset = alive || !retransmitsTimedOut(sk, retryUntil, 0);
      if (tcpOutOfResources(sk, doReset)) return true;
    }
  }
  if (!expired) expired = retransmitsTimedOut(sk, retryUntil, sk.icskUserTimeout);
  tcpFastopenActiveDetectBlackhole(sk, expired);
  if (expired) {
    // Has it gone just too far?
    tcpWriteErr(sk);
    return true;
  }
  if (skRethinkTxhash(sk)) {
    sk.timeoutRehash++;
    netIncStats(sk.net, LINUX_MIB_TIMEOUTREHASH);
  }
  return false;
}

// ---- delayed ACK ----------------------------------------------------------------------------------------------------------------

/** tcp_delack_timer_handler. */
export function tcpDelackTimerHandler(sk: TcpSock): void {
  if (((1 << sk.skcState) & (TCPF_CLOSE | TCPF_LISTEN)) !== 0) return;
  // Handling the SACK compression case.
  if (sk.compressedAck !== 0) {
    tcpMstampRefresh(sk);
    tcpSackCompressSendAck(sk);
    return;
  }
  const ack = sk.icskAck;
  if ((ack.pending & ICSK_ACK_TIMER) === 0) return;
  if (ack.timeout > kernel.now) {
    modTimer(sk.icskDelackTimer, ack.timeout);
    return;
  }
  ack.pending &= ~ICSK_ACK_TIMER;
  if (!inetCskAckScheduled(sk)) return;
  if (!inetCskInPingpongMode(sk)) {
    // Delayed ACK missed: inflate ATO.
    ack.ato = Math.min(ack.ato * 2, sk.icskRto, TCP_DELACK_MAX);
  } else {
    // Delayed ACK missed: leave pingpong mode and deflate ATO.
    inetCskExitPingpongMode(sk);
    ack.ato = TCP_ATO_MIN;
  }
  tcpMstampRefresh(sk);
  tcpSendAck(sk);
  netIncStats(sk.net, LINUX_MIB_DELAYEDACKS);
}

/** tcp_delack_timer. */
export function tcpDelackTimer(t: TimerList): void {
  tcpDelackTimerHandler(t.data as TcpSock);
}

/** tcp_compressed_ack_kick: the SACKs that were held back for a while are sent as one. */
export function tcpCompressedAckKick(t: TimerList): void {
  const sk = t.data as TcpSock;
  if (sk.compressedAck === 0) return;
  // The one that is sent now was not compressed away.
  sk.compressedAck--;
  tcpMstampRefresh(sk);
  tcpSendAck(sk);
}

// ---- zero window probe -------------------------------------------------------------------------------------------------------------

/** tcp_probe_timer: the peer's window is closed: ask whether it still is. */
function tcpProbeTimer(sk: TcpSock): void {
  const skb = tcpSendHead(sk);
  if (sk.packetsOut !== 0 || skb === 0) {
    sk.icskProbesOut = 0;
    sk.icskProbesTstamp = 0;
    return;
  }
  // RFC 1122 §4.2.2.17: stay open as long as the peer answers probes. An orphan does not, nor one with a user timeout.
  const userTimeout = sk.icskUserTimeout;
  if (sk.icskProbesTstamp === 0) {
    sk.icskProbesTstamp = tcpJiffies32() || 1;
  } else if (userTimeout !== 0 && tcpJiffies32() - sk.icskProbesTstamp >= userTimeout) {
    tcpWriteErr(sk);
    return;
  }
  let maxProbes = sk.net.ipv4.sysctlTcpRetries2;
  if (sockFlag(sk, SOCK_DEAD)) {
    const rtoMax = tcpRtoMax(sk);
    const alive = inetCskRtoBackoff(sk, rtoMax) < rtoMax;
    maxProbes = tcpOrphanRetries(sk, alive);
    if (!alive && sk.icskBackoff >= maxProbes) {
      tcpWriteErr(sk);
      return;
    }
    if (tcpOutOfResources(sk, true)) return;
  }
  // Only send another probe if we didn't close things up.
  if (sk.icskProbesOut >= maxProbes) tcpWriteErr(sk);
  else tcpSendProbe0(sk);
}

// ---- retransmission ---------------------------------------------------------------------------------------------------------------

/** tcp_update_rto_stats. */
function tcpUpdateRtoStats(sk: TcpSock): void {
  if (sk.icskRetransmits === 0) {
    sk.totalRtoRecoveries++;
    sk.rtoStamp = tcpTimeStampMs(sk);
  }
  sk.icskRetransmits++;
  sk.totalRto++;
}

/** tcp_fastopen_synack_timer: the SYN-ACK of a Fast Open child, whose request is bound to it, got no ACK. */
function tcpFastopenSynackTimer(sk: TcpSock, req: RequestSock): void {
  // One more than usual: the child may have been accepted already.
  const maxRetries = sk.icskSynRetries !== 0 ? sk.icskSynRetries : sk.net.ipv4.sysctlTcpSynackRetries + 1;
  tcpSynAckTimeout(req);
  if (req.numTimeout >= maxRetries) {
    tcpWriteErr(sk);
    return;
  }
  // Lower cwnd after certain SYN-ACK timeouts like tcp_init_transfer.
  if (sk.icskRetransmits === 1) tcpEnterLoss(sk);
  // Errors are ignored: it would be harsh to give up on a child that was accepted.
  if (tcpRtxSynack(sk, req) === 0) req.numRetrans++;
  tcpAccecnSynackRetransmitted(req);
  req.numTimeout++;
  tcpUpdateRtoStats(sk);
  if (sk.retransStamp === 0) sk.retransStamp = tcpTimeStampTs(sk) || 1;
  tcpResetXmitTimer(sk, ICSK_TIME_RETRANS, req.timeout * 2 ** req.numTimeout, false);
}

/** tcp_rtx_probe0_timed_out: no ACK for two maximal RTOs, though the window was shrunk to nothing over sent data. */
function tcpRtxProbe0TimedOut(sk: TcpSock, rtxDelta: number): boolean {
  const userTimeout = sk.icskUserTimeout;
  let timeout = (2 * tcpRtoMax(sk)) / USEC_PER_JIFFY;
  if (userTimeout !== 0) {
    // Zero window packets are no progress of the retransmits.
    if (rtxDelta > userTimeout) return true;
    timeout = Math.min(timeout, userTimeout);
  }
  const rcvDelta = Math.floor(sk.icskTimeout / USEC_PER_JIFFY) - sk.rcvTstamp;
  if (rcvDelta <= timeout) return false;
  return rtxDelta > timeout;
}

/** What is counted when the first RTO of an episode ends a recovery. */
/* notrace */
function tcpRtoMib(sk: TcpSock): number {
  if (sk.icskCaState === TCP_CA_Recovery) {
    return tcpIsSack(sk) ? LINUX_MIB_TCPSACKRECOVERYFAIL : LINUX_MIB_TCPRENORECOVERYFAIL;
  }
  if (sk.icskCaState === TCP_CA_Loss) return LINUX_MIB_TCPLOSSFAILURES;
  if (sk.icskCaState === TCP_CA_Disorder || sk.sackedOut !== 0) {
    return tcpIsSack(sk) ? LINUX_MIB_TCPSACKFAILURES : LINUX_MIB_TCPRENOFAILURES;
  }
  return 0;
}

/** tcp_retransmit_timer: the RTO has passed (RFC 6298 §5.4 to 5.7). */
export function tcpRetransmitTimer(sk: TcpSock): void {
  const ipv4 = sk.net.ipv4;
  const req = sk.fastopenRsk;
  if (req !== null) {
    tcpFastopenSynackTimer(sk, req);
    // Nothing else is retransmitted before the ACK of our SYN-ACK has come.
    return;
  }
  if (sk.packetsOut === 0) return;
  const skb = tcpRtxQueueHead(sk);
  if (skb === 0) return;

  const syn = ((1 << sk.skcState) & (TCPF_SYN_SENT | TCPF_SYN_RECV)) !== 0;
  if (sk.sndWnd === 0 && !sockFlag(sk, SOCK_DEAD) && !syn) {
    // The peer has shrunk its window over what was sent. Our retransmissions are zero window probes then.
    const since = sk.retransStamp !== 0 ? sk.retransStamp : tcpSkbTimestampTs(skb);
    const rtxDelta = (tcpTimeStampTs(sk) - since) >>> 0;
    if (tcpRtxProbe0TimedOut(sk, rtxDelta)) {
      tcpWriteErr(sk);
      return;
    }
    tcpEnterLoss(sk);
    tcpRetransmitSkb(sk, skb, 1);
    __skDstReset(sk);
  } else {
    netIncStats(sk.net, LINUX_MIB_TCPTIMEOUTS);
    if (tcpWriteTimeout(sk)) return;
    if (sk.icskRetransmits === 0) {
      const mib = tcpRtoMib(sk);
      if (mib !== 0) netIncStats(sk.net, mib);
    }
    tcpEnterLoss(sk);
    tcpUpdateRtoStats(sk);
    if (tcpRetransmitSkb(sk, tcpRtxQueueHead(sk), 1) > 0) {
      // Dropped for congestion on this host: fight for its resources conservatively.
      tcpResetXmitTimer(sk, ICSK_TIME_RETRANS, TCP_RESOURCE_PROBE_INTERVAL, false);
      return;
    }
  }

  if (
    sk.skcState === TCP_ESTABLISHED &&
    (sk.thinLto || ipv4.sysctlTcpThinLinearTimeouts !== 0) &&
    tcpStreamIsThin(sk) &&
    sk.icskRetransmits <= TCP_THIN_LINEAR_RETRIES
  ) {
    // A thin stream has no fast retransmit to hope for: no backoff for its first timeouts.
    sk.icskBackoff = 0;
    sk.icskRto = Math.min(Math.max(__tcpSetRto(sk), tcpRtoMin(sk)), tcpRtoMax(sk));
  } else if (sk.skcState !== TCP_SYN_SENT || sk.totalRto > ipv4.sysctlTcpSynLinearTimeouts) {
    // RFC 6298 §5.5: back off. The first SYNs do not.
    sk.icskBackoff++;
    sk.icskRto = Math.min(sk.icskRto * 2, tcpRtoMax(sk));
  }
  tcpResetXmitTimer(sk, ICSK_TIME_RETRANS, tcpClampRtoToUserTimeout(sk), false);
  if (retransmitsTimedOut(sk, ipv4.sysctlTcpRetries1 + 1, 0)) __skDstReset(sk);
}

/** tcp_write_timer_handler: one timer serves RTO, TLP, RACK's reordering timer and the zero window probe. */
export function tcpWriteTimerHandler(sk: TcpSock): void {
  if (((1 << sk.skcState) & (TCPF_CLOSE | TCPF_LISTEN)) !== 0 || sk.icskPending === 0) return;
  if (sk.icskTimeout > kernel.now) {
    // It was put off meanwhile.
    modTimer(sk.icskRetransmitTimer, sk.icskTimeout);
    return;
  }
  tcpMstampRefresh(sk);
  switch (sk.icskPending) {
    case ICSK_TIME_REO_TIMEOUT:
      tcpRackReoTimeout(sk);
      break;
    case ICSK_TIME_LOSS_PROBE:
      tcpSendLossProbe(sk);
      break;
    case ICSK_TIME_RETRANS:
      sk.icskPending = 0;
      tcpRetransmitTimer(sk);
      break;
    case ICSK_TIME_PROBE0:
      sk.icskPending = 0;
      tcpProbeTimer(sk);
      break;
  }
}

/** tcp_write_timer. */
export function tcpWriteTimer(t: TimerList): void {
  tcpWriteTimerHandler(t.data as TcpSock);
}

/** tcp_syn_ack_timeout: a SYN-ACK got no answer in time. */
export function tcpSynAckTimeout(req: RequestSock): void {
  netIncStats(req.rskListener.net, LINUX_MIB_TCPTIMEOUTS);
}

// ---- keepalive (RFC 9293 §3.8.4) ---------------------------------------------------------------------------------------------------

/** tcp_set_keepalive: SO_KEEPALIVE was set or cleared. */
export function tcpSetKeepalive(sk: TcpSock, val: boolean): void {
  if (((1 << sk.skcState) & (TCPF_CLOSE | TCPF_LISTEN)) !== 0) return;
  if (val && !sockFlag(sk, SOCK_KEEPOPEN)) inetCskResetKeepaliveTimer(sk, keepaliveTimeWhen(sk));
  else if (!val) inetCskDeleteKeepaliveTimer(sk);
}

/** tcp_keepalive_timer: sk->sk_timer: keepalive probes, and the end of FIN-WAIT-2 without a user. */
export function tcpKeepaliveTimer(t: TimerList): void {
  const sk = t.data as TcpSock;
  if (sk.skcState === TCP_LISTEN) return;
  tcpMstampRefresh(sk);
  if (sk.skcState === TCP_FIN_WAIT2 && sockFlag(sk, SOCK_DEAD)) {
    if (sk.linger2 >= 0) {
      const tmo = tcpFinTime(sk) - TCP_TIMEWAIT_LEN;
      if (tmo > 0) {
        tcpTimeWait(sk, TCP_FIN_WAIT2, tmo);
        return;
      }
    }
    tcpSendActiveReset(sk);
    tcpDone(sk);
    return;
  }
  if (!sockFlag(sk, SOCK_KEEPOPEN) || ((1 << sk.skcState) & (TCPF_CLOSE | TCPF_SYN_SENT)) !== 0) return;
  const next = tcpKeepaliveElapsed(sk);
  if (next >= 0) inetCskResetKeepaliveTimer(sk, next);
}

/** Probes if the connection was idle for long enough. Microseconds until the next look; -1 = the connection is gone. */
/* notrace */
function tcpKeepaliveElapsed(sk: TcpSock): number {
  const when = keepaliveTimeWhen(sk);
  // It is alive without keepalive: something is in flight or waits.
  if (sk.packetsOut !== 0 || !tcpWriteQueueEmpty(sk)) return when;
  const elapsed = keepaliveTimeElapsed(sk);
  if (elapsed < when) return when - elapsed;
  // TCP_USER_TIMEOUT, if set, says when to give up, instead of the number of probes.
  const userTimeout = sk.icskUserTimeout;
  if (
    (userTimeout !== 0 && elapsed >= userTimeout * USEC_PER_MSEC && sk.icskProbesOut > 0) ||
    (userTimeout === 0 && sk.icskProbesOut >= keepaliveProbes(sk))
  ) {
    tcpSendActiveReset(sk);
    tcpWriteErr(sk);
    return -1;
  }
  if (tcpWriteWakeup(sk, LINUX_MIB_TCPKEEPALIVE) <= 0) {
    sk.icskProbesOut++;
    return keepaliveIntvlWhen(sk);
  }
  // If keepalive was lost due to local congestion, try harder.
  return TCP_RESOURCE_PROBE_INTERVAL;
}

/** tcp_init_xmit_timers: makes the five timers of a connection. */
export function tcpInitXmitTimers(sk: TcpSock): void {
  inetCskInitXmitTimers(sk, tcpWriteTimer, tcpDelackTimer, tcpKeepaliveTimer);
  sk.pacingTimer = timerSetup(tcpPaceKick, sk);
  sk.compressedAckTimer = timerSetup(tcpCompressedAckKick, sk);
}
