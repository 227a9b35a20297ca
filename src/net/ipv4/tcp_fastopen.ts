/** TCP Fast Open (RFC 7413): the client's cookies. */

import { RTAX_FASTOPEN_NO_COOKIE } from "../../uapi/rtnetlink.ts";
import { TFO_COOKIE_UNAVAILABLE } from "../../uapi/tcp.ts";
import { dstMetric } from "../core/dst.ts";
import type { Sock } from "../core/sock.ts";
import { TFO_CLIENT_NO_COOKIE } from "./tcp_h.ts";
import { tcpFastopenCacheGet } from "./tcp_metrics.ts";
import type { TcpFastopenCookie, TcpSock } from "./tcp_sock.ts";

/** tcp_fastopen_no_cookie: the sysctl (`flag`), the socket or the route says that no cookie is needed. */
export function tcpFastopenNoCookie(sk: TcpSock, flag: number): boolean {
  const dst = sk.skDstCache;
  return (
    (sk.net.ipv4.sysctlTcpFastopen & flag) !== 0 ||
    sk.fastopenNoCookie ||
    (dst !== null && dstMetric(dst, RTAX_FASTOPEN_NO_COOKIE) !== 0)
  );
}

/**
 * tcp_fastopen_cookie_check: true if the SYN may carry data: fills `cookie` from the cache (len -1: no option at all), and
 * the MSS that goes with it into rx_opt.mss_clamp.
 */
export function tcpFastopenCookieCheck(sk: TcpSock, cookie: TcpFastopenCookie): boolean {
  const mss = tcpFastopenCacheGet(sk, cookie);
  if (mss > 0) sk.rxOpt.mssClamp = mss;
  if (tcpFastopenNoCookie(sk, TFO_CLIENT_NO_COOKIE)) {
    cookie.len = -1;
    return true;
  }
  if (cookie.len > 0) return true;
  sk.fastopenClientFail = TFO_COOKIE_UNAVAILABLE;
  return false;
}

/** tcp_fastopen_active_detect_blackhole: counts timeouts that look like a middlebox that swallows Fast Open. None is kept. */
export function tcpFastopenActiveDetectBlackhole(_sk: Sock, _expired: boolean): void {}
