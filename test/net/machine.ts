/** A machine with one host and its loopback device, for tests of the socket layer. */

import { createNet, destroyNet, startKernel } from "../../src/init/main.ts";
import type { Clock, Kernel } from "../../src/kernel/kernel.ts";
import { seededRandom } from "../../src/kernel/random.ts";
import { createMachineSync } from "../../src/mm/mem.ts";
import type { NetDevice } from "../../src/net/core/dev.ts";
import { devOpen } from "../../src/net/core/dev.ts";
import type { Net } from "../../src/net/core/net_namespace.ts";

/** A clock that stands still unless it is moved. */
export class TestClock implements Clock {
  t = 1_000_000;
  now(): number {
    return this.t;
  }
  realtime(): number {
    return 1_600_000_000_000_000 + this.t;
  }
}

export interface TestHost {
  kernel: Kernel;
  clock: TestClock;
  net: Net;
  /** Runs timers and softirqs `us` microseconds long. */
  advance(us: number): void;
  close(): void;
}

export function testKernel(seed = 1): { kernel: Kernel; clock: TestClock } {
  const clock = new TestClock();
  const machine = createMachineSync({ memoryBytes: 64 * 1024 * 1024 });
  const kernel = startKernel(machine, clock, seededRandom(seed));
  // As an event loop does: whoever waits is woken by the next turn, though the clock stands still.
  let scheduled = false;
  kernel.onWork = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      if (kernel.nextDeadline() <= kernel.now) kernel.run();
    });
  };
  return { kernel, clock };
}

/** A host whose loopback device is up. */
export function testNet(kernel: Kernel, name: string): Net {
  const net = createNet(kernel, name);
  kernel.enter();
  devOpen(net.loopbackDev as NetDevice);
  kernel.exit();
  kernel.run();
  return net;
}

export function testHost(seed = 1): TestHost {
  const { kernel, clock } = testKernel(seed);
  const net = testNet(kernel, "h");
  return {
    kernel,
    clock,
    net,
    advance(us: number): void {
      const end = clock.t + us;
      for (;;) {
        const due = kernel.nextDeadline();
        if (due > end) break;
        if (due > clock.t) clock.t = due;
        kernel.run();
      }
      clock.t = end;
      kernel.run();
    },
    close(): void {
      destroyNet(net);
      kernel.run();
    },
  };
}
