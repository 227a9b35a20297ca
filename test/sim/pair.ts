/** Two hosts on one link in virtual time, driven by system calls. */

import { createHash } from "node:crypto";
import { expect } from "vitest";
import type { SkbuffKernel } from "../../src/init/create.ts";
import { createKernel } from "../../src/init/create.ts";
import type { Host } from "../../src/init/host.ts";
import type { LinkOptions } from "../../src/init/link_options.ts";
import type { NetDevice } from "../../src/net/core/dev.ts";
import { EAGAIN, EINPROGRESS } from "../../src/uapi/errno.ts";
import { AF_INET, SHUT_WR, SOCK_NONBLOCK, SOCK_STREAM } from "../../src/uapi/socket.ts";

export class Pair {
  readonly kernel: SkbuffKernel;
  readonly a: Host;
  readonly b: Host;
  readonly devA: NetDevice;
  readonly devB: NetDevice;

  constructor(kernel: SkbuffKernel, link: LinkOptions) {
    this.kernel = kernel;
    this.a = kernel.netns("a");
    this.b = kernel.netns("b");
    [this.devA, this.devB] = kernel.link(this.a, this.b, { subnet: "10.0.0.0/24", ...link });
  }

  static async create(link: LinkOptions = {}, seed = 1): Promise<Pair> {
    return new Pair(await createKernel({ clock: "virtual", autoAdvance: false, seed }), link);
  }

  /** A connection from a to b: [a's descriptor, b's]. */
  async connect(port = 5000, patience = 200_000): Promise<[number, number]> {
    const { a, b, kernel } = this;
    const listener = b.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    expect(b.sys.bind(listener, { family: AF_INET, addr: 0, port })).toBe(0);
    expect(b.sys.listen(listener, 16)).toBe(0);
    const fd = a.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    expect([0, -EINPROGRESS]).toContain(a.sys.connect(fd, { family: AF_INET, addr: b.primaryAddress(), port }));
    for (let ms = 0; ms < patience; ms += 10) {
      await kernel.advance(10);
      const peer = b.sys.accept4(listener, null, SOCK_NONBLOCK);
      if (peer >= 0) {
        b.sys.close(listener);
        return [fd, peer];
      }
      expect(peer).toBe(-EAGAIN);
    }
    throw new Error("the connection was not made in time");
  }

  /** Sends `size` pseudo-random bytes from a to b, then a FIN. Returns virtual seconds; checks every byte. */
  async transfer(tx: number, rx: number, size: number, patience = 3600): Promise<number> {
    const { a, b, kernel } = this;
    const sent = createHash("sha256");
    const got = createHash("sha256");
    const out = new Uint8Array(65536);
    const inn = new Uint8Array(65536);
    let x = 1;
    let made = 0;
    let at = 0;
    let end = 0;
    let received = 0;
    let shut = false;
    const started = kernel.now;
    for (;;) {
      while (!shut) {
        if (at === end) {
          if (made === size) {
            expect(a.sys.shutdown(tx, SHUT_WR)).toBe(0);
            shut = true;
            break;
          }
          end = Math.min(out.length, size - made);
          at = 0;
          for (let i = 0; i < end; i++) {
            x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
            out[i] = x >>> 24;
          }
          made += end;
          sent.update(out.subarray(0, end));
        }
        const n = a.sys.send(tx, out.subarray(at, end), end - at, 0);
        if (n === -EAGAIN) break;
        expect(n).toBeGreaterThan(0);
        at += n;
      }
      for (;;) {
        const n = b.sys.recv(rx, inn, inn.length, 0);
        if (n === -EAGAIN) break;
        expect(n).toBeGreaterThanOrEqual(0);
        if (n === 0) {
          expect(received).toBe(size);
          expect(got.digest("hex")).toBe(sent.digest("hex"));
          return (kernel.now - started) / 1e6;
        }
        got.update(inn.subarray(0, n));
        received += n;
      }
      const next = kernel.core.nextDeadline();
      const ms = Math.max(0.001, Math.min(100, (next - kernel.now) / 1000));
      await kernel.advance(ms);
      if ((kernel.now - started) / 1e6 > patience) throw new Error(`stalled after ${received} of ${size} bytes`);
    }
  }

  /** Closes both ends, waits out TIME_WAIT and checks that nothing is left. */
  async finish(...fds: [Host, number][]): Promise<void> {
    for (const [host, fd] of fds) expect(host.sys.close(fd)).toBe(0);
    await this.kernel.advance(200_000);
    // A card's receive ring holds buffers for as long as the card is there.
    this.kernel.close();
    expect(this.kernel.poolInUse()).toEqual([]);
  }
}
