/**
 * The blocking system calls, as promises. A promise settles with what the call would return: a result >= 0 or a negative
 * errno. SO_RCVTIMEO and SO_SNDTIMEO end a wait with -EAGAIN, MSG_DONTWAIT and O_NONBLOCK forbid it; bytes that were moved
 * count more than an error that came after them, which the next call reports. There are no signals, so no EINTR.
 *
 * Time is the machine's: in a simulation a timeout costs none.
 */

import type { File } from "../fs/file.ts";
import { getPipeInfo } from "../fs/pipe.ts";
import type { FileOffset } from "../fs/splice.ts";
import { sysSendfile, sysSplice } from "../fs/splice.ts";
import type { Kernel, Wakeable } from "../kernel/kernel.ts";
import { kernel } from "../kernel/kernel.ts";
import type { TimerList } from "../kernel/timer.ts";
import { delTimer, modTimer, timerSetup } from "../kernel/timer.ts";
import { EAGAIN, EALREADY, EBADF, ECONNABORTED, EINPROGRESS, EINVAL, ENOTSOCK, EPIPE } from "../uapi/errno.ts";
import { O_NONBLOCK } from "../uapi/fcntl.ts";
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, EPOLLRDNORM } from "../uapi/poll.ts";
import {
  AF_INET,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_FASTOPEN,
  MSG_OOB,
  MSG_PEEK,
  MSG_WAITALL,
  SOCK_STREAM,
} from "../uapi/socket.ts";
import { SIOCATMARK } from "../uapi/sockios.ts";
import { SPLICE_F_NONBLOCK } from "../uapi/splice.ts";
import { TCPF_CLOSING, TCPF_FIN_WAIT1, TCPF_LAST_ACK, TCPF_SYN_RECV, TCPF_SYN_SENT } from "../uapi/tcp.ts";
import type { Net } from "./core/net_namespace.ts";
import { netZcopyPut } from "./core/skbuff.zerocopy.ts";
import type { Sock, SockAddr, Socket, SocketWaiter } from "./core/sock.ts";
import {
  Msghdr,
  RCV_SHUTDOWN,
  SOCK_LINGER,
  SS_CONNECTED,
  SS_CONNECTING,
  sockError,
  sockFlag,
  sockHold,
  sockPut,
  sockRcvlowat,
} from "./core/sock.ts";
import type { EpollEvent } from "./eventpoll.ts";
import { epollFromFd, sysEpollWait } from "./eventpoll.ts";
import type { Pollfd } from "./socket.ts";
import {
  sockFromFile,
  sockfdSocket,
  sysAccept4,
  sysClose,
  sysConnect,
  sysPeek,
  sysPoll,
  sysRead,
  sysRecvfrom,
  sysRecvmsg,
  sysReserve,
  sysSendmsg,
  sysSendmsgRest,
  sysWrite,
} from "./socket.ts";

/** One sleep: on any number of wait queues, and a timer. */
class Sleep implements SocketWaiter, Wakeable {
  mask: number;
  exclusive = false;
  wakePending = false;
  readonly done: Promise<void>;
  #resolve: (() => void) | null = null;
  readonly #queues: SocketWaiter[][] = [];
  #timer: TimerList | null = null;

  constructor(mask: number) {
    this.mask = mask;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  on(queue: SocketWaiter[]): void {
    queue.push(this);
    this.#queues.push(queue);
  }

  /** Wakes up at `deadline` (microseconds of the machine) at the latest. In kernel context. */
  until(deadline: number): void {
    if (deadline === Number.POSITIVE_INFINITY) return;
    this.#timer = timerSetup(sleepTimeout, this);
    modTimer(this.#timer, deadline);
  }

  wake(_events: number): void {
    for (const queue of this.#queues) {
      const i = queue.indexOf(this);
      if (i >= 0) queue.splice(i, 1);
    }
    this.#queues.length = 0;
    const resolve = this.#resolve;
    this.#resolve = null;
    if (resolve !== null) resolve();
  }

  /** After `done`. */
  finish(k: Kernel): void {
    this.wake(0);
    if (this.#timer === null) return;
    k.enter();
    delTimer(this.#timer);
    k.exit();
  }

  onWake(): void {
    this.wake(0);
  }
}

/** A timer runs in kernel context; who sleeps is woken outside of it. */
function sleepTimeout(t: TimerList): void {
  kernel.wake(t.data as Sleep);
}

/** One of `mask` is up on the socket. What waits on the error queue alone ends no wait but poll's. */
function socketReady(sock: Socket, mask: number): boolean {
  const up = sock.ops.poll(sock) & mask;
  return (up & ~EPOLLERR) !== 0 || (up !== 0 && (sock.sk as Sock).skErr !== 0);
}

/** One of `mask` is up on the file. In kernel context. */
function fileReady(file: File, mask: number): boolean {
  const sock = sockFromFile(file);
  return sock !== null ? socketReady(sock, mask) : (file.fOp.poll(file) & mask) !== 0;
}

/** Sleeps until one of `mask` is up on the socket, or the deadline. */
async function waitSocket(k: Kernel, sock: Socket, mask: number, deadline: number, exclusive = false): Promise<void> {
  const sleep = new Sleep(mask);
  sleep.exclusive = exclusive;
  k.enter();
  sleep.on(sock.waiters);
  // What came between the call that said EAGAIN and now woke nobody.
  if (sock.released || socketReady(sock, mask)) sleep.wake(0);
  else sleep.until(deadline);
  k.exit();
  await sleep.done;
  sleep.finish(k);
}

const READ_MASK: number = EPOLLIN | EPOLLRDNORM | EPOLLRDHUP | EPOLLERR | EPOLLHUP;
const WRITE_MASK: number = EPOLLOUT | EPOLLERR | EPOLLHUP;

/** A call that finds the socket ready and gets -EAGAIN all the same waits for memory: this long (microseconds). */
const MEMORY_WAIT = 1000;

/** The deadline of a wait that begins now. */
function deadlineOf(k: Kernel, timeo: number): number {
  if (timeo === Number.POSITIVE_INFINITY) return timeo;
  return Math.max(k.clock.now(), k.now) + timeo;
}

function timeLeft(k: Kernel, deadline: number): boolean {
  return deadline === Number.POSITIVE_INFINITY || Math.max(k.clock.now(), k.now) < deadline;
}

/** Waits for write space; the wait for memory is bounded, as sk_stream_wait_memory's is. */
async function waitWrite(k: Kernel, sock: Socket, deadline: number): Promise<void> {
  k.enter();
  const ready = (sock.ops.poll(sock) & EPOLLOUT) !== 0;
  k.exit();
  if (!ready) return waitSocket(k, sock, WRITE_MASK, deadline);
  const sleep = new Sleep(0);
  k.enter();
  sleep.until(Math.min(deadline, k.now + MEMORY_WAIT));
  k.exit();
  await sleep.done;
  sleep.finish(k);
}

/** The socket of a call that may sleep; null with the errno in `value`. */
function lookup(net: Net, fd: number): Socket | number {
  return sockfdSocket(net, fd) ?? (net.files.get(fd) === null ? -EBADF : -ENOTSOCK);
}

/** connect(2): 0 when the connection stands, a negative errno, -EINPROGRESS when SO_SNDTIMEO has run out. */
export async function sysConnectAsync(net: Net, fd: number, addr: SockAddr): Promise<number> {
  const sock = lookup(net, fd);
  if (typeof sock === "number") return sock;
  const k = net.kernel;
  const first = sysConnect(net, fd, addr);
  if ((first !== -EINPROGRESS && first !== -EALREADY) || sock.nonblock) return first;
  return waitForConnect(net, fd, sock, deadlineOf(k, (sock.sk as Sock).skSndtimeo), first);
}

/** The handshake of a stream goes on. */
function handshaking(sock: Socket): boolean {
  return sock.state === SS_CONNECTING && ((1 << (sock.sk as Sock).skcState) & (TCPF_SYN_SENT | TCPF_SYN_RECV)) !== 0;
}

/** For the second half of a connect, which knows the address. */
const ANY_ADDR: SockAddr = { family: AF_INET, addr: 0, port: 0 };

/**
 * inet_wait_for_connect, and what __inet_stream_connect does after it: how the handshake that goes on has ended; `late` if
 * `deadline` comes first, -EPIPE if somebody else has disconnected the socket.
 */
async function waitForConnect(net: Net, fd: number, sock: Socket, deadline: number, late: number): Promise<number> {
  const k = net.kernel;
  const sk = sock.sk as Sock;
  const disconnects = sk.skDisconnects;
  for (;;) {
    if (sk.skDisconnects !== disconnects) return -EPIPE;
    // Another connect() on this socket has seen it first.
    if (sock.state === SS_CONNECTED) return 0;
    if (sock.state !== SS_CONNECTING) return sockError(sk) || -ECONNABORTED;
    if (!handshaking(sock)) return sysConnect(net, fd, ANY_ADDR);
    if (!timeLeft(k, deadline)) return late;
    await waitSocket(k, sock, WRITE_MASK | EPOLLIN, deadline);
    if (sock.released) return -EBADF;
  }
}

/** accept4(2). */
export async function sysAccept4Async(net: Net, fd: number, addr: SockAddr | null, flags: number): Promise<number> {
  const sock = lookup(net, fd);
  if (typeof sock === "number") return sock;
  const k = net.kernel;
  let deadline = -1;
  for (;;) {
    const newfd = sysAccept4(net, fd, addr, flags);
    if (newfd !== -EAGAIN || sock.nonblock) return newfd;
    if (deadline < 0) deadline = deadlineOf(k, (sock.sk as Sock).skRcvtimeo);
    if (!timeLeft(k, deadline)) return -EAGAIN;
    await waitSocket(k, sock, READ_MASK, deadline, true);
    if (sock.released) return -EBADF;
  }
}

/** accept(2). */
export function sysAcceptAsync(net: Net, fd: number, addr: SockAddr | null): Promise<number> {
  return sysAccept4Async(net, fd, addr, 0);
}

/** recv(2). */
export function sysRecvAsync(net: Net, fd: number, ubuf: Uint8Array, size: number, flags: number): Promise<number> {
  return sysRecvfromAsync(net, fd, ubuf, size, flags, null);
}

/** recvfrom(2): waits for a datagram, or for as many bytes as SO_RCVLOWAT or MSG_WAITALL ask for. */
export function sysRecvfromAsync(
  net: Net,
  fd: number,
  ubuf: Uint8Array,
  size: number,
  flags: number,
  addr: SockAddr | null,
): Promise<number> {
  return recvLoop(net, fd, size, flags, (done) =>
    sysRecvfrom(net, fd, done === 0 ? ubuf : ubuf.subarray(done, size), size - done, flags, addr),
  );
}

/** recvmsg(2). */
export function sysRecvmsgAsync(net: Net, fd: number, msg: Msghdr, flags: number): Promise<number> {
  const iov = msg.iov;
  let size = 0;
  for (const buf of iov) size += buf.length;
  return recvLoop(net, fd, size, flags, (done) => {
    if (done === 0) return sysRecvmsg(net, fd, msg, flags);
    const rest = new Msghdr();
    rest.iov = iovFrom(iov, done);
    rest.control = msg.control;
    return sysRecvmsg(net, fd, rest, flags);
  });
}

/** The part of `iov` behind its first `done` bytes. */
function iovFrom(iov: Uint8Array[], done: number): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (const buf of iov) {
    if (done >= buf.length) done -= buf.length;
    else {
      out.push(done === 0 ? buf : buf.subarray(done));
      done = 0;
    }
  }
  return out;
}

async function recvLoop(
  net: Net,
  fd: number,
  size: number,
  flags: number,
  recv: (done: number) => number,
): Promise<number> {
  const sock = lookup(net, fd);
  if (typeof sock === "number") return sock;
  const k = net.kernel;
  const sk = sock.sk as Sock;
  // Urgent data is there or not (tcp_recv_urg).
  const dontwait = sock.nonblock || (flags & (MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB)) !== 0;
  const stream = sock.type === SOCK_STREAM && (flags & MSG_OOB) === 0;
  const target = stream ? sockRcvlowat(sk, (flags & MSG_WAITALL) !== 0, size) : 0;
  const peek = (flags & MSG_PEEK) !== 0;
  let deadline = -1;
  let done = 0;
  for (;;) {
    const pending = sk.skErr;
    const n = recv(peek ? 0 : done);
    if (n >= 0) {
      done = peek ? n : done + n;
      if (n === 0 || done >= target || dontwait) return done;
      // A peek for more than there is looks again when more has come, or never will.
      if (peek && (sk.skShutdown & RCV_SHUTDOWN) !== 0) return done;
      // Urgent data ends a read that has bytes, however many it wanted.
      if (!peek && atMark(k, sock)) return done;
    } else if (n !== -EAGAIN) {
      if (done === 0) return n;
      // The bytes come first: the error stays for the next call.
      if (pending !== 0 && sk.skErr === 0) sk.skErr = pending;
      return done;
    } else if (dontwait) return done > 0 ? done : n;
    else if (!stream && (sk.skShutdown & RCV_SHUTDOWN) !== 0) return 0;
    if (deadline < 0) deadline = deadlineOf(k, sk.skRcvtimeo);
    if (!timeLeft(k, deadline)) return done > 0 ? done : -EAGAIN;
    await (peek && done > 0 ? waitChange(k, sock, deadline) : waitSocket(k, sock, READ_MASK | EPOLLPRI, deadline));
    if (sock.released) return done > 0 ? done : -EBADF;
  }
}

/** sockatmark(3). */
function atMark(k: Kernel, sock: Socket): boolean {
  k.enter();
  const mark = sock.ops.ioctl(sock, SIOCATMARK);
  k.exit();
  return mark === 1;
}

/** Sleeps until the socket is woken again, whatever is up already (a peek has left its data there). */
async function waitChange(k: Kernel, sock: Socket, deadline: number): Promise<void> {
  const sleep = new Sleep(READ_MASK | EPOLLPRI);
  k.enter();
  sleep.on(sock.waiters);
  sleep.until(deadline);
  k.exit();
  await sleep.done;
  sleep.finish(k);
}

/** send(2): a stream takes everything, unless SO_SNDTIMEO runs out or an error comes. */
export function sysSendAsync(net: Net, fd: number, buff: Uint8Array, len: number, flags: number): Promise<number> {
  return sysSendtoAsync(net, fd, buff, len, flags, null);
}

/** sendto(2). */
export function sysSendtoAsync(
  net: Net,
  fd: number,
  buff: Uint8Array,
  len: number,
  flags: number,
  addr: SockAddr | null,
): Promise<number> {
  const msg = new Msghdr();
  msg.iov = [len === buff.length ? buff : buff.subarray(0, len)];
  msg.name = addr;
  return len > buff.length || len < 0 ? Promise.resolve(-EINVAL) : sendLoop(net, fd, msg, len, flags);
}

/**
 * sysReserve that waits until the send buffer has room. A negative errno as there; -EAGAIN only when SO_SNDTIMEO has run
 * out or the socket does not block.
 *
 * @example
 * const view = await sysReserveAsync(net, fd, 16384);
 * if (typeof view !== "number") sysCommit(net, fd, fillSome(view), 0);
 */
export async function sysReserveAsync(net: Net, fd: number, n: number): Promise<Uint8Array | number> {
  const sock = lookup(net, fd);
  if (typeof sock === "number") return sock;
  const k = net.kernel;
  let deadline = -1;
  for (;;) {
    const view = sysReserve(net, fd, n);
    if (view !== -EAGAIN || sock.nonblock) return view;
    if (deadline < 0) deadline = deadlineOf(k, (sock.sk as Sock).skSndtimeo);
    if (!timeLeft(k, deadline)) return view;
    await waitWrite(k, sock, deadline);
    if (sock.released) return -EBADF;
  }
}

/**
 * sysPeek that waits for data. An empty view at the end of the stream; a negative errno as there; -EAGAIN only when
 * SO_RCVTIMEO has run out or the socket does not block.
 */
export async function sysPeekAsync(net: Net, fd: number): Promise<Uint8Array | number> {
  const sock = lookup(net, fd);
  if (typeof sock === "number") return sock;
  const k = net.kernel;
  let deadline = -1;
  for (;;) {
    const view = sysPeek(net, fd);
    if (view !== -EAGAIN || sock.nonblock) return view;
    if (deadline < 0) deadline = deadlineOf(k, (sock.sk as Sock).skRcvtimeo);
    if (!timeLeft(k, deadline)) return view;
    await waitSocket(k, sock, READ_MASK, deadline);
    if (sock.released) return -EBADF;
  }
}

/** sendmsg(2). */
export function sysSendmsgAsync(net: Net, fd: number, msg: Msghdr, flags: number): Promise<number> {
  let size = 0;
  for (const buf of msg.iov) size += buf.length;
  return sendLoop(net, fd, msg, size, flags);
}

/** A stream's send goes on where it stopped: to the protocol it is one (MSG_ZEROCOPY's number, SO_TIMESTAMPING's last byte). */
async function sendLoop(net: Net, fd: number, msg: Msghdr, len: number, flags: number): Promise<number> {
  const sock = lookup(net, fd);
  if (typeof sock === "number") return sock;
  const k = net.kernel;
  const sk = sock.sk as Sock;
  const dontwait = sock.nonblock || (flags & MSG_DONTWAIT) !== 0;
  const stream = sock.type === SOCK_STREAM;
  let deadline = -1;
  let done = 0;
  try {
    for (let first = true; ; first = false) {
      msg.waits = stream && !dontwait;
      const pending = sk.skErr;
      let n = first ? sysSendmsg(net, fd, msg, flags) : sysSendmsgRest(net, fd, msg, stream ? done : 0, flags);
      if ((n >= 0 || n === -EINPROGRESS) && !dontwait && handshaking(sock)) {
        // Fast Open: what was taken is in the SYN; the rest follows when the handshake is over, or nothing does.
        if (deadline < 0) deadline = deadlineOf(k, sk.skSndtimeo);
        const more = done + Math.max(n, 0) < len;
        // The ACK of the SYN-ACK waits for data that is about to come.
        if (more) sk.skWritePending++;
        const err = await waitForConnect(net, fd, sock, deadline, -EINPROGRESS);
        if (more) sk.skWritePending--;
        if (err === -EINPROGRESS) return n;
        if (err !== 0) return err;
        flags &= ~MSG_FASTOPEN;
        if (n === -EINPROGRESS && len > 0) continue;
        n = Math.max(n, 0);
      }
      if (n >= 0) {
        done += n;
        if (done >= len || dontwait || !stream) return done;
      } else if (n !== -EAGAIN || dontwait) {
        if (done === 0) return n;
        if (pending !== 0 && sk.skErr === 0) sk.skErr = pending;
        return done;
      }
      if (deadline < 0) deadline = deadlineOf(k, sk.skSndtimeo);
      if (!timeLeft(k, deadline)) return done > 0 ? done : -EAGAIN;
      if (n <= 0) await waitWrite(k, sock, deadline);
      if (sock.released) return done > 0 ? done : -EBADF;
    }
  } finally {
    if (msg.waits) sendStop(k, sock, msg);
  }
}

/** A send that might have slept is over, whether it is complete or not. */
function sendStop(k: Kernel, sock: Socket, msg: Msghdr): void {
  k.enter();
  msg.waits = false;
  if (!sock.released && sock.ops.sendmsgStop !== undefined) sock.ops.sendmsgStop(sock, msg);
  else if (msg.ubuf !== 0) netZcopyPut(msg.ubuf);
  msg.ubuf = 0;
  k.exit();
}

// ---- files that are no sockets, and splice ---------------------------------------------------------------------------

/** read(2). */
export async function sysReadAsync(net: Net, fd: number, ubuf: Uint8Array, size: number): Promise<number> {
  const file = net.files.get(fd);
  if (file === null || sockfdSocket(net, fd) !== null) return sysRecvfromAsync(net, fd, ubuf, size, 0, null);
  for (;;) {
    const n = sysRead(net, fd, ubuf, size);
    if (n !== -EAGAIN || (file.fFlags & O_NONBLOCK) !== 0) return n;
    await waitFile(net.kernel, file, READ_MASK);
  }
}

/** write(2): all of it, unless the file has O_NONBLOCK. */
export async function sysWriteAsync(net: Net, fd: number, buff: Uint8Array, len: number): Promise<number> {
  const file = net.files.get(fd);
  if (file === null || sockfdSocket(net, fd) !== null) return sysSendtoAsync(net, fd, buff, len, 0, null);
  let done = 0;
  for (;;) {
    const n = sysWrite(net, fd, done === 0 ? buff : buff.subarray(done), len - done);
    if (n > 0) done += n;
    if (done >= len || (n < 0 && n !== -EAGAIN) || (file.fFlags & O_NONBLOCK) !== 0) return done > 0 ? done : n;
    if (n <= 0) await waitFile(net.kernel, file, WRITE_MASK);
  }
}

/** Sleeps until one of `mask` is up on the file, or the deadline. */
async function waitFile(k: Kernel, file: File, mask: number, deadline = Number.POSITIVE_INFINITY): Promise<void> {
  const sleep = new Sleep(mask);
  k.enter();
  sleep.on(file.fOp.waitQueue(file));
  if (fileReady(file, mask)) sleep.wake(0);
  else sleep.until(deadline);
  k.exit();
  await sleep.done;
  sleep.finish(k);
}

/** Whether a call that moves bytes between two files may wait, and for which: null = it may not. */
function spliceBlocker(net: Net, input: File, out: File, flags: number): File | null {
  const k = net.kernel;
  k.enter();
  const readable = fileReady(input, READ_MASK);
  k.exit();
  const file = readable ? out : input;
  if ((file.fFlags & O_NONBLOCK) !== 0) return null;
  // SPLICE_F_NONBLOCK is about pipes, whichever side O_NONBLOCK of theirs is on; sockets have their own O_NONBLOCK.
  if (getPipeInfo(file) !== null && (flags & SPLICE_F_NONBLOCK) !== 0) return null;
  return file;
}

/** Calls `move` until it has moved `len` bytes, or as splice(2) says: something. */
async function spliceLoop(
  net: Net,
  fdIn: number,
  fdOut: number,
  flags: number,
  len: number,
  all: boolean,
  move: (left: number) => number,
): Promise<number> {
  const input = net.files.get(fdIn);
  const out = net.files.get(fdOut);
  const k = net.kernel;
  // Of the socket's own timeout; a pipe has none.
  let deadline = -1;
  let done = 0;
  for (;;) {
    const n = move(len - done);
    if (n > 0) done += n;
    if (input === null || out === null || done >= len || n === 0) return done > 0 ? done : n;
    if (n < 0 && n !== -EAGAIN) return done > 0 ? done : n;
    if (done > 0 && !all) return done;
    const file = spliceBlocker(net, input, out, flags);
    if (file === null) return done > 0 ? done : -EAGAIN;
    if (n > 0) continue;
    const sock = sockFromFile(file);
    const sk = sock?.sk ?? null;
    if (sk !== null && deadline < 0) deadline = deadlineOf(k, file === out ? sk.skSndtimeo : sk.skRcvtimeo);
    if (sk !== null && !timeLeft(k, deadline)) return done > 0 ? done : -EAGAIN;
    const until = sk !== null ? deadline : Number.POSITIVE_INFINITY;
    // A socket that is writable and takes nothing waits for memory.
    if (sock !== null && file === out) await waitWrite(k, sock, until);
    else await waitFile(k, file, file === out ? WRITE_MASK : READ_MASK, until);
  }
}

/** splice(2): to a socket, all that the pipe has of `len`; from a socket or a file, what is there. */
export function sysSpliceAsync(
  net: Net,
  fdIn: number,
  offIn: FileOffset | null,
  fdOut: number,
  offOut: FileOffset | null,
  len: number,
  flags: number,
): Promise<number> {
  return spliceLoop(net, fdIn, fdOut, flags, len, false, (left) =>
    sysSplice(net, fdIn, offIn, fdOut, offOut, left, flags),
  );
}

/** sendfile(2). */
export function sysSendfileAsync(
  net: Net,
  outFd: number,
  inFd: number,
  offset: FileOffset | null,
  count: number,
): Promise<number> {
  return spliceLoop(net, inFd, outFd, 0, count, true, (left) => sysSendfile(net, outFd, inFd, offset, left));
}

/** The deadline of a timeout in milliseconds; negative = for ever. */
function deadlineMs(k: Kernel, timeout: number): number {
  return timeout < 0 ? Number.POSITIVE_INFINITY : deadlineOf(k, timeout * 1000);
}

/** poll(2). `timeout`: milliseconds, 0 = only look, negative = for ever. Fills `revents`; how many are not 0. */
export async function sysPollAsync(net: Net, fds: Pollfd[], timeout: number): Promise<number> {
  const k = net.kernel;
  const deadline = deadlineMs(k, timeout);
  for (;;) {
    const n = sysPoll(net, fds);
    if (n !== 0 || !timeLeft(k, deadline)) return n;
    const sleep = new Sleep(-1);
    k.enter();
    for (const p of fds) {
      const file: File | null = p.fd < 0 ? null : net.files.get(p.fd);
      if (file !== null) sleep.on(file.fOp.waitQueue(file));
    }
    sleep.until(deadline);
    k.exit();
    // Softirqs that ran at the end of sysPoll's context may have changed what it saw.
    if (sysPoll(net, fds) !== 0) sleep.wake(0);
    await sleep.done;
    sleep.finish(k);
  }
}

/** epoll_wait(2). `timeout`: milliseconds, 0 = only look, negative = for ever. */
export async function sysEpollWaitAsync(
  net: Net,
  epfd: number,
  events: EpollEvent[],
  maxevents: number,
  timeout: number,
): Promise<number> {
  const k = net.kernel;
  const deadline = deadlineMs(k, timeout);
  for (;;) {
    const n = sysEpollWait(net, epfd, events, maxevents);
    if (n !== 0 || !timeLeft(k, deadline)) return n;
    const ep = epollFromFd(net, epfd);
    if (ep === null) return -EBADF;
    const sleep = new Sleep(-1);
    sleep.exclusive = true;
    k.enter();
    sleep.on(ep.waiters);
    if (ep.hasReady) sleep.wake(0);
    else sleep.until(deadline);
    k.exit();
    await sleep.done;
    sleep.finish(k);
  }
}

/** sk_stream_closing. */
const CLOSING_STATES: number = TCPF_FIN_WAIT1 | TCPF_CLOSING | TCPF_LAST_ACK;
/** How often a lingering close looks (microseconds): an orphan wakes nobody. */
const LINGER_STEP = 1000;

/** close(2) with SO_LINGER: waits until what was sent is acknowledged, at most the linger time. */
export async function sysCloseAsync(net: Net, fd: number): Promise<number> {
  const sock = sockfdSocket(net, fd);
  const sk = sock?.sk ?? null;
  const file = net.files.get(fd);
  if (sock === null || sk === null || file === null || file.fCount > 1 || sock.type !== SOCK_STREAM) {
    return sysClose(net, fd);
  }
  if (!sockFlag(sk, SOCK_LINGER) || sk.skLingertime === 0) return sysClose(net, fd);
  const k = net.kernel;
  const deadline = deadlineOf(k, sk.skLingertime);
  sockHold(sk);
  const err = sysClose(net, fd);
  while (((1 << sk.skcState) & CLOSING_STATES) !== 0 && timeLeft(k, deadline)) {
    const sleep = new Sleep(0);
    k.enter();
    sleep.until(Math.min(deadline, k.now + LINGER_STEP));
    k.exit();
    await sleep.done;
    sleep.finish(k);
  }
  k.enter();
  sockPut(sk);
  k.exit();
  return err;
}
