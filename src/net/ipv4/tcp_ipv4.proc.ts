/** /proc/net/tcp of net/ipv4/tcp_ipv4.c (tcp4_seq_show): every socket, request and TIME_WAIT, one line each. */

import { kernel } from "../../kernel/kernel.ts";
import { TCP_LISTEN, TCP_NEW_SYN_RECV, TCP_SYN_RECV, TCP_TIME_WAIT } from "../../uapi/tcp.ts";
import type { Net } from "../core/net_namespace.ts";
import { hex8, hexAddr, hexPort, procCreateNet } from "../core/net_procfs.ts";
import type { Sock } from "../core/sock.ts";
import { inetCskInPingpongMode } from "./inet_connection_sock.ts";
import { inetAllSocks } from "./inet_hashtables.ts";
import type { RequestSock, TcpTimewaitSock } from "./inet_sock.ts";
import { ICSK_TIME_LOSS_PROBE, ICSK_TIME_PROBE0, ICSK_TIME_REO_TIMEOUT, ICSK_TIME_RETRANS } from "./inet_sock.ts";
import { seqSub } from "./seq.ts";
import { tcpInInitialSlowstart } from "./tcp_h.ts";
import type { TcpSock } from "./tcp_sock.ts";

/** USER_HZ: the kernel tells programs times in hundredths of a second. */
const USEC_PER_CLOCK_T = 10_000;

/** jiffies_delta_to_clock_t: how long until `expires`, in clock ticks; 0 when it is past. */
function deltaToClock(expires: number): number {
  return expires > kernel.now ? Math.floor((expires - kernel.now) / USEC_PER_CLOCK_T) : 0;
}

/** The running timer: 0 none, 1 retransmission, 2 keepalive (or SYN-ACK), 3 TIME_WAIT, 4 zero window probe; and when. */
export function tcpTimerActive(sk: TcpSock): { active: number; expires: number } {
  switch (sk.icskPending) {
    case ICSK_TIME_RETRANS:
    case ICSK_TIME_REO_TIMEOUT:
    case ICSK_TIME_LOSS_PROBE:
      return { active: 1, expires: sk.icskTimeout };
    case ICSK_TIME_PROBE0:
      return { active: 4, expires: sk.icskTimeout };
    default:
      if (sk.skTimer?.pending) return { active: 2, expires: sk.skTimer.expires };
      return { active: 0, expires: kernel.now };
  }
}

/** sock_i_ino: programs know a socket by the number of its inode; nobody holds an orphan's. */
export function sockIno(sk: Sock): number {
  return sk.skSocket === null ? 0 : sk.slot;
}

/** "%pK", as printed to those who may not see addresses. */
export function sockPointer(sk: Sock): string {
  return sk.slot.toString(16).padStart(16, "0");
}

function ends(i: number, laddr: number, lport: number, faddr: number, fport: number, state: number): string {
  const st = state.toString(16).toUpperCase().padStart(2, "0");
  return `${String(i).padStart(4)}: ${hexAddr(laddr)}:${hexPort(lport)} ${hexAddr(faddr)}:${hexPort(fport)} ${st}`;
}

/** get_openreq4. */
function getOpenreq4(req: RequestSock, i: number): string {
  return (
    `${ends(i, req.irLocAddr, req.irNum, req.irRmtAddr, req.irRmtPort, TCP_SYN_RECV)} 00000000:00000000` +
    ` 01:${hex8(deltaToClock(req.rskTimer?.expires ?? 0))} ${hex8(req.numTimeout)}     0        0 0 0 ${sockPointer(req)}`
  );
}

/** get_tcp4_sock. */
function getTcp4Sock(sk: TcpSock, i: number): string {
  const { active, expires } = tcpTimerActive(sk);
  const listen = sk.skcState === TCP_LISTEN;
  const rxQueue = listen ? sk.skAckBacklog : Math.max(0, seqSub(sk.rcvNxt, sk.copiedSeq));
  const ssthresh = listen ? sk.icskAcceptQueue.fastopenq.maxQlen : tcpInInitialSlowstart(sk) ? -1 : sk.sndSsthresh;
  const quick = (sk.icskAck.quick << 1) | (inetCskInPingpongMode(sk) ? 1 : 0);
  return (
    `${ends(i, sk.skcRcvSaddr, sk.inetSport, sk.skcDaddr, sk.skcDport, sk.skcState)}` +
    ` ${hex8(seqSub(sk.writeSeq, sk.sndUna))}:${hex8(rxQueue)} 0${active}:${hex8(deltaToClock(expires))}` +
    ` ${hex8(sk.icskRetransmits)} ${"0".padStart(5)} ${String(sk.icskProbesOut).padStart(8)} ${sockIno(sk)}` +
    ` ${sk.skRefcnt} ${sockPointer(sk)} ${Math.floor(sk.icskRto / USEC_PER_CLOCK_T)}` +
    ` ${Math.floor(sk.icskAck.ato / USEC_PER_CLOCK_T)} ${quick} ${sk.sndCwnd} ${ssthresh}`
  );
}

/** get_timewait4_sock. */
function getTimewait4Sock(tw: TcpTimewaitSock, i: number): string {
  return (
    `${ends(i, tw.skcRcvSaddr, tw.twSport, tw.skcDaddr, tw.skcDport, tw.twSubstate)} 00000000:00000000` +
    ` 03:${hex8(deltaToClock(tw.twTimer.expires))} 00000000     0        0 0 ${tw.skRefcnt} ${sockPointer(tw)}`
  );
}

/** tcp4_seq_show. Lines are padded to one length (seq_setwidth), so that programs may seek in them. */
function tcp4SeqShow(net: Net): string {
  const lines = ["  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"];
  for (const sk of inetAllSocks(net)) {
    const i = lines.length - 1;
    if (sk.skcState === TCP_TIME_WAIT) lines.push(getTimewait4Sock(sk as TcpTimewaitSock, i));
    else if (sk.skcState === TCP_NEW_SYN_RECV) lines.push(getOpenreq4(sk as RequestSock, i));
    else lines.push(getTcp4Sock(sk as TcpSock, i));
  }
  return lines.map((line) => `${line.padEnd(149)}\n`).join("");
}

/** tcp4_proc_init. */
export function tcp4ProcInit(): void {
  procCreateNet("tcp", tcp4SeqShow);
}
