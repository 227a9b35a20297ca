/** What the command parsers share: words, results, and the units that iproute2 understands. */

/** What a command did: its exit code and what it printed. */
export interface CommandResult {
  /** 0, or what the real tool exits with. */
  code: number;
  stdout: string;
  stderr: string;
}

export function commandOk(stdout = ""): CommandResult {
  return { code: 0, stdout, stderr: "" };
}

export function commandFail(code: number, stderr: string): CommandResult {
  return { code, stdout: "", stderr: stderr.endsWith("\n") ? stderr : `${stderr}\n` };
}

/** Splits at white space; double or single quotes hold a word together. */
export function splitWords(command: string): string[] {
  const words: string[] = [];
  for (const m of command.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)) words.push(m[1] ?? m[2] ?? (m[3] as string));
  return words;
}

/** The words of a command, taken one after the other. */
export class Words {
  readonly #words: string[];
  #at = 0;

  constructor(command: string | readonly string[]) {
    this.#words = typeof command === "string" ? splitWords(command) : [...command];
  }

  /** The next word without taking it; undefined at the end. */
  get peek(): string | undefined {
    return this.#words[this.#at];
  }

  get done(): boolean {
    return this.#at >= this.#words.length;
  }

  next(): string | undefined {
    return this.#words[this.#at++];
  }

  /** Takes the next word if it is one of these. */
  accept(...wanted: string[]): boolean {
    const word = this.peek;
    if (word === undefined || !wanted.includes(word)) return false;
    this.#at++;
    return true;
  }

  /** The next word; throws a ParseError that says what was expected. */
  need(what: string): string {
    const word = this.next();
    if (word === undefined) throw new ParseError(`Command line is not complete: ${what} is missing`);
    return word;
  }
}

/** A command that does not make sense: the parser turns it into exit code and stderr. */
export class ParseError extends Error {
  override readonly name = "ParseError";
  readonly code: number;
  constructor(message: string, code = 1) {
    super(message);
    this.code = code;
  }
}

/** Runs a parser, and makes a CommandResult of what it throws. */
export function runCommand(body: () => CommandResult): CommandResult {
  try {
    return body();
  } catch (e) {
    if (e instanceof ParseError) return commandFail(e.code, e.message);
    throw e;
  }
}

/** iproute2's get_time: "20ms", "5us", "1s", or a bare number of microseconds. Returns microseconds. */
export function parseTime(text: string): number {
  const m = /^(\d+(?:\.\d+)?)(s|sec|secs|ms|msec|msecs|us|usec|usecs|ns|nsec|nsecs)?$/i.exec(text);
  if (m === null) throw new ParseError(`"${text}" is no time`);
  const unit = (m[2] ?? "us").toLowerCase();
  return Number(m[1]) * (unit.startsWith("ms") ? 1000 : unit.startsWith("us") ? 1 : unit.startsWith("n") ? 0.001 : 1e6);
}

/** iproute2's get_rate: "1mbit", "100kbps" (bytes), "1gibit", or a bare number of bits. Returns bytes a second. */
export function parseRateBytes(text: string): number {
  const m = /^(\d+(?:\.\d+)?)(?:([kmgt]?)(i?)(bit|bps))?$/i.exec(text);
  if (m === null) throw new ParseError(`"${text}" is no rate`);
  const base = m[3] !== undefined && m[3] !== "" ? 1024 : 1000;
  const power = { "": 0, k: 1, m: 2, g: 3, t: 4 }[(m[2] ?? "").toLowerCase() as "" | "k" | "m" | "g" | "t"];
  const value = Number(m[1]) * base ** power;
  return (m[4] ?? "bit").toLowerCase() === "bps" ? value : value / 8;
}

/** iproute2's get_size: "10k", "1mb", "8kbit", or bytes. */
export function parseSizeBytes(text: string): number {
  const m = /^(\d+(?:\.\d+)?)(b|k|kb|m|mb|g|gb|kbit|mbit|gbit)?$/i.exec(text);
  if (m === null) throw new ParseError(`"${text}" is no size`);
  const unit = (m[2] ?? "b").toLowerCase();
  const power = unit.startsWith("k") ? 1 : unit.startsWith("m") ? 2 : unit.startsWith("g") ? 3 : 0;
  const value = Number(m[1]) * 1024 ** power;
  return Math.round(unit.endsWith("bit") ? value / 8 : value);
}

/** "1%" (or a bare number, as netem takes it) -> 0.01. */
export function parsePercent(text: string): number {
  const m = /^(\d+(?:\.\d+)?)%?$/.exec(text);
  const n = m === null ? Number.NaN : Number(m[1]) / 100;
  if (!(n >= 0 && n <= 1)) throw new ParseError(`"${text}" is no percentage`);
  return n;
}
