/** What connection-oriented protocols share: accept queues, connection requests, the timers of a connection. */

import { bugOn } from "../../kernel/bug.ts";
import { kernel, USEC_PER_JIFFY } from "../../kernel/kernel.ts";
import type { TimerList } from "../../kernel/timer.ts";
import { delTimer, modTimer, timerSetup } from "../../kernel/timer.ts";
import { EADDRINUSE, EAGAIN, EINVAL } from "../../uapi/errno.ts";
import { TCP_CLOSE, TCP_LISTEN, TCP_NEW_SYN_RECV, TCP_SYN_RECV } from "../../uapi/tcp.ts";
import type { DstEntry } from "../core/dst.ts";
import type { ErrBox, Sock } from "../core/sock.ts";
import {
  __skDstCheck,
  SOCK_DEAD,
  skAcceptqAdded,
  skAcceptqRemoved,
  skCloneLock,
  skSetupCaps,
  sockFlag,
  sockOrphan,
  sockPut,
  sockSetFlag,
} from "../core/sock.ts";
import { skStreamKillQueues } from "../core/stream.ts";
import { FlowI4, flowi4InitOutput } from "./flow.ts";
import { inetEhashInsert, inetEhashRemove, inetListenConflict, inetPutPort } from "./inet_hashtables.ts";
import type { InetConnectionSock, RequestSock } from "./inet_sock.ts";
import {
  ICSK_ACK_SCHED,
  ICSK_ACK_TIMER,
  ICSK_TIME_DACK,
  ICSK_TIME_LOSS_PROBE,
  ICSK_TIME_PROBE0,
  ICSK_TIME_REO_TIMEOUT,
  ICSK_TIME_RETRANS,
} from "./inet_sock.ts";
import { ipRouteOutputFlow } from "./route.ts";
import { tcpAccecnSynackRetransmitted } from "./tcp_ecn.ts";
import { tcpSynAckTimeout } from "./tcp_timer.ts";

declare module "../core/net_namespace.ts" {
  interface Net {
    /** Sockets without a user that still have a state (tcp_orphan_count). */
    orphanCount: number;
  }
}

// ---- timers of a connection -----------------------------------------------------------------------------------------

/** inet_csk_init_xmit_timers. The keepalive timer is sk->sk_timer. */
export function inetCskInitXmitTimers(
  sk: InetConnectionSock,
  retransmitHandler: (t: TimerList) => void,
  delackHandler: (t: TimerList) => void,
  keepaliveHandler: (t: TimerList) => void,
): void {
  sk.icskRetransmitTimer = timerSetup(retransmitHandler, sk);
  sk.icskDelackTimer = timerSetup(delackHandler, sk);
  sk.skTimer = timerSetup(keepaliveHandler, sk);
  sk.icskPending = 0;
  sk.icskAck.pending = 0;
}

/** inet_csk_clear_xmit_timers. */
export function inetCskClearXmitTimers(sk: InetConnectionSock): void {
  sk.icskPending = 0;
  sk.icskAck.pending = 0;
  delTimer(sk.icskRetransmitTimer);
  delTimer(sk.icskDelackTimer);
  if (sk.skTimer !== null) delTimer(sk.skTimer);
}

/** inet_csk_clear_xmit_timer: the timer itself is left armed (INET_CSK_CLEAR_TIMERS is off): it finds nothing to do. */
export function inetCskClearXmitTimer(sk: InetConnectionSock, what: number): void {
  if (what === ICSK_TIME_DACK) {
    sk.icskAck.pending = 0;
    sk.icskAck.retry = 0;
  } else {
    sk.icskPending = 0;
  }
}

/** The next jiffy at or after `us`. */
function roundJiffy(us: number): number {
  return Math.ceil(us / USEC_PER_JIFFY) * USEC_PER_JIFFY;
}

/** inet_csk_reset_xmit_timer: `when` and `maxWhen` in microseconds from now. */
export function inetCskResetXmitTimer(sk: InetConnectionSock, what: number, when: number, maxWhen: number): void {
  if (when > maxWhen) when = maxWhen;
  const due = roundJiffy(kernel.now + when);
  if (what === ICSK_TIME_DACK) {
    sk.icskAck.pending |= ICSK_ACK_TIMER;
    sk.icskAck.timeout = due;
    modTimer(sk.icskDelackTimer, due);
    return;
  }
  bugOn(
    what !== ICSK_TIME_RETRANS &&
      what !== ICSK_TIME_PROBE0 &&
      what !== ICSK_TIME_LOSS_PROBE &&
      what !== ICSK_TIME_REO_TIMEOUT,
    "unknown timer",
  );
  sk.icskPending = what;
  sk.icskTimeout = due;
  modTimer(sk.icskRetransmitTimer, due);
}

/** inet_csk_reset_keepalive_timer: `len` in microseconds from now. */
export function inetCskResetKeepaliveTimer(sk: Sock, len: number): void {
  modTimer(sk.skTimer as TimerList, roundJiffy(kernel.now + len));
}

/** inet_csk_delete_keepalive_timer. */
export function inetCskDeleteKeepaliveTimer(sk: Sock): void {
  delTimer(sk.skTimer as TimerList);
}

/** inet_csk_rto_backoff: icsk_rto << icsk_backoff, bounded; microseconds. */
export function inetCskRtoBackoff(sk: InetConnectionSock, maxWhen: number): number {
  return Math.min(sk.icskRto * 2 ** sk.icskBackoff, maxWhen);
}

export function inetCskAckScheduled(sk: InetConnectionSock): boolean {
  return (sk.icskAck.pending & ICSK_ACK_SCHED) !== 0;
}

export function inetCskScheduleAck(sk: InetConnectionSock): void {
  sk.icskAck.pending |= ICSK_ACK_SCHED;
}

export function inetCskDelackInit(sk: InetConnectionSock): void {
  const a = sk.icskAck;
  a.pending = 0;
  a.quick = 0;
  a.pingpong = 0;
  a.retry = 0;
  a.ato = 0;
  a.timeout = 0;
  a.lrcvtime = 0;
  a.rcvMss = 0;
  a.lastSegSize = 0;
}

/** Interactive session: ACKs may be delayed (pingpong mode). */
export const TCP_PINGPONG_THRESH = 1;

export function inetCskEnterPingpongMode(sk: InetConnectionSock): void {
  sk.icskAck.pingpong = sk.net.ipv4.sysctlTcpPingpongThresh;
}
export function inetCskExitPingpongMode(sk: InetConnectionSock): void {
  sk.icskAck.pingpong = 0;
}
export function inetCskInPingpongMode(sk: InetConnectionSock): boolean {
  return sk.icskAck.pingpong >= sk.net.ipv4.sysctlTcpPingpongThresh;
}
export function inetCskIncPingpongCnt(sk: InetConnectionSock): void {
  if (sk.icskAck.pingpong < 255) sk.icskAck.pingpong++;
}

// ---- listening --------------------------------------------------------------------------------------------------------

/** inet_csk_listen_start: 0 or -EADDRINUSE. */
export function inetCskListenStart(sk: InetConnectionSock): number {
  const q = sk.icskAcceptQueue;
  bugOn(q.acceptQueue.length !== 0, "accept queue of a new listener is not empty");
  q.fastopenq.rskqRst.length = 0;
  q.fastopenq.qlen = 0;
  sk.skAckBacklog = 0;
  inetCskDelackInit(sk);
  // The race with another listener on the port is decided here, after the state is visible.
  sk.skcState = TCP_LISTEN;
  let err = 0;
  if (sk.skcNum === 0) err = sk.skProt.getPort(sk, 0) !== 0 ? -EADDRINUSE : 0;
  else if (inetListenConflict(sk) !== 0) err = -EADDRINUSE;
  if (err === 0) {
    sk.inetSport = sk.skcNum;
    sk.skDstCache = null;
    err = sk.skProt.hash(sk);
    if (err === 0) return 0;
  }
  sk.skcState = TCP_CLOSE;
  return err;
}

/** inet_csk_reqsk_queue_is_full: half-open requests are limited by the listen backlog as well, plus one as ever. */
export function inetCskReqskQueueIsFull(sk: InetConnectionSock): boolean {
  return sk.icskAcceptQueue.qlen > sk.skMaxAckBacklog;
}

export function inetCskReqskQueueLen(sk: InetConnectionSock): number {
  return sk.icskAcceptQueue.qlen;
}

/** inet_csk_accept: the oldest established child, or null with err = -EAGAIN / -EINVAL. */
export function inetCskAccept(sk0: Sock, _flags: number, err: ErrBox): Sock | null {
  const sk = sk0 as InetConnectionSock;
  if (sk.skcState !== TCP_LISTEN) {
    err.value = -EINVAL;
    return null;
  }
  const req = sk.icskAcceptQueue.acceptQueue.shift();
  if (req === undefined) {
    err.value = -EAGAIN;
    return null;
  }
  skAcceptqRemoved(sk);
  err.value = 0;
  const child = req.sk;
  // reqsk_fastopen_remove will know by this that the child was accepted.
  if (req.tfoListener) req.sk = null;
  return child;
}

/** inet_csk_listen_poll's condition. */
export function inetCskListenReadable(sk: InetConnectionSock): boolean {
  return sk.icskAcceptQueue.acceptQueue.length !== 0;
}

// ---- connection requests ------------------------------------------------------------------------------------------------

/** inet_csk_reqsk_queue_hash_add: the request stands in the ehash and retransmits its SYN-ACK. */
export function inetCskReqskQueueHashAdd(sk: InetConnectionSock, req: RequestSock, timeoutUs: number): boolean {
  req.skcState = TCP_NEW_SYN_RECV;
  if (!inetEhashInsert(req, null)) return false;
  const q = sk.icskAcceptQueue;
  q.qlen++;
  q.young++;
  q.requests.add(req);
  req.timeout = timeoutUs;
  req.rskTimer = timerSetup(reqskTimerHandler, req);
  modTimer(req.rskTimer, roundJiffy(kernel.now + timeoutUs));
  return true;
}

/** reqsk_queue_removed. */
function reqskQueueRemoved(sk: InetConnectionSock, req: RequestSock): void {
  const q = sk.icskAcceptQueue;
  if (!q.requests.delete(req)) return;
  q.qlen--;
  if (req.numTimeout === 0) q.young--;
}

/** inet_csk_reqsk_queue_drop: forgets a request. True if it was still there. */
export function inetCskReqskQueueDrop(sk: InetConnectionSock, req: RequestSock): boolean {
  const unlinked = inetEhashRemove(req);
  if (req.rskTimer !== null) delTimer(req.rskTimer);
  if (unlinked) reqskQueueRemoved(sk, req);
  return unlinked;
}

/** inet_csk_reqsk_queue_drop_and_put. */
export function inetCskReqskQueueDropAndPut(sk: InetConnectionSock, req: RequestSock): void {
  if (inetCskReqskQueueDrop(sk, req)) req.rskOps.destructor(req);
}

/** inet_csk_reqsk_queue_unlink without freeing: the child takes over. */
export function inetCskReqskQueueRemoved(sk: InetConnectionSock, req: RequestSock): void {
  if (req.rskTimer !== null) delTimer(req.rskTimer);
  reqskQueueRemoved(sk, req);
}

/**
 * inet_csk_reqsk_queue_add: the child of `req` waits for accept(). Null if the listener was closed meanwhile (then the
 * child is gone).
 */
export function inetCskReqskQueueAdd(sk: InetConnectionSock, req: RequestSock, child: Sock): Sock | null {
  if (sk.skcState !== TCP_LISTEN) {
    inetChildForget(sk, req, child);
    return null;
  }
  req.sk = child;
  sk.icskAcceptQueue.acceptQueue.push(req);
  skAcceptqAdded(sk);
  return child;
}

/** inet_csk_complete_hashdance. */
export function inetCskCompleteHashdance(
  sk: InetConnectionSock,
  child: Sock | null,
  req: RequestSock,
  ownReq: boolean,
): Sock | null {
  if (child === null) return null;
  if (ownReq) {
    inetCskReqskQueueDrop(sk, req);
    inetCskReqskQueueRemoved(sk, req);
    return inetCskReqskQueueAdd(sk, req, child);
  }
  inetChildForget(sk, req, child);
  return null;
}

/** inet_child_forget: a child that nobody will accept. What was pending of its Fast Open ends with tcp_disconnect. */
export function inetChildForget(_sk: Sock, _req: RequestSock, child: Sock): void {
  child.skProt.disconnect?.(child, 0);
  sockOrphan(child);
  child.net.orphanCount++;
  inetCskDestroySock(child as InetConnectionSock);
}

/** TCP_SYNACK_RETRIES of this listener. */
function maxSynAckRetries(sk: InetConnectionSock): number {
  return sk.icskSynRetries !== 0 ? sk.icskSynRetries : sk.net.ipv4.sysctlTcpSynackRetries;
}

/** reqsk_timer_handler: retransmits the SYN-ACK with backoff until tcp_synack_retries, then forgets the request. */
export function reqskTimerHandler(t: TimerList): void {
  const req = t.data as RequestSock;
  const listener = req.rskListener;
  if (listener.skcState !== TCP_LISTEN) {
    inetCskReqskQueueDropAndPut(listener, req);
    return;
  }
  let maxRetries = maxSynAckRetries(listener);
  const q = listener.icskAcceptQueue;
  // When the queue is getting full of old requests, they live shorter, so that young ones find room.
  if (q.qlen * 2 > Math.max(8, listener.skMaxAckBacklog)) {
    let young = q.young * 2;
    while (maxRetries > 2) {
      if (q.qlen < young) break;
      maxRetries--;
      young *= 2;
    }
  }
  const deferAccept = rskqDeferAccept(listener);
  // syn_ack_recalc: with TCP_DEFER_ACCEPT an acked request is kept, and its SYN-ACK resent, until data may still come.
  const expire =
    deferAccept === 0
      ? req.numTimeout >= maxRetries
      : req.numTimeout >= maxRetries && (!req.acked || req.numTimeout >= deferAccept);
  const resend = deferAccept === 0 ? true : !req.acked || req.numTimeout >= deferAccept - 1;
  tcpSynAckTimeout(req);
  if (!expire && (!resend || inetRtxSynAck(listener, req) === 0 || req.acked)) {
    tcpAccecnSynackRetransmitted(req);
    if (req.numTimeout++ === 0) q.young--;
    const us = Math.min(req.timeout * 2 ** req.numTimeout, listener.icskRtoMax);
    modTimer(t, roundJiffy(kernel.now + us));
    return;
  }
  inetCskReqskQueueDropAndPut(listener, req);
}

/** TCP_DEFER_ACCEPT in SYN-ACK retransmits; stands on the listener. */
function rskqDeferAccept(sk: InetConnectionSock): number {
  return sk.icskAcceptQueue.rskqDeferAccept;
}

/** inet_rtx_syn_ack. */
export function inetRtxSynAck(sk: Sock, req: RequestSock): number {
  const err = req.rskOps.rtxSynAck(sk, req);
  if (err === 0) req.numRetrans++;
  return err;
}

const reqFl4 = new FlowI4();

/** inet_csk_route_req: the route of a SYN-ACK; `fl` is left filled. Null = no route (counted). */
export function inetCskRouteReq(sk: InetConnectionSock, fl: FlowI4 | null, req: RequestSock): DstEntry | null {
  const fl4 = fl ?? reqFl4;
  flowi4InitOutput(
    fl4,
    req.skcBoundDevIf !== 0 ? req.skcBoundDevIf : sk.skcBoundDevIf,
    req.irMark,
    sk.tos,
    0,
    sk.skProtocol,
    0,
    req.irRmtAddr,
    req.irLocAddr,
    req.irRmtPort,
    req.irNum,
  );
  return ipRouteOutputFlow(sk.net, fl4, sk);
}

/** inet_csk_route_child_sock. */
export function inetCskRouteChildSock(sk: Sock, newsk: Sock, req: RequestSock): DstEntry | null {
  return inetCskRouteReq(newsk as InetConnectionSock, (newsk as InetConnectionSock).corkFl, req);
}

/**
 * inet_csk_clone_lock: a child of a listener, in SYN_RECV: a copy of it with its options, that starts without queues,
 * timers and retransmissions.
 */
export function inetCskCloneLock(sk: InetConnectionSock, req: RequestSock): InetConnectionSock | null {
  const newsk = skCloneLock(sk) as InetConnectionSock | null;
  if (newsk === null) return null;
  newsk.skcState = TCP_SYN_RECV;
  newsk.icskBindHash = null;
  newsk.skcDport = req.irRmtPort;
  newsk.skcNum = req.irNum;
  newsk.inetSport = req.irNum;
  newsk.skMark = req.irMark;
  newsk.mcList = [];
  newsk.icskRetransmits = 0;
  newsk.icskBackoff = 0;
  newsk.icskProbesOut = 0;
  newsk.icskProbesTstamp = 0;
  inetCskDelackInit(newsk);
  return newsk;
}

// ---- the end ----------------------------------------------------------------------------------------------------------

/** inet_csk_destroy_sock: a dead sock in TCP_CLOSE loses its port, its queues and its last reference. */
export function inetCskDestroySock(sk: InetConnectionSock): void {
  bugOn(sk.skcState !== TCP_CLOSE, "destroying a socket that is not closed");
  bugOn(!sockFlag(sk, SOCK_DEAD), "destroying a socket that somebody holds");
  if (sk.skcNum !== 0 && sk.icskBindHash !== null) inetPutPort(sk);
  sk.skProt.destroy?.(sk);
  skStreamKillQueues(sk);
  sk.net.orphanCount--;
  sockPut(sk);
}

/** inet_csk_prepare_forced_close / prepare_for_destroy: marks a child that was never accepted as dead and counted. */
export function inetCskPrepareForDestroySock(sk: Sock): void {
  sockSetFlag(sk, SOCK_DEAD);
  sk.net.orphanCount++;
}

/** inet_csk_listen_stop: requests and children of a listener that closes (tcp_close on TCP_LISTEN). */
export function inetCskListenStop(sk: InetConnectionSock): void {
  const q = sk.icskAcceptQueue;
  for (const req of [...q.requests]) inetCskReqskQueueDropAndPut(sk, req);
  for (const req of q.acceptQueue) inetChildForget(sk, req, req.sk as Sock);
  q.acceptQueue.length = 0;
  q.fastopenq.rskqRst.length = 0;
  sk.skAckBacklog = 0;
  bugOn(q.qlen !== 0, "requests left at a closed listener");
}

const pmtuFl = new FlowI4();

/** inet_csk_rebuild_route. */
function inetCskRebuildRoute(sk: InetConnectionSock): DstEntry | null {
  flowi4InitOutput(
    pmtuFl,
    sk.skcBoundDevIf,
    sk.skMark,
    sk.tos,
    0,
    sk.skProtocol,
    0,
    sk.skcDaddr,
    sk.inetSaddr,
    sk.skcDport,
    sk.inetSport,
  );
  const dst = ipRouteOutputFlow(sk.net, pmtuFl, sk);
  if (dst !== null) skSetupCaps(sk, dst);
  return dst;
}

/** inet_csk_update_pmtu: the path of this connection has a smaller MTU. Returns its route, or null. */
export function inetCskUpdatePmtu(sk: InetConnectionSock, mtu: number): DstEntry | null {
  let dst = __skDstCheck(sk, 0);
  if (dst === null) {
    dst = inetCskRebuildRoute(sk);
    if (dst === null) return null;
  }
  dst.ops.updatePmtu(dst, sk, 0, mtu, true);
  dst = __skDstCheck(sk, 0);
  if (dst === null) dst = inetCskRebuildRoute(sk);
  return dst;
}
