/** What a run says: one line a script, what was expected and seen where one failed, and the count. */

export interface ScriptResult {
  readonly file: string;
  readonly passed: boolean;
  /** Where and what; empty when it passed. */
  readonly line: number;
  readonly message: string;
  /** Virtual seconds. */
  readonly seconds: number;
}

/** `ok PATH`, or `not ok PATH:LINE: what` with the lines of the difference below it. */
export function formatResult(r: ScriptResult): string {
  if (r.passed) return `ok ${r.file}`;
  const [first = "", ...rest] = r.message.split("\n");
  return [`not ok ${r.file}:${r.line}: ${first}`, ...rest.map((l) => `    ${l}`)].join("\n");
}

/** The last line of a run. */
export function formatSummary(results: readonly ScriptResult[]): string {
  const passed = results.filter((r) => r.passed).length;
  return `${passed} passed, ${results.length - passed} failed`;
}
