/** The walk of send(), function by function, in the order and depth of a running machine's trace. */

import { describe, expect, it } from "vitest";
import type { SkbuffKernel } from "../src/init/create.ts";
import { createKernel } from "../src/init/create.ts";
import type { Host } from "../src/init/host.ts";
import type { TraceEvent } from "../src/kernel/ftrace.ts";
import { kernelName } from "../src/kernel/names.ts";
import { EINPROGRESS } from "../src/uapi/errno.ts";
import { AF_INET, SOCK_NONBLOCK, SOCK_STREAM } from "../src/uapi/socket.ts";

async function hosts(driver: "rtl819x" | "veth"): Promise<[SkbuffKernel, Host, Host]> {
  const kernel = await createKernel({ clock: "virtual", autoAdvance: false });
  const a = kernel.netns("A");
  const b = kernel.netns("B");
  kernel.link(a, b, { driver, subnet: "10.0.0.0/24" });
  return [kernel, a, b];
}

async function connected(kernel: SkbuffKernel, a: Host, b: Host): Promise<number> {
  const listener = b.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  expect(b.sys.bind(listener, { family: AF_INET, addr: 0, port: 80 })).toBe(0);
  expect(b.sys.listen(listener, 1)).toBe(0);
  const fd = a.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  expect(a.sys.connect(fd, { family: AF_INET, addr: b.primaryAddress(), port: 80 })).toBe(-EINPROGRESS);
  await kernel.advance(10);
  return fd;
}

/** Is there a call of each name somewhere below a call of the one before it? */
function hasChain(events: readonly TraceEvent[], names: readonly string[], from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const event = events[i] as TraceEvent;
    if (event.kernel !== names[0]) continue;
    if (names.length === 1) return true;
    let end = i + 1;
    while (end < to && (events[end] as TraceEvent).depth > event.depth) end++;
    if (hasChain(events, names.slice(1), i + 1, end)) return true;
  }
  return false;
}

function expectChain(events: readonly TraceEvent[], names: readonly string[]): void {
  for (let n = 1; n <= names.length; n++) {
    expect(hasChain(events, names.slice(0, n), 0, events.length), names.slice(0, n).join(" -> ")).toBe(true);
  }
}

describe("the walk", () => {
  it("socket(): net_families and inetsw pick the operations", async () => {
    const [kernel, a] = await hosts("rtl819x");
    kernel.trace.start();
    expect(a.sys.socket(AF_INET, SOCK_STREAM, 0)).toBeGreaterThan(2);
    const { events } = kernel.trace.stop();
    expectChain(events, ["sys_socket", "sock_create", "__sock_create", "inet_create", "tcp_v4_init_sock"]);
    const create = events.find((e) => e.kernel === "inet_create");
    expect(create?.pointer?.pointer).toContain("net_families");
    kernel.close();
  });

  it("send() on an rtl819x, neighbour known: down to re865x_start_xmit through the header cache", async () => {
    const [kernel, a, b] = await hosts("rtl819x");
    const fd = await connected(kernel, a, b);
    expect(a.sys.send(fd, new Uint8Array(1), 1, 0)).toBe(1);
    await kernel.advance(100);
    // Autocorking would leave the tail to the end of the transmission before it.
    a.sysctl("net.ipv4.tcp_autocorking=0");
    kernel.trace.start({ skb: "next" });
    expect(a.sys.send(fd, new Uint8Array(4000), 4000, 0)).toBe(4000);
    const trace = kernel.trace.stop();
    expectChain(trace.events, ["sys_send", "sys_sendto", "sock_sendmsg", "__sock_sendmsg", "tcp_sendmsg"]);
    expectChain(trace.events, [
      "tcp_sendmsg",
      "tcp_push_one",
      "tcp_write_xmit",
      "tcp_transmit_skb",
      "ip_queue_xmit",
      "ip_local_out",
      "dst_output",
      "ip_output",
      "ip_finish_output",
      "ip_finish_output2",
      "neigh_hh_output",
      "dev_queue_xmit",
      "dev_hard_start_xmit",
      "re865x_start_xmit",
      "swNic_send",
    ]);
    expectChain(trace.events, ["ip_local_out", "__ip_local_out", "nf_hook"]);
    expectChain(trace.events, ["tcp_push", "__tcp_push_pending_frames", "tcp_write_xmit"]);
    // The first call of each: later ones are the other host's answers.
    const pointers = Object.fromEntries(
      trace.events
        .filter((e) => e.pointer !== undefined)
        .reverse()
        .map((e) => [e.kernel, e.pointer]),
    );
    expect(pointers["tcp_sendmsg"]).toMatchObject({ pointer: "sock->ops->sendmsg", setBy: "inet_create" });
    expect(pointers["ip_queue_xmit"]).toMatchObject({ setBy: "tcp_v4_init_sock" });
    expect(pointers["ip_output"]).toMatchObject({ setBy: "__mkroute_output" });
    // The 2012 walk's open question: hh->hh_output is dev_queue_xmit while the neighbour is connected.
    expect(pointers["dev_queue_xmit"]).toMatchObject({ pointer: "hh->hh_output" });
    expect(pointers["dev_queue_xmit"]?.setBy).toMatch(/^neigh_(connect|hh_init)/);
    expect(pointers["re865x_start_xmit"]).toMatchObject({ setBy: "re865x_probe" });
    expect(trace.toText()).toContain("hh->hh_output");
    kernel.close();
  });

  it("the first packets take neigh_resolve_output, and ARP asks", async () => {
    const [kernel, a, b] = await hosts("rtl819x");
    kernel.trace.start();
    const fd = a.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    expect(a.sys.connect(fd, { family: AF_INET, addr: b.primaryAddress(), port: 80 })).toBe(-EINPROGRESS);
    const { events } = kernel.trace.stop();
    expectChain(events, [
      "ip_route_output_flow",
      "__ip_route_output_key",
      "ip_route_output_slow",
      "ip_mkroute_output",
      "__mkroute_output",
    ]);
    expectChain(events, ["ip_route_output_slow", "fib_lookup"]);
    expectChain(events, ["ip_finish_output2", "neigh_resolve_output", "neigh_event_send"]);
    expect(events.some((e) => e.kernel === "arp_solicit" || e.kernel === "arp_send")).toBe(true);
    kernel.close();
  });

  it("comes up again: netif_receive_skb to tcp_recvmsg", async () => {
    const [kernel, a, b] = await hosts("rtl819x");
    const fd = await connected(kernel, a, b);
    kernel.trace.start({ function: ["netif_receive_skb", "eth_type_trans"] });
    expect(a.sys.send(fd, new Uint8Array(100), 100, 0)).toBe(100);
    await kernel.advance(1);
    const { events } = kernel.trace.stop();
    expect(events.some((e) => e.kernel === "eth_type_trans")).toBe(true);
    expectChain(events, [
      "netif_receive_skb",
      "ip_rcv",
      "ip_rcv_finish",
      "ip_local_deliver",
      "tcp_v4_rcv",
      "tcp_v4_do_rcv",
      "tcp_rcv_established",
    ]);
    kernel.close();
  });

  it("names every function as the kernel does, and our file beside it", async () => {
    const [kernel, a, b] = await hosts("veth");
    const fd = await connected(kernel, a, b);
    kernel.trace.start({ skb: "next" });
    expect(a.sys.send(fd, new Uint8Array(60_000), 60_000, 0)).toBe(60_000);
    const trace = kernel.trace.stop();
    for (const e of trace.events) expect(e.kernel).toBe(kernelName(e.name));
    expect(trace.events.find((e) => e.kernel === "ip_output")?.file).toContain("net/ipv4/ip_output.ts");
    expectChain(trace.events, ["dev_queue_xmit", "dev_hard_start_xmit", "veth_xmit"]);
    expect(JSON.parse(JSON.stringify(trace.toJSON()))).toHaveProperty("events");
    kernel.close();
  });
});
