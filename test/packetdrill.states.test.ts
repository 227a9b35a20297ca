/**
 * The sender beside Linux': random exchanges of ACKs, SACKs, D-SACKs, ECE and windows, after each of which TCP_INFO has to say what
 * Linux 6.18 said (test/packetdrill/states.txt); and random writes, which have to leave in the same super-packets (sends.txt). No
 * timer of jiffies decides anything in them, so that it does not matter that that kernel had 250 of them a second.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { formatResult } from "../src/tools/packetdrill/report.ts";
import { runScript } from "../src/tools/packetdrill/runner.ts";

const FIELDS = [
  "ca_state",
  "snd_cwnd",
  "snd_ssthresh",
  "unacked",
  "sacked",
  "lost",
  "retrans",
  "reordering",
  "reord_seen",
  "dsack_dups",
  "delivered",
  "bytes_retrans",
  "total_retrans",
  "notsent_bytes",
].map((name) => `tcpi_${name}`);

/** The SYN's options and what the SYN-ACK answers, by kind of connection. */
const OPTIONS: Readonly<Record<string, readonly [syn: string, synAck: string]>> = {
  sack: ["mss 1000,sackOK,nop,nop", "mss 1460,nop,nop,sackOK"],
  reno: ["mss 1000", "mss 1460"],
  ts: ["mss 1012,sackOK,TS val 100 ecr 0", "mss 1460,sackOK,TS val 1000 ecr 100"],
};

interface Case {
  readonly name: string;
  readonly kind: string;
  readonly cc: string;
  readonly ecn: boolean;
  readonly tlp: boolean;
  readonly bytes: number;
  readonly events: string[][];
}

function readCases(): Case[] {
  const cases: Case[] = [];
  for (const line of readFileSync(join(import.meta.dirname, "packetdrill", "states.txt"), "utf8").split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const words = line.split(" ");
    if (words[0] !== "case") {
      cases.at(-1)?.events.push(words);
      continue;
    }
    const [, seed, kind = "", cc = "", ecn, tlp, bytes] = words;
    const name = `${seed}: ${kind}, ${cc}, ${ecn}, ${tlp}`;
    cases.push({ name, kind, cc, ecn: ecn === "ecn", tlp: tlp === "tlp", bytes: Number(bytes), events: [] });
  }
  return cases;
}

/** The packetdrill script of a case. */
function scriptOf(c: Case): string {
  const [syn, synAck] = OPTIONS[c.kind] ?? ["", ""];
  const ts = (val: number): string[] => (c.kind === "ts" ? [`nop,nop,TS val ${val} ecr 1000`] : []);
  const options = (list: readonly string[]): string => (list.length === 0 ? "" : ` <${list.join(",")}>`);
  let text = `\`sysctl -q net.ipv4.tcp_congestion_control=${c.cc} net.ipv4.tcp_ecn=${c.ecn ? 1 : 0} \
net.ipv4.tcp_early_retrans=${c.tlp ? 3 : 0}\`
   0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
  +0 bind(3, ..., ...) = 0
  +0 listen(3, 1) = 0
  +0 < ${c.ecn ? "SEW" : "S"} 0:0(0) win 65535 <${syn}>
  +0 > ${c.ecn ? "SE." : "S."} 0:0(0) ack 1 <${synAck}>
 +.1 < . 1:1(0) ack 1 win 65535${options(ts(200))}
  +0 accept(3, ..., ...) = 4
  +0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0
  +0 write(4, ..., ${c.bytes}) = ${c.bytes}
`;
  let val = 300;
  let state: string[] = [];
  for (const [what, ms, ...rest] of c.events) {
    const at = `+${(Number(ms) / 1000).toFixed(3)}`;
    if (what === "w") {
      text += `${at} write(4, ..., ${rest[0]}) = ${rest[0]}\n`;
      continue;
    }
    const [ack, window, sack = "-", ...now] = rest;
    val += 10;
    const list = ts(val);
    if (sack !== "-") list.push(`nop,nop,sack ${sack.replaceAll(",", " ")}`);
    text += `${at} < ${what === "e" ? "E." : "."} 1:1(0) ack ${ack} win ${window}${options(list)}\n`;
    if (now[0] !== "=") state = now.map((n) => (n === "inf" ? "2147483647" : n));
    const claim = FIELDS.map((field, i) => `${field} == ${state[i]}`).join(" and ");
    text += `  +0 %{ assert ${claim}, (${FIELDS.join(", ")}) }%\n`;
  }
  return text;
}

describe("the sender's state is Linux'", () => {
  test.each(readCases().map((c) => [c.name, c] as const))("%s", async (name, c) => {
    const script = scriptOf(c);
    const result = await runScript(name, script);
    const at = script.split("\n")[result.line - 2] ?? "";
    expect(result.passed ? "" : `${formatResult(result)}\nafter ${at}`).toBe("");
  });
});

/** The packetdrill scripts of sends.txt, by their first lines. */
function readSends(): [name: string, script: string][] {
  const scripts: [string, string][] = [];
  let text = "";
  for (const line of readFileSync(join(import.meta.dirname, "packetdrill", "sends.txt"), "utf8").split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const [what, ms, ...rest] = line.trim().split(" ");
    const at = `+${(Number(ms) / 1000).toFixed(3)}`;
    const [a = "", b = ""] = rest;
    if (what === "case") {
      const [mss, window, scale, first, cork] = rest;
      scripts.push([line, ""]);
      text = `\`sysctl -q net.ipv4.tcp_congestion_control=reno net.ipv4.tcp_slow_start_after_idle=0 net.ipv4.tcp_early_retrans=0 \
net.ipv4.tcp_autocorking=${cork === "autocork" ? 1 : 0}\`
   0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
  +0 bind(3, ..., ...) = 0
  +0 listen(3, 1) = 0
  +0 < S 0:0(0) win ${window} <mss ${mss},sackOK,nop,nop${scale === "wscale" ? ",nop,wscale 7" : ""}>
  +0 > S. 0:0(0) ack 1 <...>
+.05 < . 1:1(0) ack 1 win ${first}
  +0 accept(3, ..., ...) = 4
  +0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0
`;
    } else if (line.startsWith("  ")) {
      text += `  +0 > ${what === "P" ? "P." : "."} ${ms}:${Number(ms) + Number(a)}(${a}) ack 1\n`;
    } else if (what === "w") {
      text += `${at} write(4, ..., ${a}) = ${a}\n`;
    } else if (what === "m") {
      text += `${at} send(4, ..., ${a}, MSG_MORE) = ${a}\n`;
    } else if (what === "o") {
      text += `${at} sendmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., ${a}}], msg_flags=0}, MSG_EOR) = ${a}\n`;
    } else if (what === "a") {
      text += `${at} < . 1:1(0) ack ${a} win ${b}\n`;
    } else {
      text += `${at} setsockopt(4, SOL_TCP, ${what === "n" ? "TCP_NODELAY" : "TCP_CORK"}, [${a}], 4) = 0\n`;
    }
    const last = scripts.at(-1);
    if (last !== undefined) last[1] = text;
  }
  return scripts;
}

describe("what is written leaves in the super-packets of Linux", () => {
  test.each(readSends())("%s", async (name, script) => {
    expect(formatResult(await runScript(name, script))).toBe(`ok ${name}`);
  });
});
