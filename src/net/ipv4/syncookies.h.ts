/** The timestamp of a SYN-ACK with a cookie (net/ipv4/syncookies.c): it imports nothing that is in a cycle. */

import type { RequestSock } from "./inet_sock.ts";

// The low bits of the timestamp.
const TSBITS = 6;
export const TS_OPT_WSCALE_MASK = 0xf;
export const TS_OPT_SACK = 16;
export const TS_OPT_ECN = 32;

/**
 * cookie_init_timestamp: the time (microseconds) that a SYN-ACK with a cookie claims to be sent at: now, or a little
 * before, with the options of the SYN in its low bits.
 */
export function cookieInitTimestamp(req: RequestSock, now: number): number {
  const tsNow = Math.floor(now / 1000);
  let options = req.wscaleOk ? req.sndWscale : TS_OPT_WSCALE_MASK;
  if (req.sackOk) options |= TS_OPT_SACK;
  if (req.ecnOk) options |= TS_OPT_ECN;
  let ts = Math.floor(tsNow / (1 << TSBITS)) * (1 << TSBITS) + options;
  if (ts > tsNow) ts -= 1 << TSBITS;
  return ts * 1000;
}
