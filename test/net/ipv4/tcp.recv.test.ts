/** How the host acknowledges, and what a program reads: RFC 9293 §3.8.6.3, RFC 5681 §4.2, RFC 2018, RFC 2883, RFC 6093. */

import { describe, expect, it } from "vitest";
import {
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITALL,
  SO_OOBINLINE,
  SO_RCVLOWAT,
  SOL_SOCKET,
  SOL_TCP,
} from "../../../src/uapi/socket.ts";
import { SIOCATMARK, SIOCINQ, SIOCOUTQ } from "../../../src/uapi/sockios.ts";
import { TCP_QUICKACK } from "../../../src/uapi/tcp.ts";
import type { Conn } from "./peer.ts";
import { Peer } from "./peer.ts";

const SACK = { mss: 1000, sackOk: true };
const PLAIN = { mss: 1000 };

/** Uses up the ACKs that are not delayed at the start of a connection, reading as it goes. */
function wearQuickacks(p: Peer, c: Conn, fd: number): void {
  for (let i = 0; i < 40; i++) {
    c.send("P.", { len: 1000 });
    p.read(fd);
  }
  p.sleep(1);
  c.out();
}

describe("RFC 5681 §4.2: acknowledging", () => {
  it("the first segments of a connection are acknowledged at once (tcp_enter_quickack_mode: 16)", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    for (let i = 0; i < 16; i++) {
      c.send("P.", { len: 1000 });
      expect(c.out().length, `segment ${i}`).toBe(1);
      p.read(fd);
      c.out();
    }
  });

  it("later on an ACK waits for a second segment", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    wearQuickacks(p, c, fd);
    p.sleep(50);
    c.out();
    c.send(".", { len: 1000 });
    p.read(fd);
    expect(c.out()).toEqual([]);
    c.send(".", { len: 1000 });
    p.read(fd);
    expect(c.out().length).toBe(1);
  });

  it("§4.2, TCP_DELACK_MIN: or for 40 ms", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    wearQuickacks(p, c, fd);
    p.sleep(50);
    c.out();
    p.mark();
    c.send("P.", { len: 1000 });
    p.sleep(500);
    const times = c.times();
    expect(times.length).toBe(1);
    expect(times[0]).toBeGreaterThanOrEqual(20);
    expect(times[0]).toBeLessThanOrEqual(44);
  });

  it("PSH: an ACK goes as soon as everything was read (ICSK_ACK_PUSHED)", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    wearQuickacks(p, c, fd);
    p.sleep(50);
    c.out();
    c.send("P.", { len: 1000 });
    expect(c.out()).toEqual([]);
    p.read(fd);
    expect(c.text()).toEqual([`. 1:1(0) ack ${c.nxt}`]);
  });

  it("once the host has answered, the ACK rides on the answer", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    wearQuickacks(p, c, fd);
    p.sleep(50);
    c.send("P.", { len: 100 });
    expect(p.read(fd)).toBe(100);
    p.write(fd, 10);
    c.send(".");
    c.out();
    c.send("P.", { len: 100 });
    expect(p.read(fd)).toBe(100);
    p.write(fd, 10);
    expect(c.text()).toEqual([`P. 11:21(10) ack ${c.nxt}`]);
    c.send(".");
    p.sleep(500);
    expect(c.text()).toEqual([]);
  });

  it("RFC 5681 §4.2: an out-of-order segment, and one that fills a hole, are acknowledged at once", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    wearQuickacks(p, c, fd);
    p.sleep(50);
    c.out();
    const at = c.nxt;
    c.send("P.", { seq: at + 1000, len: 1000 });
    expect(c.text()).toEqual([`. 1:1(0) ack ${at}`]);
    c.send("P.", { seq: at, len: 1000 });
    expect(c.text()).toEqual([`. 1:1(0) ack ${at + 2000}`]);
  });

  it("TCP_QUICKACK=1 sends what was delayed", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    wearQuickacks(p, c, fd);
    p.sleep(50);
    c.out();
    c.send(".", { len: 1000 });
    p.read(fd);
    expect(c.out()).toEqual([]);
    p.setopt(fd, SOL_TCP, TCP_QUICKACK, 1);
    expect(c.out().length).toBe(1);
  });

  it("the ACK of a FIN is delayed by 200 ms at most", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    wearQuickacks(p, c, fd);
    p.sleep(50);
    c.out();
    c.send("F.");
    p.sleep(201);
    expect(c.text()).toEqual([`. 1:1(0) ack ${c.nxt}`]);
  });
});

describe("RFC 2018, RFC 2883: SACK", () => {
  const blocks: [string, [number, number][], string][] = [
    ["§4: a block for an isolated segment", [[1001, 1000]], "1001:2001"],
    [
      "§4: adjacent segments join",
      [
        [1001, 1000],
        [2001, 1000],
      ],
      "1001:3001",
    ],
    [
      "§4: the newest block comes first",
      [
        [1001, 1000],
        [3001, 1000],
      ],
      "3001:4001 1001:2001",
    ],
    [
      "§4: and then those that were reported before",
      [
        [1001, 1000],
        [3001, 1000],
        [5001, 1000],
      ],
      "5001:6001 3001:4001 1001:2001",
    ],
    [
      "§4: a block that grows comes first again",
      [
        [1001, 1000],
        [3001, 1000],
        [2001, 500],
      ],
      "1001:2501 3001:4001",
    ],
    [
      "§3: four blocks at most",
      [
        [1001, 1],
        [2001, 1],
        [3001, 1],
        [4001, 1],
        [5001, 1],
      ],
      "5001:5002 4001:4002 3001:3002 2001:2002",
    ],
    [
      "a filler joins two blocks",
      [
        [1001, 1000],
        [3001, 1000],
        [2001, 1000],
      ],
      "1001:4001",
    ],
  ];
  it.each(blocks)("RFC 2018 %s", async (_name, segs, want) => {
    const p = await Peer.create();
    const { c } = p.accepted(SACK);
    for (const [seq, len] of segs) {
      c.send("P.", { seq, len });
      p.sleep(20);
    }
    expect(c.text().at(-1)).toBe(`. 1:1(0) ack 1 sack ${want}`);
  });

  it("RFC 2018 §3: three blocks at most beside timestamps", async () => {
    const p = await Peer.create();
    const { c } = p.accepted({ ...SACK, ts: [1, 0] });
    for (const seq of [1001, 2001, 3001, 4001, 5001]) {
      c.send("P.", { seq, len: 1 });
      p.sleep(20);
    }
    expect(c.text().at(-1)).toBe(". 1:1(0) ack 1 sack 5001:5002 4001:4002 3001:3002");
  });

  it("RFC 2018 §2: none without SACK-permitted", async () => {
    const p = await Peer.create();
    const { c } = p.accepted(PLAIN);
    c.send("P.", { seq: 1001, len: 1000 });
    expect(c.text()).toEqual([". 1:1(0) ack 1"]);
  });

  const dsack: [string, [number, number][], string][] = [
    [
      "§4.1.1: a duplicate of delivered data",
      [
        [1, 1000],
        [1, 1000],
      ],
      "ack 1001 sack 1:1001",
    ],
    [
      "§4.2.1: a duplicate beyond the cumulative ACK",
      [
        [1001, 1000],
        [1001, 1000],
      ],
      "ack 1 sack 1001:2001 1001:2001",
    ],
    [
      "§4.1.2: half of it delivered before",
      [
        [1, 500],
        [1, 1000],
      ],
      "ack 1001 sack 1:501",
    ],
    [
      "§4.2.2: a partial duplicate in the queue",
      [
        [1001, 1000],
        [1501, 1000],
      ],
      "ack 1 sack 1501:2001 1001:2501",
    ],
  ];
  it.each(dsack)("RFC 2883 %s", async (_name, segs, want) => {
    const p = await Peer.create();
    const { c } = p.accepted(SACK);
    for (const [seq, len] of segs) {
      c.send("P.", { seq, len });
      p.sleep(20);
    }
    expect(c.text().at(-1)).toBe(`. 1:1(0) ${want}`);
  });

  it("tcp_dsack=0 switches them off", async () => {
    const p = await Peer.create({ sysctl: { "net.ipv4.tcp_dsack": 0 } });
    const { c } = p.accepted(SACK);
    c.send("P.", { seq: 1, len: 1000 });
    c.send("P.", { seq: 1, len: 1000 });
    expect(c.text().at(-1)).toBe(". 1:1(0) ack 1001");
  });
});

describe("reading", () => {
  it("partial counts: recv takes what is asked for, and what is there", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    expect(p.read(fd)).toBe("EAGAIN");
    c.send("P.", { len: 100 });
    c.send("P.", { len: 100 });
    expect(p.read(fd, 150)).toBe(150);
    expect(p.read(fd, 150)).toBe(50);
    expect(p.read(fd)).toBe("EAGAIN");
    expect(p.read(fd, 0)).toBe(0);
  });

  it("MSG_PEEK leaves it, across segments", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    c.send("P.", { len: 100 });
    c.send("P.", { len: 100 });
    const peeked = p.readBytes(fd, 150, MSG_PEEK);
    expect(peeked.length).toBe(150);
    expect(p.readBytes(fd, 150)).toEqual(peeked);
    expect(p.read(fd)).toBe(50);
  });

  it("MSG_TRUNC throws away", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    c.send("P.", { len: 100 });
    expect(p.read(fd, 60, MSG_TRUNC)).toBe(60);
    expect(p.readBytes(fd)[0]).toBe(60);
  });

  it("MSG_WAITALL of the non-blocking core returns what there is", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    c.send("P.", { len: 100 });
    expect(p.read(fd, 200, MSG_WAITALL)).toBe(100);
  });

  it("the end comes after the data, again and again", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    c.send("FP.", { len: 10 });
    expect(p.poll(fd)).toBe("IN OUT RDHUP");
    expect(p.read(fd)).toBe(10);
    expect(p.read(fd)).toBe(0);
    expect(p.read(fd)).toBe(0);
  });

  it("SO_RCVLOWAT: not readable below it", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.setopt(fd, SOL_SOCKET, SO_RCVLOWAT, 150);
    c.send("P.", { len: 100 });
    expect(p.poll(fd)).toBe("OUT");
    c.send("P.", { len: 100 });
    expect(p.poll(fd)).toBe("IN OUT");
    expect(p.read(fd)).toBe(200);
  });

  it("SIOCINQ, SIOCOUTQ count", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    c.send("P.", { len: 100 });
    p.write(fd, 300);
    expect(p.host.sys.ioctl(fd, SIOCINQ)).toBe(100);
    expect(p.host.sys.ioctl(fd, SIOCOUTQ)).toBe(300);
    c.send(".");
    expect(p.host.sys.ioctl(fd, SIOCOUTQ)).toBe(0);
  });
});

describe("RFC 6093, RFC 9293 §3.8.5: urgent data", () => {
  it("is taken out of the stream, and raises POLLPRI", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    c.send("PU.", { len: 10, urg: 10 });
    expect(p.poll(fd)).toContain("PRI");
    expect(p.readBytes(fd, 1, MSG_OOB)).toEqual([9]);
    expect(p.read(fd, 1, MSG_OOB)).toBe("EINVAL");
    expect(p.readBytes(fd)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(p.poll(fd)).not.toContain("PRI");
  });

  it("stops a read at the mark; SIOCATMARK tells", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    c.send("PU.", { len: 10, urg: 5 });
    expect(p.read(fd)).toBe(4);
    expect(p.host.sys.ioctl(fd, SIOCATMARK)).toBe(1);
    expect(p.readBytes(fd)).toEqual([5, 6, 7, 8, 9]);
  });

  it("SO_OOBINLINE leaves it where it is", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.setopt(fd, SOL_SOCKET, SO_OOBINLINE, 1);
    c.send("PU.", { len: 10, urg: 5 });
    expect(p.read(fd)).toBe(4);
    expect(p.readBytes(fd)).toEqual([4, 5, 6, 7, 8, 9]);
    expect(p.read(fd, 1, MSG_OOB)).toBe("EINVAL");
  });

  it("MSG_OOB sends with URG, the pointer behind the byte", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted(PLAIN);
    p.write(fd, 3, MSG_OOB);
    expect(c.text()).toEqual(["PU. 1:4(3) ack 1 urg 3".replace("PU.", "P.U")]);
  });

  it("recv(MSG_OOB) without any: EINVAL", async () => {
    const p = await Peer.create();
    const { fd } = p.accepted(PLAIN);
    expect(p.read(fd, 1, MSG_OOB)).toBe("EINVAL");
  });
});
