/** struct inet_sock, struct inet_connection_sock, struct request_sock, struct inet_timewait_sock. */

import type { TimerList } from "../../kernel/timer.ts";
import type { DstEntry } from "../core/dst.ts";
import type { ErrBox, Msghdr, OptVal } from "../core/sock.ts";
import { Sock } from "../core/sock.ts";
import { FlowI4 } from "./flow.ts";
import type { InetCork } from "./ip.ts";
import type { IpOptions } from "./ip_opt.ts";
import type { TcpCongestionOps } from "./tcp_cong.ts";
import type { TcpFastopenContext } from "./tcp_fastopen.ts";
import type { TcpMd5sigKey } from "./tcp_md5.ts";
import type { TcpRequestSockOps } from "./tcp_sock.ts";

/** struct inet_sock: ports and addresses in host order. */
export class InetSock extends Sock {
  /** inet_saddr: the source address to send with; 0 = route decides. */
  inetSaddr = 0;
  /** inet_sport: host order. */
  inetSport = 0;
  ucTtl = -1;
  tos = 0;
  minTtl = 0;
  rcvTos = 0;
  /** inet->cmsg_flags (IP_CMSG_*). */
  cmsgFlags = 0;
  recverr = false;
  hdrincl = false;
  freebind = false;
  transparent = false;
  mcLoop = true;
  mcTtl = 1;
  mcIndex = 0;
  mcAddr = 0;
  mcList: { multiaddr: number; ifindex: number }[] = [];
  pmtudisc = 1; // IP_PMTUDISC_WANT
  bindAddressNoPort = false;
  deferConnect = false;
  /** The next IP id of a connected socket. */
  inetId = 0;
  /** IP options sent with every packet, compiled (inet->inet_opt); null = none. */
  inetOpt: IpOptions | null = null;
  /** inet->cork.fl: the flow of a connected socket. */
  readonly corkFl: FlowI4 = new FlowI4();
  /** inet->cork.base: made by the first corked send (see inetCork in ip_output.ts); null = never corked. */
  cork: InetCork | null = null;
  /** IP_UNICAST_IF: the ifindex to send from. */
  ucIndex = 0;
  /** IP_MULTICAST_ALL: deliver from groups that others of this host joined. */
  mcAll = true;
  recverrRfc4884 = false;
  nodefrag = false;
  /** IP_LOCAL_PORT_RANGE: low | high << 16 (u32); 0 = the sysctl's. */
  localPortRange = 0;

  override copyFrom(from: this): void {
    super.copyFrom(from);
    this.bindAddressNoPort = from.bindAddressNoPort;
    this.inetSaddr = from.inetSaddr;
    this.inetSport = from.inetSport;
    this.ucTtl = from.ucTtl;
    this.tos = from.tos;
    this.minTtl = from.minTtl;
    this.rcvTos = from.rcvTos;
    this.cmsgFlags = from.cmsgFlags;
    this.recverr = from.recverr;
    this.hdrincl = from.hdrincl;
    this.freebind = from.freebind;
    this.transparent = from.transparent;
    this.mcLoop = from.mcLoop;
    this.mcTtl = from.mcTtl;
    this.mcIndex = from.mcIndex;
    this.mcAddr = from.mcAddr;
    this.pmtudisc = from.pmtudisc;
    this.deferConnect = from.deferConnect;
    this.inetId = from.inetId;
    this.inetOpt = from.inetOpt;
    this.cork = from.cork;
    this.ucIndex = from.ucIndex;
    this.mcAll = from.mcAll;
    this.recverrRfc4884 = from.recverrRfc4884;
    this.nodefrag = from.nodefrag;
    this.localPortRange = from.localPortRange;
  }
}

/** struct inet_connection_sock_af_ops: the address family's half of a connection. */
export interface InetConnectionSockAfOps {
  readonly symbol: string;
  queueXmit(sk: Sock, skb: number, fl: FlowI4): number;
  sendCheck(sk: Sock, skb: number): void;
  rebuildHeader(sk: Sock): number;
  skRxDstSet(sk: Sock, skb: number): void;
  connRequest(sk: Sock, skb: number): number;
  /** Returns the child, or null. `ownReq` (ErrBox) is set to 1 when the child took the request over. */
  synRecvSock(sk: Sock, skb: number, req: RequestSock, dst: DstEntry | null, ownReq: ErrBox): Sock | null;
  readonly netHeaderLen: number;
  readonly sockaddrLen: number;
  setsockopt(sk: Sock, level: number, optname: number, optval: OptVal): number;
  getsockopt(sk: Sock, level: number, optname: number, err: ErrBox): OptVal;
  mtuReduced(sk: Sock): void;
}

/** icsk->icsk_ack. */
export class IcskAck {
  /** ICSK_ACK_SCHED | ICSK_ACK_TIMER | ICSK_ACK_PUSHED | ICSK_ACK_PUSHED2 | ICSK_ACK_NOMEM | ICSK_ACK_NOW. */
  pending = 0;
  quick = 0;
  pingpong = 0;
  retry = 0;
  /** Microseconds. */
  ato = 0;
  /** Microseconds: when the delayed ACK is due. */
  timeout = 0;
  lrcvtime = 0;
  rcvMss = 0;
  lastSegSize = 0;

  copyFrom(from: this): void {
    this.pending = from.pending;
    this.quick = from.quick;
    this.pingpong = from.pingpong;
    this.retry = from.retry;
    this.ato = from.ato;
    this.timeout = from.timeout;
    this.lrcvtime = from.lrcvtime;
    this.rcvMss = from.rcvMss;
    this.lastSegSize = from.lastSegSize;
  }
}

/** struct fastopen_queue: a listener's Fast Open requests. */
export class FastopenQueue {
  /** Requests that were reset after their child was accepted, the oldest first: they count for a while. */
  readonly rskqRst: RequestSock[] = [];
  /** Requests in SYN_RECV whose child was made early, and those above. */
  qlen = 0;
  /** As many may be pending; 0 = no Fast Open on this listener. */
  maxQlen = 0;
  /** TCP_FASTOPEN_KEY; null = the namespace's keys. */
  ctx: TcpFastopenContext | null = null;
}

export class RequestSockQueue {
  /** Requests whose child (`req.sk`) waits for accept(): FIFO. */
  readonly acceptQueue: RequestSock[] = [];
  /** Requests in SYN_RECV, young ones (no retransmit yet) among them. */
  qlen = 0;
  young = 0;
  /** Live requests by key, for lookup and teardown. */
  readonly requests: Set<RequestSock> = new Set();
  readonly fastopenq: FastopenQueue = new FastopenQueue();
  synfloodWarned = false;
  /** TCP_DEFER_ACCEPT, in SYN-ACK retransmits; 0 = off. */
  rskqDeferAccept = 0;
}

export class InetConnectionSock extends InetSock {
  readonly icskAcceptQueue: RequestSockQueue = new RequestSockQueue();
  icskBindHash: object | null = null;
  /** Microseconds: when the event in icskPending is due. */
  icskTimeout = 0;
  icskRetransmitTimer: TimerList = null as unknown as TimerList;
  icskDelackTimer: TimerList = null as unknown as TimerList;
  /** Microseconds. */
  icskRto = 0;
  icskRtoMin = 0;
  icskRtoMax = 0;
  icskDelackMax = 0;
  icskPmtuCookie = 0;
  icskCaOps: TcpCongestionOps = null as unknown as TcpCongestionOps;
  icskCaOpsSetBy = "";
  /** The congestion control's own state (icsk_ca_priv). */
  icskCaPriv: object | null = null;
  icskCaState = 0;
  icskCaInitialized = false;
  icskCaSetsockopt = false;
  icskCaDstLocked = false;
  icskRetransmits = 0;
  /** ICSK_TIME_RETRANS, ICSK_TIME_PROBE0, ICSK_TIME_LOSS_PROBE, ICSK_TIME_REO_TIMEOUT; 0 = none. */
  icskPending = 0;
  icskBackoff = 0;
  icskSynRetries = 0;
  icskProbesOut = 0;
  icskProbesTstamp = 0;
  icskExtHdrLen = 0;
  icskUserTimeout = 0;
  icskAfOps: InetConnectionSockAfOps = null as unknown as InetConnectionSockAfOps;
  icskAfOpsSetBy = "";
  readonly icskAck: IcskAck = new IcskAck();
  // icsk_mtup: path MTU probing (RFC 4821).
  icskMtupEnabled = false;
  icskMtupSearchHigh = 0;
  icskMtupSearchLow = 0;
  icskMtupProbeSize = 0;
  icskMtupProbeTimestamp = 0;
  icskSyncMss: (sk: Sock, pmtu: number) => number = (_sk, pmtu) => pmtu;

  override copyFrom(from: this): void {
    super.copyFrom(from);
    this.icskSyncMss = from.icskSyncMss;
    this.icskBindHash = from.icskBindHash;
    this.icskTimeout = from.icskTimeout;
    this.icskRetransmitTimer = from.icskRetransmitTimer;
    this.icskDelackTimer = from.icskDelackTimer;
    this.icskRto = from.icskRto;
    this.icskRtoMin = from.icskRtoMin;
    this.icskRtoMax = from.icskRtoMax;
    this.icskDelackMax = from.icskDelackMax;
    this.icskPmtuCookie = from.icskPmtuCookie;
    this.icskCaOps = from.icskCaOps;
    this.icskCaOpsSetBy = from.icskCaOpsSetBy;
    this.icskCaPriv = from.icskCaPriv;
    this.icskCaState = from.icskCaState;
    this.icskCaInitialized = from.icskCaInitialized;
    this.icskCaSetsockopt = from.icskCaSetsockopt;
    this.icskCaDstLocked = from.icskCaDstLocked;
    this.icskRetransmits = from.icskRetransmits;
    this.icskPending = from.icskPending;
    this.icskBackoff = from.icskBackoff;
    this.icskSynRetries = from.icskSynRetries;
    this.icskProbesOut = from.icskProbesOut;
    this.icskProbesTstamp = from.icskProbesTstamp;
    this.icskExtHdrLen = from.icskExtHdrLen;
    this.icskUserTimeout = from.icskUserTimeout;
    this.icskAfOps = from.icskAfOps;
    this.icskAfOpsSetBy = from.icskAfOpsSetBy;
    this.icskMtupEnabled = from.icskMtupEnabled;
    this.icskMtupSearchHigh = from.icskMtupSearchHigh;
    this.icskMtupSearchLow = from.icskMtupSearchLow;
    this.icskMtupProbeSize = from.icskMtupProbeSize;
    this.icskMtupProbeTimestamp = from.icskMtupProbeTimestamp;
    this.icskAck.copyFrom(from.icskAck);
  }
}

export const ICSK_TIME_RETRANS = 1;
export const ICSK_TIME_DACK = 2;
export const ICSK_TIME_PROBE0 = 3;
export const ICSK_TIME_LOSS_PROBE = 5;
export const ICSK_TIME_REO_TIMEOUT = 6;

export const ICSK_ACK_SCHED = 1;
export const ICSK_ACK_TIMER = 2;
export const ICSK_ACK_PUSHED = 4;
export const ICSK_ACK_PUSHED2 = 8;
export const ICSK_ACK_NOW = 16;
export const ICSK_ACK_NOMEM = 32;

/** struct inet_request_sock + tcp_request_sock: a connection in SYN_RECV. It stands in the ehash as itself. */
export class RequestSock extends Sock {
  rskListener: InetConnectionSock;
  rskOps: RequestSockOps;
  /** tcp_rsk(req)->af_specific: how its SYN-ACK is sent; null = not a TCP request. */
  afSpecific: TcpRequestSockOps | null = null;
  rskTimer: TimerList | null = null;
  /** SYN-ACK retransmits (num_timeout) and SYN-ACKs sent (num_retrans). */
  numTimeout = 0;
  numRetrans = 0;
  mss = 0;
  /** The child, from when it waits for accept() until it was accepted. */
  sk: Sock | null = null;
  synTos = 0;
  // inet_request_sock
  sndWscale = 0;
  rcvWscale = 0;
  tstampOk = false;
  sackOk = false;
  wscaleOk = false;
  ecnOk = false;
  acked = false;
  noSrccheck = false;
  irIif = 0;
  /** The options of the SYN, turned around: sent with the SYN-ACK and inherited by the child. */
  ireqOpt: IpOptions | null = null;
  cookieTs = false;
  rskRcvWnd = 0;
  rskWindowClamp = 0;
  /** ms/us of the timer's unit. */
  timeout = 0;
  // tcp_request_sock (sequence numbers as u32)
  rcvIsn = 0;
  sntIsn = 0;
  /** Microseconds: first SYN-ACK sent. */
  snt_synack = 0;
  tsOff = 0;
  /** TSval of the first and the last SYN-ACK: what the ACK may echo. */
  sntTsvalFirst = 0;
  sntTsvalLast = 0;
  tsRecent = 0;
  lastOowAckTime = 0;
  rcvNxt = 0;
  /** The child exists, and the handshake goes on (Fast Open). */
  tfoListener = false;
  /** Jiffies until which a Fast Open request that was reset counts. */
  rstExpires = 0;
  txhash = 0;
  savedSyn: Uint8Array | null = null;
  /** Accurate ECN is agreed on; the ECN fields of SYN/ACK and SYN; TCP_ACCECN_*_FAIL_*, TCP_ACCECN_OPT_*_SEEN. */
  accecnOk = false;
  synEctSnt = 0;
  synEctRcv = 0;
  accecnFailMode = 0;
  sawAccecnOpt = 0;

  constructor(listener: InetConnectionSock, ops: RequestSockOps) {
    super();
    this.rskListener = listener;
    this.rskOps = ops;
  }

  // The #defines of inet_sock.h: a request is found in the ehash by the same fields as a connection.
  get irLocAddr(): number {
    return this.skcRcvSaddr;
  }
  set irLocAddr(v: number) {
    this.skcRcvSaddr = v;
  }
  get irRmtAddr(): number {
    return this.skcDaddr;
  }
  set irRmtAddr(v: number) {
    this.skcDaddr = v;
  }
  get irNum(): number {
    return this.skcNum;
  }
  set irNum(v: number) {
    this.skcNum = v;
  }
  get irRmtPort(): number {
    return this.skcDport;
  }
  set irRmtPort(v: number) {
    this.skcDport = v;
  }
  get irMark(): number {
    return this.skMark;
  }
  set irMark(v: number) {
    this.skMark = v;
  }
}

export interface RequestSockOps {
  readonly symbol: string;
  readonly family: number;
  rtxSynAck(sk: Sock, req: RequestSock): number;
  sendAck(sk: Sock, skb: number, req: RequestSock): void;
  sendReset(sk: Sock | null, skb: number): void;
  destructor(req: RequestSock): void;
}

/** struct tcp_timewait_sock. It stands in the ehash in place of the connection that it buries. */
export class TcpTimewaitSock extends Sock {
  twSubstate = 0;
  twSport = 0;
  twRcvWscale = 0;
  twTos = 0;
  twSaddr = 0;
  twTimer: TimerList = null as unknown as TimerList;
  twTimeout = 0;
  twBindHash: object | null = null;
  twRcvNxt = 0;
  twSndNxt = 0;
  twRcvWnd = 0;
  twTsOffset = 0;
  twTsRecent = 0;
  /** Seconds, as in ktime_get_seconds. */
  twTsRecentStamp = 0;
  twLastOowAckTime = 0;
  /** Milliseconds (tcp_clock_ms) when TIME_WAIT proper began: tcp_tw_reuse waits for a second from then on. */
  twEntryStamp = 0;
  twTxhash = 0;
  twPriority = 0;
  /** The key that the connection's segments were signed with; null = none. */
  twMd5Key: TcpMd5sigKey | null = null;
}

export type { Msghdr };
