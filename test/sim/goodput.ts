/** Goodput over a lossy long path: what this stack reaches, and what the algorithms' own papers say. */

import { simulate } from "../../src/init/simulate.ts";
import type { SimLink } from "../../src/sim/simulate.ts";
import { bytesBetween, star } from "../../src/sim/simulate.ts";

/** Payload of a full segment with time stamps, and what it takes on the wire with 24 bytes of preamble, FCS and gap. */
export const MSS = 1448;
const ON_WIRE = 1514 + 24;

/** Buffers that hold the path: a window of 6 MB, twice while holes are filled. Linux's own limit of wmem is 4 MB. */
export const BUFFERS: Record<string, string> = {
  "net.ipv4.tcp_rmem": "4096 131072 67108864",
  "net.ipv4.tcp_wmem": "4096 16384 67108864",
};

export interface Measured {
  /** Bits a second after the first seconds. */
  goodput: number;
  /** Seconds: the mean RTT after the first seconds. */
  rtt: number;
  /** Packets: goodput times RTT. */
  window: number;
  retransmits: number;
  timeouts: number;
}

/** One flow over `links` (from s1 to d), without its first `warm` seconds. */
export async function measure(
  links: readonly SimLink[],
  congestion: string,
  seconds: number,
  warm: number,
  seed: number,
): Promise<Measured> {
  const r = await simulate({
    seed,
    duration: seconds * 1000,
    sample: "10ms",
    links,
    flows: [{ from: "s1", to: "d", congestion }],
    sysctl: BUFFERS,
  });
  const flow = r.flows[0] as (typeof r.flows)[number];
  const late = flow.samples.srtt.filter((_, i) => (r.times[i] as number) > warm);
  const rtt = late.reduce((a, b) => a + b, 0) / late.length / 1000;
  const goodput = (bytesBetween(r.times, flow.samples.bytes, warm, seconds) * 8) / (seconds - warm);
  const { retransmits, timeouts } = flow;
  return { goodput, rtt, window: (goodput * rtt) / 8 / MSS, retransmits, timeouts };
}

/** 50 ms there and back, and room in the queue for that. */
export function longPath(rate: string, loss: number): SimLink[] {
  return star({ rate, delay: "25ms", loss, limit: 5000 });
}

/**
 * CUBIC's average window under random loss, in packets (RFC 9438): of the cubic region (§5.1, figure 8: C = 0.4, beta = 0.7)
 * and of the Reno-friendly one (§4.3: additive increase of 3 (1 - beta) / (1 + beta)), the larger.
 */
export function cubicWindow(loss: number, rtt: number): number {
  const [c, beta] = [0.4, 0.7];
  const cubic = ((c * (3 + beta)) / (4 * (1 - beta))) ** 0.25 * (rtt / loss) ** 0.75;
  const alpha = (3 * (1 - beta)) / (1 + beta);
  const friendly = Math.sqrt((alpha * (1 + beta)) / (2 * (1 - beta) * loss));
  return Math.max(cubic, friendly);
}

/** What BBR is to reach: the bottleneck's rate less what is lost, in payload, a hundredth below that by its pacing margin. */
export function bbrGoodput(rate: number, loss: number): number {
  return ((rate * MSS) / ON_WIRE) * (1 - loss) * 0.99;
}
