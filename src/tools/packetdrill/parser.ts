/** The grammar of scripts: options, a first command, events, a last command. */

import { inetAton } from "../../net/ipv4/inet_addr.ts";
import {
  ICMP_DEST_UNREACH,
  ICMP_ECHO,
  ICMP_ECHOREPLY,
  ICMP_FRAG_NEEDED,
  ICMP_HOST_UNREACH,
  ICMP_NET_UNREACH,
  ICMP_PARAMETERPROB,
  ICMP_PORT_UNREACH,
  ICMP_PROT_UNREACH,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_SR_FAILED,
  ICMP_TIME_EXCEEDED,
} from "../../uapi/icmp.ts";
import type { Defines, Token, TokenType } from "./lexer.ts";
import { lex, ScriptError } from "./lexer.ts";
import type { IcmpPart, IpInfo, OuterHeader, Packet, TcpOption } from "./packet.ts";
import { encodeOptions, parseFlags } from "./packet.ts";

export type Expr =
  | { readonly t: "..." }
  | { readonly t: "int"; readonly value: number }
  | { readonly t: "word"; readonly name: string }
  | { readonly t: "string"; readonly text: string; readonly prefix: boolean }
  | { readonly t: "list"; readonly items: readonly Expr[] }
  | { readonly t: "or"; readonly left: Expr; readonly right: Expr }
  | { readonly t: "call"; readonly name: string; readonly args: readonly Expr[] }
  /** `{a=1, b(2)=[...]}`: `args` holds what stands in a field's parentheses. */
  | { readonly t: "struct"; readonly fields: ReadonlyMap<string, Expr>; readonly args: ReadonlyMap<string, Expr> };

export interface Syscall {
  readonly name: string;
  readonly args: readonly Expr[];
  readonly result: Expr;
  /** "EAGAIN"; null = not said. */
  readonly errno: string | null;
  /** End of a call that blocks, in microseconds; null for one that does not. */
  readonly end: number | null;
}

export type Action =
  | { readonly kind: "packet"; readonly out: boolean; readonly packet: Packet; readonly tuple: [number, number] | null }
  | { readonly kind: "syscall"; readonly call: Syscall }
  | { readonly kind: "command"; readonly command: string }
  | { readonly kind: "code"; readonly text: string };

export interface ScriptEvent {
  readonly line: number;
  readonly timeType: "absolute" | "relative" | "any" | "absolute-range" | "relative-range";
  /** Microseconds. */
  readonly time: number;
  readonly timeEnd: number;
  readonly action: Action;
  /** The line as written, for reports. */
  readonly source: string;
}

export interface ScriptOption {
  readonly name: string;
  readonly value: string | null;
  readonly line: number;
}

export interface Script {
  readonly options: readonly ScriptOption[];
  readonly init: { readonly command: string; readonly line: number } | null;
  readonly cleanup: { readonly command: string; readonly line: number } | null;
  readonly events: readonly ScriptEvent[];
}

const ICMP_TYPES: Readonly<Record<string, number>> = {
  echo_reply: ICMP_ECHOREPLY,
  echo_request: ICMP_ECHO,
  unreachable: ICMP_DEST_UNREACH,
  source_quench: ICMP_SOURCE_QUENCH,
  redirect: ICMP_REDIRECT,
  time_exceeded: ICMP_TIME_EXCEEDED,
  parameter_problem: ICMP_PARAMETERPROB,
};

const ICMP_CODES: Readonly<Record<string, number>> = {
  net_unreachable: ICMP_NET_UNREACH,
  host_unreachable: ICMP_HOST_UNREACH,
  protocol_unreachable: ICMP_PROT_UNREACH,
  port_unreachable: ICMP_PORT_UNREACH,
  frag_needed: ICMP_FRAG_NEEDED,
  source_route_failed: ICMP_SR_FAILED,
};

const ECN_CODES: Readonly<Record<string, number>> = { noecn: 0, ect1: 1, ect0: 2, ce: 3 };

/** Parses a script. Throws a ScriptError for what the language does not know. */
export function parseScript(text: string, defines: Defines): Script {
  return new Parser(text, defines).script();
}

class Parser {
  readonly #tokens: readonly Token[];
  readonly #text: string;
  #at = 0;

  constructor(text: string, defines: Defines) {
    this.#text = text;
    this.#tokens = lex(text, defines);
  }

  get #peek(): Token {
    return this.#tokens[this.#at] as Token;
  }

  #ahead(n: number): Token {
    return this.#tokens[Math.min(this.#at + n, this.#tokens.length - 1)] as Token;
  }

  #next(): Token {
    const t = this.#peek;
    if (t.type !== "end") this.#at++;
    return t;
  }

  #fail(message: string, t: Token = this.#peek): never {
    throw new ScriptError(t.line, message);
  }

  #isChar(c: string): boolean {
    const t = this.#peek;
    return t.type === "char" && t.text === c;
  }

  #isWord(...words: string[]): boolean {
    const t = this.#peek;
    return t.type === "word" && words.includes(t.text);
  }

  #acceptChar(c: string): boolean {
    if (!this.#isChar(c)) return false;
    this.#at++;
    return true;
  }

  #acceptWord(word: string): boolean {
    if (!this.#isWord(word)) return false;
    this.#at++;
    return true;
  }

  #needChar(c: string): void {
    if (!this.#acceptChar(c)) this.#fail(`expected "${c}" before ${this.#describe()}`);
  }

  #describe(t: Token = this.#peek): string {
    return t.type === "end" ? "the end" : `"${t.text}"`;
  }

  #need(type: TokenType, what: string): Token {
    const t = this.#peek;
    if (t.type !== type) this.#fail(`expected ${what} instead of ${this.#describe()}`);
    return this.#next();
  }

  #int(what: string, max: number): number {
    const t = this.#need("int", what);
    if (t.value < 0 || t.value > max) this.#fail(`${what} is out of range`, t);
    return t.value;
  }

  script(): Script {
    const options: ScriptOption[] = [];
    while (this.#peek.type === "option") options.push(this.#option());
    const command = (): { command: string; line: number } | null => {
      if (this.#peek.type !== "command") return null;
      const t = this.#next();
      return { command: t.text, line: t.line };
    };
    const init = command();
    const events: ScriptEvent[] = [];
    while (this.#peek.type !== "end" && this.#peek.type !== "command") events.push(this.#event());
    const cleanup = command();
    if (this.#peek.type !== "end") this.#fail("nothing may follow the last command");
    if (events.length === 0) this.#fail("the script has no events");
    return { options, init, cleanup, events };
  }

  #option(): ScriptOption {
    const t = this.#next();
    let value: string | null = null;
    if (this.#acceptChar("=")) {
      const v = this.#next();
      if (!["int", "hex", "float", "word", "string", "ipv4", "ipv6"].includes(v.type))
        this.#fail(`--${t.text}: ${this.#describe(v)} is no value`, v);
      value = v.text;
      if (v.type === "word" && this.#acceptChar("=")) {
        const rhs = this.#next();
        const quote = rhs.type === "string" ? '"' : rhs.type === "command" ? "`" : "";
        value += `=${quote}${rhs.text}${quote}`;
      }
    }
    return { name: t.text, value, line: t.line };
  }

  // ---- times ----

  #time(): number {
    const t = this.#next();
    if ((t.type !== "float" && t.type !== "int") || t.value < 0) this.#fail(`${this.#describe(t)} is no time`, t);
    return Math.round(t.value * 1e6);
  }

  #event(): ScriptEvent {
    const first = this.#peek;
    let timeType: ScriptEvent["timeType"];
    let time = 0;
    let timeEnd = 0;
    if (this.#acceptChar("*")) timeType = "any";
    else if (this.#acceptChar("+")) {
      timeType = "relative";
      time = this.#time();
      if (this.#acceptChar("~")) {
        this.#needChar("+");
        timeEnd = this.#time();
        timeType = "relative-range";
      }
    } else if (first.type === "int" || first.type === "float") {
      timeType = "absolute";
      time = this.#time();
      if (this.#acceptChar("~")) {
        timeEnd = this.#time();
        timeType = "absolute-range";
      }
    } else this.#fail(`expected a time instead of ${this.#describe()}`);
    if (timeType.endsWith("range") && timeEnd < time) this.#fail("the time range is backwards", first);
    const action = this.#action();
    const outbound = action.kind === "packet" && action.out;
    if (!outbound && timeType !== "relative" && timeType !== "absolute")
      this.#fail("* and time ranges are for outbound packets only", first);
    const last = this.#tokens[this.#at - 1] as Token;
    const source = this.#text.slice(first.at, last.end).replace(/\s+/g, " ");
    return { line: first.line, timeType, time, timeEnd, action, source };
  }

  #action(): Action {
    const t = this.#peek;
    if (t.type === "command") return { kind: "command", command: this.#next().text };
    if (t.type === "code") return { kind: "code", text: this.#next().text };
    if (this.#isChar("<") || this.#isChar(">")) return this.#packet();
    return { kind: "syscall", call: this.#syscall() };
  }

  // ---- packets ----

  #packet(): Action {
    const out = this.#next().text === ">";
    const outer = this.#outer(out);
    const ip = this.#ipInfo(out);
    const packet: Packet = { outer, ip, tcp: null, udp: null, icmp: null, len: 0, saddr: 0, daddr: 0, zero: true };
    if (this.#acceptWord("icmp")) {
      packet.icmp = this.#icmp();
      return { kind: "packet", out, packet, tuple: null };
    }
    const udpFirst = this.#acceptWord("udp");
    const tuple = this.#ports();
    if (udpFirst) {
      this.#needChar("(");
      packet.len = this.#int("UDP payload size", 65535);
      this.#needChar(")");
      packet.udp = { sport: tuple?.[0] ?? 0, dport: tuple?.[1] ?? 0 };
      return { kind: "packet", out, packet, tuple };
    }
    this.#tcp(packet, tuple, out);
    return { kind: "packet", out, packet, tuple };
  }

  /** `ipv4 1.2.3.4 > 5.6.7.8:` and `gre:`, any number of them. */
  #outer(out: boolean): OuterHeader[] {
    const outer: OuterHeader[] = [];
    for (;;) {
      if (this.#acceptWord("ipv4")) {
        const ip = this.#ipInfo(out);
        const addr = (): number => inetAton(this.#need("ipv4", "an IPv4 address").text);
        const saddr = addr();
        this.#needChar(">");
        const daddr = addr();
        if (saddr < 0 || daddr < 0) this.#fail("an address is out of range");
        outer.push({ kind: "ipv4", ip, saddr, daddr });
      } else if (this.#acceptWord("gre")) {
        if (outer.at(-1)?.kind !== "ipv4") this.#fail("gre: has no header around it");
        if (!this.#isChar(":")) this.#fail("gre: only the header without options is supported");
        outer.push({ kind: "gre" });
      } else break;
      this.#needChar(":");
    }
    if (this.#isWord("ipv6", "GREv0", "mpls")) this.#fail(`${this.#peek.text}: this encapsulation is not supported`);
    return outer;
  }

  #ports(): [number, number] | null {
    const after = this.#ahead(1);
    if (this.#peek.type !== "int" || after.type !== "char" || after.text !== ">") return null;
    const sport = this.#int("source port", 65535);
    this.#needChar(">");
    return [sport, this.#int("destination port", 65535)];
  }

  #ipInfo(out: boolean): IpInfo {
    const info: IpInfo = { check: "none", tos: 0, ttl: 0 };
    const open = this.#peek;
    if (!this.#isChar("(") && !this.#isChar("[")) return info;
    this.#next();
    do {
      const t = this.#need("word", "ect0, ce, tos, ttl ...");
      const ecn = ECN_CODES[t.text];
      if (ecn !== undefined) {
        info.check = "ecn";
        info.tos = ecn;
      } else if (t.text === "ect01") {
        if (!out) this.#fail("[ect01] is for outbound packets only", t);
        info.check = "ect01";
      } else if (t.text === "tos") {
        info.check = "tos";
        info.tos = this.#need("hex", "a number like 0x10").value;
        if (info.tos > 255) this.#fail("tos is out of range", t);
      } else if (t.text === "ttl") info.ttl = this.#int("ttl", 255);
      else if (t.text === "flowlabel") this.#fail("flow labels are IPv6's", t);
      else this.#fail(`"${t.text}" is no property of an IP header`, t);
    } while (this.#acceptChar(","));
    this.#needChar(open.text === "(" ? ")" : "]");
    return info;
  }

  #icmp(): IcmpPart {
    const t = this.#need("word", "an ICMP type");
    const type = ICMP_TYPES[t.text];
    if (type === undefined) this.#fail(`"${t.text}" is no ICMP type`, t);
    const icmp: IcmpPart = { type, code: 0, mtu: -1, id: 0, echoed: null };
    if (this.#peek.type === "word" && !this.#isWord("mtu", "id")) {
      const c = this.#next();
      const code = ICMP_CODES[c.text];
      if (code === undefined) this.#fail(`"${c.text}" is no ICMP code`, c);
      icmp.code = code;
    }
    if (this.#acceptWord("mtu")) icmp.mtu = this.#int("mtu", 65535);
    if (this.#acceptWord("id")) icmp.id = this.#int("id", 65535);
    const error = type !== ICMP_ECHO && type !== ICMP_ECHOREPLY;
    if (error) icmp.echoed = { protocol: "tcp", seq: 0, len: 0 };
    if (this.#acceptChar("[")) {
      if (this.#isWord("udp", "raw")) {
        const protocol = this.#next().text as "udp" | "raw";
        this.#needChar("(");
        icmp.echoed = { protocol, seq: 0, len: this.#int("payload size", 65535) };
        this.#needChar(")");
      } else {
        const [seq, len] = this.#seq();
        icmp.echoed = { protocol: "tcp", seq, len };
      }
      this.#needChar("]");
    }
    return icmp;
  }

  #seq(): [start: number, len: number] {
    const t = this.#peek;
    const start = this.#int("sequence number", 0xffffffff);
    this.#needChar(":");
    const end = this.#int("sequence number", 0xffffffff);
    this.#needChar("(");
    const len = this.#int("payload size", 65535);
    this.#needChar(")");
    if (end !== start + len) this.#fail("sequence numbers and payload size do not fit", t);
    return [start, len];
  }

  /** Letters, a dot and a digit that touch: "FP.", "S.", ".5", "-". */
  #flags(): { flags: number; ace: boolean } {
    const first = this.#peek;
    let text = "";
    let end = first.at;
    for (let t = first; t.at === end; t = this.#peek) {
      const fits = t.type === "word" || t.type === "float" || (t.type === "char" && (t.text === "." || t.text === "-"));
      if (!fits) break;
      text += t.text;
      end = t.end;
      this.#next();
    }
    const parsed = text === "" ? null : parseFlags(text);
    if (parsed === null) this.#fail(`expected TCP flags instead of ${this.#describe(first)}`, first);
    return parsed;
  }

  #tcp(packet: Packet, tuple: [number, number] | null, out: boolean): void {
    const { flags, ace } = this.#flags();
    const [seq, len] = this.#seq();
    packet.len = len;
    const ack = this.#acceptWord("ack") ? this.#int("ack", 0xffffffff) : 0;
    let win = -1;
    if (this.#acceptWord("win")) win = this.#int("win", 65535);
    else if (!out) this.#fail("an inbound packet needs a window");
    const urg = this.#acceptWord("urg") ? this.#int("urg", 65535) : 0;
    let options: TcpOption[] | null = [];
    if (this.#isChar("<") && this.#optionsFollow()) {
      this.#next();
      if (this.#peek.type === "...") {
        if (!out) this.#fail("<...> is for outbound packets only");
        this.#next();
        options = null;
      } else {
        do options.push(this.#tcpOption());
        while (this.#acceptChar(","));
        if (encodeOptions(options).length > 40) this.#fail("the options are too long");
      }
      this.#needChar(">");
    }
    packet.tcp = { sport: tuple?.[0] ?? 0, dport: tuple?.[1] ?? 0, flags, seq, ack, win, urg, options, ace };
  }

  /** An event cannot begin with "<": what follows a packet and begins so are its options. */
  #optionsFollow(): boolean {
    const t = this.#ahead(1);
    return t.type === "..." || t.type === "word";
  }

  #hex(): string {
    const t = this.#peek;
    if (t.type !== "word" && t.type !== "int") return "";
    this.#next();
    if (!/^(?:[0-9a-fA-F]{2})+$/.test(t.text)) this.#fail(`"${t.text}" is no row of hexadecimal bytes`, t);
    return t.text.toLowerCase();
  }

  #tcpOption(): TcpOption {
    const t = this.#need("word", "a TCP option");
    switch (t.text) {
      case "nop":
      case "eol":
      case "sackOK":
        return { kind: t.text };
      case "mss":
        return { kind: "mss", value: this.#int("mss", 65535) };
      case "wscale":
        return { kind: "wscale", value: this.#int("wscale", 255) };
      case "sack": {
        const blocks: [number, number][] = [];
        do {
          const left = this.#int("SACK edge", 0xffffffff);
          this.#needChar(":");
          blocks.push([left, this.#int("SACK edge", 0xffffffff)]);
        } while (this.#peek.type === "int");
        return { kind: "sack", blocks };
      }
      case "TS": {
        if (!this.#acceptWord("val")) this.#fail('expected "val"');
        const val = this.#int("TS val", 0xffffffff);
        if (!this.#acceptWord("ecr")) this.#fail('expected "ecr"');
        return { kind: "TS", val, ecr: this.#int("TS ecr", 0xffffffff) };
      }
      case "md5":
      case "FO":
      case "FOEXP":
        return { kind: t.text, hex: this.#hex() };
      case "ECN": {
        const fields: [string, number][] = [];
        while (this.#isWord("e0b", "ceb", "e1b")) fields.push([this.#next().text, this.#int("AccECN field", 0xffffff)]);
        const order = fields.map(([name]) => name).join(" ");
        if (!"e0b ceb e1b".startsWith(order) && !"e1b ceb e0b".startsWith(order)) this.#fail("AccECN field order", t);
        return { kind: "ECN", fields };
      }
      default:
        this.#fail(`"${t.text}" is no TCP option`, t);
    }
  }

  // ---- system calls ----

  #syscall(): Syscall {
    let end: number | null = null;
    if (this.#peek.type === "...") {
      this.#next();
      end = this.#time();
    }
    const name = this.#need("word", "a packet, a command or a system call").text;
    const args = this.#args();
    this.#needChar("=");
    const result = this.#expr();
    let errno: string | null = null;
    if (this.#peek.type === "word") errno = this.#next().text;
    // A note, in brackets.
    if (this.#acceptChar("(")) {
      while (!this.#isChar(")")) {
        if (this.#peek.type === "end") this.#fail("a note without an end");
        this.#next();
      }
      this.#next();
    }
    return { name, args, result, errno, end };
  }

  #args(): Expr[] {
    const args: Expr[] = [];
    this.#needChar("(");
    if (this.#acceptChar(")")) return args;
    do args.push(this.#expr());
    while (this.#acceptChar(","));
    this.#needChar(")");
    return args;
  }

  #expr(): Expr {
    let left = this.#term();
    while (this.#acceptChar("|")) left = { t: "or", left, right: this.#term() };
    return left;
  }

  #term(): Expr {
    const t = this.#peek;
    switch (t.type) {
      case "...":
        this.#next();
        return { t: "..." };
      case "int":
      case "hex":
        this.#next();
        return { t: "int", value: t.value };
      case "string": {
        let text = "";
        while (this.#peek.type === "string") text += this.#next().text;
        const prefix = this.#peek.type === "...";
        if (prefix) this.#next();
        return { t: "string", text, prefix };
      }
      case "word":
        this.#next();
        if (this.#isChar("(")) return { t: "call", name: t.text, args: this.#args() };
        return { t: "word", name: t.text };
      default:
    }
    if (this.#acceptChar("[")) {
      const items: Expr[] = [];
      if (this.#acceptChar("]")) return { t: "list", items };
      do items.push(this.#expr());
      while (this.#acceptChar(","));
      this.#needChar("]");
      return { t: "list", items };
    }
    if (this.#acceptChar("{")) return this.#braces();
    this.#fail(`${this.#describe()} is no expression`);
  }

  #braces(): Expr {
    const items: Expr[] = [];
    const fields = new Map<string, Expr>();
    const args = new Map<string, Expr>();
    do {
      const t = this.#peek;
      const after = this.#ahead(1);
      const field = t.type === "word" && after.type === "char" && (after.text === "=" || after.text === "(");
      if (!field) {
        items.push(this.#expr());
        continue;
      }
      this.#next();
      if (this.#acceptChar("(")) {
        args.set(t.text, this.#expr());
        this.#needChar(")");
      }
      this.#needChar("=");
      if (fields.has(t.text)) this.#fail(`"${t.text}" is given twice`, t);
      fields.set(t.text, this.#expr());
    } while (this.#acceptChar(","));
    this.#needChar("}");
    if (items.length > 0 && fields.size > 0) this.#fail("a structure with fields that have no names");
    return fields.size > 0 ? { t: "struct", fields, args } : { t: "list", items };
  }
}
