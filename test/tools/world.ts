/** Machines with hosts for the tests of the configuration commands: time moves by hand. */

import { expect } from "vitest";
import { createNet, destroyNet, startKernel } from "../../src/init/main.ts";
import type { Clock, Kernel } from "../../src/kernel/kernel.ts";
import { seededRandom } from "../../src/kernel/random.ts";
import { createMachineSync } from "../../src/mm/mem.ts";
import { poolFree, poolInUse } from "../../src/mm/pool.ts";
import type { Net } from "../../src/net/core/net_namespace.ts";
import { ipCommand } from "../../src/tools/ip_command.ts";
import { nftCommand } from "../../src/tools/nft_command.ts";
import type { CommandResult } from "../../src/tools/parse_command.ts";
import { sysctlCommand } from "../../src/tools/sysctl_command.ts";
import { tcCommand } from "../../src/tools/tc_command.ts";

/** A clock that tests move by hand, in microseconds. */
class HandClock implements Clock {
  us = 1_000_000;
  now(): number {
    return this.us;
  }
  realtime(): number {
    return 1_700_000_000_000_000 + this.us;
  }
}

export class World {
  readonly clock: HandClock = new HandClock();
  readonly kernel: Kernel;
  readonly nets: Net[] = [];
  readonly #before: ReturnType<typeof poolFree>;

  constructor(seed = 7) {
    this.kernel = startKernel(createMachineSync({ memoryBytes: 64 << 20 }), this.clock, seededRandom(seed));
    this.kernel.enter();
    this.#before = poolFree();
    this.kernel.exit();
  }

  net(name: string): Net {
    const net = createNet(this.kernel, name);
    this.nets.push(net);
    return net;
  }

  /** Runs `fn` in kernel context. */
  in<T>(fn: () => T): T {
    this.kernel.enter();
    try {
      return fn();
    } finally {
      this.kernel.exit();
    }
  }

  /** Lets `us` microseconds pass, with every timer at its time. */
  advance(us: number): void {
    const end = this.clock.us + us;
    for (;;) {
      const next = this.kernel.nextDeadline();
      if (next > end) break;
      this.clock.us = Math.max(next, this.clock.us);
      this.kernel.run();
    }
    this.clock.us = end;
    this.kernel.run();
  }

  try(net: Net, line: string): CommandResult {
    const m = /^(ip|tc|nft|sysctl)\s+([\s\S]*)$/.exec(line);
    if (m === null) throw new Error(`no command: ${line}`);
    const fn = { ip: ipCommand, tc: tcCommand, nft: nftCommand, sysctl: sysctlCommand }[m[1] as "ip"];
    return this.in(() => fn(net, m[2] as string));
  }

  /** Runs one command a line; each has to succeed. Returns what the last one printed. */
  run(net: Net, lines: string): string {
    let out = "";
    for (const line of lines.trim().split("\n")) {
      const r = this.try(net, line.trim());
      if (r.code !== 0) throw new Error(`${line.trim()}: exit ${r.code}: ${r.stderr}`);
      out = r.stdout;
    }
    return out;
  }

  /** Ends all hosts, and looks whether the pool is whole. */
  close(): void {
    for (const net of this.nets) if (!net.dead) destroyNet(net);
    this.in(() => {
      expect(poolInUse()).toEqual([]);
      expect(poolFree()).toEqual(this.#before);
    });
  }
}
