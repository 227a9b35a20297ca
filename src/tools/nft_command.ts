/**
 * The `nft` command, a subset: `add | create | delete | flush | list` of tables, chains and rules of the families ip and
 * inet, for IPv4. Matches: ip saddr, daddr, protocol, ttl, dscp, length; tcp, udp and th sport, dport; tcp flags; icmp type,
 * code; iif, oif, iifname, oifname; meta l4proto, mark. Statements: counter, limit, log, meta mark set, accept, drop, reject,
 * queue, continue, return, jump, goto. A word that is not known is an error that names it.
 */

import type { Net } from "../net/core/net_namespace.ts";
import { inetAton, inetNtoa, maskOf } from "../net/ipv4/inet_addr.ts";
import { nfSendReset, nfSendUnreach } from "../net/ipv4/nf_reject_ipv4.ts";
import type { NftBaseChain, NftChain, NftExpr, NftField, NftMatch, NftTable } from "../net/netfilter/nf_tables.ts";
import {
  nftAddChain,
  nftAddRule,
  nftAddTable,
  nftDelChain,
  nftDelRule,
  nftDelTable,
  nftFlushRuleset,
  nftPernet,
  nftRegisterReject,
  nftReplaceRule,
  nftTableLookup,
} from "../net/netfilter/nf_tables.ts";
import { errnoMessage } from "../uapi/errno.ts";
import {
  ICMP_HOST_ANO,
  ICMP_HOST_UNREACH,
  ICMP_NET_ANO,
  ICMP_NET_UNREACH,
  ICMP_PKT_FILTERED,
  ICMP_PORT_UNREACH,
  ICMP_PROT_UNREACH,
} from "../uapi/icmp.ts";
import { IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP } from "../uapi/in.ts";
import {
  NF_ACCEPT,
  NF_DROP,
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
} from "../uapi/netfilter.ts";
import type { CommandResult } from "./parse_command.ts";
import { commandOk, ParseError, runCommand } from "./parse_command.ts";

/**
 * Runs `nft` commands in a namespace, in kernel context: one, or several parted by newlines and semicolons, or a ruleset
 * as `list ruleset` prints it.
 *
 * @example
 * nftCommand(net, "add table ip filter");
 * nftCommand(net, "add chain ip filter output { type filter hook output priority 0; }");
 * nftCommand(net, "add rule ip filter output tcp dport 25 counter drop");
 */
export function nftCommand(net: Net, command: string): CommandResult {
  nftRegisterReject({ reset: nfSendReset, unreach: nfSendUnreach });
  return runCommand(() => new Parser(net, command).run());
}

const HOOKS: readonly (readonly [name: string, hooknum: number])[] = [
  ["prerouting", NF_INET_PRE_ROUTING],
  ["input", NF_INET_LOCAL_IN],
  ["forward", NF_INET_FORWARD],
  ["output", NF_INET_LOCAL_OUT],
  ["postrouting", NF_INET_POST_ROUTING],
];
const PRIORITIES: readonly (readonly [name: string, priority: number])[] = [
  ["raw", -300],
  ["mangle", -150],
  ["dstnat", -100],
  ["filter", 0],
  ["security", 50],
  ["srcnat", 100],
];
const PROTOCOLS: Readonly<Record<string, number>> = {
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  dccp: 33,
  gre: 47,
  esp: 50,
  ah: 51,
  sctp: 132,
  udplite: 136,
};
const ICMP_TYPES: Readonly<Record<string, number>> = {
  "echo-reply": 0,
  "destination-unreachable": 3,
  "source-quench": 4,
  redirect: 5,
  "echo-request": 8,
  "router-advertisement": 9,
  "router-solicitation": 10,
  "time-exceeded": 11,
  "parameter-problem": 12,
  "timestamp-request": 13,
  "timestamp-reply": 14,
};
const ICMP_CODES: Readonly<Record<string, number>> = {
  "net-unreachable": ICMP_NET_UNREACH,
  "host-unreachable": ICMP_HOST_UNREACH,
  "prot-unreachable": ICMP_PROT_UNREACH,
  "port-unreachable": ICMP_PORT_UNREACH,
  "net-prohibited": ICMP_NET_ANO,
  "host-prohibited": ICMP_HOST_ANO,
  "admin-prohibited": ICMP_PKT_FILTERED,
};
const TCP_FLAGS: Readonly<Record<string, number>> = {
  fin: 1,
  syn: 2,
  rst: 4,
  psh: 8,
  ack: 16,
  urg: 32,
  ecn: 64,
  cwr: 128,
};
const DSCP: Readonly<Record<string, number>> = {
  cs0: 0,
  cs1: 8,
  cs2: 16,
  cs3: 24,
  cs4: 32,
  cs5: 40,
  cs6: 48,
  cs7: 56,
  ef: 46,
};
const SERVICES: Readonly<Record<string, number>> = { ftp: 21, ssh: 22, smtp: 25, domain: 53, http: 80, https: 443 };
const PER: Readonly<Record<string, number>> = { second: 1e6, minute: 60e6, hour: 3600e6, day: 86400e6, week: 604800e6 };

const END = "\n";

/** Words, quoted strings (with their quotes), and single signs. Newlines and semicolons end a command or a rule. */
function tokenize(text: string): string[] {
  const out: string[] = [];
  const re = /\\?\n|#[^\n]*|[ \t\r]+|"[^"]*"|'[^']*'|\\?[{};,()|&]|==|!=|<=|>=|<|>|=|!|[^\s{};,()|&<>=!"']+/g;
  for (const m of text.matchAll(re)) {
    let t = m[0];
    if (/^(?:[ \t\r]+|#.*|\\\n)$/.test(t)) continue;
    // A shell wants \; and \{.
    if (t.length > 1 && t.startsWith("\\")) t = t.slice(1);
    if (t.startsWith("'")) out.push(...tokenize(t.slice(1, -1)));
    else out.push(t);
  }
  return out;
}

class Parser {
  readonly #net: Net;
  readonly #text: string;
  readonly #tokens: string[];
  #at = 0;
  #out = "";
  /** nft -a: listings show handles. */
  #handles = false;

  constructor(net: Net, text: string) {
    this.#net = net;
    this.#text = text;
    this.#tokens = tokenize(text);
  }

  run(): CommandResult {
    let any = false;
    if (this.#accept("-a") || this.#accept("--handle")) this.#handles = true;
    for (;;) {
      while (this.#peek() === END || this.#peek() === ";") this.#at++;
      if (this.#peek() === "") break;
      this.#command();
      any = true;
      if (!this.#atEnd()) throw this.#unexpected();
    }
    if (!any) throw new ParseError("nft: no command specified");
    return commandOk(this.#out);
  }

  // ---- tokens ----------------------------------------------------------------------------------------------------------------

  #peek(): string {
    return this.#tokens[this.#at] ?? "";
  }
  #next(): string {
    return this.#tokens[this.#at++] ?? "";
  }
  #atEnd(): boolean {
    const t = this.#peek();
    return t === "" || t === END || t === ";" || t === "}";
  }
  #accept(word: string): boolean {
    if (this.#peek() !== word) return false;
    this.#at++;
    return true;
  }
  #unexpected(): ParseError {
    const t = this.#peek();
    const what = t === "" || t === END ? "unexpected end of input" : `unexpected "${t.replace(/^"|"$/g, "")}"`;
    return new ParseError(`Error: syntax error, ${what}\n${this.#text.trim()}`);
  }
  #need(word: string): void {
    if (!this.#accept(word)) throw this.#unexpected();
  }
  #word(): string {
    const t = this.#peek();
    if (t === "" || t === END || /^[{};,()|&<>=!]/.test(t)) throw this.#unexpected();
    this.#at++;
    return t.replace(/^"|"$/g, "");
  }
  #number(max = 0xffffffff): number {
    const t = this.#peek();
    const n = /^0x[0-9a-f]+$/i.test(t) || /^\d+$/.test(t) ? Number(t) : Number.NaN;
    if (!(n <= max)) throw this.#unexpected();
    this.#at++;
    return n;
  }
  #skipLines(): void {
    while (this.#peek() === END || this.#peek() === ";") this.#at++;
  }
  #fail(err: number): ParseError {
    return new ParseError(`Error: Could not process rule: ${errnoMessage(err)}\n${this.#text.trim()}`);
  }
  #check(err: number): number {
    if (err < 0) throw this.#fail(err);
    return err;
  }

  // ---- commands --------------------------------------------------------------------------------------------------------------

  #command(): void {
    const verb = this.#peek();
    switch (verb) {
      case "add":
      case "create":
      case "insert":
      case "replace":
        this.#at++;
        this.#add(verb);
        break;
      case "delete":
      case "destroy":
        this.#at++;
        this.#delete();
        break;
      case "flush":
        this.#at++;
        this.#flush();
        break;
      case "list":
        this.#at++;
        this.#list();
        break;
      case "table":
        this.#at++;
        this.#tableBlock();
        break;
      default:
        throw this.#unexpected();
    }
  }

  /** A family, "ip" if none is named. */
  #family(): string {
    const t = this.#peek();
    if (t === "ip" || t === "inet") {
      this.#at++;
      return t;
    }
    if (t === "ip6" || t === "arp" || t === "bridge" || t === "netdev") {
      throw new ParseError(`Error: family "${t}" is not supported`);
    }
    return "ip";
  }

  #table(): NftTable {
    const family = this.#family();
    const name = this.#word();
    const table = nftTableLookup(this.#net, family, name);
    if (table === null)
      throw new ParseError(`Error: No such file or directory; no table "${family} ${name}"\n${this.#text.trim()}`);
    return table;
  }

  #chain(table: NftTable): NftChain {
    const name = this.#word();
    const chain = table.chains.get(name);
    if (chain === undefined) {
      throw new ParseError(
        `Error: No such file or directory; no chain "${name}" in table "${table.family} ${table.name}"\n${this.#text.trim()}`,
      );
    }
    return chain;
  }

  #add(verb: string): void {
    const object = this.#peek();
    if (object === "table" && (verb === "add" || verb === "create")) {
      this.#at++;
      const family = this.#family();
      this.#check(nftAddTable(this.#net, family, this.#word(), verb === "create"));
    } else if (object === "chain" && (verb === "add" || verb === "create")) {
      this.#at++;
      const table = this.#table();
      const name = this.#word();
      let base: NftBaseChain | null = null;
      if (this.#accept("{")) {
        base = this.#chainSpec();
        this.#need("}");
      }
      this.#check(nftAddChain(this.#net, table, name, base, verb === "create"));
    } else {
      // The word "rule" may be left out.
      this.#accept("rule");
      this.#addRule(verb);
    }
  }

  #addRule(verb: string): void {
    const table = this.#table();
    const chain = this.#chain(table);
    let at = 0;
    if (this.#accept("handle") || this.#accept("position")) at = this.#number();
    else if (this.#accept("index")) {
      const index = this.#number();
      const rule = chain.rules[index];
      if (rule === undefined) throw this.#fail(-2);
      at = rule.handle;
    }
    const { exprs, comment } = this.#rule();
    if (verb === "replace") this.#check(nftReplaceRule(chain, at, exprs, comment));
    else this.#check(nftAddRule(chain, exprs, at, verb === "insert", comment));
  }

  #delete(): void {
    const object = this.#word();
    if (object === "table") {
      const table = this.#table();
      this.#check(nftDelTable(this.#net, table.family, table.name));
    } else if (object === "chain") {
      const table = this.#table();
      const chain = this.#chain(table);
      this.#check(nftDelChain(this.#net, table, chain.name));
    } else if (object === "rule") {
      const chain = this.#chain(this.#table());
      this.#need("handle");
      this.#check(nftDelRule(chain, this.#number()));
    } else {
      this.#at--;
      throw this.#unexpected();
    }
  }

  #flush(): void {
    const object = this.#word();
    if (object === "ruleset") nftFlushRuleset(this.#net);
    else if (object === "table") for (const chain of this.#table().chains.values()) chain.rules.length = 0;
    else if (object === "chain") this.#chain(this.#table()).rules.length = 0;
    else {
      this.#at--;
      throw this.#unexpected();
    }
  }

  #list(): void {
    if (this.#accept("-a")) this.#handles = true;
    const handles = this.#handles;
    const object = this.#word();
    const { tables } = nftPernet(this.#net);
    if (object === "ruleset") for (const t of tables) this.#out += formatTable(t, handles);
    else if (object === "tables") for (const t of tables) this.#out += `table ${t.family} ${t.name}\n`;
    else if (object === "table") this.#out += formatTable(this.#table(), handles);
    else if (object === "chains") {
      for (const t of tables) this.#out += formatTable(t, handles, null, true);
    } else if (object === "chain") {
      const table = this.#table();
      this.#out += formatTable(table, handles, this.#chain(table));
    } else {
      this.#at--;
      throw this.#unexpected();
    }
  }

  /** type filter hook NAME priority N; policy accept; */
  #chainSpec(): NftBaseChain | null {
    this.#skipLines();
    if (this.#peek() !== "type") return null;
    this.#at++;
    if (!this.#accept("filter")) throw new ParseError(`Error: chain type "${this.#peek()}" is not supported`);
    this.#need("hook");
    const hookName = this.#peek();
    const hook = HOOKS.find(([name]) => name === hookName);
    if (hook === undefined) throw new ParseError(`Error: unknown chain hook "${hookName}"`);
    this.#at++;
    this.#need("priority");
    const base: NftBaseChain = { hooknum: hook[1], priority: this.#priority(), policy: NF_ACCEPT };
    this.#skipLines();
    if (this.#accept("policy")) {
      if (this.#accept("drop")) base.policy = NF_DROP;
      else this.#need("accept");
    }
    this.#skipLines();
    return base;
  }

  #priority(): number {
    const t = this.#next();
    if (/^-?\d+$/.test(t)) return Number(t);
    const named = PRIORITIES.find(([name]) => name === t);
    if (named === undefined) throw new ParseError(`Error: invalid priority expression "${t}"`);
    if (this.#accept("+")) return named[1] + this.#number();
    if (this.#accept("-")) return named[1] - this.#number();
    return named[1];
  }

  /** table ip filter { chain input { ... } }: what `list ruleset` prints. */
  #tableBlock(): void {
    const family = this.#family();
    const name = this.#word();
    this.#check(nftAddTable(this.#net, family, name, false));
    const table = nftTableLookup(this.#net, family, name) as NftTable;
    this.#need("{");
    const rules: { chain: NftChain; exprs: NftExpr[]; comment: string }[] = [];
    for (this.#skipLines(); !this.#accept("}"); this.#skipLines()) {
      this.#need("chain");
      const chainName = this.#word();
      this.#need("{");
      this.#check(nftAddChain(this.#net, table, chainName, this.#chainSpec(), false));
      const chain = table.chains.get(chainName) as NftChain;
      for (this.#skipLines(); !this.#accept("}"); this.#skipLines()) rules.push({ chain, ...this.#rule() });
    }
    // Chains may jump to those after them.
    for (const r of rules) this.#check(nftAddRule(r.chain, r.exprs, 0, false, r.comment));
  }

  // ---- rules -----------------------------------------------------------------------------------------------------------------

  #rule(): { exprs: NftExpr[]; comment: string } {
    const exprs: NftExpr[] = [];
    let comment = "";
    while (!this.#atEnd()) {
      if (this.#accept("comment")) comment = this.#word();
      else exprs.push(this.#expr());
    }
    if (exprs.length === 0) throw this.#unexpected();
    return { exprs, comment };
  }

  #expr(): NftExpr {
    const word = this.#peek();
    switch (word) {
      case "ip":
        this.#at++;
        return this.#ipMatch();
      case "tcp":
      case "udp":
      case "th":
        this.#at++;
        return this.#portMatch(word);
      case "icmp":
        this.#at++;
        return this.#icmpMatch();
      case "iif":
      case "oif":
      case "iifname":
      case "oifname":
        this.#at++;
        return this.#deviceMatch(word, word);
      case "meta":
        this.#at++;
        return this.#meta();
      default:
        return this.#statement();
    }
  }

  #statement(): NftExpr {
    const word = this.#peek();
    this.#at++;
    switch (word) {
      case "counter": {
        const c = { kind: "counter" as const, packets: 0, bytes: 0 };
        if (this.#accept("packets")) {
          c.packets = this.#number(Number.MAX_SAFE_INTEGER);
          this.#need("bytes");
          c.bytes = this.#number(Number.MAX_SAFE_INTEGER);
        }
        return c;
      }
      case "accept":
      case "drop":
      case "continue":
      case "return":
        return verdict(word, word);
      case "jump":
      case "goto": {
        const chain = this.#word();
        return { ...verdict(word, `${word} ${chain}`), chain };
      }
      case "queue":
        return this.#queue();
      case "reject":
        return this.#reject();
      case "log": {
        const prefix = this.#accept("prefix") ? this.#word() : "";
        return { kind: "log", prefix, text: prefix === "" ? "log" : `log prefix "${prefix}"` };
      }
      case "limit":
        return this.#limit();
      default:
        this.#at--;
        throw this.#unexpected();
    }
  }

  #queue(): NftExpr {
    let num = 0;
    let bypass = false;
    for (;;) {
      if (this.#accept("bypass")) bypass = true;
      else if (this.#accept("num") || this.#accept("to")) num = this.#number(65535);
      else if (this.#accept("flags")) {
        this.#need("bypass");
        bypass = true;
      } else break;
    }
    return { ...verdict("queue", `queue${bypass ? " flags bypass" : ""} to ${num}`), queue: num, bypass };
  }

  #reject(): NftExpr {
    if (!this.#accept("with")) return { kind: "reject", reset: false, code: ICMP_PORT_UNREACH, text: "reject" };
    if (this.#accept("tcp")) {
      this.#need("reset");
      return { kind: "reject", reset: true, code: 0, text: "reject with tcp reset" };
    }
    if (!this.#accept("icmp")) this.#need("icmpx");
    this.#accept("type");
    const name = this.#peek();
    const code = ICMP_CODES[name];
    if (code === undefined) throw this.#unexpected();
    this.#at++;
    return {
      kind: "reject",
      reset: false,
      code,
      text: code === ICMP_PORT_UNREACH ? "reject" : `reject with icmp ${name}`,
    };
  }

  /** limit rate [over] N/second [burst M packets] */
  #limit(): NftExpr {
    this.#need("rate");
    const over = this.#accept("over");
    const m = /^(\d+)\/(second|minute|hour|day|week)$/.exec(this.#peek());
    if (m === null || Number(m[1]) === 0) throw this.#unexpected();
    this.#at++;
    let burst = 5;
    if (this.#accept("burst")) {
      burst = this.#number();
      this.#need("packets");
    }
    const cost = (PER[m[2] as string] as number) / Number(m[1]);
    const text = `limit rate ${over ? "over " : ""}${m[1]}/${m[2]} burst ${burst} packets`;
    return { kind: "limit", over, cost, max: cost * burst, tokens: cost * burst, last: -Infinity, text };
  }

  #ipMatch(): NftMatch {
    const field = this.#peek();
    this.#at++;
    switch (field) {
      case "saddr":
      case "daddr":
        return this.#match(field, 0, `ip ${field}`, () => this.#addrValue());
      case "protocol":
        return this.#match("protocol", 0, "ip protocol", () => this.#namedValue(PROTOCOLS, 255));
      case "ttl":
        return this.#match("ttl", 0, "ip ttl", () => this.#numberValue(255));
      case "dscp":
        return this.#match("dscp", 0, "ip dscp", () => this.#namedValue(DSCP, 63));
      case "length":
        return this.#match("length", 0, "ip length", () => this.#numberValue(65535));
      default:
        this.#at--;
        throw this.#unexpected();
    }
  }

  #portMatch(proto: string): NftMatch {
    const number = proto === "tcp" ? IPPROTO_TCP : proto === "udp" ? IPPROTO_UDP : 0;
    const field = this.#peek();
    this.#at++;
    if (field === "sport" || field === "dport") {
      return this.#match(field, number, `${proto} ${field}`, () => this.#namedValue(SERVICES, 65535));
    }
    if (field === "flags" && proto === "tcp") return this.#tcpFlags();
    this.#at--;
    throw this.#unexpected();
  }

  #icmpMatch(): NftMatch {
    if (this.#accept("type")) {
      return this.#match("icmptype", IPPROTO_ICMP, "icmp type", () => this.#namedValue(ICMP_TYPES, 255));
    }
    if (this.#accept("code")) {
      return this.#match("icmpcode", IPPROTO_ICMP, "icmp code", () => this.#namedValue(ICMP_CODES, 255));
    }
    throw this.#unexpected();
  }

  #meta(): NftExpr {
    const key = this.#peek();
    this.#at++;
    switch (key) {
      case "l4proto":
        return this.#match("protocol", 0, "meta l4proto", () => this.#namedValue(PROTOCOLS, 255));
      case "protocol":
      case "nfproto": {
        // Everything here is IPv4.
        const what = this.#word();
        if (what !== "ip" && what !== "ipv4") throw new ParseError(`Error: meta ${key} "${what}" is not supported`);
        return { ...anyMatch, text: `meta ${key} ${what}` };
      }
      case "mark": {
        if (this.#accept("set")) {
          const mark = this.#number();
          return { kind: "mark", mark, text: `meta mark set 0x${mark.toString(16).padStart(8, "0")}` };
        }
        return this.#match("mark", 0, "meta mark", () => {
          const n = this.#number();
          return { lo: n, hi: n, text: `0x${n.toString(16).padStart(8, "0")}` };
        });
      }
      case "length":
        return this.#match("length", 0, "meta length", () => this.#numberValue(65535));
      case "iif":
      case "oif":
      case "iifname":
      case "oifname":
        return this.#deviceMatch(key, key);
      default:
        this.#at--;
        throw this.#unexpected();
    }
  }

  #deviceMatch(key: "iif" | "oif" | "iifname" | "oifname", text: string): NftMatch {
    const byName = key === "iifname" || key === "oifname";
    const names: string[] = [];
    const made = this.#match(key, 0, text, () => {
      const name = this.#word();
      names.push(name);
      let ifindex = 0;
      if (!byName) {
        const dev = this.#net.devByName.get(name);
        if (dev === undefined) throw new ParseError(`Error: Interface "${name}" does not exist`);
        ifindex = dev.ifindex;
      }
      return { lo: ifindex, hi: ifindex, text: `"${name}"` };
    });
    return { ...made, names: byName ? names : [] };
  }

  /** flags LIST | flags A / MASK | flags & MASK == A */
  #tcpFlags(): NftMatch {
    const base = { ...anyMatch, field: "tcpflags" as const, proto: IPPROTO_TCP };
    if (this.#accept("&")) {
      const mask = this.#flagList();
      const negate = this.#peek() === "!=";
      if (!negate) this.#need("==");
      else this.#at++;
      const value = this.#flagList();
      return {
        ...base,
        mask,
        ranges: [value, value],
        negate,
        text: `tcp flags${negate ? " !=" : ""} ${flagNames(value)} / ${flagNames(mask)}`,
      };
    }
    if (this.#peek() === "==" || this.#peek() === "!=") {
      const negate = this.#next() === "!=";
      const value = this.#flagList();
      return { ...base, ranges: [value, value], negate, text: `tcp flags ${negate ? "!=" : "=="} ${flagNames(value)}` };
    }
    const value = this.#flagList();
    if (this.#accept("/")) {
      const mask = this.#flagList();
      return { ...base, mask, ranges: [value, value], text: `tcp flags ${flagNames(value)} / ${flagNames(mask)}` };
    }
    // Any of them.
    return { ...base, mask: value, ranges: [0, 0], negate: true, text: `tcp flags ${flagNames(value)}` };
  }

  #flagList(): number {
    const paren = this.#accept("(");
    let bits = 0;
    do {
      const bit = TCP_FLAGS[this.#peek()];
      if (bit === undefined) throw this.#unexpected();
      this.#at++;
      bits |= bit;
    } while (this.#accept("|") || this.#accept(","));
    if (paren) this.#need(")");
    return bits;
  }

  // ---- values ----------------------------------------------------------------------------------------------------------------

  /** [== | != | < ...] VALUE | { VALUE, ... } */
  #match(field: NftField, proto: number, text: string, value: () => Value): NftMatch {
    let op = "==";
    if (["==", "!=", "<", ">", "<=", ">="].includes(this.#peek())) op = this.#next();
    else if (this.#accept("ne")) op = "!=";
    else this.#accept("eq");
    const ranges: number[] = [];
    let shown: string;
    if (this.#accept("{")) {
      const parts: string[] = [];
      do {
        const v = value();
        ranges.push(v.lo, v.hi);
        parts.push(v.text);
      } while (this.#accept(",") && this.#peek() !== "}");
      this.#need("}");
      shown = `{ ${parts.join(", ")} }`;
    } else {
      const v = value();
      if (op === "<") ranges.push(0, v.lo - 1);
      else if (op === "<=") ranges.push(0, v.lo);
      else if (op === ">") ranges.push(v.hi + 1, 0xffffffff);
      else if (op === ">=") ranges.push(v.hi, 0xffffffff);
      else ranges.push(v.lo, v.hi);
      shown = v.text;
    }
    const sign = op === "==" ? "" : `${op} `;
    return {
      kind: "match",
      field,
      proto,
      negate: op === "!=",
      mask: 0,
      ranges,
      names: [],
      text: `${text} ${sign}${shown}`,
    };
  }

  #addrValue(): Value {
    const t = this.#word();
    const range = t.split("-");
    const prefix = t.split("/");
    const addr = inetAton((range.length === 2 ? range[0] : prefix[0]) as string);
    const bad = (): ParseError => new ParseError(`Error: Could not resolve hostname: "${t}" is no address`);
    if (addr < 0) throw bad();
    if (range.length === 2) {
      const hi = inetAton(range[1] as string);
      if (hi < addr) throw bad();
      return { lo: addr, hi, text: t };
    }
    if (prefix.length === 1) return { lo: addr, hi: addr, text: t };
    const len = Number(prefix[1]);
    if (!(len >= 0 && len <= 32)) throw bad();
    const lo = (addr & maskOf(len)) >>> 0;
    return { lo, hi: (lo | ~maskOf(len)) >>> 0, text: len === 32 ? inetNtoa(lo) : `${inetNtoa(lo)}/${len}` };
  }

  #numberValue(max: number): Value {
    return this.#namedValue({}, max);
  }

  /** A number, a name, or a range "1-10". */
  #namedValue(names: Readonly<Record<string, number>>, max: number): Value {
    const t = this.#peek();
    const named = names[t];
    if (named !== undefined) {
      this.#at++;
      return { lo: named, hi: named, text: names === SERVICES ? String(named) : t };
    }
    const m = /^(\d+)(?:-(\d+))?$/.exec(t);
    if (m === null) throw this.#unexpected();
    const lo = Number(m[1]);
    const hi = m[2] === undefined ? lo : Number(m[2]);
    if (lo > max || hi > max || lo > hi) throw new ParseError(`Error: Value ${t} exceeds valid range 0-${max}`);
    this.#at++;
    const name = lo === hi && names !== SERVICES ? Object.keys(names).find((k) => names[k] === lo) : undefined;
    return { lo, hi, text: name ?? t };
  }
}

interface Value {
  lo: number;
  hi: number;
  text: string;
}

/** Matches every packet. */
const anyMatch: NftMatch = {
  kind: "match",
  field: "protocol",
  proto: 0,
  negate: false,
  mask: 0,
  ranges: [0, 255],
  names: [],
  text: "",
};

function verdict(
  v: "accept" | "drop" | "queue" | "continue" | "return" | "jump" | "goto",
  text: string,
): NftExpr & { kind: "verdict" } {
  return { kind: "verdict", verdict: v, chain: "", queue: 0, bypass: false, text };
}

function flagNames(bits: number): string {
  return Object.keys(TCP_FLAGS)
    .filter((name) => (bits & (TCP_FLAGS[name] as number)) !== 0)
    .join(",");
}

// ---- listing -----------------------------------------------------------------------------------------------------------------------

function formatPriority(priority: number): string {
  for (const [name, base] of PRIORITIES) {
    const off = priority - base;
    if (Math.abs(off) > 10) continue;
    return off === 0 ? name : `${name} ${off < 0 ? "-" : "+"} ${Math.abs(off)}`;
  }
  return String(priority);
}

function formatExpr(e: NftExpr): string {
  return e.kind === "counter" ? `counter packets ${e.packets} bytes ${e.bytes}` : e.text;
}

/** A table as `nft list` prints it; `only`: one of its chains. `heads`: chains without their rules. */
function formatTable(table: NftTable, handles: boolean, only: NftChain | null = null, heads = false): string {
  let out = `table ${table.family} ${table.name} {${handles ? ` # handle ${table.handle}` : ""}\n`;
  let first = true;
  for (const chain of table.chains.values()) {
    if (only !== null && chain !== only) continue;
    if (!first) out += "\n";
    first = false;
    out += `\tchain ${chain.name} {${handles ? ` # handle ${chain.handle}` : ""}\n`;
    const { base } = chain;
    if (base !== null) {
      const hook = HOOKS.find(([, n]) => n === base.hooknum)?.[0];
      const policy = base.policy === NF_DROP ? "drop" : "accept";
      out += `\t\ttype filter hook ${hook} priority ${formatPriority(base.priority)}; policy ${policy};\n`;
    }
    for (const rule of heads ? [] : chain.rules) {
      out += `\t\t${rule.exprs.map(formatExpr).join(" ")}`;
      if (rule.comment !== "") out += ` comment "${rule.comment}"`;
      out += handles ? ` # handle ${rule.handle}\n` : "\n";
    }
    out += "\t}\n";
  }
  return `${out}}\n`;
}
