/** nf_hook: what becomes of a packet for each verdict, in which order hooks run, and the queue. */

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import { consumeSkb, skbBytes, skbMark } from "../../../src/net/core/skbuff.ts";
import type { Sock } from "../../../src/net/core/sock.ts";
import type { NfPacket, NfQueuedPacket, NfVerdict } from "../../../src/net/netfilter/api.ts";
import {
  NF_DROP_ERR,
  NF_HOOK,
  NF_HOOK_COND,
  NF_QUEUE_NR,
  nfHook,
  nfRegisterNetHook,
  nfRegisterNetHooks,
  nfUnregisterNetHook,
} from "../../../src/net/netfilter/core.ts";
import { SKB_DROP_REASON_NETFILTER_DROP } from "../../../src/uapi/dropreason.ts";
import { EBUSY, ECONNREFUSED, EINVAL, EPERM } from "../../../src/uapi/errno.ts";
import {
  NF_ACCEPT,
  NF_DROP,
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_NUMHOOKS,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
  NF_QUEUE,
  NF_REPEAT,
  NF_STOLEN,
  NF_STOP,
  NF_VERDICT_FLAG_QUEUE_BYPASS,
  NFPROTO_ARP,
  NFPROTO_INET,
  NFPROTO_IPV4,
} from "../../../src/uapi/netfilter.ts";
import { FakeHost, ipPacket, pattern, readIp } from "../ipv4/fake.ts";

let host: FakeHost;
let net: Net;
beforeEach(() => {
  host = new FakeHost();
  net = host.net;
});
afterEach(() => host.end());

const udp = [0x1f, 0x90, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];

function send(): number {
  return host.receive(ipPacket({ tos: 4, ttl: 7 }, udp));
}

let ok: number[] = [];
function okfn(_net: Net, _sk: Sock | null, skb: number): number {
  ok.push(skb);
  consumeSkb(skb);
  return 77;
}
beforeEach(() => {
  ok = [];
});

function hook(skb: number, hooknum: number = NF_INET_LOCAL_IN): number {
  return NF_HOOK(NFPROTO_IPV4, hooknum, net, null, skb, host.dev, null, okfn);
}

function register(verdicts: number[], priority = 0, hooknum: number = NF_INET_LOCAL_IN): { calls: number } {
  const seen = { calls: 0 };
  const fn = (_priv: unknown, skb: number): number => {
    const v = verdicts[Math.min(seen.calls++, verdicts.length - 1)] as number;
    if ((v & 255) === NF_STOLEN) consumeSkb(skb);
    return v;
  };
  expect(nfRegisterNetHook(net, { hook: fn, pf: NFPROTO_IPV4, hooknum, priority, name: "t" })).toBe(0);
  return seen;
}

describe("verdicts", () => {
  const rows: [string, number[], number, { ret: number; ok: number; second: number; drops: number }][] = [
    ["ACCEPT goes on", [NF_ACCEPT], 0, { ret: 77, ok: 1, second: 1, drops: 0 }],
    ["DROP frees, -EPERM", [NF_DROP], 0, { ret: -EPERM, ok: 0, second: 0, drops: 1 }],
    ["DROP with an errno", [NF_DROP_ERR(-ECONNREFUSED)], 0, { ret: -ECONNREFUSED, ok: 0, second: 0, drops: 1 }],
    ["STOLEN: 0, and it is the hook's", [NF_STOLEN], 0, { ret: 0, ok: 0, second: 0, drops: 0 }],
    ["REPEAT runs the hook again", [NF_REPEAT, NF_REPEAT, NF_ACCEPT], 0, { ret: 77, ok: 1, second: 1, drops: 0 }],
    ["REPEAT without end is a drop", [NF_REPEAT], 0, { ret: -EPERM, ok: 0, second: 0, drops: 1 }],
    ["STOP skips the rest", [NF_STOP], 0, { ret: 77, ok: 1, second: 0, drops: 0 }],
    ["QUEUE without a listener is a drop", [NF_QUEUE], 0, { ret: 0, ok: 0, second: 0, drops: 1 }],
    [
      "QUEUE with bypass goes on without a listener",
      [NF_QUEUE_NR(3) | NF_VERDICT_FLAG_QUEUE_BYPASS],
      0,
      { ret: 77, ok: 1, second: 1, drops: 0 },
    ],
    ["nonsense is a drop", [99], 0, { ret: -EPERM, ok: 0, second: 0, drops: 1 }],
  ];
  it.each(rows)("%s", (_what, verdicts, priority, want) => {
    register(verdicts, priority);
    const second = register([NF_ACCEPT], priority + 1);
    const ret = hook(send());
    expect({ ret, ok: ok.length, second: second.calls, drops: host.drops.length }).toEqual(want);
    expect(host.drops.every((r) => r === SKB_DROP_REASON_NETFILTER_DROP)).toBe(true);
  });

  it("nothing registered: 1, and okfn is the caller's", () => {
    const skb = send();
    for (let h = 0; h < NF_INET_NUMHOOKS; h++) {
      expect(nfHook(NFPROTO_IPV4, h, net, null, skb, null, null, okfn)).toBe(1);
      expect(nfHook(NFPROTO_ARP, h, net, null, skb, null, null, okfn)).toBe(1);
    }
    expect(ok).toEqual([]);
    consumeSkb(skb);
  });

  it("NF_HOOK_COND", () => {
    const seen = register([NF_DROP]);
    expect(NF_HOOK_COND(NFPROTO_IPV4, NF_INET_LOCAL_IN, net, null, send(), null, null, okfn, false)).toBe(77);
    expect(seen.calls).toBe(0);
    expect(NF_HOOK_COND(NFPROTO_IPV4, NF_INET_LOCAL_IN, net, null, send(), null, null, okfn, true)).toBe(-EPERM);
  });
});

describe("registration", () => {
  it("runs by priority, then in order of registration", () => {
    const order: string[] = [];
    for (const [name, priority] of [
      ["b", 0],
      ["d", 100],
      ["a", -300],
      ["c", 0],
    ] as const) {
      net.nf.add({ hook: "input", priority, name, fn: () => void order.push(name) });
    }
    hook(send());
    expect(order.join("")).toBe("abcd");
  });

  it("by hook and family; twice is -EBUSY, an unknown hook -EINVAL", () => {
    const fn = (): number => NF_DROP;
    const ops = { hook: fn, pf: NFPROTO_INET, hooknum: NF_INET_FORWARD, priority: 0, name: "x" };
    expect(nfRegisterNetHook(net, ops)).toBe(0);
    expect(nfRegisterNetHook(net, ops)).toBe(-EBUSY);
    expect(nfRegisterNetHook(net, { ...ops, hooknum: 9 })).toBe(-EINVAL);
    expect(nfRegisterNetHook(net, { ...ops, pf: 4 })).toBe(-EINVAL);
    expect(hook(send())).toBe(77);
    expect(hook(send(), NF_INET_FORWARD)).toBe(-EPERM);
    nfUnregisterNetHook(net, ops);
    expect(hook(send(), NF_INET_FORWARD)).toBe(77);
    expect(net.nf.hooksIpv4[NF_INET_FORWARD]).toBe(null);
    expect(net.nf.hooksIpv6[NF_INET_FORWARD]).toBe(null);
    const bad = { ...ops, hooknum: 9 };
    expect(nfRegisterNetHooks(net, [ops, bad])).toBe(-EINVAL);
    expect(net.nf.hooksIpv4[NF_INET_FORWARD]).toBe(null);
    expect(() => net.nf.add({ hook: "nowhere" as never, fn: () => "accept" })).toThrow(RangeError);
  });

  it("a hook may remove itself while it runs", () => {
    const h = net.nf.add({
      hook: "input",
      fn: () => {
        h.remove();
        h.remove();
      },
    });
    const after = register([NF_ACCEPT], 5);
    expect(hook(send())).toBe(77);
    expect(after.calls).toBe(1);
  });

  it("a hook that sends packets walks hooks of its own", () => {
    let depth = 0;
    const seen: number[] = [];
    net.nf.add({
      hook: "input",
      fn: (p) => {
        const { skb } = p;
        seen.push(p.ttl);
        if (depth++ < 3) hook(host.receive(ipPacket({ ttl: depth }, udp)));
        expect(p.skb).toBe(skb);
        seen.push(p.ttl);
      },
    });
    expect(hook(host.receive(ipPacket({ ttl: 9 }, udp)))).toBe(77);
    expect(seen).toEqual([9, 1, 2, 3, 3, 2, 1, 9]);
  });
});

describe("the packet of the typed API", () => {
  function look(bytes: Uint8Array, what: (p: NfPacket) => NfVerdict): void {
    const h = net.nf.add({ hook: "output", fn: what });
    NF_HOOK(NFPROTO_IPV4, NF_INET_LOCAL_OUT, net, null, host.receive(bytes), null, host.dev, okfn);
    h.remove();
  }

  it("reads the headers", () => {
    look(ipPacket({ tos: 4, ttl: 7, id: 5, saddr: 0x01020304, daddr: 0x05060708 }, udp), (p) => {
      expect([p.length, p.tos, p.ttl, p.id, p.protocol]).toEqual([32, 4, 7, 5, 17]);
      expect([p.src, p.dst, p.sport, p.dport]).toEqual(["1.2.3.4", "5.6.7.8", 8080, 53]);
      expect([p.in, p.out, p.hooknum]).toEqual([null, host.dev, NF_INET_LOCAL_OUT]);
      expect([...p.payload()]).toEqual([1, 2, 3, 4]);
      expect(readIp(p.bytes()).payload).toEqual(Uint8Array.from(udp));
      p.mark = 9;
      expect(skbMark(p.skb)).toBe(9);
    });
    expect(ok.length).toBe(1);
  });

  it("TCP and ICMP", () => {
    const tcp = [0, 80, 0, 81, ...new Array(8).fill(0), 0x60, 0x12, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 9];
    look(ipPacket({ protocol: 6 }, tcp), (p) => {
      expect([p.sport, p.dport, p.tcpFlags, p.icmpType]).toEqual([80, 81, 0x12, 0]);
      expect([...p.payload()]).toEqual([9]);
    });
    look(ipPacket({ protocol: 1 }, [8, 3, 0, 0, 0, 0, 0, 0, 5]), (p) => {
      expect([p.icmpType, p.icmpCode, p.sport]).toEqual([8, 3, 0]);
      expect([...p.payload()]).toEqual([5]);
    });
  });

  it("what isn't there is 0: short packets, later fragments", () => {
    look(ipPacket({ protocol: 6 }, [0, 80, 0]), (p) => {
      expect([p.sport, p.dport, p.tcpFlags, p.payload().length]).toEqual([0, 0, 0, 3]);
    });
    look(ipPacket({ frag: 7 }, udp), (p) => {
      expect([p.sport, p.dport]).toEqual([0, 0]);
    });
  });

  it("what it throws drops the packet and is reported outside of the kernel", () => {
    const errors: unknown[] = [];
    net.nf.onError = (e) => errors.push(e);
    look(ipPacket({}, udp), () => {
      throw new Error("mine");
    });
    expect(ok).toEqual([]);
    expect(host.drops.length).toBe(1);
    expect(errors).toEqual([]);
    host.advance(1);
    expect(errors.map(String)).toEqual(["Error: mine"]);
  });
});

describe("queues", () => {
  let waiting: NfQueuedPacket[];
  beforeEach(() => {
    waiting = [];
  });

  function queued(n: number): NfQueuedPacket {
    const before = register([NF_ACCEPT], -10);
    const seen = register([NF_QUEUE_NR(3)], 0);
    const after = register([NF_ACCEPT], 10);
    for (let i = 0; i < n; i++) expect(hook(send())).toBe(0);
    expect([before.calls, seen.calls, after.calls, ok.length]).toEqual([n, n, 0, 0]);
    host.advance(1);
    expect(waiting.length).toBe(n);
    return waiting[0] as NfQueuedPacket;
  }

  it("accept goes on behind the hook, with okfn", () => {
    net.nf.queue(3, (p) => waiting.push(p));
    const p = queued(1);
    expect([p.sport, p.in]).toEqual([8080, host.dev]);
    expect(p.accept()).toBe(0);
    expect(ok.length).toBe(1);
    // The first verdict counts.
    p.drop();
    expect(p.accept()).toBe(0);
    expect(ok.length).toBe(1);
    expect(host.drops).toEqual([]);
  });

  it("drop frees", () => {
    net.nf.queue(3, (p) => waiting.push(p));
    queued(1).drop();
    expect([ok.length, host.drops]).toEqual([0, [SKB_DROP_REASON_NETFILTER_DROP]]);
  });

  it.each([
    ["repeat runs the hook again", NF_REPEAT, 0],
    ["queue hands it back", NF_QUEUE, 0],
    ["stop goes straight on", NF_STOP, 1],
  ])("%s", (_what, verdict, n) => {
    net.nf.queue(3, (p) => waiting.push(p));
    net.nf.queue(0, (p) => waiting.push(p));
    queued(1).verdict(verdict);
    expect(ok.length).toBe(n);
    if (n === 0) {
      host.advance(1);
      expect(waiting.length).toBe(2);
      (waiting[1] as NfQueuedPacket).accept();
      expect(ok.length).toBe(1);
    }
  });

  it("what was changed goes on changed", () => {
    net.nf.queue(3, (p) => waiting.push(p));
    const seen: Uint8Array[] = [];
    const p = queued(3);
    net.nf.add({ hook: "input", priority: 20, fn: (q) => void seen.push(skbBytes(q.skb)) });
    const longer = ipPacket({ ttl: 3 }, pattern(300));
    expect(p.accept({ bytes: longer, mark: 5 })).toBe(0);
    const shorter = ipPacket({ ttl: 2 }, []);
    expect((waiting[1] as NfQueuedPacket).accept({ bytes: shorter })).toBe(0);
    expect(seen).toEqual([longer, shorter]);
    expect((waiting[2] as NfQueuedPacket).accept({ bytes: Uint8Array.of(1, 2, 3) })).toBe(-EINVAL);
    expect(host.drops.length).toBe(1);
  });

  it("is bounded, flushed when its listener goes, and dropped with the hook that queued", () => {
    const q = net.nf.queue(3, (p) => waiting.push(p), 2);
    expect(() => net.nf.queue(3, () => {})).toThrow(RangeError);
    const ops = { hook: () => NF_QUEUE_NR(3), pf: NFPROTO_IPV4, hooknum: NF_INET_LOCAL_IN, priority: 0, name: "q" };
    nfRegisterNetHook(net, ops);
    for (let i = 0; i < 3; i++) expect(hook(send())).toBe(0);
    expect(host.drops.length).toBe(1);
    host.advance(1);
    nfUnregisterNetHook(net, ops);
    (waiting[0] as NfQueuedPacket).accept();
    expect(host.drops.length).toBe(2);
    q.remove();
    expect(host.drops.length).toBe(3);
    (waiting[1] as NfQueuedPacket).accept();
    expect(ok).toEqual([]);
  });
});

it("every hook point has its name", () => {
  const at = [NF_INET_PRE_ROUTING, NF_INET_LOCAL_IN, NF_INET_FORWARD, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING];
  for (const [i, name] of (["prerouting", "input", "forward", "output", "postrouting"] as const).entries()) {
    const h = net.nf.add({ hook: name, fn: () => "drop" });
    expect(hook(send(), at[i] as number)).toBe(-EPERM);
    h.remove();
    expect(hook(send(), at[i] as number)).toBe(77);
  }
});
