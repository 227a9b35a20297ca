/** A simulation as a picture: cwnd, RTT, bytes and queues over time, in one SVG that reads on light and dark ground. */

import type { SimResult } from "./simulate.ts";

const WIDTH = 860;
const LEFT = 64;
const RIGHT = 16;
const TOP = 16;
const PANEL = 150;
const GAP = 44;
/** Points a line: more than pixels show nothing. */
const MAX_POINTS = 800;

/** Okabe and Ito's colours, which colour-blind eyes tell apart, without black and yellow: mid-tones on either ground. */
const COLOURS: readonly string[] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];
const DASHES: readonly string[] = ["", "6 3", "2 3", "8 3 2 3"];

interface Line {
  readonly name: string;
  readonly values: readonly number[];
  /** Colour and dashes. */
  readonly style: number;
}

interface Panel {
  readonly title: string;
  readonly unit: string;
  readonly lines: readonly Line[];
}

/** 0 to 5 ticks at round numbers, up to `max`. */
export function ticks(max: number, wanted = 4): number[] {
  if (!(max > 0)) return [0];
  const raw = max / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 2.5, 5, 10].find((m) => m * power >= raw) as number) * power;
  const out: number[] = [];
  for (let i = 0; i * step <= max * (1 + 1e-9); i++) out.push(i * step);
  return out;
}

/** The unit that lets the largest value be written shortly, and what to divide by. */
function scale(max: number, unit: "B" | ""): readonly [string, number] {
  if (unit === "") return ["", 1];
  const steps = ["B", "kB", "MB", "GB"];
  let i = 0;
  let by = 1;
  while (max / by >= 2000 && i < steps.length - 1) {
    by *= 1000;
    i++;
  }
  return [steps[i] as string, by];
}

function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c] as string);
}

/** Trailing zeros say nothing. */
function short(x: number, digits: number): string {
  return String(Number(x.toFixed(digits)));
}

/**
 * The points of a line. Of many samples in one column of pixels the first, the smallest, the largest and the last are
 * drawn, so that no dip is lost.
 */
function path(times: readonly number[], values: readonly number[], x: (t: number) => number, y: (v: number) => number) {
  const n = Math.min(times.length, values.length);
  const group = Math.max(1, Math.ceil((n * 4) / MAX_POINTS));
  const picked: number[] = [];
  for (let from = 0; from < n; from += group) {
    const to = Math.min(n, from + group);
    let low = from;
    let high = from;
    for (let i = from; i < to; i++) {
      if ((values[i] as number) < (values[low] as number)) low = i;
      if ((values[i] as number) > (values[high] as number)) high = i;
    }
    for (const i of [from, Math.min(low, high), Math.max(low, high), to - 1]) {
      if (picked[picked.length - 1] !== i) picked.push(i);
    }
  }
  const at = (i: number): string => `${short(x(times[i] as number), 1)},${short(y(values[i] as number), 1)}`;
  return picked.map((i, k) => (k === 0 ? "M" : k === 1 ? "L" : " ") + at(i)).join("");
}

function panels(result: SimResult): Panel[] {
  const lines = (values: (i: number) => readonly number[]): Line[] =>
    result.flows.map((f, i) => ({ name: f.name, values: values(i), style: i }));
  const samples = result.flows.map((f) => f.samples);
  const largest = (all: readonly (readonly number[])[]): number =>
    all.reduce((max, values) => values.reduce((m, v) => Math.max(m, v), max), 0);
  const bytes = samples.map((s) => s.bytes);
  const [unit, by] = scale(largest(bytes), "B");
  const out: Panel[] = [
    { title: "congestion window", unit: "packets", lines: lines((i) => samples[i]?.cwnd ?? []) },
    { title: "smoothed RTT", unit: "ms", lines: lines((i) => samples[i]?.srtt ?? []) },
    { title: "delivered", unit, lines: lines((i) => (bytes[i] ?? []).map((b) => b / by)) },
  ];
  const queues = Object.entries(result.queues);
  if (queues.length > 0) {
    const [queueUnit, queueBy] = scale(largest(queues.map(([, backlog]) => backlog)), "B");
    out.push({
      title: "queue",
      unit: queueUnit,
      lines: queues.map(([name, backlog], i) => ({
        name,
        values: backlog.map((b) => b / queueBy),
        style: result.flows.length + i,
      })),
    });
  }
  return out;
}

/**
 * Draws a result of `simulate` as SVG text: congestion window (packets), smoothed RTT (ms), delivered bytes and, where links
 * have queues, their backlog, all over virtual seconds, one line a flow.
 *
 * @example
 * ```ts
 * const result = await simulate({ duration: "5s", links: star({ rate: "10mbit" }), flows: [{ from: "s1", to: "d" }] });
 * const svg = plotSvg(result, "one flow, 10 Mbit/s");
 * ```
 */
export function plotSvg(result: SimResult, title: string): string {
  const all = panels(result);
  const names = new Map(all.flatMap((p) => p.lines.map((l) => [l.name + l.style, l] as const)));
  const legendRows = Math.ceil(names.size / 4);
  const first = TOP + 24 + legendRows * 18 + 26;
  const height = first + all.length * (PANEL + GAP) + 4;
  const right = WIDTH - RIGHT;
  const x = (t: number): number => LEFT + (t / result.duration) * (right - LEFT);
  const o: string[] = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `<title>${escapeXml(title)}</title>`,
    "<style>text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-size:14px;font-weight:600}.g{stroke:#8b949e;stroke-opacity:.3}" +
      ".a{stroke:#6e7781}.l{fill:none;stroke-width:1.4;stroke-linejoin:round}.e{text-anchor:end}.m{text-anchor:middle}" +
      ".bg{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#c9d1d9}.bg{fill:#0d1117}}</style>",
    `<rect class="bg" width="${WIDTH}" height="${height}"/>`,
    `<text class="t" x="${LEFT}" y="${TOP + 12}">${escapeXml(title)}</text>`,
  ];
  [...names.values()].forEach((line, i) => {
    const lx = LEFT + (i % 4) * 195;
    const ly = TOP + 34 + Math.floor(i / 4) * 18;
    o.push(`<path class="l" ${stroke(line.style)} d="M${lx},${ly - 4}h22"/>`);
    o.push(`<text x="${lx + 28}" y="${ly}">${escapeXml(line.name)}</text>`);
  });
  all.forEach((panel, n) => {
    const top = first + n * (PANEL + GAP);
    const bottom = top + PANEL;
    const max = panel.lines.reduce((m, l) => l.values.reduce((mm, v) => Math.max(mm, v), m), 0) * 1.05 || 1;
    const y = (v: number): number => bottom - (v / max) * PANEL;
    o.push(`<text x="${LEFT}" y="${top - 8}">${escapeXml(panel.title)} [${panel.unit}]</text>`);
    for (const v of ticks(max)) {
      const at = short(y(v), 1);
      o.push(`<path class="g" d="M${LEFT},${at}H${right}"/>`);
      o.push(`<text class="e" x="${LEFT - 6}" y="${short(y(v) + 4, 1)}">${short(v, 3)}</text>`);
    }
    for (const t of ticks(result.duration, 8)) {
      o.push(`<path class="g" d="M${short(x(t), 1)},${top}V${bottom}"/>`);
      o.push(`<text class="m" x="${short(x(t), 1)}" y="${bottom + 15}">${short(t, 3)}</text>`);
    }
    o.push(`<path class="a" fill="none" d="M${LEFT},${top}V${bottom}H${right}"/>`);
    o.push(`<text class="e" x="${right}" y="${bottom + 28}">time [s]</text>`);
    for (const line of panel.lines) {
      if (line.values.length > 1) {
        o.push(`<path class="l" ${stroke(line.style)} d="${path(result.times, line.values, x, y)}"/>`);
      }
    }
  });
  o.push("</svg>");
  return `${o.join("\n")}\n`;
}

function stroke(style: number): string {
  const dash = DASHES[Math.floor(style / COLOURS.length) % DASHES.length] as string;
  return `stroke="${COLOURS[style % COLOURS.length] as string}"${dash === "" ? "" : ` stroke-dasharray="${dash}"`}`;
}
