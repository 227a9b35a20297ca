/** struct minmax (lib/win_minmax.c): the extreme of a window of time, by three samples. */

import { expect, it } from "vitest";
import { seededRandom } from "../../../src/kernel/random.ts";
import { minmaxGet, minmaxReset, minmaxRunningMax, minmaxRunningMin } from "../../../src/net/ipv4/tcp_h.ts";

const SEED = 20161231;

it(`a value of the window, and the best one while it is fresh, seed ${SEED}`, () => {
  const random = seededRandom(SEED);
  for (const [running, better] of [
    [minmaxRunningMax, Math.max],
    [minmaxRunningMin, Math.min],
  ] as const) {
    const m = new Float64Array(6);
    const seen: [number, number][] = [];
    let t = 0;
    minmaxReset(m, t, 500);
    seen.push([t, 500]);
    for (let i = 0; i < 2000; i++) {
      t += random.u32() % 4;
      const value = random.u32() % 1000;
      seen.push([t, value]);
      const got = running(m, 10, t, value);
      expect(minmaxGet(m)).toBe(got);
      while (t - (seen[0] as [number, number])[0] > 10) seen.shift();
      const window = seen.map(([, v]) => v);
      expect(window).toContain(got);
      // Never worse than the newest, and exact within the first quarter of a window.
      expect(better(got, value)).toBe(got);
      const fresh = seen.filter(([at]) => t - at <= 2).map(([, v]) => v);
      expect(better(got, better(...(fresh as [number, number])))).toBe(got);
    }
  }
});

it("lets go of the best when the window has passed it", () => {
  const m = new Float64Array(6);
  minmaxReset(m, 0, 100);
  for (let t = 1; t <= 10; t++) expect(minmaxRunningMax(m, 10, t, 50 - t)).toBe(100);
  expect(minmaxRunningMax(m, 10, 11, 1)).toBeLessThanOrEqual(49);
});
