/** SOL_SOCKET's options (sk_setsockopt and sk_getsockopt of net/core/sock.c), and SOL_SOCKET's control messages. */

import { CAP_NET_ADMIN, CAP_NET_RAW, nsCapable } from "../../kernel/capability.ts";
import { EACCES, EDOM, EINVAL, ENODEV, ENOPROTOOPT, ENOTCONN, EOPNOTSUPP, EPERM } from "../../uapi/errno.ts";
import {
  SOF_TIMESTAMPING_BIND_PHC,
  SOF_TIMESTAMPING_OPT_ID,
  SOF_TIMESTAMPING_OPT_ID_TCP,
  SOF_TIMESTAMPING_OPT_STATS,
  SOF_TIMESTAMPING_OPT_TSONLY,
  SOF_TIMESTAMPING_RX_SOFTWARE,
  SOF_TIMESTAMPING_TX_RECORD_MASK,
  SOF_TXTIME_DEADLINE_MODE,
  SOF_TXTIME_FLAGS_MASK,
  SOF_TXTIME_REPORT_ERRORS,
} from "../../uapi/net_tstamp.ts";
import {
  AF_INET,
  AF_INET6,
  SCM_TXTIME,
  SO_ACCEPTCONN,
  SO_BINDTODEVICE,
  SO_BINDTOIFINDEX,
  SO_BROADCAST,
  SO_BSDCOMPAT,
  SO_BUF_LOCK,
  SO_BUSY_POLL,
  SO_BUSY_POLL_BUDGET,
  SO_CNX_ADVICE,
  SO_COOKIE,
  SO_DEBUG,
  SO_DOMAIN,
  SO_DONTROUTE,
  SO_ERROR,
  SO_INCOMING_CPU,
  SO_INCOMING_NAPI_ID,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_LOCK_FILTER,
  SO_MARK,
  SO_MAX_PACING_RATE,
  SO_MEMINFO,
  SO_NO_CHECK,
  SO_NOFCS,
  SO_OOBINLINE,
  SO_PASSCRED,
  SO_PASSSEC,
  SO_PEEK_OFF,
  SO_PEERCRED,
  SO_PEERNAME,
  SO_PREFER_BUSY_POLL,
  SO_PRIORITY,
  SO_PROTOCOL,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_RCVLOWAT,
  SO_RCVMARK,
  SO_RCVPRIORITY,
  SO_RCVTIMEO_NEW,
  SO_RCVTIMEO_OLD,
  SO_RESERVE_MEM,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_RXQ_OVFL,
  SO_SELECT_ERR_QUEUE,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SO_SNDLOWAT,
  SO_SNDTIMEO_NEW,
  SO_SNDTIMEO_OLD,
  SO_TIMESTAMP_NEW,
  SO_TIMESTAMP_OLD,
  SO_TIMESTAMPING_NEW,
  SO_TIMESTAMPING_OLD,
  SO_TIMESTAMPNS_NEW,
  SO_TIMESTAMPNS_OLD,
  SO_TXREHASH,
  SO_TXTIME,
  SO_TYPE,
  SO_WIFI_STATUS,
  SO_ZEROCOPY,
  SOCK_BUF_LOCK_MASK,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOCK_TXREHASH_DEFAULT,
  SOL_SOCKET,
} from "../../uapi/socket.ts";
import { devGetByIndex, devGetByName } from "./dev.ts";
import { SOCKCM_FLAG_TS_OPT_ID } from "./errqueue.ts";
import { SOCK_MIN_RCVBUF, SOCK_MIN_SNDBUF } from "./netns_core.ts";
import type { Cmsg, ErrBox, Msghdr, OptVal, Sock, SockAddr, Socket } from "./sock.ts";
import {
  SK_CAN_REUSE,
  SK_NO_REUSE,
  SOCK_BROADCAST,
  SOCK_DBG,
  SOCK_FILTER_LOCKED,
  SOCK_KEEPOPEN,
  SOCK_LINGER,
  SOCK_LOCALROUTE,
  SOCK_NOFCS,
  SOCK_RCVBUF_LOCK,
  SOCK_RCVMARK,
  SOCK_RCVPRIORITY,
  SOCK_RCVTSTAMP,
  SOCK_RCVTSTAMPNS,
  SOCK_RXQ_OVFL,
  SOCK_SNDBUF_LOCK,
  SOCK_TIMESTAMP,
  SOCK_TIMESTAMPING_RX_SOFTWARE,
  SOCK_TSTAMP_NEW,
  SOCK_TXTIME,
  SOCK_URGINLINE,
  SOCK_WIFI_STATUS,
  SOCK_ZEROCOPY,
  skDstReset,
  sockDisableTimestamp,
  sockEnableTimestamp,
  sockError,
  sockFlag,
  sockResetFlag,
  sockSetFlag,
} from "./sock.ts";

/** struct linger: seconds. */
export interface Linger {
  onoff: number;
  linger: number;
}
/** struct timeval. */
export interface Timeval {
  tvSec: number;
  tvUsec: number;
}
/** struct sock_txtime. */
export interface SockTxtime {
  clockid: number;
  flags: number;
}
/** struct so_timestamping. */
export interface SoTimestamping {
  flags: number;
  bindPhc: number;
}

const INT_MAX = 0x7fffffff;
const CLOCK_MONOTONIC = 1;

/**
 * An integer option's value: a number, or at least four bytes of it (little-endian, as the ABI has it). NaN = neither,
 * which the caller answers with EINVAL.
 */
/* notrace */
export function optvalInt(optval: OptVal): number {
  if (typeof optval === "number") return optval | 0;
  if (optval instanceof Uint8Array && optval.length >= 4) {
    return optval[0]! | (optval[1]! << 8) | (optval[2]! << 16) | (optval[3]! << 24);
  }
  return Number.NaN;
}

/** sock_valbool_flag. */
/* notrace */
export function sockValboolFlag(sk: Sock, bit: number, valbool: boolean): void {
  if (valbool) sockSetFlag(sk, bit);
  else sockResetFlag(sk, bit);
}

/** sock_set_timeout: microseconds of a timeval, Infinity for 0. Rounded up to jiffies, as everywhere. */
function sockSetTimeout(optval: OptVal): number {
  const tv = optval as Timeval;
  if (typeof tv !== "object" || typeof tv.tvSec !== "number" || typeof tv.tvUsec !== "number") return Number.NaN;
  if (tv.tvUsec < 0 || tv.tvUsec >= 1000000) return -EDOM;
  if (tv.tvSec < 0) return 0;
  if (tv.tvSec === 0 && tv.tvUsec === 0) return Number.POSITIVE_INFINITY;
  return tv.tvSec * 1e6 + Math.ceil(tv.tvUsec / 1000) * 1000;
}

/* notrace */
function sockGetTimeout(timeo: number): Timeval {
  if (timeo === Number.POSITIVE_INFINITY) return { tvSec: 0, tvUsec: 0 };
  return { tvSec: Math.floor(timeo / 1e6), tvUsec: timeo % 1e6 };
}

/** sock_bindtoindex. */
export function sockBindtoindex(sk: Sock, ifindex: number): number {
  if (sk.skcBoundDevIf !== 0 && !nsCapable(sk.net, CAP_NET_RAW)) return -EPERM;
  if (ifindex < 0) return -EINVAL;
  sk.skcBoundDevIf = ifindex;
  if (sk.skProt.rehash !== undefined) sk.skProt.rehash(sk);
  skDstReset(sk);
  return 0;
}

function sockSetbindtodevice(sk: Sock, optval: OptVal): number {
  let name: string;
  if (typeof optval === "string") name = optval;
  else if (optval instanceof Uint8Array) {
    name = "";
    for (let i = 0; i < optval.length && optval[i] !== 0; i++) name += String.fromCharCode(optval[i]!);
  } else return -EINVAL;
  let index = 0;
  // IFNAMSIZ - 1 characters count.
  name = name.slice(0, 15);
  if (name !== "") {
    const dev = devGetByName(sk.net, name);
    if (dev === null) return -ENODEV;
    index = dev.ifindex;
  }
  return sockBindtoindex(sk, index);
}

/** __sock_set_rcvbuf. */
function sockSetRcvbuf(sk: Sock, val: number): void {
  val = Math.min(val, INT_MAX >> 1);
  sk.skUserlocks |= SOCK_RCVBUF_LOCK;
  // Doubled, because programs count in payload and the accounts in truesize.
  sk.skRcvbuf = Math.max(val * 2, SOCK_MIN_RCVBUF);
}

function sockSetSndbuf(sk: Sock, val: number): void {
  val = Math.min(val, INT_MAX >> 1);
  sk.skUserlocks |= SOCK_SNDBUF_LOCK;
  sk.skSndbuf = Math.max(val * 2, SOCK_MIN_SNDBUF);
  sk.skWriteSpace(sk);
}

/** sock_set_timestamp. */
function sockSetTimestamp(sk: Sock, valbool: boolean, isNew: boolean, ns: boolean): void {
  if (valbool) {
    sockValboolFlag(sk, SOCK_TSTAMP_NEW, isNew);
    sockValboolFlag(sk, SOCK_RCVTSTAMPNS, ns);
    sockSetFlag(sk, SOCK_RCVTSTAMP);
    sockEnableTimestamp(sk, SOCK_TIMESTAMP);
  } else {
    sockResetFlag(sk, SOCK_RCVTSTAMP);
    sockResetFlag(sk, SOCK_RCVTSTAMPNS);
  }
}

/** SOF_TIMESTAMPING_* that exist, beyond those of the headers. */
const SOF_TIMESTAMPING_ALL = 0x7ffff;

/* notrace */
export function skIsTcp(sk: Sock): boolean {
  return skIsInet(sk) && sk.skType === SOCK_STREAM && sk.skProtocol === 6;
}
/* notrace */
function skIsInet(sk: Sock): boolean {
  return sk.skcFamily === AF_INET || sk.skcFamily === AF_INET6;
}

/** sock_set_timestamping. */
export function sockSetTimestamping(sk: Sock, optval: OptVal, isNew: boolean): number {
  let val: number;
  let phc = -1;
  if (typeof optval === "object" && !(optval instanceof Uint8Array)) {
    val = (optval as SoTimestamping).flags;
    phc = (optval as SoTimestamping).bindPhc;
  } else val = optvalInt(optval);
  if (Number.isNaN(val) || (val & ~SOF_TIMESTAMPING_ALL) !== 0) return -EINVAL;
  if ((val & SOF_TIMESTAMPING_OPT_ID_TCP) !== 0 && (val & SOF_TIMESTAMPING_OPT_ID) === 0) return -EINVAL;
  if ((val & SOF_TIMESTAMPING_OPT_ID) !== 0 && (sk.skTsflags & SOF_TIMESTAMPING_OPT_ID) === 0) {
    if (skIsTcp(sk)) {
      // TCP counts bytes: from the next one to be written, or (the older flag) the first one not acknowledged.
      if (sk.skcState === 7 || sk.skcState === 10) return -EINVAL;
      const key = sk.skProt.tskey?.(sk, (val & SOF_TIMESTAMPING_OPT_ID_TCP) !== 0);
      sk.skTskey = key !== undefined ? key : 0;
    } else sk.skTskey = 0;
  }
  if ((val & SOF_TIMESTAMPING_OPT_STATS) !== 0 && (val & SOF_TIMESTAMPING_OPT_TSONLY) === 0) return -EINVAL;
  if ((val & SOF_TIMESTAMPING_BIND_PHC) !== 0) {
    // No device here has a clock of its own.
    if (phc < 0 || sk.skcBoundDevIf === 0) return -EOPNOTSUPP;
    return -EINVAL;
  }
  sk.skTsflags = val;
  sockValboolFlag(sk, SOCK_TSTAMP_NEW, isNew);
  if ((val & SOF_TIMESTAMPING_RX_SOFTWARE) !== 0) sockEnableTimestamp(sk, SOCK_TIMESTAMPING_RX_SOFTWARE);
  else sockDisableTimestamp(sk, 1 << SOCK_TIMESTAMPING_RX_SOFTWARE);
  return 0;
}

/** sock_setsockopt. */
export function sockSetsockopt(sock: Socket, _level: number, optname: number, optval: OptVal): number {
  const sk = sock.sk as Sock;
  const net = sk.net;
  const core = net.core;

  // Options whose value is no int.
  switch (optname) {
    case SO_BINDTODEVICE:
      return sockSetbindtodevice(sk, optval);
    case SO_LINGER: {
      const ling = optval as Linger;
      if (typeof ling !== "object" || typeof ling.onoff !== "number") return -EINVAL;
      if (ling.onoff === 0) sockResetFlag(sk, SOCK_LINGER);
      else {
        // The kernel reads it as unsigned: a negative time is a very long one.
        sk.skLingertime = (ling.linger >>> 0) * 1e6;
        sockSetFlag(sk, SOCK_LINGER);
      }
      return 0;
    }
    case SO_RCVTIMEO_OLD:
    case SO_RCVTIMEO_NEW:
    case SO_SNDTIMEO_OLD:
    case SO_SNDTIMEO_NEW: {
      const timeo = sockSetTimeout(optval);
      if (Number.isNaN(timeo)) return -EINVAL;
      if (timeo < 0) return timeo;
      if (optname === SO_RCVTIMEO_OLD || optname === SO_RCVTIMEO_NEW) sk.skRcvtimeo = timeo;
      else sk.skSndtimeo = timeo;
      return 0;
    }
    case SO_TIMESTAMPING_OLD:
    case SO_TIMESTAMPING_NEW:
      return sockSetTimestamping(sk, optval, optname === SO_TIMESTAMPING_NEW);
    case SO_TXTIME: {
      const txtime = optval as SockTxtime;
      if (typeof txtime !== "object" || typeof txtime.clockid !== "number") return -EINVAL;
      if ((txtime.flags & ~SOF_TXTIME_FLAGS_MASK) !== 0) return -EINVAL;
      if (txtime.clockid !== CLOCK_MONOTONIC && !nsCapable(net, CAP_NET_ADMIN)) return -EPERM;
      sockSetFlag(sk, SOCK_TXTIME);
      sk.skClockid = txtime.clockid;
      sk.skTxtimeDeadlineMode = (txtime.flags & SOF_TXTIME_DEADLINE_MODE) !== 0;
      sk.skTxtimeReportErrors = (txtime.flags & SOF_TXTIME_REPORT_ERRORS) !== 0;
      return 0;
    }
    case SO_MAX_PACING_RATE: {
      // Bytes a second; ~0 of either width is "no limit".
      let rate = typeof optval === "number" ? optval : optvalInt(optval) >>> 0;
      if (Number.isNaN(rate)) return -EINVAL;
      if (rate === -1 || rate === 0xffffffff) rate = Number.POSITIVE_INFINITY;
      else if (rate < 0) rate = rate >>> 0;
      if (rate !== Number.POSITIVE_INFINITY && sk.skPacingStatus === 0) sk.skPacingStatus = 1; // SK_PACING_NEEDED
      sk.skMaxPacingRate = rate;
      sk.skPacingRate = Math.min(sk.skPacingRate, rate);
      return 0;
    }
    default:
      break;
  }

  let val = optvalInt(optval);
  if (Number.isNaN(val)) return -EINVAL;
  const valbool = val !== 0;
  switch (optname) {
    case SO_DEBUG:
      if (valbool && !nsCapable(net, CAP_NET_ADMIN)) return -EACCES;
      sockValboolFlag(sk, SOCK_DBG, valbool);
      return 0;
    case SO_REUSEADDR:
      sk.skcReuse = valbool ? SK_CAN_REUSE : SK_NO_REUSE;
      return 0;
    case SO_REUSEPORT:
      if (valbool && !skIsInet(sk)) return -EOPNOTSUPP;
      sk.skcReuseport = valbool ? 1 : 0;
      return 0;
    case SO_DONTROUTE:
      sockValboolFlag(sk, SOCK_LOCALROUTE, valbool);
      skDstReset(sk);
      return 0;
    case SO_BROADCAST:
      sockValboolFlag(sk, SOCK_BROADCAST, valbool);
      return 0;
    case SO_SNDBUF:
      // As an unsigned number, so that a negative one gets the maximum.
      sockSetSndbuf(sk, Math.min(val >>> 0, core.sysctlWmemMax));
      return 0;
    case SO_SNDBUFFORCE:
      if (!nsCapable(net, CAP_NET_ADMIN)) return -EPERM;
      sockSetSndbuf(sk, Math.max(val, 0));
      return 0;
    case SO_RCVBUF:
      sockSetRcvbuf(sk, Math.min(val >>> 0, core.sysctlRmemMax));
      return 0;
    case SO_RCVBUFFORCE:
      if (!nsCapable(net, CAP_NET_ADMIN)) return -EPERM;
      sockSetRcvbuf(sk, Math.max(val, 0));
      return 0;
    case SO_KEEPALIVE:
      if (sk.skProt.keepalive !== undefined) sk.skProt.keepalive(sk, valbool ? 1 : 0);
      sockValboolFlag(sk, SOCK_KEEPOPEN, valbool);
      return 0;
    case SO_OOBINLINE:
      sockValboolFlag(sk, SOCK_URGINLINE, valbool);
      return 0;
    case SO_NO_CHECK:
      sk.skNoCheckTx = valbool;
      return 0;
    case SO_PRIORITY:
      if ((val >= 0 && val <= 6) || nsCapable(net, CAP_NET_RAW) || nsCapable(net, CAP_NET_ADMIN)) {
        sk.skPriority = val >>> 0;
        return 0;
      }
      return -EPERM;
    case SO_BSDCOMPAT:
      return 0;
    case SO_PASSCRED:
    case SO_PASSSEC:
      return -EOPNOTSUPP;
    case SO_TIMESTAMP_OLD:
      sockSetTimestamp(sk, valbool, false, false);
      return 0;
    case SO_TIMESTAMP_NEW:
      sockSetTimestamp(sk, valbool, true, false);
      return 0;
    case SO_TIMESTAMPNS_OLD:
      sockSetTimestamp(sk, valbool, false, true);
      return 0;
    case SO_TIMESTAMPNS_NEW:
      sockSetTimestamp(sk, valbool, true, true);
      return 0;
    case SO_RCVLOWAT:
      if (val < 0) val = INT_MAX;
      if (sock.ops.setRcvlowat !== undefined) return sock.ops.setRcvlowat(sk, val);
      sk.skRcvlowat = val !== 0 ? val : 1;
      return 0;
    case SO_MARK:
      if (!nsCapable(net, CAP_NET_RAW) && !nsCapable(net, CAP_NET_ADMIN)) return -EPERM;
      if (sk.skMark !== val >>> 0) {
        sk.skMark = val >>> 0;
        skDstReset(sk);
      }
      return 0;
    case SO_RCVMARK:
      sockValboolFlag(sk, SOCK_RCVMARK, valbool);
      return 0;
    case SO_RCVPRIORITY:
      sockValboolFlag(sk, SOCK_RCVPRIORITY, valbool);
      return 0;
    case SO_RXQ_OVFL:
      sockValboolFlag(sk, SOCK_RXQ_OVFL, valbool);
      return 0;
    case SO_WIFI_STATUS:
      sockValboolFlag(sk, SOCK_WIFI_STATUS, valbool);
      return 0;
    case SO_LOCK_FILTER:
      if (sockFlag(sk, SOCK_FILTER_LOCKED) && !valbool) return -EPERM;
      sockValboolFlag(sk, SOCK_FILTER_LOCKED, valbool);
      return 0;
    case SO_PEEK_OFF:
      if (sock.ops.setPeekOff === undefined) return -EOPNOTSUPP;
      return sock.ops.setPeekOff(sk, val);
    case SO_NOFCS:
      sockValboolFlag(sk, SOCK_NOFCS, valbool);
      return 0;
    case SO_SELECT_ERR_QUEUE:
      sk.skSelectErrQueue = valbool;
      return 0;
    case SO_BUSY_POLL:
      if (val < 0) return -EINVAL;
      sk.skLlUsec = val;
      return 0;
    case SO_PREFER_BUSY_POLL:
      if (valbool && !nsCapable(net, CAP_NET_ADMIN)) return -EPERM;
      sk.skPreferBusyPoll = valbool;
      return 0;
    case SO_BUSY_POLL_BUDGET:
      if (val > sk.skBusyPollBudget && !nsCapable(net, CAP_NET_ADMIN)) return -EPERM;
      if (val < 0 || val > 65535) return -EINVAL;
      sk.skBusyPollBudget = val;
      return 0;
    case SO_INCOMING_CPU:
      sk.skIncomingCpu = val;
      return 0;
    case SO_CNX_ADVICE:
      if (val === 1 && sk.skDstCache !== null) sk.skDstCache.ops.negativeAdvice(sk, sk.skDstCache);
      return 0;
    case SO_ZEROCOPY:
      if (!skIsInet(sk) || !(skIsTcp(sk) || (sk.skType === SOCK_DGRAM && sk.skProtocol === 17))) return -EOPNOTSUPP;
      if (val < 0 || val > 1) return -EINVAL;
      sockValboolFlag(sk, SOCK_ZEROCOPY, valbool);
      return 0;
    case SO_BINDTOIFINDEX:
      return sockBindtoindex(sk, val);
    case SO_BUF_LOCK:
      if ((val & ~SOCK_BUF_LOCK_MASK) !== 0) return -EINVAL;
      sk.skUserlocks = val | (sk.skUserlocks & ~SOCK_BUF_LOCK_MASK);
      return 0;
    case SO_RESERVE_MEM:
      // Needs a memory cgroup.
      return val < 0 ? -EINVAL : -EOPNOTSUPP;
    case SO_TXREHASH:
      if (!skIsTcp(sk)) return -EOPNOTSUPP;
      if (val < -1 || val > 1) return -EINVAL;
      sk.skTxrehash = (val & 255) === SOCK_TXREHASH_DEFAULT ? core.sysctlTxrehash : val;
      return 0;
    default:
      // SO_TYPE, SO_PROTOCOL, SO_DOMAIN and SO_ERROR can only be read.
      return -ENOPROTOOPT;
  }
}

/** sock_gen_cookie: numbers from 1 up, drawn when first asked for. */
export function sockGenCookie(sk: Sock): number {
  if (sk.skCookie === 0) sk.skCookie = ++cookieNext;
  return sk.skCookie;
}
let cookieNext = 0;

/* notrace */
function flagNum(sk: Sock, bit: number): number {
  return sockFlag(sk, bit) ? 1 : 0;
}

/** sock_getsockopt. */
export function sockGetsockopt(sock: Socket, _level: number, optname: number, err: ErrBox): OptVal {
  const sk = sock.sk as Sock;
  err.value = 0;
  switch (optname) {
    case SO_DEBUG:
      return flagNum(sk, SOCK_DBG);
    case SO_DONTROUTE:
      return flagNum(sk, SOCK_LOCALROUTE);
    case SO_BROADCAST:
      return flagNum(sk, SOCK_BROADCAST);
    case SO_SNDBUF:
      return sk.skSndbuf;
    case SO_RCVBUF:
      return sk.skRcvbuf;
    case SO_REUSEADDR:
      return sk.skcReuse;
    case SO_REUSEPORT:
      return sk.skcReuseport;
    case SO_KEEPALIVE:
      return flagNum(sk, SOCK_KEEPOPEN);
    case SO_TYPE:
      return sk.skType;
    case SO_PROTOCOL:
      return sk.skProtocol;
    case SO_DOMAIN:
      return sk.skcFamily;
    case SO_ERROR: {
      let v = -sockError(sk);
      if (v === 0) {
        v = sk.skErrSoft;
        sk.skErrSoft = 0;
      }
      return v;
    }
    case SO_OOBINLINE:
      return flagNum(sk, SOCK_URGINLINE);
    case SO_NO_CHECK:
      return sk.skNoCheckTx ? 1 : 0;
    case SO_PRIORITY:
      return sk.skPriority | 0;
    case SO_LINGER:
      return { onoff: flagNum(sk, SOCK_LINGER), linger: Math.min(sk.skLingertime / 1e6, INT_MAX) };
    case SO_BSDCOMPAT:
      return 0;
    case SO_TIMESTAMP_OLD:
      return sockFlag(sk, SOCK_RCVTSTAMP) && !sockFlag(sk, SOCK_TSTAMP_NEW) && !sockFlag(sk, SOCK_RCVTSTAMPNS) ? 1 : 0;
    case SO_TIMESTAMPNS_OLD:
      return sockFlag(sk, SOCK_RCVTSTAMPNS) && !sockFlag(sk, SOCK_TSTAMP_NEW) ? 1 : 0;
    case SO_TIMESTAMP_NEW:
      return sockFlag(sk, SOCK_RCVTSTAMP) && sockFlag(sk, SOCK_TSTAMP_NEW) ? 1 : 0;
    case SO_TIMESTAMPNS_NEW:
      return sockFlag(sk, SOCK_RCVTSTAMPNS) && sockFlag(sk, SOCK_TSTAMP_NEW) ? 1 : 0;
    case SO_TIMESTAMPING_OLD:
    case SO_TIMESTAMPING_NEW:
      if (optname === SO_TIMESTAMPING_OLD || sockFlag(sk, SOCK_TSTAMP_NEW)) {
        return { flags: sk.skTsflags, bindPhc: Math.max(sk.skBindPhc, 0) };
      }
      return { flags: 0, bindPhc: 0 };
    case SO_RCVTIMEO_OLD:
    case SO_RCVTIMEO_NEW:
      return sockGetTimeout(sk.skRcvtimeo);
    case SO_SNDTIMEO_OLD:
    case SO_SNDTIMEO_NEW:
      return sockGetTimeout(sk.skSndtimeo);
    case SO_RCVLOWAT:
      return sk.skRcvlowat;
    case SO_SNDLOWAT:
      return 1;
    case SO_PASSCRED:
    case SO_PASSSEC:
      err.value = -EOPNOTSUPP;
      return 0;
    case SO_PEERCRED:
      return { pid: 0, uid: -1, gid: -1 };
    case SO_PEERNAME: {
      const addr: SockAddr = { family: 0, addr: 0, port: 0 };
      if (sock.ops.getname(sock, addr, 2) < 0) {
        err.value = -ENOTCONN;
        return 0;
      }
      return addr;
    }
    case SO_ACCEPTCONN:
      return sk.skcState === 10 ? 1 : 0;
    case SO_MARK:
      return sk.skMark | 0;
    case SO_RCVMARK:
      return flagNum(sk, SOCK_RCVMARK);
    case SO_RCVPRIORITY:
      return flagNum(sk, SOCK_RCVPRIORITY);
    case SO_RXQ_OVFL:
      return flagNum(sk, SOCK_RXQ_OVFL);
    case SO_WIFI_STATUS:
      return flagNum(sk, SOCK_WIFI_STATUS);
    case SO_LOCK_FILTER:
      return flagNum(sk, SOCK_FILTER_LOCKED);
    case SO_PEEK_OFF:
      if (sock.ops.setPeekOff === undefined) {
        err.value = -EOPNOTSUPP;
        return 0;
      }
      return sk.skPeekOff;
    case SO_NOFCS:
      return flagNum(sk, SOCK_NOFCS);
    case SO_BINDTODEVICE: {
      if (sk.skcBoundDevIf === 0) return "";
      const dev = devGetByIndex(sk.net, sk.skcBoundDevIf);
      if (dev === null) {
        err.value = -ENODEV;
        return "";
      }
      return dev.name;
    }
    case SO_SELECT_ERR_QUEUE:
      return sk.skSelectErrQueue ? 1 : 0;
    case SO_BUSY_POLL:
      return sk.skLlUsec;
    case SO_PREFER_BUSY_POLL:
      return sk.skPreferBusyPoll ? 1 : 0;
    case SO_MAX_PACING_RATE:
      return Math.min(sk.skMaxPacingRate, 0xffffffff);
    case SO_INCOMING_CPU:
      return sk.skIncomingCpu;
    case SO_MEMINFO:
      // SK_MEMINFO_*: rmem, rcvbuf, wmem, sndbuf, fwd, wmem_queued, optmem, backlog, drops.
      return [
        sk.skRmemAlloc,
        sk.skRcvbuf,
        sk.skWmemAlloc - 1,
        sk.skSndbuf,
        sk.skForwardAlloc,
        sk.skWmemQueued,
        sk.skOmemAlloc,
        0,
        sk.skDrops,
      ];
    case SO_INCOMING_NAPI_ID:
      return 0;
    case SO_COOKIE:
      return sockGenCookie(sk);
    case SO_ZEROCOPY:
      return flagNum(sk, SOCK_ZEROCOPY);
    case SO_TXTIME:
      return {
        clockid: sk.skClockid,
        flags:
          (sk.skTxtimeDeadlineMode ? SOF_TXTIME_DEADLINE_MODE : 0) |
          (sk.skTxtimeReportErrors ? SOF_TXTIME_REPORT_ERRORS : 0),
      };
    case SO_BINDTOIFINDEX:
      return sk.skcBoundDevIf;
    case SO_BUF_LOCK:
      return sk.skUserlocks & SOCK_BUF_LOCK_MASK;
    case SO_RESERVE_MEM:
      return sk.skReservedMem;
    case SO_TXREHASH:
      if (!skIsTcp(sk)) {
        err.value = -EOPNOTSUPP;
        return 0;
      }
      return sk.skTxrehash;
    default:
      err.value = -ENOPROTOOPT;
      return 0;
  }
}

// ---- control messages of a send -------------------------------------------------------------------------------------

/** struct sockcm_cookie: what SOL_SOCKET's control messages ask of one send. */
export interface SockcmCookie {
  /** SO_TXTIME, microseconds of the machine's clock; 0 = now. */
  transmitTime: number;
  mark: number;
  priority: number;
  tsflags: number;
  tsOptId: number;
}

const SCM_TS_OPT_ID = 81;

/** __sock_cmsg_send: one control message of level SOL_SOCKET. 0 or a negative errno. */
export function __sockCmsgSend(sk: Sock, cmsg: Cmsg, sockc: SockcmCookie): number {
  const val = cmsg.data as number;
  switch (cmsg.type) {
    case SO_MARK:
      if (!nsCapable(sk.net, CAP_NET_RAW) && !nsCapable(sk.net, CAP_NET_ADMIN)) return -EPERM;
      if (typeof val !== "number") return -EINVAL;
      sockc.mark = val >>> 0;
      return 0;
    case SO_TIMESTAMPING_OLD:
    case SO_TIMESTAMPING_NEW:
      if (typeof val !== "number" || (val & ~SOF_TIMESTAMPING_TX_RECORD_MASK) !== 0) return -EINVAL;
      sockc.tsflags = (sockc.tsflags & ~SOF_TIMESTAMPING_TX_RECORD_MASK) | val;
      return 0;
    case SCM_TXTIME:
      if (!sockFlag(sk, SOCK_TXTIME) || typeof val !== "number") return -EINVAL;
      sockc.transmitTime = val;
      return 0;
    case SCM_TS_OPT_ID:
      if (skIsTcp(sk)) return -EINVAL;
      if (typeof val !== "number" || (sk.skTsflags & SOF_TIMESTAMPING_OPT_ID) === 0) return -EINVAL;
      sockc.tsOptId = val >>> 0;
      sockc.tsflags |= SOCKCM_FLAG_TS_OPT_ID;
      return 0;
    case SO_PRIORITY:
      if (typeof val !== "number") return -EINVAL;
      if (!((val >= 0 && val <= 6) || nsCapable(sk.net, CAP_NET_RAW) || nsCapable(sk.net, CAP_NET_ADMIN)))
        return -EPERM;
      sockc.priority = val;
      return 0;
    // SCM_RIGHTS and SCM_CREDENTIALS are AF_UNIX's, and are passed over by the others.
    case 1:
    case 2:
      return 0;
    default:
      return -EINVAL;
  }
}

/** sock_cmsg_send: all of level SOL_SOCKET. */
export function sockCmsgSend(sk: Sock, msg: Msghdr, sockc: SockcmCookie): number {
  const control = msg.control;
  if (control === null) return 0;
  for (let i = 0; i < control.length; i++) {
    const cmsg = control[i] as Cmsg;
    if (cmsg.level !== SOL_SOCKET) continue;
    const err = __sockCmsgSend(sk, cmsg, sockc);
    if (err !== 0) return err;
  }
  return 0;
}
