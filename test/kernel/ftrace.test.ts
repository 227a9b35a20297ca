import { afterEach, describe, expect, test } from "vitest";
import { instrument } from "../../scripts/instrument.mjs";
import * as live from "../../src/kernel/ftrace.ts";
import { ftrace, type TraceEnvironment, type TraceOptions } from "../../src/kernel/ftrace.ts";
import { FUNCTION_POINTERS } from "../../src/kernel/ftrace_pointers.ts";
import { SKB_DROP_REASON_IP_CSUM } from "../../src/uapi/dropreason.ts";

/**
 * A kernel in miniature: the functions of the send path with the pointers between them and nothing in them. Every
 * file is instrumented as the build does it, so the hooks, the tracer and the table of pointers are the real ones.
 */
const FILES: Readonly<Record<string, string>> = {
  "net/socket.ts": `
    function __sockCreate(net, family, type, protocol) {
      const sock = { ops: null, sk: null, type, net };
      netFamilies[family].create(net, sock, protocol);
      return sock;
    }
    function sysSendto(sock, len) { tick(1); const err = sockSendmsg(sock, len); tick(2); return err; }
    function sockSendmsg(sock, msg) { return __sockSendmsg(sock, msg); }
    function __sockSendmsg(sock, msg) { return sock.ops.sendmsg(sock, msg, 1); }`,
  "net/ipv4/af_inet.ts": `
    function inetCreate(net, sock, protocol) {
      sock.ops = inetStreamOps;
      sock.sk = { skcFamily: 2, skType: sock.type, skProt: tcpProt, skSocket: sock };
      sock.sk.skProt.init(sock.sk);
      return 0;
    }
    function inetSendmsg(sock, msg, size) { const sk = sock.sk; return sk.skProt.sendmsg(sk, msg, size); }`,
  "net/ipv4/tcp.ts": `
    function tcpSendmsg(sk, msg, size) { tick(1); const err = tcpPush(sk, 7); return err < 0 ? err : size; }
    function tcpPush(sk, flags) { return tcpWriteXmit(sk, 1460, 1, 0); }`,
  "net/ipv4/tcp_output.ts": `
    function tcpWriteXmit(sk, mss, nonagle, pushOne) { return tcpTransmitSkb(sk, 100, 1); }
    function tcpTransmitSkb(sk, skb, cloneIt) {
      const clone = skbClone(skb);
      sk.icskAfOps.sendCheck(sk, clone);
      return sk.icskAfOps.queueXmit(sk, clone, null);
    }`,
  "net/ipv4/tcp_ipv4.ts": `
    function tcpV4InitSock(sk) { sk.icskAfOps = ipv4Specific; return 0; }
    function tcpV4SendCheck(sk, skb) { tick(1); return; }
    function tcpV4Rcv(skb) { const sk = other; sk.skDataReady(sk); return 0; }`,
  "net/ipv4/ip_output.ts": `
    function ipQueueXmit(sk, skb, fl) { return ipLocalOut({}, sk, skb); }
    function ipLocalOut(net, sk, skb) {
      const err = __ipLocalOut(net, sk, skb);
      return err === 1 ? dstOutput(net, sk, skb) : err;
    }
    function __ipLocalOut(net, sk, skb) { return nfHook(2, 3, net, sk, skb, null, null, dstOutput); }
    function ipOutput(net, sk, skb) { return NF_HOOK(2, 4, net, sk, skb, null, null, ipFinishOutput); }
    function ipFinishOutput(net, sk, skb) { return ipFinishOutput2(net, sk, skb); }
    function ipFinishOutput2(net, sk, skb) {
      const dst = skbDst(skb);
      return dst.hh ? neighHhOutput(dst.hh, skb) : dst.neighbour.output(dst.neighbour, skb);
    }`,
  "net/ipv4/ip_input.ts": `
    function ipRcv(skb, dev, pt, origDev) {
      if (badChecksum) { kfreeSkbReason(skb, ${SKB_DROP_REASON_IP_CSUM}); return 1; }
      return inetProtos[6].handler(skb);
    }`,
  "net/netfilter/core.ts": `
    function nfHook(pf, hook, net, sk, skb, indev, outdev, okfn) { return hook === 3 ? ipv4ConntrackLocal(null, skb) : 1; }
    function NF_HOOK(pf, hook, net, sk, skb, indev, outdev, okfn) {
      const ret = nfHook(pf, hook, net, sk, skb, indev, outdev, okfn);
      return ret === 1 ? okfn(net, sk, skb) : ret;
    }`,
  "net/netfilter/nf_conntrack_proto.ts": "function ipv4ConntrackLocal(priv, skb) { const accept = 1; return accept; }",
  "net/core/dst.ts": "function dstOutput(net, sk, skb) { return skbDst(skb).output(net, sk, skb); }",
  "net/core/neighbour.ts": `
    function neighHhOutput(hh, skb) { return hh.hhOutput(skb); }
    function neighResolveOutput(neigh, skb) {
      const dev = skbDev(skb);
      dev.headerOps.create(skb, dev, 2048, null, null, 0);
      return neigh.ops.queueXmit(skb);
    }`,
  "net/core/dev.ts": `
    function devQueueXmit(skb) { const dev = skbDev(skb); return __devXmitSkb(skb, dev.qdisc, dev); }
    function __devXmitSkb(skb, q, dev) { q.enqueue(skb, q); return devHardStartXmit(q.dequeue(q), dev); }
    function devHardStartXmit(skb, dev) { return dev.netdevOps.ndoStartXmit(skb, dev); }
    function netifReceiveSkb(skb) { const pt = ipPacketType; return pt.func(skb, null, pt, null); }`,
  "net/core/skbuff.ts": `
    function skbClone(skb) { const n = ++skbs; return n; }
    function kfreeSkbReason(skb, reason) { tick(1); skbOrphan(skb); }
    function skbOrphan(skb) { sockWfree(skb); tick(1); }`,
  "net/core/sock.ts": `
    function sockWfree(skb) { tick(1); return; }
    function sockDefReadable(sk) { tick(1); return; }`,
  "net/sched/sch_generic.ts": `
    function pfifoFastEnqueue(skb, q) { q.skb = skb; return 0; }
    function pfifoFastDequeue(q) { const { skb } = q; return skb; }`,
  "net/ethernet/eth.ts": "function ethHeader(skb, dev, type, daddr, saddr, len) { tick(1); return 14; }",
  "drivers/net/rtl819x/rtl_nic.ts": "function re865xStartXmit(skb, dev) { tick(5); return 0; }",
};

const SETUP = `
  let time = 0, skbs = 100, badChecksum = false;
  const tick = (us) => { time += us; };
  const tcpProt = { name: "TCP", symbol: "tcp_prot", init: tcpV4InitSock, sendmsg: tcpSendmsg };
  const inetStreamOps = { family: 2, symbol: "inet_stream_ops", sendmsg: inetSendmsg };
  const ipv4Specific = { symbol: "ipv4_specific", queueXmit: ipQueueXmit, sendCheck: tcpV4SendCheck };
  const netFamilies = []; netFamilies[2] = { family: 2, create: inetCreate };
  const inetProtos = []; inetProtos[6] = { handler: tcpV4Rcv };
  const ipPacketType = { type: 0x800, func: ipRcv };
  const dev = {
    name: "eth0", netdevOps: { symbol: "rtl819x_netdev_ops", ndoStartXmit: re865xStartXmit }, netdevOpsSetBy: "re865x_probe",
    headerOps: { symbol: "eth_header_ops", create: ethHeader },
    qdisc: { enqueue: pfifoFastEnqueue, dequeue: pfifoFastDequeue, ops: { id: "pfifo_fast" } },
  };
  const neigh = {
    primaryKey: 0x0a000002, nudState: 2, output: neighResolveOutput, outputSetBy: "neigh_connect",
    ops: { symbol: "arp_hh_ops", hhOutput: devQueueXmit, queueXmit: devQueueXmit },
    hh: { hhOutput: devQueueXmit, hhOutputSetBy: "neigh_connect" },
  };
  const dst = { output: ipOutput, outputSetBy: "__mkroute_output", neighbour: neigh, hh: neigh.hh };
  const skbDst = () => dst, skbDev = () => dev;
  const other = { skDataReady: sockDefReadable };
  return {
    sysSendto, __sockCreate, netifReceiveSkb, netFamilies, inetProtos, skbDst, skbDev, dst, neigh,
    clock: () => time, spoil: () => { badChecksum = true; },
  };`;

type Call = (...args: unknown[]) => unknown;
interface Miniature {
  sysSendto: Call;
  __sockCreate: Call;
  netifReceiveSkb: Call;
  netFamilies: unknown[];
  inetProtos: unknown[];
  skbDst: (skb: number) => object;
  skbDev: (skb: number) => object;
  dst: { hh: object | null };
  neigh: { nudState: number; outputSetBy: string };
  clock: () => number;
  spoil: () => void;
}

/** Instruments the files of a module graph and runs them as one script. Their functions are tiny: all are traced. */
function load(files: Readonly<Record<string, string>>, setup: string): unknown {
  const code = Object.entries(files).map(([file, text], i) => {
    const done = instrument(text.replace(/^ {4}/gm, ""), `src/${file}`, { leafLength: 0 })?.code ?? "";
    return done.replace(/^import [^;]*;/, "").replaceAll("__fi", `__fi${i}`);
  });
  return (new Function("live", `"use strict";\n${code.join("\n")}\n${setup}`) as (l: typeof live) => unknown)(live);
}

function boot(): Miniature {
  return load(FILES, SETUP) as Miniature;
}

function environment(m: Miniature): TraceEnvironment {
  const { clock, skbDst, skbDev, netFamilies, inetProtos } = m;
  return { clock, skbDst, skbDev, netFamilies, inetProtos, skbId: (skb) => skb - 99 };
}

function trace(m: Miniature, options: TraceOptions, action: () => unknown) {
  ftrace.start(options, environment(m));
  action();
  return ftrace.stop();
}

afterEach(() => void ftrace.stop());

describe("the call tree", () => {
  test("the next send, and nothing after it", () => {
    const m = boot();
    const sock = m.__sockCreate({}, 2, 1, 0);
    ftrace.start({ skb: "next" }, environment(m));
    m.netifReceiveSkb(7);
    expect(ftrace.recording).toBe(true);
    expect(m.sysSendto(sock, 5)).toBe(1);
    expect(ftrace.recording).toBe(false);
    m.sysSendto(sock, 5);
    const { events, truncated } = ftrace.stop();
    expect(truncated).toBe(false);
    expect(events.map((e) => `${" ".repeat(e.depth)}${e.kernel}`)).toEqual([
      "sys_sendto",
      " sock_sendmsg",
      "  __sock_sendmsg",
      "   inet_sendmsg",
      "    tcp_sendmsg",
      "     tcp_push",
      "      tcp_write_xmit",
      "       tcp_transmit_skb",
      "        skb_clone",
      "        tcp_v4_send_check",
      "        ip_queue_xmit",
      "         ip_local_out",
      "          __ip_local_out",
      "           nf_hook",
      "            ipv4_conntrack_local",
      "          dst_output",
      "           ip_output",
      "            NF_HOOK",
      "             nf_hook",
      "             ip_finish_output",
      "              ip_finish_output2",
      "               neigh_hh_output",
      "                dev_queue_xmit",
      "                 __dev_xmit_skb",
      "                  pfifo_fast_enqueue",
      "                  pfifo_fast_dequeue",
      "                  dev_hard_start_xmit",
      "                   re865x_start_xmit",
    ]);
    expect(events[0]).toMatchObject({ file: "net/socket.ts", returned: 1 });
    expect(events.at(-1)).toMatchObject({ skb: 101, skbId: 2, duration: 5 });
  });

  test("the pointers, with who set them and why", () => {
    const m = boot();
    const created = trace(m, {}, () => m.__sockCreate({}, 2, 1, 0));
    const sock = m.__sockCreate({}, 2, 1, 0);
    const sent = trace(m, { skb: "next" }, () => m.sysSendto(sock, 5));
    m.dst.hh = null;
    m.neigh.outputSetBy = "neigh_suspect";
    m.neigh.nudState = 4;
    const resolved = trace(m, { skb: "next" }, () => m.sysSendto(sock, 5)).filter({ function: "ip_finish_output2" });
    const received = trace(m, {}, () => m.netifReceiveSkb(7));
    const notes = [created, sent, resolved, received].flatMap((t) =>
      t.events
        .filter((e) => e.pointer)
        .map((e) => `${e.pointer?.pointer} = ${e.pointer?.table}, ${e.pointer?.setBy} ${e.pointer?.why ?? ""}`),
    );
    expect(notes.map((note) => note.trim())).toEqual([
      "net_families[AF_INET]->create = inet_family_ops.create, sock_register in inet_init",
      "sk->sk_prot->init = tcp_prot.init, inet_create from inetsw[SOCK_STREAM]",
      "sock->ops->sendmsg = inet_stream_ops.sendmsg, inet_create from inetsw[SOCK_STREAM]",
      "sk->sk_prot->sendmsg = tcp_prot.sendmsg, inet_create from inetsw[SOCK_STREAM]",
      "icsk->icsk_af_ops->send_check = ipv4_specific.send_check, tcp_v4_init_sock",
      "icsk->icsk_af_ops->queue_xmit = ipv4_specific.queue_xmit, tcp_v4_init_sock",
      "hook->hook = ipv4_conntrack_local, nf_register_net_hook",
      "skb->dst->output = ip_output, __mkroute_output",
      "okfn = ip_finish_output, ip_output for NF_HOOK",
      "hh->hh_output = dev_queue_xmit, neigh_connect (NUD_REACHABLE)",
      "q->enqueue = pfifo_fast_qdisc_ops.enqueue, qdisc_alloc",
      "q->dequeue = pfifo_fast_qdisc_ops.dequeue, qdisc_alloc",
      "dev->netdev_ops->ndo_start_xmit = rtl819x_netdev_ops.ndo_start_xmit, re865x_probe",
      "neigh->output = neigh_resolve_output, neigh_suspect (NUD_STALE)",
      "dev->header_ops->create = eth_header_ops.create, ether_setup",
      "neigh->ops->queue_xmit = arp_hh_ops.queue_xmit, arp_constructor",
      "q->enqueue = pfifo_fast_qdisc_ops.enqueue, qdisc_alloc",
      "q->dequeue = pfifo_fast_qdisc_ops.dequeue, qdisc_alloc",
      "dev->netdev_ops->ndo_start_xmit = rtl819x_netdev_ops.ndo_start_xmit, re865x_probe",
      "pt_prev->func = ip_packet_type.func, dev_add_pack in inet_init",
      "inet_protos[IPPROTO_TCP]->handler = tcp_protocol.handler, inet_add_protocol in inet_init",
      "sk->sk_data_ready = sock_def_readable, sock_init_data",
    ]);
  });

  test("every entry says what it is about", () => {
    const about = FUNCTION_POINTERS.map((entry) => entry.about);
    expect(new Set(about).size).toBe(about.length);
  });

  test("as text", () => {
    const m = boot();
    const sock = m.__sockCreate({}, 2, 1, 0);
    m.spoil();
    const text = trace(m, {}, () => m.netifReceiveSkb(107)).toText();
    const sent = trace(m, { skb: "next" }, () => m.sysSendto(sock, 5)).toText({ args: "none", duration: false });
    expect(text).toMatchInlineSnapshot(`
      "# tracer: function_graph
      #
      #  DURATION       FUNCTION CALLS                                         SOURCE
                     |  netif_receive_skb(skb=#8) {                            net/core/dev.ts:5
                     |    /* pt_prev->func = ip_packet_type.func, set by dev_add_pack in inet_init */
                     |    ip_rcv(skb=#8, dev=null) {                           net/ipv4/ip_input.ts:2
                     |      kfree_skb_reason(skb=#8) { /* dropped: IP_CSUM */  net/core/skbuff.ts:3
                     |        skb_orphan(skb=#8) {                             net/core/skbuff.ts:4
                     |          /* skb->destructor = sock_wfree, set by skb_set_owner_w */
           1.000 us  |          sock_wfree(skb=#8);                            net/core/sock.ts:2
           2.000 us  |        } /* skb_orphan */
           3.000 us  |      } /* kfree_skb_reason */
           3.000 us  |    } /* ip_rcv = 1 */
           3.000 us  |  } /* netif_receive_skb = 1 */
      "
    `);
    expect(sent).toContain(
      "      /* sock->ops->sendmsg = inet_stream_ops.sendmsg, set by inet_create from inetsw[SOCK_STREAM] */\n      inet_sendmsg() {",
    );
  });

  test("as JSON", () => {
    const m = boot();
    const json = JSON.parse(JSON.stringify(trace(m, {}, () => m.netifReceiveSkb(107)))) as {
      events: { kernel: string; args: unknown }[];
    };
    expect(json.events[1]).toMatchObject({
      kernel: "ip_rcv",
      depth: 1,
      args: [
        { name: "skb", value: 107 },
        { name: "dev", value: null },
        { name: "pt", value: "pt#1" },
        { name: "orig_dev", value: null },
      ],
      pointer: { pointer: "pt_prev->func" },
    });
  });
});

describe("filters", () => {
  const functions = (m: Miniature, options: TraceOptions): string[] => {
    const a = m.__sockCreate({}, 2, 1, 0);
    const b = m.__sockCreate({}, 2, 1, 0);
    // One packet in, which is fine; then two sends; then one in that is dropped.
    const t = trace(
      m,
      typeof options.sk === "string" ? { ...options, sk: (options.sk === "a" ? a : b) as object } : options,
      () => {
        m.netifReceiveSkb(107);
        m.sysSendto(a, 5);
        m.sysSendto(b, 5);
        m.spoil();
        m.netifReceiveSkb(108);
      },
    );
    return t.events.filter((e) => e.depth === 0).map((e) => e.kernel);
  };

  test("none: every tree", () => {
    expect(functions(boot(), {})).toEqual(["netif_receive_skb", "sys_sendto", "sys_sendto", "netif_receive_skb"]);
  });
  test("function, by the kernel's name and by ours", () => {
    expect(functions(boot(), { function: "ip_output" })).toEqual(["ip_output", "ip_output"]);
    expect(functions(boot(), { function: ["tcpV4Rcv", "tcp_transmit_skb"] })).toEqual([
      "tcp_v4_rcv",
      "tcp_transmit_skb",
      "tcp_transmit_skb",
    ]);
  });
  test("socket: by struct socket", () => {
    const m = boot();
    const sock = m.__sockCreate({}, 2, 1, 0) as object;
    const other = m.__sockCreate({}, 2, 1, 0);
    const t = trace(m, { sk: sock }, () => {
      m.sysSendto(other, 5);
      m.sysSendto(sock, 6);
    });
    expect(t.events[0]).toMatchObject({ kernel: "sys_sendto", args: [{ name: "sock" }, { name: "len", value: 6 }] });
    expect(t.events.filter((e) => e.depth === 0)).toHaveLength(1);
  });
  test("drop reason: by name, by number, any", () => {
    for (const dropReason of ["IP_CSUM", "SKB_DROP_REASON_IP_CSUM", true] as const) {
      const m = boot();
      const t = trace(m, { dropReason }, () => {
        m.netifReceiveSkb(107);
        m.spoil();
        m.netifReceiveSkb(108);
      });
      if (dropReason === "IP_CSUM" || dropReason === true)
        expect(t.events.map((e) => e.skb).filter(Boolean)).toContain(108);
      expect(t.events.filter((e) => e.depth === 0)).toHaveLength(1);
      expect(t.filter({ drop: "IP_CSUM" }).events.length).toBe(t.events.length);
    }
    expect(() => ftrace.start({ dropReason: "NO_SUCH" })).toThrow(RangeError);
  });
  test("skb: the handle and its clones", () => {
    const m = boot();
    const sock = m.__sockCreate({}, 2, 1, 0);
    const t = trace(m, { skb: 100 }, () => m.sysSendto(sock, 5));
    expect(t.events[0]?.kernel).toBe("tcp_transmit_skb");
    const follow = trace(m, { skb: "next", follow: true }, () => {
      m.sysSendto(sock, 5);
      m.netifReceiveSkb(999);
      m.netifReceiveSkb(102);
    });
    expect(follow.events.filter((e) => e.depth === 0).map((e) => [e.kernel, e.skb])).toEqual([
      ["sys_sendto", undefined],
      ["netif_receive_skb", 102],
    ]);
  });
  test("maxEvents", () => {
    const m = boot();
    const sock = m.__sockCreate({}, 2, 1, 0);
    const t = trace(m, { maxEvents: 5 }, () => m.sysSendto(sock, 5));
    expect(t.events).toHaveLength(5);
    expect(t.truncated).toBe(true);
    expect(t.toText()).toContain("truncated");
  });
});

test("a throw leaves the tracer in order", () => {
  const code =
    "function inner(a) { if (a) throw new Error('no'); const r = 1; return r; }\nfunction outer(a) { const r = inner(a); return r; }";
  const { outer } = load({ "net/x.ts": code }, "return { outer };") as { outer: Call };
  ftrace.start();
  expect(() => outer(true)).toThrow("no");
  expect(outer(false)).toBe(1);
  const { events } = ftrace.stop();
  expect(events.map((e) => [e.depth, e.kernel, e.threw, e.returned])).toEqual([
    [0, "outer", true, undefined],
    [1, "inner", true, undefined],
    [0, "outer", undefined, 1],
    [1, "inner", undefined, 1],
  ]);
});
