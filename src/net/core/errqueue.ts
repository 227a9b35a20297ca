/**
 * SKB_EXT_ERR(skb): the extended error of an skb on a socket's error queue (linux/errqueue.h), and the transmit time
 * stamps and zero-copy notifications that arrive there (net/core/skbuff.c).
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
  SKB_LEN,
  SKB_TSTAMP,
} from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { f64, u8, u16, u32 } from "../../mm/mem.ts";
import { ENOMSG } from "../../uapi/errno.ts";
import {
  SCM_TSTAMP_ACK,
  SCM_TSTAMP_SCHED,
  SOF_TIMESTAMPING_OPT_ID,
  SOF_TIMESTAMPING_OPT_TSONLY,
  SOF_TIMESTAMPING_TX_HARDWARE,
  SOF_TIMESTAMPING_TX_RECORD_MASK,
  SOF_TIMESTAMPING_TX_SCHED,
  SOF_TIMESTAMPING_TX_SOFTWARE,
} from "../../uapi/net_tstamp.ts";
import {
  SO_EE_CODE_ZEROCOPY_COPIED,
  SO_EE_ORIGIN_ICMP,
  SO_EE_ORIGIN_TIMESTAMPING,
  SO_EE_ORIGIN_ZEROCOPY,
} from "../../uapi/socket.ts";
import {
  allocSkb,
  kfreeSkb,
  skbClone,
  skbDequeue,
  skbPeek,
  skbPeekTail,
  skbSetTskey,
  skbSetTxFlags,
  skbTrim,
  skbTskey,
} from "./skbuff.ts";
import type { Sock } from "./sock.ts";
import { skErrorReport, sockOmalloc, sockQueueErrSkb } from "./sock.ts";

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

/**
 * _sock_tx_timestamp: marks an skb for the stamps that the send asked for (SOF_TIMESTAMPING_TX_*), and gives it the
 * identifier that they will carry.
 */
export function sockTxTimestamp(skb: number, sk: Sock, tsflags: number, tsOptId: number): void {
  if ((tsflags & SOF_TIMESTAMPING_TX_RECORD_MASK) === 0) return;
  let flags = 0;
  if ((tsflags & SOF_TIMESTAMPING_TX_HARDWARE) !== 0) flags |= SKBTX_HW_TSTAMP;
  if ((tsflags & SOF_TIMESTAMPING_TX_SOFTWARE) !== 0) flags |= SKBTX_SW_TSTAMP;
  if ((tsflags & SOF_TIMESTAMPING_TX_SCHED) !== 0) flags |= SKBTX_SCHED_TSTAMP;
  skbSetTxFlags(skb, flags);
  if ((sk.skTsflags & SOF_TIMESTAMPING_OPT_ID) === 0) return;
  if ((tsflags & SOCKCM_FLAG_TS_OPT_ID) !== 0) skbSetTskey(skb, tsOptId);
  else {
    skbSetTskey(skb, sk.skTskey);
    sk.skTskey = (sk.skTskey + 1) >>> 0;
  }
}

/** __skb_complete_tx_timestamp: queues `skb` with the stamp in it. */
function skbCompleteTxTimestamp(skb: number, sk: Sock, tskey: number, tstype: number, optStats: boolean): void {
  skbSetExtErr(
    skb,
    ENOMSG,
    SO_EE_ORIGIN_TIMESTAMPING,
    0,
    0,
    tstype,
    (sk.skTsflags & SOF_TIMESTAMPING_OPT_ID) !== 0 ? tskey : 0,
  );
  u8[skb + EXTERR_OPT_STATS] = optStats ? 1 : 0;
  if (sockQueueErrSkb(sk, skb) !== 0) kfreeSkb(skb);
}

/**
 * __skb_tstamp_tx: tells the owner of `origSkb` that it was scheduled, sent or acknowledged (SCM_TSTAMP_*), through the
 * error queue. With SOF_TIMESTAMPING_OPT_TSONLY the notification carries no payload.
 */
export function __skbTstampTx(origSkb: number, sk: Sock, tstype: number): void {
  const tsonly = (sk.skTsflags & SOF_TIMESTAMPING_OPT_TSONLY) !== 0;
  if (!tsonly && sk.net.core.sysctlTstampAllowData === 0) return;
  const skb = tsonly ? allocSkb(0) : skbClone(origSkb);
  if (skb === 0) return;
  f64[(skb + SKB_TSTAMP) >>> 3] = kernel.clock.realtime();
  skbCompleteTxTimestamp(skb, sk, skbTskey(origSkb), tstype, false);
}

export { SCM_TSTAMP_ACK, SCM_TSTAMP_SCHED };

// ---- MSG_ZEROCOPY ---------------------------------------------------------------------------------------------------

/**
 * A send with MSG_ZEROCOPY copies all the same (user memory is not the stack's), so its notification is due at once, with
 * SO_EE_CODE_ZEROCOPY_COPIED: what the kernel does over loopback. Notifications in a row are merged into a range.
 */
export function msgZerocopyDone(sk: Sock): number {
  const id = sk.skZckey;
  const tail = skbPeekTail(sk.skErrorQueue);
  if (
    tail !== 0 &&
    u8[tail + EXTERR_ORIGIN] === SO_EE_ORIGIN_ZEROCOPY &&
    u8[tail + EXTERR_CODE] === SO_EE_CODE_ZEROCOPY_COPIED &&
    u32[(tail + EXTERR_DATA) >>> 2] === (id - 1) >>> 0
  ) {
    u32[(tail + EXTERR_DATA) >>> 2] = id;
    sk.skZckey = (id + 1) >>> 0;
    return 0;
  }
  const skb = sockOmalloc(sk, 0);
  if (skb === 0) return -1;
  sk.skZckey = (id + 1) >>> 0;
  skbSetExtErr(skb, 0, SO_EE_ORIGIN_ZEROCOPY, 0, SO_EE_CODE_ZEROCOPY_COPIED, id, id);
  if (u32[(skb + SKB_LEN) >>> 2] !== 0) skbTrim(skb, 0);
  if (sockQueueErrSkb(sk, skb) !== 0) kfreeSkb(skb);
  return 0;
}
