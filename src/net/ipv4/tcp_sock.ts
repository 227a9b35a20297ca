/** struct tcp_sock and struct tcp_skb_cb: TCP's state, and what TCP keeps in an skb. */

import {
  TCPCB_ACK_SEQ,
  TCPCB_END_SEQ,
  TCPCB_FLAGS,
  TCPCB_IP_DSFIELD,
  TCPCB_SACKED,
  TCPCB_SEQ,
  TCPCB_TCP_FLAGS,
  TCPCB_TCP_GSO_SEGS,
  TCPCB_TCP_GSO_SIZE,
} from "../../../assembly/layout.ts";
import type { TimerList } from "../../kernel/timer.ts";
import { u8, u16, u32 } from "../../mm/mem.ts";
import type { DstEntry } from "../core/dst.ts";
import { SkBuffHead } from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import type { FlowI4 } from "./flow.ts";
import type { RequestSock } from "./inet_sock.ts";
import { InetConnectionSock } from "./inet_sock.ts";
import type { Seq } from "./seq.ts";
import { seq } from "./seq.ts";
import type { TcpMd5sigKey } from "./tcp_md5.ts";

// ---- TCP_SKB_CB(skb) ----------------------------------------------------------------------------------------------------

export function tcpSkbSeq(skb: number): Seq {
  return u32[(skb + TCPCB_SEQ) >>> 2] as unknown as Seq;
}
export function tcpSkbSetSeq(skb: number, s: Seq): void {
  u32[(skb + TCPCB_SEQ) >>> 2] = s as unknown as number;
}
export function tcpSkbEndSeq(skb: number): Seq {
  return u32[(skb + TCPCB_END_SEQ) >>> 2] as unknown as Seq;
}
export function tcpSkbSetEndSeq(skb: number, s: Seq): void {
  u32[(skb + TCPCB_END_SEQ) >>> 2] = s as unknown as number;
}
export function tcpSkbAckSeq(skb: number): Seq {
  return u32[(skb + TCPCB_ACK_SEQ) >>> 2] as unknown as Seq;
}
export function tcpSkbSetAckSeq(skb: number, s: Seq): void {
  u32[(skb + TCPCB_ACK_SEQ) >>> 2] = s as unknown as number;
}
/** TCPHDR_* bits. */
export function tcpSkbFlags(skb: number): number {
  return u16[(skb + TCPCB_TCP_FLAGS) >>> 1] as number;
}
export function tcpSkbSetFlags(skb: number, flags: number): void {
  u16[(skb + TCPCB_TCP_FLAGS) >>> 1] = flags;
}
/** TCPCB_SACKED_ACKED ... */
export function tcpSkbSacked(skb: number): number {
  return u8[skb + TCPCB_SACKED] as number;
}
export function tcpSkbSetSacked(skb: number, v: number): void {
  u8[skb + TCPCB_SACKED] = v;
}
export function tcpSkbDsfield(skb: number): number {
  return u8[skb + TCPCB_IP_DSFIELD] as number;
}
export function tcpSkbSetDsfield(skb: number, v: number): void {
  u8[skb + TCPCB_IP_DSFIELD] = v;
}
/** tcp_skb_pcount: how many MSS-sized segments the skb stands for. */
export function tcpSkbPcount(skb: number): number {
  return u16[(skb + TCPCB_TCP_GSO_SEGS) >>> 1] as number;
}
export function tcpSkbPcountSet(skb: number, segs: number): void {
  u16[(skb + TCPCB_TCP_GSO_SEGS) >>> 1] = segs;
}
/** tcp_skb_mss: bytes a segment, 0 for one segment. */
export function tcpSkbMss(skb: number): number {
  return u16[(skb + TCPCB_TCP_GSO_SIZE) >>> 1] as number;
}
export function tcpSkbMssSet(skb: number, mss: number): void {
  u16[(skb + TCPCB_TCP_GSO_SIZE) >>> 1] = mss;
}
/**
 * A TCPCB_FLAG_*: RACK has marked the skb lost and taken it off the list of what was sent (tp->tsorted_sent_queue). It looks
 * at it again only when it was sent again, even if an undo has unmarked it meanwhile.
 */
export const TCPCB_FLAG_RACK_LOST = 32;
/** TCPCB_FLAG_* bits (eor, txstamp_ack, ...). */
export function tcpSkbCbFlags(skb: number): number {
  return u8[skb + TCPCB_FLAGS] as number;
}
export function tcpSkbSetCbFlags(skb: number, v: number): void {
  u8[skb + TCPCB_FLAGS] = v;
}

// TCP_SKB_CB(skb)->sacked.
export const TCPCB_SACKED_ACKED = 0x01;
export const TCPCB_SACKED_RETRANS = 0x02;
export const TCPCB_LOST = 0x04;
export const TCPCB_TAGBITS = 0x07;
export const TCPCB_REPAIRED = 0x10;
export const TCPCB_EVER_RETRANS = 0x80;
export const TCPCB_RETRANS: number = 0x02 | 0x80 | 0x10;

// ---- struct tcp_options_received ------------------------------------------------------------------------------------------

export class TcpOptionsReceived {
  /** Seconds (ktime_get_seconds) when tsRecent was taken. */
  tsRecentStamp = 0;
  tsRecent = 0;
  rcvTsval = 0;
  rcvTsecr = 0;
  sawTstamp = false;
  tstampOk = false;
  /** SACK is usable (option seen on the SYN); bit 2 = DSACK seen. */
  sackOk = 0;
  dsack = false;
  wscaleOk = false;
  sndWscale = 0;
  rcvWscale = 0;
  sawUnknown = false;
  numSacks = 0;
  userMss = 0;
  mssClamp = 0;
  /** Where in the header the Accurate ECN option begins, 0 = there is none. */
  accecn = 0;

  copyFrom(from: this): void {
    this.tsRecentStamp = from.tsRecentStamp;
    this.tsRecent = from.tsRecent;
    this.rcvTsval = from.rcvTsval;
    this.rcvTsecr = from.rcvTsecr;
    this.sawTstamp = from.sawTstamp;
    this.tstampOk = from.tstampOk;
    this.sackOk = from.sackOk;
    this.dsack = from.dsack;
    this.wscaleOk = from.wscaleOk;
    this.sndWscale = from.sndWscale;
    this.rcvWscale = from.rcvWscale;
    this.sawUnknown = from.sawUnknown;
    this.numSacks = from.numSacks;
    this.userMss = from.userMss;
    this.mssClamp = from.mssClamp;
    this.accecn = from.accecn;
  }
}

/** start_seq .. end_seq. */
export class TcpSackBlock {
  startSeq: Seq = seq(0);
  endSeq: Seq = seq(0);
}

export class TcpFastopenCookie {
  len = 0;
  exp = false;
  readonly val: Uint8Array = new Uint8Array(16);
}

export class TcpFastopenRequest {
  cookie: TcpFastopenCookie = new TcpFastopenCookie();
  /** Bytes of the caller's data that went into the SYN. */
  copied = 0;
  size = 0;
  data: object | null = null;
  /** The zero-copy notifier of the data; 0 = none. */
  uarg = 0;
}

// ---- struct tcp_sock --------------------------------------------------------------------------------------------------------

/**
 * All *Mstamp and *Us fields are microseconds; *Stamp ones marked (jiffies) are whole milliseconds; lengths are bytes
 * unless the name says packets.
 */
export class TcpSock extends InetConnectionSock {
  /** Header bytes of the next segment: 20 + established options. */
  tcpHeaderLen = 20;
  /** Bytes of one GSO segment's worth: max super-packet in segments. */
  gsoSegs = 0;
  /** Header prediction word: data offset, ACK and window of the expected segment, as on the wire (host u32). */
  predFlags = 0;
  bytesReceived = 0;
  segsIn = 0;
  dataSegsIn = 0;
  rcvNxt: Seq = seq(0);
  copiedSeq: Seq = seq(0);
  rcvWup: Seq = seq(0);
  /** The largest right edge of the window that was ever offered: it stays good when the window shrinks. */
  rcvMwndSeq: Seq = seq(0);
  sndNxt: Seq = seq(0);
  segsOut = 0;
  dataSegsOut = 0;
  bytesSent = 0;
  bytesAcked = 0;
  dsackDups = 0;
  sndUna: Seq = seq(0);
  sndSml: Seq = seq(0);
  /** (jiffies) */
  rcvTstamp = 0;
  /** (jiffies) */
  lsndtime = 0;
  lastOowAckTime = 0;
  compressedAck = 0;
  dupAckCounter = 0;
  compressedAckRcvNxt: Seq = seq(0);
  tsoffset = 0;
  sndWl1: Seq = seq(0);
  sndWnd = 0;
  maxWindow = 0;
  mssCache = 0;
  windowClamp = 0;
  rcvSsthresh = 0;
  scalingRatio = 0;
  advmss = 0;
  rcvWnd = 0;
  writeSeq: Seq = seq(0);
  pushedSeq: Seq = seq(0);
  lostOut = 0;
  sackedOut = 0;
  retransOut = 0;
  packetsOut = 0;
  maxPacketsOut = 0;
  cwndUsageSeq: Seq = seq(0);
  isCwndLimited = false;
  maxPacketsSeq: Seq = seq(0);
  urgData = 0;
  urgSeq: Seq = seq(0);
  sndUp: Seq = seq(0);
  /** SYN retransmits' tail-drop etc. */
  totalRetrans = 0;
  bytesRetrans = 0;
  /** TCP_NAGLE_OFF | TCP_NAGLE_CORK | TCP_NAGLE_PUSH. */
  nonagle = 0;
  thinLto = false;
  repair = false;
  frto = false;
  recvmsgInq = false;
  repairQueue = 0;
  saveSyn = 0;
  savedSyn: Uint8Array | null = null;
  synData = false;
  synFastopen = false;
  synFastopenExp = false;
  synFastopenCh = false;
  synDataAcked = false;
  /** The child of a Fast Open request. */
  synFastopenChild = false;
  fastopenConnect = false;
  fastopenNoCookie = false;
  fastopenClientFail = 0;
  fastopenReq: TcpFastopenRequest | null = null;
  fastopenRsk: RequestSock | null = null;
  isSackReneg = false;
  /** Time stamps: microseconds of the last event (tcp_mstamp) and of it as clock for rate samples. */
  tcpMstamp = 0;
  /** RTT measurement: microseconds << 3 and << 2 as in the kernel. */
  srttUs = 0;
  mdevUs = 0;
  mdevMaxUs = 0;
  rttvarUs = 0;
  rttSeq: Seq = seq(0);
  /** Windowed min filter of RTT (struct minmax): three samples {t, v}. */
  readonly rttMin: Float64Array = new Float64Array(6);
  sndSsthresh = 0x7fffffff;
  sndCwnd = 10;
  sndCwndCnt = 0;
  sndCwndClamp = 0xffffffff;
  /** (jiffies) */
  sndCwndUsed = 0;
  /** (jiffies) */
  sndCwndStamp = 0;
  priorCwnd = 0;
  prrDelivered = 0;
  prrOut = 0;
  lastDelivered = 0;
  delivered = 0;
  deliveredCe = 0;
  lost = 0;
  appLimited = 0;
  firstTxMstamp = 0;
  deliveredMstamp = 0;
  rateDelivered = 0;
  rateIntervalUs = 0;
  rateAppLimited = false;
  /** Sorted by time of (re)transmission is not kept: RACK walks the rtx queue from its head. */
  readonly tcpRtxQueue: SkBuffHead = new SkBuffHead();
  /** Out-of-order segments in sequence order, no overlaps. */
  readonly outOfOrderQueue: SkBuffHead = new SkBuffHead();
  oooLastSkb = 0;
  readonly duplicateSack: TcpSackBlock[] = [new TcpSackBlock()];
  readonly selectiveAcks: TcpSackBlock[] = [
    new TcpSackBlock(),
    new TcpSackBlock(),
    new TcpSackBlock(),
    new TcpSackBlock(),
  ];
  readonly recvSackCache: TcpSackBlock[] = [
    new TcpSackBlock(),
    new TcpSackBlock(),
    new TcpSackBlock(),
    new TcpSackBlock(),
  ];
  highestSack = 0;
  retransmitSkbHint = 0;
  priorSsthresh = 0;
  highSeq: Seq = seq(0);
  /** tcp_jiffies/ts of the first retransmission of the episode (TS clock ms); 0 = none. */
  retransStamp = 0;
  undoMarker: Seq = seq(0);
  undoMarkerSet = false;
  undoRetrans = -1;
  tlpHighSeq: Seq = seq(0);
  tlpHighSeqSet = false;
  tlpRetrans = false;
  reordering = 3;
  reordSeen = 0;
  // tp->rack
  /** Microseconds, with the fraction that orders transmissions of one instant. */
  rackMstamp = 0;
  rackRttUs = 0;
  rackEndSeq: Seq = seq(0);
  rackLastDelivered = 0;
  rackReoWndSteps = 1;
  rackReoWndPersist = 0;
  rackDsackSeen = false;
  rackAdvanced = false;
  keepaliveTime = 0;
  keepaliveIntvl = 0;
  keepaliveProbes = 0;
  linger2 = 0;
  // Receiver: tp->rcv_rtt_est, tp->rcvq_space.
  rcvRttEstRttUs = 0;
  rcvRttEstSeq: Seq = seq(0);
  rcvRttEstTime = 0;
  rcvRttLastTsecr = 0;
  rcvqSpaceSpace = 0;
  rcvqSpaceSeq: Seq = seq(0);
  rcvqSpaceTime = 0;
  /** ECN: TCP_ECN_MODE_* | TCP_ECN_QUEUE_CWR | TCP_ECN_DEMAND_CWR | TCP_ECN_SEEN. */
  ecnFlags = 0;
  // Accurate ECN (tcp_ecn.ts).
  /** CE-marked segments received, and how many of them no ACK has told of yet (at most 15). */
  receivedCe = 0;
  receivedCePending = 0;
  /** Payload bytes received, and delivered to the peer, marked ECT(1), ECT(0) and CE. */
  readonly receivedEcnBytes: number[] = [0, 0, 0];
  readonly deliveredEcnBytes: number[] = [0, 0, 0];
  /** The ECN field of the last segment. */
  prevEcnfield = 0;
  /** The ECN fields that our SYN or SYN/ACK was sent with, and the peer's arrived with. */
  synEctSnt = 0;
  synEctRcv = 0;
  /** Microseconds when the option was last sent. */
  accecnOptTstamp = 0;
  /** The next so many ACKs have to carry the option, with at least so many fields. */
  accecnOptDemand = 0;
  accecnMinlen = 0;
  /** The last option went out together with a D-SACK. */
  accecnOptSentWDsack = false;
  /** The one kind (INET_ECN_*) that grew in the last option, 0 = none or several. */
  estEcnfield = 0;
  /** TCP_ACCECN_*_FAIL_*, TCP_ACCECN_OPT_*_SEEN. */
  accecnFailMode = 0;
  sawAccecnOpt = 0;
  /** Packets an ACK, averaged, in 1/64. */
  pktsAckedEwma = 0;
  /** Unsent low water mark (TCP_NOTSENT_LOWAT); 0 = the sysctl. */
  notsentLowat = 0;
  mtuProbeProbeSeqStart: Seq = seq(0);
  mtuProbeProbeSeqEnd: Seq = seq(0);
  plbRehash = 0;
  timeoutRehash = 0;
  mtuInfo = 0;
  chronoType = 0;
  chronoStart = 0;
  readonly chronoStat: Float64Array = new Float64Array(3);
  totalRto = 0;
  totalRtoRecoveries = 0;
  totalRtoTime = 0;
  rtoStamp = 0;
  reordCnt = 0;
  synSkbs = 0;
  isMptcp = false;
  rxOpt: TcpOptionsReceived = new TcpOptionsReceived();
  pacingTimer: TimerList = null as unknown as TimerList;
  compressedAckTimer: TimerList = null as unknown as TimerList;
  /** EDT: microseconds when the last skb may leave. */
  tcpWstampNs = 0;
  tcpClockCache = 0;
  /** Transmissions at tcp_wstamp so far: the fraction of a microsecond by which their skb_mstamp differs. */
  txTie = 0;
  /** TSQ_* and deferred-work bits (sk_tsq_flags). */
  tsqFlags = 0;
  dsackSeen = 0;
  rcvOoopack = 0;
  tcpTxDelay = 0;
  /** Keys of the peers whose segments are signed (TCP_MD5SIG); null = none was ever set. */
  md5sigInfo: TcpMd5sigKey[] | null = null;

  override copyFrom(from: this): void {
    super.copyFrom(from);
    this.tcpHeaderLen = from.tcpHeaderLen;
    this.gsoSegs = from.gsoSegs;
    this.predFlags = from.predFlags;
    this.bytesReceived = from.bytesReceived;
    this.segsIn = from.segsIn;
    this.dataSegsIn = from.dataSegsIn;
    this.rcvNxt = from.rcvNxt;
    this.copiedSeq = from.copiedSeq;
    this.rcvWup = from.rcvWup;
    this.sndNxt = from.sndNxt;
    this.segsOut = from.segsOut;
    this.dataSegsOut = from.dataSegsOut;
    this.bytesSent = from.bytesSent;
    this.bytesAcked = from.bytesAcked;
    this.dsackDups = from.dsackDups;
    this.sndUna = from.sndUna;
    this.sndSml = from.sndSml;
    this.rcvTstamp = from.rcvTstamp;
    this.lsndtime = from.lsndtime;
    this.lastOowAckTime = from.lastOowAckTime;
    this.compressedAck = from.compressedAck;
    this.dupAckCounter = from.dupAckCounter;
    this.compressedAckRcvNxt = from.compressedAckRcvNxt;
    this.tsoffset = from.tsoffset;
    this.sndWl1 = from.sndWl1;
    this.sndWnd = from.sndWnd;
    this.maxWindow = from.maxWindow;
    this.mssCache = from.mssCache;
    this.windowClamp = from.windowClamp;
    this.rcvSsthresh = from.rcvSsthresh;
    this.scalingRatio = from.scalingRatio;
    this.advmss = from.advmss;
    this.rcvWnd = from.rcvWnd;
    this.writeSeq = from.writeSeq;
    this.pushedSeq = from.pushedSeq;
    this.lostOut = from.lostOut;
    this.sackedOut = from.sackedOut;
    this.retransOut = from.retransOut;
    this.packetsOut = from.packetsOut;
    this.maxPacketsOut = from.maxPacketsOut;
    this.cwndUsageSeq = from.cwndUsageSeq;
    this.isCwndLimited = from.isCwndLimited;
    this.maxPacketsSeq = from.maxPacketsSeq;
    this.urgData = from.urgData;
    this.urgSeq = from.urgSeq;
    this.sndUp = from.sndUp;
    this.totalRetrans = from.totalRetrans;
    this.bytesRetrans = from.bytesRetrans;
    this.nonagle = from.nonagle;
    this.thinLto = from.thinLto;
    this.repair = from.repair;
    this.frto = from.frto;
    this.recvmsgInq = from.recvmsgInq;
    this.md5sigInfo = from.md5sigInfo;
    this.repairQueue = from.repairQueue;
    this.saveSyn = from.saveSyn;
    this.savedSyn = from.savedSyn;
    this.synData = from.synData;
    this.synFastopen = from.synFastopen;
    this.synFastopenExp = from.synFastopenExp;
    this.synFastopenCh = from.synFastopenCh;
    this.synDataAcked = from.synDataAcked;
    this.fastopenConnect = from.fastopenConnect;
    this.fastopenNoCookie = from.fastopenNoCookie;
    this.fastopenClientFail = from.fastopenClientFail;
    this.fastopenReq = from.fastopenReq;
    this.fastopenRsk = from.fastopenRsk;
    this.isSackReneg = from.isSackReneg;
    this.tcpMstamp = from.tcpMstamp;
    this.srttUs = from.srttUs;
    this.mdevUs = from.mdevUs;
    this.mdevMaxUs = from.mdevMaxUs;
    this.rttvarUs = from.rttvarUs;
    this.rttSeq = from.rttSeq;
    this.sndSsthresh = from.sndSsthresh;
    this.sndCwnd = from.sndCwnd;
    this.sndCwndCnt = from.sndCwndCnt;
    this.sndCwndClamp = from.sndCwndClamp;
    this.sndCwndUsed = from.sndCwndUsed;
    this.sndCwndStamp = from.sndCwndStamp;
    this.priorCwnd = from.priorCwnd;
    this.prrDelivered = from.prrDelivered;
    this.prrOut = from.prrOut;
    this.lastDelivered = from.lastDelivered;
    this.delivered = from.delivered;
    this.deliveredCe = from.deliveredCe;
    this.lost = from.lost;
    this.appLimited = from.appLimited;
    this.firstTxMstamp = from.firstTxMstamp;
    this.deliveredMstamp = from.deliveredMstamp;
    this.rateDelivered = from.rateDelivered;
    this.rateIntervalUs = from.rateIntervalUs;
    this.rateAppLimited = from.rateAppLimited;
    this.oooLastSkb = from.oooLastSkb;
    this.highestSack = from.highestSack;
    this.retransmitSkbHint = from.retransmitSkbHint;
    this.priorSsthresh = from.priorSsthresh;
    this.highSeq = from.highSeq;
    this.retransStamp = from.retransStamp;
    this.undoMarker = from.undoMarker;
    this.undoMarkerSet = from.undoMarkerSet;
    this.undoRetrans = from.undoRetrans;
    this.tlpHighSeq = from.tlpHighSeq;
    this.tlpHighSeqSet = from.tlpHighSeqSet;
    this.tlpRetrans = from.tlpRetrans;
    this.reordering = from.reordering;
    this.reordSeen = from.reordSeen;
    this.rackMstamp = from.rackMstamp;
    this.rackRttUs = from.rackRttUs;
    this.rackEndSeq = from.rackEndSeq;
    this.rackLastDelivered = from.rackLastDelivered;
    this.rackReoWndSteps = from.rackReoWndSteps;
    this.rackReoWndPersist = from.rackReoWndPersist;
    this.rackDsackSeen = from.rackDsackSeen;
    this.rackAdvanced = from.rackAdvanced;
    this.keepaliveTime = from.keepaliveTime;
    this.keepaliveIntvl = from.keepaliveIntvl;
    this.keepaliveProbes = from.keepaliveProbes;
    this.linger2 = from.linger2;
    this.rcvRttEstRttUs = from.rcvRttEstRttUs;
    this.rcvRttEstSeq = from.rcvRttEstSeq;
    this.rcvRttEstTime = from.rcvRttEstTime;
    this.rcvRttLastTsecr = from.rcvRttLastTsecr;
    this.rcvqSpaceSpace = from.rcvqSpaceSpace;
    this.rcvqSpaceSeq = from.rcvqSpaceSeq;
    this.rcvqSpaceTime = from.rcvqSpaceTime;
    this.ecnFlags = from.ecnFlags;
    this.notsentLowat = from.notsentLowat;
    this.mtuProbeProbeSeqStart = from.mtuProbeProbeSeqStart;
    this.mtuProbeProbeSeqEnd = from.mtuProbeProbeSeqEnd;
    this.plbRehash = from.plbRehash;
    this.timeoutRehash = from.timeoutRehash;
    this.mtuInfo = from.mtuInfo;
    this.chronoType = from.chronoType;
    this.chronoStart = from.chronoStart;
    this.totalRto = from.totalRto;
    this.totalRtoRecoveries = from.totalRtoRecoveries;
    this.totalRtoTime = from.totalRtoTime;
    this.rtoStamp = from.rtoStamp;
    this.reordCnt = from.reordCnt;
    this.synSkbs = from.synSkbs;
    this.isMptcp = from.isMptcp;
    this.pacingTimer = from.pacingTimer;
    this.compressedAckTimer = from.compressedAckTimer;
    this.tcpWstampNs = from.tcpWstampNs;
    this.tcpClockCache = from.tcpClockCache;
    this.txTie = from.txTie;
    this.tsqFlags = from.tsqFlags;
    this.dsackSeen = from.dsackSeen;
    this.rcvOoopack = from.rcvOoopack;
    this.tcpTxDelay = from.tcpTxDelay;
    this.rcvMwndSeq = from.rcvMwndSeq;
    this.receivedCe = from.receivedCe;
    this.receivedCePending = from.receivedCePending;
    this.prevEcnfield = from.prevEcnfield;
    this.synEctSnt = from.synEctSnt;
    this.synEctRcv = from.synEctRcv;
    this.accecnOptTstamp = from.accecnOptTstamp;
    this.accecnOptDemand = from.accecnOptDemand;
    this.accecnMinlen = from.accecnMinlen;
    this.accecnOptSentWDsack = from.accecnOptSentWDsack;
    this.estEcnfield = from.estEcnfield;
    this.accecnFailMode = from.accecnFailMode;
    this.sawAccecnOpt = from.sawAccecnOpt;
    this.pktsAckedEwma = from.pktsAckedEwma;
    this.synFastopenChild = from.synFastopenChild;
    this.rxOpt.copyFrom(from.rxOpt);
    this.rttMin.set(from.rttMin);
    this.chronoStat.set(from.chronoStat);
  }
}

// ---- scratch structs of output ----------------------------------------------------------------------------------------------
// Here, because this file is loaded before any of its users.

/** struct tcp_out_options: what goes into one header. Preallocated; the functions below fill it. */
export interface TcpOutOptions {
  options: number;
  mss: number;
  ws: number;
  numSackBlocks: number;
  tsval: number;
  tsecr: number;
  fastopenCookie: TcpFastopenCookie | null;
  /** OPTION_MD5: the key, and where the digest has its place. */
  md5Key: TcpMd5sigKey | null;
  hashLocation: number;
  /** Of the Accurate ECN option, and whether it is that of a SYN/ACK, whose counters stand at their beginning. */
  numAccecnFields: number;
  useSynackEcnBytes: boolean;
}

export function newTcpOutOptions(): TcpOutOptions {
  return {
    options: 0,
    mss: 0,
    ws: 0,
    numSackBlocks: 0,
    tsval: 0,
    tsecr: 0,
    fastopenCookie: null,
    md5Key: null,
    hashLocation: 0,
    numAccecnFields: 0,
    useSynackEcnBytes: false,
  };
}

/** What tcp_select_initial_window finds; `windowClamp` goes in as well (0 = none). */
export interface TcpInitialWindow {
  rcvWnd: number;
  windowClamp: number;
  rcvWscale: number;
}
export function newTcpInitialWindow(): TcpInitialWindow {
  return { rcvWnd: 0, windowClamp: 0, rcvWscale: 0 };
}

// ---- struct rate_sample, struct ack_sample ---------------------------------------------------------------------------------

/** struct rate_sample: what tcp_ack learnt about the delivery rate. Times in microseconds, -1 = invalid. */
export class RateSample {
  /** Time of the most recent delivery when the sampled packet was sent. */
  priorMstamp = 0;
  priorDelivered = 0;
  priorDeliveredCe = 0;
  /** Packets delivered over intervalUs; -1 = no sample. */
  delivered = 0;
  deliveredCe = 0;
  /** Microseconds in which `delivered` packets were delivered; -1 = no sample. */
  intervalUs = 0;
  sndIntervalUs = 0;
  rcvIntervalUs = 0;
  /** RTT of the last (S)ACKed packet, -1 = none. */
  rttUs = 0;
  /** Packets newly marked lost by this ACK. */
  losses = 0;
  ackedSacked = 0;
  priorInFlight = 0;
  lastEndSeq: Seq = seq(0);
  isAppLimited = false;
  isRetrans = false;
  isAckDelayed = false;
}

/** struct ack_sample: argument of pkts_acked. */
export class AckSample {
  pktsAcked = 0;
  /** -1 = no sample. */
  rttUs = 0;
  inFlight = 0;
}

// ---- struct tcp_request_sock_ops ------------------------------------------------------------------------------------------

/** struct tcp_request_sock_ops: what the address family does for a request in SYN_RECV. */
export interface TcpRequestSockOps {
  /** The MSS that is assumed when the SYN carries none. */
  readonly mssClamp: number;
  /** Fills in the request's addresses from the SYN and routes the SYN-ACK; null = no route. */
  routeReq(sk: Sock, skb: number, fl: FlowI4, req: RequestSock): DstEntry | null;
  initSeq(sk: Sock, skb: number): number;
  initTsOff(sk: Sock, skb: number): number;
  sendSynack(
    sk: Sock,
    dst: DstEntry | null,
    fl: FlowI4 | null,
    req: RequestSock,
    foc: TcpFastopenCookie | null,
    synackType: number,
    synSkb: number,
  ): number;
}

// enum tcp_synack_type.
export const TCP_SYNACK_NORMAL = 0;
export const TCP_SYNACK_FASTOPEN = 1;
export const TCP_SYNACK_COOKIE = 2;
export const TCP_SYNACK_RETRANS = 3;

/** struct tcp_sacktag_state: what one ACK's tagging found. One is preallocated: ACKs are processed one at a time. */
export class TcpSacktagState {
  /** When the first and the last newly SACKed skbs that were never retransmitted were sent: microseconds, 0 = none. */
  firstSackt = 0;
  lastSackt = 0;
  /** The lowest sequence number that was SACKed late: evidence of reordering. */
  reord: Seq = seq(0);
  /** Segments newly SACKed, and those reported by D-SACK. */
  sackDelivered = 0;
  /** Bytes that the ACK newly acknowledges or SACKs. */
  deliveredBytes = 0;
  /** FLAG_*. */
  flag = 0;
  mssNow = 0;
  rate: RateSample = new RateSample();
}
