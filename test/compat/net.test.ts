/** node:net's shape over the stack, and the libraries that expect it. */

import { once } from "node:events";
import * as http from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { NetSocket } from "../../src/compat/net.ts";
import type { SkbuffKernel } from "../../src/init/create.ts";
import { createKernel } from "../../src/init/create.ts";
import type { Host } from "../../src/init/host.ts";
import { SocketError } from "../../src/net/socket_error.ts";

let kernel: SkbuffKernel;
let a: Host;
let b: Host;

beforeEach(async () => {
  kernel = await createKernel({ clock: "virtual", seed: 3 });
  a = kernel.netns("a");
  b = kernel.netns("b");
  kernel.link(a, b, { subnet: "10.0.0.0/24", delay: "2ms" });
});
afterEach(() => kernel.close());

async function text(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(Buffer.from(part));
  return Buffer.concat(parts).toString();
}

describe("net", () => {
  it("echoes, half-closes and tells addresses", async () => {
    const server = b.net.createServer({ allowHalfOpen: true }, (s) => void s.pipe(s)).listen(7);
    await once(server, "listening");
    expect(server.address()).toEqual({ address: "0.0.0.0", family: "IPv4", port: 7 });
    const s = a.net.connect(7, "10.0.0.2");
    expect(s.connecting).toBe(true);
    await once(s, "connect");
    expect([s.remoteAddress, s.remotePort, s.localAddress]).toEqual(["10.0.0.2", 7, "10.0.0.1"]);
    s.write("hel");
    s.end("lo");
    expect(await text(s)).toBe("hello");
    expect([s.bytesRead, s.bytesWritten]).toEqual([5, 5]);
    server.close();
    await once(server, "close");
  });

  it("resolves the names of hosts", async () => {
    b.net.createServer((s) => void s.end("hi")).listen(7);
    expect(await text(a.net.connect({ port: 7, host: "b" }))).toBe("hi");
    const s = a.net.connect({ port: 7, host: "nowhere" });
    const [err] = (await once(s, "error")) as [NodeJS.ErrnoException];
    expect(err.code).toBe("ENOTFOUND");
  });

  it("reports a refused connection as node does", async () => {
    const s = a.net.connect(9, "10.0.0.2");
    const [err] = (await once(s, "error")) as [SocketError];
    expect(err).toBeInstanceOf(SocketError);
    expect(err).toMatchObject({ code: "ECONNREFUSED", errno: -111, syscall: "connect", address: "10.0.0.2", port: 9 });
    expect(err.message).toBe("connect ECONNREFUSED 10.0.0.2:9");
  });

  it("reports an address in use, and one that is not ours", async () => {
    const first = b.net.createServer().listen(80);
    await once(first, "listening");
    const [used] = (await once(b.net.createServer().listen(80), "error")) as [SocketError];
    expect(used).toMatchObject({ code: "EADDRINUSE", syscall: "listen", port: 80 });
    const [foreign] = (await once(b.net.createServer().listen(81, "10.9.9.9"), "error")) as [SocketError];
    expect(foreign.code).toBe("EADDRNOTAVAIL");
  });

  it("moves a megabyte with back pressure", async () => {
    const data = Buffer.alloc(1 << 20, "0123456789abcdef");
    b.net.createServer((s) => void s.end(data)).listen(7);
    const s = a.net.connect(7, "10.0.0.2");
    let got = 0;
    for await (const chunk of s) {
      expect(Buffer.compare(chunk as Buffer, data.subarray(got, got + (chunk as Buffer).length))).toBe(0);
      got += (chunk as Buffer).length;
    }
    expect(got).toBe(data.length);
  });

  it("times out an idle socket, in virtual time", async () => {
    b.net.createServer(() => {}).listen(7);
    const s = a.net.connect(7, "10.0.0.2");
    await once(s, "connect");
    const started = kernel.now;
    s.setTimeout(5000);
    await once(s, "timeout");
    expect(kernel.now - started).toBeGreaterThanOrEqual(5_000_000);
    s.destroy();
  });

  it("sees a reset", async () => {
    b.net.createServer((s) => void s.once("data", () => s.resetAndDestroy())).listen(7);
    const s = a.net.connect(7, "10.0.0.2");
    s.write("x");
    s.resume();
    const [err] = (await once(s, "error")) as [SocketError];
    expect(err.code).toBe("ECONNRESET");
  });
});

describe("libraries", () => {
  it("http: server, client, keep-alive agent", async () => {
    const web = http.createServer((req, res) => {
      res.end(`${req.method} ${req.url} ${req.socket.remoteAddress}`);
    });
    b.net.createServer((s) => void web.emit("connection", s)).listen(80);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    (agent as unknown as { createConnection: (o: { port: number }) => NetSocket }).createConnection = (o) =>
      a.net.connect({ port: o.port, host: "10.0.0.2" });
    for (let i = 0; i < 3; i++) {
      const request = http.get({ host: "10.0.0.2", port: 80, path: `/${i}`, agent });
      const [response] = (await once(request, "response")) as [http.IncomingMessage];
      expect(await text(response)).toBe(`GET /${i} 10.0.0.1`);
    }
    agent.destroy();
  });
});

describe("dgram", () => {
  it("sends and answers", async () => {
    const server = b.dgram.createSocket("udp4");
    server.on("message", (m: Uint8Array, r: { port: number; address: string }) => server.send(m, r.port, r.address));
    server.bind(53);
    await once(server, "listening");
    const client = a.dgram.createSocket("udp4");
    client.send("ping", 53, "10.0.0.2");
    const [message, from] = (await once(client, "message")) as [Uint8Array, object];
    expect(Buffer.from(message).toString()).toBe("ping");
    expect(from).toMatchObject({ address: "10.0.0.2", port: 53, size: 4 });
    client.close();
    server.close();
  });

  it("hears that nobody listens", async () => {
    const client = a.dgram.createSocket("udp4");
    client.connect(54, "10.0.0.2");
    await once(client, "connect");
    client.send("x");
    const [err] = (await once(client, "error")) as [SocketError];
    expect(err.code).toBe("ECONNREFUSED");
    client.close();
  });
});
