/**
 * One world of the soak: two hosts, a bad link, and a few connections of random programs. Everything in it follows from
 * one seed. What must hold is in `#check` and `#checkGone`.
 */

import { re865xProbe } from "../../src/drivers/net/rtl819x/rtl_nic.ts";
import { wireNewlink } from "../../src/drivers/net/veth.ts";
import type { WireOptions } from "../../src/drivers/net/wire.ts";
import { Wire } from "../../src/drivers/net/wire.ts";
import { SkbuffKernel } from "../../src/init/create.ts";
import type { Host } from "../../src/init/host.ts";
import { startKernel } from "../../src/init/main.ts";
import { seededRandom } from "../../src/kernel/random.ts";
import { createMachineSync } from "../../src/mm/mem.ts";
import { poolFree } from "../../src/mm/pool.ts";
import type { NetDevice } from "../../src/net/core/dev.ts";
import {
  devSetFeature,
  NETIF_F_HW_CSUM,
  NETIF_F_RXCSUM,
  NETIF_F_TSO,
  NETIF_F_TSO_ECN,
  NETIF_F_TSO6,
} from "../../src/net/core/dev.ts";
import type { Sock } from "../../src/net/core/sock.ts";
import { tcpProt } from "../../src/net/ipv4/tcp_ipv4.ts";
import type { TcpSock } from "../../src/net/ipv4/tcp_sock.ts";
import { VirtualClock } from "../../src/platform/default.ts";
import { EAGAIN, EINPROGRESS, errnoName } from "../../src/uapi/errno.ts";
import { LINUX_MIB_SYNCOOKIESRECV } from "../../src/uapi/linux_mib.ts";
import {
  AF_INET,
  SO_KEEPALIVE,
  SO_OOBINLINE,
  SO_RCVBUF,
  SO_RCVLOWAT,
  SO_REUSEADDR,
  SO_SNDBUF,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  SOL_TCP,
} from "../../src/uapi/socket.ts";
import {
  TCP_CONGESTION,
  TCP_CORK,
  TCP_DEFER_ACCEPT,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_LINGER2,
  TCP_MAXSEG,
  TCP_NODELAY,
  TCP_NOTSENT_LOWAT,
  TCP_QUICKACK,
  TCP_SYNCNT,
  TCP_THIN_LINEAR_TIMEOUTS,
  TCP_USER_TIMEOUT,
  TCP_WINDOW_CLAMP,
} from "../../src/uapi/tcp.ts";
import type { Stream } from "./dice.ts";
import { Dice } from "./dice.ts";
import { Endpoint, makePlan } from "./endpoint.ts";

/** What a world found wrong. */
export class SoakFailure extends Error {
  override readonly name: string = "SoakFailure";
}

/** How a world's connections ended. */
export interface Tally {
  connections: number;
  /** Both streams complete. */
  complete: number;
  /** Ended by one of the programs: reset, closed early. */
  cut: number;
  /** Errors by name. */
  errors: Map<string, number>;
  frames: number;
  seconds: number;
}

/** How long a program waits for anything to happen, microseconds: longer than any timer of TCP. */
const PATIENCE = 3 * 3600e6;

type Risk = readonly [name: string, p: number, values: (s: Stream) => string | number];

const of =
  (...values: (string | number)[]) =>
  (s: Stream): string | number =>
    s.pick(values);

/** Sysctls of each host. */
const SYSCTLS: readonly Risk[] = [
  ["tcp_sack", 0.15, of(0)],
  ["tcp_dsack", 0.1, of(0)],
  ["tcp_timestamps", 0.2, of(0, 2)],
  ["tcp_window_scaling", 0.1, of(0)],
  ["tcp_ecn", 0.3, of(0, 1)],
  ["tcp_syncookies", 0.2, of(0, 2)],
  ["tcp_max_syn_backlog", 0.1, of(1, 2, 8)],
  ["tcp_synack_retries", 0.1, of(1, 8)],
  ["tcp_syn_retries", 0.1, of(2, 8)],
  ["tcp_syn_linear_timeouts", 0.1, of(0, 10)],
  ["tcp_retries1", 0.05, of(1, 10)],
  ["tcp_retries2", 0.1, of(8, 10)],
  ["tcp_orphan_retries", 0.1, of(3, 10)],
  ["tcp_reordering", 0.1, of(1, 10)],
  ["tcp_max_reordering", 0.1, of(3, 1000)],
  ["tcp_early_retrans", 0.15, of(0)],
  ["tcp_recovery", 0.3, of(0, 2, 3, 4, 5)],
  ["tcp_thin_linear_timeouts", 0.1, of(1)],
  ["tcp_retrans_collapse", 0.1, of(0)],
  ["tcp_frto", 0.1, of(0)],
  ["tcp_rto_min_us", 0.1, of(5000, 50_000, 1_000_000)],
  ["tcp_rto_max_ms", 0.1, of(1000, 10_000)],
  ["tcp_min_rtt_wlen", 0.1, of(0, 1)],
  ["tcp_slow_start_after_idle", 0.1, of(0)],
  ["tcp_no_metrics_save", 0.2, of(1)],
  ["tcp_pacing_ss_ratio", 0.05, of(0, 1000)],
  ["tcp_autocorking", 0.2, of(0)],
  ["tcp_limit_output_bytes", 0.2, of(1, 5000, 100_000)],
  ["tcp_notsent_lowat", 0.1, of(1, 4000)],
  ["tcp_min_tso_segs", 0.1, of(1, 16)],
  ["tcp_tso_win_divisor", 0.1, of(0, 1, 10)],
  ["tcp_tso_rtt_log", 0.1, of(0, 20)],
  ["tcp_mtu_probing", 0.3, of(1, 2)],
  ["tcp_mtu_probe_floor", 0.05, of(200)],
  ["tcp_base_mss", 0.1, of(100, 512)],
  ["tcp_probe_interval", 0.1, of(1)],
  ["tcp_comp_sack_nr", 0.1, of(0, 1)],
  ["tcp_comp_sack_delay_ns", 0.1, of(0, 50_000_000)],
  ["tcp_backlog_ack_defer", 0.1, of(0)],
  ["tcp_pingpong_thresh", 0.1, of(3)],
  ["tcp_app_win", 0.1, of(0, 2)],
  ["tcp_adv_win_scale", 0.1, of(-2, 3)],
  ["tcp_moderate_rcvbuf", 0.2, of(0)],
  ["tcp_shrink_window", 0.2, of(1)],
  ["tcp_workaround_signed_windows", 0.1, of(1)],
  ["tcp_invalid_ratelimit", 0.1, of(0)],
  ["tcp_challenge_ack_limit", 0.05, of(1)],
  ["tcp_fin_timeout", 0.1, of(1, 5)],
  ["tcp_tw_reuse", 0.2, of(0, 1)],
  ["tcp_max_tw_buckets", 0.05, of(0, 1)],
  ["tcp_rfc1337", 0.1, of(1)],
  ["tcp_max_orphans", 0.03, of(0)],
  ["tcp_abort_on_overflow", 0.1, of(1)],
  ["tcp_reflect_tos", 0.1, of(1)],
  ["tcp_early_demux", 0.1, of(0)],
  ["tcp_fastopen", 0.2, of(3, 0x603)],
  ["ip_early_demux", 0.1, of(0)],
  ["ip_no_pmtu_disc", 0.1, of(1, 2)],
  ["tcp_rmem", 0.2, (s) => `${s.log(2400, 20_000)} ${s.log(2400, 200_000)} ${s.log(20_000, 6_000_000)}`],
  ["tcp_wmem", 0.2, (s) => `${s.log(4700, 20_000)} ${s.log(4700, 200_000)} ${s.log(20_000, 4_000_000)}`],
  ["tcp_mem", 0.05, (s) => `${s.int(1, 20)} ${s.int(20, 40)} ${s.int(40, 100)}`],
];

/** Integer options of each socket. */
const SOCKOPTS: readonly (readonly [
  name: string,
  p: number,
  level: number,
  opt: number,
  value: (s: Stream) => number,
])[] = [
  ["nodelay", 0.3, SOL_TCP, TCP_NODELAY, () => 1],
  ["cork", 0.05, SOL_TCP, TCP_CORK, () => 1],
  ["quickack", 0.1, SOL_TCP, TCP_QUICKACK, (s) => s.int(0, 2)],
  ["maxseg", 0.2, SOL_TCP, TCP_MAXSEG, (s) => s.log(88, 8000)],
  ["window_clamp", 0.1, SOL_TCP, TCP_WINDOW_CLAMP, (s) => s.log(100, 60_000)],
  ["sndbuf", 0.25, SOL_SOCKET, SO_SNDBUF, (s) => s.log(1, 100_000)],
  ["rcvbuf", 0.25, SOL_SOCKET, SO_RCVBUF, (s) => s.log(1, 100_000)],
  ["rcvlowat", 0.05, SOL_SOCKET, SO_RCVLOWAT, (s) => s.log(1, 4000)],
  ["oobinline", 0.2, SOL_SOCKET, SO_OOBINLINE, () => 1],
  ["linger2", 0.1, SOL_TCP, TCP_LINGER2, (s) => s.pick([-1, 1, 30])],
  ["notsent_lowat", 0.1, SOL_TCP, TCP_NOTSENT_LOWAT, (s) => s.log(1, 30_000)],
  ["thin", 0.1, SOL_TCP, TCP_THIN_LINEAR_TIMEOUTS, () => 1],
  ["user_timeout", 0.05, SOL_TCP, TCP_USER_TIMEOUT, (s) => s.log(30_000, 2_000_000)],
  ["syncnt", 0.05, SOL_TCP, TCP_SYNCNT, (s) => s.int(2, 10)],
  ["defer_accept", 0.03, SOL_TCP, TCP_DEFER_ACCEPT, (s) => s.int(1, 30)],
];

const OFFLOADS: number = NETIF_F_TSO | NETIF_F_TSO_ECN | NETIF_F_TSO6 | NETIF_F_HW_CSUM | NETIF_F_RXCSUM;

/** A connection: the client's end, and the server's once it was accepted. */
interface Connection {
  name: string;
  client: Endpoint;
  server: Endpoint;
  port: number;
  accepted: boolean;
}

export class World {
  readonly dice: Dice;
  readonly kernel: SkbuffKernel;
  readonly clock: VirtualClock = new VirtualClock();
  readonly hosts: [Host, Host];
  readonly devs: [NetDevice, NetDevice];
  readonly wire: Wire;
  readonly connections: Connection[] = [];
  readonly #socks: TcpSock[] = [];
  readonly #baseline: { timers: number; skbs: number; buffers: number };
  #listener = -1;
  #listenerClosed = false;
  /**
   * Linux hangs as well: a window that may shrink may close over a hole that then nothing can fill; and a frame that was in
   * the air for longer than time stamps last (24 days) brings one that makes all others old.
   */
  #hangs = false;
  /** When the last sock has to be gone. */
  #patience = 0;
  /** The link can lose what is sent, or time can jump: connections may time out. */
  readonly #hostile: boolean;
  readonly #events: { at: number; run: () => void }[] = [];
  readonly #started: number;

  constructor(seed: number, off: ReadonlySet<string> = new Set()) {
    const dice = new Dice(seed, off);
    this.dice = dice;
    const wrap = 4294967296_000;
    this.clock.time = dice.risk(
      "wrap",
      0.15,
      (s) => s.pick([wrap / 2, wrap, wrap]) - s.log(1_000, 200_000_000),
      this.clock.time,
    );
    const core = startKernel(createMachineSync({ memoryBytes: 32 << 20 }), this.clock, seededRandom(seed));
    const still = { ref(): void {}, unref(): void {}, stop(): void {} };
    this.kernel = new SkbuffKernel(core, still, this.clock, null);
    core.enter();
    const free = poolFree();
    this.#baseline = { timers: core.timers.pending, skbs: free.skbs, buffers: free.buffers };
    core.exit();
    this.hosts = [this.kernel.netns("a"), this.kernel.netns("b")];

    const faults = dice.risk("faults", 0.8, () => true, false);
    const p = faults ? 1 : 0;
    const line = (end: number): WireOptions => ({
      delay: dice.risk("delay", 0.8, (s) => s.log(10, 300_000), 0),
      jitter: dice.risk("jitter", 0.3 * p, (s) => s.log(10, 100_000), 0),
      rate: dice.risk("rate", 0.3, (s) => s.log(64_000, 1e9), 0),
      limit: dice.risk("limit", 0.3, (s) => s.log(4, 100), 1000),
      loss: dice.risk(`loss${end}`, 0.5 * p, (s) => s.log(1, 300) / 1000, 0),
      duplicate: dice.risk(`duplicate${end}`, 0.3 * p, (s) => s.log(1, 300) / 1000, 0),
      reorder: dice.risk(`reorder${end}`, 0.4 * p, (s) => s.log(1, 300) / 1000, 0),
      corrupt: dice.risk(`corrupt${end}`, 0.3 * p, (s) => s.log(1, 200) / 1000, 0),
    });
    const lines = [line(0), line(1)] as const;
    this.wire = new Wire();
    this.wire.configure(0, lines[0]);
    this.wire.configure(1, lines[1]);
    const mtu = dice.risk("mtu", 0.4, (s) => s.log(140, 9000), 1500);
    const rtl = dice.risk("rtl819x", 0.15, () => mtu <= 1500, false);
    const make = (host: Host, end: number): NetDevice => {
      const options = { address: new Uint8Array([2, 0, 0, 0, 0, end + 1]), mtu };
      core.enter();
      const dev = rtl
        ? re865xProbe(host.ns, "eth0", this.wire, end, options)
        : wireNewlink(host.ns, "eth0", this.wire, end, options);
      if (typeof dev === "number") throw new SoakFailure(`no device: ${dev}`);
      if (!rtl && dice.risk("offload", 0.5, () => true, false)) devSetFeature(dev, OFFLOADS, false);
      core.exit();
      host.ip(`addr add 10.0.0.${end + 1}/24 dev eth0`);
      host.ip("link set eth0 up");
      return dev;
    };
    this.devs = [make(this.hosts[0], 0), make(this.hosts[1], 1)];
    // Only what goes over IP has a checksum: a damaged ARP reply would be believed.
    this.hosts[0].ip("neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent");
    this.hosts[1].ip("neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent");

    for (const host of this.hosts) {
      for (const [name, chance, value] of SYSCTLS) {
        const v = dice.risk(`${host.name}.${name}`, chance, value, "");
        if (v !== "") host.sysctl(`net.ipv4.${name}=${v}`);
      }
      const ccs = host.sysctl("net.ipv4.tcp_available_congestion_control").split("=")[1]?.trim().split(/\s+/) ?? [];
      const cc = dice.risk(`${host.name}.cc`, 0.6, (s) => s.pick(ccs), "");
      if (cc !== "") host.sysctl(`net.ipv4.tcp_congestion_control=${cc}`);
      const qdisc = dice.risk(
        `${host.name}.qdisc`,
        0.3,
        (s) =>
          s.pick([
            "fq",
            "fq_codel",
            "pfifo limit 3",
            "pfifo limit 20",
            "netem delay 3ms",
            "tbf rate 5mbit burst 20000 limit 30000",
          ]),
        "",
      );
      if (qdisc !== "") host.tc(`qdisc add dev eth0 root ${qdisc}`);
    }
    if ([...dice.taken.keys()].some((k) => k.endsWith("shrink_window"))) this.#hangs = true;
    this.#started = this.clock.time;
    const changes = this.#plan(lines, mtu, rtl);
    this.#hostile =
      changes ||
      lines.some((l) => l.loss !== 0 || l.corrupt !== 0) ||
      [...dice.taken.keys()].some((k) => /^(limit|wrap)$|\.(qdisc|tcp_mem|tcp_max_orphans)$/.test(k));
    this.#makeConnections();
  }

  /** Virtual seconds since the start. */
  get elapsed(): number {
    return (this.clock.time - this.#started) / 1e6;
  }

  fail(what: string): never {
    throw new SoakFailure(what);
  }

  /** What happens meanwhile. True if something may get lost by it. */
  #plan(lines: readonly [WireOptions, WireOptions], mtu: number, rtl: boolean): boolean {
    const { dice } = this;
    let hostile = false;
    const soon = (s: Stream): number => this.#started + s.log(10_000, 100_000_000);
    dice.risk(
      "mtuChange",
      0.15,
      (s) => {
        for (let i = s.int(1, 4); i > 0; i--) {
          const to = s.log(140, rtl ? 1500 : 9000);
          this.#events.push({
            at: soon(s),
            run: () => {
              for (const host of this.hosts) host.ip(`link set dev eth0 mtu ${to}`);
            },
          });
        }
        hostile = true;
        return mtu;
      },
      0,
    );
    dice.risk(
      "jump",
      0.15,
      (s) => {
        for (let i = s.int(1, 3); i > 0; i--) {
          const days = s.float() < 0.05;
          const by = days ? 25 * 86400e6 : s.log(60e6, 8 * 3600e6);
          if (days) this.#hangs = true;
          this.#events.push({ at: soon(s), run: () => this.#jump(by) });
        }
        hostile = true;
        return "";
      },
      "",
    );
    dice.risk(
      "cut",
      0.15,
      (s) => {
        for (let i = s.int(1, 3); i > 0; i--) {
          const at = soon(s);
          const ends = s.pick([[0], [1], [0, 1]]);
          const until = at + s.log(10_000, 400_000_000);
          this.#events.push({
            at,
            run: () => {
              for (const end of ends) this.wire.configure(end, { ...lines[end as 0 | 1], down: true });
            },
          });
          this.#events.push({
            at: until,
            run: () => {
              for (const end of ends) this.wire.configure(end, lines[end as 0 | 1]);
            },
          });
        }
        hostile = true;
        return "";
      },
      "",
    );
    dice.risk(
      "downUp",
      0.07,
      (s) => {
        const at = soon(s);
        const host = s.pick(this.hosts);
        this.#events.push({ at, run: () => host.ip("link set eth0 down") });
        this.#events.push({
          at: at + s.log(1000, 60_000_000),
          run: () => {
            host.ip("link set eth0 up");
            const peer = host === this.hosts[0] ? 2 : 1;
            host.ip(`neigh replace 10.0.0.${peer} lladdr 02:00:00:00:00:0${peer} dev eth0 nud permanent`);
          },
        });
        hostile = true;
        return "";
      },
      "",
    );
    this.#events.sort((x, y) => x.at - y.at);
    return hostile;
  }

  /** The machine was asleep: the time is another one, and nothing has run meanwhile. */
  #jump(by: number): void {
    this.clock.time += by;
    this.#patience += by;
    for (const c of this.connections) for (const e of [c.client, c.server]) e.lastProgress += by;
  }

  #options(host: Host, fd: number, name: string): void {
    const { sys } = host;
    for (const [option, p, level, opt, value] of SOCKOPTS) {
      const v = this.dice.risk<number | null>(`${name}.${option}`, p, value, null);
      if (v === null) continue;
      const err = sys.setsockopt(fd, level, opt, v);
      if (err !== 0) this.fail(`${name}: setsockopt ${option} ${v} = ${err}`);
    }
    this.dice.risk(
      `${name}.keepalive`,
      0.1,
      (s) => {
        sys.setsockopt(fd, SOL_TCP, TCP_KEEPIDLE, s.log(1, 300));
        sys.setsockopt(fd, SOL_TCP, TCP_KEEPINTVL, s.log(1, 75));
        sys.setsockopt(fd, SOL_TCP, TCP_KEEPCNT, s.int(5, 20));
        sys.setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        return "";
      },
      "",
    );
    const ccs = host.sysctl("net.ipv4.tcp_available_congestion_control").split("=")[1]?.trim().split(/\s+/) ?? [];
    const cc = this.dice.risk(`${name}.cc`, 0.2, (s) => s.pick(ccs), "");
    if (cc !== "") sys.setsockopt(fd, SOL_TCP, TCP_CONGESTION, cc);
  }

  #makeConnections(): void {
    const [a, b] = this.hosts;
    const { dice } = this;
    this.#watch();
    const fd = b.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    b.sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    this.#options(b, fd, "listener");
    if (b.sys.bind(fd, { family: AF_INET, addr: 0, port: 7 }) !== 0) this.fail("bind");
    const backlog = dice.risk("backlog", 0.3, (s) => s.int(0, 2), 128);
    if (b.sys.listen(fd, backlog) !== 0) this.fail("listen");
    this.#listener = fd;
    const many = dice.risk("many", 0.4, (s) => s.int(2, 5), 1);
    for (let i = 0; i < many; i++) {
      const name = `c${i}`;
      const fail = (what: string): never => this.fail(`${name}: ${what}`);
      const client = new Endpoint(dice, `${name}.client`, name, true, a, makePlan(dice, `${name}.client`), fail);
      const server = new Endpoint(dice, `${name}.server`, name, false, b, makePlan(dice, `${name}.server`), fail);
      // One of the two has to begin to end.
      if (client.plan.ending === "wait" && server.plan.ending === "wait") server.plan.ending = "shutdown";
      client.peer = server;
      server.peer = client;
      server.mayMissStart = (): boolean => this.#cookies();
      const connection: Connection = { name, client, server, port: 0, accepted: false };
      this.connections.push(connection);
      const at = this.#started + (i === 0 ? 0 : dice.stream(`${name}.start`).log(1, 5_000_000));
      this.#events.push({ at, run: () => this.#connect(connection) });
    }
    this.#events.sort((x, y) => x.at - y.at);
  }

  #connect(c: Connection): void {
    const { sys } = this.hosts[0];
    const fd = sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    this.#options(this.hosts[0], fd, `${c.name}.client`);
    const err = sys.connect(fd, { family: AF_INET, addr: 0x0a000002, port: 7 });
    if (err !== 0 && err !== -EINPROGRESS) {
      c.client.error = -err;
      c.client.closed = true;
      sys.close(fd);
      return;
    }
    const name = { family: 0, addr: 0, port: 0 };
    sys.getsockname(fd, name);
    c.port = name.port;
    c.client.attach(fd, this.clock.time, err === 0);
  }

  #accept(): void {
    const { sys } = this.hosts[1];
    for (;;) {
      const addr = { family: 0, addr: 0, port: 0 };
      const fd = sys.accept4(this.#listener, addr, SOCK_NONBLOCK);
      if (fd === -EAGAIN) return;
      if (fd < 0) this.fail(`accept() = ${fd}`);
      const c = this.connections.find((x) => x.port === addr.port && !x.accepted);
      if (c === undefined) {
        // A SYN that came twice, the second time after the connection had gone: a cookie makes a second one.
        sys.close(fd);
        continue;
      }
      c.accepted = true;
      this.#options(this.hosts[1], fd, `${c.name}.server`);
      c.server.attach(fd, this.clock.time, true);
    }
  }

  /** Every TCP sock of this world, to look at after its end. */
  #watch(): void {
    watched = this.#socks;
  }

  // ---- the run ----

  run(): Tally {
    const { core } = this.kernel;
    let acceptAt = this.#started;
    let lazy = this.dice.risk("lazyAccept", 0.3, (s) => s.log(1000, 30_000_000), 0);
    let steps = 0;
    let still = 0;
    for (;;) {
      while (this.#events.length > 0 && (this.#events[0] as { at: number }).at <= this.clock.time) {
        (this.#events.shift() as { run: () => void }).run();
      }
      const now = this.clock.time;
      core.run();
      if (now >= acceptAt) {
        this.#accept();
        if (lazy > 0) {
          acceptAt = now + lazy;
          lazy = Math.min(30e6, lazy * 1.5);
        }
      }
      let next = Infinity;
      let open = 0;
      let again = false;
      for (const c of this.connections) {
        for (const e of [c.client, c.server]) {
          if (e.closed || e.fd < 0) continue;
          open++;
          if (e.ready || e.nextAt <= now) e.step(now);
          if (e.ready) again = true;
          if (e.nextAt < next) next = e.nextAt;
          if (!e.closed && now - e.lastProgress > PATIENCE) this.#stalled(c, e);
        }
      }
      if (++steps > 400_000) this.fail("it does not end");
      if (again) continue;
      const waiting = this.connections.some((c) => !c.client.closed && c.client.fd < 0);
      if (open === 0 && !waiting) break;
      const event = this.#events[0]?.at ?? Infinity;
      const due = Math.min(core.nextDeadline(), next, event, lazy > 0 ? acceptAt : Infinity);
      if (due > this.clock.time) {
        this.clock.time = Math.min(due, now + PATIENCE);
        still = 0;
      } else if (++still > 100) {
        // Code takes time, though the clock stands: a full queue that drops what is sent again at once may empty meanwhile.
        this.clock.time += 100;
        still = 0;
      }
    }
    const seconds = (this.clock.time - this.#started) / 1e6;
    const tally: Tally = { connections: 0, complete: 0, cut: 0, errors: new Map(), frames: 0, seconds };
    for (const c of this.connections) this.#check(c, tally);
    tally.frames = this.wire.directions[0].stats.frames + this.wire.directions[1].stats.frames;
    this.#checkGone();
    return tally;
  }

  /** Nothing has happened for longer than any timer runs. */
  #stalled(c: Connection, e: Endpoint): void {
    const other = e.peer as Endpoint;
    // Nobody tells an end that is only waiting that the other one has gone; one that sends finds out by itself.
    const gone = other.closed || !c.accepted || this.#hangs;
    if (!gone) this.fail(`stall: ${c.client.describe()}; ${c.server.describe()}`);
    e.giveUp();
  }

  /**
   * A connection was made from a cookie. A cookie counts from the SYN's number, and its MSS index can hide up to three
   * missing bytes: as with Linux, a segment that overtakes the first ones may make the connection without them.
   */
  #cookies(): boolean {
    return this.hosts[1].ns.mib.linux[LINUX_MIB_SYNCOOKIESRECV] !== 0;
  }

  #check(c: Connection, tally: Tally): void {
    const { client, server } = c;
    tally.connections++;
    const what = (): string => `${client.describe()}; ${server.describe()}`;
    const rude = client.rude || server.rude || !c.accepted;
    let complete = true;
    for (const e of [client, server]) {
      if (e.error !== 0) {
        const name = errnoName(e.error);
        tally.errors.set(name, (tally.errors.get(name) ?? 0) + 1);
      }
      const other = e.peer as Endpoint;
      const cookie = this.#cookies();
      if (e.eof && other.fd >= 0 && !cookie && (other.sent !== e.got || !(other.finished || other.rude)))
        this.fail(`an end of file before the end: ${what()}`);
      if (!e.eof || (e.got !== other.sent && !cookie)) complete = false;
    }
    if (complete) tally.complete++;
    else if (rude) tally.cut++;
    if (rude || this.#hostile || this.#cookies()) return;
    // A clean link, two polite programs: nothing may go wrong.
    if (client.error !== 0 || server.error !== 0) this.fail(`an error for no reason: ${what()}`);
    if (!complete) this.fail(`incomplete for no reason: ${what()}`);
  }

  /** Everything that a connection held is given back. */
  #checkGone(): void {
    const { core } = this.kernel;
    // The listener goes, and with it what nobody accepted.
    if (!this.#listenerClosed) {
      this.#listenerClosed = true;
      this.hosts[1].sys.close(this.#listener);
    }
    // Cuts end, whoever is dead may find out.
    this.#patience = this.clock.time + 6 * 3600e6;
    for (;;) {
      while (this.#events.length > 0 && (this.#events[0] as { at: number }).at <= this.clock.time) {
        (this.#events.shift() as { run: () => void }).run();
      }
      core.run();
      if (this.hosts.every((h) => h.ns.tcpHashinfo.ehash.count === 0) && this.#events.length === 0) break;
      if (this.clock.time > this.#patience) {
        const left = this.hosts.flatMap((h) =>
          h.ns.tcpHashinfo.ehash.all().map((sk) => `${h.name}: state ${sk.skcState}`),
        );
        this.fail(`sockets are left: ${left.join(", ")}`);
      }
      const due = Math.min(core.nextDeadline(), this.#events[0]?.at ?? Infinity, this.#patience + 1);
      if (due > this.clock.time) this.clock.time = due;
    }
    // What is in the air still arrives.
    const quiet = this.clock.time + 10e6;
    while (core.nextDeadline() <= quiet) {
      if (core.nextDeadline() > this.clock.time) this.clock.time = core.nextDeadline();
      core.run();
    }
    for (const h of this.hosts) {
      const info = h.ns.tcpHashinfo;
      if (info.bhash.size !== 0) this.fail(`${h.name}: ports are left: ${[...info.bhash.keys()].join(" ")}`);
      if (info.lhash.count !== 0) this.fail(`${h.name}: listeners are left`);
      if (h.ns.orphanCount !== 0) this.fail(`${h.name}: orphanCount ${h.ns.orphanCount}`);
      if (h.ns.twCount !== 0) this.fail(`${h.name}: twCount ${h.ns.twCount}`);
      const estab = h.ns.mib.tcp[9] as number;
      if (estab !== 0) this.fail(`${h.name}: CurrEstab ${estab}`);
    }
    for (const sk of this.#socks) this.#checkSock(sk);
    const mem = this.#socks[0]?.skProtMem;
    if (mem !== undefined && mem !== null && (mem.allocated !== 0 || mem.sockets !== 0))
      this.fail(`tcp_memory_allocated ${mem.allocated} pages, ${mem.sockets} sockets`);
    this.kernel.close();
    if (core.machine.socks.size !== 0) this.fail(`${core.machine.socks.size} socks are left`);
    core.enter();
    const free = poolFree();
    core.exit();
    const { timers, skbs, buffers } = this.#baseline;
    if (core.timers.pending !== timers) this.fail(`${core.timers.pending - timers} timers are left`);
    if (free.skbs !== skbs || free.buffers !== buffers)
      this.fail(`${free.skbs - skbs} skbs and ${free.buffers - buffers} buffers are left`);
  }

  #checkSock(sk: TcpSock): void {
    const left: string[] = [];
    const zero = (name: string, v: number): void => {
      if (v !== 0) left.push(`${name} ${v}`);
    };
    zero("sk_wmem_queued", sk.skWmemQueued);
    zero("sk_rmem_alloc", sk.skRmemAlloc);
    zero("sk_wmem_alloc", sk.skWmemAlloc);
    zero("sk_forward_alloc", sk.skForwardAlloc);
    zero("sk_omem_alloc", sk.skOmemAlloc);
    zero("sk_refcnt", sk.skRefcnt);
    zero("slot", sk.slot);
    zero("receive queue", sk.skReceiveQueue.qlen);
    zero("write queue", sk.skWriteQueue.qlen);
    zero("error queue", sk.skErrorQueue.qlen);
    zero("retransmit queue", sk.tcpRtxQueue.qlen);
    zero("out-of-order queue", sk.outOfOrderQueue.qlen);
    for (const timer of [sk.icskRetransmitTimer, sk.icskDelackTimer, sk.skTimer, sk.pacingTimer, sk.compressedAckTimer])
      if (timer?.pending) left.push("a timer");
    if (left.length > 0) this.fail(`a sock of port ${sk.skcNum} ended with ${left.join(", ")}`);
  }
}

/** Where new TCP socks are noted. */
let watched: TcpSock[] | null = null;
const alloc = tcpProt.alloc;
(tcpProt as { alloc: () => Sock }).alloc = (): Sock => {
  const sk = alloc();
  watched?.push(sk as TcpSock);
  return sk;
};
