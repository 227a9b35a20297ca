/** The clock of virtual time. */

import { describe, expect, it } from "vitest";
import { createKernel } from "../../src/init/create.ts";
import { modTimer, timerSetup } from "../../src/kernel/timer.ts";
import { VirtualClock } from "../../src/platform/default.ts";

describe("VirtualClock", () => {
  it("jumps to the next deadline and stands still where that is now", () => {
    const clock = new VirtualClock();
    const start = clock.time;
    clock.moveTo(start + 50);
    for (let i = 0; i < 1000; i++) clock.moveTo(start);
    expect(clock.time).toBe(start + 50);
    clock.moveTo(Infinity);
    expect(clock.time).toBe(start + 50);
  });

  it("moves a microsecond a turn when nothing else has moved it for a thousand turns", () => {
    const clock = new VirtualClock();
    const start = clock.time;
    for (let i = 0; i < 1010; i++) clock.moveTo(start);
    expect(clock.time).toBe(start + 10);
    clock.moveTo(start + 20);
    for (let i = 0; i < 1000; i++) clock.moveTo(clock.time);
    expect(clock.time).toBe(start + 20);
  });
});

it("a machine that always has something to do at once still reaches its next timer", async () => {
  const kernel = await createKernel({ clock: "virtual", autoAdvance: false });
  const { core } = kernel;
  let over = false;
  let turns = 0;
  core.enter();
  const busy = timerSetup(() => {
    turns++;
    if (!over) modTimer(busy, core.now);
  }, null);
  const end = timerSetup(() => {
    over = true;
  }, null);
  modTimer(busy, core.now);
  modTimer(end, core.now + 500);
  core.exit();
  kernel.runUntil(kernel.now + 1000);
  expect(over).toBe(true);
  expect(turns).toBeGreaterThan(1000);
  kernel.close();
});
