/** Receiving data: the out-of-order queue against a model, SACK and D-SACK generation, windows, urgent data, ACK timing. */

import { describe, expect, it } from "vitest";
import { seededRandom } from "../../../src/kernel/random.ts";
import { skbNext } from "../../../src/net/core/skbuff.ts";
import { after, seqSub } from "../../../src/net/ipv4/seq.ts";
import { type TcpSock, tcpSkbEndSeq, tcpSkbSeq } from "../../../src/net/ipv4/tcp_sock.ts";
import * as sys from "../../../src/net/socket.ts";
import {
  LINUX_MIB_BEYONDWINDOW,
  LINUX_MIB_DELAYEDACKLOST,
  LINUX_MIB_TCPACKCOMPRESSED,
  LINUX_MIB_TCPOFOQUEUE,
  LINUX_MIB_TCPRCVCOLLAPSED,
} from "../../../src/uapi/linux_mib.ts";
import { MSG_OOB } from "../../../src/uapi/socket.ts";
import { TcpWire } from "./tcp_wire.ts";

const OPTS = { mss: 1000, sackOk: true, wscale: 7 };

/** The byte at stream offset `i` (sequence number 1 + i). */
const streamByte = (i: number): number => (i * 7 + (i >> 7)) & 255;

function stream(from: number, len: number): Uint8Array {
  return new Uint8Array(len).map((_, k) => streamByte(from + k));
}

/** The out-of-order queue is sorted, and no skb in it covers another. */
function checkOfo(sk: TcpSock): void {
  const q = sk.outOfOrderQueue;
  let prev = 0;
  let n = 0;
  for (let skb = q.head; skb !== 0; skb = skbNext(skb)) {
    n++;
    expect(after(tcpSkbEndSeq(skb), tcpSkbSeq(skb))).toBe(true);
    if (prev !== 0) {
      expect(after(tcpSkbSeq(skb), tcpSkbSeq(prev))).toBe(true);
      expect(after(tcpSkbEndSeq(skb), tcpSkbEndSeq(prev))).toBe(true);
    }
    prev = skb;
  }
  expect(n).toBe(q.qlen);
  expect(sk.oooLastSkb).toBe(q.tail);
}

describe("reassembly", () => {
  for (let seed = 1; seed <= 12; seed++) {
    it(`random overlapping segments deliver the exact stream (seed ${seed})`, () => {
      const rnd = seededRandom(seed);
      const below = (n: number): number => rnd.u32() % n;
      const total = 20_000 + below(20_000);
      const w = new TcpWire({ seed });
      const { fd, lfd } = w.accept(OPTS);
      const sk = w.sock(fd);
      const got: number[] = [];
      const seen = new Uint8Array(total);
      let steps = 0;
      const drain = (): void => {
        for (;;) {
          const r = w.read(fd, 1 + below(5000));
          if (typeof r === "number" || r.length === 0) break;
          got.push(...r);
        }
      };
      while (got.length < total && steps++ < 5000) {
        // Near the left edge, mostly; sometimes exactly the next byte that is missing.
        const edge = seqSub(sk.rcvNxt, sk.rcvNxt) + got.length;
        const from = below(4) === 0 ? seen.indexOf(0) : Math.min(total - 1, Math.max(0, edge - 500 + below(8000)));
        const start = from < 0 ? 0 : from;
        const len = Math.min(total - start, 1 + below(1500));
        w.in(below(3) === 0 ? "P." : ".", { seq: 1 + start, ack: 1, data: stream(start, len), win: 256 });
        seen.fill(1, start, start + len);
        checkOfo(sk);
        if (below(3) === 0) drain();
        if (below(20) === 0) w.sleep(below(30));
      }
      drain();
      expect(steps).toBeLessThan(5000);
      expect(got.length).toBe(total);
      for (let i = 0; i < total; i++) if (got[i] !== streamByte(i)) throw new Error(`byte ${i} differs`);
      expect(sk.outOfOrderQueue.qlen).toBe(0);
      expect(sk.rxOpt.numSacks).toBe(0);
      const e = w.end([fd, lfd]);
      expect(e.after).toEqual(e.before);
    });
  }

  it("a small buffer: queues are collapsed and pruned, and the stream is intact", () => {
    const w = new TcpWire({ sysctls: { "net.ipv4.tcp_rmem": "4096 16384 16384" } });
    const { fd, lfd } = w.accept(OPTS);
    const total = 30_000;
    const got: number[] = [];
    // Every second tiny segment, backwards, then the holes: the worst for memory.
    for (let round = 0; got.length < total && round < 200; round++) {
      const base = got.length;
      for (let i = 3000; i >= 0; i -= 100) {
        if (base + i + 50 <= total) {
          w.in(".", {
            seq: 1 + base + i + 50,
            ack: 1,
            data: stream(base + i + 50, Math.min(50, total - base - i - 50)),
          });
        }
      }
      for (let i = 0; i <= 3000; i += 50) {
        if (base + i < total) {
          w.in(".", { seq: 1 + base + i, ack: 1, data: stream(base + i, Math.min(50, total - base - i)) });
        }
      }
      for (;;) {
        const r = w.read(fd);
        if (typeof r === "number" || r.length === 0) break;
        got.push(...r);
      }
    }
    expect(got.length).toBe(total);
    for (let i = 0; i < total; i++) if (got[i] !== streamByte(i)) throw new Error(`byte ${i} differs`);
    const e = w.end([fd, lfd]);
    expect(e.after).toEqual(e.before);
  });

  it("tcp_collapse keeps every byte of both queues", () => {
    const w = new TcpWire({ sysctls: { "net.ipv4.tcp_rmem": "4096 65536 65536" } });
    const { fd, lfd } = w.accept(OPTS);
    // Out-of-order runs of small segments until the buffer is full.
    for (let i = 0; i < 600; i++) {
      const at = 100 + i * 20 + Math.floor(i / 50) * 100;
      w.in(".", { seq: 1 + at, ack: 1, data: stream(at, 20) });
    }
    expect(w.ext(LINUX_MIB_TCPOFOQUEUE)).toBeGreaterThan(100);
    checkOfo(w.sock(fd));
    let at = 0;
    const got: number[] = [];
    for (let i = 0; i < 200 && at < 14_000; i++) {
      w.in(".", { seq: 1 + at, ack: 1, data: stream(at, 500) });
      for (;;) {
        const r = w.read(fd);
        if (typeof r === "number" || r.length === 0) break;
        got.push(...r);
      }
      at = got.length;
    }
    for (let i = 0; i < got.length; i++) if (got[i] !== streamByte(i)) throw new Error(`byte ${i} differs`);
    expect(got.length).toBeGreaterThanOrEqual(14_000);
    expect(w.ext(LINUX_MIB_TCPRCVCOLLAPSED)).toBeGreaterThanOrEqual(0);
    const e = w.end([fd, lfd]);
    expect(e.after).toEqual(e.before);
  });
});

describe("SACK (RFC 2018 §4) and D-SACK (RFC 2883 §4)", () => {
  const cases: Record<string, { segs: [seq: number, len: number][]; acks: string[] }> = {
    "the block of the latest segment comes first": {
      segs: [
        [1001, 1000],
        [3001, 1000],
        [5001, 1000],
      ],
      acks: [
        "ack 1 <sack 1001:2001>",
        "ack 1 <sack 3001:4001 1001:2001>",
        "ack 1 <sack 5001:6001 3001:4001 1001:2001>",
      ],
    },
    "blocks that touch are joined": {
      segs: [
        [1001, 1000],
        [3001, 1000],
        [2001, 1000],
      ],
      acks: ["ack 1 <sack 1001:2001>", "ack 1 <sack 3001:4001 1001:2001>", "ack 1 <sack 1001:4001>"],
    },
    "at most four": {
      segs: [
        [1001, 100],
        [2001, 100],
        [3001, 100],
        [4001, 100],
        [5001, 100],
      ],
      acks: [
        "ack 1 <sack 1001:1101>",
        "ack 1 <sack 2001:2101 1001:1101>",
        "ack 1 <sack 3001:3101 2001:2101 1001:1101>",
        "ack 1 <sack 4001:4101 3001:3101 2001:2101 1001:1101>",
        "ack 1 <sack 5001:5101 4001:4101 3001:3101 2001:2101>",
      ],
    },
    "an old segment is reported below the ACK": {
      segs: [
        [1, 1000],
        [1, 1000],
      ],
      acks: ["ack 1001", "ack 1001 <sack 1:1001>"],
    },
    "a duplicate of out-of-order data, with the block that holds it": {
      segs: [
        [1001, 1000],
        [1001, 1000],
      ],
      acks: ["ack 1 <sack 1001:2001>", "ack 1 <sack 1001:2001 1001:2001>"],
    },
    "only the part that came twice": {
      segs: [
        [1001, 1000],
        [1501, 1000],
      ],
      acks: ["ack 1 <sack 1001:2001>", "ack 1 <sack 1501:2001 1001:2501>"],
    },
    "the old front of new data": {
      segs: [
        [1, 1000],
        [501, 1000],
      ],
      acks: ["ack 1001", "ack 1501 <sack 501:1001>"],
    },
    "a filled hole leaves no block": {
      segs: [
        [1001, 1000],
        [1, 1000],
      ],
      acks: ["ack 1 <sack 1001:2001>", "ack 2001"],
    },
    "a hole filled with more than it needs": {
      segs: [
        [1001, 1000],
        [1, 1500],
      ],
      acks: ["ack 1 <sack 1001:2001>", "ack 2001 <sack 1001:1501>"],
    },
  };
  for (const [name, { segs, acks }] of Object.entries(cases)) {
    it(name, () => {
      const w = new TcpWire();
      const { fd, lfd } = w.accept(OPTS);
      w.out();
      const texts: string[] = [];
      for (const [seq, len] of segs) {
        w.in(".", { seq, ack: 1, len });
        w.sleep(50);
        texts.push(...w.outText());
      }
      expect(texts).toEqual(acks.map((a) => `. 1:1(0) ${a}`));
      w.end([fd, lfd]);
    });
  }

  it("without SACK-permitted there are only duplicate ACKs", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept({ mss: 1000 });
    w.out();
    for (const seq of [1001, 2001, 3001]) w.in(".", { seq, ack: 1, len: 1000 });
    expect(w.outText()).toEqual([". 1:1(0) ack 1", ". 1:1(0) ack 1", ". 1:1(0) ack 1"]);
    w.end([fd, lfd]);
  });

  it("ACKs beside a long hole are compressed", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept({ ...OPTS, ts: [1, 0] });
    w.sleep(40);
    // RTT is known to the receiver: 40 ms; the quick ACKs of the beginning are used up.
    const seq = 40_001;
    for (let at = 1; at < seq; at += 1000) {
      w.in(".", { seq: at, ack: 1, len: 1000, ts: [41, w.lastTsval] });
      w.read(fd);
    }
    w.sleep(100);
    w.out();
    for (let i = 0; i < 30; i++) w.in(".", { seq: seq + 1000 + i * 1000, ack: 1, len: 1000, ts: [141, w.lastTsval] });
    w.sleep(5);
    const n = w.out().length;
    expect(n).toBeLessThan(12);
    expect(w.ext(LINUX_MIB_TCPACKCOMPRESSED) + n).toBe(30);
    w.end([fd, lfd]);
  });
});

describe("when to acknowledge", () => {
  it("every second full segment, delayed otherwise (RFC 1122 §4.2.3.2)", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept(OPTS);
    // Use up the quick ACKs of the beginning.
    let seq = 1;
    for (let i = 0; i < 40; i++) {
      w.in(".", { seq, ack: 1, len: 1000 });
      seq += 1000;
      w.read(fd);
    }
    w.sleep(100);
    w.write(fd, 10);
    w.in(".", { seq, ack: 11 });
    w.out();
    // A lone segment: within 40 ms.
    const t = w.now;
    w.in("P.", { seq, ack: 11, len: 10 });
    expect(w.out()).toEqual([]);
    w.sleep(100);
    const [a] = w.out();
    expect(a!.ack).toBe(seq + 10);
    expect(a!.at - t).toBeLessThanOrEqual(45_000);
    expect(a!.at - t).toBeGreaterThanOrEqual(20_000);
    w.end([fd, lfd]);
  });

  it("old data is acknowledged at once", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept(OPTS);
    w.in(".", { seq: 1, ack: 1, len: 1000 });
    w.sleep(50);
    w.out();
    w.in(".", { seq: 1, ack: 1, len: 1000 });
    expect(w.outText()).toEqual([". 1:1(0) ack 1001 <sack 1:1001>"]);
    expect(w.ext(LINUX_MIB_DELAYEDACKLOST)).toBe(1);
    w.end([fd, lfd]);
  });
});

describe("the receive window", () => {
  it("closes when nobody reads, drops what comes then, and opens again", () => {
    const w = new TcpWire({ sysctls: { "net.ipv4.tcp_rmem": "4096 16384 16384" } });
    const { fd, lfd } = w.accept(OPTS);
    const sk = w.sock(fd);
    let seq = 1;
    let win = 1000;
    for (let i = 0; i < 100 && win > 0; i++) {
      w.in(".", { seq, ack: 1, len: Math.min(1000, win) });
      w.sleep(250);
      for (const s of w.out()) {
        win = s.win << sk.rxOpt.rcvWscale;
        seq = s.ack;
      }
    }
    expect(win).toBe(0);
    w.in(".", { seq, ack: 1, len: 1000 });
    expect(w.ext(LINUX_MIB_BEYONDWINDOW)).toBe(1);
    expect(sk.skReceiveQueue.qlen).toBeGreaterThan(0);
    w.out();
    let read = 0;
    for (;;) {
      const r = w.read(fd);
      if (typeof r === "number" || r.length === 0) break;
      read += r.length;
    }
    expect(read).toBe(seq - 1);
    const [update] = w.out();
    expect(update!.win).toBeGreaterThan(0);
    w.end([fd, lfd]);
  });

  it("grows with a reader that keeps up (tcp_rcv_space_adjust)", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept({ ...OPTS, ts: [1000, 0] });
    const sk = w.sock(fd);
    const before = sk.skRcvbuf;
    let seq = 1;
    let ts = 1000;
    // Doubling every 20 ms, as in slow start.
    for (let round = 0, n = 10; round < 7; round++, n = Math.min(2 * n, 400)) {
      const echo = w.lastTsval;
      w.sleep(20);
      ts += 20;
      for (let i = 0; i < n; i++) {
        w.in(".", { seq, ack: 1, len: 1000, ts: [ts, echo] });
        seq += 1000;
      }
      while (typeof w.read(fd) !== "number");
    }
    expect(sk.skRcvbuf).toBeGreaterThan(before);
    expect(sk.rcvRttEstRttUs / 8).toBeGreaterThan(15_000);
    expect(sk.rcvRttEstRttUs / 8).toBeLessThan(25_000);
    w.end([fd, lfd]);
  });
});

describe("urgent data (RFC 6093)", () => {
  it("the urgent byte is read with MSG_OOB, and skipped in the stream", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept(OPTS);
    w.in("PU.", { seq: 1, ack: 1, data: new Uint8Array([1, 2, 3, 4]), urg: 3 });
    const b = new Uint8Array(4);
    expect(sys.sysRecv(w.net, fd, b, 4, MSG_OOB)).toBe(1);
    expect(b[0]).toBe(3);
    expect([...(w.read(fd) as Uint8Array)]).toEqual([1, 2]);
    expect([...(w.read(fd) as Uint8Array)]).toEqual([4]);
    w.end([fd, lfd]);
  });

  it("tcp_stdurg: the pointer points at the byte itself (RFC 793)", () => {
    const w = new TcpWire({ sysctls: { "net.ipv4.tcp_stdurg": "1" } });
    const { fd, lfd } = w.accept(OPTS);
    w.in("PU.", { seq: 1, ack: 1, data: new Uint8Array([1, 2, 3, 4]), urg: 3 });
    const b = new Uint8Array(4);
    expect(sys.sysRecv(w.net, fd, b, 4, MSG_OOB)).toBe(1);
    expect(b[0]).toBe(4);
    w.end([fd, lfd]);
  });

  it("pointers into nowhere do no harm", () => {
    const rnd = seededRandom(7);
    const w = new TcpWire();
    const { fd, lfd } = w.accept(OPTS);
    let seq = 1;
    for (let i = 0; i < 300; i++) {
      const len = rnd.u32() % 5;
      w.in("PU.", { seq, ack: 1, len, urg: rnd.u32() & 0xffff });
      seq += len;
      if (i % 10 === 0) w.read(fd);
    }
    expect(w.out().length).toBeGreaterThan(0);
    const e = w.end([fd, lfd]);
    expect(e.after).toEqual(e.before);
  });
});
