/** Accurate ECN's tables (RFC 9768), and how its option finds room. What it does on the wire stands in test/packetdrill. */

import { afterEach, describe, expect, it } from "vitest";
import { seq } from "../../../src/net/ipv4/seq.ts";
import {
  tcpAccecnExtractSynEct,
  tcpAccecnReflectorFlags,
  tcpEctTransitionValid,
} from "../../../src/net/ipv4/tcp_ecn.ts";
import { TCP_ECN_MODE_ACCECN, TCP_ECN_QUEUE_CWR } from "../../../src/net/ipv4/tcp_h.ts";
import { tcpSendAck } from "../../../src/net/ipv4/tcp_output.ts";
import { INET_ECN_CE, INET_ECN_ECT_0, INET_ECN_ECT_1, INET_ECN_NOT_ECT } from "../../../src/uapi/ip.ts";
import { TCP_ACCECN_ACE_FAIL_RECV, TCP_ACCECN_OPT_COUNTER_SEEN } from "../../../src/uapi/tcp.ts";
import { TcpBench } from "./tcp_util.ts";

const ECTS = [INET_ECN_NOT_ECT, INET_ECN_ECT_1, INET_ECN_ECT_0, INET_ECN_CE];

describe("the SYN/ACK says how the SYN arrived (table 2)", () => {
  it.each([
    [INET_ECN_NOT_ECT, 0b010],
    [INET_ECN_ECT_1, 0b011],
    [INET_ECN_ECT_0, 0b100],
    [INET_ECN_CE, 0b110],
  ])("IP-ECN %i: AE CWR ECE = %i", (ect, ace) => {
    expect(tcpAccecnReflectorFlags(ect) >>> 6).toBe(ace);
    expect(tcpAccecnExtractSynEct(ace)).toBe(ect);
  });
});

it("a packet may become CE, and ECT(0) ECT(1) and back; nothing else happens to it on an honest path", () => {
  const valid = ECTS.map((snt) => ECTS.map((rcv) => (tcpEctTransitionValid(snt, rcv) ? 1 : 0)).join(""));
  expect(valid).toEqual(["1000", "0111", "0111", "0001"]);
});

describe("the option", () => {
  let b: TcpBench;
  afterEach(() => b.end());

  function bench(ts: boolean, blocks: number, minlen: number, dsack = false): string {
    b = new TcpBench().establish({ ts });
    const sk = b.sk;
    sk.ecnFlags = TCP_ECN_MODE_ACCECN;
    sk.sawAccecnOpt = TCP_ACCECN_OPT_COUNTER_SEEN;
    sk.accecnMinlen = minlen;
    sk.receivedEcnBytes.splice(0, 3, 0x1000001, 2, 3);
    sk.rxOpt.numSacks = blocks - (dsack ? 1 : 0);
    sk.rxOpt.dsack = dsack;
    for (let i = 0; i < 4; i++) {
      (sk.selectiveAcks[i] as { startSeq: unknown }).startSeq = seq(6000 + 2000 * i);
      (sk.selectiveAcks[i] as { endSeq: unknown }).endSeq = seq(7000 + 2000 * i);
    }
    tcpSendAck(sk);
    return (b.sent[0]?.options ?? "")
      .replace(/TS val \d+ ecr \d+/, "TS")
      .replace(/(?<=sack) .*/, (t) => ` x${t.split(":").length - 1}`);
  }

  // Three fields are 11 bytes, two 8, one 5, none 2; with SACK two bytes of them take the place of its NOPs.
  it.each([
    [false, 0, 0, "ECN e1b 2 ceb 3 e0b 3,nop"],
    [true, 0, 0, "nop,nop,TS,ECN e1b 2 ceb 3 e0b 3,nop"],
    [false, 1, 0, "ECN e1b 2 ceb 3 e0b 3,nop,nop,nop,sack x1"],
    [false, 3, 0, "ECN e1b 2 ceb 3 e0b 3,nop,nop,nop,sack x3"],
    [false, 4, 0, "ECN e1b 2,nop,sack x4"],
    [true, 2, 0, "nop,nop,TS,ECN e1b 2 ceb 3,nop,nop,sack x2"],
    [true, 3, 0, "nop,nop,TS,ECN,sack x3"],
    // Fields that must be told push a SACK block out.
    [true, 3, 2, "nop,nop,TS,ECN e1b 2 ceb 3,nop,nop,sack x2"],
    [false, 4, 3, "ECN e1b 2 ceb 3 e0b 3,nop,nop,nop,sack x3"],
    // Two blocks stay in any case, and the fields wait.
    [true, 2, 3, "nop,nop,TS,nop,nop,sack x2"],
  ])("timestamps %s, %i SACK blocks, %i fields needed", (ts, blocks, minlen, expected) => {
    expect(bench(ts, blocks, minlen)).toBe(expected);
  });

  it("is counted as sent: the demand goes down, and it is remembered beside which D-SACK", () => {
    bench(false, 1, 3, true);
    const sk = b.sk;
    expect([sk.accecnMinlen, sk.accecnOptSentWDsack, sk.accecnOptTstamp]).toEqual([0, true, sk.tcpMstamp]);
    sk.accecnOptDemand = 2;
    tcpSendAck(sk);
    expect([sk.accecnOptDemand, sk.accecnOptSentWDsack]).toEqual([1, false]);
  });
});

describe("what leaves", () => {
  let b: TcpBench;
  afterEach(() => b.end());

  it("the ACE field wraps, and beyond 2^32 as well; no CWR is asked for", () => {
    b = new TcpBench().establish();
    const sk = b.sk;
    sk.ecnFlags = TCP_ECN_MODE_ACCECN | TCP_ECN_QUEUE_CWR;
    const aces: number[] = [];
    for (const n of [0, 1, 2, 3, 10, 0xffffffff]) {
      sk.receivedCe = n;
      sk.receivedCePending = 3;
      tcpSendAck(sk);
      const f = b.sent.at(-1)?.flags ?? "";
      aces.push((f.includes("A") ? 4 : 0) + (f.includes("W") ? 2 : 0) + (f.includes("E") ? 1 : 0));
      expect([sk.receivedCePending, b.sent.at(-1)?.tos]).toEqual([0, INET_ECN_ECT_0]);
    }
    expect(aces).toEqual([5, 6, 7, 0, 7, 4]);
  });

  it("nothing is ECT any more once the flags are seen to be mangled", () => {
    b = new TcpBench().establish();
    b.sk.ecnFlags = TCP_ECN_MODE_ACCECN;
    tcpSendAck(b.sk);
    b.sk.accecnFailMode = TCP_ACCECN_ACE_FAIL_RECV;
    tcpSendAck(b.sk);
    expect(b.sent.map((s) => s.tos)).toEqual([INET_ECN_ECT_0, INET_ECN_NOT_ECT]);
  });
});
