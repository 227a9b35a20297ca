/**
 * node:net over this stack: `Socket` and `Server` that http, tls, undici, ws, pg, ioredis and the rest accept. An adapter
 * over the system calls; the stream classes are handed in, so that nothing here needs Node at load time.
 */

import type { EventEmitter as NodeEventEmitter } from "node:events";
import type { DuplexOptions, Duplex as NodeDuplex } from "node:stream";
import type { TimerList } from "../kernel/timer.ts";
import { delTimer, modTimer, timerSetup } from "../kernel/timer.ts";
import type { Net } from "../net/core/net_namespace.ts";
import type { Socket as KernelSocket, SockAddr, SocketWaiter } from "../net/core/sock.ts";
import { addWaitQueue, ErrBox, removeWaitQueue } from "../net/core/sock.ts";
import { inetAton, inetNtoa } from "../net/ipv4/inet_addr.ts";
import {
  sockfdSocket,
  sysAccept4,
  sysBind,
  sysClose,
  sysConnect,
  sysGetpeername,
  sysGetsockname,
  sysGetsockopt,
  sysIoctl,
  sysListen,
  sysRecv,
  sysSend,
  sysSetsockopt,
  sysShutdown,
  sysSocket,
} from "../net/socket.ts";
import { SocketError } from "../net/socket_error.ts";
import { EAGAIN, EALREADY, EBADF, ECONNABORTED, EINPROGRESS, EINVAL, EISCONN, ENOTCONN } from "../uapi/errno.ts";
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "../uapi/poll.ts";
import {
  AF_INET,
  MSG_MORE,
  SHUT_WR,
  SO_ERROR,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_REUSEADDR,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  SOL_TCP,
} from "../uapi/socket.ts";
import { SIOCINQ } from "../uapi/sockios.ts";
import { TCP_KEEPIDLE, TCP_NODELAY } from "../uapi/tcp.ts";

/** The stream classes to build on: `{ Duplex } from "node:stream"`, `{ EventEmitter } from "node:events"`, or shims. */
export interface StreamsModule {
  readonly Duplex: typeof NodeDuplex;
  readonly EventEmitter: typeof NodeEventEmitter;
}

/** What the adapter needs of its host. */
export interface NetHost {
  readonly ns: Net;
  /** Resolves a host name to an IPv4 address in host order, or -1. */
  resolve(name: string): number;
  /** Handles that keep the process alive. */
  ref(): void;
  unref(): void;
}

/** Bytes of one read: what waits, up to this. */
const READ_CHUNK = 262144;
/** Accepts of one turn, so that a flood of connections does not starve the rest. */
const ACCEPT_BATCH = 64;

export interface ConnectOptions {
  port: number;
  host?: string;
  localAddress?: string;
  localPort?: number;
  noDelay?: boolean;
  keepAlive?: boolean;
  keepAliveInitialDelay?: number;
  allowHalfOpen?: boolean;
  timeout?: number;
  lookup?: (
    hostname: string,
    options: object,
    callback: (err: Error | null, address: string | { address: string }[], family?: number) => void,
  ) => void;
}

type SocketOptions = Pick<DuplexOptions, "highWaterMark" | "signal"> & Partial<ConnectOptions>;

export interface ListenOptions {
  port?: number;
  host?: string;
  backlog?: number;
}

export interface AddressInfo {
  address: string;
  family: string;
  port: number;
}

type ErrorCallback = (err?: Error | null) => void;

/** The shape of what `makeNet` returns: use it as `node:net`. */
export interface NetModule {
  Socket: new (options?: object) => NetSocket;
  Server: new (options?: object | ((s: NetSocket) => void), listener?: (s: NetSocket) => void) => NetServer;
  connect(...args: unknown[]): NetSocket;
  createConnection(...args: unknown[]): NetSocket;
  createServer(options?: object | ((s: NetSocket) => void), listener?: (s: NetSocket) => void): NetServer;
  isIP(input: string): number;
  isIPv4(input: string): boolean;
  isIPv6(input: string): boolean;
}

export interface NetSocket extends NodeDuplex {
  readonly fd: number;
  connecting: boolean;
  readonly pending: boolean;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  readonly remoteFamily: string | undefined;
  readonly localAddress: string | undefined;
  readonly localPort: number | undefined;
  readonly localFamily: string | undefined;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly readyState: string;
  timeout: number | undefined;
  connect(...args: unknown[]): this;
  setTimeout(ms: number, callback?: () => void): this;
  setNoDelay(on?: boolean): this;
  setKeepAlive(on?: boolean, initialDelay?: number): this;
  address(): AddressInfo | Record<string, never>;
  ref(): this;
  unref(): this;
  destroySoon(): void;
  resetAndDestroy(): this;
}

export interface NetServer extends NodeEventEmitter {
  readonly listening: boolean;
  maxConnections: number;
  listen(...args: unknown[]): this;
  close(callback?: ErrorCallback): this;
  address(): AddressInfo | null;
  getConnections(callback: (err: Error | null, count: number) => void): this;
  ref(): this;
  unref(): this;
}

/** Splits node's (options, cb) and (port, host, cb) forms. */
function normalizeArgs(args: unknown[]): [Record<string, unknown>, ((...a: unknown[]) => void) | undefined] {
  // net.connect hands its own normalized array on.
  if (args.length === 1 && Array.isArray(args[0])) args = args[0] as unknown[];
  const last = args[args.length - 1];
  const callback = typeof last === "function" ? (last as (...a: unknown[]) => void) : undefined;
  const first = args[0];
  if (typeof first === "object" && first !== null) return [first as Record<string, unknown>, callback];
  const options: Record<string, unknown> = {};
  if (typeof first === "number" || (typeof first === "string" && /^\d+$/.test(first))) options["port"] = Number(first);
  else if (typeof first === "string") options["path"] = first;
  if (typeof args[1] === "string") options["host"] = args[1];
  else if (typeof args[1] === "number") options["backlog"] = args[1];
  if (typeof args[2] === "number") options["backlog"] = args[2];
  return [options, callback];
}

function checkPort(port: unknown, zero: boolean): number {
  const n = Number(port);
  if (port === undefined || port === null || port === "" || !Number.isInteger(n) || n < (zero ? 0 : 1) || n > 65535) {
    const e = new RangeError(`options.port should be >= 0 and < 65536. Received ${String(port)}.`);
    (e as { code?: string }).code = "ERR_SOCKET_BAD_PORT";
    throw e;
  }
  return n;
}

const NO_FD = -1;
const soError: ErrBox = new ErrBox();

/** Makes the module for one host. */
export function makeNet(host: NetHost, streams: StreamsModule): NetModule {
  const ns = host.ns;

  class Socket extends streams.Duplex implements SocketWaiter {
    mask: number = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    fd: number = NO_FD;
    connecting = false;
    timeout: number | undefined = undefined;
    bytesRead = 0;
    #bytesWritten = 0;
    #sock: KernelSocket | null = null;
    #wantRead = false;
    #wantWrite: Uint8Array[] | null = null;
    #wantWriteOff = 0;
    #writeCallback: ErrorCallback | null = null;
    #refed = true;
    #holds = false;
    #timer: TimerList | null = null;
    #peer: SockAddr = { family: AF_INET, addr: 0, port: 0 };
    #local: SockAddr = { family: AF_INET, addr: 0, port: 0 };
    #noDelay = false;
    #keepAlive: number | null = null;
    #reset = false;
    /** The server that accepted this connection. */
    server: Server | null = null;
    _server: Server | null = null;

    constructor(o: SocketOptions = {}) {
      super({
        allowHalfOpen: o.allowHalfOpen === true,
        emitClose: true,
        autoDestroy: true,
        decodeStrings: true,
        ...(o.highWaterMark === undefined ? {} : { highWaterMark: o.highWaterMark }),
        ...(o.signal === undefined ? {} : { signal: o.signal }),
      });
      if (o.noDelay === true) this.#noDelay = true;
      if (o.keepAlive === true) this.#keepAlive = o.keepAliveInitialDelay ?? 0;
      if (o.timeout !== undefined) this.setTimeout(o.timeout);
    }

    /** Takes over a file descriptor that accept() returned. */
    _attach(fd: number): void {
      this.fd = fd;
      this.#sock = sockfdSocket(ns, fd);
      addWaitQueue(this.#sock as KernelSocket, this);
      this.#hold();
      sysGetsockname(ns, fd, this.#local);
      sysGetpeername(ns, fd, this.#peer);
      if (this.#noDelay) this.setNoDelay(true);
      if (this.#keepAlive !== null) this.setKeepAlive(true, this.#keepAlive);
    }

    #hold(): void {
      if (!this.#holds && this.#refed && this.fd !== NO_FD) {
        this.#holds = true;
        host.ref();
      }
    }

    #release(): void {
      if (this.#holds) {
        this.#holds = false;
        host.unref();
      }
    }

    connect(...args: unknown[]): this {
      const [o, callback] = normalizeArgs(args);
      const options = o as unknown as ConnectOptions & { path?: string };
      if (options.path !== undefined) throw new SocketError("connect", EINVAL, options.path);
      const port = checkPort(options.port, true);
      if (this.destroyed) throw new SocketError("connect", ENOTCONN);
      if (this.fd !== NO_FD || this.connecting) throw new SocketError("connect", EISCONN);
      this.connecting = true;
      if (options.noDelay === true) this.#noDelay = true;
      if (options.keepAlive === true) this.#keepAlive = options.keepAliveInitialDelay ?? 0;
      if (options.timeout !== undefined) this.setTimeout(options.timeout);
      if (callback !== undefined) this.once("connect", callback as () => void);
      const name = options.host ?? "localhost";
      const literal = inetAton(name);
      if (literal >= 0) {
        queueMicrotask(() => this.#start(literal, port, options));
      } else if (options.lookup !== undefined) {
        options.lookup(name, { family: 4, hints: 0, all: false }, (err, address) => {
          const text = Array.isArray(address) ? address[0]?.address : address;
          this.emit("lookup", err, text, 4, name);
          if (err) this.destroy(err);
          else this.#start(inetAton(text ?? ""), port, options);
        });
      } else {
        queueMicrotask(() => {
          const addr = host.resolve(name);
          this.emit("lookup", addr < 0 ? notFound(name) : null, addr < 0 ? undefined : inetNtoa(addr), 4, name);
          if (addr < 0) this.destroy(notFound(name));
          else this.#start(addr, port, options);
        });
      }
      return this;
    }

    #start(addr: number, port: number, options: ConnectOptions): void {
      if (this.destroyed) return;
      const fd = sysSocket(ns, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
      if (fd < 0) {
        this.destroy(new SocketError("connect", fd, inetNtoa(addr), port));
        return;
      }
      this.#peer = { family: AF_INET, addr, port };
      this._attach(fd);
      this.#peer = { family: AF_INET, addr, port };
      if (options.localAddress !== undefined || options.localPort !== undefined) {
        const local = options.localAddress === undefined ? 0 : inetAton(options.localAddress);
        const err = sysBind(ns, fd, { family: AF_INET, addr: local < 0 ? 0 : local, port: options.localPort ?? 0 });
        if (err < 0) {
          this.destroy(new SocketError("bind", err, options.localAddress, options.localPort));
          return;
        }
      }
      const err = sysConnect(ns, fd, this.#peer);
      if (err === 0) this.#connected();
      else if (err !== -EINPROGRESS && err !== -EALREADY) this.#connectFailed(err);
    }

    #connectFailed(err: number): void {
      this.destroy(new SocketError("connect", err, inetNtoa(this.#peer.addr), this.#peer.port));
    }

    #connected(): void {
      this.connecting = false;
      sysGetsockname(ns, this.fd, this.#local);
      this.#touch();
      this.emit("connect");
      this.emit("ready");
      if (this.#wantWrite !== null) this.#flush();
      if (this.#wantRead) this.#fill();
    }

    /** The socket's wait queue calls, outside of kernel context. */
    wake(events: number): void {
      if (this.fd === NO_FD) return;
      if (this.connecting) {
        if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) === 0) return;
        const err = sysGetsockopt(ns, this.fd, SOL_SOCKET, SO_ERROR, soError) as number;
        if (err !== 0) {
          this.#connectFailed(-Math.abs(err));
          return;
        }
        if (sysGetpeername(ns, this.fd, this.#peer) < 0) return;
        this.#connected();
        return;
      }
      if (this.#wantWrite !== null && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) !== 0) this.#flush();
      if (this.fd === NO_FD) return;
      if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) !== 0) {
        if (this.#wantRead) this.#fill();
        else if ((events & EPOLLERR) !== 0) this.#pollError();
      }
    }

    /** A RST that arrives while nobody reads still ends the stream. */
    #pollError(): void {
      const err = sysGetsockopt(ns, this.fd, SOL_SOCKET, SO_ERROR, soError) as number;
      if (err !== 0) this.destroy(new SocketError("read", err));
    }

    override _read(): void {
      this.#wantRead = true;
      if (!this.connecting && this.fd !== NO_FD) this.#fill();
    }

    #fill(): void {
      while (this.#wantRead && this.fd !== NO_FD) {
        const waiting = sysIoctl(ns, this.fd, SIOCINQ);
        const size = waiting <= 0 ? 1 : waiting > READ_CHUNK ? READ_CHUNK : waiting;
        const chunk = new Uint8Array(size);
        const n = sysRecv(ns, this.fd, chunk, size, 0);
        if (n > 0) {
          this.bytesRead += n;
          this.#touch();
          this.#wantRead = this.push(n === size ? chunk : chunk.slice(0, n));
        } else if (n === 0) {
          this.#wantRead = false;
          this.push(null);
          // Nobody may ever read a stream that only writes: end it all the same, as node does.
          if (this.readableLength === 0) this.read(0);
        } else if (n === -EAGAIN) {
          return;
        } else {
          this.#wantRead = false;
          // EBADF: the host was torn down below the socket.
          this.destroy(n === -EBADF ? undefined : new SocketError("read", n));
        }
      }
    }

    override _write(chunk: Uint8Array | string, encoding: BufferEncoding, callback: ErrorCallback): void {
      const bytes = typeof chunk === "string" ? encode(chunk, encoding) : chunk;
      this.#queue([bytes], callback);
    }

    override _writev(
      chunks: { chunk: Uint8Array | string; encoding: BufferEncoding }[],
      callback: ErrorCallback,
    ): void {
      const list: Uint8Array[] = [];
      for (const c of chunks) list.push(typeof c.chunk === "string" ? encode(c.chunk, c.encoding) : c.chunk);
      this.#queue(list, callback);
    }

    #queue(list: Uint8Array[], callback: ErrorCallback): void {
      this.#wantWrite = list;
      this.#wantWriteOff = 0;
      this.#writeCallback = callback;
      if (!this.connecting && this.fd !== NO_FD) this.#flush();
      else if (!this.connecting) this.#written(new SocketError("write", ENOTCONN));
    }

    #flush(): void {
      const list = this.#wantWrite as Uint8Array[];
      while (list.length > 0) {
        const head = list[0] as Uint8Array;
        const rest = this.#wantWriteOff === 0 ? head : head.subarray(this.#wantWriteOff);
        if (rest.length > 0) {
          const n = sysSend(ns, this.fd, rest, rest.length, list.length > 1 ? MSG_MORE : 0);
          if (n === -EAGAIN) return;
          if (n < 0) {
            this.#written(new SocketError("write", n));
            return;
          }
          this.#bytesWritten += n;
          this.#touch();
          if (n < rest.length) {
            this.#wantWriteOff += n;
            continue;
          }
        }
        list.shift();
        this.#wantWriteOff = 0;
      }
      this.#written(null);
    }

    #written(err: Error | null): void {
      const callback = this.#writeCallback;
      this.#wantWrite = null;
      this.#writeCallback = null;
      callback?.(err);
    }

    override _final(callback: ErrorCallback): void {
      if (this.connecting) {
        this.once("connect", () => this._final(callback));
        return;
      }
      if (this.fd !== NO_FD) {
        const err = sysShutdown(ns, this.fd, SHUT_WR);
        if (err < 0 && err !== -ENOTCONN) {
          callback(new SocketError("shutdown", err));
          return;
        }
      }
      callback();
    }

    override _destroy(err: Error | null, callback: (e: Error | null) => void): void {
      this.connecting = false;
      if (this.#timer !== null) {
        ns.kernel.enter();
        delTimer(this.#timer);
        ns.kernel.exit();
      }
      if (this.fd !== NO_FD) {
        const fd = this.fd;
        removeWaitQueue(this.#sock as KernelSocket, this);
        if (this.#reset) sysSetsockopt(ns, fd, SOL_SOCKET, SO_LINGER, { onoff: 1, linger: 0 });
        this.fd = NO_FD;
        this.#sock = null;
        sysClose(ns, fd);
      }
      this.#release();
      if (this.#writeCallback !== null) this.#written(err ?? new SocketError("write", ENOTCONN));
      callback(err);
      const server = this._server;
      if (server !== null) {
        this._server = null;
        server._connectionClosed();
      }
    }

    #touch(): void {
      if (this.timeout !== undefined && this.timeout > 0) this.#armTimeout();
    }

    #armTimeout(): void {
      const kernel = ns.kernel;
      kernel.enter();
      this.#timer ??= timerSetup(() => queueMicrotask(() => this.emit("timeout")), this);
      modTimer(this.#timer, kernel.now + (this.timeout as number) * 1000);
      kernel.exit();
    }

    setTimeout(ms: number, callback?: () => void): this {
      if (typeof ms !== "number" || Number.isNaN(ms) || ms < 0) throw new RangeError(`timeout ${String(ms)} ms`);
      this.timeout = ms;
      if (ms === 0) {
        if (this.#timer !== null) {
          ns.kernel.enter();
          delTimer(this.#timer);
          ns.kernel.exit();
        }
        if (callback !== undefined) this.removeListener("timeout", callback);
      } else {
        this.#armTimeout();
        if (callback !== undefined) this.once("timeout", callback);
      }
      return this;
    }

    setNoDelay(on = true): this {
      this.#noDelay = on;
      if (this.fd !== NO_FD) sysSetsockopt(ns, this.fd, SOL_TCP, TCP_NODELAY, on ? 1 : 0);
      return this;
    }

    setKeepAlive(on = false, initialDelay = 0): this {
      this.#keepAlive = on ? initialDelay : null;
      if (this.fd !== NO_FD) {
        sysSetsockopt(ns, this.fd, SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0);
        if (on && initialDelay >= 1000) {
          sysSetsockopt(ns, this.fd, SOL_TCP, TCP_KEEPIDLE, Math.floor(initialDelay / 1000));
        }
      }
      return this;
    }

    ref(): this {
      this.#refed = true;
      this.#hold();
      return this;
    }

    unref(): this {
      this.#refed = false;
      this.#release();
      return this;
    }

    destroySoon(): void {
      if (this.writable) this.end();
      if (this.writableFinished) this.destroy();
      else this.once("finish", this.destroy);
    }

    resetAndDestroy(): this {
      this.#reset = true;
      this.destroy();
      return this;
    }

    address(): AddressInfo | Record<string, never> {
      if (this.fd === NO_FD) return {};
      return { address: inetNtoa(this.#local.addr), family: "IPv4", port: this.#local.port };
    }

    get bytesWritten(): number {
      let queued = this.writableLength;
      if (this.#wantWrite !== null) queued -= this.#wantWriteOff;
      return this.#bytesWritten + Math.max(0, queued);
    }
    get pending(): boolean {
      return this.fd === NO_FD || this.connecting;
    }
    get readyState(): string {
      if (this.connecting) return "opening";
      if (this.fd === NO_FD) return "closed";
      if (this.readable && this.writable) return "open";
      return this.readable ? "readOnly" : this.writable ? "writeOnly" : "closed";
    }
    get remoteAddress(): string | undefined {
      return this.#peer.port === 0 ? undefined : inetNtoa(this.#peer.addr);
    }
    get remotePort(): number | undefined {
      return this.#peer.port === 0 ? undefined : this.#peer.port;
    }
    get remoteFamily(): string | undefined {
      return this.#peer.port === 0 ? undefined : "IPv4";
    }
    get localAddress(): string | undefined {
      return this.#local.port === 0 ? undefined : inetNtoa(this.#local.addr);
    }
    get localPort(): number | undefined {
      return this.#local.port === 0 ? undefined : this.#local.port;
    }
    get localFamily(): string | undefined {
      return this.#local.port === 0 ? undefined : "IPv4";
    }
  }

  class Server extends streams.EventEmitter implements SocketWaiter {
    mask: number = EPOLLIN | EPOLLERR;
    maxConnections = Infinity;
    listening = false;
    allowHalfOpen = false;
    #options: Record<string, unknown> = {};
    #fd: number = NO_FD;
    #sock: KernelSocket | null = null;
    #connections = 0;
    #refed = true;
    #local: SockAddr = { family: AF_INET, addr: 0, port: 0 };

    constructor(options?: object | ((s: NetSocket) => void), listener?: (s: NetSocket) => void) {
      super();
      if (typeof options === "function") this.on("connection", options as (s: NetSocket) => void);
      else if (options !== undefined) this.#options = options as Record<string, unknown>;
      if (listener !== undefined) this.on("connection", listener);
      this.allowHalfOpen = this.#options["allowHalfOpen"] === true;
    }

    listen(...args: unknown[]): this {
      const [o, callback] = normalizeArgs(args);
      const options = o as ListenOptions & { path?: string };
      if (this.listening || this.#fd !== NO_FD) throw new SocketError("listen", EALREADY);
      if (callback !== undefined) this.once("listening", callback as () => void);
      const port = options.port === undefined ? 0 : checkPort(options.port, true);
      const text = options.host ?? "0.0.0.0";
      let addr = inetAton(text === "::" ? "0.0.0.0" : text);
      if (addr < 0) addr = host.resolve(text);
      if (addr < 0) {
        queueMicrotask(() => this.emit("error", notFound(text)));
        return this;
      }
      const fail = (call: string, err: number): this => {
        if (this.#fd !== NO_FD) sysClose(ns, this.#fd);
        this.#fd = NO_FD;
        queueMicrotask(() => this.emit("error", new SocketError(call, err, text, port)));
        return this;
      };
      const fd = sysSocket(ns, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
      if (fd < 0) return fail("socket", fd);
      this.#fd = fd;
      sysSetsockopt(ns, fd, SOL_SOCKET, SO_REUSEADDR, 1);
      let err = sysBind(ns, fd, { family: AF_INET, addr, port });
      if (err < 0) return fail("listen", err);
      err = sysListen(ns, fd, options.backlog ?? 511);
      if (err < 0) return fail("listen", err);
      sysGetsockname(ns, fd, this.#local);
      this.#sock = sockfdSocket(ns, fd);
      addWaitQueue(this.#sock as KernelSocket, this);
      this.listening = true;
      if (this.#refed) host.ref();
      queueMicrotask(() => {
        if (this.#fd === fd) this.emit("listening");
      });
      return this;
    }

    wake(): void {
      for (let i = 0; i < ACCEPT_BATCH; i++) {
        if (this.#fd === NO_FD) return;
        const fd = sysAccept4(ns, this.#fd, null, SOCK_NONBLOCK);
        if (fd === -EAGAIN) return;
        if (fd === -ECONNABORTED) continue;
        if (fd < 0) {
          // EBADF, EINVAL: the host was torn down below it.
          if (fd !== -EINVAL && fd !== -EBADF) this.emit("error", new SocketError("accept", fd));
          return;
        }
        if (this.#connections >= this.maxConnections) {
          sysClose(ns, fd);
          this.emit("drop");
          continue;
        }
        const socket = new Socket({ ...this.#options, allowHalfOpen: this.allowHalfOpen });
        socket.server = this;
        socket._server = this;
        socket._attach(fd);
        this.#connections++;
        this.emit("connection", socket);
        if (this.#options["pauseOnConnect"] !== true) socket.read(0);
      }
      // More may wait: come back after everybody else had a turn.
      if (this.#sock !== null) {
        ns.kernel.enter();
        this.#sock.wakeEvents |= EPOLLIN;
        ns.kernel.wake(this.#sock);
        ns.kernel.exit();
      }
    }

    close(callback?: ErrorCallback): this {
      if (this.#fd === NO_FD) {
        if (callback !== undefined) {
          const e = new Error("Server is not running.");
          (e as { code?: string }).code = "ERR_SERVER_NOT_RUNNING";
          queueMicrotask(() => callback(e));
        }
        return this;
      }
      if (callback !== undefined) this.once("close", callback as () => void);
      removeWaitQueue(this.#sock as KernelSocket, this);
      sysClose(ns, this.#fd);
      this.#fd = NO_FD;
      this.#sock = null;
      this.listening = false;
      if (this.#refed) host.unref();
      this.#maybeClosed();
      return this;
    }

    _connectionClosed(): void {
      this.#connections--;
      this.#maybeClosed();
    }

    #maybeClosed(): void {
      if (this.#fd !== NO_FD || this.#connections > 0) return;
      queueMicrotask(() => {
        if (this.#fd === NO_FD && this.#connections === 0) this.emit("close");
      });
    }

    address(): AddressInfo | null {
      if (this.#fd === NO_FD) return null;
      return { address: inetNtoa(this.#local.addr), family: "IPv4", port: this.#local.port };
    }

    getConnections(callback: (err: Error | null, count: number) => void): this {
      queueMicrotask(() => callback(null, this.#connections));
      return this;
    }

    ref(): this {
      if (!this.#refed && this.#fd !== NO_FD) host.ref();
      this.#refed = true;
      return this;
    }

    unref(): this {
      if (this.#refed && this.#fd !== NO_FD) host.unref();
      this.#refed = false;
      return this;
    }
  }

  const connect = (...args: unknown[]): NetSocket => {
    const [options] = normalizeArgs(args);
    return new Socket(options as SocketOptions).connect(...args) as unknown as NetSocket;
  };
  return {
    Socket: Socket as unknown as NetModule["Socket"],
    Server: Server as unknown as NetModule["Server"],
    connect,
    createConnection: connect,
    createServer: (options, listener) => new Server(options, listener) as unknown as NetServer,
    isIP: (input) => (inetAton(String(input)) >= 0 ? 4 : 0),
    isIPv4: (input) => inetAton(String(input)) >= 0,
    isIPv6: () => false,
  };
}

function notFound(name: string): Error {
  const e = new Error(`getaddrinfo ENOTFOUND ${name}`);
  Object.assign(e, { code: "ENOTFOUND", errno: -3008, syscall: "getaddrinfo", hostname: name });
  return e;
}

const utf8 = new TextEncoder();

/** Strings reach _write only with decodeStrings off; utf8 and latin1 are what streams use then. */
function encode(text: string, encoding: string): Uint8Array {
  if (encoding === "latin1" || encoding === "binary" || encoding === "ascii") {
    const out = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
    return out;
  }
  return utf8.encode(text);
}
