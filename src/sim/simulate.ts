/**
 * Virtual-time networks: hosts, links with a rate, a delay, a queue and faults, and TCP flows between them. One seed gives
 * one run, to the byte and to the microsecond.
 *
 * A link is `kernel.link()`: two cards and a wire. Its queue is a tc qdisc on the card that sends into it, kept busy by the
 * card, which takes the next frame when the wire has room for one; what the wire does to frames (loss, reordering,
 * duplication, corruption) happens behind the queue. Hosts with more than one link forward.
 */

import { vethWire } from "../drivers/net/veth.ts";
import type { WireStats } from "../drivers/net/wire.ts";
import type { LinkOptions } from "../init/link_options.ts";
import { parseDelay, parseRate } from "../init/link_options.ts";
import type { NetDevice } from "../net/core/dev.ts";
import { inetNtoa } from "../net/ipv4/inet_addr.ts";
import { qdiscDump } from "../net/sched/sch_api.ts";
import type { FlowResult, FlowSamples, SimClock, SimHost } from "./flow.ts";
import { Flow } from "./flow.ts";

/** What a simulation needs of the machine that it runs on: `createKernel({ clock: "virtual" })`. */
export interface SimKernel extends SimClock {
  readonly hosts: ReadonlyMap<string, SimHost>;
  netns(name: string): SimHost;
  link(a: SimHost, b: SimHost, options: LinkOptions): [NetDevice, NetDevice];
  capture(devices: readonly NetDevice[], sink: (block: Uint8Array) => void): { stop(): void };
  runUntil(time: number): void;
}

/** What a link does to frames, as `kernel.link()` has it. */
export type Impairments = Pick<
  LinkOptions,
  "delay" | "jitter" | "rate" | "limit" | "loss" | "duplicate" | "reorder" | "corrupt"
>;

/** A link between two hosts, which come into being by being named. */
export interface SimLink extends Impairments {
  /** Names of the two hosts. What is said about the link is so from the first to the second. */
  between: readonly [string, string];
  /** The way back, where it differs: delay, jitter, rate and limit are the same unless told, the rest is off. */
  reverse?: Impairments & { queue?: string };
  /**
   * The queue before the link's rate: a tc qdisc: "pfifo limit 100", "fq_codel", "tbf rate 8mbit burst 16k latency 50ms".
   * Left out: `limit` frames, first in first out.
   */
  queue?: string;
  /** Layer-3 MTU in bytes; 1500 by default. */
  mtu?: number;
}

/** A TCP connection that is kept full for as long as it lasts. */
export interface SimFlow {
  from: string;
  to: string;
  /** "cubic", "reno", "bbr" ...; what the sysctl says by default. */
  congestion?: string;
  /** When it connects: "2s", "150ms"; 0 by default. */
  start?: string | number;
  /** How many bytes it sends before it closes; it sends until the end by default. */
  bytes?: number;
}

export interface SimOptions {
  /** Seed of all randomness: 1 by default. */
  seed?: number;
  /** Virtual time: "10s", or milliseconds. */
  duration: string | number;
  links: readonly SimLink[];
  flows: readonly SimFlow[];
  /** Set on every host before the flows begin: `{ "net.ipv4.tcp_sack": "0" }`. */
  sysctl?: Readonly<Record<string, string>>;
  /** A qdisc on the first card of every host that sends: "fq" lets it do the pacing. */
  senderQueue?: string;
  /** How often cwnd, RTT and bytes are noted: a thousandth of the duration by default, 1 ms at least. */
  sample?: string | number;
  /** pcapng blocks of the first link's sending card (see `capture`). */
  capture?: (block: Uint8Array) => void;
  /** The card whose frames are captured: "r.eth1"; by default the first link with a rate, at its sending end. */
  captureAt?: string;
}

/** One direction of a link. */
export interface LinkResult {
  from: string;
  to: string;
  /** The card that sends: "r.eth1". */
  device: string;
  /** Frames that got onto the wire, and those of them that arrived. */
  frames: number;
  delivered: number;
  /** Lost by chance, and for want of room in the wire's own queue. */
  lost: number;
  overlimit: number;
  duplicated: number;
  reordered: number;
  corrupted: number;
  /** Dropped by the qdisc. */
  queueDrops: number;
  /** The largest backlog of the qdisc that a sample saw, in bytes. */
  queueMax: number;
  /** Share of the rate that was used, from 0 to 1; 0 without a rate. */
  utilization: number;
}

export interface SimResult {
  seed: number;
  /** Virtual seconds. */
  duration: number;
  flows: FlowResult[];
  links: LinkResult[];
  /** Jain's index of the flows' goodputs while all of them ran: 1 = equal shares, 1/n = one has everything. */
  fairness: number;
  /** Bits a second of all flows together. */
  goodput: number;
  /** When each sample was taken (seconds), and the backlog of every queue then (bytes), by device. */
  times: number[];
  queues: Record<string, number[]>;
}

export type { FlowResult, FlowSamples };

interface BuiltLink {
  readonly link: SimLink;
  readonly ends: readonly [SimHost, SimHost];
  readonly devs: readonly [NetDevice, NetDevice];
  /** Network number: .1 and .2 are the ends. */
  readonly subnet: number;
}

/** Every host has a route to every link's subnet, by the fewest hops; of equal ones the first that was named. */
function addRoutes(hosts: readonly SimHost[], built: readonly BuiltLink[]): void {
  for (const host of hosts) {
    /** SimHost -> [the address of the first hop, its device]. */
    const via = new Map<SimHost, readonly [string, string]>();
    const queue: SimHost[] = [host];
    const seen = new Set<SimHost>([host]);
    for (let at = queue.shift(); at !== undefined; at = queue.shift()) {
      for (const { ends, devs, subnet } of built) {
        const end = ends.indexOf(at);
        if (end < 0) continue;
        const next = ends[1 - end] as SimHost;
        if (seen.has(next)) continue;
        seen.add(next);
        queue.push(next);
        via.set(next, via.get(at) ?? [inetNtoa(subnet + 2 - end), (devs[end] as NetDevice).name]);
      }
    }
    for (const { ends, subnet } of built) {
      if (ends.includes(host)) continue;
      const hop = via.get(ends[0]) ?? via.get(ends[1]);
      if (hop !== undefined) host.ip(`route add ${inetNtoa(subnet)}/30 via ${hop[0]} dev ${hop[1]}`);
    }
  }
}

/** Ethernet addresses are known from the start: no ARP, which a lossy link could lose. */
function addNeighbours({ ends, devs, subnet }: BuiltLink): void {
  for (const end of [0, 1] as const) {
    const peer = devs[1 - end] as NetDevice;
    const mac = [...peer.devAddr.subarray(0, 6)].map((b) => b.toString(16).padStart(2, "0")).join(":");
    ends[end].ip(
      `neigh add ${inetNtoa(subnet + 2 - end)} lladdr ${mac} dev ${(devs[end] as NetDevice).name} nud permanent`,
    );
  }
}

function buildLink(kernel: SimKernel, link: SimLink, n: number): BuiltLink {
  const [nameA, nameB] = link.between;
  const ends = [kernel.netns(nameA), kernel.netns(nameB)] as const;
  const subnet = 0x0a000000 + n * 256;
  const { between: _between, reverse, queue, ...impaired } = link;
  const back: LinkOptions["reverse"] = { loss: 0, duplicate: 0, reorder: 0, corrupt: 0 };
  if (reverse !== undefined) {
    const { queue: _queue, ...rest } = reverse;
    Object.assign(back, rest);
  }
  // A wire, also where nothing is wrong with it: frames cross it one by one, as they would any other.
  const devs = kernel.link(ends[0], ends[1], {
    ...impaired,
    delay: impaired.delay ?? 0,
    rate: impaired.rate ?? "100gbit",
    limit: impaired.limit ?? 1000,
    reverse: back,
    subnet: `${inetNtoa(subnet)}/30`,
  });
  if (queue !== undefined) ends[0].tc(`qdisc add dev ${devs[0].name} root ${queue}`);
  if (reverse?.queue !== undefined) ends[1].tc(`qdisc add dev ${devs[1].name} root ${reverse.queue}`);
  return { link, ends, devs, subnet };
}

/** (sum x)^2 / (n sum x^2). */
export function jainIndex(shares: readonly number[]): number {
  const sum = shares.reduce((a, b) => a + b, 0);
  const squares = shares.reduce((a, b) => a + b * b, 0);
  return squares === 0 ? 1 : (sum * sum) / (shares.length * squares);
}

/** Builds the network of `options` on a machine of its own and runs it; see `simulate`. */
export function runNetwork(kernel: SimKernel, options: SimOptions, seed: number): SimResult {
  const duration = parseDelay(options.duration, "duration");
  if (!(duration > 0)) throw new RangeError("duration: a simulation lasts longer than that");
  if (options.links.length === 0) throw new RangeError("links: a network has one at least");
  if (options.links.length > 250) throw new RangeError("links: 250 at most");
  const step = options.sample === undefined ? Math.max(1000, duration / 1000) : parseDelay(options.sample, "sample");
  if (!(step > 0)) throw new RangeError("sample: a time above 0");
  const built = options.links.map((link, n) => buildLink(kernel, link, n));
  const hosts = [...kernel.hosts.values()];
  addRoutes(hosts, built);
  for (const b of built) addNeighbours(b);
  for (const host of hosts) {
    // Each flow finds its own way, whatever ran before it.
    host.sysctl("net.ipv4.tcp_no_metrics_save=1");
    if (built.filter((b) => b.ends.includes(host)).length > 1) host.sysctl("net.ipv4.ip_forward=1");
    for (const [key, value] of Object.entries(options.sysctl ?? {})) host.sysctl(`${key}=${value}`);
  }
  return new Simulation(kernel, options, built, duration, step, seed).run();
}

class Simulation {
  readonly #kernel: SimKernel;
  readonly #options: SimOptions;
  readonly #built: readonly BuiltLink[];
  readonly #duration: number;
  readonly #step: number;
  readonly #seed: number;
  readonly #flows: Flow[] = [];
  readonly #times: number[] = [];
  readonly #queues: Map<NetDevice, number[]> = new Map();

  constructor(
    kernel: SimKernel,
    options: SimOptions,
    built: readonly BuiltLink[],
    duration: number,
    step: number,
    seed: number,
  ) {
    this.#kernel = kernel;
    this.#options = options;
    this.#built = built;
    this.#duration = duration;
    this.#step = step;
    this.#seed = seed;
  }

  run(): SimResult {
    try {
      return this.#run();
    } finally {
      for (const flow of this.#flows) flow.stop();
    }
  }

  #run(): SimResult {
    const kernel = this.#kernel;
    const { flows, senderQueue, capture } = this.#options;
    const dressed = new Set<SimHost>();
    flows.forEach((flow, i) => {
      const from = this.#host(flow.from, `flow ${i + 1}`);
      const to = this.#host(flow.to, `flow ${i + 1}`);
      if (from === to) throw new RangeError(`flow ${i + 1}: a flow goes from one host to another`);
      if (senderQueue !== undefined && !dressed.has(from)) {
        dressed.add(from);
        const built = this.#built.find((b) => b.ends.includes(from)) as BuiltLink;
        const dev = built.devs[built.ends.indexOf(from)] as NetDevice;
        from.tc(`qdisc replace dev ${dev.name} root ${senderQueue}`);
      }
      this.#flows.push(new Flow(kernel, from, to, flow, i));
    });
    for (const { link, devs } of this.#built) {
      if (link.queue !== undefined) this.#queues.set(devs[0], []);
      if (link.reverse?.queue !== undefined) this.#queues.set(devs[1], []);
    }
    const watched = capture === undefined ? null : kernel.capture([this.#captured()], capture);

    const origin = kernel.now;
    // Flows begin, samples are taken, and between them the network runs.
    const starts = this.#flows.map((flow) => ({ at: flow.startAfter, flow })).sort((a, b) => a.at - b.at);
    let next = 0;
    for (let n = 0; ; n++) {
      const at = Math.min(n * this.#step, this.#duration);
      for (let s = starts[next]; s !== undefined && s.at <= at; s = starts[++next]) {
        kernel.runUntil(origin + s.at);
        s.flow.start();
      }
      kernel.runUntil(origin + at);
      this.#times.push(at / 1e6);
      for (const flow of this.#flows) flow.sample();
      for (const [dev, backlog] of this.#queues) backlog.push(qdiscDump(dev)[0]?.stats.backlog ?? 0);
      if (at >= this.#duration) break;
    }
    watched?.stop();
    return this.#result();
  }

  #host(name: string, what: string): SimHost {
    const host = this.#kernel.hosts.get(name);
    if (host === undefined) throw new RangeError(`${what}: no link leads to a host "${name}"`);
    return host;
  }

  #captured(): NetDevice {
    const wanted = this.#options.captureAt;
    if (wanted === undefined) {
      const b = this.#built.find(({ link }) => link.rate !== undefined) ?? (this.#built[0] as BuiltLink);
      return b.devs[0];
    }
    for (const { devs } of this.#built) {
      for (const dev of devs) if (deviceName(dev) === wanted) return dev;
    }
    throw new RangeError(`captureAt: there is no device "${wanted}"`);
  }

  #result(): SimResult {
    const seconds = this.#duration / 1e6;
    const flows = this.#flows.map((flow) => flow.result(this.#times, seconds));
    const from = Math.max(...flows.map((f) => f.start), 0);
    const to = Math.min(...flows.map((f) => f.end), seconds);
    const queues: Record<string, number[]> = {};
    for (const [dev, backlog] of this.#queues) queues[deviceName(dev)] = backlog;
    return {
      seed: this.#seed,
      duration: seconds,
      flows,
      links: this.#built.flatMap((b) => [this.#linkResult(b, 0), this.#linkResult(b, 1)]),
      fairness: jainIndex(flows.map((f) => bytesBetween(this.#times, f.samples.bytes, from, to))),
      goodput: (flows.reduce((sum, f) => sum + f.bytes, 0) * 8) / seconds,
      times: this.#times,
      queues,
    };
  }

  #linkResult({ link, ends, devs }: BuiltLink, end: 0 | 1): LinkResult {
    const dev = devs[end];
    const wire = vethWire(dev)?.directions[end];
    const stats = wire?.stats as WireStats;
    const rate = (end === 1 ? link.reverse?.rate : undefined) ?? link.rate;
    const qdisc = this.#queues.has(dev) ? qdiscDump(dev)[0] : undefined;
    const bits = (stats.bytes + stats.frames * (wire?.overhead ?? 0)) * 8;
    return {
      from: ends[end].name,
      to: ends[(1 - end) as 0 | 1].name,
      device: deviceName(dev),
      frames: stats.frames,
      delivered: stats.delivered,
      lost: stats.lost,
      overlimit: stats.overlimit,
      duplicated: stats.duplicated,
      reordered: stats.reordered,
      corrupted: stats.corrupted,
      queueDrops: qdisc?.stats.drops ?? 0,
      queueMax: Math.max(0, ...(this.#queues.get(dev) ?? [])),
      utilization: rate === undefined ? 0 : Math.min(1, bits / parseRate(rate) / (this.#duration / 1e6)),
    };
  }
}

function deviceName(dev: NetDevice): string {
  return `${dev.net.name}.${dev.name}`;
}

/** Bytes between two times (seconds), by the samples nearest to them. */
export function bytesBetween(times: readonly number[], bytes: readonly number[], from: number, to: number): number {
  const at = (t: number): number => {
    let i = times.findIndex((x) => x >= t);
    if (i < 0) i = times.length - 1;
    return bytes[i] ?? 0;
  };
  return to > from ? at(to) - at(from) : 0;
}

/** What `star` makes a network of. */
export interface StarOptions extends Impairments {
  /** How many hosts send; 1 by default. They are called s1, s2 ... */
  senders?: number;
  /** The queue of the bottleneck: a tc qdisc. */
  queue?: string;
  /** The way back over the bottleneck. */
  reverse?: NonNullable<SimLink["reverse"]>;
  /** Each sender's own link to the router: 10 Gbit/s without a delay by default. One for all, or one each. */
  access?: Impairments | readonly Impairments[];
}

/**
 * The links of a star: senders s1, s2 ... each on a link of its own to the router r, and one link, the bottleneck, from r to
 * the receiver d.
 *
 * ```
 *   s1 ---.
 *   s2 ---- r ====== d
 *   s3 ---'   rate, delay, queue, loss ...
 * ```
 *
 * @example
 * ```ts
 * const links = star({ senders: 2, rate: "50mbit", delay: "10ms", queue: "pfifo limit 100" });
 * const result = await simulate({ duration: "5s", links, flows: [{ from: "s1", to: "d" }, { from: "s2", to: "d" }] });
 * console.log(result.fairness);
 * ```
 */
export function star(options: StarOptions = {}): SimLink[] {
  const { senders, access, ...bottleneck } = options;
  const count = senders ?? 1;
  if (!(Number.isInteger(count) && count >= 1 && count <= 200)) throw new RangeError("senders: 1 to 200");
  const links: SimLink[] = [{ between: ["r", "d"], ...bottleneck }];
  for (let i = 0; i < count; i++) {
    const own = Array.isArray(access) ? (access as readonly Impairments[])[i % access.length] : (access as Impairments);
    // The sender's own card never drops: TCP small queues hold back what it cannot take.
    links.push({ between: [`s${i + 1}`, "r"], rate: "10gbit", limit: 100_000, ...own });
  }
  return links;
}
