/**
 * BBR congestion control, version 1 (Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5), 2016;
 * draft-cardwell-iccrg-bbr-congestion-control-00), as the kernel's tcp_bbr.c has it.
 *
 * Every ACK updates a model of the path, the largest delivery rate of the last ten rounds and the smallest RTT of the last
 * ten seconds, and from it the pacing rate and the window:
 *
 * ```
 *   pacing_rate = pacing_gain * bw              STARTUP --> DRAIN --> PROBE_BW <--> PROBE_RTT
 *   cwnd        = cwnd_gain * bw * min_rtt         2.89     1/2.89    5/4 3/4 1 1 1 1 1 1    1, 4 packets
 * ```
 *
 * Losses do not count as such. It needs pacing: sch_fq's, or TCP's own timer.
 */

import { getRandomU32Below } from "../../kernel/random.ts";
import { TCP_CA_Loss, TCP_CA_Open, TCP_CA_Recovery } from "../../uapi/tcp.ts";
import type { InetConnectionSock } from "./inet_sock.ts";
import type { TcpCongestionOps } from "./tcp_cong.ts";
import { TCP_CONG_NON_RESTRICTED } from "./tcp_cong.ts";
import type { RateSample } from "./tcp_h.ts";
import {
  minmaxGet,
  minmaxReset,
  minmaxRunningMax,
  SK_PACING_NEEDED,
  SK_PACING_NONE,
  TCP_INFINITE_SSTHRESH,
  TCP_INIT_CWND,
  tcpJiffies32,
  tcpMinRtt,
  tcpPacketsInFlight,
  tcpSndCwnd,
  tcpSndCwndSet,
  tcpStampUsDelta,
} from "./tcp_h.ts";
import type { TcpSock } from "./tcp_sock.ts";

/** Bandwidths are packets a microsecond, times 2^24. */
const BW_UNIT: number = 2 ** 24;
/** Gains are fractions of 256. */
const BBR_UNIT = 256;
const USEC_PER_SEC = 1_000_000;
const USEC_PER_MSEC = 1000;
/** Nobody has measured an RTT yet. */
const NO_RTT = 0xffffffff;

// enum bbr_mode.
/** Ramp up sending rate rapidly to fill pipe. */
export const BBR_STARTUP = 0;
/** Drain any queue created during startup. */
export const BBR_DRAIN = 1;
/** Discover, share bw: pace around estimated bw. */
export const BBR_PROBE_BW = 2;
/** Cut inflight to min to probe min_rtt. */
export const BBR_PROBE_RTT = 3;

/** Phases of a pacing gain cycle. */
const CYCLE_LEN = 8;
/** Window length of the bandwidth filter, in rounds. */
const BBR_BW_RTTS: number = CYCLE_LEN + 2;
/** Window length of the min_rtt filter, in jiffies. */
const BBR_MIN_RTT_WIN = 10_000;
/** Least time at the smallest window in PROBE_RTT, in jiffies. */
const BBR_PROBE_RTT_MODE_MS = 200;
/** Below that many bytes a second, skbs of one segment. */
const BBR_MIN_TSO_RATE: number = 1_200_000 >> 3;
/** Pace that much below the estimated bandwidth, so that queues drain. */
const BBR_PACING_MARGIN_PERCENT = 1;
/** 2/ln(2): the smallest gain that lets the rate double every RTT. */
const BBR_HIGH_GAIN: number = Math.floor((BBR_UNIT * 2885) / 1000) + 1;
/** Its inverse drains in one round what startup has queued. */
const BBR_DRAIN_GAIN: number = Math.floor((BBR_UNIT * 1000) / 2885);
/** Tolerates delayed and stretched ACKs. */
const BBR_CWND_GAIN: number = BBR_UNIT * 2;
/** Gains of PROBE_BW: probe for more, drain what that queued, then six RTTs at the estimate. */
const BBR_PACING_GAIN: readonly number[] = [320, 192, 256, 256, 256, 256, 256, 256];
/** The cycle starts in one of seven phases: not in that which drains. */
const BBR_CYCLE_RAND = 7;
/** Packets in flight that keep delayed ACKs coming. */
const BBR_CWND_MIN_TARGET = 4;
/** The pipe is full when the bandwidth has not grown by a quarter in three rounds. */
const BBR_FULL_BW_THRESH: number = (BBR_UNIT * 5) / 4;
const BBR_FULL_BW_CNT = 3;
// Long-term ("LT") estimate, for traffic policers: at least 4 rounds a sample, more than 50/256 lost, two samples within an
// eighth or 4 kbit/s of each other; then it holds for 48 rounds.
const BBR_LT_INTVL_MIN_RTTS = 4;
const BBR_LT_LOSS_THRESH = 50;
const BBR_LT_BW_RATIO: number = BBR_UNIT / 8;
const BBR_LT_BW_DIFF: number = 4000 / 8;
const BBR_LT_BW_MAX_RTTS = 48;
/** Gain of what aggregation adds to the window. */
const BBR_EXTRA_ACKED_GAIN: number = BBR_UNIT;
/** Window length of the aggregation filter: two halves of that many rounds. */
const BBR_EXTRA_ACKED_WIN_RTTS = 5;
const BBR_ACK_EPOCH_ACKED_RESET_THRESH: number = 1 << 20;
/** At most 100 ms of aggregation are made up for. */
const BBR_EXTRA_ACKED_MAX_US = 100_000;
/** GSO_LEGACY_MAX_SIZE - 1 - MAX_TCP_HEADER: the largest super-packet that the window is budgeted for. */
const BBR_TSO_BYTES_MAX: number = 65536 - 1 - 320;

/** struct bbr: the state of a connection (icsk_ca_priv). Stamps named Stamp are jiffies, those named Mstamp microseconds. */
export class Bbr {
  /** Min RTT in the window, microseconds. */
  minRttUs: number = NO_RTT;
  minRttStamp = 0;
  /** End of PROBE_RTT; 0 = not known yet. */
  probeRttDoneStamp = 0;
  /** Max recent delivery rate (struct minmax over rounds). */
  readonly bw: Float64Array = new Float64Array(6);
  /** Packet-timed rounds elapsed. */
  rttCnt = 0;
  /** tp.delivered at the end of this round. */
  nextRttDelivered = 0;
  cycleMstamp = 0;
  mode: number = BBR_STARTUP;
  prevCaState: number = TCP_CA_Open;
  packetConservation = false;
  roundStart = false;
  /** Restarting after idleness. */
  idleRestart = false;
  probeRttRoundDone = false;
  ltIsSampling = false;
  ltRttCnt = 0;
  ltUseBw = false;
  ltBw = 0;
  ltLastDelivered = 0;
  /** Milliseconds. */
  ltLastStamp = 0;
  ltLastLost = 0;
  /** 0 until the first ACK. */
  pacingGain = 0;
  cwndGain = 0;
  fullBwReached = false;
  fullBwCnt = 0;
  cycleIdx = 0;
  hasSeenRtt = false;
  /** cwnd upon entering loss recovery or PROBE_RTT. */
  priorCwnd = 0;
  /** Recent bandwidth, to tell whether the pipe is full. */
  fullBw = 0;
  ackEpochMstamp = 0;
  /** Max excess packets acknowledged in an epoch, of this half of the window and of the one before. */
  extraAcked0 = 0;
  extraAcked1 = 0;
  ackEpochAcked = 0;
  extraAckedWinRtts = 0;
  extraAckedWinIdx = 0;
}

/** inet_csk_ca: the state of this connection. A timeout of the SYN asks for it before `init` has run. */
/* notrace */
function inetCskCa(sk: InetConnectionSock): Bbr {
  if (sk.icskCaPriv === null) sk.icskCaPriv = new Bbr();
  return sk.icskCaPriv as Bbr;
}

/** bbr_bw: the bandwidth that is believed in: the long-term one where a policer is suspected. */
/* notrace */
function bbrBw(bbr: Bbr): number {
  return bbr.ltUseBw ? bbr.ltBw : minmaxGet(bbr.bw);
}

/** bbr_rate_bytes_per_sec: bytes a second, less the margin. */
/* notrace */
function bbrRateBytesPerSec(sk: TcpSock, rate: number, gain: number): number {
  const scaled = Math.floor((rate * sk.mssCache * gain) / BBR_UNIT);
  const usec = (USEC_PER_SEC / 100) * (100 - BBR_PACING_MARGIN_PERCENT);
  // The product has more bits than a double holds, so it is taken in two halves.
  return Math.floor(scaled / BW_UNIT) * usec + Math.floor(((scaled % BW_UNIT) * usec) / BW_UNIT);
}

/** bbr_bw_to_pacing_rate. */
/* notrace */
function bbrBwToPacingRate(sk: TcpSock, bw: number, gain: number): number {
  return Math.min(bbrRateBytesPerSec(sk, bw, gain), sk.skMaxPacingRate);
}

/** bbr_init_pacing_rate_from_rtt: high_gain * init_cwnd / RTT; 1 ms where no RTT is known. */
function bbrInitPacingRateFromRtt(sk: TcpSock, bbr: Bbr): void {
  let rttUs = USEC_PER_MSEC;
  if (sk.srttUs !== 0) {
    rttUs = Math.max(Math.floor(sk.srttUs / 8), 1);
    bbr.hasSeenRtt = true;
  }
  const bw = Math.floor((tcpSndCwnd(sk) * BW_UNIT) / rttUs);
  sk.skPacingRate = bbrBwToPacingRate(sk, bw, BBR_HIGH_GAIN);
}

/** bbr_set_pacing_rate: until the pipe is full it only rises. */
function bbrSetPacingRate(sk: TcpSock, bbr: Bbr, bw: number, gain: number): void {
  const rate = bbrBwToPacingRate(sk, bw, gain);
  if (!bbr.hasSeenRtt && sk.srttUs !== 0) bbrInitPacingRateFromRtt(sk, bbr);
  if (bbr.fullBwReached || rate > sk.skPacingRate) sk.skPacingRate = rate;
}

/** bbr_min_tso_segs. */
export function bbrMinTsoSegs(sk: TcpSock): number {
  return sk.skPacingRate < BBR_MIN_TSO_RATE ? 1 : 2;
}

/** bbr_tso_segs_goal: segments of an skb as tcp_tso_autosize would have them, whatever the device takes. */
/* notrace */
function bbrTsoSegsGoal(sk: TcpSock): number {
  const bytes = Math.min(Math.floor(sk.skPacingRate / (1 << sk.skPacingShift)), BBR_TSO_BYTES_MAX);
  return Math.min(Math.max(Math.floor(bytes / sk.mssCache), bbrMinTsoSegs(sk)), 127);
}

/** bbr_save_cwnd: the last window known to be good. */
/* notrace */
function bbrSaveCwnd(sk: TcpSock, bbr: Bbr): void {
  const cwnd = tcpSndCwnd(sk);
  if (bbr.prevCaState < TCP_CA_Recovery && bbr.mode !== BBR_PROBE_RTT) bbr.priorCwnd = cwnd;
  else bbr.priorCwnd = Math.max(bbr.priorCwnd, cwnd);
}

/** bbr_cwnd_event_tx_start: after idleness no faster than the estimate: nothing calls for more. */
export function bbrCwndEventTxStart(sk0: InetConnectionSock): void {
  const sk = sk0 as TcpSock;
  if (sk.appLimited === 0) return;
  const bbr = inetCskCa(sk);
  bbr.idleRestart = true;
  bbr.ackEpochMstamp = sk.tcpMstamp;
  bbr.ackEpochAcked = 0;
  if (bbr.mode === BBR_PROBE_BW) bbrSetPacingRate(sk, bbr, bbrBw(bbr), BBR_UNIT);
  else if (bbr.mode === BBR_PROBE_RTT) bbrCheckProbeRttDone(sk, bbr);
}

// ---- the window -----------------------------------------------------------------------------------------------------

/** bbr_bdp: ceil(bw * min_rtt * gain), in packets. */
/* notrace */
function bbrBdp(bbr: Bbr, bw: number, gain: number): number {
  // Without a valid RTT sample, no more than the initial window.
  if (bbr.minRttUs === NO_RTT) return TCP_INIT_CWND;
  return Math.ceil(Math.floor((bw * bbr.minRttUs * gain) / BBR_UNIT) / BW_UNIT);
}

/** bbr_quantization_budget: room for the skbs that lie in the qdisc, in the sender's TSO and in the receiver's GRO. */
/* notrace */
function bbrQuantizationBudget(sk: TcpSock, bbr: Bbr, cwnd: number): number {
  cwnd += 3 * bbrTsoSegsGoal(sk);
  // An even number, for fewer delayed ACKs.
  cwnd = (cwnd + 1) & ~1;
  // Probing gets above the BDP also where that is small.
  if (bbr.mode === BBR_PROBE_BW && bbr.cycleIdx === 0) cwnd += 2;
  return cwnd;
}

/** bbr_inflight. */
/* notrace */
function bbrInflight(sk: TcpSock, bbr: Bbr, bw: number, gain: number): number {
  return bbrQuantizationBudget(sk, bbr, bbrBdp(bbr, bw, gain));
}

/** bbr_packets_in_net_at_edt: of what is in flight, what the network will still hold when the next skb departs. */
/* notrace */
function bbrPacketsInNetAtEdt(sk: TcpSock, bbr: Bbr, inflightNow: number): number {
  const wait = Math.max(sk.tcpWstampNs - sk.tcpClockCache, 0);
  const delivered = Math.floor((bbrBw(bbr) * Math.floor(wait)) / BW_UNIT);
  let inflight = inflightNow;
  if (bbr.pacingGain > BBR_UNIT) inflight += bbrTsoSegsGoal(sk);
  return delivered >= inflight ? 0 : inflight - delivered;
}

/** bbr_ack_aggregation_cwnd: what the window needs to go on sending while ACKs are held back. */
/* notrace */
function bbrAckAggregationCwnd(bbr: Bbr): number {
  if (!bbr.fullBwReached) return 0;
  const max = Math.floor((bbrBw(bbr) * BBR_EXTRA_ACKED_MAX_US) / BW_UNIT);
  const extra = Math.max(bbr.extraAcked0, bbr.extraAcked1);
  return Math.min((BBR_EXTRA_ACKED_GAIN * extra) >>> 8, max);
}

/** Out parameter of bbr_set_cwnd_to_recover_or_restore. */
let newCwnd = 0;

/**
 * bbr_set_cwnd_to_recover_or_restore: in the first round of recovery a packet goes for each that was delivered; afterwards
 * two at most; when recovery ends the window is what it was before. True while packets are conserved.
 */
function bbrSetCwndToRecoverOrRestore(sk: TcpSock, bbr: Bbr, rs: RateSample, acked: number): boolean {
  const prevState = bbr.prevCaState;
  const state = sk.icskCaState;
  let cwnd = tcpSndCwnd(sk);
  if (rs.losses > 0) cwnd = Math.max(cwnd - rs.losses, 1);
  if (state === TCP_CA_Recovery && prevState !== TCP_CA_Recovery) {
    bbr.packetConservation = true;
    bbr.nextRttDelivered = sk.delivered; // the round starts now
    // What the application, TSQ or TSO deferral left unused is cut.
    cwnd = tcpPacketsInFlight(sk) + acked;
  } else if (prevState >= TCP_CA_Recovery && state < TCP_CA_Recovery) {
    cwnd = Math.max(cwnd, bbr.priorCwnd);
    bbr.packetConservation = false;
  }
  bbr.prevCaState = state;
  newCwnd = bbr.packetConservation ? Math.max(cwnd, tcpPacketsInFlight(sk) + acked) : cwnd;
  return bbr.packetConservation;
}

/** bbr_set_cwnd: slow start towards the target, or down to it at once. */
function bbrSetCwnd(sk: TcpSock, bbr: Bbr, rs: RateSample, acked: number, bw: number, gain: number): void {
  let cwnd = tcpSndCwnd(sk);
  if (acked !== 0) {
    const conserving = bbrSetCwndToRecoverOrRestore(sk, bbr, rs, acked);
    cwnd = newCwnd;
    if (!conserving) {
      const target = bbrQuantizationBudget(sk, bbr, bbrBdp(bbr, bw, gain) + bbrAckAggregationCwnd(bbr));
      if (bbr.fullBwReached) cwnd = Math.min(cwnd + acked, target);
      else if (cwnd < target || sk.delivered < TCP_INIT_CWND) cwnd += acked;
      cwnd = Math.max(cwnd, BBR_CWND_MIN_TARGET);
    }
  }
  cwnd = Math.min(cwnd, sk.sndCwndClamp);
  if (bbr.mode === BBR_PROBE_RTT) cwnd = Math.min(cwnd, BBR_CWND_MIN_TARGET);
  tcpSndCwndSet(sk, cwnd);
}

// ---- the cycle of PROBE_BW ------------------------------------------------------------------------------------------

/** bbr_is_next_cycle_phase: a phase lasts a min_rtt; probing until it has filled the pipe, draining until that is undone. */
function bbrIsNextCyclePhase(sk: TcpSock, bbr: Bbr, rs: RateSample): boolean {
  const fullLength = tcpStampUsDelta(sk.deliveredMstamp, bbr.cycleMstamp) > bbr.minRttUs;
  if (bbr.pacingGain === BBR_UNIT) return fullLength;
  const inflight = bbrPacketsInNetAtEdt(sk, bbr, rs.priorInFlight);
  const bw = minmaxGet(bbr.bw);
  // A path with small buffers may not hold pacing_gain * BDP: a loss ends it as well.
  if (bbr.pacingGain > BBR_UNIT) {
    return fullLength && (rs.losses !== 0 || inflight >= bbrInflight(sk, bbr, bw, bbr.pacingGain));
  }
  return fullLength || inflight <= bbrInflight(sk, bbr, bw, BBR_UNIT);
}

/* notrace */
function bbrAdvanceCyclePhase(sk: TcpSock, bbr: Bbr): void {
  bbr.cycleIdx = (bbr.cycleIdx + 1) & (CYCLE_LEN - 1);
  bbr.cycleMstamp = sk.deliveredMstamp;
}

/* notrace */
function bbrUpdateCyclePhase(sk: TcpSock, bbr: Bbr, rs: RateSample): void {
  if (bbr.mode === BBR_PROBE_BW && bbrIsNextCyclePhase(sk, bbr, rs)) bbrAdvanceCyclePhase(sk, bbr);
}

function bbrResetProbeBwMode(sk: TcpSock, bbr: Bbr): void {
  bbr.mode = BBR_PROBE_BW;
  bbr.cycleIdx = CYCLE_LEN - 1 - getRandomU32Below(BBR_CYCLE_RAND);
  bbrAdvanceCyclePhase(sk, bbr);
}

function bbrResetMode(sk: TcpSock, bbr: Bbr): void {
  if (bbr.fullBwReached) bbrResetProbeBwMode(sk, bbr);
  else bbr.mode = BBR_STARTUP;
}

// ---- policers: the long-term estimate -------------------------------------------------------------------------------

/* notrace */
function bbrResetLtBwSamplingInterval(sk: TcpSock, bbr: Bbr): void {
  bbr.ltLastStamp = Math.floor(sk.deliveredMstamp / USEC_PER_MSEC);
  bbr.ltLastDelivered = sk.delivered;
  bbr.ltLastLost = sk.lost;
  bbr.ltRttCnt = 0;
}

/* notrace */
function bbrResetLtBwSampling(sk: TcpSock, bbr: Bbr): void {
  bbr.ltBw = 0;
  bbr.ltUseBw = false;
  bbr.ltIsSampling = false;
  bbrResetLtBwSamplingInterval(sk, bbr);
}

/** bbr_lt_bw_interval_done: two lossy intervals of about the same bandwidth: somebody polices. */
function bbrLtBwIntervalDone(sk: TcpSock, bbr: Bbr, bw: number): void {
  if (bbr.ltBw !== 0) {
    const diff = Math.abs(bw - bbr.ltBw);
    if (diff * BBR_UNIT <= BBR_LT_BW_RATIO * bbr.ltBw || bbrRateBytesPerSec(sk, diff, BBR_UNIT) <= BBR_LT_BW_DIFF) {
      bbr.ltBw = Math.floor((bw + bbr.ltBw) / 2);
      bbr.ltUseBw = true;
      bbr.pacingGain = BBR_UNIT;
      bbr.ltRttCnt = 0;
      return;
    }
  }
  bbr.ltBw = bw;
  bbrResetLtBwSamplingInterval(sk, bbr);
}

/** bbr_lt_bw_sampling: intervals from loss to loss, of 4 to 16 rounds, in which a fifth was lost. */
function bbrLtBwSampling(sk: TcpSock, bbr: Bbr, losses: number, isAppLimited: boolean): void {
  if (bbr.ltUseBw) {
    if (bbr.mode === BBR_PROBE_BW && bbr.roundStart && ++bbr.ltRttCnt >= BBR_LT_BW_MAX_RTTS) {
      bbrResetLtBwSampling(sk, bbr); // try again without
      bbrResetProbeBwMode(sk, bbr);
    }
    return;
  }
  // The first loss says that the policer's tokens are used up.
  if (!bbr.ltIsSampling) {
    if (losses === 0) return;
    bbrResetLtBwSamplingInterval(sk, bbr);
    bbr.ltIsSampling = true;
  }
  if (isAppLimited) {
    bbrResetLtBwSampling(sk, bbr);
    return;
  }
  if (bbr.roundStart) bbr.ltRttCnt++;
  if (bbr.ltRttCnt < BBR_LT_INTVL_MIN_RTTS) return;
  if (bbr.ltRttCnt > 4 * BBR_LT_INTVL_MIN_RTTS) {
    bbrResetLtBwSampling(sk, bbr);
    return;
  }
  if (losses === 0) return;
  const lost = (sk.lost - bbr.ltLastLost) >>> 0;
  const delivered = (sk.delivered - bbr.ltLastDelivered) >>> 0;
  if (delivered === 0 || lost * BBR_UNIT < BBR_LT_LOSS_THRESH * delivered) return;
  const ms = Math.floor(sk.deliveredMstamp / USEC_PER_MSEC) - bbr.ltLastStamp;
  if (ms < 1) return;
  bbrLtBwIntervalDone(sk, bbr, Math.floor((delivered * BW_UNIT) / (ms * USEC_PER_MSEC)));
}

// ---- the model ------------------------------------------------------------------------------------------------------

/** bbr_update_bw: counts rounds, and takes the sample into the filter. */
function bbrUpdateBw(sk: TcpSock, bbr: Bbr, rs: RateSample): void {
  bbr.roundStart = false;
  if (rs.delivered < 0 || rs.intervalUs <= 0) return;
  if (((rs.priorDelivered - bbr.nextRttDelivered) | 0) >= 0) {
    bbr.nextRttDelivered = sk.delivered;
    bbr.rttCnt++;
    bbr.roundStart = true;
    bbr.packetConservation = false;
  }
  bbrLtBwSampling(sk, bbr, rs.losses, rs.isAppLimited);
  const bw = Math.floor((rs.delivered * BW_UNIT) / rs.intervalUs);
  // A sample of an application that had nothing to send counts only if it is above what is known.
  if (!rs.isAppLimited || bw >= minmaxGet(bbr.bw)) minmaxRunningMax(bbr.bw, BBR_BW_RTTS, bbr.rttCnt, bw);
}

/** bbr_update_ack_aggregation: how much more than bw * time was acknowledged since ACKs fell behind last. */
function bbrUpdateAckAggregation(sk: TcpSock, bbr: Bbr, rs: RateSample): void {
  if (rs.ackedSacked <= 0 || rs.delivered < 0 || rs.intervalUs <= 0) return;
  if (bbr.roundStart) {
    bbr.extraAckedWinRtts = Math.min(0x1f, bbr.extraAckedWinRtts + 1);
    if (bbr.extraAckedWinRtts >= BBR_EXTRA_ACKED_WIN_RTTS) {
      bbr.extraAckedWinRtts = 0;
      bbr.extraAckedWinIdx ^= 1;
      if (bbr.extraAckedWinIdx === 0) bbr.extraAcked0 = 0;
      else bbr.extraAcked1 = 0;
    }
  }
  const epochUs = Math.floor(tcpStampUsDelta(sk.deliveredMstamp, bbr.ackEpochMstamp));
  let expected = Math.floor((bbrBw(bbr) * epochUs) / BW_UNIT);
  // A new epoch when ACKs come more slowly than expected, or after very many.
  if (bbr.ackEpochAcked <= expected || bbr.ackEpochAcked + rs.ackedSacked >= BBR_ACK_EPOCH_ACKED_RESET_THRESH) {
    bbr.ackEpochAcked = 0;
    bbr.ackEpochMstamp = sk.deliveredMstamp;
    expected = 0;
  }
  bbr.ackEpochAcked = Math.min(0xfffff, bbr.ackEpochAcked + rs.ackedSacked);
  const extra = Math.min(bbr.ackEpochAcked - expected, tcpSndCwnd(sk)) & 0xffff;
  if (bbr.extraAckedWinIdx === 0) {
    if (extra > bbr.extraAcked0) bbr.extraAcked0 = extra;
  } else if (extra > bbr.extraAcked1) {
    bbr.extraAcked1 = extra;
  }
}

/** bbr_check_full_bw_reached: three rounds in which the bandwidth did not grow by a quarter. */
function bbrCheckFullBwReached(bbr: Bbr, rs: RateSample): void {
  if (bbr.fullBwReached || !bbr.roundStart || rs.isAppLimited) return;
  const bw = minmaxGet(bbr.bw);
  if (bw >= Math.floor((bbr.fullBw * BBR_FULL_BW_THRESH) / BBR_UNIT)) {
    bbr.fullBw = bw;
    bbr.fullBwCnt = 0;
    return;
  }
  bbr.fullBwCnt++;
  bbr.fullBwReached = bbr.fullBwCnt >= BBR_FULL_BW_CNT;
}

/** bbr_check_drain: when the pipe is full, drains the queue, and then goes on to PROBE_BW. */
function bbrCheckDrain(sk: TcpSock, bbr: Bbr): void {
  if (bbr.mode === BBR_STARTUP && bbr.fullBwReached) {
    bbr.mode = BBR_DRAIN;
    sk.sndSsthresh = bbrInflight(sk, bbr, minmaxGet(bbr.bw), BBR_UNIT);
  }
  if (
    bbr.mode === BBR_DRAIN &&
    bbrPacketsInNetAtEdt(sk, bbr, tcpPacketsInFlight(sk)) <= bbrInflight(sk, bbr, minmaxGet(bbr.bw), BBR_UNIT)
  ) {
    bbrResetProbeBwMode(sk, bbr);
  }
}

function bbrCheckProbeRttDone(sk: TcpSock, bbr: Bbr): void {
  if (bbr.probeRttDoneStamp === 0 || tcpJiffies32() <= bbr.probeRttDoneStamp) return;
  bbr.minRttStamp = tcpJiffies32(); // wait a while until the next one
  tcpSndCwndSet(sk, Math.max(tcpSndCwnd(sk), bbr.priorCwnd));
  bbrResetMode(sk, bbr);
}

/**
 * bbr_update_min_rtt: when the smallest RTT is ten seconds old, four packets in flight for 200 ms and a round show what the
 * path is like without a queue.
 */
function bbrUpdateMinRtt(sk: TcpSock, bbr: Bbr, rs: RateSample): void {
  const now = tcpJiffies32();
  const expired = now > bbr.minRttStamp + BBR_MIN_RTT_WIN;
  if (rs.rttUs >= 0 && (rs.rttUs < bbr.minRttUs || (expired && !rs.isAckDelayed))) {
    bbr.minRttUs = rs.rttUs;
    bbr.minRttStamp = now;
  }
  if (expired && !bbr.idleRestart && bbr.mode !== BBR_PROBE_RTT) {
    bbr.mode = BBR_PROBE_RTT;
    bbrSaveCwnd(sk, bbr);
    bbr.probeRttDoneStamp = 0;
  }
  if (bbr.mode === BBR_PROBE_RTT) {
    const inFlight = tcpPacketsInFlight(sk);
    // Low rates of this mode say nothing about the path.
    sk.appLimited = (sk.delivered + inFlight) >>> 0 || 1;
    if (bbr.probeRttDoneStamp === 0 && inFlight <= BBR_CWND_MIN_TARGET) {
      bbr.probeRttDoneStamp = now + BBR_PROBE_RTT_MODE_MS;
      bbr.probeRttRoundDone = false;
      bbr.nextRttDelivered = sk.delivered;
    } else if (bbr.probeRttDoneStamp !== 0) {
      if (bbr.roundStart) bbr.probeRttRoundDone = true;
      if (bbr.probeRttRoundDone) bbrCheckProbeRttDone(sk, bbr);
    }
  }
  if (rs.delivered > 0) bbr.idleRestart = false;
}

function bbrUpdateGains(bbr: Bbr): void {
  switch (bbr.mode) {
    case BBR_STARTUP:
      bbr.pacingGain = BBR_HIGH_GAIN;
      bbr.cwndGain = BBR_HIGH_GAIN;
      break;
    case BBR_DRAIN:
      bbr.pacingGain = BBR_DRAIN_GAIN;
      bbr.cwndGain = BBR_HIGH_GAIN;
      break;
    case BBR_PROBE_BW:
      bbr.pacingGain = bbr.ltUseBw ? BBR_UNIT : (BBR_PACING_GAIN[bbr.cycleIdx] as number);
      bbr.cwndGain = BBR_CWND_GAIN;
      break;
    default:
      bbr.pacingGain = BBR_UNIT;
      bbr.cwndGain = BBR_UNIT;
  }
}

/** bbr_main: after every ACK. */
export function bbrMain(sk: TcpSock, _ack: number, _flag: number, rs: RateSample): void {
  const bbr = inetCskCa(sk);
  // bbr_update_model.
  bbrUpdateBw(sk, bbr, rs);
  bbrUpdateAckAggregation(sk, bbr, rs);
  bbrUpdateCyclePhase(sk, bbr, rs);
  bbrCheckFullBwReached(bbr, rs);
  bbrCheckDrain(sk, bbr);
  bbrUpdateMinRtt(sk, bbr, rs);
  bbrUpdateGains(bbr);

  const bw = bbrBw(bbr);
  bbrSetPacingRate(sk, bbr, bw, bbr.pacingGain);
  bbrSetCwnd(sk, bbr, rs, rs.ackedSacked, bw, bbr.cwndGain);
}

/** bbr_init. */
export function bbrInit(sk: TcpSock): void {
  const bbr = new Bbr();
  sk.icskCaPriv = bbr;
  sk.sndSsthresh = TCP_INFINITE_SSTHRESH;
  bbr.nextRttDelivered = sk.delivered;
  bbr.minRttUs = tcpMinRtt(sk);
  bbr.minRttStamp = tcpJiffies32();
  minmaxReset(bbr.bw, bbr.rttCnt, 0);
  bbrInitPacingRateFromRtt(sk, bbr);
  bbrResetLtBwSampling(sk, bbr);
  bbr.ackEpochMstamp = sk.tcpMstamp;
  if (sk.skPacingStatus === SK_PACING_NONE) sk.skPacingStatus = SK_PACING_NEEDED;
}

/** bbr_sndbuf_expand: three windows of buffer, because it may slow-start even during recovery. */
export function bbrSndbufExpand(): number {
  return 3;
}

/** bbr_undo_cwnd: the loss was none: the slow-down neither, so the search for the full pipe begins again. */
export function bbrUndoCwnd(sk: TcpSock): number {
  const bbr = inetCskCa(sk);
  bbr.fullBw = 0;
  bbr.fullBwCnt = 0;
  bbrResetLtBwSampling(sk, bbr);
  return tcpSndCwnd(sk);
}

/** bbr_ssthresh: a loss: the window is kept for when recovery ends; ssthresh stays. */
export function bbrSsthresh(sk: TcpSock): number {
  bbrSaveCwnd(sk, inetCskCa(sk));
  return sk.sndSsthresh;
}

/** bbr_set_state: a timeout is the end of a round, with a loss. */
export function bbrSetState(sk0: InetConnectionSock, newState: number): void {
  if (newState !== TCP_CA_Loss) return;
  const sk = sk0 as TcpSock;
  const bbr = inetCskCa(sk);
  bbr.prevCaState = TCP_CA_Loss;
  bbr.fullBw = 0;
  bbr.roundStart = true;
  bbrLtBwSampling(sk, bbr, 1, false);
}

/** struct tcp_bbr_info, as TCP_CC_INFO gives it. */
export interface TcpBbrInfo {
  readonly name: "bbr";
  /** Bytes a second, in two halves of 32 bits. */
  bbrBwLo: number;
  bbrBwHi: number;
  /** Microseconds. */
  bbrMinRtt: number;
  /** Of 256. */
  bbrPacingGain: number;
  bbrCwndGain: number;
}

/** bbr_get_info. */
export function bbrGetInfo(sk: TcpSock): TcpBbrInfo {
  const bbr = inetCskCa(sk);
  const bw = Math.floor((bbrBw(bbr) * sk.mssCache * USEC_PER_SEC) / BW_UNIT);
  return {
    name: "bbr",
    bbrBwLo: bw % 2 ** 32,
    bbrBwHi: Math.floor(bw / 2 ** 32),
    bbrMinRtt: bbr.minRttUs,
    bbrPacingGain: bbr.pacingGain,
    bbrCwndGain: bbr.cwndGain,
  };
}

/** The table tcp_bbr_cong_ops. */
/* notrace */
export function tcpBbrCongOps(): TcpCongestionOps {
  return {
    name: "bbr",
    symbol: "tcp_bbr_cong_ops",
    flags: TCP_CONG_NON_RESTRICTED,
    init: bbrInit,
    congControl: bbrMain,
    sndbufExpand: bbrSndbufExpand,
    undoCwnd: bbrUndoCwnd,
    cwndEventTxStart: bbrCwndEventTxStart,
    ssthresh: bbrSsthresh,
    minTsoSegs: bbrMinTsoSegs,
    getInfo: bbrGetInfo,
    setState: bbrSetState,
  };
}
