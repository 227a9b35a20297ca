/** The statistics of benchmarks on machines whose speed wanders: medians, and what resampling says about them. */

export interface Interval {
  readonly median: number;
  /** Ends of the interval that holds the median with the confidence asked for. */
  readonly low: number;
  readonly high: number;
}

/** The middle value, or the mean of the middle two. NaN of nothing. */
export function median(values: ArrayLike<number>): number {
  return medianSorted(Float64Array.from(values).sort());
}

function medianSorted(v: Float64Array): number {
  const mid = v.length >> 1;
  return v.length % 2 === 1 ? v[mid] : (v[mid - 1] + v[mid]) / 2;
}

/** A small generator of its own: the same samples give the same interval, in every process. */
function lcg(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

/**
 * The median of `values` with its percentile-bootstrap interval (Efron 1979): `rounds` samples drawn with replacement.
 *
 * @example
 * ```ts
 * const { median, low, high } = bootstrapMedian(ratios.map(Math.log), { confidence: 0.95 });
 * ```
 */
export function bootstrapMedian(
  values: readonly number[],
  options: { rounds?: number; seed?: number; confidence?: number } = {},
): Interval {
  const { rounds = 2000, seed = 1, confidence = 0.95 } = options;
  const random = lcg(seed);
  const n = values.length;
  const sample = new Float64Array(n);
  const medians = new Float64Array(rounds);
  for (let r = 0; r < rounds; r++) {
    for (let i = 0; i < n; i++) sample[i] = values[Math.floor(random() * n)];
    medians[r] = medianSorted(sample.sort());
  }
  medians.sort();
  const tail = (1 - confidence) / 2;
  return {
    median: median(values),
    low: medians[Math.floor(rounds * tail)],
    high: medians[Math.ceil(rounds * (1 - tail)) - 1],
  };
}
