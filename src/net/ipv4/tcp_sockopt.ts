/** TCP's socket options and TCP_INFO (the kernel keeps them in tcp.c). */

import { CAP_NET_ADMIN, nsCapable } from "../../kernel/capability.ts";
import { EFBIG, EINVAL, ENOENT, ENOPROTOOPT, EOPNOTSUPP, EPERM } from "../../uapi/errno.ts";
import { INET_ECN_CE, INET_ECN_ECT_0, INET_ECN_ECT_1 } from "../../uapi/ip.ts";
import { SOL_TCP } from "../../uapi/socket.ts";
import {
  TCP_CC_INFO,
  TCP_CLOSE,
  TCP_CONGESTION,
  TCP_CORK,
  TCP_DEFER_ACCEPT,
  TCP_DELACK_MAX_US,
  TCP_ESTABLISHED,
  TCP_FASTOPEN,
  TCP_FASTOPEN_CONNECT,
  TCP_FASTOPEN_KEY,
  TCP_FASTOPEN_NO_COOKIE,
  TCP_INFO,
  TCP_INQ,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_LINGER2,
  TCP_LISTEN,
  TCP_MAXSEG,
  TCP_MD5SIG,
  TCP_MD5SIG_EXT,
  TCP_NO_QUEUE,
  TCP_NODELAY,
  TCP_NOTSENT_LOWAT,
  TCP_QUEUE_SEQ,
  TCP_QUEUES_NR,
  TCP_QUICKACK,
  TCP_RECV_QUEUE,
  TCP_REPAIR,
  TCP_REPAIR_OFF,
  TCP_REPAIR_OFF_NO_WP,
  TCP_REPAIR_ON,
  TCP_REPAIR_OPTIONS,
  TCP_REPAIR_QUEUE,
  TCP_REPAIR_WINDOW,
  TCP_RTO_MAX_MS,
  TCP_RTO_MIN_US,
  TCP_SAVE_SYN,
  TCP_SAVED_SYN,
  TCP_SEND_QUEUE,
  TCP_SYNCNT,
  TCP_THIN_DUPACK,
  TCP_THIN_LINEAR_TIMEOUTS,
  TCP_TIMESTAMP,
  TCP_TX_DELAY,
  TCP_USER_TIMEOUT,
  TCP_WINDOW_CLAMP,
  TCPF_CLOSE,
  TCPF_CLOSE_WAIT,
  TCPF_ESTABLISHED,
  TCPF_LISTEN,
  TCPI_ECN_MODE_ACCECN,
  TCPI_ECN_MODE_DISABLED,
  TCPI_ECN_MODE_PENDING,
  TCPI_ECN_MODE_RFC3168,
  TCPI_OPT_ECN,
  TCPI_OPT_ECN_SEEN,
  TCPI_OPT_SACK,
  TCPI_OPT_SYN_DATA,
  TCPI_OPT_TFO_CHILD,
  TCPI_OPT_TIMESTAMPS,
  TCPI_OPT_WSCALE,
  TCPOPT_MSS,
  TCPOPT_SACK_PERM,
  TCPOPT_TIMESTAMP,
  TCPOPT_WINDOW,
} from "../../uapi/tcp.ts";
import { SOCK_MIN_RCVBUF } from "../core/netns_core.ts";
import type { ErrBox, OptVal, Sock } from "../core/sock.ts";
import { SK_FORCE_REUSE, SK_NO_REUSE, SOCK_KEEPOPEN, sockFlag } from "../core/sock.ts";
import {
  inetCskEnterPingpongMode,
  inetCskExitPingpongMode,
  inetCskResetKeepaliveTimer,
} from "./inet_connection_sock.ts";
import { ICSK_ACK_PUSHED, ICSK_ACK_SCHED } from "./inet_sock.ts";
import { after, seq, seqAdd, seqRaw, seqSub } from "./seq.ts";
import { tcpCleanupRbuf } from "./tcp.ts";
import { TCP_CA_NAME_MAX, tcpSetCongestionControl } from "./tcp_cong.ts";
import { tcpEcnModeAccecn, tcpEcnModeAny, tcpEcnModePending, tcpEcnModeRfc3168 } from "./tcp_ecn.ts";
import { tcpFastopenGetCipher, tcpFastopenInitKeyOnce, tcpFastopenResetCipher } from "./tcp_fastopen.ts";
import {
  __tcpAdjustRcvSsthresh,
  fastopenQueueTune,
  keepaliveIntvlWhen,
  keepaliveProbes,
  keepaliveTimeElapsed,
  keepaliveTimeWhen,
  MAX_TCP_KEEPCNT,
  MAX_TCP_KEEPIDLE,
  MAX_TCP_KEEPINTVL,
  MAX_TCP_SYNCNT,
  MAX_TCP_WINDOW,
  minmaxReset,
  TCP_CHRONO_BUSY,
  TCP_CHRONO_RWND_LIMITED,
  TCP_CHRONO_SNDBUF_LIMITED,
  TCP_DELACK_MAX,
  TCP_ECN_SEEN,
  TCP_FASTOPEN_KEY_LENGTH,
  TCP_FIN_TIMEOUT_MAX,
  TCP_MAX_WSCALE,
  TCP_MIN_MSS,
  TCP_NAGLE_CORK,
  TCP_NAGLE_OFF,
  TCP_NAGLE_PUSH,
  TCP_RTO_MIN,
  TCP_TIMEOUT_MIN,
  TFO_CLIENT_ENABLE,
  tcpClockMs,
  tcpJiffies32,
  tcpMinRtt,
  tcpMssClamp,
  tcpPushPendingFrames,
  tcpRtxQueueEmpty,
  tcpSetRto,
  usecsRoundJiffies,
} from "./tcp_h.ts";
import { tcpUpdatePacingRate } from "./tcp_input.ts";
import { tcpV4ParseMd5Keys } from "./tcp_md5.ts";
import { tcpDelackMax, tcpMtupInit, tcpSendWindowProbe } from "./tcp_output.ts";
import type { TcpSock } from "./tcp_sock.ts";

const USEC_PER_SEC = 1_000_000;
/** Seconds of TCP_RTO_MAX: 1..120. */
const TCP_RTO_MAX_MS_LIMIT = 120_000;

/** __tcp_sock_set_nodelay: Nagle off, and an implicit push of what Nagle held back. */
function tcpSockSetNodelay(sk: TcpSock, on: boolean): void {
  if (on) {
    sk.nonagle |= TCP_NAGLE_OFF | TCP_NAGLE_PUSH;
    tcpPushPendingFrames(sk);
  } else {
    sk.nonagle &= ~TCP_NAGLE_OFF;
  }
}

/** __tcp_sock_set_cork: uncorking pushes, also when Nagle stays off. */
function tcpSockSetCork(sk: TcpSock, on: boolean): void {
  if (on) {
    sk.nonagle |= TCP_NAGLE_CORK;
  } else {
    sk.nonagle &= ~TCP_NAGLE_CORK;
    if (sk.nonagle & TCP_NAGLE_OFF) sk.nonagle |= TCP_NAGLE_PUSH;
    tcpPushPendingFrames(sk);
  }
}

/** __tcp_sock_set_quickack: 0 = pingpong mode; odd = for now; even and nonzero = once. */
function tcpSockSetQuickack(sk: TcpSock, val: number): void {
  if (val === 0) {
    inetCskEnterPingpongMode(sk);
    return;
  }
  inetCskExitPingpongMode(sk);
  if (
    ((1 << sk.skcState) & (TCPF_ESTABLISHED | TCPF_CLOSE_WAIT)) !== 0 &&
    (sk.icskAck.pending & ICSK_ACK_SCHED) !== 0
  ) {
    sk.icskAck.pending |= ICSK_ACK_PUSHED;
    tcpCleanupRbuf(sk, 1);
    if ((val & 1) === 0) inetCskEnterPingpongMode(sk);
  }
}

/** tcp_set_window_clamp: TCP_WINDOW_CLAMP. 0 takes the clamp off, before there is a connection. */
function tcpSetWindowClamp(sk: TcpSock, val: number): number {
  if (val === 0) {
    if (sk.skcState !== TCP_CLOSE) return -EINVAL;
    sk.windowClamp = 0;
    return 0;
  }
  const old = sk.windowClamp;
  const next = Math.max(SOCK_MIN_RCVBUF >> 1, val);
  if (next === old) return 0;
  sk.windowClamp = next;
  if (next < old) __tcpAdjustRcvSsthresh(sk, next);
  // What is offered already may be offered again.
  else sk.rcvSsthresh = Math.max(Math.min(sk.rcvWnd, next), sk.rcvSsthresh);
  return 0;
}

/** TCP_FASTOPEN_KEY: 16 bytes, or 32 with a backup key. */
function tcpSockSetFastopenKey(sk: TcpSock, key: OptVal): number {
  if (!(key instanceof Uint8Array)) return -EINVAL;
  if (key.length !== TCP_FASTOPEN_KEY_LENGTH && key.length !== 2 * TCP_FASTOPEN_KEY_LENGTH) return -EINVAL;
  tcpFastopenResetCipher(sk.net, sk, key);
  return 0;
}

/** tcp_enable_tx_delay: TCP_TX_DELAY in microseconds; a live connection's idea of the path moves with it, at once. */
function tcpEnableTxDelay(sk: TcpSock, val: number): number {
  // srtt_us, which is scaled by 8, has to hold it.
  if (val < 0 || val >= 1 << (31 - 3)) return -EINVAL;
  const delta = (val - sk.tcpTxDelay) * 8;
  if (delta !== 0 && sk.skcState === TCP_ESTABLISHED) {
    sk.srttUs = Math.min(Math.max(sk.srttUs + delta, 1), 0xffffffff);
    tcpSetRto(sk);
    minmaxReset(sk.rttMin, tcpJiffies32(), 0xffffffff);
    tcpUpdatePacingRate(sk);
  }
  sk.tcpTxDelay = val;
  return 0;
}

/** What TCP_REPAIR_WINDOW takes and gives (struct tcp_repair_window). */
export interface TcpRepairWindow {
  readonly sndWl1: number;
  readonly sndWnd: number;
  readonly maxWindow: number;
  readonly rcvWnd: number;
  readonly rcvWup: number;
}

/** One of what TCP_REPAIR_OPTIONS takes (struct tcp_repair_opt): an option's kind, and its value. */
export interface TcpRepairOpt {
  readonly optCode: number;
  readonly optVal: number;
}

/** TCP_REPAIR: the connection's state can be read and written, and nothing is sent; what ends it may ask the peer's window. */
function tcpSetRepair(sk: TcpSock, val: number): number {
  // tcp_can_repair_sock
  if (!nsCapable(sk.net, CAP_NET_ADMIN) || sk.skcState === TCP_LISTEN) return -EPERM;
  if (val === TCP_REPAIR_ON) {
    sk.repair = true;
    sk.skcReuse = SK_FORCE_REUSE;
    sk.repairQueue = TCP_NO_QUEUE;
    return 0;
  }
  if (val !== TCP_REPAIR_OFF && val !== TCP_REPAIR_OFF_NO_WP) return -EINVAL;
  sk.repair = false;
  sk.skcReuse = SK_NO_REUSE;
  if (val === TCP_REPAIR_OFF) tcpSendWindowProbe(sk);
  return 0;
}

/** TCP_QUEUE_SEQ: where the queue begins that TCP_REPAIR_QUEUE has chosen; before the connection. */
function tcpSetQueueSeq(sk: TcpSock, val: number): number {
  if (sk.skcState !== TCP_CLOSE) return -EPERM;
  switch (sk.repairQueue) {
    case TCP_SEND_QUEUE:
      if (!tcpRtxQueueEmpty(sk)) return -EPERM;
      sk.writeSeq = seq(val);
      return 0;
    case TCP_RECV_QUEUE:
      if (sk.rcvNxt !== sk.copiedSeq) return -EPERM;
      sk.rcvNxt = seq(val);
      sk.copiedSeq = seq(val);
      return 0;
    default:
      return -EINVAL;
  }
}

/** tcp_repair_options_est: what the handshake had agreed on. */
function tcpRepairOptionsEst(sk: TcpSock, opts: readonly TcpRepairOpt[]): number {
  for (const { optCode, optVal } of opts) {
    switch (optCode) {
      case TCPOPT_MSS:
        sk.rxOpt.mssClamp = optVal & 0xffff;
        tcpMtupInit(sk);
        break;
      case TCPOPT_WINDOW: {
        const sndWscale = optVal & 0xffff;
        const rcvWscale = optVal >>> 16;
        if (sndWscale > TCP_MAX_WSCALE || rcvWscale > TCP_MAX_WSCALE) return -EFBIG;
        sk.rxOpt.sndWscale = sndWscale;
        sk.rxOpt.rcvWscale = rcvWscale;
        sk.rxOpt.wscaleOk = true;
        break;
      }
      case TCPOPT_SACK_PERM:
        if (optVal !== 0) return -EINVAL;
        sk.rxOpt.sackOk |= 1;
        break;
      case TCPOPT_TIMESTAMP:
        if (optVal !== 0) return -EINVAL;
        sk.rxOpt.tstampOk = true;
        break;
    }
  }
  return 0;
}

/** tcp_repair_set_window. */
function tcpRepairSetWindow(sk: TcpSock, w: TcpRepairWindow): number {
  if (!sk.repair) return -EPERM;
  if (w.maxWindow < w.sndWnd) return -EINVAL;
  if (after(seq(w.sndWl1), seqAdd(sk.rcvNxt, w.rcvWnd))) return -EINVAL;
  if (after(seq(w.rcvWup), sk.rcvNxt)) return -EINVAL;
  sk.sndWl1 = seq(w.sndWl1);
  sk.sndWnd = w.sndWnd;
  sk.maxWindow = w.maxWindow;
  sk.rcvWnd = w.rcvWnd;
  sk.rcvWup = seq(w.rcvWup);
  sk.rcvMwndSeq = seqAdd(sk.rcvWup, w.rcvWnd);
  return 0;
}

/** TCP_KEEPIDLE: restarts the clock from the last segment of the peer. */
function tcpSockSetKeepidle(sk: TcpSock, seconds: number): number {
  if (seconds < 1 || seconds > MAX_TCP_KEEPIDLE) return -EINVAL;
  sk.keepaliveTime = seconds * USEC_PER_SEC;
  if (sockFlag(sk, SOCK_KEEPOPEN) && ((1 << sk.skcState) & (TCPF_CLOSE | TCPF_LISTEN)) === 0) {
    const elapsed = keepaliveTimeElapsed(sk);
    inetCskResetKeepaliveTimer(sk, sk.keepaliveTime > elapsed ? sk.keepaliveTime - elapsed : 0);
  }
  return 0;
}

/** secs_to_retrans: how many SYN-ACK retransmits cover `seconds` with a first timeout of `timeout`. */
function secsToRetrans(seconds: number, timeout: number, rtoMax: number): number {
  if (seconds <= 0) return 0;
  let period = timeout;
  let res = 1;
  while (seconds > period && res < 255) {
    res++;
    timeout *= 2;
    if (timeout > rtoMax) timeout = rtoMax;
    period += timeout;
  }
  return res;
}

/** retrans_to_secs. */
function retransToSecs(retrans: number, timeout: number, rtoMax: number): number {
  if (retrans === 0) return 0;
  let period = timeout;
  while (--retrans > 0) {
    timeout *= 2;
    if (timeout > rtoMax) timeout = rtoMax;
    period += timeout;
  }
  return period;
}

/**
 * tcp_setsockopt at SOL_TCP. Returns 0 or a negative errno: -EINVAL for a bad value, -ENOPROTOOPT for an option that
 * does not exist here. Times are in the kernel's units (seconds; ms for TCP_USER_TIMEOUT).
 */
export function tcpSetsockopt(sk0: Sock, level: number, optname: number, optval: OptVal): number {
  const sk = sk0 as TcpSock;
  if (level !== SOL_TCP) return sk.icskAfOps.setsockopt(sk, level, optname, optval);
  if (optname === TCP_MD5SIG || optname === TCP_MD5SIG_EXT) return tcpV4ParseMd5Keys(sk, optname, optval);
  if (optname === TCP_FASTOPEN_KEY) return tcpSockSetFastopenKey(sk, optval);
  if (optname === TCP_CONGESTION) {
    if (typeof optval !== "string" || optval.length < 1) return -EINVAL;
    const name = optval.slice(0, TCP_CA_NAME_MAX - 1);
    return tcpSetCongestionControl(sk, name, true, nsCapable(sk.net, CAP_NET_ADMIN));
  }
  if (optname === TCP_REPAIR_OPTIONS) {
    if (!sk.repair || !Array.isArray(optval)) return -EINVAL;
    if (sk.skcState !== TCP_ESTABLISHED || sk.bytesSent !== 0) return -EPERM;
    return tcpRepairOptionsEst(sk, optval as TcpRepairOpt[]);
  }
  if (optname === TCP_REPAIR_WINDOW) {
    if (typeof optval !== "object") return sk.repair ? -EINVAL : -EPERM;
    return tcpRepairSetWindow(sk, optval as TcpRepairWindow);
  }
  if (typeof optval !== "number") return -EINVAL;
  const val = optval | 0;
  switch (optname) {
    case TCP_MAXSEG:
      // Values above the largest possible are refused, 0 means: back to the path's.
      if (val !== 0 && (val < TCP_MIN_MSS || val > MAX_TCP_WINDOW)) return -EINVAL;
      sk.rxOpt.userMss = val;
      return 0;
    case TCP_NODELAY:
      tcpSockSetNodelay(sk, val !== 0);
      return 0;
    case TCP_CORK:
      tcpSockSetCork(sk, val !== 0);
      return 0;
    case TCP_THIN_LINEAR_TIMEOUTS:
      if (val < 0 || val > 1) return -EINVAL;
      sk.thinLto = val === 1;
      return 0;
    case TCP_THIN_DUPACK:
      return val < 0 || val > 1 ? -EINVAL : 0;
    case TCP_KEEPIDLE:
      return tcpSockSetKeepidle(sk, val);
    case TCP_KEEPINTVL:
      if (val < 1 || val > MAX_TCP_KEEPINTVL) return -EINVAL;
      sk.keepaliveIntvl = val * USEC_PER_SEC;
      return 0;
    case TCP_KEEPCNT:
      if (val < 1 || val > MAX_TCP_KEEPCNT) return -EINVAL;
      sk.keepaliveProbes = val;
      return 0;
    case TCP_SYNCNT:
      if (val < 1 || val > MAX_TCP_SYNCNT) return -EINVAL;
      sk.icskSynRetries = val;
      return 0;
    case TCP_SAVE_SYN:
      if (val < 0 || val > 2) return -EINVAL;
      sk.saveSyn = val;
      return 0;
    case TCP_LINGER2:
      if (val < 0) sk.linger2 = -1;
      else sk.linger2 = val * USEC_PER_SEC > TCP_FIN_TIMEOUT_MAX ? TCP_FIN_TIMEOUT_MAX : val * USEC_PER_SEC;
      return 0;
    case TCP_DEFER_ACCEPT:
      sk.icskAcceptQueue.rskqDeferAccept = secsToRetrans(val, 1, sk.icskRtoMax / USEC_PER_SEC);
      return 0;
    case TCP_WINDOW_CLAMP:
      return tcpSetWindowClamp(sk, val);
    case TCP_QUICKACK:
      tcpSockSetQuickack(sk, val);
      return 0;
    case TCP_USER_TIMEOUT:
      if (val < 0) return -EINVAL;
      sk.icskUserTimeout = val;
      return 0;
    case TCP_FASTOPEN:
      if (val < 0 || ((1 << sk.skcState) & (TCPF_CLOSE | TCPF_LISTEN)) === 0) return -EINVAL;
      tcpFastopenInitKeyOnce(sk.net);
      fastopenQueueTune(sk, val);
      return 0;
    case TCP_FASTOPEN_CONNECT:
      if (val < 0 || val > 1) return -EINVAL;
      if ((sk.net.ipv4.sysctlTcpFastopen & TFO_CLIENT_ENABLE) === 0) return -EOPNOTSUPP;
      if (sk.skcState !== TCP_CLOSE) return -EINVAL;
      sk.fastopenConnect = val === 1;
      return 0;
    case TCP_FASTOPEN_NO_COOKIE:
      if (val < 0 || val > 1 || ((1 << sk.skcState) & (TCPF_CLOSE | TCPF_LISTEN)) === 0) return -EINVAL;
      sk.fastopenNoCookie = val === 1;
      return 0;
    case TCP_TIMESTAMP:
      if (!sk.repair) return -EPERM;
      sk.tsoffset = (val - tcpClockMs()) >>> 0;
      return 0;
    case TCP_REPAIR:
      return tcpSetRepair(sk, val);
    case TCP_REPAIR_QUEUE:
      if (!sk.repair) return -EPERM;
      if (val < 0 || val >= TCP_QUEUES_NR) return -EINVAL;
      sk.repairQueue = val;
      return 0;
    case TCP_QUEUE_SEQ:
      return tcpSetQueueSeq(sk, val);
    case TCP_NOTSENT_LOWAT:
      sk.notsentLowat = val >>> 0;
      sk.skWriteSpace(sk);
      return 0;
    case TCP_INQ:
      if (val < 0 || val > 1) return -EINVAL;
      sk.recvmsgInq = val === 1;
      return 0;
    case TCP_TX_DELAY:
      return tcpEnableTxDelay(sk, val);
    case TCP_RTO_MAX_MS:
      if (val < 1000 || val > TCP_RTO_MAX_MS_LIMIT) return -EINVAL;
      sk.icskRtoMax = val * 1000;
      return 0;
    case TCP_RTO_MIN_US:
      if (usecsRoundJiffies(val) > TCP_RTO_MIN || usecsRoundJiffies(val) < TCP_TIMEOUT_MIN) return -EINVAL;
      sk.icskRtoMin = usecsRoundJiffies(val);
      return 0;
    case TCP_DELACK_MAX_US:
      if (usecsRoundJiffies(val) > TCP_DELACK_MAX || usecsRoundJiffies(val) < TCP_TIMEOUT_MIN) return -EINVAL;
      sk.icskDelackMax = usecsRoundJiffies(val);
      return 0;
    default:
      return -ENOPROTOOPT;
  }
}

/** tcp_getsockopt at SOL_TCP: the value, or `err.value` = negative errno. */
export function tcpGetsockopt(sk0: Sock, level: number, optname: number, err: ErrBox): OptVal {
  const sk = sk0 as TcpSock;
  err.value = 0;
  if (level !== SOL_TCP) return sk.icskAfOps.getsockopt(sk, level, optname, err);
  const rtoMax = sk.icskRtoMax / USEC_PER_SEC;
  switch (optname) {
    case TCP_MAXSEG: {
      let val = sk.mssCache;
      if (sk.rxOpt.userMss !== 0 && ((1 << sk.skcState) & (TCPF_CLOSE | TCPF_LISTEN)) !== 0) val = sk.rxOpt.userMss;
      if (sk.repair) val = tcpMssClamp(sk, sk.rxOpt.mssClamp);
      return val;
    }
    case TCP_NODELAY:
      return (sk.nonagle & TCP_NAGLE_OFF) !== 0 ? 1 : 0;
    case TCP_CORK:
      return (sk.nonagle & TCP_NAGLE_CORK) !== 0 ? 1 : 0;
    case TCP_KEEPIDLE:
      return keepaliveTimeWhen(sk) / USEC_PER_SEC;
    case TCP_KEEPINTVL:
      return keepaliveIntvlWhen(sk) / USEC_PER_SEC;
    case TCP_KEEPCNT:
      return keepaliveProbes(sk);
    case TCP_SYNCNT:
      return sk.icskSynRetries !== 0 ? sk.icskSynRetries : sk.net.ipv4.sysctlTcpSynRetries;
    case TCP_LINGER2:
      if (sk.linger2 < 0) return -1;
      return sk.linger2 !== 0 ? sk.linger2 / USEC_PER_SEC : sk.net.ipv4.sysctlTcpFinTimeout / 1000;
    case TCP_DEFER_ACCEPT:
      return retransToSecs(sk.icskAcceptQueue.rskqDeferAccept, 1, rtoMax);
    case TCP_WINDOW_CLAMP:
      return sk.windowClamp;
    case TCP_INFO:
      return tcpGetInfo(sk);
    case TCP_QUICKACK:
      return sk.icskAck.pingpong < sk.net.ipv4.sysctlTcpPingpongThresh ? 1 : 0;
    case TCP_CONGESTION:
      return sk.icskCaOps === null ? "" : sk.icskCaOps.name;
    case TCP_CC_INFO: {
      // Length 0 where the congestion control has nothing to tell.
      const ca = sk.icskCaOps;
      return ca?.getInfo === undefined ? new Uint8Array(0) : (ca.getInfo(sk, -1) ?? new Uint8Array(0));
    }
    case TCP_THIN_LINEAR_TIMEOUTS:
      return sk.thinLto ? 1 : 0;
    case TCP_THIN_DUPACK:
      return 0;
    case TCP_USER_TIMEOUT:
      return sk.icskUserTimeout;
    case TCP_FASTOPEN:
      return sk.icskAcceptQueue.fastopenq.maxQlen;
    case TCP_FASTOPEN_KEY:
      return tcpFastopenGetCipher(sk.net, sk);
    case TCP_FASTOPEN_CONNECT:
      return sk.fastopenConnect ? 1 : 0;
    case TCP_FASTOPEN_NO_COOKIE:
      return sk.fastopenNoCookie ? 1 : 0;
    case TCP_TIMESTAMP:
      // Bit 0 would say that it counts microseconds.
      return ((tcpClockMs() + sk.tsoffset) & ~1) >>> 0;
    case TCP_REPAIR:
      return sk.repair ? 1 : 0;
    case TCP_REPAIR_QUEUE:
      if (!sk.repair) err.value = -EINVAL;
      return sk.repairQueue;
    case TCP_QUEUE_SEQ:
      if (sk.repairQueue === TCP_SEND_QUEUE) return seqRaw(sk.writeSeq);
      if (sk.repairQueue === TCP_RECV_QUEUE) return seqRaw(sk.rcvNxt);
      err.value = -EINVAL;
      return 0;
    case TCP_REPAIR_WINDOW: {
      if (!sk.repair) err.value = -EPERM;
      const w: TcpRepairWindow = {
        sndWl1: seqRaw(sk.sndWl1),
        sndWnd: sk.sndWnd,
        maxWindow: sk.maxWindow,
        rcvWnd: sk.rcvWnd,
        rcvWup: seqRaw(sk.rcvWup),
      };
      return w;
    }
    case TCP_NOTSENT_LOWAT:
      return sk.notsentLowat;
    case TCP_INQ:
      return sk.recvmsgInq ? 1 : 0;
    case TCP_TX_DELAY:
      return sk.tcpTxDelay;
    case TCP_SAVE_SYN:
      return sk.saveSyn;
    case TCP_SAVED_SYN: {
      const syn = sk.savedSyn;
      sk.savedSyn = null;
      if (syn === null) {
        err.value = -ENOENT;
        return 0;
      }
      return syn;
    }
    case TCP_RTO_MAX_MS:
      return sk.icskRtoMax / 1000;
    case TCP_RTO_MIN_US:
      return sk.icskRtoMin;
    case TCP_DELACK_MAX_US:
      return sk.icskDelackMax;
    default:
      err.value = -ENOPROTOOPT;
      return 0;
  }
}

/**
 * struct tcp_info, with the kernel's field names in camelCase and its units: rto, ato, rtt in microseconds, last_* in
 * milliseconds, rates in bytes a second, busy times in microseconds.
 */
export interface TcpInfo {
  state: number;
  caState: number;
  retransmits: number;
  probes: number;
  backoff: number;
  options: number;
  sndWscale: number;
  rcvWscale: number;
  deliveryRateAppLimited: number;
  fastopenClientFail: number;
  rto: number;
  ato: number;
  sndMss: number;
  rcvMss: number;
  unacked: number;
  sacked: number;
  lost: number;
  retrans: number;
  fackets: number;
  lastDataSent: number;
  lastAckSent: number;
  lastDataRecv: number;
  lastAckRecv: number;
  pmtu: number;
  rcvSsthresh: number;
  rtt: number;
  rttvar: number;
  sndSsthresh: number;
  sndCwnd: number;
  advmss: number;
  reordering: number;
  rcvRtt: number;
  rcvSpace: number;
  totalRetrans: number;
  pacingRate: number;
  maxPacingRate: number;
  bytesAcked: number;
  bytesReceived: number;
  segsOut: number;
  segsIn: number;
  notsentBytes: number;
  minRtt: number;
  dataSegsIn: number;
  dataSegsOut: number;
  deliveryRate: number;
  busyTime: number;
  rwndLimited: number;
  sndbufLimited: number;
  delivered: number;
  deliveredCe: number;
  bytesSent: number;
  bytesRetrans: number;
  dsackDups: number;
  reordSeen: number;
  rcvOoopack: number;
  sndWnd: number;
  rcvWnd: number;
  rehash: number;
  totalRto: number;
  totalRtoRecoveries: number;
  totalRtoTime: number;
  /** TCPI_ECN_MODE_*. */
  ecnMode: number;
  /** TCP_ACCECN_OPT_*_SEEN, TCP_ACCECN_*_FAIL_*. */
  accecnOptSeen: number;
  accecnFailMode: number;
  /** CE-marked segments, and the payload bytes that came, and that arrived at the peer, as ECT(1), ECT(0) and CE. */
  receivedCe: number;
  deliveredE1Bytes: number;
  deliveredE0Bytes: number;
  deliveredCeBytes: number;
  receivedE1Bytes: number;
  receivedE0Bytes: number;
  receivedCeBytes: number;
}

/** tcp_get_info_chrono_stats. */
function chrono(sk: TcpSock, type: number): number {
  let v = sk.chronoStat[type - 1] as number;
  if (type === sk.chronoType) v += tcpJiffies32() - sk.chronoStart;
  return v;
}

/** tcp_compute_delivery_rate: bytes a second. */
function tcpComputeDeliveryRate(sk: TcpSock): number {
  if (sk.rateDelivered === 0 || sk.rateIntervalUs === 0) return 0;
  return Math.floor((sk.rateDelivered * sk.mssCache * USEC_PER_SEC) / sk.rateIntervalUs);
}

/** tcpi_ecn_mode. */
function tcpiEcnMode(sk: TcpSock): number {
  if (tcpEcnModeRfc3168(sk)) return TCPI_ECN_MODE_RFC3168;
  if (tcpEcnModeAccecn(sk)) return TCPI_ECN_MODE_ACCECN;
  return tcpEcnModePending(sk) ? TCPI_ECN_MODE_PENDING : TCPI_ECN_MODE_DISABLED;
}

/** All fields 0: of a listener most mean nothing. */
const NO_INFO: TcpInfo = {
  state: 0,
  caState: 0,
  retransmits: 0,
  probes: 0,
  backoff: 0,
  options: 0,
  sndWscale: 0,
  rcvWscale: 0,
  deliveryRateAppLimited: 0,
  fastopenClientFail: 0,
  rto: 0,
  ato: 0,
  sndMss: 0,
  rcvMss: 0,
  unacked: 0,
  sacked: 0,
  lost: 0,
  retrans: 0,
  fackets: 0,
  lastDataSent: 0,
  lastAckSent: 0,
  lastDataRecv: 0,
  lastAckRecv: 0,
  pmtu: 0,
  rcvSsthresh: 0,
  rtt: 0,
  rttvar: 0,
  sndSsthresh: 0,
  sndCwnd: 0,
  advmss: 0,
  reordering: 0,
  rcvRtt: 0,
  rcvSpace: 0,
  totalRetrans: 0,
  pacingRate: 0,
  maxPacingRate: 0,
  bytesAcked: 0,
  bytesReceived: 0,
  segsOut: 0,
  segsIn: 0,
  notsentBytes: 0,
  minRtt: 0,
  dataSegsIn: 0,
  dataSegsOut: 0,
  deliveryRate: 0,
  busyTime: 0,
  rwndLimited: 0,
  sndbufLimited: 0,
  delivered: 0,
  deliveredCe: 0,
  bytesSent: 0,
  bytesRetrans: 0,
  dsackDups: 0,
  reordSeen: 0,
  rcvOoopack: 0,
  sndWnd: 0,
  rcvWnd: 0,
  rehash: 0,
  totalRto: 0,
  totalRtoRecoveries: 0,
  totalRtoTime: 0,
  ecnMode: 0,
  accecnOptSeen: 0,
  accecnFailMode: 0,
  receivedCe: 0,
  deliveredE1Bytes: 0,
  deliveredE0Bytes: 0,
  deliveredCeBytes: 0,
  receivedE1Bytes: 0,
  receivedE0Bytes: 0,
  receivedCeBytes: 0,
};

/** What means something of a listener; unacked and sacked are the children that wait for accept() and the backlog. */
function listenInfo(sk: TcpSock): TcpInfo {
  return {
    ...NO_INFO,
    state: sk.skcState,
    pacingRate: sk.skPacingRate,
    maxPacingRate: sk.skMaxPacingRate,
    reordering: sk.reordering,
    sndCwnd: sk.sndCwnd,
    unacked: sk.skAckBacklog,
    sacked: sk.skMaxAckBacklog,
  };
}

/** tcp_get_info: a snapshot for people and tests. */
export function tcpGetInfo(sk: TcpSock): TcpInfo {
  if (sk.skcState === TCP_LISTEN) return listenInfo(sk);
  const now = tcpJiffies32();
  let options = 0;
  if (sk.rxOpt.tstampOk) options |= TCPI_OPT_TIMESTAMPS;
  if (sk.rxOpt.sackOk !== 0) options |= TCPI_OPT_SACK;
  if (sk.rxOpt.wscaleOk) options |= TCPI_OPT_WSCALE;
  if (tcpEcnModeAny(sk)) options |= TCPI_OPT_ECN;
  if (sk.ecnFlags & TCP_ECN_SEEN) options |= TCPI_OPT_ECN_SEEN;
  if (sk.synDataAcked) options |= TCPI_OPT_SYN_DATA;
  if (sk.synFastopenChild) options |= TCPI_OPT_TFO_CHILD;
  const busy1 = chrono(sk, TCP_CHRONO_BUSY);
  const rwnd = chrono(sk, TCP_CHRONO_RWND_LIMITED);
  const sndbuf = chrono(sk, TCP_CHRONO_SNDBUF_LIMITED);
  return {
    state: sk.skcState,
    caState: sk.icskCaState,
    retransmits: sk.icskRetransmits,
    probes: sk.icskProbesOut,
    backoff: sk.icskBackoff,
    options,
    sndWscale: sk.rxOpt.wscaleOk ? sk.rxOpt.sndWscale : 0,
    rcvWscale: sk.rxOpt.wscaleOk ? sk.rxOpt.rcvWscale : 0,
    deliveryRateAppLimited: sk.rateAppLimited ? 1 : 0,
    fastopenClientFail: sk.fastopenClientFail,
    rto: sk.icskRto,
    ato: Math.min(sk.icskAck.ato, tcpDelackMax(sk)),
    sndMss: sk.mssCache,
    rcvMss: sk.icskAck.rcvMss,
    unacked: sk.packetsOut,
    sacked: sk.sackedOut,
    lost: sk.lostOut,
    retrans: sk.retransOut,
    fackets: 0,
    lastDataSent: (now - sk.lsndtime) >>> 0,
    lastAckSent: 0,
    lastDataRecv: (now - sk.icskAck.lrcvtime) >>> 0,
    lastAckRecv: (now - sk.rcvTstamp) >>> 0,
    pmtu: sk.icskPmtuCookie,
    rcvSsthresh: sk.rcvSsthresh,
    rtt: Math.floor(sk.srttUs / 8),
    rttvar: Math.floor(sk.mdevUs / 4),
    sndSsthresh: sk.sndSsthresh,
    sndCwnd: sk.sndCwnd,
    advmss: sk.advmss,
    reordering: sk.reordering,
    rcvRtt: Math.floor(sk.rcvRttEstRttUs / 8),
    rcvSpace: sk.rcvqSpaceSpace,
    totalRetrans: sk.totalRetrans,
    pacingRate: sk.skPacingRate,
    maxPacingRate: sk.skMaxPacingRate,
    bytesAcked: sk.bytesAcked,
    bytesReceived: sk.bytesReceived,
    segsOut: sk.segsOut,
    segsIn: sk.segsIn,
    notsentBytes: Math.max(0, seqSub(sk.writeSeq, sk.sndNxt)),
    minRtt: tcpMinRtt(sk),
    dataSegsIn: sk.dataSegsIn,
    dataSegsOut: sk.dataSegsOut,
    deliveryRate: tcpComputeDeliveryRate(sk),
    busyTime: (busy1 + rwnd + sndbuf) * 1000,
    rwndLimited: rwnd * 1000,
    sndbufLimited: sndbuf * 1000,
    delivered: sk.delivered,
    deliveredCe: sk.deliveredCe,
    bytesSent: sk.bytesSent,
    bytesRetrans: sk.bytesRetrans,
    dsackDups: sk.dsackDups,
    reordSeen: sk.reordSeen,
    rcvOoopack: sk.rcvOoopack,
    sndWnd: sk.sndWnd,
    rcvWnd: sk.rcvWnd,
    rehash: sk.plbRehash + sk.timeoutRehash,
    totalRto: sk.totalRto,
    totalRtoRecoveries: sk.totalRtoRecoveries,
    totalRtoTime: sk.totalRtoTime + (sk.rtoStamp !== 0 ? tcpClockMs() - sk.rtoStamp : 0),
    ecnMode: tcpiEcnMode(sk),
    accecnOptSeen: sk.sawAccecnOpt,
    accecnFailMode: sk.accecnFailMode,
    receivedCe: sk.receivedCe,
    deliveredE1Bytes: sk.deliveredEcnBytes[INET_ECN_ECT_1 - 1] as number,
    deliveredE0Bytes: sk.deliveredEcnBytes[INET_ECN_ECT_0 - 1] as number,
    deliveredCeBytes: sk.deliveredEcnBytes[INET_ECN_CE - 1] as number,
    receivedE1Bytes: sk.receivedEcnBytes[INET_ECN_ECT_1 - 1] as number,
    receivedE0Bytes: sk.receivedEcnBytes[INET_ECN_ECT_0 - 1] as number,
    receivedCeBytes: sk.receivedEcnBytes[INET_ECN_CE - 1] as number,
  };
}
