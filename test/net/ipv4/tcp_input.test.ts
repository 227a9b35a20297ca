/** Segment arrival in every state: RFC 9293 §3.10.7 with RFC 5961, as the kernel does it. */

import { describe, expect, it } from "vitest";
import { inetAllSocks } from "../../../src/net/ipv4/inet_hashtables.ts";
import { tcpStateName } from "../../../src/uapi/tcp.ts";
import { type In, segText, TcpWire } from "./tcp_wire.ts";

/** A connection in each state: seq/ack of the next segment of the remote, and the way there. */
type Setup = (w: TcpWire) => { seq: number; ack: number; fds: number[] };

const setups: Record<string, Setup> = {
  CLOSED: () => ({ seq: 1, ack: 1, fds: [] }),
  LISTEN: (w) => ({ seq: 0, ack: 1, fds: [w.listen()] }),
  SYN_SENT: (w) => ({ seq: 0, ack: 1, fds: [w.connect()] }),
  NEW_SYN_RECV: (w) => {
    const lfd = w.listen();
    w.in("S", { seq: 0, win: 32792, mss: 1000, sackOk: true, wscale: 7 });
    return { seq: 1, ack: 1, fds: [lfd] };
  },
  // Simultaneous open.
  SYN_RECV: (w) => {
    const fd = w.connect();
    w.in("S", { seq: 0, win: 32792, mss: 1000, sackOk: true, wscale: 7 });
    return { seq: 1, ack: 1, fds: [fd] };
  },
  ESTABLISHED: (w) => {
    const { fd, lfd } = w.accept();
    return { seq: 1, ack: 1, fds: [fd, lfd] };
  },
  FIN_WAIT1: (w) => {
    const { fd, lfd } = w.accept();
    w.shutdown(fd, 1);
    return { seq: 1, ack: 1, fds: [fd, lfd] };
  },
  FIN_WAIT2: (w) => {
    const { fd, lfd } = w.accept();
    w.shutdown(fd, 1);
    w.in(".", { seq: 1, ack: 2, win: 256 });
    return { seq: 1, ack: 2, fds: [fd, lfd] };
  },
  CLOSE_WAIT: (w) => {
    const { fd, lfd } = w.accept();
    w.in("F.", { seq: 1, ack: 1, win: 256 });
    w.sleep(50);
    return { seq: 2, ack: 1, fds: [fd, lfd] };
  },
  CLOSING: (w) => {
    const { fd, lfd } = w.accept();
    w.shutdown(fd, 1);
    w.in("F.", { seq: 1, ack: 1, win: 256 });
    return { seq: 2, ack: 1, fds: [fd, lfd] };
  },
  LAST_ACK: (w) => {
    const { fd, lfd } = w.accept();
    w.in("F.", { seq: 1, ack: 1, win: 256 });
    w.close(fd);
    return { seq: 2, ack: 1, fds: [lfd] };
  },
  TIME_WAIT: (w) => {
    const { fd, lfd } = w.accept();
    w.shutdown(fd, 1);
    w.in(".", { seq: 1, ack: 2, win: 256 });
    w.in("F.", { seq: 1, ack: 2, win: 256 });
    w.close(fd);
    return { seq: 2, ack: 2, fds: [lfd] };
  },
};

function stateOf(w: TcpWire): string {
  const states = inetAllSocks(w.net)
    .map((s) => tcpStateName(s.skcState))
    .filter((s) => s !== "LISTEN" || inetAllSocks(w.net).length === 1);
  return states.length === 0 ? "-" : states.join(",");
}

/** What arrives, relative to where the remote is. */
const segs: Record<string, [flags: string, s: In]> = {
  "RST exact": ["R", {}],
  "RST in window": ["R", { seq: 10 }],
  "RST beyond window": ["R", { seq: 10_000_000 }],
  "RST before window": ["R", { seq: -10 }],
  "RST,ACK exact": ["R.", {}],
  "SYN exact": ["S", {}],
  "SYN in window": ["S", { seq: 10 }],
  "SYN beyond window": ["S", { seq: 10_000_000 }],
  "SYN,ACK": ["S.", {}],
  "bare ACK": [".", {}],
  "old ACK": [".", { ack: -1 }],
  "ACK of something not sent": [".", { ack: 1000 }],
  "ACK beyond window": [".", { seq: 10_000_000 }],
  "ACK before window": [".", { seq: -10 }],
  "data without ACK": ["P", { len: 10 }],
  "data before window": ["P.", { seq: -10, len: 10 }],
  "data beyond window": ["P.", { seq: 10_000_000, len: 10 }],
  "no flags": ["", {}],
  FIN: ["F.", {}],
};

/**
 * For each state and segment: what is answered, and the state then ("=": the same). "." is a bare ACK: a challenge where
 * the segment is a SYN or RST (RFC 5961), an answer to an unacceptable segment elsewhere.
 */
const table: Record<string, Record<string, [answer: string, state: string]>> = {
  CLOSED: {
    "RST exact": ["", "="],
    "RST,ACK exact": ["", "="],
    "SYN exact": ["R.", "="],
    "SYN,ACK": ["R", "="],
    "bare ACK": ["R", "="],
    "data without ACK": ["R.", "="],
    "no flags": ["R.", "="],
    FIN: ["R", "="],
  },
  LISTEN: {
    "RST exact": ["", "="],
    "RST,ACK exact": ["R-none", "="],
    "SYN exact": ["S.", "NEW_SYN_RECV"],
    "SYN,ACK": ["R", "="],
    "bare ACK": ["R", "="],
    "data without ACK": ["", "="],
    "no flags": ["", "="],
    FIN: ["R", "="],
  },
  SYN_SENT: {
    // No ACK: dropped. An ACK that is acceptable: refused.
    "RST exact": ["", "="],
    "RST,ACK exact": ["", "-"],
    "SYN exact": ["S.", "SYN_RECV"],
    "SYN,ACK": [".", "ESTABLISHED"],
    "bare ACK": ["", "="],
    "old ACK": ["R", "="],
    "ACK of something not sent": ["R", "="],
    "data without ACK": ["", "="],
    "no flags": ["", "="],
    FIN: ["", "="],
  },
  NEW_SYN_RECV: {
    "RST exact": ["", "LISTEN"],
    // RFC 9293 §3.10.7.4, as of RFC 5961 §3.2.
    "RST in window": [".", "="],
    "RST beyond window": ["", "="],
    "RST before window": ["", "="],
    "RST,ACK exact": ["", "LISTEN"],
    "SYN in window": ["R.", "LISTEN"],
    "SYN beyond window": [".", "="],
    "bare ACK": ["", "ESTABLISHED"],
    "old ACK": ["R", "="],
    "ACK of something not sent": ["R", "="],
    "ACK beyond window": [".", "="],
    "data without ACK": ["", "="],
    "no flags": ["", "="],
    // The delayed ACK of a connection without earlier data is due at once.
    FIN: [".", "CLOSE_WAIT"],
  },
  SYN_RECV: {
    "RST exact": ["", "-"],
    "RST in window": [".", "="],
    "RST beyond window": ["", "="],
    "SYN in window": [".", "="],
    "bare ACK": ["", "ESTABLISHED"],
    "ACK of something not sent": ["R", "="],
    "ACK beyond window": [".", "="],
    "data without ACK": ["", "="],
    // The delayed ACK of a connection without earlier data is due at once.
    FIN: [".", "CLOSE_WAIT"],
  },
  ESTABLISHED: {
    "RST exact": ["", "LISTEN"],
    "RST in window": [".", "="],
    "RST beyond window": ["", "="],
    "RST before window": ["", "="],
    "RST,ACK exact": ["", "LISTEN"],
    "SYN exact": [".", "="],
    "SYN in window": [".", "="],
    "SYN beyond window": [".", "="],
    "SYN,ACK": [".", "="],
    "bare ACK": ["", "="],
    // RFC 5961 §5.2: it acknowledges a byte that was never sent.
    "old ACK": [".", "="],
    // RFC 9293: "If the ACK acks something not yet sent, then send an ACK, drop the segment".
    "ACK of something not sent": [".", "="],
    "ACK beyond window": [".", "="],
    "ACK before window": [".", "="],
    "data without ACK": ["", "="],
    "data before window": [".", "="],
    "data beyond window": [".", "="],
    "no flags": ["", "="],
    // The delayed ACK of a connection without earlier data is due at once.
    FIN: [".", "CLOSE_WAIT"],
  },
  FIN_WAIT1: {
    "RST exact": ["", "LISTEN"],
    "RST in window": [".", "="],
    "RST beyond window": ["", "="],
    "SYN exact": [".", "="],
    "bare ACK": ["", "="],
    "ACK of something not sent": [".", "="],
    "ACK beyond window": [".", "="],
    "data without ACK": ["", "="],
    FIN: [".", "CLOSING"],
  },
  FIN_WAIT2: {
    "RST exact": ["", "LISTEN"],
    "RST in window": [".", "="],
    "SYN exact": [".", "="],
    "bare ACK": ["", "="],
    "data beyond window": [".", "="],
    FIN: [".", "TIME_WAIT"],
  },
  CLOSE_WAIT: {
    "RST exact": ["", "LISTEN"],
    // After a FIN, a RST may have its sequence number (macOS).
    "RST in window": [".", "="],
    "SYN exact": [".", "="],
    "bare ACK": ["", "="],
    "data before window": [".", "="],
    FIN: ["", "="],
  },
  CLOSING: {
    "RST exact": ["", "LISTEN"],
    "RST in window": [".", "="],
    "SYN exact": [".", "="],
    "ACK of something not sent": [".", "="],
    "data before window": [".", "="],
  },
  LAST_ACK: {
    "RST exact": ["", "LISTEN"],
    "RST in window": [".", "="],
    "SYN exact": [".", "="],
    "ACK of something not sent": [".", "="],
  },
  TIME_WAIT: {
    // TIME-WAIT assassination (RFC 1337) is tolerated unless the sysctl says otherwise.
    "RST exact": ["", "LISTEN"],
    "RST in window": ["", "="],
    "RST beyond window": ["", "="],
    // RFC 6191, RFC 9293 §3.6.1: a larger sequence number may reopen the connection; not larger is RCV.NXT itself.
    "SYN exact": [".", "="],
    "SYN in window": ["S.", "NEW_SYN_RECV"],
    "SYN beyond window": ["S.", "NEW_SYN_RECV"],
    "bare ACK": ["", "="],
    "data before window": [".", "="],
    FIN: [".", "="],
  },
};

describe("segment arrival (RFC 9293 §3.10.7)", () => {
  for (const [state, rows] of Object.entries(table)) {
    for (const [name, [answer, next]] of Object.entries(rows)) {
      it(`${state}: ${name}`, () => {
        const w = new TcpWire();
        const at = setups[state]!(w);
        const before = stateOf(w);
        if (state !== "CLOSED") expect(before).toBe(state);
        w.out();
        const [flags, s] = segs[name]!;
        w.in(flags, { ...s, seq: at.seq + (s.seq ?? 0), ack: at.ack + (s.ack ?? 0), win: s.win ?? 256 });
        expect(
          w
            .out()
            .map((x) => x.flags)
            .join(" "),
        ).toBe(answer === "R-none" ? "" : answer);
        expect(stateOf(w)).toBe(next === "=" ? before : next);
        const e = w.end(at.fds);
        expect(e.after).toEqual(e.before);
      });
    }
  }
});

describe("answers", () => {
  it("a RST takes its sequence number from the ACK it answers, or acknowledges the segment", () => {
    const w = new TcpWire();
    w.in(".", { seq: 5, ack: 77, len: 3 });
    w.in("S", { seq: 5, len: 3 });
    const [a, b] = w.out();
    expect(a!.seq).toBe(77);
    expect(b!.flags).toBe("R.");
    expect(b!.ack).toBe(9);
    w.end([]);
  });

  it("challenge ACKs are limited to one in tcp_invalid_ratelimit (RFC 5961 §7)", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept();
    w.out();
    for (let i = 0; i < 5; i++) w.in("S", { seq: 100 + i });
    expect(w.out().length).toBe(1);
    w.sleep(600);
    w.in("S", { seq: 100 });
    expect(w.out().map(segText)).toEqual([". 1:1(0) ack 1"]);
    w.end([fd, lfd]);
  });

  it("a RST at the right edge of SACKed data is exact (RFC 5961 §3.2)", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept();
    w.in("P.", { seq: 101, ack: 1, len: 100 });
    w.out();
    w.in("R", { seq: 201 });
    expect(w.out()).toEqual([]);
    expect(stateOf(w)).toBe("LISTEN");
    expect(w.read(fd)).toBe(-104);
    w.end([fd, lfd]);
  });

  it("PAWS drops an old timestamp and answers it, but lets a RST through (RFC 7323 §5.3)", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept({ mss: 1000, sackOk: true, ts: [1000, 0], wscale: 7 });
    w.out();
    w.in("P.", { seq: 1, ack: 1, len: 10, ts: [900, w.lastTsval] });
    expect(w.out().map((s) => s.flags)).toEqual(["."]);
    expect(w.read(fd)).toBe(-11);
    w.in("P.", { seq: 1, ack: 1, len: 10, ts: [1001, w.lastTsval] });
    expect((w.read(fd) as Uint8Array).length).toBe(10);
    w.in("R", { seq: 11, ts: [1, 0] });
    expect(stateOf(w)).toBe("LISTEN");
    w.end([fd, lfd]);
  });

  it("checksums: a wrong one is dropped and counted, a device may vouch for it", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept();
    w.out();
    for (const len of [0, 10, 900]) w.in("P.", { seq: 1, ack: 1, len, badsum: true });
    expect(w.out()).toEqual([]);
    expect(w.read(fd)).toBe(-11);
    expect(w.net.mib.tcp[15]).toBe(3);
    w.in("P.", { seq: 1, ack: 1, len: 10, badsum: true, nosum: true });
    expect((w.read(fd) as Uint8Array).length).toBe(10);
    w.end([fd, lfd]);
  });

  it("data after close() is answered with a RST (RFC 1122 §4.2.2.13)", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept();
    w.close(fd);
    w.in(".", { seq: 1, ack: 2, win: 256 });
    w.out();
    w.in("P.", { seq: 1, ack: 2, len: 10, win: 256 });
    expect(w.out().map((s) => `${s.flags} ${s.seq}`)).toEqual(["R 2"]);
    w.end([lfd]);
  });
});
