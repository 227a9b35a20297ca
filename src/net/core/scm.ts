/** Control messages to the user: put_cmsg (net/core/scm.c), and those that any socket can ask for (net/socket.c). */

import { EXTERR_OPT_STATS, SKB_TSTAMP, SOCKCB_DROPCOUNT } from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { f64, u8, u32 } from "../../mm/mem.ts";
import {
  SOF_TIMESTAMPING_OPT_RX_FILTER,
  SOF_TIMESTAMPING_RX_SOFTWARE,
  SOF_TIMESTAMPING_SOFTWARE,
} from "../../uapi/net_tstamp.ts";
import {
  MSG_CTRUNC,
  SCM_TIMESTAMPING_OPT_STATS,
  SO_MARK,
  SO_PRIORITY,
  SO_RXQ_OVFL,
  SO_TIMESTAMP_NEW,
  SO_TIMESTAMP_OLD,
  SO_TIMESTAMPING_NEW,
  SO_TIMESTAMPING_OLD,
  SO_TIMESTAMPNS_NEW,
  SO_TIMESTAMPNS_OLD,
  SOL_SOCKET,
} from "../../uapi/socket.ts";
import { skbBytes, skbLen, skbMark, skbPriority } from "./skbuff.ts";
import type { Msghdr, Sock } from "./sock.ts";
import {
  SOCK_RCVMARK,
  SOCK_RCVPRIORITY,
  SOCK_RCVTSTAMP,
  SOCK_RCVTSTAMPNS,
  SOCK_RXQ_OVFL,
  SOCK_TSTAMP_NEW,
  sockFlag,
} from "./sock.ts";

/** struct timespec. */
export interface Timespec {
  tvSec: number;
  tvNsec: number;
}
/** struct scm_timestamping: software stamp, unused, hardware stamp. */
export interface ScmTimestamping {
  ts: [Timespec, Timespec, Timespec];
}

/**
 * put_cmsg: adds a control message to what recvmsg returns. `data`: a number for integers, a value object for structs.
 * A caller that gave no room (`msg.control` null) gets MSG_CTRUNC instead.
 */
export function putCmsg(msg: Msghdr, level: number, type: number, data: unknown): void {
  if (msg.control === null) {
    msg.flags |= MSG_CTRUNC;
    return;
  }
  msg.control.push({ level, type, data });
}

/** skb->tstamp of a received or sent packet (microseconds since 1970) as a timespec. */
/* notrace */
export function stampToTimespec(stamp: number): Timespec {
  const us = Math.round(stamp);
  const sec = Math.floor(us / 1e6);
  return { tvSec: sec, tvNsec: (us - sec * 1e6) * 1000 };
}

const RECV_FLAGS: number = (1 << SOCK_RXQ_OVFL) | (1 << SOCK_RCVTSTAMP) | (1 << SOCK_RCVMARK) | (1 << SOCK_RCVPRIORITY);

/** sock_recv_cmsgs: the control messages of a received skb that SOL_SOCKET's options asked for. */
/* notrace */
export function sockRecvCmsgs(msg: Msghdr, sk: Sock, skb: number): void {
  if ((sk.skFlags & RECV_FLAGS) !== 0 || (sk.skTsflags & SOF_TIMESTAMPING_SOFTWARE) !== 0) {
    __sockRecvCmsgs(msg, sk, skb);
  }
}

function __sockRecvCmsgs(msg: Msghdr, sk: Sock, skb: number): void {
  sockRecvTimestamp(msg, sk, skb);
  if (sockFlag(sk, SOCK_RXQ_OVFL)) {
    const dropped = u32[(skb + SOCKCB_DROPCOUNT) >>> 2]!;
    if (dropped !== 0) putCmsg(msg, SOL_SOCKET, SO_RXQ_OVFL, dropped);
  }
  if (sockFlag(sk, SOCK_RCVMARK)) putCmsg(msg, SOL_SOCKET, SO_MARK, skbMark(skb));
  if (sockFlag(sk, SOCK_RCVPRIORITY)) putCmsg(msg, SOL_SOCKET, SO_PRIORITY, skbPriority(skb));
}

/** sock_recv_timestamp of a received skb. A byte stream's stamp comes from TCP, which calls sockPutTimestamp itself. */
/* notrace */
export function sockRecvTimestamp(msg: Msghdr, sk: Sock, skb: number): void {
  sockPutTimestamp(msg, sk, f64[(skb + SKB_TSTAMP) >>> 3]!, 0);
}

/** sock_recv_timestamp of an skb of the error queue: the stamps of what was sent. */
/* notrace */
export function sockRecvErrTimestamp(msg: Msghdr, sk: Sock, skb: number): void {
  sockPutTimestamp(msg, sk, f64[(skb + SKB_TSTAMP) >>> 3]!, skb);
}

/** __sock_recv_timestamp. `stamp`: microseconds since 1970, 0 = not stamped. `errSkb`: the skb if it is the error queue's, else 0. */
export function sockPutTimestamp(msg: Msghdr, sk: Sock, stamp: number, errSkb: number): void {
  const isNew = sockFlag(sk, SOCK_TSTAMP_NEW);
  if (sockFlag(sk, SOCK_RCVTSTAMP)) {
    // Packets that came before anybody asked carry no stamp: they get the present time.
    const t = stampToTimespec(stamp !== 0 ? stamp : kernel.clock.realtime());
    if (sockFlag(sk, SOCK_RCVTSTAMPNS)) putCmsg(msg, SOL_SOCKET, isNew ? SO_TIMESTAMPNS_NEW : SO_TIMESTAMPNS_OLD, t);
    else {
      const tv = { tvSec: t.tvSec, tvUsec: Math.floor(t.tvNsec / 1000) };
      putCmsg(msg, SOL_SOCKET, isNew ? SO_TIMESTAMP_NEW : SO_TIMESTAMP_OLD, tv);
    }
  }
  if ((sk.skTsflags & SOF_TIMESTAMPING_SOFTWARE) === 0 || stamp === 0) return;
  if (errSkb === 0 && !rxStampWanted(sk)) return;
  const none = { tvSec: 0, tvNsec: 0 };
  const data: ScmTimestamping = { ts: [stampToTimespec(stamp), none, none] };
  putCmsg(msg, SOL_SOCKET, isNew ? SO_TIMESTAMPING_NEW : SO_TIMESTAMPING_OLD, data);
  if (errSkb !== 0 && u8[errSkb + EXTERR_OPT_STATS] !== 0 && skbLen(errSkb) !== 0) {
    putCmsg(msg, SOL_SOCKET, SCM_TIMESTAMPING_OPT_STATS, skbBytes(errSkb));
  }
}

/* notrace */
function rxStampWanted(sk: Sock): boolean {
  const tsflags = sk.skTsflags;
  return (tsflags & SOF_TIMESTAMPING_RX_SOFTWARE) !== 0 || (tsflags & SOF_TIMESTAMPING_OPT_RX_FILTER) === 0;
}
