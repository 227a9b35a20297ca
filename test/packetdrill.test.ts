/** The packetdrill scripts of test/packetdrill, and the interpreter itself: what it must refuse, and how it counts. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { CodeRunner } from "../src/tools/packetdrill/code.ts";
import { parseScript } from "../src/tools/packetdrill/parser.ts";
import { formatResult, formatSummary } from "../src/tools/packetdrill/report.ts";
import { runScript } from "../src/tools/packetdrill/runner.ts";

const dir = join(import.meta.dirname, "packetdrill");
const scripts = readdirSync(dir)
  .filter((name) => name.endsWith(".pkt"))
  .sort();
const read = (name: string): string => readFileSync(join(dir, name), "utf8");

describe("scripts", () => {
  test.each(scripts)("%s", async (name) => {
    const result = await runScript(name, read(name));
    expect(formatResult(result)).toBe(`ok ${name}`);
  });
});

/** A change that makes a script wrong: where it happens, and what the report must say. */
const MUTATIONS: readonly (readonly [what: string, script: string, from: string, to: string, says: RegExp])[] = [
  ["a sequence number", "nagle-holds-back.pkt", "> P. 101:301(200)", "> P. 102:302(200)", /wrong sequence number/],
  ["a payload size", "nagle-holds-back.pkt", "> P. 101:301(200)", "> P. 101:300(199)", /wrong payload size/],
  ["an ack", "sack-reports-gap.pkt", "ack 2001 <nop", "ack 1001 <nop", /wrong ack/],
  ["a time that is too early", "keepalive-probe.pkt", "+10 > . 0:0(0)", "+8 > . 0:0(0)", /at the wrong time|no packet/],
  ["a time that is too late", "delayed-ack.pkt", "+.04 > .", "+.06 > .", /at the wrong time/],
  ["a time range", "zero-window-probe.pkt", "+.2~+.5", "+.6~+.9", /at the wrong time/],
  ["an absent flag", "fin-active-close.pkt", "> F. 1:1(0)", "> . 1:1(0)", /wrong FIN flag/],
  ["a flag too many", "nodelay-sends-at-once.pkt", "> P. 1:101(100)", "> PU. 1:101(100)", /wrong URG flag/],
  ["an ECN flag", "ecn-ce-is-echoed.pkt", "[noecn] E. 1:1(0) ack 1001", "[noecn] . 1:1(0) ack 1001", /wrong ECE flag/],
  [
    "a counter of the AccECN option",
    "accecn-counter-wraps.pkt",
    "ack 2001 <ECN e1b 1 ceb 2000",
    "ack 2001 <ECN e1b 1 ceb 1000",
    /wrong options/,
  ],
  ["a digit of the ACE field", "accecn-counter-wraps.pkt", "EWA. 1:1(0)", "EW. 1:1(0)", /wrong AE flag/],
  ["the ECN bits", "ecn-negotiation.pkt", "> [ect0] P.", "> [ce] P.", /wrong ECN bits/],
  ["an option's value", "handshake-passive.pkt", "<mss 1460,nop", "<mss 1440,nop", /wrong options/],
  [
    "the options' order",
    "handshake-passive.pkt",
    "nop,nop,sackOK,nop,wscale 8",
    "nop,wscale 8,nop,nop,sackOK",
    /wrong options/,
  ],
  ["an option too few", "sack-reports-gap.pkt", "ack 1 <nop,nop,sack 1001:2001>", "ack 1", /wrong options/],
  ["a SACK block", "sack-reports-gap.pkt", "sack 1001:2001>", "sack 1001:2002>", /wrong options/],
  ["the clock of time stamps", "timestamps-echo.pkt", "TS val 1200", "TS val 1500", /wrong TS val/],
  ["an echo never seen", "timestamps-echo.pkt", "TS val 1000 ecr 100>", "TS val 1000 ecr 101>", /TS ecr 101/],
  ["a window", "initial-window-ten.pkt", "P. 1:10001(10000) ack 1", "P. 1:10001(10000) ack 1 win 1", /wrong window/],
  ["an errno", "shutdown-write.pkt", "-1 EPIPE", "-1 ECONNRESET", /wrong error/],
  ["a result", "sack-reports-gap.pkt", "read(4, ..., 10000) = 2000", "read(4, ..., 10000) = 1999", /wrong result/],
  ["an option's number", "handshake-active.pkt", "TCP_MAXSEG, [1400]", "TCP_MAXSEG, [1401]", /wrong value/],
  ["events of poll()", "poll-readiness.pkt", "revents=POLLOUT", "revents=POLLIN", /wrong revents/],
  [
    "events of epoll",
    "epoll-edge-triggered.pkt",
    "{events=EPOLLIN, fd=4}, 1",
    "{events=EPOLLOUT, fd=4}, 1",
    /wrong events/,
  ],
  ["the end of a call", "read-blocks.pkt", "+0...0.1 read", "+0...0.2 read", /returned at the wrong time/],
  ["an assertion", "initial-window-ten.pkt", "tcpi_unacked == 10", "tcpi_unacked == 9", /assertion failed/],
  ["the time of a stamp", "timestamping-tsonly.pkt", "scm_nsec=150000000", "scm_nsec=160000000", /wrong time stamp/],
  [
    "control messages",
    "errqueue-poll.pkt",
    "msg_control=[{",
    "msg_control=[{cmsg_level=0,cmsg_type=0,cmsg_data=0},{",
    /wrong control/,
  ],
  [
    "flags of recvmsg",
    "timestamping-payload.pkt",
    "msg_flags=MSG_ERRQUEUE",
    "msg_flags=MSG_ERRQUEUE|MSG_TRUNC",
    /wrong msg_flags/,
  ],
  ["what splice moves", "splice-more.pkt", "300, 0) = 100", "300, 0) = 300", /wrong result/],
  ["a position of sendfile", "sendfile-position.pkt", "[900], 600) = 100", "[800], 600) = 100", /wrong result/],
  [
    "headers in front",
    "encapsulated-packets-refused.pkt",
    "> . 1:1(0) ack 1001",
    "> ipv4 192.168.0.1 > 192.0.2.1: . 1:1(0) ack 1001",
    /wrong headers in front/,
  ],
  [
    "a packet that never comes",
    "nagle-holds-back.pkt",
    "  +.1 < . 1:1(0) ack 101 win 20000\n",
    "",
    /at the wrong time|no packet/,
  ],
  [
    "segments one by one",
    "write-cut-at-mss.pkt",
    "> . 1:1001(1000) ack 1\n   +0 > P. 1001:2001(1000) ack 1",
    "> . 1:2001(2000) ack 1",
    /wrong payload size/,
  ],
];

describe("a script that is wrong fails", () => {
  test.each(MUTATIONS)("%s", async (_what, name, from, to, says) => {
    const text = read(name);
    expect(text).toContain(from);
    const at = text.indexOf(from);
    const result = await runScript(name, text.replace(from, to));
    expect(result.passed).toBe(false);
    expect(result.message).toMatch(says);
    expect(result.line).toBeGreaterThanOrEqual(text.slice(0, at).split("\n").length - 2);
  });
});

describe("what is not known is never passed over", () => {
  const SOCKET = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n";
  test.each<[string, string, RegExp]>([
    ["an option", `--no_such_option\n${SOCKET}`, /no_such_option/],
    ["a command", `${SOCKET}+0 \`no_such_program -x\``, /command not found/],
    ["a command that fails", `${SOCKET}+0 \`sysctl -q net.ipv4.no_such=1\``, /no_such/],
    ["a call", `${SOCKET}+0 mmap(3) = 0`, /not supported/],
    ["a symbol", `${SOCKET}+0 setsockopt(3, SOL_SOCKET, SO_NO_SUCH, [1], 4) = 0`, /SO_NO_SUCH/],
    ["an errno", `${SOCKET}+0 close(7) = -1 ENOSUCH (x)`, /no descriptor 7/],
    ["a field", `${SOCKET}+0 poll([{fd=3, evnts=POLLIN}], 1, 0) = 0`, /"evnts" is not known/],
    ["a TCP option", `${SOCKET}+0 < S 0:0(0) win 100 <quux 5>`, /quux/],
    ["a flag", `${SOCKET}+0 < X 0:0(0) win 100`, /TCP flags/],
    ["a function of the code", `${SOCKET}+0 %{ print(exec(1)) }%`, /no function exec/],
    ["a name of the code", `${SOCKET}+0 %{ assert tcpi_no_such == 1 }%`, /tcpi_no_such/],
    ["an encapsulation", `${SOCKET}+0 < mpls (label 0, tc 0, [S], ttl 0): . 1:1(0) win 1`, /mpls: this encapsulation/],
    ["GRE with options", `${SOCKET}+0 < ipv4 1.2.3.4 > 5.6.7.8: gre flags [key]: . 1:1(0) win 1`, /without options/],
    ["GRE without a carrier", `${SOCKET}+0 < gre: . 1:1(0) win 1`, /no header around/],
    ["a file", `${SOCKET}+0 open("/tmp/none", O_RDONLY) = 4`, /wrong result/],
    ["an operand of dd", `${SOCKET}+0 \`dd bs=1 count=1 if=/dev/zero of=/tmp/x seek=1\``, /dd: not understood/],
    ["a capability", `${SOCKET}+0 cap_set(CAP_EFFECTIVE, CAP_NO_SUCH, CAP_CLEAR) = 0`, /CAP_NO_SUCH/],
    ["the ends of a pipe", `${SOCKET}+0 pipe([5]) = 0`, /read end, write end/],
    [
      "a field of a control message",
      `${SOCKET}+0 sendmsg(3, {msg_name(...)=..., msg_iov(1)=[{...,1}], msg_flags=0, msg_control=[{cmsg_x=1}]}, 0) = 1`,
      /"cmsg_x" is not known/,
    ],
    ["another IP version", `--ip_version=ipv6\n${SOCKET}`, /not supported/],
    ["an inbound packet without a window", `${SOCKET}+0 < S 0:0(0)`, /window/],
    ["a first event that is late", "1 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n", /time 0/],
    ["numbers that do not fit", `${SOCKET}+0 < . 1:5(3) win 1`, /do not fit/],
  ])("%s", async (_what, text, says) => {
    const result = await runScript("x.pkt", text);
    expect(result.passed).toBe(false);
    expect(result.message).toMatch(says);
    expect(result.line).toBeGreaterThan(0);
  });
});

test("the parser knows every form of time", () => {
  const script = parseScript("0 > . 1:1(0)\n+.5 > . 1:1(0)\n* > . 1:1(0)\n1~2 > . 1:1(0)\n+1~+2 > . 1:1(0)", new Map());
  expect(script.events.map((e) => [e.timeType, e.time, e.timeEnd])).toEqual([
    ["absolute", 0, 0],
    ["relative", 500_000, 0],
    ["any", 0, 0],
    ["absolute-range", 1_000_000, 2_000_000],
    ["relative-range", 1_000_000, 2_000_000],
  ]);
});

test("the code of scripts: chained comparisons, formats, several statements", () => {
  const code = new CodeRunner();
  code.vars.set("x", 7);
  code.run(
    "y = 3; y += 2; print('%d of %5.1f %s' % (x, 2.25, 'z'))\nassert 1 < y <= 5 != 6 # so\nassert x & 3 == 3",
    1,
  );
  expect(code.output).toBe("7 of   2.3 z\n");
  expect(() => code.run("assert x == 8, 'x=%d' % x", 4)).toThrow("x=7");
});

test("the same script gives the same run, to the microsecond", async () => {
  const name = "retransmission-timeout.pkt";
  const [a, b] = [await runScript(name, read(name)), await runScript(name, read(name))];
  expect(a).toEqual(b);
  expect(formatSummary([a, b])).toBe("2 passed, 0 failed");
});
