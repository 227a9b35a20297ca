/** TCP options on the way out (RFC 9293 §3.2, RFC 7323, RFC 2018, RFC 7413), and the ECN bits. */

import { SKB_GSO_TCP_ECN, SKB_LEN } from "../../../assembly/layout.ts";
import { dv, u8, u32 } from "../../mm/mem.ts";
import { skbGsoType, skbSetGsoType } from "../../mm/skb.ts";
import { RTAX_FEATURE_ECN, RTAX_FEATURES } from "../../uapi/rtnetlink.ts";
import {
  TCPHDR_CWR,
  TCPHDR_ECE,
  TCPOLEN_EXP_FASTOPEN_BASE,
  TCPOLEN_FASTOPEN_BASE,
  TCPOLEN_MSS,
  TCPOLEN_MSS_ALIGNED,
  TCPOLEN_SACK_BASE,
  TCPOLEN_SACK_BASE_ALIGNED,
  TCPOLEN_SACK_PERBLOCK,
  TCPOLEN_SACK_PERM,
  TCPOLEN_SACKPERM_ALIGNED,
  TCPOLEN_TIMESTAMP,
  TCPOLEN_TSTAMP_ALIGNED,
  TCPOLEN_WINDOW,
  TCPOLEN_WSCALE_ALIGNED,
  TCPOPT_EXP,
  TCPOPT_FASTOPEN,
  TCPOPT_FASTOPEN_MAGIC,
  TCPOPT_MSS,
  TCPOPT_NOP,
  TCPOPT_SACK,
  TCPOPT_SACK_PERM,
  TCPOPT_TIMESTAMP,
  TCPOPT_WINDOW,
} from "../../uapi/tcp.ts";
import { dstMetric, dstMetricAdvmss } from "../core/dst.ts";
import type { RequestSock } from "./inet_sock.ts";
import { before, seqRaw } from "./seq.ts";
import {
  inetEcnDontxmit,
  inetEcnXmit,
  MAX_TCP_OPTION_SPACE,
  TCP_ECN_DEMAND_CWR,
  TCP_ECN_OK,
  TCP_ECN_QUEUE_CWR,
  TCP_HEADER_SIZE,
  tcpCaNeedsEcn,
  tcpSkbTimestampTs,
} from "./tcp_h.ts";
import type { TcpFastopenCookie, TcpOutOptions, TcpSackBlock, TcpSock } from "./tcp_sock.ts";
import { tcpSkbFlags, tcpSkbSeq, tcpSkbSetFlags } from "./tcp_sock.ts";

// Bits of TcpOutOptions.options. MD5 (bit 2), SMC (9) and MPTCP (10) have their places and no code.
export const OPTION_SACK_ADVERTISE = 0x1;
export const OPTION_TS = 0x2;
export const OPTION_WSCALE = 0x8;
export const OPTION_FAST_OPEN_COOKIE = 0x100;

/** memset(&opts, 0, sizeof(opts)). */
/* notrace */
export function tcpOutOptionsClear(opts: TcpOutOptions): void {
  opts.options = 0;
  opts.mss = 0;
  opts.ws = 0;
  opts.numSackBlocks = 0;
  opts.tsval = 0;
  opts.tsecr = 0;
  opts.fastopenCookie = null;
}

/* notrace */
function tcpSackBlockWrite(ptr: number, block: TcpSackBlock): void {
  dv.setUint32(ptr, seqRaw(block.startSeq));
  dv.setUint32(ptr + 4, seqRaw(block.endSeq));
}

/**
 * tcp_options_write: writes the options behind the header at `th`. The order is the kernel's, and so are the paddings:
 * SACK-permitted takes the place of the two NOPs in front of the timestamp.
 *
 * ```
 *   SYN:  MSS(4)  SACK_PERM(2) TS(10)  NOP WSCALE(3)  FO cookie
 *   else: NOP NOP TS(10)  NOP NOP SACK(2 + 8n)
 * ```
 */
export function tcpOptionsWrite(th: number, tp: TcpSock | null, opts: TcpOutOptions): void {
  let ptr = th + TCP_HEADER_SIZE;
  let options = opts.options;
  if (opts.mss !== 0) {
    dv.setUint32(ptr, (TCPOPT_MSS << 24) | (TCPOLEN_MSS << 16) | opts.mss);
    ptr += 4;
  }
  if ((options & OPTION_TS) !== 0) {
    if ((options & OPTION_SACK_ADVERTISE) !== 0) {
      dv.setUint32(
        ptr,
        (TCPOPT_SACK_PERM << 24) | (TCPOLEN_SACK_PERM << 16) | (TCPOPT_TIMESTAMP << 8) | TCPOLEN_TIMESTAMP,
      );
      options &= ~OPTION_SACK_ADVERTISE;
    } else {
      dv.setUint32(ptr, (TCPOPT_NOP << 24) | (TCPOPT_NOP << 16) | (TCPOPT_TIMESTAMP << 8) | TCPOLEN_TIMESTAMP);
    }
    dv.setUint32(ptr + 4, opts.tsval);
    dv.setUint32(ptr + 8, opts.tsecr);
    ptr += TCPOLEN_TSTAMP_ALIGNED;
  }
  if ((options & OPTION_SACK_ADVERTISE) !== 0) {
    dv.setUint32(ptr, (TCPOPT_NOP << 24) | (TCPOPT_NOP << 16) | (TCPOPT_SACK_PERM << 8) | TCPOLEN_SACK_PERM);
    ptr += TCPOLEN_SACKPERM_ALIGNED;
  }
  if ((options & OPTION_WSCALE) !== 0) {
    dv.setUint32(ptr, (TCPOPT_NOP << 24) | (TCPOPT_WINDOW << 16) | (TCPOLEN_WINDOW << 8) | opts.ws);
    ptr += TCPOLEN_WSCALE_ALIGNED;
  }
  const blocks = opts.numSackBlocks;
  if (blocks !== 0 && tp !== null) {
    dv.setUint32(
      ptr,
      (TCPOPT_NOP << 24) |
        (TCPOPT_NOP << 16) |
        (TCPOPT_SACK << 8) |
        (TCPOLEN_SACK_BASE + blocks * TCPOLEN_SACK_PERBLOCK),
    );
    ptr += TCPOLEN_SACK_BASE_ALIGNED;
    let i = 0;
    if (tp.rxOpt.dsack) {
      // RFC 2883 §4: the first block reports the duplicate.
      tcpSackBlockWrite(ptr, tp.duplicateSack[0]);
      ptr += TCPOLEN_SACK_PERBLOCK;
      i = 1;
    }
    for (let j = 0; i < blocks; i++, j++) {
      tcpSackBlockWrite(ptr, tp.selectiveAcks[j]);
      ptr += TCPOLEN_SACK_PERBLOCK;
    }
    tp.rxOpt.dsack = false;
  }
  if ((options & OPTION_FAST_OPEN_COOKIE) !== 0 && opts.fastopenCookie !== null) {
    tcpFastopenCookieWrite(ptr, opts.fastopenCookie);
  }
}

/** RFC 7413 §4.1.1, or the experimental kind with its magic (RFC 6994). */
/* notrace */
function tcpFastopenCookieWrite(ptr: number, foc: TcpFastopenCookie): void {
  let len: number;
  if (foc.exp) {
    len = TCPOLEN_EXP_FASTOPEN_BASE + foc.len;
    dv.setUint32(ptr, (TCPOPT_EXP << 24) | (len << 16) | TCPOPT_FASTOPEN_MAGIC);
    ptr += TCPOLEN_EXP_FASTOPEN_BASE;
  } else {
    len = TCPOLEN_FASTOPEN_BASE + foc.len;
    u8[ptr++] = TCPOPT_FASTOPEN;
    u8[ptr++] = len;
  }
  for (let i = 0; i < foc.len; i++) u8[ptr + i] = foc.val[i];
  // Cookies have even lengths, so at most two bytes are missing to a multiple of four.
  for (let i = foc.len; ((len + i - foc.len) & 3) !== 0; i++) u8[ptr + i] = TCPOPT_NOP;
}

/** Bytes that the Fast Open option takes, padded. */
/* notrace */
function tcpFastopenOptionNeed(foc: TcpFastopenCookie): number {
  return (foc.len + (foc.exp ? TCPOLEN_EXP_FASTOPEN_BASE : TCPOLEN_FASTOPEN_BASE) + 3) & ~3;
}

/** tcp_advertise_mss: what the SYN says; the route may lower it. */
function tcpAdvertiseMss(sk: TcpSock): number {
  const dst = sk.skDstCache;
  let mss = sk.advmss;
  if (dst !== null) {
    const metric = dstMetricAdvmss(dst);
    if (metric < mss) {
      mss = metric;
      sk.advmss = mss;
    }
  }
  return mss;
}

/** tcp_syn_options: the options of a SYN. Returns their bytes. */
export function tcpSynOptions(sk: TcpSock, skb: number, opts: TcpOutOptions): number {
  const ipv4 = sk.net.ipv4;
  let remaining = MAX_TCP_OPTION_SPACE;
  opts.mss = tcpAdvertiseMss(sk);
  remaining -= TCPOLEN_MSS_ALIGNED;
  if (ipv4.sysctlTcpTimestamps !== 0) {
    opts.options |= OPTION_TS;
    opts.tsval = (tcpSkbTimestampTs(skb) + sk.tsoffset) >>> 0;
    opts.tsecr = sk.rxOpt.tsRecent;
    remaining -= TCPOLEN_TSTAMP_ALIGNED;
  }
  if (ipv4.sysctlTcpWindowScaling !== 0) {
    opts.ws = sk.rxOpt.rcvWscale;
    opts.options |= OPTION_WSCALE;
    remaining -= TCPOLEN_WSCALE_ALIGNED;
  }
  if (ipv4.sysctlTcpSack !== 0) {
    opts.options |= OPTION_SACK_ADVERTISE;
    if ((opts.options & OPTION_TS) === 0) remaining -= TCPOLEN_SACKPERM_ALIGNED;
  }
  const fastopen = sk.fastopenReq;
  if (fastopen !== null && fastopen.cookie.len >= 0) {
    const need = tcpFastopenOptionNeed(fastopen.cookie);
    if (remaining >= need) {
      opts.options |= OPTION_FAST_OPEN_COOKIE;
      opts.fastopenCookie = fastopen.cookie;
      remaining -= need;
      sk.synFastopen = true;
      sk.synFastopenExp = fastopen.cookie.exp;
    }
  }
  return MAX_TCP_OPTION_SPACE - remaining;
}

/** tcp_synack_options: the options of a SYN-ACK for `req`; only what the SYN offered. Returns their bytes. */
export function tcpSynackOptions(
  req: RequestSock,
  mss: number,
  skb: number,
  opts: TcpOutOptions,
  foc: TcpFastopenCookie | null,
): number {
  let remaining = MAX_TCP_OPTION_SPACE;
  opts.mss = mss;
  remaining -= TCPOLEN_MSS_ALIGNED;
  if (req.wscaleOk) {
    opts.ws = req.rcvWscale;
    opts.options |= OPTION_WSCALE;
    remaining -= TCPOLEN_WSCALE_ALIGNED;
  }
  if (req.tstampOk) {
    opts.options |= OPTION_TS;
    opts.tsval = (tcpSkbTimestampTs(skb) + req.tsOff) >>> 0;
    opts.tsecr = req.tsRecent;
    remaining -= TCPOLEN_TSTAMP_ALIGNED;
  }
  if (req.sackOk) {
    opts.options |= OPTION_SACK_ADVERTISE;
    if (!req.tstampOk) remaining -= TCPOLEN_SACKPERM_ALIGNED;
  }
  if (foc !== null && foc.len >= 0) {
    const need = tcpFastopenOptionNeed(foc);
    if (remaining >= need) {
      opts.options |= OPTION_FAST_OPEN_COOKIE;
      opts.fastopenCookie = foc;
      remaining -= need;
    }
  }
  return MAX_TCP_OPTION_SPACE - remaining;
}

/**
 * tcp_established_options: the options of every segment but SYNs. `skb` 0 asks for the size only. Returns their bytes: a
 * multiple of 4, at most 40; as many SACK blocks as fit.
 */
export function tcpEstablishedOptions(sk: TcpSock, skb: number, opts: TcpOutOptions): number {
  const rxOpt = sk.rxOpt;
  let size = 0;
  opts.options = 0;
  opts.numSackBlocks = 0;
  if (rxOpt.tstampOk) {
    opts.options |= OPTION_TS;
    opts.tsval = skb !== 0 ? (tcpSkbTimestampTs(skb) + sk.tsoffset) >>> 0 : 0;
    opts.tsecr = rxOpt.tsRecent;
    size += TCPOLEN_TSTAMP_ALIGNED;
  }
  const effSacks = rxOpt.numSacks + (rxOpt.dsack ? 1 : 0);
  if (effSacks !== 0) {
    const remaining = MAX_TCP_OPTION_SPACE - size;
    if (remaining >= TCPOLEN_SACK_BASE_ALIGNED + TCPOLEN_SACK_PERBLOCK) {
      const room = ((remaining - TCPOLEN_SACK_BASE_ALIGNED) / TCPOLEN_SACK_PERBLOCK) | 0;
      opts.numSackBlocks = effSacks < room ? effSacks : room;
      size += TCPOLEN_SACK_BASE_ALIGNED + opts.numSackBlocks * TCPOLEN_SACK_PERBLOCK;
    }
  }
  return size;
}

// ---- ECN (RFC 3168) -----------------------------------------------------------------------------------------------------

/** tcp_ecn_send_synack: a SYN-ACK for a crossed SYN says ECE if ECN was agreed on, and never CWR. */
export function tcpEcnSendSynack(sk: TcpSock, skb: number): void {
  let flags = tcpSkbFlags(skb) & ~TCPHDR_CWR;
  if ((sk.ecnFlags & TCP_ECN_OK) === 0) flags &= ~TCPHDR_ECE;
  else if (tcpCaNeedsEcn(sk)) inetEcnXmit(sk);
  tcpSkbSetFlags(skb, flags);
}

/** tcp_ecn_send_syn: an ECN-setup SYN (ECE and CWR, RFC 3168 §6.1.1) if the sysctl, the route or the CC ask for it. */
export function tcpEcnSendSyn(sk: TcpSock, skb: number): void {
  const caNeedsEcn = tcpCaNeedsEcn(sk);
  let useEcn = sk.net.ipv4.sysctlTcpEcn === 1 || caNeedsEcn;
  if (!useEcn) {
    const dst = sk.skDstCache;
    if (dst !== null && (dstMetric(dst, RTAX_FEATURES) & RTAX_FEATURE_ECN) !== 0) useEcn = true;
  }
  sk.ecnFlags = 0;
  if (!useEcn) return;
  if (caNeedsEcn) inetEcnXmit(sk);
  tcpSkbSetFlags(skb, tcpSkbFlags(skb) | TCPHDR_ECE | TCPHDR_CWR);
  sk.ecnFlags = TCP_ECN_OK;
}

/** tcp_ecn_clear_syn: RFC 3168 §6.1.1.1: a SYN that got no answer is retried without ECN. */
export function tcpEcnClearSyn(sk: TcpSock, skb: number): void {
  if (sk.net.ipv4.sysctlTcpEcnFallback !== 0) tcpSkbSetFlags(skb, tcpSkbFlags(skb) & ~(TCPHDR_ECE | TCPHDR_CWR));
}

/** tcp_ecn_make_synack. */
export function tcpEcnMakeSynack(req: RequestSock, th: number): void {
  if (req.ecnOk) u8[th + 13] |= TCPHDR_ECE;
}

/** tcp_ecn_send: marks the packet ECT and the header CWR and ECE as is due. `th` is the header of `skb`. */
export function tcpEcnSend(sk: TcpSock, skb: number, th: number, tcpHeaderLen: number): void {
  if ((sk.ecnFlags & TCP_ECN_OK) === 0) return;
  // Not-retransmitted data segments: ECT(0), and CWR once after the window was reduced.
  if (u32[(skb + SKB_LEN) >>> 2] !== tcpHeaderLen && !before(tcpSkbSeq(skb), sk.sndNxt)) {
    inetEcnXmit(sk);
    if ((sk.ecnFlags & TCP_ECN_QUEUE_CWR) !== 0) {
      sk.ecnFlags &= ~TCP_ECN_QUEUE_CWR;
      u8[th + 13] |= TCPHDR_CWR;
      skbSetGsoType(skb, skbGsoType(skb) | SKB_GSO_TCP_ECN);
    }
  } else if (!tcpCaNeedsEcn(sk)) {
    // RFC 3168 §6.1.4, §6.1.5: neither pure ACKs nor retransmissions may be ECT.
    inetEcnDontxmit(sk);
  }
  if ((sk.ecnFlags & TCP_ECN_DEMAND_CWR) !== 0) u8[th + 13] |= TCPHDR_ECE;
}
