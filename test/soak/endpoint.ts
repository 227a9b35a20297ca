/**
 * One end of a connection of the soak: an application with a plan. It reads and writes only when it was woken or when its
 * own clock says so, as a program with epoll in edge-triggered mode does, so that a wakeup that does not come is a stall.
 */

import type { Host } from "../../src/init/host.ts";
import type { SocketWaiter } from "../../src/net/core/sock.ts";
import { ErrBox, Msghdr } from "../../src/net/core/sock.ts";
import { sockfdSocket } from "../../src/net/socket.ts";
import { EAGAIN, EINVAL } from "../../src/uapi/errno.ts";
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP } from "../../src/uapi/poll.ts";
import {
  AF_UNSPEC,
  MSG_DONTWAIT,
  MSG_EOR,
  MSG_MORE,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  SHUT_RD,
  SHUT_RDWR,
  SHUT_WR,
  SO_ERROR,
  SO_LINGER,
  SOL_SOCKET,
  SOL_TCP,
} from "../../src/uapi/socket.ts";
import { TCP_CORK, TCP_NODELAY, TCP_QUICKACK } from "../../src/uapi/tcp.ts";
import type { Dice, Stream } from "./dice.ts";
import { hashText } from "./dice.ts";

/** The urgent byte: no byte of the stream has this value, so that one that stays in line, or not, is known. */
const URGENT = 0xff;

/** Byte `i` of a stream. */
export function streamByte(key: number, i: number): number {
  let x = Math.imul(i ^ key, 0x9e3779b1);
  x ^= x >>> 15;
  return (Math.imul(x, 0x85ebca6b) >>> 16) % 251;
}

export type Ending =
  | "shutdown"
  | "close"
  | "shutdown-both"
  | "linger"
  | "reset"
  | "wait"
  | "shutdown-read"
  | "disconnect";

export interface Plan {
  /** Bytes to send. */
  total: number;
  ending: Ending;
  /** Bytes read after which the end goes away, whatever is still to come; -1 = never. */
  quitAfter: number;
}

const ENDINGS: readonly Ending[] = [
  "shutdown",
  "shutdown",
  "shutdown",
  "wait",
  "close",
  "close",
  "shutdown-both",
  "linger",
  "reset",
  "shutdown-read",
  "disconnect",
];

export function makePlan(dice: Dice, name: string): Plan {
  const s = dice.stream(`${name}.plan`);
  return {
    total:
      s.float() < 0.15
        ? 0
        : s.log(
            1,
            dice.risk(`${name}.bulk`, 0.1, () => 400_000, 30_000),
          ),
    ending: dice.risk<Ending>(`${name}.ending`, 0.6, (d) => d.pick(ENDINGS), "shutdown"),
    quitAfter: dice.risk(`${name}.quit`, 0.05, (d) => d.log(1, 10_000), -1),
  };
}

type ReadMode = "all" | "slow" | "peek" | "iovec" | "trunc" | "late";
type WriteMode = "all" | "tiny" | "more" | "cork" | "iovec" | "paced" | "eor" | "flip";

export class Endpoint implements SocketWaiter {
  readonly mask: number = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLERR | EPOLLHUP | EPOLLRDHUP;
  readonly name: string;
  readonly host: Host;
  readonly plan: Plan;
  peer: Endpoint | null = null;
  /** Up to three bytes at the start of what it receives may be missing. */
  mayMissStart: () => boolean = () => false;
  fd = -1;
  /** Established, as far as this end has been told. */
  connected = false;
  ready = false;
  /** When it next wants to act by itself, microseconds. */
  nextAt: number = Infinity;
  lastProgress = 0;

  /** Stream bytes given to the stack and taken from it, without urgent ones. */
  sent = 0;
  got = 0;
  urgentSent = 0;
  /** FIN sent with everything before it; the peer's seen. */
  finished = false;
  eof = false;
  /** The first error that a call returned, or 0. */
  error = 0;
  closed = false;
  /** It went away while the other end may still have been sending, or threw away what was there. */
  rude = false;
  /** The application gave up waiting. */
  gaveUp = false;

  readonly #txKey: number;
  readonly #rxKey: number;
  readonly #s: Stream;
  readonly #readMode: ReadMode;
  readonly #writeMode: WriteMode;
  readonly #chunk: number;
  readonly #readChunk: number;
  readonly #think: number;
  readonly #readThink: number;
  readonly #urgent: number;
  readonly #endThink: number;
  readonly #quick: boolean;
  #readBlockedUntil = 0;
  #writeBlockedUntil = 0;
  #endAt = -1;
  readonly #buf: Uint8Array;
  readonly #in: Uint8Array;
  readonly #fail: (what: string) => never;

  constructor(
    dice: Dice,
    name: string,
    conn: string,
    client: boolean,
    host: Host,
    plan: Plan,
    fail: (what: string) => never,
  ) {
    this.name = name;
    this.host = host;
    this.plan = plan;
    this.#fail = fail;
    this.#txKey = hashText(`${conn}.${client ? "up" : "down"}`, dice.seed);
    this.#rxKey = hashText(`${conn}.${client ? "down" : "up"}`, dice.seed);
    this.#s = dice.stream(`${name}.act`);
    this.#readMode = dice.risk<ReadMode>(
      `${name}.read`,
      0.5,
      (s) => s.pick(["slow", "peek", "iovec", "trunc", "late", "late"]),
      "all",
    );
    this.#writeMode = dice.risk<WriteMode>(
      `${name}.write`,
      0.6,
      (s) => s.pick(["tiny", "more", "cork", "iovec", "paced", "eor", "flip"]),
      "all",
    );
    this.#chunk = dice.risk(`${name}.chunk`, 0.7, (s) => s.log(1, 20_000), 16_384);
    this.#readChunk = dice.risk(`${name}.readChunk`, 0.7, (s) => s.log(1, 20_000), 16_384);
    this.#think = dice.risk(`${name}.think`, 0.4, (s) => s.log(10, 3_000_000), 1000);
    this.#readThink = dice.risk(`${name}.readThink`, 0.4, (s) => s.log(10, 3_000_000), 1000);
    this.#urgent = dice.risk(`${name}.urgent`, 0.08, () => 0.1, 0);
    this.#endThink = dice.risk(`${name}.endThink`, 0.3, (s) => s.log(100, 60_000_000), 0);
    this.#quick = dice.risk(`${name}.quickack`, 0.1, () => true, false);
    // A stream of tiny pieces must not take for ever.
    const least = Math.ceil(this.plan.total / 400);
    this.#chunk = Math.max(this.#chunk, least);
    this.#buf = new Uint8Array(Math.max(this.#chunk, 16));
    this.#in = new Uint8Array(this.#readChunk);
    if (this.#readMode === "late") this.#readBlockedUntil = -1;
  }

  /** The connection is this descriptor from now on. */
  attach(fd: number, now: number, connected: boolean): void {
    this.fd = fd;
    this.connected = connected;
    this.lastProgress = now;
    if (this.#readBlockedUntil === -1) this.#readBlockedUntil = now + this.#s.log(1000, 100_000_000);
    const sock = sockfdSocket(this.host.ns, fd);
    if (sock === null) this.#fail("no socket behind a descriptor");
    sock.waiters.push(this);
    this.ready = true;
  }

  /** It takes its time to read. */
  get slow(): boolean {
    return this.#readMode === "late" || this.#readMode === "slow";
  }

  wake(): void {
    this.ready = true;
  }

  /** A negative errno that a call returned. */
  #failed(err: number): void {
    if (this.error === 0) this.error = -err;
  }

  #close(): void {
    if (this.closed) return;
    this.closed = true;
    // What a slow reader leaves an orphan with, it does not wait for for ever.
    if (this.peer !== null && this.peer.slow && this.peer.got < this.sent) this.rude = true;
    const err = this.host.sys.close(this.fd);
    if (err !== 0) this.#fail(`close() = ${err}`);
  }

  /** What the socket's own error is (SO_ERROR), which getting clears. */
  #soError(): number {
    const box = new ErrBox();
    return this.host.sys.getsockopt(this.fd, SOL_SOCKET, SO_ERROR, box) as number;
  }

  step(now: number): void {
    this.ready = false;
    this.nextAt = Infinity;
    if (this.closed || this.fd < 0) return;
    if (!this.connected) {
      const p = { fd: this.fd, events: EPOLLOUT, revents: 0 };
      this.host.sys.poll([p]);
      if (p.revents === 0) return;
      const err = this.#soError();
      if (err !== 0) {
        this.error = err;
        this.#close();
        return;
      }
      this.connected = true;
      this.lastProgress = now;
    }
    const before = this.sent + this.got + this.urgentSent;
    if (!this.eof && this.error === 0) this.#read(now);
    if (!this.finished && this.error === 0 && !this.closed) this.#write(now);
    if (this.sent + this.got + this.urgentSent !== before || this.eof) this.lastProgress = now;
    this.#end(now);
  }

  /** Acts again at `at`, if not before. */
  #at(at: number): void {
    if (at < this.nextAt) this.nextAt = at;
  }

  // ---- reading ----

  #check(bytes: Uint8Array, n: number): void {
    for (let i = 0; i < n; i++) {
      const b = bytes[i] as number;
      if (b === URGENT && this.peer !== null && this.peer.urgentSent > 0) continue;
      if (this.got === 0 && this.mayMissStart()) {
        while (this.got < 3 && b !== streamByte(this.#rxKey, this.got)) this.got++;
      }
      const want = streamByte(this.#rxKey, this.got);
      if (b !== want) this.#fail(`byte ${this.got} of the stream is ${b}, not ${want}`);
      this.got++;
      if (this.peer !== null && this.got > this.peer.sent) this.#fail(`byte ${this.got} was never sent`);
    }
  }

  #read(now: number): void {
    if (now < this.#readBlockedUntil) {
      this.#at(this.#readBlockedUntil);
      return;
    }
    const { sys } = this.host;
    for (let round = 0; ; round++) {
      const buf = this.#in;
      let n: number;
      if (this.#readMode === "iovec") {
        const msg = new Msghdr();
        const cut = this.#s.int(0, buf.length);
        msg.iov = [buf.subarray(0, cut), new Uint8Array(0), buf.subarray(cut)];
        n = sys.recvmsg(this.fd, msg, MSG_DONTWAIT);
      } else if (this.#readMode === "peek" && this.#s.float() < 0.5) {
        const peeked = new Uint8Array(buf.length);
        const p = sys.recv(this.fd, peeked, buf.length, MSG_PEEK);
        if (p < 0 && p !== -EAGAIN) {
          this.#failed(p);
          return;
        }
        n = sys.recv(this.fd, buf, buf.length, 0);
        // Peeking reads past a new urgent mark that reading stops at: what both have is the same.
        for (let i = 0; i < Math.min(p, n); i++)
          if (peeked[i] !== buf[i]) this.#fail(`peek and read differ at ${i} of ${n}`);
      } else if (
        this.#readMode === "trunc" &&
        this.#urgent === 0 &&
        this.peer?.urgentSent === 0 &&
        this.#s.float() < 0.5
      ) {
        // MSG_TRUNC throws away without copying.
        n = sys.recv(this.fd, buf, buf.length, MSG_TRUNC);
        if (n > 0) {
          this.got += n;
          if (this.got > this.peer.sent) this.#fail(`byte ${this.got} was never sent`);
          continue;
        }
      } else {
        n = sys.recv(this.fd, buf, buf.length, 0);
      }
      if (n === -EAGAIN) break;
      if (n < 0) {
        this.#failed(n);
        return;
      }
      if (n === 0) {
        this.eof = true;
        return;
      }
      this.#check(buf, n);
      if (this.#quick && this.#s.float() < 0.3) sys.setsockopt(this.fd, SOL_TCP, TCP_QUICKACK, this.#s.int(0, 2));
      if (this.plan.quitAfter >= 0 && this.got >= this.plan.quitAfter) {
        this.rude = true;
        this.#close();
        return;
      }
      if (this.#readMode === "slow" || round > 200) {
        this.#readBlockedUntil =
          now + (this.#readMode === "slow" ? this.#pause(this.#readThink, this.peer?.plan.total ?? 0) : 1);
        this.#at(this.#readBlockedUntil);
        return;
      }
    }
    if (this.peer !== null && this.peer.urgentSent > 0 && this.#s.float() < 0.5) {
      const one = new Uint8Array(1);
      const n = sys.recv(this.fd, one, 1, MSG_OOB);
      if (n === 1 && one[0] !== URGENT) this.#fail(`the urgent byte is ${one[0]}`);
      if (n < 0 && n !== -EAGAIN && n !== -EINVAL) this.#failed(n);
    }
  }

  /** A pause between two pieces: the whole stream takes an hour at most. */
  #pause(most: number, total: number): number {
    const pieces = Math.max(1, total / Math.min(this.#chunk, this.#readChunk));
    return this.#s.log(1, Math.max(2, Math.min(most, 3.6e9 / pieces)));
  }

  // ---- writing ----

  #write(now: number): void {
    if (now < this.#writeBlockedUntil) {
      this.#at(this.#writeBlockedUntil);
      return;
    }
    const { sys } = this.host;
    const mode = this.#writeMode;
    for (let round = 0; this.sent < this.plan.total; round++) {
      if (this.#urgent > 0 && this.#s.float() < this.#urgent) {
        this.#buf[0] = URGENT;
        const n = sys.send(this.fd, this.#buf, 1, MSG_OOB);
        if (n === -EAGAIN) return;
        if (n < 0) {
          this.#failed(n);
          return;
        }
        this.urgentSent++;
        continue;
      }
      let len = Math.min(mode === "tiny" ? this.#s.int(1, this.#chunk) : this.#chunk, this.plan.total - this.sent);
      for (let i = 0; i < len; i++) this.#buf[i] = streamByte(this.#txKey, this.sent + i);
      if (mode === "flip") sys.setsockopt(this.fd, SOL_TCP, TCP_NODELAY, this.#s.int(0, 1));
      if (mode === "cork") sys.setsockopt(this.fd, SOL_TCP, TCP_CORK, this.#s.int(0, 1));
      let n: number;
      if (mode === "iovec") {
        const msg = new Msghdr();
        const pieces = this.#s.int(1, 40);
        for (let i = 0, at = 0; i < pieces; i++) {
          const end = i === pieces - 1 ? len : Math.min(len, at + this.#s.int(0, Math.ceil((2 * len) / pieces)));
          msg.iov.push(this.#buf.subarray(at, end));
          at = end;
        }
        n = sys.sendmsg(this.fd, msg, MSG_DONTWAIT);
      } else {
        let flags = MSG_DONTWAIT;
        if (mode === "more" && this.#s.float() < 0.7 && this.sent + len < this.plan.total) flags |= MSG_MORE;
        if (mode === "eor" && this.#s.float() < 0.5) flags |= MSG_EOR;
        n = sys.send(this.fd, this.#buf, len, flags);
      }
      if (n === -EAGAIN) {
        // A pipe that is corked and full moves by itself.
        return;
      }
      if (n < 0) {
        this.#failed(n);
        return;
      }
      if (n === 0 || n > len) this.#fail(`send() of ${len} bytes = ${n}`);
      this.sent += n;
      len -= n;
      if (mode === "paced" || round > 200) {
        this.#writeBlockedUntil = now + (mode === "paced" ? this.#pause(this.#think, this.plan.total) : 1);
        this.#at(this.#writeBlockedUntil);
        return;
      }
    }
    if (mode === "cork") sys.setsockopt(this.fd, SOL_TCP, TCP_CORK, 0);
  }

  // ---- the end ----

  #end(now: number): void {
    if (this.closed) return;
    if (this.error !== 0) {
      this.#close();
      return;
    }
    if (!this.finished && this.sent === this.plan.total) {
      if (this.#endAt < 0) this.#endAt = now + this.#endThink;
      if (now < this.#endAt) {
        this.#at(this.#endAt);
        return;
      }
      this.#finish();
      if (this.closed || this.error !== 0) return;
    }
    if (this.finished && this.eof) this.#close();
  }

  #shutdown(how: number): void {
    const err = this.host.sys.shutdown(this.fd, how);
    // The connection may have been reset meanwhile: -ENOTCONN.
    if (err < 0) {
      this.error = this.#soError() || -err;
      this.#close();
    }
  }

  /** Everything is written: what now. */
  #finish(): void {
    const { sys } = this.host;
    switch (this.plan.ending) {
      case "shutdown":
        this.finished = true;
        this.#shutdown(SHUT_WR);
        return;
      case "wait":
        if (!this.eof) return;
        this.finished = true;
        this.#close();
        return;
      case "shutdown-read":
        this.rude = !this.eof;
        this.finished = true;
        this.#shutdown(SHUT_RD);
        if (!this.closed) this.#shutdown(SHUT_WR);
        this.#close();
        return;
      case "shutdown-both":
        this.rude = !this.eof;
        this.finished = true;
        this.#shutdown(SHUT_RDWR);
        this.#close();
        return;
      case "linger":
        sys.setsockopt(this.fd, SOL_SOCKET, SO_LINGER, { onoff: 1, linger: 30 });
        break;
      case "reset":
        sys.setsockopt(this.fd, SOL_SOCKET, SO_LINGER, { onoff: 1, linger: 0 });
        this.rude = true;
        break;
      case "disconnect":
        this.rude = true;
        sys.connect(this.fd, { family: AF_UNSPEC, addr: 0, port: 0 });
        break;
      default:
        break;
    }
    if (!this.eof) this.rude = true;
    this.finished = true;
    this.#close();
  }

  /** The application has waited long enough. */
  giveUp(): void {
    if (this.closed) return;
    this.gaveUp = true;
    this.rude = true;
    if (this.fd >= 0) this.#close();
    else this.closed = true;
  }

  describe(): string {
    const flags = [
      this.connected ? "" : "not connected",
      this.finished ? "finished" : "",
      this.eof ? "eof" : "",
      this.closed ? "closed" : "",
      this.rude ? "rude" : "",
      this.gaveUp ? "gave up" : "",
      this.error !== 0 ? `errno ${this.error}` : "",
    ].filter((f) => f !== "");
    return `${this.name}: sent ${this.sent}/${this.plan.total}, got ${this.got}, ${flags.join(", ")}`;
  }
}
