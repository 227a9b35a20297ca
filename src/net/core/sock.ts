/**
 * struct sock, struct proto, struct proto_ops, struct socket: what every protocol's socket has in common, and the
 * functions of net/core/sock.c and include/net/sock.h on them: life, wakeups, ownership of skbs, memory accounting, the
 * cached route. SOL_SOCKET's options are in sock_options.ts.
 *
 * Accounting, as in the kernel:
 * - `skWmemAlloc` is 1 while the sock lives, plus the truesize of every skb that it has sent and that is not freed yet
 *   (sock_wfree). `skFree` takes the 1 away; whoever brings it to 0 destroys the sock.
 * - `skRmemAlloc` is the truesize of the skbs on the receive queue and, for TCP, the out-of-order queue (sock_rfree).
 * - `skForwardAlloc` is memory that was reserved from the protocol's account and not used yet.
 */

import {
  SKB_DESTRUCTOR,
  SKB_DESTRUCTOR_EFREE,
  SKB_DESTRUCTOR_OFREE,
  SKB_DESTRUCTOR_RFREE,
  SKB_DESTRUCTOR_WFREE,
  SKB_TRUESIZE,
} from "../../../assembly/layout.ts";
import { bugOn } from "../../kernel/bug.ts";
import type { Kernel, Wakeable } from "../../kernel/kernel.ts";
import { kernel } from "../../kernel/kernel.ts";
import type { TimerList } from "../../kernel/timer.ts";
import { machine, u8, u32 } from "../../mm/mem.ts";
import { EAGAIN, ENOBUFS, ENOMEM, ENOPROTOOPT, EOPNOTSUPP, EPIPE } from "../../uapi/errno.ts";
import {
  EPOLLERR,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDBAND,
  EPOLLRDNORM,
  EPOLLWRBAND,
  EPOLLWRNORM,
} from "../../uapi/poll.ts";
import type { NetDevice } from "./dev.ts";
import {
  NETIF_F_GSO,
  NETIF_F_GSO_COPY,
  NETIF_F_GSO_UDP_L4,
  NETIF_F_HW_CSUM,
  NETIF_F_SG,
  NETIF_F_TSO,
  NETIF_F_TSO_ECN,
  NETIF_F_TSO6,
  netDisableTimestamp,
  netEnableTimestamp,
} from "./dev.ts";
import type { DstEntry } from "./dst.ts";
import type { Net } from "./net_namespace.ts";
import { NETIF_F_GSO_ACCECN, NETIF_F_GSO_SOFTWARE } from "./netdev_features.ts";
import { SOCK_MIN_SNDBUF } from "./netns_core.ts";
import {
  allocPage,
  allocSkb,
  pageRefs,
  putPage,
  registerSkbDestructor,
  SkBuffHead,
  skbOrphan,
  skbQueueTail,
  skbSetSk,
  skbSk,
  skbTruesizeOf,
} from "./skbuff.ts";

/** struct msghdr with one kernel-side iterator: where user bytes come from or go to. */
export class Msghdr {
  /** Destination (send) or source (recv) address; null when there is none. Host order: the IPv4 address as a u32. */
  name: SockAddr | null = null;
  /** User memory: the bytes to send or to fill. More than one for writev. */
  iov: Uint8Array[] = [];
  iovIdx = 0;
  iovOff = 0;
  /** Bytes left in the iterator (iov_iter_count). */
  count = 0;
  flags = 0;
  control: Cmsg[] | null = null;
  /** The caller sleeps for room and calls again with the rest: what ends a send waits for the last call. */
  waits = false;
  /** Bytes that earlier calls of the same send have taken. */
  copied = 0;
  /** The zero-copy notifier of the send, while it waits (msg_ubuf). */
  ubuf = 0;
  /** Instead of user memory: the bytes lie in the stack's memory already, from the free part of this page on (commit). */
  lent: PageFrag | null = null;
}

/** struct sockaddr_in / sockaddr_in6 / sockaddr_ll, as a value. */
export interface SockAddr {
  family: number;
  /** IPv4: u32 in host order (0x7f000001). */
  addr: number;
  port: number;
  /** AF_PACKET and scoped addresses. `protocol`: an EtherType, host order. */
  ifindex?: number;
  protocol?: number;
  /** AF_PACKET, received: ARPHRD_*, PACKET_*, and the sender's link-layer address (sent: the destination's). */
  hatype?: number;
  pkttype?: number;
  lladdr?: Uint8Array;
  /** IPv6, later: 16 bytes. */
  addr6?: Uint8Array;
}

export interface Cmsg {
  level: number;
  type: number;
  /** A number for integer payloads, an object for structs (sock_extended_err, scm_timestamping). */
  data: unknown;
}

/** struct proto: the protocol's half of the socket calls (sk->sk_prot). */
export interface Proto {
  readonly name: string;
  /** The C symbol of the table, for the trace: "tcp_prot". */
  readonly symbol: string;
  /** Makes the sock object (sk_prot->slab + constructor). */
  alloc(): Sock;
  init?(sk: Sock): number;
  destroy?(sk: Sock): void;
  close(sk: Sock, timeout: number): void;
  connect?(sk: Sock, addr: SockAddr): number;
  preConnect?(sk: Sock, addr: SockAddr): number;
  disconnect?(sk: Sock, flags: number): number;
  /** Returns the accepted sock, or null with `err.value` set. */
  accept?(sk: Sock, flags: number, err: ErrBox): Sock | null;
  ioctl?(sk: Sock, cmd: number): number;
  shutdown?(sk: Sock, how: number): void;
  setsockopt?(sk: Sock, level: number, optname: number, optval: OptVal): number;
  /** Returns the value, or a negative errno through `err`. */
  getsockopt?(sk: Sock, level: number, optname: number, err: ErrBox): OptVal;
  sendmsg(sk: Sock, msg: Msghdr, size: number): number;
  recvmsg(sk: Sock, msg: Msghdr, size: number, flags: number): number;
  bind?(sk: Sock, addr: SockAddr): number;
  backlogRcv?(sk: Sock, skb: number): number;
  hash(sk: Sock): number;
  unhash(sk: Sock): void;
  getPort(sk: Sock, snum: number): number;
  releaseCb?(sk: Sock): void;
  /** sk_stream_memory_free's protocol part (tcp: notsent_lowat). */
  streamMemoryFree?(sk: Sock, wake: number): boolean;
  /** ICMP errors that the protocol wants to hear of, datagram abort (ss -K, netns teardown). */
  diagDestroy?(sk: Sock, err: number): number;
  readonly maxHeader: number;
  /** prot->sysctl_mem: pages of 4 KiB below which memory is plenty, where pressure begins, and the limit. */
  sysctlMem?(net: Net): ArrayLike<number>;
  /** sk_get_rmem0, sk_get_wmem0: what a socket may use even under pressure, bytes. */
  sysctlRmem0?(net: Net): number;
  sysctlWmem0?(net: Net): number;
  /** SO_KEEPALIVE was set or cleared. */
  keepalive?(sk: Sock, val: number): void;
  /** The sock was bound to another device: its place in the tables may change. */
  rehash?(sk: Sock): void;
  /** Where SOF_TIMESTAMPING_OPT_ID begins to count (TCP: a sequence number). `fromWrite`: OPT_ID_TCP. */
  tskey?(sk: Sock, fromWrite: boolean): number;
  /** SOF_TIMESTAMPING_OPT_STATS: an skb with netlink attributes about the connection; 0 = no memory. */
  timestampingOptStats?(sk: Sock, origSkb: number, ackSkb: number): number;
  /** A send without bind() is no reason to bind (TCP). */
  readonly noAutobind?: boolean;
  /** Memory pressure has begun or ended (the MIB counters of tcp_enter_memory_pressure). */
  memoryPressureChanged?(sk: Sock, on: boolean): void;
}

/** Out parameter for functions that return an object: `*err`. Preallocate it on hot paths. */
export class ErrBox {
  value = 0;
}

/** The value of a socket option: a number for int options, bytes or a string (congestion control name) or an object. */
export type OptVal = number | string | Uint8Array | object;

/** struct proto_ops: the family's half (sock->ops). */
export interface ProtoOps {
  readonly family: number;
  /** The C symbol of the table: "inet_stream_ops". */
  readonly symbol: string;
  release(sock: Socket): number;
  bind(sock: Socket, addr: SockAddr): number;
  /** Non-blocking: -EINPROGRESS / -EALREADY while it goes on; the blocking form is built on the wait queue. */
  connect(sock: Socket, addr: SockAddr, flags: number): number;
  socketpair?(a: Socket, b: Socket): number;
  /** Fills `newsock`. 0 or a negative errno (-EAGAIN when the queue is empty). */
  accept(sock: Socket, newsock: Socket, flags: number): number;
  /** peer: 0 = getsockname, 1 = getpeername. 0 or a negative errno. */
  getname(sock: Socket, out: SockAddr, peer: number): number;
  /** EPOLL* bits. */
  poll(sock: Socket): number;
  ioctl(sock: Socket, cmd: number): number;
  listen(sock: Socket, backlog: number): number;
  shutdown(sock: Socket, how: number): number;
  setsockopt(sock: Socket, level: number, optname: number, optval: OptVal): number;
  getsockopt(sock: Socket, level: number, optname: number, err: ErrBox): OptVal;
  sendmsg(sock: Socket, msg: Msghdr, size: number): number;
  recvmsg(sock: Socket, msg: Msghdr, size: number, flags: number): number;
  /** Received bytes into a pipe (struct pipe_inode_info), by reference. */
  spliceRead?(sock: Socket, pipe: never, len: number, flags: number): number;
  /** sendfile(2) has promised more and has no more. */
  spliceEof?(sock: Socket): void;
  /** A sendmsg that waited for room (`msg.waits`) ends here: nobody will call again with the rest. */
  sendmsgStop?(sock: Socket, msg: Msghdr): void;
  setRcvlowat?(sk: Sock, val: number): number;
  setPeekOff?(sk: Sock, val: number): number;
  /** Lends up to `n` bytes of a page to be filled in place: sk.lentFrag, sk.lentLen. Returns how many, or a negative errno. */
  reserve?(sock: Socket, n: number): number;
  /** Finds what can be read in place. Returns how many bytes lie at `out.addr`, 0 at the end, or a negative errno. */
  peek?(sock: Socket, out: { addr: number }): number;
}

export const SS_FREE = 0;
export const SS_UNCONNECTED = 1;
export const SS_CONNECTING = 2;
export const SS_CONNECTED = 3;
export const SS_DISCONNECTING = 4;

/** struct socket. */
export class Socket implements Wakeable {
  state: number = SS_UNCONNECTED;
  type: number;
  flags = 0;
  ops: ProtoOps = null as unknown as ProtoOps;
  /** Which function set `ops`: the trace names it. */
  opsSetBy = "";
  sk: Sock | null = null;
  readonly net: Net;
  /** O_NONBLOCK of the file. */
  nonblock = false;
  /** close() has run. */
  released = false;

  // The wait queue (struct socket_wq). Waiters run outside of kernel context.
  wakePending = false;
  /** EPOLL* bits that were signalled since the last onWake (sk_wake_async / wake_up_poll keys). */
  wakeEvents = 0;
  readonly waiters: SocketWaiter[] = [];
  /** Entries whose function runs at once, in kernel context: epoll items. */
  readonly callbacks: WaitCallback[] = [];

  constructor(net: Net, type: number) {
    this.net = net;
    this.type = type;
  }

  /** Wakes whoever waits for what was signalled. */
  onWake(): void {
    const events = this.wakeEvents;
    this.wakeEvents = 0;
    wakeWaiters(this.waiters, events);
  }
}

/**
 * __wake_up_common: everybody who waits for one of the events, in the order of the queue, but of the exclusive
 * waiters (EPOLLEXCLUSIVE, accept) only the first one that takes it. A waiter may remove itself or others meanwhile.
 */
/* notrace */
export function wakeWaiters(waiters: readonly SocketWaiter[], events: number): void {
  let left = waiters.length;
  let exclusive = 1;
  for (let i = 0; left > 0 && i < waiters.length; left--) {
    const w = waiters[i] as SocketWaiter;
    if ((w.mask & events) !== 0 && (exclusive !== 0 || w.exclusive !== true)) {
      w.wake(events);
      if (w.exclusive === true) exclusive--;
    }
    if (waiters[i] === w) i++;
  }
}

/** One entry of a socket's wait queue: `wake` is called (outside of kernel context) when one of `mask` was signalled. */
export interface SocketWaiter {
  mask: number;
  /** One event wakes one exclusive waiter (WQ_FLAG_EXCLUSIVE). */
  exclusive?: boolean;
  wake(events: number): void;
}

/** An entry of a wait queue with a function of its own (ep_poll_callback). It must not add or remove entries. */
export interface WaitCallback {
  readonly exclusive: boolean;
  /** Runs inside of kernel context. True when it woke somebody: then the event is used up for other exclusive entries. */
  callback(events: number): boolean;
}

/** __wake_up_common over functions. */
/* notrace */
export function wakeCallbacks(callbacks: readonly WaitCallback[], events: number): void {
  let exclusive = 1;
  for (let i = 0; i < callbacks.length; i++) {
    const w = callbacks[i] as WaitCallback;
    if (w.exclusive && exclusive === 0) continue;
    if (w.callback(events) && w.exclusive) exclusive--;
  }
}

/** struct sock. Ports and addresses are numbers in host order. */
export class Sock {
  // struct sock_common
  skcFamily = 0;
  skcState = 7; // TCP_CLOSE
  skcReuse = 0;
  skcReuseport = 0;
  skcBoundDevIf = 0;
  /** inet_daddr, inet_rcv_saddr (host order u32), inet_dport, inet_num. */
  skcDaddr = 0;
  skcRcvSaddr = 0;
  skcDport = 0;
  skcNum = 0;
  skcHash = 0;
  /** Hash chain links (ehash or lhash, udp hash). */
  skcNext: Sock | null = null;
  skcPrev: Sock | null = null;
  skcHashed = false;
  net: Net = null as unknown as Net;
  skProt: Proto = null as unknown as Proto;
  skProtCreator: Proto = null as unknown as Proto;

  skType = 0;
  skProtocol = 0;
  skSocket: Socket | null = null;
  /** Slot in the kernel's socket table, written into skb->sk. */
  slot = 0;
  skRefcnt = 1;
  skShutdown = 0;
  skErr = 0;
  skErrSoft = 0;
  /** Bit set of SOCK_* (1 << SOCK_DEAD ...). */
  skFlags = 0;
  skUserlocks = 0;
  skPriority = 0;
  skMark = 0;
  skTxqStopped = false;
  /** Microseconds; Infinity = wait for ever. */
  skRcvtimeo: number = Infinity;
  skSndtimeo: number = Infinity;
  skRcvlowat = 1;
  skLingertime = 0;
  skTsflags = 0;
  skTskey = 0;
  skZckey = 0;

  // Buffers.
  skRcvbuf = 0;
  skSndbuf = 0;
  /** Bytes of truesize charged to the receive side. */
  skRmemAlloc = 0;
  /** Bytes of truesize in flight below TCP, plus 1 while the sock lives (see sk_free). */
  skWmemAlloc = 1;
  skOmemAlloc = 0;
  /** Bytes of truesize in the write and rtx queues. */
  skWmemQueued = 0;
  skForwardAlloc = 0;
  readonly skReceiveQueue: SkBuffHead = new SkBuffHead();
  readonly skWriteQueue: SkBuffHead = new SkBuffHead();
  readonly skErrorQueue: SkBuffHead = new SkBuffHead();
  /** The next skb to send from sk_write_queue has its own queue in TCP (unsent = sk_write_queue, sent = tcp_rtx_queue). */
  skDrops = 0;
  skStamp = 0;

  // Route and device capabilities.
  skDstCache: DstEntry | null = null;
  /** The route by which the last packets came, for early demux, and the device. */
  skRxDst: DstEntry | null = null;
  skRxDstIfindex = 0;
  skRouteCaps = 0;
  skGsoType = 0;
  skGsoMaxSize = 0;
  skGsoMaxSegs = 0;
  skDstPendingConfirm = false;
  skNoCheckTx = false;
  /** Bytes a second; 0xffffffff.. = unlimited. */
  skPacingRate: number = Infinity;
  skMaxPacingRate: number = Infinity;
  skPacingStatus = 0;
  skPacingShift = 10;

  // Listening sockets.
  skAckBacklog = 0;
  skMaxAckBacklog = 0;

  // SO_LINGER, SO_TIMESTAMP, SO_BINDTODEVICE etc. live in skFlags / above.
  skTimer: TimerList | null = null;
  /** Set while a waiter asked for write space (SOCK_NOSPACE). */
  skNoSpace = false;

  // The pointers that protocols call, set by sock_init_data.
  skStateChange: (sk: Sock) => void = nop;
  skDataReady: (sk: Sock) => void = nop;
  skWriteSpace: (sk: Sock) => void = nop;
  skErrorReport: (sk: Sock) => void = nop;
  skBacklogRcv: (sk: Sock, skb: number) => number = nopRcv;
  skDestruct: (sk: Sock) => void = nop;
  skUserData: unknown = null;
  skBoundDev: NetDevice | null = null;

  /** SO_SELECT_ERR_QUEUE: errors in the queue are EPOLLPRI as well. */
  skSelectErrQueue = false;
  /** SO_PEEK_OFF; -1 = off. */
  skPeekOff = -1;
  skIncomingCpu = -1;
  skTxrehash = 1;
  skTxhash = 0;
  /** SO_BUSY_POLL, microseconds; nobody spins here, but the value is kept. */
  skLlUsec = 0;
  skPreferBusyPoll = false;
  skBusyPollBudget = 0;
  /** SO_RESERVE_MEM, bytes. */
  skReservedMem = 0;
  /** SO_COOKIE; 0 = not drawn yet. */
  skCookie = 0;
  skGsoDisabled = false;
  /** SO_TXTIME. */
  skClockid = 0;
  skTxtimeDeadlineMode = false;
  skTxtimeReportErrors = false;
  skBindPhc = -1;
  /** Waiters inside of sendmsg (sk_write_pending): Nagle's and the FIN's business. */
  skWritePending = 0;
  /** How often connect() has ended a connection, or a try at one: who waits for it is told. */
  skDisconnects = 0;
  /** struct proto's memory_allocated and memory_pressure, of this machine; null = the protocol does not account. */
  skProtMem: ProtoMem | null = null;
  /** The page that small copies are appended to: one for the whole machine (task_frag). */
  pageFrag: PageFrag = noPageFrag;
  /** The page that the caller fills in place (reserve), and how much of it is his. */
  lentFrag: PageFrag | null = null;
  lentLen = 0;

  /**
   * sock_copy: takes over every field of `from` but those that a sock is made with and the structs inside of it (queues, tables).
   * Written out, because a loop over names costs thirty times as much; a test knows every field.
   */
  copyFrom(from: this): void {
    this.skcFamily = from.skcFamily;
    this.skcState = from.skcState;
    this.skcReuse = from.skcReuse;
    this.skcReuseport = from.skcReuseport;
    this.skcBoundDevIf = from.skcBoundDevIf;
    this.skcDaddr = from.skcDaddr;
    this.skcRcvSaddr = from.skcRcvSaddr;
    this.skcDport = from.skcDport;
    this.skcNum = from.skcNum;
    this.skcHash = from.skcHash;
    this.skcNext = from.skcNext;
    this.skcPrev = from.skcPrev;
    this.skcHashed = from.skcHashed;
    this.skType = from.skType;
    this.skProtocol = from.skProtocol;
    this.skSocket = from.skSocket;
    this.slot = from.slot;
    this.skRefcnt = from.skRefcnt;
    this.skShutdown = from.skShutdown;
    this.skErr = from.skErr;
    this.skErrSoft = from.skErrSoft;
    this.skFlags = from.skFlags;
    this.skUserlocks = from.skUserlocks;
    this.skPriority = from.skPriority;
    this.skMark = from.skMark;
    this.skTxqStopped = from.skTxqStopped;
    this.skRcvtimeo = from.skRcvtimeo;
    this.skSndtimeo = from.skSndtimeo;
    this.skRcvlowat = from.skRcvlowat;
    this.skLingertime = from.skLingertime;
    this.skTsflags = from.skTsflags;
    this.skTskey = from.skTskey;
    this.skZckey = from.skZckey;
    this.skRcvbuf = from.skRcvbuf;
    this.skSndbuf = from.skSndbuf;
    this.skRmemAlloc = from.skRmemAlloc;
    this.skWmemAlloc = from.skWmemAlloc;
    this.skOmemAlloc = from.skOmemAlloc;
    this.skWmemQueued = from.skWmemQueued;
    this.skForwardAlloc = from.skForwardAlloc;
    this.skDrops = from.skDrops;
    this.skStamp = from.skStamp;
    this.skDstCache = from.skDstCache;
    this.skRxDst = from.skRxDst;
    this.skRxDstIfindex = from.skRxDstIfindex;
    this.skRouteCaps = from.skRouteCaps;
    this.skGsoType = from.skGsoType;
    this.skGsoMaxSize = from.skGsoMaxSize;
    this.skGsoMaxSegs = from.skGsoMaxSegs;
    this.skDstPendingConfirm = from.skDstPendingConfirm;
    this.skNoCheckTx = from.skNoCheckTx;
    this.skPacingRate = from.skPacingRate;
    this.skMaxPacingRate = from.skMaxPacingRate;
    this.skPacingStatus = from.skPacingStatus;
    this.skPacingShift = from.skPacingShift;
    this.skAckBacklog = from.skAckBacklog;
    this.skMaxAckBacklog = from.skMaxAckBacklog;
    this.skTimer = from.skTimer;
    this.skNoSpace = from.skNoSpace;
    this.skUserData = from.skUserData;
    this.skBoundDev = from.skBoundDev;
    this.skSelectErrQueue = from.skSelectErrQueue;
    this.skPeekOff = from.skPeekOff;
    this.skIncomingCpu = from.skIncomingCpu;
    this.skTxrehash = from.skTxrehash;
    this.skTxhash = from.skTxhash;
    this.skLlUsec = from.skLlUsec;
    this.skPreferBusyPoll = from.skPreferBusyPoll;
    this.skBusyPollBudget = from.skBusyPollBudget;
    this.skReservedMem = from.skReservedMem;
    this.skCookie = from.skCookie;
    this.skGsoDisabled = from.skGsoDisabled;
    this.skClockid = from.skClockid;
    this.skTxtimeDeadlineMode = from.skTxtimeDeadlineMode;
    this.skTxtimeReportErrors = from.skTxtimeReportErrors;
    this.skBindPhc = from.skBindPhc;
    this.skWritePending = from.skWritePending;
    this.skDisconnects = from.skDisconnects;
    this.lentFrag = from.lentFrag;
    this.lentLen = from.lentLen;
    this.skStateChange = from.skStateChange;
    this.skDataReady = from.skDataReady;
    this.skWriteSpace = from.skWriteSpace;
    this.skErrorReport = from.skErrorReport;
    this.skBacklogRcv = from.skBacklogRcv;
    this.skDestruct = from.skDestruct;
  }
}

/** struct page_frag: `page` is a buffer of the pool (0 = none) that holds `size` bytes, free from `offset` on. */
export class PageFrag {
  page = 0;
  offset = 0;
  size = 0;
}
const noPageFrag: PageFrag = new PageFrag();

/** What a protocol has allocated on this machine, in pages of 4 KiB (prot->memory_allocated, prot->memory_pressure). */
export class ProtoMem {
  allocated = 0;
  pressure = false;
  /** When the pressure began: microseconds. */
  pressureSince = 0;
  /** Sockets of the protocol (prot->sockets_allocated). */
  sockets = 0;
}

function nop(_sk: Sock): void {}
function nopRcv(_sk: Sock, _skb: number): number {
  return 0;
}

// sk->sk_flags bits (enum sock_flags).
export const SOCK_DEAD = 0;
export const SOCK_DONE = 1;
export const SOCK_URGINLINE = 2;
export const SOCK_KEEPOPEN = 3;
export const SOCK_LINGER = 4;
export const SOCK_DESTROY = 5;
export const SOCK_BROADCAST = 6;
export const SOCK_TIMESTAMP = 7;
export const SOCK_USE_WRITE_QUEUE = 9;
export const SOCK_DBG = 10;
export const SOCK_RCVTSTAMP = 11;
export const SOCK_RCVTSTAMPNS = 12;
export const SOCK_LOCALROUTE = 13;
export const SOCK_MEMALLOC = 14;
export const SOCK_TIMESTAMPING_RX_SOFTWARE = 15;
export const SOCK_FASYNC = 16;
export const SOCK_ZEROCOPY = 18;
export const SOCK_NOFCS = 19;
export const SOCK_RXQ_OVFL = 20;
export const SOCK_TSTAMP_NEW = 21;
export const SOCK_TXTIME = 22;
export const SOCK_RCVMARK = 23;
export const SOCK_RCVPRIORITY = 24;
export const SOCK_WIFI_STATUS = 25;
export const SOCK_FILTER_LOCKED = 26;

/* notrace */
export function sockSetFlag(sk: Sock, flag: number): void {
  sk.skFlags |= 1 << flag;
}
/* notrace */
export function sockResetFlag(sk: Sock, flag: number): void {
  sk.skFlags &= ~(1 << flag);
}
/* notrace */
export function sockFlag(sk: Sock, flag: number): boolean {
  return (sk.skFlags & (1 << flag)) !== 0;
}

// sk->sk_shutdown.
export const RCV_SHUTDOWN = 1;
export const SEND_SHUTDOWN = 2;
export const SHUTDOWN_MASK = 3;

// sk->sk_userlocks.
export const SOCK_SNDBUF_LOCK = 1;
export const SOCK_RCVBUF_LOCK = 2;
export const SOCK_BINDADDR_LOCK = 4;
export const SOCK_BINDPORT_LOCK = 8;
export const SOCK_CONNECT_BIND = 16;

// ---- the life of a sock (net/core/sock.c) ---------------------------------------------------------------------------

/** What a machine's socks share; made with the first sock of the machine. */
class SockMachine {
  /** current->task_frag. */
  readonly taskFrag: PageFrag = new PageFrag();
  readonly protMem: Map<Proto, ProtoMem> = new Map();
  socks = 0;
}
const machines: WeakMap<Kernel, SockMachine> = new WeakMap();

/* notrace */
function sockMachine(k: Kernel): SockMachine {
  let m = machines.get(k);
  if (m === undefined) {
    m = new SockMachine();
    machines.set(k, m);
    registerSkbDestructor(SKB_DESTRUCTOR_WFREE, "sock_wfree", sockWfree);
    registerSkbDestructor(SKB_DESTRUCTOR_RFREE, "sock_rfree", sockRfree);
    registerSkbDestructor(SKB_DESTRUCTOR_EFREE, "sock_efree", sockEfree);
    registerSkbDestructor(SKB_DESTRUCTOR_OFREE, "sock_ofree", sockOfree);
  }
  return m;
}

/** Socks of the current machine that are not destroyed yet: for tests and `ss -s`. */
/* notrace */
export function socksInUse(): number {
  return sockMachine(kernel).socks;
}

function skProtAlloc(net: Net, family: number, prot: Proto): Sock {
  const sk = prot.alloc();
  const m = sockMachine(kernel);
  sk.skcFamily = family;
  sk.net = net;
  sk.skProt = prot;
  sk.skProtCreator = prot;
  sk.pageFrag = m.taskFrag;
  if (prot.sysctlMem !== undefined) {
    let mem = m.protMem.get(prot);
    if (mem === undefined) {
      mem = new ProtoMem();
      m.protMem.set(prot, mem);
    }
    sk.skProtMem = mem;
    mem.sockets++;
  }
  m.socks++;
  return sk;
}

/** sk_alloc: a sock of protocol `prot`; the caller runs sock_init_data on it. */
export function skAlloc(net: Net, family: number, prot: Proto): Sock | null {
  const sk = skProtAlloc(net, family, prot);
  sk.slot = machine.socks.alloc(sk);
  sk.skWmemAlloc = 1;
  return sk;
}

/** sk_free: gives up the sock's own hold; it is destroyed when no skb in flight belongs to it any more. */
export function skFree(sk: Sock): void {
  if (--sk.skWmemAlloc === 0) __skFree(sk);
}

function __skFree(sk: Sock): void {
  skDestruct(sk);
}

/** sk_destruct: runs sk->sk_destruct and lets go of everything. Nothing refers to the sock after that. */
export function skDestruct(sk: Sock): void {
  sk.skDestruct(sk);
  bugOn(sk.skWmemAlloc !== 0, "sock destroyed with skbs in flight");
  sockDisableTimestamp(sk, SK_FLAGS_TIMESTAMP);
  sk.skDstCache = null;
  sk.skRxDst = null;
  if (sk.skProtMem !== null) sk.skProtMem.sockets--;
  const m = sockMachine(kernel);
  if (sk.slot !== 0) {
    machine.socks.free(sk.slot);
    sk.slot = 0;
  }
  if (sk.lentFrag !== null) pageFragRelease(sk.lentFrag);
  // The shared page goes with the last sock, so that an idle machine holds no memory.
  if (--m.socks === 0) pageFragRelease(m.taskFrag);
}

/* notrace */
export function sockHold(sk: Sock): void {
  sk.skRefcnt++;
}

/** sock_put: drops a reference; the last one frees the sock. */
/* notrace */
export function sockPut(sk: Sock): void {
  if (--sk.skRefcnt === 0) skFree(sk);
}

/** __sock_put: drops a reference that cannot be the last. */
/* notrace */
export function __sockPut(sk: Sock): void {
  sk.skRefcnt--;
}

/** sk_fullsock: neither TIME_WAIT (6) nor a request in NEW_SYN_RECV (12). */
/* notrace */
export function skFullsock(sk: Sock): boolean {
  return ((1 << sk.skcState) & ~((1 << 6) | (1 << 12))) !== 0;
}

/** sock_init_data: the defaults of a new sock. `sock` is null for a child that nobody has accepted yet. */
export function sockInitData(sock: Socket | null, sk: Sock): void {
  const core = sk.net.core;
  sk.skRcvbuf = core.sysctlRmemDefault;
  sk.skSndbuf = core.sysctlWmemDefault;
  sk.skcState = 7; // TCP_CLOSE
  sk.skTxrehash = core.sysctlTxrehash;
  sk.skSocket = sock;
  if (sock !== null) {
    sk.skType = sock.type;
    sock.sk = sk;
  }
  sk.skStateChange = sockDefWakeup;
  sk.skDataReady = sockDefReadable;
  sk.skWriteSpace = sockDefWriteSpace;
  sk.skErrorReport = sockDefErrorReport;
  sk.skDestruct = sockDefDestruct;
  sk.skRefcnt = 1;
}

/** sock_orphan: the sock has no user any more; nobody is woken through it. */
/* notrace */
export function sockOrphan(sk: Sock): void {
  sockSetFlag(sk, SOCK_DEAD);
  sk.skSocket = null;
}

/** sock_graft: joins an accepted sock to its new struct socket. */
/* notrace */
export function sockGraft(sk: Sock, parent: Socket): void {
  bugOn(parent.sk !== null, "sock_graft onto a socket in use");
  parent.sk = sk;
  sk.skSocket = parent;
}

/** sk_common_release: close() of the connectionless protocols. */
export function skCommonRelease(sk: Sock): void {
  if (sk.skProt.destroy !== undefined) sk.skProt.destroy(sk);
  // The sock may still be found by packets on their way until it is unhashed.
  sk.skProt.unhash(sk);
  sockOrphan(sk);
  sockPut(sk);
}

/**
 * sk_clone_lock: a copy of `sk` for a connection that a listener has accepted. Queues, timers, accounts, hash links,
 * errors and the socket start afresh; the rest is the listener's. Two references: the hash table's and the caller's.
 */
export function skCloneLock(sk: Sock): Sock | null {
  const newsk = skProtAlloc(sk.net, sk.skcFamily, sk.skProtCreator);
  newsk.copyFrom(sk);
  newsk.slot = machine.socks.alloc(newsk);
  newsk.skcNext = null;
  newsk.skcPrev = null;
  newsk.skcHashed = false;
  newsk.skRmemAlloc = 0;
  newsk.skWmemAlloc = 1;
  newsk.skOmemAlloc = 0;
  newsk.skDstCache = null;
  newsk.skRxDst = null;
  newsk.skWmemQueued = 0;
  newsk.skForwardAlloc = 0;
  newsk.skReservedMem = 0;
  newsk.skDrops = 0;
  newsk.skUserlocks = sk.skUserlocks & ~SOCK_BINDPORT_LOCK;
  sockResetFlag(newsk, SOCK_DONE);
  newsk.skErr = 0;
  newsk.skErrSoft = 0;
  newsk.skPriority = 0;
  newsk.skIncomingCpu = -1;
  newsk.skTskey = 0;
  newsk.skZckey = 0;
  newsk.skCookie = 0;
  newsk.skTimer = null;
  newsk.skUserData = null;
  newsk.skNoSpace = false;
  newsk.skWritePending = 0;
  newsk.skDisconnects = 0;
  newsk.skSocket = null;
  newsk.lentFrag = null;
  newsk.lentLen = 0;
  newsk.skRefcnt = 2;
  if ((newsk.skFlags & SK_FLAGS_TIMESTAMP) !== 0) netEnableTimestamp();
  return newsk;
}

const SK_FLAGS_TIMESTAMP: number = (1 << SOCK_TIMESTAMP) | (1 << SOCK_TIMESTAMPING_RX_SOFTWARE);

/** sock_enable_timestamp: the device layer stamps what it receives from now on. `flag`: which option wants it. */
export function sockEnableTimestamp(sk: Sock, flag: number): void {
  if (sockFlag(sk, flag)) return;
  const previous = sk.skFlags & SK_FLAGS_TIMESTAMP;
  sockSetFlag(sk, flag);
  if (previous === 0) netEnableTimestamp();
}

/** sock_disable_timestamp. `flags`: a set of bits. */
export function sockDisableTimestamp(sk: Sock, flags: number): void {
  if ((sk.skFlags & flags) === 0) return;
  sk.skFlags &= ~flags;
  if ((sk.skFlags & SK_FLAGS_TIMESTAMP) === 0) netDisableTimestamp();
}

// ---- wakeups --------------------------------------------------------------------------------------------------------

/** wake_up_interruptible_poll on the socket's wait queue: callbacks run now, waiters outside of kernel context. */
/* notrace */
function sockWakeUp(sk: Sock, events: number): void {
  const sock = sk.skSocket;
  if (sock === null) return;
  if (sock.callbacks.length !== 0) wakeCallbacks(sock.callbacks, events);
  if (sock.waiters.length === 0) return;
  sock.wakeEvents |= events;
  kernel.wake(sock);
}

/** Adds `w` to the wait queue (add_wait_queue). */
/* notrace */
export function addWaitQueue(sock: Socket, w: SocketWaiter): void {
  sock.waiters.push(w);
}
/** Takes `w` off the wait queue; it need not be on it. */
/* notrace */
export function removeWaitQueue(sock: Socket, w: SocketWaiter): void {
  const i = sock.waiters.indexOf(w);
  if (i >= 0) sock.waiters.splice(i, 1);
}

/** sock_def_wakeup: sk->sk_state_change. Wakes every waiter, whatever it waits for. */
export function sockDefWakeup(sk: Sock): void {
  sockWakeUp(sk, -1);
}
/** sock_def_error_report. */
export function sockDefErrorReport(sk: Sock): void {
  sockWakeUp(sk, EPOLLERR);
}
/** sock_def_readable: sk->sk_data_ready. */
export function sockDefReadable(sk: Sock): void {
  sockWakeUp(sk, EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLRDBAND);
}
/** sock_def_write_space: not before half of the send buffer is free, so that writers do not wake for every skb. */
export function sockDefWriteSpace(sk: Sock): void {
  if (sockWriteable(sk)) sockWakeUp(sk, EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND);
}
/** sk_error_report: tells the user of the sock that sk_err is set. */
export function skErrorReport(sk: Sock): void {
  sk.skErrorReport(sk);
}
/** sock_def_destruct. */
export function sockDefDestruct(_sk: Sock): void {}

/** For protocols with their own idea of write space (sk_stream_write_space). */
/* notrace */
export function skWakeWriters(sk: Sock): void {
  sockWakeUp(sk, EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND);
}
/** sk_send_sigurg: urgent data has come. There are no signals; poll(2) is told. */
export function skSendSigurg(sk: Sock): void {
  sockWakeUp(sk, EPOLLPRI);
}

// ---- who owns an skb ------------------------------------------------------------------------------------------------

/** sock_writeable: less than half of the send buffer is in flight. */
/* notrace */
export function sockWriteable(sk: Sock): boolean {
  return sk.skWmemAlloc < sk.skSndbuf >> 1;
}

/** sock_wfree: the destructor of an skb that was sent. */
export function sockWfree(skb: number): void {
  const sk = skbSk(skb) as Sock;
  const len = u32[(skb + SKB_TRUESIZE) >>> 2] as number;
  if (!sockFlag(sk, SOCK_USE_WRITE_QUEUE)) {
    // Keep the sock alive while its write_space runs: take all but one byte off first.
    sk.skWmemAlloc -= len - 1;
    sk.skWriteSpace(sk);
    if (--sk.skWmemAlloc === 0) __skFree(sk);
    return;
  }
  sk.skWmemAlloc -= len;
  if (sk.skWmemAlloc === 0) __skFree(sk);
}

/** __sock_wfree: without the write_space call. */
export function __sockWfree(skb: number): void {
  const sk = skbSk(skb) as Sock;
  sk.skWmemAlloc -= u32[(skb + SKB_TRUESIZE) >>> 2] as number;
  if (sk.skWmemAlloc === 0) __skFree(sk);
}

/** sock_rfree: the destructor of an skb on a receive queue. */
export function sockRfree(skb: number): void {
  const sk = skbSk(skb) as Sock;
  const len = u32[(skb + SKB_TRUESIZE) >>> 2] as number;
  sk.skRmemAlloc -= len;
  skMemUncharge(sk, len);
}

/** sock_efree: the skb only held a reference (early demux, errors). */
export function sockEfree(skb: number): void {
  sockPut(skbSk(skb) as Sock);
}

/** skb_set_owner_w: charges the skb to what `sk` has in flight. */
export function skbSetOwnerW(skb: number, sk: Sock): void {
  skbOrphan(skb);
  skbSetSk(skb, sk);
  u8[skb + SKB_DESTRUCTOR] = SKB_DESTRUCTOR_WFREE;
  sk.skWmemAlloc += u32[(skb + SKB_TRUESIZE) >>> 2] as number;
}

/** skb_set_owner_r: charges the skb to the receive buffer of `sk`. */
/* notrace */
export function skbSetOwnerR(skb: number, sk: Sock): void {
  skbOrphan(skb);
  skbSetSk(skb, sk);
  u8[skb + SKB_DESTRUCTOR] = SKB_DESTRUCTOR_RFREE;
  const truesize = u32[(skb + SKB_TRUESIZE) >>> 2] as number;
  sk.skRmemAlloc += truesize;
  skMemCharge(sk, truesize);
}

/**
 * skb_set_owner_sk_safe, skb_set_owner_edemux: the skb names `sk` and holds a reference on it. Nobody can hold a sock that
 * has no reference left and only waits for its skbs in flight (refcount_inc_not_zero).
 */
/* notrace */
export function skbSetOwnerSkSafe(skb: number, sk: Sock): void {
  skbOrphan(skb);
  // Requests and TIME_WAIT socks are no owners: they have no slot to be found by.
  if (sk.slot === 0 || sk.skRefcnt === 0) return;
  skbSetSk(skb, sk);
  sockHold(sk);
  u8[skb + SKB_DESTRUCTOR] = SKB_DESTRUCTOR_EFREE;
}

/** sock_ofree: the destructor of sock_omalloc's skbs. */
export function sockOfree(skb: number): void {
  (skbSk(skb) as Sock).skOmemAlloc -= u32[(skb + SKB_TRUESIZE) >>> 2] as number;
}

/** sock_omalloc: an skb for a notification, charged to optmem. 0 = none. */
export function sockOmalloc(sk: Sock, size: number): number {
  if (sk.skOmemAlloc + skbTruesizeOf(size) > sk.net.core.sysctlOptmemMax) return 0;
  const skb = allocSkb(size);
  if (skb === 0) return 0;
  sk.skOmemAlloc += u32[(skb + SKB_TRUESIZE) >>> 2] as number;
  skbSetSk(skb, sk);
  u8[skb + SKB_DESTRUCTOR] = SKB_DESTRUCTOR_OFREE;
  return skb;
}

/**
 * sock_alloc_send_skb: an skb of `size` linear bytes for a datagram. 0 with `err.value` = -EAGAIN when the send buffer
 * is full (the blocking caller waits for EPOLLOUT), -EPIPE after shutdown, a pending error, or -ENOBUFS.
 */
export function sockAllocSendSkb(sk: Sock, size: number, err: ErrBox): number {
  if (sk.skErr !== 0) {
    err.value = sockError(sk);
    return 0;
  }
  if ((sk.skShutdown & SEND_SHUTDOWN) !== 0) {
    err.value = -EPIPE;
    return 0;
  }
  if (sk.skWmemAlloc - 1 >= sk.skSndbuf) {
    sk.skNoSpace = true;
    err.value = -EAGAIN;
    return 0;
  }
  const skb = allocSkb(size);
  if (skb === 0) {
    err.value = -ENOBUFS;
    return 0;
  }
  skbSetOwnerW(skb, sk);
  err.value = 0;
  return skb;
}

// ---- receive queue and error queue ----------------------------------------------------------------------------------

/** __sock_queue_rcv_skb: 0, -ENOMEM when the receive buffer is full, or -ENOBUFS when the protocol's memory is. The
 * caller frees the skb on failure. */
export function __sockQueueRcvSkb(sk: Sock, skb: number): number {
  if (sk.skRmemAlloc >= sk.skRcvbuf) {
    sk.skDrops++;
    return -ENOMEM;
  }
  if (!skRmemSchedule(sk, skb, u32[(skb + SKB_TRUESIZE) >>> 2] as number)) {
    sk.skDrops++;
    return -ENOBUFS;
  }
  skbSetOwnerR(skb, sk);
  skbQueueTail(sk.skReceiveQueue, skb);
  if (!sockFlag(sk, SOCK_DEAD)) sk.skDataReady(sk);
  return 0;
}

/** sock_queue_rcv_skb. */
/* notrace */
export function sockQueueRcvSkb(sk: Sock, skb: number): number {
  return __sockQueueRcvSkb(sk, skb);
}

/** sock_queue_err_skb: puts an skb with a sock_extended_err on the error queue. 0 or -ENOMEM (the caller frees). */
export function sockQueueErrSkb(sk: Sock, skb: number): number {
  const truesize = u32[(skb + SKB_TRUESIZE) >>> 2] as number;
  if (sk.skRmemAlloc + truesize >= sk.skRcvbuf) return -ENOMEM;
  skbOrphan(skb);
  skbSetSk(skb, sk);
  // sock_rmem_free: the error queue is charged to the receive buffer without forward allocation; RFREE gives back
  // what was charged, so charge it.
  u8[skb + SKB_DESTRUCTOR] = SKB_DESTRUCTOR_RFREE;
  sk.skRmemAlloc += truesize;
  skMemCharge(sk, truesize);
  skbQueueTail(sk.skErrorQueue, skb);
  if (!sockFlag(sk, SOCK_DEAD)) sk.skErrorReport(sk);
  return 0;
}

/** sk_error: the pending error, taken. 0 or negative. */
/* notrace */
export function sockError(sk: Sock): number {
  const err = sk.skErr;
  if (err === 0) return 0;
  sk.skErr = 0;
  return -err;
}

/** sock_rcvlowat: how many bytes a receive waits for. */
/* notrace */
export function sockRcvlowat(sk: Sock, waitall: boolean, len: number): number {
  const v = waitall ? len : Math.min(sk.skRcvlowat, len);
  return v !== 0 ? v : 1;
}

// ---- accept queue accounting ----------------------------------------------------------------------------------------

/* notrace */
export function skAcceptqAdded(sk: Sock): void {
  sk.skAckBacklog++;
}
/* notrace */
export function skAcceptqRemoved(sk: Sock): void {
  sk.skAckBacklog--;
}
/** sk_acceptq_is_full: one more than the backlog fits, as everywhere since BSD. */
/* notrace */
export function skAcceptqIsFull(sk: Sock): boolean {
  return sk.skAckBacklog > sk.skMaxAckBacklog;
}

// ---- the cached route -----------------------------------------------------------------------------------------------

/** sk_dst_get. */
/* notrace */
export function skDstGet(sk: Sock): DstEntry | null {
  return sk.skDstCache;
}
/** sk_dst_set. */
/* notrace */
export function skDstSet(sk: Sock, dst: DstEntry | null): void {
  sk.skDstPendingConfirm = false;
  sk.skDstCache = dst;
}
/* notrace */
export function __skDstSet(sk: Sock, dst: DstEntry | null): void {
  sk.skDstPendingConfirm = false;
  sk.skDstCache = dst;
}
/** sk_dst_reset. */
/* notrace */
export function skDstReset(sk: Sock): void {
  skDstSet(sk, null);
}
/* notrace */
export function __skDstReset(sk: Sock): void {
  __skDstSet(sk, null);
}
/** __sk_dst_check: the cached route if it still holds; drops it otherwise. */
export function __skDstCheck(sk: Sock, cookie: number): DstEntry | null {
  const dst = sk.skDstCache;
  if (dst !== null && dst.obsolete !== 0 && dst.ops.check(dst, cookie) === null) {
    sk.skDstPendingConfirm = false;
    sk.skDstCache = null;
    return null;
  }
  return dst;
}
/** sk_dst_check. */
export function skDstCheck(sk: Sock, cookie: number): DstEntry | null {
  return __skDstCheck(sk, cookie);
}
/** sk_dst_confirm: the next packet out tells the neighbour entry that its neighbour is alive. */
/* notrace */
export function skDstConfirm(sk: Sock): void {
  sk.skDstPendingConfirm = true;
}

const GSO_LEGACY_MAX_SIZE = 65536;
const MAX_TCP_HEADER = 144;

/** net_gso_ok: whether `features` can send super-packets of SKB_GSO_* kind `gsoType` (0 = any can). */
/* notrace */
export function netGsoOk(features: number, gsoType: number): boolean {
  let need = 0;
  if ((gsoType & 1) !== 0) need |= NETIF_F_TSO;
  if ((gsoType & 4) !== 0) need |= NETIF_F_TSO_ECN;
  if ((gsoType & 16) !== 0) need |= NETIF_F_TSO6;
  if ((gsoType & 32) !== 0) need |= NETIF_F_GSO_UDP_L4;
  if ((gsoType & 64) !== 0) need |= NETIF_F_GSO_ACCECN;
  return (features & need) === need;
}

// sk->sk_reuse.
export const SK_NO_REUSE = 0;
export const SK_CAN_REUSE = 1;
/** TCP_REPAIR: binds whoever else is there. */
export const SK_FORCE_REUSE = 2;

/** sk_can_gso. */
/* notrace */
export function skCanGso(sk: Sock): boolean {
  return netGsoOk(sk.skRouteCaps, sk.skGsoType);
}

/** sk_setup_caps: caches the route and what its device can do. */
export function skSetupCaps(sk: Sock, dst: DstEntry): void {
  const dev = dst.dev;
  skDstSet(sk, dst);
  let caps = dev.features;
  // Super-packets for every device that scatters, even if its GSO is switched off: what it cannot cut is cut in software on
  // the way to it. A card without scatter-gather gets one linear segment at a time, as in 2.6.30, unless it was asked for more.
  if ((caps & (NETIF_F_SG | NETIF_F_GSO_COPY)) !== 0) caps |= NETIF_F_GSO | NETIF_F_GSO_SOFTWARE;
  if (sk.skGsoDisabled) caps &= ~NETIF_F_GSO_SOFTWARE;
  let maxSegs = 1;
  sk.skRouteCaps = caps;
  if (skCanGso(sk)) {
    if (dst.headerLen !== 0) {
      sk.skRouteCaps &= ~NETIF_F_GSO_SOFTWARE;
    } else {
      sk.skRouteCaps |= NETIF_F_SG | NETIF_F_HW_CSUM;
      sk.skGsoMaxSize = Math.min(dev.gsoMaxSize, GSO_LEGACY_MAX_SIZE) - (MAX_TCP_HEADER + 1);
      maxSegs = Math.max(dev.gsoMaxSegs, 1);
    }
  }
  sk.skGsoMaxSegs = maxSegs;
}

// ---- memory accounting ----------------------------------------------------------------------------------------------

const SK_MEM_QUANTUM = 4096;
const SK_MEM_SEND = 0;
const SK_MEM_RECV = 1;

/* notrace */
function skMemPages(amt: number): number {
  return (amt + SK_MEM_QUANTUM - 1) >> 12;
}

/** sk_under_memory_pressure. */
/* notrace */
export function skUnderMemoryPressure(sk: Sock): boolean {
  const mem = sk.skProtMem;
  return mem !== null && mem.pressure;
}

/** sk_memory_allocated: pages of 4 KiB that the protocol holds on this machine. */
/* notrace */
export function skMemoryAllocated(sk: Sock): number {
  return sk.skProtMem !== null ? sk.skProtMem.allocated : 0;
}

/** sk->sk_prot->enter_memory_pressure. */
export function skEnterMemoryPressure(sk: Sock): void {
  const mem = sk.skProtMem;
  if (mem === null || mem.pressure) return;
  mem.pressure = true;
  mem.pressureSince = kernel.now;
  sk.skProt.memoryPressureChanged?.(sk, true);
}
/** sk_leave_memory_pressure. */
export function skLeaveMemoryPressure(sk: Sock): void {
  const mem = sk.skProtMem;
  if (mem === null || !mem.pressure) return;
  mem.pressure = false;
  sk.skProt.memoryPressureChanged?.(sk, false);
}

/* notrace */
export function skSocketsAllocated(sk: Sock): number {
  return sk.skProtMem !== null ? sk.skProtMem.sockets : 0;
}

/** sk_prot_mem_limits: pages. */
/* notrace */
export function skProtMemLimits(sk: Sock, index: number): number {
  const limits = sk.skProt.sysctlMem?.(sk.net);
  return limits !== undefined ? (limits[index] as number) : Infinity;
}

/** __sk_mem_raise_allocated: false = the protocol's memory is used up and this socket has its share. */
export function __skMemRaiseAllocated(sk: Sock, size: number, amt: number, kind: number): boolean {
  const mem = sk.skProtMem as ProtoMem;
  mem.allocated += amt;
  const limits = (sk.skProt.sysctlMem as (net: Net) => ArrayLike<number>)(sk.net);
  if (mem.allocated <= (limits[0] as number)) {
    skLeaveMemoryPressure(sk);
    return true;
  }
  if (mem.allocated > (limits[1] as number)) skEnterMemoryPressure(sk);
  if (mem.allocated <= (limits[2] as number)) {
    // Everybody gets a minimum, even under pressure.
    if (kind === SK_MEM_RECV) {
      if (sk.skRmemAlloc < (sk.skProt.sysctlRmem0?.(sk.net) ?? 4096)) return true;
    } else {
      const wmem0 = sk.skProt.sysctlWmem0?.(sk.net) ?? 4096;
      if (sk.skType === 1 ? sk.skWmemQueued < wmem0 : sk.skWmemAlloc < wmem0) return true;
    }
    if (!mem.pressure) return true;
    const pages = skMemPages(sk.skWmemQueued + sk.skRmemAlloc + sk.skForwardAlloc);
    if ((limits[2] as number) > mem.sockets * pages) return true;
  }
  if (kind === SK_MEM_SEND && sk.skType === 1) {
    skStreamModerateSndbuf(sk);
    // Fail only a socket that is below its send buffer: the others wait for it anyway.
    if (sk.skWmemQueued + size >= sk.skSndbuf) return true;
  }
  mem.allocated -= amt;
  return false;
}

function __skMemSchedule(sk: Sock, size: number, kind: number): boolean {
  const amt = skMemPages(size);
  sk.skForwardAlloc += amt << 12;
  if (__skMemRaiseAllocated(sk, size, amt, kind)) return true;
  sk.skForwardAlloc -= amt << 12;
  return false;
}

/** __sk_mem_reduce_allocated. */
export function __skMemReduceAllocated(sk: Sock, amount: number): void {
  const mem = sk.skProtMem as ProtoMem;
  mem.allocated -= amount;
  if (mem.pressure && mem.allocated < skProtMemLimits(sk, 0)) skLeaveMemoryPressure(sk);
}

/** sk_wmem_schedule: whether `size` more bytes may be queued for sending; reserves them. */
/* notrace */
export function skWmemSchedule(sk: Sock, size: number): boolean {
  if (sk.skProtMem === null) return true;
  const delta = size - sk.skForwardAlloc;
  return delta <= 0 || __skMemSchedule(sk, delta, SK_MEM_SEND);
}

/** sk_rmem_schedule: the same for receiving. */
/* notrace */
export function skRmemSchedule(sk: Sock, _skb: number, size: number): boolean {
  if (sk.skProtMem === null) return true;
  const delta = size - sk.skForwardAlloc;
  return delta <= 0 || __skMemSchedule(sk, delta, SK_MEM_RECV);
}

/** sk_forced_mem_schedule: what must be sent (FIN, a probe) is accounted whatever the limits say. */
export function skForcedMemSchedule(sk: Sock, size: number): void {
  const delta = size - sk.skForwardAlloc;
  if (delta <= 0) return;
  const amt = skMemPages(delta);
  sk.skForwardAlloc += amt << 12;
  if (sk.skProtMem !== null) sk.skProtMem.allocated += amt;
}

/** sk_unused_reserved_mem. */
/* notrace */
export function skUnusedReservedMem(sk: Sock): number {
  if (sk.skReservedMem === 0) return 0;
  const unused = sk.skReservedMem - sk.skWmemQueued - sk.skRmemAlloc;
  return unused > 0 ? unused : 0;
}

/** __sk_mem_reclaim: gives whole pages of the forward allocation back. */
export function __skMemReclaim(sk: Sock, amount: number): void {
  amount >>= 12;
  sk.skForwardAlloc -= amount << 12;
  __skMemReduceAllocated(sk, amount);
}

/** sk_mem_reclaim. */
/* notrace */
export function skMemReclaim(sk: Sock): void {
  if (sk.skProtMem === null) return;
  const reclaimable = sk.skForwardAlloc - skUnusedReservedMem(sk);
  if (reclaimable >= SK_MEM_QUANTUM) __skMemReclaim(sk, reclaimable);
}
/** sk_mem_reclaim_final. */
/* notrace */
export function skMemReclaimFinal(sk: Sock): void {
  sk.skReservedMem = 0;
  skMemReclaim(sk);
}

/** sk_mem_charge: uses `size` bytes of what was scheduled. */
/* notrace */
export function skMemCharge(sk: Sock, size: number): void {
  if (sk.skProtMem === null) return;
  sk.skForwardAlloc -= size;
}
/** sk_mem_uncharge. */
/* notrace */
export function skMemUncharge(sk: Sock, size: number): void {
  if (sk.skProtMem === null) return;
  sk.skForwardAlloc += size;
  if (sk.skForwardAlloc >= SK_MEM_QUANTUM) skMemReclaim(sk);
}

// ---- streams: sk_wmem_queued (include/net/sock.h) -------------------------------------------------------------------

/** sk_wmem_queued_add. */
/* notrace */
export function skWmemQueuedAdd(sk: Sock, val: number): void {
  sk.skWmemQueued += val;
}

/** sk_stream_moderate_sndbuf: shrinks the send buffer to what is queued, unless the user has set it. */
/* notrace */
export function skStreamModerateSndbuf(sk: Sock): void {
  if ((sk.skUserlocks & SOCK_SNDBUF_LOCK) !== 0) return;
  let val = Math.min(sk.skSndbuf, sk.skWmemQueued >> 1);
  val = Math.max(val, skUnusedReservedMem(sk));
  sk.skSndbuf = Math.max(val, SOCK_MIN_SNDBUF);
}

// ---- page frags -----------------------------------------------------------------------------------------------------

/** SKB_FRAG_PAGE_ORDER: 32 KiB. */
const FRAG_PAGE_SIZE = 32768;

/* notrace */
function pageFragRelease(pfrag: PageFrag): void {
  if (pfrag.page === 0) return;
  putPage(pfrag.page);
  pfrag.page = 0;
  pfrag.offset = 0;
  pfrag.size = 0;
}

/** skb_page_frag_refill: makes sure that `pfrag` has at least `sz` bytes left; takes a smaller page when memory is low. */
export function skbPageFragRefill(sz: number, pfrag: PageFrag): boolean {
  if (pfrag.page !== 0) {
    if (pageRefs(pfrag.page) === 1) {
      pfrag.offset = 0;
      return true;
    }
    if (pfrag.offset + sz <= pfrag.size) return true;
    putPage(pfrag.page);
    pfrag.page = 0;
  }
  pfrag.offset = 0;
  for (let size = FRAG_PAGE_SIZE; size >= sz; size = size > 16384 ? 16384 : size > 4096 ? 4096 : 0) {
    pfrag.page = allocPage(size);
    if (pfrag.page !== 0) {
      pfrag.size = size;
      return true;
    }
  }
  pfrag.size = 0;
  return false;
}

/** sk_page_frag_refill: at least 32 bytes to append to, or memory pressure. */
export function skPageFragRefill(sk: Sock, pfrag: PageFrag = sk.pageFrag): boolean {
  if (skbPageFragRefill(32, pfrag)) return true;
  skEnterMemoryPressure(sk);
  skStreamModerateSndbuf(sk);
  return false;
}

/** What a protocol's ioctl returns for a request that it does not know; the caller tries the next, or says ENOTTY. */
export const ENOIOCTLCMD = 515;

// ---- sock_no_*: the entries of proto_ops that a family refuses ------------------------------------------------------

export function sockNoAccept(_sock: Socket, _newsock: Socket, _flags: number): number {
  return -EOPNOTSUPP;
}
export function sockNoListen(_sock: Socket, _backlog: number): number {
  return -EOPNOTSUPP;
}
export function sockNoConnect(_sock: Socket, _addr: SockAddr, _flags: number): number {
  return -EOPNOTSUPP;
}
export function sockNoShutdown(_sock: Socket, _how: number): number {
  return -EOPNOTSUPP;
}

// ---- sock_common_*: proto_ops that hand on to the protocol ----------------------------------------------------------

/** sock_common_setsockopt. */
export function sockCommonSetsockopt(sock: Socket, level: number, optname: number, optval: OptVal): number {
  const sk = sock.sk as Sock;
  return sk.skProt.setsockopt !== undefined ? sk.skProt.setsockopt(sk, level, optname, optval) : -ENOPROTOOPT;
}
/** sock_common_getsockopt. */
export function sockCommonGetsockopt(sock: Socket, level: number, optname: number, err: ErrBox): OptVal {
  const sk = sock.sk as Sock;
  if (sk.skProt.getsockopt !== undefined) return sk.skProt.getsockopt(sk, level, optname, err);
  err.value = -ENOPROTOOPT;
  return 0;
}

export { copyToIter, msgIterCopyTo } from "./iov_iter.ts";
