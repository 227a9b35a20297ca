/**
 * SKB_EXT_ERR(skb): the extended error of an skb on a socket's error queue (linux/errqueue.h), and the transmit time
 * stamps that arrive there (net/core/skbuff.c).
 */

import {
  EXTERR_ADDR_OFFSET,
  EXTERR_CODE,
  EXTERR_DATA,
  EXTERR_ERRNO,
  EXTERR_INFO,
  EXTERR_OPT_STATS,
  EXTERR_ORIGIN,
  EXTERR_PORT,
  EXTERR_TYPE,
  IPCB_IIF,
  SKB_TSTAMP,
} from "../../../assembly/layout.ts";
import { CAP_NET_RAW, nsCapable } from "../../kernel/capability.ts";
import { kernel } from "../../kernel/kernel.ts";
import { f64, u8, u16, u32 } from "../../mm/mem.ts";
import { ENOMSG } from "../../uapi/errno.ts";
import {
  SCM_TSTAMP_ACK,
  SCM_TSTAMP_SCHED,
  SOF_TIMESTAMPING_OPT_ID,
  SOF_TIMESTAMPING_OPT_STATS,
  SOF_TIMESTAMPING_OPT_TSONLY,
  SOF_TIMESTAMPING_TX_COMPLETION,
  SOF_TIMESTAMPING_TX_HARDWARE,
  SOF_TIMESTAMPING_TX_RECORD_MASK,
  SOF_TIMESTAMPING_TX_SCHED,
  SOF_TIMESTAMPING_TX_SOFTWARE,
} from "../../uapi/net_tstamp.ts";
import { SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_TIMESTAMPING } from "../../uapi/socket.ts";
import type { NetDevice } from "./dev.ts";
import {
  allocSkb,
  kfreeSkb,
  skbClone,
  skbDequeue,
  skbDev,
  skbOrphanFragsRx,
  skbPeek,
  skbSetTskey,
  skbSetTxFlags,
  skbTskey,
} from "./skbuff.ts";
import type { Sock } from "./sock.ts";
import { skErrorReport, sockQueueErrSkb } from "./sock.ts";
import { skIsTcp } from "./sock_options.ts";

/** struct sock_extended_err with the offender's address: the data of an IP_RECVERR control message. */
export interface SockExtendedErr {
  eeErrno: number;
  /** SO_EE_ORIGIN_*. */
  eeOrigin: number;
  eeType: number;
  eeCode: number;
  eeInfo: number;
  eeData: number;
  /** SO_EE_OFFENDER: the address of the router or host that sent the ICMP message; 0 = none. */
  offender?: number;
}

/** Fills in all of SKB_EXT_ERR(skb). */
/* notrace */
export function skbSetExtErr(
  skb: number,
  errno: number,
  origin: number,
  type: number,
  code: number,
  info: number,
  data: number,
): void {
  u32[(skb + EXTERR_ERRNO) >>> 2] = errno;
  u8[skb + EXTERR_ORIGIN] = origin;
  u8[skb + EXTERR_TYPE] = type;
  u8[skb + EXTERR_CODE] = code;
  u8[skb + EXTERR_OPT_STATS] = 0;
  u32[(skb + EXTERR_INFO) >>> 2] = info;
  u32[(skb + EXTERR_DATA) >>> 2] = data;
  u16[(skb + EXTERR_ADDR_OFFSET) >>> 1] = 0;
  u16[(skb + EXTERR_PORT) >>> 1] = 0;
}
/** Where in the packet (from the network header) the address stands that the error is about, and its port. */
/* notrace */
export function skbSetExtErrAddr(skb: number, addrOffset: number, port: number): void {
  u16[(skb + EXTERR_ADDR_OFFSET) >>> 1] = addrOffset;
  u16[(skb + EXTERR_PORT) >>> 1] = port;
}
export function skbExtErrOrigin(skb: number): number {
  return u8[skb + EXTERR_ORIGIN]!;
}
export function skbExtErrInfo(skb: number): number {
  return u32[(skb + EXTERR_INFO) >>> 2]!;
}
export function skbExtErrAddrOffset(skb: number): number {
  return u16[(skb + EXTERR_ADDR_OFFSET) >>> 1]!;
}
export function skbExtErrPort(skb: number): number {
  return u16[(skb + EXTERR_PORT) >>> 1]!;
}

/**
 * skb_zerocopy_notify_extend: makes the notification in `skb` one of the `len` sends from number `lo` on as well, if they follow those
 * that it has.
 */
/* notrace */
export function skbExtErrExtend(skb: number, lo: number, len: number): boolean {
  const oldHi = u32[(skb + EXTERR_DATA) >>> 2]!;
  const sum = oldHi - u32[(skb + EXTERR_INFO) >>> 2]! + 1 + len;
  if (sum >= 0x1_0000_0000 || lo !== (oldHi + 1) >>> 0) return false;
  u32[(skb + EXTERR_DATA) >>> 2] = (oldHi + len) >>> 0;
  return true;
}

/** The error as a value, without the offender (the family adds it). */
/* notrace */
export function skbExtErr(skb: number): SockExtendedErr {
  return {
    eeErrno: u32[(skb + EXTERR_ERRNO) >>> 2]!,
    eeOrigin: u8[skb + EXTERR_ORIGIN]!,
    eeType: u8[skb + EXTERR_TYPE]!,
    eeCode: u8[skb + EXTERR_CODE]!,
    eeInfo: u32[(skb + EXTERR_INFO) >>> 2]!,
    eeData: u32[(skb + EXTERR_DATA) >>> 2]!,
  };
}

/* notrace */
function isIcmpErrSkb(skb: number): boolean {
  return skb !== 0 && u8[skb + EXTERR_ORIGIN] === SO_EE_ORIGIN_ICMP;
}

/**
 * sock_dequeue_err_skb: the oldest entry of the error queue, 0 = none. sk_err follows the ICMP errors in the queue: it is
 * cleared with the last one, and set again while there are more.
 */
export function sockDequeueErrSkb(sk: Sock): number {
  const q = sk.skErrorQueue;
  const skb = skbDequeue(q);
  let next = 0;
  if (skb !== 0) {
    next = skbPeek(q);
    const icmpNext = isIcmpErrSkb(next);
    if (icmpNext) sk.skErr = u32[(next + EXTERR_ERRNO) >>> 2]!;
    if (isIcmpErrSkb(skb) && !icmpNext) sk.skErr = 0;
    if (next !== 0) skErrorReport(sk);
  }
  return skb;
}

// ---- time stamps of what was sent -----------------------------------------------------------------------------------

/** SHINFO_TX_FLAGS bits (skb_shinfo(skb)->tx_flags). */
export const SKBTX_HW_TSTAMP = 1;
export const SKBTX_SW_TSTAMP = 2;
export const SKBTX_IN_PROGRESS = 4;
export const SKBTX_COMPLETION_TSTAMP = 8;
export const SKBTX_SCHED_TSTAMP = 64;
export const SKBTX_ANY_TSTAMP: number = 1 | 2 | 8 | 64;

/** Bit of a send's tsflags: the caller gave the identifier itself (SCM_TS_OPT_ID). */
export const SOCKCM_FLAG_TS_OPT_ID: number = 1 << 31;

/** __sock_tx_timestamp: SKBTX_* of SOF_TIMESTAMPING_TX_*. */
/* notrace */
export function sockTxFlags(tsflags: number): number {
  let flags = 0;
  if ((tsflags & SOF_TIMESTAMPING_TX_HARDWARE) !== 0) flags |= SKBTX_HW_TSTAMP;
  if ((tsflags & SOF_TIMESTAMPING_TX_SOFTWARE) !== 0) flags |= SKBTX_SW_TSTAMP;
  if ((tsflags & SOF_TIMESTAMPING_TX_SCHED) !== 0) flags |= SKBTX_SCHED_TSTAMP;
  if ((tsflags & SOF_TIMESTAMPING_TX_COMPLETION) !== 0) flags |= SKBTX_COMPLETION_TSTAMP;
  return flags;
}

/**
 * _sock_tx_timestamp: marks an skb for the stamps that the send asked for (SOF_TIMESTAMPING_TX_*), and gives it the
 * identifier that they will carry.
 */
export function sockTxTimestamp(skb: number, sk: Sock, tsflags: number, tsOptId: number): void {
  if ((tsflags & SOF_TIMESTAMPING_TX_RECORD_MASK) === 0) return;
  skbSetTxFlags(skb, sockTxFlags(tsflags));
  if ((sk.skTsflags & SOF_TIMESTAMPING_OPT_ID) === 0) return;
  if ((tsflags & SOCKCM_FLAG_TS_OPT_ID) !== 0) skbSetTskey(skb, tsOptId);
  else {
    skbSetTskey(skb, sk.skTskey);
    sk.skTskey = (sk.skTskey + 1) >>> 0;
  }
}

/** __skb_complete_tx_timestamp: queues `skb` with the stamp in it. `key`: which send it is of. */
function skbCompleteTxTimestamp(skb: number, sk: Sock, key: number, tstype: number, optStats: boolean): void {
  const data = (sk.skTsflags & SOF_TIMESTAMPING_OPT_ID) !== 0 ? key : 0;
  skbSetExtErr(skb, ENOMSG, SO_EE_ORIGIN_TIMESTAMPING, 0, 0, tstype, data);
  u8[skb + EXTERR_OPT_STATS] = optStats ? 1 : 0;
  // IP_PKTINFO of the notification: where the packet went out.
  const dev = skbDev(skb) as NetDevice | null;
  u32[(skb + IPCB_IIF) >>> 2] = dev !== null ? dev.ifindex : 0;
  if (sockQueueErrSkb(sk, skb) !== 0) kfreeSkb(skb);
}

/** skb_may_tx_timestamp: the packet itself goes back to its sender only if that may see packets anyway. */
/* notrace */
function skbMayTxTimestamp(sk: Sock, tsonly: boolean): boolean {
  if (tsonly || sk.net.core.sysctlTstampAllowData !== 0) return true;
  return sk.skSocket !== null && nsCapable(sk.net, CAP_NET_RAW);
}

/**
 * __skb_tstamp_tx: tells the owner of `origSkb` that it was scheduled, sent or acknowledged (SCM_TSTAMP_*; by `ackSkb`, 0 = not by a
 * packet), through the error queue. With SOF_TIMESTAMPING_OPT_TSONLY the notification carries no payload, and with
 * OPT_STATS what the protocol knows of the connection instead. The caller has looked whether this stamp is wanted.
 */
export function __skbTstampTx(origSkb: number, ackSkb: number, sk: Sock, tstype: number): void {
  const tsflags = sk.skTsflags;
  const tsonly = (tsflags & SOF_TIMESTAMPING_OPT_TSONLY) !== 0;
  if (!skbMayTxTimestamp(sk, tsonly)) return;
  let skb = 0;
  let optStats = false;
  if (!tsonly) {
    skb = skbClone(origSkb);
    if (skb !== 0 && skbOrphanFragsRx(skb) !== 0) {
      kfreeSkb(skb);
      return;
    }
  } else if ((tsflags & SOF_TIMESTAMPING_OPT_STATS) !== 0 && skIsTcp(sk)) {
    skb = sk.skProt.timestampingOptStats?.(sk, origSkb, ackSkb) ?? 0;
    optStats = true;
  } else skb = allocSkb(0);
  if (skb === 0) return;
  f64[(skb + SKB_TSTAMP) >>> 3] = kernel.clock.realtime();
  // TCP's keys are sequence numbers: the user counts bytes from the moment on at which it asked.
  const key = skIsTcp(sk) ? (skbTskey(origSkb) - sk.skTskey) >>> 0 : skbTskey(origSkb);
  skbCompleteTxTimestamp(skb, sk, key, tstype, optStats);
}

export { SCM_TSTAMP_ACK, SCM_TSTAMP_SCHED };
