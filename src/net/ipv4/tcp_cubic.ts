/**
 * CUBIC congestion control (RFC 9438), with HyStart, in the integer arithmetic of the kernel's tcp_cubic.c: the window is
 * W(t) = C (t - K)^3 + Wmax, with C = 410 / 1024 and t in 1/1024 of a second.
 */

import { netAddStats, netIncStats } from "../../kernel/mib.ts";
import {
  LINUX_MIB_TCPHYSTARTDELAYCWND,
  LINUX_MIB_TCPHYSTARTDELAYDETECT,
  LINUX_MIB_TCPHYSTARTTRAINCWND,
  LINUX_MIB_TCPHYSTARTTRAINDETECT,
} from "../../uapi/linux_mib.ts";
import { TCP_CA_Loss } from "../../uapi/tcp.ts";
import type { InetConnectionSock } from "./inet_sock.ts";
import type { Seq } from "./seq.ts";
import { after } from "./seq.ts";
import type { TcpCongestionOps } from "./tcp_cong.ts";
import { TCP_CONG_NON_RESTRICTED, tcpCongAvoidAi, tcpRenoUndoCwnd, tcpSlowStart } from "./tcp_cong.ts";
import type { AckSample } from "./tcp_h.ts";
import { SK_PACING_NONE, tcpInSlowStart, tcpIsCwndLimited, tcpJiffies32, tcpSndCwnd } from "./tcp_h.ts";
import type { TcpSock } from "./tcp_sock.ts";

/** Scale of beta: beta / 1024 is what is left of the window after a loss. */
const BICTCP_BETA_SCALE = 1024;
const HZ = 1000;

// Two methods of hybrid slow start.
const HYSTART_ACK_TRAIN = 1;
const HYSTART_DELAY = 2;
/** Number of delay samples for detecting the increase of delay. */
const HYSTART_MIN_SAMPLES = 8;
/** Microseconds. */
const HYSTART_DELAY_MIN = 4000;
const HYSTART_DELAY_MAX = 16000;

/** /sys/module/tcp_cubic/parameters: the module's knobs, for all machines. */
export interface TcpCubicParameters {
  /** 1: give up bandwidth to new flows by remembering a lower Wmax when it keeps falling (RFC 9438 §4.7). */
  fastConvergence: number;
  /** Multiplicative decrease, of 1024. */
  beta: number;
  /** Initial value of ssthresh when HyStart is off; 0 = none. */
  initialSsthresh: number;
  /** C scaled by 1024 * 10 / 1000. */
  bicScale: number;
  /** 1: never slower than Reno would be (RFC 9438 §4.3). */
  tcpFriendliness: number;
  /** 1: leave slow start before loss. */
  hystart: number;
  /** Bit 0: by packet trains, bit 1: by delay. */
  hystartDetect: number;
  /** cwnd below which HyStart does not look. */
  hystartLowWindow: number;
  /** Microseconds: spacing between ACKs that still form a train. */
  hystartAckDeltaUs: number;
}

export const tcpCubicParameters: TcpCubicParameters = {
  fastConvergence: 1,
  beta: 717,
  initialSsthresh: 0,
  bicScale: 41,
  tcpFriendliness: 1,
  hystart: 1,
  hystartDetect: HYSTART_ACK_TRAIN | HYSTART_DELAY,
  hystartLowWindow: 16,
  hystartAckDeltaUs: 2000,
};

/** struct bictcp: CUBIC's state of a connection (icsk_ca_priv). Windows in packets, jiffies in ms. */
export class Bictcp {
  /** Increase cwnd by 1 after that many ACKs. */
  cnt = 0;
  lastMaxCwnd = 0;
  lastCwnd = 0;
  /** (jiffies) when lastCwnd was updated. */
  lastTime = 0;
  bicOriginPoint = 0;
  /** Time to the origin point from the beginning of the epoch, in 1/1024 s. */
  bicK = 0;
  /** Minimum delay in microseconds. */
  delayMin = 0;
  /** (jiffies) beginning of an epoch; 0 = none. */
  epochStart = 0;
  ackCnt = 0;
  /** Estimated TCP cwnd. */
  tcpCwnd = 0;
  /** Samples to decide currRtt. */
  sampleCnt = 0;
  /** The exit point of slow start is found. */
  found = false;
  /** Beginning of each round, microseconds. */
  roundStart = 0;
  endSeq: Seq = 0 as unknown as Seq;
  /** Last time when the ACK spacing is close, microseconds. */
  lastAck = 0;
  /** The minimum RTT of the current round, microseconds. */
  currRtt = 0;
}

/** inet_csk_ca: the state of this connection. A timeout of the SYN asks for it before `init` has run. */
/* notrace */
function inetCskCa(sk: InetConnectionSock): Bictcp {
  if (sk.icskCaPriv === null) sk.icskCaPriv = new Bictcp();
  return sk.icskCaPriv as Bictcp;
}

/* notrace */
function bictcpReset(ca: Bictcp): void {
  ca.cnt = 0;
  ca.lastMaxCwnd = 0;
  ca.lastCwnd = 0;
  ca.lastTime = 0;
  ca.bicOriginPoint = 0;
  ca.bicK = 0;
  ca.delayMin = 0;
  ca.epochStart = 0;
  ca.ackCnt = 0;
  ca.tcpCwnd = 0;
  ca.found = false;
}

/* notrace */
function bictcpHystartReset(sk: TcpSock, ca: Bictcp): void {
  ca.roundStart = sk.tcpMstamp;
  ca.lastAck = sk.tcpMstamp;
  ca.endSeq = sk.sndNxt;
  ca.currRtt = 0xffffffff;
  ca.sampleCnt = 0;
}

/** cubictcp_init. */
export function cubictcpInit(sk: TcpSock): void {
  const ca = inetCskCa(sk);
  bictcpReset(ca);
  if (tcpCubicParameters.hystart !== 0) bictcpHystartReset(sk, ca);
  else if (tcpCubicParameters.initialSsthresh !== 0) sk.sndSsthresh = tcpCubicParameters.initialSsthresh;
}

/** cubictcp_cwnd_event_tx_start: after idleness the epoch moves on, so that the window does not jump ahead on its curve. */
export function cubictcpCwndEventTxStart(sk: InetConnectionSock): void {
  const ca = inetCskCa(sk);
  if (ca.epochStart === 0) return;
  const now = tcpJiffies32();
  const delta = now - (sk as TcpSock).lsndtime;
  if (delta > 0) {
    ca.epochStart += delta;
    if (ca.epochStart > now) ca.epochStart = now;
  }
}

/** cubic_root: the integer cube root of `a` (0 to 2^53), rounded down. */
/* notrace */
export function cubicRoot(a: number): number {
  let x = Math.floor(Math.cbrt(a));
  while (x * x * x > a) x--;
  while ((x + 1) * (x + 1) * (x + 1) <= a) x++;
  return x;
}

/**
 * floor(scale * offs^3 / 2^40), exact: the product needs more than the 53 bits of a double, so it is taken in two halves.
 * `offs` in 1/1024 s; saturates beyond 2^20 (17 minutes past the origin, where the kernel's 64 bits have long wrapped).
 */
/* notrace */
export function cubicDelta(scale: number, offs: number): number {
  if (offs >= 1 << 20) offs = (1 << 20) - 1;
  const square = offs * offs; // < 2^40
  const m = scale * offs; // < 2^30
  const high = Math.floor(square / 65536) * m; // < 2^54, in units of 2^16
  const low = (square % 65536) * m; // < 2^46
  return Math.floor((high + Math.floor(low / 65536)) / 16777216);
}

/** bictcp_update: computes how many ACKs the next packet of window takes (ca->cnt). */
export function bictcpUpdate(ca: Bictcp, cwnd: number, acked: number): void {
  const p = tcpCubicParameters;
  const now = tcpJiffies32();
  ca.ackCnt += acked; // count the number of ACKed packets
  if (ca.lastCwnd === cwnd && now - ca.lastTime <= Math.floor(HZ / 32)) return;

  // The CUBIC function is evaluated at most once per jiffy. An epoch that has not begun forces it.
  if (ca.epochStart === 0 || now !== ca.lastTime) {
    ca.lastCwnd = cwnd;
    ca.lastTime = now;
    if (ca.epochStart === 0) {
      ca.epochStart = now; // record beginning
      ca.ackCnt = acked; // start counting
      ca.tcpCwnd = cwnd; // syn with cubic
      if (ca.lastMaxCwnd <= cwnd) {
        ca.bicK = 0;
        ca.bicOriginPoint = cwnd;
      } else {
        // RFC 9438 §4.2: K = cbrt((Wmax - cwnd) / C), in 1/1024 s: (Wmax - cwnd) * 2^40 / (C * 1024).
        ca.bicK = cubicRoot(Math.floor(2 ** 40 / (p.bicScale * 10)) * (ca.lastMaxCwnd - cwnd));
        ca.bicOriginPoint = ca.lastMaxCwnd;
      }
    }

    // RFC 9438 §4.1: the window one RTT from now, t in 1/1024 s.
    let t = now - ca.epochStart + Math.ceil(ca.delayMin / 1000);
    t = Math.floor((t * 1024) / HZ);
    const offs = t < ca.bicK ? ca.bicK - t : t - ca.bicK;
    const delta = cubicDelta(p.bicScale * 10, offs);
    const bicTarget = t < ca.bicK ? ca.bicOriginPoint - delta : ca.bicOriginPoint + delta;
    if (bicTarget > cwnd) ca.cnt = Math.floor(cwnd / (bicTarget - cwnd));
    else ca.cnt = 100 * cwnd; // very small increment

    // The initial growth may be too conservative when the available bandwidth is still unknown: 5% per RTT.
    if (ca.lastMaxCwnd === 0 && ca.cnt > 20) ca.cnt = 20;
  }

  // RFC 9438 §4.3: not slower than Reno.
  if (p.tcpFriendliness !== 0) {
    const betaScale = Math.floor(Math.floor((8 * (BICTCP_BETA_SCALE + p.beta)) / 3) / (BICTCP_BETA_SCALE - p.beta));
    const delta = Math.floor((cwnd * betaScale) / 8);
    while (ca.ackCnt > delta && delta > 0) {
      ca.ackCnt -= delta;
      ca.tcpCwnd++;
    }
    if (ca.tcpCwnd > cwnd) {
      const maxCnt = Math.floor(cwnd / (ca.tcpCwnd - cwnd));
      if (ca.cnt > maxCnt) ca.cnt = maxCnt;
    }
  }
  // At most 1 packet per 2 packets ACKed, cwnd grows at 1.5x per RTT.
  if (ca.cnt < 2) ca.cnt = 2;
}

/** cubictcp_cong_avoid. */
export function cubictcpCongAvoid(sk: TcpSock, _ack: number, acked: number): void {
  if (!tcpIsCwndLimited(sk)) return;
  if (tcpInSlowStart(sk)) {
    acked = tcpSlowStart(sk, acked);
    if (acked === 0) return;
  }
  const ca = inetCskCa(sk);
  bictcpUpdate(ca, tcpSndCwnd(sk), acked);
  tcpCongAvoidAi(sk, ca.cnt, acked);
}

/** cubictcp_recalc_ssthresh: 0.7 of the window; a Wmax that falls is remembered as lower still (fast convergence). */
export function cubictcpRecalcSsthresh(sk: TcpSock): number {
  const p = tcpCubicParameters;
  const ca = inetCskCa(sk);
  const cwnd = tcpSndCwnd(sk);
  ca.epochStart = 0; // end of epoch
  if (cwnd < ca.lastMaxCwnd && p.fastConvergence !== 0) {
    ca.lastMaxCwnd = Math.floor((cwnd * (BICTCP_BETA_SCALE + p.beta)) / (2 * BICTCP_BETA_SCALE));
  } else {
    ca.lastMaxCwnd = cwnd;
  }
  return Math.max(Math.floor((cwnd * p.beta) / BICTCP_BETA_SCALE), 2);
}

/** cubictcp_state: after a timeout everything that was learnt is forgotten. */
export function cubictcpState(sk: InetConnectionSock, newState: number): void {
  if (newState !== TCP_CA_Loss) return;
  const ca = inetCskCa(sk);
  bictcpReset(ca);
  bictcpHystartReset(sk as TcpSock, ca);
}

/** hystart_ack_delay: microseconds that four TSO super-packets take at the pacing rate, at most 1 ms: bursts delay ACKs. */
/* notrace */
function hystartAckDelay(sk: TcpSock): number {
  const rate = sk.skPacingRate;
  if (rate === 0) return 0;
  return Math.min(1000, Math.floor((sk.skGsoMaxSize * 4 * 1_000_000) / rate));
}

/** The exit point of slow start is here. */
/* notrace */
function hystartFound(sk: TcpSock, ca: Bictcp, detectMib: number, cwndMib: number): void {
  ca.found = true;
  const cwnd = tcpSndCwnd(sk);
  netIncStats(sk.net, detectMib);
  netAddStats(sk.net, cwndMib, cwnd);
  sk.sndSsthresh = cwnd;
}

/** hystart_update: leaves slow start when ACKs arrive for longer than half of the RTT, or when the RTT grows. */
function hystartUpdate(sk: TcpSock, ca: Bictcp, delay: number): void {
  const p = tcpCubicParameters;
  if (after(sk.sndUna, ca.endSeq)) bictcpHystartReset(sk, ca);
  if (tcpSndCwnd(sk) < p.hystartLowWindow) return;

  if ((p.hystartDetect & HYSTART_ACK_TRAIN) !== 0) {
    const now = sk.tcpMstamp;
    // First detection parameter: ACK train.
    if (now - ca.lastAck <= p.hystartAckDeltaUs) {
      ca.lastAck = now;
      let threshold = ca.delayMin + hystartAckDelay(sk);
      // Pacing might have delayed packets up to RTT/2 during slow start.
      if (sk.skPacingStatus === SK_PACING_NONE) threshold >>>= 1;
      if (now - ca.roundStart > threshold) {
        hystartFound(sk, ca, LINUX_MIB_TCPHYSTARTTRAINDETECT, LINUX_MIB_TCPHYSTARTTRAINCWND);
      }
    }
  }
  if ((p.hystartDetect & HYSTART_DELAY) !== 0) {
    // Second: the minimum delay of more than sampling packets.
    if (ca.currRtt > delay) ca.currRtt = delay;
    if (ca.sampleCnt < HYSTART_MIN_SAMPLES) {
      ca.sampleCnt++;
    } else {
      const thresh = Math.min(Math.max(ca.delayMin >>> 3, HYSTART_DELAY_MIN), HYSTART_DELAY_MAX);
      if (ca.currRtt > ca.delayMin + thresh) {
        hystartFound(sk, ca, LINUX_MIB_TCPHYSTARTDELAYDETECT, LINUX_MIB_TCPHYSTARTDELAYCWND);
      }
    }
  }
}

/** cubictcp_acked: a delay sample. */
export function cubictcpAcked(sk: TcpSock, sample: AckSample): void {
  // Some calls are for duplicates without timestamps.
  if (sample.rttUs < 0) return;
  const ca = inetCskCa(sk);
  // Discard delay samples right after fast recovery.
  if (ca.epochStart !== 0 && tcpJiffies32() - ca.epochStart < HZ) return;
  const delay = sample.rttUs === 0 ? 1 : sample.rttUs;
  // First time call or link delay decreases.
  if (ca.delayMin === 0 || ca.delayMin > delay) ca.delayMin = delay;
  if (!ca.found && tcpInSlowStart(sk) && tcpCubicParameters.hystart !== 0) hystartUpdate(sk, ca, delay);
}

/** The table cubictcp. A function, because what it refers to may be loaded later than this file. */
/* notrace */
export function cubictcp(): TcpCongestionOps {
  return {
    name: "cubic",
    symbol: "cubictcp",
    flags: TCP_CONG_NON_RESTRICTED,
    init: cubictcpInit,
    ssthresh: cubictcpRecalcSsthresh,
    congAvoid: cubictcpCongAvoid,
    setState: cubictcpState,
    undoCwnd: tcpRenoUndoCwnd,
    cwndEventTxStart: cubictcpCwndEventTxStart,
    pktsAcked: cubictcpAcked,
  };
}
