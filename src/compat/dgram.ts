/** node:dgram over this stack: `createSocket("udp4")` with the events and calls of Node's own. */

import type { EventEmitter as NodeEventEmitter } from "node:events";
import type { Socket as KernelSocket, SockAddr, SocketWaiter } from "../net/core/sock.ts";
import { addWaitQueue, ErrBox, removeWaitQueue } from "../net/core/sock.ts";
import { inetNtoa } from "../net/ipv4/inet_addr.ts";
import {
  sockfdSocket,
  sysBind,
  sysClose,
  sysConnect,
  sysGetpeername,
  sysGetsockname,
  sysGetsockopt,
  sysIoctl,
  sysRecvfrom,
  sysSendto,
  sysSetsockopt,
  sysSocket,
} from "../net/socket.ts";
import { SocketError } from "../net/socket_error.ts";
import { EAGAIN, ENOTCONN } from "../uapi/errno.ts";
import {
  IP_ADD_MEMBERSHIP,
  IP_DROP_MEMBERSHIP,
  IP_MULTICAST_LOOP,
  IP_MULTICAST_TTL,
  IP_TTL,
  IPPROTO_IP,
} from "../uapi/in.ts";
import { EPOLLERR, EPOLLIN, EPOLLOUT } from "../uapi/poll.ts";
import {
  AF_INET,
  AF_UNSPEC,
  SO_BROADCAST,
  SO_ERROR,
  SO_RCVBUF,
  SO_REUSEADDR,
  SO_SNDBUF,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
} from "../uapi/socket.ts";
import { SIOCINQ } from "../uapi/sockios.ts";
import type { AddressInfo, NetHost, StreamsModule } from "./net.ts";

/** Datagrams delivered in one turn. */
const RECV_BATCH = 256;

export interface RemoteInfo extends AddressInfo {
  size: number;
}

export interface DgramSocket extends NodeEventEmitter {
  bind(...args: unknown[]): this;
  connect(port: number, address?: string | (() => void), callback?: () => void): void;
  disconnect(): void;
  send(msg: string | Uint8Array | readonly (string | Uint8Array)[], ...args: unknown[]): void;
  close(callback?: () => void): this;
  address(): AddressInfo;
  remoteAddress(): AddressInfo;
  setBroadcast(on: boolean): void;
  setTTL(ttl: number): number;
  setMulticastTTL(ttl: number): number;
  setMulticastLoopback(on: boolean): boolean;
  addMembership(group: string, iface?: string): void;
  dropMembership(group: string, iface?: string): void;
  setRecvBufferSize(n: number): void;
  setSendBufferSize(n: number): void;
  getRecvBufferSize(): number;
  getSendBufferSize(): number;
  ref(): this;
  unref(): this;
}

export interface DgramModule {
  createSocket(
    type: string | { type: string; reuseAddr?: boolean },
    listener?: (msg: Uint8Array, r: RemoteInfo) => void,
  ): DgramSocket;
}

type Callback = (err: Error | null, bytes?: number) => void;
interface Pending {
  bytes: Uint8Array;
  to: SockAddr | null;
  callback: Callback | undefined;
}

const NO_FD = -1;
const err0: ErrBox = new ErrBox();
const utf8 = new TextEncoder();

/** Makes the module for one host. */
export function makeDgram(host: NetHost, streams: StreamsModule): DgramModule {
  const ns = host.ns;

  class Socket extends streams.EventEmitter implements SocketWaiter {
    mask: number = EPOLLIN | EPOLLOUT | EPOLLERR;
    readonly type = "udp4";
    #fd: number = NO_FD;
    #sock: KernelSocket;
    #bound = false;
    #connected = false;
    #held = false;
    readonly #queue: Pending[] = [];
    readonly #from: SockAddr = { family: AF_INET, addr: 0, port: 0 };

    constructor(reuseAddr: boolean) {
      super();
      const fd = sysSocket(ns, AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
      if (fd < 0) throw new SocketError("socket", fd);
      this.#fd = fd;
      if (reuseAddr) sysSetsockopt(ns, fd, SOL_SOCKET, SO_REUSEADDR, 1);
      this.#sock = sockfdSocket(ns, fd) as KernelSocket;
      addWaitQueue(this.#sock, this);
    }

    #open(): number {
      if (this.#fd !== NO_FD) return this.#fd;
      const e = new Error("Not running");
      (e as { code?: string }).code = "ERR_SOCKET_DGRAM_NOT_RUNNING";
      throw e;
    }

    #hold(): void {
      if (!this.#held) {
        this.#held = true;
        host.ref();
      }
    }

    #setopt(level: number, name: number, value: object | number, call: string): void {
      const err = sysSetsockopt(ns, this.#open(), level, name, value);
      if (err < 0) throw new SocketError(call, err);
    }

    bind(...args: unknown[]): this {
      const fd = this.#open();
      const callback = args.find((a) => typeof a === "function") as (() => void) | undefined;
      const o = (typeof args[0] === "object" && args[0] !== null ? args[0] : {}) as { port?: number; address?: string };
      const port = typeof args[0] === "number" ? args[0] : (o.port ?? 0);
      const text = typeof args[1] === "string" ? args[1] : (o.address ?? "0.0.0.0");
      if (callback !== undefined) this.once("listening", callback);
      const addr = host.resolve(text);
      const err = sysBind(ns, fd, { family: AF_INET, addr: addr < 0 ? 0 : addr, port });
      if (err < 0) {
        queueMicrotask(() => this.emit("error", new SocketError("bind", err, text, port)));
        return this;
      }
      this.#listening();
      return this;
    }

    #listening(): void {
      if (this.#bound) return;
      this.#bound = true;
      this.#hold();
      queueMicrotask(() => {
        if (this.#fd !== NO_FD) this.emit("listening");
      });
    }

    connect(port: number, address?: string | (() => void), callback?: () => void): void {
      const fd = this.#open();
      const text = typeof address === "string" ? address : "127.0.0.1";
      const done = typeof address === "function" ? address : callback;
      const addr = host.resolve(text);
      const err = sysConnect(ns, fd, { family: AF_INET, addr, port });
      queueMicrotask(() => {
        if (err < 0) {
          this.emit("error", new SocketError("connect", err, text, port));
          return;
        }
        done?.();
        this.emit("connect");
      });
      if (err === 0) {
        this.#connected = true;
        this.#listening();
      }
    }

    disconnect(): void {
      if (!this.#connected) throw new SocketError("disconnect", ENOTCONN);
      sysConnect(ns, this.#open(), { family: AF_UNSPEC, addr: 0, port: 0 });
      this.#connected = false;
    }

    send(msg: string | Uint8Array | readonly (string | Uint8Array)[], ...args: unknown[]): void {
      const fd = this.#open();
      const callback = typeof args[args.length - 1] === "function" ? (args.pop() as Callback) : undefined;
      let bytes = toBytes(msg);
      let rest = args;
      // (msg, offset, length, port, address): two numbers more than (msg, port, address).
      if (typeof args[0] === "number" && typeof args[1] === "number") {
        bytes = bytes.subarray(args[0], args[0] + args[1]);
        rest = args.slice(2);
      }
      let to: SockAddr | null = null;
      if (!this.#connected) {
        const port = Number(rest[0]);
        if (!Number.isInteger(port) || port <= 0 || port > 65535)
          throw new RangeError(`Port should be > 0 and < 65536. Received ${String(rest[0])}.`);
        const text = typeof rest[1] === "string" ? rest[1] : "127.0.0.1";
        const addr = host.resolve(text);
        if (addr < 0) {
          const e = Object.assign(new Error(`getaddrinfo ENOTFOUND ${text}`), { code: "ENOTFOUND", hostname: text });
          queueMicrotask(() => (callback !== undefined ? callback(e) : this.emit("error", e)));
          return;
        }
        to = { family: AF_INET, addr, port };
      }
      if (this.#queue.length > 0) {
        this.#queue.push({ bytes, to, callback });
        return;
      }
      const n = sysSendto(ns, fd, bytes, bytes.length, 0, to);
      if (n === -EAGAIN) this.#queue.push({ bytes, to, callback });
      else this.#sent(n, to, callback);
      this.#listening();
    }

    #sent(n: number, to: SockAddr | null, callback: Callback | undefined): void {
      if (n >= 0) {
        if (callback !== undefined) queueMicrotask(() => callback(null, n));
        return;
      }
      const e = to === null ? new SocketError("send", n) : new SocketError("send", n, inetNtoa(to.addr), to.port);
      queueMicrotask(() => (callback !== undefined ? callback(e) : this.emit("error", e)));
    }

    wake(events: number): void {
      if (this.#fd === NO_FD) return;
      if ((events & EPOLLOUT) !== 0) {
        while (this.#queue.length > 0) {
          const p = this.#queue[0] as Pending;
          const n = sysSendto(ns, this.#fd, p.bytes, p.bytes.length, 0, p.to);
          if (n === -EAGAIN) break;
          this.#queue.shift();
          this.#sent(n, p.to, p.callback);
        }
      }
      if ((events & EPOLLERR) !== 0) {
        const e = sysGetsockopt(ns, this.#fd, SOL_SOCKET, SO_ERROR, err0) as number;
        if (e !== 0) this.emit("error", new SocketError("recvmsg", e));
      }
      for (let i = 0; i < RECV_BATCH; i++) {
        if (this.#fd === NO_FD) return;
        const size = sysIoctl(ns, this.#fd, SIOCINQ);
        const buf = new Uint8Array(size > 0 ? size : 1);
        const n = sysRecvfrom(ns, this.#fd, buf, buf.length, 0, this.#from);
        if (n === -EAGAIN) return;
        if (n < 0) {
          this.emit("error", new SocketError("recvmsg", n));
          return;
        }
        const r: RemoteInfo = { address: inetNtoa(this.#from.addr), family: "IPv4", port: this.#from.port, size: n };
        this.emit("message", n === buf.length ? buf : buf.slice(0, n), r);
      }
      ns.kernel.enter();
      this.#sock.wakeEvents |= EPOLLIN;
      ns.kernel.wake(this.#sock);
      ns.kernel.exit();
    }

    close(callback?: () => void): this {
      const fd = this.#open();
      if (callback !== undefined) this.once("close", callback);
      removeWaitQueue(this.#sock, this);
      this.#fd = NO_FD;
      sysClose(ns, fd);
      this.unref();
      queueMicrotask(() => this.emit("close"));
      return this;
    }

    address(): AddressInfo {
      const a: SockAddr = { family: AF_INET, addr: 0, port: 0 };
      sysGetsockname(ns, this.#open(), a);
      return { address: inetNtoa(a.addr), family: "IPv4", port: a.port };
    }

    remoteAddress(): AddressInfo {
      const a: SockAddr = { family: AF_INET, addr: 0, port: 0 };
      const err = sysGetpeername(ns, this.#open(), a);
      if (err < 0) throw new SocketError("getpeername", err);
      return { address: inetNtoa(a.addr), family: "IPv4", port: a.port };
    }

    setBroadcast(on: boolean): void {
      this.#setopt(SOL_SOCKET, SO_BROADCAST, on ? 1 : 0, "setBroadcast");
    }
    setTTL(ttl: number): number {
      this.#setopt(IPPROTO_IP, IP_TTL, ttl, "setTTL");
      return ttl;
    }
    setMulticastTTL(ttl: number): number {
      this.#setopt(IPPROTO_IP, IP_MULTICAST_TTL, ttl, "setMulticastTTL");
      return ttl;
    }
    setMulticastLoopback(on: boolean): boolean {
      this.#setopt(IPPROTO_IP, IP_MULTICAST_LOOP, on ? 1 : 0, "setMulticastLoopback");
      return on;
    }
    addMembership(group: string, iface?: string): void {
      this.#setopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, mreq(host, group, iface), "addMembership");
    }
    dropMembership(group: string, iface?: string): void {
      this.#setopt(IPPROTO_IP, IP_DROP_MEMBERSHIP, mreq(host, group, iface), "dropMembership");
    }
    setRecvBufferSize(n: number): void {
      this.#setopt(SOL_SOCKET, SO_RCVBUF, n, "setRecvBufferSize");
    }
    setSendBufferSize(n: number): void {
      this.#setopt(SOL_SOCKET, SO_SNDBUF, n, "setSendBufferSize");
    }
    getRecvBufferSize(): number {
      return sysGetsockopt(ns, this.#open(), SOL_SOCKET, SO_RCVBUF, err0) as number;
    }
    getSendBufferSize(): number {
      return sysGetsockopt(ns, this.#open(), SOL_SOCKET, SO_SNDBUF, err0) as number;
    }
    ref(): this {
      if (this.#fd !== NO_FD) this.#hold();
      return this;
    }
    unref(): this {
      if (this.#held) {
        this.#held = false;
        host.unref();
      }
      return this;
    }
  }

  return {
    createSocket(type, listener): DgramSocket {
      const options = typeof type === "string" ? { type } : type;
      if (options.type !== "udp4") throw new SocketError("socket", 97); // EAFNOSUPPORT
      const socket = new Socket((options as { reuseAddr?: boolean }).reuseAddr === true);
      if (listener !== undefined) socket.on("message", listener);
      return socket as unknown as DgramSocket;
    },
  };
}

/** struct ip_mreqn. */
function mreq(host: NetHost, group: string, iface: string | undefined): object {
  return {
    multiaddr: host.resolve(group),
    address: iface === undefined ? 0 : host.resolve(iface),
    ifindex: 0,
  };
}

function toBytes(msg: string | Uint8Array | readonly (string | Uint8Array)[]): Uint8Array {
  if (typeof msg === "string") return utf8.encode(msg);
  if (msg instanceof Uint8Array) return msg;
  const parts = msg.map((m) => (typeof m === "string" ? utf8.encode(m) : m));
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}
