/** The `tc` command: its words and units. What the schedulers do is tested in test/net/sched. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Net } from "../../src/net/core/net_namespace.ts";
import { World } from "./world.ts";

let w: World;
let a: Net;
beforeEach(() => {
  w = new World();
  a = w.net("a");
  w.run(a, "ip link add eth0 type dummy\nip link set eth0 up");
});
afterEach(() => w.close());

describe("options, as they are given and as they are shown", () => {
  test.each([
    ["netem delay 20ms loss 1%", "qdisc netem 8001: root refcnt 2 limit 1000 delay 20ms loss 1%"],
    ["netem delay 20ms 5ms 25% distribution normal", "qdisc netem 8001: root refcnt 2 limit 1000 delay 20ms  5ms 25%"],
    ["netem limit 50 duplicate 2% corrupt 0.5%", "qdisc netem 8001: root refcnt 2 limit 50 duplicate 2% corrupt 0.5%"],
    [
      "netem delay 10ms reorder 25% 50% gap 5",
      "qdisc netem 8001: root refcnt 2 limit 1000 delay 10ms reorder 25% 50% gap 5",
    ],
    ["netem rate 1mbit", "qdisc netem 8001: root refcnt 2 limit 1000 rate 1Mbit"],
    ["netem loss gemodel 1% 10%", "qdisc netem 8001: root refcnt 2 limit 1000 loss gemodel p 1% r 10% 1-h 100% 1-k 0%"],
    ["tbf rate 1mbit burst 10k latency 50ms", "qdisc tbf 8001: root refcnt 2 rate 1Mbit burst 10Kb lat 50ms "],
    [
      "tbf rate 1500kbit burst 3000 limit 20000",
      "qdisc tbf 8001: root refcnt 2 rate 1500Kbit burst 3000b limit 20000b ",
    ],
    ["pfifo limit 10", "qdisc pfifo 8001: root refcnt 2 limit 10p"],
    ["bfifo limit 20k", "qdisc bfifo 8001: root refcnt 2 limit 20Kb"],
    ["fq maxrate 10mbit nopacing", "maxrate 10Mbit"],
    ["fq_codel target 10ms interval 200ms noecn", "target 10ms interval 200ms"],
    [
      "red limit 1mb min 30k max 35k avpkt 1500 burst 24 bandwidth 100mbit probability 1 ecn",
      "qdisc red 8001: root refcnt 2 limit 1Mb min 30Kb max 35Kb ecn",
    ],
    ["red limit 60k avpkt 1000 harddrop", "qdisc red 8001: root refcnt 2 limit 60Kb min 5Kb max 15Kb harddrop"],
    ["pfifo_fast", "bands 3 priomap 1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1"],
  ])("%s", (given, shown) => {
    w.run(a, `tc qdisc add dev eth0 root ${given}`);
    expect(w.run(a, "tc qdisc show dev eth0")).toContain(shown);
  });
});

describe("the tree", () => {
  test("add, change, replace, del; handles and parents", () => {
    w.run(a, "tc qdisc add dev eth0 root handle 1: tbf rate 1mbit burst 10k latency 50ms");
    w.run(a, "tc qdisc add dev eth0 parent 1:1 handle 10: pfifo limit 5");
    expect(w.run(a, "tc qdisc show dev eth0").split("\n")).toEqual([
      "qdisc tbf 1: root refcnt 2 rate 1Mbit burst 10Kb lat 50ms ",
      "qdisc pfifo 10: parent 1:1 limit 5p",
      "",
    ]);
    w.run(a, "tc qdisc change dev eth0 root handle 1: tbf rate 2mbit burst 10k latency 50ms");
    expect(w.run(a, "tc qdisc show dev eth0")).toContain("rate 2Mbit");
    w.run(a, "tc qdisc del dev eth0 root");
    expect(w.run(a, "tc qdisc show dev eth0")).toBe("qdisc noqueue 0: root refcnt 2 \n");
    expect(w.run(a, "tc -s qdisc show")).toContain("qdisc noqueue 0: dev lo root refcnt 2 \n Sent 0 bytes 0 pkt");
  });

  test.each([
    ["qdisc add dev nope root pfifo", 1, 'Cannot find device "nope"'],
    ["qdisc add dev eth0 root nosuch", 2, "Error: Specified qdisc kind is unknown."],
    ["qdisc add dev eth0 root nosuch foo", 1, 'Unknown qdisc "nosuch", hence option "foo" is unparsable'],
    ["qdisc add dev eth0 parent 7:1 pfifo", 2, "Error: Failed to find specified qdisc."],
    ["qdisc del dev eth0 root", 2, "Error: Cannot delete qdisc with handle of zero."],
    ["qdisc change dev eth0 root pfifo limit 5", 2, "Error: Qdisc not found. To create specify NLM_F_CREATE flag."],
    ["qdisc add dev eth0 root netem delay foo", 1, 'Illegal "latency"'],
    ["qdisc add dev eth0 root netem foo", 1, 'What is "foo"?'],
    ["qdisc add dev eth0 root netem loss 200%", 1, 'Illegal "loss percent"'],
    ["qdisc add dev eth0 root tbf rate 1mbit", 1, 'tbf: the "burst" parameter is mandatory.'],
    ["qdisc add dev eth0 root red limit 1", 1, "RED: Required parameter (limit, avpkt) is missing"],
    ["qdisc add dev eth0 root tbf foo 1", 1, 'tbf: unknown parameter "foo"'],
    ["qdisc add dev eth0 root pfifo limit foo", 1, 'pfifo: Illegal value for "limit": "foo"'],
    ["qdisc add dev eth0 root fq foo", 1, 'What is "foo"?'],
    ["qdisc add dev eth0 handle x: root fq", 255, 'Error: argument "x:" is wrong: invalid qdisc ID'],
    ["qdisc add dev eth0 ingress", 2, 'qdisc "ingress" is not supported'],
    ["qdisc show foo", 255, 'What is "foo"? Try "tc qdisc help".'],
    ["qdisc foo", 255, 'Command "foo" is unknown, try "tc qdisc help".'],
    ["foo", 255, 'Object "foo" is unknown, try "tc help".'],
    ["-z", 255, 'Option "-z" is unknown, try "tc -help".'],
  ])("tc %s: exit %d", (line, code, complaint) => {
    const r = w.try(a, `tc ${line}`);
    expect([r.code, r.stderr.split("\n")[0]]).toEqual([code, complaint]);
  });

  test("the same twice", () => {
    w.run(a, "tc qdisc add dev eth0 root pfifo");
    expect(w.try(a, "tc qdisc add dev eth0 root pfifo").stderr).toBe("Error: Exclusivity flag on, cannot modify.\n");
    w.run(a, "tc qdisc replace dev eth0 root bfifo");
  });
});
