/** A flow of a simulation: a TCP connection, kept full from one host to another, and what is known about it. */

import { parseDelay } from "../init/link_options.ts";
import type { Net } from "../net/core/net_namespace.ts";
import { ErrBox, type Socket, type SocketWaiter } from "../net/core/sock.ts";
import type { TcpInfo } from "../net/ipv4/tcp_sockopt.ts";
import {
  sockfdSocket,
  sysAccept4,
  sysBind,
  sysClose,
  sysConnect,
  sysGetsockopt,
  sysListen,
  sysRecv,
  sysSend,
  sysSetsockopt,
  sysShutdown,
  sysSocket,
} from "../net/socket.ts";
import { SocketError } from "../net/socket_error.ts";
import { EAGAIN, EINPROGRESS } from "../uapi/errno.ts";
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "../uapi/poll.ts";
import { AF_INET, SHUT_WR, SOCK_NONBLOCK, SOCK_STREAM, SOL_TCP } from "../uapi/socket.ts";
import { TCP_CONGESTION, TCP_INFO } from "../uapi/tcp.ts";
import type { SimFlow } from "./simulate.ts";

/** What a simulation needs of a host. */
export interface SimHost {
  readonly name: string;
  readonly ns: Net;
  ip(command: string): string;
  tc(command: string): string;
  sysctl(command: string): string;
  primaryAddress(): number;
}

export interface SimClock {
  /** Microseconds. */
  readonly now: number;
}

/** Flow n listens here plus n. */
const PORT = 5001;
const CHUNK = 65536;
/** Byte `i` of a stream is `i` modulo this: a piece that is lost, or there twice, shows. */
const PERIOD = 251;

/** What was seen at each of the simulation's `times`; 0 before the flow began. */
export interface FlowSamples {
  /** Packets. */
  cwnd: number[];
  /** Milliseconds. */
  srtt: number[];
  /** Read by the receiver so far. */
  bytes: number[];
  /** Segments sent again so far. */
  retransmits: number[];
  /** Bits a second. */
  pacingRate: number[];
}

export interface FlowResult {
  /** "s1 > d cubic". */
  name: string;
  from: string;
  to: string;
  congestion: string;
  /** Seconds: when it connected, and when the receiver had everything, or the simulation ended. */
  start: number;
  end: number;
  /** True if it had so many bytes to send, and the receiver has read them and the FIN. */
  completed: boolean;
  /** Read by the receiver. */
  bytes: number;
  /** Bits a second of what was read, from start to end. */
  goodput: number;
  /** Segments that were sent again, and bytes. */
  retransmits: number;
  retransmittedBytes: number;
  /** Retransmission timeouts. */
  timeouts: number;
  /** Milliseconds: smallest, mean of the smoothed one over the samples, and the largest of these. */
  rtt: { min: number; mean: number; max: number };
  /** Packets: mean over the samples. */
  cwnd: number;
  /** The error that ended it: "ETIMEDOUT"; "" if none did. */
  error: string;
  samples: FlowSamples;
}

/** PERIOD views of the stream, the one at `i` beginning with byte `i` of the period. */
const chunks: readonly Uint8Array[] = ((): Uint8Array[] => {
  const bytes = Uint8Array.from({ length: CHUNK + PERIOD }, (_, i) => i % PERIOD);
  return Array.from({ length: PERIOD }, (_, i) => bytes.subarray(i, i + CHUNK));
})();
const scratch: Uint8Array = new Uint8Array(CHUNK);

/** Calls `run` whenever one of `mask` happens to a socket. */
class Waiter implements SocketWaiter {
  readonly mask: number;
  readonly #run: () => void;
  constructor(mask: number, run: () => void) {
    this.mask = mask;
    this.#run = run;
  }
  wake(_events: number): void {
    this.#run();
  }
}

export class Flow {
  readonly startAfter: number;
  readonly #kernel: SimClock;
  readonly #from: SimHost;
  readonly #to: SimHost;
  readonly #port: number;
  readonly #bytes: number;
  readonly #congestion: string | undefined;
  #used = "";
  #tx = -1;
  #rx = -1;
  #listener = -1;
  #sent = 0;
  #received = 0;
  #started = 0;
  #ended = 0;
  #shut = false;
  #eof = false;
  #error = "";
  #over = false;
  #info: TcpInfo | null = null;
  readonly #samples: FlowSamples = { cwnd: [], srtt: [], bytes: [], retransmits: [], pacingRate: [] };

  constructor(kernel: SimClock, from: SimHost, to: SimHost, flow: SimFlow, n: number) {
    this.#kernel = kernel;
    this.#from = from;
    this.#to = to;
    this.#port = PORT + n;
    this.#congestion = flow.congestion;
    this.#bytes = flow.bytes ?? Infinity;
    if (!(this.#bytes > 0)) throw new RangeError(`flow ${n + 1}: bytes: ${this.#bytes} are none`);
    this.startAfter = parseDelay(flow.start ?? 0, `flow ${n + 1}: start`);
  }

  start(): void {
    const from = this.#from.ns;
    const to = this.#to.ns;
    this.#started = this.#kernel.now;
    this.#listener = must(sysSocket(to, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    must(sysBind(to, this.#listener, { family: AF_INET, addr: 0, port: this.#port }), "bind");
    must(sysListen(to, this.#listener, 1), "listen");
    watch(this.#to, this.#listener, EPOLLIN, () => this.#accept());
    this.#tx = must(sysSocket(from, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    if (this.#congestion !== undefined) {
      must(sysSetsockopt(from, this.#tx, SOL_TCP, TCP_CONGESTION, this.#congestion), `setsockopt ${this.#congestion}`);
    }
    this.#used = sysGetsockopt(from, this.#tx, SOL_TCP, TCP_CONGESTION, new ErrBox()) as string;
    watch(this.#from, this.#tx, EPOLLOUT | EPOLLERR | EPOLLHUP, () => this.#send());
    const err = sysConnect(from, this.#tx, { family: AF_INET, addr: this.#to.primaryAddress(), port: this.#port });
    if (err !== -EINPROGRESS) must(err, "connect");
  }

  #accept(): void {
    if (this.#rx >= 0 || this.#over) return;
    const fd = sysAccept4(this.#to.ns, this.#listener, null, SOCK_NONBLOCK);
    if (fd === -EAGAIN) return;
    this.#rx = must(fd, "accept");
    watch(this.#to, this.#rx, EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP, () => this.#receive());
    this.#receive();
  }

  #send(): void {
    while (!this.#shut && this.#error === "" && !this.#over) {
      const left = this.#bytes - this.#sent;
      if (left === 0) {
        this.#shut = true;
        must(sysShutdown(this.#from.ns, this.#tx, SHUT_WR), "shutdown");
        return;
      }
      const chunk = chunks[this.#sent % PERIOD] as Uint8Array;
      const n = sysSend(this.#from.ns, this.#tx, chunk, Math.min(CHUNK, left), 0);
      if (n === -EAGAIN) return;
      if (n < 0) {
        this.#error = new SocketError("send", n).code;
        this.#ended = this.#kernel.now;
        return;
      }
      this.#sent += n;
    }
  }

  #receive(): void {
    while (!this.#eof && !this.#over) {
      const n = sysRecv(this.#to.ns, this.#rx, scratch, CHUNK, 0);
      if (n === -EAGAIN) return;
      if (n < 0) {
        this.#error ||= new SocketError("recv", n).code;
        this.#eof = true;
      } else if (n === 0) {
        this.#eof = true;
      } else {
        const first = this.#received % PERIOD;
        if (scratch[0] !== first || scratch[n - 1] !== (first + n - 1) % PERIOD) {
          throw new Error(`flow to port ${this.#port}: byte ${this.#received} is not the one that was sent`);
        }
        this.#received += n;
        continue;
      }
      this.#ended = this.#kernel.now;
      sysClose(this.#to.ns, this.#rx);
    }
  }

  /** The simulation is over: whatever wakes it up now, it does nothing more. */
  stop(): void {
    this.#over = true;
  }

  sample(): void {
    const s = this.#samples;
    if (this.#tx >= 0) {
      const info = sysGetsockopt(this.#from.ns, this.#tx, SOL_TCP, TCP_INFO, new ErrBox()) as TcpInfo;
      this.#info = info;
      s.cwnd.push(info.sndCwnd);
      s.srtt.push(info.rtt / 1000);
      s.retransmits.push(info.totalRetrans);
      s.pacingRate.push(Number.isFinite(info.pacingRate) ? info.pacingRate * 8 : 0);
    } else {
      s.cwnd.push(0);
      s.srtt.push(0);
      s.retransmits.push(0);
      s.pacingRate.push(0);
    }
    s.bytes.push(this.#received);
  }

  result(times: readonly number[], duration: number): FlowResult {
    const info = this.#info;
    const origin = this.#kernel.now - duration * 1e6;
    const start = this.#tx < 0 ? duration : (this.#started - origin) / 1e6;
    const end = this.#ended === 0 ? duration : (this.#ended - origin) / 1e6;
    // Samples of the connection as it ran.
    const seen = times.flatMap((t, i) => (t > start && t <= end && (this.#samples.srtt[i] as number) > 0 ? [i] : []));
    const mean = (values: readonly number[]): number =>
      seen.length === 0 ? 0 : seen.reduce((sum, i) => sum + (values[i] as number), 0) / seen.length;
    return {
      name: `${this.#from.name} > ${this.#to.name} ${this.#used}`,
      from: this.#from.name,
      to: this.#to.name,
      congestion: this.#used,
      start,
      end,
      completed: this.#received === this.#bytes && this.#eof,
      bytes: this.#received,
      goodput: end > start ? (this.#received * 8) / (end - start) : 0,
      retransmits: info?.totalRetrans ?? 0,
      retransmittedBytes: info?.bytesRetrans ?? 0,
      timeouts: info?.totalRto ?? 0,
      rtt: {
        min: info === null || info.minRtt === 0xffffffff ? 0 : info.minRtt / 1000,
        mean: mean(this.#samples.srtt),
        max: seen.reduce((max, i) => Math.max(max, this.#samples.srtt[i] as number), 0),
      },
      cwnd: mean(this.#samples.cwnd),
      error: this.#error,
      samples: this.#samples,
    };
  }
}

function watch(host: SimHost, fd: number, mask: number, run: () => void): void {
  (sockfdSocket(host.ns, fd) as Socket).waiters.push(new Waiter(mask, run));
}

/** A system call that must not fail. */
function must(result: number, call: string): number {
  if (result < 0) throw new SocketError(call, result);
  return result;
}
