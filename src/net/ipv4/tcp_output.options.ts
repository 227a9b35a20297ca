/** TCP options on the way out (RFC 9293 §3.2, RFC 7323, RFC 2018, RFC 7413, RFC 9768). */

import { dv, u8 } from "../../mm/mem.ts";
import {
  TCP_ACCECN_MAXSIZE,
  TCP_ACCECN_NUMFIELDS,
  TCP_ACCECN_OPT_FAIL_SEND,
  TCPHDR_ACK,
  TCPOLEN_ACCECN_BASE,
  TCPOLEN_ACCECN_PERFIELD,
  TCPOLEN_EXP_FASTOPEN_BASE,
  TCPOLEN_FASTOPEN_BASE,
  TCPOLEN_MD5SIG,
  TCPOLEN_MD5SIG_ALIGNED,
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
  TCPOPT_ACCECN1,
  TCPOPT_EXP,
  TCPOPT_FASTOPEN,
  TCPOPT_FASTOPEN_MAGIC,
  TCPOPT_MD5SIG,
  TCPOPT_MSS,
  TCPOPT_NOP,
  TCPOPT_SACK,
  TCPOPT_SACK_PERM,
  TCPOPT_TIMESTAMP,
  TCPOPT_WINDOW,
} from "../../uapi/tcp.ts";
import { dstMetricAdvmss } from "../core/dst.ts";
import type { RequestSock } from "./inet_sock.ts";
import { seqRaw } from "./seq.ts";
import { tcpAccecnOptionBeaconCheck, tcpEcnModeAccecn } from "./tcp_ecn.ts";
import {
  MAX_TCP_OPTION_SPACE,
  TCP_ACCECN_CEB_INIT_OFFSET,
  TCP_ACCECN_E0B_INIT_OFFSET,
  TCP_ACCECN_E1B_INIT_OFFSET,
  TCP_ACCECN_OPTION_FULL,
  TCP_ACCECN_OPTION_PERSIST,
  TCP_HEADER_SIZE,
  tcpSkbTimestampTs,
} from "./tcp_h.ts";
import { tcpMd5DoLookup } from "./tcp_md5.ts";
import type { TcpFastopenCookie, TcpOutOptions, TcpSackBlock, TcpSock } from "./tcp_sock.ts";
import { TCP_SYNACK_COOKIE, TCP_SYNACK_RETRANS, tcpSkbFlags } from "./tcp_sock.ts";

// Bits of TcpOutOptions.options. MD5 (bit 2), SMC (9) and MPTCP (10) have their places and no code.
export const OPTION_SACK_ADVERTISE = 0x1;
export const OPTION_TS = 0x2;
export const OPTION_MD5 = 0x4;
export const OPTION_WSCALE = 0x8;
export const OPTION_FAST_OPEN_COOKIE = 0x100;
export const OPTION_ACCECN = 0x1000;

/** Two NOPs: the padding in front of an option of two bytes more than a multiple of four. */
const NOPS: number = (TCPOPT_NOP << 8) | TCPOPT_NOP;

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
  opts.md5Key = null;
}

/** Signed segments (RFC 2385): the key of the peer, if there is one, goes to `opts`. Returns the bytes of the option. */
/* notrace */
function tcpMd5Options(tp: TcpSock, addr: number, opts: TcpOutOptions): number {
  const key = tcpMd5DoLookup(tp, addr);
  if (key === null) return 0;
  opts.md5Key = key;
  opts.options |= OPTION_MD5;
  return TCPOLEN_MD5SIG_ALIGNED;
}

/* notrace */
function tcpSackBlockWrite(ptr: number, block: TcpSackBlock): void {
  dv.setUint32(ptr, seqRaw(block.startSeq));
  dv.setUint32(ptr + 4, seqRaw(block.endSeq));
}

/**
 * tcp_options_write: writes the options behind the header at `th`. The order is the kernel's, and so are the paddings:
 * SACK-permitted takes the place of the two NOPs in front of the timestamp, and what is over of the Accurate ECN option
 * (2, 5, 8 or 11 bytes) that of the NOPs behind it.
 *
 * ```
 *   both: NOP NOP MD5(18)
 *   SYN:  MSS(4)  SACK_PERM(2) TS(10)  ACCECN(11)  NOP WSCALE(3)  FO cookie
 *   else: NOP NOP TS(10)  ACCECN(2 + 3n)  NOP NOP SACK(2 + 8n)
 * ```
 */
export function tcpOptionsWrite(th: number, tp: TcpSock | null, opts: TcpOutOptions): void {
  let ptr = th + TCP_HEADER_SIZE;
  let options = opts.options;
  if ((options & OPTION_MD5) !== 0) {
    dv.setUint32(ptr, (TCPOPT_NOP << 24) | (TCPOPT_NOP << 16) | (TCPOPT_MD5SIG << 8) | TCPOLEN_MD5SIG);
    opts.hashLocation = ptr + 4;
    ptr += TCPOLEN_MD5SIG_ALIGNED;
  }
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
  // The two bytes that the Accurate ECN option leaves for the next padding.
  let leftover = NOPS;
  if ((options & OPTION_ACCECN) !== 0) {
    leftover = tcpAccecnOptionWrite(ptr, tp, opts);
    // 2, 5, 8 and 11 bytes (and a NOP): as many whole words as there are fields.
    ptr += opts.numAccecnFields * 4;
  } else if (tp !== null) {
    tp.accecnOptSentWDsack = false;
  }
  if ((options & OPTION_SACK_ADVERTISE) !== 0) {
    dv.setUint32(ptr, (leftover << 16) | (TCPOPT_SACK_PERM << 8) | TCPOLEN_SACK_PERM);
    leftover = NOPS;
    ptr += TCPOLEN_SACKPERM_ALIGNED;
  }
  if ((options & OPTION_WSCALE) !== 0) {
    let high = TCPOPT_NOP;
    // One byte fits here, two do not.
    if (leftover !== NOPS && (leftover & 0xff) === TCPOPT_NOP) {
      high = leftover >>> 8;
      leftover = NOPS;
    }
    dv.setUint32(ptr, (high << 24) | (TCPOPT_WINDOW << 16) | (TCPOLEN_WINDOW << 8) | opts.ws);
    ptr += TCPOLEN_WSCALE_ALIGNED;
  }
  const blocks = opts.numSackBlocks;
  if (blocks !== 0 && tp !== null) {
    dv.setUint32(ptr, (leftover << 16) | (TCPOPT_SACK << 8) | (TCPOLEN_SACK_BASE + blocks * TCPOLEN_SACK_PERBLOCK));
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
  } else if (leftover !== NOPS) {
    dv.setUint32(ptr, (leftover << 16) | NOPS);
    ptr += 4;
  }
  if ((options & OPTION_FAST_OPEN_COOKIE) !== 0 && opts.fastopenCookie !== null) {
    tcpFastopenCookieWrite(ptr, opts.fastopenCookie);
  }
}

/**
 * RFC 9768 §3.2.3: ECT(1), CE and ECT(0), in this order, as many as there is room for. Returns the two bytes that have
 * to begin the next word.
 */
/* notrace */
function tcpAccecnOptionWrite(ptr: number, tp: TcpSock | null, opts: TcpOutOptions): number {
  const fields = opts.numAccecnFields;
  let e0b = TCP_ACCECN_E0B_INIT_OFFSET;
  let e1b = TCP_ACCECN_E1B_INIT_OFFSET;
  let ceb = TCP_ACCECN_CEB_INIT_OFFSET;
  if (tp !== null) {
    if (!opts.useSynackEcnBytes) {
      const bytes = tp.receivedEcnBytes;
      e1b += bytes[0] as number;
      e0b += bytes[1] as number;
      ceb += bytes[2] as number;
    }
    tp.accecnMinlen = 0;
    tp.accecnOptTstamp = tp.tcpMstamp;
    tp.accecnOptSentWDsack = tp.rxOpt.dsack;
    if (tp.accecnOptDemand !== 0) tp.accecnOptDemand--;
  }
  const head = (TCPOPT_ACCECN1 << 8) | (TCPOLEN_ACCECN_BASE + fields * TCPOLEN_ACCECN_PERFIELD);
  if (fields === 0) return head;
  dv.setUint32(ptr, (head << 16) | ((e1b >>> 8) & 0xffff));
  if (fields === 1) return ((e1b & 0xff) << 8) | TCPOPT_NOP;
  dv.setUint32(ptr + 4, ((e1b & 0xff) << 24) | (ceb & 0xffffff));
  if (fields === 3) dv.setUint32(ptr + 8, ((e0b & 0xffffff) << 8) | TCPOPT_NOP);
  return NOPS;
}

/** tcp_synack_options_combine_saving: bytes of padding in a SYN/ACK that another option can take. */
/* notrace */
function tcpSynackOptionsCombineSaving(opts: TcpOutOptions): number {
  if ((opts.options & (OPTION_SACK_ADVERTISE | OPTION_TS)) === OPTION_SACK_ADVERTISE) return 2;
  return (opts.options & OPTION_WSCALE) !== 0 ? 1 : 0;
}

/**
 * tcp_options_fit_accecn: the largest Accurate ECN option, of at least `required` fields, that `remaining` bytes hold;
 * it takes the place of padding where it can, and that of a SACK block if it must. Returns the bytes that it adds.
 */
function tcpOptionsFitAccecn(opts: TcpOutOptions, required: number, remaining: number): number {
  let size = TCP_ACCECN_MAXSIZE;
  let fields = TCP_ACCECN_NUMFIELDS;
  let blocksLess = 0;
  let saving = 0;
  if (opts.useSynackEcnBytes) saving = tcpSynackOptionsCombineSaving(opts);
  else if (opts.numSackBlocks > 0) saving = 2;
  while (fields >= required) {
    const aligned = (size & 3) > saving ? (size + 3) & ~3 : size & ~3;
    if (remaining >= aligned) {
      size = aligned;
      break;
    }
    if (fields === required && opts.numSackBlocks > 2 && required > 0) {
      opts.numSackBlocks--;
      blocksLess++;
      remaining += TCPOLEN_SACK_PERBLOCK;
      fields = TCP_ACCECN_NUMFIELDS;
      size = TCP_ACCECN_MAXSIZE;
      continue;
    }
    fields--;
    size -= TCPOLEN_ACCECN_PERFIELD;
  }
  opts.numAccecnFields = fields;
  if (fields < required) {
    opts.numSackBlocks += blocksLess;
    return 0;
  }
  opts.options |= OPTION_ACCECN;
  return size - blocksLess * TCPOLEN_SACK_PERBLOCK;
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
  if (sk.md5sigInfo !== null) remaining -= tcpMd5Options(sk, sk.skcDaddr, opts);
  opts.mss = tcpAdvertiseMss(sk);
  remaining -= TCPOLEN_MSS_ALIGNED;
  // Not beside a digest: there would be no room for SACK blocks.
  if (ipv4.sysctlTcpTimestamps !== 0 && opts.md5Key === null) {
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
  // The SYN/ACK of a simultaneous open: there, and on its first retransmission, the option is tried (RFC 9768 §3.1.4.1).
  if (
    (tcpSkbFlags(skb) & TCPHDR_ACK) !== 0 &&
    tcpEcnModeAccecn(sk) &&
    sk.icskRetransmits < 2 &&
    ipv4.sysctlTcpEcnOption !== 0 &&
    remaining >= TCPOLEN_ACCECN_BASE
  ) {
    opts.useSynackEcnBytes = true;
    remaining -= tcpOptionsFitAccecn(opts, 0, remaining);
  }
  return MAX_TCP_OPTION_SPACE - remaining;
}

/** tcp_synack_options: the options of a SYN-ACK for `req`; only what the SYN offered. Returns their bytes. */
export function tcpSynackOptions(
  sk: TcpSock,
  req: RequestSock,
  mss: number,
  skb: number,
  opts: TcpOutOptions,
  foc: TcpFastopenCookie | null,
  synackType: number,
): number {
  let remaining = MAX_TCP_OPTION_SPACE;
  if (sk.md5sigInfo !== null) {
    remaining -= tcpMd5Options(sk, req.irRmtAddr, opts);
    // SACK blocks, a digest and a timestamp do not fit together.
    if (opts.md5Key !== null && synackType !== TCP_SYNACK_COOKIE && req.sackOk) req.tstampOk = false;
  }
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
  if (
    req.accecnOk &&
    req.net.ipv4.sysctlTcpEcnOption !== 0 &&
    synackType !== TCP_SYNACK_RETRANS &&
    remaining >= TCPOLEN_ACCECN_BASE
  ) {
    opts.useSynackEcnBytes = true;
    remaining -= tcpOptionsFitAccecn(opts, 0, remaining);
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
  if (sk.md5sigInfo !== null) size += tcpMd5Options(sk, sk.skcDaddr, opts);
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
  if (tcpEcnModeAccecn(sk)) size += tcpEstablishedAccecn(sk, opts, MAX_TCP_OPTION_SPACE - size);
  return size;
}

/** Accurate ECN's part of tcp_established_options: is the option due (RFC 9768 §3.2.3.3), and does it fit? Its bytes. */
function tcpEstablishedAccecn(sk: TcpSock, opts: TcpOutOptions, remaining: number): number {
  const ecnOpt = sk.net.ipv4.sysctlTcpEcnOption;
  // Not before the peer has shown that options of this kind come through.
  if (ecnOpt === 0 || sk.sawAccecnOpt === 0) return 0;
  if (ecnOpt < TCP_ACCECN_OPTION_PERSIST && (sk.accecnFailMode & TCP_ACCECN_OPT_FAIL_SEND) !== 0) return 0;
  if (ecnOpt < TCP_ACCECN_OPTION_FULL && sk.accecnOptDemand === 0 && !tcpAccecnOptionBeaconCheck(sk)) return 0;
  opts.useSynackEcnBytes = false;
  return tcpOptionsFitAccecn(opts, sk.accecnMinlen, remaining);
}
