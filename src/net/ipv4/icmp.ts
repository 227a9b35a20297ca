/**
 * ICMP (RFC 792, RFC 1122 §3.2.2, RFC 1812 §4.3): messages that this host sends about packets, the echo server, and
 * the errors of others about this host's packets, which are handed to the protocol that sent them.
 */

import { CHECKSUM_COMPLETE, CHECKSUM_NONE, PACKET_HOST } from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { icmpIncStats, icmpmsginIncStats, icmpmsgoutIncStats, ipIncStats } from "../../kernel/mib.ts";
import { getRandomU32Below } from "../../kernel/random.ts";
import { dv, u8 } from "../../mm/mem.ts";
import {
  skbCsum,
  skbCsumUnnecessary,
  skbData,
  skbHead,
  skbIpSummed,
  skbLen,
  skbNetworkHeader,
  skbNetworkOffset,
  skbPktType,
  skbResetNetworkHeader,
  skbSetCsum,
  skbSetIgnoreDf,
  skbSetIpSummed,
  skbSetMark,
  skbSetTransportHeader,
  skbSkbIif,
  skbTail,
  skbTransportHeader,
} from "../../mm/skb.ts";
import {
  SKB_DROP_REASON_ICMP_CSUM,
  SKB_DROP_REASON_INVALID_PROTO,
  SKB_DROP_REASON_IP_INHDR,
  SKB_DROP_REASON_NOT_SPECIFIED,
  SKB_DROP_REASON_PKT_TOO_SMALL,
  SKB_DROP_REASON_UNHANDLED_PROTO,
  SKB_NOT_DROPPED_YET,
} from "../../uapi/dropreason.ts";
import {
  ECONNREFUSED,
  EHOSTDOWN,
  EHOSTUNREACH,
  EMSGSIZE,
  ENETUNREACH,
  ENONET,
  ENOPROTOOPT,
  EOPNOTSUPP,
} from "../../uapi/errno.ts";
import {
  ICMP_ADDRESS,
  ICMP_ADDRESSREPLY,
  ICMP_DEST_UNREACH,
  ICMP_ECHO,
  ICMP_ECHOREPLY,
  ICMP_EXC_FRAGTIME,
  ICMP_EXT_ECHO,
  ICMP_EXT_ECHOREPLY,
  ICMP_FRAG_NEEDED,
  ICMP_PARAMETERPROB,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMP_TIMESTAMP,
  ICMP_TIMESTAMPREPLY,
  NR_ICMP_TYPES,
  NR_ICMP_UNREACH,
} from "../../uapi/icmp.ts";
import { IFF_LOOPBACK } from "../../uapi/if.ts";
import { INADDR_DUMMY, IPPROTO_ICMP, IPPROTO_RAW } from "../../uapi/in.ts";
import { IP_OFFSET, IPTOS_PREC_INTERNETCONTROL, IPTOS_TOS_MASK } from "../../uapi/ip.ts";
import {
  ICMP_MIB_CSUMERRORS,
  ICMP_MIB_INERRORS,
  ICMP_MIB_INMSGS,
  ICMP_MIB_OUTERRORS,
  ICMP_MIB_OUTMSGS,
  ICMP_MIB_RATELIMITGLOBAL,
  ICMP_MIB_RATELIMITHOST,
  IPSTATS_MIB_OUTDISCARDS,
} from "../../uapi/linux_mib.ts";
import {
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RTCF_BROADCAST,
  RTCF_LOCAL,
  RTCF_MULTICAST,
  RTN_BROADCAST,
  RTN_MULTICAST,
} from "../../uapi/rtnetlink.ts";
import type { NetDevice } from "../core/dev.ts";
import { NET_RX_DROP, NET_RX_SUCCESS } from "../core/dev.ts";
import { dstMtu } from "../core/dst.ts";
import type { Net } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import {
  __skbChecksumComplete,
  allocPage,
  allocSkb,
  consumeSkb,
  csumFold,
  kfreeSkb,
  kfreeSkbReason,
  pageSize,
  pskbMayPull,
  pskbPull,
  skbAddRxFrag,
  skbChecksum,
  skbCopyBits,
  skbDev,
  skbDst,
  skbDstSet,
  skbPut,
  skbReserve,
} from "../core/skbuff.ts";
import { inetSelectAddr } from "./devinet.ts";
import { fibComputeSpecDst, inetAddrTypeDevTable } from "./fib_frontend.ts";
import { FlowI4, flowi4InitOutput } from "./flow.ts";
import { inetGetpeerV4, inetPeerXrlimAllow } from "./inetpeer.ts";
import {
  INET_DSCP_MASK,
  IPHDR_SIZE,
  ipcbClear,
  ipHdr,
  ipHdrDaddr,
  ipHdrFragOff,
  ipHdrIhl,
  ipHdrLen,
  ipHdrProtocol,
  ipHdrSaddr,
  ipHdrSetDaddr,
  ipHdrSetFragOff,
  ipHdrSetProtocol,
  ipHdrSetSaddr,
  ipHdrSetTos,
  ipHdrSetTtl,
  ipHdrSetVersionIhl,
  ipHdrTos,
} from "./ip.ts";
import { IpOptions } from "./ip_opt.ts";
import { inetCurrentTimestamp, ipOptionsBuild, ipOptionsEcho } from "./ip_options.ts";
import { __ipSelectIdent, ipLocalOut, ipReplyMark, LL_RESERVED_SPACE, netXmitErrno } from "./ip_output.ts";
import { pingErr, pingRcv } from "./ping.ts";
import type { NetProtocol } from "./protocol.ts";
import { inetProtos } from "./protocol.ts";
import { rawIcmpError } from "./raw.ts";
import type { Rtable } from "./route.ts";
import { ip4DstHoplimit, ipRouteOutputKey, ipv4Redirect, ipv4UpdatePmtu, rtIsInputRoute } from "./route.ts";

/** sizeof(struct icmphdr). */
export const ICMPHDR_SIZE = 8;

/**
 * icmp_err_convert: the errno of each code of destination unreachable, and whether it is final (RFC 1122 §4.2.3.9: the
 * others are hints that an established connection survives).
 */
export const icmpErrConvert: readonly { readonly errno: number; readonly fatal: boolean }[] = [
  { errno: ENETUNREACH, fatal: false }, // ICMP_NET_UNREACH
  { errno: EHOSTUNREACH, fatal: false }, // ICMP_HOST_UNREACH
  { errno: ENOPROTOOPT, fatal: true }, // ICMP_PROT_UNREACH
  { errno: ECONNREFUSED, fatal: true }, // ICMP_PORT_UNREACH
  { errno: EMSGSIZE, fatal: false }, // ICMP_FRAG_NEEDED
  { errno: EOPNOTSUPP, fatal: false }, // ICMP_SR_FAILED
  { errno: ENETUNREACH, fatal: true }, // ICMP_NET_UNKNOWN
  { errno: EHOSTDOWN, fatal: true }, // ICMP_HOST_UNKNOWN
  { errno: ENONET, fatal: true }, // ICMP_HOST_ISOLATED
  { errno: ENETUNREACH, fatal: true }, // ICMP_NET_ANO
  { errno: EHOSTUNREACH, fatal: true }, // ICMP_HOST_ANO
  { errno: ENETUNREACH, fatal: false }, // ICMP_NET_UNR_TOS
  { errno: EHOSTUNREACH, fatal: false }, // ICMP_HOST_UNR_TOS
  { errno: EHOSTUNREACH, fatal: true }, // ICMP_PKT_FILTERED
  { errno: EHOSTUNREACH, fatal: true }, // ICMP_PREC_VIOLATION
  { errno: EHOSTUNREACH, fatal: true }, // ICMP_PREC_CUTOFF
];

/**
 * icmp_pointers[].handler: 0, or the reason to drop the message. It keeps the skb, whose data is behind the ICMP
 * header.
 */
type IcmpHandler = (skb: number) => number;

/** icmp_pointers[type]: who takes a message, and whether it is an error (about which no error is ever sent). */
interface IcmpControl {
  readonly handler: IcmpHandler;
  readonly error: boolean;
}

// ---- rate limits (RFC 1812 §4.3.2.8) --------------------------------------------------------------------------------

/** ICMP's part of a namespace. */
export class NetnsIcmp {
  /** The token bucket of the host: messages saved up, and when (jiffies) it was last filled. */
  globalCredit = 0;
  globalStamp = 0;
}

declare module "../core/net_namespace.ts" {
  interface Net {
    icmp: NetnsIcmp;
  }
}

/** icmp_global_allow: the host as a whole sends at most icmp_msgs_per_sec, with bursts of icmp_msgs_burst. */
export function icmpGlobalAllow(net: Net): boolean {
  const icmp = net.icmp;
  const ipv4 = net.ipv4;
  if (icmp.globalCredit > 0) return true;
  const now = kernel.jiffies;
  const delta = Math.min(now - icmp.globalStamp, 1000);
  if (delta < 1000 / 50) return false;
  const incr = Math.floor((ipv4.sysctlIcmpMsgsPerSec * delta) / 1000);
  if (incr === 0) return false;
  icmp.globalStamp = now;
  icmp.globalCredit = Math.min(icmp.globalCredit + incr, ipv4.sysctlIcmpMsgsBurst);
  return true;
}

/**
 * icmp_global_consume: a message was sent. It costs one on average; the noise keeps a stranger from finding out, by
 * counting what is left, whether some other packet of his was answered (CVE-2020-25705).
 */
export function icmpGlobalConsume(net: Net): void {
  net.icmp.globalCredit -= getRandomU32Below(3);
}

/** icmpv4_mask_allow: messages that no limit applies to. */
function icmpv4MaskAllow(net: Net, type: number, code: number): boolean {
  if (type > NR_ICMP_TYPES) return true;
  // Path MTU discovery is not to be slowed down.
  if (type === ICMP_DEST_UNREACH && code === ICMP_FRAG_NEEDED) return true;
  return ((1 << type) & net.ipv4.sysctlIcmpRatemask) === 0;
}

const ALLOW_NO = 0;
const ALLOW_YES = 1;
const ALLOW_LIMITED = 2;

/** icmpv4_global_allow: not now, without limit, or if the host that it goes to hasn't had too many. */
function icmpv4GlobalAllow(net: Net, type: number, code: number): number {
  if (icmpv4MaskAllow(net, type, code)) return ALLOW_YES;
  if (icmpGlobalAllow(net)) return ALLOW_LIMITED;
  icmpIncStats(net, ICMP_MIB_RATELIMITGLOBAL);
  return ALLOW_NO;
}

/** icmpv4_xrlim_allow: one message a icmp_ratelimit milliseconds to a host, except over loopback. */
function icmpv4XrlimAllow(net: Net, rt: Rtable, daddr: number, allow: number): boolean {
  if (allow !== ALLOW_LIMITED) return true;
  if (
    (rt.dev.flags & IFF_LOOPBACK) === 0 &&
    !inetPeerXrlimAllow(inetGetpeerV4(net, daddr), net.ipv4.sysctlIcmpRatelimit)
  ) {
    icmpIncStats(net, ICMP_MIB_RATELIMITHOST);
    return false;
  }
  icmpGlobalConsume(net);
  return true;
}

/** icmp_out_count. */
export function icmpOutCount(net: Net, type: number): void {
  icmpmsgoutIncStats(net, type);
  icmpIncStats(net, ICMP_MIB_OUTMSGS);
}

// ---- sending --------------------------------------------------------------------------------------------------------

/** The ICMP header of the message being built, and what stands before its data (a timestamp reply's times). */
const head = new Uint8Array(20);
const headDv = new DataView(head.buffer);
const replyOpts = new IpOptions();
const icmpFl4 = new FlowI4();
/** icmp_xmit_lock: set while a message is on its way down; what fails there must not make another one. */
let icmpLocked = false;

/** The largest message that goes into one linear buffer. */
const ICMP_LINEAR_MAX = 60000;

/**
 * icmp_push_reply: the header in `head` (`headLen` bytes) and `dataLen` bytes of `skbIn` from `offset` (from
 * skb->data; may be negative: the network header), sent along `rt` with the addresses of icmpFl4 and the options of
 * replyOpts.
 */
function icmpPushReply(
  net: Net,
  skbIn: number,
  offset: number,
  dataLen: number,
  headLen: number,
  daddr: number,
  tos: number,
  rt: Rtable,
): void {
  const hlen = IPHDR_SIZE + replyOpts.optlen;
  const reserve = LL_RESERVED_SPACE(rt.dev);
  const linear = reserve + hlen + headLen + dataLen <= ICMP_LINEAR_MAX ? dataLen : 0;
  const skb = allocSkb(reserve + hlen + headLen + linear);
  if (skb === 0) {
    icmpIncStats(net, ICMP_MIB_OUTERRORS);
    return;
  }
  ipcbClear(skb);
  skbReserve(skb, reserve);
  const iph = skbPut(skb, hlen + headLen + linear);
  skbResetNetworkHeader(skb);
  skbSetTransportHeader(skb, hlen);
  const icmph = iph + hlen;
  head[2] = 0;
  head[3] = 0;
  for (let i = 0; i < headLen; i++) u8[icmph + i] = head[i];
  if (!icmpCopyData(skb, skbIn, offset, dataLen, linear === 0 ? 0 : icmph + headLen)) {
    kfreeSkb(skb);
    icmpIncStats(net, ICMP_MIB_OUTERRORS);
    return;
  }
  dv.setUint16(icmph + 2, csumFold(skbChecksum(skb, hlen, headLen + dataLen, 0)));
  skbSetIpSummed(skb, CHECKSUM_NONE);

  // IP_PMTUDISC_DONT: whoever is on the way may fragment it, this host included.
  skbSetIgnoreDf(skb, true);
  ipHdrSetVersionIhl(iph, hlen >>> 2);
  ipHdrSetTos(iph, tos);
  ipHdrSetFragOff(iph, 0);
  // A source route may turn an answer to a multicast address.
  ipHdrSetTtl(iph, rt.rtType === RTN_MULTICAST ? 1 : ip4DstHoplimit(rt));
  ipHdrSetProtocol(iph, IPPROTO_ICMP);
  ipHdrSetSaddr(iph, icmpFl4.saddr);
  ipHdrSetDaddr(iph, icmpFl4.daddr);
  __ipSelectIdent(net, iph, 1);
  if (replyOpts.optlen !== 0) ipOptionsBuild(skb, replyOpts, daddr, rt);
  skbSetMark(skb, icmpFl4.flowi4Mark);
  skbDstSet(skb, rt);
  icmpOutCount(net, head[0]);
  let err = ipLocalOut(net, null, skb);
  if (err > 0) err = netXmitErrno(err);
  if (err !== 0) ipIncStats(net, IPSTATS_MIB_OUTDISCARDS);
}

/** Copies what the message quotes to `to`, or into pages where it is too long for that (`to` 0). False: no memory. */
function icmpCopyData(skb: number, skbIn: number, offset: number, dataLen: number, to: number): boolean {
  if (dataLen === 0) return true;
  if (to !== 0) {
    if (offset < 0) {
      // The IP header stands before skb->data by now.
      const n = Math.min(-offset, dataLen);
      const from = skbData(skbIn) + offset;
      u8.copyWithin(to, from, from + n);
      return dataLen === n || skbCopyBits(skbIn, 0, to + n, dataLen - n) === 0;
    }
    return skbCopyBits(skbIn, offset, to, dataLen) === 0;
  }
  for (let i = 0, left = dataLen; left > 0; i++) {
    const n = Math.min(left, 32768);
    const page = allocPage(n);
    if (page === 0) return false;
    skbAddRxFrag(skb, i, page, 0, n, pageSize(page));
    if (skbCopyBits(skbIn, offset, page, n) !== 0) return false;
    offset += n;
    left -= n;
  }
  return true;
}

/** icmp_reply: answers the ICMP message `skb`, data behind its ICMP header, with the header in `head`. */
function icmpReply(skb: number, headLen: number, dataLen: number): void {
  const net = (skbDst(skb) as Rtable).dev.net;
  if (ipOptionsEcho(net, replyOpts, skb) < 0) return;
  const type = head[0];
  const code = head[1];
  const allow = icmpv4GlobalAllow(net, type, code);
  if (allow === ALLOW_NO || icmpLocked) return;
  icmpLocked = true;
  try {
    const iph = ipHdr(skb);
    const tos = ipHdrTos(iph);
    const final = ipHdrSaddr(iph);
    const daddr = replyOpts.optlen !== 0 && replyOpts.srr !== 0 ? replyOpts.faddr : final;
    const saddr = fibComputeSpecDst(skb);
    const mark = ipReplyMark(net, skb);
    flowi4InitOutput(icmpFl4, 0, mark, tos & INET_DSCP_MASK, RT_SCOPE_UNIVERSE, IPPROTO_ICMP, 0, daddr, saddr, 0, 0);
    const rt = ipRouteOutputKey(net, icmpFl4);
    if (rt !== null && icmpv4XrlimAllow(net, rt, icmpFl4.daddr, allow)) {
      icmpPushReply(net, skb, 0, dataLen, headLen, final, tos, rt);
    }
  } finally {
    icmpLocked = false;
  }
}

/**
 * icmp_send: tells the sender of `skbIn` what became of it. `info` is the second word of the ICMP header (the MTU of
 * ICMP_FRAG_NEEDED, the gateway of a redirect, the pointer << 24 of a parameter problem), host order. Keeps the skb.
 * Says nothing where RFC 1122 §3.2.2 forbids it: about ICMP errors, broadcasts and multicasts of either layer, and
 * later fragments.
 */
export function icmpSend(skbIn: number, type: number, code: number, info: number): void {
  const rtIn = skbDst(skbIn) as Rtable | null;
  if (rtIn === null) return;
  const net = rtIn.dev.net;
  let iph = skbNetworkHeader(skbIn);
  if (iph < skbHead(skbIn) || iph === 0 || iph + IPHDR_SIZE > skbTail(skbIn)) return;
  if (skbPktType(skbIn) !== PACKET_HOST) return;
  if ((rtIn.rtFlags & (RTCF_BROADCAST | RTCF_MULTICAST)) !== 0) return;
  if ((ipHdrFragOff(iph) & IP_OFFSET) !== 0) return;
  const error = icmpPointers[type].error;
  if (error && ipHdrProtocol(iph) === IPPROTO_ICMP) {
    const off = skbNetworkOffset(skbIn) + ipHdrLen(iph);
    if (off >= 0 && !pskbMayPull(skbIn, off + 1)) return;
    iph = skbNetworkHeader(skbIn);
    const inner = u8[skbData(skbIn) + off];
    // A type that this host doesn't know may be an error.
    if (inner > NR_ICMP_TYPES || icmpPointers[inner].error) return;
  }

  const devIn = skbDev(skbIn) as NetDevice | null;
  let allow = ALLOW_YES;
  if (devIn === null || (devIn.flags & IFF_LOOPBACK) === 0) {
    allow = icmpv4GlobalAllow(net, type, code);
    if (allow === ALLOW_NO) return;
  }
  if (icmpLocked) return;
  icmpLocked = true;
  try {
    icmpSendLocked(net, skbIn, iph, rtIn, devIn, type, code, info, error, allow);
  } finally {
    icmpLocked = false;
  }
}

function icmpSendLocked(
  net: Net,
  skbIn: number,
  iph: number,
  rtIn: Rtable,
  devIn: NetDevice | null,
  type: number,
  code: number,
  info: number,
  error: boolean,
  allow: number,
): void {
  // RFC 1812 §4.3.2.4: from the address that the packet was sent to, or else the one of the device it leaves by.
  let saddr = ipHdrDaddr(iph);
  if ((rtIn.rtFlags & RTCF_LOCAL) === 0) {
    saddr = 0;
    if (rtIsInputRoute(rtIn) && net.ipv4.sysctlIcmpErrorsUseInboundIfaddr !== 0) {
      const dev = net.devByIndex.get(skbSkbIif(skbIn)) ?? devIn;
      if (dev !== null) saddr = inetSelectAddr(dev, ipHdrSaddr(iph), RT_SCOPE_LINK);
    }
  }
  const tosIn = ipHdrTos(iph);
  // RFC 1812 §4.3.2.5: errors have precedence.
  const tos = error ? (tosIn & IPTOS_TOS_MASK) | IPTOS_PREC_INTERNETCONTROL : tosIn;
  const mark = ipReplyMark(net, skbIn);
  if (ipOptionsEcho(net, replyOpts, skbIn) < 0) return;

  const final = ipHdrSaddr(iph);
  flowi4InitOutput(
    icmpFl4,
    0,
    mark,
    tos & INET_DSCP_MASK,
    RT_SCOPE_UNIVERSE,
    IPPROTO_ICMP,
    0,
    replyOpts.srr !== 0 ? replyOpts.faddr : final,
    saddr,
    0,
    0,
  );
  icmpFl4.fl4IcmpType = type;
  icmpFl4.fl4IcmpCode = code;
  const rt = ipRouteOutputKey(net, icmpFl4);
  if (rt === null) return;
  if (!icmpv4XrlimAllow(net, rt, icmpFl4.daddr, allow)) return;

  // RFC 1812 §4.3.2.3: as much of the packet as fits without the message exceeding 576 bytes.
  let room = Math.min(dstMtu(rt), 576);
  room -= IPHDR_SIZE + replyOpts.optlen + ICMPHDR_SIZE;
  // An IP header at least, or the message would say nothing.
  if (room <= IPHDR_SIZE) return;
  const offset = skbNetworkOffset(skbIn);
  const dataLen = Math.min(skbLen(skbIn) - offset, room);
  if (icmpFl4.saddr === 0) icmpFl4.saddr = INADDR_DUMMY;
  head[0] = type;
  head[1] = code;
  headDv.setUint32(4, info);
  icmpPushReply(net, skbIn, offset, dataLen, ICMPHDR_SIZE, final, tos, rt);
}

// ---- receiving ------------------------------------------------------------------------------------------------------

/** icmp_socket_deliver: the error goes to raw sockets and to the protocol whose packet is quoted (RFC 1122 §3.2.2). */
function icmpSocketDeliver(skb: number, info: number): void {
  const iph = skbData(skb);
  const protocol = ipHdrProtocol(iph);
  // The whole header and 8 bytes of what follows, so that no handler has to check.
  if (!pskbMayPull(skb, ipHdrIhl(iph) * 4 + 8) || protocol === IPPROTO_RAW) {
    icmpIncStats(skbDev(skb).net, ICMP_MIB_INERRORS);
    return;
  }
  rawIcmpError(skb, protocol, info);
  const ipprot = inetProtos[protocol];
  if (ipprot !== null && ipprot.errHandler !== undefined) ipprot.errHandler(skb, info);
}

function icmpTagValidation(protocol: number): boolean {
  return inetProtos[protocol]?.icmpStrictTagValidation === true;
}

function icmpUnreachError(net: Net, reason: number): number {
  icmpIncStats(net, ICMP_MIB_INERRORS);
  return reason;
}

/** icmp_unreach: destination unreachable, time exceeded, parameter problem, source quench. */
function icmpUnreach(skb: number): number {
  const net = (skbDst(skb) as Rtable).dev.net;
  if (!pskbMayPull(skb, IPHDR_SIZE)) return icmpUnreachError(net, SKB_DROP_REASON_PKT_TOO_SMALL);
  const icmph = skbTransportHeader(skb);
  const iph = skbData(skb);
  if (ipHdrIhl(iph) < 5) return icmpUnreachError(net, SKB_DROP_REASON_IP_INHDR);
  const type = u8[icmph];
  const code = u8[icmph + 1];
  let info = 0;
  switch (type) {
    case ICMP_DEST_UNREACH:
      if ((code & 15) === ICMP_FRAG_NEEDED) {
        switch (net.ipv4.sysctlIpNoPmtuDisc) {
          case 2:
            return SKB_NOT_DROPPED_YET;
          case 3:
            if (!icmpTagValidation(ipHdrProtocol(iph))) return SKB_NOT_DROPPED_YET;
            info = dv.getUint16(icmph + 6);
            break;
          case 0:
            info = dv.getUint16(icmph + 6);
            break;
          default:
            break;
        }
      }
      if (code > NR_ICMP_UNREACH) return SKB_NOT_DROPPED_YET;
      break;
    case ICMP_PARAMETERPROB:
      info = u8[icmph + 4];
      break;
    case ICMP_TIME_EXCEEDED:
      if (code === ICMP_EXC_FRAGTIME) return SKB_NOT_DROPPED_YET;
      break;
    default:
      break;
  }
  // RFC 1122 §3.2.2: nobody may answer a broadcast with an error; those who do are mistaken.
  if (
    net.ipv4.sysctlIcmpIgnoreBogusErrorResponses === 0 &&
    inetAddrTypeDevTable(net, skbDev(skb), ipHdrDaddr(iph)) === RTN_BROADCAST
  ) {
    return SKB_NOT_DROPPED_YET;
  }
  icmpSocketDeliver(skb, info);
  return SKB_NOT_DROPPED_YET;
}

/** icmp_redirect. */
function icmpRedirect(skb: number): number {
  const net = (skbDst(skb) as Rtable).dev.net;
  if (!pskbMayPull(skb, IPHDR_SIZE)) return icmpUnreachError(net, SKB_DROP_REASON_PKT_TOO_SMALL);
  if (ipHdrIhl(skbData(skb)) < 5) return icmpUnreachError(net, SKB_DROP_REASON_IP_INHDR);
  icmpSocketDeliver(skb, dv.getUint32(skbTransportHeader(skb) + 4));
  return SKB_NOT_DROPPED_YET;
}

function copyHead(skb: number): void {
  const icmph = skbTransportHeader(skb);
  for (let i = 0; i < ICMPHDR_SIZE; i++) head[i] = u8[icmph + i];
}

/** icmp_echo (RFC 1122 §3.2.2.6: every host has an echo server, whose reply carries all of the request's data). */
function icmpEcho(skb: number): number {
  const net = (skbDst(skb) as Rtable).dev.net;
  if (net.ipv4.sysctlIcmpEchoIgnoreAll !== 0) return SKB_NOT_DROPPED_YET;
  copyHead(skb);
  // RFC 8335's probes are off unless they are asked for, and there is no answer to them here.
  if (head[0] !== ICMP_ECHO) return SKB_NOT_DROPPED_YET;
  head[0] = ICMP_ECHOREPLY;
  icmpReply(skb, ICMPHDR_SIZE, skbLen(skb));
  return SKB_NOT_DROPPED_YET;
}

/** icmp_timestamp (RFC 1122 §3.2.2.8). */
function icmpTimestamp(skb: number): number {
  const net = (skbDst(skb) as Rtable).dev.net;
  if (!pskbMayPull(skb, 4)) return icmpUnreachError(net, SKB_DROP_REASON_PKT_TOO_SMALL);
  const now = inetCurrentTimestamp();
  copyHead(skb);
  head[0] = ICMP_TIMESTAMPREPLY;
  head[1] = 0;
  headDv.setUint32(8, dv.getUint32(skbData(skb)));
  headDv.setUint32(12, now);
  headDv.setUint32(16, now);
  icmpReply(skb, ICMPHDR_SIZE + 12, 0);
  return SKB_NOT_DROPPED_YET;
}

/** icmp_discard: known, and of no interest. */
function icmpDiscard(_skb: number): number {
  return SKB_NOT_DROPPED_YET;
}

const icmpPointers: readonly IcmpControl[] = makePointers();

function makePointers(): IcmpControl[] {
  const table: IcmpControl[] = [];
  // The types that nobody has defined (1, 2, 6, 7, 9, 10) count as errors: no message is sent about them.
  for (let type = 0; type <= NR_ICMP_TYPES; type++) table.push({ handler: icmpDiscard, error: type < 12 });
  table[ICMP_ECHOREPLY] = { handler: icmpDiscard, error: false };
  table[ICMP_DEST_UNREACH] = { handler: icmpUnreach, error: true };
  table[ICMP_SOURCE_QUENCH] = { handler: icmpUnreach, error: true };
  table[ICMP_REDIRECT] = { handler: icmpRedirect, error: true };
  table[ICMP_ECHO] = { handler: icmpEcho, error: false };
  table[ICMP_TIME_EXCEEDED] = { handler: icmpUnreach, error: true };
  table[ICMP_PARAMETERPROB] = { handler: icmpUnreach, error: true };
  table[ICMP_TIMESTAMP] = { handler: icmpTimestamp, error: false };
  return table;
}

function icmpDrop(net: Net, skb: number, reason: number): number {
  icmpIncStats(net, ICMP_MIB_INERRORS);
  kfreeSkbReason(skb, reason);
  return NET_RX_DROP;
}

/** skb_checksum_simple_validate: is the checksum over all of data right? */
function icmpChecksumOk(skb: number): boolean {
  if (skbCsumUnnecessary(skb)) return true;
  if (skbIpSummed(skb) === CHECKSUM_COMPLETE && csumFold(skbCsum(skb)) === 0) return true;
  skbSetCsum(skb, 0);
  return __skbChecksumComplete(skb) === 0;
}

/** icmp_rcv: the handler of IPPROTO_ICMP. Consumes the skb. */
export function icmpRcv(skb: number): number {
  icmpInput(skb);
  return 0;
}

function icmpInput(skb: number): number {
  const rt = skbDst(skb) as Rtable;
  const net = rt.dev.net;
  icmpIncStats(net, ICMP_MIB_INMSGS);
  if (!icmpChecksumOk(skb)) {
    icmpIncStats(net, ICMP_MIB_CSUMERRORS);
    return icmpDrop(net, skb, SKB_DROP_REASON_ICMP_CSUM);
  }
  if (pskbPull(skb, ICMPHDR_SIZE) === 0) return icmpDrop(net, skb, SKB_DROP_REASON_PKT_TOO_SMALL);
  const type = u8[skbTransportHeader(skb)];
  icmpmsginIncStats(net, type);

  let reason = SKB_DROP_REASON_NOT_SPECIFIED;
  if (type === ICMP_EXT_ECHO) reason = icmpEcho(skb);
  else if (type === ICMP_EXT_ECHOREPLY) return pingRcv(skb) !== 0 ? NET_RX_DROP : NET_RX_SUCCESS;
  // RFC 1122 §3.2.2: unknown types are silently discarded.
  else if (type > NR_ICMP_TYPES) return icmpDrop(net, skb, SKB_DROP_REASON_UNHANDLED_PROTO);
  else {
    if ((rt.rtFlags & (RTCF_BROADCAST | RTCF_MULTICAST)) !== 0) {
      // RFC 1122 §3.2.2.6, §3.2.2.8: an echo or timestamp request to a broadcast or multicast may be ignored, and is.
      const ask = type === ICMP_ECHO || type === ICMP_TIMESTAMP;
      if (ask && net.ipv4.sysctlIcmpEchoIgnoreBroadcasts !== 0) {
        return icmpDrop(net, skb, SKB_DROP_REASON_INVALID_PROTO);
      }
      if (!ask && type !== ICMP_ADDRESS && type !== ICMP_ADDRESSREPLY) {
        return icmpDrop(net, skb, SKB_DROP_REASON_INVALID_PROTO);
      }
    }
    if (type === ICMP_ECHOREPLY) return pingRcv(skb) !== 0 ? NET_RX_DROP : NET_RX_SUCCESS;
    reason = icmpPointers[type].handler(skb);
  }
  if (reason === SKB_NOT_DROPPED_YET) {
    consumeSkb(skb);
    return NET_RX_SUCCESS;
  }
  kfreeSkbReason(skb, reason);
  return NET_RX_DROP;
}

/** icmp_err: an error about an ICMP message that this host sent: its ping sockets', or an echo reply's. */
export function icmpErr(skb: number, info: number): number {
  const offset = ipHdrLen(skbData(skb));
  const quoted = u8[skbData(skb) + offset];
  if (quoted !== ICMP_ECHOREPLY && quoted !== ICMP_EXT_ECHOREPLY) {
    pingErr(skb, offset, info);
    return 0;
  }
  const icmph = skbTransportHeader(skb);
  const net = skbDev(skb).net;
  if (u8[icmph] === ICMP_DEST_UNREACH && u8[icmph + 1] === ICMP_FRAG_NEEDED) {
    ipv4UpdatePmtu(skb, net, info, 0, IPPROTO_ICMP);
  } else if (u8[icmph] === ICMP_REDIRECT) ipv4Redirect(skb, net, 0, IPPROTO_ICMP);
  return 0;
}

/** icmp_protocol: what inet_init registers for IPPROTO_ICMP. */
export const icmpProtocol: NetProtocol = { symbol: "icmp_protocol", handler: icmpRcv, errHandler: icmpErr };

const icmpSkOps = {
  name: "icmp",
  init(net: Net): number {
    net.icmp = new NetnsIcmp();
    return 0;
  },
  exit(_net: Net): void {},
};

/** icmp_init: run by inet_init; running it again does nothing. */
export function icmpInit(): void {
  registerPernetSubsys(icmpSkOps);
}
