/** What the host sends, and when: RFC 9293 §3.7, §3.8, RFC 6298, RFC 6582, RFC 6675, RFC 8985, RFC 1122 §4.2.3. */

import { describe, expect, it } from "vitest";
import { MSG_MORE, SO_KEEPALIVE, SO_RCVBUF, SOL_SOCKET, SOL_TCP } from "../../../src/uapi/socket.ts";
import {
  TCP_CORK,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_MAXSEG,
  TCP_NODELAY,
  TCP_SYNCNT,
  TCP_USER_TIMEOUT,
} from "../../../src/uapi/tcp.ts";
import { Peer } from "./peer.ts";

const SACK = { mss: 1000, sackOk: true };
const PLAIN = { mss: 1000 };

describe("RFC 6298: the retransmission timer", () => {
  it("§2.2, §5.5: RTO = RTT + 4 * RTT/2 from the first sample, doubled at every expiry", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN, 32792, 100);
    p.write(fd, 500);
    p.sleep(20_000);
    expect(c.timeline()).toEqual([0, 300, 900, 2100, 4500, 9300, 18900].map((t) => `${t} P. 1:501(500) ack 1`));
  });

  it("§2.4, TCP_RTO_MIN: never below 200 ms", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 500);
    p.sleep(3000);
    expect(c.times()).toEqual([0, 200, 600, 1400, 3000]);
  });

  it("§2.5, TCP_RTO_MAX, tcp_retries2: at most 120 s, and ETIMEDOUT when the first retransmission is 924.6 s old", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 500);
    p.sleep(1_044_500);
    expect(p.state(fd)).toBe("ESTABLISHED");
    expect(c.times()).toEqual([
      0, 200, 600, 1400, 3000, 6200, 12600, 25400, 51000, 102200, 204600, 324600, 444600, 564600, 684600, 804600,
      924600,
    ]);
    p.sleep(200);
    expect(p.state(fd)).toBe("CLOSE");
    expect(p.soError(fd)).toBe("ETIMEDOUT");
  });

  it("§5.3: an ACK of new data restarts the timer", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN, 32792, 100);
    p.write(fd, 2000);
    p.sleep(250);
    c.out();
    c.send(".", { ack: 1001 });
    p.mark();
    // RTT 250: SRTT 118.75, RTTVAR 75.
    p.sleep(1000);
    expect(c.times()).toEqual([expect.closeTo(419, -1)]);
  });

  it("§3 Karn: a retransmitted segment gives no sample, and the backed-off RTO stays for the next segment", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN, 32792, 100);
    p.write(fd, 500);
    p.sleep(310);
    const srtt = p.sock(fd).srttUs;
    c.send(".");
    expect(p.sock(fd).srttUs).toBe(srtt);
    c.out();
    p.mark();
    p.write(fd, 500);
    p.sleep(1000);
    expect(c.times()).toEqual([0, 600]);
  });

  it("RFC 7323 §4: with timestamps it does give one", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ ...PLAIN, ts: [1, 0] }, 32792, 100);
    p.write(fd, 500);
    p.sleep(310);
    c.send(".");
    c.out();
    p.mark();
    p.write(fd, 500);
    p.sleep(500);
    expect(c.times()[1]).toBeLessThan(400);
  });

  it("§5.4: after the timeout only the earliest segment goes, then slow start", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 4000);
    c.out();
    p.sleep(200);
    expect(c.text()).toEqual([". 1:1001(1000) ack 1"]);
    c.send(".", { ack: 1001 });
    // The last frame of a super-packet is pushed, so that the receiver's GRO lets go of it.
    expect(c.text()).toEqual([". 1001:2001(1000) ack 1", "P. 2001:3001(1000) ack 1"]);
  });
});

describe("RFC 6928, RFC 5681: the congestion window", () => {
  it("RFC 6928: ten segments at first", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 20_000);
    expect(c.out().length).toBe(10);
  });

  it("RFC 5681 §3.1: slow start: two segments for each that was acknowledged", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 32_000);
    c.out();
    c.send(".", { ack: 1001 });
    expect(c.out().length).toBe(2);
    c.send(".", { ack: 5001 });
    expect(c.out().length).toBe(8);
  });

  it("the peer's window bounds it, to the byte", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN, 4000);
    p.write(fd, 20_000);
    expect(c.text().map((t) => t.split(" ")[1])).toEqual([
      "1:1001(1000)",
      "1001:2001(1000)",
      "2001:3001(1000)",
      "3001:4001(1000)",
    ]);
  });
});

describe("fast retransmit and recovery", () => {
  it("RFC 6675 §5: the third segment with new SACK information starts recovery", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(SACK, 32792, 50);
    p.write(fd, 8000);
    c.out();
    p.sleep(50);
    c.send(".", { ack: 1, sack: [[1001, 2001]] });
    c.send(".", { ack: 1, sack: [[1001, 3001]] });
    expect(c.text().filter((t) => t.includes(" 1:1001"))).toEqual([]);
    c.send(".", { ack: 1, sack: [[1001, 4001]] });
    expect(c.text()).toEqual([". 1:1001(1000) ack 1"]);
  });

  it("RFC 6675 §5: SACK tells the holes: exactly what is missing is sent again", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(SACK, 32792, 50);
    p.write(fd, 8000);
    c.out();
    p.sleep(50);
    c.send(".", { ack: 1, sack: [[1001, 2001]] });
    c.send(".", {
      ack: 1,
      sack: [
        [3001, 4001],
        [1001, 2001],
      ],
    });
    c.send(".", {
      ack: 1,
      sack: [
        [3001, 6001],
        [1001, 2001],
      ],
    });
    c.send(".", {
      ack: 1,
      sack: [
        [3001, 8001],
        [1001, 2001],
      ],
    });
    p.sleep(5);
    expect(c.text()).toEqual([". 1:1001(1000) ack 1", ". 2001:3001(1000) ack 1"]);
    c.send(".", { ack: 8001 });
    p.sleep(1000);
    expect(c.text()).toEqual([]);
  });

  it("RFC 5681 §3.2: without SACK the third duplicate ACK starts recovery, once", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN, 32792, 50);
    p.write(fd, 8000);
    c.out();
    p.sleep(50);
    c.send(".", { ack: 1 });
    c.send(".", { ack: 1 });
    expect(c.text()).toEqual([]);
    c.send(".", { ack: 1 });
    expect(c.text()).toEqual([". 1:1001(1000) ack 1"]);
    c.send(".", { ack: 1 });
    expect(c.text().filter((t) => t.includes(" 1:1001"))).toEqual([]);
  });

  it("RFC 6582 §3.2: NewReno: a partial ACK retransmits the next segment at once", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN, 32792, 50);
    p.write(fd, 8000);
    c.out();
    p.sleep(50);
    for (let i = 0; i < 4; i++) c.send(".", { ack: 1 });
    c.out();
    c.send(".", { ack: 3001 });
    expect(c.text()[0]).toBe(". 3001:4001(1000) ack 1");
    c.send(".", { ack: 8001 });
    p.sleep(1000);
    expect(c.text()).toEqual([]);
  });

  it("RFC 5681 §2: a segment that changes the window is no duplicate ACK", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN, 32792, 50);
    p.write(fd, 8000);
    c.out();
    p.sleep(50);
    for (let i = 1; i < 6; i++) c.send(".", { ack: 1, win: 32792 + i });
    expect(c.text()).toEqual([]);
  });

  it("RFC 2018 §8: SACKed data that the timer finds reneged is sent again", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(SACK, 32792, 50);
    p.write(fd, 3000);
    c.out();
    c.send(".", { ack: 1, sack: [[1001, 3001]] });
    p.sleep(3000);
    c.send(".", { ack: 1001 });
    p.sleep(3000);
    expect(c.text().some((t) => t.includes(" 1001:2001"))).toBe(true);
  });

  it("SACK blocks of nonsense are ignored", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(SACK, 32792, 50);
    p.write(fd, 3000);
    c.out();
    p.sleep(50);
    for (const b of [
      [5001, 9001],
      [3001, 1001],
      [-5000, -4000],
      [1, 1],
    ] as [number, number][])
      c.send(".", { ack: 1, sack: [b] });
    expect(p.sock(fd).sackedOut).toBe(0);
    c.send(".");
    p.sleep(1000);
    expect(c.text().length).toBeLessThanOrEqual(1);
  });
});

describe("RFC 8985 §7: tail loss probe", () => {
  it("§7.2: after 2 RTT + 2 ms the last segment goes again", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(SACK, 32792, 50);
    p.write(fd, 3000);
    c.out();
    p.sleep(150);
    expect(c.timeline()).toEqual(["102 P. 2001:3001(1000) ack 1"]);
  });

  it("§7.2: with one segment outstanding it waits for a delayed ACK too, at most the RTO", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(SACK, 32792, 50);
    p.write(fd, 500);
    p.sleep(1000);
    // RTO = 50 + 200: the probe comes in its place, and the RTO follows.
    expect(c.times().slice(0, 3)).toEqual([0, 250, 500]);
  });

  it("§7.2: new data is sent in preference", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(SACK, 32792, 50);
    p.write(fd, 12_000);
    expect(c.out().length).toBe(10);
    p.sleep(110);
    expect(c.timeline()).toEqual(["102 . 10001:11001(1000) ack 1"]);
  });

  it("tcp_early_retrans=0 switches it off", async () => {
    const p = await Peer.create({ sysctl: { "net.ipv4.tcp_early_retrans": 0 } });
    const { c, fd } = p.accepted(SACK, 32792, 50);
    p.write(fd, 3000);
    c.out();
    p.sleep(240);
    expect(c.timeline()).toEqual([]);
    p.sleep(20);
    expect(c.timeline()).toEqual(["250 . 1:1001(1000) ack 1"]);
  });
});

describe("RFC 9293 §3.7.4: the Nagle algorithm", () => {
  it("a second small segment waits for the ACK of the first", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 100);
    p.write(fd, 100);
    p.write(fd, 100);
    expect(c.text()).toEqual(["P. 1:101(100) ack 1"]);
    c.send(".");
    expect(c.text()).toEqual(["P. 101:301(200) ack 1"]);
  });

  it("full segments do not wait; the rest does (Minshall)", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 100);
    p.write(fd, 1500);
    expect(c.text()).toEqual(["P. 1:101(100) ack 1", ". 101:1101(1000) ack 1"]);
    c.send(".");
    expect(c.text()).toEqual(["P. 1101:1601(500) ack 1"]);
  });

  it("TCP_NODELAY sends at once, and flushes what waits", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 100);
    p.write(fd, 100);
    p.setopt(fd, SOL_TCP, TCP_NODELAY, 1);
    p.write(fd, 50);
    expect(c.text()).toEqual(["P. 1:101(100) ack 1", "P. 101:201(100) ack 1", "P. 201:251(50) ack 1"]);
  });

  it("TCP_CORK holds a partial segment, and uncorking sends it", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.setopt(fd, SOL_TCP, TCP_CORK, 1);
    p.write(fd, 600);
    p.write(fd, 600);
    expect(c.text()).toEqual([". 1:1001(1000) ack 1"]);
    p.setopt(fd, SOL_TCP, TCP_CORK, 0);
    expect(c.text()).toEqual(["P. 1001:1201(200) ack 1"]);
  });

  it("TCP_CORK: after 200 ms it goes anyway", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.setopt(fd, SOL_TCP, TCP_CORK, 1);
    p.write(fd, 100);
    p.sleep(210);
    expect(c.timeline()).toEqual(["200 P. 1:101(100) ack 1"]);
  });

  it("MSG_MORE joins two sends", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 100, MSG_MORE);
    expect(c.text()).toEqual([]);
    p.write(fd, 100);
    expect(c.text()).toEqual(["P. 1:201(200) ack 1"]);
  });
});

describe("RFC 9293 §3.9.1.2: PSH", () => {
  it("stands on the last segment of a send", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 3500);
    expect(c.out().map((s) => s.flags)).toEqual([".", ".", ".", "P."]);
  });
});

describe("RFC 9293 §3.8.6.1: zero windows", () => {
  it("probes with backoff, and goes on when the window opens", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN, 1000);
    p.write(fd, 3000);
    c.out();
    c.send(".", { ack: 1001, win: 0 });
    p.mark();
    p.sleep(3500);
    expect(c.timeline()).toEqual([200, 600, 1400, 3000].map((t) => `${t} . 1000:1000(0) ack 1`));
    c.send(".", { win: 5000 });
    expect(c.text()).toEqual([". 1001:2001(1000) ack 1", "P. 2001:3001(1000) ack 1"]);
  });

  it("a peer that answers the probes keeps the connection for ever", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN, 1000);
    p.write(fd, 3000);
    c.send(".", { ack: 1001, win: 0 });
    for (let i = 0; i < 4000; i++) {
      p.sleep(1000);
      if (c.out().length > 0) c.send(".", { ack: 1001, win: 0 });
    }
    expect(p.state(fd)).toBe("ESTABLISHED");
  });

  it("one that does not answer is given up (tcp_retries2)", async () => {
    const p = await Peer.create({ sysctl: { "net.ipv4.tcp_retries2": 5 } });
    const { c, fd } = p.accepted(PLAIN, 1000);
    p.write(fd, 3000);
    c.send(".", { ack: 1001, win: 0 });
    p.sleep(60_000);
    expect(p.soError(fd)).toBe("ETIMEDOUT");
  });

  it("§3.8.6.2.1 silly window: less than a segment waits for the override timer", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    c.send("P.", { len: 1, win: 500 });
    p.sleep(300);
    c.send("P.", { len: 1, win: 500 });
    p.sleep(300);
    c.out();
    p.mark();
    p.write(fd, 3000);
    p.sleep(199);
    expect(c.text()).toEqual([]);
    p.sleep(2);
    expect(c.out()[0]).toMatchObject({ seq: 1, len: 500 });
  });

  it("a window that shrinks is respected", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN, 5000);
    c.send("P.", { len: 1, win: 2000 });
    c.send("P.", { len: 1, win: 2000 });
    c.out();
    p.write(fd, 5000);
    expect(c.out().reduce((n, s) => n + s.len, 0)).toBe(2000);
  });
});

describe("RFC 9293 §3.8.4: keepalive", () => {
  it("probes after the idle time, at the interval, and gives up with ETIMEDOUT and a RST", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.setopt(fd, SOL_TCP, TCP_KEEPIDLE, 10);
    p.setopt(fd, SOL_TCP, TCP_KEEPINTVL, 5);
    p.setopt(fd, SOL_TCP, TCP_KEEPCNT, 3);
    p.setopt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    p.sleep(30_000);
    expect(c.timeline()).toEqual([
      "10000 . 0:0(0) ack 1",
      "15000 . 0:0(0) ack 1",
      "20000 . 0:0(0) ack 1",
      "25000 R. 1:1(0) ack 1",
    ]);
    expect(p.soError(fd)).toBe("ETIMEDOUT");
    expect(p.state(fd)).toBe("CLOSE");
  });

  it("an answer starts the idle time again", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.setopt(fd, SOL_TCP, TCP_KEEPIDLE, 10);
    p.setopt(fd, SOL_TCP, TCP_KEEPINTVL, 5);
    p.setopt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    p.sleep(10_000);
    expect(c.times()).toEqual([10_000]);
    c.send(".");
    p.sleep(10_100);
    expect(c.times().map((t) => Math.round(t / 100))).toEqual([200]);
  });

  it("§3.8.4: off by default; 2 hours when on", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.sleep(8_000_000);
    expect(c.text()).toEqual([]);
    p.setopt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    p.mark();
    p.sleep(7_199_000);
    // It has been idle for longer than that already: the first probe comes when the timer looks.
    p.sleep(2000);
    expect(c.times()[0]).toBe(7_200_000);
  });
});

describe("giving up", () => {
  it("RFC 6298 §5.7, tcp_syn_retries=6, tcp_syn_linear_timeouts=0: 1, 3, 7, 15, 31, 63 s, ETIMEDOUT at 127 s", async () => {
    const p = await Peer.create({ sysctl: { "net.ipv4.tcp_syn_linear_timeouts": 0 } });
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    p.sleep(126_900);
    expect(p.state(fd)).toBe("SYN_SENT");
    expect(c.times()).toEqual([0, 1000, 3000, 7000, 15000, 31000, 63000]);
    p.sleep(200);
    expect(p.soError(fd)).toBe("ETIMEDOUT");
  });

  it("tcp_syn_linear_timeouts=4 (the default): 1, 2, 3, 4, 5, 7, 11 ... 67 s, ETIMEDOUT at 131 s", async () => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    p.sleep(130_900);
    expect(c.times()).toEqual([0, 1000, 2000, 3000, 4000, 5000, 7000, 11000, 19000, 35000, 67000]);
    p.sleep(200);
    expect(p.soError(fd)).toBe("ETIMEDOUT");
  });

  it("TCP_SYNCNT=1 with tcp_syn_linear_timeouts=0: ETIMEDOUT at 3 s", async () => {
    const p = await Peer.create({ sysctl: { "net.ipv4.tcp_syn_linear_timeouts": 0 } });
    p.conn(0, 7);
    const fd = p.socket();
    p.setopt(fd, SOL_TCP, TCP_SYNCNT, 1);
    p.connect(7, fd);
    p.sleep(2900);
    expect(p.soError(fd)).toBe(0);
    p.sleep(200);
    expect(p.soError(fd)).toBe("ETIMEDOUT");
  });

  it("tcp_synack_retries=5: 1, 3, 7, 15, 31 s, forgotten at 63 s", async () => {
    const p = await Peer.create();
    p.listen(80);
    const c = p.conn(80);
    c.send("S", { mss: 1000 });
    p.sleep(62_900);
    expect(c.times()).toEqual([0, 1000, 3000, 7000, 15000, 31000]);
    expect(p.states()).toEqual(["NEW_SYN_RECV"]);
    p.sleep(200);
    expect(p.states()).toEqual([]);
  });

  it("RFC 5482, TCP_USER_TIMEOUT: data unacknowledged 3 s after its first retransmission ends the connection", async () => {
    const p = await Peer.create();
    const { fd } = p.accepted(PLAIN);
    p.setopt(fd, SOL_TCP, TCP_USER_TIMEOUT, 3000);
    p.write(fd, 100);
    p.sleep(3100);
    expect(p.state(fd)).toBe("ESTABLISHED");
    p.sleep(200);
    expect(p.soError(fd)).toBe("ETIMEDOUT");
  });

  it("RFC 6298 §5.7: after a retransmitted SYN the RTO begins at 3 s", async () => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.connect(7);
    p.sleep(1500);
    c.send("S.", { mss: 1000 });
    c.out();
    p.mark();
    p.write(fd, 100);
    p.sleep(4000);
    expect(c.times()).toEqual([0, 3000]);
  });

  it("tcp_orphan_retries: an orphan with unacknowledged data goes after 8 retries", async () => {
    const p = await Peer.create();
    const { fd } = p.accepted(PLAIN);
    p.write(fd, 100);
    p.close(fd);
    p.sleep(204_500);
    expect(p.states()).toEqual(["FIN_WAIT1"]);
    p.sleep(200);
    expect(p.states()).toEqual([]);
  });
});

describe("limits of the application", () => {
  it("TCP_MAXSEG bounds the segments and what is offered", async () => {
    const p = await Peer.create();
    const c = p.conn(0, 7);
    const fd = p.socket();
    p.setopt(fd, SOL_TCP, TCP_MAXSEG, 600);
    p.connect(7, fd);
    expect(c.syn?.mss).toBe(600);
    c.send("S.", { mss: 1400 });
    c.out();
    p.write(fd, 1500);
    expect(c.out().map((s) => s.len)[0]).toBe(600);
  });

  it("RFC 9293 §3.8.6.2.2: the receiver advances the window by a segment at least, and never takes it back", async () => {
    const p = await Peer.create();
    const lfd = p.listen(80);
    p.setopt(lfd, SOL_SOCKET, SO_RCVBUF, 8000);
    const c = p.conn(80);
    c.open(PLAIN);
    const fd = p.accept(lfd);
    let edge = 0;
    let win = c.out().at(-1)?.win ?? 0;
    let sent = 0;
    const look = (): void => {
      for (const s of c.out()) {
        expect(s.ack + s.win).toBeGreaterThanOrEqual(edge);
        edge = s.ack + s.win;
        win = s.win;
      }
    };
    for (let i = 0; i < 40 && win >= 500; i++) {
      const len = Math.min(win, 1000);
      c.send("P.", { len });
      sent += len;
      p.sleep(50);
      look();
    }
    expect(win).toBeLessThan(500);
    expect(p.read(fd, 100)).toBe(100);
    expect(c.text()).toEqual([]);
    expect(p.read(fd, 65536)).toBe(sent - 100);
    expect(c.sent.at(-1)?.win).toBeGreaterThanOrEqual(1000);
    look();
  });
});
