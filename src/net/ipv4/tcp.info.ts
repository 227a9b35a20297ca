/** struct tcp_info as programs get it: the bytes of include/uapi/linux/tcp.h, little-endian. */

import type { TcpInfo } from "./tcp_sockopt.ts";

/** sizeof(struct tcp_info) of Linux 7.2. */
export const TCP_INFO_SIZE = 280;

/** The fields between the bitfields, in the struct's order: their names and sizes in bytes. */
const FIELDS: readonly (readonly [name: keyof TcpInfo, size: 2 | 4 | 8])[] = [
  ["rto", 4],
  ["ato", 4],
  ["sndMss", 4],
  ["rcvMss", 4],
  ["unacked", 4],
  ["sacked", 4],
  ["lost", 4],
  ["retrans", 4],
  ["fackets", 4],
  ["lastDataSent", 4],
  ["lastAckSent", 4],
  ["lastDataRecv", 4],
  ["lastAckRecv", 4],
  ["pmtu", 4],
  ["rcvSsthresh", 4],
  ["rtt", 4],
  ["rttvar", 4],
  ["sndSsthresh", 4],
  ["sndCwnd", 4],
  ["advmss", 4],
  ["reordering", 4],
  ["rcvRtt", 4],
  ["rcvSpace", 4],
  ["totalRetrans", 4],
  ["pacingRate", 8],
  ["maxPacingRate", 8],
  ["bytesAcked", 8],
  ["bytesReceived", 8],
  ["segsOut", 4],
  ["segsIn", 4],
  ["notsentBytes", 4],
  ["minRtt", 4],
  ["dataSegsIn", 4],
  ["dataSegsOut", 4],
  ["deliveryRate", 8],
  ["busyTime", 8],
  ["rwndLimited", 8],
  ["sndbufLimited", 8],
  ["delivered", 4],
  ["deliveredCe", 4],
  ["bytesSent", 8],
  ["bytesRetrans", 8],
  ["dsackDups", 4],
  ["reordSeen", 4],
  ["rcvOoopack", 4],
  ["sndWnd", 4],
  ["rcvWnd", 4],
  ["rehash", 4],
  ["totalRto", 2],
  ["totalRtoRecoveries", 2],
  ["totalRtoTime", 4],
  ["receivedCe", 4],
  ["deliveredE1Bytes", 4],
  ["deliveredE0Bytes", 4],
  ["deliveredCeBytes", 4],
  ["receivedE1Bytes", 4],
  ["receivedE0Bytes", 4],
  ["receivedCeBytes", 4],
];

/**
 * What getsockopt(TCP_INFO) writes into a buffer of `optlen` bytes: the struct, cut off there. An unlimited rate is all
 * ones, as ~0UL is.
 *
 * @example
 * ```ts
 * const info = host.sys.getsockopt(fd, SOL_TCP, TCP_INFO, err) as TcpInfo;
 * const bytes = tcpInfoBytes(info, 104);   // as much as Linux 2.6 knew
 * ```
 */
export function tcpInfoBytes(info: TcpInfo, optlen: number = TCP_INFO_SIZE): Uint8Array {
  const bytes = new Uint8Array(TCP_INFO_SIZE);
  const v = new DataView(bytes.buffer);
  bytes[0] = info.state;
  bytes[1] = info.caState;
  bytes[2] = info.retransmits;
  bytes[3] = info.probes;
  bytes[4] = info.backoff;
  bytes[5] = info.options;
  bytes[6] = (info.sndWscale & 15) | (info.rcvWscale << 4);
  bytes[7] = (info.deliveryRateAppLimited & 1) | ((info.fastopenClientFail & 3) << 1);
  let at = 8;
  for (const [name, size] of FIELDS) {
    const value = info[name];
    if (size === 2) v.setUint16(at, value, true);
    else if (size === 4) v.setUint32(at, value, true);
    else v.setBigUint64(at, Number.isFinite(value) ? BigInt(Math.floor(value)) : 0xffffffffffffffffn, true);
    at += size;
  }
  v.setUint32(at, (info.ecnMode & 3) | ((info.accecnOptSeen & 3) << 2) | ((info.accecnFailMode & 15) << 4), true);
  return bytes.subarray(0, Math.max(0, Math.min(optlen, TCP_INFO_SIZE)));
}
