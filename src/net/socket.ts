/**
 * net/socket.c: from a system call to the protocol. Descriptors and their files are in src/fs/.
 *
 * ```
 *   sys_socket -> sock_create -> __sock_create -> net_families[family]->create
 *   sys_send -> sys_sendto -> sock_sendmsg -> __sock_sendmsg -> sock->ops->sendmsg
 * ```
 *
 * The calls here never sleep: what would block returns -EAGAIN (connect: -EINPROGRESS), whether the file has O_NONBLOCK or
 * not. syscalls_async.ts has the blocking forms, as promises. A call returns its result (>= 0) or a negative errno.
 */

import type { FileOperations } from "../fs/file.ts";
import { File, fileReadable, fileWritable, filpClose } from "../fs/file.ts";
import type { PipeInodeInfo } from "../fs/pipe.ts";
import { PAGE_SIZE, pipeBuf, pipeConsume, pipeEmpty, pipePush, pipeSpace, wakeupPipeWriters } from "../fs/pipe.ts";
import { kernel } from "../kernel/kernel.ts";
import { u8 } from "../mm/mem.ts";
import {
  EAFNOSUPPORT,
  EAGAIN,
  EBADF,
  ECONNABORTED,
  EEXIST,
  EINVAL,
  ENOBUFS,
  ENOMEM,
  ENOTSOCK,
  ENOTTY,
  EOPNOTSUPP,
} from "../uapi/errno.ts";
import { F_DUPFD, F_GETFD, F_GETFL, F_SETFD, F_SETFL, FD_CLOEXEC, O_NONBLOCK, O_RDWR } from "../uapi/fcntl.ts";
import { POLLERR, POLLHUP, POLLNVAL } from "../uapi/poll.ts";
import {
  MSG_CMSG_CLOEXEC,
  MSG_DONTWAIT,
  MSG_EOR,
  MSG_MORE,
  MSG_NOSIGNAL,
  MSG_OOB,
  MSG_SENDPAGE_DECRYPTED,
  MSG_SENDPAGE_NOPOLICY,
  MSG_SPLICE_PAGES,
  MSG_TRUNC,
  MSG_WAITFORONE,
  PF_INET,
  PF_PACKET,
  SOCK_CLOEXEC,
  SOCK_MAX,
  SOCK_NONBLOCK,
  SOCK_PACKET,
  SOCK_TYPE_MASK,
  SOL_SOCKET,
} from "../uapi/socket.ts";
import { FIOCLEX, FIONBIO, FIONCLEX } from "../uapi/sockios.ts";
import { PIPE_DEF_BUFFERS, SPLICE_F_MORE } from "../uapi/splice.ts";
import { msgIterAdvance, msgIterInit, msgIterInitVec } from "./core/iov_iter.ts";
import type { Net } from "./core/net_namespace.ts";
import { allocPage, putPage } from "./core/skbuff.ts";
import type { OptVal, PageFrag, Sock, SockAddr, SocketWaiter, WaitCallback } from "./core/sock.ts";
import { ENOIOCTLCMD, ErrBox, Msghdr, Socket } from "./core/sock.ts";
import { sockGetsockopt, sockSetsockopt } from "./core/sock_options.ts";

// ---- address families -----------------------------------------------------------------------------------------------

/** struct net_proto_family. */
export interface NetProtoFamily {
  readonly family: number;
  /** The C symbol of the table: "inet_family_ops". */
  readonly symbol: string;
  /** Fills `sock`. 0 or a negative errno. `kern`: no capability is asked for. */
  create(net: Net, sock: Socket, protocol: number, kern: boolean): number;
}

const NPROTO = 46;

/** net_families[]. One table a process: it holds code only. */
export const netFamilies: (NetProtoFamily | null)[] = new Array<NetProtoFamily | null>(NPROTO).fill(null);

/** sock_register: 0, -ENOBUFS for a family out of range, -EEXIST when another one has the number. */
export function sockRegister(ops: NetProtoFamily): number {
  if (ops.family >= NPROTO) return -ENOBUFS;
  if (netFamilies[ops.family] !== null) return -EEXIST;
  netFamilies[ops.family] = ops;
  return 0;
}

/** sock_unregister. */
export function sockUnregister(family: number): void {
  netFamilies[family] = null;
}

// ---- struct socket and its file -------------------------------------------------------------------------------------

/** sock_alloc. */
export function sockAlloc(net: Net, type: number): Socket {
  return new Socket(net, type);
}

/** sock_release: close() of the family, and everybody who waits is told. */
export function sockRelease(sock: Socket): void {
  if (sock.ops !== null && sock.sk !== null) sock.ops.release(sock);
  sock.released = true;
  if (sock.waiters.length !== 0) {
    sock.wakeEvents = -1;
    kernel.wake(sock);
  }
}

/** socket_file_ops. */
const socketFileOps: FileOperations = {
  poll(file: File): number {
    const sock = file.privateData as Socket;
    return sock.ops.poll(sock);
  },
  waitQueue(file: File): SocketWaiter[] {
    return (file.privateData as Socket).waiters;
  },
  waitCallbacks(file: File): WaitCallback[] {
    return (file.privateData as Socket).callbacks;
  },
  release(file: File): void {
    sockRelease(file.privateData as Socket);
  },
  ioctl(file: File, cmd: number, arg: number): number {
    return sockIoctl(file.privateData as Socket, cmd, arg);
  },
  spliceRead: sockSpliceRead,
  spliceWrite: spliceToSocket,
  spliceEof: sockSpliceEof,
};

/** sock_splice_read. */
function sockSpliceRead(file: File, _pos: number, pipe: PipeInodeInfo, len: number, flags: number): number {
  const sock = file.privateData as Socket;
  if (sock.ops.spliceRead === undefined) return copySpliceRead(sock, pipe, len);
  return sock.ops.spliceRead(sock, pipe as never, len, flags);
}

/** copy_splice_read: one recvmsg into fresh pages, for protocols without splice_read. */
function copySpliceRead(sock: Socket, pipe: PipeInodeInfo, len: number): number {
  const msg = new Msghdr();
  const pages: number[] = [];
  const room = Math.min(len, pipeSpace(pipe) * PAGE_SIZE);
  for (let done = 0; done < room; done += PAGE_SIZE) {
    const page = allocPage(PAGE_SIZE);
    if (page === 0) break;
    pages.push(page);
    msg.iov.push(new Uint8Array(u8.buffer, page, Math.min(PAGE_SIZE, room - done)));
  }
  msgIterInitVec(msg, msg.iov);
  const n = pages.length === 0 ? -ENOMEM : sockRecvmsg(sock, msg, msg.count, MSG_DONTWAIT);
  for (let i = 0, done = 0; i < pages.length; i++, done += PAGE_SIZE) {
    if (done < n) pipePush(pipe, pages[i] as number, 0, Math.min(PAGE_SIZE, n - done));
    else putPage(pages[i] as number);
  }
  return n;
}

/** splice_to_socket: what the pipe holds is sent by reference, up to 16 pages a send. */
function spliceToSocket(pipe: PipeInodeInfo, file: File, _pos: number, len: number, flags: number): number {
  const sock = file.privateData as Socket;
  const tail = pipe.tail;
  let spliced = 0;
  let ret = 0;
  while (len > 0) {
    if (pipeEmpty(pipe)) {
      ret = pipe.writers === 0 ? 0 : -EAGAIN;
      break;
    }
    const msg = new Msghdr();
    let remain = len;
    let i = pipe.tail;
    while (i < pipe.head) {
      const buf = pipeBuf(pipe, i);
      const seg = Math.min(remain, buf.len);
      msg.iov.push(new Uint8Array(u8.buffer, buf.page + buf.offset, seg));
      remain -= seg;
      if (remain === 0 || msg.iov.length === PIPE_DEF_BUFFERS) break;
      i++;
    }
    msgIterInitVec(msg, msg.iov);
    msg.flags = MSG_SPLICE_PAGES;
    if ((flags & SPLICE_F_MORE) !== 0 || (remain > 0 && pipe.head > i)) msg.flags |= MSG_MORE;
    if (sock.nonblock) msg.flags |= MSG_DONTWAIT;
    ret = sockSendmsg(sock, msg, msg.count);
    if (ret <= 0) break;
    spliced += ret;
    len -= ret;
    pipeConsume(pipe, ret);
  }
  if (pipe.tail !== tail) wakeupPipeWriters(pipe);
  return spliced > 0 ? spliced : ret;
}

/** sock_splice_eof. */
function sockSpliceEof(file: File): void {
  const sock = file.privateData as Socket;
  sock.ops.spliceEof?.(sock);
}

/** The socket of a file, or null if it is something else (an epoll instance). */
/* notrace */
export function sockFromFile(file: File): Socket | null {
  return file.fOp === socketFileOps ? (file.privateData as Socket) : null;
}

/** sock_map_fd: a descriptor for `sock`; `flags` is SOCK_CLOEXEC | SOCK_NONBLOCK. Releases the socket on failure. */
export function sockMapFd(sock: Socket, flags: number): number {
  sock.nonblock = (flags & SOCK_NONBLOCK) !== 0;
  const file = new File(socketFileOps, sock, O_RDWR | (flags & O_NONBLOCK));
  const fd = sock.net.files.alloc(file, (flags & SOCK_CLOEXEC) !== 0);
  if (fd < 0) sockRelease(sock);
  return fd;
}

let lookupErr = 0;

/** sockfd_lookup_light: the socket of a descriptor; null with `lookupErr` -EBADF or -ENOTSOCK. */
function sockfdLookupLight(net: Net, fd: number): Socket | null {
  const file = net.files.fdt[fd];
  if (file === undefined || file === null) {
    lookupErr = -EBADF;
    return null;
  }
  if (file.fOp !== socketFileOps) {
    lookupErr = -ENOTSOCK;
    return null;
  }
  return file.privateData as Socket;
}

/** The socket of a descriptor, for adapters that stand on the system calls; null if there is none. */
/* notrace */
export function sockfdSocket(net: Net, fd: number): Socket | null {
  return sockfdLookupLight(net, fd);
}

// ---- socket(2) ------------------------------------------------------------------------------------------------------

/** __sock_create: null with `err`. */
export function __sockCreate(
  net: Net,
  family: number,
  type: number,
  protocol: number,
  kern: boolean,
  err: ErrBox,
): Socket | null {
  if (family < 0 || family >= NPROTO) {
    err.value = -EAFNOSUPPORT;
    return null;
  }
  if (type < 0 || type >= SOCK_MAX) {
    err.value = -EINVAL;
    return null;
  }
  // What SOCK_PACKET was before there was PF_PACKET.
  if (family === PF_INET && type === SOCK_PACKET) family = PF_PACKET;
  const sock = sockAlloc(net, type);
  const pf = netFamilies[family] as NetProtoFamily | null;
  if (pf === null) {
    err.value = -EAFNOSUPPORT;
    return null;
  }
  err.value = pf.create(net, sock, protocol, kern);
  if (err.value < 0) {
    sockRelease(sock);
    return null;
  }
  return sock;
}

/** sock_create. */
export function sockCreate(net: Net, family: number, type: number, protocol: number, err: ErrBox): Socket | null {
  return __sockCreate(net, family, type, protocol, false, err);
}

/** sock_create_kern: a socket of the stack's own. */
export function sockCreateKern(net: Net, family: number, type: number, protocol: number, err: ErrBox): Socket | null {
  return __sockCreate(net, family, type, protocol, true, err);
}

const createErr: ErrBox = new ErrBox();

/**
 * socket(2).
 *
 * @param type SOCK_*, with SOCK_NONBLOCK and SOCK_CLOEXEC if wanted
 * @returns a descriptor, or -EAFNOSUPPORT, -EINVAL, -ESOCKTNOSUPPORT, -EPROTONOSUPPORT, -EPERM, -EMFILE
 */
export function sysSocket(net: Net, family: number, type: number, protocol: number): number {
  const k = net.kernel;
  k.enter();
  try {
    const flags = type & ~SOCK_TYPE_MASK;
    if ((flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) !== 0) return -EINVAL;
    const sock = sockCreate(net, family, type & SOCK_TYPE_MASK, protocol, createErr);
    if (sock === null) return createErr.value;
    return sockMapFd(sock, flags);
  } finally {
    k.exit();
  }
}

// ---- names and connections ------------------------------------------------------------------------------------------

/** bind(2). */
export function sysBind(net: Net, fd: number, addr: SockAddr): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    return sock === null ? lookupErr : sock.ops.bind(sock, addr);
  } finally {
    k.exit();
  }
}

/** listen(2). `backlog` is cut to net.core.somaxconn; a negative one is the largest. */
export function sysListen(net: Net, fd: number, backlog: number): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    if (sock === null) return lookupErr;
    const somaxconn = net.core.sysctlSomaxconn;
    return sock.ops.listen(sock, backlog >>> 0 > somaxconn ? somaxconn : backlog);
  } finally {
    k.exit();
  }
}

/** A struct socket for the next accept: one is made per connection, not per call that finds none. */
let spare: Socket | null = null;

/**
 * accept4(2): the descriptor of the oldest connection, -EAGAIN when there is none.
 *
 * @param addr filled in with the peer's address; null = not wanted
 * @param flags SOCK_NONBLOCK | SOCK_CLOEXEC
 */
export function sysAccept4(net: Net, fd: number, addr: SockAddr | null, flags: number): number {
  const k = net.kernel;
  k.enter();
  try {
    if ((flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) !== 0) return -EINVAL;
    const sock = sockfdLookupLight(net, fd);
    if (sock === null) return lookupErr;
    let newsock = spare;
    spare = null;
    if (newsock === null || newsock.net !== net || newsock.type !== sock.type) newsock = sockAlloc(net, sock.type);
    newsock.ops = sock.ops;
    newsock.opsSetBy = sock.opsSetBy;
    const err = sock.ops.accept(sock, newsock, O_NONBLOCK);
    if (err < 0) {
      spare = newsock;
      return err;
    }
    if (addr !== null && newsock.ops.getname(newsock, addr, 2) < 0) {
      sockRelease(newsock);
      return -ECONNABORTED;
    }
    return sockMapFd(newsock, flags);
  } finally {
    k.exit();
  }
}

/** accept(2). */
export function sysAccept(net: Net, fd: number, addr: SockAddr | null): number {
  return sysAccept4(net, fd, addr, 0);
}

/** connect(2): 0, -EINPROGRESS while a handshake goes on, -EALREADY when asked again meanwhile. */
export function sysConnect(net: Net, fd: number, addr: SockAddr): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    return sock === null ? lookupErr : sock.ops.connect(sock, addr, O_NONBLOCK);
  } finally {
    k.exit();
  }
}

/** getsockname(2): fills `addr`. */
export function sysGetsockname(net: Net, fd: number, addr: SockAddr): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    return sock === null ? lookupErr : sock.ops.getname(sock, addr, 0);
  } finally {
    k.exit();
  }
}

/** getpeername(2): fills `addr`. */
export function sysGetpeername(net: Net, fd: number, addr: SockAddr): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    return sock === null ? lookupErr : sock.ops.getname(sock, addr, 1);
  } finally {
    k.exit();
  }
}

/** shutdown(2). `how`: SHUT_RD, SHUT_WR, SHUT_RDWR. */
export function sysShutdown(net: Net, fd: number, how: number): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    return sock === null ? lookupErr : sock.ops.shutdown(sock, how);
  } finally {
    k.exit();
  }
}

/** What only callers inside the stack may say. */
const MSG_INTERNAL_SENDMSG_FLAGS: number = MSG_SPLICE_PAGES | MSG_SENDPAGE_NOPOLICY | MSG_SENDPAGE_DECRYPTED;

// ---- sending --------------------------------------------------------------------------------------------------------

/** sock_sendmsg: `size` bytes of msg's iterator. */
export function sockSendmsg(sock: Socket, msg: Msghdr, size: number): number {
  return __sockSendmsg(sock, msg, size);
}

/** __sock_sendmsg: hands the message to the family. */
export function __sockSendmsg(sock: Socket, msg: Msghdr, size: number): number {
  return sock.ops.sendmsg(sock, msg, size);
}

// Calls with one buffer use these, so that a send or a receive makes no garbage. `busy`: a hook called back in the middle.
const sendMsg: Msghdr = new Msghdr();
let sendMsgBusy = false;
const recvMsg: Msghdr = new Msghdr();
let recvMsgBusy = false;
/** What they refer to between calls. */
const NO_BYTES: Uint8Array = new Uint8Array(0);

/**
 * send(2).
 *
 * @param buff bytes to send; only the first `len` of them
 * @param flags MSG_*
 * @returns how many bytes were taken, or a negative errno (-EAGAIN: no room)
 */
export function sysSend(net: Net, fd: number, buff: Uint8Array, len: number, flags: number): number {
  return sysSendto(net, fd, buff, len, flags, null);
}

/** sendto(2). `addr` null = the connected peer. */
export function sysSendto(
  net: Net,
  fd: number,
  buff: Uint8Array,
  len: number,
  flags: number,
  addr: SockAddr | null,
): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    if (sock === null) return lookupErr;
    if (len > buff.length || len < 0) return -EINVAL;
    const nested = sendMsgBusy;
    const msg = nested ? new Msghdr() : sendMsg;
    sendMsgBusy = true;
    msgIterInit(msg, buff, len);
    msg.name = addr;
    msg.control = null;
    msg.copied = 0;
    msg.flags = (sock.nonblock ? flags | MSG_DONTWAIT : flags) & ~MSG_INTERNAL_SENDMSG_FLAGS;
    const err = sockSendmsg(sock, msg, len);
    msg.name = null;
    msg.iov[0] = NO_BYTES;
    sendMsgBusy = nested;
    return err;
  } finally {
    k.exit();
  }
}

/** sendmsg(2): msg.iov, msg.name and msg.control. */
export function sysSendmsg(net: Net, fd: number, msg: Msghdr, flags: number): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    if (sock === null) return lookupErr;
    msgIterInitVec(msg, msg.iov);
    msg.copied = 0;
    msg.flags = (sock.nonblock ? flags | MSG_DONTWAIT : flags) & ~MSG_INTERNAL_SENDMSG_FLAGS;
    return sockSendmsg(sock, msg, msg.count);
  } finally {
    k.exit();
  }
}

/** A sendmsg(2) that has slept goes on behind the `done` bytes that its calls before have taken (syscalls_async.ts). */
export function sysSendmsgRest(net: Net, fd: number, msg: Msghdr, done: number, flags: number): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    if (sock === null) return lookupErr;
    msgIterInitVec(msg, msg.iov);
    msgIterAdvance(msg, done);
    msg.flags = flags & ~MSG_INTERNAL_SENDMSG_FLAGS;
    return sockSendmsg(sock, msg, msg.count);
  } finally {
    k.exit();
  }
}

/** sendmmsg(2): how many messages were sent, or the first one's error. Their byte counts go to `lens`. */
export function sysSendmmsg(net: Net, fd: number, msgs: Msghdr[], lens: number[], flags: number): number {
  for (let i = 0; i < msgs.length; i++) {
    const n = sysSendmsg(net, fd, msgs[i] as Msghdr, flags);
    if (n < 0) return i > 0 ? i : n;
    lens[i] = n;
  }
  return msgs.length;
}

/** read(2) or write(2) of a file that is no socket. */
function fileIo(net: Net, file: File, io: FileIo, may: boolean, buf: Uint8Array, len: number): number {
  if (!may) return -EBADF;
  if (len > buf.length || len < 0) return -EINVAL;
  const k = net.kernel;
  k.enter();
  try {
    return io(file, buf, len);
  } finally {
    k.exit();
  }
}
type FileIo = (file: File, buf: Uint8Array, len: number) => number;

/** write(2). */
export function sysWrite(net: Net, fd: number, buff: Uint8Array, len: number): number {
  const file = net.files.get(fd);
  if (file?.fOp.write !== undefined) return fileIo(net, file, file.fOp.write, fileWritable(file), buff, len);
  return sysSendto(net, fd, buff, len, 0, null);
}

/** writev(2). */
export function sysWritev(net: Net, fd: number, iov: Uint8Array[]): number {
  const msg = new Msghdr();
  msg.iov = iov;
  return sysSendmsg(net, fd, msg, 0);
}

// ---- receiving ------------------------------------------------------------------------------------------------------

/** sock_recvmsg. */
export function sockRecvmsg(sock: Socket, msg: Msghdr, size: number, flags: number): number {
  return sock.ops.recvmsg(sock, msg, size, flags);
}

/** recv(2). */
export function sysRecv(net: Net, fd: number, ubuf: Uint8Array, size: number, flags: number): number {
  return sysRecvfrom(net, fd, ubuf, size, flags, null);
}

/**
 * recvfrom(2).
 *
 * @param ubuf where to; at most `size` bytes
 * @param addr filled in with where from, `family` AF_UNSPEC (0) when the protocol names nobody; null = not wanted
 * @returns how many bytes came (0: the peer has closed, or an empty datagram), or a negative errno (-EAGAIN: nothing there)
 */
export function sysRecvfrom(
  net: Net,
  fd: number,
  ubuf: Uint8Array,
  size: number,
  flags: number,
  addr: SockAddr | null,
): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    if (sock === null) return lookupErr;
    if (size > ubuf.length || size < 0) return -EINVAL;
    const nested = recvMsgBusy;
    const msg = nested ? new Msghdr() : recvMsg;
    recvMsgBusy = true;
    msgIterInit(msg, ubuf, size);
    if (addr !== null) addr.family = 0;
    msg.name = addr;
    msg.control = null;
    msg.flags = 0;
    const err = sockRecvmsg(sock, msg, size, flags | MSG_DONTWAIT);
    msg.name = null;
    msg.iov[0] = NO_BYTES;
    recvMsgBusy = nested;
    return err;
  } finally {
    k.exit();
  }
}

/**
 * recvmsg(2): fills msg.iov, msg.name (its `family` is AF_UNSPEC when there is no address), msg.control (give an array to
 * get control messages; null gets MSG_CTRUNC where there would have been some) and msg.flags.
 */
export function sysRecvmsg(net: Net, fd: number, msg: Msghdr, flags: number): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    if (sock === null) return lookupErr;
    msgIterInitVec(msg, msg.iov);
    if (msg.name !== null) msg.name.family = 0;
    if (msg.control !== null) msg.control.length = 0;
    msg.flags = flags & MSG_CMSG_CLOEXEC;
    return sockRecvmsg(sock, msg, msg.count, flags | MSG_DONTWAIT);
  } finally {
    k.exit();
  }
}

/** recvmmsg(2): how many messages came, or the first one's error. Their byte counts go to `lens`. */
export function sysRecvmmsg(net: Net, fd: number, msgs: Msghdr[], lens: number[], flags: number): number {
  for (let i = 0; i < msgs.length; i++) {
    const n = sysRecvmsg(net, fd, msgs[i] as Msghdr, flags & ~MSG_WAITFORONE);
    if (n < 0) return i > 0 ? i : n;
    lens[i] = n;
  }
  return msgs.length;
}

// ---- lent buffers: no copy between the caller's memory and the stack's ----------------------------------------------

const lentMsg: Msghdr = new Msghdr();
const COMMIT_FLAGS: number = MSG_OOB | MSG_EOR | MSG_MORE | MSG_NOSIGNAL | MSG_DONTWAIT;
const peeked: { addr: number } = { addr: 0 };

/**
 * Lends a window of the memory that will be sent, to be filled in place. It is the caller's until `sysCommit`, or until
 * he reserves again; what it holds at first is undefined.
 *
 * @param n how many bytes are wanted; the window may be shorter (at most 32 KiB)
 * @returns a view of at least one byte, or a negative errno: what send(2) would return (-EAGAIN: the send buffer is full),
 * -EOPNOTSUPP if this is no TCP socket, -EINVAL if n is not positive
 * @example
 * const view = host.sys.reserve(fd, 16384);
 * if (typeof view !== "number") {
 *   view.fill(7);
 *   host.sys.commit(fd, view.length, 0);
 * }
 */
export function sysReserve(net: Net, fd: number, n: number): Uint8Array | number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    if (sock === null) return lookupErr;
    if (sock.ops.reserve === undefined) return -EOPNOTSUPP;
    if (!(n > 0)) return -EINVAL;
    const len = sock.ops.reserve(sock, n);
    if (len < 0) return len;
    const frag = (sock.sk as Sock).lentFrag as PageFrag;
    return u8.subarray(frag.page + frag.offset, frag.page + frag.offset + len);
  } finally {
    k.exit();
  }
}

/**
 * Sends the first `n` bytes of the window that was reserved last. What is left of it can be committed later, from where
 * this commit has ended.
 *
 * @returns `n`; less, or -EAGAIN, if memory is short: what was not taken begins the rest of the window. Otherwise what
 * send(2) returns. -EINVAL if n is more than is reserved, or for flags but MSG_OOB, MSG_EOR, MSG_MORE, MSG_NOSIGNAL
 */
export function sysCommit(net: Net, fd: number, n: number, flags: number): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    if (sock === null) return lookupErr;
    if (sock.ops.reserve === undefined) return -EOPNOTSUPP;
    const sk = sock.sk as Sock;
    if (!(n >= 0 && n <= sk.lentLen) || (flags & ~COMMIT_FLAGS) !== 0) return -EINVAL;
    if (n === 0) return 0;
    lentMsg.lent = sk.lentFrag;
    lentMsg.count = n;
    lentMsg.copied = 0;
    lentMsg.flags = flags | MSG_DONTWAIT;
    const done = sockSendmsg(sock, lentMsg, n);
    if (done > 0) sk.lentLen -= done;
    return done;
  } finally {
    lentMsg.lent = null;
    k.exit();
  }
}

/**
 * Shows the next bytes to be received where they lie. They stay there until `sysConsume`, or until they are received in
 * another way; nobody may write to them.
 *
 * @returns a view of the first piece that is in one place: one frame's payload, or up to 32 KiB; empty at the end of the
 * stream; or a negative errno: what recv(2) would return (-EAGAIN: nothing there), -EOPNOTSUPP if this is no TCP socket
 */
export function sysPeek(net: Net, fd: number): Uint8Array | number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    if (sock === null) return lookupErr;
    if (sock.ops.peek === undefined) return -EOPNOTSUPP;
    const len = sock.ops.peek(sock, peeked);
    return len < 0 ? len : len === 0 ? NO_BYTES : u8.subarray(peeked.addr, peeked.addr + len);
  } finally {
    k.exit();
  }
}

/**
 * Takes `n` bytes out of the receive queue: those that `sysPeek` has shown, and more if there are more. The window that
 * `sysPeek` gave is invalid afterwards.
 *
 * @returns how many were taken, or what recv(2) returns
 */
export function sysConsume(net: Net, fd: number, n: number): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    if (sock === null) return lookupErr;
    if (sock.ops.peek === undefined) return -EOPNOTSUPP;
    if (!(n >= 0)) return -EINVAL;
    if (n === 0) return 0;
    lentMsg.flags = 0;
    return sockRecvmsg(sock, lentMsg, n, MSG_TRUNC | MSG_DONTWAIT);
  } finally {
    k.exit();
  }
}

/** read(2). */
export function sysRead(net: Net, fd: number, ubuf: Uint8Array, size: number): number {
  const file = net.files.get(fd);
  if (file?.fOp.read !== undefined) return fileIo(net, file, file.fOp.read, fileReadable(file), ubuf, size);
  return sysRecvfrom(net, fd, ubuf, size, 0, null);
}

/** readv(2). */
export function sysReadv(net: Net, fd: number, iov: Uint8Array[]): number {
  const msg = new Msghdr();
  msg.iov = iov;
  return sysRecvmsg(net, fd, msg, 0);
}

// ---- options --------------------------------------------------------------------------------------------------------

/**
 * setsockopt(2). Integer options take a number (or at least 4 little-endian bytes), others what their level says:
 * SO_LINGER `{ onoff, linger }`, SO_RCVTIMEO `{ tvSec, tvUsec }`, SO_BINDTODEVICE and TCP_CONGESTION a string.
 */
export function sysSetsockopt(net: Net, fd: number, level: number, optname: number, optval: OptVal): number {
  const k = net.kernel;
  k.enter();
  try {
    const sock = sockfdLookupLight(net, fd);
    if (sock === null) return lookupErr;
    if (level === SOL_SOCKET) return sockSetsockopt(sock, level, optname, optval);
    return sock.ops.setsockopt(sock, level, optname, optval);
  } finally {
    k.exit();
  }
}

/** getsockopt(2): the value; `err.value` is 0 or a negative errno. */
export function sysGetsockopt(net: Net, fd: number, level: number, optname: number, err: ErrBox): OptVal {
  const k = net.kernel;
  k.enter();
  try {
    err.value = 0;
    const sock = sockfdLookupLight(net, fd);
    if (sock === null) {
      err.value = lookupErr;
      return 0;
    }
    if (level === SOL_SOCKET) return sockGetsockopt(sock, level, optname, err);
    return sock.ops.getsockopt(sock, level, optname, err);
  } finally {
    k.exit();
  }
}

// ---- files: close, fcntl, ioctl, poll -------------------------------------------------------------------------------

/** close(2). Whoever waits on the file (poll, a blocking call) is woken. */
export function sysClose(net: Net, fd: number): number {
  const k = net.kernel;
  k.enter();
  try {
    const file = net.files.take(fd);
    if (file === null) return -EBADF;
    filpClose(file);
    return 0;
  } finally {
    k.exit();
  }
}

/** dup(2). */
export function sysDup(net: Net, fd: number): number {
  const file = net.files.get(fd);
  return file === null ? -EBADF : net.files.alloc(file, false);
}

/** fcntl(2): F_GETFL, F_SETFL (O_NONBLOCK), F_GETFD, F_SETFD, F_DUPFD, F_DUPFD_CLOEXEC. */
export function sysFcntl(net: Net, fd: number, cmd: number, arg = 0): number {
  const file = net.files.get(fd);
  if (file === null) return -EBADF;
  switch (cmd) {
    case F_GETFL:
      return file.fFlags;
    case F_SETFL:
      setNonblock(file, (arg & O_NONBLOCK) !== 0);
      return 0;
    case F_GETFD:
      return net.files.closeOnExec[fd] === true ? FD_CLOEXEC : 0;
    case F_SETFD:
      net.files.closeOnExec[fd] = (arg & FD_CLOEXEC) !== 0;
      return 0;
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
      if (arg < 0) return -EINVAL;
      return net.files.alloc(file, cmd === F_DUPFD_CLOEXEC, arg);
    default:
      return -EINVAL;
  }
}

const F_DUPFD_CLOEXEC = 1030;

/* notrace */
function setNonblock(file: File, on: boolean): void {
  file.fFlags = on ? file.fFlags | O_NONBLOCK : file.fFlags & ~O_NONBLOCK;
  const sock = sockFromFile(file);
  if (sock !== null) sock.nonblock = on;
}

/** sock_ioctl. */
function sockIoctl(sock: Socket, cmd: number, _arg: number): number {
  const err = sock.ops.ioctl(sock, cmd);
  return err === -ENOIOCTLCMD ? -ENOTTY : err;
}

/**
 * ioctl(2). A request that asks for a number (SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK) returns it; FIONBIO takes one.
 */
export function sysIoctl(net: Net, fd: number, cmd: number, arg = 0): number {
  const k = net.kernel;
  k.enter();
  try {
    const file = net.files.get(fd);
    if (file === null) return -EBADF;
    switch (cmd) {
      case FIONBIO:
        setNonblock(file, arg !== 0);
        return 0;
      case FIOCLEX:
        net.files.closeOnExec[fd] = true;
        return 0;
      case FIONCLEX:
        net.files.closeOnExec[fd] = false;
        return 0;
      default:
        return file.fOp.ioctl !== undefined ? file.fOp.ioctl(file, cmd, arg) : -ENOTTY;
    }
  } finally {
    k.exit();
  }
}

/** struct pollfd. */
export interface Pollfd {
  fd: number;
  /** POLL* asked for. */
  events: number;
  /** POLL* that hold; errors and hangups always count. */
  revents: number;
}

/** poll(2) with a timeout of 0: fills `revents` and returns how many are not 0. A negative fd is passed over. */
export function sysPoll(net: Net, fds: Pollfd[]): number {
  const k = net.kernel;
  k.enter();
  try {
    let ready = 0;
    for (let i = 0; i < fds.length; i++) {
      const p = fds[i] as Pollfd;
      p.revents = 0;
      if (p.fd < 0) continue;
      const file = net.files.get(p.fd);
      if (file === null) p.revents = POLLNVAL;
      else p.revents = file.fOp.poll(file) & (p.events | POLLERR | POLLHUP);
      if (p.revents !== 0) ready++;
    }
    return ready;
  } finally {
    k.exit();
  }
}
