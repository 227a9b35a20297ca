import { describe, expect, it } from "vitest";
import { seededRandom } from "../../src/kernel/random.ts";
import { type TimerList, TimerWheel, timerSetup } from "../../src/kernel/timer.ts";

/** The same thing done plainly: a list that is sorted whenever it is asked. */
class Reference {
  readonly timers = new Map<number, { expires: number; order: number }>();
  order = 0;
  mod(id: number, expires: number): void {
    if (this.timers.get(id)?.expires === expires) return;
    this.timers.set(id, { expires, order: ++this.order });
  }
  del(id: number): void {
    this.timers.delete(id);
  }
  sorted(): [number, { expires: number; order: number }][] {
    return [...this.timers].sort((a, b) => a[1].expires - b[1].expires || a[1].order - b[1].order);
  }
  next(): number {
    return this.sorted()[0]?.[1].expires ?? Infinity;
  }
  run(now: number): number[] {
    const due = this.sorted().filter(([, t]) => t.expires <= now);
    for (const [id] of due) this.timers.delete(id);
    return due.map(([id]) => id);
  }
}

describe("TimerWheel", () => {
  it("fires in order of expiry, then of arming", () => {
    const wheel = new TimerWheel(0);
    const log: string[] = [];
    const t = (name: string) => timerSetup(() => log.push(name));
    const [a, b, c, d] = [t("a"), t("b"), t("c"), t("d")];
    wheel.mod(c, 20);
    wheel.mod(a, 10);
    wheel.mod(b, 10);
    wheel.mod(d, 5);
    wheel.mod(d, 10); // re-armed: behind a and b
    wheel.mod(a, 10); // same expiry: keeps its turn
    expect(wheel.nextExpiry()).toBe(10);
    wheel.run(9.5);
    expect(log).toEqual([]);
    wheel.run(20);
    expect(log).toEqual(["a", "b", "d", "c"]);
    expect(wheel.nextExpiry()).toBe(Infinity);
    expect(wheel.pending).toBe(0);
  });

  it("a timer may arm itself and others while it fires; what it arms for now waits for the next run", () => {
    const wheel = new TimerWheel(0);
    let fired = 0;
    let other = 0;
    const b = timerSetup(() => other++);
    const a = timerSetup((t) => {
      fired++;
      expect(t.pending).toBe(false);
      wheel.mod(t, 10);
      wheel.del(b);
    });
    wheel.mod(a, 10);
    wheel.mod(b, 10);
    wheel.run(10);
    expect([fired, other]).toEqual([1, 0]);
    expect(wheel.nextExpiry()).toBe(10);
    wheel.run(10);
    expect(fired).toBe(2);
  });

  it("keeps its state when a callback throws", () => {
    const wheel = new TimerWheel(0);
    let fired = 0;
    const bad = timerSetup(() => {
      throw new Error("x");
    });
    const good = timerSetup(() => fired++);
    wheel.mod(bad, 1);
    wheel.mod(good, 1);
    expect(() => wheel.run(1)).toThrow("x");
    wheel.run(1);
    expect(fired).toBe(1);
    expect(wheel.pending).toBe(0);
  });

  it("timer_shutdown lets go of the timer at once; deleting many lets go in the end", () => {
    const wheel = new TimerWheel(0);
    const a = timerSetup(() => {});
    wheel.mod(a, 1e9);
    wheel.remove(a);
    expect(a.base).toBe(null);
    const many = Array.from({ length: 1000 }, () => timerSetup(() => {}));
    for (const t of many) wheel.mod(t, 1e12);
    for (const t of many) wheel.del(t);
    expect(wheel.pending).toBe(0);
    expect(many.filter((t) => t.base !== null).length).toBeLessThan(130);
    expect(wheel.nextExpiry()).toBe(Infinity);
    expect(many.every((t) => t.base === null)).toBe(true);
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])("agrees with a sorted list (seed %i)", (seed) => {
    const random = seededRandom(seed);
    const below = (n: number) => random.u32() % n;
    const wheel = new TimerWheel(0);
    const reference = new Reference();
    const fired: number[] = [];
    const timers: TimerList[] = Array.from({ length: 300 }, (_, id) => timerSetup(() => fired.push(id)));
    let now = 0;
    for (let step = 0; step < 20_000; step++) {
      const id = below(timers.length);
      const t = timers[id] as TimerList;
      switch (below(8)) {
        case 0:
          wheel.del(t);
          reference.del(id);
          break;
        case 1:
          wheel.remove(t);
          reference.del(id);
          break;
        case 2: {
          now = below(4) === 0 ? now + below(50) : Math.max(now, Math.min(reference.next(), now + 100));
          fired.length = 0;
          wheel.run(now);
          expect(fired).toEqual(reference.run(now));
          break;
        }
        default: {
          const expires = now + below(2) * below(200) + below(3);
          wheel.mod(t, expires);
          reference.mod(id, expires);
        }
      }
      if (step % 16 === 0) {
        expect(wheel.nextExpiry()).toBe(reference.next());
        expect(wheel.pending).toBe(reference.timers.size);
        expect(t.pending).toBe(reference.timers.has(id));
      }
    }
  });
});
