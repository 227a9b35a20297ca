/** TIME_WAIT: a small sock that stands in the tables in place of the connection that it buries (RFC 9293 §3.6.1). */

import { kernel } from "../../kernel/kernel.ts";
import { netIncStats } from "../../kernel/mib.ts";
import type { TimerList } from "../../kernel/timer.ts";
import { delTimer, modTimer, timerSetup } from "../../kernel/timer.ts";
import { LINUX_MIB_TIMEWAITED, LINUX_MIB_TIMEWAITKILLED } from "../../uapi/linux_mib.ts";
import { TCP_TIME_WAIT } from "../../uapi/tcp.ts";
import type { Net } from "../core/net_namespace.ts";
import type { InetBindBucket } from "./inet_hashtables.ts";
import { inetEhashfn, inetEhashRemove } from "./inet_hashtables.ts";
import type { InetConnectionSock } from "./inet_sock.ts";
import { TcpTimewaitSock } from "./inet_sock.ts";

declare module "../core/net_namespace.ts" {
  interface Net {
    /** TIME_WAIT socks of this namespace (tcp_death_row.tw_refcount). */
    twCount: number;
  }
}

/** inet_twsk_alloc: null when tcp_max_tw_buckets is reached. */
export function inetTwskAlloc(sk: InetConnectionSock, state: number): TcpTimewaitSock | null {
  const net = sk.net;
  if (net.twCount >= net.ipv4.sysctlTcpMaxTwBuckets) return null;
  const tw = new TcpTimewaitSock();
  tw.net = net;
  tw.skProt = sk.skProtCreator;
  tw.skProtCreator = sk.skProtCreator;
  tw.skcFamily = sk.skcFamily;
  tw.skcState = TCP_TIME_WAIT;
  tw.twSubstate = state;
  tw.skcDaddr = sk.skcDaddr;
  tw.skcRcvSaddr = sk.skcRcvSaddr;
  tw.skcDport = sk.skcDport;
  tw.skcNum = sk.skcNum;
  tw.skcBoundDevIf = sk.skcBoundDevIf;
  tw.skcReuse = sk.skcReuse;
  tw.skcReuseport = sk.skcReuseport;
  tw.twSport = sk.inetSport;
  tw.twSaddr = sk.inetSaddr;
  tw.twTos = sk.tos;
  tw.skMark = sk.skMark;
  tw.twPriority = sk.skPriority;
  tw.twTimer = timerSetup(twTimerHandler, tw);
  net.twCount++;
  return tw;
}

function twTimerHandler(t: TimerList): void {
  inetTwskKill(t.data as TcpTimewaitSock);
}

/** inet_twsk_kill: out of the tables, its port given back. */
export function inetTwskKill(tw: TcpTimewaitSock): void {
  if (!inetEhashRemove(tw) && tw.twBindHash === null) return;
  inetTwskBindUnhash(tw);
  tw.net.twCount--;
}

/** inet_twsk_bind_unhash. */
export function inetTwskBindUnhash(tw: TcpTimewaitSock): void {
  const tb = tw.twBindHash as InetBindBucket | null;
  if (tb === null) return;
  tw.twBindHash = null;
  tb.owners.delete(tw);
  if (tb.owners.size === 0) tw.net.tcpHashinfo.bhash.delete(tb.port);
}

/** inet_twsk_hashdance_schedule: takes the place of `sk` in ehash and bhash and starts the timer (microseconds). */
export function inetTwskHashdanceSchedule(tw: TcpTimewaitSock, sk: InetConnectionSock, timeoUs: number): void {
  const tb = sk.icskBindHash as InetBindBucket | null;
  if (tb !== null) {
    tw.twBindHash = tb;
    tb.owners.add(tw);
  }
  const net = sk.net;
  inetEhashRemove(sk);
  net.tcpHashinfo.ehash.add(tw, inetEhashfn(net, tw.skcRcvSaddr, tw.skcNum, tw.skcDaddr, tw.skcDport));
  inetTwskSchedule(tw, timeoUs);
}

/** Up to this long (microseconds) it is not TIME_WAIT's full time: counted as killed. */
const TW_KILL_TIME = 4_000_000;

/** inet_twsk_schedule: arms the timer; `timeoUs` in microseconds from now. What it will be is counted already. */
export function inetTwskSchedule(tw: TcpTimewaitSock, timeoUs: number): void {
  netIncStats(tw.net, timeoUs <= TW_KILL_TIME ? LINUX_MIB_TIMEWAITKILLED : LINUX_MIB_TIMEWAITED);
  modTimer(tw.twTimer, kernel.now + timeoUs);
}

/** inet_twsk_reschedule. */
export function inetTwskReschedule(tw: TcpTimewaitSock, timeoUs: number): void {
  modTimer(tw.twTimer, kernel.now + timeoUs);
}

/** inet_twsk_deschedule_put: ends TIME_WAIT now (the four-tuple is reused, or a RST assassinated it). */
export function inetTwskDeschedulePut(tw: TcpTimewaitSock): void {
  delTimer(tw.twTimer);
  inetTwskKill(tw);
}

/** inet_twsk_purge: every TIME_WAIT sock of a namespace that goes away. */
export function inetTwskPurge(net: Net): void {
  for (const sk of net.tcpHashinfo.ehash.all()) {
    if (sk.skcState === TCP_TIME_WAIT) inetTwskDeschedulePut(sk as TcpTimewaitSock);
  }
}
