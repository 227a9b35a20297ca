/** struct sock, struct proto, struct proto_ops, struct socket: what every protocol's socket has in common. */

import type { NetDevice } from "./dev.ts";
import type { DstEntry } from "./dst.ts";
import type { Net } from "./net_namespace.ts";
import { SkBuffHead } from "./skbuff.ts";
import type { Wakeable } from "../../kernel/kernel.ts";
import type { TimerList } from "../../kernel/timer.ts";

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
}

/** struct sockaddr_in / sockaddr_in6 / sockaddr_ll, as a value. */
export interface SockAddr {
  family: number;
  /** IPv4: u32 in host order (0x7f000001). */
  addr: number;
  port: number;
  /** AF_PACKET and scoped addresses. */
  ifindex?: number;
  protocol?: number;
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
  /** sysctl_mem / memory_allocated, in pages of 4 KiB. */
  readonly maxHeader: number;
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
  sk: Sock | null = null;
  readonly net: Net;
  /** O_NONBLOCK of the file. */
  nonblock = false;

  // The wait queue (struct socket_wq). Waiters run outside of kernel context.
  wakePending = false;
  /** EPOLL* bits that were signalled since the last onWake (sk_wake_async / wake_up_poll keys). */
  wakeEvents = 0;
  readonly waiters: SocketWaiter[] = [];

  constructor(net: Net, type: number) {
    this.net = net;
    this.type = type;
  }

  onWake(): void {
    const events = this.wakeEvents;
    this.wakeEvents = 0;
    // A waiter may remove itself or others while it runs.
    for (let i = this.waiters.length - 1; i >= 0; i--) {
      const w = this.waiters[i];
      if (w !== undefined && (w.mask & events) !== 0) w.wake(events);
    }
  }
}

/** One entry of a socket's wait queue: `wake` is called (outside of kernel context) when one of `mask` was signalled. */
export interface SocketWaiter {
  mask: number;
  wake(events: number): void;
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
  skRcvtimeo = Infinity;
  skSndtimeo = Infinity;
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

export function sockSetFlag(sk: Sock, flag: number): void {
  sk.skFlags |= 1 << flag;
}
export function sockResetFlag(sk: Sock, flag: number): void {
  sk.skFlags &= ~(1 << flag);
}
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
