/** `createKernel`: what a program begins with. */

import type { StreamsModule } from "../compat/net.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { seededRandom } from "../kernel/random.ts";
import type { MachineOptions } from "../mm/mem.ts";
import { createMachine } from "../mm/mem.ts";
import { poolInUse } from "../mm/pool.ts";
import type { NetDevice } from "../net/core/dev.ts";
import type { KernelDriver } from "../platform/default.ts";
import {
  driveRealTime,
  driveVirtualTime,
  eventLoopTurn,
  systemClock,
  systemRandom,
  VirtualClock,
} from "../platform/default.ts";
import { nodeStreams } from "../platform/streams.ts";
import { KernelTrace } from "../trace.ts";
import { Capture } from "./capture.ts";
import type { HostOwner } from "./host.ts";
import { Host } from "./host.ts";
import { linkHosts } from "./link.ts";
import type { LinkOptions } from "./link_options.ts";
import { createNet, destroyNet, startKernel } from "./main.ts";

export interface KernelOptions extends MachineOptions {
  /** "real" (default): the wall clock. "virtual": time stands still while code runs and jumps to the next deadline. */
  clock?: "real" | "virtual";
  /** Seed of all randomness (32 bits). The default is the platform's entropy, or 1 in virtual time. */
  seed?: number;
  /** Stream classes for `host.net` and `host.dgram` where Node's are not there: `{ Duplex, EventEmitter }`. */
  streams?: StreamsModule;
  /** Virtual time only: false = time moves by `advance()` alone. */
  autoAdvance?: boolean;
}

/**
 * A machine with its hosts. Everything that happens in it happens in one memory, on one clock.
 *
 * @example
 * ```ts
 * const kernel = await createKernel({ clock: "virtual", seed: 7 });
 * const a = kernel.netns("a"), b = kernel.netns("b");
 * kernel.link(a, b, { subnet: "10.0.0.0/24", delay: "20ms" });
 * ```
 */
export class SkbuffKernel implements HostOwner {
  /** The machine below: timers, softirqs, clock. */
  readonly core: Kernel;
  readonly trace: KernelTrace;
  readonly hosts: Map<string, Host> = new Map();
  readonly #driver: KernelDriver;
  readonly #virtual: VirtualClock | null;
  #streams: StreamsModule | null;
  #links = 0;

  constructor(core: Kernel, driver: KernelDriver, virtual: VirtualClock | null, streams: StreamsModule | null) {
    this.core = core;
    this.#driver = driver;
    this.#virtual = virtual;
    this.#streams = streams;
    this.trace = new KernelTrace(core);
  }

  /** Microseconds of the machine's clock. */
  get now(): number {
    return this.core.clock.now();
  }

  /** The host `name`: made on first use, with its loopback device up. */
  netns(name: string): Host {
    let host = this.hosts.get(name);
    if (host === undefined) {
      host = new Host(name, createNet(this.core, name), this);
      this.hosts.set(name, host);
      host.ip("link set lo up");
    }
    return host;
  }

  /**
   * Joins two hosts by a link of two network cards. Returns the two devices. Throws a RangeError for options that make no
   * sense.
   */
  link(a: Host, b: Host, options: LinkOptions = {}): [NetDevice, NetDevice] {
    return linkHosts(this.core, a, b, options, this.#links++);
  }

  /** Starts a capture of devices into pcapng blocks that `sink` gets. */
  capture(
    devices: readonly NetDevice[],
    sink: (block: Uint8Array) => void,
    options: { maxBytes?: number } = {},
  ): Capture {
    return new Capture(this.core, devices, sink, options.maxBytes ?? Infinity);
  }

  /**
   * Virtual time: moves the clock on by `ms` milliseconds, running everything that is due on the way, and giving promises
   * their turns between. Throws on a real clock.
   */
  async advance(ms: number): Promise<void> {
    const clock = this.#virtual;
    if (clock === null) throw new TypeError('advance() needs { clock: "virtual" }');
    const end = clock.time + ms * 1000;
    for (;;) {
      const due = this.core.nextDeadline();
      if (due > end) break;
      clock.moveTo(due);
      this.core.run();
      await eventLoopTurn();
    }
    if (end > clock.time) clock.time = end;
    this.core.run();
    await eventLoopTurn();
  }

  /**
   * Virtual time: moves the clock on to `time` (microseconds of `now`), running everything that is due on the way, at once:
   * programs that wait on promises get no turn. For programs that live on wakeups alone. Throws on a real clock.
   */
  runUntil(time: number): void {
    const clock = this.#virtual;
    if (clock === null) throw new TypeError('runUntil() needs { clock: "virtual" }');
    for (;;) {
      const due = this.core.nextDeadline();
      if (due > time) break;
      clock.moveTo(due);
      this.core.run();
    }
    if (time > clock.time) clock.time = time;
    this.core.run();
  }

  /** The skbs in use, by origin: none when every connection has ended. */
  poolInUse(): ReturnType<typeof poolInUse> {
    this.core.enter();
    try {
      return poolInUse();
    } finally {
      this.core.exit();
    }
  }

  /** Stops the machine: its hosts are torn down and nothing is scheduled any more. */
  close(): void {
    for (const host of this.hosts.values()) destroyNet(host.ns);
    this.hosts.clear();
    // Who still waits on a socket hears that it is gone.
    this.core.run();
    this.#driver.stop();
  }

  // HostOwner

  resolve(name: string, from: Host): number {
    const host = this.hosts.get(name);
    return host === undefined ? -1 : host === from ? 0x7f000001 : host.primaryAddress();
  }

  streams(): StreamsModule {
    this.#streams ??= nodeStreams();
    return this.#streams;
  }

  ref(): void {
    this.#driver.ref();
  }
  unref(): void {
    this.#driver.unref();
  }
}

/**
 * Makes a machine. Memory is reserved (256 MiB unless told), and committed as it is touched.
 *
 * @example
 * ```ts
 * const kernel = await createKernel();
 * const host = kernel.netns("a");
 * console.log(host.ip("addr show dev lo"));
 * kernel.close();
 * ```
 */
export async function createKernel(options: KernelOptions = {}): Promise<SkbuffKernel> {
  const machine = await createMachine(options);
  if (options.clock === "virtual") {
    const clock = new VirtualClock();
    const core = startKernel(machine, clock, seededRandom(options.seed ?? 1));
    const driver =
      options.autoAdvance === false
        ? { ref(): void {}, unref(): void {}, stop(): void {} }
        : driveVirtualTime(core, clock);
    return new SkbuffKernel(core, driver, clock, options.streams ?? null);
  }
  if (options.clock !== undefined && options.clock !== "real") {
    throw new RangeError(`clock ${String(options.clock)} is neither "real" nor "virtual"`);
  }
  const random = options.seed === undefined ? systemRandom() : seededRandom(options.seed);
  const core = startKernel(machine, systemClock, random);
  return new SkbuffKernel(core, driveRealTime(core), null, options.streams ?? null);
}
