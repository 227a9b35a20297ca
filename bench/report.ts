/** Results as a table, as a chart, and as the JSON that continuous-benchmark actions read. */

import type { CaseResult } from "./runner.ts";

function number(v: number): string {
  return v < 100 ? v.toFixed(2) : Math.round(v).toLocaleString("en-US");
}

/** A table for the terminal. */
export function formatTable(results: readonly CaseResult[]): string {
  const rows: string[][] = [["case", "", "median", "unit", "range", "ratio (95%)", "target"]];
  for (const one of results) {
    for (const [i, c] of one.contenders.entries()) {
      const ratio = c.ratio;
      rows.push([
        i === 0 ? one.name : "",
        c.name,
        number(c.value),
        one.unit,
        `${number(c.low)} .. ${number(c.high)}`,
        ratio === undefined ? "" : `${number(ratio.median)} (${number(ratio.low)} .. ${number(ratio.high)})`,
        c.name === one.reference && one.target !== undefined ? `>= ${one.target}` : "",
      ]);
    }
  }
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const right = new Set([2]);
  const line = (row: string[]): string =>
    row
      .map((cell, i) => (right.has(i) ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join("  ")
      .trimEnd();
  return `${rows.map(line).join("\n")}\n`;
}

/** A table in Markdown, for a pull request's comment or a README. */
export function formatMarkdown(results: readonly CaseResult[]): string {
  const rows = results.flatMap((one) =>
    one.contenders.map((c, i) => {
      const ratio = c.ratio === undefined ? "" : `${number(c.ratio.median)}×`;
      return `| ${i === 0 ? `\`${one.name}\`` : ""} | ${c.name} | ${number(c.value)} ${one.unit} | ${ratio} |`;
    }),
  );
  return `| case | who | median | skbuff is |\n|---|---|---:|---:|\n${rows.join("\n")}\n`;
}

/** One entry of `customBiggerIsBetter` (github-action-benchmark). */
export interface BiggerIsBetter {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  readonly range: string;
  readonly extra: string;
}

/** This stack's own values in the form that github-action-benchmark calls `customBiggerIsBetter`. */
export function customBiggerIsBetter(results: readonly CaseResult[]): BiggerIsBetter[] {
  return results.map((one) => {
    const [own, ...others] = one.contenders;
    const extra = others.map((c) => `${number(c.ratio?.median ?? Number.NaN)} x ${c.name}`).join("\n");
    return { name: one.name, unit: one.unit, value: own.value, range: `${own.low} - ${own.high}`, extra };
  });
}

const WIDTH = 760;
const LABEL = 190;
const BAR = 18;

function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c] as string);
}

/** A bar chart, one group a case, scaled to the longest bar of its group; readable on light and dark pages. */
export function formatSvg(results: readonly CaseResult[]): string {
  const parts: string[] = [];
  let y = 10;
  for (const one of results) {
    const longest = Math.max(...one.contenders.map((c) => c.value));
    parts.push(`<text x="10" y="${y + 14}" class="case">${escapeXml(one.name)}, ${escapeXml(one.unit)}</text>`);
    y += 22;
    for (const [i, c] of one.contenders.entries()) {
      const width = Math.max(1, (c.value / longest) * (WIDTH - LABEL - 130));
      parts.push(
        `<text x="${LABEL - 8}" y="${y + 13}" class="who">${escapeXml(c.name)}</text>`,
        `<rect x="${LABEL}" y="${y}" width="${width.toFixed(1)}" height="${BAR - 3}" class="${i === 0 ? "own" : "other"}"/>`,
        `<text x="${(LABEL + width + 6).toFixed(1)}" y="${y + 13}" class="value">${number(c.value)}</text>`,
      );
      y += BAR;
    }
    y += 12;
  }
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" font-family="system-ui, sans-serif" font-size="13">\n` +
    "<style>text{fill:#24292f}.case{font-weight:600}.who{text-anchor:end}.own{fill:#0969da}.other{fill:#8c959f}" +
    "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.own{fill:#4493f8}.other{fill:#656c76}}</style>\n" +
    `${parts.join("\n")}\n</svg>\n`
  );
}
