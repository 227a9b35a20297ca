import { expect, it } from "vitest";
import { Kernel } from "../../src/kernel/kernel.ts";
import {
  icmpmsginIncStats,
  icmpmsgoutIncStats,
  ipAddStats,
  ipIncStats,
  ipUpdPoStats,
  Mibs,
  netAddStats,
  netIncStats,
  tcpDecStats,
  tcpIncStats,
  udpIncStats,
} from "../../src/kernel/mib.ts";
import { KERN_INFO, netRatelimit, printk } from "../../src/kernel/printk.ts";
import {
  getRandomBytes,
  getRandomU32,
  getRandomU32Below,
  getRandomU32Inclusive,
  seededRandom,
} from "../../src/kernel/random.ts";
import {
  taskletDisable,
  taskletEnable,
  taskletHiSchedule,
  taskletKill,
  taskletSchedule,
  taskletSetup,
} from "../../src/kernel/softirq.ts";
import {
  delTimer,
  modTimer,
  modTimerIn,
  timerPending,
  timerReduce,
  timerSetup,
  timerShutdown,
} from "../../src/kernel/timer.ts";
import { createMachineSync } from "../../src/mm/mem.ts";
import {
  IPSTATS_MIB_INMCASTOCTETS,
  IPSTATS_MIB_INMCASTPKTS,
  IPSTATS_MIB_INOCTETS,
  IPSTATS_MIB_INPKTS,
  IPSTATS_MIB_OUTOCTETS,
  IPSTATS_MIB_OUTPKTS,
} from "../../src/uapi/linux_mib.ts";

class TestClock {
  us = 0;
  now(): number {
    return this.us;
  }
  realtime(): number {
    return this.us;
  }
}

function machine(seed = 1): { kernel: Kernel; clock: TestClock } {
  const clock = new TestClock();
  return { kernel: new Kernel(createMachineSync({ memoryBytes: 8 << 20 }), clock, seededRandom(seed)), clock };
}

it("tasklets run once for any number of schedules, the high ones first", () => {
  const { kernel } = machine();
  const log: string[] = [];
  const make = (name: string) => taskletSetup(() => log.push(name), null);
  const [a, b, hi, killed] = [make("a"), make("b"), make("hi"), make("killed")];
  kernel.enter();
  taskletSchedule(a);
  taskletSchedule(b);
  taskletSchedule(a);
  taskletSchedule(killed);
  taskletHiSchedule(hi);
  taskletKill(killed);
  taskletKill(killed);
  kernel.exit();
  expect(log).toEqual(["hi", "a", "b"]);
  kernel.enter();
  taskletSchedule(b);
  kernel.exit();
  expect(log).toEqual(["hi", "a", "b", "b"]);
});

it("a disabled tasklet keeps its turn; one that schedules itself runs again", () => {
  const { kernel } = machine();
  let runs = 0;
  const t = taskletSetup((self) => {
    if (++runs < 3) taskletSchedule(self);
  }, null);
  kernel.enter();
  taskletDisable(t);
  taskletSchedule(t);
  kernel.exit();
  expect(runs).toBe(0);
  taskletEnable(t);
  kernel.run();
  expect(runs).toBe(3);
});

it("two machines have tasklets and timers of their own", () => {
  const [a, b] = [machine(), machine()];
  const log: string[] = [];
  a.kernel.enter();
  const ta = timerSetup(() => log.push("timer a"));
  modTimer(ta, 10);
  taskletSchedule(taskletSetup(() => log.push("tasklet a"), null));
  a.kernel.exit();
  b.kernel.enter();
  modTimerIn(
    timerSetup(() => log.push("timer b")),
    5,
  );
  taskletSchedule(taskletSetup(() => log.push("tasklet b"), null));
  b.kernel.exit();
  expect([a.kernel.nextDeadline(), b.kernel.nextDeadline()]).toEqual([10, 5]);
  b.clock.us = 20;
  b.kernel.run();
  expect(log).toEqual(["tasklet a", "tasklet b", "timer b"]);
  a.clock.us = 20;
  a.kernel.run();
  expect(log.at(-1)).toBe("timer a");
});

it("the timer functions", () => {
  const { kernel } = machine();
  kernel.enter();
  const t = timerSetup(() => {});
  expect([timerPending(t), delTimer(t), timerShutdown(t)]).toEqual([false, false, false]);
  expect([modTimer(t, 100), modTimer(t, 200), timerReduce(t, 300), t.expires, timerReduce(t, 50), t.expires]).toEqual([
    false,
    true,
    true,
    200,
    true,
    50,
  ]);
  expect([delTimer(t), timerPending(t), modTimer(t, 70), timerShutdown(t), t.base]).toEqual([
    true,
    false,
    false,
    true,
    null,
  ]);
  expect(kernel.timers.nextExpiry()).toBe(Infinity);
  kernel.exit();
});

it("random numbers come from the machine's source", () => {
  const draw = (seed: number): number[] => {
    const { kernel } = machine(seed);
    kernel.enter();
    const bytes = new Uint8Array(5);
    getRandomBytes(bytes);
    const out = [getRandomU32(), getRandomU32Below(1000), getRandomU32Inclusive(5, 7), ...bytes];
    const seen = new Set(Array.from({ length: 200 }, () => getRandomU32Inclusive(5, 7)));
    expect([...seen].sort()).toEqual([5, 6, 7]);
    expect([getRandomU32Below(0), getRandomU32Below(1)]).toEqual([0, 0]);
    for (let i = 0; i < 100; i++) expect(getRandomU32Below(2 ** 31 + 1)).toBeLessThanOrEqual(2 ** 31);
    kernel.exit();
    return out;
  };
  expect(draw(5)).toEqual(draw(5));
  expect(draw(5)).not.toEqual(draw(6));
});

it("counters", () => {
  const net = { mib: new Mibs() };
  ipIncStats(net, 9);
  ipAddStats(net, 9, 4);
  ipUpdPoStats(net, IPSTATS_MIB_INPKTS, 100);
  ipUpdPoStats(net, IPSTATS_MIB_OUTPKTS, 200);
  ipUpdPoStats(net, IPSTATS_MIB_INMCASTPKTS, 300);
  const { ip } = net.mib;
  expect([ip[9], ip[IPSTATS_MIB_INPKTS], ip[IPSTATS_MIB_INOCTETS]]).toEqual([5, 1, 100]);
  expect([ip[IPSTATS_MIB_OUTPKTS], ip[IPSTATS_MIB_OUTOCTETS]]).toEqual([1, 200]);
  expect([ip[IPSTATS_MIB_INMCASTPKTS], ip[IPSTATS_MIB_INMCASTOCTETS]]).toEqual([1, 300]);
  tcpIncStats(net, 9);
  tcpIncStats(net, 9);
  tcpDecStats(net, 9);
  netIncStats(net, 100);
  netAddStats(net, 100, 5);
  udpIncStats(net, 1);
  icmpmsginIncStats(net, 8);
  icmpmsgoutIncStats(net, 8);
  expect([net.mib.tcp[9], net.mib.linux[100], net.mib.udp[1], net.mib.icmpmsg[8], net.mib.icmpmsg[264]]).toEqual([
    1, 6, 1, 1, 1,
  ]);
});

it("the log is rate limited where it is asked to be", () => {
  const { kernel, clock } = machine();
  const lines: string[] = [];
  kernel.enter();
  expect(netRatelimit()).toBe(false); // nobody listens
  kernel.onPrintk = (_level, text) => lines.push(text);
  for (let i = 0; i < 30; i++) if (netRatelimit()) printk(KERN_INFO, String(i));
  kernel.exit();
  clock.us = 6_000_000;
  kernel.enter();
  if (netRatelimit()) printk(KERN_INFO, "later");
  kernel.exit();
  expect(lines).toEqual(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "later"]);
});
