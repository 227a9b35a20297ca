/** SO_TIMESTAMPING of a byte stream (net/ipv4/tcp.c): which bytes are stamped, and what goes with a stamp. */

import { SHINFO_TX_FLAGS, SKB_TSTAMP, TCPCB_FLAG_TXSTAMP_ACK } from "../../../assembly/layout.ts";
import { dv, f64, u8 } from "../../mm/mem.ts";
import { SOF_TIMESTAMPING_TX_ACK, SOF_TIMESTAMPING_TX_RECORD_MASK } from "../../uapi/net_tstamp.ts";
import {
  TCP_NLA_BUSY,
  TCP_NLA_BYTES_NOTSENT,
  TCP_NLA_BYTES_RETRANS,
  TCP_NLA_BYTES_SENT,
  TCP_NLA_CA_STATE,
  TCP_NLA_DATA_SEGS_OUT,
  TCP_NLA_DELIVERED,
  TCP_NLA_DELIVERED_CE,
  TCP_NLA_DELIVERY_RATE,
  TCP_NLA_DELIVERY_RATE_APP_LMT,
  TCP_NLA_DSACK_DUPS,
  TCP_NLA_EDT,
  TCP_NLA_MIN_RTT,
  TCP_NLA_PACING_RATE,
  TCP_NLA_RECUR_RETRANS,
  TCP_NLA_REHASH,
  TCP_NLA_REORD_SEEN,
  TCP_NLA_REORDERING,
  TCP_NLA_RWND_LIMITED,
  TCP_NLA_SND_CWND,
  TCP_NLA_SND_SSTHRESH,
  TCP_NLA_SNDBUF_LIMITED,
  TCP_NLA_SNDQ_SIZE,
  TCP_NLA_SRTT,
  TCP_NLA_TIMEOUT_REHASH,
  TCP_NLA_TOTAL_RETRANS,
  TCP_NLA_TTL,
} from "../../uapi/tcp.ts";
import { sockTxFlags } from "../core/errqueue.ts";
import { allocSkb, skbPeekTail, skbPut, skbSetTskey, skbShinfo } from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import { ipHdr, ipHdrTtl } from "./ip.ts";
import { seqSub } from "./seq.ts";
import type { TcpSock } from "./tcp_sock.ts";
import { tcpSkbCbFlags, tcpSkbEndSeq, tcpSkbSetCbFlags } from "./tcp_sock.ts";
import { tcpGetInfo } from "./tcp_sockopt.ts";

/**
 * tcp_tx_timestamp: asks for the stamps of a send (`tsflags`: SOF_TIMESTAMPING_*) at its last byte: the tail of what is unsent or, if
 * all of it has left already, of what is in flight.
 */
export function tcpTxTimestamp(sk: TcpSock, tsflags: number): void {
  if ((tsflags & SOF_TIMESTAMPING_TX_RECORD_MASK) === 0) return;
  let skb = skbPeekTail(sk.skWriteQueue);
  if (skb === 0) skb = skbPeekTail(sk.tcpRtxQueue);
  if (skb === 0) return;
  const shinfo = skbShinfo(skb);
  u8[shinfo + SHINFO_TX_FLAGS]! |= sockTxFlags(tsflags);
  if ((tsflags & SOF_TIMESTAMPING_TX_ACK) !== 0) tcpSkbSetCbFlags(skb, tcpSkbCbFlags(skb) | TCPCB_FLAG_TXSTAMP_ACK);
  // A FIN cannot stand behind it yet: the last byte is the one before end_seq.
  skbSetTskey(skb, ((tcpSkbEndSeq(skb) as unknown as number) - 1) >>> 0);
}

// ---- SOF_TIMESTAMPING_OPT_STATS -------------------------------------------------------------------------------------

/** More than all attributes together take. */
const OPT_STATS_SIZE = 320;

/** nla_put of `width` bytes: u16 length, u16 type, the value, and zeros up to a multiple of four. */
/* notrace */
function nlaPut(skb: number, type: number, width: number, value: number): void {
  const at = skbPut(skb, 4 + ((width + 3) & ~3));
  dv.setUint16(at, 4 + width, true);
  dv.setUint16(at + 2, type, true);
  dv.setUint32(at + 4, 0);
  if (width === 1) dv.setUint8(at + 4, value);
  else if (width === 2) dv.setUint16(at + 4, value, true);
  else if (width === 4) dv.setUint32(at + 4, value, true);
  else {
    // An unlimited rate is all ones.
    const limited = Number.isFinite(value);
    dv.setUint32(at + 4, limited ? value % 0x1_0000_0000 : 0xffffffff, true);
    dv.setUint32(at + 8, limited ? Math.floor(value / 0x1_0000_0000) : 0xffffffff, true);
  }
}

/**
 * tcp_get_timestamping_opt_stats: an skb with netlink attributes (TCP_NLA_*) about the connection, for the stamp of `origSkb`.
 * `ackSkb`: the ACK that the stamp is of, or 0. 0 = no memory.
 */
export function tcpGetTimestampingOptStats(sk0: Sock, origSkb: number, ackSkb: number): number {
  const sk = sk0 as TcpSock;
  const skb = allocSkb(OPT_STATS_SIZE);
  if (skb === 0) return 0;
  const info = tcpGetInfo(sk);
  nlaPut(skb, TCP_NLA_BUSY, 8, info.busyTime);
  nlaPut(skb, TCP_NLA_RWND_LIMITED, 8, info.rwndLimited);
  nlaPut(skb, TCP_NLA_SNDBUF_LIMITED, 8, info.sndbufLimited);
  nlaPut(skb, TCP_NLA_DATA_SEGS_OUT, 8, info.dataSegsOut);
  nlaPut(skb, TCP_NLA_TOTAL_RETRANS, 8, info.totalRetrans);
  nlaPut(skb, TCP_NLA_PACING_RATE, 8, info.pacingRate);
  nlaPut(skb, TCP_NLA_DELIVERY_RATE, 8, info.deliveryRate);
  nlaPut(skb, TCP_NLA_SND_CWND, 4, info.sndCwnd);
  nlaPut(skb, TCP_NLA_REORDERING, 4, info.reordering);
  nlaPut(skb, TCP_NLA_MIN_RTT, 4, info.minRtt);
  nlaPut(skb, TCP_NLA_RECUR_RETRANS, 1, info.retransmits);
  nlaPut(skb, TCP_NLA_DELIVERY_RATE_APP_LMT, 1, info.deliveryRateAppLimited);
  nlaPut(skb, TCP_NLA_SND_SSTHRESH, 4, info.sndSsthresh);
  nlaPut(skb, TCP_NLA_DELIVERED, 4, info.delivered);
  nlaPut(skb, TCP_NLA_DELIVERED_CE, 4, info.deliveredCe);
  nlaPut(skb, TCP_NLA_SNDQ_SIZE, 4, Math.max(0, seqSub(sk.writeSeq, sk.sndUna)));
  nlaPut(skb, TCP_NLA_CA_STATE, 1, info.caState);
  nlaPut(skb, TCP_NLA_BYTES_SENT, 8, info.bytesSent);
  nlaPut(skb, TCP_NLA_BYTES_RETRANS, 8, info.bytesRetrans);
  nlaPut(skb, TCP_NLA_DSACK_DUPS, 4, info.dsackDups);
  nlaPut(skb, TCP_NLA_REORD_SEEN, 4, info.reordSeen);
  nlaPut(skb, TCP_NLA_SRTT, 4, info.rtt);
  nlaPut(skb, TCP_NLA_TIMEOUT_REHASH, 2, sk.timeoutRehash);
  nlaPut(skb, TCP_NLA_BYTES_NOTSENT, 4, info.notsentBytes);
  nlaPut(skb, TCP_NLA_EDT, 8, Math.floor(f64[(origSkb + SKB_TSTAMP) >>> 3]! * 1000));
  if (ackSkb !== 0) nlaPut(skb, TCP_NLA_TTL, 1, ipHdrTtl(ipHdr(ackSkb)));
  nlaPut(skb, TCP_NLA_REHASH, 4, info.rehash);
  return skb;
}
