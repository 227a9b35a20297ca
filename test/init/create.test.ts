/** The API's edge: what misuse gets, and what the end of memory looks like. */

import { describe, expect, it } from "vitest";
import { createKernel } from "../../src/init/create.ts";
import { CommandError } from "../../src/init/host.ts";
import { poolSetLimit } from "../../src/mm/pool.ts";
import { EAGAIN, EBADF, ENOBUFS, ENOTSOCK } from "../../src/uapi/errno.ts";
import { AF_INET, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM } from "../../src/uapi/socket.ts";
import { Pair } from "../sim/pair.ts";

describe("misuse", () => {
  it("gets errors that say what is wrong", async () => {
    const kernel = await createKernel({ clock: "virtual", autoAdvance: false });
    const a = kernel.netns("a");
    const b = kernel.netns("b");
    expect(() => kernel.link(a, a)).toThrow("two hosts");
    expect(() => kernel.link(a, b, { subnet: "10.0.0.0" })).toThrow("subnet");
    expect(() => kernel.link(a, b, { delay: "20 parsecs" })).toThrow("delay");
    expect(() => kernel.link(a, b, { loss: 2 })).toThrow("loss");
    expect(() => a.ip("addr add 10.0.0.1/24 dev eth9")).toThrow(CommandError);
    expect(() => a.ip("frobnicate")).toThrow("frobnicate");
    expect(() => a.sysctl("net.ipv4.no_such_thing")).toThrow("No such file");
    expect(a.sys.send(99, new Uint8Array(1), 1, 0)).toBe(-EBADF);
    expect(a.sys.close(99)).toBe(-EBADF);
    expect([-EBADF, -ENOTSOCK]).toContain(a.sys.listen(0, 1));
    await expect(createKernel({ clock: "sundial" as "real" })).rejects.toThrow("sundial");
    await expect(createKernel({ memoryBytes: -1 })).rejects.toThrow("memoryBytes");
    kernel.close();
  });
});

describe("out of memory", () => {
  it("senders wait, receivers drop and recover, and all is well when memory returns", async () => {
    const pair = await Pair.create({ delay: "1ms" });
    const [tx, rx] = await pair.connect();
    const udp = pair.a.sys.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    pair.kernel.core.enter();
    poolSetLimit(1);
    pair.kernel.core.exit();
    // Everything that is free now is used up; then the answer is "not now", never an exception.
    const chunk = new Uint8Array(65536).fill(7);
    let sent = 0;
    let tcpError = 0;
    for (let i = 0; i < 10_000; i++) {
      const n = pair.a.sys.send(tx, chunk, chunk.length, 0);
      if (n < 0) {
        tcpError = n;
        break;
      }
      sent += n;
    }
    expect([-EAGAIN, -ENOBUFS]).toContain(tcpError);
    const to = { family: AF_INET, addr: pair.b.primaryAddress(), port: 9 };
    for (let i = 0; i < 1000; i++) {
      const n = pair.a.sys.sendto(udp, chunk, 1000, 0, to);
      expect([1000, -EAGAIN, -ENOBUFS]).toContain(n);
    }
    await pair.kernel.advance(50);
    pair.kernel.core.enter();
    poolSetLimit(0);
    pair.kernel.core.exit();
    pair.a.sys.close(udp);
    // What was accepted arrives, all of it.
    let received = 0;
    const inn = new Uint8Array(65536);
    for (let i = 0; i < 5000 && received < sent; i++) {
      const n = pair.b.sys.recv(rx, inn, inn.length, 0);
      if (n > 0) {
        expect(inn.subarray(0, n).every((x) => x === 7)).toBe(true);
        received += n;
      } else {
        await pair.kernel.advance(20);
      }
    }
    expect(received).toBe(sent);
    await pair.finish([pair.a, tx], [pair.b, rx]);
  }, 60_000);

  it("a socket() after close() finds the descriptor free again", async () => {
    const kernel = await createKernel({ clock: "virtual", autoAdvance: false });
    const a = kernel.netns("a");
    const fd = a.sys.socket(AF_INET, SOCK_STREAM, 0);
    expect(a.sys.close(fd)).toBe(0);
    expect(a.sys.socket(AF_INET, SOCK_STREAM, 0)).toBe(fd);
    kernel.close();
  });
});
