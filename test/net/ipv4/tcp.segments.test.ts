/** RFC 9293 §3.10.7, RFC 5961, RFC 7323: which segments are taken, which are answered, which change nothing. */

import { describe, expect, it } from "vitest";
import { SHUT_WR } from "../../../src/uapi/socket.ts";
import type { Conn, Options, Out } from "./peer.ts";
import { errName, Peer } from "./peer.ts";

const STATES = ["ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT"] as const;
type State = (typeof STATES)[number];

/** A connection in `state`; nothing is under way. */
async function inState(state: State): Promise<{ p: Peer; c: Conn; fd: number }> {
  const p = await Peer.create();
  const { c, fd } = p.accepted();
  const ours = state !== "ESTABLISHED" && state !== "CLOSE_WAIT";
  if (state === "CLOSE_WAIT" || state === "LAST_ACK") c.send("F.");
  if (ours) expect(p.shutdown(fd, SHUT_WR)).toBe(0);
  if (state === "CLOSING") c.send("F.", { ack: 1 });
  if (state === "FIN_WAIT2") c.send(".", { ack: 2 });
  if (state === "TIME_WAIT") c.send("F.", { ack: 2 });
  p.sleep(100);
  expect(p.states()).toEqual([state]);
  c.out();
  return { p, c, fd };
}

/** What the host answers: SND.NXT and RCV.NXT as it should have them. */
function ackOf(state: State): string {
  const nxt = state === "ESTABLISHED" || state === "CLOSE_WAIT" ? 1 : 2;
  const rcv = state === "ESTABLISHED" || state === "FIN_WAIT1" || state === "FIN_WAIT2" ? 1 : 2;
  return `. ${nxt}:${nxt}(0) ack ${rcv}`;
}

describe("RFC 9293 §3.10.7.4 first: acceptability of the sequence number", () => {
  // SEG.SEQ relative to RCV.NXT; the answer.
  const table: [string, string, Out & { off: number }, "ack" | "none"][] = [
    ["an old segment without data", ".", { off: -500 }, "ack"],
    ["an old segment with data", "P.", { off: -500, len: 100 }, "ack"],
    ["one right before RCV.NXT (a keepalive probe)", ".", { off: -1 }, "ack"],
    ["a segment beyond the window", "P.", { off: 3_000_000, len: 10 }, "ack"],
    ["an ACK beyond the window", ".", { off: 3_000_000 }, "ack"],
    ["an old RST", "R", { off: -500 }, "none"],
    ["a RST beyond the window", "R", { off: 3_000_000 }, "none"],
    ["an old SYN", "S", { off: -500 }, "ack"],
    ["a segment without ACK, SYN or RST", "", { off: 0 }, "none"],
  ];
  for (const state of STATES) {
    it.each(table)(`${state}: %s`, async (_name, flags, o, answer) => {
      const { p, c } = await inState(state);
      const nxt = Number(/ack (\d+)/.exec(ackOf(state))?.[1]);
      c.send(flags, { ...o, seq: nxt + o.off });
      // RFC 2883 §4: old data is reported in a D-SACK block.
      expect(c.text().map((t) => t.replace(/ sack .*/, ""))).toEqual(answer === "ack" ? [ackOf(state)] : []);
      expect(p.states()).toEqual([state]);
    });
  }
});

describe("RFC 5961 §3.2: RST in a synchronized state", () => {
  for (const state of STATES) {
    it(`${state}: exactly at RCV.NXT it resets`, async () => {
      const { p, c } = await inState(state);
      c.send("R");
      expect(p.states()).toEqual([]);
      expect(c.text()).toEqual([]);
    });
    if (state === "TIME_WAIT") continue;
    it(`${state}: elsewhere in the window it draws a challenge ACK`, async () => {
      const { p, c } = await inState(state);
      c.send("R", { seq: c.nxt + 10 });
      expect(p.states()).toEqual([state]);
      expect(c.text()).toEqual([ackOf(state)]);
    });
    it(`${state}: RFC 5961 §4.2: a SYN in the window draws a challenge ACK`, async () => {
      const { p, c } = await inState(state);
      c.send("S", { seq: c.nxt + 10 });
      expect(p.states()).toEqual([state]);
      expect(c.text()).toEqual([ackOf(state)]);
    });
  }

  const errors: [State, string][] = [
    ["ESTABLISHED", "ECONNRESET"],
    ["FIN_WAIT1", "ECONNRESET"],
    ["FIN_WAIT2", "ECONNRESET"],
    ["CLOSE_WAIT", "EPIPE"],
  ];
  it.each(errors)("RFC 9293 §3.10.7.4 second: the reset in %s is reported as %s", async (state, error) => {
    const { p, c, fd } = await inState(state);
    c.send("R");
    expect(p.poll(fd)).toBe("IN OUT ERR HUP RDHUP");
    expect(p.soError(fd)).toBe(error);
    expect(p.soError(fd)).toBe(0);
    expect(p.read(fd)).toBe(0);
    expect(p.write(fd, 1)).toBe("EPIPE");
  });

  it("RFC 5961 §5, tcp_invalid_ratelimit: challenge ACKs come at most every 500 ms", async () => {
    const { p, c } = await inState("ESTABLISHED");
    for (let i = 0; i < 5; i++) c.send("S", { seq: c.nxt + 10 });
    expect(c.text()).toEqual([". 1:1(0) ack 1"]);
    p.sleep(501);
    c.send("S", { seq: c.nxt + 10 });
    expect(c.text()).toEqual([". 1:1(0) ack 1"]);
  });

  it("RFC 5961 §5.2: an ACK older than MAX.SND.WND draws a challenge ACK and its data is dropped", async () => {
    const { p, c, fd } = await inState("ESTABLISHED");
    c.send("P.", { ack: -100_000, len: 10 });
    expect(c.text()).toEqual([". 1:1(0) ack 1"]);
    expect(p.read(fd)).toBe("EAGAIN");
  });

  it("RFC 9293 §3.10.7.4 fifth: an ACK of what was never sent drops the segment", async () => {
    const { p, c, fd } = await inState("ESTABLISHED");
    c.send("P.", { ack: 100, len: 10 });
    expect(p.read(fd)).toBe("EAGAIN");
    expect(p.state(fd)).toBe("ESTABLISHED");
  });

  it("RFC 9293 §3.10.7.4 fifth: an old ACK with new data: the data is taken", async () => {
    const { p, c, fd } = await inState("ESTABLISHED");
    p.write(fd, 100);
    c.send(".");
    c.send("P.", { ack: 50, len: 10 });
    expect(p.read(fd)).toBe(10);
  });
});

describe("RFC 9293 §3.10.7.4: text", () => {
  const overlap: [string, [number, number][], number][] = [
    [
      "an exact duplicate",
      [
        [1, 100],
        [1, 100],
      ],
      100,
    ],
    [
      "a left overlap",
      [
        [1, 100],
        [51, 100],
      ],
      150,
    ],
    [
      "a superset",
      [
        [1, 100],
        [1, 200],
      ],
      200,
    ],
    [
      "a superset of a queued segment",
      [
        [101, 50],
        [1, 300],
      ],
      300,
    ],
    [
      "two holes filled in reverse",
      [
        [201, 100],
        [101, 100],
        [1, 100],
      ],
      300,
    ],
    [
      "overlapping out-of-order segments",
      [
        [101, 100],
        [151, 100],
        [51, 100],
        [1, 60],
      ],
      250,
    ],
    [
      "a queued segment that lies in another",
      [
        [51, 200],
        [101, 50],
        [1, 50],
      ],
      250,
    ],
  ];
  it.each(overlap)("%s", async (_name, segs, total) => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    for (const [seq, len] of segs) c.send("P.", { seq, len });
    const got = p.readBytes(fd);
    expect(got.length).toBe(total);
    expect(got.every((b, i) => b === i % 251)).toBe(true);
    expect(p.read(fd)).toBe("EAGAIN");
  });

  it("a segment that begins before the window and ends in it is trimmed", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    c.send("P.", { len: 100 });
    expect(p.read(fd)).toBe(100);
    c.send("P.", { seq: 51, len: 100 });
    const got = p.readBytes(fd);
    expect(got.length).toBe(50);
    expect(got[0]).toBe(100);
  });

  it("RFC 9293 §3.10.7.4 seventh: data after the peer's FIN is ignored", async () => {
    const { p, c, fd } = await inState("CLOSE_WAIT");
    c.send("P.", { len: 10 });
    expect(p.read(fd)).toBe(0);
    expect(p.state(fd)).toBe("CLOSE_WAIT");
  });

  it("RFC 1122 §4.2.2.13: data after close() is answered by a RST", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    p.close(fd);
    c.send(".");
    expect(p.states()).toEqual(["FIN_WAIT2"]);
    c.out();
    c.send("P.", { len: 10 });
    expect(c.text()).toEqual(["R 2:2(0)"]);
    expect(p.states()).toEqual([]);
  });

  it("a wrong checksum is dropped in silence", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted();
    c.send("P.", { len: 10, badsum: true, seq: 1 });
    expect(p.read(fd)).toBe("EAGAIN");
    p.sleep(1000);
    expect(c.text()).toEqual([]);
  });
});

describe("RFC 9293 §3.10.7.1: CLOSED", () => {
  const table: [string, string, Out, string[]][] = [
    ["a SYN", "S", { seq: 7 }, ["R. 0:0(0) ack 8"]],
    ["a SYN with data", "S", { seq: 7, len: 10 }, ["R. 0:0(0) ack 18"]],
    ["an ACK", ".", { seq: 7, ack: 99 }, ["R 99:99(0)"]],
    ["a FIN without ACK", "F", { seq: 7 }, ["R. 0:0(0) ack 8"]],
    ["data with ACK", "P.", { seq: 7, ack: 5, len: 10 }, ["R 5:5(0)"]],
    ["a RST", "R", { seq: 7 }, []],
    ["a RST with ACK", "R.", { seq: 7, ack: 7 }, []],
  ];
  it.each(table)("%s", async (_name, flags, o, answer) => {
    const p = await Peer.create();
    const c = p.conn(81);
    c.send(flags, o);
    expect(c.text()).toEqual(answer);
  });
});

describe("RFC 9293 §3.10.7.2: LISTEN", () => {
  const table: [string, string, Out, string[]][] = [
    ["a RST is ignored", "R", {}, []],
    ["an ACK is reset", ".", { ack: 99 }, ["R 99:99(0)"]],
    ["a SYN-ACK is reset", "S.", { ack: 99 }, ["R 99:99(0)"]],
    ["a FIN without ACK is dropped", "F", {}, []],
    ["a SYN with FIN is dropped", "SF", {}, []],
    ["no flag at all is dropped", "", {}, []],
  ];
  it.each(table)("%s", async (_name, flags, o, answer) => {
    const p = await Peer.create();
    p.listen(80);
    const c = p.conn(80);
    c.send(flags, o);
    expect(c.text()).toEqual(answer);
    expect(p.states()).toEqual([]);
  });
});

describe("RFC 9293 §3.10.7.3: SYN-SENT", () => {
  const table: [string, string, Out, string[], string, string | number][] = [
    ["an ACK that is not of our SYN is reset", ".", { seq: 5, ack: 77 }, ["R 77:77(0)"], "SYN_SENT", 0],
    ["a SYN-ACK with a wrong ACK is reset", "S.", { ack: 77 }, ["R 77:77(0)"], "SYN_SENT", 0],
    ["a RST with a wrong ACK is dropped", "R.", { ack: 77 }, [], "SYN_SENT", 0],
    ["a RST without ACK is dropped", "R", {}, [], "SYN_SENT", 0],
    ["a RST with our ACK refuses", "R.", { ack: 1 }, [], "CLOSE", "ECONNREFUSED"],
    ["an ACK of our SYN without SYN is dropped", ".", { seq: 5, ack: 1 }, [], "SYN_SENT", 0],
    ["a FIN is dropped", "F", {}, [], "SYN_SENT", 0],
  ];
  it.each(table)("%s", async (_name, flags, o, answer, state, error) => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    c.out();
    c.send(flags, o);
    expect(c.text()).toEqual(answer);
    expect(p.state(fd)).toBe(state);
    expect(p.soError(fd)).toBe(error);
  });
});

describe("RFC 9293 §3.10.7.4: SYN-RECEIVED", () => {
  const table: [string, string, Out, string[], string[]][] = [
    ["the SYN again gets the SYN-ACK again", "S", { seq: 0, mss: 1000 }, ["S. 0:0(0) ack 1"], ["NEW_SYN_RECV"]],
    ["an ACK of something else is reset", ".", { seq: 1, ack: 77 }, ["R 77:77(0)"], ["NEW_SYN_RECV"]],
    ["a RST ends it", "R", { seq: 1 }, [], []],
    ["RFC 5961 §3.2: a RST out of the window is ignored", "R", { seq: 5_000_000 }, [], ["NEW_SYN_RECV"]],
    ["an ACK out of the window is answered", ".", { seq: 5_000_000, ack: 1 }, [". 1:1(0) ack 1"], ["NEW_SYN_RECV"]],
  ];
  it.each(table)("%s", async (_name, flags, o, answer, states) => {
    const p = await Peer.create();
    p.listen(80);
    const c = p.conn(80);
    c.send("S", { mss: 1000 });
    c.out();
    p.sleep(10);
    c.send(flags, o);
    expect(c.text()).toEqual(answer);
    expect(p.states()).toEqual(states);
  });
});

describe("options of the SYN", () => {
  it("RFC 9293 §3.7.1: the host offers MSS 1460, SACK, timestamps and a window scale", async () => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    p.connect(7);
    const syn = c.out()[0];
    expect(syn).toMatchObject({ mss: 1460, sackOk: true, wscale: 10, win: 64240 });
    expect(syn?.ts?.[1]).toBe(0);
  });

  const offers: [string, Options, Record<string, unknown>][] = [
    ["nothing", {}, { sackOk: undefined, ts: undefined, wscale: undefined }],
    ["SACK", { sackOk: true }, { sackOk: true, ts: undefined, wscale: undefined }],
    ["timestamps", { ts: [1000, 0] }, { sackOk: undefined, wscale: undefined }],
    ["a window scale", { wscale: 2 }, { sackOk: undefined, ts: undefined, wscale: 10 }],
  ];
  it.each(offers)(
    "RFC 7323 §1.3, RFC 2018 §2: only what the SYN offered comes with the SYN-ACK: %s",
    async (_n, o, want) => {
      const p = await Peer.create();
      p.listen(80);
      const c = p.conn(80);
      c.send("S", { mss: 1000, ...o });
      const synAck = c.out()[0];
      expect(synAck?.mss).toBe(1460);
      for (const [k, v] of Object.entries(want)) expect([k, (synAck as never)[k]]).toEqual([k, v]);
      if (o.ts !== undefined) expect(synAck?.ts?.[1]).toBe(1000);
    },
  );

  const mss: [string, Options, number, number][] = [
    ["RFC 9293 §3.7.1: without an MSS option segments have 536 bytes", {}, 1500, 536],
    ["RFC 9293 §3.7.1: an MSS of 700", { mss: 700 }, 1500, 700],
    ["RFC 6691: options count: 536 less 12 with timestamps", { ts: [1, 0] }, 1500, 524],
    ["RFC 6691: an MSS of 1000 less 12 with timestamps", { mss: 1000, ts: [1, 0] }, 1500, 988],
    ["a larger MSS than the link's is cut to it", { mss: 9000 }, 1500, 1460],
    ["the MTU of the card bounds it", { mss: 9000 }, 600, 560],
  ];
  it.each(mss)("%s", async (_name, o, mtu, want) => {
    const p = await Peer.create({ mtu });
    const { c, fd } = p.accepted({ ...o });
    p.write(fd, 3000);
    expect(c.out()[0]?.len).toBe(want);
  });

  const scales: [number, number][] = [
    [0, 0],
    [3, 3],
    [14, 14],
    [15, 14],
    [255, 14],
  ];
  it.each(scales)("RFC 7323 §2.3: a shift of %i is used as %i", async (offered, used) => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000, wscale: offered }, 60000);
    c.send("P.", { len: 1 });
    c.send("P.", { win: 3, len: 1 });
    expect(p.sock(fd).sndWnd).toBe(3 * 2 ** used);
  });

  it("RFC 7323 §2.2: the window of a SYN is not scaled", async () => {
    const p = await Peer.create();
    p.listen(80);
    const c = p.conn(80);
    c.open({ mss: 1000, wscale: 10 }, 5000);
    c.out();
    const { fd } = { fd: p.accept(3) };
    expect(p.sock(fd).maxWindow).toBeGreaterThanOrEqual(5000);
  });

  it("RFC 9293 §3.1: unknown and malformed options do no harm", async () => {
    for (const raw of [
      [254, 6, 1, 2, 3, 4],
      [254, 0, 0, 0],
      [254, 200, 1, 1],
      [2, 3, 1],
      [3, 2, 9, 9],
      [8, 9, 1, 1, 1, 1, 1, 1],
      [5, 3, 1, 1],
      [0, 2, 4, 5],
    ]) {
      const p = await Peer.create();
      p.listen(80);
      const c = p.conn(80);
      c.send("S", { raw: [...raw, 0] });
      expect(c.text(), raw.join(" ")).toEqual(["S. 0:0(0) ack 1"]);
    }
  });

  it("RFC 6528: ISNs differ by port, and advance by one each 64 ns for the same four-tuple", async () => {
    const p = await Peer.create();
    p.listen(80);
    const c1 = p.conn(80, 5001);
    const c2 = p.conn(80, 5002);
    c1.send("S");
    c2.send("S");
    expect(c1.irs).not.toBe(c2.irs);
    const first = c1.irs;
    c1.send("R", { seq: 1 });
    p.sleep(100);
    c1.send("S", { seq: 0 });
    expect((c1.irs - first) >>> 0).toBe(100_000_000 / 64);
  });
});

describe("RFC 7323: timestamps", () => {
  it("§3.2: every segment carries one, and echoes the peer's", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000, ts: [5000, 0] });
    c.tsval = 5100;
    c.send("P.", { len: 10 });
    p.write(fd, 10);
    c.send(".");
    const seg = c.out().at(-1);
    expect(seg?.ts?.[1]).toBe(5100);
    const tsval = seg?.ts?.[0] as number;
    p.sleep(250);
    p.write(fd, 10);
    expect((c.out().at(-1)?.ts?.[0] as number) - tsval).toBe(250);
  });

  it("§5.3: PAWS: a segment with an older TSval is dropped and answered", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000, ts: [5000, 0] });
    c.send("P.", { len: 10, ts: [4000, c.tsRecent] });
    expect(p.read(fd)).toBe("EAGAIN");
    expect(c.text()).toEqual([". 1:1(0) ack 1"]);
    c.send("P.", { seq: 1, len: 10, ts: [5001, c.tsRecent] });
    expect(p.read(fd)).toBe(10);
  });

  it("§5.2: a RST is not subject to PAWS", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000, ts: [5000, 0] });
    c.send("R", { ts: [4000, c.tsRecent] });
    expect(p.state(fd)).toBe("CLOSE");
  });

  it("§5.5: after 24 days without a segment TS.Recent no longer counts", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000, ts: [5000, 0] });
    p.sleep(25 * 86_400_000);
    c.send("P.", { len: 10, ts: [4000, c.tsRecent] });
    expect(p.read(fd)).toBe(10);
  });

  it("§4.3: TS.Recent follows only segments that begin at or before Last.ACK.sent", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000, ts: [5000, 0] });
    c.send("P.", { seq: 101, len: 100, ts: [5200, c.tsRecent] });
    expect(c.out()[0]?.ts?.[1]).toBe(5000);
    c.send("P.", { seq: 1, len: 100, ts: [5100, c.tsRecent] });
    expect(p.read(fd)).toBe(200);
    expect(c.out()[0]?.ts?.[1]).toBe(5100);
  });

  it("§3.2: a SYN-ACK that echoes a time that was never sent is reset", async () => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    c.out();
    c.send("S.", { mss: 1000, ts: [1, c.tsRecent + 5000] });
    expect(c.text()).toEqual(["R 1:1(0)"]);
    expect(p.state(fd)).toBe("SYN_SENT");
  });

  it("§5.3: wraps: TSval is compared modulo 2^32", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000, ts: [0xfffffff0, 0] });
    c.send("P.", { len: 10, ts: [5, c.tsRecent] });
    expect(p.read(fd)).toBe(10);
  });

  it("errno table: connect again while it is under way, and when it is done", async () => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    const again = (): string | number => errName(p.host.sys.connect(fd, { family: 2, addr: 0x0a070001, port: 7 }));
    expect(again()).toBe("EALREADY");
    c.send("S.", { mss: 1000 });
    expect(again()).toBe(0);
    expect(again()).toBe("EISCONN");
  });
});
