/**
 * The Python of `%{ }%`: expressions, assert, print, assignments. A script's code runs at its end, in one namespace, after the
 * TCP_INFO that was seen at each place has been put into it.
 */

import { ScriptError } from "./lexer.ts";

export type PyValue = number | string | boolean | null | readonly PyValue[];

type Tok = { readonly t: "num" | "str" | "name" | "op" | "newline" | "end"; readonly s: string; readonly line: number };

const OPERATORS: RegExp = /\*\*=?|\/\/=?|<<=?|>>=?|==|!=|<=|>=|\+=|-=|\*=|\/=|%=|&=|\|=|\^=|[-+*/%<>=&|^~(),;:[\]]/y;

function tokenize(text: string, firstLine: number): Tok[] {
  const out: Tok[] = [];
  let line = firstLine;
  let depth = 0;
  const rule = (re: RegExp, at: number): string | null => {
    re.lastIndex = at;
    return re.exec(text)?.[0] ?? null;
  };
  for (let at = 0; at < text.length; ) {
    const c = text[at] as string;
    if (c === "\n") {
      if (depth === 0) out.push({ t: "newline", s: "\n", line });
      line++;
      at++;
      continue;
    }
    const skipped = rule(/[ \t\r]+|#[^\n]*|\\\r?\n/y, at);
    if (skipped !== null) {
      if (skipped.endsWith("\n")) line++;
      at += skipped.length;
      continue;
    }
    const str = rule(/'(?:\\[^]|[^'\\])*'|"(?:\\[^]|[^"\\])*"/y, at);
    const num = rule(/0[xX][0-9a-fA-F]+|\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+/y, at);
    const name = rule(/[A-Za-z_]\w*/y, at);
    const op = rule(OPERATORS, at);
    const found = str ?? num ?? name ?? op;
    if (found === null) throw new ScriptError(line, `code: "${c}" is not understood`);
    if (found === "(" || found === "[") depth++;
    if (found === ")" || found === "]") depth--;
    const t = str !== null ? "str" : num !== null ? "num" : name !== null ? "name" : "op";
    out.push({ t, s: str !== null ? unescape(found.slice(1, -1)) : found, line });
    at += found.length;
  }
  out.push({ t: "end", s: "", line });
  return out;
}

function unescape(s: string): string {
  return s.replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c === "t" ? "\t" : c));
}

/** Binding strength of binary operators; comparisons, not, and, or are apart. */
const BINARY: readonly (readonly string[])[] = [["|"], ["^"], ["&"], ["<<", ">>"], ["+", "-"], ["*", "/", "//", "%"]];
const COMPARE: ReadonlySet<string> = new Set(["==", "!=", "<", "<=", ">", ">="]);

/** One namespace, in which pieces of code run one after the other. */
export class CodeRunner {
  readonly vars: Map<string, PyValue> = new Map();
  /** What the code printed. */
  output = "";
  #toks: readonly Tok[] = [];
  #at = 0;

  /** Runs `text`, which begins on `line`. Throws a ScriptError where an assertion fails or the code makes no sense. */
  run(text: string, line: number): void {
    this.#toks = tokenize(text, line);
    this.#at = 0;
    for (;;) {
      while (this.#ends() && this.#at < this.#toks.length - 1) this.#at++;
      if (this.#at === this.#toks.length - 1) return;
      this.#statement();
      if (!this.#ends()) this.#unexpected();
    }
  }

  get #peek(): Tok {
    return this.#toks[this.#at] as Tok;
  }

  /** A statement ends here. */
  #ends(): boolean {
    const { t } = this.#peek;
    return t === "newline" || t === "end" || this.#is(";");
  }

  #is(op: string): boolean {
    return this.#peek.t === "op" && this.#peek.s === op;
  }

  #isName(name: string): boolean {
    return this.#peek.t === "name" && this.#peek.s === name;
  }

  #accept(op: string): boolean {
    if (!this.#is(op)) return false;
    this.#at++;
    return true;
  }

  #acceptName(name: string): boolean {
    if (!this.#isName(name)) return false;
    this.#at++;
    return true;
  }

  #unexpected(): never {
    const s = this.#peek.t === "end" ? "the end" : this.#peek.t === "newline" ? "the end of the line" : this.#peek.s;
    return this.#fail(`unexpected ${s}`);
  }

  #fail(message: string, line: number = this.#peek.line): never {
    throw new ScriptError(line, `code: ${message}`);
  }

  #statement(): void {
    const first = this.#peek;
    if (this.#acceptName("assert")) {
      const begin = this.#at;
      const ok = this.#expression();
      const asked = this.#sourceFrom(begin);
      const message = this.#accept(",") ? this.#expression() : null;
      if (!truth(ok)) {
        const note = message === null ? "" : ` (${show(message)})`;
        this.#fail(`assertion failed: ${asked}${note}`, first.line);
      }
      return;
    }
    if (this.#acceptName("pass")) return;
    const after = this.#toks[this.#at + 1];
    if (first.t === "name" && after?.t === "op" && /^(?:[-+*/%&|^]|\/\/|<<|>>)?=$/.test(after.s)) {
      this.#at += 2;
      const value = this.#expression();
      const op = after.s.slice(0, -1);
      this.vars.set(first.s, op === "" ? value : this.#binary(op, this.#lookup(first.s), value));
      return;
    }
    this.#expression();
  }

  #sourceFrom(begin: number): string {
    return this.#toks
      .slice(begin, this.#at)
      .map((t) => (t.t === "str" ? `'${t.s}'` : t.s))
      .join(" ");
  }

  #lookup(name: string): PyValue {
    const value = this.vars.get(name);
    if (value === undefined) this.#fail(`name '${name}' is not defined`);
    return value;
  }

  #expression(): PyValue {
    const value = this.#or();
    if (!this.#acceptName("if")) return value;
    const condition = this.#or();
    if (!this.#acceptName("else")) this.#unexpected();
    const other = this.#expression();
    return truth(condition) ? value : other;
  }

  #or(): PyValue {
    let value = this.#and();
    while (this.#acceptName("or")) {
      const right = this.#and();
      if (!truth(value)) value = right;
    }
    return value;
  }

  #and(): PyValue {
    let value = this.#not();
    while (this.#acceptName("and")) {
      const right = this.#not();
      if (truth(value)) value = right;
    }
    return value;
  }

  #not(): PyValue {
    return this.#acceptName("not") ? !truth(this.#not()) : this.#comparison();
  }

  /** a < b <= c holds when all of its links do. */
  #comparison(): PyValue {
    let left = this.#level(0);
    let result: boolean | null = null;
    while (this.#peek.t === "op" && COMPARE.has(this.#peek.s)) {
      const op = this.#peek.s;
      this.#at++;
      const right = this.#level(0);
      result = (result ?? true) && this.#compare(op, left, right);
      left = right;
    }
    return result ?? left;
  }

  #compare(op: string, a: PyValue, b: PyValue): boolean {
    if (op === "==" || op === "!=") return (show(a) === show(b) && typeof num(a) === typeof num(b)) === (op === "==");
    const [x, y] = [num(a), num(b)];
    if (typeof x !== typeof y || (typeof x !== "number" && typeof x !== "string")) this.#fail(`"${op}" does not fit`);
    const order = x === y ? 0 : (x as number) < (y as number) ? -1 : 1;
    return op === "<" ? order < 0 : op === "<=" ? order <= 0 : op === ">" ? order > 0 : order >= 0;
  }

  #level(n: number): PyValue {
    const ops = BINARY[n];
    if (ops === undefined) return this.#unary();
    let left = this.#level(n + 1);
    while (this.#peek.t === "op" && ops.includes(this.#peek.s)) {
      const op = this.#peek.s;
      this.#at++;
      left = this.#binary(op, left, this.#level(n + 1));
    }
    return left;
  }

  #binary(op: string, left: PyValue, right: PyValue): PyValue {
    if (op === "%" && typeof left === "string") return this.#format(left, right);
    if (op === "+" && typeof left === "string" && typeof right === "string") return left + right;
    const [a, b] = [num(left), num(right)];
    if (typeof a !== "number" || typeof b !== "number") this.#fail(`"${op}" does not fit`);
    switch (op) {
      case "+":
        return a + b;
      case "-":
        return a - b;
      case "*":
        return a * b;
      case "/":
      case "//":
      case "%": {
        if (b === 0) this.#fail("division by zero");
        if (op === "/") return a / b;
        return op === "//" ? Math.floor(a / b) : a - b * Math.floor(a / b);
      }
      case "<<":
        return a * 2 ** b;
      case ">>":
        return Math.floor(a / 2 ** b);
      case "&":
        return Number(BigInt(a) & BigInt(b));
      case "|":
        return Number(BigInt(a) | BigInt(b));
      case "^":
        return Number(BigInt(a) ^ BigInt(b));
      default:
        return this.#fail(`operator ${op}`);
    }
  }

  #unary(): PyValue {
    for (const op of ["-", "+", "~"]) {
      if (!this.#accept(op)) continue;
      const v = num(this.#unary());
      if (typeof v !== "number") this.#fail(`"${op}" does not fit`);
      return op === "-" ? -v : op === "+" ? v : -v - 1;
    }
    const base = this.#atom();
    if (!this.#accept("**")) return base;
    const [a, b] = [num(base), num(this.#unary())];
    if (typeof a !== "number" || typeof b !== "number") this.#fail('"**" does not fit');
    return a ** b;
  }

  #atom(): PyValue {
    const t = this.#peek;
    this.#at++;
    switch (t.t) {
      case "num":
        return Number(t.s);
      case "str": {
        let s = t.s;
        while (this.#peek.t === "str") {
          s += this.#peek.s;
          this.#at++;
        }
        return s;
      }
      case "name":
        if (t.s === "True" || t.s === "False") return t.s === "True";
        if (t.s === "None") return null;
        return this.#accept("(") ? this.#call(t.s, this.#items(")").values) : this.#lookup(t.s);
      case "op": {
        if (t.s !== "(" && t.s !== "[") break;
        const { values, comma } = this.#items(t.s === "(" ? ")" : "]");
        return t.s === "(" && values.length === 1 && !comma ? (values[0] as PyValue) : values;
      }
      default:
    }
    this.#at--;
    return this.#unexpected();
  }

  #items(close: string): { values: PyValue[]; comma: boolean } {
    const values: PyValue[] = [];
    let comma = false;
    while (!this.#accept(close)) {
      values.push(this.#expression());
      if (this.#accept(",")) comma = true;
      else if (!this.#is(close)) this.#unexpected();
    }
    return { values, comma };
  }

  #call(name: string, args: readonly PyValue[]): PyValue {
    const one = args[0] ?? null;
    switch (name) {
      case "print":
        this.output += `${args.map(show).join(" ")}\n`;
        return null;
      case "abs":
      case "int":
      case "float":
      case "round": {
        const n = typeof one === "string" ? Number(one) : num(one);
        if (typeof n !== "number" || Number.isNaN(n)) this.#fail(`${name}() wants a number`);
        return name === "abs" ? Math.abs(n) : name === "int" ? Math.trunc(n) : name === "round" ? Math.round(n) : n;
      }
      case "min":
      case "max": {
        const list = (Array.isArray(one) ? one : args).map(num);
        if (list.length === 0 || list.some((n) => typeof n !== "number")) this.#fail(`${name}() wants numbers`);
        return name === "min" ? Math.min(...(list as number[])) : Math.max(...(list as number[]));
      }
      case "len":
        if (typeof one !== "string" && !Array.isArray(one)) this.#fail("len() wants a string or a list");
        return (one as string | PyValue[]).length;
      case "str":
        return show(one);
      case "hex":
        return `0x${Number(one).toString(16)}`;
      default:
        return this.#fail(`there is no function ${name}()`);
    }
  }

  /** "%d of %s" % (1, x). */
  #format(format: string, args: PyValue): string {
    const list = Array.isArray(args) ? [...(args as PyValue[])] : [args];
    const text = format.replace(/%(?:%|([-0]?)(\d*)(?:\.(\d+))?([dsixXfur]))/g, (all, ...m: (string | undefined)[]) => {
      if (all === "%%") return "%";
      if (list.length === 0) this.#fail("not enough values for the format");
      const v = list.shift() as PyValue;
      const [flag, width, precision, kind] = m;
      const s = this.#formatOne(kind as string, v, precision);
      const n = Number(width === undefined || width === "" ? 0 : width);
      return flag === "-" ? s.padEnd(n) : s.padStart(n, flag === "0" ? "0" : " ");
    });
    if (list.length > 0) this.#fail("too many values for the format");
    return text;
  }

  #formatOne(kind: string, v: PyValue, precision: string | undefined): string {
    if (kind === "s" || kind === "r") return show(v);
    const n = num(v);
    if (typeof n !== "number") this.#fail(`%${kind} wants a number`);
    if (kind === "f") return n.toFixed(precision === undefined ? 6 : Number(precision));
    const hex = Math.trunc(n).toString(16);
    return kind === "x" ? hex : kind === "X" ? hex.toUpperCase() : String(Math.trunc(n));
  }
}

/** True and False are 1 and 0. */
function num(v: PyValue): PyValue {
  return typeof v === "boolean" ? Number(v) : v;
}

function truth(v: PyValue): boolean {
  return Array.isArray(v) ? v.length > 0 : Boolean(v);
}

function show(v: PyValue): string {
  if (v === null) return "None";
  if (typeof v === "boolean") return v ? "True" : "False";
  if (Array.isArray(v)) return `(${(v as PyValue[]).map(show).join(", ")})`;
  return String(v);
}
