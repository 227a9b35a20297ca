/** `skbuff sim`: TCP flows over a bottleneck, in virtual time. */

import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { parseDelay, parseProbability, parseRate } from "../init/link_options.ts";
import { simulate } from "../init/simulate.ts";
import { plotSvg } from "../sim/plot.ts";
import type { FlowResult, SimFlow, SimOptions, SimResult, StarOptions } from "../sim/simulate.ts";
import { star } from "../sim/simulate.ts";
import { formatBytes, parseOptions, parseSize, UsageError } from "./usage.ts";

const HELP = `Usage: skbuff sim [OPTIONS]

Runs TCP flows over a bottleneck in virtual time and tells what became of them. Senders s1, s2 ... have a link of their own
to the router r; the bottleneck is r's link to the receiver d. The same seed gives the same run, to the byte.

The bottleneck:
  --rate R           bits a second: 100mbit, 1gbit (default 100mbit)
  --delay T          one way, both ways the same: 10ms, 500us (default 10ms)
  --queue QDISC      a tc qdisc: "pfifo limit 100", fq_codel, "fq", "tbf rate 8mbit burst 16k latency 50ms"
                     (default: pfifo with room for the rate times the RTT, 50 packets at least)
  --loss P, --reorder P, --duplicate P, --corrupt P
                     of the frames from r to d: 1% or 0.01
  --jitter T         random extra delay
The flows:
  --flows N          how many (default 1)
  --congestion LIST  cubic, bbr, dctcp, reno: the flows take them in turn (default cubic)
  --stagger T        each begins that much after the one before
  --bytes SIZE       each sends so much and closes; by default they send until the end
  --access-delay LIST  one-way delay of the senders' own links, in turn
  --sender-queue QDISC  on every sender's card: fq paces there
  --sysctl KEY=VALUE on every host (may be given several times)
The run:
  --duration T       virtual time (default 10s)
  --seed N           (default 1)
  --sample T         how often cwnd, RTT and bytes are noted (default: a thousandth of the duration)
  --plot FILE        cwnd, RTT, bytes and queue over time, as SVG
  --pcap FILE        the bottleneck's frames, as pcapng
  --json             everything but the samples, as one JSON object
  --samples          with --json: the samples too
  -h, --help

Exit code: 0 done, 1 a flow ended with an error, 2 bad usage.
`;

const TIME_OPTIONS = ["delay", "jitter", "stagger", "duration", "sample"] as const;
const CHANCES = ["loss", "reorder", "duplicate", "corrupt"] as const;

/** Runs a parser of an option; what it throws is bad usage. */
function checked<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message);
    throw error;
  }
}

function whole(text: string, what: string, min: number, max: number): number {
  const n = Number(text);
  if (!/^\d+$/.test(text) || n < min || n > max) throw new UsageError(`${what}: "${text}" is not ${min} to ${max}`);
  return n;
}

/** Packets of a full size that the path holds: rate times RTT. */
function bdpPackets(rate: number, oneWayUs: number): number {
  return Math.max(50, Math.ceil((rate * 2 * oneWayUs) / 1e6 / 8 / 1514));
}

type Values = Record<string, string | boolean | undefined>;

/** The options as `simulate` takes them. */
function simOptions(values: Values): SimOptions & { describe: string } {
  const text = (name: string): string | undefined => values[name] as string | undefined;
  for (const name of TIME_OPTIONS) checked(() => parseDelay(text(name) ?? "0", `--${name}`));
  for (const name of CHANCES) checked(() => parseProbability(text(name) ?? 0, `--${name}`));
  const rate = text("rate") ?? "100mbit";
  const delay = text("delay") ?? "10ms";
  const bits = checked(() => parseRate(rate));
  if (!(bits > 0)) throw new UsageError(`--rate: "${rate}" is no rate above 0`);
  const flows = whole(text("flows") ?? "1", "--flows", 1, 200);
  const congestion = (text("congestion") ?? "cubic").split(",");
  const accessDelays = (text("access-delay") ?? "0").split(",");
  for (const d of accessDelays) checked(() => parseDelay(d, "--access-delay"));
  const longest = Math.max(...accessDelays.map((d) => parseDelay(d, "--access-delay")));
  const queue = text("queue") ?? `pfifo limit ${bdpPackets(bits, parseDelay(delay, "--delay") + longest)}`;
  const stagger = parseDelay(text("stagger") ?? "0", "--stagger") / 1000;
  const bytes = text("bytes") === undefined ? undefined : parseSize(text("bytes") as string, "--bytes");
  if (bytes === 0) throw new UsageError("--bytes: a flow sends something");

  const bottleneck: StarOptions = {
    senders: flows,
    rate,
    delay,
    queue,
    access: accessDelays.map((d) => ({ rate: "10gbit", delay: d, limit: 100_000 })),
  };
  for (const name of [...CHANCES, "jitter"] as const) {
    const value = text(name);
    if (value !== undefined) bottleneck[name] = value;
  }
  const sysctl: Record<string, string> = {};
  for (const pair of (values["sysctl"] as unknown as string[] | undefined) ?? []) {
    const eq = pair.indexOf("=");
    if (eq < 1) throw new UsageError(`--sysctl: ${pair} is not KEY=VALUE`);
    sysctl[pair.slice(0, eq)] = pair.slice(eq + 1);
  }
  const list: SimFlow[] = Array.from({ length: flows }, (_, i) => ({
    from: `s${i + 1}`,
    to: "d",
    congestion: congestion[i % congestion.length] as string,
    start: stagger * i,
    ...(bytes === undefined ? {} : { bytes }),
  }));
  const chances = CHANCES.filter((name) => text(name) !== undefined).map((name) => `, ${name} ${text(name)}`);
  return {
    seed: whole(text("seed") ?? "1", "--seed", 0, 2 ** 32 - 1),
    duration: text("duration") ?? "10s",
    links: star(bottleneck),
    flows: list,
    sysctl,
    ...(text("sender-queue") === undefined ? {} : { senderQueue: text("sender-queue") as string }),
    ...(text("sample") === undefined ? {} : { sample: text("sample") as string }),
    describe: `${rate}, ${delay} one way, ${queue}${chances.join("")}`,
  };
}

export async function run(argv: string[]): Promise<number> {
  const string = { type: "string" } as const;
  const parsed = parseOptions(
    argv,
    {
      ...Object.fromEntries([...TIME_OPTIONS, ...CHANCES].map((name) => [name, string])),
      rate: string,
      queue: string,
      flows: string,
      congestion: string,
      bytes: string,
      "access-delay": string,
      "sender-queue": string,
      sysctl: { type: "string", multiple: true },
      seed: string,
      plot: string,
      pcap: string,
      json: { type: "boolean" },
      samples: { type: "boolean" },
    },
    HELP,
  );
  if (parsed === null) return 0;
  const { values, positionals } = parsed;
  if (positionals.length > 0) throw new UsageError(`what is "${positionals[0]}"?`);
  const { describe, ...options } = simOptions(values);
  const pcap = values["pcap"] as string | undefined;
  const pcapFd = pcap === undefined ? -1 : openSync(pcap, "w");
  let result: SimResult;
  try {
    result = await simulate(
      pcapFd < 0 ? options : { ...options, capture: (block): void => void writeSync(pcapFd, block) },
    );
  } catch (error) {
    // A qdisc, a sysctl or a congestion control that does not exist.
    if (error instanceof RangeError || /^(?:CommandError|SocketError)$/.test((error as Error).name)) {
      throw new UsageError((error as Error).message);
    }
    throw error;
  } finally {
    if (pcapFd >= 0) closeSync(pcapFd);
  }
  const plot = values["plot"] as string | undefined;
  if (plot !== undefined) writeFileSync(plot, plotSvg(result, describe));
  if (values["json"] === true) {
    const { times: _times, queues: _queues, ...rest } = result;
    const bare = (f: FlowResult): Omit<FlowResult, "samples"> => {
      const { samples: _samples, ...others } = f;
      return others;
    };
    const shown = values["samples"] === true ? result : { ...rest, flows: result.flows.map(bare) };
    process.stdout.write(`${JSON.stringify(shown, null, 2)}\n`);
  } else {
    print(result, describe);
    if (plot !== undefined) process.stdout.write(`plot       ${plot}\n`);
    if (pcap !== undefined) process.stdout.write(`capture    ${pcap}\n`);
  }
  return result.flows.every((f) => f.error === "") ? 0 : 1;
}

function print(r: SimResult, describe: string): void {
  const o = process.stdout;
  const mbit = (bits: number): string => `${(bits / 1e6).toFixed(2)} Mbit/s`;
  o.write(`bottleneck ${describe}; ${r.duration} s, seed ${r.seed}\n\n`);
  const rows = [["flow", "goodput", "bytes", "resent", "timeouts", "RTT min/mean/max ms", "cwnd", ""]];
  for (const f of r.flows) {
    rows.push([
      f.name,
      mbit(f.goodput),
      formatBytes(f.bytes),
      String(f.retransmits),
      String(f.timeouts),
      `${f.rtt.min.toFixed(1)} / ${f.rtt.mean.toFixed(1)} / ${f.rtt.max.toFixed(1)}`,
      f.cwnd.toFixed(1),
      f.error !== "" ? f.error : f.completed ? `done at ${f.end.toFixed(3)} s` : "",
    ]);
  }
  const widths = (rows[0] as string[]).map((_, i) => Math.max(...rows.map((row) => (row[i] as string).length)));
  for (const row of rows) {
    const cells = row.map((cell, i) =>
      i === 0 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number),
    );
    o.write(`${cells.join("  ").trimEnd()}\n`);
  }
  const link = r.links[0] as SimResult["links"][number];
  o.write(`\ntogether   ${mbit(r.goodput)}, fairness ${r.fairness.toFixed(3)} (Jain's index; 1 is equal shares)\n`);
  o.write(`bottleneck ${(link.utilization * 100).toFixed(1)}% used, ${link.queueDrops} dropped by the queue`);
  o.write(` (${formatBytes(link.queueMax)} at most in it), ${link.lost} lost by chance\n`);
}
